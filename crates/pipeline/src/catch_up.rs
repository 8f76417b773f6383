//! Rows that are in `events` and not yet in `sessions`: a crash came between the two commits, or `sessions` was deleted.
//!
//! In:      partitions as `recover` left them; the files of `events`.
//! Out:     the same partitions with these rows in their sessions; commits of `sessions` on the way.
//! Promise: each row once and in log order, however the files lie; what is held at a time does not grow with the table.

use arrow::array::{RecordBatch, UInt32Array};
use futures::TryStreamExt;
use std::collections::BTreeMap;
use tributary_eventlog::TopicInfo;
use tributary_lake::{DataFile, Snapshot};
use tributary_schemas::Table;

use crate::aside::aside;
use crate::columns::{int, keep_rows, small_int};
use crate::commit::{AppIds, CommitError, Owned, Round, Writers, commit_sessions, lake_error};
use crate::recover::{holds_partition, reaches};
use crate::session_rows::EventReader;

/// Offsets by partition.
type Offsets = BTreeMap<u32, i64>;

pub(crate) async fn catch_up(
    writers: &mut Writers,
    snapshot: &Snapshot,
    topic: &TopicInfo,
    events: &mut Vec<Owned>,
    commit_rows_max: usize,
) -> Result<(), CommitError> {
    let (mut behind, mut ends) = (Offsets::new(), Offsets::new());
    for Owned { fold, at } in events.iter_mut() {
        let told = at.sessions.unwrap_or(0);
        // One that began with a state object stands where that was made, and lacks what came since.
        let from = told.min(fold.position.cast_signed());
        if let Some(end) = at.events.filter(|end| from < *end) {
            let why = if from < told { "a state object has not" } else { "a crash left behind" };
            tracing::info!(partition = fold.partition, from, told, end, "putting rows into sessions that {why}");
            fold.position = from.cast_unsigned();
            behind.insert(fold.partition, from);
            ends.insert(fold.partition, end);
        }
    }
    let is_behind = |file: &&DataFile| {
        behind
            .iter()
            .any(|(partition, from)| holds_partition(file, *partition) && reaches(file, "log_offset", *from, i64::MAX))
    };
    let files: Vec<DataFile> = snapshot.files().iter().filter(is_behind).cloned().collect();

    // Files lie about in the order of their commits. What a partition has below the lowest offset of all files to come is
    // complete and can be folded; the little above it waits.
    let mut complete_to = vec![ends];
    for file in files.iter().rev() {
        let mut lowest = complete_to.last().expect("begun with the ends").clone();
        for (partition, first) in first_offsets(snapshot, file, &behind).await? {
            lowest.entry(partition).and_modify(|known| *known = first.min(*known));
        }
        complete_to.push(lowest);
    }
    complete_to.pop();

    let columns = [EventReader::columns(), vec!["log_partition", "content_hash", "flags"]].concat();
    let mut waiting: BTreeMap<u32, Vec<RecordBatch>> = BTreeMap::new();
    let mut rows = 0;
    for file in files {
        let mut stream = snapshot.read_files(&columns, vec![file]);
        while let Some(batch) = stream.try_next().await.map_err(failed)? {
            for (partition, from) in &behind {
                let part = rows_of(&batch, *partition, |offset| *from <= offset);
                if part.num_rows() > 0 {
                    waiting.entry(*partition).or_default().push(part);
                }
            }
        }
        let complete_to = complete_to.pop().expect("one was made for each file");
        let mut ready = BTreeMap::new();
        for (partition, batches) in &mut waiting {
            let end = complete_to[partition];
            let of = |keep: fn(i64, i64) -> bool| -> Vec<RecordBatch> {
                let parts = batches.iter().map(|batch| rows_of(batch, *partition, |offset| keep(offset, end)));
                parts.filter(|part| part.num_rows() > 0).collect()
            };
            let (now, later) = (of(|offset, end| offset < end), of(|offset, end| end <= offset));
            *batches = later;
            ready.insert(*partition, (now, end));
        }
        rows += aside(events, move |events| refold(events, &ready)).await;
        if commit_rows_max <= rows {
            rows = 0;
            commit_sessions(writers, &AppIds(&topic.topic_id), events, &mut Round::default()).await?;
        }
    }
    for Owned { fold, at } in events {
        // No row came since the state object, but a watermark may have been raised.
        if behind.contains_key(&fold.partition) && fold.position.cast_signed() < at.sessions.unwrap_or(0) {
            fold.advance(Some(&at.watermarks));
        }
        fold.position = at.events.map_or(fold.position, i64::cast_unsigned);
    }
    Ok(())
}

/// Folds what is ready and says how many rows that were. Afterwards each partition stands where it is complete to.
fn refold(events: &mut [Owned], ready: &BTreeMap<u32, (Vec<RecordBatch>, i64)>) -> usize {
    let mut rows = 0;
    for Owned { fold, at } in events {
        let Some((batches, end)) = ready.get(&fold.partition) else { continue };
        let told = at.sessions.unwrap_or(0);
        let is_complete = fold.position.cast_signed() < told && told <= *end;
        let watermarks = is_complete.then_some(&at.watermarks);
        match in_log_order(batches) {
            Some(all) => {
                fold.take_up(&all, told, watermarks);
                rows += all.num_rows();
            }
            None => fold.advance(watermarks),
        }
        fold.position = end.cast_unsigned();
    }
    rows
}

/// The first offset that is behind in each partition the file holds.
async fn first_offsets(snapshot: &Snapshot, file: &DataFile, behind: &Offsets) -> Result<Offsets, CommitError> {
    let mut firsts = Offsets::new();
    let mut stream = snapshot.read_files(&["log_partition", "log_offset"], vec![file.clone()]);
    while let Some(batch) = stream.try_next().await.map_err(failed)? {
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        for (partition, offset) in partitions.values().iter().zip(offsets.values()) {
            let partition = partition.cast_unsigned();
            if behind.get(&partition).is_some_and(|from| from <= offset) {
                firsts.entry(partition).and_modify(|first| *first = *offset.min(first)).or_insert(*offset);
            }
        }
    }
    Ok(firsts)
}

fn rows_of(batch: &RecordBatch, partition: u32, keep: impl Fn(i64) -> bool) -> RecordBatch {
    let (partitions, offsets) = (small_int(batch, "log_partition"), int(batch, "log_offset"));
    let rows = partitions.values().iter().zip(offsets.values());
    keep_rows(batch, &rows.map(|(of, offset)| of.cast_unsigned() == partition && keep(*offset)).collect::<Vec<_>>())
}

fn in_log_order(batches: &[RecordBatch]) -> Option<RecordBatch> {
    let all = arrow::compute::concat_batches(&batches.first()?.schema(), batches).expect("batches of one read");
    let offsets = int(&all, "log_offset");
    let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).expect("a commit has fewer than 2^32 rows")).collect();
    order.sort_by_key(|row| offsets.value(*row as usize));
    let order = UInt32Array::from(order);
    Some(arrow::compute::take_record_batch(&all, &order).expect("indices of this very batch"))
}

fn failed(error: tributary_lake::LakeError) -> CommitError {
    CommitError::Failed(lake_error(Table::Events, error))
}

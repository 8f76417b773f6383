//! Which rows go, and which are flagged: decided on a few narrow columns before any row is moved.
//!
//! In:       a job; the rows of every file it compares.
//! Out:      `Rules`: what becomes of a row on its way through the rewrite; which files besides the inputs hold such rows.
//! Promise:  of rows of `events` with one id and one content the one that stands first in the log stays, whoever compacts
//!           and however often: two compactors never drop each other's choice. Of a session the newest version stays.
//! Not here: a single row is never looked at twice in a way that could differ: `apply` only looks up what was decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use tokio::sync::mpsc;
use tributary_schemas::{EventFlags, Table};
use xxhash_rust::xxh3::Xxh3;

use super::plan::{Job, day_of, is_history_over};
use super::{CompactOptions, dead_letters, feed};
use crate::buckets::{Buckets, Bytes, Record};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::snapshot::Snapshot;

/// So many rows are dropped or flagged in one go at most; what is left the next compaction finds again. Each is 16 to 32
/// bytes of memory, and a row of `dead_letters`.
const VERDICTS_MAX: usize = 2_000_000;

pub(super) struct Rules {
    verdicts: Verdicts,
    log_topic: String,
    /// Numbers of files among those compared that hold a row to drop or to flag.
    touched: Vec<u32>,
    kept_back: u64,
    sums: Sums,
}

#[derive(Default)]
pub(super) struct Sums {
    /// As rows of `dead_letters`.
    pub duplicates: Vec<RecordBatch>,
    pub flagged: u64,
    pub versions: u64,
}

/// Each list is sorted.
enum Verdicts {
    None,
    /// By partition and offset of the log.
    Events {
        drop: Vec<(i32, i64)>,
        flag: Vec<(i32, i64)>,
    },
    /// By hash of the session's id, and version.
    Sessions {
        drop: Vec<(u128, i64)>,
    },
}

pub(super) async fn judge(
    lake: &Lake,
    snapshot: &Snapshot,
    job: &Job,
    options: &CompactOptions,
) -> Result<Rules, LakeError> {
    let day = day_of(&job.partition);
    match snapshot.table() {
        Table::Events => {
            const COLUMNS: [&str; 7] =
                ["source", "event_id", "content_hash", "event_time_us", "flags", "log_partition", "log_offset"];
            let needed_from = options.needed_from.clone();
            let judged = judge_by(lake, snapshot, job, &COLUMNS, event_records, move |events, judged| {
                judge_events(&events, &needed_from, judged);
            });
            let Judged { mut drop, mut flag, touched, kept_back, .. } = judged.await?;
            drop.sort_unstable();
            flag.sort_unstable();
            let verdicts = Verdicts::Events { drop, flag };
            Ok(Rules { verdicts, log_topic: options.log_topic.clone(), touched, kept_back, sums: Sums::default() })
        }
        Table::Sessions if job.whole && is_history_over(day, lake.now_ms(), lake.settings()) => {
            const COLUMNS: [&str; 3] = ["session_id", "version", "superseded_by"];
            let inputs = job.inputs.len();
            let judged = judge_by(lake, snapshot, job, &COLUMNS, version_records, move |versions, judged| {
                judge_versions(&versions, inputs, judged);
            });
            let Judged { mut versions, touched, .. } = judged.await?;
            versions.sort_unstable();
            let verdicts = Verdicts::Sessions { drop: versions };
            Ok(Rules { verdicts, log_topic: String::new(), touched, kept_back: 0, sums: Sums::default() })
        }
        _ => Ok(Rules {
            verdicts: Verdicts::None,
            log_topic: String::new(),
            touched: Vec::new(),
            kept_back: 0,
            sums: Sums::default(),
        }),
    }
}

#[derive(Default)]
struct Judged {
    drop: Vec<(i32, i64)>,
    flag: Vec<(i32, i64)>,
    versions: Vec<(u128, i64)>,
    touched: Vec<u32>,
    kept_back: u64,
}

impl Judged {
    fn has_room(&self) -> bool {
        self.drop.len() + self.flag.len() + self.versions.len() < VERDICTS_MAX
    }
}

/// Reads `columns` of all files compared, makes records of them, and has each bucket of records judged.
async fn judge_by<R: Record + Send + 'static>(
    lake: &Lake,
    snapshot: &Snapshot,
    job: &Job,
    columns: &[&str],
    records: fn(u32, &RecordBatch) -> Vec<R>,
    judge: impl Fn(Vec<R>, &mut Judged) + Send + 'static,
) -> Result<Judged, LakeError> {
    let files = job.compared();
    let rows = files.iter().map(|file| file.rows).sum();
    let settings = lake.settings().clone();
    let (to, mut from) = mpsc::channel::<(u32, RecordBatch)>(2);
    let work = move || -> Result<Judged, LakeError> {
        let mut buckets = Buckets::new(rows, &settings)?;
        while let Some((number, batch)) = from.blocking_recv() {
            for record in records(number, &batch) {
                buckets.push(record)?;
            }
        }
        let mut judged = Judged::default();
        buckets.each(|bucket| judge(bucket, &mut judged))?;
        judged.touched.sort_unstable();
        judged.touched.dedup();
        Ok(judged)
    };
    let (judged, fed) = tokio::join!(tokio::task::spawn_blocking(work), feed(snapshot, columns, &files, to));
    let judged = judged.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    fed.map(|()| judged)
}

/// Sorted by id, then by place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EventRecord {
    id: u128,
    partition: i32,
    offset: i64,
    content: i64,
    time_us: i64,
    flags: i64,
    file: u32,
}

impl Record for EventRecord {
    const BYTES: usize = 56;

    fn id(&self) -> u128 {
        self.id
    }

    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.id.to_le_bytes());
        to.extend(self.partition.to_le_bytes());
        to.extend(self.offset.to_le_bytes());
        to.extend(self.content.to_le_bytes());
        to.extend(self.time_us.to_le_bytes());
        to.extend(self.flags.to_le_bytes());
        to.extend(self.file.to_le_bytes());
    }

    fn get(from: &mut Bytes<'_>) -> Self {
        Self {
            id: u128::from_le_bytes(from.take()),
            partition: i32::from_le_bytes(from.take()),
            offset: i64::from_le_bytes(from.take()),
            content: i64::from_le_bytes(from.take()),
            time_us: i64::from_le_bytes(from.take()),
            flags: i64::from_le_bytes(from.take()),
            file: u32::from_le_bytes(from.take()),
        }
    }
}

fn event_records(file: u32, batch: &RecordBatch) -> Vec<EventRecord> {
    let (sources, ids) = (text(batch, "source"), text(batch, "event_id"));
    let (contents, times) = (int(batch, "content_hash"), int(batch, "event_time_us"));
    let (flags, offsets) = (int(batch, "flags"), int(batch, "log_offset"));
    let partitions = partitions(batch);
    let record = |row| {
        let mut hasher = Xxh3::new();
        hasher.update(sources.value(row).as_bytes());
        hasher.update(&[0]);
        hasher.update(ids.value(row).as_bytes());
        EventRecord {
            id: hasher.digest128(),
            partition: partitions.value(row),
            offset: offsets.value(row),
            content: contents.value(row),
            time_us: times.value(row),
            flags: flags.value(row),
            file,
        }
    };
    (0..batch.num_rows()).map(record).collect()
}

/// * `events`: sorted.
fn judge_events(events: &[EventRecord], needed_from: &BTreeMap<i32, i64>, judged: &mut Judged) {
    for same_id in events.chunk_by(|one, other| one.id == other.id).filter(|same_id| 1 < same_id.len()) {
        let mut kept: Vec<&EventRecord> = Vec::new();
        for event in same_id {
            let first = kept.iter().find(|kept| kept.content == event.content);
            match first {
                // One place of the log in two files is no duplicate but a broken table: `verify` tells it.
                Some(first) if (first.partition, first.offset) == (event.partition, event.offset) => {}
                Some(first) if may_go(event, first, needed_from) && judged.has_room() => {
                    judged.drop.push((event.partition, event.offset));
                    judged.touched.push(event.file);
                }
                Some(_) => judged.kept_back += 1,
                None => {
                    let is_flagged = EventFlags(event.flags).has(EventFlags::ID_COLLISION);
                    if !kept.is_empty() && !is_flagged && judged.has_room() {
                        judged.flag.push((event.partition, event.offset));
                        judged.touched.push(event.file);
                    }
                    kept.push(event);
                }
            }
        }
    }
}

/// Whether a session that is still open would be found again without this copy. See `CompactOptions::needed_from`.
fn may_go(copy: &EventRecord, first: &EventRecord, needed_from: &BTreeMap<i32, i64>) -> bool {
    EventFlags(copy.flags).has(EventFlags::LATE)
        || (copy.time_us == first.time_us && copy.partition == first.partition)
        || needed_from.get(&copy.partition).is_some_and(|from| copy.offset < *from)
}

/// Sorted by session, then by version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct VersionRecord {
    id: u128,
    version: i64,
    is_tombstone: bool,
    file: u32,
}

impl Record for VersionRecord {
    const BYTES: usize = 29;

    fn id(&self) -> u128 {
        self.id
    }

    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.id.to_le_bytes());
        to.extend(self.version.to_le_bytes());
        to.push(u8::from(self.is_tombstone));
        to.extend(self.file.to_le_bytes());
    }

    fn get(from: &mut Bytes<'_>) -> Self {
        let (id, version) = (u128::from_le_bytes(from.take()), i64::from_le_bytes(from.take()));
        let [is_tombstone] = from.take();
        Self { id, version, is_tombstone: is_tombstone != 0, file: u32::from_le_bytes(from.take()) }
    }
}

fn version_records(file: u32, batch: &RecordBatch) -> Vec<VersionRecord> {
    let (versions, superseded) = (int(batch, "version"), text(batch, "superseded_by"));
    let record =
        |(row, id)| VersionRecord { id, version: versions.value(row), is_tombstone: superseded.is_valid(row), file };
    session_ids(batch).enumerate().map(record).collect()
}

fn session_ids(batch: &RecordBatch) -> impl Iterator<Item = u128> {
    let ids = text(batch, "session_id");
    (0..ids.len()).map(|row| xxhash_rust::xxh3::xxh3_128(ids.value(row).as_bytes()))
}

/// * `versions`: sorted.
/// * `inputs`: how many of the files compared are rewritten in any case.
fn judge_versions(versions: &[VersionRecord], inputs: usize, judged: &mut Judged) {
    for of_one in versions.chunk_by(|one, other| one.id == other.id) {
        let newest = of_one.last().expect("a chunk is not empty");
        // A tombstone goes with all it buried, and only when all of that goes with it: alone it would raise the dead.
        let all_here = of_one.iter().all(|version| (version.file as usize) < inputs);
        let all_go = newest.is_tombstone && all_here;
        for version in of_one.iter().filter(|version| all_go || version.version < newest.version) {
            if !judged.has_room() {
                return;
            }
            judged.versions.push((version.id, version.version));
            judged.touched.push(version.file);
        }
    }
}

impl Rules {
    pub(super) fn touched(&self) -> &[u32] {
        &self.touched
    }

    pub(super) fn kept_back(&self) -> u64 {
        self.kept_back
    }

    pub(super) fn into_sums(self) -> Sums {
        self.sums
    }

    /// What stays of a batch, with its flags.
    pub(super) fn apply(&mut self, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
        let fault = |table, error| LakeError::Rows { table, reason: format!("its rows cannot be sifted: {error}") };
        match &self.verdicts {
            Verdicts::None => Ok(batch),
            Verdicts::Sessions { drop } if drop.is_empty() => Ok(batch),
            Verdicts::Sessions { drop } => {
                let versions = int(&batch, "version");
                let keep: BooleanArray = session_ids(&batch)
                    .enumerate()
                    .map(|(row, id)| Some(drop.binary_search(&(id, versions.value(row))).is_err()))
                    .collect();
                self.sums.versions += (keep.len() - keep.true_count()) as u64;
                filter_record_batch(&batch, &keep).map_err(|error| fault(Table::Sessions, error))
            }
            Verdicts::Events { drop, flag } => {
                let fault = |error| fault(Table::Events, error);
                let (partitions, offsets) = (partitions(&batch), int(&batch, "log_offset"));
                let place = |row| (partitions.value(row), offsets.value(row));
                let rows = 0..batch.num_rows();
                let keep: BooleanArray =
                    rows.clone().map(|row| Some(drop.is_empty() || drop.binary_search(&place(row)).is_err())).collect();
                let to_flag: Vec<usize> = match flag.is_empty() {
                    true => Vec::new(),
                    false => rows.filter(|row| flag.binary_search(&place(*row)).is_ok()).collect(),
                };
                self.sums.flagged += to_flag.len() as u64;
                let batch = if to_flag.is_empty() { batch } else { with_flags(batch, &to_flag).map_err(fault)? };
                if keep.true_count() == keep.len() {
                    return Ok(batch);
                }
                let gone =
                    arrow::compute::not(&keep).and_then(|gone| filter_record_batch(&batch, &gone)).map_err(fault)?;
                self.sums.duplicates.push(dead_letters::rows(&gone, &self.log_topic).map_err(fault)?);
                filter_record_batch(&batch, &keep).map_err(fault)
            }
        }
    }
}

fn with_flags(batch: RecordBatch, rows: &[usize]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let index = batch.schema().index_of("flags")?;
    let mut flags = int(&batch, "flags").values().to_vec();
    for row in rows {
        flags[*row] |= EventFlags::ID_COLLISION.0;
    }
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    columns[index] = Arc::new(Int64Array::from(flags));
    RecordBatch::try_new(batch.schema(), columns)
}

pub(super) fn text<'b>(batch: &'b RecordBatch, name: &str) -> &'b StringArray {
    batch.column_by_name(name).expect("it was asked for").as_string()
}

pub(super) fn int<'b>(batch: &'b RecordBatch, name: &str) -> &'b Int64Array {
    batch.column_by_name(name).expect("it was asked for").as_primitive::<Int64Type>()
}

pub(super) fn partitions(batch: &RecordBatch) -> &arrow::array::Int32Array {
    batch.column_by_name("log_partition").expect("it was asked for").as_primitive::<Int32Type>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: u128, content: i64, offset: i64) -> EventRecord {
        EventRecord { id, partition: 0, offset, content, time_us: 7, flags: 0, file: 0 }
    }

    fn judged(mut events: Vec<EventRecord>, needed_from: &[(i32, i64)]) -> Judged {
        events.sort_unstable();
        let mut judged = Judged::default();
        judge_events(&events, &needed_from.iter().copied().collect(), &mut judged);
        judged
    }

    #[test]
    fn of_one_content_the_first_in_the_log_stays() {
        let found = judged(vec![event(1, 5, 30), event(1, 5, 10), event(1, 5, 20), event(2, 5, 40)], &[]);
        assert_eq!((found.drop, found.flag.len(), found.kept_back), (vec![(0, 20), (0, 30)], 0, 0));
    }

    #[test]
    fn another_content_stays_flagged_and_its_own_copies_go() {
        let flagged = EventRecord { flags: EventFlags::ID_COLLISION.0, ..event(1, 8, 50) };
        let found = judged(vec![event(1, 5, 10), event(1, 6, 20), event(1, 5, 30), event(1, 6, 40), flagged], &[]);
        assert_eq!((found.drop, found.flag), (vec![(0, 30), (0, 40)], vec![(0, 20)]), "who is flagged is so already");
    }

    #[test]
    fn a_copy_that_could_move_an_open_session_stays_until_it_is_not_needed() {
        let later = EventRecord { time_us: 9, ..event(1, 5, 20) };
        assert_eq!(judged(vec![event(1, 5, 10), later], &[]).kept_back, 1);
        assert_eq!(judged(vec![event(1, 5, 10), later], &[(0, 20)]).kept_back, 1);
        assert_eq!(judged(vec![event(1, 5, 10), later], &[(0, 21)]).drop, [(0, 20)]);
        let late = EventRecord { flags: EventFlags::LATE.0, ..later };
        assert_eq!(judged(vec![event(1, 5, 10), late], &[]).drop, [(0, 20)]);
    }

    #[test]
    fn one_place_of_the_log_twice_is_not_taken_for_a_duplicate() {
        let found = judged(vec![event(1, 5, 10), EventRecord { file: 1, ..event(1, 5, 10) }], &[]);
        assert!(found.drop.is_empty());
    }

    #[test]
    fn of_a_session_the_newest_version_stays_and_a_tombstone_goes_with_all_it_buried() {
        let version = |id, version, is_tombstone, file| VersionRecord { id, version, is_tombstone, file };
        let judge = |inputs| {
            let versions = [
                version(1, 5, false, 0),
                version(1, 9, false, 1),
                version(2, 5, false, 1),
                version(2, 7, true, 0),
                version(3, 1, false, 0),
            ];
            let mut judged = Judged::default();
            judge_versions(&versions, inputs, &mut judged);
            judged.versions
        };
        assert_eq!(judge(2), [(1, 5), (2, 5), (2, 7)]);
        assert_eq!(judge(1), [(1, 5), (2, 5)], "version 5 of 2 lies in a file that may stay");
    }

    #[test]
    fn records_are_read_as_they_were_put() {
        let event = EventRecord { flags: -1, file: 3, ..event(u128::MAX - 5, i64::MIN, 12) };
        let version = VersionRecord { id: 77, version: -4, is_tombstone: true, file: 9 };
        let mut bytes = Vec::new();
        event.put(&mut bytes);
        assert_eq!(bytes.len(), EventRecord::BYTES);
        assert_eq!(EventRecord::get(&mut Bytes::of(&bytes)), event);
        bytes.clear();
        version.put(&mut bytes);
        assert_eq!(bytes.len(), VersionRecord::BYTES);
        assert_eq!(VersionRecord::get(&mut Bytes::of(&bytes)), version);
    }
}

//! Duplicates, written down before they go.
//!
//! In:      rows of `events` about to be dropped.
//! Out:     rows of `dead_letters` with the reason `duplicate`, as the stream job writes them.
//! Promise: one row a duplicate, however often a compaction is begun, broken off or made by two at once: what is there
//!          already is looked up, and a position of the table moves with what is added, so of two only one adds it.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Date32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::error::ArrowError;
use futures::TryStreamExt;
use tributary_schemas::{DeadReason, Table};

use super::judge::{int, partitions, text};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::snapshot::DataFile;
use crate::writer::Advance;

/// Moves by one with each commit of this module.
const POSITION: &str = "layout/duplicates";
const DAY_US: i64 = 86_400_000_000;

/// What becomes of rows of `events` that are there before.
pub(super) fn rows(events: &RecordBatch, log_topic: &str) -> Result<RecordBatch, ArrowError> {
    let count = events.num_rows();
    let same = |value: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(value, count))) as ArrayRef;
    let taken = |name: &str| events.column_by_name(name).expect("rows of `events` are whole").clone();
    let schema = Table::DeadLetters.arrow_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            name @ ("source" | "event_id" | "ingest_time_us" | "log_partition" | "log_offset") => taken(name),
            "dialect" => same("lake"),
            "reason" => same(DeadReason::Duplicate.as_str()),
            "detail" => same("the same event was accepted before; its first copy is in `events` (found at compaction)"),
            "payload_bytes" => Arc::new(Int64Array::from(vec![0; count])),
            "log_topic" => same(log_topic),
            "ingest_date" => {
                let day = |time_us: &i64| i32::try_from(time_us.div_euclid(DAY_US)).unwrap_or(0);
                let days = int(events, "ingest_time_us").values().iter().map(day);
                Arc::new(Date32Array::from_iter_values(days))
            }
            _ => new_null_array(field.data_type(), count),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect())
}

pub(super) async fn write_down(lake: &Lake, duplicates: &[RecordBatch]) -> Result<(), LakeError> {
    if duplicates.is_empty() {
        return Ok(());
    }
    let table = Table::DeadLetters;
    let mut writer = lake.writer(table).await?;
    for _ in 0..lake.settings().race_tries_max.max(1) {
        let snapshot = writer.snapshot();
        let known = known_places(&snapshot, duplicates).await?;
        let mut missing = Vec::new();
        for batch in duplicates {
            let is_new: BooleanArray = places(batch).map(|place| Some(!known.contains(&place))).collect();
            let new = filter_record_batch(batch, &is_new)
                .map_err(|error| LakeError::Rows { table, reason: error.to_string() })?;
            if 0 < new.num_rows() {
                missing.push(new);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let expected = snapshot.txn(POSITION);
        let next = expected.unwrap_or(0) + 1;
        let advance = Advance { app_id: POSITION.to_owned(), expected, next };
        match writer.append(missing, &[advance]).await {
            Ok(_) => return Ok(()),
            Err(LakeError::Fenced { .. }) => writer.refresh().await?,
            Err(error) => return Err(error),
        }
    }
    Err(LakeError::Contended { table, tries: lake.settings().race_tries_max })
}

type Place = (String, i32, i64);

fn places(batch: &RecordBatch) -> impl Iterator<Item = Place> {
    let (topics, partitions, offsets) = (text(batch, "log_topic"), partitions(batch), int(batch, "log_offset"));
    (0..batch.num_rows()).map(|row| (topics.value(row).to_owned(), partitions.value(row), offsets.value(row)))
}

/// Those of the places that are in the table already.
async fn known_places(
    snapshot: &crate::snapshot::Snapshot,
    duplicates: &[RecordBatch],
) -> Result<BTreeSet<Place>, LakeError> {
    let wanted: BTreeSet<Place> = duplicates.iter().flat_map(places).collect();
    let offsets = || duplicates.iter().flat_map(|batch| int(batch, "log_offset").values().iter().copied());
    let (low, high) = (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0));
    // Whoever wrote the row down before had the same time of receipt.
    let days: BTreeSet<i64> = duplicates
        .iter()
        .flat_map(|batch| int(batch, "ingest_time_us").values().iter())
        .map(|time_us| time_us.div_euclid(DAY_US))
        .collect();
    let may_hold = |file: &DataFile| {
        file.day().is_none_or(|day| days.contains(&day))
            && file.max_i64("log_offset").is_none_or(|max| low <= max)
            && file.min_i64("log_offset").is_none_or(|min| min <= high)
    };
    let mut batches = snapshot.read(&["log_topic", "log_partition", "log_offset", "reason"], may_hold);
    let mut known = BTreeSet::new();
    while let Some(batch) = batches.try_next().await? {
        let reasons = text(&batch, "reason");
        for (row, place) in places(&batch).enumerate() {
            if reasons.is_valid(row) && reasons.value(row) == DeadReason::Duplicate.as_str() && wanted.contains(&place)
            {
                known.insert(place);
            }
        }
    }
    Ok(known)
}

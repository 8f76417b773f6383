//! The promises of the lake, held against real files.
//!
//! Reading order: `rows` (what is written), `round_trip`, `positions`, `definition`, `log`, `compact`, `upkeep`, then the
//! two that matter most: `race` (many writers, one position) and `faults` (a store that lies about what it did); and `s3`, all of it
//! once more on a bucket behind a bad line.
#![allow(clippy::unwrap_used, clippy::cast_possible_wrap, reason = "tests of small numbers")]

mod compact;
mod definition;
mod faults;
mod log;
mod positions;
mod race;
mod round_trip;
mod rows;
mod s3;
mod upkeep;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use tributary_lake::{Lake, LakeSettings, Snapshot};
use tributary_schemas::Table;

fn settings(folder: &tempfile::TempDir) -> LakeSettings {
    LakeSettings { url: folder.path().to_str().unwrap().to_owned(), fsync: false, ..LakeSettings::default() }
}

async fn open(folder: &tempfile::TempDir) -> Lake {
    Lake::open(settings(folder)).await.unwrap()
}

/// All rows of a snapshot as one batch.
async fn all_rows(snapshot: &Snapshot) -> RecordBatch {
    let schema = snapshot.schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let batches: Vec<RecordBatch> = snapshot.read(&names, |_| true).try_collect().await.unwrap();
    concat_batches(&schema, &batches).unwrap()
}

/// The values of a column of whole numbers, sorted.
async fn sorted_column(snapshot: &Snapshot, column: &str) -> Vec<i64> {
    let batches: Vec<RecordBatch> = snapshot.read(&[column], |_| true).try_collect().await.unwrap();
    let mut values: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    values.sort_unstable();
    values
}

/// Asserts that each offset below `end` is there once.
async fn assert_each_offset_once(lake: &Lake, table: Table, end: i64) {
    let offsets = sorted_column(&lake.snapshot(table).await.unwrap(), "log_offset").await;
    assert_eq!(offsets, (0..end).collect::<Vec<_>>());
}

//! One version of one table, as it will stay for ever.
//!
//! In:      the state of the table's log at a version.
//! Out:     its files with their statistics, its positions, its rows.
//! Promise: never changes, cheap to clone, valid as long as nobody deletes files under it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use tributary_schemas::Table;

use crate::compact::day_of;
use crate::error::LakeError;
use crate::log_state::LogState;
use crate::read::{self, RowTest};
use crate::statistics::{Bound, ColumnStatistics};

/// A live Parquet file of a table. Cheap to clone: lists of them are copied after every commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// From the lake's root, table folder first: what `Lake::object_store` calls it.
    pub path: Arc<str>,
    pub size_bytes: u64,
    pub rows: u64,
    /// Partition columns in the table's order; dates as `2026-11-22`, `None` for null.
    pub partition: Arc<[(String, Option<String>)]>,
    /// By column name; bounds may be wider than the values.
    pub stats: Arc<[(String, ColumnStatistics)]>,
    /// Milliseconds since 1970, UTC.
    pub modified_ms: i64,
    /// Its rows stand in the order of `Table::sort_columns`.
    pub sorted: bool,
    /// Compaction has compared its rows with all others of its partition.
    pub settled: bool,
}

impl DataFile {
    /// The day of its rows, counted from 1970; `None` where the table is not cut by day.
    pub fn day(&self) -> Option<i64> {
        day_of(&self.partition)
    }

    pub fn column(&self, name: &str) -> Option<&ColumnStatistics> {
        self.stats.iter().find(|(column, _)| column == name).map(|(_, statistics)| statistics)
    }

    pub fn min_i64(&self, column: &str) -> Option<i64> {
        self.column(column)?.min.as_ref().and_then(Bound::as_i64)
    }

    pub fn max_i64(&self, column: &str) -> Option<i64> {
        self.column(column)?.max.as_ref().and_then(Bound::as_i64)
    }

    pub fn min_text(&self, column: &str) -> Option<&str> {
        self.column(column)?.min.as_ref().and_then(Bound::as_text)
    }

    pub fn max_text(&self, column: &str) -> Option<&str> {
        self.column(column)?.max.as_ref().and_then(Bound::as_text)
    }

    pub fn null_count(&self, column: &str) -> Option<u64> {
        self.column(column)?.null_count
    }

    /// The value of a partition column; `None` when it is null or no partition column.
    pub fn partition_value(&self, column: &str) -> Option<&str> {
        self.partition.iter().find(|(name, _)| name == column)?.1.as_deref()
    }
}

impl Bound {
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Text(_) => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            Self::Int(_) => None,
        }
    }
}

#[derive(Clone)]
pub struct Snapshot {
    table: Table,
    schema: SchemaRef,
    state: LogState,
    store: Arc<dyn ObjectStore>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{} ({} files)", self.table.name(), self.version(), self.files().len())
    }
}

impl Snapshot {
    pub(crate) fn new(table: Table, schema: SchemaRef, state: LogState, store: Arc<dyn ObjectStore>) -> Self {
        Self { table, schema, state, store }
    }

    pub(crate) fn state(&self) -> &LogState {
        &self.state
    }

    pub fn table(&self) -> Table {
        self.table
    }

    /// The table's own id, made with it: one that was made anew in the same place has another.
    pub fn table_id(&self) -> &str {
        &self.state.id
    }

    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// Oldest first, as far as the log still tells.
    pub fn files(&self) -> &[DataFile] {
        &self.state.files
    }

    /// The position committed under `app_id`, if ever.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.state.positions.get(app_id).copied()
    }

    /// All positions ever committed, by app id.
    pub fn txns(&self) -> impl Iterator<Item = (&str, i64)> {
        self.state.positions.iter().map(|(app_id, position)| (app_id.as_str(), *position))
    }

    /// The table's definition in this program; columns younger than a file read as null from it.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Reads `columns`, in the order asked, from the files `keep` keeps, in the order of `files`; within a
    /// file in the order written. Partition columns are filled in from the partition values.
    pub fn read(
        &self,
        columns: &[&str],
        keep: impl Fn(&DataFile) -> bool,
    ) -> BoxStream<'static, Result<RecordBatch, LakeError>> {
        self.read_where(columns, keep, &[])
    }

    /// The same, and of these files only the rows that pass all of `tests`, which are asked in their order.
    pub fn read_where(
        &self,
        columns: &[&str],
        keep: impl Fn(&DataFile) -> bool,
        tests: &[RowTest],
    ) -> BoxStream<'static, Result<RecordBatch, LakeError>> {
        let files = self.files().iter().filter(|file| keep(file)).cloned().collect();
        read::read(self.table, &self.schema, self.store.clone(), files, columns, tests)
    }

    /// The same from these files of it, in this order.
    pub fn read_files(
        &self,
        columns: &[&str],
        files: Vec<DataFile>,
    ) -> BoxStream<'static, Result<RecordBatch, LakeError>> {
        read::read(self.table, &self.schema, self.store.clone(), files, columns, &[])
    }
}

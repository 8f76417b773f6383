//! How a table stands, told from its log and folder alone.
//!
//! In:      a table.
//! Out:     counts, ages and positions.
//! Promise: no file of rows is opened, so it costs little on a table of any size.

use deltalake_core::kernel::Version;
use futures::TryStreamExt;
use object_store::path::Path;
use tributary_schemas::Table;

use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_load::pick_checkpoint;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStatus {
    pub table: Table,
    pub version: Version,
    pub files: u64,
    pub bytes: u64,
    pub rows: u64,
    /// Less than half as large as a compacted file shall be.
    pub small_files: u64,
    /// In the table's order.
    pub sorted_files: u64,
    /// Compared with all of their day.
    pub settled_files: u64,
    pub days: u64,
    /// As `2026-11-22`.
    pub oldest_day: Option<String>,
    pub newest_day: Option<String>,
    /// The version of the newest checkpoint.
    pub checkpoint: Option<Version>,
    /// Entries of the log: what a cleaning would make fewer.
    pub log_entries: u64,
    pub is_append_only: bool,
    /// A newer program has added columns: this one compacts nothing.
    pub has_unknown_columns: bool,
    /// By app id.
    pub positions: Vec<(String, i64)>,
}

impl Lake {
    pub async fn status(&self, table: Table) -> Result<TableStatus, LakeError> {
        let snapshot = self.snapshot(table).await?;
        let log = Path::from(table.name()).join("_delta_log");
        let store = self.object_store();
        let listed = store.list(Some(&log)).map_ok(|meta| meta.location);
        let listed: Vec<Path> =
            listed.try_collect().await.map_err(|source| LakeError::storage("listing the log of a table", source))?;
        let files = snapshot.files();
        let count =
            |is: &dyn Fn(&crate::snapshot::DataFile) -> bool| files.iter().filter(|file| is(file)).count() as u64;
        let small = self.settings().compact_file_bytes / 2;
        let mut days: Vec<&str> = files.iter().filter_map(|file| file.partition.first()?.1.as_deref()).collect();
        days.sort_unstable();
        days.dedup();
        Ok(TableStatus {
            table,
            version: snapshot.version(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.size_bytes).sum(),
            rows: files.iter().map(|file| file.rows).sum(),
            small_files: count(&|file| file.size_bytes < small),
            sorted_files: count(&|file| file.sorted),
            settled_files: count(&|file| file.settled),
            days: days.len() as u64,
            oldest_day: days.first().map(|day| (*day).to_owned()),
            newest_day: days.last().map(|day| (*day).to_owned()),
            checkpoint: pick_checkpoint(&listed, snapshot.version()).map(|checkpoint| checkpoint.version),
            log_entries: listed.iter().filter(|path| path.extension() == Some("json")).count() as u64,
            is_append_only: snapshot.state().is_append_only,
            has_unknown_columns: snapshot.state().has_unknown_columns,
            positions: snapshot.txns().map(|(app_id, position)| (app_id.to_owned(), position)).collect(),
        })
    }
}

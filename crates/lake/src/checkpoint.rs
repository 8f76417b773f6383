//! Checkpoints: the log summed up, so that opening a table reads little.
//!
//! In:      a version that was just committed.
//! Out:     its checkpoint, if one is due.
//! Promise: one that fails costs readers time, never truth, so it only warns: the next one is due soon.

use deltalake_core::{DeltaTable, DeltaTableError, checkpoints};
use tributary_schemas::Table;

use crate::lake::Lake;

pub(crate) async fn if_due(lake: &Lake, table: Table, version: u64) {
    if version.is_multiple_of(lake.settings().checkpoint_interval_commits.max(1)) {
        write(lake, table, version).await;
    }
}

/// Whether it was written.
pub(crate) async fn write(lake: &Lake, table: Table, version: u64) -> bool {
    let mut handle = DeltaTable::new(lake.log(table).clone());
    // The Delta kernel writes it on the thread that asks: on one of its own, not one that carries everyone's tasks.
    let runtime = tokio::runtime::Handle::current();
    let writing = tokio::task::spawn_blocking(move || {
        runtime.block_on(async {
            handle.load_version(version).await?;
            checkpoints::create_checkpoint(&handle, None).await
        })
    });
    let written = writing.await.unwrap_or_else(|error| Err(DeltaTableError::generic(error.to_string())));
    if let Err(error) = &written {
        tracing::warn!(table = table.name(), version, %error, "no checkpoint written");
    }
    written.is_ok()
}

//! The one way new rows get into a table.
//!
//! In:       batches, and the positions that move with them.
//! Out:      one Delta commit, or nothing anyone can see.
//! Promise:  a commit is a compare-and-swap (`commit`) on the positions it moves. So a writer that lost a position without
//!           knowing can never commit, however late its request arrives.
//! Not here: compaction. delta-rs commit retries (they rebase on newer versions) and `optimize`.
//!
//! A crash anywhere before the conditional put leaves files nobody refers to, for `vacuum`; after it, the rows and the
//! positions are both there.

use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use deltalake_core::kernel::{Action, Transaction};
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tributary_schemas::Table;

use crate::actions;
use crate::checkpoint;
use crate::commit::{Landed, Proposal, Tries};
use crate::encode::{self, EncodedFile};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_load;
use crate::log_state::{LogState, lake_path};
use crate::snapshot::{DataFile, Snapshot};

/// Move of one position: the commit happens only if the table's position under `app_id` is `expected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    pub app_id: String,
    /// `None`: never set.
    pub expected: Option<i64>,
    pub next: i64,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The table version that holds it.
    pub version: u64,
    pub files: usize,
    pub bytes: u64,
    pub rows: u64,
    /// The answer to the commit was lost and the log told that it had happened.
    pub settled: bool,
}

/// Writes one table. Keeps what it knows of the log between appends, so the next one reads only news.
pub struct TableWriter {
    lake: Lake,
    table: Table,
    state: LogState,
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableWriter({}@{})", self.table.name(), self.state.version)
    }
}

impl TableWriter {
    pub(crate) fn new(lake: Lake, table: Table, state: LogState) -> Self {
        Self { lake, table, state }
    }

    /// The table as this writer last saw it.
    pub fn snapshot(&self) -> Snapshot {
        self.lake.snapshot_of(self.table, self.state.clone())
    }

    /// Looks what others committed since.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.catch_up().await
    }

    /// Writes the rows, one file a partition value, and commits files and positions together.
    ///
    /// * `batches`: columns as in `Table::arrow_schema`, in that order; may be empty.
    /// * `advances`: at most one an app id.
    ///
    /// On `Fenced` nothing was committed and nothing will be. On any other error the outcome may be open;
    /// the same call may be made again and is then either `Ok`, or `Fenced` if the first had gone through.
    pub async fn append(&mut self, batches: Vec<RecordBatch>, advances: &[Advance]) -> Result<Committed, LakeError> {
        // Looked at before any work, so that a writer that has lost its position does not fill the disk.
        let mut tries = Tries::new(self.lake.settings().storage_tries_max);
        while let Err(error) = self.catch_up().await {
            tries.pause_or(error).await?;
        }
        check_positions(self.table, &self.state, advances)?;
        let begun_ms = self.lake.now_ms();
        let files = self.upload(batches).await?;
        let committed = self.commit(&files, advances, begun_ms).await;
        if let Err(LakeError::Fenced { .. }) = &committed {
            self.discard(&files).await;
        }
        let committed = committed?;
        checkpoint::if_due(&self.lake, self.table, committed.version).await;
        Ok(committed)
    }

    /// Writes the files, all or none: what an upload that failed leaves behind, no commit can name any more. (Files of a
    /// life that was killed stay until `vacuum`.)
    async fn upload(&self, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>, LakeError> {
        let (table, settings) = (self.table, self.lake.settings().clone());
        let schema = self.lake.schema(table).clone();
        let encoding = tokio::task::spawn_blocking(move || encode::encode(table, &schema, batches, &settings));
        let encoded = encoding.await.expect("encoding does not panic and is never cancelled")?;
        let paths: Vec<String> = encoded.iter().map(|file| lake_path(table, &file.path)).collect();
        // Those under way are waited for, so that none arrives after it was taken back; the others are not begun.
        let failed = AtomicBool::new(false);
        let uploads = encoded.into_iter().map(|file| {
            let failed = &failed;
            async move {
                if failed.load(Ordering::Relaxed) {
                    return None;
                }
                let uploaded = self.upload_file(file).await;
                failed.fetch_or(uploaded.is_err(), Ordering::Relaxed);
                Some(uploaded)
            }
        });
        let uploads = futures::stream::iter(uploads).buffered(self.lake.settings().uploads_max.max(1));
        let uploaded: Vec<Option<Result<DataFile, LakeError>>> = uploads.collect().await;
        let files: Result<Vec<DataFile>, LakeError> = uploaded.into_iter().flatten().collect();
        if files.is_err() {
            self.delete(paths.iter().map(String::as_str)).await;
        }
        files
    }

    async fn upload_file(&self, file: EncodedFile) -> Result<DataFile, LakeError> {
        let path = lake_path(self.table, &file.path);
        let location = Path::from(path.as_str());
        let store = self.lake.object_store();
        let mut tries = Tries::new(self.lake.settings().storage_tries_max);
        while let Err(source) = store.put(&location, PutPayload::from(file.bytes.clone())).await {
            tries.pause_or(LakeError::storage(format!("writing {path}"), source)).await?;
        }
        Ok(DataFile {
            path: path.into(),
            size_bytes: file.bytes.len() as u64,
            rows: file.rows,
            partition: file.partition.into(),
            stats: file.statistics.into(),
            modified_ms: self.lake.now_ms(),
            sorted: false,
            settled: false,
        })
    }

    async fn commit(
        &mut self,
        files: &[DataFile],
        advances: &[Advance],
        begun_ms: i64,
    ) -> Result<Committed, LakeError> {
        let table = self.table;
        let adds = files.iter().map(|file| Action::Add(actions::add(table, file, true)));
        let txns = advances.iter().map(|advance| Action::Txn(Transaction::new(&advance.app_id, advance.next)));
        let proposal = Proposal::new("STREAMING UPDATE", adds.chain(txns), begun_ms);
        let may = |state: &LogState| check_positions(table, state, advances);
        let Landed { version, settled } = proposal.commit(&self.lake, table, &mut self.state, may).await?;
        if !settled {
            let moved = advances.iter().map(|advance| (advance.app_id.clone(), advance.next)).collect();
            self.state.advance(files.to_vec(), moved);
        }
        Ok(Committed {
            version,
            files: files.len(),
            bytes: files.iter().map(|file| file.size_bytes).sum(),
            rows: files.iter().map(|file| file.rows).sum(),
            settled,
        })
    }

    async fn catch_up(&mut self) -> Result<(), LakeError> {
        log_load::catch_up(&self.lake, self.table, &mut self.state, None).await
    }

    /// Takes back files of a commit that can no longer happen: every version it was tried as is another's.
    async fn discard(&self, files: &[DataFile]) {
        let (live, unused): (Vec<&DataFile>, Vec<&DataFile>) =
            files.iter().partition(|file| self.state.files.iter().any(|live| live.path == file.path));
        for file in live {
            tracing::error!(path = &*file.path, "a file of a fenced commit is live: kept, please report this");
        }
        self.delete(unused.into_iter().map(|file| &*file.path)).await;
    }

    async fn delete(&self, paths: impl Iterator<Item = &str>) {
        let store = self.lake.object_store();
        for path in paths {
            if let Err(error) = store.delete(&Path::from(path)).await {
                tracing::debug!(path, %error, "an unused file stays behind");
            }
        }
    }
}

fn check_positions(table: Table, state: &LogState, advances: &[Advance]) -> Result<(), LakeError> {
    for advance in advances {
        let found = state.positions.get(&advance.app_id).copied();
        if found != advance.expected {
            let Advance { app_id, expected, .. } = advance.clone();
            return Err(LakeError::Fenced { table, app_id, expected, found });
        }
    }
    Ok(())
}

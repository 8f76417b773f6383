//! The one way rows get into a table.
//!
//! In:       batches, and the positions that move with them.
//! Out:      one Delta commit, or nothing anyone can see.
//! Promise:  a commit is a compare-and-swap: it is made against the version whose positions were checked,
//!           as exactly the next version, by a conditional put. So a writer that lost a position without
//!           knowing can never commit, however late its request arrives.
//! Not here: compaction. delta-rs commit retries (they rebase on newer versions) and `optimize`.
//!
//! A crash anywhere before the conditional put leaves files nobody refers to; after it, the rows and the
//! positions are both there. When the answer to a put is lost, the next read of the log tells: each commit
//! carries a mark (`log_state::MARK`) that only its writer knows. A put still under way can land later,
//! but only as the one version it was made for: either this writer then finds its mark there, or another
//! commit holds that version and the late one fails. (Whoever adds log cleanup: it must keep versions for
//! longer than any request can be under way, or a late put finds its version free again.)

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use deltalake_core::DeltaTable;
use deltalake_core::checkpoints;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, Add, CommitInfo, Transaction};
use deltalake_core::logstore::CommitOrBytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tributary_schemas::Table;
use uuid::Uuid;

use crate::encode::{self, EncodedFile};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_load::{self, Lookout};
use crate::log_state::{LogState, MARK, lake_path};
use crate::snapshot::{DataFile, Snapshot};
use crate::statistics;

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
        Snapshot::new(self.table, self.state.clone(), self.lake.object_store())
    }

    /// Looks what others committed since.
    pub async fn refresh(&mut self) -> Result<(), LakeError> {
        self.catch_up(None).await
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
        while let Err(error) = self.catch_up(None).await {
            tries.pause_or(error).await?;
        }
        self.check_positions(advances)?;
        let files = self.upload(batches).await?;
        let commit = Commit::new(self.table, files, advances);
        let committed = self.commit(&commit, advances).await;
        if let Err(LakeError::Fenced { .. }) = &committed {
            self.discard(&commit.files).await;
        }
        let committed = committed?;
        self.checkpoint_if_due(committed.version).await;
        Ok(committed)
    }

    fn check_positions(&self, advances: &[Advance]) -> Result<(), LakeError> {
        for advance in advances {
            let found = self.state.positions.get(&advance.app_id).copied();
            if found != advance.expected {
                let Advance { app_id, expected, .. } = advance.clone();
                return Err(LakeError::Fenced { table: self.table, app_id, expected, found });
            }
        }
        Ok(())
    }

    /// Writes the files, all or none: what an upload that failed leaves behind, no commit can name any more. (Files of a
    /// life that was killed stay; nothing sweeps them yet.)
    async fn upload(&self, batches: Vec<RecordBatch>) -> Result<Vec<DataFile>, LakeError> {
        let (table, settings) = (self.table, self.lake.settings().clone());
        let encoding = tokio::task::spawn_blocking(move || encode::encode(table, batches, &settings));
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
        })
    }

    async fn commit(&mut self, commit: &Commit, advances: &[Advance]) -> Result<Committed, LakeError> {
        let mut storage_tries = Tries::new(self.lake.settings().storage_tries_max);
        let mut lookout = Lookout { mark: &commit.mark, found_version: None };
        for _ in 0..self.lake.settings().race_tries_max.max(1) {
            self.check_positions(advances)?;
            let version = self.state.version + 1;
            let log = self.lake.log(self.table).clone();
            let bytes = CommitOrBytes::LogBytes(commit.bytes(self.lake.now_ms()));
            match log.write_commit_entry(version, bytes, Uuid::nil()).await {
                Ok(()) => {
                    self.state.advance(commit.files.clone(), commit.positions());
                    return Ok(commit.committed(version, false));
                }
                // Another's commit; or our own, if the store tried twice and met the file of its first try.
                Err(TransactionError::VersionAlreadyExists(_)) => {}
                Err(error) => {
                    tracing::warn!(table = self.table.name(), version, %error, "the answer to a commit is lost; asking the log");
                    storage_tries.pause_or(LakeError::log(self.table, "committing", error.into())).await?;
                }
            }
            while let Err(error) = self.catch_up(Some(&mut lookout)).await {
                storage_tries.pause_or(error).await?;
            }
            if let Some(version) = lookout.found_version {
                return Ok(commit.committed(version, true));
            }
        }
        Err(LakeError::Contended { table: self.table, tries: self.lake.settings().race_tries_max })
    }

    async fn catch_up(&mut self, lookout: Option<&mut Lookout<'_>>) -> Result<(), LakeError> {
        let log = self.lake.log(self.table).clone();
        log_load::catch_up(self.table, &log, &mut self.state, lookout).await
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

    /// Sums the log up. A checkpoint that fails costs readers time, never truth, so it only warns: the
    /// next one is due soon.
    async fn checkpoint_if_due(&self, version: u64) {
        if !version.is_multiple_of(self.lake.settings().checkpoint_interval_commits.max(1)) {
            return;
        }
        let mut handle = DeltaTable::new(self.lake.log(self.table).clone());
        // The Delta kernel writes it on the thread that asks: on one of its own, not one that carries everyone's tasks.
        let runtime = tokio::runtime::Handle::current();
        let writing = tokio::task::spawn_blocking(move || {
            runtime.block_on(async {
                handle.load_version(version).await?;
                checkpoints::create_checkpoint(&handle, None).await
            })
        });
        let error = match writing.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(table = self.table.name(), version, error, "no checkpoint written");
    }
}

/// Attempts at a storage operation, with pauses of 5, 10, 20 ... 1000 ms between them.
struct Tries {
    made: u32,
    max: u32,
}

impl Tries {
    const PAUSE_FIRST: Duration = Duration::from_millis(5);
    const PAUSE_MAX: Duration = Duration::from_secs(1);

    fn new(max: u32) -> Self {
        Self { made: 0, max }
    }

    /// Waits before the next attempt, or gives up with `error`. A full disk is given up at once: waiting
    /// here would only hide it.
    async fn pause_or(&mut self, error: LakeError) -> Result<(), LakeError> {
        self.made += 1;
        if self.max <= self.made
            || error.advice() != crate::Advice::Retry
            || matches!(error, LakeError::DiskFull { .. })
        {
            return Err(error);
        }
        let pause = Self::PAUSE_FIRST.saturating_mul(1 << (self.made - 1).min(16)).min(Self::PAUSE_MAX);
        tracing::debug!(%error, ?pause, "trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// A commit ready to be tried as any version.
struct Commit {
    files: Vec<DataFile>,
    advances: Vec<Advance>,
    mark: String,
    adds_and_txns: Vec<String>,
}

impl Commit {
    #[expect(clippy::disallowed_methods, reason = "the mark must be one that no other writer can have")]
    fn new(table: Table, files: Vec<DataFile>, advances: &[Advance]) -> Self {
        let adds = files.iter().map(|file| Action::Add(add(table, file)));
        let txns = advances.iter().map(|advance| Action::Txn(Transaction::new(&advance.app_id, advance.next)));
        let lines = adds.chain(txns).map(|action| line(&action)).collect();
        Self { files, advances: advances.to_vec(), mark: Uuid::new_v4().to_string(), adds_and_txns: lines }
    }

    fn bytes(&self, now_ms: i64) -> Bytes {
        let info = CommitInfo {
            timestamp: Some(now_ms),
            operation: Some("STREAMING UPDATE".to_owned()),
            engine_info: Some(concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned()),
            info: [(MARK.to_owned(), self.mark.clone().into())].into(),
            ..CommitInfo::default()
        };
        let mut text = line(&Action::CommitInfo(info));
        for line in &self.adds_and_txns {
            text.push('\n');
            text.push_str(line);
        }
        text.into()
    }

    fn positions(&self) -> Vec<(String, i64)> {
        self.advances.iter().map(|advance| (advance.app_id.clone(), advance.next)).collect()
    }

    fn committed(&self, version: u64, settled: bool) -> Committed {
        Committed {
            version,
            files: self.files.len(),
            bytes: self.files.iter().map(|file| file.size_bytes).sum(),
            rows: self.files.iter().map(|file| file.rows).sum(),
            settled,
        }
    }
}

fn line(action: &Action) -> String {
    serde_json::to_string(action).expect("an action of texts and numbers can be written as JSON")
}

fn add(table: Table, file: &DataFile) -> Add {
    let path = file.path.strip_prefix(table.name()).and_then(|path| path.strip_prefix('/'));
    Add {
        path: path.expect("files of a table lie in its folder").to_owned(),
        partition_values: file.partition.iter().cloned().collect(),
        size: i64::try_from(file.size_bytes).expect("a file is smaller than 8 EiB"),
        modification_time: file.modified_ms,
        data_change: true,
        stats: Some(statistics::to_json(file.rows, &file.stats)),
        ..Add::default()
    }
}

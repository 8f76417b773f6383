//! Files that nobody refers to any more, deleted.
//!
//! In:       a table; how long versions must stay readable.
//! Out:      fewer files: those removed longer ago than that, those of writers that were killed before their commit, and with
//!           `sessions` the objects of state (`STATE_FOLDER`) that are as old.
//! Promise:  a file stays if a version of the last `horizon` refers to it, or if it is itself younger. All ages are taken by
//!           the store's own clock, never by ours or a writer's. So no reader of such a version, and no upload that still
//!           waits for its commit (`commit::WORK_MS_MAX`), loses a file.
//! Not here: entries of the log (`log_cleanup`).

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::Path as FilePath;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deltalake_core::kernel::Action;
use deltalake_core::logstore::get_actions;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutPayload};
use tributary_schemas::Table;
use uuid::Uuid;

use crate::commit::WORK_MS_MAX;
use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_state::lake_path;
use crate::snapshot::Snapshot;

const HOUR_MS: i64 = 3_600_000;
/// Twice as long as anybody may be at work between a file and its commit.
pub(crate) const HORIZON_HOURS_MIN: u64 = 24;
const _: () = assert!(2 * WORK_MS_MAX <= 24 * HOUR_MS);

/// Where the stream job keeps what it remembers, from the lake's root.
pub const STATE_FOLDER: &str = "_state";

/// Entries of the log read at the same time.
const COMMITS_IN_FLIGHT: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VacuumOptions {
    /// Versions of the last so many hours stay readable.
    pub horizon_hours: u64,
    /// Allows a horizon under which running work may be hit. For a lake that nobody writes or reads.
    pub force: bool,
    /// Only says what would go.
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Vacuumed {
    pub files: u64,
    pub bytes: u64,
    /// Files no live version names that are too young, or needed by a version that is.
    pub files_waiting: u64,
    /// Entries of the log and checkpoints.
    pub log_entries: u64,
}

impl Lake {
    /// Deletes what no version within the horizon needs. Any number may do so at once, beside any number of writers.
    pub async fn vacuum(&self, table: Table, options: &VacuumOptions) -> Result<Vacuumed, LakeError> {
        let VacuumOptions { horizon_hours: hours, force, dry_run } = *options;
        if hours < HORIZON_HOURS_MIN && !force {
            return Err(LakeError::HorizonTooShort { hours, floor: HORIZON_HOURS_MIN });
        }
        let failed = |source| LakeError::storage(format!("sweeping table {}", table.name()), source);
        let horizon_ms = i64::try_from(hours).unwrap_or(i64::MAX / HOUR_MS).saturating_mul(HOUR_MS);
        let oldest_ms = self.store_now_ms().await?.saturating_sub(horizon_ms);
        // The log first, the folder after it: a file named meanwhile is in the folder already and young.
        let snapshot = self.snapshot(table).await?;
        let mut needed: HashSet<String> = self.removed_since(table, oldest_ms).await?;
        needed.extend(snapshot.files().iter().map(|file| file.path.to_string()));

        let store = self.object_store();
        let folder = Path::from(table.name());
        let log = folder.clone().join("_delta_log");
        let mut done = Vacuumed::default();
        let mut gone: Vec<Path> = Vec::new();
        let live: HashSet<&str> = snapshot.files().iter().map(|file| &*file.path).collect();
        let mut listed = store.list(Some(&folder));
        while let Some(ObjectMeta { location, last_modified, size, .. }) = listed.try_next().await.map_err(failed)? {
            if location.prefix_matches(&log) || live.contains(location.as_ref()) {
                continue;
            }
            if needed.contains(location.as_ref()) || oldest_ms < last_modified.timestamp_millis() {
                done.files_waiting += 1;
                continue;
            }
            done.files += 1;
            done.bytes += size;
            gone.push(location);
        }
        if !dry_run {
            self.delete_all(gone).await.map_err(failed)?;
        }
        let (files, bytes) = self.sweep_staged(table.name(), oldest_ms, dry_run).await?;
        done.files += files;
        done.bytes += bytes;
        if table == Table::Sessions {
            let (files, bytes) = self.sweep_states(&snapshot, oldest_ms, dry_run).await?;
            done.files += files;
            done.bytes += bytes;
        }
        done.log_entries = self.clean_log(table, dry_run).await?;
        Ok(done)
    }

    /// Objects of state that grew as old: whoever writes them deletes those before, but not those of a worker that was
    /// killed between one and its commit. One that the table names stays whatever its age: a partition where little happens
    /// writes no other.
    async fn sweep_states(&self, sessions: &Snapshot, oldest_ms: i64, dry_run: bool) -> Result<(u64, u64), LakeError> {
        let failed = |source| LakeError::storage("sweeping objects of state", source);
        let store = self.object_store();
        let listed = store.list(Some(&Path::from(STATE_FOLDER)));
        let states = sessions.txns().filter(|(app_id, _)| app_id.ends_with("/state"));
        let positions: HashSet<i64> = states.map(|(_, position)| position).collect();
        let is_named = |meta: &ObjectMeta| {
            let name = meta.location.filename().and_then(|name| name.split_once('.'));
            name.and_then(|(position, _)| position.parse().ok()).is_some_and(|at| positions.contains(&at))
        };
        let is_old = |meta: &ObjectMeta| {
            std::future::ready(meta.last_modified.timestamp_millis() < oldest_ms && !is_named(meta))
        };
        let old: Vec<ObjectMeta> = listed.try_filter(is_old).try_collect().await.map_err(failed)?;
        let bytes: u64 = old.iter().map(|meta| meta.size).sum();
        let gone: Vec<Path> = old.into_iter().map(|meta| meta.location).collect();
        let files = gone.len() as u64;
        if !dry_run {
            self.delete_all(gone).await.map_err(failed)?;
        }
        let (staged, staged_bytes) = self.sweep_staged(STATE_FOLDER, oldest_ms, dry_run).await?;
        Ok((files + staged, bytes + staged_bytes))
    }

    /// On a local disk, what a writer had not finished when it was killed: such files are in no listing.
    async fn sweep_staged(&self, folder: &str, oldest_ms: i64, dry_run: bool) -> Result<(u64, u64), LakeError> {
        let Ok(root) = self.url().to_file_path() else { return Ok((0, 0)) };
        let folder = root.join(folder);
        if !folder.exists() {
            return Ok((0, 0));
        }
        let oldest = UNIX_EPOCH + Duration::from_millis(u64::try_from(oldest_ms).unwrap_or(0));
        let swept = tokio::task::spawn_blocking(move || sweep_folder(&folder, oldest, dry_run)).await;
        swept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(|source| {
            LakeError::storage(
                "sweeping half-written files",
                object_store::Error::Generic { store: "local disk", source: Box::new(source) },
            )
        })
    }

    /// What the store takes for now: a file is written and asked when it was.
    pub(crate) async fn store_now_ms(&self) -> Result<i64, LakeError> {
        let failed = |source| LakeError::storage("asking the store for the time", source);
        #[expect(clippy::disallowed_methods, reason = "of two that ask at once neither may take the other's file away")]
        let location = Path::from(format!("_clock/{}", Uuid::new_v4()));
        let store = self.object_store();
        store.put(&location, PutPayload::from_static(b"what time is it?")).await.map_err(failed)?;
        let asked = store.head(&location).await;
        if let Err(error) = store.delete(&location).await {
            tracing::debug!(%location, %error, "a file that asked for the time stays behind");
        }
        Ok(asked.map_err(failed)?.last_modified.timestamp_millis())
    }

    /// Files that a commit younger than `oldest_ms` removed: versions before it need them.
    async fn removed_since(&self, table: Table, oldest_ms: i64) -> Result<HashSet<String>, LakeError> {
        let store = self.object_store();
        let failed = |source| LakeError::storage(format!("reading the log of {}", table.name()), source);
        let log = Path::from(table.name()).join("_delta_log");
        let young = store.list(Some(&log)).try_filter(|meta| {
            let is_commit = meta.location.extension() == Some("json");
            std::future::ready(is_commit && oldest_ms <= meta.last_modified.timestamp_millis())
        });
        let young: Vec<Path> = young.map_ok(|meta| meta.location).try_collect().await.map_err(failed)?;
        let mut commits = futures::stream::iter(young)
            .map(|location| {
                let store = store.clone();
                async move {
                    match store.get(&location).await {
                        Ok(found) => found.bytes().await.map(Some),
                        // Cleaned from the log since it was listed, so it was older than it need be.
                        Err(object_store::Error::NotFound { .. }) => Ok(None),
                        Err(error) => Err(error),
                    }
                }
            })
            .buffer_unordered(COMMITS_IN_FLIGHT);
        let mut removed = HashSet::new();
        while let Some(bytes) = commits.try_next().await.map_err(failed)? {
            let Some(bytes) = bytes else { continue };
            let actions = get_actions(0, &bytes).map_err(|source| LakeError::log(table, "reading a commit", source))?;
            removed.extend(actions.into_iter().filter_map(|action| match action {
                Action::Remove(remove) => Some(lake_path(table, &remove.path)),
                _ => None,
            }));
        }
        Ok(removed)
    }

    pub(crate) async fn delete_all(&self, gone: Vec<Path>) -> object_store::Result<()> {
        let mut deleted = self.object_store().delete_stream(futures::stream::iter(gone.into_iter().map(Ok)).boxed());
        loop {
            match deleted.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Ok(()),
                // Another was faster.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Files and bytes.
fn sweep_folder(folder: &FilePath, oldest: SystemTime, dry_run: bool) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            let (inner_files, inner_bytes) = sweep_folder(&entry.path(), oldest, dry_run)?;
            files += inner_files;
            bytes += inner_bytes;
        } else if is_staged(&entry.file_name().to_string_lossy()) {
            // Its writer may be about to give it its name.
            let found = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                found => found?,
            };
            if oldest < found.modified()? {
                continue;
            }
            if !dry_run {
                match std::fs::remove_file(entry.path()) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            files += 1;
            bytes += found.len();
        }
    }
    Ok((files, bytes))
}

/// As `durable_store` and `LocalFileSystem` name them.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#')
        .is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

//! The lake as a whole: where it is, and the way to its tables.
//!
//! In:      settings; or a store of the caller's, for tests that inject faults.
//! Out:     snapshots and writers of the tables.
//! Promise: after `open` every table of `schemas::Table::ALL` is there and is the one defined here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tributary_schemas::{Clock, SystemClock, Table};
use url::Url;

use crate::definition;
use crate::durable_store::DurableStore;
use crate::error::LakeError;
use crate::log_load;
use crate::log_state::LogState;
use crate::settings::LakeSettings;
use crate::snapshot::Snapshot;
use crate::writer::TableWriter;

/// Handle of a lake. Clones are cheap and share what they have read.
#[derive(Clone)]
pub struct Lake {
    inner: Arc<Inner>,
}

struct Inner {
    settings: LakeSettings,
    url: Url,
    store: Arc<dyn ObjectStore>,
    clock: Arc<dyn Clock>,
    logs: HashMap<Table, LogStoreRef>,
    /// The newest state seen of each table: the next snapshot only reads the commits since.
    newest: Mutex<HashMap<Table, LogState>>,
}

impl Lake {
    /// Opens the lake at `settings.url`, making the folder and the tables that are missing.
    pub async fn open(settings: LakeSettings) -> Result<Self, LakeError> {
        let folder = local_folder(&settings.url)?;
        let fault = |reason: String| LakeError::Location { url: settings.url.clone(), reason };
        std::fs::create_dir_all(&folder).map_err(|error| fault(format!("the folder cannot be made: {error}")))?;
        let folder = folder.canonicalize().map_err(|error| fault(format!("the folder cannot be entered: {error}")))?;
        let url = Url::from_directory_path(&folder).map_err(|()| fault("its path cannot be a URL".to_owned()))?;
        let files = LocalFileSystem::new();
        let store: Arc<dyn ObjectStore> = match settings.fsync {
            true => Arc::new(DurableStore::new(files)),
            false => Arc::new(files),
        };
        Self::at(settings, url, store, Arc::new(SystemClock)).await
    }

    /// Opens the lake in a store of the caller's. `settings.url` must be a URL; its path is where the lake
    /// stands inside `store`.
    pub async fn with_store(
        settings: LakeSettings,
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LakeError> {
        let mut url = Url::parse(&settings.url)
            .map_err(|error| LakeError::Location { url: settings.url.clone(), reason: error.to_string() })?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Self::at(settings, url, store, clock).await
    }

    async fn at(
        settings: LakeSettings,
        url: Url,
        root: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LakeError> {
        let fault = |reason: String| LakeError::Location { url: url.to_string(), reason };
        let mut logs = HashMap::new();
        for table in Table::ALL {
            let table_url = url.join(&format!("{}/", table.name())).map_err(|error| fault(error.to_string()))?;
            let prefix = Path::from_url_path(table_url.path()).map_err(|error| fault(error.to_string()))?;
            let prefixed: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(root.clone(), prefix));
            let log = default_logstore(prefixed, root.clone(), &table_url, &StorageConfig::default());
            logs.insert(*table, log);
        }
        let prefix = Path::from_url_path(url.path()).map_err(|error| fault(error.to_string()))?;
        let store = Arc::new(PrefixStore::new(root, prefix));
        let inner = Inner { settings, url, store, clock, logs, newest: Mutex::default() };
        let lake = Self { inner: Arc::new(inner) };
        for table in Table::ALL {
            let interval = lake.settings().checkpoint_interval_commits.max(1);
            definition::create_if_missing(*table, lake.log(*table), interval, lake.now_ms()).await?;
            lake.snapshot(*table).await?;
        }
        Ok(lake)
    }

    pub fn url(&self) -> &Url {
        &self.inner.url
    }

    /// The store with the lake's root as its root: `DataFile::path` is a path in it.
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        self.inner.store.clone()
    }

    /// The newest version of a table.
    pub async fn snapshot(&self, table: Table) -> Result<Snapshot, LakeError> {
        let seen = self.newest().get(&table).cloned();
        let state = match seen {
            Some(mut state) => {
                log_load::catch_up(table, self.log(table), &mut state, None).await?;
                state
            }
            None => log_load::load(table, self.log(table)).await?,
        };
        let mut newest = self.newest();
        let kept = newest.entry(table).or_insert_with(|| state.clone());
        if kept.version < state.version {
            *kept = state.clone();
        }
        drop(newest);
        Ok(Snapshot::new(table, state, self.object_store()))
    }

    /// A writer that starts from the newest version. Any number of writers may write one table; the
    /// positions they move decide who wins.
    pub async fn writer(&self, table: Table) -> Result<TableWriter, LakeError> {
        let snapshot = self.snapshot(table).await?;
        Ok(TableWriter::new(self.clone(), table, snapshot.state().clone()))
    }

    pub(crate) fn settings(&self) -> &LakeSettings {
        &self.inner.settings
    }

    pub(crate) fn log(&self, table: Table) -> &LogStoreRef {
        self.inner.logs.get(&table).expect("every table of Table::ALL got its log when the lake was opened")
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.clock.now_us() / 1_000
    }

    fn newest(&self) -> std::sync::MutexGuard<'_, HashMap<Table, LogState>> {
        // Whoever panicked with the lock held cannot have left half a state: states are put in whole.
        self.inner.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lake({})", self.inner.url)
    }
}

/// The folder a lake lies in, by its `lake.url`: a path, or a `file://` URL.
pub fn local_folder(url: &str) -> Result<PathBuf, LakeError> {
    let fault = |reason: &str| LakeError::Location { url: url.to_owned(), reason: reason.to_owned() };
    if url.is_empty() {
        return Err(fault("give a folder or a file:// URL"));
    }
    if !url.contains("://") {
        return Ok(PathBuf::from(url));
    }
    let parsed = Url::parse(url).map_err(|error| fault(&error.to_string()))?;
    if parsed.scheme() != "file" {
        return Err(fault("only a folder or a file:// URL is supported yet"));
    }
    parsed.to_file_path().map_err(|()| fault("a file:// URL needs an absolute path: file:///data/lake"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_its_url_are_the_same_place() {
        assert_eq!(local_folder("/data/lake").unwrap(), PathBuf::from("/data/lake"));
        assert_eq!(local_folder("file:///data/a%20lake").unwrap(), PathBuf::from("/data/a lake"));
    }

    #[test]
    fn a_place_that_cannot_be_a_lake_is_refused_with_what_to_give() {
        for url in ["", "s3://bucket/lake", "file://host/lake"] {
            let error = local_folder(url).unwrap_err();
            assert!(matches!(error, LakeError::Location { .. }), "{url}: {error}");
        }
    }
}

//! The lake as a whole: where it is, and the way to its tables.
//!
//! In:      settings; or a store of the caller's, for tests that inject faults.
//! Out:     snapshots and writers of the tables.
//! Promise: after `open` every table of `schemas::Table::ALL` is there and is the one defined here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use deltalake_core::logstore::{LogStoreRef, StorageConfig, default_logstore};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use tributary_schemas::{Clock, SystemClock, Table};
use url::Url;

use crate::definition;
use crate::error::LakeError;
use crate::location;
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
    /// The columns of each table as this program knows them.
    schemas: HashMap<Table, SchemaRef>,
    logs: HashMap<Table, LogStoreRef>,
    /// The newest state seen of each table: the next snapshot only reads the commits since.
    newest: Mutex<HashMap<Table, LogState>>,
}

impl Lake {
    /// Opens the lake at `settings.url`, making the folder, the tables and the columns that are missing.
    pub async fn open(settings: LakeSettings) -> Result<Self, LakeError> {
        let (url, store) = location::open(&settings)?;
        Self::at(settings, url, store, Arc::new(SystemClock), own_schemas()).await
    }

    /// Opens the lake in a store of the caller's. `settings.url` must be a URL; its path is where the lake
    /// stands inside `store`.
    pub async fn with_store(
        settings: LakeSettings,
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, LakeError> {
        Self::with_schemas(settings, store, clock, own_schemas()).await
    }

    /// The same for a program whose tables are others than those of `schemas`: an older one, or one to come.
    pub async fn with_schemas(
        settings: LakeSettings,
        store: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        schemas: HashMap<Table, SchemaRef>,
    ) -> Result<Self, LakeError> {
        let url = Url::parse(&settings.url)
            .map_err(|error| LakeError::Location { url: settings.url.clone(), reason: error.to_string() })?;
        Self::at(settings, location::folder_url(url), store, clock, schemas).await
    }

    /// Whether there is a lake already, so that a slip in the path does not make one.
    pub async fn is_there(settings: &LakeSettings) -> Result<bool, LakeError> {
        if let Some(folder) = location::local_folder(&settings.url)? {
            return Ok(folder.join(Table::Events.name()).join("_delta_log").is_dir());
        }
        let (url, store) = location::open(settings)?;
        let failed = |source| LakeError::storage("looking for the lake", source);
        let log = path_of(&url)?.join(Table::Events.name()).join("_delta_log");
        Ok(store.list(Some(&log)).try_next().await.map_err(failed)?.is_some())
    }

    async fn at(
        settings: LakeSettings,
        url: Url,
        root: Arc<dyn ObjectStore>,
        clock: Arc<dyn Clock>,
        schemas: HashMap<Table, SchemaRef>,
    ) -> Result<Self, LakeError> {
        let mut logs = HashMap::new();
        for table in Table::ALL {
            let table_url = url.join(&format!("{}/", table.name()));
            let table_url =
                table_url.map_err(|error| LakeError::Location { url: url.to_string(), reason: error.to_string() })?;
            let prefixed: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(root.clone(), path_of(&table_url)?));
            let log = default_logstore(prefixed, root.clone(), &table_url, &StorageConfig::default());
            logs.insert(*table, log);
        }
        let store = Arc::new(PrefixStore::new(root, path_of(&url)?));
        let inner = Inner { settings, url, store, clock, schemas, logs, newest: Mutex::default() };
        let lake = Self { inner: Arc::new(inner) };
        for table in Table::ALL {
            definition::create_if_missing(&lake, *table).await?;
            definition::add_missing_columns(&lake, *table).await?;
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
                log_load::catch_up(self, table, &mut state, None).await?;
                state
            }
            None => log_load::load(self, table).await?,
        };
        let mut newest = self.newest();
        let kept = newest.entry(table).or_insert_with(|| state.clone());
        if kept.version < state.version {
            *kept = state.clone();
        }
        drop(newest);
        Ok(self.snapshot_of(table, state))
    }

    /// The id of a table as it was last seen, without a look at it.
    pub fn table_id_seen(&self, table: Table) -> Option<Arc<str>> {
        self.newest().get(&table).map(|state| Arc::clone(&state.id))
    }

    /// A version of a table that another process has pinned. An error if it is not there (yet, or any more).
    pub async fn snapshot_at(&self, table: Table, version: u64) -> Result<Snapshot, LakeError> {
        let seen = self.newest().get(&table).cloned();
        let state = log_load::at(self, table, seen, version).await?;
        Ok(self.snapshot_of(table, state))
    }

    pub(crate) fn snapshot_of(&self, table: Table, state: LogState) -> Snapshot {
        Snapshot::new(table, self.schema(table).clone(), state, self.object_store())
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

    pub(crate) fn schema(&self, table: Table) -> &SchemaRef {
        self.inner.schemas.get(&table).expect("whoever opens a lake knows the columns of every table")
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

fn own_schemas() -> HashMap<Table, SchemaRef> {
    Table::ALL.iter().map(|table| (*table, table.arrow_schema())).collect()
}

/// Where a URL points inside its store.
fn path_of(url: &Url) -> Result<Path, LakeError> {
    Path::from_url_path(url.path())
        .map_err(|error| LakeError::Location { url: url.to_string(), reason: error.to_string() })
}

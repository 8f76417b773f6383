//! The map at a version of `identities`, kept for the next question.
//!
//! In:      a snapshot, or a query for the links that may be seen.
//! Out:     the map of it.
//! Promise: of links not more than `identity_links_max`; at most two maps at a time, and two only while a question still
//!          uses the older one.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{LogicalPlanBuilder, cast};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::col;
use futures::TryStreamExt;
use tokio::sync::Mutex;
use tributary_analytics::identity::{IdentityMap, IdentityRule, Said};
use tributary_lake::Snapshot;
use tributary_schemas::{LinkAction, LinkKind, Table};

use crate::error::QueryError;
use crate::settings::QuerySettings;

#[derive(Debug)]
pub(crate) struct Identities {
    rule: IdentityRule,
    links_max: u64,
    held: Mutex<Option<Held>>,
    /// Of the links one access sees: an `Identities` is asked for these or for all, never for both.
    held_allowed: Mutex<Option<(Versions, Arc<IdentityMap>)>>,
}

type Versions = Vec<(Table, u64)>;

/// Where the links of a question are told.
#[derive(Debug, Clone)]
pub(crate) enum Links {
    /// All there are.
    All(Snapshot),
    /// Those an access sees.
    Allowed(Arc<AllowedLinks>),
}

/// The persons of a question.
#[derive(Debug, Clone)]
pub(crate) struct Persons {
    pub(crate) links: Links,
    /// Which keeps the map of these links for the next question.
    pub(crate) identities: Arc<Identities>,
}

impl Persons {
    pub(crate) async fn map(&self) -> Result<Arc<IdentityMap>, DataFusionError> {
        match &self.links {
            Links::All(snapshot) => self.identities.at(snapshot).await,
            Links::Allowed(links) => self.identities.allowed(links).await,
        }
    }

    /// Where all links are told.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match &self.links {
            Links::All(snapshot) => Some(snapshot),
            Links::Allowed(_) => None,
        }
    }
}

/// A query for the links that are seen.
#[derive(Debug)]
pub(crate) struct AllowedLinks {
    /// Of the tables it reads.
    pub(crate) versions: Versions,
    /// In which it has a meaning.
    pub(crate) session: SessionState,
    pub(crate) sql: String,
}

impl AllowedLinks {
    async fn rows(&self) -> Result<SendableRecordBatchStream, DataFusionError> {
        let plan = self.session.create_logical_plan(&self.sql).await?;
        let text = |name: &str| cast(col(name), DataType::Utf8).alias(name);
        let column = |name: &&str| if *name == "event_time_us" { col(*name) } else { text(name) };
        let plan = LogicalPlanBuilder::from(plan).project(COLUMNS.iter().map(column))?.build()?;
        let plan = self.session.create_physical_plan(&plan).await?;
        execute_stream(plan, self.session.task_ctx())
    }
}

#[derive(Debug)]
struct Held {
    version: u64,
    /// By path: a file of the lake never changes.
    files: HashSet<Arc<str>>,
    map: Arc<IdentityMap>,
}

const COLUMNS: [&str; 7] = ["source", "anonymous_id", "user_id", "action", "kind", "event_time_us", "event_id"];

impl Identities {
    pub(crate) fn new(settings: &QuerySettings) -> Self {
        let rule = IdentityRule {
            users_per_device_max: settings.identity_users_per_device_max,
            devices_per_user_max: settings.identity_devices_per_user_max,
            aliases_max: settings.identity_aliases_max,
        };
        Self { rule, links_max: settings.identity_links_max, held: Mutex::new(None), held_allowed: Mutex::new(None) }
    }

    /// Made anew whenever a table has a newer version: a link may come to be seen by an event that came later than it.
    async fn allowed(&self, links: &AllowedLinks) -> Result<Arc<IdentityMap>, DataFusionError> {
        let mut slot = self.held_allowed.lock().await;
        if let Some((_, map)) = slot.as_ref().filter(|(versions, _)| *versions == links.versions) {
            return Ok(Arc::clone(map));
        }
        let mut map = IdentityMap::new(self.rule);
        let mut count = 0;
        let mut batches = links.rows().await?;
        while let Some(batch) = batches.try_next().await? {
            count += batch.num_rows() as u64;
            if self.links_max < count {
                return Err(external(QueryError::TooManyLinks { links: count, links_max: self.links_max }));
            }
            add(&mut map, &batch);
        }
        map.settle();
        let map = Arc::new(map);
        *slot = Some((links.versions.clone(), Arc::clone(&map)));
        Ok(map)
    }

    pub(crate) async fn at(&self, snapshot: &Snapshot) -> Result<Arc<IdentityMap>, DataFusionError> {
        let links = snapshot.files().iter().map(|file| file.rows).sum::<u64>();
        if self.links_max < links {
            return Err(external(QueryError::TooManyLinks { links, links_max: self.links_max }));
        }
        let mut slot = self.held.lock().await;
        if let Some(held) = slot.as_ref().filter(|held| held.version == snapshot.version()) {
            return Ok(Arc::clone(&held.map));
        }
        let files: HashSet<Arc<str>> = snapshot.files().iter().map(|file| Arc::clone(&file.path)).collect();
        if slot.as_ref().is_some_and(|held| snapshot.version() < held.version) {
            // A question that pinned before another: it has a map for itself, and the newer stays.
            return Ok(Arc::new(self.grown(IdentityMap::new(self.rule), snapshot, &HashSet::new()).await?));
        }
        // Taken out, so that a reading that fails or is given up leaves no half a map behind.
        let held = slot.take().filter(|held| held.files.is_subset(&files));
        let (map, known) = match held {
            // Where nobody uses the former map any more, it is grown in place; else a copy is.
            Some(held) => (Arc::unwrap_or_clone(held.map), held.files),
            // The first, or files were put together: all is read anew.
            None => (IdentityMap::new(self.rule), HashSet::new()),
        };
        let map = Arc::new(self.grown(map, snapshot, &known).await?);
        *slot = Some(Held { version: snapshot.version(), files, map: Arc::clone(&map) });
        Ok(map)
    }

    /// The map with what the files say that are not `known`.
    async fn grown(
        &self,
        mut map: IdentityMap,
        snapshot: &Snapshot,
        known: &HashSet<Arc<str>>,
    ) -> Result<IdentityMap, DataFusionError> {
        let begun = tokio::time::Instant::now();
        let mut batches = snapshot.read(&COLUMNS, |file| !known.contains(&file.path));
        while let Some(batch) = batches.try_next().await.map_err(|error| external(QueryError::Lake(error)))? {
            add(&mut map, &batch);
        }
        map.settle();
        tracing::debug!(links = map.link_count(), elapsed_ms = begun.elapsed().as_millis(), "persons are known anew");
        Ok(map)
    }
}

fn add(map: &mut IdentityMap, batch: &RecordBatch) {
    let [sources, ids, users, actions, kinds, event_ids] =
        [0, 1, 2, 3, 4, 6].map(|column| batch.column(column).as_string::<i32>());
    let times = batch.column(5).as_primitive::<Int64Type>();
    for row in 0..batch.num_rows() {
        // A word of a newer version is passed over: what it does is not known here.
        let Some(action) = LinkAction::parse(actions.value(row)) else { continue };
        // Rows of former versions have no kind; most were of an identify.
        let kind = kinds.is_valid(row).then(|| LinkKind::parse(kinds.value(row))).flatten();
        map.add(&Said {
            source: sources.value(row),
            id: ids.value(row),
            user_id: users.value(row),
            action,
            kind: kind.unwrap_or(LinkKind::Identify),
            event_time_us: times.value(row),
            event_id: event_ids.value(row),
        });
    }
}

fn external(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

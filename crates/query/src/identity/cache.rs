//! The map at a version of `identities`, kept for the next question.
//!
//! In:      a snapshot.
//! Out:     the map of it.
//! Promise: of links not more than `identity_links_max`; at most two maps at a time, and two only while a question still
//!          uses the older one.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::error::DataFusionError;
use futures::TryStreamExt;
use tokio::sync::Mutex;
use tributary_analytics::identity::{IdentityMap, IdentityRule, Said};
use tributary_lake::Snapshot;
use tributary_schemas::{LinkAction, LinkKind};

use crate::error::QueryError;
use crate::settings::QuerySettings;

#[derive(Debug)]
pub(crate) struct Identities {
    rule: IdentityRule,
    links_max: u64,
    held: Mutex<Option<Held>>,
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
        Self { rule, links_max: settings.identity_links_max, held: Mutex::new(None) }
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

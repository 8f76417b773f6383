//! What the stream job tells of itself, and where a lake stands: for people, not for recovery.
//!
//! In:      the partitions of a running job; or the tables of a lake nobody needs to be writing.
//! Out:     gauges; positions and watermarks by partition.
//! Promise: looks and never moves anything; what it reads first (`events`) is never ahead of what it reads after.
//! Not here: what a figure means for whoever is on duty (`docs/ops.md`), lag, which needs the log (the binary).

use std::collections::BTreeMap;

use tributary_eventlog::TopicInfo;
use tributary_lake::{Lake, Snapshot};
use tributary_schemas::Table;

use crate::commit::{AppIds, Owned, Positions, Snapshots, lake_error};
use crate::error::PipelineError;
use crate::job::rule_of;
use crate::repair::Repaired;
use crate::settings::PipelineSettings;

const OPEN_SESSIONS: &str = "tributary_open_sessions";
const REMEMBERED_IDS: &str = "tributary_remembered_event_ids";
const REMEMBERED_BYTES: &str = "tributary_remembered_event_ids_bytes";
const STATE_BYTES: &str = "tributary_session_state_bytes";
const WATERMARK: &str = "tributary_watermark_timestamp_seconds";
const FAULTS: &str = "tributary_pipeline_faults_total";
const OWNED: &str = "tributary_owned_partitions";
pub(crate) const FENCED: &str = "tributary_pipeline_fenced_total";
pub(crate) const MOVED: &str = "tributary_partitions_moved_total";
pub(crate) const WITHOUT_RATE: &str = "tributary_values_without_rate_total";
const EVENTS: &str = "tributary_pipeline_events_total";

const REPAIRED: &str = "tributary_repaired_late_events_total";
const REPAIRS_GIVEN_UP: &str = "tributary_repairs_given_up_total";

/// What a repair did.
pub(crate) fn count_repair(repaired: &Repaired) {
    metrics::counter!(REPAIRED).increment(repaired.late_events as u64);
    metrics::counter!(REPAIRS_GIVEN_UP).increment(repaired.given_up as u64);
}

/// Gives the metrics of this crate their help texts; the binary calls it once its recorder stands.
pub fn describe_metrics() {
    metrics::describe_gauge!(OPEN_SESSIONS, "Sessions that an event can still change.");
    metrics::describe_gauge!(REMEMBERED_IDS, "Event ids remembered for deduplication.");
    metrics::describe_gauge!(REMEMBERED_BYTES, metrics::Unit::Bytes, "Memory they take.");
    metrics::describe_gauge!(
        WATERMARK,
        "How far event time has come, by partition and source; seconds since 1970, UTC."
    );
    metrics::describe_counter!(FAULTS, "Times the job had to stop and begin again where the tables stand.");
    metrics::describe_gauge!(OWNED, "Partitions of the events topic that this worker owns.");
    metrics::describe_counter!(REPAIRED, "Late events that were put into their sessions afterwards.");
    metrics::describe_counter!(
        REPAIRS_GIVEN_UP,
        "Spans of late events that could not be cut anew: events of them are gone."
    );
    metrics::describe_gauge!(STATE_BYTES, metrics::Unit::Bytes, "Memory the open sessions take.");
    metrics::describe_counter!(FENCED, "Times another worker had moved this one's positions.");
    metrics::describe_counter!(MOVED, "Partitions that came from or went to other workers of the group.");
    metrics::describe_counter!(EVENTS, "Records taken from the log, by what became of them.");
    metrics::describe_counter!(
        WITHOUT_RATE,
        "Amounts that have no value in the reporting currency, for want of a rate."
    );
    metrics::describe_histogram!(
        "tributary_commit_seconds",
        metrics::Unit::Seconds,
        "Time of one commit of one table, files included."
    );
    metrics::describe_counter!("tributary_lake_rows_total", "Rows committed, by table.");
    metrics::describe_counter!("tributary_lake_bytes_total", "Bytes of files committed, by table.");
    // An alert on growth needs a beginning.
    metrics::counter!(FAULTS).increment(0);
}

/// Called after every commit and every recovery.
pub(crate) fn publish(events: &[Owned]) {
    let sum = |of: fn(&Owned) -> usize| events.iter().map(of).sum::<usize>() as f64;
    metrics::gauge!(OPEN_SESSIONS).set(sum(|owned| owned.fold.sessions.open_sessions()));
    metrics::gauge!(OWNED).set(events.len() as f64);
    let held = |owned: &Owned| owned.fold.sessions.state_bytes() - owned.fold.sessions.waiting_bytes();
    metrics::gauge!(STATE_BYTES).set(sum(held));
    metrics::gauge!(REMEMBERED_IDS).set(sum(|owned| owned.fold.ids.len()));
    metrics::gauge!(REMEMBERED_BYTES).set(sum(|owned| owned.fold.ids.bytes()));
    for Owned { fold, .. } in events {
        for (source, watermark_us) in fold.sessions.watermarks() {
            let partition = fold.partition.to_string();
            metrics::gauge!(WATERMARK, "partition" => partition, "source" => source.to_owned())
                .set(watermark_us as f64 / 1e6);
        }
    }
}

/// Where the tables stand, in the log's own offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// Every partition of the events topic, ascending.
    pub events: Vec<PartitionStanding>,
    /// Next offset of each partition of the dead-letters topic; `None` is "never committed".
    pub dead_letters: Vec<(u32, Option<u64>)>,
    /// Ids of other topics that rows of this lake came from.
    pub foreign_topics: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionStanding {
    pub partition: u32,
    /// Everything below is in `events`, or set apart in `dead_letters`.
    pub events: Option<u64>,
    /// Everything below is in `sessions`; it may lag behind `events` where no session changed.
    pub sessions: Option<u64>,
    /// The newest receipt among the rows in `events`.
    pub newest_us: Option<i64>,
    /// The fingerprint of the session rule the rows were judged by.
    pub rule: Option<i64>,
    /// By source, at the position `sessions`.
    pub watermarks: BTreeMap<String, i64>,
}

/// The tables a standing was read from: what else is asked of them then fits it.
pub struct Tables {
    pub events: Snapshot,
    pub sessions: Snapshot,
    pub identities: Snapshot,
    pub dead_letters: Snapshot,
}

impl Tables {
    /// The newest version of each. `events` first: whatever it says is set apart is in the others by then.
    pub async fn read(lake: &Lake) -> Result<Self, PipelineError> {
        let read = async |table: Table| lake.snapshot(table).await.map_err(|error| lake_error(table, error));
        Ok(Self {
            events: read(Table::Events).await?,
            sessions: read(Table::Sessions).await?,
            identities: read(Table::Identities).await?,
            dead_letters: read(Table::DeadLetters).await?,
        })
    }

    pub fn all(&self) -> [&Snapshot; 4] {
        [&self.events, &self.sessions, &self.identities, &self.dead_letters]
    }

    pub fn standing(&self, events: &TopicInfo, dead_letters: &TopicInfo) -> Standing {
        let snapshots = Snapshots {
            events: self.events.clone(),
            sessions: self.sessions.clone(),
            identities: self.identities.clone(),
            dead_letters: self.dead_letters.clone(),
        };
        let of_partition = |partition| {
            let Positions { events, newest_us, rule, sessions, watermarks, .. } =
                Positions::read(&snapshots, events, partition);
            let offset = |position: Option<i64>| position.map(i64::cast_unsigned);
            PartitionStanding {
                partition,
                events: offset(events),
                sessions: offset(sessions),
                newest_us,
                rule,
                watermarks,
            }
        };
        let dead = AppIds(&dead_letters.topic_id);
        let dead_at = |partition| self.dead_letters.txn(&dead.dead_letters(partition)).map(i64::cast_unsigned);
        Standing {
            events: (0..events.partitions).map(of_partition).collect(),
            dead_letters: (0..dead_letters.partitions).map(|partition| (partition, dead_at(partition))).collect(),
            foreign_topics: self.foreign_topics(&events.topic_id),
        }
    }

    /// Topics other than this one whose positions stand in `events`, by their ids.
    fn foreign_topics(&self, own: &str) -> Vec<String> {
        let topics = self.events.txns().filter_map(|(app_id, _)| {
            let (topic, partition) = app_id.strip_prefix("ing/")?.rsplit_once('/')?;
            partition.parse::<u32>().ok()?;
            (topic != own).then(|| topic.to_owned())
        });
        let mut topics: Vec<String> = topics.collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }
}

/// The fingerprint rows are judged by under these settings; compare with [`PartitionStanding::rule`].
pub fn rule_fingerprint(settings: &PipelineSettings) -> i64 {
    rule_of(settings).fingerprint()
}

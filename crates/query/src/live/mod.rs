//! Live tables: what is committed, and what the stream job has read since, as one table.
//!
//! In:       sources that answer for the log's tail (`LiveSource`), local or of another process.
//! Out:      `events_live`, `session_history_live`; the views `sessions_live`, `person_events_live` and `person_sessions_live` over them.
//! Promise:  one prefix of the log: the pinned snapshots and the tail meet without a gap and without a double, or the
//!           question is refused with what to do. The tail is asked for once, when the question's turn comes, and only for
//!           a question that names a live table.
//! Not here: where the tail comes from (`pipeline`), and HTTP between processes (the binary). `query` knows neither.

mod table;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tributary_lake::{Lake, LakeError, Snapshot};
use tributary_schemas::Table;

use crate::catalog;

pub(crate) use table::LiveTable;
pub use wire::{WireError, decode, encode};

/// Where a process with a stream job answers others for its tail.
pub const PATH: &str = "/v1/live/tail";

/// Who answers for the tail of some partitions of the log.
#[async_trait]
pub trait LiveSource: std::fmt::Debug + Send + Sync {
    /// Within a bounded time.
    async fn tail(&self, asked: &LiveAsked) -> Result<LiveRows, LiveFault>;
}

/// What the asker has: the positions stored with its snapshots, by app id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveAsked {
    pub events: HashMap<String, i64>,
    pub sessions: HashMap<String, i64>,
    pub wants_sessions: bool,
}

/// What it lacks.
#[derive(Debug, Clone, Default)]
pub struct LiveRows {
    /// (partition, next offset): with these rows the asker has all before it.
    pub positions: Vec<(u32, u64)>,
    /// How many partitions the log's topic has.
    pub partitions: u32,
    /// With the columns of the table `events`.
    pub events: Vec<RecordBatch>,
    /// With the columns of the table `sessions`.
    pub sessions: Vec<RecordBatch>,
}

#[derive(Debug, Clone)]
pub enum LiveFault {
    /// The asker's snapshots are older, or newer, than what the source can go on from.
    PinAnew,
    /// It cannot be asked now, and why.
    Away(String),
}

/// All who together answer for all partitions.
#[derive(Debug, Clone, Default)]
pub struct LiveSources {
    /// The stream job of this process; other processes may ask for it.
    pub own: Option<Arc<dyn LiveSource>>,
    /// Those of other processes.
    pub others: Vec<Arc<dyn LiveSource>>,
}

/// What a question got of the tail.
#[derive(Debug, Clone, Default)]
pub(crate) enum Live {
    /// It names no live table.
    #[default]
    NotAsked,
    Rows(Arc<LiveRows>),
    /// Told to a question that does read a live table.
    Away(String),
}

/// Whether a statement speaks of a live table anywhere, by its text: a condition given as text may name one too. To be
/// wrong costs an unneeded question to the stream job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wants {
    pub(crate) any: bool,
    pub(crate) sessions: bool,
}

impl Wants {
    pub(crate) fn of(sql: &str) -> Self {
        let sql = sql.to_ascii_lowercase();
        let sessions = sql.contains("sessions_live") || sql.contains("session_history_live");
        Self { any: sessions || sql.contains("events_live"), sessions }
    }
}

/// Whether a question needs somebody who has a tail: by its text, as here.
pub fn names_a_live_table(sql: &str) -> bool {
    Wants::of(sql).any
}

/// How often the tables are pinned anew when a commit came between pinning and asking.
const PINS_MAX: u32 = 5;

/// Pins all tables, with the tail that goes on from them.
pub(crate) async fn pin(lake: &Lake, sources: &LiveSources, wants: Wants) -> Result<(Vec<Snapshot>, Live), LakeError> {
    let mut snapshots = catalog::pin(lake).await?;
    if !wants.any {
        return Ok((snapshots, Live::NotAsked));
    }
    for _ in 0..PINS_MAX {
        match sources.tail(&LiveAsked::of(&snapshots, wants.sessions)).await {
            Ok(rows) => return Ok((snapshots, Live::Rows(Arc::new(rows)))),
            Err(LiveFault::Away(reason)) => return Ok((snapshots, Live::Away(reason))),
            Err(LiveFault::PinAnew) => snapshots = catalog::pin(lake).await?,
        }
    }
    let reason =
        format!("commits came between pinning the tables and asking for what is newer, {PINS_MAX} times in a row");
    Ok((snapshots, Live::Away(reason)))
}

impl LiveAsked {
    fn of(snapshots: &[Snapshot], wants_sessions: bool) -> Self {
        let positions = |table: Table, kind: &str| -> HashMap<String, i64> {
            let snapshot = snapshots.iter().find(|snapshot| snapshot.table() == table);
            // `kind/topic/partition`: what has more parts is no position.
            let is_position = |app_id: &str| {
                let partition = app_id.strip_prefix(kind).and_then(|rest| rest.rsplit_once('/'));
                partition.is_some_and(|(_, partition)| partition.parse::<u32>().is_ok())
            };
            let txns = snapshot.into_iter().flat_map(Snapshot::txns).filter(|(app_id, _)| is_position(app_id));
            txns.map(|(app_id, position)| (app_id.to_owned(), position)).collect()
        };
        let sessions = if wants_sessions { positions(Table::Sessions, "sess/") } else { HashMap::new() };
        Self { events: positions(Table::Events, "ing/"), sessions, wants_sessions }
    }
}

impl LiveSources {
    async fn tail(&self, asked: &LiveAsked) -> Result<LiveRows, LiveFault> {
        let all = self.own.iter().chain(&self.others);
        let answers = try_join_all(all.map(|source| source.tail(asked))).await?;
        let mut rows = LiveRows::default();
        let mut answered: BTreeMap<u32, u64> = BTreeMap::new();
        for answer in answers {
            rows.partitions = rows.partitions.max(answer.partitions);
            for (partition, position) in answer.positions {
                if answered.insert(partition, position).is_some() {
                    return Err(LiveFault::Away(format!(
                        "partition {partition} of the log is answered for twice: query.live_urls must name each \
                         process with the role pipeline once, and not this one"
                    )));
                }
            }
            rows.events.extend(answer.events);
            rows.sessions.extend(answer.sessions);
        }
        let missing: Vec<String> = (0..rows.partitions)
            .filter(|partition| !answered.contains_key(partition))
            .map(|partition| partition.to_string())
            .collect();
        if rows.partitions == 0 {
            return Err(LiveFault::Away(
                "no stream job is known here. Ask a server that runs the role pipeline, or name every process that does \
                 in query.live_urls, such as [\"http://127.0.0.1:8081\"]"
                    .to_owned(),
            ));
        }
        if !missing.is_empty() {
            return Err(LiveFault::Away(format!(
                "nobody answers for partitions {} of the log: name every process with the role pipeline in \
                 query.live_urls",
                missing.join(", ")
            )));
        }
        rows.positions = answered.into_iter().collect();
        Ok(rows)
    }
}

//! One commit round: what was folded moves into the tables, with the positions it came from.
//!
//! In:      the pending rows of every partition, and where each table stands for it.
//! Out:     one Delta commit a table that has something to say.
//! Promise: a crash between any two of the commits loses nothing and doubles nothing.
//!
//! The order is dead_letters, identities, events, sessions, and this is why. A restart reads the log
//! from the position in `events`. What it derives again for `dead_letters` and `identities` below
//! *their* positions is already there and is cut off (`not_yet_in`), so they may run ahead of `events`.
//! `sessions` is derived from rows of `events`, so it may only lag behind; the lag is made up from the
//! table (`recover`). A worker that lost its partitions fails at the first table whose position has
//! moved; what it wrote before that is what the winner would have written, byte for byte.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tributary_eventlog::TopicInfo;
use tributary_lake::{Advance, Lake, LakeError, Snapshot, TableWriter};
use tributary_schemas::Table;

use crate::aside::aside;
use crate::columns::int;
use crate::error::PipelineError;
use crate::fold::{DeadPartition, EventsPartition};
use crate::session_rows;
use crate::state_file;
use crate::tail::Tail;

/// The names under which positions stand in the tables. `topic_id` is the log's own name for the
/// topic, so that one re-created under the same name does not inherit its offsets.
pub(crate) struct AppIds<'t>(pub(crate) &'t str);

impl AppIds<'_> {
    pub(crate) fn events(&self, partition: u32) -> String {
        format!("ing/{}/{partition}", self.0)
    }

    /// Duplicates and unreadable records met in the events topic.
    pub(crate) fn set_apart(&self, partition: u32) -> String {
        format!("dup/{}/{partition}", self.0)
    }

    pub(crate) fn dead_letters(&self, partition: u32) -> String {
        format!("dead/{}/{partition}", self.0)
    }

    pub(crate) fn identities(&self, partition: u32) -> String {
        format!("idn/{}/{partition}", self.0)
    }

    pub(crate) fn sessions(&self, partition: u32) -> String {
        format!("sess/{}/{partition}", self.0)
    }

    /// The lowest offset needed to rebuild the open sessions.
    pub(crate) fn low(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/low", self.0)
    }

    /// The position of the newest state object.
    pub(crate) fn state(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/state", self.0)
    }

    /// Up to where late events have been put into their sessions.
    pub(crate) fn repaired(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/repaired", self.0)
    }

    /// How many repairs were committed: it always moves, so of two workers that repair the same one is fenced.
    pub(crate) fn repairs(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/repairs", self.0)
    }

    /// Followed by a source: its watermark.
    pub(crate) fn watermark(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/wm/", self.0)
    }

    /// The newest time of receipt: what deduplication has forgotten follows from it.
    pub(crate) fn newest(&self, partition: u32) -> String {
        format!("ing/{}/{partition}/newest", self.0)
    }

    /// How often a watermark was raised by the clock. It moves with `events` before the raised watermark is stored with
    /// `sessions`: rows that were flagged without it cannot be committed after.
    pub(crate) fn raised(&self, partition: u32) -> String {
        format!("ing/{}/{partition}/raised", self.0)
    }

    /// Up to which of these rises `sessions` has the watermarks.
    pub(crate) fn raised_told(&self, partition: u32) -> String {
        format!("sess/{}/{partition}/raised", self.0)
    }

    /// The fingerprint of the session rule by which rows were found late. It moves with `events`, not with `sessions`,
    /// since it is the rows of `events` that carry the flag.
    pub(crate) fn rule(&self, partition: u32) -> String {
        format!("ing/{}/{partition}/rule", self.0)
    }

    /// How many partitions the topic had: with another number a key goes elsewhere.
    pub(crate) fn partitions(&self, partition: u32) -> String {
        format!("ing/{}/{partition}/of", self.0)
    }

    /// The offset of the last record taken, and a hash of that record. `kind`: `ing` or `dead`.
    fn tail(&self, kind: &str, partition: u32) -> [String; 2] {
        ["tail_offset", "tail"].map(|what| format!("{kind}/{}/{partition}/{what}", self.0))
    }
}

/// Where the tables stand for one partition of the events topic; `None` is "never committed".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    pub(crate) events: Option<i64>,
    pub(crate) newest_us: Option<i64>,
    pub(crate) rule: Option<i64>,
    pub(crate) partitions: Option<i64>,
    pub(crate) raised: Option<i64>,
    pub(crate) tail: TailAt,
    pub(crate) set_apart: Option<i64>,
    pub(crate) identities: Option<i64>,
    pub(crate) sessions: Option<i64>,
    pub(crate) low: Option<i64>,
    pub(crate) state: Option<i64>,
    pub(crate) repaired: Option<i64>,
    pub(crate) repairs: Option<i64>,
    pub(crate) raised_told: Option<i64>,
    /// By source, in microseconds, at the position `sessions`.
    pub(crate) watermarks: BTreeMap<String, i64>,
}

impl Positions {
    pub(crate) fn read(snapshots: &Snapshots, topic: &TopicInfo, partition: u32) -> Self {
        let apps = AppIds(&topic.topic_id);
        let watermark = apps.watermark(partition);
        let watermarks = snapshots.sessions.txns().filter_map(|(app_id, watermark_us)| {
            app_id.strip_prefix(&watermark).map(|source| (source.to_owned(), watermark_us))
        });
        Self {
            watermarks: watermarks.collect(),
            events: snapshots.events.txn(&apps.events(partition)),
            newest_us: snapshots.events.txn(&apps.newest(partition)),
            rule: snapshots.events.txn(&apps.rule(partition)),
            partitions: snapshots.events.txn(&apps.partitions(partition)),
            raised: snapshots.events.txn(&apps.raised(partition)),
            tail: TailAt::read(&snapshots.events, &apps, "ing", partition),
            set_apart: snapshots.dead_letters.txn(&apps.set_apart(partition)),
            identities: snapshots.identities.txn(&apps.identities(partition)),
            sessions: snapshots.sessions.txn(&apps.sessions(partition)),
            low: snapshots.sessions.txn(&apps.low(partition)),
            state: snapshots.sessions.txn(&apps.state(partition)),
            repaired: snapshots.sessions.txn(&apps.repaired(partition)),
            repairs: snapshots.sessions.txn(&apps.repairs(partition)),
            raised_told: snapshots.sessions.txn(&apps.raised_told(partition)),
        }
    }

    /// A watermark was raised in `events`, and `sessions` has not said so: the worker that did it is at it, or died, or
    /// its commit is still under way to the store.
    pub(crate) fn is_half_raised(&self) -> bool {
        self.raised.unwrap_or(0) != self.raised_told.unwrap_or(0)
    }
}

/// Where the table stands for one partition of the dead-letters topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeadPositions {
    pub(crate) next: Option<i64>,
    pub(crate) tail: TailAt,
}

impl DeadPositions {
    pub(crate) fn read(snapshots: &Snapshots, topic: &TopicInfo, partition: u32) -> Self {
        let apps = AppIds(&topic.topic_id);
        Self {
            next: snapshots.dead_letters.txn(&apps.dead_letters(partition)),
            tail: TailAt::read(&snapshots.dead_letters, &apps, "dead", partition),
        }
    }
}

/// What a table holds of the last record taken from a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TailAt {
    offset: Option<i64>,
    hash: Option<i64>,
}

impl TailAt {
    fn read(snapshot: &Snapshot, apps: &AppIds<'_>, kind: &str, partition: u32) -> Self {
        let [offset, hash] = apps.tail(kind, partition).map(|app_id| snapshot.txn(&app_id));
        Self { offset, hash }
    }

    /// `None` if a former version stored none.
    pub(crate) fn stored(&self) -> Option<Tail> {
        Tail::stored(self.offset, self.hash)
    }

    fn move_to(&mut self, tail: Tail, app_ids: [String; 2]) -> impl Iterator<Item = Advance> {
        let [offset, hash] = app_ids;
        let moves = [change(offset, &mut self.offset, tail.offset), change(hash, &mut self.hash, tail.hash)];
        moves.into_iter().flatten()
    }
}

/// The newest state of all tables.
pub(crate) struct Snapshots {
    pub(crate) events: Snapshot,
    pub(crate) sessions: Snapshot,
    pub(crate) identities: Snapshot,
    pub(crate) dead_letters: Snapshot,
}

pub(crate) struct Writers {
    /// For the objects beside the tables.
    store: Arc<dyn ObjectStore>,
    /// State is written when it takes at least so many bytes and so many records came since.
    state_from: StateFrom,
    events: TableWriter,
    sessions: TableWriter,
    identities: TableWriter,
    dead_letters: TableWriter,
}

impl Writers {
    pub(crate) async fn open(lake: &Lake, state_from: StateFrom) -> Result<Self, PipelineError> {
        let open = async |table: Table| lake.writer(table).await.map_err(|error| lake_error(table, error));
        // `events` last: read before `sessions`, it could lack rows that the newer `sessions` was made from. What the others
        // lack of it, the first commit notices.
        let sessions = open(Table::Sessions).await?;
        let identities = open(Table::Identities).await?;
        let dead_letters = open(Table::DeadLetters).await?;
        let store = lake.object_store();
        Ok(Self { store, state_from, events: open(Table::Events).await?, sessions, identities, dead_letters })
    }

    /// Looks what others committed since, in the order of `open` and for its reason.
    pub(crate) async fn refresh(&mut self) -> Result<(), PipelineError> {
        for (table, writer) in [
            (Table::Sessions, &mut self.sessions),
            (Table::Identities, &mut self.identities),
            (Table::DeadLetters, &mut self.dead_letters),
            (Table::Events, &mut self.events),
        ] {
            writer.refresh().await.map_err(|error| lake_error(table, error))?;
        }
        Ok(())
    }

    pub(crate) fn snapshots(&self) -> Snapshots {
        Snapshots {
            events: self.events.snapshot(),
            sessions: self.sessions.snapshot(),
            identities: self.identities.snapshot(),
            dead_letters: self.dead_letters.snapshot(),
        }
    }
}

/// When the state of a partition is worth an object of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StateFrom {
    pub(crate) bytes_min: usize,
    pub(crate) records_min: u64,
}

/// What one round wrote.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) commits: u64,
    /// The rows of `sessions`, one batch a partition: whoever pinned before may ask for them (`live`).
    pub(crate) sessions: Vec<RecordBatch>,
}

#[derive(Debug)]
pub(crate) enum CommitError {
    /// Someone else moved a position of ours: drop everything and read anew.
    Fenced,
    /// A topic has more partitions now, and that was accepted: read anew to have them too.
    Grown,
    Failed(PipelineError),
}

impl From<PipelineError> for CommitError {
    fn from(error: PipelineError) -> Self {
        Self::Failed(error)
    }
}

/// One events partition with where its tables stand.
pub(crate) struct Owned {
    pub(crate) fold: EventsPartition,
    pub(crate) at: Positions,
}

/// One dead-letters partition with its position.
pub(crate) struct OwnedDead {
    pub(crate) fold: DeadPartition,
    pub(crate) at: DeadPositions,
}

/// Commits everything pending. On an error nothing of the memory may be used again.
#[tracing::instrument(target = "tributary::trace", level = "trace", skip_all)]
pub(crate) async fn commit(
    writers: &mut Writers,
    events_topic: &TopicInfo,
    dead_topic: &TopicInfo,
    events: &mut Vec<Owned>,
    dead: &mut [OwnedDead],
) -> Result<Round, CommitError> {
    let mut round = Round::default();
    let apps = AppIds(&events_topic.topic_id);
    commit_dead_letters(writers, &apps, &AppIds(&dead_topic.topic_id), events, dead, &mut round).await?;
    commit_identities(writers, &apps, events, &mut round).await?;
    commit_events(writers, events_topic, events, &mut round).await?;
    commit_sessions(writers, &apps, events, &mut round).await?;
    Ok(round)
}

async fn commit_dead_letters(
    writers: &mut Writers,
    apps: &AppIds<'_>,
    dead_apps: &AppIds<'_>,
    events: &mut [Owned],
    dead: &mut [OwnedDead],
    round: &mut Round,
) -> Result<(), CommitError> {
    let mut batches = Vec::new();
    let mut advances = Vec::new();
    for owned in events.iter_mut() {
        let rows = not_yet_in(owned.fold.dead_letters.take(), owned.at.set_apart);
        if !rows.is_empty() {
            let next = owned.fold.position.cast_signed();
            advances.push(advance(apps.set_apart(owned.fold.partition), &mut owned.at.set_apart, next));
            batches.extend(rows);
        }
    }
    for owned in dead.iter_mut() {
        let next = owned.fold.position.cast_signed();
        let (partition, at) = (owned.fold.partition, &mut owned.at);
        if at.next != Some(next) && (next > 0 || at.next.is_some()) {
            advances.push(advance(dead_apps.dead_letters(partition), &mut at.next, next));
            if let Some(tail) = owned.fold.tail {
                advances.extend(at.tail.move_to(tail, dead_apps.tail("dead", partition)));
            }
            batches.append(&mut owned.fold.rows.take());
        }
    }
    append(&mut writers.dead_letters, Table::DeadLetters, batches, advances, round).await
}

async fn commit_identities(
    writers: &mut Writers,
    apps: &AppIds<'_>,
    events: &mut [Owned],
    round: &mut Round,
) -> Result<(), CommitError> {
    let mut batches = Vec::new();
    let mut advances = Vec::new();
    for owned in events.iter_mut() {
        let rows = not_yet_in(owned.fold.identities.take(), owned.at.identities);
        if !rows.is_empty() {
            let next = owned.fold.position.cast_signed();
            advances.push(advance(apps.identities(owned.fold.partition), &mut owned.at.identities, next));
            batches.extend(rows);
        }
    }
    append(&mut writers.identities, Table::Identities, batches, advances, round).await
}

async fn commit_events(
    writers: &mut Writers,
    topic: &TopicInfo,
    events: &mut [Owned],
    round: &mut Round,
) -> Result<(), CommitError> {
    let apps = AppIds(&topic.topic_id);
    let mut batches = Vec::new();
    let mut advances = Vec::new();
    for owned in events.iter_mut() {
        let next = owned.fold.position.cast_signed();
        let was_advanced = std::mem::take(&mut owned.fold.was_advanced);
        if was_advanced || owned.at.events != Some(next) && (next > 0 || owned.at.events.is_some()) {
            let (partition, at) = (owned.fold.partition, &mut owned.at);
            advances.push(advance(apps.events(partition), &mut at.events, next));
            // Said each time, so that whoever flagged rows by watermarks from before a rise is fenced.
            let raised = at.raised.unwrap_or(0) + i64::from(was_advanced);
            advances.push(advance(apps.raised(partition), &mut at.raised, raised));
            if let Some(newest_us) = owned.fold.ids.newest_us() {
                advances.extend(change(apps.newest(partition), &mut at.newest_us, newest_us));
            }
            let rule = owned.fold.sessions.rule().fingerprint();
            advances.extend(change(apps.rule(partition), &mut at.rule, rule));
            advances.extend(change(apps.partitions(partition), &mut at.partitions, topic.partitions.into()));
            if let Some(tail) = owned.fold.tail {
                advances.extend(at.tail.move_to(tail, apps.tail("ing", partition)));
            }
            batches.append(&mut owned.fold.events.take());
        }
    }
    append(&mut writers.events, Table::Events, batches, advances, round).await
}

/// Commits what changed in sessions, each partition up to the position of its fold.
pub(crate) async fn commit_sessions(
    writers: &mut Writers,
    apps: &AppIds<'_>,
    events: &mut Vec<Owned>,
    round: &mut Round,
) -> Result<(), CommitError> {
    let (topic_id, state_from) = (apps.0.to_owned(), writers.state_from);
    let drained = aside(events, move |events| drain_sessions(&AppIds(&topic_id), events, state_from)).await;
    let Drained { batches, mut advances, states } = drained;
    round.sessions.clone_from(&batches);
    let mut written = Vec::new();
    // One at a time: each may be as large as what it remembers. Those there is no time for are written with a later commit.
    let deadline = tokio::time::Instant::now() + STATES_TIME_MAX;
    for (partition, position) in states {
        if deadline <= tokio::time::Instant::now() {
            tracing::warn!(partition, position, "no state was written: those of other partitions took long");
            continue;
        }
        let index = events.iter().position(|owned| owned.fold.partition == partition).expect("it was drained just now");
        let bytes = aside(events, move |events| {
            let fold = &mut events[index].fold;
            // Should this one fail, the next is due as late as if it had not.
            fold.records_since_state = 0;
            state_file::write(&fold.ids, &fold.sessions)
        })
        .await;
        let path = state_file::path(apps.0, partition, position);
        // Nothing depends on it: without it the next start reads the tables, or the state before.
        if let Err(error) = state_file::upload(&writers.store, &path, bytes, deadline).await {
            tracing::warn!(partition, position, %error, "no state was written");
            continue;
        }
        advances.push(advance(apps.state(partition), &mut events[index].at.state, position));
        written.push((partition, position));
    }
    append(&mut writers.sessions, Table::Sessions, batches, advances, round).await?;
    for (partition, position) in written {
        forget_states_before(&writers.store, apps.0, partition, position).await;
    }
    Ok(())
}

/// The line waits so long for state objects of all partitions together.
const STATES_TIME_MAX: Duration = Duration::from_secs(20);

/// So far may the position of `sessions` lag where nothing belongs to a session (a load of sends): a start reads the rows
/// again, and retention lets them be.
const LAG_MAX: i64 = 100_000;

/// What the sessions of all partitions have to say at a commit.
struct Drained {
    batches: Vec<RecordBatch>,
    advances: Vec<Advance>,
    /// Partition and position of state that is due.
    states: Vec<(u32, i64)>,
}

fn drain_sessions(apps: &AppIds<'_>, events: &mut [Owned], state_from: StateFrom) -> Drained {
    let mut drained = Drained { batches: Vec::new(), advances: Vec::new(), states: Vec::new() };
    for Owned { fold, at } in events {
        let (partition, next) = (fold.partition, fold.position.cast_signed());
        if at.sessions.is_some_and(|told| next < told) {
            // Begun from a state object and not back at what the table says: whatever is said here was said before, with
            // later watermarks.
            continue;
        }
        let rule = fold.sessions.rule_text();
        let changes = fold.sessions.drain();
        let lag = next - at.sessions.unwrap_or(0);
        if changes.is_empty() && !at.is_half_raised() && lag < LAG_MAX {
            // Nothing to say: the position may lag, a restart folds these rows again to no effect.
            continue;
        }
        let advances = &mut drained.advances;
        let has_rows = !changes.is_empty();
        if has_rows {
            drained.batches.push(session_rows::to_batch(&changes, &rule, partition, next));
        }
        advances.push(advance(apps.sessions(partition), &mut at.sessions, next));
        let low = fold.sessions.low_offset().map_or(next, |low| low.min(next));
        advances.push(advance(apps.low(partition), &mut at.low, low));
        let raised = at.raised.unwrap_or(0);
        advances.push(advance(apps.raised_told(partition), &mut at.raised_told, raised));
        for (source, watermark_us) in fold.sessions.watermarks() {
            let mut known = at.watermarks.get(source).copied();
            advances.extend(change(apps.watermark(partition) + source, &mut known, watermark_us));
            at.watermarks.insert(source.to_owned(), watermark_us);
        }
        let state_bytes = fold.ids.bytes() + fold.sessions.state_bytes();
        // What is large is written less often, so that it is not written many times over for what came in.
        let records_min = state_from.records_min.max(fold.ids.len() as u64 / 4);
        // While rows that are in the lake are taken up, the ids are those of a later position already.
        let is_whole = at.events == Some(next);
        // Nor is state written with a rise that tells no rows: of two workers, one may never get to store its own.
        if has_rows && is_whole && state_from.bytes_min <= state_bytes && records_min <= fold.records_since_state {
            drained.states.push((partition, next));
        }
    }
    drained
}

/// Deletes the states of a partition that nobody will read any more. The one before the newest stays: a worker may be
/// about to read it.
async fn forget_states_before(store: &Arc<dyn ObjectStore>, topic_id: &str, partition: u32, position: i64) {
    let listed = store.list(Some(&state_file::folder(topic_id, partition))).try_collect::<Vec<_>>().await;
    let mut old: Vec<(i64, Path)> = listed
        .unwrap_or_default()
        .into_iter()
        .filter_map(|object| Some((state_file::position_of(&object.location)?, object.location)))
        .filter(|(at, _)| *at < position)
        .collect();
    old.sort_unstable();
    old.pop();
    for (_, path) in old {
        if let Err(error) = store.delete(&path).await {
            tracing::debug!(%path, %error, "an old state stays behind");
        }
    }
}

/// Commits rows of `sessions` that a repair made.
pub(crate) async fn commit_repair(
    writers: &mut Writers,
    batches: Vec<RecordBatch>,
    advances: Vec<Advance>,
    round: &mut Round,
) -> Result<(), CommitError> {
    append(&mut writers.sessions, Table::Sessions, batches, advances, round).await
}

/// The advance to `next`; `at` is moved along, for the commit either happens or the memory is dropped.
fn advance(app_id: String, at: &mut Option<i64>, next: i64) -> Advance {
    Advance { app_id, expected: at.replace(next), next }
}

/// The same, if it is not there already.
fn change(app_id: String, at: &mut Option<i64>, next: i64) -> Option<Advance> {
    (*at != Some(next)).then(|| advance(app_id, at, next))
}

async fn append(
    writer: &mut TableWriter,
    table: Table,
    batches: Vec<RecordBatch>,
    advances: Vec<Advance>,
    round: &mut Round,
) -> Result<(), CommitError> {
    if advances.is_empty() {
        debug_assert!(batches.is_empty(), "rows never travel without their positions");
        return Ok(());
    }
    let begun = tokio::time::Instant::now();
    let committed = writer.append(batches, &advances).await.map_err(|error| match error {
        LakeError::Fenced { .. } => {
            tracing::warn!(table = table.name(), %error, "another worker moved a position of this one");
            CommitError::Fenced
        }
        error => CommitError::Failed(lake_error(table, error)),
    })?;
    metrics::histogram!("tributary_commit_seconds", "table" => table.name()).record(begun.elapsed().as_secs_f64());
    metrics::counter!("tributary_lake_rows_total", "table" => table.name()).increment(committed.rows);
    metrics::counter!("tributary_lake_bytes_total", "table" => table.name()).increment(committed.bytes);
    round.rows += committed.rows;
    round.bytes += committed.bytes;
    round.commits += 1;
    Ok(())
}

/// Cuts off what stands below the table's own position: an earlier life committed it before it died.
fn not_yet_in(batches: Vec<RecordBatch>, at: Option<i64>) -> Vec<RecordBatch> {
    let Some(at) = at else { return batches };
    batches
        .into_iter()
        .filter_map(|batch| {
            // Offsets ascend within a batch.
            let first = int(&batch, "log_offset").values().partition_point(|offset| *offset < at);
            (first < batch.num_rows()).then(|| batch.slice(first, batch.num_rows() - first))
        })
        .collect()
}

pub(crate) fn lake_error(table: Table, source: LakeError) -> PipelineError {
    PipelineError::Lake { table: table.name(), source }
}

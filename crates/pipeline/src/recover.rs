//! Where to go on after a start: positions, remembered ids and open sessions, all from the tables.
//!
//! In:      the newest snapshots, the bounds of the log.
//! Out:     one `Owned` a partition, standing exactly where the tables stand.
//! Promise: the state is that of a job that never stopped; a log that no longer fits is an error, loudly: one that lost
//!          records, was made anew (`tail`), or has another number of partitions.
//! Not here: rows of `events` that a crash kept from `sessions` (`catch_up`).
//!
//! Where a state object was written (`state_file`), it is read, and `catch_up` takes up the rows that came since. Else
//! sessions are rebuilt at the position of the table `sessions`: its unsealed rows say where each open session begins,
//! and `events` from the stored low offset holds what is in them.

use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{BTreeMap, HashMap};
use tributary_analytics::session::{SessionId, SessionKey, SessionRule, Sessionizer, belongs_to_session};
use tributary_eventlog::{Bounds, EventLog, TopicInfo};
use tributary_lake::{DataFile, RowTest, Snapshot};
use tributary_schemas::{EventFlags, EventKind, Table};

use crate::columns::{int, small_int, text, text_at};
use crate::commit::{DeadPositions, Owned, OwnedDead, Positions, Snapshots, lake_error};
use crate::dedup::{RecentIds, id_hash, is_derived};
use crate::error::PipelineError;
use crate::fold::{DeadPartition, EventsPartition};
use crate::session_rows::EventReader;
use crate::state_file;
use crate::tail::{Tail, check_tail};

/// Each asks a broker for one record through a connection of its own.
const TAILS_AT_ONCE: usize = 16;

pub(crate) async fn recover(
    snapshots: &Snapshots,
    store: &dyn ObjectStore,
    log: &dyn EventLog,
    topic: &TopicInfo,
    partitions: &[u32],
    rule: &SessionRule,
    dedup_window_us: i64,
) -> Result<Vec<Owned>, PipelineError> {
    let mut positions: BTreeMap<u32, Positions> = BTreeMap::new();
    for &partition in partitions {
        let at = Positions::read(snapshots, topic, partition);
        check_position(log, topic, partition, at.events).await?;
        check_same_log(&snapshots.events, "ing/", topic, partition, at.events)?;
        if at.rule.is_some_and(|stored| stored != rule.fingerprint()) {
            return Err(PipelineError::RuleChanged { partition });
        }
        if at.sessions > at.events {
            let [sessions, events] = [at.sessions, at.events].map(|at| at.unwrap_or(0));
            return Err(PipelineError::SessionsAhead { partition, sessions, events });
        }
        positions.insert(partition, at);
    }
    let tails = positions.iter().map(|(partition, at)| (*partition, at.tail.stored()));
    check_tails(log, topic, tails).await?;
    let mut owned = Vec::new();
    for (partition, at) in positions.clone() {
        if let Some((position, ids, sessions)) = state(store, topic, partition, &at, rule, dedup_window_us).await {
            positions.remove(&partition);
            let mut fold = EventsPartition::new(partition, &topic.topic, position, ids, sessions);
            // What was raised since without an event; where rows are missing, `catch_up` does it after them.
            if at.sessions == Some(position.cast_signed()) {
                fold.advance(Some(&at.watermarks));
            }
            fold.records_since_state = at.events.map_or(0, |end| end.cast_unsigned().saturating_sub(position));
            owned.push(Owned { fold, at });
        }
    }
    let mut ids = remembered_ids(snapshots, &positions, dedup_window_us).await?;
    let mut sessions = open_sessions(snapshots, &positions, rule).await?;
    for (partition, at) in positions {
        let position = match at.events {
            Some(next) => next.cast_unsigned(),
            None => bounds(log, topic, partition).await?.earliest,
        };
        let ids = ids.remove(&partition).expect("they were made for each partition");
        let state = sessions.remove(&partition).expect("one was made for each partition");
        owned.push(Owned { fold: EventsPartition::new(partition, &topic.topic, position, ids, state), at });
    }
    owned.sort_by_key(|owned| owned.fold.partition);
    Ok(owned)
}

/// The newest state object of a partition, and its position; `None` where the tables must be asked.
async fn state(
    store: &dyn ObjectStore,
    topic: &TopicInfo,
    partition: u32,
    at: &Positions,
    rule: &SessionRule,
    dedup_window_us: i64,
) -> Option<(u64, RecentIds, Sessionizer)> {
    let position = at.state.filter(|position| at.sessions.is_some_and(|told| *position <= told))?;
    let path = state_file::path(&topic.topic_id, partition, position);
    let bytes = async { store.get(&path).await?.bytes().await };
    let failed = |error: &dyn std::fmt::Display| {
        tracing::warn!(partition, %path, %error, "the state object is of no use; the tables are read instead");
    };
    let bytes = bytes.await.inspect_err(|error| failed(error)).ok()?;
    let rule = rule.clone();
    let reading = tokio::task::spawn_blocking(move || state_file::read(&bytes, &rule, dedup_window_us));
    let read = reading.await.expect("reading does not panic and is never cancelled");
    let (ids, sessions) = read.inspect_err(|error| failed(error)).ok()?;
    tracing::info!(partition, position, event_ids = ids.len(), "the state was read from its object");
    Some((position.cast_unsigned(), ids, sessions))
}

pub(crate) async fn recover_dead(
    snapshots: &Snapshots,
    log: &dyn EventLog,
    topic: &TopicInfo,
    partitions: &[u32],
) -> Result<Vec<OwnedDead>, PipelineError> {
    let mut owned = Vec::new();
    for &partition in partitions {
        let at = DeadPositions::read(snapshots, topic, partition);
        check_position(log, topic, partition, at.next).await?;
        check_same_log(&snapshots.dead_letters, "dead/", topic, partition, at.next)?;
        let position = match at.next {
            Some(next) => next.cast_unsigned(),
            None => bounds(log, topic, partition).await?.earliest,
        };
        owned.push(OwnedDead { fold: DeadPartition::new(partition, &topic.topic, position), at });
    }
    check_tails(log, topic, owned.iter().map(|owned| (owned.fold.partition, owned.at.tail.stored()))).await?;
    Ok(owned)
}

/// How many partitions the events topic had when the lake last took something from it; `None` if it never did, or a
/// former version did not store it.
pub(crate) fn partitions_before(events: &Snapshot, topic: &TopicInfo) -> Option<u32> {
    let kind = format!("ing/{}/", topic.topic_id);
    let stored = events.txns().filter(|(app_id, _)| app_id.starts_with(&kind) && app_id.ends_with("/of"));
    stored.filter_map(|(_, partitions)| u32::try_from(partitions).ok()).max()
}

/// Whether the last record the lake took from each partition is still what stands there.
async fn check_tails(
    log: &dyn EventLog,
    topic: &TopicInfo,
    tails: impl Iterator<Item = (u32, Option<Tail>)>,
) -> Result<(), PipelineError> {
    let tails = tails.filter_map(|(partition, tail)| Some((partition, tail?)));
    let checks: Vec<_> = tails.map(|(partition, tail)| check_tail(log, topic, partition, tail).boxed()).collect();
    futures::stream::iter(checks).buffer_unordered(TAILS_AT_ONCE).try_collect().await
}

async fn bounds(log: &dyn EventLog, topic: &TopicInfo, partition: u32) -> Result<Bounds, PipelineError> {
    log.bounds(&topic.topic, partition)
        .await
        .map_err(|source| PipelineError::Log { topic: topic.topic.clone(), source })
}

/// The log must still hold what comes after the lake's position, and must reach up to it.
async fn check_position(
    log: &dyn EventLog,
    topic: &TopicInfo,
    partition: u32,
    at: Option<i64>,
) -> Result<(), PipelineError> {
    let Bounds { earliest, next } = bounds(log, topic, partition).await?;
    match at.map(i64::cast_unsigned) {
        Some(committed) if committed < earliest || next < committed => {
            Err(PipelineError::LogLost { topic: topic.topic.clone(), partition, committed, earliest, next })
        }
        None if earliest > 0 => {
            tracing::warn!(
                topic = topic.topic,
                partition,
                earliest,
                "the log's first records are gone already: this lake begins after them"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A position of the same partition under another topic's id: rows of another log, whose offsets would
/// clash with ours.
fn check_same_log(
    snapshot: &Snapshot,
    kind: &str,
    topic: &TopicInfo,
    partition: u32,
    at: Option<i64>,
) -> Result<(), PipelineError> {
    let of_partition = |app_id: &str| app_id.starts_with(kind) && app_id.ends_with(&format!("/{partition}"));
    if at.is_none() && snapshot.txns().any(|(app_id, _)| of_partition(app_id)) {
        return Err(PipelineError::OtherLog {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id.clone(),
            partition,
        });
    }
    Ok(())
}

/// Whether a file may hold a row whose column lies from `low` to `high`.
pub(crate) fn reaches(file: &DataFile, column: &str, low: i64, high: i64) -> bool {
    file.max_i64(column).is_none_or(|max| low <= max) && file.min_i64(column).is_none_or(|min| min <= high)
}

pub(crate) fn holds_partition(file: &DataFile, partition: u32) -> bool {
    reaches(file, "log_partition", partition.into(), partition.into())
}

/// Rows of the partition whose value of `column` passes.
pub(crate) fn rows_of_partition(
    partition: u32,
    column: &'static str,
    passes: impl Fn(i64) -> bool + Send + Sync + 'static,
) -> RowTest {
    RowTest::new(["log_partition", column], move |batch| {
        let (partitions, values) = (small_int(batch, "log_partition"), int(batch, column));
        let is_one = |row| partitions.value(row).cast_unsigned() == partition && passes(values.value(row));
        (0..batch.num_rows()).map(|row| Some(is_one(row))).collect()
    })
}

/// The event ids within the deduplication window, by partition.
///
/// Each partition has a horizon of its own: on a backlog they may stand days apart.
async fn remembered_ids(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    window_us: i64,
) -> Result<HashMap<u32, RecentIds>, PipelineError> {
    let made = |at: &Positions| match at.newest_us {
        Some(newest_us) => RecentIds::since(window_us, newest_us),
        // Nothing was kept yet, or a former version did not store it: then whatever is there tells.
        None => RecentIds::new(window_us),
    };
    let mut ids: HashMap<u32, RecentIds> = positions.iter().map(|(partition, at)| (*partition, made(at))).collect();
    let horizons: Vec<(u32, i64)> = positions
        .iter()
        .filter(|(_, at)| at.events.is_some())
        .map(|(partition, _)| (*partition, ids[partition].horizon_us()))
        .collect();
    let columns = ["source", "event_id", "content_hash", "ingest_time_us", "log_partition"];
    let mut stream = snapshots.events.read(&columns, |file| {
        let young = |horizon_us| reaches(file, "ingest_time_us", horizon_us, i64::MAX);
        horizons.iter().any(|&(partition, horizon_us)| holds_partition(file, partition) && young(horizon_us))
    });
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let (sources, event_ids) = (text(&batch, "source"), text(&batch, "event_id"));
        let (hashes, times) = (int(&batch, "content_hash"), int(&batch, "ingest_time_us"));
        let partitions = small_int(&batch, "log_partition");
        for row in 0..batch.num_rows() {
            let Some(ids) = ids.get_mut(&partitions.value(row).cast_unsigned()) else { continue };
            if times.value(row) >= ids.horizon_us() {
                let id = id_hash(sources.value(row), event_ids.value(row));
                ids.remember(id, hashes.value(row), times.value(row));
                if is_derived(event_ids.value(row)) {
                    ids.note_derived(times.value(row));
                }
            }
        }
    }
    Ok(ids)
}

/// The sessions of each partition as they stood at the position of `sessions`.
async fn open_sessions(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    rule: &SessionRule,
) -> Result<HashMap<u32, Sessionizer>, PipelineError> {
    let watermarks = watermarks(snapshots, positions, rule).await?;
    let mut restorers = HashMap::new();
    for partition in positions.keys() {
        let mut restorer = Sessionizer::restorer(rule.clone());
        for (source, watermark_us) in watermarks.get(partition).into_iter().flatten() {
            restorer.watermark(source, *watermark_us);
        }
        restorers.insert(*partition, restorer);
    }
    // From when to when each partition has sessions that are still open.
    let mut open: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for (partition, row) in unsealed_rows(snapshots, positions, &watermarks, rule).await? {
        let restorer = restorers.get_mut(&partition).expect("one was made for each partition");
        let key = SessionKey { source: &row.source, session_key: &row.session_key };
        restorer.unsealed(key, row.start_time_us, row.session_id);
        let (first_us, last_us) = open.entry(partition).or_insert((i64::MAX, i64::MIN));
        *first_us = row.start_time_us.min(*first_us);
        *last_us = row.end_time_us.max(*last_us);
    }

    let columns = [EventReader::columns(), vec!["flags", "log_partition"]].concat();
    let range = |at: &Positions| at.low.unwrap_or(0)..at.sessions.unwrap_or(0);
    let mut stream = snapshots.events.read(&columns, |file| {
        open.iter().any(|(partition, (first_us, last_us))| {
            let offsets = range(&positions[partition]);
            holds_partition(file, *partition)
                && reaches(file, "log_offset", offsets.start, offsets.end - 1)
                && reaches(file, "event_time_us", *first_us, *last_us)
        })
    });
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let (flags, times) = (int(&batch, "flags"), int(&batch, "event_time_us"));
        let reader = EventReader::new(&batch);
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let Some(at) = positions.get(&partition) else { continue };
            let counted =
                range(at).contains(&offsets.value(row)) && !EventFlags(flags.value(row)).has(EventFlags::LATE);
            let restorer = restorers.get_mut(&partition).expect("one was made for each partition");
            if counted && reader.is_activity(row) && restorer.wants(reader.key(row), times.value(row)) {
                restorer.event(reader.key(row), &reader.event(row));
            }
        }
    }

    let mut states = HashMap::new();
    for (partition, restorer) in restorers {
        let state = restorer
            .finish()
            .map_err(|error| PipelineError::Rebuild { detail: format!("partition {partition}: {error}") })?;
        states.insert(partition, state);
    }
    Ok(states)
}

/// By partition and source, at the position of `sessions`.
type Watermarks = BTreeMap<u32, BTreeMap<String, i64>>;

/// The stored watermarks; where a former version stored none, the newest event of each source before that position says
/// it, at the price of reading six columns of the whole table.
async fn watermarks(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    rule: &SessionRule,
) -> Result<Watermarks, PipelineError> {
    let mut watermarks: Watermarks =
        positions.iter().map(|(partition, at)| (*partition, at.watermarks.clone())).collect();
    let unknown: BTreeMap<u32, i64> = positions
        .iter()
        .filter(|(_, at)| at.watermarks.is_empty())
        .filter_map(|(partition, at)| Some((*partition, at.sessions?)))
        .collect();
    let columns = ["source", "event_kind", "event_time_us", "ingest_time_us", "log_partition", "log_offset"];
    let mut stream = snapshots.events.read(&columns, |file| {
        unknown
            .iter()
            .any(|(partition, end)| holds_partition(file, *partition) && reaches(file, "log_offset", i64::MIN, end - 1))
    });
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let sources = text(&batch, "source");
        let (times, ingest_times) = (int(&batch, "event_time_us"), int(&batch, "ingest_time_us"));
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let kinds = text(&batch, "event_kind");
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let Some(end) = unknown.get(&partition) else { continue };
            // As the running job does: only activity moves the watermark.
            let activity = EventKind::parse(kinds.value(row)).is_none_or(belongs_to_session);
            if activity && offsets.value(row) < *end {
                let watermark_us = rule.watermark_of(times.value(row), ingest_times.value(row));
                let of_partition = watermarks.entry(partition).or_default();
                match of_partition.get_mut(sources.value(row)) {
                    Some(known) => *known = watermark_us.max(*known),
                    None => _ = of_partition.insert(sources.value(row).to_owned(), watermark_us),
                }
            }
        }
    }
    Ok(watermarks)
}

struct UnsealedRow {
    source: String,
    session_key: String,
    session_id: SessionId,
    start_time_us: i64,
    end_time_us: i64,
}

/// The latest versions of sessions that an event could still change, with their partition.
async fn unsealed_rows(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    watermarks: &Watermarks,
    rule: &SessionRule,
) -> Result<Vec<(u32, UnsealedRow)>, PipelineError> {
    struct Latest {
        version: i64,
        partition: u32,
        gone: bool,
        row: UnsealedRow,
    }
    let columns = [
        "session_id",
        "version",
        "superseded_by",
        "source",
        "session_key",
        "start_time_us",
        "end_time_us",
        "log_partition",
    ];
    // An unsealed session holds an event at or above the low offset, so all its later versions are above it too; and where
    // the low offset is the position itself, none is open.
    let lows: Vec<(u32, i64)> = positions
        .iter()
        .filter(|(_, at)| at.low < at.sessions)
        .map(|(partition, at)| (*partition, at.low.unwrap_or(0)))
        .collect();
    let mut stream = snapshots.sessions.read(&columns, |file| {
        lows.iter().any(|&(partition, low)| holds_partition(file, partition) && reaches(file, "version", low, i64::MAX))
    });
    let mut latest: HashMap<String, Latest> = HashMap::new();
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Sessions, error))? {
        let (ids, versions) = (text(&batch, "session_id"), int(&batch, "version"));
        let (sources, keys) = (text(&batch, "source"), text(&batch, "session_key"));
        let (starts, ends) = (int(&batch, "start_time_us"), int(&batch, "end_time_us"));
        let (partitions, superseded) = (small_int(&batch, "log_partition"), text(&batch, "superseded_by"));
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let id = ids.value(row);
            let newer = latest.get(id).is_none_or(|known| known.version < versions.value(row));
            if !positions.contains_key(&partition) || !newer {
                continue;
            }
            let session_id = SessionId::parse(id)
                .map_err(|error| PipelineError::Rebuild { detail: format!("table sessions: {error}") })?;
            let unsealed = UnsealedRow {
                source: sources.value(row).to_owned(),
                session_key: keys.value(row).to_owned(),
                session_id,
                start_time_us: starts.value(row),
                end_time_us: ends.value(row),
            };
            latest.insert(
                id.to_owned(),
                Latest {
                    version: versions.value(row),
                    partition,
                    gone: text_at(superseded, row).is_some(),
                    row: unsealed,
                },
            );
        }
    }
    let watermark_us = |latest: &Latest| watermarks.get(&latest.partition)?.get(&latest.row.source).copied();
    Ok(latest
        .into_values()
        .filter(|latest| {
            !latest.gone && watermark_us(latest).is_some_and(|wm| !rule.is_sealed(latest.row.end_time_us, wm))
        })
        .map(|latest| (latest.partition, latest.row))
        .collect())
}

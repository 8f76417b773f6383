//! Where to go on after a start: positions, remembered ids and open sessions, all from the tables.
//!
//! In:      the newest snapshots, the bounds of the log.
//! Out:     one `Owned` a partition, standing exactly where the tables stand.
//! Promise: the state is that of a job that never stopped; a log that no longer fits is an error, loudly.
//!
//! Sessions are rebuilt at the position of the table `sessions`: its unsealed rows say where each open
//! session begins, and `events` from the stored low offset holds what is in them. Rows of `events` beyond
//! that position (a crash came between the two commits) are folded once more.

use arrow::array::{RecordBatch, UInt32Array};
use futures::TryStreamExt;
use std::collections::{BTreeMap, HashMap};
use tributary_analytics::session::{SessionId, SessionKey, SessionRule, Sessionizer, belongs_to_session};
use tributary_eventlog::{Bounds, EventLog, TopicInfo};
use tributary_schemas::{EventFlags, EventKind, Table};

use crate::columns::{int, keep_rows, small_int, text, text_at};
use crate::commit::{AppIds, Owned, OwnedDead, Positions, Snapshots, lake_error};
use crate::dedup::{RecentIds, id_hash};
use crate::error::PipelineError;
use crate::fold::{DeadPartition, EventsPartition};
use crate::session_rows::{self, EventReader};

pub(crate) async fn recover(
    snapshots: &Snapshots,
    log: &dyn EventLog,
    topic: &TopicInfo,
    partitions: &[u32],
    rule: &SessionRule,
    dedup_window_us: i64,
) -> Result<Vec<Owned>, PipelineError> {
    let mut positions = BTreeMap::new();
    for &partition in partitions {
        let at = Positions::read(snapshots, topic, partition);
        check_position(log, topic, partition, at.events).await?;
        check_same_log(snapshots, topic, partition, at.events)?;
        positions.insert(partition, at);
    }
    let mut ids = remembered_ids(snapshots, &positions, dedup_window_us).await?;
    let mut sessions = open_sessions(snapshots, &positions, rule).await?;
    let behind = sessions.behind;
    let mut owned = Vec::new();
    for (partition, at) in positions {
        let position = match at.events {
            Some(next) => next.cast_unsigned(),
            None => bounds(log, topic, partition).await?.earliest,
        };
        let ids = ids.remove(&partition).unwrap_or_else(|| RecentIds::new(dedup_window_us));
        let state = sessions.states.remove(&partition).expect("one was made for each partition");
        let mut fold = EventsPartition::new(partition, &topic.topic, position, ids, state);
        if let Some(rows) = behind.get(&partition) {
            tracing::info!(partition, rows = rows.num_rows(), "putting rows into sessions that a crash left behind");
            fold.refold(rows);
        }
        owned.push(Owned { fold, at });
    }
    Ok(owned)
}

pub(crate) async fn recover_dead(
    snapshots: &Snapshots,
    log: &dyn EventLog,
    topic: &TopicInfo,
    partitions: &[u32],
) -> Result<Vec<OwnedDead>, PipelineError> {
    let mut owned = Vec::new();
    for &partition in partitions {
        let at = snapshots.dead_letters.txn(&AppIds(&topic.topic_id).dead_letters(partition));
        check_position(log, topic, partition, at).await?;
        let position = match at {
            Some(next) => next.cast_unsigned(),
            None => bounds(log, topic, partition).await?.earliest,
        };
        owned.push(OwnedDead { fold: DeadPartition::new(partition, &topic.topic, position), at });
    }
    Ok(owned)
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
    snapshots: &Snapshots,
    topic: &TopicInfo,
    partition: u32,
    at: Option<i64>,
) -> Result<(), PipelineError> {
    let of_partition = |app_id: &str| app_id.starts_with("ing/") && app_id.ends_with(&format!("/{partition}"));
    if at.is_none() && snapshots.events.positions().any(|(app_id, _)| of_partition(app_id)) {
        return Err(PipelineError::OtherLog {
            topic: topic.topic.clone(),
            topic_id: topic.topic_id.clone(),
            partition,
        });
    }
    Ok(())
}

/// The event ids within the deduplication window, by partition.
async fn remembered_ids(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    window_us: i64,
) -> Result<HashMap<u32, RecentIds>, PipelineError> {
    let newest_us = snapshots.events.files().iter().filter_map(|file| file.max_i64("ingest_time_us")).max();
    let Some(newest_us) = newest_us else { return Ok(HashMap::new()) };
    let horizon_us = RecentIds::horizon_before(newest_us, window_us);
    let columns = ["source", "event_id", "content_hash", "ingest_time_us", "log_partition"];
    let mut stream = snapshots
        .events
        .read(&columns, |file| file.max_i64("ingest_time_us").is_none_or(|newest| newest >= horizon_us));
    let mut ids: HashMap<u32, RecentIds> = HashMap::new();
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let (sources, event_ids) = (text(&batch, "source"), text(&batch, "event_id"));
        let (hashes, times) = (int(&batch, "content_hash"), int(&batch, "ingest_time_us"));
        let partitions = small_int(&batch, "log_partition");
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            if positions.contains_key(&partition) && times.value(row) >= horizon_us {
                let id = id_hash(sources.value(row), event_ids.value(row));
                ids.entry(partition).or_insert_with(|| RecentIds::new(window_us)).remember(
                    id,
                    hashes.value(row),
                    times.value(row),
                );
            }
        }
    }
    Ok(ids)
}

struct OpenSessions {
    states: HashMap<u32, Sessionizer>,
    /// Rows of `events` not yet in `sessions`, by partition, in log order.
    behind: HashMap<u32, RecordBatch>,
}

async fn open_sessions(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    rule: &SessionRule,
) -> Result<OpenSessions, PipelineError> {
    let watermarks = watermarks(snapshots, positions, rule).await?;
    let mut restorers = HashMap::new();
    for partition in positions.keys() {
        let mut restorer = Sessionizer::restorer(rule.clone());
        for ((_, source), watermark_us) in watermarks.iter().filter(|((of, _), _)| of == partition) {
            restorer.watermark(source, *watermark_us);
        }
        restorers.insert(*partition, restorer);
    }
    for (partition, row) in unsealed_rows(snapshots, positions, &watermarks, rule).await? {
        if let Some(restorer) = restorers.get_mut(&partition) {
            let key = SessionKey { source: &row.source, session_key: &row.session_key };
            restorer.unsealed(key, row.start_time_us, row.session_id);
        }
    }

    let low = |at: &Positions| at.low.unwrap_or(0).min(at.sessions.unwrap_or(0));
    let lowest = positions.values().map(low).min().unwrap_or(0);
    let columns: Vec<&str> =
        [&EventReader::COLUMNS[..], &EventReader::MORE_COLUMNS, &["flags", "log_partition"]].concat();
    let mut stream =
        snapshots.events.read(&columns, |file| file.max_i64("log_offset").is_none_or(|highest| highest >= lowest));
    let mut behind: HashMap<u32, Vec<RecordBatch>> = HashMap::new();
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let (flags, times) = (int(&batch, "flags"), int(&batch, "event_time_us"));
        let reader = EventReader::new(&batch);
        let mut behind_rows: BTreeMap<u32, Vec<bool>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let Some(at) = positions.get(&partition) else { continue };
            let offset = offsets.value(row);
            if offset >= at.sessions.unwrap_or(0) {
                behind_rows.entry(partition).or_insert_with(|| vec![false; batch.num_rows()])[row] = true;
            } else if offset >= low(at) && !EventFlags(flags.value(row)).has(EventFlags::LATE) {
                let restorer = restorers.get_mut(&partition).expect("one was made for each partition");
                if reader.is_activity(row) && restorer.wants(reader.key(row), times.value(row)) {
                    restorer.event(reader.key(row), reader.event(row));
                }
            }
        }
        for (partition, mask) in behind_rows {
            behind.entry(partition).or_default().push(keep_rows(&batch, &mask));
        }
    }

    let mut states = HashMap::new();
    for (partition, restorer) in restorers {
        let state = restorer
            .finish()
            .map_err(|error| PipelineError::Rebuild { detail: format!("partition {partition}: {error}") })?;
        states.insert(partition, state);
    }
    let behind = behind.into_iter().map(|(partition, batches)| (partition, in_log_order(&batches))).collect();
    Ok(OpenSessions { states, behind })
}

/// The watermark of each (partition, source) at the position of `sessions`: the newest event before it.
///
/// This reads five columns of the whole table, some tens of millions of rows a second.
async fn watermarks(
    snapshots: &Snapshots,
    positions: &BTreeMap<u32, Positions>,
    rule: &SessionRule,
) -> Result<Watermarks, PipelineError> {
    let mut stream =
        snapshots.events.read(&["source", "event_kind", "event_time_us", "log_partition", "log_offset"], |_| true);
    let mut watermarks = Watermarks::new();
    while let Some(batch) = stream.try_next().await.map_err(|error| lake_error(Table::Events, error))? {
        let (sources, times) = (text(&batch, "source"), int(&batch, "event_time_us"));
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let kinds = text(&batch, "event_kind");
        for row in 0..batch.num_rows() {
            let partition = partitions.value(row).cast_unsigned();
            let Some(at) = positions.get(&partition) else { continue };
            // As the running job does: only activity moves the watermark.
            let activity = EventKind::parse(kinds.value(row)).is_none_or(belongs_to_session);
            if activity && offsets.value(row) < at.sessions.unwrap_or(0) {
                let watermark_us = rule.watermark_of(times.value(row));
                let source = sources.value(row);
                match watermarks.get_mut(&(partition, source.to_owned())) {
                    Some(known) => *known = watermark_us.max(*known),
                    None => _ = watermarks.insert((partition, source.to_owned()), watermark_us),
                }
            }
        }
    }
    Ok(watermarks)
}

type Watermarks = BTreeMap<(u32, String), i64>;

struct UnsealedRow {
    source: String,
    session_key: String,
    session_id: SessionId,
    start_time_us: i64,
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
        end_time_us: i64,
        gone: bool,
        row: UnsealedRow,
    }
    let lowest = positions.values().map(|at| at.low.unwrap_or(0)).min().unwrap_or(0);
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
    // An unsealed session holds an event at or above the low offset, so its latest version is above it.
    let mut stream =
        snapshots.sessions.read(&columns, |file| file.max_i64("version").is_none_or(|newest| newest >= lowest));
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
            };
            latest.insert(
                id.to_owned(),
                Latest {
                    version: versions.value(row),
                    partition,
                    end_time_us: ends.value(row),
                    gone: text_at(superseded, row).is_some(),
                    row: unsealed,
                },
            );
        }
    }
    Ok(latest
        .into_values()
        .filter(|latest| {
            let watermark_us = watermarks.get(&(latest.partition, latest.row.source.clone())).copied();
            !latest.gone && watermark_us.is_some_and(|wm| !rule.is_sealed(latest.end_time_us, wm))
        })
        .map(|latest| (latest.partition, latest.row))
        .collect())
}

fn in_log_order(batches: &[RecordBatch]) -> RecordBatch {
    let schema = batches.first().expect("a partition is listed with its first batch").schema();
    let all = arrow::compute::concat_batches(&schema, batches).expect("batches of one read");
    let offsets = int(&all, "log_offset");
    let mut order: Vec<u32> = (0..u32::try_from(all.num_rows()).expect("fewer than 2^32 rows lag behind")).collect();
    order.sort_by_key(|row| offsets.value(*row as usize));
    session_rows::take(&all, &UInt32Array::from(order))
}

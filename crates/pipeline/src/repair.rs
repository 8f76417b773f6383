//! Events that came too late for the stream, put into their sessions afterwards.
//!
//! In:      the rows of `events` flagged late since the last repair; the sessions around them that stand.
//! Out:     one commit of `sessions`: rows as they should be, tombstones of rows that are no more, and how far the
//!          repair has come.
//! Promise: afterwards the sessions are those of the batch definition over all events, late ones too, of the span of time
//!          a repair reaches back. A repair that is broken off changed nothing; one that runs twice tells nothing twice.
//! Not here: which spans and which rows (`analytics::session::repair`); when a repair runs (`job`).
//!
//! Only what the stream has let go of is touched: a span whose sessions it may still tell again waits for the next
//! repair, and so the stored position stays before the first late event that waits. The commit holds the stream's own
//! position to where it stands, and moves a number of its own: a repair made from sessions that have moved on since, or
//! that another worker made too, is fenced like any other commit.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use futures::TryStreamExt;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tributary_analytics::session::{SessionId, SessionKey, SessionRule, Standing, affected, resession};
use tributary_eventlog::TopicInfo;
use tributary_lake::{Advance, DataFile, RowTest, Snapshot};
use tributary_schemas::{EventFlags, Table};

use crate::columns::{int, int_at, keep_rows, small_int, text, text_at};
use crate::commit::{AppIds, CommitError, Owned, Round, Writers, commit_repair, lake_error};
use crate::dedup::id_hash;
use crate::error::PipelineError;
use crate::recover::{holds_partition, reaches, rows_of_partition};
use crate::session_rows::{self, EventReader};

/// Late events taken into one step of a repair, whose sessions' events all lie in memory; the next step follows at once.
const LATE_EVENTS_MAX: usize = 5_000;

/// The longest day there is, when clocks are put back, and an hour to spare.
const DAY_US: i64 = 26 * 3_600 * 1_000_000;

/// What a repair did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Repaired {
    pub(crate) late_events: usize,
    /// Rows told, tombstones too.
    pub(crate) rows: usize,
    /// Late events whose surroundings the stream still holds.
    pub(crate) waiting: usize,
    /// Spans that could not be cut anew.
    pub(crate) given_up: usize,
}

/// How far a repair of a partition has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// The first offset that was not looked at.
    pub(crate) next: i64,
    /// The first late event that waits; the stored position stays before it.
    pub(crate) waits_at: i64,
}

impl Progress {
    /// Where the last repair ended.
    pub(crate) fn begin(owned: &Owned) -> Self {
        Self { next: owned.at.repaired.unwrap_or(0), waits_at: i64::MAX }
    }

    /// Whether late events were met whose surroundings the stream still holds.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waits_at < i64::MAX
    }

    pub(crate) fn is_done(&self, owned: &Owned) -> bool {
        owned.at.events.is_none_or(|end| end <= self.next)
    }
}

/// Source and session key.
type Key = (String, String);

#[derive(Default)]
struct Touched {
    /// Times and offsets of its late events.
    late: Vec<(i64, i64)>,
    standing: HashMap<SessionId, Row>,
    spans: Vec<(i64, i64)>,
}

/// The newest row of a session.
#[derive(Clone, Copy)]
struct Row {
    version: i64,
    gone: bool,
    stands: Standing,
}

/// One step of repairing a partition. Call it with nothing pending: right after a commit, and a look at what others
/// committed.
///
/// * `lookback_us`: an event that came so much after it happened, or later still, stays as it is.
pub(crate) async fn repair(
    writers: &mut Writers,
    topic: &TopicInfo,
    owned: &mut Owned,
    progress: &mut Progress,
    lookback_us: i64,
    round: &mut Round,
) -> Result<Repaired, CommitError> {
    let mut repaired = Repaired::default();
    let (Some(end), Some(told)) = (owned.at.events, owned.at.sessions) else {
        progress.next = i64::MAX;
        return Ok(repaired);
    };
    let snapshots = writers.snapshots();
    let partition = owned.fold.partition;
    let rule = owned.fold.sessions.rule().clone();
    let (mut keys, next) = late_events(&snapshots.events, partition, progress.next, end, lookback_us).await?;
    progress.next = next;

    standing(&snapshots.sessions, partition, &rule, &mut keys).await?;
    for (key, touched) in &mut keys {
        touched.late.sort_unstable();
        let mut rows: Vec<(i64, i64)> =
            standing_rows(touched).map(|row| (row.start_time_us, row.end_time_us)).collect();
        rows.sort_unstable();
        let times: Vec<i64> = touched.late.iter().map(|(time_us, _)| *time_us).collect();
        // Without a watermark nothing was ever late.
        let watermark_us = owned.fold.sessions.watermark_us(&key.0).unwrap_or(i64::MIN);
        touched.spans = affected(&rule, &rows, &times);
        let is_open = |span: &(i64, i64)| !rule.is_sealed(span.1, watermark_us);
        let waits: Vec<(i64, i64)> = touched.spans.iter().copied().filter(is_open).collect();
        touched.spans.retain(|span| !waits.contains(span));
        for (time_us, offset) in &touched.late {
            if waits.iter().any(|span| is_in(span, *time_us)) {
                repaired.waiting += 1;
                progress.waits_at = progress.waits_at.min(*offset);
            } else {
                repaired.late_events += 1;
            }
        }
    }
    keys.retain(|_, touched| !touched.spans.is_empty());
    let rows = events_of(&snapshots.events, partition, end, &keys).await?;
    let watermarks = owned.fold.sessions.watermarks().map(|(source, at_us)| (source.to_owned(), at_us)).collect();
    let cut = Cut { rule, text: owned.fold.sessions.rule_text(), watermarks, partition, told };
    let cutting = tokio::task::spawn_blocking(move || cut.sessions_of(&rows, &keys));
    let (batch, rows_told, given_up) = cutting.await.expect("the work does not panic and is never cancelled");
    (repaired.rows, repaired.given_up) = (rows_told, given_up);

    let stored = progress.next.min(progress.waits_at);
    if batch.is_none() && owned.at.repaired == Some(stored) {
        return Ok(repaired);
    }
    let apps = AppIds(&topic.topic_id);
    let number = owned.at.repairs.unwrap_or(0) + 1;
    let advances = vec![
        Advance { app_id: apps.repaired(partition), expected: owned.at.repaired, next: stored },
        Advance { app_id: apps.repairs(partition), expected: owned.at.repairs, next: number },
        // Stands still, and is looked at.
        Advance { app_id: apps.sessions(partition), expected: Some(told), next: told },
    ];
    commit_repair(writers, batch.into_iter().collect(), advances, round).await?;
    // Only now: the job goes on after a commit that failed.
    (owned.at.repaired, owned.at.repairs) = (Some(stored), Some(number));
    Ok(repaired)
}

fn is_in(span: &(i64, i64), time_us: i64) -> bool {
    (span.0..=span.1).contains(&time_us)
}

fn standing_rows(touched: &Touched) -> impl Iterator<Item = Standing> {
    touched.standing.values().filter(|row| !row.gone).map(|row| row.stands)
}

/// The late events of offsets `from..end`, by key, and up to which offset they were looked through.
async fn late_events(
    events: &Snapshot,
    partition: u32,
    from: i64,
    end: i64,
    lookback_us: i64,
) -> Result<(BTreeMap<Key, Touched>, i64), CommitError> {
    let columns = ["source", "session_key", "event_time_us", "ingest_time_us", "flags", "log_partition", "log_offset"];
    let mut stream =
        events.read(&columns, |file| holds_partition(file, partition) && reaches(file, "log_offset", from, end - 1));
    let mut found: Vec<(i64, i64, Key)> = Vec::new();
    let mut next = end;
    while let Some(batch) = stream.try_next().await.map_err(events_failed)? {
        let (partitions, offsets) = (small_int(&batch, "log_partition"), int(&batch, "log_offset"));
        let (times, flags) = (int(&batch, "event_time_us"), int(&batch, "flags"));
        let ingest_times = int(&batch, "ingest_time_us");
        let (sources, session_keys) = (text(&batch, "source"), text(&batch, "session_key"));
        for row in 0..batch.num_rows() {
            let (time_us, offset) = (times.value(row), offsets.value(row));
            if partitions.value(row).cast_unsigned() == partition
                && (from..next).contains(&offset)
                // Judged by the row alone, so that it is the same whenever a repair comes by.
                && ingest_times.value(row).saturating_sub(time_us) <= lookback_us
                && EventFlags(flags.value(row)).has(EventFlags::LATE)
            {
                found.push((offset, time_us, (sources.value(row).to_owned(), session_keys.value(row).to_owned())));
            }
        }
        // Files lie in any order of offsets: the lowest of what was found are kept.
        if 2 * LATE_EVENTS_MAX < found.len() {
            found.sort_unstable();
            found.truncate(LATE_EVENTS_MAX);
            next = found.last().map_or(end, |(offset, ..)| offset + 1);
        }
    }
    found.sort_unstable();
    if LATE_EVENTS_MAX < found.len() {
        found.truncate(LATE_EVENTS_MAX);
        next = found.last().map_or(end, |(offset, ..)| offset + 1);
    }
    let mut keys: BTreeMap<Key, Touched> = BTreeMap::new();
    for (offset, time_us, key) in found {
        keys.entry(key).or_default().late.push((time_us, offset));
    }
    Ok((keys, next))
}

/// The newest row of each session of the keys, around their late events.
async fn standing(
    sessions: &Snapshot,
    partition: u32,
    rule: &SessionRule,
    keys: &mut BTreeMap<Key, Touched>,
) -> Result<(), CommitError> {
    let late = || keys.values().flat_map(|touched| touched.late.iter().map(|(time_us, _)| *time_us));
    let Some(first_us) = late().min() else { return Ok(()) };
    // A chain of sessions cut by length has no end of its own; but a late event changes only those from the session it
    // falls into on, which began within the longest session before it.
    // Where midnight ends sessions it bounds them too.
    let longest_us = if rule.midnight.is_some() { rule.duration_us_max.min(DAY_US) } else { rule.duration_us_max };
    let from_us = first_us.saturating_sub(longest_us).saturating_sub(rule.gap_us);
    let columns = [
        "session_id",
        "version",
        "superseded_by",
        "source",
        "session_key",
        "start_time_us",
        "end_time_us",
        "event_count",
        "late_event_count",
        "first_offset",
        "last_offset",
    ];
    let in_time = rows_of_partition(partition, "start_time_us", move |start_us| from_us <= start_us);
    let mut stream = sessions.read_where(
        &columns,
        |file| holds_partition(file, partition) && reaches(file, "start_time_us", from_us, i64::MAX),
        &[in_time, of_keys(keys)],
    );
    while let Some(batch) = stream.try_next().await.map_err(sessions_failed)? {
        let (ids, superseded) = (text(&batch, "session_id"), text(&batch, "superseded_by"));
        let (sources, session_keys) = (text(&batch, "source"), text(&batch, "session_key"));
        let [versions, starts, ends, counts, first_offsets, last_offsets] =
            ["version", "start_time_us", "end_time_us", "event_count", "first_offset", "last_offset"]
                .map(|name| int(&batch, name));
        let late_counts = int(&batch, "late_event_count");
        for row in 0..batch.num_rows() {
            let key = (sources.value(row).to_owned(), session_keys.value(row).to_owned());
            let Some(touched) = keys.get_mut(&key) else { continue };
            let session_id = SessionId::parse(ids.value(row))
                .map_err(|error| PipelineError::Rebuild { detail: format!("table sessions: {error}") })?;
            let version = versions.value(row);
            let stands = Standing {
                session_id,
                start_time_us: starts.value(row),
                end_time_us: ends.value(row),
                first_offset: first_offsets.value(row),
                last_offset: last_offsets.value(row),
                event_count: counts.value(row),
                late_event_count: int_at(late_counts, row).unwrap_or(0),
            };
            let known = touched.standing.get(&session_id).is_some_and(|known| version <= known.version);
            if !known {
                let gone = text_at(superseded, row).is_some();
                touched.standing.insert(session_id, Row { version, gone, stands });
            }
        }
    }
    Ok(())
}

/// The rows of `events` in the spans, each with the columns a session is made from.
async fn events_of(
    events: &Snapshot,
    partition: u32,
    end: i64,
    keys: &BTreeMap<Key, Touched>,
) -> Result<Vec<RecordBatch>, CommitError> {
    let spans = merged(keys.values().flat_map(|touched| touched.spans.iter().copied()).collect());
    let columns = [EventReader::columns(), vec!["flags"]].concat();
    let holds = |file: &DataFile| {
        holds_partition(file, partition) && spans.iter().any(|span| reaches(file, "event_time_us", span.0, span.1))
    };
    let before_end = rows_of_partition(partition, "log_offset", move |offset| offset < end);
    let in_spans = rows_of_partition(partition, "event_time_us", {
        let spans = spans.clone();
        move |time_us| {
            let began = spans.partition_point(|span| span.0 <= time_us);
            began.checked_sub(1).is_some_and(|last| time_us <= spans[last].1)
        }
    });
    let mut stream = events.read_where(&columns, holds, &[in_spans, before_end, of_keys(keys)]);
    let mut rows = Vec::new();
    while let Some(batch) = stream.try_next().await.map_err(events_failed)? {
        let times = int(&batch, "event_time_us");
        let reader = EventReader::new(&batch);
        let keep: Vec<bool> = (0..batch.num_rows())
            .map(|row| {
                reader.is_activity(row)
                    && keys
                        .get(&owned_key(reader.key(row)))
                        .is_some_and(|touched| touched.spans.iter().any(|span| is_in(span, times.value(row))))
            })
            .collect();
        if keep.contains(&true) {
            rows.push(keep_rows(&batch, &keep));
        }
    }
    Ok(rows)
}

/// Rows of these keys, and hardly any other: told apart by a hash.
fn of_keys(keys: &BTreeMap<Key, Touched>) -> RowTest {
    let hashes: HashSet<u64> = keys.keys().map(|(source, session_key)| id_hash(source, session_key)).collect();
    RowTest::new(["source", "session_key"], move |batch| {
        let (sources, session_keys) = (text(batch, "source"), text(batch, "session_key"));
        let passes = |row| hashes.contains(&id_hash(sources.value(row), session_keys.value(row)));
        (0..batch.num_rows()).map(|row| Some(passes(row))).collect()
    })
}

/// Ascending, and none touches the next.
fn merged(mut spans: Vec<(i64, i64)>) -> Vec<(i64, i64)> {
    spans.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.0 <= last.1 => last.1 = last.1.max(span.1),
            _ => merged.push(span),
        }
    }
    merged
}

fn owned_key(key: SessionKey<'_>) -> Key {
    (key.source.to_owned(), key.session_key.to_owned())
}

/// What the sessions are cut by.
struct Cut {
    rule: SessionRule,
    text: Arc<str>,
    watermarks: HashMap<String, i64>,
    partition: u32,
    /// Where the stream's own rows stand.
    told: i64,
}

impl Cut {
    /// The rows of `sessions` that put the events into them, how many these are, and how many spans were given up.
    fn sessions_of(&self, rows: &[RecordBatch], keys: &BTreeMap<Key, Touched>) -> (Option<RecordBatch>, usize, usize) {
        let readers: Vec<EventReader<'_>> = rows.iter().map(EventReader::new).collect();
        let flags: Vec<_> = rows.iter().map(|batch| int(batch, "flags")).collect();
        let times: Vec<_> = rows.iter().map(|batch| int(batch, "event_time_us")).collect();
        let mut by_key: HashMap<SessionKey<'_>, Vec<(usize, usize)>> = HashMap::new();
        for (batch, reader) in readers.iter().enumerate() {
            for row in 0..rows[batch].num_rows() {
                by_key.entry(reader.key(row)).or_default().push((batch, row));
            }
        }
        let (mut batches, mut given_up) = (Vec::new(), 0);
        for ((source, session_key), touched) in keys {
            let key = SessionKey { source, session_key };
            let places = by_key.get(&key).map(Vec::as_slice).unwrap_or_default();
            let watermark_us = self.watermarks.get(source).copied().unwrap_or(i64::MIN);
            for span in &touched.spans {
                let of_span = places.iter().filter(|(batch, row)| is_in(span, times[*batch].value(*row)));
                let events = of_span.map(|(batch, row)| {
                    let mut event = readers[*batch].event(*row);
                    event.is_late = EventFlags(flags[*batch].value(*row)).has(EventFlags::LATE);
                    event
                });
                let standing: Vec<Standing> =
                    standing_rows(touched).filter(|row| is_in(span, row.start_time_us)).collect();
                // Above what stands, which the very last commit may have told; the stream tells none of these again.
                let of_span = touched.standing.values().filter(|row| is_in(span, row.stands.start_time_us));
                let version = of_span.map(|row| row.version + 1).fold(self.told, i64::max);
                let told = resession(&self.rule, key, events, &standing, watermark_us, |changes| {
                    (!changes.is_empty()).then(|| session_rows::to_batch(changes, &self.text, self.partition, version))
                });
                match told {
                    Ok(told) => batches.extend(told),
                    // Some of its events are gone, by retention say: what stands is better than what would be made
                    // without.
                    Err(error) => {
                        given_up += 1;
                        let partition = self.partition;
                        tracing::warn!(partition, source, session_key, %error, "late events stay out of their sessions");
                    }
                }
            }
        }
        let batch = batches.first().map(|first| {
            concat_batches(&first.schema(), &batches).expect("batches of one table, far fewer rows than it may have")
        });
        let rows = batch.as_ref().map_or(0, RecordBatch::num_rows);
        (batch, rows, given_up)
    }
}

fn events_failed(error: tributary_lake::LakeError) -> CommitError {
    CommitError::Failed(lake_error(Table::Events, error))
}

fn sessions_failed(error: tributary_lake::LakeError) -> CommitError {
    CommitError::Failed(lake_error(Table::Sessions, error))
}

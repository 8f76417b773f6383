//! What of `events` and `sessions` a start may still want to read: upkeep of the lake must leave that alone.
//!
//! In:      the tables; the rule sessions are cut by.
//! Out:     by partition, the first offset of what is still open; the days of sessions that are still open, and of rows
//!          that are in no session yet.
//! Promise: rather too much than too little: without it `recover` would not find a session it looks for, and would refuse
//!          to go on.
//! Not here: what is done with it (`lake`).

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use tributary_lake::{DataFile, Lake, LakeError, Needed, Snapshot};
use tributary_schemas::Table;

use crate::columns::{day_of, int, small_int, text, text_at};
use crate::commit::AppIds;
use crate::job::rule_of;
use crate::recover::{holds_partition, reaches, rows_of_partition};
use crate::session_rows::EventReader;
use crate::settings::PipelineSettings;

/// Where each partition's open sessions begin, and on which days they lie.
pub async fn needed(lake: &Lake, settings: &PipelineSettings) -> Result<Needed, LakeError> {
    let rule = rule_of(settings);
    // `events` first: what `sessions` does not say yet about rows of it lies above the offsets found here.
    let events = lake.snapshot(Table::Events).await?;
    let sessions = lake.snapshot(Table::Sessions).await?;
    let mut needed = Needed::default();
    for (topic_id, partition) in partitions(&events) {
        let apps = AppIds(&topic_id);
        // Rows that `sessions` does not know yet.
        let told = sessions.txn(&apps.sessions(partition)).unwrap_or(0);
        needed.days.extend(untold_days(&events, partition, told).await?);
        let Some(low) = sessions.txn(&apps.low(partition)) else { continue };
        // A start from a state object takes up the rows from there on.
        let state = sessions.txn(&apps.state(partition)).unwrap_or(low);
        needed.offsets.insert(partition.cast_signed(), low.min(state));
        let prefix = apps.watermark(partition);
        let watermarks: HashMap<&str, i64> =
            sessions.txns().filter_map(|(app_id, at_us)| Some((app_id.strip_prefix(&prefix)?, at_us))).collect();
        let of_source = |source: &str| watermarks.get(source).copied();
        let is_open = |source: &str, end_us| of_source(source).is_none_or(|at_us| !rule.is_sealed(end_us, at_us));
        needed.days.extend(open_days(&sessions, partition, low, is_open).await?);
    }
    (needed.events, needed.sessions) = (Some(events), Some(sessions));
    Ok(needed)
}

/// Topics and partitions that have a position in `events`, by the names `AppIds` gives them.
fn partitions(events: &Snapshot) -> Vec<(String, u32)> {
    let of = |app_id: &str| {
        let (topic_id, partition) = app_id.strip_prefix("ing/")?.rsplit_once('/')?;
        Some((topic_id.to_owned(), partition.parse().ok()?))
    };
    events.txns().filter_map(|(app_id, _)| of(app_id)).collect()
}

/// The days of rows at `told` and after it that belong to a session. A partition of sends alone has none, however long its
/// position in `sessions` stood still.
async fn untold_days(events: &Snapshot, partition: u32, told: i64) -> Result<BTreeSet<i64>, LakeError> {
    let holds = |file: &DataFile| holds_partition(file, partition) && reaches(file, "log_offset", told, i64::MAX);
    let is_untold = rows_of_partition(partition, "log_offset", move |offset| told <= offset);
    let mut days = BTreeSet::new();
    let mut stream = events.read_where(&EventReader::columns(), holds, &[is_untold]);
    while let Some(batch) = stream.try_next().await? {
        let (reader, times) = (EventReader::new(&batch), int(&batch, "event_time_us"));
        let of_sessions = (0..batch.num_rows()).filter(|row| reader.is_activity(*row));
        days.extend(of_sessions.map(|row| i64::from(day_of(times.value(row)))));
    }
    Ok(days)
}

/// The days from start to end of each session whose newest version is open.
async fn open_days(
    sessions: &Snapshot,
    partition: u32,
    low: i64,
    is_open: impl Fn(&str, i64) -> bool,
) -> Result<BTreeSet<i64>, LakeError> {
    // (version, the days if it is open)
    let mut latest: HashMap<String, (i64, Option<(i64, i64)>)> = HashMap::new();
    let columns = ["session_id", "version", "superseded_by", "source", "start_time_us", "end_time_us", "log_partition"];
    let mut stream =
        sessions.read(&columns, |file| holds_partition(file, partition) && reaches(file, "version", low, i64::MAX));
    while let Some(batch) = stream.try_next().await? {
        let (ids, versions, sources) = (text(&batch, "session_id"), int(&batch, "version"), text(&batch, "source"));
        let (starts, ends) = (int(&batch, "start_time_us"), int(&batch, "end_time_us"));
        let (partitions, superseded) = (small_int(&batch, "log_partition"), text(&batch, "superseded_by"));
        for row in 0..batch.num_rows() {
            let known = latest.get(ids.value(row)).map(|(version, _)| *version);
            if partitions.value(row).cast_unsigned() != partition
                || known.is_some_and(|known| versions.value(row) < known)
            {
                continue;
            }
            let open = text_at(superseded, row).is_none() && is_open(sources.value(row), ends.value(row));
            let days = open.then(|| (day_of(starts.value(row)).into(), day_of(ends.value(row)).into()));
            latest.insert(ids.value(row).to_owned(), (versions.value(row), days));
        }
    }
    Ok(latest.into_values().filter_map(|(_, days)| days).flat_map(|(first, last)| first..=last).collect())
}

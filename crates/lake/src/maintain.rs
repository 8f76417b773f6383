//! The upkeep of a lake, for as long as a process runs.
//!
//! In:       a lake; what other floors still need of it; somebody who listens.
//! Out:      compactions every few minutes; old days dropped and files swept away every few hours.
//! Promise:  each table and each task by itself: one that fails is told and tried again the next time. A stop breaks off
//!           at once and leaves nothing worse than files that the next vacuum takes. Several processes may do this on one
//!           lake; they only waste work.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tributary_schemas::Table;

use crate::compact::{CompactOptions, Compacted};
use crate::error::LakeError;
use crate::lake::Lake;
use crate::retention::Dropped;
use crate::snapshot::Snapshot;
use crate::vacuum::{VacuumOptions, Vacuumed};

/// What the floors above may still rebuild from the tables.
#[derive(Debug, Clone, Default)]
pub struct Needed {
    /// `CompactOptions::needed_from`.
    pub offsets: BTreeMap<i32, i64>,
    /// Days of `events` and `sessions`, counted from 1970, that must not be dropped yet.
    pub days: BTreeSet<i64>,
    /// `events` as it was when this was found out.
    pub events: Option<Snapshot>,
    /// `sessions`, likewise.
    pub sessions: Option<Snapshot>,
}

/// One thing done, for logs and metrics.
#[derive(Debug)]
pub enum Upkeep {
    Compacted(Table, Compacted, Duration),
    Dropped(Table, Dropped),
    Vacuumed(Table, Vacuumed),
    Failed(Table, &'static str, LakeError),
}

/// The first sweep is not at the very start: a process that is started again and again would do nothing else.
const FIRST_VACUUM: Duration = Duration::from_secs(3_600);

/// Runs until `stop` is ready.
///
/// * `log_topic`: of the rows of `events`.
/// * `needed`: asked before each compaction and each sweep; while it fails there is none.
pub async fn maintain<N: Future<Output = Result<Needed, LakeError>>>(
    lake: Lake,
    log_topic: String,
    needed: impl Fn(Lake) -> N,
    tell: impl Fn(Upkeep),
    stop: impl Future<Output = ()>,
) {
    let work = pin!(rounds(&lake, &log_topic, needed, tell));
    match select(work, pin!(stop)).await {
        Either::Left((never, _)) => match never {},
        Either::Right(_) => {}
    }
}

async fn rounds<N: Future<Output = Result<Needed, LakeError>>>(
    lake: &Lake,
    log_topic: &str,
    needed: impl Fn(Lake) -> N,
    tell: impl Fn(Upkeep),
) -> std::convert::Infallible {
    let settings = lake.settings();
    let every = |seconds: u64| (0 < seconds).then(|| Duration::from_secs(seconds));
    let (compact, vacuum) = (every(settings.compact_minutes * 60), every(settings.vacuum_hours * 3_600));
    let Some(pace) = compact.into_iter().chain(vacuum).min() else { return std::future::pending().await };
    let begun = tokio::time::Instant::now();
    let mut vacuum_at = vacuum.map(|vacuum| begun + vacuum.min(FIRST_VACUUM));
    loop {
        tokio::time::sleep(pace).await;
        let ask = async || {
            let needed = needed(lake.clone()).await;
            needed.map_err(|error| tell(Upkeep::Failed(Table::Events, "asking what is needed of it", error))).ok()
        };
        if compact.is_some()
            && let Some(needed) = ask().await
        {
            compact_all(lake, log_topic, &needed, &tell).await;
        }
        let now = tokio::time::Instant::now();
        if let (Some(vacuum), Some(at)) = (vacuum, vacuum_at.filter(|at| *at <= now))
            // Anew: a compaction may have taken an hour.
            && let Some(needed) = ask().await
        {
            vacuum_at = Some(at + vacuum);
            sweep(lake, &needed, &tell).await;
        }
    }
}

async fn compact_all(lake: &Lake, log_topic: &str, needed: &Needed, tell: &impl Fn(Upkeep)) {
    let options =
        CompactOptions { everything: false, log_topic: log_topic.to_owned(), needed_from: needed.offsets.clone() };
    // `events` before `dead_letters`, into which it writes.
    for table in Table::ALL {
        let begun = tokio::time::Instant::now();
        match lake.compact(*table, &options).await {
            Ok(done) => tell(Upkeep::Compacted(*table, done, begun.elapsed())),
            Err(error) => tell(Upkeep::Failed(*table, "compacting it", error)),
        }
    }
}

async fn sweep(lake: &Lake, needed: &Needed, tell: &impl Fn(Upkeep)) {
    let settings = lake.settings();
    let nothing = BTreeSet::new();
    for (table, days, held, seen) in [
        (Table::Events, settings.events_days_max, &needed.days, needed.events.as_ref()),
        (Table::Sessions, settings.sessions_days_max, &needed.days, needed.sessions.as_ref()),
        (Table::DeadLetters, settings.dead_letters_days_max, &nothing, None),
    ] {
        if days == 0 {
            continue;
        }
        match lake.drop_old(table, days, held, seen).await {
            Ok(done) => tell(Upkeep::Dropped(table, done)),
            Err(error) => tell(Upkeep::Failed(table, "dropping its old days", error)),
        }
    }
    let options = VacuumOptions { horizon_hours: settings.vacuum_horizon_hours, force: false, dry_run: false };
    for table in Table::ALL {
        match lake.vacuum(*table, &options).await {
            Ok(done) => tell(Upkeep::Vacuumed(*table, done)),
            Err(error) => tell(Upkeep::Failed(*table, "sweeping it", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::settings::LakeSettings;

    async fn lake(folder: &tempfile::TempDir, events_days_max: u64) -> Lake {
        let url = folder.path().display().to_string();
        let settings = LakeSettings { url, fsync: false, events_days_max, ..LakeSettings::default() };
        Lake::open(settings).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_table_is_told_and_a_failure_of_one_keeps_the_others_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder, 30).await;
        let told = Mutex::new(Vec::new());
        let tell = |done: Upkeep| {
            let line = match done {
                Upkeep::Compacted(table, ..) => format!("compacted {}", table.name()),
                Upkeep::Dropped(table, _) => format!("dropped {}", table.name()),
                Upkeep::Vacuumed(table, _) => format!("vacuumed {}", table.name()),
                Upkeep::Failed(table, doing, _) => format!("failed {doing} {}", table.name()),
            };
            told.lock().unwrap().push(line);
        };
        std::fs::write(folder.path().join("sessions/_delta_log/00000000000000000001.json"), "no commit").unwrap();
        compact_all(&lake, "topic", &Needed::default(), &tell).await;
        sweep(&lake, &Needed::default(), &tell).await;
        let expected = [
            "compacted events",
            "failed compacting it sessions",
            "compacted identities",
            "compacted dead_letters",
            "dropped events",
            "vacuumed events",
            "failed sweeping it sessions",
            "vacuumed identities",
            "vacuumed dead_letters",
        ];
        assert_eq!(*told.lock().unwrap(), expected);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_stop_ends_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let lake = lake(&folder, 0).await;
        let needed = |_: Lake| std::future::ready(Ok(Needed::default()));
        maintain(lake, "topic".to_owned(), needed, |_| {}, std::future::ready(())).await;
    }
}

//! The loop: poll, fold, commit; stop in the order of the data.
//!
//! In:      settings, and the parts it works with.
//! Out:     rows in the lake; where it stands, on a watch channel and as metrics.
//! Promise: one task owns all state; every wait for something to do ends when `stop` is cancelled; a stop first takes in
//!          what the log still holds (for a bounded time), then commits. A start and a commit are seen through.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tributary_analytics::enrich::Rules;
use tributary_analytics::session::SessionRule;
use tributary_eventlog::{Delivered, EventLog, LogError, LogReader, Polled, TopicInfo};
use tributary_lake::Lake;

use crate::aside::aside;
use crate::catch_up::catch_up;
use crate::commit::{CommitError, Owned, OwnedDead, Round, Writers, commit};
use crate::enrich::Enrichment;
use crate::error::{Advice, PipelineError};
use crate::fold::Counts;
use crate::live::{ASKS_WAITING_MAX, Kept, LiveDesk, answer, answer_meanwhile};
use crate::messages;
use crate::observe;
use crate::recover::{recover, recover_dead};
use crate::settings::PipelineSettings;

/// What the job works with.
pub struct Parts {
    pub log: Arc<dyn EventLog>,
    pub lake: Lake,
    pub events: TopicInfo,
    pub dead_letters: TopicInfo,
    /// Told after every commit. Keep a receiver to wait until the lake has caught up with the log.
    pub progress: watch::Sender<Progress>,
}

/// Where the lake stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// (partition, next offset) of the events topic: everything before is queryable.
    pub events: Vec<(u32, u64)>,
    pub dead_letters: Vec<(u32, u64)>,
    pub commits: u64,
    pub counts: Counts,
    pub open_sessions: usize,
}

/// What a whole run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub counts: Counts,
    pub commits: u64,
    pub rows: u64,
    pub bytes: u64,
}

/// How long one poll waits for records; a stop or a due commit ends it sooner.
const POLL_WAIT: Duration = Duration::from_secs(1);
/// How long a stop goes on reading what the log still holds.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long after a stop a reader is believed that says it is at the end, though the log says otherwise.
const READER_TRUSTED_AFTER: Duration = Duration::from_secs(3);
/// The pauses between tries while the lake or the log is away double from the first to the last of these.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many times in a row may another worker take our positions before we say it is a fault in the set-up.
const FENCED_TIMES_MAX: u32 = 5;
/// The name under which positions are reported to the log, for lag displays.
pub const GROUP: &str = "tributary-pipeline";

/// Runs until `stop` is cancelled, then drains and commits.
///
/// A fault that may mend (a full disk, storage or a broker that is away) is waited for: the log goes on taking events
/// meanwhile, and the job begins again where the tables stand. Only what a person must look at ends it, and a stop
/// that comes while it cannot commit.
pub async fn run(settings: PipelineSettings, parts: Parts, stop: CancellationToken) -> Result<Summary, PipelineError> {
    run_live(settings, parts, LiveDesk::of_nobody(), stop).await
}

/// The same, answering what is asked at the desk (`live`).
pub async fn run_live(
    settings: PipelineSettings,
    parts: Parts,
    mut desk: LiveDesk,
    stop: CancellationToken,
) -> Result<Summary, PipelineError> {
    let faults = settings.check();
    if !faults.is_empty() {
        return Err(PipelineError::Settings { faults });
    }
    let rules = settings.rules().map_err(|faults| PipelineError::Settings { faults })?;
    let rules = Arc::new(rules);
    let mut summary = Summary::default();
    let mut fenced_times = 0;
    let mut pause = PAUSE_FIRST;
    loop {
        let is_last_try = stop.is_cancelled();
        let commits_before = summary.commits;
        let ended = match Job::open(&settings, &parts, &rules).await {
            Ok(mut job) => job.work(&stop, &mut summary, &mut desk).await,
            Err(error) => Err(error),
        };
        let came_on = summary.commits > commits_before;
        match ended {
            Ok(()) => return Ok(summary),
            // As if fenced: should another worker have come between our looks at two tables, the next look is right.
            Err(CommitError::Failed(PipelineError::SessionsAhead { .. })) if fenced_times + 1 < FENCED_TIMES_MAX => {
                fenced_times += 1;
                tracing::warn!(fenced_times, "the tables do not fit together: looking again");
            }
            Err(CommitError::Failed(error)) if is_last_try || error.advice() == Advice::Stop => return Err(error),
            Err(CommitError::Failed(error)) => {
                pause = if came_on { PAUSE_FIRST } else { PAUSE_MAX.min(pause * 2) };
                tracing::error!(
                    error = told(&error),
                    pause_ms = pause.as_millis(),
                    "the stream job waits; the log keeps what comes in, and nothing is lost"
                );
                metrics::counter!("tributary_pipeline_faults_total").increment(1);
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            }
            Err(CommitError::Fenced) => {
                fenced_times = if came_on { 1 } else { fenced_times + 1 };
                if fenced_times >= FENCED_TIMES_MAX {
                    return Err(PipelineError::Fenced { times: fenced_times });
                }
                tracing::warn!(fenced_times, "positions were moved by another worker: starting again from the tables");
            }
        }
    }
}

/// The error with what caused it, on one line.
fn told(error: &PipelineError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The session rule of settings that `check` found no fault with.
pub(crate) fn rule_of(settings: &PipelineSettings) -> SessionRule {
    settings.session_rule().expect("settings are checked at start")
}

struct Job<'p> {
    settings: &'p PipelineSettings,
    parts: &'p Parts,
    writers: Writers,
    events: Vec<Owned>,
    dead: Vec<OwnedDead>,
    events_reader: Box<dyn LogReader>,
    dead_reader: Box<dyn LogReader>,
    /// When the rows now pending must be committed; `None` while there are none.
    due: Option<Instant>,
    kept: Kept,
}

impl<'p> Job<'p> {
    async fn open(settings: &'p PipelineSettings, parts: &'p Parts, rules: &Arc<Rules>) -> Result<Self, CommitError> {
        let begun = Instant::now();
        let owned = |topic: &TopicInfo| -> Vec<u32> {
            (0..topic.partitions).filter(|partition| settings.owns(*partition)).collect()
        };
        let log = parts.log.as_ref();
        let mut writers = Writers::open(&parts.lake).await?;
        let snapshots = writers.snapshots();
        let window_us = i64::try_from(settings.dedup_window_ms * 1_000).expect("checked: at most a year");
        let rule = rule_of(settings);
        let mut events = recover(&snapshots, log, &parts.events, &owned(&parts.events), &rule, window_us).await?;
        for owned in &mut events {
            owned.fold.enrich = Enrichment::new(rules.clone());
        }
        messages::restore(&snapshots, &mut events).await?;
        let dead = recover_dead(&snapshots, log, &parts.dead_letters, &owned(&parts.dead_letters)).await?;
        catch_up(&mut writers, &snapshots.events, &parts.events, &mut events, settings.commit_rows_max).await?;

        let start: Vec<_> = events.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        let events_reader = open_reader(log, &parts.events, &start).await?;
        let start: Vec<_> = dead.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        let dead_reader = open_reader(log, &parts.dead_letters, &start).await?;
        tracing::info!(
            partitions = events.len(),
            open_sessions = events.iter().map(|owned| owned.fold.sessions.open_sessions()).sum::<usize>(),
            event_ids = events.iter().map(|owned| owned.fold.ids.len()).sum::<usize>(),
            elapsed_ms = begun.elapsed().as_millis(),
            "the stream job stands where the tables stand"
        );
        let kept = Kept::default();
        let mut job = Self { settings, parts, writers, events, dead, events_reader, dead_reader, due: None, kept };
        // Rows that a crash left out of `sessions` are folded already and wait for a commit.
        job.due = Some(Instant::now());
        job.tell(&Summary::default());
        Ok(job)
    }

    async fn work(
        &mut self,
        stop: &CancellationToken,
        summary: &mut Summary,
        desk: &mut LiveDesk,
    ) -> Result<(), CommitError> {
        loop {
            if self.is_due() {
                self.commit(summary, desk).await?;
            }
            let due = self.due.unwrap_or_else(|| Instant::now() + POLL_WAIT);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due), if self.due.is_some() => {}
                // The poll that is dropped for it loses nothing.
                ask = desk.next() => {
                    answer(ask, &self.parts.events, &mut self.events, &mut self.kept).await;
                }
                polled = self.events_reader.poll(self.settings.poll_bytes_max, POLL_WAIT), if !self.events.is_empty() => {
                    let polled = polled.map_err(|error| self.events_failed(error))?;
                    self.take_events(polled).await;
                }
                polled = self.dead_reader.poll(self.settings.poll_bytes_max, POLL_WAIT), if !self.dead.is_empty() => {
                    let polled = polled.map_err(|error| self.dead_failed(error))?;
                    self.take_dead(polled).await;
                }
            }
        }
        self.drain(summary, desk).await
    }

    /// Takes in what the log still holds, so that what the door accepted before it closed is in the lake.
    async fn drain(&mut self, summary: &mut Summary, desk: &mut LiveDesk) -> Result<(), CommitError> {
        let begun = Instant::now();
        let wait = Duration::from_millis(10);
        // Nothing new comes while we drain: a topic once read to its end needs no second look. The log says where that
        // is. What a reader says of itself is asked only after a while: a reader of Kafka stands at the end until the
        // next record reaches it, which may be on its way; but marks that are no records may lie at the end, and then it
        // is the reader alone who knows.
        let log = self.parts.log.as_ref();
        let events_end = ends(log, &self.parts.events, self.events.iter().map(|owned| owned.fold.partition)).await;
        let dead_end = ends(log, &self.parts.dead_letters, self.dead.iter().map(|owned| owned.fold.partition)).await;
        let is_read = |at_end: &[u32], ends: &HashMap<u32, u64>, partition: u32, position: u64| {
            ends.get(&partition).is_some_and(|end| *end <= position)
                || begun.elapsed() >= READER_TRUSTED_AFTER && at_end.contains(&partition)
        };
        let (mut events_done, mut dead_done) = (self.events.is_empty(), self.dead.is_empty());
        while !(events_done && dead_done) && begun.elapsed() < DRAIN_MAX {
            if !events_done {
                let polled = self.events_reader.poll(self.settings.poll_bytes_max, wait).await;
                let polled = polled.map_err(|error| self.events_failed(error))?;
                let at_end = polled.at_end.clone();
                self.take_events(polled).await;
                let mut folds = self.events.iter().map(|owned| &owned.fold);
                events_done = folds.all(|fold| is_read(&at_end, &events_end, fold.partition, fold.position));
            }
            if !dead_done {
                let polled = self.dead_reader.poll(self.settings.poll_bytes_max, wait).await;
                let polled = polled.map_err(|error| self.dead_failed(error))?;
                let at_end = polled.at_end.clone();
                self.take_dead(polled).await;
                let mut folds = self.dead.iter().map(|owned| &owned.fold);
                dead_done = folds.all(|fold| is_read(&at_end, &dead_end, fold.partition, fold.position));
            }
            if self.is_full() {
                self.commit(summary, desk).await?;
            }
        }
        if !(events_done && dead_done) {
            tracing::warn!("the log still holds records that are not in the lake; the next start goes on with them");
        }
        self.commit(summary, desk).await
    }

    async fn take_events(&mut self, polled: Polled) {
        let (runs, positions) = in_runs(polled);
        aside(&mut self.events, move |events| {
            for run in &runs {
                let owned = events.iter_mut().find(|owned| owned.fold.partition == run[0].partition);
                owned.expect("the reader was given our partitions").fold.fold(run);
            }
            for (partition, position) in positions {
                if let Some(owned) = events.iter_mut().find(|owned| owned.fold.partition == partition) {
                    // Kafka's offsets have holes: the position, not the last record, says where to go on.
                    owned.fold.position = owned.fold.position.max(position);
                }
            }
        })
        .await;
        self.start_waiting();
    }

    async fn take_dead(&mut self, polled: Polled) {
        let (runs, positions) = in_runs(polled);
        aside(&mut self.dead, move |dead| {
            for run in &runs {
                let owned = dead.iter_mut().find(|owned| owned.fold.partition == run[0].partition);
                owned.expect("the reader was given our partitions").fold.fold(run);
            }
            for (partition, position) in positions {
                if let Some(owned) = dead.iter_mut().find(|owned| owned.fold.partition == partition) {
                    owned.fold.position = owned.fold.position.max(position);
                }
            }
        })
        .await;
        self.start_waiting();
    }

    fn start_waiting(&mut self) {
        if self.due.is_none() && self.pending_rows() > 0 {
            self.due = Some(Instant::now() + Duration::from_millis(self.settings.commit_interval_ms));
        }
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now()) || self.is_full()
    }

    fn is_full(&self) -> bool {
        let events: usize = self.events.iter().map(|owned| owned.fold.pending_bytes()).sum();
        let bytes = events + self.dead.iter().map(|owned| owned.fold.rows.bytes()).sum::<usize>();
        self.settings.commit_rows_max <= self.pending_rows() || self.settings.commit_bytes_max <= bytes
    }

    fn pending_rows(&self) -> usize {
        let events: usize = self.events.iter().map(|owned| owned.fold.pending_rows()).sum();
        events + self.dead.iter().map(|owned| owned.fold.rows.rows()).sum::<usize>()
    }

    async fn commit(&mut self, summary: &mut Summary, desk: &mut LiveDesk) -> Result<(), CommitError> {
        self.due = None;
        let (events_topic, dead_topic) = (&self.parts.events, &self.parts.dead_letters);
        let before = self.kept.before(&mut self.events).await;
        let mut asked_meanwhile = Vec::new();
        let round: Round = {
            let committing = commit(&mut self.writers, events_topic, dead_topic, &mut self.events, &mut self.dead);
            let mut committing = pin!(committing);
            loop {
                tokio::select! {
                    round = &mut committing => break round?,
                    ask = desk.next(), if asked_meanwhile.len() < ASKS_WAITING_MAX => {
                        asked_meanwhile.extend(answer_meanwhile(ask, events_topic, before.as_ref(), &mut self.kept));
                    }
                }
            }
        };
        if let Some(before) = before {
            self.kept.keep(before, round.sessions, self.settings.live_bytes_max);
        }
        for ask in asked_meanwhile {
            answer(ask, events_topic, &mut self.events, &mut self.kept).await;
        }
        let mut counts = Counts::default();
        for owned in &mut self.events {
            counts.add(std::mem::take(&mut owned.fold.counts));
        }
        summary.counts.add(counts);
        summary.commits += u64::from(round.commits > 0);
        summary.rows += round.rows;
        summary.bytes += round.bytes;
        count(counts);
        self.tell(summary);
        self.report_positions().await;
        Ok(())
    }

    /// Best effort: lag displays read these, and the embedded log's retention, which removes nothing before them.
    async fn report_positions(&mut self) {
        let events: Vec<_> = self.events.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        let dead: Vec<_> = self.dead.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        for (topic, next) in [(&self.parts.events, events), (&self.parts.dead_letters, dead)] {
            if next.is_empty() {
                continue;
            }
            if let Err(error) = self.parts.log.report_position(GROUP, &topic.topic, &next).await {
                tracing::debug!(topic = topic.topic, %error, "positions were not reported to the log");
            }
        }
    }

    fn tell(&self, summary: &Summary) {
        let open_sessions = self.events.iter().map(|owned| owned.fold.sessions.open_sessions()).sum();
        observe::publish(&self.events);
        self.parts.progress.send_modify(|progress| {
            // Only a committed position is progress: this is called right after a commit or a recovery.
            progress.events = self
                .events
                .iter()
                .map(|owned| (owned.fold.partition, owned.at.events.unwrap_or(0).cast_unsigned()))
                .collect();
            progress.dead_letters =
                self.dead.iter().map(|owned| (owned.fold.partition, owned.at.unwrap_or(0).cast_unsigned())).collect();
            progress.commits = summary.commits;
            progress.counts = summary.counts;
            progress.open_sessions = open_sessions;
        });
    }

    fn events_failed(&self, error: LogError) -> CommitError {
        CommitError::Failed(log_error(&self.parts.events, error))
    }

    fn dead_failed(&self, error: LogError) -> CommitError {
        CommitError::Failed(log_error(&self.parts.dead_letters, error))
    }
}

/// What a poll brought, as one run a partition: each run becomes batches of its own. And where each partition stands now.
fn in_runs(polled: Polled) -> (Vec<Vec<Delivered>>, Vec<(u32, u64)>) {
    let mut runs: BTreeMap<u32, Vec<Delivered>> = BTreeMap::new();
    for delivered in polled.records {
        runs.entry(delivered.partition).or_default().push(delivered);
    }
    (runs.into_values().collect(), polled.positions)
}

/// Where partitions end now. One that cannot be asked is left out.
async fn ends(log: &dyn EventLog, topic: &TopicInfo, partitions: impl Iterator<Item = u32>) -> HashMap<u32, u64> {
    let mut ends = HashMap::new();
    for partition in partitions {
        if let Ok(bounds) = log.bounds(&topic.topic, partition).await {
            ends.insert(partition, bounds.next);
        }
    }
    ends
}

async fn open_reader(
    log: &dyn EventLog,
    topic: &TopicInfo,
    start: &[(u32, u64)],
) -> Result<Box<dyn LogReader>, PipelineError> {
    log.reader(&topic.topic, start).await.map_err(|error| log_error(topic, error))
}

fn log_error(topic: &TopicInfo, error: LogError) -> PipelineError {
    match error {
        LogError::OutOfRange { partition, earliest, next, asked, .. } => {
            PipelineError::LogLost { topic: topic.topic.clone(), partition, committed: asked, earliest, next }
        }
        source => PipelineError::Log { topic: topic.topic.clone(), source },
    }
}

fn count(counts: Counts) {
    for (outcome, number) in [
        ("kept", counts.kept),
        ("late", counts.late),
        ("duplicate", counts.duplicates),
        ("id_collision", counts.collisions),
        ("undecodable", counts.undecodable),
    ] {
        metrics::counter!("tributary_pipeline_events_total", "outcome" => outcome).increment(number);
    }
}

//! The loop: poll, fold, commit; stop in the order of the data.
//!
//! In:      settings, and the parts it works with.
//! Out:     rows in the lake; where it stands, on a watch channel and as metrics.
//! Promise: one task owns all state; every wait for something to do ends when `stop` is cancelled; a stop first takes in
//!          what the log still holds (for a bounded time), then commits. A start and a commit are seen through.
//!
//! Partitions are named by the settings, once; or by a group, and then they come and go while the job runs: what comes is
//! recovered from the tables as at a start, what goes is committed before it is given back. A group may be as wrong as it
//! likes: two owners of one partition are told apart by the commit. (`job/partitions.rs`; `job/look.rs` sees to it that
//! the log is still the one it was.)

mod look;
mod partitions;
mod silence;

use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tributary_analytics::enrich::Rules;
use tributary_analytics::enrich::currency::NewerRates;
use tributary_analytics::session::SessionRule;
use tributary_eventlog::{Change, Delivered, EventLog, Polled, TopicInfo};
use tributary_lake::Lake;

use self::look::as_it_is;
use self::silence::Heard;
use crate::aside::aside;
use crate::commit::{CommitError, Owned, OwnedDead, Round, Writers, commit};
use crate::error::{Advice, PipelineError};
use crate::fold::Counts;
use crate::live::{ASKS_WAITING_MAX, Kept, LiveDesk, answer, answer_meanwhile};
use crate::observe;
use crate::recover::partitions_before;
use crate::repair::{self, repair};
use crate::settings::{Assignment, PipelineSettings};
use crate::source::Source;

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
/// A lake made anew has its late events to put in, and a worker that is started often is to do so too.
const FIRST_REPAIR_AFTER: Duration = Duration::from_secs(30);
/// The name under which positions are reported to the log, for lag displays.
pub const GROUP: &str = "tributary-pipeline";

/// Runs until `stop` is cancelled, then drains and commits.
///
/// A fault that may mend (a full disk, storage or a broker that is away) is waited for: the log goes on taking events
/// meanwhile, and the job begins again where the tables stand. Only what a person must look at ends it, and a stop
/// that comes while it cannot commit.
pub async fn run(settings: PipelineSettings, parts: Parts, stop: CancellationToken) -> Result<Summary, PipelineError> {
    run_live(settings, parts, LiveDesk::of_nobody(), NewerRates::default(), stop).await
}

/// The same, answering what is asked at the desk (`live`).
///
/// * `rates`: where a newer table of currency rates is put while it runs.
pub async fn run_live(
    settings: PipelineSettings,
    parts: Parts,
    desk: LiveDesk,
    rates: NewerRates,
    stop: CancellationToken,
) -> Result<Summary, PipelineError> {
    let faults = settings.check();
    if !faults.is_empty() {
        return Err(PipelineError::Settings { faults });
    }
    let rules = settings.rules().map_err(|faults| PipelineError::Settings { faults })?;
    let rules = Arc::new(rules.with_newer_rates(rates));
    // An alert on growth needs a beginning.
    count(Counts::default());
    metrics::counter!(observe::FENCED).increment(0);
    let mut summary = Summary::default();
    let mut fenced_times = 0;
    let mut pause = PAUSE_FIRST;
    loop {
        let is_last_try = stop.is_cancelled();
        let commits_before = summary.commits;
        let ended = match Job::open(&settings, &parts, &rules, &desk).await {
            Ok(mut job) => job.work(&stop, &mut summary).await,
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
                metrics::counter!(observe::FENCED).increment(1);
            }
            Err(CommitError::Grown) => tracing::info!("starting again with the partitions that were added"),
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
    rules: Arc<Rules>,
    /// The topics with as many partitions as they have now.
    topics: Topics,
    writers: Writers,
    events: Vec<Owned>,
    dead: Vec<OwnedDead>,
    events_source: Source,
    dead_source: Source,
    /// When the rows now pending must be committed; `None` while there are none.
    due: Option<Instant>,
    /// When the log is asked again whether it is still the one it was.
    look_due: Instant,
    heard: Heard,
    desk: LiveDesk,
    kept: Kept,
    /// When late events are next put into their sessions.
    repair_due: Instant,
    /// How far the repair that runs has come in each partition it still has to look at.
    repairing: Vec<(u32, repair::Progress)>,
}

struct Topics {
    events: TopicInfo,
    dead_letters: TopicInfo,
}

impl<'p> Job<'p> {
    async fn open(
        settings: &'p PipelineSettings,
        parts: &'p Parts,
        rules: &Arc<Rules>,
        desk: &LiveDesk,
    ) -> Result<Self, CommitError> {
        let begun = Instant::now();
        let log = parts.log.as_ref();
        let writers = Writers::open(&parts.lake, settings.state_from()).await?;
        let snapshots = writers.snapshots();
        let known = partitions_before(&snapshots.events, &parts.events).unwrap_or(parts.events.partitions);
        let topics = Topics {
            events: as_it_is(log, &parts.events, known, settings.accept_grown_partitions).await?,
            // Nothing there depends on which partition a dead letter lies in.
            dead_letters: as_it_is(log, &parts.dead_letters, parts.dead_letters.partitions, true).await?,
        };
        let (events_source, dead_source) = match settings.assignment {
            // Opened below, once it is known from where to read.
            Assignment::Static => (Source::idle(&topics.events), Source::idle(&topics.dead_letters)),
            Assignment::Group => (
                Source::shared(log, &topics.events, &settings.group_id).await?,
                Source::shared(log, &topics.dead_letters, &settings.group_id).await?,
            ),
        };
        let mut job = Self {
            settings,
            parts,
            rules: rules.clone(),
            topics,
            writers,
            events: Vec::new(),
            dead: Vec::new(),
            events_source,
            dead_source,
            due: None,
            look_due: begun + Duration::from_millis(settings.log_check_interval_ms),
            heard: Heard::default(),
            desk: desk.clone(),
            kept: Kept::default(),
            repair_due: begun + FIRST_REPAIR_AFTER.min(Duration::from_millis(settings.repair_interval_ms)),
            repairing: Vec::new(),
        };
        if settings.assignment == Assignment::Static {
            job.own_by_number(&snapshots).await?;
        }
        tracing::info!(
            partitions = job.events.len(),
            open_sessions = job.open_sessions(),
            event_ids = job.events.iter().map(|owned| owned.fold.ids.len()).sum::<usize>(),
            elapsed_ms = begun.elapsed().as_millis(),
            "the stream job stands where the tables stand"
        );
        job.tell(&Summary::default());
        Ok(job)
    }

    async fn work(&mut self, stop: &CancellationToken, summary: &mut Summary) -> Result<(), CommitError> {
        let bytes_max = self.settings.poll_bytes_max;
        loop {
            if self.is_due() {
                self.commit(summary).await?;
            }
            let due = self.due.unwrap_or_else(|| Instant::now() + POLL_WAIT);
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(due), if self.due.is_some() => {}
                () = tokio::time::sleep_until(self.look_due) => self.look_at_log(summary).await?,
                () = tokio::time::sleep_until(self.repair_due) => self.repair(summary).await?,
                // The poll that is dropped for it loses nothing.
                ask = self.desk.next() => answer(ask, &self.topics.events, &mut self.events, &mut self.kept).await,
                polled = self.events_source.poll(bytes_max, POLL_WAIT) => self.take_events(polled?, summary).await?,
                polled = self.dead_source.poll(bytes_max, POLL_WAIT) => self.take_dead(polled?, summary).await?,
            }
        }
        self.drain(summary).await
    }

    /// Takes in what the log still holds, so that what the door accepted before it closed is in the lake.
    async fn drain(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        let begun = Instant::now();
        let wait = Duration::from_millis(10);
        // Nothing new comes while we drain: a topic once read to its end needs no second look. The log says where that
        // is. What a reader says of itself is asked only after a while: a reader of Kafka stands at the end until the
        // next record reaches it, which may be on its way; but marks that are no records may lie at the end, and then it
        // is the reader alone who knows.
        let log = self.parts.log.as_ref();
        let events_end = ends(log, &self.topics.events, self.events.iter().map(|owned| owned.fold.partition)).await;
        let dead_end = ends(log, &self.topics.dead_letters, self.dead.iter().map(|owned| owned.fold.partition)).await;
        let is_read = |at_end: &[u32], ends: &HashMap<u32, u64>, partition: u32, position: u64| {
            ends.get(&partition).is_some_and(|end| *end <= position)
                || begun.elapsed() >= READER_TRUSTED_AFTER && at_end.contains(&partition)
        };
        let (mut events_done, mut dead_done) = (self.events.is_empty(), self.dead.is_empty());
        while !(events_done && dead_done) && begun.elapsed() < DRAIN_MAX {
            if !events_done {
                let polled = self.events_source.poll(self.settings.poll_bytes_max, wait).await?;
                let at_end = polled.at_end.clone();
                // A worker that stops takes nothing new: what is not answered, the group gives to another.
                let is_offered = matches!(polled.change, Some(Change::Assigned(_)));
                if !is_offered {
                    self.take_events(polled, summary).await?;
                }
                let mut folds = self.events.iter().map(|owned| &owned.fold);
                events_done =
                    is_offered || folds.all(|fold| is_read(&at_end, &events_end, fold.partition, fold.position));
            }
            if !dead_done {
                let polled = self.dead_source.poll(self.settings.poll_bytes_max, wait).await?;
                let at_end = polled.at_end.clone();
                let is_offered = matches!(polled.change, Some(Change::Assigned(_)));
                if !is_offered {
                    self.take_dead(polled, summary).await?;
                }
                let mut folds = self.dead.iter().map(|owned| &owned.fold);
                dead_done = is_offered || folds.all(|fold| is_read(&at_end, &dead_end, fold.partition, fold.position));
            }
            if self.is_full() {
                self.commit(summary).await?;
            }
        }
        if !(events_done && dead_done) {
            tracing::warn!("the log still holds records that are not in the lake; the next start goes on with them");
        }
        self.commit(summary).await?;
        self.events_source.close().await;
        self.dead_source.close().await;
        Ok(())
    }

    async fn take_events(&mut self, polled: Polled, summary: &mut Summary) -> Result<(), CommitError> {
        match polled.change {
            None => self.fold_events(polled).await,
            Some(Change::Assigned(gained)) => self.gain_events(&gained).await?,
            Some(Change::Revoked(gone)) => {
                self.hand_over(&self.topics.events.topic.clone(), summary).await?;
                self.let_go_of_events(&gone, "handed over").await?;
            }
            Some(Change::Lost(gone)) => self.let_go_of_events(&gone, "lost").await?,
        }
        Ok(())
    }

    async fn take_dead(&mut self, polled: Polled, summary: &mut Summary) -> Result<(), CommitError> {
        match polled.change {
            None => self.fold_dead(polled).await,
            Some(Change::Assigned(gained)) => self.gain_dead(&gained).await?,
            Some(Change::Revoked(gone)) => {
                self.hand_over(&self.topics.dead_letters.topic.clone(), summary).await?;
                self.let_go_of_dead(&gone, "handed over").await?;
            }
            Some(Change::Lost(gone)) => self.let_go_of_dead(&gone, "lost").await?,
        }
        Ok(())
    }

    async fn fold_events(&mut self, polled: Polled) {
        let (runs, positions) = in_runs(polled);
        aside(&mut self.events, move |events| {
            let is_ours = |run: &Vec<Delivered>| events.iter().any(|owned| owned.fold.partition == run[0].partition);
            assert!(runs.iter().all(is_ours), "the reader was given our partitions");
            // No partition knows of another.
            events.par_iter_mut().with_max_len(1).for_each(|owned| {
                let partition = owned.fold.partition;
                for run in runs.iter().filter(|run| run[0].partition == partition) {
                    owned.fold.fold(run);
                }
            });
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

    async fn fold_dead(&mut self, polled: Polled) {
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

    async fn commit(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        self.due = None;
        let (events_topic, dead_topic) = (&self.topics.events, &self.topics.dead_letters);
        let before = self.kept.before(&mut self.events).await;
        let mut asked_meanwhile = Vec::new();
        let round: Round = {
            let committing = commit(&mut self.writers, events_topic, dead_topic, &mut self.events, &mut self.dead);
            let mut committing = pin!(committing);
            loop {
                tokio::select! {
                    round = &mut committing => break round?,
                    ask = self.desk.next(), if asked_meanwhile.len() < ASKS_WAITING_MAX => {
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

    /// Puts late events into their sessions, where the stream has let go of these: one step, and the line moves on for as
    /// long before the next.
    async fn repair(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        let begun = Instant::now();
        if self.repairing.is_empty() {
            let wanting = self.events.iter().filter(|owned| owned.fold.wants_repair);
            self.repairing = wanting.map(|owned| (owned.fold.partition, repair::Progress::begin(owned))).collect();
        }
        if let Some((partition, progress)) = self.repairing.pop()
            && let Some(progress) = self.repair_step(partition, progress, begun, summary).await?
        {
            self.repairing.push((partition, progress));
        }
        let pause = match self.repairing.is_empty() {
            true => Duration::from_millis(self.settings.repair_interval_ms),
            false => begun.elapsed(),
        };
        self.repair_due = Instant::now() + pause;
        Ok(())
    }

    /// Returns where to go on, if there is more to repair in this partition.
    async fn repair_step(
        &mut self,
        partition: u32,
        mut progress: repair::Progress,
        begun: Instant,
        summary: &mut Summary,
    ) -> Result<Option<repair::Progress>, CommitError> {
        // A repair starts from what the tables say, so what is pending goes first; and from what they say now, for files
        // of an old look may have been swept since.
        self.commit(summary).await?;
        self.writers.refresh().await?;
        // What deduplication has forgotten may be a copy: nobody is to count it by a repair.
        let lookback_ms = self.settings.repair_lookback_ms.min(self.settings.dedup_window_ms);
        let lookback_us = i64::try_from(lookback_ms * 1_000).expect("checked: at most a year");
        let Some(owned) = self.events.iter_mut().find(|owned| owned.fold.partition == partition) else {
            return Ok(None);
        };
        let mut round = Round::default();
        let repairing =
            repair(&mut self.writers, &self.topics.events, owned, &mut progress, lookback_us, &mut round).await;
        let repaired = match repairing {
            // Nothing was committed, and the line need not stand still for it.
            Err(CommitError::Failed(error)) if error.advice() == Advice::Stop => {
                tracing::error!(error = told(&error), "late events stay out of their sessions for now");
                metrics::counter!("tributary_pipeline_faults_total").increment(1);
                return Ok(None);
            }
            repaired => repaired?,
        };
        observe::count_repair(&repaired);
        if repaired.late_events > 0 {
            tracing::info!(
                partition,
                late_events = repaired.late_events,
                rows = repaired.rows,
                waiting = repaired.waiting,
                elapsed_ms = begun.elapsed().as_millis(),
                "late events were put into their sessions"
            );
        }
        summary.rows += round.rows;
        summary.bytes += round.bytes;
        let is_done = progress.is_done(owned);
        owned.fold.wants_repair = progress.has_waiting() || !is_done;
        Ok((!is_done).then_some(progress))
    }

    /// Best effort: lag displays read these, and the embedded log's retention, which removes nothing before them.
    async fn report_positions(&mut self) {
        let events: Vec<_> = self.events.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        let dead: Vec<_> = self.dead.iter().map(|owned| (owned.fold.partition, owned.fold.position)).collect();
        for (topic, next) in [(&self.topics.events, events), (&self.topics.dead_letters, dead)] {
            if next.is_empty() {
                continue;
            }
            if let Err(error) = self.parts.log.report_position(GROUP, &topic.topic, &next).await {
                tracing::debug!(topic = topic.topic, %error, "positions were not reported to the log");
            }
        }
    }

    fn open_sessions(&self) -> usize {
        self.events.iter().map(|owned| owned.fold.sessions.open_sessions()).sum()
    }

    fn tell(&self, summary: &Summary) {
        let open_sessions = self.open_sessions();
        observe::publish(&self.events);
        self.parts.progress.send_modify(|progress| {
            // Only a committed position is progress: this is called right after a commit or a recovery.
            progress.events = self
                .events
                .iter()
                .map(|owned| (owned.fold.partition, owned.at.events.unwrap_or(0).cast_unsigned()))
                .collect();
            progress.dead_letters = self
                .dead
                .iter()
                .map(|owned| (owned.fold.partition, owned.at.next.unwrap_or(0).cast_unsigned()))
                .collect();
            progress.commits = summary.commits;
            progress.counts = summary.counts;
            progress.open_sessions = open_sessions;
        });
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
    metrics::counter!(observe::WITHOUT_RATE).increment(counts.without_rate);
}

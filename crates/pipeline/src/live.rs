//! The tail: what is folded and not yet in the tables an asker has pinned.
//!
//! In:      questions, each with the positions of the asker's snapshots (`LiveTail::ask`, from any task).
//! Out:     the rows of `events` and versions of `sessions` beyond those positions, up to where the job has read.
//! Promise: table and tail together are the log's prefix `Tail::positions`, each record once: an answer begins exactly at
//!          the asker's positions, or the asker is told to pin anew. The job alone touches its state; it answers between two
//!          polls, and while it commits from what stood before. A question waits for a bounded time; what is kept for askers who pinned before the last commits is
//!          bounded in bytes, and nothing is kept while nobody asks.
//! Not here: how the two are put together (`query`), and the way from another process (`src`).
//!
//! A crash loses no more here than a question that goes unanswered: the rows are those the log gives again.

use arrow::array::RecordBatch;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;
use tributary_eventlog::TopicInfo;

use crate::aside::aside;
use crate::columns::{int, small_int};
use crate::commit::{AppIds, Owned};
use crate::session_rows;

/// What the asker has: the positions stored with its snapshots, by app id, of whatever topics there are.
#[derive(Debug, Clone, Default)]
pub struct TailAsked {
    pub events: HashMap<String, i64>,
    pub sessions: HashMap<String, i64>,
    /// Working out the open sessions costs more than handing out rows.
    pub wants_sessions: bool,
}

/// What the asker lacks.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// (partition, next offset): with these rows the asker has everything before it. Only of the partitions of this job.
    pub positions: Vec<(u32, u64)>,
    /// How many partitions the topic has, this job's or not.
    pub partitions: u32,
    /// With the columns of the table `events`.
    pub events: Vec<RecordBatch>,
    /// Rows of the table `sessions`, of versions the asker does not have.
    pub sessions: Vec<RecordBatch>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TailError {
    #[error("the snapshots asked with are not those this job goes on from; pin the newest and ask again")]
    PinAnew,
    #[error(
        "the stream job did not answer within {waited_ms} ms: it is starting, committing much, or waiting for the lake"
    )]
    TimedOut { waited_ms: u64 },
    #[error("the stream job has stopped")]
    Stopped,
}

/// Asks a job for its tail. Clones ask the same job, whatever it has gone through meanwhile.
#[derive(Debug, Clone)]
pub struct LiveTail {
    asks: mpsc::Sender<Ask>,
    wait_max: Duration,
}

/// The job's end, for `run_live`. Clones are the same desk: a job that begins again takes it over.
#[derive(Debug, Clone)]
pub struct LiveDesk(Arc<Mutex<mpsc::Receiver<Ask>>>);

#[derive(Debug)]
pub(crate) struct Ask {
    asked: TailAsked,
    answer: oneshot::Sender<Result<Tail, TailError>>,
}

/// Questions that may wait at a time; whoever finds no room waits to ask.
pub(crate) const ASKS_WAITING_MAX: usize = 16;
/// So long after the last question batches of commits are still kept.
const WANTED_FOR: Duration = Duration::from_secs(60);
/// Of the last so many commits. An asker pins and asks within milliseconds; a commit comes every few hundred at the
/// quickest.
const COMMITS_KEPT_MAX: usize = 8;

/// * `wait_max`: how long a question waits for its answer.
pub fn live(wait_max: Duration) -> (LiveTail, LiveDesk) {
    let (asks, desk) = mpsc::channel(ASKS_WAITING_MAX);
    (LiveTail { asks, wait_max }, LiveDesk(Arc::new(Mutex::new(desk))))
}

impl LiveTail {
    pub async fn ask(&self, asked: TailAsked) -> Result<Tail, TailError> {
        let (answer, answered) = oneshot::channel();
        let asking = async {
            self.asks.send(Ask { asked, answer }).await.map_err(|_| TailError::Stopped)?;
            // A job that is dropped with the question in hand begins again from the tables, and so should the asker.
            answered.await.unwrap_or(Err(TailError::PinAnew))
        };
        let waited_ms = u64::try_from(self.wait_max.as_millis()).unwrap_or(u64::MAX);
        tokio::time::timeout(self.wait_max, asking).await.unwrap_or(Err(TailError::TimedOut { waited_ms }))
    }
}

impl LiveDesk {
    /// For a job that nobody asks.
    pub(crate) fn of_nobody() -> Self {
        live(Duration::ZERO).1
    }

    /// The next question; waits for ever once nobody can ask any more. Cancel-safe.
    pub(crate) async fn next(&self) -> Ask {
        match self.0.lock().await.recv().await {
            Some(ask) => ask,
            None => std::future::pending().await,
        }
    }
}

/// Where one partition stands, and the rows of `events` that no commit has taken yet.
struct Standing {
    partition: u32,
    position: i64,
    events_at: i64,
    sessions_at: i64,
    pending: Vec<RecordBatch>,
}

/// What a commit wrote, for askers who pinned before it.
struct KeptCommit {
    events: Vec<Committed>,
    sessions: Vec<Committed>,
    bytes: usize,
}

struct Committed {
    partition: u32,
    /// The table's position before and after.
    from: i64,
    to: i64,
    batches: Vec<RecordBatch>,
}

/// The batches of the last commits of this life of the job.
#[derive(Default)]
pub(crate) struct Kept {
    commits: VecDeque<KeptCommit>,
    bytes: usize,
    last_asked: Option<Instant>,
    sessions_last_asked: Option<Instant>,
}

/// The job as it stands while it commits. Nothing is read meanwhile, so this answers as the job would.
pub(crate) struct BeforeCommit {
    standings: Vec<Standing>,
    /// `None` while nobody asks for sessions.
    open_sessions: Option<Vec<RecordBatch>>,
}

impl Kept {
    /// Call it right before a commit; `None` while nobody asks, and then what was kept is let go.
    pub(crate) async fn before(&mut self, events: &mut Vec<Owned>) -> Option<BeforeCommit> {
        let is_recent = |asked: Option<Instant>| asked.is_some_and(|asked| asked.elapsed() <= WANTED_FOR);
        if !is_recent(self.last_asked) {
            self.commits.clear();
            self.bytes = 0;
            metrics::gauge!("tributary_live_kept_bytes").set(0.0);
            return None;
        }
        let standings = events.iter().map(Standing::of).collect();
        let open_sessions = match is_recent(self.sessions_last_asked) {
            true => Some(open_sessions(events).await),
            false => None,
        };
        Some(BeforeCommit { standings, open_sessions })
    }

    /// The commit went through.
    ///
    /// * `sessions`: what it wrote there, one batch a partition.
    pub(crate) fn keep(&mut self, before: BeforeCommit, sessions: Vec<RecordBatch>, bytes_max: usize) {
        let of_partition = |batch: RecordBatch| {
            let partition = partition_of(&batch)?;
            let standing = before.standings.iter().find(|standing| standing.partition == partition)?;
            Some(Committed { partition, from: standing.sessions_at, to: standing.position, batches: vec![batch] })
        };
        let sessions: Vec<Committed> = sessions.into_iter().filter_map(of_partition).collect();
        let committed = |standing: Standing| {
            let Standing { partition, position, events_at, pending, .. } = standing;
            Committed { partition, from: events_at, to: position, batches: pending }
        };
        let events: Vec<Committed> = before.standings.into_iter().map(committed).collect();
        let all = events.iter().chain(&sessions).flat_map(|committed| &committed.batches);
        let bytes = all.map(RecordBatch::get_array_memory_size).sum();
        self.commits.push_back(KeptCommit { events, sessions, bytes });
        self.bytes += bytes;
        while COMMITS_KEPT_MAX < self.commits.len() || bytes_max < self.bytes {
            let Some(oldest) = self.commits.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
        metrics::gauge!("tributary_live_kept_bytes").set(self.bytes as f64);
    }

    /// The batches of a partition from `from` on, as far as they are committed: up to `now`. `None` if they are kept no
    /// more. Where a partition was another worker's in between, what this one committed before is of no use.
    fn since<'k>(
        &'k self,
        of: impl Fn(&'k KeptCommit) -> &'k [Committed],
        partition: u32,
        from: i64,
        now: i64,
    ) -> Option<Vec<&'k RecordBatch>> {
        let mut batches = Vec::new();
        let mut first = now;
        // From the newest back, as long as each ends where the next begins.
        for commit in self.commits.iter().rev() {
            let Some(committed) = of(commit).iter().find(|committed| committed.partition == partition) else {
                continue;
            };
            if committed.to != first {
                break;
            }
            first = committed.from;
            batches.extend(committed.batches.iter().rev());
        }
        batches.reverse();
        (first <= from).then_some(batches)
    }

    fn is_asked(&mut self, asked: &TailAsked) {
        let now = Some(Instant::now());
        self.last_asked = now;
        if asked.wants_sessions {
            self.sessions_last_asked = now;
        }
    }
}

impl Standing {
    fn of(owned: &Owned) -> Self {
        Self {
            partition: owned.fold.partition,
            position: owned.fold.position.cast_signed(),
            events_at: owned.at.events.unwrap_or(0),
            sessions_at: owned.at.sessions.unwrap_or(0),
            pending: owned.fold.events.batches().to_vec(),
        }
    }
}

/// Answers between two polls.
pub(crate) async fn answer(ask: Ask, topic: &TopicInfo, events: &mut Vec<Owned>, kept: &mut Kept) {
    kept.is_asked(&ask.asked);
    // Whoever has given up meanwhile is not worked for.
    if ask.answer.is_closed() {
        return;
    }
    let open = if ask.asked.wants_sessions { open_sessions(events).await } else { Vec::new() };
    let standings: Vec<Standing> = events.iter().map(Standing::of).collect();
    send(ask, |asked| tail(asked, topic, &standings, &open, kept));
}

/// Answers while a commit is under way. Gives the question back if only the job itself can answer it.
pub(crate) fn answer_meanwhile(
    ask: Ask,
    topic: &TopicInfo,
    before: Option<&BeforeCommit>,
    kept: &mut Kept,
) -> Option<Ask> {
    kept.is_asked(&ask.asked);
    let Some(before) = before else { return Some(ask) };
    let open = match &before.open_sessions {
        Some(open) => open.as_slice(),
        None if ask.asked.wants_sessions => return Some(ask),
        None => &[],
    };
    send(ask, |asked| tail(asked, topic, &before.standings, open, kept));
    None
}

fn send(ask: Ask, find: impl FnOnce(&TailAsked) -> Result<Tail, TailError>) {
    let Ask { asked, answer } = ask;
    let found = find(&asked);
    let outcome = if found.is_ok() { "answered" } else { "pin_anew" };
    metrics::counter!("tributary_live_answers_total", "outcome" => outcome).increment(1);
    // Whoever asked may have given up.
    drop(answer.send(found));
}

/// * `open`: what a commit would write into `sessions` at these positions.
fn tail(
    asked: &TailAsked,
    topic: &TopicInfo,
    standings: &[Standing],
    open: &[RecordBatch],
    kept: &Kept,
) -> Result<Tail, TailError> {
    let apps = AppIds(&topic.topic_id);
    let mut tail = Tail { partitions: topic.partitions, ..Tail::default() };
    for Standing { partition, position, events_at, sessions_at, pending } in standings {
        let from = asked.events.get(&apps.events(*partition)).copied().unwrap_or(0);
        if *position < from {
            // Another worker has gone past this one, which will notice at its next commit.
            return Err(TailError::PinAnew);
        }
        let before = kept.since(|commit| &commit.events, *partition, from, *events_at).ok_or(TailError::PinAnew)?;
        tail.events.extend(before.into_iter().chain(pending).filter_map(|batch| from_offset(batch, from)));
        tail.positions.push((*partition, position.cast_unsigned()));

        if asked.wants_sessions {
            let from = asked.sessions.get(&apps.sessions(*partition)).copied().unwrap_or(0);
            if *position < from {
                return Err(TailError::PinAnew);
            }
            let before = kept.since(|commit| &commit.sessions, *partition, from, *sessions_at);
            let open = open.iter().filter(|batch| partition_of(batch) == Some(*partition));
            // A batch is of one version. While a commit is under way the asker may have what it writes already.
            let is_news = |batch: &&RecordBatch| int(batch, "version").values().first().is_some_and(|at| from < *at);
            tail.sessions.extend(before.ok_or(TailError::PinAnew)?.into_iter().chain(open).filter(is_news).cloned());
        }
    }
    Ok(tail)
}

/// The rows at or after an offset; offsets ascend within a batch.
fn from_offset(batch: &RecordBatch, from: i64) -> Option<RecordBatch> {
    let first = int(batch, "log_offset").values().partition_point(|offset| *offset < from);
    (first < batch.num_rows()).then(|| batch.slice(first, batch.num_rows() - first))
}

/// Of a batch that is all of one partition.
fn partition_of(batch: &RecordBatch) -> Option<u32> {
    small_int(batch, "log_partition").values().first().map(|partition| partition.cast_unsigned())
}

/// What a commit at this very moment would write into `sessions`, one batch a partition. The job's partitions move
/// aside for it: it is work.
async fn open_sessions(events: &mut Vec<Owned>) -> Vec<RecordBatch> {
    let of_partition = |owned: &Owned| {
        let (partition, version) = (owned.fold.partition, owned.fold.position.cast_signed());
        let rule = owned.fold.sessions.rule_text();
        let changes = owned.fold.sessions.peek();
        (!changes.is_empty()).then(|| session_rows::to_batch(&changes, &rule, partition, version))
    };
    aside(events, move |events| events.iter().filter_map(of_partition).collect()).await
}

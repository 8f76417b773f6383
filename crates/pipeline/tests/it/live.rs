//! Table and tail: at each moment, with whatever snapshots one asks, exactly a prefix of the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_analytics::enrich::currency::NewerRates;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, TopicInfo, TopicSpec, partition_for};
use tributary_lake::{Lake, LakeSettings, Snapshot};
use tributary_pipeline::{
    LiveTail, Parts, PipelineError, PipelineSettings, Progress, Summary, Tail, TailAsked, TailError, live, run_live,
};
use tributary_schemas::{SystemClock, Table};

use crate::oracle::expect;
use crate::power_cut::PowerCut;
use crate::world::{self, Seeded, Written};

const PARTITIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

struct House {
    log: Arc<dyn EventLog>,
    events: TopicInfo,
    dead_letters: TopicInfo,
    disk: Arc<InMemory>,
    _folder: tempfile::TempDir,
}

/// A job at work, and the way to ask it.
struct Job {
    tail: LiveTail,
    stop: CancellationToken,
    running: JoinHandle<Result<Summary, PipelineError>>,
}

/// What an asker has pinned.
#[derive(Clone)]
struct Pinned {
    events: Snapshot,
    sessions: Snapshot,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.path())).unwrap();
        let topic = async |name: &str, partitions| {
            log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions }).await.unwrap()
        };
        let (events, dead_letters) = (topic("events", PARTITIONS).await, topic("dead_letters", 1).await);
        Self { log, events, dead_letters, disk: Arc::new(InMemory::new()), _folder: folder }
    }

    async fn lake(&self) -> Lake {
        self.lake_in(self.disk.clone()).await
    }

    async fn lake_in(&self, store: Arc<dyn ObjectStore>) -> Lake {
        // Where the store is away, a commit goes on trying.
        let settings =
            LakeSettings { url: "memory:///lake".to_owned(), storage_tries_max: 1_000, ..LakeSettings::default() };
        Lake::with_store(settings, store, Arc::new(SystemClock)).await.unwrap()
    }

    async fn start(&self, settings: PipelineSettings) -> Job {
        self.start_with(settings, self.lake().await)
    }

    fn start_with(&self, settings: PipelineSettings, lake: Lake) -> Job {
        let (tail, desk) = live(PATIENCE);
        let stop = CancellationToken::new();
        let parts = Parts {
            log: self.log.clone(),
            lake,
            events: self.events.clone(),
            dead_letters: self.dead_letters.clone(),
            progress: watch::channel(Progress::default()).0,
        };
        let running = tokio::spawn(run_live(settings, parts, desk, NewerRates::default(), stop.clone()));
        Job { tail, stop, running }
    }
}

impl Job {
    async fn stop(self) -> Result<Summary, PipelineError> {
        self.stop.cancel();
        self.running.await.unwrap()
    }

    /// As a crash would end it.
    async fn kill(self) {
        self.running.abort();
        drop(self.running.await);
    }
}

fn settings(commit_rows_max: usize, live_bytes_max: usize) -> PipelineSettings {
    PipelineSettings {
        commit_rows_max,
        poll_bytes_max: 4_000,
        commit_interval_ms: 60_000,
        live_bytes_max,
        ..PipelineSettings::default()
    }
}

async fn pin(lake: &Lake) -> Pinned {
    // As `query` does it: not in the order of the commits.
    let sessions = lake.snapshot(Table::Sessions).await.unwrap();
    Pinned { events: lake.snapshot(Table::Events).await.unwrap(), sessions }
}

fn asked(pinned: &Pinned) -> TailAsked {
    let positions = |snapshot: &Snapshot| -> HashMap<String, i64> {
        snapshot.txns().map(|(app_id, position)| (app_id.to_owned(), position)).collect()
    };
    TailAsked { events: positions(&pinned.events), sessions: positions(&pinned.sessions), wants_sessions: true }
}

/// Everything the asker then has, or that it must pin anew.
async fn everything(job: &Job, pinned: &Pinned) -> Option<(Tail, Vec<RecordBatch>, Vec<RecordBatch>)> {
    let tail = match job.tail.ask(asked(pinned)).await {
        Ok(tail) => tail,
        Err(TailError::PinAnew) => return None,
        Err(error) => panic!("{error}"),
    };
    let read = async |snapshot: &Snapshot| -> Vec<RecordBatch> {
        let schema = snapshot.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        snapshot.read(&columns, |_| true).try_collect().await.unwrap()
    };
    let events = [read(&pinned.events).await, tail.events.clone()].concat();
    let sessions = [read(&pinned.sessions).await, tail.sessions.clone()].concat();
    Some((tail, events, sessions))
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> &'b dyn Array {
    batch.column_by_name(name).unwrap()
}

fn int(batch: &RecordBatch, name: &str, row: usize) -> i64 {
    column(batch, name).as_primitive::<Int64Type>().value(row)
}

fn text(batch: &RecordBatch, name: &str, row: usize) -> String {
    column(batch, name).as_string::<i32>().value(row).to_owned()
}

fn partition(batch: &RecordBatch, row: usize) -> u32 {
    column(batch, "log_partition").as_primitive::<Int32Type>().value(row).cast_unsigned()
}

/// The beginning of what was written: in each partition what stands before its position.
fn prefix<'w>(written: &'w [Written], positions: &BTreeMap<u32, u64>) -> Vec<&'w Written> {
    let mut next: HashMap<u32, u64> = HashMap::new();
    let is_before = |written: &&Written| {
        let partition = partition_for(&written.key(), PARTITIONS);
        let offset = next.entry(partition).or_default();
        *offset += 1;
        *offset <= positions[&partition]
    };
    written.iter().filter(is_before).collect()
}

/// Table and tail are what an obvious reading of that prefix gives, neither more nor less.
fn check(written: &[Written], tail: &Tail, events: &[RecordBatch], sessions: &[RecordBatch]) {
    assert_eq!(tail.partitions, PARTITIONS);
    let positions: BTreeMap<u32, u64> = tail.positions.iter().copied().collect();
    let prefix: Vec<Written> = prefix(written, &positions).into_iter().cloned().collect();
    let expected = expect(&prefix, PARTITIONS);

    let mut found = BTreeSet::new();
    for batch in events {
        for row in 0..batch.num_rows() {
            let place = (partition(batch, row), int(batch, "log_offset", row));
            assert!(found.insert(place), "{place:?} is there twice");
        }
    }
    assert_eq!(found, expected.events.keys().copied().collect(), "at {positions:?}");

    /// Source, key, start, end, events; `None` is a tombstone.
    type Stands = Option<(String, String, i64, i64, i64)>;
    let mut latest: HashMap<String, (i64, Stands)> = HashMap::new();
    let mut versions = BTreeSet::new();
    for batch in sessions {
        for row in 0..batch.num_rows() {
            let (id, version) = (text(batch, "session_id", row), int(batch, "version", row));
            assert!(versions.insert((id.clone(), version)), "{id} has two rows of version {version}");
            let is_named = column(batch, "anonymous_id").is_valid(row) || column(batch, "user_id").is_valid(row);
            let key = match is_named {
                true => text(batch, "session_key", row),
                false => format!("alone {:?}", (partition(batch, row), int(batch, "first_offset", row))),
            };
            let [start, end, count] = ["start_time_us", "end_time_us", "event_count"].map(|name| int(batch, name, row));
            let stands = column(batch, "superseded_by").is_null(row);
            let session = stands.then(|| (text(batch, "source", row), key, start, end, count));
            if latest.get(&id).is_none_or(|(known, _)| *known < version) {
                latest.insert(id, (version, session));
            }
        }
    }
    let found: BTreeSet<_> = latest.into_values().filter_map(|(_, session)| session).collect();
    assert_eq!(found, expected.sessions, "sessions at {positions:?}");
}

/// Asks until everything written is seen; each answer on the way must be right, too.
async fn until_all_is_seen(job: &Job, lake: &Lake, written: &[Written], old: &mut Vec<Pinned>, random: &mut Seeded) {
    let begun = Instant::now();
    let mut ends: BTreeMap<u32, u64> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    written.iter().for_each(|written| *ends.get_mut(&partition_for(&written.key(), PARTITIONS)).unwrap() += 1);
    loop {
        // Now and then with a snapshot of before some commits.
        let is_old = !old.is_empty() && random.one_in(3);
        let pinned = if is_old { old[random.below(old.len() as u64) as usize].clone() } else { pin(lake).await };
        if let Some((tail, events, sessions)) = everything(job, &pinned).await {
            check(written, &tail, &events, &sessions);
            if tail.positions.iter().all(|(partition, position)| ends[partition] == *position) {
                return;
            }
        }
        old.push(pinned);
        assert!(begun.elapsed() < PATIENCE, "not all was seen");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_and_tail_are_a_prefix_of_the_log_whatever_is_committed_and_restarted() {
    // More of them in an extended run.
    let seeds = std::env::var("TRIBUTARY_TEST_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    for seed in 1..=seeds {
        println!("seed {seed}");
        let mut random = Seeded(seed);
        let house = House::new().await;
        let lake = house.lake().await;
        let all = world::events(seed, 240);
        let mut old = Vec::new();
        let mut written = 0;
        let some_settings = |random: &mut Seeded| {
            let live_bytes_max = if random.one_in(2) { 64 << 20 } else { 400_000 };
            settings(5 + random.below(60) as usize, live_bytes_max)
        };
        let mut job = house.start(some_settings(&mut random)).await;
        while written < all.len() {
            let more = (1 + random.below(40) as usize).min(all.len() - written);
            world::write(house.log.as_ref(), &house.events, &all[written..written + more]).await;
            written += more;
            if random.one_in(4) {
                match random.one_in(2) {
                    true => job.kill().await,
                    false => drop(job.stop().await.unwrap()),
                }
                job = house.start(some_settings(&mut random)).await;
            }
            until_all_is_seen(&job, &lake, &all[..written], &mut old, &mut random).await;
        }
        job.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_does_not_come_to_its_end_keeps_no_answer_back() {
    for (writes, lands) in (0..8).flat_map(|writes| [(writes, false), (writes, true)]) {
        let house = House::new().await;
        let lake = house.lake().await;
        let store = Arc::new(PowerCut::after(house.disk.clone(), writes, lands));
        let cut = store.cut.clone();
        let job = house.start_with(settings(20, 64 << 20), house.lake_in(store).await);
        assert!(everything(&job, &pin(&lake).await).await.is_some(), "nobody has written yet");
        let all = world::events(7, 60);
        world::write(house.log.as_ref(), &house.events, &all).await;
        tokio::time::timeout(PATIENCE, cut.cancelled()).await.expect("60 events make more writes than that");
        // From here on only what stood before the commit can answer; what landed may be pinned all the same.
        let begun = Instant::now();
        loop {
            if let Some((tail, events, sessions)) = everything(&job, &pin(&lake).await).await {
                assert!(tail.positions.iter().any(|(_, position)| 0 < *position), "{writes} writes, landing: {lands}");
                check(&all, &tail, &events, &sessions);
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "no answer after {writes} writes, landing: {lands}");
        }
        job.kill().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_asker_with_a_snapshot_too_old_is_told_and_one_of_a_newer_world_too() {
    let house = House::new().await;
    let lake = house.lake().await;
    let all = world::events(9, 60);
    let before = pin(&lake).await;
    world::write(house.log.as_ref(), &house.events, &all).await;
    // What nobody asks for is not kept.
    let (progress, mut watching) = watch::channel(Progress::default());
    let (tail, desk) = live(PATIENCE);
    let stop = CancellationToken::new();
    let parts = Parts {
        log: house.log.clone(),
        lake: house.lake().await,
        events: house.events.clone(),
        dead_letters: house.dead_letters.clone(),
        progress,
    };
    let running = tokio::spawn(run_live(settings(1, 64 << 20), parts, desk, NewerRates::default(), stop.clone()));
    let is_through = |progress: &Progress| progress.events.iter().map(|(_, next)| next).sum::<u64>() == 60;
    tokio::time::timeout(PATIENCE, watching.wait_for(is_through)).await.unwrap().unwrap();
    assert_eq!(tail.ask(asked(&before)).await.unwrap_err(), TailError::PinAnew);
    let mut ahead = asked(&pin(&lake).await);
    ahead.events.values_mut().for_each(|position| *position += 1_000);
    assert_eq!(tail.ask(ahead).await.unwrap_err(), TailError::PinAnew);
    let now = tail.ask(asked(&pin(&lake).await)).await.unwrap();
    assert!(now.events.is_empty() && now.sessions.is_empty());
    stop.cancel();
    running.await.unwrap().unwrap();
    assert_eq!(tail.ask(TailAsked::default()).await.unwrap_err(), TailError::Stopped);
}

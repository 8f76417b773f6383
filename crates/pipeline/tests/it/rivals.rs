//! Several owners of each partition, some of them for ever, through a store that loses answers and lets requests arrive
//! late: afterwards each record is in the lake once, and the sessions are those of the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::EventLog;
use tributary_pipeline::{Assignment, Parts, PipelineError, PipelineSettings, Progress, run};
use tributary_schemas::{Clock, Event, EventKind, SystemClock, Table};

use crate::group_log::{Group, GroupLog};
use crate::oracle::{expect, expect_with};
use crate::repair::seal_and_repair;
use crate::replay::{House, PARTITIONS, settings};
use crate::rival_store::RivalStore;
use crate::world::{self, Seeded, Written};

/// Only ends what hangs: a builder beside it makes all of this several times slower.
const PATIENCE: Duration = Duration::from_secs(300);
const WORKERS: usize = 3;

/// What the workers met, over all seeds.
#[derive(Debug, Default)]
struct Met {
    fenced: u32,
    before: u32,
    after: u32,
    late: u32,
    slow: u32,
    slept: u32,
}

impl Met {
    fn add(&mut self, store: &RivalStore) {
        self.before += store.told.before.load(Ordering::Relaxed);
        self.after += store.told.after.load(Ordering::Relaxed);
        self.late += store.told.late.load(Ordering::Relaxed);
        self.slow += store.told.slow.load(Ordering::Relaxed);
    }
}

/// Keeps one worker at it: whoever is pushed aside too often begins again, as a process under a supervisor does. Returns
/// how often that was.
async fn keep_working(
    house: Arc<House>,
    log: Arc<dyn EventLog>,
    store: Arc<RivalStore>,
    settings: PipelineSettings,
    stop: CancellationToken,
) -> u32 {
    let mut fenced = 0;
    while !stop.is_cancelled() {
        // The first look at the tables meets faults too.
        let Ok(lake) = house.open_lake(store.clone(), 8).await else { continue };
        let (progress, _watching) = watch::channel(Progress::default());
        let parts = Parts {
            log: log.clone(),
            lake,
            events: house.events.clone(),
            dead_letters: house.dead_letters.clone(),
            progress,
        };
        match run(settings.clone(), parts, stop.clone()).await {
            Ok(_) => {}
            Err(PipelineError::Fenced { times }) => fenced += times,
            // The last try after a stop may meet any fault that would have been waited for.
            Err(error) if stop.is_cancelled() => assert!(
                error.advice() == tributary_pipeline::Advice::Retry
                    || matches!(error, PipelineError::SessionsAhead { .. }),
                "{error}"
            ),
            // Two tables looked at one after the other while a rival is at work; see `job`.
            Err(PipelineError::SessionsAhead { .. }) => fenced += 1,
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
    fenced
}

/// Waits until the lake stands at the end of the log.
async fn caught_up(house: &House, seed: u64) {
    let mut ends = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let next = house.log.bounds(&house.events.topic, partition).await.unwrap().next;
        ends.insert(format!("ing/{}/{partition}", house.events.topic_id), next.cast_signed());
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, mut stands) = house.stands_at(Table::Events, "ing/").await;
        stands.retain(|app_id, _| ends.contains_key(app_id));
        if stands == ends {
            return;
        }
        assert!(Instant::now() < deadline, "seed {seed}: the lake stands at {stands:?}, the log at {ends:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Workers on one house, each with a store of its own between it and the disk.
struct Rivals {
    stores: Vec<Arc<RivalStore>>,
    workers: JoinSet<u32>,
    stop: CancellationToken,
}

impl Rivals {
    /// * `log_of`: the log as the worker of this number sees it.
    fn start(
        house: &Arc<House>,
        seed: u64,
        settings: &PipelineSettings,
        log_of: impl Fn(usize) -> Arc<dyn EventLog>,
    ) -> Self {
        let (stop, mut workers) = (CancellationToken::new(), JoinSet::new());
        let stores: Vec<_> =
            (0..WORKERS).map(|worker| RivalStore::new(house.disk.clone(), seed * 10 + worker as u64)).collect();
        for (worker, store) in stores.iter().enumerate() {
            workers.spawn(keep_working(house.clone(), log_of(worker), store.clone(), settings.clone(), stop.clone()));
        }
        Self { stores, workers, stop }
    }

    /// Puts one of them to sleep in the middle of whatever it is at.
    async fn one_sleeps(&self, random: &mut Seeded, pause: Duration, met: &mut Met) {
        let store = &self.stores[random.below(WORKERS as u64) as usize];
        store.sleep(true);
        tokio::time::sleep(pause).await;
        store.sleep(false);
        met.slept += 1;
    }

    fn late_puts(&self) -> u32 {
        self.stores.iter().map(|store| store.told.late.load(Ordering::Relaxed)).sum()
    }

    /// Waits until all have stopped, and what they had under way has arrived.
    async fn end(self, met: &mut Met) {
        self.stop.cancel();
        met.fenced += self.workers.join_all().await.into_iter().sum::<u32>();
        for store in &self.stores {
            store.settle().await;
            met.add(store);
        }
    }
}

/// Settings of workers that commit so often that they are always in each other's way.
fn hasty() -> PipelineSettings {
    PipelineSettings { commit_interval_ms: 5, log_check_interval_ms: 50, ..settings(40) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_owners_of_every_partition_double_nothing_through_lost_answers_and_late_puts() {
    let mut met = Met::default();
    // Late events are repaired beside it in every other run: then two may be at the same repair. Not all the time: each
    // repair fences the others, and none would get on.
    for (seed, repairs) in [(300, false), (301, true), (302, false), (303, true)] {
        let house = Arc::new(House::new().await);
        let mut written = world::events(seed, 500);
        let settings = PipelineSettings {
            repair_interval_ms: if repairs { 400 } else { PipelineSettings::default().repair_interval_ms },
            ..hasty()
        };
        let mut random = Seeded(seed);
        // Each owns all partitions, and none will ever hear of the others.
        let rivals = Rivals::start(&house, seed, &settings, |_| house.log.clone());
        for piece in written.chunks(25) {
            world::write(house.log.as_ref(), &house.events, piece).await;
            // One of them is asleep most of the time, in the middle of whatever it was at.
            let pause = Duration::from_millis(random.below(80));
            rivals.one_sleeps(&mut random, pause, &mut met).await;
        }
        caught_up(&house, seed).await;
        rivals.end(&mut met).await;
        if repairs {
            seal_and_repair(&house, &mut written).await;
        } else {
            house.run_to_the_end(1_000).await;
        }
        let (found, _) = house.contents().await;
        assert_eq!(found, expect_with(&written, PARTITIONS, repairs), "seed {seed}");
    }
    eprintln!("rivals: {met:?}");
    assert!(10 < met.before && 10 < met.after && 10 < met.late, "too few faults to prove anything: {met:?}");
}

const GAP_US: i64 = 100_000;
/// Of a run of silent sources.
const LATE_PUTS_MIN: u32 = 6;

/// Sessions by their definition: no event is too late for one.
fn sessions_of(events: &[(String, i64)]) -> BTreeSet<(String, String, i64, i64, i64)> {
    let mut by_person: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (person, time_us) in events {
        by_person.entry(person).or_default().push(*time_us);
    }
    let mut sessions = BTreeSet::new();
    for (person, mut times) in by_person {
        times.sort_unstable();
        for session in times.chunk_by(|one, next| next - one <= GAP_US) {
            let (start_us, end_us) = (session[0], session[session.len() - 1]);
            let count = i64::try_from(session.len()).unwrap();
            sessions.insert(("web".to_owned(), person.to_owned(), start_us, end_us, count));
        }
    }
    sessions
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_owners_that_close_silent_sources_leave_no_event_without_a_session() {
    let (mut met, mut late) = (Met::default(), 0);
    for seed in [500, 501] {
        let house = Arc::new(House::new().await);
        // Sessions are over after a fifth of a second, and a source is silent at once.
        let settings = PipelineSettings {
            session_preset: "custom".to_owned(),
            session_gap_ms: 100,
            session_duration_ms_max: 3_600_000,
            allowed_lateness_ms: 100,
            watermark_delay_ms: 0,
            source_idle_ms: 1,
            repair_interval_ms: 400,
            log_check_interval_ms: 20,
            state_bytes_min: if seed % 2 == 0 { 0 } else { usize::MAX },
            state_records_min: 10,
            ..hasty()
        };
        let mut random = Seeded(seed);
        let rivals = Rivals::start(&house, seed, &settings, |_| house.log.clone());
        let mut sent: Vec<(String, i64)> = Vec::new();
        let mut clock_us = SystemClock.now_us();
        let mut pieces = 0;
        // How many puts a piece takes depends on the machine: on until enough of them came late.
        while pieces < 20 || (rivals.late_puts() < LATE_PUTS_MIN && pieces < 100) {
            pieces += 1;
            // Never behind its own watermark by more than the lateness: it is a rise by the clock alone that makes one late.
            clock_us = if random.one_in(4) { SystemClock.now_us() } else { clock_us + 20_000 };
            let mut piece = Vec::new();
            for _ in 0..1 + random.below(12) {
                let person = format!("person-{}", random.below(10));
                let time_us = clock_us - i64::try_from(random.below(80_000)).unwrap();
                let mut event = Event::new("web", "test", &format!("{seed}-{}", sent.len()), "page", time_us);
                event.event_kind = EventKind::Page;
                event.ingest_time_us = SystemClock.now_us();
                event.anonymous_id = Some(person.clone());
                sent.push((person, time_us));
                piece.push(Written::Event(Box::new(event)));
            }
            world::write(house.log.as_ref(), &house.events, &piece).await;
            let mut pause = Duration::from_millis(random.below(100));
            if random.one_in(3) {
                // Long enough for the clock to close what was open.
                pause += Duration::from_millis(500 + random.below(1_500));
            }
            rivals.one_sleeps(&mut random, pause, &mut met).await;
        }
        caught_up(&house, seed).await;
        rivals.end(&mut met).await;
        // Nobody speaks any more: what the clock closes is enough for the repair.
        let (stop, lake) = (CancellationToken::new(), house.lake_with(house.disk.clone(), 3).await);
        let (progress, _watching) = watch::channel(Progress::default());
        let alone = PipelineSettings { repair_interval_ms: 20, ..settings };
        let job = tokio::spawn(run(alone, house.parts(lake, progress), stop.clone()));
        let expected = sessions_of(&sent);
        let deadline = Instant::now() + PATIENCE;
        let found = loop {
            let (found, _) = house.contents().await;
            if found.sessions == expected || deadline < Instant::now() {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        stop.cancel();
        tokio::time::timeout(PATIENCE, job).await.expect("the job ends").unwrap().unwrap();
        assert_eq!(found.events.len(), sent.len(), "seed {seed}");
        let missing: Vec<_> = expected.difference(&found.sessions).take(5).collect();
        let extra: Vec<_> = found.sessions.difference(&expected).take(5).collect();
        assert!(missing.is_empty() && extra.is_empty(), "seed {seed}: missing {missing:?}, extra {extra:?}");
        late += found.events.values().filter(|(_, late, _)| *late).count();
    }
    eprintln!("silent sources: {met:?}, {late} late");
    assert!(5 < late && 2 * LATE_PUTS_MIN <= met.late, "{late} late, {met:?}: the test no longer tests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_group_that_is_as_rude_as_it_can_be_doubles_nothing() {
    let (mut met, mut polite, mut rude) = (Met::default(), 0, 0);
    for seed in 400..402 {
        let house = Arc::new(House::new().await);
        let written = world::events(seed, 500);
        let mut random = Seeded(seed);
        let group = Arc::new(Group::default());
        let settings = PipelineSettings { assignment: Assignment::Group, ..hasty() };
        let rivals = Rivals::start(&house, seed, &settings, |member| {
            Arc::new(GroupLog { log: house.log.clone(), group: group.clone(), member })
        });
        let deadline = Instant::now() + PATIENCE;
        while !group.shares(&house.events.topic, PARTITIONS) {
            assert!(Instant::now() < deadline, "seed {seed}: nobody joins");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut zombies: Vec<(u32, usize)> = Vec::new();
        for piece in written.chunks(25) {
            world::write(house.log.as_ref(), &house.events, piece).await;
            let (partition, to) = (random.below(PARTITIONS.into()) as u32, random.below(WORKERS as u64) as usize);
            match random.below(3) {
                0 => {
                    polite += 1;
                    group.pass_on(&house.events.topic, partition, to);
                    group.pass_on(&house.dead_letters.topic, 0, to);
                }
                // The former owner goes on as if nothing had happened, and is told a while later.
                1 => {
                    let taken = (0..PARTITIONS).map(|step| (partition + step) % PARTITIONS).find_map(|partition| {
                        group.take_away(&house.events.topic, partition, to).map(|former| (partition, former))
                    });
                    rude += u32::from(taken.is_some());
                    zombies.extend(taken);
                }
                _ => {
                    if let Some((partition, former)) = zombies.pop() {
                        group.tell_lost(&house.events.topic, partition, former);
                    }
                }
            }
            if random.one_in(3) {
                let pause = Duration::from_millis(random.below(60));
                rivals.one_sleeps(&mut random, pause, &mut met).await;
            }
            tokio::time::sleep(Duration::from_millis(random.below(20))).await;
        }
        // Some zombies are never told at all.
        caught_up(&house, seed).await;
        rivals.end(&mut met).await;
        house.run_to_the_end(1_000).await;
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
    eprintln!("group: {met:?}, {polite} handed over, {rude} taken away");
    assert!(5 < polite && 2 < rude, "{polite} and {rude}: the test no longer tests");
}

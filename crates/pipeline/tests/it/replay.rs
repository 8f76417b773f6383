//! Law 1, 2 and 5: any batch cuts, any restart, any crash: the same lake, each record exactly once.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicInfo, TopicSpec, partition_for};
use tributary_lake::{Lake, LakeError, LakeSettings};
use tributary_pipeline::{GROUP, Parts, PipelineError, PipelineSettings, Progress, Summary, run};
use tributary_schemas::{Event, EventFlags, SystemClock, Table};

use crate::oracle::{Expected, expect};
use crate::power_cut::PowerCut;
use crate::slow_log::SlowLog;
use crate::world::{self, Seeded, Written};

pub(crate) const PARTITIONS: u32 = 3;

pub(crate) struct House {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) events: TopicInfo,
    pub(crate) dead_letters: TopicInfo,
    pub(crate) disk: Arc<InMemory>,
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.path())).unwrap();
        let topic = async |name: &str, partitions| {
            log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions }).await.unwrap()
        };
        let events = topic("events", PARTITIONS).await;
        let dead_letters = topic("dead_letters", 1).await;
        Self { log, events, dead_letters, disk: Arc::new(InMemory::new()), _folder: folder }
    }

    async fn lake(&self, store: Arc<PowerCut>) -> Lake {
        self.lake_with(store, LakeSettings::default().storage_tries_max).await
    }

    pub(crate) async fn lake_with(&self, store: Arc<dyn ObjectStore>, storage_tries_max: u32) -> Lake {
        self.open_lake(store, storage_tries_max).await.unwrap()
    }

    pub(crate) async fn open_lake(
        &self,
        store: Arc<dyn ObjectStore>,
        storage_tries_max: u32,
    ) -> Result<Lake, LakeError> {
        let settings = LakeSettings {
            url: "memory:///lake".to_owned(),
            checkpoint_interval_commits: 5,
            storage_tries_max,
            ..LakeSettings::default()
        };
        Lake::with_store(settings, store, Arc::new(SystemClock)).await
    }

    pub(crate) fn parts(&self, lake: Lake, progress: watch::Sender<Progress>) -> Parts {
        Parts {
            log: self.log.clone(),
            lake,
            events: self.events.clone(),
            dead_letters: self.dead_letters.clone(),
            progress,
        }
    }

    /// Runs to the end of what is in the log, then stops as asked.
    pub(crate) async fn run_to_the_end(&self, commit_rows_max: usize) {
        self.run_by(settings(commit_rows_max)).await.unwrap();
    }

    pub(crate) async fn run_by(&self, settings: PipelineSettings) -> Result<Summary, PipelineError> {
        let lake = self.lake(Arc::new(PowerCut::never(self.disk.clone()))).await;
        let (progress, _watching) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        stop.cancel();
        let running = run(settings, self.parts(lake, progress), stop);
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("the job reaches its end")
    }

    /// The version of a table, and the positions stored in it under names that begin so.
    pub(crate) async fn stands_at(&self, table: Table, kind: &str) -> (u64, BTreeMap<String, i64>) {
        let lake = self.lake(Arc::new(PowerCut::never(self.disk.clone()))).await;
        let snapshot = lake.snapshot(table).await.unwrap();
        let of_kind = snapshot.txns().filter(|(app_id, _)| app_id.starts_with(kind));
        (snapshot.version(), of_kind.map(|(app_id, position)| (app_id.to_owned(), position)).collect())
    }

    /// Partitions of which `events` holds rows that `sessions` was not made from.
    async fn caught_between(&self) -> usize {
        let (_, events) = self.stands_at(Table::Events, "ing/").await;
        let (_, sessions) = self.stands_at(Table::Sessions, "sess/").await;
        let lags = |partition: &u32| {
            let id = format!("{}/{partition}", self.events.topic_id);
            sessions.get(&format!("sess/{id}")) < events.get(&format!("ing/{id}"))
        };
        (0..PARTITIONS).filter(lags).count()
    }

    async fn delete(&self, folder: &str) {
        let paths: Vec<_> =
            self.disk.list(Some(&Path::from(folder))).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert!(!paths.is_empty(), "{folder} was there");
        for path in paths {
            self.disk.delete(&path).await.unwrap();
        }
    }

    /// Runs until the power fails at the `writes`-th write; false if it got to the end before.
    async fn run_until_cut(&self, commit_rows_max: usize, writes: i64, lands: bool) -> bool {
        let store = Arc::new(PowerCut::after(self.disk.clone(), writes, lands));
        let cut = store.cut.clone();
        let stop = CancellationToken::new();
        stop.cancel();
        let running = async {
            let lake = self.lake(store).await;
            let (progress, _watching) = watch::channel(Progress::default());
            run(settings(commit_rows_max), self.parts(lake, progress), stop).await.unwrap();
        };
        let ended = async {
            tokio::select! {
                biased;
                () = cut.cancelled() => true,
                () = running => false,
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), ended).await;
        in_time.unwrap_or_else(|_| panic!("stuck with a cut after {writes} writes, landing: {lands}"))
    }

    /// Makes a log of commits what a version wrote that did not store such positions.
    async fn forget_stored(&self, log: &str, part: &str) {
        let listed: Vec<_> =
            self.disk.list(Some(&Path::from(log))).map_ok(|meta| meta.location).try_collect().await.unwrap();
        for path in listed {
            if !path.as_ref().ends_with(".json") {
                self.disk.delete(&path).await.unwrap();
                continue;
            }
            let bytes = self.disk.get(&path).await.unwrap().bytes().await.unwrap();
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let kept: Vec<&str> =
                text.lines().filter(|line| !(line.starts_with(r#"{"txn""#) && line.contains(part))).collect();
            self.disk.put(&path, kept.join("\n").into()).await.unwrap();
        }
    }

    pub(crate) async fn contents(&self) -> (Expected, BTreeMap<String, (i64, bool)>) {
        let lake = self.lake(Arc::new(PowerCut::never(self.disk.clone()))).await;
        let mut found = Expected {
            events: BTreeMap::new(),
            duplicates: BTreeSet::new(),
            undecodable: BTreeSet::new(),
            links: BTreeSet::new(),
            sessions: BTreeSet::new(),
        };
        read_events(&lake, &mut found).await;
        read_set_apart(&lake, &mut found).await;
        let versions = read_sessions(&lake, &mut found).await;
        (found, versions)
    }
}

pub(crate) fn settings(commit_rows_max: usize) -> PipelineSettings {
    PipelineSettings {
        commit_rows_max,
        poll_bytes_max: 4_000,
        commit_interval_ms: 60_000,
        // Every other run writes and reads state objects, so that all that is proved here is proved with them too.
        state_bytes_min: if commit_rows_max.is_multiple_of(2) { 0 } else { usize::MAX },
        state_records_min: 10,
        ..PipelineSettings::default()
    }
}

async fn rows(lake: &Lake, table: Table, columns: &[&str]) -> Vec<arrow::array::RecordBatch> {
    lake.snapshot(table).await.unwrap().read(columns, |_| true).try_collect().await.unwrap()
}

async fn read_events(lake: &Lake, found: &mut Expected) {
    let columns = ["log_partition", "log_offset", "event_id", "client_event_id", "flags"];
    for batch in rows(lake, Table::Events, &columns).await {
        for row in 0..batch.num_rows() {
            let place = place(&batch, row);
            let flags = EventFlags(batch.column(4).as_primitive::<Int64Type>().value(row));
            let client = batch.column(3).as_string::<i32>();
            let id = if client.is_valid(row) { client } else { batch.column(2).as_string::<i32>() };
            let what = (id.value(row).to_owned(), flags.has(EventFlags::LATE), flags.has(EventFlags::ID_COLLISION));
            assert!(found.events.insert(place, what).is_none(), "{place:?} is in `events` twice");
        }
    }
}

async fn read_set_apart(lake: &Lake, found: &mut Expected) {
    for batch in rows(lake, Table::DeadLetters, &["log_partition", "log_offset", "reason"]).await {
        for row in 0..batch.num_rows() {
            let kind = match batch.column(2).as_string::<i32>().value(row) {
                "duplicate" => &mut found.duplicates,
                "undecodable" => &mut found.undecodable,
                other => panic!("unexpected reason {other}"),
            };
            assert!(kind.insert(place(&batch, row)), "{:?} is in `dead_letters` twice", place(&batch, row));
        }
    }
    for batch in rows(lake, Table::Identities, &["log_partition", "log_offset"]).await {
        for row in 0..batch.num_rows() {
            assert!(found.links.insert(place(&batch, row)), "{:?} is in `identities` twice", place(&batch, row));
        }
    }
}

/// Fills in the latest sessions; returns version and tombstone of each id.
async fn read_sessions(lake: &Lake, found: &mut Expected) -> BTreeMap<String, (i64, bool)> {
    let columns = [
        "session_id",
        "version",
        "superseded_by",
        "source",
        "session_key",
        "start_time_us",
        "end_time_us",
        "event_count",
        "anonymous_id",
        "user_id",
        "first_offset",
        "log_partition",
    ];
    type Latest = (i64, bool, (String, String, i64, i64, i64));
    let mut latest: HashMap<String, Latest> = HashMap::new();
    for batch in rows(lake, Table::Sessions, &columns).await {
        let text = |column: usize, row| batch.column(column).as_string::<i32>().value(row).to_owned();
        let int = |column: usize, row| batch.column(column).as_primitive::<Int64Type>().value(row);
        for row in 0..batch.num_rows() {
            let (id, version) = (text(0, row), int(1, row));
            let named = batch.column(8).is_valid(row) || batch.column(9).is_valid(row);
            let partition = batch.column(11).as_primitive::<Int32Type>().value(row);
            let key = if named { text(4, row) } else { format!("alone {:?}", (partition, int(10, row))) };
            let session = (text(3, row), key, int(5, row), int(6, row), int(7, row));
            let gone = batch.column(2).is_valid(row);
            let known = latest.get(&id);
            assert!(known.is_none_or(|known| known.0 != version), "{id} has two rows of version {version}");
            if known.is_none_or(|known| known.0 < version) {
                latest.insert(id, (version, gone, session));
            }
        }
    }
    for (_, gone, session) in latest.values() {
        if !gone {
            assert!(found.sessions.insert(session.clone()), "{session:?} stands twice");
        }
    }
    latest.into_iter().map(|(id, (version, gone, _))| (id, (version, gone))).collect()
}

fn place(batch: &arrow::array::RecordBatch, row: usize) -> (u32, i64) {
    let partition = batch.column(0).as_primitive::<Int32Type>().value(row);
    (partition.cast_unsigned(), batch.column(1).as_primitive::<Int64Type>().value(row))
}

#[tokio::test]
async fn any_cuts_give_the_lake_of_the_oracle() {
    for seed in 0..6 {
        let house = House::new().await;
        let written = world::events(seed, 600);
        world::write(house.log.as_ref(), &house.events, &written).await;
        house.run_to_the_end([1, 7, 50, 1_000][seed as usize % 4]).await;
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
}

#[tokio::test]
async fn restarts_between_arrivals_change_nothing() {
    for seed in 10..14 {
        let house = House::new().await;
        let written = world::events(seed, 500);
        let mut random = Seeded(seed);
        let mut rest = &written[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(60) as usize));
            world::write(house.log.as_ref(), &house.events, now).await;
            house.run_to_the_end(1 + random.below(40) as usize).await;
            rest = later;
        }
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
}

#[tokio::test]
async fn a_crash_at_any_write_loses_and_doubles_nothing() {
    let (mut cuts, mut caught_between) = (0, 0);
    for seed in 20..26 {
        let house = House::new().await;
        let written = world::events(seed, 400);
        let mut random = Seeded(seed);
        let mut rest = &written[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(80) as usize));
            world::write(house.log.as_ref(), &house.events, now).await;
            let (rows, writes) = (1 + random.below(30) as usize, 1 + random.below(25).cast_signed());
            if house.run_until_cut(rows, writes, random.one_in(2)).await {
                cuts += 1;
                caught_between += house.caught_between().await;
            }
            rest = later;
        }
        house.run_to_the_end(100).await;
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
    assert!(cuts >= 20, "only {cuts} cuts: the test no longer tests");
    assert!(caught_between >= 5, "only {caught_between} partitions were cut between `events` and `sessions`");
}

#[tokio::test]
async fn a_store_that_is_away_for_a_while_is_waited_for() {
    for (seed, lands) in [(30, false), (31, true), (32, false)] {
        let house = House::new().await;
        let written = world::events(seed, 300);
        world::write(house.log.as_ref(), &house.events, &written).await;
        let store = Arc::new(PowerCut::outage(house.disk.clone(), 20 + seed.cast_signed(), 6, lands));
        let met = store.cut.clone();
        let lake = house.lake_with(store, 2).await;
        let (progress, mut watching) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        let job = tokio::spawn(run(settings(20), house.parts(lake, progress), stop.clone()));
        let mut ends = Vec::new();
        for partition in 0..PARTITIONS {
            ends.push((partition, house.log.bounds("events", partition).await.unwrap().next));
        }
        met.cancelled().await;
        // What is left over of a commit's rows waits for a longer time than this test has: the stop takes it in.
        watching.wait_for(|now| now.commits > 0 && now.events.iter().map(|at| at.1).sum::<u64>() > 200).await.unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), job).await.expect("the job ends").unwrap().unwrap();
        assert_eq!(watching.borrow().events, ends);
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
}

#[tokio::test]
async fn a_replay_into_an_empty_lake_gives_the_same_rows() {
    let mut house = House::new().await;
    let written = world::events(42, 500);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_to_the_end(9).await;
    let (first, first_ids) = house.contents().await;
    house.disk = Arc::new(InMemory::new());
    house.run_to_the_end(300).await;
    let (second, second_ids) = house.contents().await;
    assert_eq!(first, second);
    let living = |ids: BTreeMap<String, (i64, bool)>| -> BTreeSet<String> {
        ids.into_iter().filter(|(_, (_, gone))| !gone).map(|(id, _)| id).collect()
    };
    assert_eq!(living(first_ids), living(second_ids), "session ids are the same in every replay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_workers_with_the_same_partitions_double_nothing() {
    for seed in 77..82 {
        let house = Arc::new(House::new().await);
        let written = world::events(seed, 400);
        world::write(house.log.as_ref(), &house.events, &written).await;
        let workers = [5, 7].map(|rows| {
            let house = house.clone();
            tokio::spawn(async move { house.run_by(settings(rows)).await })
        });
        for worker in workers {
            let outcome = worker.await.unwrap();
            // Whoever is pushed aside too often says so; both may also finish.
            assert!(matches!(outcome, Ok(_) | Err(PipelineError::Fenced { .. })), "seed {seed}: {outcome:?}");
        }
        house.run_to_the_end(100).await;
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}");
    }
}

#[tokio::test]
async fn sessions_are_made_again_in_steps_when_their_table_is_gone() {
    let house = House::new().await;
    let written = world::events(90, 500);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_to_the_end(20).await;
    house.delete("lake/sessions").await;
    house.run_to_the_end(50).await;
    let (version, _) = house.stands_at(Table::Sessions, "sess/").await;
    assert!(version >= 4, "made again in {version} commits");
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written, PARTITIONS));
}

#[tokio::test]
async fn sessions_without_their_events_are_refused_with_what_to_do() {
    let house = House::new().await;
    world::write(house.log.as_ref(), &house.events, &world::events(91, 100)).await;
    house.run_to_the_end(100).await;
    house.delete("lake/events").await;
    let error = house.run_by(settings(100)).await.unwrap_err();
    assert!(matches!(error, PipelineError::SessionsAhead { .. }), "{error}");
    assert!(error.to_string().contains("tributary replay --swap"), "{error}");
}

#[tokio::test]
async fn another_session_rule_is_refused_until_it_is_put_back_or_the_lake_is_made_anew() {
    let mut house = House::new().await;
    let written = world::events(92, 200);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_to_the_end(100).await;
    let default = settings(100);
    let changed = [
        PipelineSettings { allowed_lateness_ms: 7_200_000, ..default.clone() },
        PipelineSettings { watermark_delay_ms: 0, ..default.clone() },
        PipelineSettings { session_preset: "snowplow".to_owned(), ..default.clone() },
        PipelineSettings {
            session_preset: "custom".to_owned(),
            session_time_zone: "Asia/Tokyo".to_owned(),
            ..default.clone()
        },
    ];
    for settings in &changed {
        let error = house.run_by(settings.clone()).await.unwrap_err();
        assert!(matches!(error, PipelineError::RuleChanged { .. }), "{error}");
        assert!(error.to_string().contains("allowed_lateness_ms"), "{error}");
    }
    // Rows are late by the old rule: sessions alone cannot be made by another.
    house.delete("lake/sessions").await;
    assert!(matches!(house.run_by(changed[0].clone()).await, Err(PipelineError::RuleChanged { .. })));
    house.run_to_the_end(100).await;
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written, PARTITIONS));
    house.disk = Arc::new(InMemory::new());
    house.run_by(changed[0].clone()).await.unwrap();
}

/// Each partition forgets event ids by its own receipts: one far ahead must not make another forget.
#[tokio::test]
async fn a_retry_is_known_after_a_restart_though_another_partition_is_far_ahead() {
    const DAY_US: i64 = 24 * 60 * world::MINUTE_US;
    let house = House::new().await;
    let mut by_partition: BTreeMap<u32, Vec<Event>> = BTreeMap::new();
    for number in 0..60 {
        let mut event = Event::new("web", "test", &format!("e{number}"), "page", 20_000 * DAY_US);
        event.anonymous_id = Some(format!("a{number}"));
        event.ingest_time_us = event.event_time_us;
        by_partition.entry(partition_for(&event.partition_key(), PARTITIONS)).or_default().push(event);
    }
    let [mut near, mut far] = [by_partition.remove(&0).unwrap(), by_partition.remove(&1).unwrap()];
    let written = |events: &[Event]| events.iter().cloned().map(Box::new).map(Written::Event).collect::<Vec<_>>();
    let receive_after = |events: &mut [Event], days: i64| {
        for event in events {
            event.ingest_time_us += days * DAY_US;
        }
    };
    receive_after(&mut far, 30);
    for events in [&near, &far] {
        world::write(house.log.as_ref(), &house.events, &written(events)).await;
    }
    house.run_to_the_end(100).await;
    // A retry six days later is within the window, one eight days later is not, and that one is remembered in turn.
    for (days, duplicates) in [(6, near.len()), (2, 0), (1, near.len())] {
        receive_after(&mut near, days);
        world::write(house.log.as_ref(), &house.events, &written(&near)).await;
        let summary = house.run_by(settings(100)).await.unwrap();
        assert_eq!(summary.counts.duplicates, duplicates as u64, "{days} days later");
        assert_eq!(summary.counts.kept, (near.len() - duplicates) as u64, "{days} days later");
    }
}

#[tokio::test]
async fn watermarks_stand_in_the_table_and_a_table_without_them_is_read_for_them() {
    let house = House::new().await;
    let written = world::events(93, 400);
    let (first, second) = written.split_at(250);
    world::write(house.log.as_ref(), &house.events, first).await;
    house.run_to_the_end(30).await;
    let (_, stored) = house.stands_at(Table::Sessions, "sess/").await;
    let watermarks = stored.keys().filter(|app_id| app_id.contains("/wm/")).count();
    assert_eq!(watermarks, 2 * PARTITIONS as usize, "two sources in each partition");

    house.forget_stored("lake/sessions/_delta_log", "/wm/").await;
    house.forget_stored("lake/events/_delta_log", "/newest").await;
    world::write(house.log.as_ref(), &house.events, second).await;
    house.run_to_the_end(30).await;
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written, PARTITIONS));
}

#[tokio::test]
async fn a_stop_takes_in_records_that_are_still_on_their_way() {
    let mut house = House::new().await;
    let written = world::events(94, 100);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.log = Arc::new(SlowLog(house.log.clone()));
    house.run_to_the_end(1_000).await;
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written, PARTITIONS));
}

/// The embedded log removes nothing that the job has not reported, in either topic.
#[tokio::test]
async fn the_log_is_told_how_far_both_topics_are_in_the_lake() {
    let house = House::new().await;
    world::write(house.log.as_ref(), &house.events, &world::events(95, 60)).await;
    let record = Record { key: None, value: "what nobody can read".into(), time_ms: 0 };
    house.log.append("dead_letters", vec![(0, record)]).await.remove(0).unwrap();
    house.run_to_the_end(1_000).await;
    for (topic, partitions) in [("events", PARTITIONS), ("dead_letters", 1)] {
        for partition in 0..partitions {
            let next = house.log.bounds(topic, partition).await.unwrap().next;
            assert_eq!(house.log.position(GROUP, topic, partition).await.unwrap(), Some(next), "{topic} {partition}");
        }
    }
}

#[tokio::test]
async fn another_topic_of_dead_letters_stops_the_job() {
    let mut house = House::new().await;
    let letter = || Record { key: None, value: "what nobody can read".into(), time_ms: 0 };
    house.log.append("dead_letters", vec![(0, letter())]).await.remove(0).unwrap();
    house.run_to_the_end(100).await;
    house.dead_letters.topic_id = "made-anew".to_owned();
    let outcome = house.run_by(settings(100)).await;
    assert!(matches!(outcome, Err(PipelineError::OtherLog { .. })), "{outcome:?}");
}

#[tokio::test]
async fn a_log_that_lost_what_the_lake_has_read_stops_the_job() {
    let mut house = House::new().await;
    world::write(house.log.as_ref(), &house.events, &world::events(1, 50)).await;
    house.run_to_the_end(100).await;

    // Another log with the same topic: its offsets mean other records.
    let other = House::new().await;
    house.log = other.log.clone();
    house.events = other.events.clone();
    house.dead_letters = other.dead_letters.clone();
    let lake = house.lake(Arc::new(PowerCut::never(house.disk.clone()))).await;
    let (progress, _watching) = watch::channel(Progress::default());
    let outcome = run(settings(10), house.parts(lake, progress), CancellationToken::new()).await;
    assert!(matches!(outcome, Err(PipelineError::OtherLog { .. })), "{outcome:?}");
}

//! A topic on Kafka that is not what it was: made anew, trimmed, given more partitions; and workers that share one.
//!
//! In:       jobs of this process on a real broker, each with a lake handle of its own.
//! Out:      an error that says what to do, where going on would skip or mix records; rows without hole or double elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use futures::TryStreamExt;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::kafka::{KafkaLog, KafkaSettings};
use tributary_eventlog::{EventLog, LogError, Record, TopicInfo, TopicSpec, partition_for};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Assignment, Parts, PipelineError, PipelineSettings, Progress, Summary, run};
use tributary_schemas::wire::encode_event;
use tributary_schemas::{Event, Table};

use crate::outside;

const PATIENCE: Duration = Duration::from_secs(90);
const PARTITIONS: u32 = 4;
const START_US: i64 = 1_790_000_000_000_000;

struct House {
    log: Arc<KafkaLog>,
    /// What the events are written through.
    door: Arc<KafkaLog>,
    settings: KafkaSettings,
    admin: AdminClient<DefaultClientContext>,
    events: TopicInfo,
    dead_letters: TopicInfo,
    dir: tempfile::TempDir,
    written: u64,
}

struct Working {
    job: JoinHandle<Result<Summary, PipelineError>>,
    progress: watch::Receiver<Progress>,
    stop: CancellationToken,
}

impl House {
    async fn new(bootstrap: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let extra = [("session.timeout.ms", "1500"), ("heartbeat.interval.ms", "300")];
        let extra = extra.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        // A reader that fetches little ahead can be overtaken.
        let settings = KafkaSettings {
            replication_factor: 1,
            reader_queue_bytes_max: 1 << 10,
            extra,
            ..KafkaSettings::at(bootstrap)
        };
        let log = KafkaLog::connect(settings.clone()).await.unwrap();
        let unique =
            dir.path().file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let topic = async |name: &str, partitions| {
            log.ensure_topic(&TopicSpec { name: format!("{name}-{unique}"), partitions }).await.unwrap()
        };
        let (events, dead_letters) = (topic("changes", PARTITIONS).await, topic("changes-dead", 1).await);
        let admin = rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        Self { door: log.clone(), log, settings, admin, events, dead_letters, dir, written: 0 }
    }

    /// A door that is started again sends to all partitions there are by then.
    async fn start_door_again(&mut self, partitions: u32) {
        self.door = KafkaLog::connect(self.settings.clone()).await.unwrap();
        self.events.partitions = partitions;
    }

    /// Writes so many events more, each of a person of its own.
    async fn write(&mut self, count: u64) {
        let records = (self.written..self.written + count).map(|number| {
            let time_us = START_US + number.cast_signed() * 1_000_000;
            let mut event = Event::new("web", "test", &format!("e{number}"), "page", time_us);
            event.ingest_time_us = time_us;
            event.anonymous_id = Some(format!("a{number}"));
            let key = event.partition_key();
            let partition = partition_for(&key, self.events.partitions);
            (partition, Record { key: Some(key.into()), value: encode_event(&event).into(), time_ms: time_us / 1_000 })
        });
        let records = records.collect();
        // A topic that was just made may not be known to the producer yet.
        let deadline = Instant::now() + PATIENCE;
        let mut left: Vec<(u32, Record)> = records;
        while !left.is_empty() {
            assert!(Instant::now() < deadline, "the records are taken");
            let answers = self.door.append(&self.events.topic, left.clone()).await;
            let refused = answers.into_iter().zip(left).filter(|(answer, _)| answer.is_err());
            left = refused.map(|(_, record)| record).collect();
        }
        self.written += count;
    }

    fn pipeline(&self) -> PipelineSettings {
        let group_id = format!("workers-of-{}", self.events.topic);
        PipelineSettings { commit_interval_ms: 50, log_check_interval_ms: 200, group_id, ..PipelineSettings::default() }
    }

    async fn lake(&self) -> Lake {
        let url = self.dir.path().join("lake").display().to_string();
        Lake::open(LakeSettings { url, fsync: false, ..LakeSettings::default() }).await.unwrap()
    }

    async fn work(&self, settings: PipelineSettings) -> Working {
        let (progress_in, progress) = watch::channel(Progress::default());
        let parts = Parts {
            log: self.log.clone(),
            lake: self.lake().await,
            events: self.events.clone(),
            dead_letters: self.dead_letters.clone(),
            progress: progress_in,
        };
        let stop = CancellationToken::new();
        Working { job: tokio::spawn(run(settings, parts, stop.clone())), progress, stop }
    }

    async fn run_to_the_end(&self, settings: PipelineSettings) -> Result<Summary, PipelineError> {
        let working = self.work(settings).await;
        working.stop.cancel();
        working.ended().await
    }

    /// Waits until `events` holds so many rows; each record of each partition once, and none missing.
    async fn until_rows(&self, wanted: u64) {
        let (lake, deadline) = (self.lake().await, Instant::now() + PATIENCE);
        loop {
            let snapshot = lake.snapshot(Table::Events).await.unwrap();
            let rows: u64 = snapshot.files().iter().map(|file| file.rows).sum();
            if rows >= wanted {
                break;
            }
            assert!(Instant::now() < deadline, "{rows} of {wanted} rows");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let snapshot = lake.snapshot(Table::Events).await.unwrap();
        let mut offsets: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        let batches: Vec<_> = snapshot.read(&["log_partition", "log_offset"], |_| true).try_collect().await.unwrap();
        for batch in batches {
            let partitions = batch.column(0).as_primitive::<Int32Type>().values();
            for (partition, offset) in partitions.iter().zip(batch.column(1).as_primitive::<Int64Type>().values()) {
                offsets.entry(*partition).or_default().push(*offset);
            }
        }
        let mut rows = 0;
        for (partition, mut offsets) in offsets {
            offsets.sort_unstable();
            rows += offsets.len() as u64;
            let count = i64::try_from(offsets.len()).unwrap();
            assert!(offsets.iter().copied().eq(0..count), "partition {partition}: {offsets:?}");
        }
        assert_eq!(rows, wanted);
    }

    /// Deletes the topic and makes it anew under its name, with so many partitions.
    async fn make_anew(&mut self, partitions: u32) {
        let name = self.events.topic.clone();
        self.admin.delete_topics(&[&name], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count = i32::try_from(partitions).unwrap();
            let topic = NewTopic::new(&name, count, TopicReplication::Fixed(1));
            // Deleting takes its time, and until then the name is taken.
            match self.admin.create_topics([&topic], &AdminOptions::new()).await.unwrap().remove(0) {
                Ok(_) => break,
                Err((_, error)) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while !matches!(self.log.partitions(&name).await, Ok(found) if found == partitions) {
            assert!(Instant::now() < deadline, "the new topic shows up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn add_partitions(&self, partitions: u32) {
        let more = NewPartitions::new(&self.events.topic, usize::try_from(partitions).unwrap());
        self.admin.create_partitions([&more], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !matches!(self.log.partitions(&self.events.topic).await, Ok(found) if found == partitions) {
            assert!(Instant::now() < deadline, "the new partitions show up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Working {
    async fn ended(self) -> Result<Summary, PipelineError> {
        tokio::time::timeout(PATIENCE, self.job).await.expect("the job ends").unwrap()
    }

    async fn until(&mut self, reached: impl FnMut(&Progress) -> bool) {
        let waiting = self.progress.wait_for(reached);
        tokio::time::timeout(PATIENCE, waiting).await.expect("it gets there").expect("the job goes on");
    }
}

fn read(progress: &Progress) -> u64 {
    progress.events.iter().map(|(_, next)| next).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_topic_made_anew_stops_the_next_start() {
    let Some(bootstrap) = outside::kafka("a_kafka_topic_made_anew_stops_the_next_start") else { return };
    let mut house = House::new(&bootstrap).await;
    house.write(40).await;
    house.run_to_the_end(house.pipeline()).await.unwrap();
    house.until_rows(40).await;
    // Shorter than what the lake has read of it: the position alone tells.
    house.make_anew(PARTITIONS).await;
    let error = house.run_to_the_end(house.pipeline()).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogLost { .. }), "{error}");
    // As long as ever, so that the position fits: what is in it tells.
    house.write(100).await;
    let error = house.run_to_the_end(house.pipeline()).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { .. }), "{error}");
    // With fewer partitions.
    house.make_anew(PARTITIONS - 1).await;
    let error = house.run_to_the_end(house.pipeline()).await.unwrap_err();
    assert!(matches!(error, PipelineError::PartitionsFewer { .. }), "{error}");
    house.until_rows(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_topic_made_anew_stops_a_running_job() {
    let Some(bootstrap) = outside::kafka("a_kafka_topic_made_anew_stops_a_running_job") else { return };
    let mut house = House::new(&bootstrap).await;
    let mut working = house.work(house.pipeline()).await;
    house.write(40).await;
    working.until(|now| read(now) == 40).await;
    house.make_anew(PARTITIONS).await;
    house.write(200).await;
    let error = working.ended().await.unwrap_err();
    let is_loud = matches!(error, PipelineError::LogReplaced { .. } | PipelineError::LogLost { .. })
        || matches!(&error, PipelineError::Log { source: LogError::NoSuchTopic { .. }, .. });
    assert!(is_loud, "{error}: {error:?}");
    // Nor does it begin again as if nothing had been.
    let error = house.run_to_the_end(house.pipeline()).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { .. } | PipelineError::LogLost { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_retention_took_before_they_were_read_stop_the_job() {
    let Some(bootstrap) = outside::kafka("records_that_retention_took_before_they_were_read_stop_the_job") else {
        return;
    };
    let mut house = House::new(&bootstrap).await;
    house.write(40).await;
    house.run_to_the_end(house.pipeline()).await.unwrap();
    // What was read may go, even the very last record.
    for partition in 0..PARTITIONS {
        house.log.trim(&house.events.topic, partition, u64::MAX >> 1).await.unwrap();
    }
    house.write(40).await;
    house.run_to_the_end(house.pipeline()).await.unwrap();
    // One record that was not read is one too many.
    house.write(40).await;
    let next = house.log.bounds(&house.events.topic, 1).await.unwrap().next;
    house.log.trim(&house.events.topic, 1, next).await.unwrap();
    for assignment in [Assignment::Static, Assignment::Group] {
        let working = house.work(PipelineSettings { assignment, ..house.pipeline() }).await;
        let error = working.ended().await.unwrap_err();
        assert!(matches!(error, PipelineError::LogLost { partition: 1, .. }), "{assignment:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_that_retention_overtakes_stops() {
    let Some(bootstrap) = outside::kafka("a_running_job_that_retention_overtakes_stops") else { return };
    let mut house = House::new(&bootstrap).await;
    house.write(4).await;
    let topic = house.events.topic.clone();
    // Records so large that the reader, who may fetch little ahead, is far behind when the first are gone.
    let record = || Record { key: None, value: Bytes::from(vec![7; 200_000]), time_ms: 1 };
    let write = async || {
        for _ in 0..20 {
            let all = (0..10).map(|_| (0, record())).collect();
            assert!(house.log.append(&topic, all).await.iter().all(Result::is_ok));
        }
    };
    write().await;
    let settings = PipelineSettings { poll_bytes_max: 1, commit_rows_max: 1, ..house.pipeline() };
    let mut working = house.work(settings).await;
    working.until(|now| now.commits > 0).await;
    let ended = loop {
        let next = house.log.bounds(&topic, 0).await.unwrap().next;
        house.log.trim(&topic, 0, next).await.unwrap();
        let Working { job, progress, .. } = &mut working;
        let has_all = |now: &Progress| now.events.iter().any(|(partition, at)| *partition == 0 && next <= *at);
        tokio::select! {
            biased;
            ended = tokio::time::timeout(PATIENCE, &mut *job) => break ended.expect("the job ends").unwrap(),
            // It was quicker than the trimming and has lost nothing: once more.
            Ok(_) = progress.wait_for(has_all) => {}
        }
        write().await;
    };
    let error = ended.unwrap_err();
    assert!(matches!(error, PipelineError::LogLost { partition: 0, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_added_to_a_kafka_topic_stop_the_job_or_are_taken_in() {
    let Some(bootstrap) = outside::kafka("partitions_added_to_a_kafka_topic_stop_the_job_or_are_taken_in") else {
        return;
    };
    let mut house = House::new(&bootstrap).await;
    house.write(40).await;
    let mut working = house.work(house.pipeline()).await;
    working.until(|now| read(now) == 40).await;
    house.add_partitions(PARTITIONS + 2).await;
    let error = working.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::PartitionsGrown { known: PARTITIONS, found: 6, .. }), "{error}");
    let error = house.run_to_the_end(house.pipeline()).await.unwrap_err();
    assert!(matches!(error, PipelineError::PartitionsGrown { .. }), "{error}");

    let accepting = PipelineSettings { accept_grown_partitions: true, ..house.pipeline() };
    let mut working = house.work(accepting.clone()).await;
    house.start_door_again(PARTITIONS + 2).await;
    house.write(60).await;
    working.until(|now| now.events.len() == 6 && read(now) == 100).await;
    // And once more while it runs.
    house.add_partitions(PARTITIONS + 3).await;
    house.start_door_again(PARTITIONS + 3).await;
    house.write(70).await;
    working.until(|now| now.events.len() == 7 && read(now) == 170).await;
    working.stop.cancel();
    working.ended().await.unwrap();
    house.until_rows(170).await;
    // The lake knows the number by now: nothing is left to accept.
    house.run_to_the_end(house.pipeline()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_share_a_topic_by_their_numbers() {
    let Some(bootstrap) = outside::kafka("three_workers_share_a_topic_by_their_numbers") else { return };
    let mut house = House::new(&bootstrap).await;
    let mut workers = Vec::new();
    for worker_ordinal in 0..3 {
        // Two of them own no partition of the dead letters.
        workers.push(house.work(PipelineSettings { worker_ordinal, worker_count: 3, ..house.pipeline() }).await);
    }
    let letter = Record { key: None, value: Bytes::from_static(b"what nobody can read"), time_ms: 1 };
    house.log.append(&house.dead_letters.topic, vec![(0, letter)]).await.remove(0).unwrap();
    for _ in 0..10 {
        house.write(30).await;
    }
    house.until_rows(300).await;
    for worker in workers {
        worker.stop.cancel();
        worker.ended().await.unwrap();
    }
    house.until_rows(300).await;
    let dead = house.lake().await.snapshot(Table::DeadLetters).await.unwrap();
    assert_eq!(dead.files().iter().map(|file| file.rows).sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_a_group_come_and_go_without_a_hole_or_a_double() {
    let Some(bootstrap) = outside::kafka("workers_of_a_group_come_and_go_without_a_hole_or_a_double") else { return };
    let mut house = House::new(&bootstrap).await;
    let settings = PipelineSettings { assignment: Assignment::Group, ..house.pipeline() };
    let mut first = house.work(settings.clone()).await;
    house.write(50).await;
    first.until(|now| now.events.len() == 4 && read(now) == 50).await;
    let mut second = house.work(settings.clone()).await;
    let mut third = house.work(settings.clone()).await;
    for _ in 0..10 {
        house.write(30).await;
        tokio::task::yield_now().await;
    }
    for worker in [&mut first, &mut second, &mut third] {
        worker.until(|now| !now.events.is_empty()).await;
    }
    house.until_rows(350).await;
    // One goes politely, one dies; the last takes over from both.
    second.stop.cancel();
    second.ended().await.unwrap();
    third.job.abort();
    house.write(50).await;
    first.until(|now| now.events.len() == 4).await;
    house.until_rows(400).await;
    // Partitions that are added come by the group, where they are accepted.
    first.stop.cancel();
    first.ended().await.unwrap();
    house.add_partitions(PARTITIONS + 1).await;
    house.start_door_again(PARTITIONS + 1).await;
    let refusing = house.work(settings.clone()).await;
    let error = refusing.ended().await.unwrap_err();
    assert!(matches!(error, PipelineError::PartitionsGrown { .. }), "{error}");
    let mut accepting = house.work(PipelineSettings { accept_grown_partitions: true, ..settings }).await;
    house.write(50).await;
    accepting.until(|now| now.events.len() == 5).await;
    house.until_rows(450).await;
    accepting.stop.cancel();
    accepting.ended().await.unwrap();
}

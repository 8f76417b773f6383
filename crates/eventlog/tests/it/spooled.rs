//! A log that goes away and comes back, and the spool before it: nothing lost, order kept, bounds kept.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::spooled::{SpoolSettings, SpooledLog};
use tributary_eventlog::{Ack, Bounds, EventLog, LogError, LogReader, Record, TopicInfo, TopicSpec};

use crate::conformance;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
enum Mood {
    Up,
    Away,
    /// Takes records and does not say so: the caller waits in vain.
    Silent,
    /// Takes each second record and refuses the others.
    Torn,
    /// Never takes a value that begins so.
    Picky(&'static [u8]),
}

/// A log whose line can be cut.
struct Distant {
    log: Arc<EmbeddedLog>,
    mood: Mutex<Mood>,
}

impl Distant {
    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

#[async_trait]
impl EventLog for Distant {
    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        let mood = self.mood.lock().unwrap().clone();
        let away = || Err(LogError::Retriable("the line is cut".to_owned()));
        match mood {
            Mood::Up => self.log.append(topic, records).await,
            Mood::Away => records.iter().map(|_| away()).collect(),
            Mood::Silent => {
                self.log.append(topic, records).await;
                std::future::pending().await
            }
            Mood::Torn => {
                let mut answers = Vec::new();
                for (index, record) in records.into_iter().enumerate() {
                    // Once one is refused those behind it are, as an idempotent producer has it.
                    let is_taken = index % 2 == 0 && answers.iter().all(Result::is_ok);
                    answers.push(if is_taken { self.log.append(topic, vec![record]).await.remove(0) } else { away() });
                }
                answers
            }
            Mood::Picky(begin) => {
                let mut answers = Vec::new();
                for record in records {
                    let refused = record.1.value.starts_with(begin);
                    let error = LogError::TooLarge { bytes: 9, bytes_max: 8 };
                    answers.push(if refused {
                        Err(error)
                    } else {
                        self.log.append(topic, vec![record]).await.remove(0)
                    });
                }
                answers
            }
        }
    }

    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        self.log.ensure_topic(spec).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic).await
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(topic, start).await
    }

    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.log.group_reader(group, topic).await
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        self.log.report_position(group, topic, next).await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.position(group, topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        self.log.trim(topic, partition, keep_from).await
    }

    async fn check(&self) -> Result<(), LogError> {
        match &*self.mood.lock().unwrap() {
            Mood::Up | Mood::Picky(_) => Ok(()),
            _ => Err(LogError::Retriable("the line is cut".to_owned())),
        }
    }

    async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}

fn distant(dir: &Path) -> Arc<Distant> {
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(dir.join("log"))).unwrap();
    Arc::new(Distant { log, mood: Mutex::new(Mood::Up) })
}

async fn spooled(dir: &Path, log: &Arc<Distant>, bytes_max: u64) -> Arc<SpooledLog> {
    let settings = SpoolSettings { dir: dir.join("spool"), bytes_max, after_ms: 50, record_bytes_max: 1 << 20 };
    let spooled = SpooledLog::open(log.clone(), settings).await.unwrap();
    spooled.ensure_topic(&TopicSpec { name: "t".to_owned(), partitions: 3 }).await.unwrap();
    spooled
}

fn record(text: &str) -> Record {
    Record { key: None, value: Bytes::copy_from_slice(text.as_bytes()), time_ms: 7 }
}

async fn drained(log: &SpooledLog) {
    let wait = async {
        while log.spool_state().unwrap().partitions != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the spool is drained");
}

async fn values(log: &EmbeddedLog, partition: u32) -> Vec<String> {
    let Bounds { earliest, next } = log.bounds("t", partition).await.unwrap();
    let mut values = Vec::new();
    if earliest < next {
        let mut reader = log.reader("t", &[(partition, earliest)]).await.unwrap();
        while values.len() < usize::try_from(next - earliest).unwrap() {
            let polled = reader.poll(1 << 20, Duration::from_secs(1)).await.unwrap();
            values.extend(polled.records.iter().map(|one| String::from_utf8(one.record.value.to_vec()).unwrap()));
        }
    }
    values
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_a_spool_is_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    conformance::all(spooled(dir.path(), &log, 1 << 30).await).await;
}

#[tokio::test]
async fn what_comes_while_the_log_is_away_follows_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    let spooled = spooled(dir.path(), &log, 1 << 30).await;
    let append = async |text: &str| spooled.append("t", vec![(0, record(text))]).await.remove(0).unwrap().spooled;
    assert!(!append("a").await);
    log.set(Mood::Away);
    assert!(append("b").await && append("c").await);
    let state = spooled.spool_state().unwrap();
    assert_eq!((state.bytes, state.partitions, state.records), (2, 1, 2));
    assert!(spooled.check().await.is_ok(), "ready, for the spool has room");
    // Another partition is none the worse.
    log.set(Mood::Up);
    assert!(!spooled.append("t", vec![(1, record("x"))]).await.remove(0).unwrap().spooled);
    drained(&spooled).await;
    assert!(!append("d").await);
    assert_eq!(values(&log.log, 0).await, ["a", "b", "c", "d"]);
    assert_eq!(spooled.spool_state().unwrap().bytes, 0);
}

#[tokio::test]
async fn a_full_spool_says_so_and_has_room_again_later() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    let spooled = spooled(dir.path(), &log, 10).await;
    log.set(Mood::Away);
    let append = async |text: &str| spooled.append("t", vec![(0, record(text))]).await.remove(0);
    assert!(append("12345").await.unwrap().spooled);
    assert!(matches!(append("123456").await, Err(LogError::Busy)));
    assert!(append("54321").await.unwrap().spooled);
    assert!((spooled.spool_state().unwrap().fill() - 1.0).abs() < 1e-9);
    assert!(spooled.check().await.is_err(), "neither takes a record");
    log.set(Mood::Up);
    drained(&spooled).await;
    assert!(!append("123456").await.unwrap().spooled);
    assert_eq!(values(&log.log, 0).await, ["12345", "54321", "123456"]);
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    let spooled = spooled(dir.path(), &log, 1 << 30).await;
    log.set(Mood::Silent);
    let ack = spooled.append("t", vec![(0, record("a"))]).await.remove(0).unwrap();
    assert!(ack.spooled);
    // It was taken all the same: a double, which the line finds by its id, and no loss.
    log.set(Mood::Up);
    spooled.close().await.unwrap();
    let spooled = self::spooled(dir.path(), &log, 1 << 30).await;
    drained(&spooled).await;
    let values = values(&log.log, 0).await;
    assert!(2 <= values.len() && values.iter().all(|value| value == "a"), "{values:?}");
}

#[tokio::test]
async fn what_waits_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    let first = spooled(dir.path(), &log, 1 << 30).await;
    log.set(Mood::Away);
    for text in ["a", "b", "c"] {
        assert!(first.append("t", vec![(2, record(text))]).await.remove(0).unwrap().spooled);
    }
    first.close().await.unwrap();
    drop(first);
    let second = spooled(dir.path(), &log, 1 << 30).await;
    assert_eq!(second.spool_state().unwrap().records, 3);
    assert!(second.append("t", vec![(2, record("d"))]).await.remove(0).unwrap().spooled, "behind those that wait");
    log.set(Mood::Up);
    drained(&second).await;
    assert_eq!(values(&log.log, 2).await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_record_the_log_never_takes_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let log = distant(dir.path());
    let spooled = spooled(dir.path(), &log, 1 << 30).await;
    log.set(Mood::Away);
    for text in ["a", "bad", "c"] {
        assert!(spooled.append("t", vec![(0, record(text))]).await.remove(0).unwrap().spooled);
    }
    log.set(Mood::Picky(b"bad"));
    drained(&spooled).await;
    assert_eq!(values(&log.log, 0).await, ["a", "c"]);
    spooled.close().await.unwrap();
    drop(spooled);
    let spool = EmbeddedLog::open(EmbeddedSettings::in_dir(dir.path().join("spool"))).unwrap();
    let kept = spool.record_at("t.refused", 0, 0).await.unwrap().unwrap();
    assert_eq!(&kept.value[..], b"bad");
}

#[tokio::test]
async fn a_partition_the_spool_has_no_place_for_waits_for_the_log_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    spooled(dir.path(), &distant(dir.path()), 1 << 30).await.close().await.unwrap();
    // The same spool before a log whose topic was given more partitions.
    let log = distant(&dir.path().join("grown"));
    log.ensure_topic(&TopicSpec { name: "t".to_owned(), partitions: 5 }).await.unwrap();
    let settings =
        SpoolSettings { dir: dir.path().join("spool"), bytes_max: 1 << 30, after_ms: 50, record_bytes_max: 1 << 20 };
    let spooled = SpooledLog::open(log.clone(), settings).await.unwrap();
    spooled.ensure_topic(&TopicSpec { name: "t".to_owned(), partitions: 5 }).await.unwrap();
    let append = async |partition: u32| spooled.append("t", vec![(partition, record("a"))]).await.remove(0);
    log.set(Mood::Away);
    assert!(matches!(append(4).await, Err(LogError::Busy)), "to be sent again");
    assert!(append(0).await.unwrap().spooled);
    log.set(Mood::Up);
    drained(&spooled).await;
    assert!(!append(4).await.unwrap().spooled && !append(0).await.unwrap().spooled);
}

/// Producers that send one after the other, while the line is cut, torn, mute and mended, and the process starts anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_record_reaches_the_log_in_its_producers_order() {
    const PRODUCERS: u32 = 6;
    const EACH: u32 = 150;
    for seed in 0..4_u32 {
        let dir = tempfile::tempdir().unwrap();
        let log = distant(dir.path());
        let mut spooled = spooled(dir.path(), &log, 1 << 30).await;
        for round in 0..3 {
            let weather = {
                let log = log.clone();
                tokio::spawn(async move {
                    let moods = [Mood::Away, Mood::Torn, Mood::Up, Mood::Silent, Mood::Away, Mood::Up];
                    for step in 0_u32.. {
                        log.set(moods[((seed + step) as usize * 7 + step as usize) % moods.len()].clone());
                        tokio::time::sleep(Duration::from_millis(u64::from(3 + (seed + step) % 11))).await;
                    }
                })
            };
            let producing = (0..PRODUCERS).map(|producer| {
                let spooled = spooled.clone();
                tokio::spawn(async move {
                    let partition = producer % 3;
                    let mut sent = 0;
                    while sent < EACH {
                        // Some come alone and some in threes.
                        let count = if (producer + sent) % 4 == 0 { 3.min(EACH - sent) } else { 1 };
                        let number = |index: u32| round * EACH + sent + index;
                        let records =
                            (0..count).map(|index| (partition, record(&format!("{producer}:{}", number(index)))));
                        for answer in spooled.append("t", records.collect()).await {
                            answer.unwrap();
                        }
                        sent += count;
                    }
                })
            });
            for producer in producing.collect::<Vec<_>>() {
                tokio::time::timeout(PATIENCE, producer).await.unwrap().unwrap();
            }
            weather.abort();
            drop(weather.await);
            // In the middle of whatever it was at.
            log.set(Mood::Away);
            spooled.close().await.unwrap();
            drop(spooled);
            spooled = self::spooled(dir.path(), &log, 1 << 30).await;
        }
        log.set(Mood::Up);
        drained(&spooled).await;

        let mut next: HashMap<u32, u32> = HashMap::new();
        for partition in 0..3 {
            for value in values(&log.log, partition).await {
                let (producer, number) = value.split_once(':').unwrap();
                let (producer, number): (u32, u32) = (producer.parse().unwrap(), number.parse().unwrap());
                let expected = next.entry(producer).or_default();
                // A double is an old one; nothing comes before what was acknowledged before it.
                assert!(number <= *expected, "seed {seed}: {producer} skips from {expected} to {number}");
                *expected = (*expected).max(number + 1);
            }
        }
        assert!((0..PRODUCERS).all(|producer| next[&producer] == 3 * EACH), "seed {seed}: {next:?}");
    }
}

//! `kill -9` again and again: a child process appends, its parent kills it and looks at what is left.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicSpec};

const TOPIC: &str = "t";
const PARTITIONS: u32 = 3;
const DIR: &str = "TRIBUTARY_TEST_KILL_DIR";
const LIFE: &str = "TRIBUTARY_TEST_KILL_LIFE";

fn settings(dir: &Path) -> EmbeddedSettings {
    EmbeddedSettings { segment_bytes_max: 100_000, ..EmbeddedSettings::in_dir(dir) }
}

/// Not a test by itself: the child of the next one, which runs this binary with `DIR` set.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let life = std::env::var(LIFE).unwrap();
    let log = EmbeddedLog::open(settings(dir.as_ref())).unwrap();
    log.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: PARTITIONS }).await.unwrap();
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..4 {
        producers.spawn(produce(log.clone(), format!("{life}:{producer}")));
    }
    producers.join_all().await;
}

/// Far more than the parent waits for; the end is there in case the parent is not.
async fn produce(log: Arc<EmbeddedLog>, name: String) {
    for number in 0..20_000 {
        let sent: Vec<_> = (0..1 + number % 4)
            .map(|part| {
                let value = format!("{name}:{number}:{part}:{}", "x".repeat(number % 700));
                (part.try_into().unwrap_or(0) % PARTITIONS, Record { key: None, value: value.into(), time_ms: 1 })
            })
            .collect();
        let answers = log.append(TOPIC, sent.clone()).await;
        let mut told = String::new();
        for ((partition, record), answer) in sent.into_iter().zip(answers) {
            let offset = answer.unwrap().offset;
            told += &format!("acked {partition} {offset} {}\n", String::from_utf8_lossy(&record.value));
        }
        // One write: the parent never sees half a line of two producers.
        std::io::stdout().lock().write_all(told.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_acknowledged_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut acked: BTreeMap<(u32, u64), Bytes> = BTreeMap::new();
    for (life, kill_after) in [1, 40, 700, 2_500, 150, 1_200].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::kill_child", "--nocapture"])
            .env(DIR, dir.path())
            .env(LIFE, life.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = 0;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            // A last line cut by the kill has no right form, or a shorter value; its record is not claimed.
            let line = line.unwrap();
            let Some(rest) = line.find("acked ").map(|at| &line[at + 6..]) else { continue };
            let mut words = rest.splitn(3, ' ');
            let (Some(partition), Some(offset), Some(value)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            told += 1;
            if told == kill_after {
                child.kill().unwrap();
            }
            if told <= kill_after {
                let value = Bytes::copy_from_slice(value.as_bytes());
                let before = acked.insert((partition.parse().unwrap(), offset.parse().unwrap()), value);
                assert_eq!(before, None, "no offset is given twice");
            }
        }
        child.wait().unwrap();
        assert!(kill_after <= told, "the child ended early");
        check(dir.path(), &acked).await;
    }
}

async fn check(dir: &Path, acked: &BTreeMap<(u32, u64), Bytes>) {
    let log = EmbeddedLog::open(settings(dir)).unwrap();
    let start: Vec<(u32, u64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
    let mut reader = log.reader(TOPIC, &start).await.unwrap();
    let mut found = BTreeMap::new();
    let mut values = HashSet::new();
    let mut next = [0; PARTITIONS as usize];
    loop {
        let polled = reader.poll(1 << 20, Duration::ZERO).await.unwrap();
        for delivered in polled.records {
            let expected = &mut next[delivered.partition as usize];
            assert_eq!(delivered.offset, *expected, "no gap");
            *expected += 1;
            assert!(values.insert(delivered.record.value.clone()), "no record twice");
            found.insert((delivered.partition, delivered.offset), delivered.record.value);
        }
        if polled.at_end.len() == PARTITIONS as usize {
            break;
        }
    }
    for (place, value) in acked {
        assert!(found.get(place) == Some(value), "what was acknowledged at {place:?} is there");
    }
    log.close().await.unwrap();
}

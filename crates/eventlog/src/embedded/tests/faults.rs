//! A full disk, a failed sync, a slow disk.

use std::sync::Arc;

use super::memory_disk::{Dice, MemoryDisk};
use super::{TOPIC, open, read_all, record};
use crate::embedded::EmbeddedLog;
use crate::spooled::{SpoolSettings, SpooledLog};
use crate::{Advice, EventLog, LogError, TopicSpec};

async fn made(disk: &Arc<MemoryDisk>, queue_bytes_max: usize) -> Arc<EmbeddedLog> {
    let log = open(disk, |settings| {
        settings.queue_bytes_max = queue_bytes_max;
        settings.queue_wait_ms_max = 10;
    });
    let log = log.unwrap();
    log.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: 2 }).await.unwrap();
    log
}

async fn append(log: &EmbeddedLog, text: &str) -> Result<u64, LogError> {
    log.append(TOPIC, vec![(0, record(text))]).await.remove(0).map(|ack| ack.offset)
}

async fn texts(log: &EmbeddedLog) -> Vec<String> {
    let records = read_all(log, 0).await;
    records.iter().map(|delivered| String::from_utf8(delivered.record.value.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_the_log_lives_on() {
    let disk = Arc::new(MemoryDisk::default());
    let log = made(&disk, 1 << 20).await;
    assert_eq!(append(&log, "before").await.unwrap(), 0);
    disk.set_space(Some(30));
    let refused = append(&log, "refused").await.unwrap_err();
    assert!(matches!(refused, LogError::DiskFull { .. }), "{refused}");
    assert_eq!(refused.advice(), Advice::Retry);
    assert!(matches!(log.check().await, Err(LogError::DiskFull { .. })));
    assert_eq!(texts(&log).await, ["before"], "reading goes on");
    disk.set_space(None);
    log.check().await.unwrap();
    assert_eq!(append(&log, "after").await.unwrap(), 1);
    assert_eq!(texts(&log).await, ["before", "after"]);
    log.close().await.unwrap();
    let log = made(&disk, 1 << 20).await;
    assert_eq!(texts(&log).await, ["before", "after"]);
}

/// "Not written" must stay true: the client sends the record again.
#[tokio::test]
async fn what_a_full_disk_refused_does_not_come_back_after_a_power_cut() {
    for seed in 0..40 {
        let disk = Arc::new(MemoryDisk::default());
        let log = made(&disk, 1 << 20).await;
        append(&log, "before").await.unwrap();
        // The frame of the first record fits, the round does not.
        disk.set_space(Some(100));
        let large = vec![(0, record("refused")), (1, record([b'x'; 4000]))];
        let answers = log.append(TOPIC, large).await;
        assert!(answers.iter().all(Result::is_err));
        let disk = Arc::new(disk.after_power_loss(&mut Dice::new(seed)));
        let log = made(&disk, 1 << 20).await;
        assert_eq!(texts(&log).await, ["before"]);
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_log_and_is_never_asked_again() {
    let disk = Arc::new(MemoryDisk::default());
    let log = made(&disk, 1 << 20).await;
    append(&log, "durable").await.unwrap();
    disk.set_syncs_fail(true);
    assert!(matches!(append(&log, "unknown").await, Err(LogError::Unknown)));
    disk.set_syncs_fail(false);
    let dead = append(&log, "refused").await.unwrap_err();
    assert!(matches!(dead, LogError::Fatal(_)), "{dead}");
    assert_eq!(dead.advice(), Advice::FixSetup);
    assert!(matches!(log.check().await, Err(LogError::Fatal(_))));
    assert_eq!(texts(&log).await, ["durable"], "what is durable can still be read, and nothing else");
    assert!(log.close().await.is_err());
    drop(log);
    let log = made(&disk, 1 << 20).await;
    assert_eq!(texts(&log).await, ["durable"]);
    assert_eq!(append(&log, "anew").await.unwrap(), 1);
}

#[tokio::test]
async fn a_reader_sees_nothing_before_it_is_durable() {
    let disk = Arc::new(MemoryDisk::default());
    let log = made(&disk, 1 << 20).await;
    let held = disk.hold_syncs();
    let waiting = tokio::spawn({
        let log = log.clone();
        async move { append(&log, "pending").await }
    });
    let mut reader = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    let polled = reader.poll(1 << 20, std::time::Duration::from_millis(50)).await.unwrap();
    assert!(polled.records.is_empty() && polled.at_end == [0]);
    assert_eq!(log.bounds(TOPIC, 0).await.unwrap().next, 0);
    drop(held);
    assert_eq!(waiting.await.unwrap().unwrap(), 0);
    assert_eq!(texts(&log).await, ["pending"]);
}

#[tokio::test]
async fn a_slow_disk_makes_the_queue_busy_not_large() {
    let disk = Arc::new(MemoryDisk::default());
    let log = made(&disk, 1000).await;
    let held = disk.hold_syncs();
    let text = "x".repeat(300);
    let many = futures::future::join_all((0..10).map(|_| append(&log, &text)));
    let mut many = Box::pin(many);
    // Two fit the queue; the others wait their 10 ms and are told.
    let early = tokio::time::timeout(std::time::Duration::from_millis(200), &mut many).await;
    assert!(early.is_err(), "the two in the queue still wait for the disk");
    drop(held);
    let answers = many.await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 2);
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(LogError::Busy))).count(), 8);
    assert_eq!(append(&log, "room again").await.unwrap(), 2);
}

#[tokio::test]
async fn a_segment_that_can_not_be_started_is_tried_again() {
    let disk = Arc::new(MemoryDisk::default());
    let log = open(&disk, |settings| settings.segment_bytes_max = 100).unwrap();
    log.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: 2 }).await.unwrap();
    // Room for the frame (44 + 16 + 3 + 1 bytes) but not for the header of a new file.
    disk.set_space(Some(70));
    assert_eq!(append(&log, "a").await.unwrap(), 0);
    assert!(matches!(append(&log, "b").await, Err(LogError::DiskFull { .. })));
    disk.set_space(None);
    assert_eq!(append(&log, "c").await.unwrap(), 1);
    assert_eq!(append(&log, "d").await.unwrap(), 2);
    assert_eq!(texts(&log).await, ["a", "c", "d"]);
    log.close().await.unwrap();
    let log = made(&disk, 1000).await;
    assert_eq!(texts(&log).await, ["a", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_on_a_full_disk_refuses_and_takes_again_and_drains_what_it_took() {
    let (log_disk, spool_disk) = (Arc::new(MemoryDisk::default()), Arc::new(MemoryDisk::default()));
    let log = made(&log_disk, 1 << 20).await;
    let spool = open(&spool_disk, |settings| settings.retention_waits_for = vec!["drain".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings =
        SpoolSettings { dir: dir.path().to_owned(), bytes_max: 1 << 20, after_ms: 50, record_bytes_max: 1 << 20 };
    let spooled = SpooledLog::around(log.clone(), spool, 0, settings);
    spooled.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: 2 }).await.unwrap();
    let append = async |text: &str| spooled.append(TOPIC, vec![(0, record(text))]).await.remove(0);
    // The log does not answer.
    let held = log_disk.hold_syncs();
    assert!(append("first").await.unwrap().spooled);
    spool_disk.set_space(Some(30));
    let refused = append("refused").await.unwrap_err();
    assert!(matches!(refused, LogError::DiskFull { .. }), "{refused}");
    assert_eq!(refused.advice(), Advice::Retry);
    spool_disk.set_space(None);
    assert!(append("second").await.unwrap().spooled);
    drop(held);
    let drained = async {
        while spooled.spool_state().unwrap().partitions != 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), drained).await.expect("the spool is drained");
    assert!(!append("third").await.unwrap().spooled);
    let found = texts(&log).await;
    // The log may have taken the first before it fell silent: a double, no loss.
    let mut once = found.clone();
    once.dedup();
    assert_eq!(once, ["first", "second", "third"], "{found:?}");
}

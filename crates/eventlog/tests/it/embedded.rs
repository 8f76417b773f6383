//! What only the embedded log promises, seen from outside: its files, its lock, its retention.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{Advice, EventLog, LogError, Record, TopicSpec};

use crate::conformance;

const TOPIC: &str = "t";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(EmbeddedLog::open(EmbeddedSettings::in_dir(dir.path())).unwrap()).await;
}

/// Every commit round begins a new segment: all paths across files are walked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_log_conforms_with_tiny_segments() {
    let dir = tempfile::tempdir().unwrap();
    conformance::all(EmbeddedLog::open(tiny(dir.path())).unwrap()).await;
}

fn tiny(dir: &Path) -> EmbeddedSettings {
    EmbeddedSettings { segment_bytes_max: 200, ..EmbeddedSettings::in_dir(dir) }
}

fn record(text: &str, time_ms: i64) -> (u32, Record) {
    (0, Record { key: None, value: Bytes::copy_from_slice(text.as_bytes()), time_ms })
}

async fn make(settings: EmbeddedSettings) -> Arc<EmbeddedLog> {
    let log = EmbeddedLog::open(settings).unwrap();
    log.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: 1 }).await.unwrap();
    log
}

/// One append, one commit round, one frame a record.
async fn append(log: &EmbeddedLog, count: u32) {
    for number in 0..count {
        let next = log.bounds(TOPIC, 0).await.unwrap().next;
        let answers = log.append(TOPIC, vec![record(&format!("record {next}"), i64::from(number) + 1)]).await;
        assert_eq!(answers[0].as_ref().unwrap().offset, next);
    }
}

async fn texts(log: &EmbeddedLog) -> Vec<String> {
    let bounds = log.bounds(TOPIC, 0).await.unwrap();
    let mut reader = log.reader(TOPIC, &[(0, bounds.earliest)]).await.unwrap();
    let mut texts = Vec::new();
    while texts.len() as u64 != bounds.next - bounds.earliest {
        for delivered in reader.poll(1 << 20, Duration::ZERO).await.unwrap().records {
            texts.push(String::from_utf8(delivered.record.value.to_vec()).unwrap());
        }
    }
    texts
}

fn expected(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("record {number}")).collect()
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("topics").join(TOPIC)).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    found.sort();
    found
}

/// A kill: the files stay as they are, without the index that a clean stop leaves for the last segment.
async fn stop_unclean(log: Arc<EmbeddedLog>, dir: &Path) {
    log.close().await.unwrap();
    let last = files(dir, "log").pop().unwrap().with_extension("idx");
    fs::remove_file(last).unwrap();
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings::in_dir(dir.path())).await;
    let second = EmbeddedLog::open(EmbeddedSettings::in_dir(dir.path())).map(|_| "a log").unwrap_err();
    assert!(matches!(&second, LogError::InUse { dir: told } if told == dir.path()), "{second}");
    assert_eq!(second.advice(), Advice::FixSetup);
    // A reader that is still held does not hold the directory.
    let mut reader = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    log.close().await.unwrap();
    let again = make(EmbeddedSettings::in_dir(dir.path())).await;
    append(&again, 1).await;
    assert!(matches!(reader.poll(1, Duration::ZERO).await, Err(LogError::Closed)));
    assert!(matches!(log.append(TOPIC, vec![record("late", 1)]).await[0], Err(LogError::Closed)));
    assert!(matches!(log.check().await, Err(LogError::Closed)));
}

#[tokio::test]
async fn a_poll_that_waits_ends_when_the_log_closes() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings::in_dir(dir.path())).await;
    let mut reader = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    let (polled, closed) = tokio::join!(reader.poll(1, Duration::from_secs(600)), log.close());
    assert!(matches!(polled, Err(LogError::Closed)));
    closed.unwrap();
}

#[tokio::test]
async fn a_reopened_log_is_the_same_log() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    let spec = TopicSpec { name: TOPIC.into(), partitions: 1 };
    let info = log.ensure_topic(&spec).await.unwrap();
    append(&log, 20).await;
    log.report_position("group", TOPIC, &[(0, 12)]).await.unwrap();
    drop(log);
    let log = EmbeddedLog::open(tiny(dir.path())).unwrap();
    assert_eq!(log.ensure_topic(&spec).await.unwrap(), info);
    assert_eq!(log.position("group", TOPIC, 0).await.unwrap(), Some(12));
    append(&log, 5).await;
    assert_eq!(texts(&log).await, expected(0..25));
}

#[tokio::test]
async fn a_torn_tail_is_cut_at_any_byte() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings::in_dir(dir.path())).await;
    append(&log, 3).await;
    stop_unclean(log, dir.path()).await;
    let path = files(dir.path(), "log").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - 52) / 3;
    for cut in 1..frame {
        for junk in [&b""[..], &b"TFr1"[..], &[0; 700]] {
            fs::write(&path, [&whole[..whole.len() - cut], junk].concat()).unwrap();
            let log = make(EmbeddedSettings::in_dir(dir.path())).await;
            assert_eq!(texts(&log).await, expected(0..2));
            append(&log, 2).await;
            assert_eq!(texts(&log).await, expected(0..4));
            stop_unclean(log, dir.path()).await;
        }
    }
}

fn refused(settings: EmbeddedSettings, file: &Path, what: &str) {
    let error = EmbeddedLog::open(settings).map(|_| "a log").unwrap_err();
    let LogError::Corrupt { file: told, .. } = &error else { panic!("{error}") };
    assert_eq!(told, file);
    assert!(error.to_string().contains(what), "{error}");
    assert_eq!(error.advice(), Advice::FixSetup);
}

#[tokio::test]
async fn damage_before_the_last_round_is_refused_with_file_and_byte() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings::in_dir(dir.path())).await;
    append(&log, 3).await;
    stop_unclean(log, dir.path()).await;
    let path = files(dir.path(), "log").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    let frame = (whole.len() - 52) / 3;
    for at in 52..52 + 2 * frame {
        let mut bad = whole.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let start = if at < 52 + frame { 52 } else { 52 + frame };
        refused(EmbeddedSettings::in_dir(dir.path()), &path, &format!("at byte {start}: a bad frame"));
        assert_eq!(fs::read(&path).unwrap(), bad, "a refusal touches nothing");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(texts(&*make(EmbeddedSettings::in_dir(dir.path())).await).await, expected(0..3));
}

#[tokio::test]
async fn a_tail_that_was_durable_at_a_clean_stop_is_not_taken_for_torn() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings::in_dir(dir.path())).await;
    append(&log, 3).await;
    log.close().await.unwrap();
    let path = files(dir.path(), "log").pop().unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    refused(EmbeddedSettings::in_dir(dir.path()), &path, "durable at the last clean stop");
}

#[tokio::test]
async fn damage_in_a_closed_segment_is_found_on_opening_or_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    append(&log, 20).await;
    drop(log);
    let logs = files(dir.path(), "log");
    let path = &logs[1];
    let whole = fs::read(path).unwrap();
    let mut bad = whole.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(path, &bad).unwrap();
    // With a good index beside it the file is trusted until it is read.
    let log = EmbeddedLog::open(tiny(dir.path())).unwrap();
    let mut reader = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    let read = reader.poll(1 << 20, Duration::ZERO).await;
    assert!(matches!(&read, Err(LogError::Corrupt { file, .. }) if file == path), "{read:?}");
    drop(log);
    refused(EmbeddedSettings { scan_all_on_open: true, ..tiny(dir.path()) }, path, "a bad frame in a closed segment");
    fs::remove_file(path.with_extension("idx")).unwrap();
    refused(tiny(dir.path()), path, "a bad frame in a closed segment");
    fs::write(path, &whole[..whole.len() - 1]).unwrap();
    refused(tiny(dir.path()), path, "a bad frame in a closed segment");
    fs::remove_file(path).unwrap();
    refused(tiny(dir.path()), &logs[2], "is missing");
}

#[tokio::test]
async fn an_index_is_rebuilt_when_it_is_missing_or_bad() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    append(&log, 20).await;
    drop(log);
    let indexes = files(dir.path(), "idx");
    assert!(3 < indexes.len());
    let before: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_file(&indexes[0]).unwrap();
    fs::write(&indexes[1], b"junk").unwrap();
    fs::copy(&indexes[3], &indexes[2]).unwrap();
    let log = EmbeddedLog::open(tiny(dir.path())).unwrap();
    assert_eq!(texts(&log).await, expected(0..20));
    drop(log);
    let after: Vec<Vec<u8>> = indexes.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(after, before);
}

#[tokio::test]
async fn retention_by_bytes_removes_whole_old_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings { retention_bytes_max: Some(1000), ..tiny(dir.path()) }).await;
    append(&log, 60).await;
    // An append is answered before the old segments go; after the close they are gone.
    log.close().await.unwrap();
    let bytes: u64 = files(dir.path(), "log").iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert!(bytes <= 1200, "{bytes}");
    assert_eq!(files(dir.path(), "idx").len(), files(dir.path(), "log").len(), "an index goes with its segment");
    let log = make(tiny(dir.path())).await;
    let bounds = log.bounds(TOPIC, 0).await.unwrap();
    assert!(30 < bounds.earliest && bounds.next == 60, "{bounds:?}");
    assert_eq!(texts(&log).await, expected(u32::try_from(bounds.earliest).unwrap()..60));
    assert!(matches!(log.reader(TOPIC, &[(0, 0)]).await.map(|_| ()), Err(LogError::OutOfRange { asked: 0, .. })));
}

#[tokio::test]
async fn retention_by_age_goes_by_record_time_and_the_given_clock() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicI64::new(0));
    let settings = EmbeddedSettings {
        retention_age_ms_max: Some(1000),
        now_ms: Arc::new({
            let clock = clock.clone();
            move || clock.load(Ordering::Relaxed)
        }),
        ..tiny(dir.path())
    };
    let log = make(settings.clone()).await;
    append(&log, 20).await;
    assert_eq!(log.bounds(TOPIC, 0).await.unwrap().earliest, 0);
    clock.store(1015, Ordering::Relaxed);
    let earliest = log.trim(TOPIC, 0, 0).await.unwrap();
    assert!(0 < earliest && earliest <= 14, "{earliest}: records at or before 14 ms are too old");
    // On opening, an old segment is closed first, or it would stay for ever in a log that gets no writes.
    clock.store(10_000, Ordering::Relaxed);
    log.close().await.unwrap();
    let log = make(settings).await;
    append(&log, 1).await;
    let bounds = log.bounds(TOPIC, 0).await.unwrap();
    assert_eq!((bounds.earliest, bounds.next), (20, 21));
}

#[tokio::test]
async fn retention_does_not_overtake_a_group_it_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(EmbeddedSettings {
        retention_bytes_max: Some(300),
        retention_waits_for: vec!["lake".into()],
        ..tiny(dir.path())
    })
    .await;
    append(&log, 20).await;
    assert_eq!(log.bounds(TOPIC, 0).await.unwrap().earliest, 0);
    log.report_position("lake", TOPIC, &[(0, 10)]).await.unwrap();
    append(&log, 4).await;
    let earliest = log.bounds(TOPIC, 0).await.unwrap().earliest;
    assert!((5..=10).contains(&earliest), "{earliest}");
}

#[tokio::test]
async fn a_topic_begun_anew_does_not_inherit_how_far_a_group_had_come() {
    let dir = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings {
        retention_bytes_max: Some(300),
        retention_waits_for: vec!["lake".into()],
        ..tiny(dir.path())
    };
    let log = make(settings.clone()).await;
    append(&log, 20).await;
    log.report_position("lake", TOPIC, &[(0, 20)]).await.unwrap();
    log.close().await.unwrap();
    fs::remove_dir_all(dir.path().join("topics").join(TOPIC)).unwrap();
    let log = make(settings).await;
    assert_eq!(log.position("lake", TOPIC, 0).await.unwrap(), None);
    append(&log, 20).await;
    assert_eq!(log.bounds(TOPIC, 0).await.unwrap().earliest, 0, "nobody has read the new records yet");
}

#[tokio::test]
async fn what_others_leave_in_the_folder_is_no_topic() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    append(&log, 3).await;
    log.close().await.unwrap();
    fs::create_dir(dir.path().join("topics/lost+found")).unwrap();
    fs::write(dir.path().join("topics/.DS_Store"), "x").unwrap();
    let log = make(tiny(dir.path())).await;
    assert_eq!(texts(&log).await, expected(0..3));
}

#[tokio::test]
async fn a_reader_overtaken_by_a_trim_is_told_and_one_that_has_read_on_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    append(&log, 10).await;
    let mut behind = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    let mut ahead = log.reader(TOPIC, &[(0, 0)]).await.unwrap();
    assert_eq!(behind.poll(1, Duration::ZERO).await.unwrap().positions, [(0, 1)]);
    assert_eq!(ahead.poll(1 << 20, Duration::ZERO).await.unwrap().positions, [(0, 10)]);
    append(&log, 10).await;
    let earliest = log.trim(TOPIC, 0, 10).await.unwrap();
    assert!(5 < earliest && earliest <= 10);
    let told = behind.poll(1, Duration::ZERO).await;
    assert!(matches!(told, Err(LogError::OutOfRange { asked: 1, next: 20, .. })), "{told:?}");
    let polled = ahead.poll(1 << 20, Duration::ZERO).await.unwrap();
    assert_eq!(polled.records.len(), 10);
    assert_eq!(polled.records[0].offset, 10);
}

#[tokio::test]
async fn faulty_settings_are_told_together() {
    let settings = EmbeddedSettings { queue_bytes_max: 0, segment_bytes_max: 0, ..EmbeddedSettings::in_dir("") };
    let told = EmbeddedLog::open(settings).map(|_| "a log").unwrap_err().to_string();
    for name in ["dir", "queue_bytes_max", "segment_bytes_max"] {
        assert!(told.contains(name), "{told}");
    }
}

#[tokio::test]
async fn the_embedded_log_shares_its_partitions_with_no_group() {
    let dir = tempfile::tempdir().unwrap();
    let log = make(tiny(dir.path())).await;
    let refused = log.group_reader("workers", TOPIC).await.map(|_| "a reader").unwrap_err();
    assert!(refused.to_string().contains("pipeline.assignment"), "{refused}");
}

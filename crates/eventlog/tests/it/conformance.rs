//! The one suite both lives must pass. Each function takes a log and works in a topic of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tributary_eventlog::{Ack, Delivered, EventLog, LogError, LogReader, Record, TopicInfo, TopicSpec};

/// Bounds every wait for something that must come. A broker on a busy machine needs a while; reaching this is a
/// failure.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(50);

type Log = Arc<dyn EventLog>;

pub(crate) async fn all(log: Log) {
    a_topic_is_made_once_and_found_again(&log).await;
    bad_topics_are_refused(&log).await;
    offsets_are_acknowledged_in_order_and_read_back(&log).await;
    every_byte_of_a_record_comes_back(&log).await;
    each_record_of_an_append_has_its_own_answer(&log).await;
    a_reader_starts_exactly_where_it_is_told(&log).await;
    a_start_outside_the_bounds_is_an_error(&log).await;
    a_reader_of_some_partitions_sees_only_those(&log).await;
    a_reader_at_the_end_says_so_and_wakes_on_new_records(&log).await;
    an_idle_poll_returns_after_its_wait(&log).await;
    a_small_poll_limit_still_moves_on(&log).await;
    a_dropped_poll_loses_nothing(&log).await;
    two_readers_do_not_disturb_each_other(&log).await;
    concurrent_appends_keep_the_order_of_each_producer(&log).await;
    positions_are_remembered_by_group(&log).await;
    one_record_is_looked_up_by_its_offset(&log).await;
    trim_is_a_hint_that_never_takes_what_is_kept(&log).await;
    log.check().await.unwrap();
}

async fn topic(log: &Log, partitions: u32) -> TopicInfo {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance-{}-{number}", std::process::id());
    log.ensure_topic(&TopicSpec { name, partitions }).await.unwrap()
}

fn record(text: &str) -> Record {
    Record { key: Some(Bytes::copy_from_slice(b"k")), value: Bytes::copy_from_slice(text.as_bytes()), time_ms: 7 }
}

async fn append(log: &Log, topic: &str, partition: u32, texts: &[String]) -> Vec<Ack> {
    let records = texts.iter().map(|text| (partition, record(text))).collect();
    log.append(topic, records).await.into_iter().map(Result::unwrap).collect()
}

fn texts(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}{index}")).collect()
}

fn values(records: &[Delivered]) -> Vec<String> {
    records.iter().map(|delivered| String::from_utf8(delivered.record.value.to_vec()).unwrap()).collect()
}

/// Polls until `count` records have come; checks what holds for every poll.
async fn read(reader: &mut dyn LogReader, count: usize) -> Vec<Delivered> {
    read_by(reader, count, 1 << 20).await
}

async fn read_by(reader: &mut dyn LogReader, count: usize, bytes_max: usize) -> Vec<Delivered> {
    let mut records: Vec<Delivered> = Vec::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while records.len() < count {
        assert!(tokio::time::Instant::now() < deadline, "{} of {count} records came", records.len());
        let polled = reader.poll(bytes_max, Duration::from_secs(1)).await.unwrap();
        assert!(polled.positions.is_sorted() && polled.at_end.is_sorted());
        for delivered in &polled.records {
            let position = polled.positions.iter().find(|(partition, _)| *partition == delivered.partition);
            assert!(delivered.offset < position.expect("a position for each partition").1);
        }
        records.extend(polled.records);
    }
    assert_eq!(records.len(), count);
    let mut last: HashMap<u32, u64> = HashMap::new();
    for delivered in &records {
        let before = last.insert(delivered.partition, delivered.offset);
        assert!(before.is_none_or(|before| before < delivered.offset), "offsets grow");
    }
    records
}

async fn a_topic_is_made_once_and_found_again(log: &Log) {
    let made = topic(log, 3).await;
    assert_eq!(made.partitions, 3);
    let found = log.ensure_topic(&TopicSpec { name: made.topic.clone(), partitions: 3 }).await.unwrap();
    assert_eq!(found, made);
    let other = topic(log, 3).await;
    assert_ne!(other.topic_id, made.topic_id);
    for partition in 0..3 {
        let bounds = log.bounds(&made.topic, partition).await.unwrap();
        assert_eq!((bounds.earliest, bounds.next), (0, 0));
    }
}

async fn bad_topics_are_refused(log: &Log) {
    let made = topic(log, 2).await;
    let other = log.ensure_topic(&TopicSpec { name: made.topic.clone(), partitions: 5 }).await;
    assert!(matches!(other, Err(LogError::PartitionsDiffer { asked: 5, found: 2, .. })), "{other:?}");
    for (name, partitions) in [("", 1), ("a/b", 1), ("..", 1), ("fine", 0)] {
        let refused = log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions }).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{name:?}: {refused:?}");
    }
    let absent = log.bounds("no-such-topic", 0).await;
    assert!(matches!(absent, Err(LogError::NoSuchTopic { .. })), "{absent:?}");
    let beyond = log.bounds(&made.topic, 2).await;
    assert!(matches!(beyond, Err(LogError::NoSuchPartition { partition: 2, .. })), "{beyond:?}");
}

async fn offsets_are_acknowledged_in_order_and_read_back(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    let first = append(log, &topic, 1, &texts("a", 10)).await;
    let second = append(log, &topic, 1, &texts("b", 10)).await;
    let offsets: Vec<u64> = first.iter().chain(&second).map(|ack| ack.offset).collect();
    assert!(offsets.is_sorted() && offsets.windows(2).all(|pair| pair[0] != pair[1]));
    assert!(first.iter().all(|ack| ack.partition == 1));
    let bounds = log.bounds(&topic, 1).await.unwrap();
    assert_eq!(bounds.earliest, 0);
    assert!(offsets[19] < bounds.next, "what is acknowledged is within the bounds");

    let mut reader = log.reader(&topic, &[(0, 0), (1, 0)]).await.unwrap();
    let records = read(reader.as_mut(), 20).await;
    assert_eq!(records.iter().map(|delivered| delivered.offset).collect::<Vec<_>>(), offsets);
    assert_eq!(values(&records), [texts("a", 10), texts("b", 10)].concat());
}

async fn every_byte_of_a_record_comes_back(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let records = vec![
        Record { key: None, value: Bytes::new(), time_ms: 1 },
        Record { key: None, value: Bytes::from(all_bytes.clone()), time_ms: 1_700_000_000_123 },
        Record { key: Some(Bytes::new()), value: Bytes::from_static(b"v"), time_ms: 1 },
        Record { key: Some(Bytes::from(all_bytes)), value: Bytes::from(vec![9; 300_000]), time_ms: 2 },
    ];
    let sent = records.iter().map(|record| (0, record.clone())).collect();
    assert!(log.append(&topic, sent).await.iter().all(Result::is_ok));
    let mut reader = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let got: Vec<Record> = read(reader.as_mut(), 4).await.into_iter().map(|delivered| delivered.record).collect();
    // Not assert_eq: nobody wants to read 300,000 bytes.
    assert!(got == records, "what is read is what was written");
}

async fn each_record_of_an_append_has_its_own_answer(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    let huge = Record { key: None, value: Bytes::from(vec![0; 8 << 20]), time_ms: 1 };
    let sent = vec![(0, record("one")), (0, huge), (9, record("nowhere")), (0, record("two"))];
    let answers = log.append(&topic, sent).await;
    assert_eq!(answers.len(), 4);
    assert!(answers[0].is_ok() && answers[3].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(LogError::TooLarge { .. })), "{answers:?}");
    assert!(matches!(answers[2], Err(LogError::NoSuchPartition { partition: 9, .. })), "{answers:?}");
    let mut reader = log.reader(&topic, &[(0, 0)]).await.unwrap();
    assert_eq!(values(&read(reader.as_mut(), 2).await), ["one", "two"]);
    assert!(log.append(&topic, Vec::new()).await.is_empty());
}

async fn a_reader_starts_exactly_where_it_is_told(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    let mut acks = Vec::new();
    for round in 0..5 {
        acks.extend(append(log, &topic, 0, &texts(&format!("r{round}-"), 40)).await);
    }
    for index in [0, 1, 39, 40, 77, 199] {
        let mut reader = log.reader(&topic, &[(0, acks[index].offset)]).await.unwrap();
        let records = read(reader.as_mut(), acks.len() - index).await;
        assert_eq!(records[0].offset, acks[index].offset);
        assert_eq!(values(&records)[0], format!("r{}-{}", index / 40, index % 40));
    }
}

async fn a_start_outside_the_bounds_is_an_error(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    append(log, &topic, 0, &texts("x", 3)).await;
    let next = log.bounds(&topic, 0).await.unwrap().next;
    assert!(log.reader(&topic, &[(0, next)]).await.is_ok());
    match log.reader(&topic, &[(0, next + 1)]).await.map(|_| "a reader") {
        Err(LogError::OutOfRange { earliest: 0, next: told, asked, .. }) => {
            assert_eq!((told, asked), (next, next + 1));
        }
        other => panic!("{other:?}"),
    }
    let beyond = log.reader(&topic, &[(3, 0)]).await.map(|_| "a reader");
    assert!(matches!(beyond, Err(LogError::NoSuchPartition { .. })), "{beyond:?}");
    let absent = log.reader("no-such-topic", &[(0, 0)]).await.map(|_| "a reader");
    assert!(matches!(absent, Err(LogError::NoSuchTopic { .. })), "{absent:?}");
    let twice = log.reader(&topic, &[(0, 0), (0, 1)]).await.map(|_| "a reader");
    assert!(matches!(twice, Err(LogError::Invalid(_))), "{twice:?}");
}

async fn a_reader_of_some_partitions_sees_only_those(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 4).await;
    let sent = (0..200u32).map(|index| (index % 4, record(&index.to_string()))).collect();
    assert!(log.append(&topic, sent).await.iter().all(Result::is_ok));
    let mut reader = log.reader(&topic, &[(3, 10), (1, 0)]).await.unwrap();
    let records = read(reader.as_mut(), 50 + 40).await;
    assert!(records.iter().all(|delivered| delivered.partition == 1 || delivered.partition == 3));
    assert!(records.iter().all(|delivered| delivered.partition == 1 || 10 <= delivered.offset));
}

async fn a_reader_at_the_end_says_so_and_wakes_on_new_records(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    append(log, &topic, 0, &texts("old", 3)).await;
    let mut reader = log.reader(&topic, &[(0, 0), (1, 0)]).await.unwrap();
    assert_eq!(values(&read(reader.as_mut(), 3).await), texts("old", 3));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        assert!(tokio::time::Instant::now() < deadline, "both partitions reach their end");
        let polled = reader.poll(1 << 20, Duration::from_millis(100)).await.unwrap();
        assert!(polled.records.is_empty());
        if polled.at_end == [0, 1] {
            break;
        }
    }
    let new = texts("new", 1);
    let (waiting, appended) = tokio::join!(reader.poll(1 << 20, PATIENCE), append(log, &topic, 1, &new));
    let polled = waiting.unwrap();
    assert_eq!(values(&polled.records), ["new0"]);
    assert_eq!(polled.records[0].offset, appended[0].offset);
}

async fn an_idle_poll_returns_after_its_wait(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    let mut reader = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let polled = tokio::time::timeout(PATIENCE, reader.poll(1 << 20, SHORT)).await.unwrap().unwrap();
    assert!(polled.records.is_empty());
    assert_eq!(polled.positions, [(0, 0)]);
}

async fn a_small_poll_limit_still_moves_on(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    append(log, &topic, 0, &texts("step", 30)).await;
    let mut reader = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let first = read_by(reader.as_mut(), 1, 1).await;
    assert_eq!(values(&first), ["step0"]);
    let rest = read_by(reader.as_mut(), 29, 1).await;
    assert_eq!(values(&rest), texts("step", 30)[1..]);
}

async fn a_dropped_poll_loses_nothing(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    let mut reader = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let mut got = Vec::new();
    for round in 0..40 {
        append(log, &topic, 0, &[round.to_string()]).await;
        // Dropped at once, or after a moment: before, while or after records arrive.
        let wait = Duration::from_micros(round * 50);
        if let Ok(polled) = tokio::time::timeout(wait, reader.poll(1, PATIENCE)).await {
            got.extend(polled.unwrap().records);
        }
    }
    let missing = 40 - got.len();
    got.extend(read(reader.as_mut(), missing).await);
    assert_eq!(values(&got), (0..40).map(|round| round.to_string()).collect::<Vec<_>>());
}

async fn two_readers_do_not_disturb_each_other(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 1).await;
    append(log, &topic, 0, &texts("t", 10)).await;
    let mut one = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let mut two = log.reader(&topic, &[(0, 0)]).await.unwrap();
    let (one, two) = tokio::join!(read(one.as_mut(), 10), read(two.as_mut(), 10));
    assert_eq!(one, two);
}

async fn concurrent_appends_keep_the_order_of_each_producer(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 3).await;
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..8 {
        let (log, topic) = (log.clone(), topic.clone());
        producers.spawn(async move {
            for number in 0..50 {
                let sent = (0..3).map(|partition| (partition, record(&format!("{producer}:{number}")))).collect();
                assert!(log.append(&topic, sent).await.iter().all(Result::is_ok));
            }
        });
    }
    while let Some(done) = producers.join_next().await {
        done.unwrap();
    }
    let mut reader = log.reader(&topic, &[(0, 0), (1, 0), (2, 0)]).await.unwrap();
    let mut last: HashMap<(u32, String), i32> = HashMap::new();
    for delivered in read(reader.as_mut(), 8 * 50 * 3).await {
        let text = String::from_utf8(delivered.record.value.to_vec()).unwrap();
        let (producer, number) = text.split_once(':').unwrap();
        let number: i32 = number.parse().unwrap();
        let before = last.insert((delivered.partition, producer.to_owned()), number).unwrap_or(-1);
        assert_eq!(number, before + 1);
    }
}

async fn one_record_is_looked_up_by_its_offset(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    assert_eq!(log.partitions(&topic).await.unwrap(), 2);
    let acks = append(log, &topic, 1, &texts("r", 9)).await;
    let found = log.record_at(&topic, 1, acks[4].offset).await.unwrap().unwrap();
    assert_eq!(found, record("r4"));
    assert_eq!(log.record_at(&topic, 1, acks[8].offset + 1).await.unwrap(), None);
    assert_eq!(log.record_at(&topic, 0, 0).await.unwrap(), None);
    assert!(log.record_at(&topic, 2, 0).await.is_err(), "there is no such partition");
}

async fn positions_are_remembered_by_group(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    append(log, &topic, 0, &texts("p", 9)).await;
    let group = format!("group-of-{topic}");
    assert_eq!(log.position(&group, &topic, 0).await.unwrap(), None);
    log.report_position(&group, &topic, &[(0, 4)]).await.unwrap();
    log.report_position(&group, &topic, &[(0, 9), (1, 0)]).await.unwrap();
    assert_eq!(log.position(&group, &topic, 0).await.unwrap(), Some(9));
    assert_eq!(log.position(&group, &topic, 1).await.unwrap(), Some(0));
    assert_eq!(log.position("another", &topic, 0).await.unwrap(), None);
}

async fn trim_is_a_hint_that_never_takes_what_is_kept(log: &Log) {
    let TopicInfo { topic, .. } = topic(log, 2).await;
    let acks = append(log, &topic, 0, &texts("t", 20)).await;
    let earliest = log.trim(&topic, 0, acks[12].offset).await.unwrap();
    assert!(earliest <= acks[12].offset);
    let bounds = log.bounds(&topic, 0).await.unwrap();
    assert_eq!(bounds.earliest, earliest);
    assert_eq!(log.bounds(&topic, 1).await.unwrap().earliest, 0, "the other partition stays");
    let mut reader = log.reader(&topic, &[(0, acks[12].offset)]).await.unwrap();
    assert_eq!(values(&read(reader.as_mut(), 8).await), texts("t", 20)[12..]);
    if let Some(before) = earliest.checked_sub(1) {
        let gone = log.reader(&topic, &[(0, before)]).await.map(|_| "a reader");
        assert!(matches!(gone, Err(LogError::OutOfRange { .. })), "{gone:?}");
    }
}

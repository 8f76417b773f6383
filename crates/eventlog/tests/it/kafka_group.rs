//! Readers whose partitions a consumer group names, on a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::Instant;
use tributary_eventlog::kafka::{KafkaLog, KafkaSettings};
use tributary_eventlog::{Change, EventLog, LogError, LogReader, Record, TopicInfo, TopicSpec};

use crate::kafka::broker;

const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 4;
const RECORDS: u64 = 10;

struct House {
    at: String,
    log: Arc<KafkaLog>,
    topic: TopicInfo,
    group: String,
}

impl House {
    /// A topic with `RECORDS` records in each partition, and a group of its own. `extra`: librdkafka's own settings.
    async fn new(at: String, name: &str, extra: &[(&str, &str)]) -> Self {
        let extra = extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let settings = KafkaSettings { replication_factor: 1, extra, ..KafkaSettings::at(&at) };
        let log = KafkaLog::connect(settings).await.unwrap();
        let name = format!("{name}-{}", std::process::id());
        let topic = log.ensure_topic(&TopicSpec { name: name.clone(), partitions: PARTITIONS }).await.unwrap();
        let house = Self { at, log, topic, group: format!("group-of-{name}") };
        house.append(RECORDS).await;
        house
    }

    /// So many more records to each partition.
    async fn append(&self, count: u64) {
        let record = |number: u64| Record { key: None, value: Bytes::from(number.to_string()), time_ms: 1 };
        let all = (0..count).flat_map(|number| (0..PARTITIONS).map(move |partition| (partition, number)));
        let records = all.map(|(partition, number)| (partition, record(number))).collect();
        assert!(self.log.append(&self.topic.topic, records).await.iter().all(Result::is_ok));
    }

    /// Waits until the broker has put out every member.
    async fn until_the_group_is_empty(&self) {
        let (at, group) = (self.at.clone(), self.group.clone());
        let asking = tokio::task::spawn_blocking(move || {
            let asker: BaseConsumer = rdkafka::ClientConfig::new().set("bootstrap.servers", &at).create().unwrap();
            let deadline = Instant::now() + PATIENCE;
            loop {
                let groups = asker.fetch_group_list(Some(&group), PATIENCE).unwrap();
                if groups.groups().iter().all(|group| group.members().is_empty()) {
                    return;
                }
                assert!(Instant::now() < deadline, "the members are put out");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        asking.await.unwrap();
    }

    async fn member(&self) -> Box<dyn LogReader> {
        self.log.group_reader(&self.group, &self.topic.topic).await.unwrap()
    }
}

/// Polls until the group has decided something; records on the way are thrown away.
async fn next_change(reader: &mut dyn LogReader) -> Change {
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the group decides something");
        if let Some(change) = reader.poll(1 << 20, Duration::from_millis(100)).await.unwrap().change {
            return change;
        }
    }
}

/// A reader that answers whatever the group decides, and reads each partition from the same offset.
struct Member {
    reader: Box<dyn LogReader>,
    from: u64,
    owned: Vec<u32>,
    lost: usize,
    /// So many records of each partition have come.
    seen: BTreeMap<u32, u64>,
    positions: Vec<(u32, u64)>,
}

impl Member {
    fn of(reader: Box<dyn LogReader>, from: u64) -> Self {
        Self { reader, from, owned: Vec::new(), lost: 0, seen: BTreeMap::new(), positions: Vec::new() }
    }

    /// Whether every partition it has has been read up to there.
    fn stands_at(&self, next: u64) -> bool {
        self.positions.iter().map(|(partition, _)| partition).eq(&self.owned)
            && self.positions.iter().all(|(_, at)| *at == next)
    }

    async fn step(&mut self) {
        let polled = self.reader.poll(1 << 20, Duration::from_millis(20)).await.unwrap();
        for delivered in &polled.records {
            assert!(self.owned.contains(&delivered.partition), "a record of another's partition");
            *self.seen.entry(delivered.partition).or_default() += 1;
        }
        self.positions = polled.positions;
        match polled.change {
            None => {}
            Some(Change::Assigned(came)) => {
                let start: Vec<_> = came.iter().map(|partition| (*partition, self.from)).collect();
                self.reader.take(&start).await.unwrap();
                self.owned.extend(came);
                self.owned.sort_unstable();
            }
            Some(change @ (Change::Revoked(_) | Change::Lost(_))) => {
                self.lost += usize::from(matches!(change, Change::Lost(_)));
                let (Change::Revoked(gone) | Change::Lost(gone) | Change::Assigned(gone)) = change;
                self.reader.release().await.unwrap();
                self.owned.retain(|partition| !gone.contains(partition));
            }
        }
    }
}

async fn step_until(members: &mut [&mut Member], reached: impl Fn(&[&mut Member]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !reached(members) {
        assert!(
            Instant::now() < deadline,
            "{:?}",
            members.iter().map(|m| (&m.owned, &m.positions)).collect::<Vec<_>>()
        );
        for member in members.iter_mut() {
            member.step().await;
        }
    }
}

/// Steps until each member has so many partitions, and no partition two owners.
async fn settle(members: &mut [&mut Member], wanted: usize) {
    step_until(members, |members| {
        let owned: BTreeSet<u32> = members.iter().flat_map(|member| member.owned.iter().copied()).collect();
        members.iter().all(|member| member.owned.len() == wanted) && owned.len() == wanted * members.len()
    })
    .await;
}

/// How many records of each partition come until all of `wanted` have.
async fn counts(reader: &mut dyn LogReader, wanted: &BTreeMap<u32, u64>) -> BTreeMap<u32, u64> {
    let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while counts.values().sum::<u64>() < wanted.values().sum() {
        assert!(Instant::now() < deadline, "{counts:?} of {wanted:?} came");
        let polled = reader.poll(1 << 20, Duration::from_millis(100)).await.unwrap();
        assert_eq!(polled.change, None);
        for delivered in polled.records {
            *counts.entry(delivered.partition).or_default() += 1;
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_reads_from_where_it_says_whatever_the_group_remembers() {
    let Some(at) = broker("a_member_reads_from_where_it_says_whatever_the_group_remembers") else { return };
    let house = House::new(at, "group-offsets", &[]).await;
    // A position of the group itself, which nobody must use.
    house.log.report_position(&house.group, &house.topic.topic, &[(0, 9), (1, 9)]).await.unwrap();
    let mut reader = house.member().await;
    assert_eq!(next_change(reader.as_mut()).await, Change::Assigned(vec![0, 1, 2, 3]));
    let start: Vec<_> = (0..PARTITIONS).map(|partition| (partition, u64::from(partition))).collect();
    reader.take(&start).await.unwrap();
    let wanted = start.iter().map(|(partition, from)| (*partition, RECORDS - from)).collect();
    assert_eq!(counts(reader.as_mut(), &wanted).await, wanted);
    reader.close().await.unwrap();
    let closed = reader.poll(1, Duration::from_millis(1)).await;
    assert!(matches!(closed, Err(LogError::Closed)), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_member_gets_half_and_the_first_reads_on_where_it_is() {
    let Some(at) = broker("a_second_member_gets_half_and_the_first_reads_on_where_it_is") else { return };
    let house = House::new(at, "group-halves", &[]).await;
    let (mut first, mut second) = (Member::of(house.member().await, 0), Member::of(house.member().await, 0));
    settle(&mut [&mut first, &mut second], 2).await;
    let (of_first, of_second) = (first.owned.clone(), second.owned.clone());
    house.append(RECORDS).await;
    let both = |first: &Member, second: &Member| first.stands_at(2 * RECORDS) && second.stands_at(2 * RECORDS);
    step_until(&mut [&mut first, &mut second], |members| both(members[0], members[1])).await;
    // The second leaves: the first is offered what it had, at once, and keeps its own without reading it again.
    second.reader.close().await.unwrap();
    let left = Instant::now();
    (first.from, first.seen) = (RECORDS, BTreeMap::new());
    step_until(&mut [&mut first], |members| members[0].owned.len() == 4).await;
    assert!(left.elapsed() < Duration::from_secs(20), "without waiting for the second to be missed");
    house.append(RECORDS).await;
    step_until(&mut [&mut first], |members| members[0].stands_at(3 * RECORDS)).await;
    let wanted = of_first.iter().map(|partition| (*partition, RECORDS));
    let wanted: BTreeMap<_, _> = wanted.chain(of_second.iter().map(|partition| (*partition, 2 * RECORDS))).collect();
    assert_eq!(first.seen, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_until_it_is_answered_and_nothing_is_read_meanwhile() {
    let Some(at) = broker("a_change_is_told_until_it_is_answered_and_nothing_is_read_meanwhile") else { return };
    let house = House::new(at, "group-answers", &[]).await;
    let mut reader = house.member().await;
    let offered = next_change(reader.as_mut()).await;
    for _ in 0..3 {
        // Dropped in the middle, as a `select!` does it.
        drop(tokio::time::timeout(Duration::from_micros(50), reader.poll(1, PATIENCE)).await);
        let polled = reader.poll(1 << 20, Duration::from_millis(50)).await.unwrap();
        assert_eq!((polled.change.as_ref(), polled.records.len()), (Some(&offered), 0));
    }
    for wrong in [vec![], vec![(0, 0)], vec![(0, 0), (1, 0), (2, 0), (4, 0)]] {
        let refused = reader.take(&wrong).await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{wrong:?}: {refused:?}");
    }
    let outside = reader.take(&[(0, 0), (1, 0), (2, RECORDS + 1), (3, 0)]).await;
    assert!(matches!(outside, Err(LogError::OutOfRange { partition: 2, .. })), "{outside:?}");
    assert!(matches!(reader.release().await, Err(LogError::Invalid(_))), "nothing was asked back");
    reader.take(&[(0, 0), (1, 0), (2, 0), (3, 0)]).await.unwrap();
    let wanted: BTreeMap<u32, u64> = (0..PARTITIONS).map(|partition| (partition, RECORDS)).collect();
    assert_eq!(counts(reader.as_mut(), &wanted).await, wanted);
    let mut fixed = house.log.reader(&house.topic.topic, &[(0, 0)]).await.unwrap();
    assert!(matches!(fixed.take(&[(1, 0)]).await, Err(LogError::Invalid(_))));
    assert!(matches!(fixed.release().await, Err(LogError::Invalid(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_goes_without_an_answer_holds_nobody_up() {
    let Some(at) = broker("a_member_that_goes_without_an_answer_holds_nobody_up") else { return };
    let house = House::new(at, "group-goes", &[]).await;
    let mut first = house.member().await;
    assert_eq!(next_change(first.as_mut()).await, Change::Assigned(vec![0, 1, 2, 3]));
    let begun = Instant::now();
    first.close().await.unwrap();
    let mut second = house.member().await;
    assert_eq!(next_change(second.as_mut()).await, Change::Assigned(vec![0, 1, 2, 3]));
    assert!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    // The same when partitions are asked back and the answer never comes.
    second.take(&[(0, 0), (1, 0), (2, 0), (3, 0)]).await.unwrap();
    let third = house.member().await;
    let asked_back = async {
        let Change::Revoked(gone) = next_change(second.as_mut()).await else { panic!("half is asked back") };
        assert_eq!(gone.len(), 2);
        drop(second);
    };
    let mut third = Member::of(third, 0);
    let mut left = [&mut third];
    tokio::join!(asked_back, settle(&mut left, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_asleep_is_told_that_its_partitions_are_lost() {
    let Some(at) = broker("a_member_that_was_asleep_is_told_that_its_partitions_are_lost") else { return };
    // Asleep for longer than this, a member is taken for hung and put out.
    let extra = [("session.timeout.ms", "1000"), ("heartbeat.interval.ms", "200"), ("max.poll.interval.ms", "1000")];
    let house = House::new(at, "group-asleep", &extra).await;
    let mut first = Member::of(house.member().await, 0);
    settle(&mut [&mut first], 4).await;
    house.until_the_group_is_empty().await;
    let mut second = Member::of(house.member().await, 0);
    settle(&mut [&mut second], 4).await;
    // Awake again, it hears of it before it is given a single record.
    assert_eq!(next_change(first.reader.as_mut()).await, Change::Lost(vec![0, 1, 2, 3]));
    settle(&mut [&mut first, &mut second], 2).await;
    assert_eq!((first.lost, second.lost), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_record_can_be_looked_up() {
    let Some(at) = broker("one_record_can_be_looked_up") else { return };
    let house = House::new(at, "look-up", &[]).await;
    let (log, topic) = (&house.log, house.topic.topic.as_str());
    let found = log.record_at(topic, 2, 7).await.unwrap().unwrap();
    assert_eq!((found.value.as_ref(), found.time_ms), (&b"7"[..], 1));
    assert_eq!(log.record_at(topic, 2, RECORDS).await.unwrap(), None);
    log.trim(topic, 2, 8).await.unwrap();
    assert_eq!(log.record_at(topic, 2, 7).await.unwrap(), None);
    assert!(log.record_at(topic, 2, 8).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_were_added_are_counted_and_can_be_read() {
    use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
    let Some(at) = broker("partitions_that_were_added_are_counted_and_can_be_read") else { return };
    let house = House::new(at.clone(), "added", &[]).await;
    let (log, topic) = (&house.log, house.topic.topic.as_str());
    assert_eq!(log.partitions(topic).await.unwrap(), PARTITIONS);
    let admin: AdminClient<rdkafka::client::DefaultClientContext> =
        rdkafka::ClientConfig::new().set("bootstrap.servers", &at).create().unwrap();
    let more = NewPartitions::new(topic, usize::try_from(PARTITIONS + 2).unwrap());
    admin.create_partitions([&more], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while log.partitions(topic).await.ok() != Some(PARTITIONS + 2) {
        assert!(Instant::now() < deadline, "the new ones show up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(log.bounds(topic, PARTITIONS + 1).await.unwrap().next, 0);
    assert!(log.reader(topic, &[(PARTITIONS + 1, 0)]).await.is_ok());
    let differs = log.ensure_topic(&TopicSpec { name: topic.to_owned(), partitions: PARTITIONS }).await.unwrap_err();
    assert!(differs.to_string().contains("partitions_grown"), "{differs}");
    let absent = log.partitions("no-such-topic").await;
    assert!(matches!(absent, Err(LogError::NoSuchTopic { .. })), "{absent:?}");
}

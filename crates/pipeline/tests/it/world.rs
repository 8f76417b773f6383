//! A small seeded world with everything that goes wrong in it: disorder, lateness, retries, reused ids,
//! bytes that are no events.

use bytes::Bytes;
use tributary_eventlog::{EventLog, Record, TopicInfo, partition_for};
use tributary_schemas::wire::encode_event;
use tributary_schemas::{Event, EventKind};

/// A generator of numbers that is the same for ever: SplitMix64.
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

pub(crate) const MINUTE_US: i64 = 60_000_000;
const START_US: i64 = 1_790_000_000_000_000;

/// What is written to the log, in order.
#[derive(Clone)]
pub(crate) enum Written {
    Event(Box<Event>),
    Garbage(Vec<u8>),
}

impl Written {
    pub(crate) fn key(&self) -> Vec<u8> {
        match self {
            Self::Event(event) => event.partition_key(),
            Self::Garbage(bytes) => bytes.clone(),
        }
    }
}

pub(crate) fn events(seed: u64, count: usize) -> Vec<Written> {
    let mut random = Seeded(seed);
    let mut now_us = START_US;
    let mut written: Vec<Written> = Vec::new();
    let mut sent: Vec<Event> = Vec::new();
    for number in 0..count {
        now_us += i64::try_from(random.below(6)).unwrap() * MINUTE_US;
        if random.one_in(40) {
            written.push(Written::Garbage(format!("not an event {number}").into_bytes()));
            continue;
        }
        if random.one_in(12) && !sent.is_empty() {
            // A retry: the same again, received later, and the door may have concluded another time.
            let mut again = sent[random.below(sent.len() as u64) as usize].clone();
            again.ingest_time_us = now_us;
            again.sent_time_us = Some(now_us);
            written.push(Written::Event(Box::new(again)));
            continue;
        }
        let mut event = event(&mut random, number, now_us);
        if random.one_in(30) && !sent.is_empty() {
            event.event_id = sent[random.below(sent.len() as u64) as usize].event_id.clone();
        }
        sent.push(event.clone());
        written.push(Written::Event(Box::new(event)));
    }
    written
}

fn event(random: &mut Seeded, number: usize, now_us: i64) -> Event {
    let source = ["web", "app"][random.below(2) as usize];
    let disorder_us = match random.below(10) {
        0 => i64::try_from(random.below(59)).unwrap() * MINUTE_US,
        1 if random.one_in(3) => i64::try_from(random.below(600)).unwrap() * MINUTE_US,
        _ => 0,
    };
    let mut event = Event::new(source, "test", &format!("e{number}"), "page", now_us - disorder_us);
    event.event_kind = match random.below(12) {
        0 => EventKind::Conversion,
        1 => EventKind::Send,
        2 => EventKind::Identify,
        3 => EventKind::Custom,
        _ => EventKind::Page,
    };
    event.event_name = format!("name {number}");
    event.ingest_time_us = now_us;
    event.client_time_us = Some(event.event_time_us);
    event.url_path = Some(format!("/{}", random.below(5)));
    if !random.one_in(15) {
        event.anonymous_id = Some(format!("a{}", random.below(7)));
    }
    if random.one_in(3) {
        event.user_id = Some(format!("u{}", random.below(3)));
    }
    if random.one_in(4) {
        event.utm_source = Some("news".to_owned());
        event.utm_medium = Some("email".to_owned());
    }
    event
}

pub(crate) async fn write(log: &dyn EventLog, topic: &TopicInfo, written: &[Written]) {
    let records = written
        .iter()
        .map(|written| {
            let key = written.key();
            let (value, time_ms) = match written {
                Written::Event(event) => (encode_event(event), event.ingest_time_us / 1_000),
                Written::Garbage(bytes) => (bytes.clone(), 0),
            };
            let partition = partition_for(&key, topic.partitions);
            (partition, Record { key: Some(Bytes::from(key)), value: Bytes::from(value), time_ms })
        })
        .collect();
    for ack in log.append(&topic.topic, records).await {
        ack.unwrap();
    }
}

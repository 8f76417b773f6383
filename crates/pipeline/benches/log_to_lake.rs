//! The stream job alone, to be profiled: a log filled beforehand, then log to lake, and what each event cost.
//!
//! `cargo bench -p tributary-pipeline --bench log_to_lake -- [EVENTS] [PARTITIONS]`
//!
//! Needs no query engine, so it builds in a third of the time. The figures to quote are those of `tributary bench
//! stream`, which has the ceilings and the peers beside them.

#![allow(clippy::unwrap_used, reason = "a bench ends where it cannot go on")]

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicSpec, partition_for};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Parts, PipelineSettings, Progress};
use tributary_schemas::wire::{Shape, WireDecoder, encode_event};
use tributary_schemas::{EngagementClass, Event, EventKind, Money};

/// 2026-06-01T00:00:00Z.
const BEGIN_US: i64 = 1_780_272_000_000_000;
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Version/17.5 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
];

/// Splitmix64: the same events in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }
}

/// In order of arrival: visits of some nine events, 2 % of events up to ten minutes late, 1 % sent twice.
fn events(count: usize) -> impl Iterator<Item = Event> {
    let mut dice = Dice(42);
    let mut before: Option<Event> = None;
    // Some 300 visits at a time, each of which goes on for nine events on average.
    let mut visits: Vec<u64> = (0..300).map(|_| dice.below(1_000_000)).collect();
    (0..count).map(move |number| {
        if dice.below(100) == 0
            && let Some(event) = &before
        {
            return event.clone();
        }
        let received_us = BEGIN_US + i64::try_from(number).unwrap() * 100_000;
        let late_us = if dice.below(50) == 0 { dice.below(600_000_000).cast_signed() } else { 0 };
        let (a, b) = (dice.roll(), dice.roll());
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            a >> 32,
            a >> 16 & 0xFFFF,
            a & 0xFFF,
            b >> 52,
            b & 0xFFFF_FFFF_FFFF
        );
        let kind = [EventKind::Page, EventKind::Page, EventKind::Page, EventKind::Click, EventKind::Conversion]
            [dice.below(5) as usize];
        let name = match kind {
            EventKind::Page => "page",
            EventKind::Click => "click",
            _ => "purchase",
        };
        let mut event = Event::new("web", "segment", &id, name, received_us - late_us);
        event.ingest_time_us = received_us;
        event.client_time_us = Some(received_us - late_us);
        event.sent_time_us = Some(received_us - 30_000);
        event.event_kind = kind;
        let at = dice.below(300) as usize;
        let person = visits[at];
        if dice.below(9) == 0 {
            // Few come often: the product of two even draws.
            visits[at] = dice.below(1_000) * dice.below(1_000);
        }
        event.anonymous_id = Some(format!("{person:08x}-5f2e-4c3b-9d4e-{:012x}", person * 7919));
        if person.is_multiple_of(3) {
            event.user_id = Some(format!("u{person}"));
        }
        event.url_host = Some("shop.example".to_owned());
        event.url_path = Some(format!("/product/{}", dice.below(5_000)));
        event.url_query =
            (dice.below(4) == 0).then(|| "utm_source=google&utm_medium=cpc&utm_campaign=brand".to_owned());
        if event.url_query.is_some() {
            event.utm_source = Some("google".to_owned());
            event.utm_medium = Some("cpc".to_owned());
            event.utm_campaign = Some(format!("brand-{}", dice.below(40)));
            event.gclid = Some(format!("Cj0KCQ{:016x}", dice.roll()));
        }
        event.referrer_host = (dice.below(5) == 0).then(|| "www.google.com".to_owned());
        event.title = Some("A page of the shop".to_owned());
        event.language = Some("de-DE".to_owned());
        event.timezone = Some("Europe/Berlin".to_owned());
        event.screen = Some("1920x1080".to_owned());
        event.user_agent = Some(AGENTS[(person % 4) as usize].to_owned());
        event.country = Some(["DE", "FR", "US"][(person % 3) as usize].to_owned());
        event.ip_truncated = Some(format!("192.0.{}.0/24", person % 256));
        event.library = Some("analytics.js 5.4.2".to_owned());
        event.engagement_class = EngagementClass::Human;
        if kind == EventKind::Conversion {
            event.value = Some(Money { micros: dice.below(100_000_000).cast_signed() });
            event.currency = Some("EUR".to_owned());
        }
        event.properties = Some(format!(r#"{{"position":{},"category":"shoes","in_stock":true}}"#, dice.below(20)));
        before = Some(event.clone());
        event
    })
}

/// User and system time of this process so far. Source: proc(5), fields 14 and 15, in ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<u64> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    Duration::from_millis((fields[0] + fields[1]) * 10)
}

fn rss_peak_kb() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim().to_owned()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let count = numbers.next().unwrap_or(1_000_000);
    let partitions = u32::try_from(numbers.next().unwrap_or(4)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.path().join("log"))).unwrap();
    let topic = log.ensure_topic(&TopicSpec { name: "events".to_owned(), partitions }).await.unwrap();
    let dead_letters = log.ensure_topic(&TopicSpec { name: "dead".to_owned(), partitions: 1 }).await.unwrap();
    let mut waiting = Vec::new();
    let (mut bytes, mut some) = (0, Vec::new());
    for (number, event) in events(count).enumerate() {
        let key = format!("{}:{}", event.source, event.anonymous_id.as_deref().unwrap());
        let value = Bytes::from(encode_event(&event));
        bytes += value.len();
        if some.len() < 200_000 {
            some.push(value.clone());
        }
        let record = Record { time_ms: event.ingest_time_us / 1_000, key: Some(Bytes::from(key.clone())), value };
        waiting.push((partition_for(key.as_bytes(), partitions), record));
        if waiting.len() == 10_000 || number + 1 == count {
            for ack in log.append(&topic.topic, std::mem::take(&mut waiting)).await {
                ack.unwrap();
            }
        }
    }
    println!("{count} events, {} bytes each in the log, {partitions} partitions", bytes / count);

    let (begun, cpu_before) = (Instant::now(), cpu());
    let mut decoder = WireDecoder::new(Shape::Event);
    let rows: usize = some.chunks(8_192).map(|run| decoder.decode(run).batch.num_rows()).sum();
    println!(
        "decoding alone: {:.0} events/s, {:.2} us each",
        rows as f64 / begun.elapsed().as_secs_f64(),
        (cpu() - cpu_before).as_secs_f64() * 1e6 / rows as f64
    );
    drop(some);

    let mut ends = Vec::new();
    for partition in 0..partitions {
        ends.push((partition, log.bounds(&topic.topic, partition).await.unwrap().next));
    }
    let url = folder.path().join("lake").display().to_string();
    let lake = Lake::open(LakeSettings { url, ..LakeSettings::default() }).await.unwrap();
    let (progress_in, mut progress) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let parts = Parts { log: log.clone(), lake, events: topic, dead_letters, progress: progress_in };
    let settings = PipelineSettings { commit_interval_ms: 5_000, ..PipelineSettings::default() };
    let (begun, cpu_before) = (Instant::now(), cpu());
    let job = tokio::spawn(tributary_pipeline::run(settings, parts, stop.clone()));
    // The rows after the last full commit wait for the timer, or for the stop.
    let nearly = |now: &Progress| {
        let at: u64 = now.events.iter().map(|at| at.1).sum();
        let end: u64 = ends.iter().map(|end| end.1).sum();
        end.saturating_sub(at) < 400_000
    };
    drop(progress.wait_for(nearly).await);
    stop.cancel();
    let summary = match tokio::time::timeout(Duration::from_secs(600), job).await {
        Ok(ended) => ended.unwrap().unwrap(),
        Err(_) => panic!("the job did not end"),
    };
    let (wall, used) = (begun.elapsed(), cpu() - cpu_before);
    println!("{summary:?}");
    println!(
        "log to lake: {:.0} events/s, {:.0} events/s and core, {:.2} us each, peak {}",
        count as f64 / wall.as_secs_f64(),
        count as f64 / used.as_secs_f64(),
        used.as_secs_f64() * 1e6 / count as f64,
        rss_peak_kb(),
    );
}

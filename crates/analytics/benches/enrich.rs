//! What enrichment costs an event, by its parts.
//!
//! In:       the 952 browsers of `tests/data`, drawn by their weight; hosts and tags as a shop has them.
//! Out:      one line a part, cold (nothing remembered) and warm. `cargo bench -p tributary-analytics --bench enrich`.
//! Promise:  the same draw in every run.
//! Not here: columns: `pipeline/src/enrich.rs` adds what building them costs.

use std::hint::black_box;
use std::time::Instant;

use tributary_analytics::channel::TouchHints;
use tributary_analytics::enrich::burst::{Act, BurstRule, Bursts, MessageEvent};
use tributary_analytics::enrich::cache::Cache;
use tributary_analytics::enrich::channel_rules::{ChannelRules, Origin};
use tributary_analytics::enrich::currency::Rates;
use tributary_analytics::enrich::{agent, built_in};

const EVENT_COUNT: usize = 1_000_000;

/// A tiny generator of pseudo-random numbers (SplitMix64), so that the bench needs nothing.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }
}

fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn told(part: &str, events: usize, begun: Instant) {
    let ns = begun.elapsed().as_nanos() as f64 / events as f64;
    println!("{part:<44} {ns:>9.1} ns an event");
}

fn main() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/enrich_browsers.tsv");
    let list = std::fs::read_to_string(path).expect("the test data of this crate");
    let mut agents = Vec::new();
    let mut total = 0;
    for line in list.lines() {
        let mut cells = line.split('\t').skip(1);
        let weight: f64 = cells.next().and_then(|cell| cell.parse().ok()).expect("a weight");
        total += (weight * 1e9) as u64;
        agents.push((total, cells.next().expect("an agent")));
    }
    let mut dice = Dice(7);
    let drawn: Vec<&str> = (0..EVENT_COUNT)
        .map(|_| {
            let point = dice.roll(total);
            agents[agents.partition_point(|(upto, _)| *upto <= point)].1
        })
        .collect();

    let (begun, before_kib) = (Instant::now(), memory_kib());
    let lists = built_in();
    println!("lists made in {} ms, {} KiB", begun.elapsed().as_millis(), memory_kib() - before_kib);
    let begun = Instant::now();
    for (_, agent) in &agents {
        black_box((lists.agents.read(agent), lists.crawlers.find(agent)));
    }
    told("user agent, never seen (cold)", agents.len(), begun);
    let begun = Instant::now();
    for (_, agent) in &agents {
        black_box(lists.agents.read(agent));
    }
    told("user agent, not remembered", agents.len(), begun);
    let begun = Instant::now();
    for (_, agent) in &agents {
        black_box(lists.crawlers.find(agent));
    }
    told("  of a machine? not remembered", agents.len(), begun);
    println!("with all expressions warm: {} KiB", memory_kib() - before_kib);
    let mut cache = Cache::new(8_192);
    for round in ["cold", "warm"] {
        let begun = Instant::now();
        for agent in &drawn {
            let read =
                cache.get_or(agent::cut(agent).as_bytes(), || (lists.agents.read(agent), lists.crawlers.find(agent)));
            black_box(read);
        }
        told(&format!("user agent, remembered ({round})"), EVENT_COUNT, begun);
    }
    let hostile: String = "Mozilla/5.0 (Linux; Android 10; K) a/1.2.3.4 ".repeat(12).chars().take(512).collect();
    let begun = Instant::now();
    for number in 0..1_000 {
        let agent = format!("{number}{}", &hostile[..508]);
        black_box((lists.agents.read(&agent), lists.crawlers.find(&agent)));
    }
    told("user agent of 512 bytes, each another", 1_000, begun);

    let hosts = ["www.google.com", "shop.example", "m.facebook.com", "duckduckgo.com", "blog.example", "t.co"];
    let mut referrals = Cache::new(8_192);
    let begun = Instant::now();
    for number in 0..EVENT_COUNT {
        let host = hosts[number % hosts.len()];
        black_box(referrals.get_or(host.as_bytes(), || lists.referrers.find(host, Some("shop.example"), false)));
    }
    told("referrer, remembered", EVENT_COUNT, begun);
    let begun = Instant::now();
    for number in 0..EVENT_COUNT / 10 {
        black_box(lists.referrers.find(hosts[number % hosts.len()], Some("shop.example"), false));
    }
    told("referrer, not remembered", EVENT_COUNT / 10, begun);

    let origin = Origin {
        hints: TouchHints { utm_source: Some("adnet"), utm_medium: Some("qr"), ..TouchHints::default() },
        utm_campaign: Some("spring"),
        has_referrer_term: false,
    };
    for (name, rules) in [("tributary", ChannelRules::Tributary), ("ga4", ChannelRules::ga4())] {
        let begun = Instant::now();
        for _ in 0..EVENT_COUNT / 10 {
            black_box(rules.classify(black_box(&origin), &lists.referrers));
        }
        told(&format!("channel by {name}, all rules, not remembered"), EVENT_COUNT / 10, begun);
    }

    let rates = Rates::parse("date,currency,rate\n2026-03-02,USD,0.9215\n", "EUR", 7);
    let rates = rates.unwrap_or_else(|faults| panic!("{faults:?}"));
    let begun = Instant::now();
    for number in 0..EVENT_COUNT {
        black_box(rates.convert(i64::try_from(number).expect("a million"), "USD", 20_515));
    }
    told("currency", EVENT_COUNT, begun);

    let mut bursts = Bursts::new(BurstRule::default());
    let begun = Instant::now();
    for number in 0..EVENT_COUNT {
        let time_us = i64::try_from(number).expect("a million") * 3_000;
        let event = MessageEvent {
            message: dice.roll(50_000),
            act: Act::Click,
            link: dice.roll(5),
            time_us,
            ingest_time_us: time_us,
            is_head: false,
        };
        black_box(bursts.observe(&event));
    }
    told("burst, of a click", EVENT_COUNT, begun);
    println!("{} messages remembered", bursts.len());
}

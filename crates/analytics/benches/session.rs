//! How fast the sessionizer folds: events a second on one core, in order and with 5 % out of order.
//!
//! In:       a generated log: 2 M page views of 100 000 devices in visits of about eight, 300 events a second; a drain
//!           each 10 000 events.
//! Out:      one line for each order. `cargo bench -p tributary-analytics --bench session`.
//! Promise:  the same log in every run. Making the log is not timed; making an event of it (its texts copied) is.
//! Not here: a verdict. `docs/bench.md` says on what a number was measured.

use std::time::Instant;

use tributary_analytics::session::{Observed, SessionEvent, SessionKey, SessionRule, Sessionizer};
use tributary_schemas::EventKind;

const EVENT_COUNT: usize = 2_000_000;
const DEVICE_COUNT: u64 = 100_000;
const DRAIN_EACH: usize = 10_000;
const STEP_US: i64 = 3_333;

struct Row {
    device: String,
    event_id: String,
    time_us: i64,
}

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

/// * `disorder_percent`: how many events come up to ten minutes after their time.
fn log(disorder_percent: u64) -> Vec<Row> {
    let mut dice = Dice(7);
    let mut clock_us = 1_700_000_000_000_000;
    // Some three thousand devices are in a visit at a time; each event has one chance in eight to end its visit.
    let mut visiting: Vec<u64> = (0..3_000).map(|_| dice.roll(DEVICE_COUNT)).collect();
    (0..EVENT_COUNT)
        .map(|_| {
            clock_us += STEP_US;
            let seat = usize::try_from(dice.roll(3_000)).expect("small");
            let device = visiting[seat];
            if dice.roll(8) == 0 {
                visiting[seat] = dice.roll(DEVICE_COUNT);
            }
            let behind = if dice.roll(100) < disorder_percent { dice.roll(600_000_000) } else { 0 };
            Row {
                device: format!("device-{device:016x}"),
                event_id: format!("{:016x}{:016x}", dice.roll(u64::MAX), dice.roll(u64::MAX)),
                time_us: clock_us - i64::try_from(behind).expect("ten minutes"),
            }
        })
        .collect()
}

fn measure(name: &str, rows: &[Row]) {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    let (mut late, mut changes, mut open_max) = (0_u64, 0_usize, 0_usize);
    let begin = Instant::now();
    for (index, row) in rows.iter().enumerate() {
        let offset = i64::try_from(index).expect("small");
        let event = SessionEvent {
            anonymous_id: Some(row.device.as_str().into()),
            url_host: Some("www.shop.example".into()),
            url_path: Some("/catalogue/shoes".into()),
            ..SessionEvent::plain(row.time_us, offset, &row.event_id, EventKind::Page)
        };
        let key = SessionKey { source: "web", session_key: &row.device };
        late += u64::from(sessionizer.observe(key, event) == Observed::Late);
        if index % DRAIN_EACH == DRAIN_EACH - 1 {
            open_max = open_max.max(sessionizer.open_sessions());
            changes += sessionizer.drain().len();
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let per_second = rows.len() as f64 / seconds;
    println!(
        "{name}: {per_second:.0} events/s ({} events in {seconds:.2} s, {changes} changes, \
         at most {open_max} sessions open, {late} late)",
        rows.len()
    );
}

fn main() {
    // `cargo test --all-targets` starts benches without this flag: nobody asked for numbers then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    measure("in order", &log(0));
    measure("5 % out of order", &log(5));
}

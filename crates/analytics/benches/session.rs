//! How fast the sessionizer folds, how much memory an open session takes, how long a snapshot of a million takes.
//!
//! In:       a generated log: visits of about nine events by devices of which some come far more often than others, ids of
//!           36 characters, four thousand pages, one landing in three with a campaign, one visitor in five logged in.
//! Out:      a line a number. `cargo bench -p tributary-analytics --bench session`.
//! Promise:  the same log in every run. Making the log is not timed; reading a report is.
//! Not here: a verdict. `docs/bench.md` says on what a number was measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tributary_analytics::session::{Observed, SessionEvent, SessionKey, SessionRule, Sessionizer, Touch};
use tributary_schemas::{EngagementClass, EventKind};

const EVENT_COUNT: usize = 2_000_000;
const DEVICE_COUNT: f64 = 2_000_000.0;
const PATH_COUNT: u64 = 4_000;
const EVENTS_PER_VISIT: u64 = 9;
const BEGIN_US: i64 = 1_700_000_000_000_000;

/// How long this thread has had a processor, where the system tells it (Linux): what others do on the machine is then no
/// part of the number. Else the time that passed.
struct Stopwatch {
    begun: Instant,
    begun_ns: Option<u64>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { begun: Instant::now(), begun_ns: Self::processor_ns() }
    }

    fn processor_ns() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse().ok()
    }

    fn elapsed(&self) -> Duration {
        match (self.begun_ns, Self::processor_ns()) {
            (Some(begun), Some(now)) => Duration::from_nanos(now - begun),
            _ => self.begun.elapsed(),
        }
    }
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

    /// From 0 to `count`, small numbers far more often: Zipf's law with exponent 1, cut off.
    fn zipf(&mut self, count: f64) -> u64 {
        let even = self.roll(1 << 32) as f64 / f64::from(u32::MAX);
        count.powf(even) as u64
    }

    /// From 0 to `count`, small numbers more often, with exponent 1/2: of two million devices a thousand make one visit in
    /// fifty.
    fn often(&mut self, count: f64) -> u64 {
        let even = self.roll(1 << 32) as f64 / f64::from(u32::MAX);
        (count * even * even) as u64
    }

    fn id(&mut self) -> String {
        let (high, low) = (self.roll(u64::MAX), self.roll(u64::MAX));
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }
}

struct Row {
    device: String,
    event_id: String,
    time_us: i64,
    path: u64,
    user: Option<String>,
    campaign: Option<u64>,
    click_id: Option<String>,
    system: usize,
    is_landing: bool,
}

/// * `seats`: visits that go on at the same time. `step_us`: from one event of the log to the next.
/// * `disorder_percent`: how many events come up to ten minutes after their time.
fn log(event_count: usize, seats: u64, step_us: i64, disorder_percent: u64) -> Vec<Row> {
    struct Visit {
        device: u64,
        left: u64,
        is_new: bool,
        user: Option<String>,
    }
    let mut dice = Dice(7);
    let begin = |dice: &mut Dice| {
        let device = dice.often(DEVICE_COUNT);
        let user = Dice(device ^ 0xabcd).id();
        let user = device.is_multiple_of(5).then_some(user);
        Visit { device, left: 1 + dice.roll(2 * EVENTS_PER_VISIT - 1), is_new: true, user }
    };
    let mut visits: Vec<Visit> = (0..seats).map(|_| begin(&mut dice)).collect();
    let mut clock_us = BEGIN_US;
    (0..event_count)
        .map(|_| {
            clock_us += step_us;
            let seat = usize::try_from(dice.roll(seats)).expect("small");
            if visits[seat].left == 0 {
                visits[seat] = begin(&mut dice);
            }
            let visit = &mut visits[seat];
            visit.left -= 1;
            let is_landing = std::mem::replace(&mut visit.is_new, false);
            let behind_ms = if dice.roll(100) < disorder_percent { dice.roll(600_000) } else { 0 };
            let by_campaign = is_landing && dice.roll(3) == 0;
            Row {
                device: Dice(visit.device).id(),
                event_id: dice.id(),
                time_us: (clock_us / 1_000 - i64::try_from(behind_ms).expect("ten minutes")) * 1_000,
                path: dice.zipf(PATH_COUNT as f64),
                user: visit.user.clone(),
                campaign: by_campaign.then(|| dice.roll(200)),
                click_id: (by_campaign && dice.roll(2) == 0).then(|| dice.id()),
                system: usize::try_from(visit.device % 7).expect("small"),
                is_landing,
            }
        })
        .collect()
}

const SYSTEMS: [(&str, &str, &str, &str); 7] = [
    ("mobile", "Safari", "iOS", "DE"),
    ("mobile", "Chrome", "Android", "FR"),
    ("desktop", "Chrome", "Windows", "DE"),
    ("desktop", "Firefox", "Linux", "NL"),
    ("desktop", "Safari", "macOS", "AT"),
    ("tablet", "Safari", "iPadOS", "CH"),
    ("desktop", "Edge", "Windows", "PL"),
];

/// Paths and campaigns, to borrow from.
struct Words {
    paths: Vec<String>,
    campaigns: Vec<String>,
}

impl Words {
    fn new() -> Self {
        Self {
            paths: (0..=PATH_COUNT).map(|path| format!("/catalogue/shoes/model-{path}")).collect(),
            campaigns: (0..200).map(|campaign| format!("campaign-{campaign}")).collect(),
        }
    }

    fn event<'r>(&'r self, row: &'r Row, offset: usize) -> SessionEvent<'r> {
        let (device_class, browser, os, country) = SYSTEMS[row.system];
        let touch = match row.campaign {
            Some(campaign) => Touch {
                channel: Some("paid_search"),
                campaign_id: Some(&self.campaigns[usize::try_from(campaign).expect("small")]),
                utm_source: Some("google"),
                utm_medium: Some("cpc"),
                referrer_host: Some("www.google.com"),
                referrer_medium: Some("search"),
                referrer_source: Some("Google"),
                click_id: row.click_id.as_deref().map(|id| ("gclid", id)),
                ..Touch::default()
            },
            None if row.is_landing => Touch {
                channel: Some("organic_search"),
                referrer_host: Some("www.google.com"),
                referrer_medium: Some("search"),
                referrer_source: Some("Google"),
                ..Touch::default()
            },
            None => Touch::default(),
        };
        SessionEvent {
            engagement_class: EngagementClass::Human,
            anonymous_id: Some(&row.device),
            user_id: row.user.as_deref(),
            url_host: Some("www.shop.example"),
            url_path: Some(&self.paths[usize::try_from(row.path).expect("small")]),
            device_class: Some(device_class),
            browser: Some(browser),
            os: Some(os),
            country: Some(country),
            touch,
            ..SessionEvent::plain(row.time_us, i64::try_from(offset).expect("small"), &row.event_id, EventKind::Page)
        }
    }
}

fn key(row: &Row) -> SessionKey<'_> {
    SessionKey { source: "web", session_key: &row.device }
}

/// Folds the log, and reports each so many events.
fn fold(sessionizer: &mut Sessionizer, words: &Words, rows: &[Row], drain_each: usize) -> (usize, u64) {
    let (mut changes, mut late) = (0, 0);
    for (offset, row) in rows.iter().enumerate() {
        late += u64::from(sessionizer.observe(key(row), &words.event(row, offset)) == Observed::Late);
        if offset % drain_each == drain_each - 1 {
            for change in sessionizer.drain().iter() {
                changes += 1;
                let path = change.session().and_then(|session| session.exit_path());
                black_box((change.session_id(), path));
            }
        }
    }
    (changes, late)
}

fn speed(name: &str, words: &Words, rows: &[Row], drain_each: usize) {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    let begun = Stopwatch::start();
    let (changes, late) = fold(&mut sessionizer, words, rows, drain_each);
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{name}: {:.0} ns an event, {:.0} events/s ({} events in {seconds:.2} s, a report each {drain_each}, \
         {changes} changes, {late} late, {} sessions open at the end)",
        seconds * 1e9 / rows.len() as f64,
        rows.len() as f64 / seconds,
        rows.len(),
        sessionizer.open_sessions(),
    );
}

/// What a session and an event take: the state with whole visits, and with visits of one event each.
fn memory(words: &Words) {
    let state = |rows: &[Row]| {
        let mut sessionizer = Sessionizer::new(SessionRule::ga4());
        fold(&mut sessionizer, words, rows, 50_000);
        sessionizer.drain();
        (
            sessionizer.open_sessions(),
            sessionizer.state_bytes() - sessionizer.waiting_bytes(),
            sessionizer.waiting_bytes(),
        )
    };
    let rows = log(EVENT_COUNT, 50_000, 1_000, 0);
    let (sessions, bytes, waiting) = state(&rows);
    let firsts: Vec<Row> = {
        let mut seen = std::collections::HashSet::new();
        rows.iter().map(|row| seen.insert(row.device.clone())).collect::<Vec<_>>()
    }
    .into_iter()
    .zip(rows)
    .filter_map(|(is_first, row)| is_first.then_some(row))
    .collect();
    let (lone_sessions, lone_bytes, _) = state(&firsts);
    let per_lone = lone_bytes as f64 / lone_sessions as f64;
    let more_events = (EVENT_COUNT - firsts.len()) as f64;
    let per_event = (bytes as f64 - per_lone * sessions as f64) / more_events;
    println!(
        "memory: {bytes} bytes for {sessions} open sessions of {EVENT_COUNT} events ({:.1} events each): {:.0} bytes a \
         session all in all; {per_lone:.0} for one with its first event, {per_event:.1} for each event more; \
         {waiting} bytes of room for what waits",
        EVENT_COUNT as f64 / sessions as f64,
        bytes as f64 / sessions as f64,
    );
}

fn snapshot(words: &Words) {
    const SESSIONS: usize = 1_000_000;
    const EVENTS: usize = 4;
    let mut dice = Dice(3);
    let mut rows = log(SESSIONS, 1_000, 100, 0);
    rows.iter_mut().for_each(|row| row.device = dice.id());
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    for round in 0..EVENTS {
        for (offset, row) in rows.iter_mut().enumerate() {
            row.time_us += i64::try_from(round).expect("small") * 60_000_000;
            row.event_id = dice.id();
            sessionizer.observe(key(row), &words.event(row, round * SESSIONS + offset));
        }
        sessionizer.drain();
    }
    let mut bytes = Vec::new();
    let begun = Stopwatch::start();
    sessionizer.write_snapshot(&mut bytes);
    let written = begun.elapsed();
    let begun = Stopwatch::start();
    let restored = Sessionizer::read_snapshot(SessionRule::ga4(), &bytes).expect("our own bytes");
    let read = begun.elapsed();
    assert_eq!(restored.open_sessions(), sessionizer.open_sessions());
    println!(
        "snapshot: {} open sessions of {EVENTS} events, {} bytes, written in {written:.2?}, read in {read:.2?}",
        sessionizer.open_sessions(),
        bytes.len()
    );
}

/// A robot: one key, one session.
fn hot(count: usize, drain_each: usize) {
    let mut sessionizer = Sessionizer::new(SessionRule::ga4());
    let ids: Vec<String> = (0..count).map(|number| format!("robot-event-{number}")).collect();
    let begun = Stopwatch::start();
    for (offset, id) in ids.iter().enumerate() {
        let time_us = BEGIN_US + i64::try_from(offset).expect("small") * 80_000;
        let event = SessionEvent {
            anonymous_id: Some("robot"),
            url_path: Some("/"),
            ..SessionEvent::plain(time_us, i64::try_from(offset).expect("small"), id, EventKind::Page)
        };
        sessionizer.observe(SessionKey { source: "web", session_key: "robot" }, &event);
        if offset % drain_each == drain_each - 1 {
            black_box(sessionizer.drain().len());
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "one key: {count} events in one session, a report each {drain_each}: {:.0} ns an event, {} bytes of state",
        seconds * 1e9 / count as f64,
        sessionizer.state_bytes() - sessionizer.waiting_bytes()
    );
}

fn main() {
    // `cargo test --all-targets` starts benches without this flag: nobody asked for numbers then.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let words = Words::new();
    let rows = log(EVENT_COUNT, 3_000, 3_333, 0);
    speed("in order", &words, &rows, 10_000);
    speed("in order, often reported", &words, &rows, 1_000);
    speed("5 % out of order", &words, &log(EVENT_COUNT, 3_000, 3_333, 5), 10_000);
    speed("many visits at a time", &words, &log(EVENT_COUNT, 200_000, 500, 0), 50_000);
    hot(1_000_000, 1_000);
    memory(&words);
    snapshot(&words);
}

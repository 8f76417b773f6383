//! How long persons take to be found: a map of a million links, the next thousand, a copy, and ten million questions.
//!
//! In:       a generated table: 700 000 devices, 300 000 users, 1 M links; one device in a hundred changes hands, one link in
//!           a hundred is an alias.
//! Out:      one line a figure, and the memory. `cargo bench -p tributary-analytics --bench identity`.
//! Promise:  the same links in every run; making them is not timed.
//! Not here: reading the table (`query`); a verdict. `docs/bench.md` says on what a number was measured.

use std::time::Instant;

use tributary_analytics::identity::{IdentityMap, IdentityRule, Said};
use tributary_schemas::{LinkAction, LinkKind};

const LINK_COUNT: usize = 1_000_000;
const DEVICE_COUNT: u64 = 700_000;
const USER_COUNT: u64 = 300_000;
const NEXT_COUNT: usize = 1_000;
const ASKED_COUNT: u64 = 10_000_000;

struct Row {
    id: String,
    user_id: String,
    kind: LinkKind,
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

fn device(number: u64) -> String {
    format!("{number:08x}-7c15-4b1d-9e37-79b97f4a7c15")
}

fn rows(dice: &mut Dice, count: usize) -> Vec<Row> {
    let row = |number: usize| {
        let at = dice.roll(DEVICE_COUNT);
        let user = if dice.roll(100) == 0 { dice.roll(USER_COUNT) } else { at % USER_COUNT };
        let is_alias = dice.roll(100) == 0;
        Row {
            id: if is_alias { format!("user-{}", dice.roll(USER_COUNT)) } else { device(at) },
            user_id: format!("user-{user}"),
            kind: if is_alias { LinkKind::Alias } else { LinkKind::Identify },
            event_id: format!("{:016x}{:016x}0000", dice.roll(u64::MAX), dice.roll(u64::MAX)),
            time_us: 1_700_000_000_000_000 + i64::try_from(number).expect("small") * 1_000,
        }
    };
    (0..count).map(row).collect()
}

fn add(map: &mut IdentityMap, rows: &[Row]) {
    for row in rows {
        map.add(&Said {
            source: "web",
            id: &row.id,
            user_id: &row.user_id,
            action: LinkAction::Link,
            kind: row.kind,
            event_time_us: row.time_us,
            event_id: &row.event_id,
        });
    }
    map.settle();
}

/// What the process has in memory now.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * 4_096
}

fn main() {
    let mut dice = Dice(7);
    let (links, next) = (rows(&mut dice, LINK_COUNT), rows(&mut dice, NEXT_COUNT));
    let resident_before = resident_bytes();
    let begun = Instant::now();
    let mut map = IdentityMap::new(IdentityRule::default());
    add(&mut map, &links);
    let elapsed = begun.elapsed();
    let bytes = (resident_bytes() - resident_before) / LINK_COUNT as u64;
    println!("{LINK_COUNT} links: {:.0} ms, {bytes} bytes a link", elapsed.as_secs_f64() * 1e3);

    let begun = Instant::now();
    add(&mut map, &next);
    println!("the next {NEXT_COUNT}: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);

    let begun = Instant::now();
    let copy = map.clone();
    println!("a copy, where a question still has the former map: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    drop(copy);

    let devices: Vec<String> = (0..100_000).map(|_| device(dice.roll(DEVICE_COUNT * 2))).collect();
    let mut key = String::new();
    let mut found = 0_u64;
    let begun = Instant::now();
    for number in 0..ASKED_COUNT {
        let device = &devices[usize::try_from(number).expect("small") % devices.len()];
        found += u64::from(map.person_of("web", None, Some(device), 1_700_000_500_000_000, &mut key).is_some());
    }
    let elapsed = begun.elapsed().as_secs_f64();
    println!("{ASKED_COUNT} questions: {:.1} million a second, {found} known", ASKED_COUNT as f64 / elapsed / 1e6);
}

//! How fast a funnel is folded.
//!
//! In:       generated rows of 250 thousand units, 40 each, one in ten of which meets a step (sparse) or each (dense); one
//!           unit of 10,000 rows that meet all steps but the last.
//! Out:      a line a number. `cargo bench -p tributary-analytics --bench funnel`.
//! Promise:  the same rows in every run. Making them is not timed; finishing and counting each unit is.
//! Not here: a verdict. `docs/bench.md` says on what a number was measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tributary_analytics::funnel::{
    Exclusion, ExclusionEffect, FunnelCounts, FunnelDefinition, FunnelFold, FunnelOutcome, FunnelQuestion, FunnelStep,
    FunnelWindow, StepOrder, TieOrder,
};

const UNIT_COUNT: usize = 250_000;
const ROWS_PER_UNIT: usize = 40;
const STEP_COUNT: usize = 4;
const LARGE_UNIT_ROWS: i64 = 10_000;
const HOUR_US: i64 = 3_600_000_000;

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
}

/// `(time_us, step_mask)`, unit after unit; `one_in` rows one meets a step, earlier steps more often.
fn rows(one_in: u64) -> Vec<(i64, u32)> {
    let mut dice = Dice(7);
    let mut rows = Vec::with_capacity(UNIT_COUNT * ROWS_PER_UNIT);
    for _ in 0..UNIT_COUNT {
        let mut time_us = 1_700_000_000_000_000;
        for _ in 0..ROWS_PER_UNIT {
            time_us += i64::try_from(dice.roll(HOUR_US as u64)).unwrap_or(0);
            let mask = if dice.roll(one_in) == 0 { [1, 1, 1, 2, 2, 4, 4, 8][dice.roll(8) as usize] } else { 0 };
            rows.push((time_us, mask));
        }
    }
    rows
}

fn question(order: StepOrder) -> FunnelQuestion {
    let window = FunnelWindow::Duration { length_us: 24 * HOUR_US };
    FunnelQuestion { order, ..FunnelQuestion::ordered(STEP_COUNT, window) }
}

fn questions() -> Vec<(&'static str, FunnelQuestion)> {
    let step = FunnelStep { is_optional: false, window_us: Some(6 * HOUR_US) };
    let days = FunnelWindow::CalendarDays { day_count: 2, zone: "America/New_York".to_owned() };
    let exclusion = Exclusion { bit: 0, from_step: 1, to_step: 3, effect: ExclusionEffect::VoidUnit };
    let plain = question(StepOrder::Ordered);
    vec![
        ("ordered, 24 hours", plain.clone()),
        ("ordered, ties in any order", FunnelQuestion { tie_order: TieOrder::Any, ..plain.clone() }),
        ("ordered, windows of steps", FunnelQuestion { steps: vec![step; STEP_COUNT], ..plain.clone() }),
        ("ordered, 2 days in New York", FunnelQuestion { window: days, ..plain.clone() }),
        ("ordered, with an exclusion that voids units", FunnelQuestion { exclusions: vec![exclusion], ..plain }),
        ("strict, reset", question(StepOrder::StrictReset)),
        ("any order", question(StepOrder::Any)),
    ]
}

fn time(name: &str, rows: &[(i64, u32)], rows_per_unit: usize, question: &FunnelQuestion) {
    let definition = FunnelDefinition::new(question.clone()).expect("the questions above can be answered");
    let mut fold = FunnelFold::new(&definition);
    let mut outcome = FunnelOutcome::default();
    let mut measure = |counts: &mut Option<FunnelCounts>| {
        let watch = Stopwatch::start();
        for unit in rows.chunks(rows_per_unit) {
            for (index, (time_us, mask)) in unit.iter().enumerate() {
                fold.push(*time_us, index as u64, *mask, u32::from(*mask == 4), 0);
            }
            fold.finish_into(i64::MAX, &mut outcome);
            if let Some(counts) = counts {
                counts.push(&outcome);
            }
            black_box(&outcome);
        }
        watch.elapsed().as_nanos() as f64 / rows.len() as f64
    };
    let least = |times: [f64; 3]| times.into_iter().fold(f64::MAX, f64::min);
    let folded = least([(); 3].map(|()| measure(&mut None)));
    let mut counts = None;
    let counted = least([(); 3].map(|()| {
        counts = Some(FunnelCounts::new(&definition));
        measure(&mut counts)
    }));
    let counts = counts.expect("it was measured");
    let reached: Vec<u64> = (1..=STEP_COUNT).map(|step| counts.reached(step)).collect();
    println!("{name}: {folded:.1} ns a row, {counted:.1} with counting; reached {reached:?}");
}

fn main() {
    for (kind, one_in) in [("sparse", 10), ("dense", 1)] {
        let rows = rows(one_in);
        for (name, question) in questions() {
            time(&format!("{kind}, {name}"), &rows, ROWS_PER_UNIT, &question);
        }
    }
    // The last step is never met, or the unit would be settled at once. Many times over, for it is soon done.
    let unit: Vec<(i64, u32)> = (0..LARGE_UNIT_ROWS).map(|index| (index * 1_000_000, 0b0111)).collect();
    let rows = unit.repeat(200);
    for (name, question) in questions() {
        time(&format!("one unit, each row meets three steps, {name}"), &rows, unit.len(), &question);
    }
}

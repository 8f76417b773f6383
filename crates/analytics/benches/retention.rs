//! How fast rows of units are folded into retention, lifecycle and active users.
//!
//! In:       ten million generated rows of a quarter of a million units over 180 days: sessions of about eight rows, some
//!           units far more often there than others; one row in thirty a purchase.
//! Out:      a line a number. `cargo bench -p tributary-analytics --bench retention`.
//! Promise:  the same rows in every run; making them is not timed. One thread.
//! Not here: a verdict. `docs/bench.md` says on what a number was measured.

use std::hint::black_box;
use std::time::Instant;

use tributary_analytics::activity::{
    ActiveCounts, ActivityFold, LifecycleCounts, PeriodRange, StickinessCounts, StickinessFold,
};
use tributary_analytics::calendar::{Calendar, DAY_US, ElapsedWindows, Period, Weekday};
use tributary_analytics::retention::{
    CohortRule, Counting, RetentionCounts, RetentionDefinition, RetentionFold, RetentionQuestion, ReturnEvent,
    SamePeriod, Windows,
};
use tributary_analytics::rfm::{Cut, RfmFold, RfmMeasures, RfmRule};
use tributary_analytics::stats::Alpha;

const ROW_COUNT: usize = 10_000_000;
const UNIT_COUNT: usize = 250_000;
const DAY_COUNT: i64 = 180;
/// 2024-01-01, so that clocks change in the middle.
const BEGIN_US: i64 = 1_704_067_200_000_000;
const TIMES_US: std::ops::Range<i64> = BEGIN_US..BEGIN_US + DAY_COUNT * DAY_US;

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

    fn up_to(&mut self, limit: i64) -> i64 {
        i64::try_from(self.roll(limit.unsigned_abs().max(1))).expect("below a positive number of 64 bits")
    }
}

struct Row {
    time_us: i64,
    is_purchase: bool,
    value_micros: i64,
}

/// All rows, and where each unit's begin.
fn rows() -> (Vec<Row>, Vec<usize>) {
    let mut dice = Dice(3);
    let (mut rows, mut begins) = (Vec::with_capacity(ROW_COUNT), vec![0]);
    for unit in 0..UNIT_COUNT {
        let left_count = ROW_COUNT - rows.len();
        let mean = (left_count / (UNIT_COUNT - unit)).max(1) as u64;
        let row_count = if unit + 1 == UNIT_COUNT { left_count } else { (1 + dice.roll(2 * mean - 1)) as usize };
        let mut time_us = BEGIN_US + dice.up_to(DAY_COUNT * DAY_US / 2);
        let visit_count = row_count / 8 + 1;
        let gap_us = 2 * (TIMES_US.end - time_us) / (i64::try_from(visit_count).expect("few visits") + 1);
        for index in 0..row_count.min(left_count) {
            time_us += if index % 8 == 7 { dice.up_to(gap_us) } else { dice.up_to(120_000_000) };
            let is_purchase = dice.roll(30) == 0;
            let value_micros = if is_purchase { dice.up_to(90_000_000) } else { 0 };
            rows.push(Row { time_us, is_purchase, value_micros });
        }
        begins.push(rows.len());
    }
    (rows, begins)
}

/// How long this thread has had a processor, where the system tells it (Linux): what others do on the machine is then no
/// part of the number.
fn processor_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// The best of three runs, for a row.
fn timed<R>(name: &str, row_count: usize, mut work: impl FnMut() -> R) {
    let run_ns = |_| {
        let (begun, begun_ns) = (Instant::now(), processor_ns());
        black_box(work());
        match (begun_ns, processor_ns()) {
            (Some(begun_ns), Some(now_ns)) => (now_ns - begun_ns) as f64,
            _ => begun.elapsed().as_nanos() as f64,
        }
    };
    let best_ns = (0..3).map(run_ns).fold(f64::INFINITY, f64::min);
    println!("{name}: {:.1} ns a row", best_ns / row_count as f64);
}

fn calendar(period: Period, zone: &str) -> Calendar {
    Calendar::new(period, zone).expect("the zone exists")
}

fn main() {
    let (rows, begins) = rows();
    println!("{} rows of {} units", rows.len(), begins.len() - 1);
    let units = || begins.windows(2).map(|pair| &rows[pair[0]..pair[1]]);
    let week = Period::Week(Weekday::Monday);
    let zone = "America/New_York";

    for (name, period) in [("week", week), ("day", Period::Day), ("hour", Period::Hour), ("month", Period::Month)] {
        let mut cursor = calendar(period, zone).cursor();
        timed(&format!("number of the {name}"), rows.len(), || {
            rows.iter().map(|row| cursor.number(row.time_us)).fold(0_i64, i64::wrapping_add)
        });
    }

    let weekly = RetentionQuestion {
        calendar: calendar(week, zone),
        starts_us: TIMES_US,
        cohort_rule: CohortRule::FirstEver,
        return_event: ReturnEvent::SameAsStart,
        windows: Windows::Calendar(SamePeriod::FromStart),
        counting: Counting::Bounded { period_max: 12 },
    };
    let daily = RetentionQuestion {
        calendar: calendar(Period::Day, zone),
        counting: Counting::Bounded { period_max: 30 },
        ..weekly.clone()
    };
    let own = ReturnEvent::Own;
    let questions = [
        ("weekly retention", weekly.clone()),
        ("weekly retention, first purchase to any", RetentionQuestion { return_event: own, ..weekly.clone() }),
        ("weekly retention, recurring", RetentionQuestion { cohort_rule: CohortRule::Recurring, ..weekly }),
        ("daily retention", daily.clone()),
        (
            "daily retention, rolling",
            RetentionQuestion { counting: Counting::Rolling { period_max: 30 }, ..daily.clone() },
        ),
        (
            "retention in windows of 24 h",
            RetentionQuestion { windows: Windows::SinceStart(ElapsedWindows::DAYS), ..daily.clone() },
        ),
        ("daily retention, recurring", RetentionQuestion { cohort_rule: CohortRule::Recurring, ..daily }),
    ];
    for (name, question) in questions {
        let definition = RetentionDefinition::new(question).expect("few cells");
        let is_any = definition.question().return_event == ReturnEvent::SameAsStart;
        timed(name, rows.len(), || {
            let mut fold = RetentionFold::new(&definition);
            let mut counts = RetentionCounts::new(&definition);
            for unit in units() {
                for row in unit {
                    fold.push(row.time_us, is_any || row.is_purchase, true, row.value_micros);
                }
                fold.finish_into(&mut counts);
            }
            counts.cohorts(TIMES_US.end, Alpha::FIVE_PERCENT)
        });
    }

    let weeks = PeriodRange::new(calendar(week, zone), TIMES_US).expect("few weeks");
    timed("weekly lifecycle", rows.len(), || {
        let (mut fold, mut counts) = (ActivityFold::new(&weeks), LifecycleCounts::new(&weeks));
        for unit in units() {
            unit.iter().for_each(|row| fold.push(row.time_us));
            counts.add_unit(fold.active());
            fold.reset();
        }
        counts
    });
    let days = PeriodRange::new(calendar(Period::Day, zone), TIMES_US).expect("few days");
    timed("active users of 1, 7, 28, 30 days", rows.len(), || {
        let mut fold = ActivityFold::new(&days);
        let mut counts = ActiveCounts::new(&days, &[1, 7, 28, 30]).expect("four windows");
        for unit in units() {
            unit.iter().for_each(|row| fold.push(row.time_us));
            counts.add_unit(fold.active());
            fold.reset();
        }
        counts
    });
    timed("stickiness, days of months", rows.len(), || {
        let month = calendar(Period::Month, zone);
        let mut counts = StickinessCounts::new(month, calendar(Period::Day, zone), TIMES_US).expect("few months");
        let mut fold = StickinessFold::new(&counts);
        for unit in units() {
            unit.iter().for_each(|row| fold.push(row.time_us));
            fold.finish_into(&mut counts);
        }
        counts
    });
    timed("RFM, gathered and scored", rows.len(), || {
        let rule = RfmRule::new(TIMES_US.end, 5, Cut::Tiles).expect("five tiles");
        let mut fold = RfmFold::new(rule.as_of_us());
        let mut buyers: Vec<(usize, RfmMeasures)> = Vec::new();
        for (id, unit) in units().enumerate() {
            unit.iter().for_each(|row| fold.push(row.time_us, row.is_purchase, row.value_micros));
            buyers.extend(fold.finish().map(|measures| (id, measures)));
        }
        rule.scores(&buyers)
    });
}

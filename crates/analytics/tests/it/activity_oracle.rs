//! Activity against its definitions, on random small cases in zones with summer time.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tributary_analytics::activity::{
    ActiveCounts, ActivityFold, LifecycleCounts, PeriodRange, StickinessCounts, StickinessFold,
};
use tributary_analytics::calendar::{Calendar, HOUR_US, Period, Weekday};
use tributary_testkit::oracle::activity::{lifecycle, trailing, with_interval_count};

use crate::calendar_cases::{ZONES, slow_number, zone};

/// Times of up to five units within eight weeks around changes of clocks, in order.
fn units() -> impl Strategy<Value = Vec<Vec<i64>>> {
    let middles_s = vec![1_710_054_000_i64, 1_711_846_800, 1_728_142_200, 1_325_239_200];
    (prop::sample::select(middles_s), prop::collection::vec(prop::collection::vec(-672_i64..672, 0..14), 0..5))
        .prop_map(|(middle_s, units)| {
            let times = |hours: Vec<i64>| {
                let mut times_us: Vec<i64> =
                    hours.into_iter().map(|hour| middle_s * 1_000_000 + hour * HOUR_US).collect();
                times_us.sort_unstable();
                times_us
            };
            units.into_iter().map(times).collect()
        })
}

fn period() -> impl Strategy<Value = Period> {
    let week = Period::Week(Weekday::Monday);
    prop::sample::select(vec![Period::Day, Period::Day, week, Period::Week(Weekday::Sunday), Period::Month])
}

/// The range lies within what the units do, or around it.
fn times_us() -> impl Strategy<Value = (i64, i64)> {
    (-800_i64..600, 1_i64..900)
}

fn range(calendar: &Calendar, units: &[Vec<i64>], (begin_h, length_h): (i64, i64)) -> PeriodRange {
    let middle_us = units.iter().flatten().copied().next().unwrap_or(0);
    let begin_us = middle_us + begin_h * HOUR_US;
    PeriodRange::new(calendar.clone(), begin_us..begin_us + length_h * HOUR_US).unwrap()
}

fn folded(range: &PeriodRange, units: &[Vec<i64>], mut add: impl FnMut(&ActivityFold)) {
    let mut fold = ActivityFold::new(range);
    for times_us in units {
        times_us.iter().for_each(|time_us| fold.push(*time_us));
        add(&fold);
        fold.reset();
    }
}

fn lifecycle_counts(range: &PeriodRange, units: &[Vec<i64>]) -> LifecycleCounts {
    let mut counts = LifecycleCounts::new(range);
    folded(range, units, |fold| counts.add_unit(fold.active()));
    counts
}

fn active_counts(range: &PeriodRange, units: &[Vec<i64>], windows: &[u32]) -> ActiveCounts {
    let mut counts = ActiveCounts::new(range, windows).unwrap();
    folded(range, units, |fold| counts.add_unit(fold.active()));
    counts
}

fn stickiness_counts(
    calendars: [&Calendar; 2],
    times_us: std::ops::Range<i64>,
    units: &[Vec<i64>],
) -> StickinessCounts {
    let mut counts = StickinessCounts::new(calendars[0].clone(), calendars[1].clone(), times_us).unwrap();
    let mut fold = StickinessFold::new(&counts);
    for times in units {
        times.iter().for_each(|time_us| fold.push(*time_us));
        fold.finish_into(&mut counts);
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn lifecycle_and_active_units_are_what_their_definitions_say(
        units in units(), period in period(), zone_name in prop::sample::select(ZONES.to_vec()), times in times_us(),
        windows in prop::collection::vec(1_u32..40, 1..4), cut in 0_usize..5,
    ) {
        let (zone, calendar) = (zone(zone_name), Calendar::new(period, zone_name).unwrap());
        let range = range(&calendar, &units, times);
        let number = |time_us: &i64| slow_number(period, &zone, *time_us);
        let sets: Vec<BTreeSet<i64>> = units.iter().map(|times| times.iter().map(number).collect()).collect();
        let (some, others) = units.split_at(cut.min(units.len()));

        let mut counts = lifecycle_counts(&range, others);
        counts.merge(&lifecycle_counts(&range, some));
        prop_assert_eq!(&counts, &lifecycle_counts(&range, &units), "merged");
        let mut active_before = None;
        for (number, period) in counts.periods() {
            // The period before is the one in which the last instant before this one lies; a skipped one has no instant.
            if calendar.start_us(number) == calendar.start_us(number + 1) {
                prop_assert_eq!(period.active_count() + period.dormant_count, 0);
                continue;
            }
            let previous = calendar.number(calendar.start_us(number) - 1);
            let ours = (period.new_count, period.returning_count, period.resurrecting_count, period.dormant_count);
            prop_assert_eq!(ours, lifecycle(&sets, number, previous), "{:?} {}", calendar.period(), calendar.label(number));
            prop_assert_eq!(period.active_count(), trailing(&sets, number, 1));
            if let Some(active_before) = active_before {
                prop_assert_eq!(period.dormant_count, active_before - period.returning_count);
            }
            active_before = Some(period.active_count());
        }

        let mut counts = active_counts(&range, others, &windows);
        counts.merge(&active_counts(&range, some, &windows));
        prop_assert_eq!(&counts, &active_counts(&range, &units, &windows), "merged");
        for (index, window) in windows.iter().enumerate() {
            let slow: Vec<u64> = range.numbers().map(|number| trailing(&sets, number, i64::from(*window))).collect();
            prop_assert_eq!(counts.unit_counts(index), slow, "window {}", window);
        }
    }

    #[test]
    fn stickiness_is_what_its_definition_says(
        units in units(), zone_name in prop::sample::select(ZONES.to_vec()), times in times_us(), cut in 0_usize..5,
        kinds in prop::sample::select(vec![
            (Period::Month, Period::Day), (Period::Month, Period::Week(Weekday::Monday)),
            (Period::Week(Weekday::Sunday), Period::Day), (Period::Day, Period::Hour),
        ]),
    ) {
        let zone = zone(zone_name);
        let [periods, intervals] = [kinds.0, kinds.1].map(|kind| Calendar::new(kind, zone_name).unwrap());
        let middle_us = units.iter().flatten().copied().next().unwrap_or(0);
        let times_us = middle_us + times.0 * HOUR_US..middle_us + (times.0 + times.1) * HOUR_US;
        let counted = |units: &[Vec<i64>]| stickiness_counts([&periods, &intervals], times_us.clone(), units);
        let (some, others) = units.split_at(cut.min(units.len()));
        let mut counts = counted(others);
        counts.merge(&counted(some));
        let all = counted(&units);
        let pairs = |time_us: &i64| (slow_number(kinds.0, &zone, *time_us), slow_number(kinds.1, &zone, *time_us));
        let pairs: Vec<Vec<(i64, i64)>> = units.iter().map(|times| times.iter().map(pairs).collect()).collect();
        for ((number, unit_counts), (_, merged)) in all.periods().zip(counts.periods()) {
            for interval_count in 1..=15 {
                let ours = unit_counts.get(interval_count - 1).copied().unwrap_or(0);
                prop_assert_eq!(ours, with_interval_count(&pairs, number, interval_count));
                prop_assert_eq!(ours, merged.get(interval_count - 1).copied().unwrap_or(0), "merged");
            }
        }
    }
}

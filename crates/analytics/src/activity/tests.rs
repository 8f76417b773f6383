use super::*;
use crate::calendar::{Calendar, DAY_US, Period};

fn days(count: i64, zone: &str) -> PeriodRange {
    PeriodRange::new(Calendar::new(Period::Day, zone).unwrap(), 0..count * DAY_US).unwrap()
}

/// The counts of one unit that was active on these days.
fn lifecycle(range: &PeriodRange, active_days: &[i64]) -> Vec<(u64, u64, u64, u64)> {
    let mut fold = ActivityFold::new(range);
    active_days.iter().for_each(|day| fold.push(day * DAY_US));
    let mut counts = LifecycleCounts::new(range);
    counts.add_unit(fold.active());
    let of = |(_, period): (i64, LifecyclePeriod)| {
        (period.new_count, period.returning_count, period.resurrecting_count, period.dormant_count)
    };
    counts.periods().map(of).collect()
}

#[test]
fn a_unit_is_new_then_returns_then_is_dormant_then_resurrects() {
    let expected = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)];
    assert_eq!(lifecycle(&days(7, "UTC"), &[1, 2, 2, 5]), expected);
}

#[test]
fn rows_before_the_range_say_who_is_not_new() {
    let range = days(2, "UTC");
    assert_eq!(lifecycle(&range, &[-1, 0]), [(0, 1, 0, 0), (0, 0, 0, 1)]);
    assert_eq!(lifecycle(&range, &[-2, 0]), [(0, 0, 1, 0), (0, 0, 0, 1)]);
    assert_eq!(lifecycle(&range, &[-1, 1]), [(0, 0, 0, 1), (0, 0, 1, 0)]);
    assert_eq!(lifecycle(&range, &[-9]), [(0, 0, 0, 0); 2]);
    assert_eq!(lifecycle(&range, &[2, 3]), [(0, 0, 0, 0); 2], "after the range");
}

#[test]
fn nobody_is_dormant_on_a_day_that_was_skipped() {
    let calendar = Calendar::new(Period::Day, "Pacific/Apia").unwrap();
    // From 28 December 2011 to 1 January 2012, local; there was no 30th.
    let range = PeriodRange::new(calendar, 1_325_066_400_000_000..1_325_412_000_000_000).unwrap();
    assert_eq!(range.numbers().map(|number| range.calendar().label(number)).next().unwrap(), "2011-12-28");
    let mut fold = ActivityFold::new(&range);
    fold.push(range.calendar().start_us(range.first() + 1));
    fold.push(range.calendar().start_us(range.first() + 3));
    let mut counts = LifecycleCounts::new(&range);
    counts.add_unit(fold.active());
    let periods: Vec<LifecyclePeriod> = counts.periods().map(|(_, period)| period).collect();
    assert_eq!(periods[2], LifecyclePeriod::default());
    assert_eq!(periods[3], LifecyclePeriod { returning_count: 1, ..LifecyclePeriod::default() });
}

#[test]
fn trailing_windows_overlap_without_counting_twice() {
    let range = days(10, "UTC");
    let mut counts = ActiveCounts::new(&range, &[1, 3, 30]).unwrap();
    let mut fold = ActivityFold::new(&range);
    [-1, 2, 3, 7].iter().for_each(|day| fold.push(day * DAY_US));
    counts.add_unit(fold.active());
    assert_eq!(counts.unit_counts(0), [0, 0, 1, 1, 0, 0, 0, 1, 0, 0]);
    assert_eq!(counts.unit_counts(1), [1, 1, 1, 1, 1, 1, 0, 1, 1, 1]);
    assert_eq!(counts.unit_counts(2), [1; 10]);
    assert_eq!(counts.ratios(0, 1)[5..8], [Some(0.0), None, Some(1.0)]);
}

#[test]
fn windows_and_ranges_are_checked() {
    let range = days(10, "UTC");
    for windows in [&[][..], &[0], &[1; 17], &[u32::MAX]] {
        assert!(ActiveCounts::new(&range, windows).is_err(), "{windows:?}");
    }
    let calendar = Calendar::new(Period::Hour, "UTC").unwrap();
    assert!(PeriodRange::new(calendar.clone(), 5..5).is_err());
    assert!(PeriodRange::new(calendar, i64::MIN..i64::MAX).is_err());
}

#[test]
fn a_week_at_the_turn_of_a_month_counts_in_both() {
    let month = Calendar::new(Period::Month, "UTC").unwrap();
    let week = Calendar::new(Period::Week(jiff::civil::Weekday::Monday), "UTC").unwrap();
    let mut counts = StickinessCounts::new(month, week, 0..50 * DAY_US).unwrap();
    let mut fold = StickinessFold::new(&counts);
    // 1970-01-26 was a Monday; its week ends on 1 February.
    [0, 25, 30, 31, 32].iter().for_each(|day| fold.push(day * DAY_US));
    fold.finish_into(&mut counts);
    fold.push(25 * DAY_US);
    fold.finish_into(&mut counts);
    let periods: Vec<&[u64]> = counts.periods().map(|(_, counts)| counts).collect();
    assert_eq!(periods, [&[1, 1][..], &[0, 1]]);
}

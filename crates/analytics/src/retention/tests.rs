use super::*;
use crate::calendar::{Calendar, DAY_US, ElapsedWindows, HOUR_US, Period, Progress};
use crate::error::AnalyticsError;
use crate::stats::Alpha;

fn daily(counting: Counting) -> RetentionQuestion {
    RetentionQuestion {
        calendar: Calendar::new(Period::Day, "UTC").unwrap(),
        starts_us: 0..10 * DAY_US,
        cohort_rule: CohortRule::FirstEver,
        return_event: ReturnEvent::Own,
        windows: Windows::Calendar(SamePeriod::FromStart),
        counting,
    }
}

/// A row is its time, whether it is a start, whether a return; each is worth one micro.
fn counted(question: RetentionQuestion, rows: &[(i64, bool, bool)]) -> RetentionCounts {
    let definition = RetentionDefinition::new(question).unwrap();
    let mut fold = RetentionFold::new(&definition);
    let mut counts = RetentionCounts::new(&definition);
    for &(time_us, is_start, is_return) in rows {
        fold.push(time_us, is_start, is_return, 1);
    }
    fold.finish_into(&mut counts);
    counts
}

/// By cohort: units that came back, and returns.
fn table(counts: &RetentionCounts) -> Vec<(i64, Vec<u64>, Vec<u64>)> {
    let of = |cohort: CohortRetention| {
        let units = cohort.cells.iter().map(|cell| cell.unit_count).collect();
        (cohort.cohort, units, cohort.cells.iter().map(|cell| cell.event_count).collect())
    };
    counts.cohorts(i64::MAX, Alpha::FIVE_PERCENT).into_iter().map(of).collect()
}

const START: (bool, bool) = (true, false);
const RETURN: (bool, bool) = (false, true);

fn rows(rows: &[(i64, (bool, bool))]) -> Vec<(i64, bool, bool)> {
    rows.iter().map(|(time_us, (is_start, is_return))| (*time_us, *is_start, *is_return)).collect()
}

#[test]
fn period_nought_counts_returns_from_the_start_on() {
    let bounded = Counting::Bounded { period_max: 2 };
    let unit = rows(&[(1, RETURN), (5, RETURN), (5, START), (5, RETURN), (7, RETURN), (DAY_US, RETURN)]);
    assert_eq!(table(&counted(daily(bounded.clone()), &unit)), [(0, vec![1, 1, 0], vec![3, 1, 0])]);
    let whole = RetentionQuestion { windows: Windows::Calendar(SamePeriod::Whole), ..daily(bounded) };
    assert_eq!(table(&counted(whole, &unit)), [(0, vec![1, 1, 0], vec![4, 1, 0])]);
}

#[test]
fn a_rolling_table_knows_returns_after_its_last_column() {
    let rolling = Counting::Rolling { period_max: 2 };
    let unit = rows(&[(0, START), (5, RETURN), (9 * DAY_US, RETURN)]);
    assert_eq!(table(&counted(daily(rolling), &unit)), [(0, vec![1, 1, 1], vec![1, 0, 0])]);
}

#[test]
fn a_unit_counts_once_in_a_bracket() {
    let brackets = Counting::Brackets(vec![(1, 2), (4, 5)]);
    let unit = rows(&[(0, START), (0, RETURN), (DAY_US, RETURN), (2 * DAY_US, RETURN), (3 * DAY_US, RETURN)]);
    assert_eq!(table(&counted(daily(brackets), &unit)), [(0, vec![1, 0], vec![2, 0])]);
}

#[test]
fn the_first_start_ever_may_lie_before_the_range() {
    let unit = rows(&[(-1, START), (DAY_US, START), (DAY_US, RETURN), (2 * DAY_US, RETURN)]);
    let ever = daily(Counting::Bounded { period_max: 1 });
    assert_eq!(table(&counted(ever.clone(), &unit)), []);
    let in_range = RetentionQuestion { cohort_rule: CohortRule::FirstInRange, ..ever };
    assert_eq!(table(&counted(in_range, &unit)), [(1, vec![1, 1], vec![1, 1])]);
}

#[test]
fn a_recurring_unit_is_in_the_cohort_of_each_period_it_starts_in() {
    let recurring = RetentionQuestion {
        cohort_rule: CohortRule::Recurring,
        return_event: ReturnEvent::SameAsStart,
        ..daily(Counting::Bounded { period_max: 2 })
    };
    let unit = rows(&[(0, START), (1, START), (DAY_US, START), (3 * DAY_US, START)]);
    let expected =
        [(0, vec![1, 1, 0], vec![2, 1, 0]), (1, vec![1, 0, 1], vec![1, 0, 1]), (3, vec![1, 0, 0], vec![1, 0, 0])];
    assert_eq!(table(&counted(recurring, &unit)), expected);
}

#[test]
fn windows_since_the_start_are_each_units_own() {
    let start_us = 20 * HOUR_US + 600_000_000;
    let unit = rows(&[(start_us, START), (start_us + 5 * HOUR_US, RETURN), (start_us + DAY_US - 1, RETURN)]);
    let since = |windows| RetentionQuestion {
        windows: Windows::SinceStart(windows),
        ..daily(Counting::Bounded { period_max: 1 })
    };
    assert_eq!(table(&counted(since(ElapsedWindows::DAYS), &unit)), [(0, vec![1, 0], vec![2, 0])]);
    let floored = ElapsedWindows::DAYS.floored_to_hour().unwrap();
    assert_eq!(table(&counted(since(floored), &unit)), [(0, vec![1, 1], vec![1, 1])]);
}

#[test]
fn a_cell_whose_time_is_not_over_is_marked_and_not_in_the_overall() {
    let question = daily(Counting::Bounded { period_max: 3 });
    let counts = counted(question, &rows(&[(DAY_US, START), (2 * DAY_US, RETURN)]));
    let known_until_us = 3 * DAY_US + 1;
    let cells = &counts.cohorts(known_until_us, Alpha::FIVE_PERCENT)[0].cells;
    let progress: Vec<Progress> = cells.iter().map(|cell| cell.progress).collect();
    assert_eq!(progress, [Progress::Over, Progress::Over, Progress::Running, Progress::Ahead]);
    let overall = counts.overall(known_until_us, Alpha::FIVE_PERCENT);
    let sums: Vec<(u64, u64)> = overall.iter().map(|column| (column.eligible_count, column.unit_count)).collect();
    assert_eq!(sums, [(1, 0), (1, 1), (0, 0), (0, 0)]);
    assert!(overall[1].interval.unwrap().holds(1.0) && overall[2].interval.is_none());
}

#[test]
fn windows_since_the_start_are_over_when_those_of_the_last_possible_start_are() {
    let question = RetentionQuestion {
        windows: Windows::SinceStart(ElapsedWindows::DAYS),
        ..daily(Counting::Bounded { period_max: 0 })
    };
    let counts = counted(question, &rows(&[(0, START)]));
    let progress = |known_until_us| counts.cohorts(known_until_us, Alpha::FIVE_PERCENT)[0].cells[0].progress;
    assert_eq!(progress(2 * DAY_US - 2), Progress::Running);
    assert_eq!(progress(2 * DAY_US - 1), Progress::Over);
    assert_eq!(progress(0), Progress::Ahead);
}

#[test]
fn sums_beyond_64_bits_are_exact() {
    let definition = RetentionDefinition::new(daily(Counting::Bounded { period_max: 1 })).unwrap();
    let mut fold = RetentionFold::new(&definition);
    let mut counts = RetentionCounts::new(&definition);
    fold.push(0, true, true, i64::MAX);
    fold.push(1, false, true, i64::MAX);
    fold.push(DAY_US, false, true, -1);
    fold.finish_into(&mut counts);
    let cells = &counts.cohorts(i64::MAX, Alpha::FIVE_PERCENT)[0].cells;
    assert_eq!(cells[0].revenue_micros, 2 * i128::from(i64::MAX));
    assert_eq!(cells[1].cumulative_revenue_micros, 2 * i128::from(i64::MAX) - 1);
}

#[test]
fn definitions_are_checked() {
    let error = |question| RetentionDefinition::new(question).unwrap_err();
    let bounded = daily(Counting::Bounded { period_max: 1 });
    assert_eq!(error(RetentionQuestion { starts_us: 7..7, ..bounded.clone() }), AnalyticsError::EmptyRange);
    for brackets in [vec![], vec![(2, 1)], vec![(0, 3), (3, 4)], vec![(4, 4), (0, 1)]] {
        assert!(matches!(error(daily(Counting::Brackets(brackets))), AnalyticsError::Brackets { .. }));
    }
    let too_wide = [Counting::Bounded { period_max: u32::MAX }, Counting::Brackets(vec![(0, u32::MAX)])];
    for counting in too_wide {
        assert!(matches!(error(daily(counting)), AnalyticsError::CellCount { .. }));
    }
    let too_long = RetentionQuestion { starts_us: i64::MIN..i64::MAX, ..bounded };
    assert!(matches!(error(too_long), AnalyticsError::CellCount { .. }));
}

//! Retention and cohort revenue against DuckDB, cell by cell.

use std::collections::BTreeMap;

use tributary_analytics::calendar::{Calendar, ElapsedWindows, Period, Weekday};
use tributary_analytics::retention::{
    CohortRule, Counting, RetentionCounts, RetentionDefinition, RetentionFold, RetentionQuestion, ReturnEvent,
    SamePeriod, Windows,
};
use tributary_analytics::stats::Alpha;

use crate::fixtures::Reference;
use crate::retention_cases::{Event, events_by_user, micros, references};

/// From 2024-01-01 to 2024-07-01: all of the reference data.
const STARTS_US: std::ops::Range<i64> = 1_704_067_200_000_000..1_719_792_000_000_000;

fn question(period: Period, zone: &str, counting: Counting) -> RetentionQuestion {
    RetentionQuestion {
        calendar: Calendar::new(period, zone).unwrap(),
        starts_us: STARTS_US,
        cohort_rule: CohortRule::FirstEver,
        return_event: ReturnEvent::SameAsStart,
        windows: Windows::Calendar(SamePeriod::FromStart),
        counting,
    }
}

/// Dates alone are compared, so a purchase counts in the period of the signup even if it was before.
fn signup_to_purchase(question: RetentionQuestion) -> RetentionQuestion {
    RetentionQuestion { return_event: ReturnEvent::Own, windows: Windows::Calendar(SamePeriod::Whole), ..question }
}

fn counted(question: RetentionQuestion, users: &BTreeMap<String, Vec<Event>>) -> RetentionCounts {
    let definition = RetentionDefinition::new(question).unwrap();
    let is_any = definition.question().return_event == ReturnEvent::SameAsStart;
    let mut counts = RetentionCounts::new(&definition);
    let mut fold = RetentionFold::new(&definition);
    for events in users.values() {
        for event in events {
            fold.push(event.time_us, is_any || event.is_signup, event.is_purchase, event.value_micros);
        }
        fold.finish_into(&mut counts);
    }
    counts
}

/// * `column`: what the period or bracket is called in the file.
fn compare(reference: &Reference, file: &str, column: &str, counts: &RetentionCounts) {
    let calendar = &counts.definition().question().calendar;
    let mut ours = BTreeMap::new();
    for cohort in counts.cohorts(i64::MAX, Alpha::FIVE_PERCENT) {
        for (index, cell) in (0_i64..).zip(&cohort.cells) {
            let key = (calendar.label(cohort.cohort), index);
            ours.insert(key, (cohort.unit_count, cell.unit_count));
        }
    }
    let theirs = reference.get(&format!("expected_retention_{file}.csv"));
    assert_eq!(theirs.len(), ours.len(), "{file}");
    for record in theirs {
        let key = (record.text("cohort").to_owned(), record.integer(column));
        let expected = (record.integer("cohort_size") as u64, record.integer("retained") as u64);
        assert_eq!(ours.get(&key), Some(&expected), "{file}, {key:?}");
    }
}

#[test]
fn retention_equals_duckdb_in_every_table() {
    let bounded = |period_max| Counting::Bounded { period_max };
    let brackets = Counting::Brackets(vec![(0, 0), (1, 1), (2, 3), (4, 7), (8, 14), (15, 30)]);
    let day = |zone, counting| question(Period::Day, zone, counting);
    let week = |start, period_max| question(Period::Week(start), "UTC", bounded(period_max));
    let recurring = |question| RetentionQuestion { cohort_rule: CohortRule::Recurring, ..question };
    let since = |windows| RetentionQuestion { windows: Windows::SinceStart(windows), ..day("UTC", bounded(14)) };
    let tables = [
        ("first_time_day_utc", "period", day("UTC", bounded(14))),
        ("first_time_day_newyork", "period", day("America/New_York", bounded(14))),
        ("first_time_day_rolling_utc", "period", day("UTC", Counting::Rolling { period_max: 14 })),
        ("first_time_week_mon_utc", "period", week(Weekday::Monday, 8)),
        ("first_time_week_sun_utc", "period", week(Weekday::Sunday, 8)),
        ("first_time_month_utc", "period", question(Period::Month, "UTC", bounded(2))),
        ("recurring_week_mon_utc", "period", recurring(week(Weekday::Monday, 8))),
        ("signup_to_purchase_day_utc", "period", signup_to_purchase(day("UTC", bounded(14)))),
        ("recurring_signup_to_purchase_week_utc", "period", recurring(signup_to_purchase(week(Weekday::Monday, 6)))),
        ("24h_windows", "period", since(ElapsedWindows::DAYS)),
        ("24h_windows_hour_floored_amplitude", "period", since(ElapsedWindows::DAYS.floored_to_hour().unwrap())),
        ("brackets_0_1_2to3_4to7_8to14_15to30", "bracket", day("UTC", brackets)),
    ];
    for reference in references() {
        let users = events_by_user(&reference);
        assert_eq!(users.len(), 900);
        for (file, column, question) in &tables {
            compare(&reference, file, column, &counted(question.clone(), &users));
        }
    }
}

#[test]
fn the_overall_of_complete_cohorts_equals_duckdb() {
    for reference in references() {
        let users = events_by_user(&reference);
        let question = question(Period::Day, "UTC", Counting::Bounded { period_max: 30 });
        let calendar = question.calendar.clone();
        let last_us = users.values().flatten().map(|event| event.time_us).max().unwrap();
        let known_until_us = calendar.start_us(calendar.number(last_us) + 1);
        let overall = counted(question, &users).overall(known_until_us, Alpha::FIVE_PERCENT);
        let theirs = reference.get("expected_retention_day_n_overall_complete_cohorts_only.csv");
        assert_eq!(theirs.len(), overall.len());
        for record in theirs {
            let ours = overall[record.integer("day_n") as usize];
            let expected = (record.integer("eligible") as u64, record.integer("retained") as u64);
            assert_eq!((ours.eligible_count, ours.unit_count), expected, "day {}", record.text("day_n"));
        }
    }
}

#[test]
fn cohort_revenue_equals_duckdb() {
    for reference in references() {
        let users = events_by_user(&reference);
        let question = question(Period::Week(Weekday::Monday), "UTC", Counting::Bounded { period_max: 20 });
        let calendar = question.calendar.clone();
        let mut ours = BTreeMap::new();
        for cohort in counted(question, &users).cohorts(i64::MAX, Alpha::FIVE_PERCENT) {
            // SQL has no line for a week in which nobody came.
            for cell in cohort.cells.iter().filter(|cell| cell.event_count > 0) {
                let key = (calendar.label(cohort.cohort), i64::from(cell.periods.0));
                let sums = (cohort.unit_count, cell.revenue_micros, cell.cumulative_revenue_micros);
                ours.insert(key, sums);
            }
        }
        let theirs = reference.get("expected_cohort_revenue_week.csv");
        assert_eq!(theirs.len(), ours.len());
        for record in theirs {
            let key = (record.text("cohort").to_owned(), record.integer("week_n"));
            let of = |column| i128::from(micros(record.text(column)));
            let expected = (record.integer("cohort_size") as u64, of("revenue"), of("cumulative_revenue"));
            assert_eq!(ours.get(&key), Some(&expected), "{key:?}");
        }
    }
}

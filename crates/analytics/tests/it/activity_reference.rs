//! Lifecycle, active users and stickiness against DuckDB, line by line.

use std::collections::BTreeMap;

use tributary_analytics::activity::{
    ActiveCounts, ActivityFold, LifecycleCounts, PeriodRange, StickinessCounts, StickinessFold,
};
use tributary_analytics::calendar::{Calendar, Period, Weekday};

use crate::retention_cases::{events_by_user, references};

/// From 2024-02-25 to 2024-05-27.
const TIMES_US: std::ops::Range<i64> = 1_708_819_200_000_000..1_716_768_000_000_000;

fn utc(period: Period) -> Calendar {
    Calendar::new(period, "UTC").unwrap()
}

#[test]
fn lifecycle_equals_duckdb() {
    for reference in references() {
        let range = PeriodRange::new(utc(Period::Week(Weekday::Monday)), TIMES_US).unwrap();
        let mut counts = LifecycleCounts::new(&range);
        let mut fold = ActivityFold::new(&range);
        for events in events_by_user(&reference).values() {
            events.iter().for_each(|event| fold.push(event.time_us));
            counts.add_unit(fold.active());
            fold.reset();
        }
        let mut ours = BTreeMap::new();
        for (number, period) in counts.periods() {
            let by_status = [
                ("new", period.new_count),
                ("returning", period.returning_count),
                ("resurrecting", period.resurrecting_count),
                ("dormant", period.dormant_count),
            ];
            // SQL has no line where there is nobody.
            for (status, count) in by_status.into_iter().filter(|(_, count)| *count > 0) {
                ours.insert((range.calendar().label(number), status.to_owned()), count);
            }
        }
        let theirs = reference.get("expected_lifecycle_week_mon.csv");
        let key = |column: &str, status: &str| (column.to_owned(), status.to_owned());
        let theirs: BTreeMap<_, _> = theirs
            .iter()
            .map(|record| (key(record.text("week"), record.text("status")), record.integer("users") as u64))
            .collect();
        assert_eq!(ours, theirs);
    }
}

#[test]
fn active_users_equal_duckdb() {
    for reference in references() {
        let range = PeriodRange::new(utc(Period::Day), TIMES_US).unwrap();
        let mut counts = ActiveCounts::new(&range, &[1, 7, 30]).unwrap();
        let mut fold = ActivityFold::new(&range);
        for events in events_by_user(&reference).values() {
            events.iter().for_each(|event| fold.push(event.time_us));
            counts.add_unit(fold.active());
            fold.reset();
        }
        let columns = [0, 1, 2].map(|window| counts.unit_counts(window));
        let theirs = reference.get("expected_dau_wau_mau.csv");
        // SQL has a line for the days on which anyone was active.
        assert_eq!(theirs.len(), columns[0].iter().filter(|count| **count > 0).count());
        let place_of: BTreeMap<String, usize> =
            range.numbers().enumerate().map(|(place, number)| (range.calendar().label(number), place)).collect();
        for record in theirs {
            let place = place_of[record.text("day")];
            for (counts, column) in columns.iter().zip(["dau", "wau_trailing7", "mau_trailing30"]) {
                assert_eq!(counts[place], record.integer(column) as u64, "{column} of {}", record.text("day"));
            }
        }
    }
}

#[test]
fn stickiness_equals_duckdb() {
    for reference in references() {
        let mut counts = StickinessCounts::new(utc(Period::Month), utc(Period::Day), TIMES_US).unwrap();
        let mut fold = StickinessFold::new(&counts);
        for events in events_by_user(&reference).values() {
            events.iter().for_each(|event| fold.push(event.time_us));
            fold.finish_into(&mut counts);
        }
        let mut ours = BTreeMap::new();
        for (number, unit_counts) in counts.periods() {
            for (days, count) in (1_i64..).zip(unit_counts).filter(|(_, count)| **count > 0) {
                ours.insert((counts.range().calendar().label(number), days), *count);
            }
        }
        let theirs = reference.get("expected_stickiness_days_active_per_month.csv");
        let theirs: BTreeMap<_, _> = theirs
            .iter()
            .map(|record| ((record.text("month").to_owned(), record.integer("days")), record.integer("users") as u64))
            .collect();
        assert_eq!(ours, theirs);
    }
}

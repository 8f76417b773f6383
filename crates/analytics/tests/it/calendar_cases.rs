//! Periods as the jiff library dates them, for all tests that need a calendar which is not ours.

use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use tributary_analytics::calendar::{Period, Weekday};

/// Zones with summer time in March and in October, of half an hour, and one that skipped a day in 2011.
pub(crate) const ZONES: [&str; 5] = ["UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia"];

pub(crate) fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// The number of a period by what the library says of the date.
pub(crate) fn slow_number(period: Period, zone: &TimeZone, time_us: i64) -> i64 {
    let at = |time_us: i64| {
        let zoned = Timestamp::from_microsecond(time_us).unwrap().to_zoned(zone.clone());
        if period == Period::Hour {
            let minutes_us = i64::from(zoned.offset().seconds().rem_euclid(3_600)) * 1_000_000;
            return (time_us + minutes_us).div_euclid(3_600_000_000);
        }
        number_of_date(period, zoned.date())
    };
    // Where clocks were put back, the largest number seen so far stays.
    let earlier = zone.preceding(Timestamp::from_microsecond(time_us + 1).unwrap());
    let recent =
        earlier.map(|change| change.timestamp().as_microsecond()).take_while(|us| time_us - us < 172_800_000_000);
    recent.map(|us| at(us - 1)).fold(at(time_us), i64::max)
}

fn number_of_date(period: Period, day: Date) -> i64 {
    let days = |day: Date| i64::from(date(1970, 1, 1).until(day).unwrap().get_days());
    let months = (i64::from(day.year()) - 1970) * 12 + i64::from(day.month()) - 1;
    match period {
        Period::Hour => unreachable!("an hour is no date"),
        Period::Day => days(day),
        Period::Week(start) => {
            // Week 0 begins on the last such weekday up to the first of January 1970.
            let mut week = (0..7).map(|back| day.checked_sub(jiff::Span::new().days(back)).unwrap());
            let first = week.find(|day| day.weekday() == start).unwrap();
            (days(first) + 6).div_euclid(7)
        }
        Period::Month => months,
        Period::Quarter => months.div_euclid(3),
        Period::Year => i64::from(day.year()) - 1970,
    }
}

pub(crate) const PERIODS: [Period; 8] = [
    Period::Hour,
    Period::Day,
    Period::Week(Weekday::Monday),
    Period::Week(Weekday::Sunday),
    Period::Week(Weekday::Thursday),
    Period::Month,
    Period::Quarter,
    Period::Year,
];

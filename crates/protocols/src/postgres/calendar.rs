//! Days, times and lengths of time as PostgreSQL writes them (`DateStyle` ISO, `IntervalStyle` postgres, time zone UTC).
//!
//! In:       days and microseconds since 1970, months, days and nanoseconds.
//! Out:      text; and what PostgreSQL counts from, 2000-01-01.
//! Promise:  every value of the types has a text, years before the first and beyond 9999 too.

use std::fmt::Write as _;

/// From 1970-01-01 to 2000-01-01.
pub(crate) const EPOCH_DAYS: i32 = 10_957;
pub(crate) const EPOCH_US: i64 = EPOCH_DAYS as i64 * DAY_US;
pub(crate) const DAY_US: i64 = 86_400_000_000;

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar; year 0 is 1 BC.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The day, and what is said behind everything else.
fn day_text(out: &mut String, days: i64) -> &'static str {
    let (year, month, day) = civil(days);
    let (year, era) = if year <= 0 { (1 - year, " BC") } else { (year, "") };
    write!(out, "{year:04}-{month:02}-{day:02}").expect("a string takes all");
    era
}

pub(crate) fn date(days: i32) -> String {
    let mut out = String::new();
    let era = day_text(&mut out, i64::from(days));
    out + era
}

/// * `us`: since midnight.
fn clock(out: &mut String, us: i64) {
    let (seconds, fraction) = (us / 1_000_000, us % 1_000_000);
    write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60).expect("a string takes all");
    if fraction != 0 {
        write!(out, ".{fraction:06}").expect("a string takes all");
        out.truncate(out.trim_end_matches('0').len());
    }
}

pub(crate) fn time(us: i64) -> String {
    let mut out = String::new();
    clock(&mut out, us);
    out
}

/// * `zone`: said after the time: `+00`, or nothing.
pub(crate) fn timestamp(us: i64, zone: &str) -> String {
    let mut out = String::new();
    let era = day_text(&mut out, us.div_euclid(DAY_US));
    out.push(' ');
    clock(&mut out, us.rem_euclid(DAY_US));
    out + zone + era
}

pub(crate) fn interval(months: i32, days: i32, us: i64) -> String {
    let mut parts = Vec::new();
    let mut part = |count: i32, one: &str, many: &str| {
        if count != 0 {
            // Only exactly 1 is said in the singular.
            parts.push(format!("{count} {}", if count == 1 { one } else { many }));
        }
    };
    part(months / 12, "year", "years");
    part(months % 12, "mon", "mons");
    part(days, "day", "days");
    if us != 0 || parts.is_empty() {
        let mut out = String::new();
        if us < 0 {
            out.push('-');
        }
        let seconds = us.unsigned_abs() / 1_000_000;
        let fraction = us.unsigned_abs() % 1_000_000;
        write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60).expect("a string takes all");
        if fraction != 0 {
            write!(out, ".{fraction:06}").expect("a string takes all");
            out.truncate(out.trim_end_matches('0').len());
        }
        parts.push(out);
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_postgres_writes_them() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(EPOCH_DAYS), "2000-01-01");
        assert_eq!(date(EPOCH_DAYS + 59), "2000-02-29");
        assert_eq!(date(-719_528), "0001-01-01 BC");
        assert_eq!(date(-719_529), "0002-12-31 BC");
        assert_eq!(date(2_932_897), "10000-01-01");
        assert_eq!(timestamp(1_767_571_200_000_001, ""), "2026-01-05 00:00:00.000001");
        assert_eq!(timestamp(-1, "+00"), "1969-12-31 23:59:59.999999+00");
        assert_eq!(timestamp(500_000, "+00"), "1970-01-01 00:00:00.5+00");
        assert_eq!(time(86_399_999_999), "23:59:59.999999");
        assert_eq!(interval(14, -3, 3_661_500_000), "1 year 2 mons -3 days 01:01:01.5");
        assert_eq!(interval(0, 0, 0), "00:00:00");
        assert_eq!(interval(0, 1, -90_000_000), "1 day -00:01:30");
        // The ends of the types.
        timestamp(i64::MIN, "");
        timestamp(i64::MAX, "");
        date(i32::MIN);
        interval(i32::MIN, i32::MIN, i64::MIN);
    }
}

//! The Gregorian calendar in whole numbers: days and months since 1970-01-01.
//!
//! In:       days or months since 1970, before it negative.
//! Out:      months, days, texts.
//! Promise:  right for each day that fits 64 bits of microseconds, which dates of libraries do not reach.
//! Not here: time zones (`clock.rs`).
//!
//! Years are taken to begin in March, so that the leap day is the last of its year and months before it have lengths in
//! a pattern of 153 days for five months; 400 years have 146,097 days.

const DAYS_PER_400_YEARS: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468;

/// Months since January 1970 of a day since 1970-01-01.
pub(super) fn month_of_day(day: i64) -> i64 {
    let day = day + DAYS_TO_1970;
    let cycle = day.div_euclid(DAYS_PER_400_YEARS);
    let day_of_cycle = day.rem_euclid(DAYS_PER_400_YEARS);
    let leap_days = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
    let year_of_cycle = (day_of_cycle - leap_days) / 365;
    let day_of_year = day_of_cycle - days_before_year(year_of_cycle);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (cycle * 400 + year_of_cycle - 1970) * 12 + month_from_march + 2
}

/// The first day, since 1970-01-01, of a month since January 1970.
pub(super) fn first_day_of_month(month: i64) -> i64 {
    let from_march = month.saturating_add(1970 * 12 - 2);
    let (year, month_from_march) = (from_march.div_euclid(12), from_march.rem_euclid(12));
    let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5;
    (cycle.saturating_mul(DAYS_PER_400_YEARS))
        .saturating_add(days_before_year(year_of_cycle) + day_of_year - DAYS_TO_1970)
}

/// Days of the years of a cycle of 400 before this one.
fn days_before_year(year_of_cycle: i64) -> i64 {
    year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100
}

/// A day since 1970-01-01 as ISO 8601 has it, such as `2024-02-29`.
pub(super) fn date_text(day: i64) -> String {
    let month = month_of_day(day);
    let day_of_month = day - first_day_of_month(month) + 1;
    format!("{:04}-{:02}-{day_of_month:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
}

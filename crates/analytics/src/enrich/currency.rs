//! Amounts in the reporting currency, by a table of rates.
//!
//! In:      an amount in millionths of its currency, and a day; lines of `date,currency,rate`.
//! Out:     the amount in millionths of the reporting currency, and the day of the rate.
//! Promise: exact: whole numbers only, rounded once, to the nearest millionth and at a tie to the even one. The rate is that
//!          of the day or the last before it, no older than allowed; without one there is no amount.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// A rate has twelve digits after the point.
const RATE_DIGITS: u32 = 12;
const RATE_ONE: i128 = 10_i128.pow(RATE_DIGITS);
/// One unit of no currency is worth ten million of another; with it, no product leaves an `i128`.
const RATE_UNITS_MAX: i128 = 10_000_000;
/// What `DECIMAL(18, 6)` holds.
const MICROS_MAX: i128 = 999_999_999_999_999_999;

/// How far back a table that follows another must have all its days.
const DAYS_KEPT: i32 = 30;

/// How many faults of a file are told; one slip often makes all lines wrong.
const FAULTS_MAX: usize = 5;

pub struct Rates {
    reporting: String,
    age_days_max: i32,
    /// By currency: (days since 1970, units of the reporting currency for one unit of it, in RATE_ONEths), by day.
    by_currency: HashMap<String, Vec<(i32, i128)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    pub micros: i64,
    /// The day of the rate, in days since 1970.
    pub rate_day: i32,
}

impl Rates {
    /// Reads a table: a first line `date,currency,rate`, then one rate a line, in any order. The rate says how many units
    /// of the reporting currency one unit of `currency` is worth on that day.
    ///
    /// * `reporting`: its three letters.
    /// * `age_days_max`: how many days a rate stays good when no newer one is there.
    pub fn parse(table: &str, reporting: &str, age_days_max: u32) -> Result<Self, Vec<String>> {
        let mut rates = Self::without_table(reporting, age_days_max);
        let mut faults = Vec::new();
        let mut lines = table.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        match lines.next() {
            Some((_, head)) if head.trim().eq_ignore_ascii_case("date,currency,rate") => {}
            _ => return Err(vec!["the first line must be: date,currency,rate".to_owned()]),
        }
        for (index, line) in lines {
            let mut cells = line.split(',').map(str::trim);
            let cells = [cells.next(), cells.next(), cells.next(), cells.next()];
            let read = match cells {
                [Some(date), Some(currency), Some(rate), None] => {
                    day_of(date).zip(tributary_schemas::money::currency(currency)).zip(parse_rate(rate))
                }
                _ => None,
            };
            match read {
                Some(((day, currency), rate)) => rates.by_currency.entry(currency).or_default().push((day, rate)),
                None => faults.push(format!(
                    "line {}: {:?} is no rate; write for example 2026-03-02,USD,0.9215",
                    index + 1,
                    line.trim()
                )),
            }
        }
        for (currency, of_currency) in &mut rates.by_currency {
            of_currency.sort_unstable();
            if let Some(twice) = of_currency.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                faults.push(format!("{currency} has two rates for {}", date_text(twice[0].0)));
            }
        }
        faults.sort();
        faults.truncate(FAULTS_MAX);
        if faults.is_empty() { Ok(rates) } else { Err(faults) }
    }

    /// Knows the reporting currency alone.
    pub fn without_table(reporting: &str, age_days_max: u32) -> Self {
        Self {
            reporting: reporting.to_owned(),
            age_days_max: i32::try_from(age_days_max).unwrap_or(i32::MAX),
            by_currency: HashMap::new(),
        }
    }

    pub fn reporting(&self) -> &str {
        &self.reporting
    }

    pub fn age_days_max(&self) -> i32 {
        self.age_days_max
    }

    /// Each currency with the last day it has a rate of, in days since 1970.
    pub fn newest_days(&self) -> impl Iterator<Item = (&str, i32)> {
        self.by_currency.iter().filter_map(|(currency, of_currency)| Some((currency.as_str(), of_currency.last()?.0)))
    }

    /// The last day any currency has a rate of, in days since 1970.
    pub fn newest_day(&self) -> Option<i32> {
        self.newest_days().map(|(_, day)| day).max()
    }

    /// The currencies of `before` of which one of its last `DAYS_KEPT` days is missing here, sorted: a table that goes on has
    /// none. What is older may go: some tables hold the last months alone.
    pub fn lacks(&self, before: &Self) -> Vec<String> {
        let kept_from = before.newest_day().map_or(i32::MAX, |newest| newest - DAYS_KEPT);
        let has = |currency: &str, day: i32| {
            let here = self.by_currency.get(currency);
            here.is_some_and(|here| here.binary_search_by_key(&day, |(of, _)| *of).is_ok())
        };
        let mut lacking: Vec<String> = before
            .by_currency
            .iter()
            .filter(|(currency, days)| days.iter().any(|(day, _)| kept_from < *day && !has(currency, *day)))
            .map(|(currency, _)| currency.clone())
            .collect();
        lacking.sort_unstable();
        lacking
    }

    /// `micros` of `currency` on `day`, in the reporting currency; `None` if no rate is young enough or the amount would
    /// not fit.
    pub fn convert(&self, micros: i64, currency: &str, day: i32) -> Option<Converted> {
        if currency == self.reporting {
            return Some(Converted { micros, rate_day: day });
        }
        let rates = self.by_currency.get(currency)?;
        let (rate_day, rate) = *rates[..rates.partition_point(|(of, _)| *of <= day)].last()?;
        if day.saturating_sub(rate_day) > self.age_days_max {
            return None;
        }
        let micros = divide_half_even(i128::from(micros) * rate, RATE_ONE);
        let micros = i64::try_from(micros).ok().filter(|_| micros.abs() <= MICROS_MAX)?;
        Some(Converted { micros, rate_day })
    }
}

/// Where a newer table is put while the old one is in use. Clones are the same place.
#[derive(Clone, Default)]
pub struct NewerRates(Arc<RwLock<Option<Arc<Rates>>>>);

impl NewerRates {
    /// * `rates`: into the same currency, and good for as long, as those they come after.
    pub fn put(&self, rates: Rates) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(rates));
    }

    pub fn get(&self) -> Option<Arc<Rates>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// To the nearest whole number, at a tie to the even one. `divisor` is above 0.
fn divide_half_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    let twice = rest * 2;
    quotient + i128::from(twice > divisor || (twice == divisor && quotient % 2 != 0))
}

/// Plain decimal digits, above 0.
fn parse_rate(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // Digits beyond the twelfth are below what a rate is quoted in; a file made from floats has them.
    let fraction = &fraction[..fraction.floor_char_boundary(RATE_DIGITS as usize)];
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || whole.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let padded: i128 = format!("{fraction:0<12}").parse().ok()?;
    let rate = whole * RATE_ONE + padded;
    (rate > 0 && rate < RATE_UNITS_MAX * RATE_ONE).then_some(rate)
}

/// Days since 1970 of "2026-03-02", if there is such a day.
fn day_of(date: &str) -> Option<i32> {
    let bytes = date.as_bytes();
    let shaped = bytes.len() == 10
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    if !shaped {
        return None;
    }
    let (year, month, day): (i32, i32, i32) =
        (date[..4].parse().ok()?, date[5..7].parse().ok()?, date[8..].parse().ok()?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    (civil_from_days(days) == (year, month, day)).then_some(days)
}

/// "2026-03-02" of days since 1970.
pub fn date_text(days: i32) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

// Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so that leap days come last.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i32) -> (i32, i32, i32) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) =
        (day_of_year - (153 * shifted + 2) / 5 + 1, if shifted < 10 { shifted + 3 } else { shifted - 9 });
    (year_of_era + era * 400 + i32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "date,currency,rate\n2026-03-02,USD,0.9215\n2026-03-05,USD,0.93\n2026-03-02,IDR,0.000056\n\
                         2026-03-02,GBP,1.5\n";

    fn day(text: &str) -> i32 {
        day_of(text).unwrap()
    }

    fn rates() -> Rates {
        Rates::parse(TABLE, "EUR", 3).unwrap()
    }

    #[test]
    fn the_rate_is_that_of_the_day_or_the_last_before_it() {
        let convert = |micros, currency, date| rates().convert(micros, currency, day(date));
        let at = |micros, date| Some(Converted { micros, rate_day: day(date) });
        assert_eq!(convert(10_000_000, "USD", "2026-03-02"), at(9_215_000, "2026-03-02"));
        assert_eq!(convert(10_000_000, "USD", "2026-03-04"), at(9_215_000, "2026-03-02"));
        assert_eq!(convert(10_000_000, "USD", "2026-03-08"), at(9_300_000, "2026-03-05"));
        assert_eq!(convert(10_000_000, "USD", "2026-03-09"), None, "older than three days");
        assert_eq!(convert(10_000_000, "USD", "2026-03-01"), None, "before the first");
        assert_eq!(convert(10_000_000, "JPY", "2026-03-02"), None);
        assert_eq!(convert(-7, "EUR", "1999-01-01"), at(-7, "1999-01-01"));
        assert_eq!(convert(250_000_000_000, "IDR", "2026-03-02"), at(14_000_000, "2026-03-02"));
    }

    #[test]
    fn a_tie_goes_to_the_even_millionth() {
        for (micros, expected) in [(1, 2), (3, 4), (5, 8), (-1, -2), (-3, -4), (-5, -8), (2, 3)] {
            // times 1.5: 1.5, 4.5, 7.5 ...
            assert_eq!(rates().convert(micros, "GBP", day("2026-03-02")).unwrap().micros, expected, "{micros}");
        }
    }

    #[test]
    fn an_amount_that_does_not_fit_is_none() {
        assert_eq!(rates().convert(i64::MAX, "GBP", day("2026-03-02")), None);
        let largest = Rates::parse("date,currency,rate\n2026-01-01,KWD,9999999.999999999999", "EUR", 9).unwrap();
        assert_eq!(largest.convert(i64::MIN, "KWD", day("2026-01-01")), None);
    }

    #[test]
    fn a_bad_table_tells_all_its_faults() {
        let faults = |table: &str| Rates::parse(table, "EUR", 3).err().unwrap_or_default();
        assert_eq!(faults("USD,1"), ["the first line must be: date,currency,rate"]);
        let table = "date,currency,rate\n2026-02-30,USD,1\n2026-03-01,US,1\n2026-03-01,USD,-1\n2026-03-01,USD,0\nx\n\
                     2026-03-01,USD,1,2\n";
        assert_eq!(faults(table).len(), FAULTS_MAX);
        assert_eq!(
            faults("date,currency,rate\n2026-03-01,USD,1\n2026-03-01,usd,2\n"),
            ["USD has two rates for 2026-03-01"]
        );
    }

    proptest! {
        /// Against the definition: no whole number is nearer, and of two that are as near the even one is taken.
        #[test]
        fn rounding_is_to_the_nearest_and_at_ties_to_the_even(
            micros in -999_999_999_999_i64..999_999_999_999, rate in 1_i64..2_000_000_000_000,
        ) {
            let (product, one) = (i128::from(micros) * i128::from(rate), RATE_ONE);
            let rounded = divide_half_even(product, one);
            let error = (rounded * one - product).abs();
            prop_assert!(error * 2 <= one);
            prop_assert!(error * 2 < one || rounded % 2 == 0);
            prop_assert_eq!(divide_half_even(-product, one), -rounded, "a refund takes back what the sale gave");
        }

        #[test]
        fn days_and_dates_are_each_other(days in -700_000_i32..2_900_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
            if (0..=9999).contains(&year) {
                prop_assert_eq!(day_of(&date_text(days)), Some(days));
            }
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day("1970-01-01"), 0);
        assert_eq!(day("2000-03-01"), 11_017);
        assert_eq!(day_of("2023-02-29"), None);
        assert_eq!(day_of("2023-2-09"), None);
    }
}

//! Calendars against the jiff library, on random times, most of them near changes of clocks.

use jiff::Timestamp;
use jiff::civil::date;
use proptest::prelude::*;
use tributary_analytics::calendar::{Calendar, Period};

use crate::calendar_cases::{PERIODS, ZONES, slow_number, zone};

/// A change of clocks in one of the zones, or any time from 1900 on.
fn time_us() -> impl Strategy<Value = i64> {
    // New York, Berlin, Lord Howe in 2024, Apia in 2011, St. John's in 2010; seconds.
    let changes = [
        1_710_054_000,
        1_730_613_600,
        1_711_846_800,
        1_729_990_800,
        1_712_415_600,
        1_728_142_200,
        1_325_239_200,
        1_289_097_060,
    ];
    let near = (prop::sample::select(changes.to_vec()), -30_000_000_000_i64..30_000_000_000, 0_i64..12);
    prop_oneof![
        3 => near.prop_map(|(change_s, away_us, hours)| change_s * 1_000_000 + away_us * (hours + 1) / 4),
        1 => -2_208_988_800_000_000_i64..4_000_000_000_000_000,
    ]
}

fn zones() -> impl Strategy<Value = &'static str> {
    let mut zones = ZONES.to_vec();
    zones.extend(["America/St_Johns", "Asia/Kolkata", "America/Sao_Paulo", "Africa/Monrovia"]);
    prop::sample::select(zones)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_calendar_numbers_periods_as_the_library_dates_them(
        times_us in prop::collection::vec(time_us(), 1..40), zone_name in zones(),
    ) {
        let zone = zone(zone_name);
        for period in PERIODS {
            let calendar = Calendar::new(period, zone_name).unwrap();
            let mut cursor = calendar.cursor();
            for &time_us in &times_us {
                let number = calendar.number(time_us);
                let what = || format!("{period:?} in {zone_name} at {}", Timestamp::from_microsecond(time_us).unwrap());
                prop_assert_eq!(number, slow_number(period, &zone, time_us), "{}", what());
                prop_assert_eq!(cursor.number(time_us), number, "cursor, {}", what());
                prop_assert!(time_us < cursor.until_us());
                // Its begin is within, what is before its begin is not.
                let start_us = calendar.start_us(number);
                prop_assert!(start_us <= time_us && time_us < calendar.start_us(number + 1), "{}", what());
                prop_assert_eq!(calendar.number(start_us), number, "{}", what());
                prop_assert!(calendar.number(start_us - 1) < number, "{}", what());
            }
        }
    }

    #[test]
    fn numbers_never_fall_as_time_goes_on(mut times_us in prop::collection::vec(time_us(), 2..60), zone_name in zones()) {
        times_us.sort_unstable();
        for period in PERIODS {
            let mut cursor = Calendar::new(period, zone_name).unwrap().cursor();
            let numbers: Vec<i64> = times_us.iter().map(|time_us| cursor.number(*time_us)).collect();
            prop_assert!(numbers.is_sorted(), "{:?} in {}: {:?}", period, zone_name, numbers);
        }
    }

    #[test]
    fn a_day_begins_when_the_library_says(day in 0_i64..30_000, zone_name in prop::sample::select(ZONES.to_vec())) {
        let calendar = Calendar::new(Period::Day, zone_name).unwrap();
        let civil = date(1970, 1, 1).checked_add(jiff::Span::new().days(day)).unwrap();
        let begin = civil.to_zoned(zone(zone_name)).unwrap().timestamp();
        prop_assert_eq!(calendar.start_us(day), begin.as_microsecond());
        prop_assert_eq!(calendar.label(day), civil.to_string());
        let month = Calendar::new(Period::Month, zone_name).unwrap();
        let number = month.number(begin.as_microsecond());
        // A day that was skipped is never the first of a month.
        prop_assert_eq!(month.label(number), civil.first_of_month().to_string());
    }
}

use super::*;

fn time_us(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

fn calendar(period: Period, zone: &str) -> Calendar {
    Calendar::new(period, zone).unwrap()
}

fn label_of(period: Period, zone: &str, time: &str) -> String {
    let calendar = calendar(period, zone);
    calendar.label(calendar.number(time_us(time)))
}

#[test]
fn each_period_is_named_by_its_first_day() {
    let of = |period| label_of(period, "America/New_York", "2024-03-10T04:59:59Z");
    assert_eq!(of(Period::Hour), "2024-03-09T23:00");
    assert_eq!(of(Period::Day), "2024-03-09");
    assert_eq!(of(Period::Week(Weekday::Monday)), "2024-03-04");
    assert_eq!(of(Period::Week(Weekday::Sunday)), "2024-03-03");
    assert_eq!(of(Period::Week(Weekday::Saturday)), "2024-03-09");
    assert_eq!(of(Period::Month), "2024-03-01");
    assert_eq!(of(Period::Quarter), "2024-01-01");
    assert_eq!(of(Period::Year), "2024-01-01");
    assert_eq!(label_of(Period::Month, "UTC", "1969-12-31T23:59:59Z"), "1969-12-01");
}

#[test]
fn a_day_has_23_hours_in_spring_and_25_in_autumn() {
    let day = calendar(Period::Day, "America/New_York");
    let length_h = |time: &str| {
        let number = day.number(time_us(time));
        (day.start_us(number + 1) - day.start_us(number)) / HOUR_US
    };
    assert_eq!(length_h("2024-03-10T12:00:00Z"), 23);
    assert_eq!(length_h("2024-11-03T12:00:00Z"), 25);
    assert_eq!(length_h("2024-11-04T12:00:00Z"), 24);
}

#[test]
fn the_hour_that_comes_twice_is_two() {
    let hour = calendar(Period::Hour, "America/New_York");
    let first = hour.number(time_us("2024-11-03T05:30:00Z"));
    assert_eq!(hour.number(time_us("2024-11-03T06:30:00Z")), first + 1);
    assert_eq!(hour.label(first), "2024-11-03T01:00");
    assert_eq!(hour.label(first + 1), "2024-11-03T01:00");
    assert_eq!(hour.label(first + 2), "2024-11-03T02:00");
    let kolkata = calendar(Period::Hour, "Asia/Kolkata");
    assert_eq!(kolkata.label(kolkata.number(time_us("2024-11-03T06:29:00Z"))), "2024-11-03T11:00");
}

#[test]
fn a_day_that_was_skipped_has_no_length_and_is_passed_over() {
    let day = calendar(Period::Day, "Pacific/Apia");
    let before = day.number(time_us("2011-12-30T09:59:59Z"));
    assert_eq!(day.label(before), "2011-12-29");
    assert_eq!(day.number(time_us("2011-12-30T10:00:00Z")), before + 2);
    assert_eq!(day.start_us(before + 1), day.start_us(before + 2));
    assert_eq!(day.next(before), before + 2);
    assert_eq!(day.next(before + 2), before + 3);
    let week = calendar(Period::Week(Weekday::Monday), "Pacific/Apia");
    let number = week.number(time_us("2011-12-30T09:59:59Z"));
    assert_eq!(week.start_us(number + 1) - week.start_us(number), 6 * DAY_US);
}

#[test]
fn clocks_that_go_back_over_midnight_do_not_bring_yesterday_back() {
    // St. John's went from 00:01 back to 23:01.
    let day = calendar(Period::Day, "America/St_Johns");
    let number = day.number(time_us("2010-11-07T02:30:30Z"));
    assert_eq!(day.label(number), "2010-11-07");
    assert_eq!(day.number(time_us("2010-11-07T03:00:00Z")), number);
    assert_eq!(day.number(time_us("2010-11-07T02:29:59Z")), number - 1);
}

#[test]
fn windows_since_a_start_know_no_calendar() {
    let start_us = time_us("2024-03-09T10:40:00Z");
    let days = ElapsedWindows::DAYS.since(start_us);
    assert_eq!(days.number(start_us + DAY_US - 1), 0);
    assert_eq!(days.number(start_us + DAY_US), 1);
    assert_eq!(days.number(start_us - 1), -1);
    let floored = ElapsedWindows::DAYS.floored_to_hour().unwrap().since(start_us);
    assert_eq!(floored.start_us(1), time_us("2024-03-10T10:00:00Z"));
    assert_eq!(floored.number(time_us("2024-03-10T10:00:00Z")), 1);
    assert!(ElapsedWindows::new(0, false).is_err());
    assert!(ElapsedWindows::new(90 * 60_000_000, true).is_err());
    assert!(ElapsedWindows::new(90 * 60_000_000, false).is_ok());
}

#[test]
fn the_ends_of_time_have_numbers_too() {
    for period in [Period::Hour, Period::Day, Period::Week(Weekday::Sunday), Period::Month, Period::Year] {
        for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
            let calendar = calendar(period, zone);
            let mut cursor = calendar.cursor();
            for time_us in [i64::MIN, i64::MIN + 1, 0, i64::MAX - 1, i64::MAX] {
                let number = cursor.number(time_us);
                assert_eq!(number, calendar.number(time_us));
                assert!(calendar.start_us(number) <= time_us);
                assert!(!calendar.label(number).is_empty());
            }
        }
    }
}

#[test]
fn names_are_checked() {
    assert_eq!(
        Calendar::new(Period::Day, "Mars/Olympus").unwrap_err().to_string(),
        "there is no time zone 'Mars/Olympus'; take an IANA name, such as Europe/Berlin"
    );
    assert_eq!(Calendar::new(Period::Day, "europe/berlin").unwrap().zone(), "Europe/Berlin");
    assert_eq!(Period::parse("week", Weekday::Sunday), Ok(Period::Week(Weekday::Sunday)));
    assert!(Period::parse("fortnight", Weekday::Monday).is_err());
    assert_eq!(Period::parse_week_start("saturday"), Ok(Weekday::Saturday));
    assert!(Period::parse_week_start("Funday").is_err());
}

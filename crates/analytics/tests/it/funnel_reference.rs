//! Funnels against ClickHouse 26.9 and against an exhaustive search, user by user.

use std::collections::BTreeMap;

use tributary_analytics::funnel::{ExactRule, Modes, TieOrder, exact_funnel, window_funnel_level};

use crate::fixtures::records;

/// The events that meet each step of each funnel of the reference run.
const FUNNELS: [(&str, &[&[&str]]); 6] = [
    ("std4", &[&["view"], &["product"], &["cart"], &["purchase"]]),
    ("std5", &[&["view"], &["product"], &["cart"], &["checkout"], &["purchase"]]),
    ("rep3", &[&["view"], &["view"], &["product"]]),
    ("repABA", &[&["view"], &["product"], &["view"], &["cart"]]),
    ("overlap", &[&["view", "product"], &["product"], &["cart", "checkout"], &["purchase"]]),
    ("two", &[&["view"], &["purchase"]]),
];

struct Case<'a> {
    steps: &'static [&'static [&'static str]],
    mode: &'a str,
    window_us: i64,
}

impl<'a> Case<'a> {
    /// From a column name such as `std4__strict_order+strict_increase__600`.
    fn of_column(column: &'a str) -> Option<Self> {
        let mut parts = column.split("__");
        let (funnel, mode, window_s) = (parts.next()?, parts.next()?, parts.next()?);
        let (_, steps) = FUNNELS.iter().find(|(name, _)| *name == funnel)?;
        Some(Self { steps, mode, window_us: window_s.parse::<i64>().ok()? * 1_000_000 })
    }
}

/// `(time_us, event)` of each user, in log order.
fn events_by_user() -> BTreeMap<String, Vec<(i64, String)>> {
    let mut events: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
    for record in records("funnel_events.csv") {
        let event = (record.integer("ts") * 1_000_000, record.text("event").to_owned());
        events.entry(record.text("user_id").to_owned()).or_default().push(event);
    }
    events
}

fn masked(events: &[(i64, String)], steps: &[&[&str]]) -> Vec<(i64, u32)> {
    let mask = |event: &str| (0..steps.len()).filter(|&step| steps[step].contains(&event)).map(|step| 1 << step).sum();
    events.iter().map(|(time_us, event)| (*time_us, mask(event))).collect()
}

/// Compares each user and column of `file` for which `level` gives an answer; returns how many it compared.
fn compare_all(file: &str, level: impl Fn(&Case<'_>, &[(i64, u32)]) -> Option<usize>) -> usize {
    let events = events_by_user();
    let mut compared = 0;
    for record in records(file) {
        let user = record.text("user_id");
        for (column, expected) in record.cells() {
            let Some(case) = Case::of_column(column) else { continue };
            let rows = masked(&events[user], case.steps);
            if let Some(level) = level(&case, &rows) {
                assert_eq!(level.to_string(), expected, "user {user}, {column}, rows {rows:?}");
                compared += 1;
            }
        }
    }
    compared
}

#[test]
fn window_funnel_equals_clickhouse_in_every_mode_it_has() {
    let compared = compare_all("funnel_expected_clickhouse.csv", |case, rows| {
        let names: Vec<&str> = case.mode.split('+').filter(|name| *name != "default").collect();
        let modes = Modes::parse(&names).unwrap();
        Some(window_funnel_level(rows, case.steps.len(), case.window_us, modes).unwrap())
    });
    assert_eq!(compared, USERS * 6 * 9 * 6, "users × funnels × modes × windows");
}

#[test]
fn exact_funnel_equals_an_exhaustive_search() {
    let compared = compare_all("funnel_expected_exact.csv", |case, rows| {
        let tie_order = match case.mode {
            "distinct" => TieOrder::Any,
            "increase" => TieOrder::StrictlyIncreasing,
            // The whole reference file also holds unordered funnels, which we do not have.
            _ => return None,
        };
        let rule = ExactRule::new(case.steps.len(), Some(case.window_us), tie_order).unwrap();
        Some(exact_funnel(rows, rule).level)
    });
    assert_eq!(compared, USERS * 6 * 2 * 6, "users × funnels × tie orders × windows");
}

/// Users in `funnel_events.csv`.
const USERS: usize = 150;

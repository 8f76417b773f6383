//! Retention against its definition, on random small cases in zones with summer time.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tributary_analytics::calendar::{Calendar, DAY_US, ElapsedWindows, HOUR_US, Period, Weekday};
use tributary_analytics::retention::{
    CohortRule, Counting, RetentionCounts, RetentionDefinition, RetentionFold, RetentionQuestion, ReturnEvent,
    SamePeriod, Windows,
};
use tributary_analytics::stats::Alpha;
use tributary_testkit::oracle::retention::{self, Column, Row, Table};

use crate::calendar_cases::{ZONES, slow_number, zone};

/// Ten days around changes of clocks: New York, Berlin, Lord Howe in 2024, Apia in 2011; seconds.
const MIDDLES_S: [i64; 4] = [1_710_054_000, 1_711_846_800, 1_728_142_200, 1_325_239_200];

/// Rows of up to four units in half hours, so that times meet; the unit is the first sort key.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0_usize..4, -240_i64..240, any::<bool>(), any::<bool>(), -5_i64..9);
    let rows = prop::collection::vec(row, 0..40);
    (rows, prop::sample::select(MIDDLES_S.to_vec()), 0_i64..3).prop_map(|(rows, middle_s, coarse)| {
        let of = |(unit, step, is_start, is_return, value_micros): (usize, i64, bool, bool, i64)| Row {
            unit,
            time_us: middle_s * 1_000_000 + (step >> coarse << coarse) * HOUR_US / 2,
            is_start,
            is_return,
            value_micros,
        };
        let mut rows: Vec<Row> = rows.into_iter().map(of).collect();
        rows.sort_by_key(|row| (row.unit, row.time_us));
        rows
    })
}

fn counting() -> impl Strategy<Value = Counting> {
    prop_oneof![
        (0_u32..8).prop_map(|period_max| Counting::Bounded { period_max }),
        (0_u32..8).prop_map(|period_max| Counting::Rolling { period_max }),
        prop::collection::vec((0_u32..3, 0_u32..3), 1..4).prop_map(|parts| {
            let mut next = 0;
            let bracket = |(gap, length): (u32, u32)| {
                let first = next + gap;
                next = first + length + 1;
                (first, first + length)
            };
            Counting::Brackets(parts.into_iter().map(bracket).collect())
        }),
    ]
}

fn windows() -> impl Strategy<Value = Windows> {
    prop_oneof![
        Just(Windows::Calendar(SamePeriod::FromStart)),
        Just(Windows::Calendar(SamePeriod::Whole)),
        Just(Windows::SinceStart(ElapsedWindows::DAYS)),
        Just(Windows::SinceStart(ElapsedWindows::DAYS.floored_to_hour().unwrap())),
        Just(Windows::SinceStart(ElapsedWindows::new(5 * HOUR_US, true).unwrap())),
        Just(Windows::SinceStart(ElapsedWindows::new(HOUR_US * 7 / 2, false).unwrap())),
    ]
}

fn question() -> impl Strategy<Value = RetentionQuestion> {
    let period = prop::sample::select(vec![
        Period::Hour,
        Period::Day,
        Period::Day,
        Period::Week(Weekday::Monday),
        Period::Week(Weekday::Saturday),
        Period::Month,
    ]);
    let rule = prop::sample::select(vec![CohortRule::FirstEver, CohortRule::FirstInRange, CohortRule::Recurring]);
    let event = prop::sample::select(vec![ReturnEvent::SameAsStart, ReturnEvent::Own]);
    let range = (prop::sample::select(MIDDLES_S.to_vec()), -200_i64..100, 1_i64..400);
    (period, prop::sample::select(ZONES.to_vec()), range, rule, event, windows(), counting()).prop_map(
        |(period, zone, (middle_s, begin_h, length_h), cohort_rule, return_event, windows, counting)| {
            let begin_us = middle_s * 1_000_000 + begin_h * HOUR_US / 2;
            RetentionQuestion {
                calendar: Calendar::new(period, zone).unwrap(),
                starts_us: begin_us..begin_us + length_h * HOUR_US,
                cohort_rule,
                return_event,
                windows,
                counting,
            }
        },
    )
}

fn counted(definition: &RetentionDefinition, rows: &[Row]) -> RetentionCounts {
    let mut counts = RetentionCounts::new(definition);
    let mut fold = RetentionFold::new(definition);
    for of_unit in rows.chunk_by(|one, other| one.unit == other.unit) {
        for row in of_unit {
            fold.push(row.time_us, row.is_start, row.is_return, row.value_micros);
        }
        fold.finish_into(&mut counts);
    }
    counts
}

fn as_table(counts: &RetentionCounts) -> Table {
    let cohorts = counts.cohorts(i64::MAX, Alpha::FIVE_PERCENT).into_iter();
    let cells = cohorts.map(|cohort| {
        let cells = cohort.cells.iter().map(|cell| (cell.unit_count, cell.event_count, cell.revenue_micros));
        (cohort.cohort, (cohort.unit_count, cells.collect()))
    });
    cells.collect()
}

fn slow_table(question: &RetentionQuestion, rows: &[Row]) -> Table {
    let zone: TimeZone = zone(question.calendar.zone());
    let alone = |period: &i64| Column { units: *period..=*period, returns: *period..=*period };
    let columns = match &question.counting {
        Counting::Bounded { period_max } => (0..=i64::from(*period_max)).map(|period| alone(&period)).collect(),
        Counting::Rolling { period_max } => {
            (0..=i64::from(*period_max)).map(|period| Column { units: period..=i64::MAX, ..alone(&period) }).collect()
        }
        Counting::Brackets(brackets) => brackets
            .iter()
            .map(|&(first, last)| i64::from(first)..=i64::from(last))
            .map(|periods| Column { units: periods.clone(), returns: periods })
            .collect(),
    };
    let rows: Vec<Row> = match question.return_event {
        ReturnEvent::SameAsStart => rows.iter().map(|row| Row { is_return: row.is_start, ..*row }).collect(),
        ReturnEvent::Own => rows.to_vec(),
    };
    let question = retention::Question {
        period: &|time_us| slow_number(question.calendar.period(), &zone, time_us),
        starts_us: question.starts_us.clone(),
        cohorts: match question.cohort_rule {
            CohortRule::FirstEver => retention::Cohorts::FirstEver,
            CohortRule::FirstInRange => retention::Cohorts::FirstInRange,
            CohortRule::Recurring => retention::Cohorts::EachPeriod,
        },
        windows: match question.windows {
            Windows::Calendar(same_period) => {
                retention::Windows::Calendar { from_start: same_period == SamePeriod::FromStart }
            }
            Windows::SinceStart(windows) => retention::Windows::Since {
                length_us: windows.length_us(),
                from_full_hour: windows.is_floored_to_hour(),
            },
        },
        columns,
    };
    retention::table(&rows, &question)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn retention_is_what_its_definition_says(rows in rows(), question in question()) {
        let definition = RetentionDefinition::new(question.clone()).unwrap();
        prop_assert_eq!(as_table(&counted(&definition, &rows)), slow_table(&question, &rows));
    }

    #[test]
    fn tables_of_parts_merge_to_the_table_of_all(rows in rows(), question in question(), cut in 0_usize..5) {
        let definition = RetentionDefinition::new(question).unwrap();
        let (some, others): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| row.unit < cut);
        let mut merged = counted(&definition, &others);
        merged.merge(&counted(&definition, &some));
        prop_assert_eq!(merged, counted(&definition, &rows));
    }

    #[test]
    fn rows_of_one_time_may_come_in_any_order(rows in rows(), question in question()) {
        let definition = RetentionDefinition::new(question).unwrap();
        let mut other = rows.clone();
        other.reverse();
        other.sort_by_key(|row| (row.unit, row.time_us));
        prop_assert_eq!(counted(&definition, &other), counted(&definition, &rows));
    }

    #[test]
    fn a_rolling_table_never_rises_and_begins_with_all(rows in rows(), question in question(), period_max in 0_u32..9) {
        let counting = Counting::Rolling { period_max };
        let return_event = ReturnEvent::SameAsStart;
        let definition = RetentionDefinition::new(RetentionQuestion { counting, return_event, ..question }).unwrap();
        for (unit_count, cells) in as_table(&counted(&definition, &rows)).into_values() {
            prop_assert_eq!(cells[0].0, unit_count);
            prop_assert!(cells.is_sorted_by(|earlier, later| later.0 <= earlier.0), "{:?}", cells);
        }
    }

    #[test]
    fn every_interval_holds_its_share(rows in rows(), question in question(), known_day in 0_i64..20) {
        let definition = RetentionDefinition::new(question).unwrap();
        let is_rolling = matches!(definition.question().counting, Counting::Rolling { .. });
        let known_until_us = MIDDLES_S[0] * 1_000_000 + known_day * DAY_US;
        for cohort in counted(&definition, &rows).cohorts(known_until_us, Alpha::FIVE_PERCENT) {
            for cell in cohort.cells {
                let share = cell.unit_count as f64 / cohort.unit_count as f64;
                prop_assert!(cell.unit_count <= cohort.unit_count && cell.interval.unwrap().holds(share));
                prop_assert!(is_rolling || (cell.unit_count > 0) == (cell.event_count > 0));
            }
        }
    }
}

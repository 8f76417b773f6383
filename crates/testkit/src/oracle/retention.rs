//! Retention by its definition: for each unit, cohort and column, look at all rows.
//!
//! In:       rows of all units in any order; which period a time is in, as a function; the question.
//! Out:      by cohort its size, and by column units, returns and what those were worth.
//! Promise:  no state is carried from row to row; time order is only ever compared.
//! Not here: speed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Range, RangeInclusive};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub unit: usize,
    pub time_us: i64,
    pub is_start: bool,
    pub is_return: bool,
    pub value_micros: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cohorts {
    FirstEver,
    FirstInRange,
    EachPeriod,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    Calendar { from_start: bool },
    Since { length_us: i64, from_full_hour: bool },
}

/// In which periods since the start a return makes the unit count, and in which it is counted itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub units: RangeInclusive<i64>,
    pub returns: RangeInclusive<i64>,
}

pub struct Question<'a> {
    pub period: &'a dyn Fn(i64) -> i64,
    pub starts_us: Range<i64>,
    pub cohorts: Cohorts,
    pub windows: Windows,
    pub columns: Vec<Column>,
}

/// By cohort: units in it, and for each column `(units, returns, revenue)`.
pub type Table = BTreeMap<i64, (u64, Vec<(u64, u64, i128)>)>;

pub fn table(rows: &[Row], question: &Question<'_>) -> Table {
    let mut table = Table::new();
    let units: BTreeSet<usize> = rows.iter().map(|row| row.unit).collect();
    for unit in units {
        let of_unit: Vec<&Row> = rows.iter().filter(|row| row.unit == unit).collect();
        for (cohort, start_us) in starts(&of_unit, question) {
            let empty = || (0, vec![(0, 0, 0); question.columns.len()]);
            let (unit_count, cells) = table.entry(cohort).or_insert_with(empty);
            *unit_count += 1;
            let returns: Vec<(i64, i64)> = (of_unit.iter())
                .filter(|row| row.is_return)
                .filter_map(|row| Some((period_since(cohort, start_us, row.time_us, question)?, row.value_micros)))
                .collect();
            for (cell, column) in cells.iter_mut().zip(&question.columns) {
                let here = || returns.iter().filter(|(period, _)| column.returns.contains(period));
                cell.0 += u64::from(returns.iter().any(|(period, _)| column.units.contains(period)));
                cell.1 += here().count() as u64;
                cell.2 += here().map(|(_, value_micros)| i128::from(*value_micros)).sum::<i128>();
            }
        }
    }
    table
}

/// The cohorts of a unit, and when it started in each.
fn starts(rows: &[&Row], question: &Question<'_>) -> BTreeMap<i64, i64> {
    let all = || rows.iter().filter(|row| row.is_start).map(|row| row.time_us);
    let in_range = |time_us: &i64| question.starts_us.contains(time_us);
    let chosen: Vec<i64> = match question.cohorts {
        Cohorts::FirstEver => all().min().into_iter().filter(in_range).collect(),
        Cohorts::FirstInRange => all().filter(in_range).min().into_iter().collect(),
        Cohorts::EachPeriod => all().filter(in_range).collect(),
    };
    let mut starts = BTreeMap::new();
    for time_us in chosen {
        let first_us = starts.entry((question.period)(time_us)).or_insert(time_us);
        *first_us = time_us.min(*first_us);
    }
    starts
}

/// How many periods after the start a return is; none if it does not count.
fn period_since(cohort: i64, start_us: i64, time_us: i64, question: &Question<'_>) -> Option<i64> {
    match question.windows {
        Windows::Calendar { from_start } => {
            let period = (question.period)(time_us) - cohort;
            let counts = if from_start { start_us <= time_us } else { 0 <= period };
            counts.then_some(period)
        }
        Windows::Since { length_us, from_full_hour } => {
            let hour_us = 3_600_000_000;
            let origin_us = if from_full_hour { start_us.div_euclid(hour_us) * hour_us } else { start_us };
            (start_us <= time_us).then(|| (time_us - origin_us).div_euclid(length_us))
        }
    }
}

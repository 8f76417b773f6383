//! The table of retention: cohorts down, periods since the start across.
//!
//! In:       units, one finished after the other (`fold.rs`); other tables of the same definition.
//! Out:      for each cohort and column the units that came back, their returns, what those were worth.
//! Promise:  whole numbers only, so that merging in any order is exact; a cohort nobody is in takes no memory for cells.
//! Not here: which row belongs where.

use super::definition::{RetentionDefinition, Windows};
use crate::calendar::Progress;
use crate::stats::{Alpha, Interval, wilson_interval};

/// What happened in one column of a cohort, or in one period of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) event_count: u64,
    pub(super) revenue_micros: i128,
}

impl Tally {
    #[inline]
    pub(super) fn push(&mut self, value_micros: i64) {
        self.event_count += 1;
        self.revenue_micros += i128::from(value_micros);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.event_count += other.event_count;
        self.revenue_micros += other.revenue_micros;
    }

    pub(super) fn without(self, part: Self) -> Self {
        Self {
            event_count: self.event_count - part.event_count,
            revenue_micros: self.revenue_micros - part.revenue_micros,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cell {
    /// Units that came back; of a rolling table, units that came back here for the last time.
    unit_count: u64,
    tally: Tally,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Cohort {
    unit_count: u64,
    /// None until the first unit comes.
    cells: Vec<Cell>,
}

/// One cell of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetentionCell {
    /// First and last period since the start.
    pub periods: (u32, u32),
    pub unit_count: u64,
    /// Returns in these periods, also in a rolling table.
    pub event_count: u64,
    pub revenue_micros: i128,
    /// Of this column and all before it.
    pub cumulative_revenue_micros: i128,
    /// Whether its time is over for all of the cohort; a rolling cell may still grow thereafter.
    pub progress: Progress,
    /// Wilson's, of the share of the cohort that came back.
    pub interval: Option<Interval>,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct CohortRetention {
    /// The period of the start; `Calendar::label` names it.
    pub cohort: i64,
    pub unit_count: u64,
    /// One for each column.
    pub cells: Vec<RetentionCell>,
}

/// A column over all cohorts whose cell is over.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OverallRetention {
    pub periods: (u32, u32),
    /// Units of those cohorts.
    pub eligible_count: u64,
    pub unit_count: u64,
    pub interval: Option<Interval>,
}

/// The table; one for each value of a breakdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionCounts {
    definition: RetentionDefinition,
    cohorts: Vec<Cohort>,
}

impl RetentionCounts {
    pub fn new(definition: &RetentionDefinition) -> Self {
        Self { definition: definition.clone(), cohorts: vec![Cohort::default(); definition.cohort_count()] }
    }

    pub fn definition(&self) -> &RetentionDefinition {
        &self.definition
    }

    /// Adds the units of another table: no unit may be in both.
    ///
    /// Panics if it answers another question: sums of both would mean nothing.
    pub fn merge(&mut self, other: &Self) {
        assert!(self.definition == other.definition, "tables of one definition are merged");
        for (cohort, theirs) in self.cohorts.iter_mut().zip(&other.cohorts) {
            cohort.unit_count += theirs.unit_count;
            if cohort.cells.is_empty() {
                cohort.cells.clone_from(&theirs.cells);
                continue;
            }
            for (cell, theirs) in cohort.cells.iter_mut().zip(&theirs.cells) {
                cell.unit_count += theirs.unit_count;
                cell.tally.add(theirs.tally);
            }
        }
    }

    pub(super) fn add_unit(&mut self, cohort: i64) {
        let column_count = self.definition.columns().len();
        let cohort = &mut self.cohorts[place(&self.definition, cohort)];
        cohort.unit_count += 1;
        if cohort.cells.is_empty() {
            cohort.cells.resize(column_count, Cell::default());
        }
    }

    /// * `is_first`: whether the unit is not yet counted in this column.
    pub(super) fn add_returns(&mut self, cohort: i64, column: usize, tally: Tally, is_first: bool) {
        let cell = &mut self.cohorts[place(&self.definition, cohort)].cells[column];
        cell.unit_count += u64::from(is_first);
        cell.tally.add(tally);
    }

    /// Of a rolling table: the unit came back in this column or a later period for the last time.
    pub(super) fn add_last_return(&mut self, cohort: i64, column: usize) {
        self.cohorts[place(&self.definition, cohort)].cells[column].unit_count += 1;
    }

    /// The cohorts that anyone is in, in order of time.
    ///
    /// * `known_until_us`: up to when, exclusive, all events are known.
    pub fn cohorts(&self, known_until_us: i64, alpha: Alpha) -> Vec<CohortRetention> {
        let with_numbers = (self.definition.cohort_first()..).zip(&self.cohorts);
        with_numbers
            .filter(|(_, cohort)| cohort.unit_count > 0)
            .map(|(number, cohort)| CohortRetention {
                cohort: number,
                unit_count: cohort.unit_count,
                cells: self.cells(number, cohort, known_until_us, alpha),
            })
            .collect()
    }

    /// Each column over the cohorts whose cell is over, so that the young do not pull it down: the mean of their
    /// shares, weighted by their sizes.
    pub fn overall(&self, known_until_us: i64, alpha: Alpha) -> Vec<OverallRetention> {
        let empty = |periods: &(u32, u32)| (*periods, 0, 0);
        let mut sums: Vec<((u32, u32), u64, u64)> = self.definition.columns().iter().map(empty).collect();
        for cohort in self.cohorts(known_until_us, alpha) {
            for (sum, cell) in sums.iter_mut().zip(&cohort.cells) {
                if cell.progress == Progress::Over {
                    sum.1 += cohort.unit_count;
                    sum.2 += cell.unit_count;
                }
            }
        }
        let overall = |(periods, eligible_count, unit_count)| OverallRetention {
            periods,
            eligible_count,
            unit_count,
            interval: wilson_interval(unit_count, eligible_count, alpha),
        };
        sums.into_iter().map(overall).collect()
    }

    fn cells(&self, number: i64, cohort: &Cohort, known_until_us: i64, alpha: Alpha) -> Vec<RetentionCell> {
        let mut cumulative_revenue_micros = 0;
        let mut cells: Vec<RetentionCell> = (self.definition.columns().iter().zip(&cohort.cells))
            .map(|(&periods, cell)| {
                cumulative_revenue_micros += cell.tally.revenue_micros;
                RetentionCell {
                    periods,
                    unit_count: cell.unit_count,
                    event_count: cell.tally.event_count,
                    revenue_micros: cell.tally.revenue_micros,
                    cumulative_revenue_micros,
                    progress: self.progress(number, periods, known_until_us),
                    interval: None,
                }
            })
            .collect();
        if self.definition.is_rolling() {
            let mut later = 0;
            for cell in cells.iter_mut().rev() {
                later += cell.unit_count;
                cell.unit_count = later;
            }
        }
        for cell in &mut cells {
            cell.interval = wilson_interval(cell.unit_count, cohort.unit_count, alpha);
        }
        cells
    }

    fn progress(&self, cohort: i64, (first, last): (u32, u32), known_until_us: i64) -> Progress {
        let question = self.definition.question();
        let calendar = &question.calendar;
        let (begin_us, end_us) = match question.windows {
            Windows::Calendar(_) => {
                (calendar.start_us(cohort + i64::from(first)), calendar.start_us(cohort + i64::from(last) + 1))
            }
            // The cohort's windows begin with the first that could start in it, and end with the last.
            Windows::SinceStart(windows) => {
                let starts_us = calendar.start_us(cohort).max(question.starts_us.start)
                    ..calendar.start_us(cohort + 1).min(question.starts_us.end);
                let latest = windows.since(starts_us.end - 1);
                (windows.since(starts_us.start).start_us(i64::from(first)), latest.start_us(i64::from(last) + 1))
            }
        };
        Progress::of(begin_us..end_us, known_until_us)
    }
}

fn place(definition: &RetentionDefinition, cohort: i64) -> usize {
    usize::try_from(cohort - definition.cohort_first()).expect("a counted start is not before the first cohort")
}

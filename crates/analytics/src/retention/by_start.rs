//! Retention in windows since the start, which are each unit's own.
//!
//! In:       rows of a unit in time order, each a start or a return.
//! Out:      the unit in the table.
//! Promise:  a return costs one step for each cohort of the unit whose columns are not over; what is kept is bounded by the
//!           cells of the table.
//! Not here: periods of the calendar (`by_period.rs`), which need less.

use super::counts::{RetentionCounts, Tally};
use super::definition::{CohortRule, RetentionDefinition};
use crate::calendar::{ElapsedStart, ElapsedWindows, PeriodCursor};

#[derive(Debug, Clone, Copy)]
struct Begun {
    cohort: i64,
    start_us: i64,
    windows: ElapsedStart,
    /// The window of the last return, and where it ends.
    period: i64,
    period_until_us: i64,
}

#[derive(Debug, Clone)]
pub(super) struct ByStart {
    definition: RetentionDefinition,
    windows: ElapsedWindows,
    cursor: PeriodCursor,
    takes_starts: bool,
    begun: Vec<Begun>,
    /// The first of `begun` whose columns are not over.
    open: usize,
    /// For each of `begun` a tally for each column.
    tallies: Vec<Tally>,
    instant_us: i64,
    at_instant: Tally,
    last_return_us: Option<i64>,
}

impl ByStart {
    pub(super) fn new(definition: &RetentionDefinition, windows: ElapsedWindows) -> Self {
        Self {
            definition: definition.clone(),
            windows,
            cursor: definition.question().calendar.cursor(),
            takes_starts: true,
            begun: Vec::new(),
            open: 0,
            tallies: Vec::new(),
            instant_us: i64::MIN,
            at_instant: Tally::default(),
            last_return_us: None,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, time_us: i64, is_start: bool, is_return: bool, value_micros: i64) {
        debug_assert!(self.instant_us <= time_us, "rows of a unit come in time order");
        if self.instant_us != time_us {
            self.instant_us = time_us;
            self.at_instant = Tally::default();
        }
        if is_return {
            self.at_instant.push(value_micros);
            self.last_return_us = Some(time_us);
            self.add_return(time_us, value_micros);
        }
        if is_start && self.takes_starts {
            self.start(time_us);
        }
    }

    fn add_return(&mut self, time_us: i64, value_micros: i64) {
        let column_count = self.definition.columns().len();
        for (index, begun) in self.begun.iter_mut().enumerate().skip(self.open) {
            if begun.period_until_us <= time_us {
                begun.period = begun.windows.number(time_us);
                begun.period_until_us = begun.windows.start_us(begun.period + 1);
            }
            if let Some(column) = self.definition.column(begun.period) {
                self.tallies[index * column_count + column].push(value_micros);
            } else if self.definition.period_max() < begun.period && index == self.open {
                self.open += 1;
            }
        }
    }

    fn start(&mut self, time_us: i64) {
        let counts = self.definition.is_counted_start(time_us);
        match self.definition.question().cohort_rule {
            CohortRule::FirstEver => self.takes_starts = false,
            CohortRule::FirstInRange => self.takes_starts = !counts,
            CohortRule::Recurring => {}
        }
        let cohort = self.cursor.number(time_us);
        if !counts || self.begun.last().is_some_and(|last| last.cohort == cohort) {
            return;
        }
        let windows = self.windows.since(time_us);
        let period_until_us = windows.start_us(1);
        self.begun.push(Begun { cohort, start_us: time_us, windows, period: 0, period_until_us });
        let column_count = self.definition.columns().len();
        self.tallies.resize(self.begun.len() * column_count, Tally::default());
        // Returns of this instant that came before it in the rows are not before it in time.
        if let Some(column) = self.definition.column(0) {
            self.tallies[(self.begun.len() - 1) * column_count + column] = self.at_instant;
        }
    }

    pub(super) fn finish_into(&mut self, counts: &mut RetentionCounts) {
        let column_count = self.definition.columns().len();
        let is_rolling = self.definition.is_rolling();
        for (begun, tallies) in self.begun.iter().zip(self.tallies.chunks_exact(column_count)) {
            counts.add_unit(begun.cohort);
            for (column, tally) in tallies.iter().enumerate().filter(|(_, tally)| tally.event_count > 0) {
                counts.add_returns(begun.cohort, column, *tally, !is_rolling);
            }
            let last_return_us = self.last_return_us.filter(|last_us| is_rolling && begun.start_us <= *last_us);
            if let Some(last_us) = last_return_us {
                let period = begun.windows.number(last_us).min(self.definition.period_max());
                let column = self.definition.column(period).expect("rolling tables have all columns");
                counts.add_last_return(begun.cohort, column);
            }
        }
    }

    pub(super) fn reset(&mut self) {
        self.takes_starts = true;
        self.begun.clear();
        self.open = 0;
        self.tallies.clear();
        self.instant_us = i64::MIN;
        self.at_instant = Tally::default();
        self.last_return_us = None;
    }
}

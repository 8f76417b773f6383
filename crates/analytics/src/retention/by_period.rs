//! Retention in periods of the calendar: all that must be kept of a unit is what it did in each period.
//!
//! In:       rows of a unit in time order, each a start or a return.
//! Out:      the unit in the table.
//! Promise:  a unit in many cohorts costs no more a row than one in one; what is kept is bounded by the periods from the
//!           first cohort to the last column of the last.
//! Not here: windows since the start (`by_start.rs`).

use super::counts::{RetentionCounts, Tally};
use super::definition::{CohortRule, RetentionDefinition, SamePeriod};
use crate::calendar::PeriodCursor;

#[derive(Debug, Clone, Copy)]
struct InPeriod {
    number: i64,
    has_start: bool,
    /// Returns before the start; nothing without one.
    before_start: Tally,
    returns: Tally,
}

impl InPeriod {
    fn empty(number: i64) -> Self {
        Self { number, has_start: false, before_start: Tally::default(), returns: Tally::default() }
    }

    fn is_empty(&self) -> bool {
        !self.has_start && self.returns.event_count == 0
    }
}

#[derive(Debug, Clone)]
pub(super) struct ByPeriod {
    definition: RetentionDefinition,
    cursor: PeriodCursor,
    cohort_rule: CohortRule,
    counts_before_start: bool,
    /// Whether a start can still put the unit into a cohort.
    takes_starts: bool,
    has_cohort: bool,
    /// The last period that is in a column of any cohort.
    number_max: i64,
    /// Periods before the current one, from the first cohort on.
    past: Vec<InPeriod>,
    current: InPeriod,
    /// The time of the last row, and the returns of the current period before that time.
    instant_us: i64,
    before_instant: Tally,
    last_return_number: Option<i64>,
}

impl ByPeriod {
    pub(super) fn new(definition: &RetentionDefinition, same_period: SamePeriod) -> Self {
        let question = definition.question();
        Self {
            definition: definition.clone(),
            cursor: question.calendar.cursor(),
            cohort_rule: question.cohort_rule,
            counts_before_start: same_period == SamePeriod::Whole,
            takes_starts: true,
            has_cohort: false,
            number_max: i64::MAX,
            past: Vec::new(),
            current: InPeriod::empty(i64::MIN),
            instant_us: i64::MIN,
            before_instant: Tally::default(),
            last_return_number: None,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, time_us: i64, is_start: bool, is_return: bool, value_micros: i64) {
        debug_assert!(self.instant_us <= time_us, "rows of a unit come in time order");
        if !self.takes_starts && !self.has_cohort {
            return;
        }
        let number = self.cursor.number(time_us);
        if number != self.current.number {
            self.turn_to(number);
        }
        if self.instant_us != time_us {
            self.instant_us = time_us;
            self.before_instant = self.current.returns;
        }
        if is_return {
            self.current.returns.push(value_micros);
        }
        if is_start && self.takes_starts && !self.current.has_start {
            self.start(time_us);
        }
    }

    fn start(&mut self, time_us: i64) {
        let counts = self.definition.is_counted_start(time_us);
        match self.cohort_rule {
            CohortRule::FirstEver => self.takes_starts = false,
            CohortRule::FirstInRange => self.takes_starts = !counts,
            CohortRule::Recurring => {}
        }
        if counts {
            self.has_cohort = true;
            self.current.has_start = true;
            self.current.before_start = self.before_instant;
            self.number_max = self.current.number.saturating_add(self.definition.period_max());
        }
    }

    /// Closes the current period and begins another.
    fn turn_to(&mut self, number: i64) {
        self.close_period();
        self.current = InPeriod::empty(number);
        self.before_instant = Tally::default();
    }

    fn close_period(&mut self) {
        if !self.has_cohort || self.current.is_empty() {
            return;
        }
        if self.current.returns.event_count > 0 {
            self.last_return_number = Some(self.current.number);
        }
        if self.current.number <= self.number_max {
            self.past.push(self.current);
        }
    }

    pub(super) fn finish_into(&mut self, counts: &mut RetentionCounts) {
        self.close_period();
        for (index, begun) in self.past.iter().enumerate() {
            if !begun.has_start {
                continue;
            }
            counts.add_unit(begun.number);
            let in_own_period =
                if self.counts_before_start { begun.returns } else { begun.returns.without(begun.before_start) };
            self.add_returns(begun.number, in_own_period, &self.past[index + 1..], counts);
            if self.definition.is_rolling() {
                self.add_last_return(begun.number, in_own_period, counts);
            }
        }
    }

    fn add_returns(&self, cohort: i64, in_own_period: Tally, later: &[InPeriod], counts: &mut RetentionCounts) {
        let is_rolling = self.definition.is_rolling();
        let mut last_column = None;
        let own = std::iter::once((cohort, in_own_period));
        for (number, returns) in own.chain(later.iter().map(|period| (period.number, period.returns))) {
            let period = number - cohort;
            if self.definition.period_max() < period {
                break;
            }
            let Some(column) = self.definition.column(period) else { continue };
            if returns.event_count > 0 {
                counts.add_returns(cohort, column, returns, !is_rolling && last_column != Some(column));
                last_column = Some(column);
            }
        }
    }

    fn add_last_return(&self, cohort: i64, in_own_period: Tally, counts: &mut RetentionCounts) {
        let later = self.last_return_number.filter(|number| cohort < *number);
        let own = (in_own_period.event_count > 0).then_some(cohort);
        if let Some(last) = later.or(own) {
            let period = (last - cohort).min(self.definition.period_max());
            counts.add_last_return(cohort, self.definition.column(period).expect("rolling tables have all columns"));
        }
    }

    pub(super) fn reset(&mut self) {
        self.takes_starts = true;
        self.has_cohort = false;
        self.number_max = i64::MAX;
        self.past.clear();
        self.current = InPeriod::empty(i64::MIN);
        self.instant_us = i64::MIN;
        self.before_instant = Tally::default();
        self.last_return_number = None;
    }
}

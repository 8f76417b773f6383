//! The periods that are asked about.
//!
//! In:       a calendar, a range of time.
//! Out:      the numbers of the periods that it touches, and their places.
//! Promise:  at least one and at most `PERIOD_COUNT_MAX`.
//! Not here: what happened in them.

use std::ops::Range;

use crate::calendar::Calendar;
use crate::error::AnalyticsError;

/// Thirty years of hours fit.
pub const PERIOD_COUNT_MAX: usize = 1 << 18;

/// The periods of a calendar that a range of time touches, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeriodRange {
    calendar: Calendar,
    first: i64,
    count: usize,
}

impl PeriodRange {
    /// * `times_us`: the end is exclusive.
    /// * Fails for an empty range and for more than `PERIOD_COUNT_MAX` periods.
    pub fn new(calendar: Calendar, times_us: Range<i64>) -> Result<Self, AnalyticsError> {
        if times_us.is_empty() {
            return Err(AnalyticsError::EmptyRange);
        }
        let first = calendar.number(times_us.start);
        let count = calendar.number(times_us.end - 1).abs_diff(first) + 1;
        match usize::try_from(count) {
            Ok(count) if count <= PERIOD_COUNT_MAX => Ok(Self { calendar, first, count }),
            _ => Err(AnalyticsError::CellCount { rows: count, columns: 1, max: PERIOD_COUNT_MAX as u64 }),
        }
    }

    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The number of the first period.
    pub fn first(&self) -> i64 {
        self.first
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// The numbers of all periods, in order; `Calendar::label` names them.
    pub fn numbers(&self) -> impl Iterator<Item = i64> + use<> {
        self.first..self.first.saturating_add(i64::try_from(self.count).expect("few periods"))
    }

    /// The place of a period in the range, counted from 0.
    pub fn place(&self, number: i64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok().filter(|place| *place < self.count)
    }
}

//! Stickiness: in how many days of a month, or weeks of a quarter, a unit was active.
//!
//! In:       the times of one unit's rows in order, unit after unit.
//! Out:      by period the units that were active in one of its intervals, in two, in three ...
//! Promise:  an interval that lies in two periods (a week at the turn of a month) counts in each, if there was a row there.
//! Not here: ratios of active units (`active.rs`), which are also called stickiness.
//!
//! Definitions: `docs/methods.md#activity`.

use std::ops::Range;

use super::PeriodRange;
use crate::calendar::{Calendar, PeriodCursor};
use crate::error::AnalyticsError;

/// Units by active intervals, period by period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickinessCounts {
    periods: PeriodRange,
    intervals: Calendar,
    /// By period, then by the count of intervals less one; as long as the most active unit needs.
    unit_counts: Vec<Vec<u64>>,
}

impl StickinessCounts {
    /// * `periods`, `intervals`: such as months and days, of one time zone.
    /// * `times_us`: the end is exclusive; all periods it touches count.
    /// * Fails for an empty range, and for more periods or intervals than a `PeriodRange` has.
    pub fn new(periods: Calendar, intervals: Calendar, times_us: Range<i64>) -> Result<Self, AnalyticsError> {
        let intervals = PeriodRange::new(intervals, times_us.clone())?.calendar().clone();
        let periods = PeriodRange::new(periods, times_us)?;
        let unit_counts = vec![Vec::new(); periods.count()];
        Ok(Self { periods, intervals, unit_counts })
    }

    /// Adds the units of other counts: no unit may be in both.
    ///
    /// Panics if they answer another question.
    pub fn merge(&mut self, other: &Self) {
        let is_same = self.periods == other.periods && self.intervals == other.intervals;
        assert!(is_same, "counts of one question are merged");
        for (ours, theirs) in self.unit_counts.iter_mut().zip(&other.unit_counts) {
            ours.resize(ours.len().max(theirs.len()), 0);
            for (count, other) in ours.iter_mut().zip(theirs) {
                *count += other;
            }
        }
    }

    /// By period: its number, and the units by count of active intervals, those of one first.
    pub fn periods(&self) -> impl Iterator<Item = (i64, &[u64])> {
        self.periods.numbers().zip(self.unit_counts.iter().map(Vec::as_slice))
    }

    pub fn range(&self) -> &PeriodRange {
        &self.periods
    }

    fn add(&mut self, period: usize, interval_count: usize) {
        let counts = &mut self.unit_counts[period];
        counts.resize(counts.len().max(interval_count), 0);
        counts[interval_count - 1] += 1;
    }
}

/// The state of one unit; use it again for the next.
#[derive(Debug, Clone)]
pub struct StickinessFold {
    periods: PeriodRange,
    period_cursor: PeriodCursor,
    interval_cursor: PeriodCursor,
    /// Period and interval of the last row.
    current: Option<(i64, i64)>,
    /// The place of each period with activity, and how many of its intervals had any.
    interval_counts: Vec<(usize, usize)>,
}

impl StickinessFold {
    pub fn new(counts: &StickinessCounts) -> Self {
        Self {
            periods: counts.periods.clone(),
            period_cursor: counts.periods.calendar().cursor(),
            interval_cursor: counts.intervals.cursor(),
            current: None,
            interval_counts: Vec::new(),
        }
    }

    /// Takes in the time of the unit's next row, not before the last.
    #[inline]
    pub fn push(&mut self, time_us: i64) {
        let now = (self.period_cursor.number(time_us), self.interval_cursor.number(time_us));
        if self.current == Some(now) {
            return;
        }
        debug_assert!(self.current < Some(now), "rows of a unit come in time order");
        let is_same_period = self.current.is_some_and(|(period, _)| period == now.0);
        self.current = Some(now);
        let Some(place) = self.periods.place(now.0) else { return };
        match self.interval_counts.last_mut() {
            Some((_, interval_count)) if is_same_period => *interval_count += 1,
            _ => self.interval_counts.push((place, 1)),
        }
    }

    /// Ends the unit: adds it to the counts and is ready for the next.
    ///
    /// * `counts`: of the question the fold was made for.
    pub fn finish_into(&mut self, counts: &mut StickinessCounts) {
        for &(place, interval_count) in &self.interval_counts {
            counts.add(place, interval_count);
        }
        self.reset();
    }

    /// Forgets the unit and keeps its buffer.
    pub fn reset(&mut self) {
        self.current = None;
        self.interval_counts.clear();
    }
}

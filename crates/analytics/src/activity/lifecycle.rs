//! Lifecycle: where the active units of a period come from, and how many were lost.
//!
//! In:       the active periods of each unit.
//! Out:      by period new, returning, resurrecting, dormant.
//! Promise:  active = new + returning + resurrecting, and dormant = active in the period before - returning.
//! Not here: the periods of a unit (`fold.rs`).
//!
//! Definitions: `docs/methods.md#activity`.

use super::{ActivePeriods, PeriodRange};

/// Units of one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LifecyclePeriod {
    /// Active for the first time.
    pub new_count: u64,
    /// Active, and in the period before as well.
    pub returning_count: u64,
    /// Active, not in the period before, but earlier.
    pub resurrecting_count: u64,
    /// Not active, but in the period before. While the period runs, everybody who has not come yet is among them.
    pub dormant_count: u64,
}

impl LifecyclePeriod {
    pub fn active_count(&self) -> u64 {
        self.new_count + self.returning_count + self.resurrecting_count
    }
}

/// The lifecycle in a range of periods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleCounts {
    range: PeriodRange,
    periods: Vec<LifecyclePeriod>,
}

impl LifecycleCounts {
    pub fn new(range: &PeriodRange) -> Self {
        Self { range: range.clone(), periods: vec![LifecyclePeriod::default(); range.count()] }
    }

    /// Adds one unit.
    ///
    /// * `active`: from a fold over the same range.
    pub fn add_unit(&mut self, active: ActivePeriods<'_>) {
        let mut last = active.last_before;
        for &number in active.in_range {
            let expected = last.map(|last| self.range.calendar().next(last));
            if let Some(missed) = expected.filter(|expected| *expected < number) {
                self.add_dormant(missed);
            }
            let Some(place) = self.range.place(number) else { continue };
            let period = &mut self.periods[place];
            match expected {
                None => period.new_count += 1,
                Some(expected) if expected == number => period.returning_count += 1,
                Some(_) => period.resurrecting_count += 1,
            }
            last = Some(number);
        }
        if let Some(last) = last {
            self.add_dormant(self.range.calendar().next(last));
        }
    }

    fn add_dormant(&mut self, number: i64) {
        if let Some(place) = self.range.place(number) {
            self.periods[place].dormant_count += 1;
        }
    }

    /// Adds the units of other counts: no unit may be in both.
    ///
    /// Panics if they are of another range.
    pub fn merge(&mut self, other: &Self) {
        assert!(self.range == other.range, "counts of one range are merged");
        for (period, theirs) in self.periods.iter_mut().zip(&other.periods) {
            period.new_count += theirs.new_count;
            period.returning_count += theirs.returning_count;
            period.resurrecting_count += theirs.resurrecting_count;
            period.dormant_count += theirs.dormant_count;
        }
    }

    /// Each period of the range with its number, in order.
    pub fn periods(&self) -> impl Iterator<Item = (i64, LifecyclePeriod)> {
        self.range.numbers().zip(self.periods.iter().copied())
    }

    pub fn range(&self) -> &PeriodRange {
        &self.range
    }
}

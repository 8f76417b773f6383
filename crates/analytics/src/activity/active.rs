//! Active units: of the last day, of the last seven, of the last thirty, on each day.
//!
//! In:       the active periods of each unit.
//! Out:      by period and window the units active in the window that ends with the period.
//! Promise:  exact, in a step for each active period and window: what is kept are the changes of the count from one period
//!           to the next.
//! Not here: the periods of a unit (`fold.rs`).
//!
//! Definitions: `docs/methods.md#activity`.

use super::{ActivePeriods, PERIOD_COUNT_MAX, PeriodRange};
use crate::error::AnalyticsError;

/// Each costs a step for each active period.
pub const WINDOW_COUNT_MAX: usize = 16;

/// Active units by trailing window in a range of periods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveCounts {
    range: PeriodRange,
    /// In periods of the range: 1, 7, 30 for daily, weekly and monthly active users by day.
    windows: Vec<u32>,
    /// For each window how many more units are active in a period than in the one before, with one more at the end.
    changes: Vec<Vec<i64>>,
}

impl ActiveCounts {
    /// * `windows`: lengths in periods, each 1 or more; 1 to `WINDOW_COUNT_MAX` of them.
    pub fn new(range: &PeriodRange, windows: &[u32]) -> Result<Self, AnalyticsError> {
        let length_max = u32::try_from(PERIOD_COUNT_MAX).expect("a small constant");
        let has_sense = windows.iter().all(|window| (1..=length_max).contains(window));
        if windows.is_empty() || WINDOW_COUNT_MAX < windows.len() || !has_sense {
            return Err(AnalyticsError::ActiveWindows {
                given: format!("{windows:?}"),
                max: WINDOW_COUNT_MAX,
                length_max,
            });
        }
        let changes = vec![vec![0; range.count() + 1]; windows.len()];
        Ok(Self { range: range.clone(), windows: windows.to_vec(), changes })
    }

    /// Adds one unit.
    ///
    /// * `active`: from a fold over the same range.
    pub fn add_unit(&mut self, active: ActivePeriods<'_>) {
        let end = self.range.count();
        for (window, changes) in self.windows.iter().zip(&mut self.changes) {
            let length = *window as usize;
            // A unit is active from a period until so long after it; where two such stretches meet, they are one.
            let mut active_until = 0;
            if let Some(before) = active.last_before {
                let reach = i64::from(*window).saturating_sub(self.range.first().saturating_sub(before));
                active_until = usize::try_from(reach).unwrap_or(0).min(end);
                if active_until > 0 {
                    changes[0] += 1;
                    changes[active_until] -= 1;
                }
            }
            for place in active.in_range.iter().filter_map(|number| self.range.place(*number)) {
                changes[place.max(active_until)] += 1;
                active_until = (place + length).min(end);
                changes[active_until] -= 1;
            }
        }
    }

    /// Adds the units of other counts: no unit may be in both.
    ///
    /// Panics if they are of another range or other windows.
    pub fn merge(&mut self, other: &Self) {
        assert!(self.range == other.range && self.windows == other.windows, "counts of one question are merged");
        for (change, theirs) in self.changes.iter_mut().flatten().zip(other.changes.iter().flatten()) {
            *change += theirs;
        }
    }

    /// By period of the range, the units active in the window of this index that ends with it.
    pub fn unit_counts(&self, window: usize) -> Vec<u64> {
        let changes = &self.changes[window][..self.range.count()];
        let sums = changes.iter().scan(0_i64, |sum, change| {
            *sum += change;
            Some(sum.unsigned_abs())
        });
        sums.collect()
    }

    /// By period the share of those active in the long window who are active in the short one, such as daily by monthly;
    /// `None` where nobody is.
    pub fn ratios(&self, short_window: usize, long_window: usize) -> Vec<Option<f64>> {
        let pairs = self.unit_counts(short_window).into_iter().zip(self.unit_counts(long_window));
        pairs.map(|(short, long)| (long > 0).then(|| short as f64 / long as f64)).collect()
    }

    pub fn range(&self) -> &PeriodRange {
        &self.range
    }

    pub fn windows(&self) -> &[u32] {
        &self.windows
    }
}

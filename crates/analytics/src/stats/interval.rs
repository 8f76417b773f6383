//! Intervals: a low end, a high end, and how often they are allowed to miss.
//!
//! In:       counts and an `Alpha`.
//! Out:      an `Interval`.
//! Promise:  low is never above high; a share's interval stays within 0 to 1 even at no or all successes.
//! Not here: intervals of differences (`experiment`).

use crate::error::AnalyticsError;
use crate::stats::tail;

/// The chance of being wrong that one accepts: 0.05 goes with a 95 % interval.
///
/// Invariant: above 0, below 1; made only by `new`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Alpha(f64);

impl Alpha {
    /// 95 % intervals, the convention.
    pub const FIVE_PERCENT: Self = Self(0.05);
    /// For checks that run all the time and must seldom cry wolf.
    pub const ONE_PER_MILLE: Self = Self(0.001);

    pub fn new(ratio: f64) -> Result<Self, AnalyticsError> {
        if 0.0 < ratio && ratio < 1.0 {
            Ok(Self(ratio))
        } else {
            Err(AnalyticsError::Alpha { given: ratio.to_string() })
        }
    }

    pub fn ratio(self) -> f64 {
        self.0
    }

    /// An equal part of it for each of several tests, so that together they are wrong no more often (Bonferroni).
    ///
    /// * `test_count`: 0 is taken as 1.
    #[must_use]
    pub fn shared_among(self, test_count: usize) -> Self {
        Self(self.0 / test_count.max(1) as f64)
    }
}

/// A closed interval, `low <= high`. An end may be infinite: nothing is said on that side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Interval {
    pub(crate) fn around(middle: f64, half_width: f64) -> Self {
        Self { low: middle - half_width, high: middle + half_width }
    }

    /// Both ends multiplied by a factor above 0.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { low: self.low * factor, high: self.high * factor }
    }

    /// Whether a value lies within, ends included.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

/// Wilson's score interval for a share: right even for few trials and for shares near 0 or 1, where the
/// textbook interval leaves 0 to 1 or shrinks to a point.
///
/// * `success_count`: at most `trial_count`.
/// * Returns an interval within 0 to 1 of confidence `1 - alpha`; `None` for no trials.
///
/// Source: Wilson (1927), `docs/methods.md#experiment`; equals statsmodels `proportion_confint(method="wilson")`.
pub fn wilson_interval(success_count: u64, trial_count: u64, alpha: Alpha) -> Option<Interval> {
    debug_assert!(success_count <= trial_count, "a success is a trial");
    if trial_count == 0 {
        return None;
    }
    let trials = trial_count as f64;
    let share = success_count as f64 / trials;
    let z = tail::normal_quantile(alpha.ratio() / 2.0);
    let z_squared = z * z;
    let middle = (share + z_squared / (2.0 * trials)) / (1.0 + z_squared / trials);
    let half_width =
        z * (share * (1.0 - share) / trials + z_squared / (4.0 * trials * trials)).sqrt() / (1.0 + z_squared / trials);
    // The ends are exact at no and all successes; arithmetic alone leaves 1e-18 of dust there.
    let low = if success_count == 0 { 0.0 } else { (middle - half_width).max(0.0) };
    let high = if success_count == trial_count { 1.0 } else { (middle + half_width).min(1.0) };
    Some(Interval { low, high })
}

//! RFM: how lately, how often and for how much a unit bought, each as a score, and what to call it.
//!
//! In:       the purchases of each unit; the time at which one asks.
//! Out:      three scores, 1 the worst, and a named segment.
//! Promise:  the same scores in every run, whatever the order of units: ties are broken by the unit's id, or not at all.
//! Not here: what a purchase is, scores learnt from data.
//!
//! Definitions: `docs/methods.md#rfm`.

mod cut;
mod measures;
mod segment;

pub use cut::{Cut, TILE_COUNT_MAX};
pub use measures::{RfmFold, RfmMeasures};
pub use segment::{SEGMENT_GRID, Segment, segment};

use cut::scores;

use crate::error::AnalyticsError;

/// How units are scored.
///
/// Invariant: the count of tiles is within 2 to `TILE_COUNT_MAX`; made only by `new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmRule {
    as_of_us: i64,
    tile_count: u32,
    cut: Cut,
}

/// The scores of one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmScores {
    /// Whole days of 24 hours since the last purchase.
    pub recency_days: i64,
    /// Each from 1 to the count of tiles; the best is the largest.
    pub recency: u32,
    pub frequency: u32,
    pub monetary: u32,
    /// By recency and frequency; only of scores up to 5, for which the segments are made.
    pub segment: Option<Segment>,
}

impl RfmRule {
    /// * `as_of_us`: when one asks; recency counts back from here, and `RfmFold` looks at nothing from then on.
    /// * `tile_count`: the best score; 5 by convention.
    pub fn new(as_of_us: i64, tile_count: u32, cut: Cut) -> Result<Self, AnalyticsError> {
        if !(2..=TILE_COUNT_MAX).contains(&tile_count) {
            return Err(AnalyticsError::TileCount { given: tile_count, max: TILE_COUNT_MAX });
        }
        Ok(Self { as_of_us, tile_count, cut })
    }

    pub fn as_of_us(&self) -> i64 {
        self.as_of_us
    }

    /// Scores all units against one another.
    ///
    /// * `units`: each once, in any order.
    /// * Returns one entry per unit, in the same order.
    ///
    /// Source: `docs/methods.md#rfm`. The slow, obvious version is `testkit::oracle::rfm`.
    pub fn scores<Id: Ord>(&self, units: &[(Id, RfmMeasures)]) -> Vec<RfmScores> {
        let recency_days: Vec<i64> = units.iter().map(|(_, measures)| measures.recency_days(self.as_of_us)).collect();
        let of = |value: &dyn Fn(usize) -> i128| {
            let mut ranked: Vec<(i128, &Id, usize)> =
                units.iter().enumerate().map(|(index, (id, _))| (value(index), id, index)).collect();
            ranked.sort_unstable();
            let values: Vec<i128> = ranked.iter().map(|(value, _, _)| *value).collect();
            let mut by_unit = vec![0; units.len()];
            for ((_, _, index), score) in ranked.iter().zip(scores(self.cut, &values, self.tile_count)) {
                by_unit[*index] = score;
            }
            by_unit
        };
        // The longer ago, the worse.
        let recency = of(&|index| -i128::from(recency_days[index]));
        let frequency = of(&|index| i128::from(units[index].1.frequency));
        let monetary = of(&|index| units[index].1.monetary_micros);
        let unit_scores = |index: usize| RfmScores {
            recency_days: recency_days[index],
            recency: recency[index],
            frequency: frequency[index],
            monetary: monetary[index],
            segment: if self.tile_count == 5 { segment(recency[index], frequency[index]) } else { None },
        };
        (0..units.len()).map(unit_scores).collect()
    }
}

#[cfg(test)]
mod tests;

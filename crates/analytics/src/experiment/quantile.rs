//! Quantiles: the effect on a median or a 99th percentile, of units or of what they did.
//!
//! In:       values, each by the unit it belongs to.
//! Out:      a quantile with its error, and the `Effect` of two.
//! Promise:  exact quantiles of all values; the order in which values came or states were merged does not matter. When
//!           several values are of one unit they count together (by cluster), for the unit was randomised.
//! Not here: sketches.
//!
//! Definitions: `docs/methods.md#quantiles`.

use std::collections::BTreeMap;

use super::comparison::Untestable;
use super::effect::{ArmValue, Effect, Estimate, quadratic, ratio_gradient};
use crate::stats::{JointMoments, quantile_of_sorted, tail};

/// At how many values the ends of the interval are read off whose width becomes the error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// As many as there are.
    Exact,
    /// The largest of 100, 200, 400 .. below, as engines with prepared quantiles do (gbstats). For comparing only.
    Grid,
}

/// Values with their units.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClusteredSample {
    /// `(value, unit)`.
    rows: Vec<(f64, u64)>,
}

impl ClusteredSample {
    /// * `unit`: any number that is one unit's own, in all states that are merged.
    pub fn push(&mut self, unit: u64, value: f64) {
        self.rows.push((value, unit));
    }

    /// The values of both together. A unit may be in both.
    #[must_use]
    pub fn merge(mut self, mut other: Self) -> Self {
        if self.rows.len() < other.rows.len() {
            std::mem::swap(&mut self, &mut other);
        }
        self.rows.append(&mut other.rows);
        self
    }

    pub fn value_count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Reads the quantile off, values of a unit taken as one cluster.
    ///
    /// * `level`: above 0, below 1.
    /// * Returns `None` for no values.
    pub fn points(&self, level: f64, spacing: Spacing) -> Option<QuantilePoints> {
        let mut values: Vec<f64> = self.rows.iter().map(|row| row.0).collect();
        values.sort_by(f64::total_cmp);
        let points = QuantilePoints::of_sorted(&values, level, spacing)?;
        // Per unit: how many values are at or below the quantile, of how many.
        let mut units: BTreeMap<u64, [f64; 2]> = BTreeMap::new();
        for (value, unit) in &self.rows {
            let counts = units.entry(*unit).or_default();
            counts[0] += f64::from(u8::from(*value <= points.value));
            counts[1] += 1.0;
        }
        Some(QuantilePoints { clusters: Some(units.into_values().collect()), ..points })
    }
}

/// A quantile as it is read off the values, with the points beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantilePoints {
    pub level: f64,
    pub value_count: u64,
    /// See `Spacing`.
    pub spacing_count: u64,
    pub value: f64,
    /// At the level less and plus 1.96 of its standard errors.
    pub lower: f64,
    pub upper: f64,
    /// Per unit: values at or below the quantile, and all values. `None` where each value is a unit.
    pub clusters: Option<JointMoments<2>>,
}

impl QuantilePoints {
    /// Of values that are each one unit's.
    ///
    /// * `sorted`: ascending. Returns `None` for none.
    pub fn of_sorted(sorted: &[f64], level: f64, spacing: Spacing) -> Option<Self> {
        let value_count = sorted.len() as u64;
        let spacing_count = match spacing {
            Spacing::Exact => value_count,
            Spacing::Grid => std::iter::successors(Some(100_u64), |count| Some(count * 2))
                .take_while(|count| *count < value_count)
                .last()
                .unwrap_or(100),
        };
        let reach = reach() * (level * (1.0 - level) / spacing_count as f64).sqrt();
        let at = |level: f64| quantile_of_sorted(sorted, level);
        Some(Self {
            level,
            value_count,
            spacing_count,
            value: at(level)?,
            lower: at((level - reach).max(LEVEL_MIN))?,
            upper: at((level + reach).min(1.0 - LEVEL_MIN))?,
            clusters: None,
        })
    }

    /// The quantile alone with its error. `None` below two values.
    pub fn estimate(&self) -> Option<Estimate> {
        let arm = self.arm()?;
        Some(Estimate {
            value: arm.value,
            standard_error: arm.squared_error.sqrt(),
            degrees_of_freedom: arm.unit_count.saturating_sub(1) as f64,
            unit_count: arm.unit_count as f64,
        })
    }

    fn arm(&self) -> Option<ArmValue> {
        let count = self.value_count as f64;
        let share = (self.value_count > 1).then(|| (self.upper - self.lower) / (2.0 * reach()))?;
        // The points are an interval for the spacing's count of independent values; bring its width to all values.
        let mut squared_error = self.spacing_count as f64 / count * (count - 1.0) * share * share / count;
        let mut unit_count = self.value_count;
        if let Some(clusters) = &self.clusters {
            let (means, covariances) = (clusters.means()?, clusters.covariances()?);
            let gradient = ratio_gradient(means[0], means[1]);
            let clustered = quadratic(&gradient, &covariances, &gradient) / clusters.unit_count() as f64;
            squared_error *= clustered / (self.level * (1.0 - self.level) / count);
            if self.spacing_count == self.value_count {
                // What was randomised is the unit, and degrees of freedom are counted of what was randomised.
                unit_count = clusters.unit_count();
            }
        }
        if self.spacing_count != self.value_count && 100 <= self.value_count {
            // Part of the convention with the grid; in another unit it would be another floor, so not of ours.
            squared_error = squared_error.max(GRID_VARIANCE_MIN / count);
        }
        Some(ArmValue { unit_count, value: self.value, squared_error })
    }
}

const LEVEL_MIN: f64 = 1e-8;
const GRID_VARIANCE_MIN: f64 = 1e-5;

fn reach() -> f64 {
    tail::normal_quantile(0.025)
}

/// Quantile of treatment minus quantile of control.
///
/// Source: Deng, Knoblich and Lu (2018), the "outer" interval, and clusters by the delta method; with `Spacing::Grid`
/// equal to gbstats 0.8.0.
pub fn quantile_effect(control: &QuantilePoints, treatment: &QuantilePoints) -> Result<Effect, Untestable> {
    let arms = control.arm().zip(treatment.arm()).ok_or(Untestable::TooFewUnits {
        control_unit_count: control.value_count,
        treatment_unit_count: treatment.value_count,
    })?;
    Effect::of_arms(arms)
}

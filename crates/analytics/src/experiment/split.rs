//! The split: did the arms get the share of units they were promised? If not, no number below it means much.
//!
//! In:       units per arm, weights per arm; or the chances by which the units came into their arms.
//! Out:      a chi-square test of "as planned", and the units no plan accounts for; weights from chances.
//! Promise:  an arm of weight 0 takes no part in the test: neither its units nor a degree of freedom.
//! Not here: how small a p is too small (`verdict.rs`).

use crate::error::AnalyticsError;
use crate::stats::{PValue, tail};

/// The answer to "sample ratio mismatch?".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitCheck {
    pub chi_square: f64,
    /// Arms with a weight above 0, less one.
    pub degrees_of_freedom: u64,
    /// For "the split is as planned"; 1 with no units or fewer than two such arms.
    pub p: PValue,
    /// Units in arms of weight 0, where nobody should be.
    pub unplanned_unit_count: u64,
}

/// What was recorded of the units counted in one arm: the chance each had of the arm it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RecordedArm {
    pub unit_count: u64,
    /// Units whose chance is known.
    pub known_count: u64,
    /// Sum, least and greatest of the known chances, each above 0 and at most 1.
    pub chance_sum: f64,
    pub chance_min: f64,
    pub chance_max: f64,
}

/// Why the recorded chances do not say what was planned. An answer, not a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SplitUnknown {
    /// Three arms or more: the chance of the arm shown does not say how the rest was shared among the others.
    ChancesVary,
    /// Each arm has one chance, and they leave something over: there is an arm nobody here was shown.
    ChancesSum { sum: f64 },
}

/// Chances are written with a few digits: a third is 0.33.
const CHANCE_SUM_TOLERANCE: f64 = 0.02;
const CHANCE_TOLERANCE: f64 = 1e-9;

/// The weights that recorded chances imply: per arm, how many units were to be expected there.
///
/// * Equal parts unless the chance of every unit is known.
/// * One chance for each arm throughout: these are the weights.
/// * Two arms and chances that changed (a ramp, a bandit): the sum over all units of their chance of the arm; of a
///   unit shown the other, that is 1 less its own. The mean over the units *shown* an arm would not do: units
///   with a high chance of it are more often among them.
///
/// Source: `docs/methods.md#split-sample-ratio-mismatch`.
pub fn recorded_weights(arms: &[RecordedArm]) -> Result<Vec<f64>, SplitUnknown> {
    if arms.iter().any(|arm| arm.known_count < arm.unit_count) || arms.iter().all(|arm| arm.unit_count == 0) {
        return Ok(vec![1.0; arms.len()]);
    }
    let is_constant = |arm: &RecordedArm| 0 < arm.unit_count && arm.chance_max - arm.chance_min <= CHANCE_TOLERANCE;
    if arms.iter().all(is_constant) {
        let chances: Vec<f64> = arms.iter().map(|arm| arm.chance_max).collect();
        let sum: f64 = chances.iter().sum();
        // An arm alone has nobody to share with, whatever its chance was.
        let is_whole = arms.len() == 1 || (sum - 1.0).abs() <= CHANCE_SUM_TOLERANCE;
        return if is_whole { Ok(chances) } else { Err(SplitUnknown::ChancesSum { sum }) };
    }
    let [one, other] = arms else { return Err(SplitUnknown::ChancesVary) };
    let expected =
        |of: &RecordedArm, rest: &RecordedArm| of.chance_sum + (rest.unit_count as f64 - rest.chance_sum).max(0.0);
    Ok(vec![expected(one, other), expected(other, one)])
}

/// Pearson's chi-square test of the unit counts against the planned weights.
///
/// * `unit_counts`, `weights`: one entry per arm, same order; weights finite, 0 or more, of any sum.
///
/// Source: `docs/methods.md#split-sample-ratio-mismatch`; equals gbstats 0.8.0 `check_srm` wherever no arm has
/// weight 0. There it counts that arm's units in the total and its degree of freedom, which hides the mismatch.
pub fn check_split(unit_counts: &[u64], weights: &[f64]) -> Result<SplitCheck, AnalyticsError> {
    let weights_are_sound = weights.iter().all(|weight| weight.is_finite() && 0.0 <= *weight);
    if unit_counts.len() != weights.len() || !weights_are_sound {
        return Err(AnalyticsError::SplitWeights { arm_count: unit_counts.len(), weight_count: weights.len() });
    }
    let arms = || unit_counts.iter().zip(weights);
    let planned: Vec<(f64, f64)> =
        arms().filter(|(_, weight)| 0.0 < **weight).map(|(count, weight)| (*count as f64, *weight)).collect();
    let unplanned_unit_count = arms().filter(|(_, weight)| **weight <= 0.0).map(|(count, _)| count).sum();
    let unit_total: f64 = planned.iter().map(|(count, _)| count).sum();
    let weight_total: f64 = planned.iter().map(|(_, weight)| weight).sum();
    let degrees_of_freedom = planned.len().saturating_sub(1) as u64;
    if degrees_of_freedom == 0 || unit_total <= 0.0 {
        return Ok(SplitCheck { chi_square: 0.0, degrees_of_freedom, p: PValue::CERTAIN, unplanned_unit_count });
    }
    let chi_square = planned
        .iter()
        .map(|(count, weight)| {
            let expected = unit_total * (weight / weight_total);
            (count - expected).powi(2) / expected
        })
        .sum();
    let p = PValue::from_ln(tail::ln_chi_square_tail(chi_square, degrees_of_freedom as f64));
    Ok(SplitCheck { chi_square, degrees_of_freedom, p, unplanned_unit_count })
}

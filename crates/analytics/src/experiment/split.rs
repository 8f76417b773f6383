//! The split: did the arms get the share of units they were promised? If not, no number below it means much.
//!
//! In:       units per arm, weights per arm.
//! Out:      a chi-square test of "as planned", and the units no plan accounts for.
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

/// Pearson's chi-square test of the unit counts against the planned weights.
///
/// * `unit_counts`, `weights`: one entry per arm, same order; weights finite, 0 or more, of any sum.
///
/// Source: `docs/methods.md#experiment`; equals gbstats 0.8.0 `check_srm` wherever no arm has weight 0. There it
/// counts that arm's units in the total and its degree of freedom, which hides the mismatch.
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

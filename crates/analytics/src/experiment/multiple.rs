//! Several tests at once: twenty metrics without any effect, and one of them "significant".
//!
//! In:       the p values of all tests that belong together; alpha.
//! Out:      p values that may each be held against alpha, and intervals to go with them.
//! Promise:  no adjusted p is below the plain one, no adjusted interval narrower; the order of tests does not matter.
//!           In logarithms, so that p values below 1e-308 are adjusted too.
//! Not here: which tests belong together. GrowthBook takes all of (dimension, variation, metric) but guardrails.
//!
//! Definitions: `docs/methods.md#several-tests-at-once`.

use super::effect::Estimate;
use crate::stats::{Alpha, Interval, PValue, tail};

/// What is held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// The chance of any false alarm, whatever the tests have to do with each other.
    Bonferroni,
    /// The same, and never less sharp.
    Holm,
    /// The expected share of false ones among the alarms, for tests that are independent or move together.
    BenjaminiHochberg,
}

/// Adjusted p values, in the same order.
///
/// Source: Bonferroni; Holm (1979); Benjamini and Hochberg (1995). Equals statsmodels `multipletests`.
pub fn adjust(p_values: &[PValue], correction: Correction) -> Vec<PValue> {
    let count = p_values.len() as f64;
    let ln: Vec<f64> = p_values.iter().map(|p| p.ln()).collect();
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| ln[*a].total_cmp(&ln[*b]));
    let mut adjusted = vec![PValue::CERTAIN; p_values.len()];
    match correction {
        Correction::Bonferroni => {
            for i in order {
                adjusted[i] = PValue::from_ln(ln[i] + count.ln());
            }
        }
        Correction::Holm => {
            let mut largest = f64::NEG_INFINITY;
            for (rank, i) in order.into_iter().enumerate() {
                largest = largest.max(ln[i] + (count - rank as f64).ln());
                adjusted[i] = PValue::from_ln(largest);
            }
        }
        Correction::BenjaminiHochberg => {
            let mut smallest = f64::INFINITY;
            for (rank, i) in order.into_iter().enumerate().rev() {
                smallest = smallest.min(ln[i] + count.ln() - (rank as f64 + 1.0).ln());
                adjusted[i] = PValue::from_ln(smallest);
            }
        }
    }
    adjusted
}

/// An interval that goes with an adjusted p: it leaves out 0 exactly when that p is below alpha.
///
/// * `interval`: the plain two-sided one; it is only ever widened.
/// * An adjusted p of 1 says nothing of the effect's size, and the interval is without ends.
///
/// Source: GrowthBook: the error that would have given the adjusted p in a z test.
pub fn adjusted_interval(estimate: &Estimate, interval: Interval, adjusted: PValue, alpha: Alpha) -> Interval {
    let quantile = tail::normal_quantile_of_ln((adjusted.ln() - std::f64::consts::LN_2).min(0.5_f64.ln()));
    let widened = Interval::around(
        estimate.value,
        tail::normal_quantile(alpha.ratio() / 2.0) * (estimate.value / quantile).abs(),
    );
    if quantile <= 0.0 || !widened.low.is_finite() {
        return Interval { low: f64::NEG_INFINITY, high: f64::INFINITY };
    }
    Interval { low: interval.low.min(widened.low), high: interval.high.max(widened.high) }
}

//! Power: how long to run, and what could have been seen by now.
//!
//! In:       the error there is or is expected, the effect one cares for, alpha, the power wanted.
//! Out:      power, the least effect that is likely found, units and days still needed.
//! Promise:  the answers are each other's inverse. For a sequential test it is the power at that size alone: looking
//!           before can only add to it, so the time told is an upper bound.
//! Not here: what the experiment is worth.
//!
//! Definitions: `docs/methods.md#power`.

use statrs::function::gamma::ln_gamma;

use super::effect::Estimate;
use super::fixed::Alternative;
use super::sequential::ConfidenceSequence;
use crate::stats::{Alpha, tail};

/// How the experiment is going to be tested.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Horizon {
    /// Once, at the end.
    Fixed,
    /// Continuously, by a confidence sequence.
    Sequence { tuning_unit_count: f64 },
}

/// A two-sided test as it is planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub alpha: Alpha,
    pub horizon: Horizon,
    /// The chance of finding the effect that one wants, above alpha and below 1; usually 0.8.
    pub power: f64,
}

/// What is still to come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Remaining {
    /// In both arms together, beyond those counted; 0 if the power is reached.
    pub unit_count: f64,
    /// At the given pace; `None` without one.
    pub days: Option<f64>,
}

/// No experiment is run until it is this many times as large.
const GROWTH_MAX: f64 = 134_217_728.0;

impl Plan {
    /// 80 % power at 5 %, looked at once.
    pub const CONVENTIONAL: Self = Self { alpha: Alpha::FIVE_PERCENT, horizon: Horizon::Fixed, power: 0.8 };

    /// The chance to find a true effect of a size, with the units counted so far.
    ///
    /// * `effect`: in the estimate's unit; its sign does not matter.
    ///
    /// Source: the normal approximation; equals GrowthBook's mid-experiment power.
    pub fn power_now(&self, estimate: &Estimate, effect: f64) -> f64 {
        self.power_grown(estimate, effect, 1.0)
    }

    /// The same if there were `growth` times as many units, of the same kind in the same proportion.
    pub fn power_grown(&self, estimate: &Estimate, effect: f64, growth: f64) -> f64 {
        let standard_error = estimate.standard_error / growth.sqrt();
        let reach = match self.horizon {
            Horizon::Fixed => tail::normal_quantile(self.alpha.ratio() / 2.0),
            Horizon::Sequence { tuning_unit_count } => {
                let sequence =
                    ConfidenceSequence { alpha: self.alpha, alternative: Alternative::TwoSided, tuning_unit_count };
                sequence.half_width(1.0, estimate.unit_count * growth)
            }
        };
        let size = effect.abs() / standard_error;
        tail::ln_normal_above(reach - size).exp() + tail::ln_normal_above(reach + size).exp()
    }

    /// The least effect that is found with the power wanted, with the units counted so far.
    pub fn detectable_effect(&self, estimate: &Estimate) -> f64 {
        let mut high = estimate.standard_error;
        while self.power_now(estimate, high) < self.power {
            high *= 2.0;
        }
        bisect(0.0, high, |effect| self.power <= self.power_now(estimate, effect))
    }

    /// How much longer until an effect of a size is found with the power wanted.
    ///
    /// * `units_a_day`: in both arms together, at the pace to be expected.
    /// * Returns `None` if a hundred million times as many would not do.
    pub fn remaining(&self, estimate: &Estimate, effect: f64, units_a_day: Option<f64>) -> Option<Remaining> {
        let is_enough = |growth: f64| self.power <= self.power_grown(estimate, effect, growth);
        let growth = if is_enough(1.0) {
            1.0
        } else if is_enough(GROWTH_MAX) {
            let mut high = 2.0;
            while !is_enough(high) {
                high *= 2.0;
            }
            bisect(high / 2.0, high, is_enough)
        } else {
            return None;
        };
        let unit_count = estimate.unit_count * (growth - 1.0);
        let days = units_a_day.filter(|pace| 0.0 < *pace).map(|pace| unit_count / pace);
        Some(Remaining { unit_count, days })
    }
}

/// Units needed in control to find that a share rises from `base_share` to `(1 + lift_ratio) base_share`.
///
/// * `base_share`: above 0, below 1, as must be the raised one; `lift_ratio`: not 0.
/// * `treatment_ratio`: units in treatment for each in control, above 0.
///
/// Source: Cohen (1988), the difference of arcsines; equals statsmodels `NormalIndPower` with
/// `proportion_effectsize`.
pub fn units_for_shares(plan: &Plan, base_share: f64, lift_ratio: f64, treatment_ratio: f64) -> Option<f64> {
    let arcsine = |share: f64| 2.0 * share.sqrt().asin();
    let raised = base_share * (1.0 + lift_ratio);
    units_for_effect_size(plan, arcsine(raised) - arcsine(base_share), treatment_ratio)
}

/// Units needed in control to find a difference of means of `effect_size` standard deviations.
///
/// * Returns `None` for an effect of 0, or none that a hundred million units would find.
pub fn units_for_effect_size(plan: &Plan, effect_size: f64, treatment_ratio: f64) -> Option<f64> {
    // One unit in control, and so many in treatment, with a deviation of 1.
    let unit_count = 1.0 + treatment_ratio;
    let estimate = Estimate {
        value: 0.0,
        standard_error: (1.0 + treatment_ratio.recip()).sqrt(),
        degrees_of_freedom: f64::INFINITY,
        unit_count,
    };
    if !effect_size.is_finite() || effect_size == 0.0 {
        return None;
    }
    let growth = plan.remaining(&estimate, effect_size, None)?.unit_count / unit_count + 1.0;
    Some(growth)
}

/// Units needed in each arm by Student's t test with equal arms, for small experiments where the normal
/// approximation asks for one or two too few.
///
/// * `effect_size`: in standard deviations, not 0.
///
/// Source: the noncentral t distribution; equals statsmodels `TTestIndPower`.
pub fn units_for_student(alpha: Alpha, power: f64, effect_size: f64) -> Option<f64> {
    if !effect_size.is_finite() || effect_size == 0.0 {
        return None;
    }
    let is_enough = |units: f64| power <= student_power(alpha, effect_size, units);
    let mut high = 4.0;
    while !is_enough(high) {
        high *= 2.0;
        if GROWTH_MAX < high {
            return None;
        }
    }
    Some(bisect(1.5, high, is_enough))
}

/// The chance that Student's t test of two arms of so many units each finds an effect: the z test's, over all that
/// the estimated deviation may be.
fn student_power(alpha: Alpha, effect_size: f64, units: f64) -> f64 {
    const STEPS: i32 = 400;
    let degrees = 2.0 * units - 2.0;
    let quantile = tail::student_quantile(alpha.ratio() / 2.0, degrees);
    let shift = effect_size.abs() * (units / 2.0).sqrt();
    // Estimated over true deviation: chi over the root of its degrees; nearly normal around 1.
    let ln_density = |ratio: f64| {
        std::f64::consts::LN_2 + degrees / 2.0 * (degrees / 2.0).ln() - ln_gamma(degrees / 2.0)
            + (degrees - 1.0) * ratio.ln()
            - degrees * ratio * ratio / 2.0
    };
    let width = 12.0 / (2.0 * degrees).sqrt();
    let (low, high) = ((1.0 - width).max(1e-12), 1.0 + width);
    let step = (high - low) / f64::from(STEPS);
    let (mut total, mut found) = (0.0, 0.0);
    for i in 0..=STEPS {
        let factor = if i == 0 || i == STEPS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
        let ratio = low + step * f64::from(i);
        let weight = factor * ln_density(ratio).exp();
        let reach = quantile * ratio;
        total += weight;
        found += weight * (tail::ln_normal_above(reach - shift).exp() + tail::ln_normal_above(reach + shift).exp());
    }
    // Dividing by the total mends what log-gamma loses for many degrees.
    found / total
}

/// The least number from which on `holds` is true, given that it is at `high`; down to neighbouring floats.
fn bisect(mut low: f64, mut high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || high <= middle {
            return high;
        }
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
}

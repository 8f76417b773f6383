//! Intervals for the lift: three ways to put an error on a ratio.
//!
//! In:       an `Effect`, a planned test (its alpha and reference).
//! Out:      an interval of the lift, or that the data set no bounds to it.
//! Promise:  Fieller's is exact where numerator and denominator are normal, and says so when control is too near 0
//!           for the ratio to be bounded; the others are not asked to.
//! Not here: p values; the lift is 0 exactly when the difference is, so test the difference.
//!
//! Definitions: `docs/methods.md#lift-intervals`.

use super::effect::{ArmValue, Effect, satterthwaite};
use super::fixed::FixedTest;
use crate::stats::Interval;

/// How an interval of the lift is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiftMethod {
    /// Symmetric, by the slope of the ratio; too low at both ends for noisy controls (gbstats, GrowthBook).
    Delta,
    /// Symmetric for the logarithm of the ratio, so it never ends below -100 % (tea-tasting).
    Log,
    /// All lifts that a test of "treatment is (1 + lift) times control" would not refuse (Fieller 1954).
    Fieller,
}

/// What is known of the lift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LiftInterval {
    Bounded(Interval),
    /// Fieller: everything but what lies strictly between these two, for control may be 0.
    Outside(Interval),
    /// Nothing is excluded: Fieller with a control that is all but 0, or a logarithm that does not exist.
    Unbounded,
}

/// * Returns a two-sided interval of confidence `1 - alpha`; `None` for a baseline of 0 other than by Fieller.
///
/// Source: `docs/methods.md#lift-intervals`. `Delta` equals gbstats, `Log` tea-tasting 1.14.0.
pub fn lift_interval(effect: &Effect, method: LiftMethod, test: &FixedTest) -> Option<LiftInterval> {
    match method {
        LiftMethod::Delta => {
            let lift = effect.relative()?;
            let reach = test.quantile(test.alpha.ratio() / 2.0, &lift) * lift.standard_error;
            Some(LiftInterval::Bounded(Interval::around(lift.value, reach)))
        }
        LiftMethod::Log => log_interval(effect, test),
        LiftMethod::Fieller => Some(fieller_interval(effect, test)),
    }
}

fn log_interval(effect: &Effect, test: &FixedTest) -> Option<LiftInterval> {
    if effect.control_value == 0.0 {
        return None;
    }
    let ratio = effect.treatment_value / effect.control_value;
    if ratio <= 0.0 {
        return Some(LiftInterval::Unbounded);
    }
    // The error of a logarithm is the relative error of its argument.
    let logarithm = |unit_count: u64, value: f64, squared_error: f64| ArmValue {
        unit_count,
        value: value.abs().ln(),
        squared_error: squared_error / (value * value),
    };
    let control = logarithm(effect.control_unit_count, effect.control_value, effect.control_squared_error);
    let treatment = logarithm(effect.treatment_unit_count, effect.treatment_value, effect.treatment_squared_error);
    let mut estimate = effect.absolute();
    estimate.degrees_of_freedom = satterthwaite(&control, &treatment);
    let standard_error = (control.squared_error + treatment.squared_error).sqrt();
    let reach = test.quantile(test.alpha.ratio() / 2.0, &estimate) * standard_error;
    // A negative metric that shrinks towards 0 rises: the lift is the ratio's with its sign turned.
    let sign = effect.control_value.signum();
    let ends = [ratio * (-reach).exp() - 1.0, ratio * reach.exp() - 1.0].map(|end| sign * end);
    Some(LiftInterval::Bounded(Interval { low: ends[0].min(ends[1]), high: ends[0].max(ends[1]) }))
}

/// Lifts `r` with `(difference - r baseline)² <= q² Var(difference - r baseline)`: a parabola in `r`.
fn fieller_interval(effect: &Effect, test: &FixedTest) -> LiftInterval {
    let quantile = test.quantile(test.alpha.ratio() / 2.0, &effect.absolute());
    let squared = quantile * quantile;
    let sign = if effect.baseline_value < 0.0 { -1.0 } else { 1.0 };
    let (baseline, covariance) = (effect.baseline_value.abs(), sign * effect.difference_baseline_covariance);
    let a = baseline * baseline - squared * effect.baseline_squared_error;
    let half_b = baseline * effect.difference - squared * covariance;
    let c = effect.difference * effect.difference - squared * effect.difference_squared_error;
    let discriminant = half_b * half_b - a * c;
    if a == 0.0 || discriminant < 0.0 {
        // With control clear of 0 the estimate itself always satisfies it, so this is not that case.
        return LiftInterval::Unbounded;
    }
    // The root of larger size first; the other from their product, which does not cancel.
    let far = half_b + half_b.signum() * discriminant.sqrt();
    let (one, other) = (far / a, if far == 0.0 { 0.0 } else { c / far });
    let interval = Interval { low: one.min(other), high: one.max(other) };
    if 0.0 < a { LiftInterval::Bounded(interval) } else { LiftInterval::Outside(interval) }
}

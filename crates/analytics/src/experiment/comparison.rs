//! Two arms side by side: how far apart, how surely.
//!
//! In:       control and treatment, as moments or as proportions.
//! Out:      a `Comparison`.
//! Promise:  every number is treatment minus control; positive means more.
//! Not here: whether more is better, and whether to believe it (`verdict.rs`).

use super::effect::{Effect, Estimate};
use super::fixed::FixedTest;
use crate::error::AnalyticsError;
use crate::stats::{Alpha, Interval, Moments, PValue, tail, wilson_interval};

/// Successes among the units of one arm.
///
/// Invariant: no more successes than units; made only by `new`, `push` and `merge` from none of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proportion {
    success_count: u64,
    unit_count: u64,
}

impl Proportion {
    pub fn new(success_count: u64, unit_count: u64) -> Result<Self, AnalyticsError> {
        if success_count <= unit_count {
            Ok(Self { success_count, unit_count })
        } else {
            Err(AnalyticsError::Proportion { success_count, unit_count })
        }
    }

    pub fn push(&mut self, is_success: bool) {
        self.success_count += u64::from(is_success);
        self.unit_count += 1;
    }

    /// The units of both together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self { success_count: self.success_count + other.success_count, unit_count: self.unit_count + other.unit_count }
    }

    pub fn success_count(self) -> u64 {
        self.success_count
    }

    pub fn unit_count(self) -> u64 {
        self.unit_count
    }

    pub(super) fn ratio(self) -> f64 {
        self.success_count as f64 / self.unit_count as f64
    }

    pub(super) fn variance(self) -> f64 {
        self.ratio() * (1.0 - self.ratio())
    }
}

/// Why two arms cannot be tested against each other. An answer, not a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untestable {
    /// A mean needs two units in each arm, a proportion one.
    TooFewUnits { control_unit_count: u64, treatment_unit_count: u64 },
    /// Within neither arm do outcomes differ, so there is no spread to measure a difference against.
    NoVariation,
    /// The denominator of a ratio sums to 0 in an arm.
    NoDenominator,
}

/// Treatment against control, for one metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comparison {
    pub control_unit_count: u64,
    pub treatment_unit_count: u64,
    /// Mean or share, in the metric's unit.
    pub control_value: f64,
    pub treatment_value: f64,
    /// Each arm alone: Student's t for a mean, Wilson for a share.
    pub control_interval: Interval,
    pub treatment_interval: Interval,
    /// Treatment minus control, in the metric's unit.
    pub difference: f64,
    pub standard_error: f64,
    pub difference_interval: Interval,
    /// Difference over the size of the control's value: 0.1 is 10 % more. `None` for a control of 0.
    pub lift_ratio: Option<f64>,
    /// Delta method; see `docs/methods.md#experiment`.
    pub lift_interval: Option<Interval>,
    /// Welch's t for means, the pooled z for proportions.
    pub statistic: f64,
    /// Satterthwaite's, for means.
    pub degrees_of_freedom: Option<f64>,
    /// Two-sided, for "no difference".
    pub p: PValue,
    /// For proportions: the smallest expected count among successes and failures of both arms, were there
    /// no difference. The normal approximation is trusted from 5 (Cochran 1954).
    pub expected_count_min: Option<f64>,
}

/// Welch's t test of two means, with no assumption that the arms spread alike.
///
/// * Returns intervals of confidence `1 - alpha`.
///
/// Source: `docs/methods.md#experiment`; equals scipy `ttest_ind(treatment, control, equal_var=False)`. The
/// lift and its interval equal gbstats 0.8.0 where the control is positive.
pub fn compare_means(control: Moments, treatment: Moments, alpha: Alpha) -> Result<Comparison, Untestable> {
    let effect = Effect::of_means(&control, &treatment)?;
    let test = FixedTest { alpha, ..FixedTest::CONVENTIONAL };
    let (difference, lift) = (effect.absolute(), effect.relative());
    let tested = test.run(&difference);
    let around = |estimate: &Estimate| {
        Interval::around(estimate.value, test.quantile(alpha.ratio() / 2.0, estimate) * estimate.standard_error)
    };
    let own = |value: f64, squared_error: f64, unit_count: u64| {
        let degrees_of_freedom = (unit_count - 1) as f64;
        let standard_error = squared_error.sqrt();
        around(&Estimate { value, standard_error, degrees_of_freedom, unit_count: unit_count as f64 })
    };
    Ok(Comparison {
        control_unit_count: effect.control_unit_count,
        treatment_unit_count: effect.treatment_unit_count,
        control_value: effect.control_value,
        treatment_value: effect.treatment_value,
        control_interval: own(effect.control_value, effect.control_squared_error, effect.control_unit_count),
        treatment_interval: own(effect.treatment_value, effect.treatment_squared_error, effect.treatment_unit_count),
        difference: difference.value,
        standard_error: difference.standard_error,
        difference_interval: tested.interval,
        lift_ratio: lift.map(|lift| lift.value),
        lift_interval: lift.as_ref().map(around),
        statistic: tested.statistic,
        degrees_of_freedom: Some(difference.degrees_of_freedom),
        p: tested.p,
        expected_count_min: None,
    })
}

/// The z test of two shares: p from the pooled variance (what holds if there is no difference), intervals from
/// the unpooled (what holds if there is one). Near `alpha` the two may disagree; p decides.
///
/// * Returns intervals of confidence `1 - alpha`, each arm's own by Wilson.
///
/// Source: `docs/methods.md#experiment`; equals statsmodels `proportions_ztest` and
/// `confint_proportions_2indep(method="wald", compare="diff")`.
pub fn compare_proportions(control: Proportion, treatment: Proportion, alpha: Alpha) -> Result<Comparison, Untestable> {
    let control_interval = wilson_interval(control.success_count, control.unit_count, alpha);
    let treatment_interval = wilson_interval(treatment.success_count, treatment.unit_count, alpha);
    let (Some(control_interval), Some(treatment_interval)) = (control_interval, treatment_interval) else {
        return Err(Untestable::TooFewUnits {
            control_unit_count: control.unit_count,
            treatment_unit_count: treatment.unit_count,
        });
    };
    let pooled = Proportion {
        success_count: control.success_count + treatment.success_count,
        unit_count: control.unit_count + treatment.unit_count,
    };
    if pooled.variance() <= 0.0 {
        return Err(Untestable::NoVariation);
    }
    let squared_error = |arm: Proportion| arm.variance() / arm.unit_count as f64;
    let standard_error = (squared_error(control) + squared_error(treatment)).sqrt();
    let pooled_squared_error =
        pooled.variance() * ((control.unit_count as f64).recip() + (treatment.unit_count as f64).recip());
    let difference = treatment.ratio() - control.ratio();
    let statistic = difference / pooled_squared_error.sqrt();
    let rarer_ratio = pooled.ratio().min(1.0 - pooled.ratio());
    let smaller_unit_count = control.unit_count.min(treatment.unit_count);
    let quantile = tail::normal_quantile(alpha.ratio() / 2.0);
    // Not by way of `Effect`: two shares of 0 and 1 have no spread of their own, and yet a pooled z.
    let lift_ratio = (0 < control.success_count).then(|| difference / control.ratio());
    let lift_interval = lift_ratio.map(|lift_ratio| {
        let slope = treatment.ratio() / control.ratio();
        let lift_error = (squared_error(treatment) + squared_error(control) * slope * slope).sqrt() / control.ratio();
        Interval::around(lift_ratio, quantile * lift_error)
    });
    Ok(Comparison {
        control_unit_count: control.unit_count,
        treatment_unit_count: treatment.unit_count,
        control_value: control.ratio(),
        treatment_value: treatment.ratio(),
        control_interval,
        treatment_interval,
        difference,
        standard_error,
        difference_interval: Interval::around(difference, quantile * standard_error),
        lift_ratio,
        lift_interval,
        statistic,
        degrees_of_freedom: None,
        p: PValue::two_sided(tail::ln_normal_tail(statistic.abs())),
        expected_count_min: Some(rarer_ratio * smaller_unit_count as f64),
    })
}

//! Two arms side by side: how far apart, how surely.
//!
//! In:       control and treatment, as moments or as proportions.
//! Out:      a `Comparison`.
//! Promise:  every number is treatment minus control; positive means more.
//! Not here: whether more is better, and whether to believe it (`verdict.rs`).

use crate::error::AnalyticsError;
use crate::stats::{Alpha, Interval, Moments, PValue, tail, wilson_interval};

/// Successes among the units of one arm.
///
/// Invariant: no more successes than units; made only by `new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

    fn ratio(self) -> f64 {
        self.success_count as f64 / self.unit_count as f64
    }

    fn variance(self) -> f64 {
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
    let too_few = Untestable::TooFewUnits {
        control_unit_count: control.unit_count(),
        treatment_unit_count: treatment.unit_count(),
    };
    let (control_arm, treatment_arm) = (Arm::of_mean(control), Arm::of_mean(treatment));
    let (Some(control_arm), Some(treatment_arm)) = (control_arm, treatment_arm) else {
        return Err(too_few);
    };
    let squared_error = control_arm.squared_error + treatment_arm.squared_error;
    if squared_error <= 0.0 {
        return Err(Untestable::NoVariation);
    }
    // Satterthwaite's degrees of freedom, scaled by the total first so that tiny or huge units cannot under- or overflow.
    let part = |arm: Arm| (arm.squared_error / squared_error).powi(2) / (arm.unit_count - 1) as f64;
    let degrees_of_freedom = (part(control_arm) + part(treatment_arm)).recip();
    let difference = treatment_arm.value - control_arm.value;
    let statistic = difference / squared_error.sqrt();
    let quantile = tail::student_quantile(alpha.ratio() / 2.0, degrees_of_freedom);
    let own_interval = |arm: Arm| {
        let own_quantile = tail::student_quantile(alpha.ratio() / 2.0, (arm.unit_count - 1) as f64);
        Interval::around(arm.value, own_quantile * arm.squared_error.sqrt())
    };
    Ok(Comparison {
        control_interval: own_interval(control_arm),
        treatment_interval: own_interval(treatment_arm),
        statistic,
        degrees_of_freedom: Some(degrees_of_freedom),
        p: PValue::two_sided(tail::ln_student_tail(statistic.abs(), degrees_of_freedom)),
        expected_count_min: None,
        ..compare_arms(control_arm, treatment_arm, quantile)
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
    let (control_arm, treatment_arm) = (Arm::of_proportion(control), Arm::of_proportion(treatment));
    let pooled_squared_error =
        pooled.variance() * ((control.unit_count as f64).recip() + (treatment.unit_count as f64).recip());
    let statistic = (treatment_arm.value - control_arm.value) / pooled_squared_error.sqrt();
    let rarer_ratio = pooled.ratio().min(1.0 - pooled.ratio());
    let smaller_unit_count = control.unit_count.min(treatment.unit_count);
    Ok(Comparison {
        control_interval,
        treatment_interval,
        statistic,
        degrees_of_freedom: None,
        p: PValue::two_sided(tail::ln_normal_tail(statistic.abs())),
        expected_count_min: Some(rarer_ratio * smaller_unit_count as f64),
        ..compare_arms(control_arm, treatment_arm, tail::normal_quantile(alpha.ratio() / 2.0))
    })
}

/// What both tests know of an arm.
#[derive(Clone, Copy)]
struct Arm {
    unit_count: u64,
    value: f64,
    /// Variance of `value` itself: that of one unit over the count.
    squared_error: f64,
}

impl Arm {
    fn of_mean(moments: Moments) -> Option<Self> {
        let unit_count = moments.unit_count();
        Some(Self { unit_count, value: moments.mean()?, squared_error: moments.variance()? / unit_count as f64 })
    }

    fn of_proportion(proportion: Proportion) -> Self {
        Self {
            unit_count: proportion.unit_count,
            value: proportion.ratio(),
            squared_error: proportion.variance() / proportion.unit_count as f64,
        }
    }
}

/// The part of a `Comparison` that follows from the arms and one quantile; the rest is a placeholder for the
/// caller to overwrite.
fn compare_arms(control: Arm, treatment: Arm, quantile: f64) -> Comparison {
    let difference = treatment.value - control.value;
    let standard_error = (control.squared_error + treatment.squared_error).sqrt();
    // The size, not the value: with a control of -5 and a treatment of -3 the metric went up, so the lift is positive.
    let baseline = control.value.abs();
    let lift_ratio = (0.0 < baseline).then(|| difference / baseline);
    let lift_interval = lift_ratio.map(|lift_ratio| {
        let slope = treatment.value / control.value;
        let lift_error = (treatment.squared_error + control.squared_error * slope * slope).sqrt() / baseline;
        Interval::around(lift_ratio, quantile * lift_error)
    });
    Comparison {
        control_unit_count: control.unit_count,
        treatment_unit_count: treatment.unit_count,
        control_value: control.value,
        treatment_value: treatment.value,
        control_interval: Interval::around(control.value, 0.0),
        treatment_interval: Interval::around(treatment.value, 0.0),
        difference,
        standard_error,
        difference_interval: Interval::around(difference, quantile * standard_error),
        lift_ratio,
        lift_interval,
        statistic: 0.0,
        degrees_of_freedom: None,
        p: PValue::CERTAIN,
        expected_count_min: None,
    }
}

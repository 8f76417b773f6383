//! The effect: how far treatment is from control on one metric, with all that is known of the error.
//!
//! In:       per arm the sufficient statistics of a metric: moments, a share, joint moments (ratios, covariates).
//! Out:      an `Effect`; from it an `Estimate` of the difference or of the lift.
//! Promise:  every kind of metric ends in the same two numbers, value and standard error, so each kind of inference
//!           (`fixed`, `sequential`, `bayes`, `power`) is written once. Positive means more in treatment.
//! Not here: strata (`strata.rs`), quantiles (`quantile.rs`), tests.
//!
//! Definitions: `docs/methods.md#effects`.

use super::comparison::{Proportion, Untestable};
use crate::stats::{JointMoments, Moments};

/// Treatment against control on one metric, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    pub control_unit_count: u64,
    pub treatment_unit_count: u64,
    /// What each arm shows; with covariates, what it would show were both arms alike before.
    pub control_value: f64,
    pub treatment_value: f64,
    /// What lift is relative to: the control's value as it was counted, no covariate taken out.
    pub baseline_value: f64,
    /// Treatment minus control.
    pub difference: f64,
    pub(super) control_squared_error: f64,
    pub(super) treatment_squared_error: f64,
    pub(super) difference_squared_error: f64,
    pub(super) baseline_squared_error: f64,
    /// Covariance of difference and baseline; the squared error of control with the sign turned, without covariates.
    pub(super) difference_baseline_covariance: f64,
    /// Difference over baseline where the delta method takes its slope.
    pub(super) slope_ratio: f64,
    /// Satterthwaite's, of the difference.
    pub degrees_of_freedom: f64,
}

/// One number with its error: all that a test needs to know.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    pub value: f64,
    pub standard_error: f64,
    /// For Student's t; infinite where the error is known and not estimated, which makes it the normal.
    pub degrees_of_freedom: f64,
    /// Of both arms.
    pub unit_count: f64,
}

impl Estimate {
    /// One arm's mean alone. `None` below two units.
    pub fn of_mean(moments: &Moments) -> Option<Self> {
        Self::of_arm(moments.unit_count(), moments.mean()?, moments.variance()?)
    }

    /// One arm's ratio of two sums alone, by the delta method. `None` below two units, or for a denominator of 0.
    ///
    /// * Columns: numerator, denominator.
    pub fn of_ratio(moments: &JointMoments<2>) -> Option<Self> {
        let (means, covariances) = (moments.means()?, moments.covariances()?);
        let gradient = ratio_gradient(means[0], means[1]);
        let variance = quadratic(&gradient, &covariances, &gradient);
        if means[1] == 0.0 { None } else { Self::of_arm(moments.unit_count(), means[0] / means[1], variance) }
    }

    fn of_arm(unit_count: u64, value: f64, variance: f64) -> Option<Self> {
        let count = unit_count as f64;
        let degrees_of_freedom = unit_count.checked_sub(1)? as f64;
        // Rounding may bring a sum of like numbers below 0.
        Some(Self { value, standard_error: (variance.max(0.0) / count).sqrt(), degrees_of_freedom, unit_count: count })
    }

    /// The same in another unit, such as what the difference would bring a day were all given the treatment.
    ///
    /// * `factor`: above 0.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { value: self.value * factor, standard_error: self.standard_error * factor, ..self }
    }
}

/// An arm's value with its error.
#[derive(Clone, Copy)]
pub(super) struct ArmValue {
    pub(super) unit_count: u64,
    pub(super) value: f64,
    pub(super) squared_error: f64,
}

impl Effect {
    /// Means of a value per unit.
    pub fn of_means(control: &Moments, treatment: &Moments) -> Result<Self, Untestable> {
        let arm = |moments: &Moments| -> Option<ArmValue> {
            let unit_count = moments.unit_count();
            let squared_error = moments.variance()? / unit_count as f64;
            Some(ArmValue { unit_count, value: moments.mean()?, squared_error })
        };
        Self::of_arms(pair(control, treatment, Moments::unit_count, arm)?)
    }

    /// Shares of units, as means of 0 and 1 with the variance `p (1 - p)`.
    pub fn of_proportions(control: Proportion, treatment: Proportion) -> Result<Self, Untestable> {
        let arm = |proportion: &Proportion| {
            let unit_count = proportion.unit_count();
            (2 <= unit_count).then(|| ArmValue {
                unit_count,
                value: proportion.ratio(),
                squared_error: proportion.variance() / unit_count as f64,
            })
        };
        Self::of_arms(pair(&control, &treatment, |arm| arm.unit_count(), arm)?)
    }

    /// Ratios of two sums over units (revenue per session), by the delta method.
    ///
    /// * Columns: numerator, denominator.
    pub fn of_ratios(control: &JointMoments<2>, treatment: &JointMoments<2>) -> Result<Self, Untestable> {
        check_denominators([control, treatment], &[1])?;
        let arm = |moments: &JointMoments<2>| -> Option<ArmValue> {
            let (means, covariances) = (moments.means()?, moments.covariances()?);
            let gradient = ratio_gradient(means[0], means[1]);
            let unit_count = moments.unit_count();
            let squared_error = quadratic(&gradient, &covariances, &gradient) / unit_count as f64;
            Some(ArmValue { unit_count, value: means[0] / means[1], squared_error })
        };
        Self::of_arms(pair(control, treatment, JointMoments::unit_count, arm)?)
    }

    /// Means of a value per unit, with what is explained by a value from before the exposure taken out (CUPED).
    ///
    /// * Columns: the value, the covariate. A covariate without spread is left out of account.
    ///
    /// Source: Deng, Xu, Kohavi and Walker (2013); the slope is that of both arms together.
    pub fn of_cuped_means(control: &JointMoments<2>, treatment: &JointMoments<2>) -> Result<Self, Untestable> {
        let pooled = control.merge(*treatment);
        let theta = pooled.covariances().map_or(0.0, |covariances| slope(covariances[0][1], covariances[1][1]));
        let unadjusted = Self::of_means(&control.moments(0), &treatment.moments(0))?;
        let Some(centre) = pooled.means().map(|means| means[1]) else { return Ok(unadjusted) };
        let adjusted = |moments: &JointMoments<2>| -> Option<(ArmValue, f64)> {
            let (means, covariances, count) = (moments.means()?, moments.covariances()?, moments.unit_count());
            let gradient = [1.0, -theta];
            let value = means[0] - theta * (means[1] - centre);
            let squared_error = quadratic(&gradient, &covariances, &gradient) / count as f64;
            let with_baseline = quadratic(&gradient, &covariances, &[1.0, 0.0]) / count as f64;
            Some((ArmValue { unit_count: count, value, squared_error }, with_baseline))
        };
        let (control, treatment) = pair(control, treatment, JointMoments::unit_count, adjusted)?;
        // The slope at the values as counted, not as adjusted: what GrowthBook does, and as good in the limit.
        Self::of_adjusted(&unadjusted, control, treatment, unadjusted.difference / unadjusted.baseline_value)
    }

    /// Ratios of two sums over units, with what is explained by the same ratio from before the exposure taken out.
    ///
    /// * Columns: numerator, denominator, numerator before, denominator before. A ratio from before without spread,
    ///   or without a denominator, is left out of account.
    pub fn of_cuped_ratios(control: &JointMoments<4>, treatment: &JointMoments<4>) -> Result<Self, Untestable> {
        let unadjusted = Self::of_ratios(&control.columns([0, 1]), &treatment.columns([0, 1]))?;
        let (Some(a), Some(b)) = (RatioPair::of(control), RatioPair::of(treatment)) else { return Ok(unadjusted) };
        let together = |left: fn(&RatioPair) -> &[f64; 4], right: fn(&RatioPair) -> &[f64; 4]| -> f64 {
            [&a, &b].into_iter().map(|arm| quadratic(left(arm), &arm.covariances, right(arm))).sum()
        };
        let theta = slope(together(|arm| &arm.now, |arm| &arm.before), together(|arm| &arm.before, |arm| &arm.before));
        let centre = (a.ratio_before * a.unit_count as f64 + b.ratio_before * b.unit_count as f64)
            / (a.unit_count + b.unit_count) as f64;
        let control_arm = a.adjusted(theta, centre);
        let treatment_arm = b.adjusted(theta, centre);
        let difference = treatment_arm.0.value - control_arm.0.value;
        Self::of_adjusted(&unadjusted, control_arm, treatment_arm, difference / unadjusted.baseline_value)
    }

    /// Two arms that were counted independently of each other.
    pub(super) fn of_arms((control, treatment): (ArmValue, ArmValue)) -> Result<Self, Untestable> {
        let difference = treatment.value - control.value;
        Self {
            control_unit_count: control.unit_count,
            treatment_unit_count: treatment.unit_count,
            control_value: control.value,
            treatment_value: treatment.value,
            baseline_value: control.value,
            difference,
            control_squared_error: control.squared_error,
            treatment_squared_error: treatment.squared_error,
            difference_squared_error: control.squared_error + treatment.squared_error,
            baseline_squared_error: control.squared_error,
            difference_baseline_covariance: -control.squared_error,
            slope_ratio: difference / control.value,
            degrees_of_freedom: satterthwaite(&control, &treatment),
        }
        .with_spread()
    }

    /// Arms with a covariate taken out, each with the covariance of its value with that as counted.
    fn of_adjusted(
        unadjusted: &Self,
        (control, control_with_baseline): (ArmValue, f64),
        (treatment, _): (ArmValue, f64),
        slope_ratio: f64,
    ) -> Result<Self, Untestable> {
        Self {
            baseline_value: unadjusted.baseline_value,
            baseline_squared_error: unadjusted.control_squared_error,
            difference_baseline_covariance: -control_with_baseline,
            slope_ratio,
            ..Self::of_arms((control, treatment))?
        }
        .with_spread()
    }

    pub(super) fn with_spread(self) -> Result<Self, Untestable> {
        if 0.0 < self.difference_squared_error { Ok(self) } else { Err(Untestable::NoVariation) }
    }

    /// The difference, in the metric's unit.
    pub fn absolute(&self) -> Estimate {
        Estimate {
            value: self.difference,
            standard_error: self.difference_squared_error.sqrt(),
            degrees_of_freedom: self.degrees_of_freedom,
            unit_count: (self.control_unit_count + self.treatment_unit_count) as f64,
        }
    }

    /// The lift: difference over the size of the baseline, 0.1 being 10 % more; its error by the delta method.
    ///
    /// * `None` for a baseline of 0. A rise is positive even where the baseline is negative.
    pub fn relative(&self) -> Option<Estimate> {
        let size = self.baseline_value.abs();
        let squared_error = self.difference_squared_error
            - 2.0 * self.slope_ratio * self.difference_baseline_covariance
            + self.slope_ratio * self.slope_ratio * self.baseline_squared_error;
        (0.0 < size).then(|| Estimate {
            value: self.difference / size,
            // Rounding may bring a sum of like numbers below 0.
            standard_error: squared_error.max(0.0).sqrt() / size,
            ..self.absolute()
        })
    }

    /// What to multiply a difference by to get what treatment brings a day, were all traffic given it.
    ///
    /// * `traffic_ratio`: the share of all traffic that treatment had, above 0; `days`: how long, above 0.
    ///
    /// Source: gbstats, difference type "scaled".
    pub fn daily_impact_factor(&self, traffic_ratio: f64, days: f64) -> f64 {
        self.treatment_unit_count as f64 / traffic_ratio / days
    }
}

/// One arm's ratio now and before, with how each changes with the four sums.
struct RatioPair {
    unit_count: u64,
    ratio_now: f64,
    ratio_before: f64,
    now: [f64; 4],
    before: [f64; 4],
    covariances: [[f64; 4]; 4],
}

impl RatioPair {
    /// `None` without units or without a denominator before.
    fn of(moments: &JointMoments<4>) -> Option<Self> {
        let (means, covariances) = (moments.means()?, moments.covariances()?);
        let (now, before) = (ratio_gradient(means[0], means[1]), ratio_gradient(means[2], means[3]));
        (means[3] != 0.0).then(|| Self {
            unit_count: moments.unit_count(),
            ratio_now: means[0] / means[1],
            ratio_before: means[2] / means[3],
            now: [now[0], now[1], 0.0, 0.0],
            before: [0.0, 0.0, before[0], before[1]],
            covariances,
        })
    }

    /// The ratio now less what that before explains, and its covariance with the ratio as counted.
    fn adjusted(&self, theta: f64, centre: f64) -> (ArmValue, f64) {
        let gradient: [f64; 4] = std::array::from_fn(|i| self.now[i] - theta * self.before[i]);
        let error_with = |other: &[f64; 4]| quadratic(&gradient, &self.covariances, other) / self.unit_count as f64;
        let value = self.ratio_now - theta * (self.ratio_before - centre);
        let arm = ArmValue { unit_count: self.unit_count, value, squared_error: error_with(&gradient) };
        (arm, error_with(&self.now))
    }
}

/// Satterthwaite's degrees of freedom, scaled by the total first so that tiny or huge units cannot under- or overflow.
pub(super) fn satterthwaite(control: &ArmValue, treatment: &ArmValue) -> f64 {
    let total = control.squared_error + treatment.squared_error;
    let part = |arm: &ArmValue| (arm.squared_error / total).powi(2) / (arm.unit_count - 1) as f64;
    (part(control) + part(treatment)).recip()
}

/// Both arms read, or the counts that were not enough.
fn pair<S, T>(
    control: &S,
    treatment: &S,
    unit_count: impl Fn(&S) -> u64,
    read: impl Fn(&S) -> Option<T>,
) -> Result<(T, T), Untestable> {
    read(control).zip(read(treatment)).ok_or_else(|| Untestable::TooFewUnits {
        control_unit_count: unit_count(control),
        treatment_unit_count: unit_count(treatment),
    })
}

/// How a ratio of means changes with each of the two.
pub(super) fn ratio_gradient(numerator: f64, denominator: f64) -> [f64; 2] {
    [1.0 / denominator, -numerator / (denominator * denominator)]
}

/// `left' matrix right`.
pub(super) fn quadratic<const K: usize>(left: &[f64; K], matrix: &[[f64; K]; K], right: &[f64; K]) -> f64 {
    let rows = left.iter().zip(matrix);
    rows.map(|(weight, row)| weight * row.iter().zip(right).map(|(cell, other)| cell * other).sum::<f64>()).sum()
}

fn slope(covariance: f64, variance: f64) -> f64 {
    if 0.0 < variance { covariance / variance } else { 0.0 }
}

fn check_denominators<const K: usize>(arms: [&JointMoments<K>; 2], columns: &[usize]) -> Result<(), Untestable> {
    let is_zero = |moments: &JointMoments<K>| {
        moments.means().is_some_and(|means| columns.iter().any(|column| means[*column] == 0.0))
    };
    if arms.iter().any(|arm| is_zero(arm)) { Err(Untestable::NoDenominator) } else { Ok(()) }
}

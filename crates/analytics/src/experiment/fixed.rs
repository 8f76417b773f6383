//! Fixed-horizon tests: right at one look that was decided on beforehand.
//!
//! In:       an `Estimate` (difference or lift), what to test it against.
//! Out:      the statistic, p with its logarithm, an interval.
//! Promise:  p is a tail of Student's t or the normal, never 1 minus a body. The interval leaves out the tested value
//!           exactly when p is below alpha. A one-sided interval reaches from its bound to infinity on the *far* side:
//!           "less" bounds from above by value + quantile × error (gbstats 0.8.0 subtracts).
//! Not here: looking again and again (`sequential.rs`, `group_sequential.rs`), several tests at once (`multiple.rs`).

use super::effect::Estimate;
use crate::stats::{Alpha, Interval, PValue, tail};

/// What would count against "no difference".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alternative {
    TwoSided,
    /// Treatment is above the tested value.
    Greater,
    /// Treatment is below it.
    Less,
}

/// Whose quantiles and tails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference {
    /// Welch's test: Student's t with the estimate's degrees of freedom.
    Student,
    /// The z test.
    Normal,
}

/// A test as it was planned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedTest {
    pub alpha: Alpha,
    pub alternative: Alternative,
    pub reference: Reference,
    /// What the estimate is tested against, in its own unit: 0, or a margin for "not worse by more than".
    pub null_value: f64,
}

impl FixedTest {
    /// Welch, two-sided, 5 %, against no difference.
    pub const CONVENTIONAL: Self = Self {
        alpha: Alpha::FIVE_PERCENT,
        alternative: Alternative::TwoSided,
        reference: Reference::Student,
        null_value: 0.0,
    };

    /// * `estimate`: with a standard error above 0.
    pub fn run(&self, estimate: &Estimate) -> Tested {
        let statistic = (estimate.value - self.null_value) / estimate.standard_error;
        let p = match self.alternative {
            Alternative::TwoSided => PValue::two_sided(self.ln_above(statistic.abs(), estimate)),
            Alternative::Greater => PValue::from_ln(self.ln_above(statistic, estimate)),
            Alternative::Less => PValue::from_ln(self.ln_above(-statistic, estimate)),
        };
        let reach = |tail: f64| self.quantile(tail, estimate) * estimate.standard_error;
        let alpha = self.alpha.ratio();
        let interval = match self.alternative {
            Alternative::TwoSided => Interval::around(estimate.value, reach(alpha / 2.0)),
            Alternative::Greater => Interval { low: estimate.value - reach(alpha), high: f64::INFINITY },
            Alternative::Less => Interval { low: f64::NEG_INFINITY, high: estimate.value + reach(alpha) },
        };
        Tested { statistic, p, interval }
    }

    /// The quantile that goes with an upper tail.
    pub(super) fn quantile(&self, tail: f64, estimate: &Estimate) -> f64 {
        match self.reference {
            Reference::Student if estimate.degrees_of_freedom.is_finite() => {
                tail::student_quantile_signed(tail, estimate.degrees_of_freedom)
            }
            Reference::Student | Reference::Normal => tail::normal_quantile(tail),
        }
    }

    fn ln_above(&self, statistic: f64, estimate: &Estimate) -> f64 {
        match self.reference {
            Reference::Student if estimate.degrees_of_freedom.is_finite() => {
                tail::ln_student_above(statistic, estimate.degrees_of_freedom)
            }
            Reference::Student | Reference::Normal => tail::ln_normal_above(statistic),
        }
    }
}

/// What a test said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tested {
    pub statistic: f64,
    pub p: PValue,
    /// Of confidence `1 - alpha`, in the estimate's unit.
    pub interval: Interval,
}

impl Tested {
    /// The interval in another unit; see `Estimate::scaled`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { interval: self.interval.scaled(factor), ..self }
    }
}

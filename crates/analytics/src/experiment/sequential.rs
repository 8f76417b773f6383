//! Sequential tests: right however often one looks, and whenever one stops.
//!
//! In:       an `Estimate`, and a number that says at which size the test is to be sharpest.
//! Out:      p and an interval that hold at all looks together.
//! Promise:  with no true effect, p falls below alpha at any look ever with a chance of at most alpha (in the limit of
//!           many units). All sums are of logarithms: no e-value overflows, and p below 1e-308 keeps its logarithm.
//! Not here: looks that are counted beforehand, which may be tested more sharply (`group_sequential.rs`).
//!
//! Over several looks keep the smallest p (`PValue::smaller`) and what all intervals have in common: both stay right.
//! Definitions: `docs/methods.md#sequential-tests`.

use std::f64::consts::LN_2;

use super::effect::Estimate;
use super::fixed::{Alternative, Tested};
use crate::stats::{Alpha, Interval, PValue};

/// An asymptotic confidence sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceSequence {
    pub alpha: Alpha,
    pub alternative: Alternative,
    /// How many units (both arms) the interval is narrowest for, relative to a fixed test's; above 0. It must be chosen
    /// before the first look.
    pub tuning_unit_count: f64,
}

impl ConfidenceSequence {
    /// GrowthBook's choice.
    pub const TUNING_UNIT_COUNT: f64 = 5_000.0;

    /// * `estimate`: with a standard error above 0 and at least one unit.
    ///
    /// Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), equations 9 and 155 two-sided, 134 one-sided;
    /// equals gbstats 0.8.0 and GrowthBook.
    pub fn run(&self, estimate: &Estimate) -> Tested {
        let squared_rho = self.squared_rho();
        let information = estimate.unit_count * squared_rho;
        let grown = information + 1.0;
        let statistic = estimate.value / estimate.standard_error;
        // What the logarithm of the e-value gains by a statistic, without its price of half ln(grown).
        let gain = |statistic: f64| statistic * statistic * information / (2.0 * grown);
        let half_width = self.half_width(estimate.standard_error, estimate.unit_count);
        let half_ln_grown = grown.ln() / 2.0;
        let one_sided = |statistic: f64| {
            let gain = gain(statistic);
            // ln(exp(gain) - 1) without overflow.
            let ln_excess = gain + (-(-gain).exp()).ln_1p();
            if statistic <= 0.0 { 0.0 } else { half_ln_grown - LN_2 - ln_excess }
        };
        let (ln_p, interval) = match self.alternative {
            Alternative::TwoSided => (half_ln_grown - gain(statistic), Interval::around(estimate.value, half_width)),
            Alternative::Greater => {
                (one_sided(statistic), Interval { low: estimate.value - half_width, high: f64::INFINITY })
            }
            Alternative::Less => {
                (one_sided(-statistic), Interval { low: f64::NEG_INFINITY, high: estimate.value + half_width })
            }
        };
        Tested { statistic, p: PValue::from_ln(ln_p), interval }
    }

    /// How far the interval reaches from the estimate.
    pub(super) fn half_width(&self, standard_error: f64, unit_count: f64) -> f64 {
        let information = unit_count * self.squared_rho();
        let grown = information + 1.0;
        let ln_alpha = self.alpha.ratio().ln();
        let ln_threshold = match self.alternative {
            Alternative::TwoSided => grown.ln() / 2.0 - ln_alpha,
            Alternative::Greater | Alternative::Less => (grown.sqrt() / (2.0 * self.alpha.ratio())).ln_1p(),
        };
        standard_error * (2.0 * grown * ln_threshold / information).sqrt()
    }

    /// The mixing variance a unit at which the two-sided interval is about narrowest for the tuning count.
    fn squared_rho(&self) -> f64 {
        // One side of a two-sided sequence spends half of its alpha; the formula is for two.
        let alpha = match self.alternative {
            Alternative::TwoSided => self.alpha.ratio(),
            // Above 1/2 there is nothing to tune for; the cap keeps the square root real.
            Alternative::Greater | Alternative::Less => (2.0 * self.alpha.ratio()).min(1.0),
        };
        let doubled = -2.0 * alpha.ln();
        (doubled + doubled.ln_1p()) / self.tuning_unit_count
    }
}

/// The mixture sequential probability ratio test with a normal mixture, two-sided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureTest {
    pub alpha: Alpha,
    /// The size of effects to be sharpest for, as a standard deviation in the estimate's unit; above 0, and chosen
    /// before the first look.
    pub mixing_deviation: f64,
}

impl MixtureTest {
    /// * `estimate`: with a standard error above 0.
    ///
    /// Source: Robbins (1970); Johari, Koomen, Pekelis and Walsh (2022), as Optimizely and Statsig use it.
    pub fn run(&self, estimate: &Estimate) -> Tested {
        // The mixing variance in units of the error's: the same role as units × rho² above.
        let information = (self.mixing_deviation / estimate.standard_error).powi(2);
        let grown = information + 1.0;
        let statistic = estimate.value / estimate.standard_error;
        let ln_p = grown.ln() / 2.0 - statistic * statistic * information / (2.0 * grown);
        let ln_threshold = grown.ln() / 2.0 - self.alpha.ratio().ln();
        let half_width = estimate.standard_error * (2.0 * grown * ln_threshold / information).sqrt();
        Tested { statistic, p: PValue::from_ln(ln_p), interval: Interval::around(estimate.value, half_width) }
    }
}

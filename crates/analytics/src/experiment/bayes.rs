//! Bayes: what to believe of the effect, given what was believed before.
//!
//! In:       an `Estimate` and a normal prior, on the difference's or the lift's scale; or shares with Beta priors.
//! Out:      the posterior, the chance that treatment is better, and what each choice is expected to cost.
//! Promise:  chances and costs are computed as tails, so small ones keep their digits; nothing is drawn at random.
//! Not here: multi-armed bandits.
//!
//! Definitions: `docs/methods.md#bayes`.

use super::comparison::Proportion;
use super::effect::{Effect, Estimate};
use super::verdict::Goal;
use crate::stats::{Alpha, Interval, tail};

/// In which unit an effect is spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The metric's own unit.
    Absolute,
    /// Over the size of the baseline.
    Relative,
}

/// What was believed of the effect before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalPrior {
    pub mean: f64,
    /// Above 0.
    pub deviation: f64,
    pub scale: Scale,
}

impl NormalPrior {
    /// The same belief on another scale, by the size of the baseline.
    fn on(self, scale: Scale, effect: &Effect) -> Self {
        let size = effect.baseline_value.abs();
        let factor = match (self.scale, scale) {
            (Scale::Absolute, Scale::Relative) => size.recip(),
            (Scale::Relative, Scale::Absolute) => size,
            _ => 1.0,
        };
        Self { mean: self.mean * factor, deviation: self.deviation * factor, scale }
    }
}

/// What to believe of the effect now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Posterior {
    pub mean: f64,
    pub deviation: f64,
    /// Holds the effect with a chance of `1 - alpha`.
    pub interval: Interval,
    /// The chance that treatment is better, by the goal's direction.
    pub chance_to_win: f64,
    /// The same that it is worse, which does not round to 0 when `chance_to_win` rounds to 1.
    pub chance_to_lose: f64,
    /// What is lost on average by choosing control, were treatment better; 0 where it is worse.
    pub control_risk: f64,
    /// What is lost on average by choosing treatment.
    pub treatment_risk: f64,
}

/// The posterior of the difference or the lift, normal with a normal or no prior.
///
/// * `prior`: `None` for a flat one.
/// * Returns `None` for the relative scale with a baseline of 0, or a prior relative to it.
///
/// Source: conjugacy of the normal; equals gbstats 0.8.0 and, where a prior is given on the scale asked for,
/// GrowthBook, which does not rescale an absolute prior for a relative question (its test for one is never true).
pub fn posterior(
    effect: &Effect,
    scale: Scale,
    prior: Option<NormalPrior>,
    alpha: Alpha,
    goal: Goal,
) -> Option<Posterior> {
    let estimate = match scale {
        Scale::Absolute => effect.absolute(),
        Scale::Relative => effect.relative()?,
    };
    let is_relative_to_nothing =
        effect.baseline_value == 0.0 && prior.is_some_and(|prior| prior.scale == Scale::Relative);
    if is_relative_to_nothing {
        return None;
    }
    let (mean, deviation) = match prior.map(|prior| prior.on(scale, effect)) {
        None => (estimate.value, estimate.standard_error),
        Some(prior) => combine(&estimate, &prior),
    };
    let z = mean / deviation;
    let (above, below) = (tail::ln_normal_above(-z).exp(), tail::ln_normal_above(z).exp());
    let (gain, loss) = (deviation * tail::normal_excess(-z), deviation * tail::normal_excess(z));
    let (chance_to_win, chance_to_lose, control_risk, treatment_risk) = match goal {
        Goal::HigherIsBetter => (above, below, gain, loss),
        Goal::LowerIsBetter => (below, above, loss, gain),
    };
    let reach = tail::normal_quantile(alpha.ratio() / 2.0) * deviation;
    let interval = Interval::around(mean, reach);
    Some(Posterior { mean, deviation, interval, chance_to_win, chance_to_lose, control_risk, treatment_risk })
}

/// Means weighted by their precision.
fn combine(estimate: &Estimate, prior: &NormalPrior) -> (f64, f64) {
    let precisions = [estimate.standard_error, prior.deviation].map(|deviation| (deviation * deviation).recip());
    let precision = precisions[0] + precisions[1];
    ((estimate.value * precisions[0] + prior.mean * precisions[1]) / precision, precision.recip().sqrt())
}

/// What was believed of a share before: as if so many successes and failures had been seen. 1 and 1 is uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaPrior {
    /// At least 1: below, the density is infinite at an end.
    pub successes: f64,
    pub failures: f64,
}

impl BetaPrior {
    pub const UNIFORM: Self = Self { successes: 1.0, failures: 1.0 };
}

/// What to believe of two shares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaComparison {
    /// That treatment's share is above control's.
    pub chance_above: f64,
    pub chance_below: f64,
    /// What treatment's share is above control's on average, counting 0 where it is below; and the other way round.
    pub expected_gain: f64,
    pub expected_loss: f64,
}

/// Compares two shares by their exact posteriors, without assuming that they are normal.
///
/// * Exact to 1e-10 or so. The slow, obvious version is `testkit::oracle::experiment::beta_chance_above`.
///
/// Source: the integral over both Beta densities; `docs/methods.md#bayes`.
pub fn compare_beta(control: Proportion, treatment: Proportion, prior: BetaPrior) -> BetaComparison {
    let densities = [control, treatment].map(|arm| BetaDensity::of(arm, prior));
    let edges = panel_edges(&densities);
    // Of each density: mass, and mass times share, of all panels before.
    let mut mass = [0.0; 2];
    let mut moment = [0.0; 2];
    let (mut above, mut below, mut gain, mut loss) = (0.0, 0.0, 0.0, 0.0);
    for edge in edges.windows(2) {
        let (start, width) = (edge[0], edge[1] - edge[0]);
        let weights = |fraction: f64, weight: f64, of: usize, start: f64, width: f64| {
            let share = start + width * fraction;
            (share, densities[of].at(share) * weight * width)
        };
        for (fraction, weight) in gauss_legendre() {
            let within = width * fraction;
            for of in [0, 1] {
                let (share, here) = weights(fraction, weight, of, start, width);
                // The other arm's mass and moment up to this share.
                let other = 1 - of;
                let (mut other_mass, mut other_moment) = (mass[other], moment[other]);
                for (fraction, weight) in gauss_legendre() {
                    let (other_share, there) = weights(fraction, weight, other, start, within);
                    other_mass += there;
                    other_moment += there * other_share;
                }
                let (chance, more) = if of == 1 { (&mut above, &mut gain) } else { (&mut below, &mut loss) };
                *chance += here * other_mass;
                *more += here * (share * other_mass - other_moment);
            }
        }
        for (fraction, weight) in gauss_legendre() {
            for of in [0, 1] {
                let (share, here) = weights(fraction, weight, of, start, width);
                mass[of] += here;
                moment[of] += here * share;
            }
        }
    }
    let total = mass[0] * mass[1];
    BetaComparison {
        chance_above: above / total,
        chance_below: below / total,
        expected_gain: (gain / total).max(0.0),
        expected_loss: (loss / total).max(0.0),
    }
}

/// A Beta density without its constant, 1 at its peak so that nothing under- or overflows.
struct BetaDensity {
    successes: f64,
    failures: f64,
    ln_peak: f64,
    mean: f64,
    deviation: f64,
}

impl BetaDensity {
    fn of(arm: Proportion, prior: BetaPrior) -> Self {
        let successes = prior.successes.max(1.0) + arm.success_count() as f64;
        let failures = prior.failures.max(1.0) + (arm.unit_count() - arm.success_count()) as f64;
        let total = successes + failures;
        let mean = successes / total;
        let mut density =
            Self { successes, failures, ln_peak: 0.0, mean, deviation: (mean * (1.0 - mean) / (total + 1.0)).sqrt() };
        // Of a uniform one every share is the peak.
        let mode = if 2.0 < total { (successes - 1.0) / (total - 2.0) } else { 0.5 };
        density.ln_peak = density.ln_at(mode);
        density
    }

    fn ln_at(&self, share: f64) -> f64 {
        let part = |count: f64, ln: f64| if count == 1.0 { 0.0 } else { (count - 1.0) * ln };
        part(self.successes, share.ln()) + part(self.failures, (-share).ln_1p())
    }

    fn at(&self, share: f64) -> f64 {
        (self.ln_at(share) - self.ln_peak).exp()
    }
}

/// Half a deviation of either density apart, where either has any weight, and the ends.
fn panel_edges(densities: &[BetaDensity; 2]) -> Vec<f64> {
    const PANELS_A_SIDE: i32 = 60;
    let mut edges = vec![0.0, 1.0];
    for density in densities {
        edges.extend((-PANELS_A_SIDE..=PANELS_A_SIDE).map(|k| density.mean + f64::from(k) / 2.0 * density.deviation));
    }
    edges.retain(|edge| (0.0..=1.0).contains(edge));
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Points and weights on 0 to 1 of the Gauss-Legendre rule with 12 points.
fn gauss_legendre() -> impl Iterator<Item = (f64, f64)> {
    // Abramowitz and Stegun, table 25.4, on -1 to 1.
    const POINTS: [(f64, f64); 6] = [
        (0.125_233_408_511_468_9, 0.249_147_045_813_402_77),
        (0.367_831_498_998_180_2, 0.233_492_536_538_354_8),
        (0.587_317_954_286_617_5, 0.203_167_426_723_065_92),
        (0.769_902_674_194_304_7, 0.160_078_328_543_346_22),
        (0.904_117_256_370_474_9, 0.106_939_325_995_318_43),
        (0.981_560_634_246_719_2, 0.047_175_336_386_511_83),
    ];
    POINTS
        .into_iter()
        .flat_map(|(point, weight)| [(-point, weight), (point, weight)])
        .map(|(p, w)| ((p + 1.0) / 2.0, w / 2.0))
}

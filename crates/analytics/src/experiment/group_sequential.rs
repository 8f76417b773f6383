//! Group sequential tests: a handful of looks, each with its share of alpha.
//!
//! In:       at each look so far, what share of the planned units was in; alpha, how it is spent.
//! Out:      per look the z that must be passed to stop.
//! Promise:  all looks together are wrong with a chance of at most alpha; looks need not be evenly spaced or planned,
//!           only the units at the end. A look that adds nothing has the bound of the one before.
//! Not here: stopping because nothing can come of it any more.
//!
//! Definitions: `docs/methods.md#group-sequential-tests`.

use super::effect::Estimate;
use super::fixed::{Alternative, Tested};
use crate::stats::{Alpha, Interval, PValue, tail};

/// How much of alpha is spent by the time a share `t` of the units is in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spending {
    /// Almost nothing early: `2 - 2 Phi(z[alpha/2] / sqrt t)`, like O'Brien and Fleming's bounds.
    ObrienFleming,
    /// About evenly: `alpha ln(1 + (e - 1) t)`, like Pocock's.
    Pocock,
    /// `alpha t^exponent`, with an exponent above 0; with 2 it is what spotify-confidence calls its bounds by.
    Power { exponent: f64 },
}

impl Spending {
    /// Source: Lan and DeMets (1983); Kim and DeMets (1987) for the power family.
    fn spent(self, alpha: f64, ratio: f64) -> f64 {
        match self {
            Self::ObrienFleming => 2.0 * tail::ln_normal_tail(tail::normal_quantile(alpha / 2.0) / ratio.sqrt()).exp(),
            Self::Pocock => alpha * ((std::f64::consts::E - 1.0) * ratio).ln_1p(),
            Self::Power { exponent } => alpha * ratio.powf(exponent),
        }
    }
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LookBound {
    /// Units at this look over units at the planned end, above 0 and at most 1.
    pub information_ratio: f64,
    /// Of the whole alpha, until and with this look.
    pub alpha_spent: f64,
    /// The statistic to be passed (in size, when two-sided). Infinite where nothing was left to spend.
    pub z: f64,
}

impl LookBound {
    /// Whether to stop, with p and interval of this look alone at the level it was given.
    ///
    /// p here is the plain one, to be held against the tail at `z`, not against alpha.
    pub fn run(&self, estimate: &Estimate, alternative: Alternative) -> (bool, Tested) {
        let statistic = estimate.value / estimate.standard_error;
        let reach = self.z * estimate.standard_error;
        let (directed, low, high) = match alternative {
            Alternative::TwoSided => (statistic.abs(), estimate.value - reach, estimate.value + reach),
            Alternative::Greater => (statistic, estimate.value - reach, f64::INFINITY),
            Alternative::Less => (-statistic, f64::NEG_INFINITY, estimate.value + reach),
        };
        let p = match alternative {
            Alternative::TwoSided => PValue::two_sided(tail::ln_normal_above(directed)),
            Alternative::Greater | Alternative::Less => PValue::from_ln(tail::ln_normal_above(directed)),
        };
        (self.z <= directed, Tested { statistic, p, interval: Interval { low, high } })
    }
}

/// Nothing ever passes 8: one in 10^15.
const Z_MAX: f64 = 8.0;
/// Less than this share of new units is the same look again; the density would be too narrow for any grid.
const RATIO_STEP_MIN: f64 = 1e-5;
/// Points of the grid the density is kept on: Simpson's rule then errs below 1e-9.
const GRID_STEPS: usize = 800;

/// The bounds of all looks so far.
///
/// * `information_ratios`: ascending, above 0; above 1 counts as 1.
/// * Two-sided tests spend half of alpha on each side, each as if the other were not there, which can only make them
///   wrong less often than alpha.
///
/// Source: Armitage, McPherson and Rowe (1969) for the recursion, Lan and DeMets (1983) for the spending. The bounds
/// of O'Brien and Fleming's type equal those printed for R's ldbounds; those of the power type spotify-confidence's,
/// within the error of its coarser grid.
pub fn look_bounds(
    information_ratios: &[f64],
    alpha: Alpha,
    alternative: Alternative,
    spending: Spending,
) -> Vec<LookBound> {
    let sides = if alternative == Alternative::TwoSided { 2.0 } else { 1.0 };
    let side_alpha = alpha.ratio() / sides;
    let mut looks: Vec<LookBound> = Vec::with_capacity(information_ratios.len());
    let mut density: Option<Density> = None;
    let mut spent_before = 0.0;
    for ratio in information_ratios {
        let ratio = ratio.min(1.0);
        if let Some(last) = looks.last().copied()
            && ratio - last.information_ratio < RATIO_STEP_MIN
        {
            looks.push(last);
            continue;
        }
        let spent = spending.spent(side_alpha, ratio).max(spent_before);
        let budget = spent - spent_before;
        let bound = match &density {
            None => tail::normal_quantile(budget.max(f64::MIN_POSITIVE)).min(Z_MAX) * ratio.sqrt(),
            Some(density) => density.bound(ratio, budget),
        };
        density = Some(match &density {
            None => Density::first(ratio, bound),
            Some(density) => density.next(ratio, bound),
        });
        looks.push(LookBound { information_ratio: ratio, alpha_spent: spent * sides, z: bound / ratio.sqrt() });
        spent_before = spent;
    }
    looks
}

/// Where the score (statistic × root of information) may be after a look, among paths that have not stopped.
struct Density {
    ratio: f64,
    points: Vec<f64>,
    /// Density times the weight of Simpson's rule at each point.
    weighted: Vec<f64>,
}

impl Density {
    fn first(ratio: f64, bound: f64) -> Self {
        Self::on_grid(ratio, bound, |score| normal_density(score / ratio.sqrt()) / ratio.sqrt())
    }

    fn next(&self, ratio: f64, bound: f64) -> Self {
        let deviation = (ratio - self.ratio).sqrt();
        Self::on_grid(ratio, bound, |score| {
            let paths = self.points.iter().zip(&self.weighted);
            paths.map(|(from, weight)| weight * normal_density((score - from) / deviation)).sum::<f64>() / deviation
        })
    }

    fn on_grid(ratio: f64, bound: f64, density: impl Fn(f64) -> f64) -> Self {
        let low = -Z_MAX * ratio.sqrt();
        let step = (bound - low) / GRID_STEPS as f64;
        let points: Vec<f64> = (0..=GRID_STEPS).map(|i| low + step * i as f64).collect();
        let weighted = points
            .iter()
            .enumerate()
            .map(|(i, point)| {
                let factor = if i == 0 || i == GRID_STEPS {
                    1.0
                } else if i % 2 == 1 {
                    4.0
                } else {
                    2.0
                };
                density(*point) * factor * step / 3.0
            })
            .collect();
        Self { ratio, points, weighted }
    }

    /// The chance to be above a score at the next look, not having stopped before.
    fn above(&self, ratio: f64, score: f64) -> f64 {
        let deviation = (ratio - self.ratio).sqrt();
        let paths = self.points.iter().zip(&self.weighted);
        paths.map(|(from, weight)| weight * tail::ln_normal_above((score - from) / deviation).exp()).sum()
    }

    /// The score that is passed with the chance that may be spent.
    fn bound(&self, ratio: f64, budget: f64) -> f64 {
        let (mut low, mut high) = (0.0, Z_MAX * ratio.sqrt());
        if budget <= self.above(ratio, high) {
            return high;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if budget < self.above(ratio, middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

fn normal_density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

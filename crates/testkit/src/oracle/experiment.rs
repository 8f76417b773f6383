//! Experiment statistics, as printed in textbooks: two passes over all values, sums over all subsets, many throws.
//!
//! In:       every value of an arm; p values; a seed where something is thrown.
//! Out:      moments, Welch's statistic, errors of ratios and of adjusted means, adjusted p values, chances.
//! Promise:  the textbook formulas as printed.
//! Not here: tails and quantiles, which are checked against published numbers.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample variance, dividing by one less than the count; `None` below two values.
pub fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (2 <= values.len()).then(|| squares / (values.len() - 1) as f64)
}

/// The sample covariance; `None` below two pairs.
pub fn covariance(pairs: &[(f64, f64)]) -> Option<f64> {
    let (left, right): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (mean_left, mean_right) = (mean(&left)?, mean(&right)?);
    let products: f64 = pairs.iter().map(|(left, right)| (left - mean_left) * (right - mean_right)).sum();
    (2 <= pairs.len()).then(|| products / (pairs.len() - 1) as f64)
}

/// Welch's t (treatment minus control) and Satterthwaite's degrees of freedom; `None` below two values in an
/// arm or without any spread.
pub fn welch(control: &[f64], treatment: &[f64]) -> Option<(f64, f64)> {
    let (count_a, count_b) = (control.len() as f64, treatment.len() as f64);
    let error_a = variance(control)? / count_a;
    let error_b = variance(treatment)? / count_b;
    if error_a + error_b == 0.0 {
        return None;
    }
    let statistic = (mean(treatment)? - mean(control)?) / (error_a + error_b).sqrt();
    let degrees_of_freedom =
        (error_a + error_b).powi(2) / (error_a.powi(2) / (count_a - 1.0) + error_b.powi(2) / (count_b - 1.0));
    Some((statistic, degrees_of_freedom))
}

/// A ratio of sums `(numerator, denominator)` over units and its squared error: that of the mean of
/// `(numerator - ratio × denominator) / mean denominator`, which is 0 on average and carries all the error.
pub fn ratio(units: &[(f64, f64)]) -> Option<(f64, f64)> {
    let (numerators, denominators): (Vec<f64>, Vec<f64>) = units.iter().copied().unzip();
    let centre = mean(&denominators).filter(|centre| *centre != 0.0)?;
    let ratio = mean(&numerators)? / centre;
    let rests: Vec<f64> =
        units.iter().map(|(numerator, denominator)| (numerator - ratio * denominator) / centre).collect();
    Some((ratio, variance(&rests)? / units.len() as f64))
}

/// The difference of means of `(value, covariate)` and its squared error, each value first replaced by what is left
/// of it when the slope on the covariate (over both arms) is taken out.
pub fn cuped(control: &[(f64, f64)], treatment: &[(f64, f64)]) -> Option<(f64, f64)> {
    let both: Vec<(f64, f64)> = control.iter().chain(treatment).copied().collect();
    let spread = variance(&both.iter().map(|pair| pair.1).collect::<Vec<_>>())?;
    let theta = if spread == 0.0 { 0.0 } else { covariance(&both)? / spread };
    let left = |arm: &[(f64, f64)]| arm.iter().map(|(value, before)| value - theta * before).collect::<Vec<_>>();
    let (control, treatment) = (left(control), left(treatment));
    let error = |values: &[f64]| Some(variance(values)? / values.len() as f64);
    Some((mean(&treatment)? - mean(&control)?, error(&control)? + error(&treatment)?))
}

/// The difference of means by strata `(control, treatment)` and its squared error: each stratum's difference weighted
/// by its share of units, their errors by its square, and the spread of the differences for the shares themselves.
pub fn stratified(strata: &[(Vec<f64>, Vec<f64>)]) -> Option<(f64, f64)> {
    let unit_count: usize = strata.iter().map(|(control, treatment)| control.len() + treatment.len()).sum();
    let mut parts = Vec::new();
    for (control, treatment) in strata {
        let share = (control.len() + treatment.len()) as f64 / unit_count as f64;
        let error = variance(control)? / control.len() as f64 + variance(treatment)? / treatment.len() as f64;
        parts.push((share, mean(treatment)? - mean(control)?, error));
    }
    let difference: f64 = parts.iter().map(|(share, difference, _)| share * difference).sum();
    let within: f64 = parts.iter().map(|(share, _, error)| share * share * error).sum();
    let between: f64 = parts.iter().map(|(share, own, _)| share * (own - difference).powi(2)).sum();
    Some((difference, within + between / unit_count as f64))
}

/// Holm's adjusted p values as a closed test: a hypothesis is refused if every set of hypotheses with it in is, each
/// by Bonferroni. Looks at all sets, so keep to a dozen.
pub fn holm_by_closure(p_values: &[f64]) -> Vec<f64> {
    let sets = 1_u32 << p_values.len();
    let members = |set: u32| (0..p_values.len()).filter(move |i| set >> i & 1 == 1);
    let of_set = |set: u32| {
        let smallest = members(set).map(|i| p_values[i]).fold(f64::INFINITY, f64::min);
        (smallest * f64::from(set.count_ones())).min(1.0)
    };
    (0..p_values.len()).map(|i| (1..sets).filter(|set| set >> i & 1 == 1).map(of_set).fold(0.0, f64::max)).collect()
}

/// Benjamini and Hochberg's adjusted p values: of all limits that would be drawn at a p as large or larger, the least.
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let count = p_values.len() as f64;
    let rank = |limit: f64| p_values.iter().filter(|p| **p <= limit).count() as f64;
    let own = |p: &f64| {
        let larger = p_values.iter().filter(|other| p <= other);
        larger.map(|other| (other * count / rank(*other)).min(1.0)).fold(1.0, f64::min)
    };
    p_values.iter().map(own).collect()
}

/// The chance that a `Beta(b_successes, b_failures)` share is above a `Beta(a_successes, a_failures)` one, for whole
/// numbers of successes of b: the finite sum of Miller (2015), each term from the one before.
pub fn beta_chance_above(a_successes: f64, a_failures: f64, b_successes: u32, b_failures: f64) -> f64 {
    // Term 0 is B(a_s, a_f + b_f) / B(a_s, a_f), a product over a_s factors if that is whole: here by steps of b_f,
    // which must be whole too.
    let mut term = 1.0;
    for step in 0..b_failures as u32 {
        let failures = a_failures + f64::from(step);
        term *= failures / (a_successes + failures);
    }
    let mut chance = 0.0;
    for i in 0..b_successes {
        let i = f64::from(i);
        chance += term;
        // B(a_s + i, a_f + b_f) / ((b_f + i) B(1 + i, b_f)) to the next i.
        term *= (a_successes + i) / (a_successes + a_failures + b_failures + i) * (b_failures + i) / (1.0 + i);
    }
    chance
}

/// The e-value of a normal mixture, by adding up the likelihood ratios of effects on a fine grid: how much likelier
/// the statistic `z` is under effects spread as a normal of `information` variance (in squared standard errors) than
/// under none. Two-sided, or of positive effects only.
pub fn mixture_e_value(z: f64, information: f64, positive_only: bool) -> f64 {
    let deviation = information.sqrt();
    let (steps, reach) = (40_000, 12.0 * deviation);
    let step = reach / f64::from(steps);
    let first = if positive_only { 0 } else { -steps };
    let mut sum = 0.0;
    for i in first..=steps {
        let effect = step * f64::from(i);
        let density =
            (-effect * effect / (2.0 * information)).exp() / (deviation * (2.0 * std::f64::consts::PI).sqrt());
        let weight = if i == first || i == steps { 0.5 } else { 1.0 };
        sum += weight * step * density * (z * effect - effect * effect / 2.0).exp();
    }
    if positive_only { 2.0 * sum } else { sum }
}

/// Standard normal throws (Box and Muller 1958), the same for the same seed.
pub fn standard_normals(seed: u64) -> impl Iterator<Item = f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    std::iter::repeat_with(move || {
        let (one, other): (f64, f64) = (random.random(), random.random());
        let radius = (-2.0 * (1.0 - one).ln()).sqrt();
        let angle = 2.0 * std::f64::consts::PI * other;
        [radius * angle.cos(), radius * angle.sin()]
    })
    .flatten()
}

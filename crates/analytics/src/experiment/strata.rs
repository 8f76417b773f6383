//! Post-stratification: the effect within each country, device or other slice, weighted by the slice's size.
//!
//! In:       per stratum the sufficient statistics of both arms.
//! Out:      one `Effect`, with what differs between strata no longer counted as error.
//! Promise:  a stratum too small to be estimated by itself is joined to the largest, never dropped; with one stratum
//!           the answer is the plain one. The order of strata does not matter.
//! Not here: what the strata are; they must be known before the exposure, or the answer is biased.
//!
//! Source: Miratrix, Sekhon and Yu (2013); with covariates a regression in each stratum, as GrowthBook
//! (`packages/stats`, 8f1db445), whose numbers these are. `docs/methods.md#post-stratification`.

use super::comparison::Untestable;
use super::effect::{Effect, quadratic};
use crate::stats::JointMoments;

/// The arms of one stratum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum<const K: usize> {
    pub control: JointMoments<K>,
    pub treatment: JointMoments<K>,
}

impl<const K: usize> Stratum<K> {
    fn unit_count(&self) -> u64 {
        self.control.unit_count() + self.treatment.unit_count()
    }

    fn merge(self, other: Self) -> Self {
        Self { control: self.control.merge(other.control), treatment: self.treatment.merge(other.treatment) }
    }
}

/// Means of a value per unit.
///
/// * Column: the value.
pub fn stratified_means(strata: &[Stratum<1>]) -> Result<Effect, Untestable> {
    let plain = |whole: &Stratum<1>| Effect::of_means(&whole.control.moments(0), &whole.treatment.moments(0));
    means_by(strata, |stratum| (2, has_spread(stratum, 0)), plain, |stratum| cell_of_means(stratum, None))
}

/// Means of a value per unit, with a covariate from before the exposure.
///
/// * Columns: the value, the covariate.
pub fn stratified_cuped_means(strata: &[Stratum<2>]) -> Result<Effect, Untestable> {
    let plain = |whole: &Stratum<2>| Effect::of_cuped_means(&whole.control, &whole.treatment);
    means_by(
        strata,
        |stratum| (4, has_spread(stratum, 0)),
        plain,
        |stratum| {
            if has_spread(stratum, 1) { cell_of_means(stratum, Some(1)) } else { cell_of_means(stratum, None) }
        },
    )
}

/// Ratios of two sums over units.
///
/// * Columns: numerator, denominator.
pub fn stratified_ratios(strata: &[Stratum<2>]) -> Result<Effect, Untestable> {
    let plain = |whole: &Stratum<2>| Effect::of_ratios(&whole.control, &whole.treatment);
    ratios_by(strata, |stratum| (2, has_spread(stratum, 0)), plain, |stratum| cell(stratum, [0, 1], []))
}

/// Ratios of two sums over units, with both sums from before the exposure as covariates.
///
/// * Columns: numerator, denominator, numerator before, denominator before.
pub fn stratified_cuped_ratios(strata: &[Stratum<4>]) -> Result<Effect, Untestable> {
    let plain = |whole: &Stratum<4>| Effect::of_cuped_ratios(&whole.control, &whole.treatment);
    ratios_by(
        strata,
        |stratum| (7, has_spread(stratum, 0)),
        plain,
        |stratum| {
            let have_spread = has_spread(stratum, 2) && has_spread(stratum, 3);
            if have_spread { cell(stratum, [0, 1], [2, 3]) } else { cell(stratum, [0, 1], []) }
        },
    )
}

/// What is known of one stratum: of each of `P` outcomes the control's level and the difference, in this order, and
/// how these `2 P` numbers vary together.
struct Cell {
    unit_count: f64,
    values: Vec<f64>,
    covariances: Vec<Vec<f64>>,
}

fn means_by<const K: usize>(
    strata: &[Stratum<K>],
    need: impl Fn(&Stratum<K>) -> (u64, bool),
    plain: impl Fn(&Stratum<K>) -> Result<Effect, Untestable>,
    cell: impl Fn(&Stratum<K>) -> Option<Cell>,
) -> Result<Effect, Untestable> {
    by_cells(strata, need, plain, cell, |values| {
        Some(Reading {
            baseline: values[0],
            difference: values[1],
            baseline_gradient: vec![1.0, 0.0],
            difference_gradient: vec![0.0, 1.0],
        })
    })
}

fn ratios_by<const K: usize>(
    strata: &[Stratum<K>],
    need: impl Fn(&Stratum<K>) -> (u64, bool),
    plain: impl Fn(&Stratum<K>) -> Result<Effect, Untestable>,
    cell: impl Fn(&Stratum<K>) -> Option<Cell>,
) -> Result<Effect, Untestable> {
    by_cells(strata, need, plain, cell, |values| {
        let [numerator, numerator_more, denominator, denominator_more] = *values else { return None };
        let treated = denominator + denominator_more;
        if denominator == 0.0 || treated == 0.0 {
            return None;
        }
        let (control_ratio, treatment_ratio) = (numerator / denominator, (numerator + numerator_more) / treated);
        Some(Reading {
            baseline: control_ratio,
            difference: treatment_ratio - control_ratio,
            baseline_gradient: vec![1.0 / denominator, 0.0, -control_ratio / denominator, 0.0],
            difference_gradient: vec![
                1.0 / treated - 1.0 / denominator,
                1.0 / treated,
                control_ratio / denominator - treatment_ratio / treated,
                -treatment_ratio / treated,
            ],
        })
    })
}

/// Baseline and difference as functions of the weighted values, with their slopes.
struct Reading {
    baseline: f64,
    difference: f64,
    baseline_gradient: Vec<f64>,
    difference_gradient: Vec<f64>,
}

fn by_cells<const K: usize>(
    strata: &[Stratum<K>],
    need: impl Fn(&Stratum<K>) -> (u64, bool),
    plain: impl Fn(&Stratum<K>) -> Result<Effect, Untestable>,
    cell: impl Fn(&Stratum<K>) -> Option<Cell>,
    read: impl Fn(&[f64]) -> Option<Reading>,
) -> Result<Effect, Untestable> {
    let joined = join_small(strata, need);
    let whole = joined
        .iter()
        .copied()
        .reduce(Stratum::merge)
        .unwrap_or(Stratum { control: JointMoments::default(), treatment: JointMoments::default() });
    // It also says why, where the arms as a whole cannot be compared.
    let unstratified = plain(&whole)?;
    let cells: Option<Vec<Cell>> = joined.iter().map(cell).collect();
    let Some(cells) = cells.filter(|cells| 1 < cells.len()) else { return Ok(unstratified) };
    let (values, covariances) = weigh(&cells);
    let reading = read(&values).ok_or(Untestable::NoDenominator)?;
    let along = |left: &[f64], right: &[f64]| -> f64 {
        let rows = left.iter().zip(&covariances);
        rows.map(|(weight, row)| weight * row.iter().zip(right).map(|(cell, other)| cell * other).sum::<f64>()).sum()
    };
    let (baseline_gradient, difference_gradient) = (&reading.baseline_gradient, &reading.difference_gradient);
    let treatment_gradient: Vec<f64> = baseline_gradient.iter().zip(difference_gradient).map(|(a, b)| a + b).collect();
    let baseline_squared_error = along(baseline_gradient, baseline_gradient);
    Effect {
        control_value: reading.baseline,
        treatment_value: reading.baseline + reading.difference,
        baseline_value: reading.baseline,
        difference: reading.difference,
        control_squared_error: baseline_squared_error,
        treatment_squared_error: along(&treatment_gradient, &treatment_gradient),
        difference_squared_error: along(difference_gradient, difference_gradient),
        baseline_squared_error,
        difference_baseline_covariance: along(baseline_gradient, difference_gradient),
        slope_ratio: reading.difference / reading.baseline,
        ..unstratified
    }
    .with_spread()
}

/// Joins each stratum that cannot be estimated by itself to the largest.
fn join_small<const K: usize>(strata: &[Stratum<K>], need: impl Fn(&Stratum<K>) -> (u64, bool)) -> Vec<Stratum<K>> {
    let mut sorted: Vec<Stratum<K>> = strata.to_vec();
    sorted.sort_by_key(|stratum| std::cmp::Reverse(stratum.unit_count()));
    let mut joined: Vec<Stratum<K>> = Vec::with_capacity(sorted.len());
    for stratum in sorted {
        let (unit_count_min, has_spread) = need(&stratum);
        let arms_are_there = 2 <= stratum.control.unit_count().min(stratum.treatment.unit_count());
        let stands_alone = has_spread && arms_are_there && unit_count_min <= stratum.unit_count();
        match joined.first_mut() {
            Some(largest) if !stands_alone => *largest = largest.merge(stratum),
            _ => joined.push(stratum),
        }
    }
    joined
}

/// Whether a column varies within both arms.
fn has_spread<const K: usize>(stratum: &Stratum<K>, column: usize) -> bool {
    let varies = |moments: &JointMoments<K>| moments.covariances().is_some_and(|cells| 0.0 < cells[column][column]);
    varies(&stratum.control) && varies(&stratum.treatment)
}

/// The values weighted by size. Their covariance has a part within the strata and one for the sizes themselves, which
/// are a sample too: the covariance of a multinomial.
fn weigh(cells: &[Cell]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let unit_count: f64 = cells.iter().map(|cell| cell.unit_count).sum();
    let weights: Vec<f64> = cells.iter().map(|cell| cell.unit_count / unit_count).collect();
    let width = cells[0].values.len();
    let total = |of: &dyn Fn(&Cell, f64) -> f64| -> f64 {
        cells.iter().zip(&weights).map(|(cell, weight)| of(cell, *weight)).sum()
    };
    let values: Vec<f64> = (0..width).map(|i| total(&|cell, weight| weight * cell.values[i])).collect();
    let covariance = |i: usize, j: usize| {
        let within = total(&|cell, weight| weight * weight * cell.covariances[i][j]);
        let between =
            total(&|cell, weight| weight * (cell.values[i] - values[i]) * (cell.values[j] - values[j])) / unit_count;
        within + between
    };
    let covariances = (0..width).map(|i| (0..width).map(|j| covariance(i, j)).collect()).collect();
    (values, covariances)
}

fn cell_of_means<const K: usize>(stratum: &Stratum<K>, covariate: Option<usize>) -> Option<Cell> {
    match covariate {
        Some(covariate) => cell(stratum, [0], [covariate]),
        None => cell(stratum, [0], []),
    }
}

/// One stratum: plain means without covariates, a regression of each outcome on arm and covariates with them.
///
/// With covariates the residuals of both arms are pooled, as in GrowthBook; where the arms spread differently and are
/// of different sizes this errs a little.
fn cell<const K: usize, const P: usize, const C: usize>(
    stratum: &Stratum<K>,
    outcomes: [usize; P],
    covariates: [usize; C],
) -> Option<Cell> {
    let (a, b) = (&stratum.control, &stratum.treatment);
    let (means_a, means_b) = (a.means()?, b.means()?);
    let (covariances_a, covariances_b) = (a.covariances()?, b.covariances()?);
    let (count_a, count_b) = (a.unit_count() as f64, b.unit_count() as f64);
    let unit_count = count_a + count_b;
    let mut values = vec![0.0; 2 * P];
    let mut covariances = vec![vec![0.0; 2 * P]; 2 * P];
    if C == 0 {
        for (p, outcome) in outcomes.into_iter().enumerate() {
            values[2 * p] = means_a[outcome];
            values[2 * p + 1] = means_b[outcome] - means_a[outcome];
            for (q, other) in outcomes.into_iter().enumerate() {
                let error_a = covariances_a[outcome][other] / count_a;
                let error_b = covariances_b[outcome][other] / count_b;
                covariances[2 * p][2 * q] = error_a;
                covariances[2 * p][2 * q + 1] = -error_a;
                covariances[2 * p + 1][2 * q] = -error_a;
                covariances[2 * p + 1][2 * q + 1] = error_a + error_b;
            }
        }
        return Some(Cell { unit_count, values, covariances });
    }
    // Sums of products within the arms, and over the stratum as a whole for the covariates' own error.
    let within = |i: usize, j: usize| covariances_a[i][j] * (count_a - 1.0) + covariances_b[i][j] * (count_b - 1.0);
    let pooled = a.merge(*b);
    let (centre, spread) = (pooled.means()?, pooled.covariances()?);
    let inverse = inverse(std::array::from_fn(|i| std::array::from_fn(|j| within(covariates[i], covariates[j]))))?;
    let slopes: Vec<[f64; C]> = outcomes
        .iter()
        .map(|outcome| {
            std::array::from_fn(|i| (0..C).map(|j| inverse[i][j] * within(covariates[j], *outcome)).sum::<f64>())
        })
        .collect();
    let apart: [f64; C] = std::array::from_fn(|i| means_b[covariates[i]] - means_a[covariates[i]]);
    let off: [f64; C] = std::array::from_fn(|i| means_a[covariates[i]] - centre[covariates[i]]);
    let drift: [[f64; C]; C] =
        std::array::from_fn(|i| std::array::from_fn(|j| spread[covariates[i]][covariates[j]] / unit_count));
    let drift_of_inverse: f64 = (0..C).map(|i| (0..C).map(|j| inverse[i][j] * drift[j][i]).sum::<f64>()).sum();
    // Three for each outcome, as GrowthBook counts; a textbook takes two and the number of covariates.
    let residual_degrees = unit_count - (3 * P) as f64;
    for (p, outcome) in outcomes.into_iter().enumerate() {
        let dot = |deltas: &[f64; C]| slopes[p].iter().zip(deltas).map(|(slope, delta)| slope * delta).sum::<f64>();
        values[2 * p] = means_a[outcome] - dot(&off);
        values[2 * p + 1] = means_b[outcome] - means_a[outcome] - dot(&apart);
        for (q, other) in outcomes.into_iter().enumerate() {
            let explained: f64 = (0..C).map(|i| slopes[q][i] * within(covariates[i], outcome)).sum();
            let residual = (within(outcome, other) - explained) / residual_degrees;
            covariances[2 * p][2 * q] = residual * (1.0 / count_a + quadratic(&off, &inverse, &off) + drift_of_inverse)
                + quadratic(&slopes[p], &drift, &slopes[q]);
            let crossed = residual * (quadratic(&off, &inverse, &apart) - 1.0 / count_a);
            covariances[2 * p][2 * q + 1] = crossed;
            covariances[2 * p + 1][2 * q] = crossed;
            covariances[2 * p + 1][2 * q + 1] =
                residual * (1.0 / count_a + 1.0 / count_b + quadratic(&apart, &inverse, &apart));
        }
    }
    Some(Cell { unit_count, values, covariances })
}

/// Of a symmetric matrix of one or two rows; `None` where it has none.
fn inverse<const C: usize>(matrix: [[f64; C]; C]) -> Option<[[f64; C]; C]> {
    let mut inverse = [[0.0; C]; C];
    let determinant = match C {
        1 => matrix[0][0],
        2 => matrix[0][0] * matrix[1][1] - matrix[0][1] * matrix[1][0],
        _ => return None,
    };
    if determinant <= 0.0 {
        return None;
    }
    if C == 1 {
        inverse[0][0] = determinant.recip();
    } else {
        inverse[0][0] = matrix[1][1] / determinant;
        inverse[1][1] = matrix[0][0] / determinant;
        inverse[0][1] = -matrix[0][1] / determinant;
        inverse[1][0] = inverse[0][1];
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(values: &[f64]) -> JointMoments<1> {
        values.iter().map(|value| [*value]).collect()
    }

    #[test]
    fn a_stratum_of_one_arm_is_joined_to_the_largest_not_dropped() {
        let large = Stratum { control: arm(&[1.0, 2.0, 3.0]), treatment: arm(&[2.0, 4.0, 6.0]) };
        let lonely = Stratum { control: arm(&[9.0, 7.0]), treatment: arm(&[]) };
        let joined = stratified_means(&[lonely, large]).unwrap();
        let plain = stratified_means(&[large.merge(lonely)]).unwrap();
        assert_eq!(joined, plain);
        assert_eq!(joined.control_unit_count, 5);
    }

    #[test]
    fn what_differs_between_strata_is_no_error() {
        let near = |centre: f64| arm(&[centre - 1.0, centre, centre + 1.0, centre]);
        let strata = [
            Stratum { control: near(10.0), treatment: near(11.0) },
            Stratum { control: near(1_000.0), treatment: near(1_001.0) },
        ];
        let effect = stratified_means(&strata).unwrap();
        assert!((effect.difference - 1.0).abs() < 1e-12);
        let plain = stratified_means(&[strata[0].merge(strata[1])]).unwrap();
        assert!(effect.absolute().standard_error < plain.absolute().standard_error / 100.0);
    }
}

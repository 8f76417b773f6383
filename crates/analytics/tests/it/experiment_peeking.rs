//! Looking again and again: what it does to a fixed test, and that the sequential ones stand it.
//!
//! In:       seeded experiments without any effect, looked at many times each.
//! Out:      how often each test ever said "significant".
//! Promise:  the sequential tests stay at or below alpha up to what so many experiments leave to chance, and the naive one
//!           does not: a test that cannot fail would pass for both. The bounds for some looks spend just what they may.

use tributary_analytics::experiment::{
    Alternative, ConfidenceSequence, Effect, Estimate, FixedTest, MixtureTest, Reference, Spending, look_bounds,
};
use tributary_analytics::stats::{Alpha, Moments};
use tributary_testkit::oracle::experiment::standard_normals;

const EXPERIMENT_COUNT: usize = 1_000;
/// Three standard errors of a share of 5 % among so many, above 5 %.
const SHARE_MAX: f64 = 0.05 + 3.0 * 0.006_9;

/// Per experiment the effect at each look, at `first`, `first + step` .. units an arm. The values are skewed: squares.
fn experiments(seed: u64, looks: usize, first: usize, step: usize) -> Vec<Vec<Estimate>> {
    let mut values = standard_normals(seed).map(|z| z * z);
    (0..EXPERIMENT_COUNT)
        .map(|_| {
            let mut arms = [Moments::default(), Moments::default()];
            (0..looks)
                .map(|look| {
                    for _ in 0..if look == 0 { first } else { step } {
                        for arm in &mut arms {
                            arm.push(values.next().unwrap());
                        }
                    }
                    Effect::of_means(&arms[0], &arms[1]).unwrap().absolute()
                })
                .collect()
        })
        .collect()
}

fn share_ever(experiments: &[Vec<Estimate>], is_found: impl Fn(&Estimate) -> bool) -> f64 {
    experiments.iter().filter(|looks| looks.iter().any(&is_found)).count() as f64 / experiments.len() as f64
}

#[test]
fn continuous_peeking_fools_the_fixed_test_and_not_the_sequential_ones() {
    let experiments = experiments(20_261_127, 200, 100, 10);
    let naive = share_ever(&experiments, |estimate| FixedTest::CONVENTIONAL.run(estimate).p.p_value < 0.05);
    assert!(0.2 < naive, "a fixed test looked at 200 times is wrong {naive} of the time");
    let last = |looks: &Vec<Estimate>| FixedTest::CONVENTIONAL.run(looks.last().unwrap()).p.p_value < 0.05;
    let at_the_end = experiments.iter().filter(|looks| last(looks)).count() as f64 / EXPERIMENT_COUNT as f64;
    assert!(at_the_end < SHARE_MAX, "looked at once it is right: {at_the_end}");
    for alternative in [Alternative::TwoSided, Alternative::Greater, Alternative::Less] {
        let sequence = ConfidenceSequence { alpha: Alpha::FIVE_PERCENT, alternative, tuning_unit_count: 1_000.0 };
        let by_p = share_ever(&experiments, |estimate| sequence.run(estimate).p.p_value < 0.05);
        let by_interval = share_ever(&experiments, |estimate| !sequence.run(estimate).interval.holds(0.0));
        assert_eq!(by_p, by_interval);
        assert!(by_p < SHARE_MAX, "{alternative:?} {by_p}");
        println!("{alternative:?} sequence: {by_p}, naive: {naive}, once: {at_the_end}");
    }
    let mixture = MixtureTest { alpha: Alpha::FIVE_PERCENT, mixing_deviation: 0.1 };
    let by_mixture = share_ever(&experiments, |estimate| mixture.run(estimate).p.p_value < 0.05);
    assert!(by_mixture < SHARE_MAX, "{by_mixture}");
}

#[test]
fn a_sequential_test_finds_what_is_there() {
    let mut experiments = experiments(7, 50, 100, 20);
    for estimate in experiments.iter_mut().flatten() {
        estimate.value += 0.3;
    }
    let sequence = ConfidenceSequence {
        alpha: Alpha::FIVE_PERCENT,
        alternative: Alternative::TwoSided,
        tuning_unit_count: 1_000.0,
    };
    let found = share_ever(&experiments, |estimate| sequence.run(estimate).p.p_value < 0.05);
    assert!(0.9 < found, "{found}");
}

#[test]
fn the_bounds_of_a_few_looks_spend_what_they_may() {
    let experiments = experiments(11, 5, 400, 400);
    let ratios = [0.2, 0.4, 0.6, 0.8, 1.0];
    for spending in [Spending::ObrienFleming, Spending::Pocock, Spending::Power { exponent: 2.0 }] {
        let bounds = look_bounds(&ratios, Alpha::FIVE_PERCENT, Alternative::TwoSided, spending);
        let stopped = |looks: &Vec<Estimate>| {
            looks.iter().zip(&bounds).any(|(estimate, bound)| bound.run(estimate, Alternative::TwoSided).0)
        };
        let share = experiments.iter().filter(|looks| stopped(looks)).count() as f64 / EXPERIMENT_COUNT as f64;
        assert!((0.03..SHARE_MAX).contains(&share), "{spending:?}: {share}");
        assert!((bounds[4].alpha_spent - 0.05).abs() < 1e-12);
    }
}

/// Reference: R's ldbounds, five even looks, two-sided at 5 %, as printed in its manual and in Lan and DeMets (1983).
#[test]
fn bounds_of_even_looks_are_those_printed() {
    let ratios = [0.2, 0.4, 0.6, 0.8, 1.0];
    for (spending, printed) in [
        (Spending::ObrienFleming, [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]),
        (Spending::Pocock, [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]),
    ] {
        let bounds = look_bounds(&ratios, Alpha::FIVE_PERCENT, Alternative::TwoSided, spending);
        for (bound, printed) in bounds.iter().zip(printed) {
            assert!((bound.z - printed).abs() < 2e-4, "{spending:?}: {} is not {printed}", bound.z);
        }
    }
    let once = look_bounds(&[1.0], Alpha::FIVE_PERCENT, Alternative::Greater, Spending::ObrienFleming);
    assert!((once[0].z - 1.644_853_626_951_472_7).abs() < 1e-12);
}

/// By simulation the chance of a first crossing at each look is the alpha that look was given.
#[test]
fn each_look_has_its_share_of_alpha() {
    let ratios = [0.3, 0.5, 1.0];
    let alpha = Alpha::new(0.2).unwrap();
    let bounds = look_bounds(&ratios, alpha, Alternative::Greater, Spending::Pocock);
    let mut throws = standard_normals(3);
    let path_count = 200_000;
    let mut crossed = [0_u32; 3];
    for _ in 0..path_count {
        let (mut score, mut ratio_before) = (0.0, 0.0_f64);
        for (i, ratio) in ratios.into_iter().enumerate() {
            score += throws.next().unwrap() * (ratio - ratio_before).sqrt();
            ratio_before = ratio;
            if bounds[i].z <= score / ratio.sqrt() {
                crossed[i] += 1;
                break;
            }
        }
    }
    let mut spent_before = 0.0;
    for (i, bound) in bounds.iter().enumerate() {
        let share = f64::from(crossed[i]) / f64::from(path_count);
        let given = bound.alpha_spent - spent_before;
        spent_before = bound.alpha_spent;
        assert!(
            (share - given).abs() < 4.0 * (given / f64::from(path_count)).sqrt(),
            "look {i}: {share} is not {given}"
        );
    }
}

/// A normal test passes through the same machinery with one look at the end.
#[test]
fn a_look_bound_tests_as_the_z_test_does() {
    let estimate = Estimate { value: 2.1, standard_error: 1.0, degrees_of_freedom: 10.0, unit_count: 100.0 };
    let bounds = look_bounds(&[1.0], Alpha::FIVE_PERCENT, Alternative::TwoSided, Spending::Pocock);
    let (is_passed, tested) = bounds[0].run(&estimate, Alternative::TwoSided);
    let z_test = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL }.run(&estimate);
    assert!(is_passed && tested.p == z_test.p);
    assert!((tested.interval.low - z_test.interval.low).abs() < 1e-9);
}

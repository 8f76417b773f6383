//! What must hold of experiment statistics for any data, and the slow, obvious versions, on random values.

use proptest::prelude::*;
use tributary_analytics::experiment::{
    Alternative, BetaPrior, Breakdown, CapRule, ClusteredSample, ConfidenceSequence, Correction, Effect, Estimate,
    Exposures, FixedTest, Gather, Goal, Horizon, LiftInterval, LiftMethod, MixtureTest, NormalPrior, Plan, Proportion,
    QuantilePoints, Reference, Scale, Spacing, Stratum, adjust, cap, compare_beta, lift_interval, posterior,
    quantile_effect, stratified_cuped_means, stratified_cuped_ratios, stratified_means, stratified_ratios,
    units_for_effect_size,
};
use tributary_analytics::stats::{Alpha, Interval, JointMoments, Moments, PValue, UnitSample};
use tributary_testkit::oracle::experiment as oracle;

use crate::fixtures::assert_close;

/// Units with four values: numerator, denominator, and both before, which go along with them.
fn units(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<[f64; 4]>> {
    let unit = (0.0..100.0_f64, 1.0..10.0_f64, 0.0..50.0_f64, 1.0..5.0_f64);
    let along = |(value, sessions, before, sessions_before): (f64, f64, f64, f64)| {
        [value + before, sessions + sessions_before, before, sessions_before]
    };
    prop::collection::vec(unit.prop_map(along), count)
}

fn columns<const K: usize>(units: &[[f64; 4]], of: [usize; K]) -> JointMoments<K> {
    units.iter().map(|unit| of.map(|column| unit[column])).collect()
}

/// Every kind of effect that there is of two arms.
fn effects(control: &[[f64; 4]], treatment: &[[f64; 4]]) -> Vec<(&'static str, Effect)> {
    let moments = |units: &[[f64; 4]]| units.iter().map(|unit| unit[0]).collect::<Moments>();
    let mut effects = vec![("means", Effect::of_means(&moments(control), &moments(treatment)))];
    effects.push(("ratios", Effect::of_ratios(&columns(control, [0, 1]), &columns(treatment, [0, 1]))));
    effects.push(("cuped means", Effect::of_cuped_means(&columns(control, [0, 2]), &columns(treatment, [0, 2]))));
    let all = [0, 1, 2, 3];
    effects.push(("cuped ratios", Effect::of_cuped_ratios(&columns(control, all), &columns(treatment, all))));
    let points = |units: &[[f64; 4]]| {
        let mut sample = ClusteredSample::default();
        for (unit, values) in units.iter().enumerate() {
            sample.push(unit as u64 / 2, values[0]);
        }
        sample.points(0.5, Spacing::Exact).unwrap()
    };
    effects.push(("clustered medians", quantile_effect(&points(control), &points(treatment))));
    // Strata by halves; both arms are in both.
    let halves = |units: &[[f64; 4]]| {
        let (low, high) = units.split_at(units.len() / 2);
        [low.to_vec(), high.to_vec()]
    };
    let (a, b) = (halves(control), halves(treatment));
    fn strata<const K: usize>(a: &[Vec<[f64; 4]>; 2], b: &[Vec<[f64; 4]>; 2], of: [usize; K]) -> [Stratum<K>; 2] {
        [0, 1].map(|half| Stratum { control: columns(&a[half], of), treatment: columns(&b[half], of) })
    }
    effects.push(("stratified means", stratified_means(&strata(&a, &b, [0]))));
    effects.push(("stratified cuped means", stratified_cuped_means(&strata(&a, &b, [0, 2]))));
    effects.push(("stratified ratios", stratified_ratios(&strata(&a, &b, [0, 1]))));
    effects.push(("stratified cuped ratios", stratified_cuped_ratios(&strata(&a, &b, all))));
    effects.into_iter().filter_map(|(name, effect)| Some((name, effect.ok()?))).collect()
}

/// Up to `tolerance` of the error, or of size 1.
#[track_caller]
fn assert_same(ours: &Estimate, theirs: &Estimate, what: &str) {
    assert_close(ours.value, theirs.value, 1e-8, what);
    assert_close(ours.standard_error, theirs.standard_error, 1e-8, what);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn exchanging_the_arms_negates_every_effect(a in units(16..60), b in units(16..60)) {
        for ((name, there), (_, back)) in effects(&a, &b).into_iter().zip(effects(&b, &a)) {
            let (there, back) = (there.absolute(), back.absolute());
            assert_same(&there, &Estimate { value: -back.value, ..back }, name);
            let sequence = ConfidenceSequence {
                alpha: Alpha::FIVE_PERCENT,
                alternative: Alternative::TwoSided,
                tuning_unit_count: 100.0,
            };
            let turned = |interval: Interval| Interval { low: -interval.high, high: -interval.low };
            for (one, other) in [
                (FixedTest::CONVENTIONAL.run(&there), FixedTest::CONVENTIONAL.run(&back)),
                (sequence.run(&there), sequence.run(&back)),
            ] {
                assert_close(one.p.log10_p, other.p.log10_p, 1e-6, name);
                assert_close(one.interval.low, turned(other.interval).low, 1e-7, name);
            }
        }
    }

    #[test]
    fn another_unit_of_the_value_scales_the_difference_and_leaves_the_lift(
        a in units(16..40), b in units(16..40), factor in 0.001..1e6_f64,
    ) {
        let scaled = |units: &[[f64; 4]]| -> Vec<[f64; 4]> {
            units.iter().map(|unit| [unit[0] * factor, unit[1], unit[2] * factor, unit[3]]).collect()
        };
        for ((name, plain), (_, in_other)) in effects(&a, &b).into_iter().zip(effects(&scaled(&a), &scaled(&b))) {
            let back = in_other.absolute().scaled(factor.recip());
            assert_same(&plain.absolute(), &back, name);
            assert_same(&plain.relative().unwrap(), &in_other.relative().unwrap(), name);
        }
    }

    #[test]
    fn parts_merged_in_any_order_are_the_whole(all in units(2..80), cuts in prop::collection::vec(0_usize..80, 0..4), turn in 0_usize..7) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let mut parts: Vec<&[[f64; 4]]> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
        let turns = turn % parts.len().max(1);
        parts.rotate_left(turns);
        fn merged<T: Gather>(parts: &[&[[f64; 4]]], of: impl Fn(&[[f64; 4]]) -> T) -> T {
            let mut whole = T::default();
            for part in parts {
                whole.gather(of(part));
            }
            whole
        }
        let whole: JointMoments<4> = all.iter().copied().collect();
        let joint: JointMoments<4> = merged(&parts, |part| part.iter().copied().collect());
        prop_assert_eq!(joint.unit_count(), whole.unit_count());
        let (ours, theirs) = (joint.covariances().unwrap(), whole.covariances().unwrap());
        for (i, row) in theirs.iter().enumerate() {
            for (j, cell) in row.iter().enumerate() {
                assert_close(ours[i][j], *cell, 1e-10, "covariance");
            }
        }
        let sample: UnitSample<4> = merged(&parts, |part| part.iter().copied().collect());
        let in_order: UnitSample<4> = all.iter().copied().collect();
        // To the last bit.
        prop_assert_eq!(sample.moments(), in_order.moments());
        prop_assert_eq!(sample.sorted(1), in_order.sorted(1));
        let clustered: ClusteredSample = merged(&parts, |part| {
            let mut sample = ClusteredSample::default();
            for unit in part {
                sample.push(unit[1] as u64, unit[0]);
            }
            sample
        });
        let mut backwards = ClusteredSample::default();
        for unit in all.iter().rev() {
            backwards.push(unit[1] as u64, unit[0]);
        }
        prop_assert_eq!(clustered.points(0.3, Spacing::Exact), backwards.points(0.3, Spacing::Exact));
    }

    #[test]
    fn a_breakdown_loses_no_unit_and_keeps_the_largest(
        given in prop::collection::vec((0_u8..12, 0_u8..3, any::<bool>()), 0..200), kept in 1_usize..8, cut in 0_usize..200,
    ) {
        let gathered = |given: &[(u8, u8, bool)]| {
            let mut breakdown: Breakdown<Proportion> = Breakdown::default();
            for (slice, arm, is_success) in given {
                breakdown.push(&format!("s{slice:02}"), &format!("arm{arm}"), |proportion| proportion.push(*is_success));
            }
            breakdown
        };
        let (left, right) = given.split_at(cut.min(given.len()));
        let mut whole = gathered(right);
        whole.merge(gathered(left));
        prop_assert_eq!(&whole, &gathered(&given));
        let cut = whole.largest(kept);
        prop_assert!(cut.slices().len() <= kept);
        let size = |breakdown: &Breakdown<Proportion>, slice: &str| -> u64 {
            breakdown.arms().iter().map(|arm| breakdown.in_slice(slice, arm).0).sum()
        };
        for arm in ["arm0", "arm1", "arm2"] {
            let (ours, here) = (cut.arm(arm), given.iter().filter(|unit| format!("arm{}", unit.1) == arm));
            prop_assert_eq!(ours.unit_count(), here.clone().count() as u64);
            prop_assert_eq!(ours.success_count(), here.filter(|unit| unit.2).count() as u64);
        }
        let least = cut.slices().iter().filter(|slice| **slice != "(other)").map(|slice| size(&cut, slice)).min();
        let left_out = whole.slices().into_iter().filter(|slice| !cut.slices().contains(slice));
        let most_left_out = left_out.map(|slice| size(&whole, slice)).max();
        prop_assert!(most_left_out <= least || least.is_none());
    }

    #[test]
    fn errors_of_ratios_covariates_and_strata_are_the_textbooks(a in units(8..40), b in units(8..40)) {
        let pairs = |units: &[[f64; 4]], column: usize| -> Vec<(f64, f64)> {
            units.iter().map(|unit| (unit[0], unit[column])).collect()
        };
        let (ratio_a, error_a) = oracle::ratio(&pairs(&a, 1)).unwrap();
        let (ratio_b, error_b) = oracle::ratio(&pairs(&b, 1)).unwrap();
        let ours = Effect::of_ratios(&columns(&a, [0, 1]), &columns(&b, [0, 1])).unwrap().absolute();
        assert_close(ours.value, ratio_b - ratio_a, 1e-9, "ratio");
        assert_close(ours.standard_error, (error_a + error_b).sqrt(), 1e-9, "error of ratios");

        let (difference, error) = oracle::cuped(&pairs(&a, 2), &pairs(&b, 2)).unwrap();
        let ours = Effect::of_cuped_means(&columns(&a, [0, 2]), &columns(&b, [0, 2])).unwrap().absolute();
        assert_close(ours.value, difference, 1e-9, "cuped");
        assert_close(ours.standard_error, error.sqrt(), 1e-9, "error of cuped");

        let halves = |units: &[[f64; 4]]| -> [Vec<[f64; 4]>; 2] {
            let (low, high) = units.split_at(units.len() / 2);
            [low.to_vec(), high.to_vec()]
        };
        let (half_a, half_b) = (halves(&a), halves(&b));
        let values = |units: &[[f64; 4]]| units.iter().map(|unit| unit[0]).collect::<Vec<_>>();
        let (difference, error) =
            oracle::stratified(&[0, 1].map(|half| (values(&half_a[half]), values(&half_b[half])))).unwrap();
        let strata = [0, 1].map(|half| Stratum { control: columns(&half_a[half], [0]), treatment: columns(&half_b[half], [0]) });
        let ours = stratified_means(&strata).unwrap().absolute();
        assert_close(ours.value, difference, 1e-9, "stratified");
        assert_close(ours.standard_error, error.sqrt(), 1e-9, "error of strata");
    }

    #[test]
    fn fieller_holds_the_lifts_a_test_of_the_ratio_would_not_refuse(
        control in -3.0..20.0_f64, treatment in -3.0..20.0_f64, noise in 0.1..4.0_f64, lift in -5.0..5.0_f64,
    ) {
        let arm = |mean: f64| Moments::from_mean_and_variance(50, mean, noise * noise * 50.0);
        prop_assume!(control.abs() > 1e-3);
        let effect = Effect::of_means(&arm(control), &arm(treatment)).unwrap();
        let test = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
        // Treatment less (1 + lift) times control, for a negative control with the lift's sign turned.
        let ratio = 1.0 + lift * control.signum();
        let rest = Estimate {
            value: treatment - ratio * control,
            standard_error: noise * (1.0 + ratio * ratio).sqrt(),
            degrees_of_freedom: f64::INFINITY,
            unit_count: 100.0,
        };
        let p = test.run(&rest).p.p_value;
        prop_assume!((p - 0.05).abs() > 1e-6);
        let holds = match lift_interval(&effect, LiftMethod::Fieller, &test).unwrap() {
            LiftInterval::Bounded(interval) => interval.holds(lift),
            LiftInterval::Outside(interval) => lift <= interval.low || interval.high <= lift,
            LiftInterval::Unbounded => true,
        };
        prop_assert_eq!(holds, 0.05 < p);
    }

    #[test]
    fn all_lifts_agree_for_a_control_far_from_nothing(control in 900.0..1_000.0_f64, lift in -0.2..0.2_f64) {
        let arm = |mean: f64| Moments::from_mean_and_variance(10_000, mean, 100.0);
        let effect = Effect::of_means(&arm(control), &arm(control * (1.0 + lift))).unwrap();
        for method in [LiftMethod::Delta, LiftMethod::Log, LiftMethod::Fieller] {
            let Some(LiftInterval::Bounded(interval)) = lift_interval(&effect, method, &FixedTest::CONVENTIONAL) else {
                panic!("{method:?} is bounded")
            };
            prop_assert!((interval.low + interval.high - 2.0 * lift).abs() < 1e-6 && interval.holds(lift));
            prop_assert!((interval.high - interval.low) < 0.001);
        }
    }

    #[test]
    fn p_values_are_adjusted_as_all_subsets_and_all_limits_say(given in prop::collection::vec(0.0..=1.0_f64, 1..9), ties in any::<bool>()) {
        let given: Vec<f64> = given.into_iter().map(|p| if ties { (p * 8.0).round() / 8.0 } else { p }).collect();
        let p_values: Vec<PValue> = given.iter().map(|p| PValue { p_value: *p, log10_p: p.log10() }).collect();
        for (correction, theirs) in [
            (Correction::Holm, oracle::holm_by_closure(&given)),
            (Correction::BenjaminiHochberg, oracle::benjamini_hochberg(&given)),
        ] {
            for (ours, theirs) in adjust(&p_values, correction).iter().zip(theirs) {
                assert_close(ours.p_value, theirs, 1e-12, "adjusted");
            }
        }
    }

    #[test]
    fn sequential_p_is_one_over_the_mixture_of_likelihoods(z in -6.0..6.0_f64, units in 10.0..1e5_f64, error in 0.01..100.0_f64) {
        let estimate = Estimate { value: z * error, standard_error: error, degrees_of_freedom: f64::INFINITY, unit_count: units };
        let sequence = |alternative| ConfidenceSequence { alpha: Alpha::FIVE_PERCENT, alternative, tuning_unit_count: 5_000.0 };
        // The mixing variance in squared errors: units times rho², by the formula as printed (alpha once, or doubled).
        let information = |alpha: f64| units * (-2.0 * alpha.ln() + (1.0 - 2.0 * alpha.ln()).ln()) / 5_000.0;
        let e_value = oracle::mixture_e_value(z, information(0.05), false);
        let two_sided = sequence(Alternative::TwoSided).run(&estimate);
        assert_close(two_sided.p.p_value, e_value.recip().min(1.0), 1e-7, "two-sided");
        prop_assert_eq!(two_sided.interval.holds(0.0), 0.05 <= two_sided.p.p_value);
        // One-sided, the closed form is a bound from above of 1 over the half mixture, and close to it when it matters.
        let greater = sequence(Alternative::Greater).run(&estimate);
        let half = oracle::mixture_e_value(z, information(0.1), true);
        prop_assert!(half.recip().min(1.0) <= greater.p.p_value + 1e-9);
        if 10.0 < half {
            prop_assert!(greater.p.p_value * half < 1.5);
        }
        prop_assert_eq!(greater.interval.holds(0.0), 0.05 <= greater.p.p_value);
        let less = sequence(Alternative::Less).run(&Estimate { value: -estimate.value, ..estimate });
        assert_close(less.p.p_value, greater.p.p_value, 1e-12, "less is greater turned");
        // The mixture test is the same with its variance told outright.
        let mixture = MixtureTest { alpha: Alpha::FIVE_PERCENT, mixing_deviation: information(0.05).sqrt() * error };
        let mixed = mixture.run(&estimate);
        assert_close(mixed.p.log10_p, two_sided.p.log10_p, 1e-9, "mixture");
        assert_close(mixed.interval.high, two_sided.interval.high, 1e-9, "mixture interval");
    }

    #[test]
    fn beta_chances_are_the_finite_sum(a in 0_u64..60, a_rest in 0_u64..60, b in 0_u64..60, b_rest in 0_u64..60) {
        let arm = |successes, failures| Proportion::new(successes, successes + failures).unwrap();
        let ours = compare_beta(arm(a, a_rest), arm(b, b_rest), BetaPrior::UNIFORM);
        let theirs = oracle::beta_chance_above(a as f64 + 1.0, a_rest as f64 + 1.0, b as u32 + 1, b_rest as f64 + 1.0);
        assert_close(ours.chance_above, theirs, 1e-10, "above");
        assert_close(ours.chance_above + ours.chance_below, 1.0, 1e-10, "one or the other");
        // Gain less loss is the difference of the means.
        let mean = |successes: u64, failures: u64| (successes as f64 + 1.0) / (successes + failures + 2) as f64;
        assert_close(ours.expected_gain - ours.expected_loss, mean(b, b_rest) - mean(a, a_rest), 1e-10, "means");
        let back = compare_beta(arm(b, b_rest), arm(a, a_rest), BetaPrior::UNIFORM);
        assert_close(back.chance_below, ours.chance_above, 1e-10, "turned");
    }

    #[test]
    fn risks_are_the_areas_under_the_posterior(value in -3.0..3.0_f64, error in 0.1..2.0_f64, prior in prop::option::of((-1.0..1.0_f64, 0.1..2.0_f64))) {
        let arm = |mean: f64| Moments::from_mean_and_variance(100, mean, error * error * 50.0);
        let effect = Effect::of_means(&arm(5.0), &arm(5.0 + value)).unwrap();
        let prior = prior.map(|(mean, deviation)| NormalPrior { mean, deviation, scale: Scale::Absolute });
        let ours = posterior(&effect, Scale::Absolute, prior, Alpha::FIVE_PERCENT, Goal::HigherIsBetter).unwrap();
        // By adding up the posterior, itself added up from likelihood times prior.
        let (mut total, mut mean, mut won, mut lost) = (0.0, 0.0, 0.0, 0.0);
        for i in -40_000..=40_000 {
            let effect = value + f64::from(i) * 0.0005;
            let square = |off: f64, deviation: f64| (off / deviation).powi(2) / 2.0;
            let believed = prior.map_or(0.0, |prior| square(effect - prior.mean, prior.deviation));
            let weight = (-square(effect - value, error) - believed).exp();
            total += weight;
            mean += weight * effect;
            won += weight * effect.max(0.0);
            lost += weight * (-effect).max(0.0);
        }
        assert_close(ours.mean, mean / total, 1e-6, "mean");
        assert_close(ours.control_risk, won / total, 1e-6, "control's risk");
        assert_close(ours.treatment_risk, lost / total, 1e-6, "treatment's risk");
        assert_close(ours.chance_to_win + ours.chance_to_lose, 1.0, 1e-12, "one or the other");
    }

    #[test]
    fn the_first_of_all_exposures_wins_in_any_order(seen in prop::collection::vec((0_i64..20, 0_u64..5, 0_u8..3), 1..20), cut in 0_usize..20) {
        let folded = |seen: &[(i64, u64, u8)]| {
            let mut exposures = Exposures::default();
            for (time_us, sequence, arm) in seen {
                exposures.push(*time_us, *sequence, *arm);
            }
            exposures
        };
        let (left, right) = seen.split_at(cut.min(seen.len()));
        let mut merged = folded(right);
        merged.merge(folded(left));
        let first = seen.iter().min().unwrap();
        let ours = merged.first().unwrap();
        prop_assert_eq!((ours.time_us, ours.sequence, ours.arm), *first);
        prop_assert_eq!(merged.is_crossover(), seen.iter().any(|other| other.2 != first.2));
        prop_assert_eq!(merged, folded(&seen));
    }

    #[test]
    fn a_cap_is_one_for_all_arms_and_lies_above_its_share(a in units(5..60), b in units(5..60), level in 0.0..=1.0_f64) {
        let sample = |units: &[[f64; 4]]| units.iter().map(|unit| [unit[0]]).collect::<UnitSample<1>>();
        let samples = [sample(&a), sample(&b)];
        let rule = CapRule::Percentile { level, ignore_zeros: false };
        let limit = cap(&samples, 0, rule);
        prop_assert_eq!(limit, cap(samples.iter().rev(), 0, rule));
        let at_most = a.iter().chain(&b).filter(|unit| unit[0] <= limit).count() as f64;
        let total = (a.len() + b.len()) as f64;
        prop_assert!(level * (total - 1.0) <= at_most && at_most <= level * (total - 1.0) + 2.0);
        let capped = samples[0].moments_within([(f64::NEG_INFINITY, limit)]).means().unwrap()[0];
        let plain = a.iter().map(|unit| unit[0].min(limit)).sum::<f64>() / a.len() as f64;
        assert_close(capped, plain, 1e-12, "capped mean");
    }

    #[test]
    fn a_quantile_without_grid_is_as_exact_as_its_values(values in prop::collection::vec(0.0..1.0_f64, 50..200)) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let points = QuantilePoints::of_sorted(&sorted, 0.5, Spacing::Exact).unwrap();
        prop_assert_eq!(points.spacing_count, values.len() as u64);
        let below = values.iter().filter(|value| **value <= points.value).count() as f64;
        prop_assert!((below - values.len() as f64 / 2.0).abs() <= 1.0);
        prop_assert!(points.lower <= points.value && points.value <= points.upper);
    }

    #[test]
    fn what_is_still_to_come_gives_the_power_wanted(error in 0.01..10.0_f64, effect in 0.01..5.0_f64, units in 100.0..1e5_f64) {
        let estimate = Estimate { value: 0.0, standard_error: error, degrees_of_freedom: 1e3, unit_count: units };
        for horizon in [Horizon::Fixed, Horizon::Sequence { tuning_unit_count: 5_000.0 }] {
            let plan = Plan { horizon, ..Plan::CONVENTIONAL };
            let remaining = plan.remaining(&estimate, effect, None).unwrap();
            let growth = 1.0 + remaining.unit_count / units;
            let power = plan.power_grown(&estimate, effect, growth);
            let is_right = if growth == 1.0 { 0.8 <= power } else { (power - 0.8).abs() < 1e-9 };
            prop_assert!(is_right, "{}", power);
            prop_assert_eq!(plan.detectable_effect(&estimate) <= effect, growth == 1.0);
        }
        // To be allowed to look at any time costs units.
        let sizes = [Horizon::Fixed, Horizon::Sequence { tuning_unit_count: 5_000.0 }]
            .map(|horizon| units_for_effect_size(&Plan { horizon, ..Plan::CONVENTIONAL }, effect, 1.0).unwrap());
        prop_assert!(sizes[0] < sizes[1]);
    }
}

use super::*;
use crate::stats::{Alpha, Interval, Moments};

fn as_planned() -> Result<SplitCheck, SplitUnknown> {
    Ok(check_split(&[1_000, 1_000], &[0.5, 0.5]).unwrap())
}

fn proportions(control: (u64, u64), treatment: (u64, u64)) -> Result<Comparison, Untestable> {
    let arm = |(success_count, unit_count)| Proportion::new(success_count, unit_count).unwrap();
    compare_proportions(arm(control), arm(treatment), Alpha::FIVE_PERCENT)
}

fn verdict(comparison: &Result<Comparison, Untestable>, rule: &Rule) -> Verdict {
    judge(&as_planned(), comparison, rule).verdict
}

#[test]
fn the_better_arm_wins_whichever_way_is_better() {
    let more = proportions((100, 1_000), (160, 1_000));
    assert_eq!(verdict(&more, &Rule::CONVENTIONAL), Verdict::TreatmentWins);
    let fewer_is_better = Rule { goal: Goal::LowerIsBetter, ..Rule::CONVENTIONAL };
    assert_eq!(verdict(&more, &fewer_is_better), Verdict::ControlWins);
    let fewer = proportions((160, 1_000), (100, 1_000));
    assert_eq!(verdict(&fewer, &Rule::CONVENTIONAL), Verdict::ControlWins);
    assert_eq!(verdict(&fewer, &fewer_is_better), Verdict::TreatmentWins);
}

#[test]
fn a_broken_split_is_not_believed_however_clear_the_difference() {
    let split = check_split(&[10_000, 9_000], &[0.5, 0.5]).unwrap();
    let judgement = judge(&Ok(split), &proportions((100, 10_000), (900, 9_000)), &Rule::CONVENTIONAL);
    assert_eq!(judgement.verdict, Verdict::SplitBroken);
    assert_eq!(judgement.reasons[0].to_string(), "the units are not split as planned (p = 10^-12.4, limit 0.001)");
}

#[test]
fn too_little_data_is_not_called_a_draw() {
    let few_units = judge(&as_planned(), &proportions((40, 99), (50, 200)), &Rule::CONVENTIONAL);
    assert_eq!(few_units.verdict, Verdict::TooFewUnits);
    assert_eq!(few_units.reasons[0].to_string(), "99 units in control and 200 in treatment, 100 are needed in each");
    let few_successes = judge(&as_planned(), &proportions((1, 1_000), (7, 1_000)), &Rule::CONVENTIONAL);
    assert_eq!(few_successes.verdict, Verdict::TooFewUnits);
    assert_eq!(few_successes.reasons[0].to_string(), "an arm would expect 4.0 of the rarer outcome, 5 are needed");
    assert_eq!(verdict(&proportions((0, 0), (7, 1_000)), &Rule::CONVENTIONAL), Verdict::TooFewUnits);
    assert_eq!(verdict(&proportions((0, 500), (0, 500)), &Rule::CONVENTIONAL), Verdict::TooFewUnits);
    let one = Moments::from_sums(1, 5.0, 25.0);
    let means = compare_means(one, one, Alpha::FIVE_PERCENT);
    assert_eq!(means, Err(Untestable::TooFewUnits { control_unit_count: 1, treatment_unit_count: 1 }));
}

#[test]
fn no_clear_difference_says_its_p() {
    let judgement = judge(&as_planned(), &proportions((100, 1_000), (104, 1_000)), &Rule::CONVENTIONAL);
    assert_eq!(judgement.verdict, Verdict::NoClearDifference);
    assert_eq!(judgement.reasons[0].to_string(), "chance alone would show this much with p = 0.768, not below 0.05");
}

#[test]
fn strays_are_reported_but_do_not_void_the_planned_arms() {
    let split = check_split(&[900, 100, 5], &[0.9, 0.1, 0.0]).unwrap();
    assert_eq!((split.degrees_of_freedom, split.p.p_value, split.unplanned_unit_count), (1, 1.0, 5));
    let judgement = judge(&Ok(split), &proportions((90, 900), (10, 100)), &Rule::CONVENTIONAL);
    assert_eq!(judgement.verdict, Verdict::NoClearDifference);
    assert_eq!(judgement.reasons[1].to_string(), "5 units are in an arm that was to get none");
}

#[test]
fn a_huge_effect_has_a_finite_log_p_where_p_is_zero() {
    let huge = proportions((1_000_000, 10_000_000), (1_200_000, 10_000_000)).unwrap();
    assert_eq!(huge.p.p_value, 0.0);
    assert!((-4_500.0..-4_000.0).contains(&huge.p.log10_p), "log10 p is {}", huge.p.log10_p);
    assert_eq!(verdict(&Ok(huge), &Rule::CONVENTIONAL), Verdict::TreatmentWins);
}

#[test]
fn lift_is_positive_when_a_negative_metric_rises_and_absent_for_a_zero_control() {
    let arm = |sum, sum_squares| Moments::from_sums(100, sum, sum_squares);
    let rises = compare_means(arm(-50.0, 400.0), arm(-30.0, 380.0), Alpha::FIVE_PERCENT).unwrap();
    let lift_ratio = rises.lift_ratio.unwrap();
    assert!((lift_ratio - 0.4).abs() < 1e-12, "{lift_ratio}");
    let from_zero = compare_means(arm(0.0, 400.0), arm(30.0, 380.0), Alpha::FIVE_PERCENT).unwrap();
    assert_eq!((from_zero.lift_ratio, from_zero.lift_interval), (None, None));
}

#[test]
fn exchanging_the_arms_negates_the_difference_and_keeps_p() {
    let there = proportions((431, 2_991), (255, 1_555)).unwrap();
    let back = proportions((255, 1_555), (431, 2_991)).unwrap();
    assert_eq!(there.p, back.p);
    let Interval { low, high } = back.difference_interval;
    assert_eq!(there.difference_interval, Interval { low: -high, high: -low });
}

#[test]
fn split_without_units_or_choice_is_as_planned_and_bad_weights_are_refused() {
    assert_eq!(check_split(&[0, 0], &[0.5, 0.5]).unwrap().p.p_value, 1.0);
    assert_eq!(check_split(&[70], &[1.0]).unwrap().p.p_value, 1.0);
    assert_eq!(check_split(&[], &[]).unwrap().degrees_of_freedom, 0);
    for (unit_counts, weights) in [(vec![1, 2], vec![1.0]), (vec![1, 2], vec![1.0, -1.0]), (vec![1], vec![f64::NAN])] {
        assert!(check_split(&unit_counts, &weights).is_err());
    }
    assert!(Proportion::new(3, 2).is_err());
}

/// An arm whose units came in phases: `(units, the chance of this arm)`.
fn recorded(phases: &[(u64, f64)]) -> RecordedArm {
    let unit_count = phases.iter().map(|phase| phase.0).sum();
    RecordedArm {
        unit_count,
        known_count: unit_count,
        chance_sum: phases.iter().map(|(units, chance)| *units as f64 * chance).sum(),
        chance_min: phases.iter().map(|phase| phase.1).fold(1.0, f64::min),
        chance_max: phases.iter().map(|phase| phase.1).fold(0.0, f64::max),
    }
}

#[track_caller]
fn assert_weights(arms: &[RecordedArm], expected: &[f64]) {
    let weights = recorded_weights(arms).unwrap();
    let is_near = weights.iter().zip(expected).all(|(ours, theirs)| (ours - theirs).abs() < 1e-9);
    assert!(weights.len() == expected.len() && is_near, "{weights:?} is not {expected:?}");
}

#[test]
fn a_ramp_expects_what_each_unit_was_promised() {
    // A thousand at 90 to 10, then a thousand at even odds: 900 + 500 are to be expected in the first arm.
    let (a, b) = (recorded(&[(900, 0.9), (500, 0.5)]), recorded(&[(100, 0.1), (500, 0.5)]));
    assert_weights(&[a, b], &[1_400.0, 600.0]);
    let split = check_split(&[a.unit_count, b.unit_count], &recorded_weights(&[a, b]).unwrap()).unwrap();
    assert!(split.p.p_value > 0.999, "{split:?}");
    // Ten units too many in the first phase are still expected by their promise, not by where they fell.
    assert_weights(
        &[recorded(&[(910, 0.9), (500, 0.5)]), recorded(&[(90, 0.1), (500, 0.5)])],
        &[0.9 * 910.0 + 250.0 + 0.9 * 90.0 + 250.0, 0.1 * 910.0 + 250.0 + 0.1 * 90.0 + 250.0],
    );
}

#[test]
fn constant_chances_are_the_weights_of_any_number_of_arms() {
    assert_weights(&[recorded(&[(7, 0.9)]), recorded(&[(1, 0.1)])], &[0.9, 0.1]);
    let three = [recorded(&[(480, 0.5)]), recorded(&[(320, 0.3)]), recorded(&[(200, 0.2)])];
    assert_weights(&three, &[0.5, 0.3, 0.2]);
    let third = recorded(&[(1, 0.33)]);
    assert_weights(&[third, third, third], &[0.33, 0.33, 0.33]);
}

#[test]
fn one_chance_that_is_missing_leaves_equal_parts() {
    let known = recorded(&[(900, 0.9)]);
    let missing = RecordedArm { known_count: 99, ..recorded(&[(100, 0.1)]) };
    assert_weights(&[known, missing], &[1.0, 1.0]);
    assert_weights(&[RecordedArm::default(), RecordedArm::default()], &[1.0, 1.0]);
}

#[test]
fn where_chances_do_not_tell_the_plan_the_split_is_not_checked_and_that_is_said() {
    let ramped = [recorded(&[(9, 0.8), (5, 0.4)]), recorded(&[(1, 0.1)]), recorded(&[(1, 0.1), (5, 0.3)])];
    assert_eq!(recorded_weights(&ramped), Err(SplitUnknown::ChancesVary));
    // Half of the people were promised something else, which nobody here was shown.
    let two_of_three = [recorded(&[(100, 0.25)]), recorded(&[(100, 0.25)])];
    assert_eq!(recorded_weights(&two_of_three), Err(SplitUnknown::ChancesSum { sum: 0.5 }));
    let judgement =
        judge(&Err(SplitUnknown::ChancesVary), &proportions((100, 1_000), (160, 1_000)), &Rule::CONVENTIONAL);
    assert_eq!(judgement.verdict, Verdict::TreatmentWins);
    assert!(judgement.reasons[1].to_string().starts_with("the split is not checked"), "{:?}", judgement.reasons);
}

#[test]
fn a_bound_or_a_chance_may_name_the_winner_in_place_of_p() {
    let more = proportions((100, 1_000), (160, 1_000));
    let judged = |finding, rule: &Rule| judge_by(&as_planned(), &more, rule, finding);
    let bound = |is_passed| Finding::Bound { statistic: 4.0, z: 4.3, is_passed };
    assert_eq!(judged(bound(true), &Rule::CONVENTIONAL).verdict, Verdict::TreatmentWins);
    let not_passed = judged(bound(false), &Rule::CONVENTIONAL);
    assert_eq!(not_passed.verdict, Verdict::NoClearDifference);
    assert_eq!(not_passed.reasons[0].to_string(), "the statistic 4.000 does not pass the bound of this look, 4.300");
    // What was counted says more; what is believed, with a prior, says worse.
    let chance = |to_win: f64| Finding::Chance { to_win, to_lose: 1.0 - to_win };
    assert_eq!(judged(chance(0.01), &Rule::CONVENTIONAL).verdict, Verdict::ControlWins);
    assert_eq!(judged(chance(0.97), &Rule::CONVENTIONAL).verdict, Verdict::NoClearDifference);
    assert_eq!(judged(chance(0.98), &Rule::CONVENTIONAL).verdict, Verdict::TreatmentWins);
    // A broken split goes before any of them.
    let split = Ok(check_split(&[10_000, 9_000], &[0.5, 0.5]).unwrap());
    assert_eq!(judge_by(&split, &more, &Rule::CONVENTIONAL, chance(1.0)).verdict, Verdict::SplitBroken);
}

#[test]
fn an_arm_alone_is_the_mean_or_ratio_with_its_error() {
    let moments: Moments = [1.0, 2.0, 3.0, 6.0].into_iter().collect();
    let mean = Estimate::of_mean(&moments).unwrap();
    // By hand: the squared distances to 3 sum to 14.
    assert_eq!((mean.value, mean.degrees_of_freedom), (3.0, 3.0));
    assert!((mean.standard_error - (14.0_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    // With a denominator of 2 for all a ratio is half the mean.
    let pairs: crate::stats::JointMoments<2> = [1.0, 2.0, 3.0, 6.0].into_iter().map(|value| [value, 2.0]).collect();
    let ratio = Estimate::of_ratio(&pairs).unwrap();
    assert!((ratio.value - 1.5).abs() < 1e-12 && (ratio.standard_error - mean.standard_error / 2.0).abs() < 1e-12);
    let nothing: crate::stats::JointMoments<2> = [[1.0, 0.0], [2.0, 0.0]].into_iter().collect();
    assert_eq!(Estimate::of_ratio(&nothing), None);
    assert_eq!(Estimate::of_mean(&[1.0].into_iter().collect()), None);
}

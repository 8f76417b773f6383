use super::*;

const DAY_US: i64 = 86_400_000_000;

#[test]
fn lookback_is_inclusive_at_both_ends() {
    let times_us = [-DAY_US - 1, -DAY_US, -5, 0, 0, 1];
    assert_eq!(touches_in_lookback(&times_us, 0, DAY_US), 1..5);
    assert_eq!(touches_in_lookback(&times_us, 0, 0), 3..5);
    assert_eq!(touches_in_lookback(&times_us, 0, i64::MAX), 0..5);
    assert_eq!(touches_in_lookback(&[], 0, DAY_US), 0..0);
}

#[test]
fn negative_lookback_finds_nothing() {
    assert!(touches_in_lookback(&[-1, 0, 1, 2], 0, -2).is_empty());
}

#[test]
fn extreme_times_do_not_overflow() {
    assert_eq!(touches_in_lookback(&[i64::MIN, 0, i64::MAX], i64::MIN, i64::MAX), 0..1);
    assert_eq!(touches_in_lookback(&[i64::MIN, 0, i64::MAX], i64::MAX, i64::MAX), 1..3);
}

#[test]
fn model_names_read_back_and_a_wrong_one_lists_the_right_ones() {
    for model in Model::ALL {
        assert_eq!(Model::parse(model.name()), Ok(model));
    }
    let message = Model::parse("last").unwrap_err().to_string();
    assert_eq!(message, "attribution model 'last' is not known; allowed: last_touch, first_touch, linear");
}

#[test]
fn what_does_not_divide_goes_to_the_latest_touches() {
    assert_eq!(split_value(11, Model::Linear, 4), [2, 3, 3, 3]);
    assert_eq!(split_value(2, Model::Linear, 3), [0, 1, 1]);
    assert_eq!(split_value(-11, Model::Linear, 4), [-2, -3, -3, -3]);
    assert_eq!(split_value(11, Model::LastTouch, 3), [0, 0, 11]);
    assert_eq!(split_value(11, Model::FirstTouch, 3), [11, 0, 0]);
    assert_eq!(split_value(11, Model::Linear, 0), [0_i64; 0]);
    assert_eq!(split_value(i64::MIN, Model::Linear, 1), [i64::MIN]);
}

#[test]
fn only_touches_with_credit_are_returned() {
    let touches = [(-10, 7), (-5, 8), (0, 9)].map(|(time_us, index)| Touch { time_us, index });
    let last = credit_conversion(Model::LastTouch, &touches, 0, 100, 5_000_000);
    assert_eq!(last, [Credit { touch: touches[2], credit_ratio: 1.0, value_micros: 5_000_000 }]);
    let linear = credit_conversion(Model::Linear, &touches, -1, 100, 3);
    assert_eq!(
        linear,
        [
            Credit { touch: touches[0], credit_ratio: 0.5, value_micros: 1 },
            Credit { touch: touches[1], credit_ratio: 0.5, value_micros: 2 },
        ]
    );
    assert!(credit_conversion(Model::Linear, &touches, 50, 10, 3).is_empty());
}

/// A click without a channel of its own that nobody paid for.
fn click(time_us: i64, channel: u32) -> MarketingTouch {
    let touch = Touch { time_us, index: time_us.unsigned_abs() };
    MarketingTouch { touch, kind: TouchKind::Click, channel, mark: channel, is_direct: false, is_paid: false }
}

fn seen(time_us: i64, channel: u32) -> MarketingTouch {
    MarketingTouch { kind: TouchKind::Impression, ..click(time_us, channel) }
}

fn direct(time_us: i64) -> MarketingTouch {
    MarketingTouch { is_direct: true, ..click(time_us, 9) }
}

fn times_us(path: &[MarketingTouch]) -> Vec<i64> {
    path.iter().map(|touch| touch.touch.time_us).collect()
}

fn path_to(rule: &PathRule, touches: &[MarketingTouch], end_us: i64) -> Vec<i64> {
    times_us(&paths_to_conversions(rule, touches, &[Conversion::new(end_us, 0)])[0])
}

fn assert_weights(rule: CreditRule, path: &[MarketingTouch], conversion: &Conversion, expected: &[f64]) {
    let weights = rule.checked().unwrap().weights(path, conversion);
    assert_eq!(weights.len(), expected.len());
    for (weight, expected) in weights.iter().zip(expected) {
        assert!((weight - expected).abs() < 1e-15, "{rule:?}: {weights:?} are not {expected:?}");
    }
}

#[test]
fn a_single_touch_gets_all_and_two_are_shared_as_each_vendor_does() {
    let (at, one) = (Conversion::new(10, 0), [click(0, 1)]);
    for (_, rule) in CreditRule::NAMED {
        assert_weights(rule, &one, &at, &[1.0]);
        assert_weights(rule, &[], &at, &[]);
    }
    let two = [click(0, 1), click(5, 2)];
    let dp6 =
        |first, middle, last| CreditRule::Position(PositionShares { first, middle, last, of_two: OfTwo::SplitMiddle });
    assert_weights(CreditRule::U_SHAPED, &two, &at, &[0.5, 0.5]);
    assert_weights(CreditRule::J_SHAPED, &two, &at, &[0.25, 0.75]);
    assert_weights(CreditRule::INVERSE_J, &two, &at, &[0.75, 0.25]);
    assert_weights(dp6(0.2, 0.2, 0.6), &two, &at, &[0.3, 0.7]);
    assert_weights(dp6(0.0, 1.0, 0.0), &two, &at, &[0.5, 0.5]);
    let middle_only = PositionShares { first: 0.0, middle: 1.0, last: 0.0, of_two: OfTwo::InProportion };
    assert_weights(CreditRule::Position(middle_only), &two, &at, &[0.5, 0.5]);
}

#[test]
fn places_of_many_touches_get_their_parts() {
    let at = Conversion::new(10, 0);
    let five = [click(0, 1), click(1, 2), click(2, 1), click(3, 3), click(4, 1)];
    let middle = 0.2 / 3.0;
    assert_weights(CreditRule::U_SHAPED, &five, &at, &[0.4, middle, middle, middle, 0.4]);
    assert_weights(CreditRule::J_SHAPED, &five, &at, &[0.2, middle, middle, middle, 0.6]);
    assert_weights(CreditRule::PositionDecay, &five, &at, &[1.0, 2.0, 3.0, 4.0, 5.0].map(|k| k / 15.0));
    assert_weights(CreditRule::Participation, &five, &at, &[1.0, 1.0, 0.0, 1.0, 0.0]);
    let (third, ninth) = (1.0 / 3.0, 1.0 / 9.0);
    assert_weights(CreditRule::Shapley, &five, &at, &[ninth, third, ninth, third, ninth]);
}

#[test]
fn the_last_of_a_sort_falls_back_to_the_last() {
    let at = Conversion::new(10, 0);
    let paid = MarketingTouch { is_paid: true, ..click(1, 2) };
    let paid_view = MarketingTouch { is_paid: true, ..seen(2, 3) };
    let path = [click(0, 1), paid, paid_view, click(3, 4), direct(4)];
    assert_weights(CreditRule::LastNonDirect, &path, &at, &[0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_weights(CreditRule::LastNonDirect, &[direct(0), direct(1)], &at, &[0.0, 1.0]);
    let last_paid = |otherwise| CreditRule::LastPaid { otherwise };
    assert_weights(last_paid(WithoutPaid::Last), &path, &at, &[0.0, 1.0, 0.0, 0.0, 0.0]);
    assert_weights(last_paid(WithoutPaid::Last), &path[2..], &at, &[0.0, 0.0, 1.0]);
    assert_weights(last_paid(WithoutPaid::LastNonDirect), &path[2..], &at, &[0.0, 1.0, 0.0]);
    assert_weights(last_paid(WithoutPaid::LastNonDirect), &[direct(0), direct(1)], &at, &[0.0, 1.0]);
}

#[test]
fn decay_halves_by_age_or_falls_in_steps() {
    let at = Conversion::new(0, 0);
    let path = [click(-20, 1), click(-11, 2), click(-10, 3), click(-1, 4)];
    let weights = CreditRule::TimeDecay { half_life_us: 10 }.weights(&path, &at);
    assert!((weights[2] / weights[0] - 2.0).abs() < 1e-12);
    let stepped = CreditRule::SteppedDecay { step_us: 10, kept_ratio: 0.5 };
    assert_weights(stepped, &path, &at, &[0.25, 0.5, 0.5, 1.0].map(|weight| weight / 2.25));
    // Long ago is not nothing: two touches of a hundred half-lives ago still compare.
    let long_ago = [click(-20_010, 1), click(-20_000, 2)];
    assert_weights(CreditRule::TimeDecay { half_life_us: 10 }, &long_ago, &at, &[1.0 / 3.0, 2.0 / 3.0]);
}

#[test]
fn milestones_are_made_by_the_last_touch_up_to_them() {
    let path = [click(0, 1), click(10, 2), click(20, 3), click(30, 4), click(40, 5)];
    let milestones = Milestones { lead_time_us: Some(10), opportunity_time_us: Some(29) };
    let at = Conversion { milestones, ..Conversion::new(50, 0) };
    assert_weights(CreditRule::W_SHAPED, &path, &at, &[0.3, 0.3, 0.3, 0.05, 0.05]);
    assert_weights(CreditRule::FULL_PATH, &path, &at, &[0.225, 0.225, 0.225, 0.1, 0.225]);
    // Without an opportunity the others share its part: 30, 30 and 10 of 70.
    let milestones = Milestones { lead_time_us: Some(15), opportunity_time_us: None };
    let at = Conversion { milestones, ..Conversion::new(50, 0) };
    let rest = 1.0 / 7.0 / 3.0;
    assert_weights(CreditRule::W_SHAPED, &path, &at, &[3.0 / 7.0, 3.0 / 7.0, rest, rest, rest]);
    // A lead from before the first touch was made by none of them.
    let milestones = Milestones { lead_time_us: Some(-1), opportunity_time_us: Some(0) };
    let at = Conversion { milestones, ..Conversion::new(50, 0) };
    assert_weights(CreditRule::W_SHAPED, &path[..2], &at, &[6.0 / 7.0, 1.0 / 7.0]);
    assert_weights(CreditRule::W_SHAPED, &path[..1], &at, &[1.0]);
}

#[test]
fn numbers_of_a_rule_that_make_no_sense_are_refused() {
    let shares = |first| PositionShares { first, middle: 0.0, last: 0.0, of_two: OfTwo::InProportion };
    for rule in [
        CreditRule::TimeDecay { half_life_us: 0 },
        CreditRule::SteppedDecay { step_us: -1, kept_ratio: 0.5 },
        CreditRule::SteppedDecay { step_us: 1, kept_ratio: 0.0 },
        CreditRule::SteppedDecay { step_us: 1, kept_ratio: f64::NAN },
        CreditRule::Position(shares(0.0)),
        CreditRule::Position(shares(-1.0)),
        CreditRule::Position(shares(f64::INFINITY)),
        CreditRule::Position(shares(f64::NAN)),
    ] {
        assert!(rule.checked().is_err(), "{rule:?}");
    }
    for ratio in [-0.1, 1.1, f64::NAN] {
        assert!(PathRule { views: Views::Weigh { ratio }, ..PathRule::plain(1) }.checked().is_err(), "{ratio}");
    }
    assert!(PathRule { views: Views::Weigh { ratio: 1.0 }, ..PathRule::plain(1) }.checked().is_ok());
    assert!(CreditRule::parse("w_shaped").is_ok());
    let message = CreditRule::parse("last").unwrap_err().to_string();
    for (name, _) in CreditRule::NAMED {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn a_channel_that_was_clicked_as_well_loses_nothing_by_having_been_seen() {
    let (at, path) = (Conversion::new(10, 0), [seen(0, 1), click(1, 1), click(2, 2), seen(3, 3)]);
    let shares = |ratio| {
        let mut of_channel = [0.0; 4];
        for credit in credit_path(CreditRule::Shapley, Views::Weigh { ratio }, &path, &at) {
            let touch = path.iter().find(|touch| touch.touch == credit.touch).unwrap();
            of_channel[touch.channel as usize] += credit.credit_ratio;
        }
        of_channel
    };
    for (ratio, expected) in
        [(0.0, [0.0, 0.5, 0.5, 0.0]), (0.5, [0.0, 0.4, 0.4, 0.2]), (1.0, [0.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0])]
    {
        for (own, expected) in shares(ratio).into_iter().zip(expected) {
            assert!((own - expected).abs() < 1e-15, "{ratio}: {:?}", shares(ratio));
        }
    }
    // Where all were only seen, they share as ever.
    let views = credit_path(CreditRule::Shapley, Views::Weigh { ratio: 0.0 }, &[seen(0, 1), seen(1, 2)], &at);
    assert_eq!(views.iter().map(|credit| credit.credit_ratio).collect::<Vec<_>>(), [0.5, 0.5]);
}

#[test]
fn views_weigh_less_beside_clicks_and_all_alone() {
    let path = [seen(0, 1), click(1, 2)];
    let at = Conversion::new(5, 3_000_000);
    let credits = credit_path(CreditRule::Linear, Views::Weigh { ratio: 0.5 }, &path, &at);
    assert_eq!(credits.iter().map(|credit| credit.value_micros).collect::<Vec<_>>(), [1_000_000, 2_000_000]);
    let alone = credit_path(CreditRule::Linear, Views::Weigh { ratio: 0.0 }, &path[..1], &at);
    assert_eq!(alone[0].value_micros, 3_000_000);
    let none = credit_path(CreditRule::Linear, Views::Weigh { ratio: 0.0 }, &path, &at);
    assert_eq!(none.len(), 1);
    // Each has its own whole there, so a view's is smaller and nobody's grows.
    let each = credit_path(CreditRule::Participation, Views::Weigh { ratio: 0.5 }, &path, &at);
    assert_eq!(each.iter().map(|credit| credit.value_micros).collect::<Vec<_>>(), [1_500_000, 3_000_000]);
}

#[test]
fn each_kind_has_its_own_lookback_and_own_time_counts_if_asked() {
    let rule = PathRule { lookbacks: Lookbacks { click_us: 10, impression_us: 2, other_us: -1 }, ..PathRule::plain(0) };
    let other = MarketingTouch { kind: TouchKind::Other, ..click(0, 1) };
    let touches = [click(-11, 1), click(-10, 1), seen(-3, 2), seen(-2, 2), other, click(0, 1), click(1, 1)];
    assert_eq!(path_to(&rule, &touches, 0), [-10, -2, 0]);
    assert_eq!(path_to(&PathRule { own_time_counts: false, ..rule }, &touches, 0), [-10, -2]);
}

#[test]
fn a_burst_keeps_one_touch_or_one_for_each_length() {
    let burst = [click(0, 1), click(2, 1), click(4, 1), click(5, 2), click(6, 1)];
    let rule = |double_clicks| PathRule { double_clicks, ..PathRule::plain(100) };
    assert_eq!(path_to(&rule(DoubleClicks::Keep), &burst, 9), [0, 2, 4, 5, 6]);
    assert_eq!(path_to(&rule(DoubleClicks::DropWithinOfKept { same_touch_us: 3 }), &burst, 9), [0, 4, 5]);
    assert_eq!(path_to(&rule(DoubleClicks::DropWithinOfPrevious { same_touch_us: 3 }), &burst, 9), [0, 5]);
}

#[test]
fn direct_and_views_are_left_out_only_beside_others() {
    let no_direct = PathRule { direct: Direct::DropUnlessAlone, ..PathRule::plain(100) };
    assert_eq!(path_to(&no_direct, &[direct(0), click(1, 1), direct(2)], 9), [1]);
    assert_eq!(path_to(&no_direct, &[direct(0), direct(2)], 9), [0, 2]);
    let clicks_first = PathRule { views: Views::OnlyWithoutClick, ..PathRule::plain(100) };
    assert_eq!(path_to(&clicks_first, &[seen(0, 1), click(1, 1), seen(2, 1)], 9), [1]);
    assert_eq!(path_to(&clicks_first, &[seen(0, 1), seen(2, 1)], 9), [0, 2]);
}

#[test]
fn a_second_conversion_sees_all_touches_again_or_only_new_ones() {
    let touches = [click(0, 1), click(5, 2), click(7, 3)];
    let conversions = [5, 6, 8, 8].map(|time_us| Conversion::new(time_us, 0));
    let paths = |touch_use| {
        let rule = PathRule { touch_use, ..PathRule::plain(100) };
        paths_to_conversions(&rule, &touches, &conversions).iter().map(|path| times_us(path)).collect::<Vec<_>>()
    };
    assert_eq!(paths(TouchUse::Reuse), [vec![0, 5], vec![0, 5], vec![0, 5, 7], vec![0, 5, 7]]);
    assert_eq!(paths(TouchUse::Reset), [vec![0, 5], vec![], vec![7], vec![7]]);
    let rule = PathRule { own_time_counts: false, ..PathRule::plain(5) };
    assert_eq!(times_us(&path_without_conversion(&rule, &touches, None)), [5, 7]);
    assert_eq!(times_us(&path_without_conversion(&rule, &touches, Some(5))), [7]);
    assert!(path_without_conversion(&rule, &[], None).is_empty());
}

/// The examples of fractribution's own comments and tests; D is 0, A 1, B 2, C 3.
#[test]
fn transforms_keep_what_fractribution_keeps() {
    let path = [0, 1, 2, 2, 3, 0, 3, 3];
    let kept = |transform: Transform, path: &[u32]| -> Vec<u32> {
        transform.kept(path).into_iter().map(|at| path[at]).collect()
    };
    assert_eq!(kept(Transform::Unique, &path), path);
    assert_eq!(kept(Transform::Exposure, &path), [0, 1, 2, 3, 0, 3]);
    assert_eq!(Transform::Exposure.kept(&path), [0, 1, 3, 4, 5, 7]);
    assert_eq!(kept(Transform::First, &path), [0, 1, 2, 3]);
    assert_eq!(kept(Transform::Frequency, &path), [0, 1, 2, 3]);
    assert_eq!(channel_frequencies(&path), [(0, 2), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(kept(Transform::RemoveIfNotAll { channel: 3 }, &path), [0, 1, 2, 2, 0]);
    assert_eq!(kept(Transform::RemoveIfNotAll { channel: 3 }, &[3, 3]), [3, 3]);
    assert_eq!(kept(Transform::RemoveIfLastAndNotAll { channel: 3 }, &path), [0, 1, 2, 2, 3, 0]);
    assert_eq!(kept(Transform::RemoveIfLastAndNotAll { channel: 3 }, &[3, 3]), [3, 3]);
    assert_eq!(kept(Transform::LastSteps { count: 3 }, &path), [0, 3, 3]);
    assert_eq!(kept(Transform::LastSteps { count: 99 }, &path), path);
    // Long paths take another road.
    let long: Vec<u32> = (0..40).map(|step| step % 7).collect();
    assert_eq!(kept(Transform::First, &long), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn what_is_left_goes_to_those_that_lost_most_then_to_the_latest() {
    assert_eq!(split_by_weights(10, &[0.4, 0.2, 0.4]), [4, 2, 4]);
    assert_eq!(split_by_weights(11, &[0.5, 0.25, 0.25]), [5, 3, 3]);
    assert_eq!(split_by_weights(-11, &[0.5, 0.25, 0.25]), [-5, -3, -3]);
    assert_eq!(split_by_weights(2, &[1.0, 1.0, 1.0]), [0, 1, 1]);
    assert_eq!(split_by_weights(3, &[0.0, f64::NAN, -1.0]), [1, 1, 1]);
    assert_eq!(split_by_weights(3, &[0.0, 2.0, f64::INFINITY]), [0, 3, 0]);
    assert_eq!(split_by_weights(i64::MIN, &[1.0]), [i64::MIN]);
    assert_eq!(split_by_weights(7, &[]), [0_i64; 0]);
    // More than an `i64` holds: a sum of many values.
    let total = 30_000_000_000_000_000_000_000_001_i128;
    assert_eq!(split_total_by_weights(total, &[1.0, 2.0]).iter().sum::<i128>(), total);
}

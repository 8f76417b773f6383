//! Attribution against the sentence that defines it, on random cases.

use proptest::prelude::*;
use tributary_analytics::attribution::{
    Conversion, CreditRule, DoubleClicks, Lookbacks, MarketingTouch, Milestones, Model, OfTwo, PathRule,
    PositionShares, Shares, Touch, TouchKind, TouchUse, Transform, Views, credit_conversion, credit_path,
    paths_to_conversions, split_by_weights, split_total_by_weights, split_value,
};
use tributary_testkit::oracle::attribution::credits;

proptest! {
    #[test]
    fn credit_goes_where_the_definition_says_and_sums_to_the_conversion(
        mut times_us in prop::collection::vec(-20_i64..20, 0..12),
        conversion_time_us in -20_i64..20,
        lookback_us in 0_i64..30,
        value_micros in -1_000_000_i64..1_000_000,
    ) {
        times_us.sort_unstable();
        let touches: Vec<Touch> =
            (0..).zip(&times_us).map(|(index, time_us)| Touch { time_us: *time_us, index }).collect();
        for model in Model::ALL {
            let ours = credit_conversion(model, &touches, conversion_time_us, lookback_us, value_micros);
            let theirs = credits(&times_us, conversion_time_us, lookback_us, model.name());
            prop_assert_eq!(ours.len(), theirs.len());
            for (credit, exact) in ours.iter().zip(&theirs) {
                prop_assert_eq!(credit.touch, touches[exact.touch]);
                prop_assert_eq!(credit.credit_ratio, 1.0 / exact.shared_by as f64);
                let exact_micros = value_micros as f64 / exact.shared_by as f64;
                prop_assert!((credit.value_micros as f64 - exact_micros).abs() < 1.0);
            }
            if !ours.is_empty() {
                let ratio_sum: f64 = ours.iter().map(|credit| credit.credit_ratio).sum();
                prop_assert!((ratio_sum - 1.0).abs() < 1e-9);
                prop_assert_eq!(ours.iter().map(|credit| credit.value_micros).sum::<i64>(), value_micros);
            }
        }
    }

    #[test]
    fn no_micro_is_lost_and_a_refund_takes_back_what_the_sale_gave(value_micros: i64, touch_count in 1_usize..500) {
        for model in Model::ALL {
            let shares_micros = split_value(value_micros, model, touch_count);
            prop_assert_eq!(shares_micros.len(), touch_count);
            prop_assert_eq!(shares_micros.iter().map(|share| i128::from(*share)).sum::<i128>(), i128::from(value_micros));
            if let Some(refund_micros) = value_micros.checked_neg() {
                let taken_back: Vec<i64> = shares_micros.iter().map(|share| -share).collect();
                prop_assert_eq!(split_value(refund_micros, model, touch_count), taken_back);
            }
        }
    }
}

fn rules() -> impl Strategy<Value = CreditRule> {
    let shares = prop::collection::vec(0.0_f64..3.0, 5);
    let custom = (shares, any::<bool>()).prop_map(|(shares, is_split)| {
        let of_two = if is_split { OfTwo::SplitMiddle } else { OfTwo::InProportion };
        CreditRule::Position(PositionShares { first: shares[0], middle: shares[1], last: shares[2], of_two })
    });
    let named = (0..CreditRule::NAMED.len()).prop_map(|at| CreditRule::NAMED[at].1);
    let stepped =
        (1_i64..9, 0.1_f64..1.0).prop_map(|(step_us, kept_ratio)| CreditRule::SteppedDecay { step_us, kept_ratio });
    prop_oneof![named, custom, stepped, (1_i64..9).prop_map(|half_life_us| CreditRule::TimeDecay { half_life_us })]
}

fn marketing_touches() -> impl Strategy<Value = Vec<MarketingTouch>> {
    let kinds = prop_oneof![Just(TouchKind::Click), Just(TouchKind::Impression), Just(TouchKind::Other)];
    let touch = (-20_i64..20, kinds, 0_u32..4, any::<bool>(), any::<bool>());
    prop::collection::vec(touch, 0..12).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.0);
        let touch = |((time_us, kind, channel, is_direct, is_paid), index)| MarketingTouch {
            touch: Touch { time_us, index },
            kind,
            channel,
            mark: channel,
            is_direct,
            is_paid,
        };
        rows.into_iter().zip(0..).map(touch).collect()
    })
}

proptest! {
    #[test]
    fn any_rule_shares_all_of_a_conversion_and_no_more(
        rule in rules(),
        touches in marketing_touches(),
        value_micros: i64,
        lead_time_us in prop::option::of(-25_i64..25),
        opportunity_time_us in prop::option::of(-25_i64..25),
        weight in 0.0_f64..1.0,
    ) {
        let milestones = Milestones { lead_time_us, opportunity_time_us };
        let conversion = Conversion { milestones, ..Conversion::new(20, value_micros) };
        for views in [Views::Include, Views::Weigh { ratio: weight }] {
            let credits = credit_path(rule, views, &touches, &conversion);
            prop_assert_eq!(credits.is_empty(), touches.is_empty());
            prop_assert!(credits.iter().all(|credit| 0.0 < credit.credit_ratio && credit.credit_ratio <= 1.0 + 1e-12));
            if rule == CreditRule::Participation || touches.is_empty() {
                continue;
            }
            let ratio_sum: f64 = credits.iter().map(|credit| credit.credit_ratio).sum();
            prop_assert!((ratio_sum - 1.0).abs() < 1e-9);
            prop_assert_eq!(credits.iter().map(|credit| i128::from(credit.value_micros)).sum::<i128>(), i128::from(value_micros));
            for credit in credits {
                // A ratio has 53 bits, so of a large value it says no more than that.
                let (value, ratio) = (value_micros as f64, credit.credit_ratio);
                prop_assert!((credit.value_micros as f64 - ratio * value).abs() <= 1.0 + value.abs() * 1e-15);
            }
        }
    }

    /// The three rules that look at places alone are the same by either road.
    #[test]
    fn models_and_rules_of_one_name_agree(touches in marketing_touches(), value_micros: i64) {
        for model in Model::ALL {
            let rule = CreditRule::parse(model.name()).unwrap();
            let by_rule = credit_path(rule, Views::Include, &touches, &Conversion::new(20, value_micros));
            let plain: Vec<Touch> = touches.iter().map(|touch| touch.touch).collect();
            prop_assert_eq!(by_rule, credit_conversion(model, &plain, 20, 100, value_micros));
        }
    }

    /// One value's shares are found with numbers of one word, a sum's with two.
    #[test]
    fn a_value_is_shared_as_a_sum_is(
        value_micros in prop_oneof![any::<i64>(), -50_i64..50],
        weights in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0..3.0, Just(f64::NAN), Just(-1.0), 1e-300..1e300], 0..12),
    ) {
        let of_sum = split_total_by_weights(value_micros.into(), &weights);
        let mut room = Shares::default();
        for _ in 0..2 {
            let of_value: Vec<i128> = room.split(value_micros, &weights).iter().map(|share| i128::from(*share)).collect();
            prop_assert_eq!(&of_value, &of_sum);
        }
        let equal: Vec<i128> =
            room.split_equally(value_micros, weights.len()).iter().map(|share| i128::from(*share)).collect();
        prop_assert_eq!(equal, split_total_by_weights(value_micros.into(), &vec![1.0; weights.len()]));
    }

    /// Weights that are whole numbers have exact shares to compare with.
    #[test]
    fn shares_sum_to_the_value_and_are_less_than_a_micro_off(
        value_micros: i64,
        weights in prop::collection::vec(0_u32..1_000, 1..40),
    ) {
        let sum: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        prop_assume!(0 < sum);
        // Powers of two, so that the largest is exact in the unit weights are taken in.
        let largest = weights.iter().max().unwrap().next_power_of_two();
        let with_largest: Vec<u32> = weights.iter().copied().chain([largest]).collect();
        let sum = sum + i128::from(largest);
        let shares = split_by_weights(value_micros, &with_largest.iter().map(|weight| f64::from(*weight)).collect::<Vec<_>>());
        prop_assert_eq!(shares.iter().map(|share| i128::from(*share)).sum::<i128>(), i128::from(value_micros));
        for (share, weight) in shares.iter().zip(&with_largest) {
            let off = i128::from(*share) * sum - i128::from(value_micros) * i128::from(*weight);
            prop_assert!(off.abs() < sum, "{share} of {weight}");
        }
        if let Some(refund_micros) = value_micros.checked_neg() {
            let weights: Vec<f64> = with_largest.iter().map(|weight| f64::from(*weight)).collect();
            let taken_back: Vec<i64> = shares.iter().map(|share| -share).collect();
            prop_assert_eq!(split_by_weights(refund_micros, &weights), taken_back);
        }
    }

    /// Each step only takes away; what stays is in order, and within its lookback.
    #[test]
    fn a_path_is_part_of_the_touches_in_their_order(
        touches in marketing_touches(),
        lookbacks_us in prop::collection::vec(-1_i64..20, 3),
        choice in 0_usize..8,
        resets: bool,
    ) {
        let transforms = [Transform::Unique, Transform::Exposure, Transform::First, Transform::RemoveIfNotAll { channel: 1 }];
        let rule = PathRule {
            lookbacks: Lookbacks { click_us: lookbacks_us[0], impression_us: lookbacks_us[1], other_us: lookbacks_us[2] },
            touch_use: if resets { TouchUse::Reset } else { TouchUse::Reuse },
            double_clicks: if choice < 4 { DoubleClicks::Keep } else { DoubleClicks::DropWithinOfKept { same_touch_us: 2 } },
            transforms: vec![transforms[choice % 4]],
            ..PathRule::plain(0)
        };
        let conversions = [Conversion::new(0, 1), Conversion::new(5, 1), Conversion::new(5, 1)];
        let paths = paths_to_conversions(&rule, &touches, &conversions);
        prop_assert_eq!(&paths[1], &paths[2]);
        for (path, conversion) in paths.iter().zip(&conversions) {
            prop_assert!(path.is_sorted_by(|left, right| left.touch < right.touch));
            for touch in path {
                prop_assert!(touches.contains(touch));
                let age_us = conversion.time_us - touch.touch.time_us;
                let lookback_us = match touch.kind {
                    TouchKind::Click => lookbacks_us[0],
                    TouchKind::Impression => lookbacks_us[1],
                    TouchKind::Other => lookbacks_us[2],
                };
                prop_assert!((0..=lookback_us).contains(&age_us));
                prop_assert!(!resets || conversion.time_us == 0 || 0 < touch.touch.time_us);
            }
        }
        let shortest = *lookbacks_us.iter().min().unwrap();
        let any_near = |end_us: i64| touches.iter().any(|touch| {
            touch.touch.time_us <= end_us && end_us - touch.touch.time_us <= shortest
        });
        prop_assert!(!any_near(0) || !paths[0].is_empty());
    }
}

//! Attribution against the sentence that defines it, on random cases.

use proptest::prelude::*;
use tributary_analytics::attribution::{Model, Touch, credit_conversion, split_value};
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

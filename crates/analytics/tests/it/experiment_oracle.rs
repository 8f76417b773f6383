//! Experiment statistics against the textbook formulas, on random values.

use proptest::prelude::*;
use tributary_analytics::experiment::compare_means;
use tributary_analytics::stats::{Alpha, Moments, wilson_interval};
use tributary_testkit::oracle::experiment::{mean, variance, welch};

use crate::fixtures::assert_close;

fn values() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1e3..1e3, 0..40)
}

proptest! {
    #[test]
    fn moments_equal_two_passes_however_they_are_merged(values in values(), cut in 0_usize..40) {
        let (left, right) = values.split_at(cut.min(values.len()));
        let merged = left.iter().copied().collect::<Moments>().merge(right.iter().copied().collect());
        prop_assert_eq!(merged.unit_count(), values.len() as u64);
        prop_assert_eq!(merged.mean().is_some(), mean(&values).is_some());
        prop_assert_eq!(merged.variance().is_some(), variance(&values).is_some());
        if let (Some(ours), Some(theirs)) = (merged.variance(), variance(&values)) {
            assert_close(merged.mean().unwrap(), mean(&values).unwrap(), 1e-9, "mean");
            assert_close(ours, theirs, 1e-9, "variance");
        }
    }

    #[test]
    fn welch_equals_the_textbook(control in values(), treatment in values()) {
        let ours = compare_means(
            control.iter().copied().collect(),
            treatment.iter().copied().collect(),
            Alpha::FIVE_PERCENT,
        );
        let theirs = welch(&control, &treatment);
        prop_assert_eq!(ours.is_ok(), theirs.is_some());
        if let (Ok(ours), Some((statistic, degrees_of_freedom))) = (ours, theirs) {
            assert_close(ours.statistic, statistic, 1e-9, "statistic");
            assert_close(ours.degrees_of_freedom.unwrap(), degrees_of_freedom, 1e-9, "degrees of freedom");
            // The interval leaves out 0 exactly when p is below alpha.
            let leaves_out_zero = 0.0 < ours.difference_interval.low || ours.difference_interval.high < 0.0;
            prop_assert_eq!(leaves_out_zero, ours.p.p_value < 0.05);
        }
    }

    #[test]
    fn wilson_holds_the_share_and_stays_within_nought_and_one(trial_count in 1_u64..100_000, share in 0.0..=1.0) {
        let success_count = (trial_count as f64 * share) as u64;
        let interval = wilson_interval(success_count, trial_count, Alpha::FIVE_PERCENT).unwrap();
        let share = success_count as f64 / trial_count as f64;
        prop_assert!(0.0 <= interval.low && interval.low <= share && share <= interval.high && interval.high <= 1.0);
    }
}

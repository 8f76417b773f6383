//! Funnels against trying everything, on random small cases.

use proptest::prelude::*;
use tributary_analytics::funnel::{ExactRule, Modes, TieOrder, exact_funnel, window_funnel_level};
use tributary_testkit::oracle::funnel::{Ties, best_attempt};

const TIE_ORDERS: [(TieOrder, Ties); 3] = [
    (TieOrder::Ingest, Ties::InGivenOrder),
    (TieOrder::Any, Ties::AnyOrder),
    (TieOrder::StrictlyIncreasing, Ties::Never),
];

/// Up to nine rows within a dozen instants, so that ties, repeats and overlaps are common.
fn rows() -> impl Strategy<Value = Vec<(i64, u32)>> {
    prop::collection::vec((0_i64..12, 0_u32..16), 0..10).prop_map(|mut rows| {
        rows.sort_by_key(|row| row.0);
        rows
    })
}

fn window_us() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), (0_i64..12).prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn exact_funnel_finds_the_attempt_that_trying_everything_finds(
        rows in rows(), step_count in 1_usize..=4, window_us in window_us(),
    ) {
        for (tie_order, ties) in TIE_ORDERS {
            let attempt = exact_funnel(&rows, ExactRule::new(step_count, window_us, tie_order).unwrap());
            prop_assert_eq!(attempt.level, attempt.times_us.len());
            prop_assert_eq!(attempt.times_us, best_attempt(&rows, step_count, window_us, ties), "{:?}", tie_order);
        }
    }

    /// From the loosest meaning to the strictest, no level may rise.
    #[test]
    fn a_stricter_meaning_never_reaches_further(rows in rows(), step_count in 1_usize..=4, window_us in 0_i64..12) {
        let exact = |tie_order| exact_funnel(&rows, ExactRule::new(step_count, Some(window_us), tie_order).unwrap()).level;
        let clickhouse = window_funnel_level(&rows, step_count, window_us, Modes::default()).unwrap();
        let levels = [clickhouse, exact(TieOrder::Any), exact(TieOrder::Ingest), exact(TieOrder::StrictlyIncreasing)];
        prop_assert!(levels.is_sorted_by(|looser, stricter| stricter <= looser), "{:?}", levels);
    }

    /// Events of one instant may come in any order where the tie order says so.
    #[test]
    fn arrival_order_within_an_instant_does_not_matter_unless_asked_for(
        mut rows in rows(), step_count in 1_usize..=4, window_us in window_us(),
    ) {
        for tie_order in [TieOrder::Any, TieOrder::StrictlyIncreasing] {
            let rule = ExactRule::new(step_count, window_us, tie_order).unwrap();
            let forward = exact_funnel(&rows, rule);
            rows.reverse();
            prop_assert_eq!(forward, exact_funnel(&rows, rule));
        }
    }
}

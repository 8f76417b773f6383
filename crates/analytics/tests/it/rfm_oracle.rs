//! RFM scores against their definitions, on random small cases full of equal values.

use proptest::prelude::*;
use tributary_analytics::calendar::DAY_US;
use tributary_analytics::rfm::{Cut, RfmMeasures, RfmRule};
use tributary_testkit::oracle::rfm::{quantile_cuts, tiles};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn scores_are_what_their_definitions_say(
        units in prop::collection::vec((0_i64..9, 1_u64..5, -3_i128..9), 0..40), tile_count in 2_u32..8, turn in 0_usize..40,
    ) {
        let as_of_us = 10 * DAY_US;
        let measures = |&(day, frequency, monetary_micros): &(i64, u64, i128)| {
            RfmMeasures { last_time_us: day * DAY_US, frequency, monetary_micros }
        };
        let mut units: Vec<(usize, RfmMeasures)> = units.iter().map(measures).enumerate().collect();
        for (cut, slow) in [(Cut::Tiles, tiles as fn(&[i128], usize) -> Vec<usize>), (Cut::Quantiles, quantile_cuts)] {
            units.sort_unstable_by_key(|unit| unit.0);
            let slow = |value: &dyn Fn(&RfmMeasures) -> i128| {
                slow(&units.iter().map(|unit| value(&unit.1)).collect::<Vec<i128>>(), tile_count as usize)
            };
            let recency = slow(&|it| i128::from(it.last_time_us));
            let frequency = slow(&|it| i128::from(it.frequency));
            let monetary = slow(&|it| it.monetary_micros);
            // In whichever order units come, each has the scores of its id.
            let turn = turn.min(units.len());
            units.rotate_left(turn);
            for ((id, _), ours) in units.iter().zip(RfmRule::new(as_of_us, tile_count, cut).unwrap().scores(&units)) {
                let found = [ours.recency, ours.frequency, ours.monetary].map(|score| score as usize);
                prop_assert_eq!(found, [recency[*id], frequency[*id], monetary[*id]], "{:?}", cut);
            }
        }
    }
}

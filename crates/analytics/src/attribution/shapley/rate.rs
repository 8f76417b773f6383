//! The rate game: a coalition is worth the conversion rate of the journeys that met nobody else.
//!
//! In:       a path table, what is counted, how much a rate of few journeys is drawn to the rate of all.
//! Out:      one value per channel, summing to the rate of all journeys.
//! Promise:  exact by sums over subsets, `n 2^n` steps; else by drawn orders.
//! Not here: a guard against what rates mean: a channel that takes part in a coalition of low rate gets less than nothing.

use super::super::PathTable;
use super::{Effort, Measure, ShapleyValues, check_player_count, exactly, sampled_shapley};
use crate::error::AnalyticsError;

/// * `prior_journeys`: so many journeys at the rate of all are added to each coalition's own; 0 or more. With 0, a coalition
///   with three journeys and one conversion is worth a third, and a channel met by twelve journeys got 2,203 of 19,785
///   conversions of one data set. A coalition without journeys of its own is worth 0 then.
///
/// Source: `docs/methods.md#shapley`.
pub fn rate_shapley(
    table: &PathTable,
    measure: Measure,
    prior_journeys: f64,
    effort: Effort,
) -> Result<ShapleyValues, AnalyticsError> {
    if !(0.0 <= prior_journeys && prior_journeys.is_finite()) {
        return Err(AnalyticsError::PriorJourneys { given: prior_journeys.to_string() });
    }
    let totals = table.totals();
    let measured_total = match measure {
        Measure::Conversions => totals.conversions as f64,
        Measure::Value => totals.value_micros as f64,
    };
    let journeys_total = totals.journeys() as f64;
    let rate_of_all = if 0.0 < journeys_total { measured_total / journeys_total } else { 0.0 };
    let rate = |measured: f64, journeys: f64| {
        let weight = journeys + prior_journeys;
        if 0.0 < weight { (measured + prior_journeys * rate_of_all) / weight } else { 0.0 }
    };
    let player_count = table.channel_count();
    match effort {
        Effort::Exact => {
            let count = check_player_count(player_count)?;
            let mut measured = vec![0.0; 1 << count];
            let mut journeys = vec![0.0; 1 << count];
            for (mask, counts) in table.channel_masks() {
                let mask = usize::try_from(mask).expect("at most 20 bits");
                journeys[mask] += (counts.conversions + counts.nulls) as f64;
                measured[mask] += match measure {
                    Measure::Conversions => counts.conversions as f64,
                    Measure::Value => counts.value_micros as f64,
                };
            }
            sum_over_subsets(&mut measured);
            sum_over_subsets(&mut journeys);
            let mut worth: Vec<f64> = measured.iter().zip(&journeys).map(|(m, j)| rate(*m, *j)).collect();
            worth[0] = 0.0;
            Ok(exactly(&worth))
        }
        Effort::Sampled { order_count, seed } => {
            let count = player_count as usize;
            Ok(sampled_shapley(count, order_count, seed, |order| {
                // A path is within a coalition from the moment its last channel has joined.
                let mut place = vec![0; count];
                order.iter().enumerate().for_each(|(at, player)| place[*player] = at + 1);
                let (mut measured, mut journeys) = (vec![0.0; count + 1], vec![0.0; count + 1]);
                for row in table.rows() {
                    let joined = row.channels.iter().map(|channel| place[*channel as usize]).max();
                    let joined = joined.expect("no path of a table is empty");
                    journeys[joined] += (row.counts.conversions + row.counts.nulls) as f64;
                    measured[joined] += match measure {
                        Measure::Conversions => row.counts.conversions as f64,
                        Measure::Value => row.counts.value_micros as f64,
                    };
                }
                let mut worths = vec![0.0];
                for at in 1..=count {
                    journeys[at] += journeys[at - 1];
                    measured[at] += measured[at - 1];
                    worths.push(rate(measured[at], journeys[at]));
                }
                worths
            }))
        }
    }
}

/// Makes each entry the sum over all subsets of its mask.
fn sum_over_subsets(of_mask: &mut [f64]) {
    let mut bit = 1;
    while bit < of_mask.len() {
        for mask in 0..of_mask.len() {
            if mask & bit != 0 {
                of_mask[mask] += of_mask[mask ^ bit];
            }
        }
        bit <<= 1;
    }
}

//! Bootstrap: how much of a share is the chance of who happened to come.
//!
//! In:       a path table, an order, how many tables to draw, a seed.
//! Out:      an interval and a standard error for each channel's share.
//! Promise:  the same seed gives the same intervals.
//! Not here: whether the model is right: an interval tells of the journeys' chance only.

use super::super::{PathCounts, PathTable, dice::Dice};
use super::{Nulls, markov_effects};
use crate::error::AnalyticsError;
use crate::stats::{Alpha, Interval, Moments};

/// By channel code. Empty for no draws.
#[derive(Debug, Clone, PartialEq)]
pub struct ShareIntervals {
    pub of_conversions: Vec<Interval>,
    pub of_value: Vec<Interval>,
    pub conversion_standard_errors: Vec<f64>,
    pub value_standard_errors: Vec<f64>,
}

/// Draws tables as large as this one from it, and reads what the shares are in each.
///
/// * `draw_count`: some hundreds; below 2 there is no standard error and an interval is a point.
/// * `alpha`: the interval leaves out half of it at each end.
/// * Each row's conversions and nulls are drawn from Poisson's law with what they are as expectation, so that a table is drawn
///   in one pass; a conversion drawn again brings the mean value of its row.
///
/// Source: Efron (1979), percentiles; the Poisson form, Hanley and MacGibbon (2006). `docs/methods.md#bootstrap`.
pub fn bootstrap_shares(
    table: &PathTable,
    order: usize,
    nulls: Nulls,
    draw_count: usize,
    alpha: Alpha,
    seed: u64,
) -> Result<ShareIntervals, AnalyticsError> {
    let mut dice = Dice::new(seed);
    let (mut of_conversions, mut of_value) = (Vec::new(), Vec::new());
    for _ in 0..draw_count {
        let effects = markov_effects(&drawn(table, &mut dice), order, nulls)?;
        of_conversions.push(effects.conversion_shares());
        of_value.push(effects.value_shares());
    }
    Ok(ShareIntervals {
        of_conversions: by_channel(&of_conversions, |shares| percentile_interval(shares, alpha)),
        of_value: by_channel(&of_value, |shares| percentile_interval(shares, alpha)),
        conversion_standard_errors: by_channel(&of_conversions, spread),
        value_standard_errors: by_channel(&of_value, spread),
    })
}

fn drawn(table: &PathTable, dice: &mut Dice) -> PathTable {
    table.recounted(|row| {
        let conversions = dice.poisson(row.counts.conversions);
        let nulls = dice.poisson(row.counts.nulls);
        let value_micros = if row.counts.conversions == 0 {
            0
        } else {
            let mean = row.counts.value_micros as f64 / row.counts.conversions as f64;
            (mean * conversions as f64) as i64
        };
        PathCounts { conversions, nulls, value_micros }
    })
}

fn by_channel<R>(draws: &[Vec<f64>], read: impl Fn(Vec<f64>) -> R) -> Vec<R> {
    let channel_count = draws.first().map_or(0, Vec::len);
    (0..channel_count).map(|channel| read(draws.iter().map(|shares| shares[channel]).collect())).collect()
}

fn spread(shares: Vec<f64>) -> f64 {
    shares.into_iter().collect::<Moments>().variance().map_or(0.0, f64::sqrt)
}

/// Between two draws the percentile lies on a straight line (Hyndman and Fan's type 7, what R and numpy do).
fn percentile_interval(mut shares: Vec<f64>, alpha: Alpha) -> Interval {
    shares.sort_unstable_by(f64::total_cmp);
    let at = |ratio: f64| {
        let place = ratio * (shares.len() - 1) as f64;
        let (below, above) = (shares[place.floor() as usize], shares[place.ceil() as usize]);
        below + (above - below) * place.fract()
    };
    let low = at(alpha.ratio() / 2.0);
    Interval { low, high: at(1.0 - alpha.ratio() / 2.0).max(low) }
}

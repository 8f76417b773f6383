//! The Markov game: a coalition is worth the chance that a walk converts which may meet only its channels.
//!
//! In:       a path table, an order, what is counted.
//! Out:      one value per channel, summing to the conversion rate (or the value) of a journey.
//! Promise:  nothing has to be scaled to sum to the total, and nothing is negative: more channels, more walks. Rare channels
//!           get little, because few walks need them.
//! Not here: the chain (`attribution::markov`).

use super::super::PathTable;
use super::super::markov::{Chain, Nulls};
use super::{Effort, Measure, ShapleyValues, check_player_count, exactly, sampled_shapley};
use crate::error::AnalyticsError;

/// * `order`: as of `markov_effects`.
/// * Times the number of journeys, values are conversions or millionths of a currency.
///
/// Source: `docs/methods.md#shapley`. At order 1 all coalitions are walked through as a tree, which takes about `6 * 2^n`
/// steps; above, each coalition is a chain to be solved: a fifth of a second for 12 channels at order 2, minutes for 20, for
/// which orders had better be drawn.
pub fn markov_shapley(
    table: &PathTable,
    order: usize,
    nulls: Nulls,
    measure: Measure,
    effort: Effort,
) -> Result<ShapleyValues, AnalyticsError> {
    let chain = Chain::build(table, order, nulls)?;
    let count = table.channel_count() as usize;
    let worth_within = |is_allowed: &[bool]| {
        let (conversion_ratio, value_micros) = chain.outcome_within(is_allowed);
        match measure {
            Measure::Conversions => conversion_ratio,
            Measure::Value => value_micros,
        }
    };
    match effort {
        Effort::Exact => {
            check_player_count(table.channel_count())?;
            if order == 1 {
                return Ok(exactly(&Walk::of(&chain, measure).worth_of_coalitions()));
            }
            let worth_of = |coalition: usize| {
                let is_allowed: Vec<bool> = (0..count).map(|channel| coalition >> channel & 1 == 1).collect();
                worth_within(&is_allowed)
            };
            Ok(exactly(&(0..1_usize << count).map(worth_of).collect::<Vec<f64>>()))
        }
        Effort::Sampled { order_count, seed } => Ok(sampled_shapley(count, order_count, seed, |joining| {
            let mut is_allowed = vec![false; count];
            let mut worths = vec![0.0];
            for &player in joining {
                is_allowed[player] = true;
                worths.push(worth_within(&is_allowed));
            }
            worths
        })),
    }
}

/// A chain of single channels, some of which have been decided: taken out, or passed over because walks may pass them (their
/// transitions are then drawn together with those that follow). What is left are the channels still to be decided.
struct Walk {
    /// From the start to each channel left.
    start: Vec<f64>,
    /// From channel to channel, row by row.
    steps: Vec<f64>,
    /// What an end from each channel is worth, times its chance.
    ends: Vec<f64>,
    /// What has been reached through the channels passed over.
    worth: f64,
}

impl Walk {
    fn of(chain: &Chain, measure: Measure) -> Self {
        let count = chain.channel_count() as usize;
        let mut walk =
            Self { start: vec![0.0; count], steps: vec![0.0; count * count], ends: vec![0.0; count], worth: 0.0 };
        let channel_of = |state: usize| chain.channels_of(state).next().expect("a state has a touch") as usize;
        for state in 0..chain.state_count() {
            let to = channel_of(state);
            let left = chain.left_counts[state] as f64;
            walk.start[to] = chain.start_ratios[state];
            walk.ends[to] = match measure {
                Measure::Conversions => chain.conversion_counts[state] as f64 / left,
                Measure::Value => chain.values_micros[state] as f64 / left,
            };
            for entry in chain.incoming(state) {
                walk.steps[channel_of(chain.from[entry] as usize) * count + to] = chain.from_ratios[entry];
            }
        }
        walk
    }

    fn worth_of_coalitions(&self) -> Vec<f64> {
        let mut worths = vec![0.0; 1 << self.ends.len()];
        self.decide(0, &mut worths);
        worths
    }

    /// Decides the last of the channels left, both ways. The coalition's higher bits have been decided.
    fn decide(&self, coalition: usize, worths: &mut [f64]) {
        let Some(last) = self.ends.len().checked_sub(1) else {
            worths[coalition] = self.worth;
            return;
        };
        self.without_last(false).decide(coalition, worths);
        self.without_last(true).decide(coalition | 1 << last, worths);
    }

    /// * `passes`: whether walks may pass the last channel; else they end there.
    fn without_last(&self, passes: bool) -> Self {
        let count = self.ends.len();
        let last = count - 1;
        let returns = self.steps[last * count + last];
        // A walk that is at `last` gets away from it sooner or later, unless nothing was ever seen to leave it.
        let visits = if passes && returns < 1.0 { 1.0 / (1.0 - returns) } else { 0.0 };
        let from_start = self.start[last] * visits;
        let of_last = &self.steps[last * count..];
        let mut steps = Vec::with_capacity(last * last);
        let mut ends = Vec::with_capacity(last);
        for row in self.steps.chunks_exact(count).take(last) {
            let through = row[last] * visits;
            steps.extend(row.iter().zip(of_last).take(last).map(|(step, onward)| step + through * onward));
            ends.push(through * self.ends[last]);
        }
        ends.iter_mut().zip(&self.ends).for_each(|(end, own)| *end += own);
        let start = self.start.iter().zip(of_last).take(last).map(|(start, onward)| start + from_start * onward);
        Self { start: start.collect(), steps, ends, worth: self.worth + from_start * self.ends[last] }
    }
}

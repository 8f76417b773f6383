//! Markov attribution: what would be lost if a channel were not there.
//!
//! In:       a path table, an order from 1 to `Chain::ORDER_MAX`.
//! Out:      removal effects for conversions and for value, and the credit in proportion to them; the chain itself; measures
//!           by which to choose the order; intervals by bootstrap.
//! Promise:  exact: a chain is solved, not simulated, to a bound that comes with the answer (`MarkovEffects::mass_left`),
//!           below 1e-12. The order of the rows changes nothing, the codes of the channels nothing but rounding.
//! Not here: paths that were cut after a number of steps, as ChannelAttribution's walks are.
//!
//! Definitions: `docs/methods.md#markov`.

mod bootstrap;
mod chain;
mod order;
mod solve;

pub use bootstrap::{ShareIntervals, bootstrap_shares};
pub use chain::{Chain, Nulls, State, Transition};
pub use order::{OrderFit, fit_orders};

use super::{PathTable, split_total_by_weights};
use crate::error::AnalyticsError;

/// What each channel's removal takes away, as a part of what there is: from 0 (not on any converting walk) to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct MarkovEffects {
    /// The chance that a walk from the start converts: of all journeys those that did, whatever the order.
    pub conversion_ratio: f64,
    /// What a walk is worth, in millionths of a currency.
    pub value_micros: f64,
    /// By channel code.
    pub of_conversions: Vec<f64>,
    /// By channel code; all 0 where there is no value.
    pub of_value: Vec<f64>,
    /// How much of a walk, at most, was left out of any of the solutions: a chance is not further off than this.
    pub mass_left: f64,
}

impl MarkovEffects {
    /// Parts of all conversions by channel, summing to 1; all 0 if nothing converts.
    pub fn conversion_shares(&self) -> Vec<f64> {
        shares(&self.of_conversions)
    }

    /// Parts of all value by channel, summing to 1; all 0 if there is no value.
    pub fn value_shares(&self) -> Vec<f64> {
        shares(&self.of_value)
    }

    /// The table's value in whole micros by channel; sums to it exactly where there is any.
    pub fn value_credits_micros(&self, total_micros: i128) -> Vec<i128> {
        split_total_by_weights(total_micros, &self.value_shares())
    }
}

fn shares(effects: &[f64]) -> Vec<f64> {
    let sum: f64 = effects.iter().sum();
    effects.iter().map(|effect| if 0.0 < sum { effect / sum } else { 0.0 }).collect()
}

/// Builds the chain of a table and takes each channel out of it once.
///
/// * `order`: how many touches back a next one depends on.
/// * All effects are 0 if nothing converts.
///
/// Source: Anderl et al. (2016), `docs/methods.md#markov`. The slow, obvious version is `testkit::oracle::markov`.
pub fn markov_effects(table: &PathTable, order: usize, nulls: Nulls) -> Result<MarkovEffects, AnalyticsError> {
    Ok(Chain::build(table, order, nulls)?.removal_effects())
}

impl Chain {
    /// See `markov_effects`.
    pub fn removal_effects(&self) -> MarkovEffects {
        let whole = self.visits(None, |_| true);
        let reached = self.outcome(&whole);
        let mut effects = MarkovEffects {
            conversion_ratio: reached.conversion_ratio,
            value_micros: reached.value_micros,
            of_conversions: Vec::new(),
            of_value: Vec::new(),
            mass_left: reached.mass_left,
        };
        let mut is_met = vec![false; self.channel_count() as usize];
        for channel in (0..self.state_count()).flat_map(|state| self.channels_of(state)) {
            is_met[channel as usize] = true;
        }
        for (channel, is_met) in (0..).zip(is_met) {
            // Dictionaries are often shared by many questions: what this one never met costs nothing.
            if !is_met {
                effects.of_conversions.push(0.0);
                effects.of_value.push(0.0);
                continue;
            }
            // Fewer walks pass anywhere once a channel is gone, so what passes now is a guess from above.
            let left = self.outcome(&self.visits(Some(&whole), |state| !self.contains(state, channel)));
            let lost = |left: f64, of: f64| if 0.0 < of { (1.0 - left / of).clamp(0.0, 1.0) } else { 0.0 };
            effects.of_conversions.push(lost(left.conversion_ratio, reached.conversion_ratio));
            effects.of_value.push(lost(left.value_micros, reached.value_micros));
            effects.mass_left = effects.mass_left.max(left.mass_left);
        }
        effects
    }

    /// The chance of a conversion, and the value to be expected, of a walk that may meet only some channels; one that meets
    /// another ends there without a conversion.
    ///
    /// * `is_allowed`: by channel code.
    pub fn outcome_within(&self, is_allowed: &[bool]) -> (f64, f64) {
        let outcome = self.outcome(&self.visits(None, |state| self.channels_of(state).all(|c| is_allowed[c as usize])));
        (outcome.conversion_ratio, outcome.value_micros)
    }
}

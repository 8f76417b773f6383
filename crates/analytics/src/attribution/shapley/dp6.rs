//! DP6's games: one per set of channels that ever converted, as `marketing_attribution_models` 1.0.10 plays them.
//!
//! In:       a path table, a game.
//! Out:      for each such set its conversions and what each of its channels gets of them.
//! Promise:  the same numbers as that package, also where they are odd: a coalition is worth what journeys of *exactly* its
//!           channels were, nothing where there were none, so credit may be negative.
//! Not here: a recommendation. It is for comparing with reports that were made so.

use std::collections::{BTreeMap, HashMap};

use super::super::PathTable;
use super::{Measure, check_player_count, exact_shapley};
use crate::error::AnalyticsError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dp6Game {
    /// Of each path only so many distinct channels: without order those with the largest codes, which is what the package does
    /// with names; with order the last by first touch.
    pub channel_count_max: Option<usize>,
    /// Whether the order of first touches makes another set.
    pub is_ordered: bool,
    pub worth: Dp6Worth,
    /// What a game of rates shares out, and `Dp6Worth::Paid` is worth.
    pub paid: Measure,
}

/// What a coalition is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dp6Worth {
    /// Its conversion rate; each set's credits are scaled to what the set was paid.
    ConversionRate,
    /// Its conversions, unscaled.
    Conversions,
    /// What it was paid, unscaled.
    Paid,
}

/// One set of channels that converted.
#[derive(Debug, Clone, PartialEq)]
pub struct CoalitionCredit {
    /// Ascending, or by first touch if the game is ordered.
    pub channels: Vec<u32>,
    pub conversions: u64,
    pub journeys: u64,
    pub value_micros: i128,
    /// For each of `channels`; conversions or millionths of a currency, as is paid.
    pub credits: Vec<f64>,
}

#[derive(Default)]
struct Met {
    conversions: u64,
    journeys: u64,
    value_micros: i128,
}

/// * Returns the sets that converted, ascending. Refused if one of them has more than `PLAYER_COUNT_MAX` channels.
///
/// Source: `docs/methods.md#shapley`.
pub fn dp6_shapley(table: &PathTable, game: Dp6Game) -> Result<Vec<CoalitionCredit>, AnalyticsError> {
    let mut met_by_set: BTreeMap<Vec<u32>, Met> = BTreeMap::new();
    for row in table.rows() {
        let met = met_by_set.entry(channel_set(row.channels, game)).or_default();
        met.conversions += row.counts.conversions;
        met.journeys += row.counts.conversions + row.counts.nulls;
        met.value_micros += i128::from(row.counts.value_micros);
    }
    let paid = |met: &Met| match game.paid {
        Measure::Conversions => met.conversions as f64,
        Measure::Value => met.value_micros as f64,
    };
    let worth = |met: &Met| match game.worth {
        Dp6Worth::ConversionRate => met.conversions as f64 / met.journeys as f64,
        Dp6Worth::Conversions => met.conversions as f64,
        Dp6Worth::Paid => paid(met),
    };
    met_by_set.retain(|_, met| 0 < met.conversions);
    let worth_by_set: HashMap<&[u32], f64> =
        met_by_set.iter().map(|(channels, met)| (channels.as_slice(), worth(met))).collect();
    let mut sets = Vec::new();
    for (channels, met) in &met_by_set {
        let count = check_player_count(u32::try_from(channels.len()).unwrap_or(u32::MAX))?;
        let mut members = Vec::new();
        let worth_of = |coalition: usize| {
            members.clear();
            members.extend((0..count).filter(|member| coalition >> member & 1 == 1).map(|member| channels[member]));
            worth_by_set.get(members.as_slice()).copied().unwrap_or(0.0)
        };
        let mut credits = exact_shapley(&(0..1_usize << count).map(worth_of).collect::<Vec<f64>>());
        if game.worth == Dp6Worth::ConversionRate {
            let sum: f64 = credits.iter().sum();
            credits.iter_mut().for_each(|credit| *credit *= paid(met) / sum);
        }
        sets.push(CoalitionCredit {
            channels: channels.clone(),
            conversions: met.conversions,
            journeys: met.journeys,
            value_micros: met.value_micros,
            credits,
        });
    }
    Ok(sets)
}

/// The credits of all sets by channel code.
pub fn dp6_totals(sets: &[CoalitionCredit], channel_count: u32) -> Vec<f64> {
    let mut of_channel = vec![0.0; channel_count as usize];
    for set in sets {
        for (channel, credit) in set.channels.iter().zip(&set.credits) {
            of_channel[*channel as usize] += credit;
        }
    }
    of_channel
}

fn channel_set(path: &[u32], game: Dp6Game) -> Vec<u32> {
    let mut channels: Vec<u32> = super::super::Transform::First.kept(path).into_iter().map(|at| path[at]).collect();
    if !game.is_ordered {
        channels.sort_unstable();
    }
    let count = game.channel_count_max.unwrap_or(channels.len());
    channels.split_off(channels.len().saturating_sub(count))
}

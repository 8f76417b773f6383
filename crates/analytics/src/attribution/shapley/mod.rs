//! Shapley attribution: what each channel adds, on average over all orders in which channels could have joined.
//!
//! In:       a path table and a game: what a coalition of channels is worth.
//! Out:      one value per channel, and how sure it is where it was sampled.
//! Promise:  values sum to the worth of all channels together, within rounding; a channel that adds nothing gets nothing, and
//!           channels that do the same get the same. Exact up to `PLAYER_COUNT_MAX` channels.
//! Not here: which game is the right one: `docs/methods.md#shapley` says what each does on rare channels.

mod cumulative;
mod dp6;
mod leave_one_out;
mod markov;
mod rate;

pub use cumulative::{Cumulative, cumulative_shapley};
pub use dp6::{CoalitionCredit, Dp6Game, Dp6Worth, dp6_shapley, dp6_totals};
pub use leave_one_out::{ChannelCredit, leave_one_out};
pub use markov::markov_shapley;
pub use rate::rate_shapley;

use super::dice::Dice;
use crate::error::AnalyticsError;
use crate::stats::Moments;

/// The most channels whose coalitions are all looked at: a million of them.
pub const PLAYER_COUNT_MAX: u32 = 20;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    Conversions,
    /// In millionths of a currency.
    Value,
}

/// How the average over all orders is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// All coalitions; refused above `PLAYER_COUNT_MAX` channels.
    Exact,
    /// So many orders, drawn, each also the other way round (which takes away much of the noise).
    Sampled { order_count: usize, seed: u64 },
}

impl Effort {
    /// Exact where that is possible.
    pub fn fitting(channel_count: u32, order_count: usize, seed: u64) -> Self {
        if channel_count <= PLAYER_COUNT_MAX { Self::Exact } else { Self::Sampled { order_count, seed } }
    }
}

/// What each channel is worth in a game.
#[derive(Debug, Clone, PartialEq)]
pub struct ShapleyValues {
    /// By channel code.
    pub of_channel: Vec<f64>,
    /// By channel code: of the sampling, not of the data; 0 if exact, infinite if fewer than two pairs were drawn.
    pub standard_errors: Vec<f64>,
}

impl ShapleyValues {
    /// In proportion, such that they sum to `total`: what a game of ratios is in conversions or in value. All 0 if the
    /// values sum to 0. Negative ones stay negative.
    pub fn scaled_to(&self, total: f64) -> Vec<f64> {
        let sum: f64 = self.of_channel.iter().sum();
        self.of_channel.iter().map(|value| if sum == 0.0 { 0.0 } else { value / sum * total }).collect()
    }
}

/// Shapley values of any game, exactly.
///
/// * `worth_of_coalition`: by bit mask of the players; 2 to the power of the player count of them, the first (nobody) taken
///   as it is.
/// * Takes `player_count * 2^player_count` steps.
///
/// Source: Shapley (1953). The slow, obvious version is `testkit::oracle::shapley::by_orders`.
pub fn exact_shapley(worth_of_coalition: &[f64]) -> Vec<f64> {
    debug_assert!(worth_of_coalition.len().is_power_of_two(), "each player is in or out");
    let player_count = worth_of_coalition.len().trailing_zeros() as usize;
    // Orders in which so many came before: size! (count - size - 1)! / count!.
    let mut weight_of_size = vec![1.0 / player_count.max(1) as f64; player_count];
    for size in 1..player_count {
        weight_of_size[size] = weight_of_size[size - 1] * size as f64 / (player_count - size) as f64;
    }
    let mut of_player = vec![0.0; player_count];
    for (player, value) in of_player.iter_mut().enumerate() {
        let bit = 1 << player;
        for (coalition, worth) in worth_of_coalition.iter().enumerate() {
            if coalition & bit == 0 {
                let weight = weight_of_size[coalition.count_ones() as usize];
                *value += weight * (worth_of_coalition[coalition | bit] - worth);
            }
        }
    }
    of_player
}

/// Shapley values of any game by drawing orders.
///
/// * `worths_along`: given an order of all players, the worth of nobody, of the first, of the first two and so on.
/// * Each order's sum is the worth of all, so the values' sum is too.
///
/// Source: Castro, Gomez and Tejada (2009); antithetic orders, Mitchell et al. (2022).
pub fn sampled_shapley(
    player_count: usize,
    order_count: usize,
    seed: u64,
    mut worths_along: impl FnMut(&[usize]) -> Vec<f64>,
) -> ShapleyValues {
    let mut dice = Dice::new(seed);
    let mut order: Vec<usize> = (0..player_count).collect();
    let mut moments = vec![Moments::default(); player_count];
    // An order and its reverse are one draw: alone they are not independent.
    for _ in 0..order_count.div_ceil(2).max(1) {
        dice.shuffle(&mut order);
        let mut added = vec![0.0; player_count];
        for _ in 0..2 {
            let worths = worths_along(&order);
            for (place, &player) in order.iter().enumerate() {
                added[player] += (worths[place + 1] - worths[place]) / 2.0;
            }
            order.reverse();
        }
        moments.iter_mut().zip(added).for_each(|(moments, added)| moments.push(added));
    }
    let standard_error = |moments: &Moments| {
        moments.variance().map_or(f64::INFINITY, |variance| (variance / moments.unit_count() as f64).sqrt())
    };
    ShapleyValues {
        of_channel: moments.iter().map(|moments| moments.mean().unwrap_or(0.0)).collect(),
        standard_errors: moments.iter().map(standard_error).collect(),
    }
}

/// Refuses what would take all night.
fn check_player_count(player_count: u32) -> Result<usize, AnalyticsError> {
    if PLAYER_COUNT_MAX < player_count {
        return Err(AnalyticsError::PlayerCount { given: player_count, max: PLAYER_COUNT_MAX });
    }
    Ok(player_count as usize)
}

fn exactly(worth_of_coalition: &[f64]) -> ShapleyValues {
    let of_channel = exact_shapley(worth_of_coalition);
    ShapleyValues { standard_errors: vec![0.0; of_channel.len()], of_channel }
}

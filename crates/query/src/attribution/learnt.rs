//! Models that learn from all paths, as `attribution` asks for them.
//!
//! In:       a path table of one currency, the value of all its conversions.
//! Out:      by channel: conversions and value credited, and how sure that is.
//! Promise:  conversions sum to the conversions of the table and value to its value, to the micro, wherever the model
//!           credits anything.
//! Not here: the models: `analytics::attribution::{markov, shapley}`.

use tributary_analytics::attribution::markov::{Nulls, bootstrap_shares, fit_orders, markov_effects};
use tributary_analytics::attribution::shapley::{Effort, Measure, ShapleyValues, markov_shapley, rate_shapley};
use tributary_analytics::attribution::{PathTable, split_total_by_weights};
use tributary_analytics::error::AnalyticsError;
use tributary_analytics::stats::Alpha;

/// Which model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Learnt {
    pub(super) kind: LearntKind,
    /// Touches back that a next one depends on; `None`: as many as fit best.
    pub(super) order: Option<usize>,
    /// Tables drawn for intervals; 0: none.
    pub(super) draws: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LearntKind {
    Markov,
    ShapleyRate,
    MarkovShapley,
}

/// What a channel gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LearntCredit {
    pub(super) conversions: f64,
    pub(super) value_micros: i128,
    /// 95 %, of `conversions`.
    pub(super) interval: Option<(f64, f64)>,
}

impl LearntCredit {
    pub(super) fn is_nothing(&self) -> bool {
        self.conversions == 0.0 && self.value_micros == 0
    }
}

/// Above this many channels the exact Markov-Shapley game of a higher order takes minutes.
const HIGHER_ORDER_EXACT_MAX: u32 = 10;
const ORDERS_DRAWN: usize = 2_000;
const ORDER_MAX: usize = 4;
/// So many journeys at the rate of all are added to each coalition's own, or three journeys make a rate.
const PRIOR_JOURNEYS: f64 = 100.0;
/// Drawing starts the same way each time, so an answer can be had again.
const SEED: u64 = 1;
/// Of the normal distribution, for 95 %.
const Z: f64 = 1.959_963_984_540_054;

pub(super) const LEARNT_NAMES: &str = "markov, shapley_rate, markov_shapley";

impl LearntKind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "markov" => Self::Markov,
            "shapley_rate" => Self::ShapleyRate,
            "markov_shapley" => Self::MarkovShapley,
            _ => return None,
        })
    }
}

impl Learnt {
    /// * Returns one credit per channel code.
    pub(super) fn credits(&self, table: &PathTable, value_micros: i128) -> Result<Vec<LearntCredit>, AnalyticsError> {
        let conversions = table.totals().conversions as f64;
        let (of_conversions, of_value, intervals) = self.shares(table)?;
        let values = split_total_by_weights(
            value_micros,
            if of_value.iter().any(|share| 0.0 < *share) { &of_value } else { &of_conversions },
        );
        let credit = |(channel, (share, value_micros)): (usize, (f64, i128))| {
            let interval = intervals.as_ref().map(|intervals| intervals[channel]);
            LearntCredit {
                // Of a chain that was solved to 1e-12 the digits beyond say nothing: half of 100 is not 49.99999999999999.
                conversions: (share * conversions * 1e9).round() / 1e9,
                value_micros,
                interval: interval.map(|(low, high)| (low * conversions, high * conversions)),
            }
        };
        Ok(of_conversions.into_iter().zip(values).enumerate().map(credit).collect())
    }

    /// Parts of the conversions, of the value, and 95 % intervals of the former.
    #[allow(clippy::type_complexity)] // Three columns of one table, taken apart at once.
    fn shares(&self, table: &PathTable) -> Result<(Vec<f64>, Vec<f64>, Option<Vec<(f64, f64)>>), AnalyticsError> {
        match self.kind {
            LearntKind::Markov => {
                let order = self.order_for(table)?;
                let effects = markov_effects(table, order, Nulls::Count)?;
                let drawn = bootstrap_shares(table, order, Nulls::Count, self.draws, Alpha::FIVE_PERCENT, SEED)?;
                let intervals = drawn.of_conversions.iter().map(|interval| (interval.low, interval.high)).collect();
                Ok((effects.conversion_shares(), effects.value_shares(), (0 < self.draws).then_some(intervals)))
            }
            LearntKind::ShapleyRate => {
                let effort = Effort::fitting(table.channel_count(), ORDERS_DRAWN, SEED);
                let game = |measure| rate_shapley(table, measure, PRIOR_JOURNEYS, effort);
                Ok(of_game(&game(Measure::Conversions)?, &game(Measure::Value)?))
            }
            LearntKind::MarkovShapley => {
                let order = self.order_for(table)?;
                let is_long = 1 < order && HIGHER_ORDER_EXACT_MAX < table.channel_count();
                let effort = match is_long {
                    true => Effort::Sampled { order_count: ORDERS_DRAWN, seed: SEED },
                    false => Effort::fitting(table.channel_count(), ORDERS_DRAWN, SEED),
                };
                let game = |measure| markov_shapley(table, order, Nulls::Count, measure, effort);
                Ok(of_game(&game(Measure::Conversions)?, &game(Measure::Value)?))
            }
        }
    }

    fn order_for(&self, table: &PathTable) -> Result<usize, AnalyticsError> {
        if let Some(order) = self.order {
            return Ok(order);
        }
        let fits = fit_orders(table, ORDER_MAX, SEED)?;
        let best = fits.iter().min_by(|a, b| a.bic.total_cmp(&b.bic));
        Ok(best.map_or(1, |fit| fit.order))
    }
}

fn parts(of_channel: &[f64]) -> Vec<f64> {
    let sum: f64 = of_channel.iter().sum();
    of_channel.iter().map(|part| if sum == 0.0 { 0.0 } else { part / sum }).collect()
}

#[allow(clippy::type_complexity)] // See `shares`.
fn of_game(conversions: &ShapleyValues, value: &ShapleyValues) -> (Vec<f64>, Vec<f64>, Option<Vec<(f64, f64)>>) {
    let sum: f64 = conversions.of_channel.iter().sum();
    let is_sampled = conversions.standard_errors.iter().any(|error| 0.0 < *error);
    let interval = |(value, error): (&f64, &f64)| ((value - Z * error) / sum, (value + Z * error) / sum);
    let intervals = conversions.of_channel.iter().zip(&conversions.standard_errors).map(interval).collect();
    (parts(&conversions.of_channel), parts(&value.of_channel), (is_sampled && sum != 0.0).then_some(intervals))
}

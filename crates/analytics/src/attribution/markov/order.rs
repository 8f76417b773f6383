//! The order: how many touches back are worth remembering.
//!
//! In:       a path table, the largest order to look at, a seed.
//! Out:      for each order the area under the curve as ChannelAttribution has it, BIC, and the likelihood of journeys that
//!           were held out.
//! Promise:  orders are compared on the same steps: all touches and the end, repeats included.
//! Not here: which order to take: the measures need not agree, and `docs/methods.md#order` says why.

use std::collections::HashMap;

use super::super::{PathCounts, PathRow, PathTable, dice::Dice};
use super::chain::{Chain, Code, Nulls};
use crate::error::AnalyticsError;

/// How well an order fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OrderFit {
    pub order: usize,
    /// Area under the curve of telling conversions from nulls by a path's last state; on the data it was fitted to, so it only
    /// rises with the order. `None` without conversions or without nulls.
    pub auc: Option<f64>,
    /// The same less a penalty for the number of states there could be; `None` where there could be more than journeys.
    pub penalised_auc: Option<f64>,
    /// Natural logarithm of the likelihood of all steps.
    pub log_likelihood: f64,
    /// Free chances: for each context that was met, all channels and both ends, less 1.
    pub parameter_count: u64,
    /// `parameter_count ln(steps) - 2 log_likelihood`: the smaller the better.
    pub bic: f64,
    /// Mean log likelihood of a journey that was held out, under a chain of the others; `None` if none was.
    pub held_out: Option<f64>,
}

/// The part of journeys that is held out.
const HELD_OUT_RATIO: f64 = 0.2;
/// Thresholds at which ChannelAttribution looks at its curve.
const THRESHOLD_COUNT: usize = 100;

/// * `order_max`: 1 to `Chain::ORDER_MAX`.
/// * Returns one fit per order from 1 on.
///
/// Source: `docs/methods.md#order`.
pub fn fit_orders(table: &PathTable, order_max: usize, seed: u64) -> Result<Vec<OrderFit>, AnalyticsError> {
    Code::new(table.channel_count(), order_max)?;
    let (kept, held_out) = hold_out(table, seed);
    (1..=order_max).map(|order| fit(table, order, &kept, &held_out)).collect()
}

fn fit(table: &PathTable, order: usize, kept: &PathTable, held_out: &PathTable) -> Result<OrderFit, AnalyticsError> {
    let auc = area_under_curve(table, order)?;
    let journeys = table.totals().journeys() as f64;
    let state_count = multisets(f64::from(table.channel_count()), order);
    let penalty = (journeys - 1.0) / (journeys - state_count - 1.0);
    let penalised_auc = auc.filter(|_| state_count < journeys).map(|auc| 1.0 - (1.0 - auc) * penalty);

    let steps = Steps::count(table, order)?;
    let mut log_likelihood = 0.0;
    let mut step_count = 0.0;
    // In a fixed order: sums of floats depend on it.
    for context in steps.in_order() {
        let total = context.total as f64;
        step_count += total;
        let mut counts: Vec<u64> = context.by_next.values().copied().collect();
        counts.sort_unstable();
        log_likelihood += counts.iter().map(|&count| count as f64 * (count as f64 / total).ln()).sum::<f64>();
    }
    let parameter_count = steps.by_context.len() as u64 * (u64::from(table.channel_count()) + 1);
    Ok(OrderFit {
        order,
        auc,
        penalised_auc: penalised_auc.map(|auc| if (0.0..=1.0).contains(&auc) { auc } else { 0.0 }),
        log_likelihood,
        parameter_count,
        bic: parameter_count as f64 * step_count.ln() - 2.0 * log_likelihood,
        held_out: Steps::count(kept, order)?.mean_log_likelihood(held_out),
    })
}

/// Each path's chance to convert is that of all that ended in the state it ended in. The curve is looked at in 100 thresholds from
/// the smallest chance to the largest and joined by straight lines, which is what ChannelAttribution's `choose_order` does:
/// where many states lie between two thresholds it is below the exact area.
fn area_under_curve(table: &PathTable, order: usize) -> Result<Option<f64>, AnalyticsError> {
    let chain = Chain::build(table, order, Nulls::Count)?;
    let (mut conversions, mut nulls) = (0.0, 0.0);
    let mut states: Vec<(f64, f64, f64)> = Vec::new();
    for state in 0..chain.state_count() {
        let (converted, ended) = (chain.conversion_counts[state] as f64, chain.null_counts[state] as f64);
        if 0.0 < converted + ended {
            states.push((converted / (converted + ended), converted, ended));
            conversions += converted;
            nulls += ended;
        }
    }
    if conversions == 0.0 || nulls == 0.0 {
        return Ok(None);
    }
    states.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (largest, smallest) = (states[0].0, states[states.len() - 1].0);
    let (mut area, mut right, mut wrong) = (0.0, 0.0, 0.0);
    let mut above = states.iter().peekable();
    let (mut right_before, mut wrong_before) = (0.0, 0.0);
    for threshold in (0..THRESHOLD_COUNT).rev() {
        let threshold = smallest + threshold as f64 * (largest - smallest) / (THRESHOLD_COUNT - 1) as f64;
        while let Some((_, converted, ended)) = above.next_if(|(chance, _, _)| threshold <= *chance) {
            right += converted / conversions;
            wrong += ended / nulls;
        }
        area += (wrong - wrong_before) * (right + right_before) / 2.0;
        (right_before, wrong_before) = (right, wrong);
    }
    Ok(Some(area + (1.0 - wrong_before) * (1.0 + right_before) / 2.0))
}

/// In how many ways `order` channels can be chosen where order does not matter and repeats are allowed: the number of nodes
/// ChannelAttribution reckons with.
fn multisets(channel_count: f64, order: usize) -> f64 {
    (0..order).map(|i| (channel_count + i as f64) / (i + 1) as f64).product()
}

/// What follows upon the last touches, at most `order` of them, at every step of every path.
struct Steps {
    code: Code,
    by_context: HashMap<u64, Context>,
    channel_count: u32,
}

#[derive(Default)]
struct Context {
    by_next: HashMap<Next, u64>,
    total: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Next {
    Channel(u32),
    Conversion,
    Null,
}

impl Steps {
    fn count(table: &PathTable, order: usize) -> Result<Self, AnalyticsError> {
        let code = Code::new(table.channel_count(), order)?;
        let mut by_context: HashMap<u64, Context> = HashMap::new();
        for row in table.rows() {
            each_step(code, row, |context, next, count| {
                let context = by_context.entry(context).or_default();
                *context.by_next.entry(next).or_default() += count;
                context.total += count;
            });
        }
        Ok(Self { code, by_context, channel_count: table.channel_count() })
    }

    fn in_order(&self) -> impl Iterator<Item = &Context> {
        let mut contexts: Vec<(&u64, &Context)> = self.by_context.iter().collect();
        contexts.sort_unstable_by_key(|(code, _)| **code);
        contexts.into_iter().map(|(_, context)| context)
    }

    /// Each chance is `(count + 1/2) / (total + alphabet / 2)` (Krichevsky and Trofimov 1981), so that what was never met has
    /// one too. `None` for no journeys.
    fn mean_log_likelihood(&self, held_out: &PathTable) -> Option<f64> {
        let alphabet = f64::from(self.channel_count) + 2.0;
        let mut log_likelihood = 0.0;
        for row in held_out.rows() {
            each_step(self.code, row, |context, next, count| {
                let context = self.by_context.get(&context);
                let met = context.and_then(|context| context.by_next.get(&next)).copied().unwrap_or(0);
                let total = context.map_or(0, |context| context.total);
                let chance = (met as f64 + 0.5) / (total as f64 + alphabet / 2.0);
                log_likelihood += count as f64 * chance.ln();
            });
        }
        let journeys = held_out.totals().journeys();
        (0 < journeys).then(|| log_likelihood / journeys as f64)
    }
}

/// Calls with each step of a path: what came before (the last touches, as a code), what came next, how often.
fn each_step(code: Code, row: PathRow<'_>, mut take: impl FnMut(u64, Next, u64)) {
    let PathCounts { conversions, nulls, .. } = row.counts;
    let mut step = |context, next, count| {
        if 0 < count {
            take(context, next, count);
        }
    };
    let mut context = 0;
    for &channel in row.channels {
        step(context, Next::Channel(channel), conversions + nulls);
        context = code.after(context, channel);
    }
    step(context, Next::Conversion, conversions);
    step(context, Next::Null, nulls);
}

/// The table in two: of each row's conversions and nulls a fifth is held out, which of the two whole numbers around it being
/// drawn, so that a path walked once is held out one time in five.
fn hold_out(table: &PathTable, seed: u64) -> (PathTable, PathTable) {
    let mut dice = Dice::new(seed);
    let mut draw = |count: u64| ((count as f64 * HELD_OUT_RATIO + dice.fraction()) as u64).min(count);
    let drawn: Vec<PathCounts> = table
        .rows()
        .map(|row| PathCounts {
            conversions: draw(row.counts.conversions),
            nulls: draw(row.counts.nulls),
            value_micros: 0,
        })
        .collect();
    let mut left = drawn.iter();
    let kept = table.recounted(|row| {
        let out = left.next().expect("one for each row");
        PathCounts {
            conversions: row.counts.conversions - out.conversions,
            nulls: row.counts.nulls - out.nulls,
            value_micros: 0,
        }
    });
    let mut out = drawn.iter();
    let held_out = table.recounted(|_| *out.next().expect("one for each row"));
    (kept, held_out)
}

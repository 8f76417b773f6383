//! Attribution: which touches get how much of a conversion.
//!
//! In:       one person's touches in time order, their conversions, how paths are made, a rule; or the paths of all people
//!           with how often each converted, and a model that learns from them.
//! Out:      credit per touch: a ratio, and a share of the value in micros; or credit per channel.
//! Promise:  for each conversion with a touch the ratios sum to 1 (within 1e-9) and the shares to the value, to the
//!           micro. A conversion without a touch yields no credit: the caller reports it as unattributed.
//! Not here: which events are touches, joining devices to people, spend.
//!
//! By rule: `journey` makes paths (`transform`, `lookback`), `rule` weighs their touches, `share` cuts the value. `model` has
//! the three rules that look at places alone. From data: `path_table` is what `markov` and `shapley` learn from.
//!
//! Definitions: `docs/methods.md#attribution`.

mod lookback;
mod model;

mod journey;
mod rule;
mod share;
mod transform;

mod dice;
mod path_table;

pub mod markov;

pub mod shapley;

pub use journey::{
    Conversion, Direct, DoubleClicks, Lookbacks, MarketingTouch, Milestones, PathRule, TouchKind, TouchUse, Views,
    path_without_conversion, paths_to_conversions, visit_paths_to_conversions,
};
pub use lookback::touches_in_lookback;
pub use model::{Model, split_value};
pub use path_table::{PathCounts, PathRow, PathTable, PathTotals};
pub use rule::{CreditRule, Crediting, MilestoneShares, OfTwo, PositionShares, WithoutPaid, credit_path};
pub use share::{Shares, split_by_weights, split_total_by_weights};
pub use transform::{Transform, channel_frequencies};

/// A moment at which marketing met a person.
///
/// Ordered by time, then by `index`, so that equal times have one order everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    pub time_us: i64,
    /// The caller's handle on the rest of the touch: a row number, a log offset.
    pub index: u64,
}

/// What one touch gets of one conversion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Credit {
    pub touch: Touch,
    /// Share of the conversion, above 0, at most 1.
    pub credit_ratio: f64,
    /// Share of the value, in millionths of its currency; has the sign of the value or is 0.
    pub value_micros: i64,
}

/// Shares one conversion among the touches before it.
///
/// * `touches`: in the order of `Touch`.
/// * `lookback_us`: 0 or more; see `touches_in_lookback`.
/// * `value_micros`: millionths of a currency; negative for a refund.
/// * Returns the touches with credit, in order; empty if no touch is in the lookback.
///
/// Source: `docs/methods.md#attribution`. The slow, obvious version is `testkit::oracle::attribution::credits`.
pub fn credit_conversion(
    model: Model,
    touches: &[Touch],
    conversion_time_us: i64,
    lookback_us: i64,
    value_micros: i64,
) -> Vec<Credit> {
    debug_assert!(touches.is_sorted(), "touches come in order of time and index");
    let range = lookback::range_by(touches, |touch| touch.time_us, conversion_time_us, lookback_us);
    let eligible = &touches[range];
    // Only those with credit are looked at: a last touch costs the same after ten touches and after a million.
    let credited = &eligible[model.credited(eligible.len())];
    let credit_ratio = (credited.len() as f64).recip();
    let shares = model::equal_parts(value_micros, credited.len());
    let credit = |(touch, value_micros): (&Touch, i64)| Credit { touch: *touch, credit_ratio, value_micros };
    credited.iter().zip(shares).map(credit).collect()
}

#[cfg(test)]
mod tests;

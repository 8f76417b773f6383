//! Winsorizing: one buyer of a thousand should not decide an experiment.
//!
//! In:       samples of all arms, a rule for the highest value that counts.
//! Out:      one cap for all arms; the moments of the capped values.
//! Promise:  the cap is the same in every arm: caps by arm would take away the very difference that is looked for.
//! Not here: leaving units out. A capped unit counts, with the cap as its value.
//!
//! Definitions: `docs/methods.md#winsorizing`.

use crate::stats::{UnitSample, quantile_of_sorted};

/// The highest value of a unit that counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CapRule {
    None,
    /// In the metric's unit.
    Absolute(f64),
    /// The value below which a share of the units of all arms lies.
    Percentile {
        /// 0 to 1, such as 0.999.
        level: f64,
        /// Look at units with something only: where nine of ten buy nothing, the 90th percentile is 0.
        ignore_zeros: bool,
    },
}

/// The cap for one column, over all arms together; infinite where there is none.
///
/// * `column`: below `K`.
///
/// Source: GrowthBook's capping; Statsig takes 99.9 % of the values that are not 0.
pub fn cap<'a, const K: usize>(arms: impl IntoIterator<Item = &'a UnitSample<K>>, column: usize, rule: CapRule) -> f64 {
    match rule {
        CapRule::None => f64::INFINITY,
        CapRule::Absolute(cap) => cap,
        CapRule::Percentile { level, ignore_zeros } => {
            let mut pooled: Vec<f64> = arms.into_iter().flat_map(|arm| arm.sorted(column)).collect();
            pooled.retain(|value| !ignore_zeros || *value != 0.0);
            pooled.sort_by(f64::total_cmp);
            quantile_of_sorted(&pooled, level).unwrap_or(f64::INFINITY)
        }
    }
}

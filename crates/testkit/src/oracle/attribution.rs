//! Credit, by the sentence that defines it.
//!
//! In:       touch times in order, a conversion, a model by its name.
//! Out:      per touch: its ratio and its share of the value as an exact fraction.
//! Promise:  obvious: one loop over all touches, whole numbers only.
//! Not here: rounding to micros; that is what the real one is checked for.

/// What one touch should get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactCredit {
    /// Place in the slice given.
    pub touch: usize,
    /// The ratio is `1 / shared_by`, so the share of a value is `value / shared_by`.
    pub shared_by: usize,
}

/// The touches with credit, in order.
///
/// * `model`: `last_touch`, `first_touch` or `linear`; anything else panics.
pub fn credits(touch_times_us: &[i64], conversion_time_us: i64, lookback_us: i64, model: &str) -> Vec<ExactCredit> {
    let mut eligible = Vec::new();
    for (touch, time_us) in touch_times_us.iter().enumerate() {
        let age_us = i128::from(conversion_time_us) - i128::from(*time_us);
        if 0 <= age_us && age_us <= i128::from(lookback_us) {
            eligible.push(touch);
        }
    }
    let winners: Vec<usize> = match model {
        "last_touch" => eligible.last().copied().into_iter().collect(),
        "first_touch" => eligible.first().copied().into_iter().collect(),
        "linear" => eligible,
        other => panic!("the oracle knows no model '{other}'"),
    };
    let shared_by = winners.len();
    winners.into_iter().map(|touch| ExactCredit { touch, shared_by }).collect()
}

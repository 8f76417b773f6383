//! The rule models: how one conversion is shared among `n` touches by their places alone.
//!
//! In:       a model, the number of touches, a value.
//! Out:      ratios or shares, one per touch in time order.
//! Promise:  ratios sum to 1; shares sum to the value exactly, and a refund's shares are the sale's, negated.
//! Not here: which touches (`lookback.rs`).

use std::ops::Range;

use crate::error::AnalyticsError;

/// A way to share one conversion among its touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Model {
    /// All to the latest touch.
    LastTouch,
    /// All to the earliest touch.
    FirstTouch,
    /// The same to each touch; a channel met twice counts twice.
    Linear,
}

impl Model {
    pub const ALL: [Self; 3] = [Self::LastTouch, Self::FirstTouch, Self::Linear];

    const ALLOWED: &'static str = "last_touch, first_touch, linear";

    /// The name in SQL, settings and answers; `parse` reads it back.
    pub fn name(self) -> &'static str {
        match self {
            Self::LastTouch => "last_touch",
            Self::FirstTouch => "first_touch",
            Self::Linear => "linear",
        }
    }

    /// Exact names only; the error lists them.
    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        Self::ALL
            .into_iter()
            .find(|model| model.name() == text)
            .ok_or_else(|| AnalyticsError::AttributionModel { given: text.to_owned(), allowed: Self::ALLOWED })
    }

    /// Which of `touch_count` touches in time order get credit: equal parts each.
    pub fn credited(self, touch_count: usize) -> Range<usize> {
        match self {
            Self::LastTouch => touch_count.saturating_sub(1)..touch_count,
            Self::FirstTouch => 0..touch_count.min(1),
            Self::Linear => 0..touch_count,
        }
    }

    /// * Returns one ratio per touch, in time order, summing to 1 within 1e-9; empty for no touches.
    pub fn credit_ratios(self, touch_count: usize) -> Vec<f64> {
        let credited = self.credited(touch_count);
        let credit_ratio = (credited.len() as f64).recip();
        (0..touch_count).map(|touch| if credited.contains(&touch) { credit_ratio } else { 0.0 }).collect()
    }
}

/// Shares a value among touches without losing a micro.
///
/// * `value_micros`: millionths of a currency, of either sign.
/// * Returns one share per touch, in time order; they sum to `value_micros` exactly. Empty for no touches, and
///   then the value is unattributed.
///
/// What does not divide evenly (fewer micros than touches) goes, one micro each, to the latest touches:
/// they are the nearest to the conversion. Rounding is toward zero first, so
/// `split_value(-v, ..)` is `split_value(v, ..)` negated and a refund takes back what the sale gave.
///
/// Source: `docs/methods.md#attribution`.
pub fn split_value(value_micros: i64, model: Model, touch_count: usize) -> Vec<i64> {
    let mut shares_micros = vec![0; touch_count];
    let credited = model.credited(touch_count);
    let parts_micros = equal_parts(value_micros, credited.len());
    shares_micros[credited].copy_from_slice(&parts_micros);
    shares_micros
}

/// One part each, of touches that all get credit.
pub(super) fn equal_parts(value_micros: i64, part_count: usize) -> Vec<i64> {
    if part_count == 0 {
        return Vec::new();
    }
    let divisor = i64::try_from(part_count).expect("a slice holds fewer than 2^63 touches");
    let (even_micros, left_over_micros) = (value_micros / divisor, value_micros % divisor);
    let late_count =
        usize::try_from(left_over_micros.unsigned_abs()).expect("the remainder is smaller than the touch count");
    let mut parts_micros = vec![even_micros; part_count];
    for part_micros in &mut parts_micros[part_count - late_count..] {
        *part_micros += left_over_micros.signum();
    }
    parts_micros
}

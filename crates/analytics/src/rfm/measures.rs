//! Recency, frequency and monetary value of one unit.
//!
//! In:       its purchases, in any order.
//! Out:      the time of the last, their count, their sum.
//! Promise:  what was gathered apart merges to the same; sums are exact.
//! Not here: scores (`cut.rs`).

use crate::calendar::DAY_US;

/// What is known of a unit that bought at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmMeasures {
    pub last_time_us: i64,
    /// Purchases, 1 or more.
    pub frequency: u64,
    /// Millionths of a currency; refunds take off.
    pub monetary_micros: i128,
}

impl RfmMeasures {
    pub fn of_purchase(time_us: i64, value_micros: i64) -> Self {
        Self { last_time_us: time_us, frequency: 1, monetary_micros: i128::from(value_micros) }
    }

    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            last_time_us: self.last_time_us.max(other.last_time_us),
            frequency: self.frequency.saturating_add(other.frequency),
            monetary_micros: self.monetary_micros.saturating_add(other.monetary_micros),
        }
    }

    /// Whole days of 24 hours from the last purchase to then; 0 or more unless it is later.
    pub fn recency_days(&self, as_of_us: i64) -> i64 {
        as_of_us.saturating_sub(self.last_time_us).div_euclid(DAY_US)
    }
}

/// The purchases of one unit until a time; use it again for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmFold {
    as_of_us: i64,
    frequency: u64,
    last_time_us: i64,
    monetary_micros: i128,
}

impl RfmFold {
    /// * `as_of_us`: what happens from then on is not known yet and not looked at.
    pub fn new(as_of_us: i64) -> Self {
        Self { as_of_us, frequency: 0, last_time_us: i64::MIN, monetary_micros: 0 }
    }

    /// Takes in a row, in any order.
    ///
    /// * `is_purchase`: whether it counts for recency and frequency.
    /// * `value_micros`: added to the monetary value in any case, so that refunds can take off; 0 where there is none.
    #[inline]
    pub fn push(&mut self, time_us: i64, is_purchase: bool, value_micros: i64) {
        if self.as_of_us <= time_us {
            return;
        }
        self.monetary_micros += i128::from(value_micros);
        if is_purchase {
            self.frequency += 1;
            self.last_time_us = self.last_time_us.max(time_us);
        }
    }

    /// Ends the unit and is ready for the next; `None` if it never bought.
    pub fn finish(&mut self) -> Option<RfmMeasures> {
        let Self { frequency, last_time_us, monetary_micros, .. } = std::mem::replace(self, Self::new(self.as_of_us));
        (frequency > 0).then_some(RfmMeasures { last_time_us, frequency, monetary_micros })
    }
}

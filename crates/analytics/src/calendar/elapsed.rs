//! Windows of a fixed length since something began: days of 24 hours, weeks of 7 such days, months of 30.
//!
//! In:       when it began; UTC microseconds.
//! Out:      in which window a time is, 0 being the first.
//! Promise:  no calendar and no time zone in it; a window has its begin and not its end.
//! Not here: calendar periods (`mod.rs`).
//!
//! Source: Amplitude's documentation of retention; `docs/methods.md#calendar`.

use super::{DAY_US, HOUR_US};
use crate::error::AnalyticsError;

/// Invariant: the length is above 0, and whole hours where the begin is floored to the hour; made only by `new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElapsedWindows {
    length_us: i64,
    is_floored_to_hour: bool,
}

impl ElapsedWindows {
    pub const DAYS: Self = Self { length_us: DAY_US, is_floored_to_hour: false };
    pub const WEEKS: Self = Self { length_us: 7 * DAY_US, is_floored_to_hour: false };
    pub const MONTHS: Self = Self { length_us: 30 * DAY_US, is_floored_to_hour: false };

    /// * `length_us`: above 0; whole hours if floored.
    /// * `is_floored_to_hour`: the first window begins at the top of the hour, of UTC, in which it began (Amplitude).
    pub fn new(length_us: i64, is_floored_to_hour: bool) -> Result<Self, AnalyticsError> {
        if length_us <= 0 || (is_floored_to_hour && length_us % HOUR_US != 0) {
            return Err(AnalyticsError::WindowLength { given_us: length_us });
        }
        Ok(Self { length_us, is_floored_to_hour })
    }

    /// The same, beginning at the top of the hour; fails if their length is not whole hours.
    pub fn floored_to_hour(self) -> Result<Self, AnalyticsError> {
        Self::new(self.length_us, true)
    }

    pub fn length_us(self) -> i64 {
        self.length_us
    }

    pub fn is_floored_to_hour(self) -> bool {
        self.is_floored_to_hour
    }

    pub fn since(self, begin_us: i64) -> ElapsedStart {
        let lead_us = if self.is_floored_to_hour { begin_us.rem_euclid(HOUR_US) } else { 0 };
        ElapsedStart { origin_us: begin_us.saturating_sub(lead_us), length_us: self.length_us }
    }
}

/// Windows that have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ElapsedStart {
    origin_us: i64,
    length_us: i64,
}

impl ElapsedStart {
    /// Negative before the first.
    pub fn number(self, time_us: i64) -> i64 {
        time_us.saturating_sub(self.origin_us).div_euclid(self.length_us)
    }

    /// The first instant of a window.
    pub fn start_us(self, number: i64) -> i64 {
        self.origin_us.saturating_add(number.saturating_mul(self.length_us))
    }
}

//! The bucket an attempt is entered under: a day, week or month of a time zone.
//!
//! In:       a period and the name of a time zone; UTC microseconds.
//! Out:      the bucket's first day.
//! Not here: the calendar (`crate::calendar`).

use crate::calendar::{Calendar, Period, Weekday};
use crate::error::AnalyticsError;

/// The calendar, or a funnel's words for a zone that is none.
pub(super) fn in_zone(period: Period, zone: &str) -> Result<Calendar, AnalyticsError> {
    Calendar::new(period, zone).map_err(|_| AnalyticsError::FunnelZone { given: zone.to_owned() })
}

/// How long a bucket of entries is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryPeriod {
    Day,
    /// Seven days from a day of the week: 0 is Monday, 6 Sunday.
    Week {
        first_weekday: u8,
    },
    Month,
}

/// Puts an attempt under the day, week or month in which it was entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryBuckets {
    buckets: Calendar,
    days: Calendar,
}

impl EntryBuckets {
    /// * `zone`: an IANA name such as `Europe/Berlin`.
    /// * Fails for an unknown zone and for a first weekday above 6.
    pub fn new(period: EntryPeriod, zone: &str) -> Result<Self, AnalyticsError> {
        let period = match period {
            EntryPeriod::Day => Period::Day,
            EntryPeriod::Month => Period::Month,
            EntryPeriod::Week { first_weekday } => {
                let weekday = i8::try_from(first_weekday).map(Weekday::from_monday_zero_offset);
                Period::Week(weekday.ok().and_then(Result::ok).ok_or_else(|| AnalyticsError::FunnelWord {
                    what: "first weekday",
                    given: first_weekday.to_string(),
                    allowed: "0 (Monday) to 6 (Sunday)",
                })?)
            }
        };
        Ok(Self { buckets: in_zone(period, zone)?, days: in_zone(Period::Day, zone)? })
    }

    /// The first day of the bucket that `time_us` is in, in days since 1970-01-01 (an Arrow `Date32`).
    pub fn first_day(&self, time_us: i64) -> i64 {
        self.buckets.first_day(self.buckets.number(time_us))
    }

    /// When a bucket's first day begins in its zone, UTC microseconds.
    pub fn begin_us(&self, first_day: i64) -> i64 {
        self.days.start_us(first_day)
    }
}

//! Days of a time zone's own calendar, for windows of calendar days and for the bucket an attempt is entered under.
//!
//! In:       the name of a time zone; UTC microseconds.
//! Out:      days as numbers since 1970-01-01, and when they begin.
//! Promise:  a later moment is never on an earlier day: a day begins at the first moment the zone's clock shows it, and a
//!           clock that is set back over midnight does not bring the day before back. No allocation a question.
//! Not here: sessions that end at midnight (`session::Midnight`).

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use crate::error::AnalyticsError;

const DAY_US: i64 = 86_400_000_000;

/// Until when the rules of a zone are laid out, 2100: later ones keep the last offset.
const LAST_S: i64 = 4_102_444_800;

/// The calendar of one time zone. Two are the same if their zones are: the offsets follow from the name.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    zone: Arc<str>,
    /// From when on which offset to UTC holds, ascending; the first from the beginning of time.
    offsets: Arc<[(i64, i64)]>,
}

impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone
    }
}

impl Eq for Calendar {}

impl Calendar {
    pub(super) fn in_zone(name: &str) -> Result<Self, AnalyticsError> {
        let unknown = |_| AnalyticsError::FunnelZone { given: name.to_owned() };
        let zone = TimeZoneDatabase::bundled().get(name).map_err(unknown)?;
        let us = |seconds: i32| i64::from(seconds) * 1_000_000;
        let mut offsets = vec![(i64::MIN, us(zone.to_offset(Timestamp::MIN).seconds()))];
        let later = zone.following(Timestamp::MIN).take_while(|change| change.timestamp().as_second() < LAST_S);
        offsets.extend(later.map(|change| (change.timestamp().as_microsecond(), us(change.offset().seconds()))));
        Ok(Self { zone: zone.iana_name().unwrap_or(name).into(), offsets: offsets.into() })
    }

    /// Days since 1970.
    pub(super) fn day(&self, time_us: i64) -> i64 {
        let index = self.offsets.partition_point(|(from_us, _)| *from_us <= time_us) - 1;
        let day = time_us.saturating_add(self.offsets[index].1).div_euclid(DAY_US);
        // A clock set back over midnight shows yesterday again; the new day had begun.
        if self.begin_us(day + 1) <= time_us { day + 1 } else { day }
    }

    /// The first moment the zone's clock shows this day or, where it skips it, a later one.
    pub(super) fn begin_us(&self, day: i64) -> i64 {
        let midnight_us = day.saturating_mul(DAY_US);
        // No offset is as long as a day.
        let earliest_us = midnight_us.saturating_sub(DAY_US);
        let first = self.offsets.partition_point(|(from_us, _)| *from_us <= earliest_us).max(1) - 1;
        for index in first..self.offsets.len() {
            let (from_us, offset_us) = self.offsets[index];
            let begin_us = midnight_us.saturating_sub(offset_us).max(from_us);
            if self.offsets.get(index + 1).is_none_or(|(until_us, _)| begin_us < *until_us) {
                return begin_us;
            }
        }
        midnight_us
    }

    /// The last moment of the calendar day `day_count - 1` days after that of `time_us`.
    pub(super) fn last_moment_us(&self, time_us: i64, day_count: u32) -> i64 {
        self.begin_us(self.day(time_us).saturating_add(i64::from(day_count))).saturating_sub(1)
    }
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
    calendar: Calendar,
    period: EntryPeriod,
}

impl EntryBuckets {
    /// * `zone`: an IANA name such as `Europe/Berlin`.
    /// * Fails for an unknown zone and for a first weekday above 6.
    pub fn new(period: EntryPeriod, zone: &str) -> Result<Self, AnalyticsError> {
        if let EntryPeriod::Week { first_weekday } = period
            && 6 < first_weekday
        {
            let given = first_weekday.to_string();
            return Err(AnalyticsError::FunnelWord {
                what: "first weekday",
                given,
                allowed: "0 (Monday) to 6 (Sunday)",
            });
        }
        Ok(Self { calendar: Calendar::in_zone(zone)?, period })
    }

    /// The first day of the bucket that `time_us` is in, in days since 1970-01-01 (an Arrow `Date32`).
    pub fn first_day(&self, time_us: i64) -> i64 {
        let day = self.calendar.day(time_us);
        match self.period {
            EntryPeriod::Day => day,
            // 1970-01-01 was a Thursday, weekday 3.
            EntryPeriod::Week { first_weekday } => day - (day + 3 - i64::from(first_weekday)).rem_euclid(7),
            EntryPeriod::Month => day - (day_of_month(day) - 1),
        }
    }

    /// When a bucket's first day begins in its zone, UTC microseconds.
    pub fn begin_us(&self, first_day: i64) -> i64 {
        self.calendar.begin_us(first_day)
    }
}

/// 1 to 31. Source: Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn day_of_month(day: i64) -> i64 {
    let from_march_0000 = day + 719_468;
    let day_of_era = from_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month_from_march + 2) / 5 + 1
}

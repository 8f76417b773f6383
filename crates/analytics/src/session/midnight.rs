//! Midnight in a time zone: whether two moments lie on different days of its calendar.
//!
//! In:       the name of a time zone; UTC microseconds.
//! Out:      yes or no.
//! Promise:  follows the zone's daylight saving time and its history, from a table made once: no look-up by name, no
//!           allocation and some eight comparisons a question.
//! Not here: whether a session ends there (`rule.rs`).
//!
//! The zones are those of the time zone database built into this version. Two versions may differ on days whose rules a
//! government has changed since.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

const DAY_US: i64 = 86_400_000_000;

/// Until when the rules of a zone are laid out, 2100: later ones keep the last offset. The door takes no such times.
const LAST_S: i64 = 4_102_444_800;

/// The calendar of one time zone.
#[derive(Debug, Clone)]
pub struct Midnight {
    zone: Arc<str>,
    /// From when on which offset to UTC holds, ascending; the first from the beginning of time.
    offsets: Arc<[(i64, i64)]>,
}

/// Calendars are the same if their zones are: the offsets follow from the name.
impl PartialEq for Midnight {
    fn eq(&self, other: &Self) -> bool {
        self.zone == other.zone
    }
}

impl Eq for Midnight {}

impl Midnight {
    /// The calendar of the zone of this IANA name, such as `Europe/Berlin`; `None` if there is none. A name in other case
    /// is the same zone.
    pub fn in_zone(name: &str) -> Option<Self> {
        let zone = TimeZoneDatabase::bundled().get(name).ok()?;
        let us = |seconds: i32| i64::from(seconds) * 1_000_000;
        let mut offsets = vec![(i64::MIN, us(zone.to_offset(Timestamp::MIN).seconds()))];
        let later = zone.following(Timestamp::MIN).take_while(|change| change.timestamp().as_second() < LAST_S);
        offsets.extend(later.map(|change| (change.timestamp().as_microsecond(), us(change.offset().seconds()))));
        let zone = zone.iana_name().unwrap_or(name).into();
        Some(Self { zone, offsets: offsets.into() })
    }

    /// Its zone, as the database spells it.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    pub(super) fn parts(&self, one_us: i64, other_us: i64) -> bool {
        self.day(one_us) != self.day(other_us)
    }

    /// Days since 1970 by the zone's own calendar.
    fn day(&self, time_us: i64) -> i64 {
        let index = self.offsets.partition_point(|(from_us, _)| *from_us <= time_us) - 1;
        time_us.saturating_add(self.offsets[index].1).div_euclid(DAY_US)
    }
}

//! The clock on the wall of one time zone, as a table made once.
//!
//! In:       the name of a time zone; UTC microseconds, or what the clock shows.
//! Out:      what the clock shows, in microseconds since its own 1970; and the first instant at which it shows that much.
//! Promise:  it never goes back: where the zone sets its clocks back, this one stands still until they have caught up. So
//!           each period of a calendar is one stretch of time, also where clocks went back over midnight (St. John's until
//!           2011). Follows the zone's history.
//! Not here: periods (`mod.rs`).
//!
//! The zones are those of the time zone database built into this version. Two versions may differ on days whose rules a
//! government has changed since.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZoneDatabase;

use crate::error::AnalyticsError;

/// Until when the rules of a zone are laid out, 2100: later times keep the last offset. The door takes no such times.
const LAST_S: i64 = 4_102_444_800;

/// A time within which the offset to UTC does not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    from_us: i64,
    /// From when on the clock no longer stands still; `from_us` unless clocks were set back.
    pub(super) steady_from_us: i64,
    /// Exclusive; `i64::MAX` for the last.
    pub(super) until_us: i64,
    pub(super) offset_us: i64,
}

impl Stretch {
    fn shown_us(&self, time_us: i64) -> i64 {
        if time_us < self.steady_from_us {
            // The microsecond before the clocks were set back is the last one shown.
            self.steady_from_us.saturating_add(self.offset_us) - 1
        } else {
            time_us.saturating_add(self.offset_us)
        }
    }
}

/// Which part of the offset to UTC the clock follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// All of it.
    Offset,
    /// What is left of it beyond whole hours: the minute hand alone.
    MinutesOfOffset,
}

#[derive(Debug, Clone)]
pub(super) struct Clock {
    zone: Arc<str>,
    stretches: Arc<[Stretch]>,
}

impl Clock {
    pub(super) fn in_zone(name: &str, follow: Follow) -> Result<Self, AnalyticsError> {
        let unknown = |_| AnalyticsError::TimeZone { given: name.to_owned() };
        let zone = TimeZoneDatabase::bundled().get(name).map_err(unknown)?;
        let offset_us = |seconds: i32| {
            let seconds = i64::from(seconds);
            1_000_000 * if follow == Follow::Offset { seconds } else { seconds.rem_euclid(3_600) }
        };
        let mut changes = vec![(i64::MIN, offset_us(zone.to_offset(Timestamp::MIN).seconds()))];
        let later = zone.following(Timestamp::MIN).take_while(|change| change.timestamp().as_second() < LAST_S);
        changes.extend(later.map(|change| (change.timestamp().as_microsecond(), offset_us(change.offset().seconds()))));
        // Names and flags of summer time change without the clock, and whole hours may not be followed.
        changes.dedup_by_key(|change| change.1);
        let zone = zone.iana_name().unwrap_or(name).into();
        Ok(Self { zone, stretches: stretches(&changes).into() })
    }

    /// Its zone, as the database spells it.
    pub(super) fn zone(&self) -> &str {
        &self.zone
    }

    pub(super) fn stretch(&self, time_us: i64) -> &Stretch {
        &self.stretches[self.stretches.partition_point(|stretch| stretch.from_us <= time_us) - 1]
    }

    pub(super) fn shown_us(&self, time_us: i64) -> i64 {
        self.stretch(time_us).shown_us(time_us)
    }

    /// The first instant at which it shows this or more; where clocks were put forward over it, that instant.
    pub(super) fn first_us(&self, shown_us: i64) -> i64 {
        let ends_before =
            |stretch: &Stretch| stretch.until_us != i64::MAX && stretch.shown_us(stretch.until_us - 1) < shown_us;
        let stretch = &self.stretches[self.stretches.partition_point(ends_before)];
        if shown_us <= stretch.shown_us(stretch.from_us) {
            stretch.from_us
        } else {
            shown_us.saturating_sub(stretch.offset_us)
        }
    }

    /// The pairs of what is shown just before and at each leap forward.
    pub(super) fn leaps(&self) -> impl Iterator<Item = (i64, i64)> {
        self.stretches.windows(2).map(|pair| (pair[0].shown_us(pair[1].from_us - 1), pair[1].shown_us(pair[1].from_us)))
    }
}

/// * `changes`: from when on which offset holds, ascending.
fn stretches(changes: &[(i64, i64)]) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::with_capacity(changes.len());
    for (index, &(from_us, offset_us)) in changes.iter().enumerate() {
        let until_us = changes.get(index + 1).map_or(i64::MAX, |next| next.0);
        let caught_up_us = |last: &Stretch| last.shown_us(from_us - 1).saturating_add(1).saturating_sub(offset_us);
        let steady_from_us = stretches.last().map_or(from_us, |last| caught_up_us(last).max(from_us));
        stretches.push(Stretch { from_us, steady_from_us, until_us, offset_us });
    }
    stretches
}

//! Calendar: which hour, day, week, month, quarter or year of a time zone a time is in, and back.
//!
//! In:       UTC microseconds; a period, the name of a time zone.
//! Out:      whole numbers, one after the other, so that "three weeks later" is plus 3; their first instants and dates.
//! Promise:  a period is one stretch of time and its number never falls as time goes on, whatever a government did to the
//!           clocks. A `PeriodCursor` costs two comparisons where times are in order or close together.
//! Not here: what happened in a period.
//!
//! Definitions: `docs/methods.md#calendar`.

mod civil;
mod clock;
mod elapsed;

pub use elapsed::{ElapsedStart, ElapsedWindows};
pub use jiff::civil::Weekday;

use std::ops::Range;
use std::sync::Arc;

use civil::{date_text, first_day_of_month, month_of_day};
use clock::{Clock, Follow};

use crate::error::AnalyticsError;

pub const HOUR_US: i64 = 3_600_000_000;
/// Of 24 hours; a day of the calendar may be shorter or longer.
pub const DAY_US: i64 = 24 * HOUR_US;

/// What a calendar is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Of sixty minutes, beginning when the minute hand is at the top: the hour that clocks show twice in autumn is two.
    Hour,
    Day,
    /// Seven days from this one on.
    Week(Weekday),
    Month,
    Quarter,
    Year,
}

impl Period {
    const ALLOWED: &'static str = "hour, day, week, month, quarter, year";
    const ALLOWED_DAYS: &'static str = "monday, tuesday, wednesday, thursday, friday, saturday, sunday";

    /// * `week_start`: the first day of a week; not looked at for others.
    pub fn parse(text: &str, week_start: Weekday) -> Result<Self, AnalyticsError> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            "week" => Ok(Self::Week(week_start)),
            "month" => Ok(Self::Month),
            "quarter" => Ok(Self::Quarter),
            "year" => Ok(Self::Year),
            _ => Err(AnalyticsError::Period { given: text.to_owned(), allowed: Self::ALLOWED }),
        }
    }

    /// The day a week begins with, by its English name in small letters.
    pub fn parse_week_start(text: &str) -> Result<Weekday, AnalyticsError> {
        Self::ALLOWED_DAYS
            .split(", ")
            .zip([
                Weekday::Monday,
                Weekday::Tuesday,
                Weekday::Wednesday,
                Weekday::Thursday,
                Weekday::Friday,
                Weekday::Saturday,
                Weekday::Sunday,
            ])
            .find_map(|(name, day)| (name == text).then_some(day))
            .ok_or_else(|| AnalyticsError::WeekStart { given: text.to_owned(), allowed: Self::ALLOWED_DAYS })
    }

    /// The number of the period in which a clock shows this.
    fn number(self, shown_us: i64) -> i64 {
        let day = shown_us.div_euclid(DAY_US);
        match self {
            Self::Hour => shown_us.div_euclid(HOUR_US),
            Self::Day => day,
            Self::Week(start) => (day + days_into_week(start)).div_euclid(7),
            Self::Month => month_of_day(day),
            Self::Quarter => month_of_day(day).div_euclid(3),
            Self::Year => month_of_day(day).div_euclid(12),
        }
    }

    /// What a clock shows when the period of this number begins.
    fn begin_us(self, number: i64) -> i64 {
        match self {
            Self::Hour => number.saturating_mul(HOUR_US),
            _ => self.first_day(number).saturating_mul(DAY_US),
        }
    }

    fn first_day(self, number: i64) -> i64 {
        match self {
            Self::Hour => number.div_euclid(24),
            Self::Day => number,
            Self::Week(start) => number.saturating_mul(7).saturating_sub(days_into_week(start)),
            Self::Month => first_day_of_month(number),
            Self::Quarter => first_day_of_month(number.saturating_mul(3)),
            Self::Year => first_day_of_month(number.saturating_mul(12)),
        }
    }
}

/// Days from the last such weekday to 1970-01-01, a Thursday.
fn days_into_week(start: Weekday) -> i64 {
    i64::from((3 - start.to_monday_zero_offset()).rem_euclid(7))
}

/// How much of a time is over, so far as events are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Over,
    /// It can still grow. Show it apart: it looks like a loss and is none.
    Running,
    /// It has not begun.
    Ahead,
}

impl Progress {
    /// * `known_until_us`: up to when, exclusive, all events are known.
    pub fn of(time_us: Range<i64>, known_until_us: i64) -> Self {
        if time_us.end <= known_until_us {
            Self::Over
        } else if time_us.start < known_until_us {
            Self::Running
        } else {
            Self::Ahead
        }
    }
}

/// The periods of one kind in one time zone, numbered.
///
/// Days are numbered from 1970-01-01 = 0, hours, months, quarters and years likewise; week 0 has 1970-01-01 in it.
#[derive(Debug, Clone)]
pub struct Calendar {
    period: Period,
    /// What periods are counted by.
    clock: Clock,
    /// What people in the zone see; not the same for hours.
    wall: Clock,
    /// Numbers of periods over which the clock was put forward as a whole, ascending: Samoa had no 2011-12-30.
    skipped: Arc<[i64]>,
}

/// Calendars are the same if period and zone are: the rest follows from them.
impl PartialEq for Calendar {
    fn eq(&self, other: &Self) -> bool {
        self.period == other.period && self.zone() == other.zone()
    }
}

impl Eq for Calendar {}

impl Calendar {
    /// * `zone`: an IANA name, such as `Europe/Berlin` or `UTC`; in other case it is the same zone.
    /// * Fails if there is no such zone.
    pub fn new(period: Period, zone: &str) -> Result<Self, AnalyticsError> {
        let wall = Clock::in_zone(zone, Follow::Offset)?;
        let clock = if period == Period::Hour { Clock::in_zone(zone, Follow::MinutesOfOffset)? } else { wall.clone() };
        let skipped = clock.leaps().flat_map(|(before_us, at_us)| period.number(before_us) + 1..period.number(at_us));
        let skipped = skipped.collect();
        Ok(Self { period, clock, wall, skipped })
    }

    pub fn period(&self) -> Period {
        self.period
    }

    /// Its time zone, as the database spells it.
    pub fn zone(&self) -> &str {
        self.wall.zone()
    }

    /// The number of the period that a time is in. For many times take a `PeriodCursor`.
    pub fn number(&self, time_us: i64) -> i64 {
        self.period.number(self.clock.shown_us(time_us))
    }

    /// The first instant of a period; where it ends, the next begins. A period that the zone skipped has no length.
    pub fn start_us(&self, number: i64) -> i64 {
        self.clock.first_us(self.period.begin_us(number))
    }

    /// The first day of a period, in days since 1970-01-01 (what Arrow and SQL call a date). Of an hour, the day it is on
    /// in the zone.
    pub fn first_day(&self, number: i64) -> i64 {
        match self.period {
            Period::Hour => self.shown_at_start_us(number).div_euclid(DAY_US),
            period => period.first_day(number),
        }
    }

    /// The first day as `2024-03-10`; an hour as what clocks show, `2024-03-10T05:00`, twice where they show it twice.
    pub fn label(&self, number: i64) -> String {
        let date = date_text(self.first_day(number));
        match self.period {
            Period::Hour => {
                let minute = self.shown_at_start_us(number).rem_euclid(DAY_US) / 60_000_000;
                format!("{date}T{:02}:{:02}", minute / 60, minute % 60)
            }
            _ => date,
        }
    }

    /// The next period that is not skipped.
    pub fn next(&self, number: i64) -> i64 {
        let mut next = number + 1;
        while self.skipped.contains(&next) {
            next += 1;
        }
        next
    }

    /// How much of a period is over.
    ///
    /// * `known_until_us`: up to when, exclusive, all events are known.
    pub fn progress(&self, number: i64, known_until_us: i64) -> Progress {
        Progress::of(self.start_us(number)..self.start_us(number.saturating_add(1)), known_until_us)
    }

    pub fn cursor(&self) -> PeriodCursor {
        PeriodCursor::new(self.clone())
    }

    fn shown_at_start_us(&self, number: i64) -> i64 {
        let start_us = self.start_us(number);
        start_us.saturating_add(self.wall.stretch(start_us).offset_us)
    }
}

/// A calendar that remembers where it looked last, for times that come in order or in clusters.
#[derive(Debug, Clone)]
pub struct PeriodCursor {
    calendar: Calendar,
    number: i64,
    from_us: i64,
    until_us: i64,
    /// Within these the clock shows the time plus the offset, and no table need be asked.
    steady_from_us: i64,
    steady_until_us: i64,
    offset_us: i64,
}

impl PeriodCursor {
    fn new(calendar: Calendar) -> Self {
        // Nothing lies within: the first time sought fills all.
        Self { calendar, number: 0, from_us: 0, until_us: 0, steady_from_us: 0, steady_until_us: 0, offset_us: 0 }
    }

    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// The number of the period that a time is in: the same as `Calendar::number`.
    #[inline]
    pub fn number(&mut self, time_us: i64) -> i64 {
        if time_us < self.from_us || self.until_us <= time_us {
            self.seek(time_us);
        }
        self.number
    }

    /// Where the period that was asked for last ends; exclusive.
    pub fn until_us(&self) -> i64 {
        self.until_us
    }

    fn seek(&mut self, time_us: i64) {
        if time_us < self.steady_from_us || self.steady_until_us <= time_us {
            let stretch = self.calendar.clock.stretch(time_us);
            self.steady_from_us = stretch.steady_from_us;
            self.steady_until_us = stretch.until_us;
            self.offset_us = stretch.offset_us;
        }
        let period = self.calendar.period;
        if self.steady_from_us <= time_us {
            self.number = period.number(time_us.saturating_add(self.offset_us));
            self.from_us = period.begin_us(self.number).saturating_sub(self.offset_us);
            self.until_us = period.begin_us(self.number + 1).saturating_sub(self.offset_us);
            if self.steady_from_us <= self.from_us && self.until_us <= self.steady_until_us {
                return;
            }
        }
        self.number = self.calendar.number(time_us);
        self.from_us = self.calendar.start_us(self.number);
        self.until_us = self.calendar.start_us(self.number + 1);
    }
}

#[cfg(test)]
mod tests;

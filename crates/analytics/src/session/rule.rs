//! The session rule: when a visit ends, and until when a late event may still change it.
//!
//! In:       numbers from the settings.
//! Out:      yes or no: does this event open a new session, is this event late, is this session sealed.
//! Promise:  every comparison of the session code with a bound of the rule stands here, once.
//! Not here: splits at midnight or on a change of campaign: GA4's rule has none.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

const SECOND_US: i64 = 1_000_000;

/// Whether a quiet time of exactly `gap_us` still belongs to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GapCloses {
    /// Only more than the gap closes: exactly 30 minutes does not.
    #[default]
    Over,
    /// The gap itself closes.
    AtLeast,
}

/// When a session ends, and how long it stays open to events that come late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRule {
    /// Quiet time that closes a session. Greater than zero.
    pub gap_us: i64,
    pub boundary: GapCloses,
    /// An event further than this from the session's first one opens a new session. Not less than `gap_us`.
    pub duration_us_max: i64,
    /// An event this much behind the watermark still counts; one behind that is late. Zero or more.
    pub lateness_us: i64,
    /// How far the watermark stays behind the highest event time seen. Zero or more.
    pub watermark_delay_us: i64,
}

/// What is wrong with a rule from the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    #[error("the session gap is {given} us: give more than zero, such as 1800000000 (30 minutes)")]
    GapNotPositive { given: i64 },
    #[error("the longest session, {given} us, is shorter than the session gap, {gap_us} us: give at least the gap")]
    DurationBelowGap { given: i64, gap_us: i64 },
    #[error("the allowed lateness is {given} us: give zero or more")]
    LatenessNegative { given: i64 },
    #[error("the watermark delay is {given} us: give zero or more")]
    WatermarkDelayNegative { given: i64 },
    #[error("{name} is {given} us: give at most {max} us (a year)")]
    TooLong { name: &'static str, given: i64, max: i64 },
}

impl SessionRule {
    /// A year. Longer is a slip in the unit; shorter keeps the sums of times far from overflow.
    pub const US_MAX: i64 = 366 * 86_400 * SECOND_US;

    /// Google Analytics 4: 30 minutes of quiet, no split at midnight or on a change of campaign; and our cap of a day
    /// (PostHog's), an hour of lateness and 30 seconds of disorder.
    pub const fn ga4() -> Self {
        Self {
            gap_us: 1_800 * SECOND_US,
            boundary: GapCloses::Over,
            duration_us_max: 86_400 * SECOND_US,
            lateness_us: 3_600 * SECOND_US,
            watermark_delay_us: 30 * SECOND_US,
        }
    }

    /// All that is wrong with it; empty for a rule that can be used.
    pub fn check(&self) -> Vec<RuleFault> {
        let mut faults = Vec::new();
        if self.gap_us <= 0 {
            faults.push(RuleFault::GapNotPositive { given: self.gap_us });
        }
        if self.duration_us_max < self.gap_us {
            faults.push(RuleFault::DurationBelowGap { given: self.duration_us_max, gap_us: self.gap_us });
        }
        if self.lateness_us < 0 {
            faults.push(RuleFault::LatenessNegative { given: self.lateness_us });
        }
        if self.watermark_delay_us < 0 {
            faults.push(RuleFault::WatermarkDelayNegative { given: self.watermark_delay_us });
        }
        let lengths = [
            ("the session gap", self.gap_us),
            ("the longest session", self.duration_us_max),
            ("the allowed lateness", self.lateness_us),
            ("the watermark delay", self.watermark_delay_us),
        ];
        for (name, given) in lengths {
            if Self::US_MAX < given {
                faults.push(RuleFault::TooLong { name, given, max: Self::US_MAX });
            }
        }
        faults
    }

    /// One number for the whole rule, never negative and the same for ever: sessions made by rules with different numbers
    /// must not be mixed.
    pub fn fingerprint(&self) -> i64 {
        let Self { gap_us, boundary, duration_us_max, lateness_us, watermark_delay_us } = self;
        let closes_at = i64::from(*boundary == GapCloses::AtLeast);
        let numbers = [*gap_us, closes_at, *duration_us_max, *lateness_us, *watermark_delay_us];
        (xxh3_64(&numbers.map(i64::to_le_bytes).concat()) >> 1).cast_signed()
    }

    /// Whether an event at `time_us` opens a new session after one that began at `start_us` and was last heard of at
    /// `last_us` (`start_us <= last_us <= time_us`).
    pub(super) fn opens(&self, start_us: i64, last_us: i64, time_us: i64) -> bool {
        let quiet_us = time_us.saturating_sub(last_us);
        let closed = match self.boundary {
            GapCloses::Over => quiet_us > self.gap_us,
            GapCloses::AtLeast => quiet_us >= self.gap_us,
        };
        closed || time_us.saturating_sub(start_us) > self.duration_us_max
    }

    /// The watermark an event at `time_us` asks for.
    pub fn watermark_of(&self, time_us: i64) -> i64 {
        time_us.saturating_sub(self.watermark_delay_us)
    }

    /// Whether an event at `time_us` comes too late for the sessions of its source, whose watermark was
    /// `watermark_us` before it.
    pub fn is_late(&self, time_us: i64, watermark_us: i64) -> bool {
        time_us < watermark_us.saturating_sub(self.lateness_us)
    }

    /// Whether no event that is still in time can change a session that ended at `end_us`.
    ///
    /// An event in time is at or after `watermark_us - lateness_us`, and the watermark never moves back. So from the
    /// moment `end_us + gap_us + lateness_us < watermark_us` each such event is more than `gap_us` after the end:
    /// 1. It cannot extend the session: the gap closes it under either boundary.
    /// 2. It cannot move the start of what follows. If the next session was cut off by a gap, it stands or falls with
    ///    its own events: whichever event comes first after the sealed one opens a session. If it was cut off by
    ///    `duration_us_max`, its first event lies within `gap_us` of `end_us`, before anything that can still come;
    ///    it stays the first event after the sealed session, and so stays a start.
    ///
    /// The scan of a key may therefore begin at its first unsealed session and forget everything before it. Ends rise
    /// from session to session, so the sealed ones are always the oldest.
    pub fn is_sealed(&self, end_us: i64, watermark_us: i64) -> bool {
        end_us.saturating_add(self.gap_us).saturating_add(self.lateness_us) < watermark_us
    }
}

impl Default for SessionRule {
    fn default() -> Self {
        Self::ga4()
    }
}

/// The text of the column `rule`: what decided the cuts. It is stable; the same rule prints the same text for ever.
impl fmt::Display for SessionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ga4 = Self::ga4();
        let same_cuts =
            (self.gap_us, self.boundary, self.duration_us_max) == (ga4.gap_us, ga4.boundary, ga4.duration_us_max);
        let name = if same_cuts { "ga4" } else { "custom" };
        let closes = match self.boundary {
            GapCloses::Over => ">",
            GapCloses::AtLeast => ">=",
        };
        write!(f, "{name} gap{closes}{} max={}", Length(self.gap_us), Length(self.duration_us_max))
    }
}

/// Whole seconds where they are whole, else microseconds.
struct Length(i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % SECOND_US == 0 { write!(f, "{}s", self.0 / SECOND_US) } else { write!(f, "{}us", self.0) }
    }
}

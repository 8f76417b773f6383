//! The session rule: when a visit ends, and until when a late event may still change it.
//!
//! In:       a preset or numbers from the settings.
//! Out:      yes or no: does this event open a new session, is this event late, is this session sealed.
//! Promise:  every comparison of the session code with a bound of the rule stands here, once.
//! Not here: what the settings call these numbers (`pipeline`); the calendar of a time zone (`midnight.rs`).

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

use super::fact::Fact;
use super::midnight::Midnight;
use super::span::Span;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// Which state and which ids this version makes of a rule. Rows made by another must not be mixed with ours, so it is
/// part of the fingerprint. 2: ids and order by tie key, watermark bound by receipt.
const LAYOUT: i64 = 2;

/// Which change of campaign opens a new session. An event that names none never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CampaignSplits {
    #[default]
    Never,
    /// Universal Analytics: another campaign, utm source, utm medium or ad click id than the session last named, all four
    /// together. The campaign is `utm_campaign`, else the campaign id.
    Tags,
    /// Matomo: another name, which is the first that is there of campaign, utm source and utm medium, or another utm term
    /// with it.
    Name,
}

/// Whether a quiet time of exactly `gap_us` still belongs to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GapCloses {
    /// Only more than the gap closes: exactly 30 minutes does not.
    #[default]
    Over,
    /// The gap itself closes.
    AtLeast,
}

/// Whose definition of a session is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SessionPreset {
    #[default]
    Ga4,
    Ua,
    Matomo,
    Snowplow,
    Custom,
}

impl SessionPreset {
    pub const ALL: [Self; 5] = [Self::Ga4, Self::Ua, Self::Matomo, Self::Snowplow, Self::Custom];

    /// Its name in the settings and in the column `rule`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ga4 => "ga4",
            Self::Ua => "ua",
            Self::Matomo => "matomo",
            Self::Snowplow => "snowplow",
            Self::Custom => "custom",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.as_str() == name)
    }

    /// Whether it closes sessions at midnight of a time zone.
    pub const fn has_midnight(self) -> bool {
        matches!(self, Self::Ua | Self::Matomo)
    }
}

/// When a session ends, and how long it stays open to events that come late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRule {
    /// Quiet time that closes a session. Greater than zero.
    pub gap_us: i64,
    pub boundary: GapCloses,
    /// An event further than this from the session's first one opens a new session. Not less than `gap_us`.
    pub duration_us_max: i64,
    /// So many events a session holds at most, those of one moment apart. Greater than zero.
    pub events_max: Option<u32>,
    /// Whose midnight closes a session.
    pub midnight: Option<Midnight>,
    /// Whether an event that names a campaign opens a new session if the session last named another, or none.
    pub campaign_splits: CampaignSplits,
    /// Whether an event of another user opens a new session. An anonymous visitor who says who he is does not.
    pub user_switch_splits: bool,
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
    #[error("the most events of a session are 0: give at least 1, or no bound")]
    NoEvents,
    #[error("the allowed lateness is {given} us: give zero or more")]
    LatenessNegative { given: i64 },
    #[error("the watermark delay is {given} us: give zero or more")]
    WatermarkDelayNegative { given: i64 },
    #[error("{name} is {given} us: give at most {max} us (a year)")]
    TooLong { name: &'static str, given: i64, max: i64 },
}

impl SessionRule {
    /// A year. Longer is a slip in the unit; shorter keeps the sums of times far from overflow.
    pub const US_MAX: i64 = 366 * DAY_US;

    /// How far ahead of its receipt an event's time may move the watermark, 5 minutes: what the door lets a clock be
    /// ahead. A source whose clock is trusted may send times of next year; they are its rows' times, but they must not
    /// make everything honest late for a year.
    pub const FUTURE_US_MAX: i64 = 300 * SECOND_US;

    /// Google Analytics 4: 30 minutes of quiet, no split at midnight or on a change of campaign; and our cap of a day
    /// (PostHog's), an hour of lateness and 30 seconds of disorder, as in all presets.
    pub const fn ga4() -> Self {
        Self {
            gap_us: 1_800 * SECOND_US,
            boundary: GapCloses::Over,
            duration_us_max: DAY_US,
            events_max: None,
            midnight: None,
            campaign_splits: CampaignSplits::Never,
            user_switch_splits: false,
            lateness_us: 3_600 * SECOND_US,
            watermark_delay_us: 30 * SECOND_US,
        }
    }

    /// Universal Analytics: 30 minutes, midnight of the property's time zone, a change of campaign. Midnight bounds the
    /// length.
    pub fn ua(midnight: Midnight) -> Self {
        let duration_us_max = Self::US_MAX;
        Self { duration_us_max, midnight: Some(midnight), campaign_splits: CampaignSplits::Tags, ..Self::ga4() }
    }

    /// Matomo as shipped: as UA, by the site's time zone, and a new visit after 10,000 actions
    /// (`create_new_visit_after_x_actions`).
    pub fn matomo(midnight: Midnight) -> Self {
        Self { events_max: Some(10_000), campaign_splits: CampaignSplits::Name, ..Self::ua(midnight) }
    }

    /// Snowplow's trackers and dbt models: 30 minutes and no splits; at most 3 days (`snowplow__max_session_days`).
    pub const fn snowplow() -> Self {
        let mut rule = Self::ga4();
        rule.duration_us_max = 3 * DAY_US;
        rule
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
        if self.events_max == Some(0) {
            faults.push(RuleFault::NoEvents);
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

    /// One number for the whole rule, never negative and the same for ever: sessions made by rules with different numbers,
    /// or laid out differently, must not be mixed.
    ///
    /// A time zone is in it by its name: another release of the time zone database is not another rule.
    pub fn fingerprint(&self) -> i64 {
        let Self { gap_us, boundary, duration_us_max, lateness_us, watermark_delay_us, .. } = self;
        let closes_at = i64::from(*boundary == GapCloses::AtLeast);
        let events_max = self.events_max.map_or(0, i64::from);
        let campaigns = match self.campaign_splits {
            CampaignSplits::Never => 0,
            // 1 was a change of campaign id, source or medium, and knew no utm_campaign.
            CampaignSplits::Tags => 4,
            CampaignSplits::Name => 8,
        };
        let splits = campaigns + 2 * i64::from(self.user_switch_splits);
        let numbers = [LAYOUT, *gap_us, closes_at, *duration_us_max, *lateness_us, *watermark_delay_us];
        let mut bytes = numbers.map(i64::to_le_bytes).concat();
        bytes.extend([events_max, splits].map(i64::to_le_bytes).concat());
        bytes.extend_from_slice(self.midnight.as_ref().map_or("", Midnight::zone).as_bytes());
        (xxh3_64(&bytes) >> 1).cast_signed()
    }

    /// Whether `fact`, which comes after all of `before`, opens a new session.
    ///
    /// Events of one and the same moment are never parted: which of them comes first is arbitrary, and a session is
    /// known by its start.
    #[inline]
    pub(super) fn opens(&self, before: &Span, fact: &Fact) -> bool {
        if fact.time_us == before.end_us {
            return false;
        }
        let quiet_us = fact.time_us.saturating_sub(before.end_us);
        self.is_closed_by(quiet_us)
            || fact.time_us.saturating_sub(before.start_us) > self.duration_us_max
            || self.events_max.is_some_and(|max| before.event_count >= i64::from(max))
            || self.midnight.as_ref().is_some_and(|midnight| midnight.parts(before.end_us, fact.time_us))
            || self.is_other_campaign(before, fact)
            || (self.user_switch_splits && fact.names_user() && before.has_user() && fact.user() != before.user)
    }

    fn is_other_campaign(&self, before: &Span, fact: &Fact) -> bool {
        match self.campaign_splits {
            CampaignSplits::Never => false,
            CampaignSplits::Tags => {
                let tags = fact.campaign_tags();
                tags.iter().any(|tag| tag.is_some()) && tags != before.campaign_tags
            }
            CampaignSplits::Name => {
                let name = fact.campaign_name();
                name[0].is_some() && name != before.campaign_name
            }
        }
    }

    /// Whether so long a quiet time closes a session.
    pub(super) fn is_closed_by(&self, quiet_us: i64) -> bool {
        match self.boundary {
            GapCloses::Over => quiet_us > self.gap_us,
            GapCloses::AtLeast => quiet_us >= self.gap_us,
        }
    }

    /// The watermark asked for by an event at `time_us` that was received at `ingest_time_us`.
    ///
    /// It depends on the event alone, so the watermark is a function of the log's prefix, as before; and it is at most
    /// the receipt and what a clock may be ahead, so one broken clock cannot push it into next year.
    pub fn watermark_of(&self, time_us: i64, ingest_time_us: i64) -> i64 {
        time_us.min(ingest_time_us.saturating_add(Self::FUTURE_US_MAX)).saturating_sub(self.watermark_delay_us)
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
    ///    anything else, its first event lies within `gap_us` of `end_us`, before anything that can still come; it
    ///    stays the first event after the sealed session, and so stays a start: all other cuts, too, depend only on
    ///    that event and on the session before it.
    ///
    /// The scan of a key may therefore begin at its first unsealed session and forget everything before it. Ends rise
    /// from session to session, so the sealed ones are always the oldest.
    pub fn is_sealed(&self, end_us: i64, watermark_us: i64) -> bool {
        end_us.saturating_add(self.gap_us).saturating_add(self.lateness_us) < watermark_us
    }

    /// The preset that cuts as this rule does.
    pub fn preset(&self) -> SessionPreset {
        let cuts_as = |other: &Self| {
            let Self { lateness_us, watermark_delay_us, .. } = self;
            *self == Self { lateness_us: *lateness_us, watermark_delay_us: *watermark_delay_us, ..other.clone() }
        };
        let same_as = |preset: &SessionPreset| match (preset, &self.midnight) {
            (SessionPreset::Ga4, _) => cuts_as(&Self::ga4()),
            (SessionPreset::Snowplow, _) => cuts_as(&Self::snowplow()),
            (SessionPreset::Ua, Some(midnight)) => cuts_as(&Self::ua(midnight.clone())),
            (SessionPreset::Matomo, Some(midnight)) => cuts_as(&Self::matomo(midnight.clone())),
            _ => false,
        };
        SessionPreset::ALL.into_iter().find(same_as).unwrap_or(SessionPreset::Custom)
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
        let closes = match self.boundary {
            GapCloses::Over => ">",
            GapCloses::AtLeast => ">=",
        };
        let (name, gap, max) = (self.preset().as_str(), Length(self.gap_us), Length(self.duration_us_max));
        write!(f, "{name} gap{closes}{gap} max={max}")?;
        if let Some(count) = self.events_max {
            write!(f, " events={count}")?;
        }
        if let Some(midnight) = &self.midnight {
            write!(f, " midnight={}", midnight.zone())?;
        }
        match self.campaign_splits {
            CampaignSplits::Never => {}
            CampaignSplits::Tags => f.write_str(" campaign_tags")?,
            CampaignSplits::Name => f.write_str(" campaign_name")?,
        }
        if self.user_switch_splits {
            f.write_str(" user")?;
        }
        Ok(())
    }
}

/// Whole seconds where they are whole, else microseconds.
struct Length(i64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % SECOND_US == 0 { write!(f, "{}s", self.0 / SECOND_US) } else { write!(f, "{}us", self.0) }
    }
}

//! The knobs of the stream job. Their reasons stand beside the defaults in `settings/default.toml`.

use serde::Deserialize;
use tributary_analytics::session::{CampaignSplits, GapCloses, Midnight, SessionPreset, SessionRule};

use crate::commit::StateFrom;
use crate::job::GROUP;

/// Who decides which partitions a worker owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Assignment {
    /// Its number: `worker_ordinal` of `worker_count`.
    Static,
    /// A consumer group of Kafka: `group_id`.
    Group,
}
/// A file a setting names, once `src` has read it: its text, or why it could not be read.
pub type FileText = Option<Result<String, String>>;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineSettings {
    /// A commit is made at the latest this long after the first row it holds was read.
    pub commit_interval_ms: u64,
    /// ... or as soon as this many rows wait.
    pub commit_rows_max: usize,
    /// ... or as soon as the rows that wait take this much memory.
    pub commit_bytes_max: usize,
    /// What one poll of the log brings at most.
    pub poll_bytes_max: usize,
    /// Whose definition of a session: ga4, ua, matomo, snowplow, or custom, which is what the knobs below say.
    pub session_preset: String,
    /// Quiet that closes a session; 0 is the preset's.
    pub session_gap_ms: u64,
    /// Whether a gap of exactly `session_gap_ms` closes too.
    pub session_gap_closes_at: bool,
    /// The longest a session may last; 0 is the preset's.
    pub session_duration_ms_max: u64,
    /// The most events a session may have; 0 is the preset's.
    pub session_events_max: u32,
    /// The IANA time zone whose midnight closes a session; empty is none, and UTC in presets that close at midnight.
    pub session_time_zone: String,
    /// Whether a change of campaign opens a new session.
    pub session_campaign_splits: bool,
    /// Whether another user opens a new session; one who was anonymous does not.
    pub session_user_switch_splits: bool,
    /// How far behind the newest event of its source an event may be and still be put into a session.
    pub allowed_lateness_ms: u64,
    /// How far the watermark stays behind the newest event, for plain disorder.
    pub watermark_delay_ms: u64,
    /// How long an event id is remembered for deduplication, by time of receipt.
    pub dedup_window_ms: u64,
    /// How often late events are put into their sessions.
    pub repair_interval_ms: u64,
    /// How long after it happened a late event may have come and still be.
    pub repair_lookback_ms: u64,
    /// State of a partition that takes at least this much memory is written as an object of its own ...
    pub state_bytes_min: usize,
    /// ... each time so many records came.
    pub state_records_min: u64,
    pub assignment: Assignment,
    /// Of workers that share partitions by a group: the same for all of one lake.
    pub group_id: String,
    /// A source that says nothing for so long, and for longer than its sessions stay open, has them closed by the clock; 0
    /// leaves them open until it speaks again.
    pub source_idle_ms: u64,
    /// How often the log is asked whether it is still the one it was.
    pub log_check_interval_ms: u64,
    /// Whether to go on when a topic of events was given more partitions. The knob is `log.partitions_grown`, since the
    /// door minds it too.
    #[serde(skip)]
    pub accept_grown_partitions: bool,
    /// This worker's number, from 0, and how many there are: it owns the partitions p with
    /// p % worker_count == worker_ordinal.
    pub worker_ordinal: u32,
    pub worker_count: u32,
    /// `tributary`, `ga4`, or a file of rules of one's own.
    pub channel_rules: String,
    /// The text of that file.
    #[serde(skip)]
    pub channel_rules_text: FileText,
    /// Hosts that are no origin, with all below them: payment pages, sign-in hosts, one's other sites.
    pub ignored_referrers: Vec<String>,
    /// Three letters; empty for none.
    pub reporting_currency: String,
    /// A table of rates; empty for none.
    pub currency_rates_file: String,
    /// The text of that file.
    #[serde(skip)]
    pub currency_rates_text: FileText,
    /// How long a rate stays good when no newer one is there.
    pub currency_rate_age_days_max: u32,
    /// So many different links of one message clicked within `scanner_links_ms_max` are a scanner's.
    pub scanner_links_min: usize,
    pub scanner_links_ms_max: u64,
    /// A click so soon after the send is a scanner's; 0 turns the rule off.
    pub scanner_after_send_ms_max: u64,
    /// How long after it fired the rule speaks of the same message.
    pub scanner_hold_ms: u64,
    /// Messages remembered at a time, in each partition.
    pub scanner_messages_max: usize,
    /// Memory for rows of the last commits, for askers of the live tables who pinned before them.
    pub live_bytes_max: usize,
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            commit_interval_ms: 5_000,
            commit_rows_max: 200_000,
            commit_bytes_max: 256 << 20,
            poll_bytes_max: 8 << 20,
            session_preset: SessionPreset::Ga4.as_str().to_owned(),
            session_gap_ms: 0,
            session_gap_closes_at: false,
            session_duration_ms_max: 0,
            session_events_max: 0,
            session_time_zone: String::new(),
            session_campaign_splits: false,
            session_user_switch_splits: false,
            allowed_lateness_ms: 3_600 * 1_000,
            watermark_delay_ms: 30_000,
            dedup_window_ms: 7 * 24 * 3_600 * 1_000,
            repair_interval_ms: 3_600 * 1_000,
            repair_lookback_ms: 3 * 24 * 3_600 * 1_000,
            state_bytes_min: 16 << 20,
            state_records_min: 250_000,
            assignment: Assignment::Static,
            group_id: "tributary-workers".to_owned(),
            source_idle_ms: 10 * 60 * 1_000,
            log_check_interval_ms: 30_000,
            accept_grown_partitions: false,
            worker_ordinal: 0,
            worker_count: 1,
            channel_rules: "tributary".to_owned(),
            channel_rules_text: None,
            ignored_referrers: Vec::new(),
            reporting_currency: String::new(),
            currency_rates_file: String::new(),
            currency_rates_text: None,
            currency_rate_age_days_max: 7,
            scanner_links_min: 3,
            scanner_links_ms_max: 10_000,
            scanner_after_send_ms_max: 3_000,
            scanner_hold_ms: 60_000,
            scanner_messages_max: 100_000,
            live_bytes_max: 64 << 20,
        }
    }
}

impl PipelineSettings {
    /// Everything that is wrong with them, each as a sentence naming the knob.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.commit_interval_ms == 0 {
            faults.push("commit_interval_ms is 0; give at least 1, best 1000 to 30000".to_owned());
        }
        if self.commit_rows_max == 0 || self.commit_bytes_max == 0 || self.poll_bytes_max == 0 {
            faults.push("commit_rows_max, commit_bytes_max and poll_bytes_max must be above 0".to_owned());
        }
        faults.extend(self.session_rule().err().into_iter().flatten());
        let by_number = self.assignment == Assignment::Static;
        if by_number && (self.worker_count == 0 || self.worker_ordinal >= self.worker_count) {
            faults.push(format!(
                "worker_ordinal {} must be below worker_count {}",
                self.worker_ordinal, self.worker_count
            ));
        }
        if self.repair_interval_ms == 0 {
            faults.push("repair_interval_ms is 0; give at least 1, best 3600000".to_owned());
        }
        if self.log_check_interval_ms == 0 {
            faults.push("log_check_interval_ms is 0; give at least 1, best 30000".to_owned());
        }
        if self.assignment == Assignment::Group {
            if self.worker_count != 1 {
                faults.push(format!(
                    "worker_count is {}, but with assignment = \"group\" the group counts the workers; leave it at 1",
                    self.worker_count
                ));
            }
            // Positions are shown under that name, and only a group without members lets itself be told any.
            if self.group_id.is_empty() || self.group_id == GROUP {
                faults.push(format!("group_id is {:?}; give a name other than {GROUP:?}", self.group_id));
            }
        }
        let year_ms = 366 * 24 * 3_600 * 1_000;
        for (name, value) in [
            ("session_gap_ms", self.session_gap_ms),
            ("session_duration_ms_max", self.session_duration_ms_max),
            ("allowed_lateness_ms", self.allowed_lateness_ms),
            ("watermark_delay_ms", self.watermark_delay_ms),
            ("dedup_window_ms", self.dedup_window_ms),
            ("source_idle_ms", self.source_idle_ms),
            ("repair_interval_ms", self.repair_interval_ms),
            ("repair_lookback_ms", self.repair_lookback_ms),
            ("scanner_links_ms_max", self.scanner_links_ms_max),
            ("scanner_after_send_ms_max", self.scanner_after_send_ms_max),
            ("scanner_hold_ms", self.scanner_hold_ms),
        ] {
            if value > year_ms {
                faults.push(format!("{name} is {value}, more than a year; is it in milliseconds?"));
            }
        }
        faults.extend(self.rules().err().unwrap_or_default());
        faults
    }

    /// The session rule these settings name, or all that is wrong with them.
    ///
    /// A preset is taken whole: a knob that says something else is a fault, since either of the two would be a surprise.
    /// Only what the preset leaves open, its time zone, is the knob's.
    pub fn session_rule(&self) -> Result<SessionRule, Vec<String>> {
        let mut faults = Vec::new();
        let preset = SessionPreset::parse(&self.session_preset);
        if preset.is_none() {
            let names = SessionPreset::ALL.map(SessionPreset::as_str).join(", ");
            faults.push(format!("session_preset is '{}'; give one of {names}", self.session_preset));
        }
        let has_midnight = preset.is_some_and(SessionPreset::has_midnight);
        let zone = match self.session_time_zone.as_str() {
            "" if has_midnight => "UTC",
            zone => zone,
        };
        let midnight = Midnight::in_zone(zone);
        if midnight.is_none() && !zone.is_empty() {
            faults.push(format!(
                "session_time_zone is '{zone}', which is no time zone; give an IANA name such as Europe/Berlin"
            ));
        }
        let rule = match (preset, midnight) {
            (Some(SessionPreset::Ua), Some(midnight)) => SessionRule::ua(midnight),
            (Some(SessionPreset::Matomo), Some(midnight)) => SessionRule::matomo(midnight),
            (Some(SessionPreset::Snowplow), _) => SessionRule::snowplow(),
            _ => SessionRule::ga4(),
        };
        let rule = if preset == Some(SessionPreset::Custom) { self.custom_rule() } else { rule };
        if let Some(preset) = preset.filter(|preset| *preset != SessionPreset::Custom) {
            faults.extend(self.against(preset, &rule));
        }
        let ms = |us: i64| us / 1_000;
        if rule.duration_us_max < rule.gap_us {
            faults.push(format!(
                "session_duration_ms_max, {}, is below session_gap_ms, {}; give at least the gap",
                ms(rule.duration_us_max),
                ms(rule.gap_us)
            ));
        }
        let us = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let rule = SessionRule {
            lateness_us: us(self.allowed_lateness_ms),
            watermark_delay_us: us(self.watermark_delay_ms),
            ..rule
        };
        if faults.is_empty() { Ok(rule) } else { Err(faults) }
    }

    /// What the knobs say; GA4's where they say nothing.
    fn custom_rule(&self) -> SessionRule {
        let ga4 = SessionRule::ga4();
        let us = |ms: u64, otherwise: i64| match ms {
            0 => otherwise,
            ms => i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX),
        };
        SessionRule {
            gap_us: us(self.session_gap_ms, ga4.gap_us),
            boundary: if self.session_gap_closes_at { GapCloses::AtLeast } else { GapCloses::Over },
            duration_us_max: us(self.session_duration_ms_max, ga4.duration_us_max),
            events_max: Some(self.session_events_max).filter(|max| *max > 0),
            midnight: Midnight::in_zone(&self.session_time_zone),
            campaign_splits: if self.session_campaign_splits { CampaignSplits::Tags } else { CampaignSplits::Never },
            user_switch_splits: self.session_user_switch_splits,
            ..ga4
        }
    }

    /// The knobs that contradict the preset.
    fn against(&self, preset: SessionPreset, rule: &SessionRule) -> Vec<String> {
        let mut faults = Vec::new();
        let ms = |us: i64| (us / 1_000).cast_unsigned();
        let mut say = |knob: &str, given: String, means: String| {
            faults.push(format!(
                "{knob} is {given}, but session_preset '{}' has {means}; leave the knob out, or give session_preset \
                 'custom'",
                preset.as_str()
            ));
        };
        for (knob, given, means) in [
            ("session_gap_ms", self.session_gap_ms, ms(rule.gap_us)),
            ("session_duration_ms_max", self.session_duration_ms_max, ms(rule.duration_us_max)),
            ("session_events_max", self.session_events_max.into(), rule.events_max.unwrap_or(0).into()),
        ] {
            if given != 0 && given != means {
                let means = if means == 0 { "no bound".to_owned() } else { means.to_string() };
                say(knob, given.to_string(), means);
            }
        }
        if !self.session_time_zone.is_empty() && !preset.has_midnight() {
            say("session_time_zone", format!("'{}'", self.session_time_zone), "no midnight".to_owned());
        }
        for (knob, given, means) in [
            ("session_gap_closes_at", self.session_gap_closes_at, rule.boundary == GapCloses::AtLeast),
            ("session_campaign_splits", self.session_campaign_splits, rule.campaign_splits != CampaignSplits::Never),
            ("session_user_switch_splits", self.session_user_switch_splits, rule.user_switch_splits),
        ] {
            if given && !means {
                say(knob, "true".to_owned(), "false".to_owned());
            }
        }
        faults
    }

    pub(crate) fn state_from(&self) -> StateFrom {
        StateFrom { bytes_min: self.state_bytes_min, records_min: self.state_records_min }
    }

    pub fn owns(&self, partition: u32) -> bool {
        partition % self.worker_count == self.worker_ordinal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> PipelineSettings {
        PipelineSettings { session_preset: name.to_owned(), ..PipelineSettings::default() }
    }

    #[test]
    fn a_preset_is_taken_whole() {
        let berlin = || Midnight::in_zone("Europe/Berlin").unwrap();
        let utc = Midnight::in_zone("UTC").unwrap();
        assert_eq!(PipelineSettings::default().session_rule(), Ok(SessionRule::ga4()));
        assert_eq!(preset("snowplow").session_rule(), Ok(SessionRule::snowplow()));
        assert_eq!(preset("ua").session_rule(), Ok(SessionRule::ua(utc)));
        let settings = PipelineSettings { session_time_zone: "Europe/Berlin".to_owned(), ..preset("matomo") };
        assert_eq!(settings.session_rule(), Ok(SessionRule::matomo(berlin())));
        // What it says anyway, it may be told.
        let settings = PipelineSettings { session_gap_ms: 1_800_000, session_campaign_splits: true, ..preset("ua") };
        assert!(settings.session_rule().is_ok());
        let settings = PipelineSettings {
            session_gap_ms: 600_000,
            session_gap_closes_at: true,
            session_events_max: 50,
            session_time_zone: "Europe/Berlin".to_owned(),
            session_campaign_splits: true,
            session_user_switch_splits: true,
            ..preset("custom")
        };
        let expected = SessionRule {
            gap_us: 600_000_000,
            boundary: GapCloses::AtLeast,
            events_max: Some(50),
            midnight: Some(berlin()),
            campaign_splits: CampaignSplits::Tags,
            user_switch_splits: true,
            ..SessionRule::ga4()
        };
        assert_eq!(settings.session_rule(), Ok(expected));
    }

    #[test]
    fn a_knob_that_contradicts_its_preset_is_a_fault() {
        let settings = PipelineSettings {
            session_gap_ms: 600_000,
            session_gap_closes_at: true,
            session_duration_ms_max: 7_200_000,
            session_events_max: 5,
            session_time_zone: "Europe/Berlin".to_owned(),
            session_campaign_splits: true,
            session_user_switch_splits: true,
            ..preset("ga4")
        };
        let faults = settings.check();
        let knobs: Vec<&str> = faults.iter().filter_map(|fault| fault.split(' ').next()).collect();
        let expected = [
            "session_gap_ms",
            "session_duration_ms_max",
            "session_events_max",
            "session_time_zone",
            "session_gap_closes_at",
            "session_campaign_splits",
            "session_user_switch_splits",
        ];
        assert_eq!(knobs, expected, "{faults:#?}");
        assert_eq!(
            faults[0],
            "session_gap_ms is 600000, but session_preset 'ga4' has 1800000; leave the knob out, or give \
             session_preset 'custom'"
        );
    }

    #[test]
    fn what_names_no_rule_is_told_with_what_does() {
        let faults = PipelineSettings { session_time_zone: "Mars".to_owned(), ..preset("ga5") }.check();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("ga4, ua, matomo, snowplow, custom"), "{faults:?}");
        assert!(faults[1].contains("IANA"), "{faults:?}");
        let short = PipelineSettings { session_duration_ms_max: 1_000, ..preset("custom") };
        assert!(short.check()[0].contains("session_duration_ms_max, 1000, is below session_gap_ms"));
    }
}

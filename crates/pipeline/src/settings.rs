//! The knobs of the stream job. Their reasons stand beside the defaults in `settings/default.toml`.

use serde::Deserialize;

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
    /// Quiet that closes a session.
    pub session_gap_ms: u64,
    /// Whether a gap of exactly `session_gap_ms` closes too.
    pub session_gap_closes_at: bool,
    /// The longest a session may last.
    pub session_duration_ms_max: u64,
    /// How far behind the newest event of its source an event may be and still be put into a session.
    pub allowed_lateness_ms: u64,
    /// How far the watermark stays behind the newest event, for plain disorder.
    pub watermark_delay_ms: u64,
    /// How long an event id is remembered for deduplication, by time of receipt.
    pub dedup_window_ms: u64,
    pub assignment: Assignment,
    /// Of workers that share partitions by a group: the same for all of one lake.
    pub group_id: String,
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
}

impl Default for PipelineSettings {
    fn default() -> Self {
        Self {
            commit_interval_ms: 5_000,
            commit_rows_max: 200_000,
            commit_bytes_max: 256 << 20,
            poll_bytes_max: 8 << 20,
            session_gap_ms: 30 * 60 * 1_000,
            session_gap_closes_at: false,
            session_duration_ms_max: 24 * 3_600 * 1_000,
            allowed_lateness_ms: 3_600 * 1_000,
            watermark_delay_ms: 30_000,
            dedup_window_ms: 7 * 24 * 3_600 * 1_000,
            assignment: Assignment::Static,
            group_id: "tributary-workers".to_owned(),
            log_check_interval_ms: 30_000,
            accept_grown_partitions: false,
            worker_ordinal: 0,
            worker_count: 1,
            channel_rules: "tributary".to_owned(),
            channel_rules_text: None,
            reporting_currency: String::new(),
            currency_rates_file: String::new(),
            currency_rates_text: None,
            currency_rate_age_days_max: 7,
            scanner_links_min: 3,
            scanner_links_ms_max: 10_000,
            scanner_after_send_ms_max: 3_000,
            scanner_hold_ms: 60_000,
            scanner_messages_max: 100_000,
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
        if self.session_gap_ms == 0 || self.session_duration_ms_max < self.session_gap_ms {
            faults.push("session_gap_ms must be above 0 and not above session_duration_ms_max".to_owned());
        }
        if self.worker_count == 0 || self.worker_ordinal >= self.worker_count {
            faults.push(format!(
                "worker_ordinal {} must be below worker_count {}",
                self.worker_ordinal, self.worker_count
            ));
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

    pub fn owns(&self, partition: u32) -> bool {
        partition % self.worker_count == self.worker_ordinal
    }
}

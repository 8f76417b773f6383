//! What may be chosen about answering: how much of the machine one question may take, and who may ask.

use std::path::PathBuf;

use serde::Deserialize;

use crate::access::{self, AccessSettings};
use crate::distributed;
use crate::error::QueryError;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySettings {
    /// For the sorts, joins, groups and credits of all running questions together. Sorts, joins and groups that need
    /// more go to `spill_dir`.
    pub memory_bytes_max: usize,
    /// From the moment a question is asked, waiting for its turn included.
    pub time_ms_max: u64,
    /// Rows of one answer over HTTP or `Engine::query`; what is cut off is said so.
    pub rows_max: usize,
    /// Bytes of one such answer in memory.
    pub answer_bytes_max: usize,
    /// Length of one SQL text.
    pub sql_bytes_max: usize,
    /// Questions running at once; the next wait.
    pub queries_max: usize,
    /// Parts a plan is cut into; 0 means one for each core.
    pub threads: usize,
    /// Where sorts and groups spill; absent: the system's folder for temporary files.
    pub spill_dir: Option<PathBuf>,
    pub spill_bytes_max: u64,
    /// Who may ask and see everything. With none, and no access, nobody may: rows are about people.
    pub tokens: Vec<String>,
    /// Who may ask and see less.
    pub access: Vec<AccessSettings>,
    /// What pseudonyms are made with; a server makes one on its first start that needs it.
    pub mask_secret: String,
    /// More persons than this on one device: it is shared, and what nobody signed on it stays anonymous.
    pub identity_users_per_device_max: usize,
    /// A user id said on more devices than this is many people's.
    pub identity_devices_per_user_max: usize,
    /// More user ids than this chained by aliases stay apart.
    pub identity_aliases_max: usize,
    /// Links a map of persons may be made of.
    pub identity_links_max: u64,
    /// Other processes with stream jobs, to be asked for what they have read and not committed.
    pub live_urls: Vec<String>,
    /// How long a stream job may take to answer.
    pub live_wait_ms_max: u64,
    /// Bytes of one such answer from another process.
    pub live_bytes_max: usize,
    /// Where definitions are (`definitions/`); absent: nothing is defined.
    pub metrics_dir: Option<PathBuf>,
    /// Processes with the role worker that help to answer, by URL; none: all is done here.
    pub workers: Vec<String>,
    /// Bytes of files in a scan, for each of them that is to help with it.
    pub worker_scan_bytes_min: u64,
    /// Shown to each of them: the one of their `WorkerSettings`.
    #[serde(skip)]
    pub worker_token: String,
}

impl Default for QuerySettings {
    fn default() -> Self {
        Self {
            memory_bytes_max: 1 << 30,
            time_ms_max: 60_000,
            rows_max: 10_000,
            answer_bytes_max: 64 << 20,
            // Generated SQL is long, hand-written SQL is not. `complexity.rs` bounds how intricate it is.
            sql_bytes_max: 64 << 10,
            queries_max: 8,
            threads: 0,
            spill_dir: None,
            spill_bytes_max: 20 << 30,
            tokens: Vec::new(),
            access: Vec::new(),
            mask_secret: String::new(),
            identity_users_per_device_max: 5,
            identity_devices_per_user_max: 500,
            identity_aliases_max: 10,
            identity_links_max: 2_000_000,
            live_urls: Vec::new(),
            live_wait_ms_max: 5_000,
            live_bytes_max: 256 << 20,
            metrics_dir: None,
            workers: Vec::new(),
            worker_scan_bytes_min: 64 << 20,
            worker_token: String::new(),
        }
    }
}

/// Shorter ones can be guessed.
pub(crate) const TOKEN_BYTES_MIN: usize = 16;
/// Below this DataFusion's own buffers do not fit.
const MEMORY_BYTES_MIN: usize = 16 << 20;

impl QuerySettings {
    /// All faults together, so that they can be mended in one go.
    pub fn check(&self) -> Result<(), QueryError> {
        let mut faults = Vec::new();
        if self.memory_bytes_max < MEMORY_BYTES_MIN {
            faults.push(format!("memory_bytes_max is {}: give at least {MEMORY_BYTES_MIN}", self.memory_bytes_max));
        }
        let above_zero = [
            ("time_ms_max", self.time_ms_max == 0),
            ("rows_max", self.rows_max == 0),
            ("answer_bytes_max", self.answer_bytes_max == 0),
            ("sql_bytes_max", self.sql_bytes_max == 0),
            ("queries_max", self.queries_max == 0),
            ("identity_users_per_device_max", self.identity_users_per_device_max == 0),
            ("identity_devices_per_user_max", self.identity_devices_per_user_max == 0),
            ("identity_aliases_max", self.identity_aliases_max == 0),
            ("identity_links_max", self.identity_links_max == 0),
            ("live_wait_ms_max", self.live_wait_ms_max == 0),
            ("live_bytes_max", self.live_bytes_max == 0),
            ("worker_scan_bytes_min", self.worker_scan_bytes_min == 0),
        ];
        for (name, _) in above_zero.iter().filter(|(_, is_zero)| *is_zero) {
            faults.push(format!("{name} is 0: no question could be answered; give at least 1"));
        }
        for (index, token) in self.tokens.iter().enumerate() {
            if !is_token(token) {
                faults.push(format!(
                    "token {} cannot be used: give at least {TOKEN_BYTES_MIN} visible ASCII characters, no blanks",
                    index + 1
                ));
            }
        }
        faults.extend(access::faults(self));
        faults.extend(distributed::faults_of_head(self));
        if faults.is_empty() { Ok(()) } else { Err(QueryError::Settings { faults }) }
    }

    /// Whether others help to answer.
    pub(crate) fn is_head(&self) -> bool {
        !self.workers.is_empty()
    }

    /// `threads`, with 0 replaced by the number of cores.
    pub(crate) fn partitions(&self) -> usize {
        if self.threads == 0 { cores() } else { self.threads }
    }
}

/// Whether a text may stand in a header and is not guessed.
pub(crate) fn is_token(text: &str) -> bool {
    TOKEN_BYTES_MIN <= text.len() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_told_together() {
        let settings = QuerySettings {
            memory_bytes_max: 1,
            queries_max: 0,
            tokens: vec!["short".to_owned()],
            ..QuerySettings::default()
        };
        let text = settings.check().unwrap_err().to_string();
        for word in ["memory_bytes_max", "queries_max", "token 1"] {
            assert!(text.contains(word), "{text}");
        }
        assert!(QuerySettings::default().check().is_ok());
    }
}

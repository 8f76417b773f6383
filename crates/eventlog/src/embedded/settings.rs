//! What can be set, with the reasons for the defaults.

use std::path::PathBuf;
use std::sync::Arc;

/// Begin with [`EmbeddedSettings::in_dir`] and change what you must.
#[derive(Clone)]
pub struct EmbeddedSettings {
    pub dir: PathBuf,
    /// A segment is closed once it is at least this long. Removal works on whole segments, so this is also the
    /// grain of retention; the last one is read whole after a crash (about 0.1 s for 64 MiB).
    pub segment_bytes_max: u64,
    /// Per topic. `None`: no limit.
    pub retention_bytes_max: Option<u64>,
    /// By the newest record time in a segment. `None`: no limit.
    pub retention_age_ms_max: Option<u64>,
    /// Groups whose reported position retention must not overtake, however old or many the records: then the
    /// disk fills and writes are refused, which is better than losing what nobody has read.
    pub retention_waits_for: Vec<String>,
    /// Per topic: bytes that may wait for, or be in, a commit round.
    pub queue_bytes_max: usize,
    /// How long an append waits for room in the queue before it is told `Busy`.
    pub queue_wait_ms_max: u64,
    /// Key and value together.
    pub record_bytes_max: usize,
    /// A commit round takes what waits, up to this: one write, one sync. 8 MiB keep a round below some 20 ms.
    pub round_bytes_max: usize,
    /// Check every byte of every segment on opening, not only of the last: slow (about 1 GB/s) and thorough.
    pub scan_all_on_open: bool,
    /// UTC milliseconds, for retention by age only.
    pub now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl EmbeddedSettings {
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            segment_bytes_max: 64 << 20,
            retention_bytes_max: None,
            retention_age_ms_max: None,
            retention_waits_for: Vec::new(),
            queue_bytes_max: 64 << 20,
            queue_wait_ms_max: 2_000,
            record_bytes_max: 1 << 20,
            round_bytes_max: 8 << 20,
            scan_all_on_open: false,
            now_ms: Arc::new(system_now_ms),
        }
    }

    /// Every fault, each beginning with its setting; empty when all is well.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.dir.as_os_str().is_empty() {
            faults.push("dir is empty".to_owned());
        }
        // 2^31: lengths in a frame are u32, and a round must stay well below what a reader takes for damage.
        for (name, value) in [
            ("queue_bytes_max", self.queue_bytes_max),
            ("record_bytes_max", self.record_bytes_max),
            ("round_bytes_max", self.round_bytes_max),
        ] {
            if value == 0 || 1 << 31 < value {
                faults.push(format!("{name} is {value}, must be 1 to 2147483648"));
            }
        }
        if super::frame::PAYLOAD_BYTES_MAX / 2 < self.record_bytes_max {
            faults.push(format!("record_bytes_max is {}, must be at most 128 MiB", self.record_bytes_max));
        }
        if self.segment_bytes_max == 0 {
            faults.push("segment_bytes_max is 0".to_owned());
        }
        faults
    }
}

#[expect(clippy::disallowed_methods, reason = "the default of the seam `now_ms`")]
fn system_now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

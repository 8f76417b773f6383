//! What may be chosen about a lake.

use std::path::PathBuf;

use crate::location::{StoreOptions, check_location};
use crate::vacuum::HORIZON_HOURS_MIN;

/// Where the lake stands, how its files are cut, and how it is kept. `Default` is the choice for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeSettings {
    /// A folder (made when missing), its `file://` URL, or a bucket: `s3://`, `gs://`, `az://`.
    pub url: String,
    /// Of the bucket, by object_store's own names.
    pub object_store: StoreOptions,
    /// Rows in a Parquet row group: what a reader skips or fetches at once.
    pub row_group_rows_max: usize,
    /// 1 to 22. At 3 random-id data took 34 bytes a row where snappy took 55; higher costs time, gains little.
    pub zstd_level: i32,
    /// The same for files that an append writes: they last until they are compacted.
    pub zstd_level_fresh: i32,
    /// A checkpoint sums up the log every so many commits: opening a table then reads at most this many.
    pub checkpoint_interval_commits: u64,
    /// Files of one append uploaded at the same time.
    pub uploads_max: usize,
    /// Attempts at one commit that other writers may win before `append` gives up.
    pub race_tries_max: u32,
    /// Attempts at one storage operation before `append` gives up; the pauses between them double from 5 ms.
    pub storage_tries_max: u32,
    /// On a local disk: flush files and folders to the device before a commit is reported. Off only for tests.
    pub fsync: bool,
    /// How often small files are looked for; 0 is never.
    pub compact_minutes: u64,
    /// What a compacted file shall weigh. 128 to 256 MB: larger ones are read by few threads, smaller ones cost requests.
    pub compact_file_bytes: u64,
    /// On a day that still grows, so many small files are worth a rewrite.
    pub compact_files_min: usize,
    /// Rows held in memory while sorting; what is more lies in `spill_dir` meanwhile.
    pub compact_memory_bytes: usize,
    /// Where sorting puts what does not fit; `None`: the system's folder for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Versions of a session that are not its newest are dropped this long after its day; 0 keeps all.
    pub session_history_days: u64,
    /// Days older than this are dropped, by table; 0 keeps all.
    pub events_days_max: u64,
    pub sessions_days_max: u64,
    pub dead_letters_days_max: u64,
    /// How often files nobody refers to are looked for; 0 is never.
    pub vacuum_hours: u64,
    /// Versions as old as this stay readable, and files as young stay whoever names them.
    pub vacuum_horizon_hours: u64,
    /// Entries of the log are kept so long, and longer if no checkpoint sums them up.
    pub log_retention_hours: u64,
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            url: "./tributary-data/lake".to_owned(),
            object_store: StoreOptions::default(),
            row_group_rows_max: 1_000_000,
            zstd_level: 3,
            zstd_level_fresh: 1,
            checkpoint_interval_commits: 100,
            uploads_max: 4,
            race_tries_max: 100,
            storage_tries_max: 8,
            fsync: true,
            compact_minutes: 15,
            compact_file_bytes: 201_326_592,
            compact_files_min: 16,
            compact_memory_bytes: 268_435_456,
            spill_dir: None,
            session_history_days: 30,
            events_days_max: 0,
            sessions_days_max: 0,
            dead_letters_days_max: 0,
            vacuum_hours: 24,
            vacuum_horizon_hours: 168,
            log_retention_hours: 168,
        }
    }
}

impl LakeSettings {
    /// Every fault, each naming its knob.
    pub fn check(&self) -> Vec<String> {
        let mut faults = check_location(self);
        for (name, given, best) in [("zstd_level", self.zstd_level, 3), ("zstd_level_fresh", self.zstd_level_fresh, 1)]
        {
            if !(1..=22).contains(&given) {
                faults.push(format!("lake.{name} is {given}; give 1 to 22, best {best}"));
            }
        }
        if !(1_048_576..=1_073_741_824).contains(&self.compact_memory_bytes) {
            let given = self.compact_memory_bytes;
            faults.push(format!("lake.compact_memory_bytes is {given}; give 1 MiB to 1 GiB, best 256 MiB"));
        }
        if !(1_048_576..=4_294_967_296).contains(&self.compact_file_bytes) {
            faults.push(format!("lake.compact_file_bytes is {}; give 1 MiB to 4 GiB", self.compact_file_bytes));
        }
        if self.compact_files_min < 2 {
            faults.push(format!("lake.compact_files_min is {}; give 2 or more", self.compact_files_min));
        }
        if self.vacuum_horizon_hours < HORIZON_HOURS_MIN {
            faults.push(format!(
                "lake.vacuum_horizon_hours is {}; give {HORIZON_HOURS_MIN} or more: files of work that is still going on \
                 must not be swept away",
                self.vacuum_horizon_hours
            ));
        }
        if self.log_retention_hours < self.vacuum_horizon_hours {
            faults.push(format!(
                "lake.log_retention_hours is {}; give at least vacuum_horizon_hours ({}): the log says which files older \
                 versions need",
                self.log_retention_hours, self.vacuum_horizon_hours
            ));
        }
        faults
    }
}

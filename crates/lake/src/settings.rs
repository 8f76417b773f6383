//! What may be chosen about a lake.

/// Where the lake stands and how its files are cut. `Default` is the choice for one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LakeSettings {
    /// A folder (made when missing) or its `file://` URL.
    pub url: String,
    /// Rows in a Parquet row group: what a reader skips or fetches at once.
    pub row_group_rows_max: usize,
    /// 1 to 22. At 3 random-id data took 34 bytes a row where snappy took 55; higher costs time, gains little.
    pub zstd_level: i32,
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
}

impl Default for LakeSettings {
    fn default() -> Self {
        Self {
            url: "./tributary-data/lake".to_owned(),
            row_group_rows_max: 1_000_000,
            zstd_level: 3,
            checkpoint_interval_commits: 100,
            uploads_max: 4,
            race_tries_max: 100,
            storage_tries_max: 8,
            fsync: true,
        }
    }
}

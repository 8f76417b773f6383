//! The log of a table, cut at its old end.
//!
//! In:      the files of `_delta_log` with their ages.
//! Out:     fewer of them.
//! Promise: each version younger than `log_retention_hours` can still be loaded: the checkpoint at or before it stays, and
//!          every commit after that. The log goes from the old end only, and never its newest commit, by which whoever
//!          slept through it notices (`log_load`). A log without a checkpoint stays whole.

use futures::TryStreamExt;
use object_store::ObjectMeta;
use object_store::path::Path;
use tributary_schemas::Table;

use crate::error::LakeError;
use crate::lake::Lake;
use crate::log_load::pick_checkpoint;

impl Lake {
    /// How many entries were, or would be, deleted.
    pub(crate) async fn clean_log(&self, table: Table, dry_run: bool) -> Result<u64, LakeError> {
        let failed = |source| LakeError::storage(format!("cleaning the log of {}", table.name()), source);
        let hours = i64::try_from(self.settings().log_retention_hours).unwrap_or(i64::MAX / 3_600_000);
        let oldest_ms = self.store_now_ms().await?.saturating_sub(hours.saturating_mul(3_600_000));
        let store = self.object_store();
        let log = Path::from(table.name()).join("_delta_log");
        let listed = store.list(Some(&log)).map_ok(|ObjectMeta { location, last_modified, .. }| Entry {
            version: version_of(&location),
            modified_ms: last_modified.timestamp_millis(),
            location,
        });
        let gone = expired(&listed.try_collect::<Vec<_>>().await.map_err(failed)?, oldest_ms);
        let count = gone.len() as u64;
        if !dry_run {
            self.delete_all(gone).await.map_err(failed)?;
        }
        Ok(count)
    }
}

struct Entry {
    location: Path,
    version: Option<u64>,
    modified_ms: i64,
}

fn version_of(location: &Path) -> Option<u64> {
    let (version, rest) = location.filename()?.split_once('.')?;
    (rest == "json" || rest.starts_with("checkpoint")).then(|| version.parse().ok()).flatten()
}

/// What may go, oldest first: broken off half way, the log is still cut at its old end only.
fn expired(entries: &[Entry], oldest_ms: i64) -> Vec<Path> {
    let commits = || {
        let is_commit = |entry: &&Entry| entry.location.extension() == Some("json");
        entries.iter().filter(is_commit).filter_map(|entry| Some((entry.version?, entry.modified_ms)))
    };
    let Some(newest) = commits().map(|(version, _)| version).max() else { return Vec::new() };
    let young = commits().filter(|(_, modified_ms)| oldest_ms < *modified_ms).map(|(version, _)| version);
    // The version that was the newest when the time began is still asked for within it.
    let first_needed = young.min().map_or(newest, |first| first.saturating_sub(1).min(newest));
    let locations: Vec<Path> = entries.iter().map(|entry| entry.location.clone()).collect();
    let Some(checkpoint) = pick_checkpoint(&locations, first_needed) else { return Vec::new() };
    let is_expired = |entry: &&Entry| entry.version.is_some_and(|version| version < checkpoint.version);
    let mut gone: Vec<&Entry> = entries.iter().filter(is_expired).collect();
    gone.sort_by_key(|entry| entry.version);
    gone.into_iter().map(|entry| entry.location.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commits 0 to 20, one a minute, with checkpoints at these versions.
    fn log(checkpoints: &[u64]) -> Vec<Entry> {
        let entry = |name: String, version: u64| Entry {
            location: Path::from(format!("events/_delta_log/{name}")),
            version: Some(version),
            modified_ms: version.cast_signed() * 60_000,
        };
        let commits = (0..=20).map(|version| entry(format!("{version:020}.json"), version));
        let checkpoints =
            checkpoints.iter().map(|version| entry(format!("{version:020}.checkpoint.parquet"), *version));
        let hint = Entry { location: Path::from("events/_delta_log/_last_checkpoint"), version: None, modified_ms: 0 };
        commits.chain(checkpoints).chain([hint]).collect()
    }

    fn gone(checkpoints: &[u64], oldest_ms: i64) -> Vec<String> {
        let gone = expired(&log(checkpoints), oldest_ms);
        gone.iter().map(|path| path.filename().unwrap().trim_start_matches('0').to_owned()).collect()
    }

    #[test]
    fn what_a_checkpoint_before_the_time_sums_up_goes_oldest_first() {
        let found = gone(&[5, 10, 15], 12 * 60_000);
        assert_eq!((found.len(), found[0].as_str()), (11, ".json"), "{found:?}");
        assert_eq!(found.last().unwrap(), "9.json", "10 and its checkpoint stay");
        assert!(found.contains(&"5.checkpoint.parquet".to_owned()));
    }

    #[test]
    fn without_a_checkpoint_before_the_time_all_stays() {
        assert!(gone(&[], i64::MAX).is_empty());
        assert!(gone(&[15], 12 * 60_000).is_empty());
    }

    #[test]
    fn the_newest_commit_stays_whatever_its_age() {
        let found = gone(&[20], i64::MAX);
        assert_eq!((found.len(), found.last().unwrap().as_str()), (20, "19.json"));
    }
}

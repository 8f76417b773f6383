//! Which events were here before: exact by (source, event id), within a window of receipt times.
//!
//! In:      id and content of each event of one partition, in log order.
//! Out:     whether it is new, the same again, or another event that bears the same id.
//! Promise: the answer depends on the log's prefix only, never on when a commit or a restart came between.
//!
//! Memory: 48 bytes an id remembered (32 in the map with its load factor, 24 in the queue, rounded), so
//! about 50 MB for a million ids. A duplicate always meets its first copy here, since
//! the partition is chosen by ids that a retry repeats.

use std::collections::{HashMap, VecDeque};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Ids are kept this much longer than the window, so that receipts a little out of order and a
/// rebuild from the table see what the running job saw.
const SLACK_US: i64 = 3_600_000_000;

pub(crate) struct RecentIds {
    window_us: i64,
    seen: HashMap<u128, Seen>,
    by_age: VecDeque<(i64, u128)>,
    newest_us: i64,
}

#[derive(Clone, Copy)]
struct Seen {
    content_hash: i64,
    ingest_time_us: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    New,
    /// The same event again: a retry.
    Duplicate,
    /// The id is taken by an event that says something else.
    Collision,
}

/// What an id is remembered by.
pub(crate) fn id_hash(source: &str, event_id: &str) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(source.as_bytes());
    hasher.update(&[0]);
    hasher.update(event_id.as_bytes());
    hasher.digest128()
}

/// The id an event gets whose own id is taken: the same in every replay and for each of its retries.
pub(crate) fn derived_id(event_id: &str, content_hash: i64) -> String {
    format!("{:016x}~{}", xxh3_64(&content_hash.to_be_bytes()), &event_id[..event_id.floor_char_boundary(200)])
}

impl RecentIds {
    pub(crate) fn new(window_us: i64) -> Self {
        Self { window_us, seen: HashMap::new(), by_age: VecDeque::new(), newest_us: i64::MIN }
    }

    /// Looks an event up and, if it is new, remembers it.
    pub(crate) fn observe(&mut self, id: u128, content_hash: i64, ingest_time_us: i64) -> Verdict {
        if let Some(seen) = self.seen.get(&id)
            && seen.ingest_time_us >= ingest_time_us.saturating_sub(self.window_us)
        {
            return if seen.content_hash == content_hash { Verdict::Duplicate } else { Verdict::Collision };
        }
        self.remember(id, content_hash, ingest_time_us);
        Verdict::New
    }

    /// Takes in an event that is in the table already.
    pub(crate) fn remember(&mut self, id: u128, content_hash: i64, ingest_time_us: i64) {
        self.seen.insert(id, Seen { content_hash, ingest_time_us });
        self.by_age.push_back((ingest_time_us, id));
        self.newest_us = self.newest_us.max(ingest_time_us);
        let horizon_us = self.horizon_us();
        while let Some(&(time_us, old)) = self.by_age.front()
            && time_us < horizon_us
        {
            self.by_age.pop_front();
            // It may have been seen again since, after its window: then a younger entry stands for it.
            if self.seen.get(&old).is_some_and(|seen| seen.ingest_time_us < horizon_us) {
                self.seen.remove(&old);
            }
        }
    }

    /// Receipts before this are forgotten.
    pub(crate) fn horizon_us(&self) -> i64 {
        Self::horizon_before(self.newest_us, self.window_us)
    }

    pub(crate) fn horizon_before(newest_us: i64, window_us: i64) -> i64 {
        newest_us.saturating_sub(window_us).saturating_sub(SLACK_US)
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_a_duplicate_and_other_content_a_collision() {
        let mut ids = RecentIds::new(1_000);
        let id = id_hash("web", "1");
        assert_eq!(ids.observe(id, 7, 10), Verdict::New);
        assert_eq!(ids.observe(id, 7, 20), Verdict::Duplicate);
        assert_eq!(ids.observe(id, 8, 20), Verdict::Collision);
        assert_eq!(ids.observe(id_hash("app", "1"), 7, 20), Verdict::New, "another source has ids of its own");
    }

    #[test]
    fn the_window_is_by_receipt_and_counts_from_the_first_copy() {
        let mut ids = RecentIds::new(1_000);
        let id = id_hash("web", "1");
        assert_eq!(ids.observe(id, 7, 0), Verdict::New);
        assert_eq!(ids.observe(id, 7, 1_000), Verdict::Duplicate);
        assert_eq!(ids.observe(id, 7, 1_001), Verdict::New);
        assert_eq!(ids.observe(id, 7, 1_002), Verdict::Duplicate);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut ids = RecentIds::new(1_000);
        for n in 0..100_000_i64 {
            ids.remember(n.unsigned_abs().into(), 0, n * 1_000_000);
        }
        assert!(ids.len() < 3_700, "{} ids for 3,600 seconds of slack", ids.len());
    }
}

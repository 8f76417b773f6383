//! Which events were here before: exact by (source, event id), within a window of receipt times.
//!
//! In:      id and content of each event of one partition, in log order.
//! Out:     whether it is new, the same again, or another event that bears the same id.
//! Promise: the answer depends on the log's prefix only, never on when a commit or a restart came between.
//!
//! Memory: 70 to 110 bytes an id remembered, about 100 MB for a million: 33 in the map and 32 in the queue, and both
//! grow by doubling. So the window is what bounds it: 100 new events a second for seven days are 60 million ids,
//! 4 to 6 GB. A duplicate always meets its first copy here, since the partition is chosen by ids that a retry repeats.

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

    /// For a rebuild: forgets at once what a job whose newest receipt was `newest_us` had forgotten.
    pub(crate) fn since(window_us: i64, newest_us: i64) -> Self {
        Self { newest_us, ..Self::new(window_us) }
    }

    /// Looks an event up and, if it is new, remembers it.
    pub(crate) fn observe(&mut self, id: u128, content_hash: i64, ingest_time_us: i64) -> Verdict {
        match self.find(id, ingest_time_us) {
            Some(seen) if seen.content_hash == content_hash => Verdict::Duplicate,
            Some(_) => Verdict::Collision,
            None => {
                self.remember(id, content_hash, ingest_time_us);
                Verdict::New
            }
        }
    }

    /// Whether `observe` would call it a duplicate.
    pub(crate) fn knows(&self, id: u128, content_hash: i64, ingest_time_us: i64) -> bool {
        self.find(id, ingest_time_us).is_some_and(|seen| seen.content_hash == content_hash)
    }

    /// An entry behind the horizon may still lie here, hidden behind a younger one; it does not count, as a rebuild
    /// would not have it.
    fn find(&self, id: u128, ingest_time_us: i64) -> Option<Seen> {
        let oldest_us = ingest_time_us.saturating_sub(self.window_us).max(self.horizon_us());
        self.seen.get(&id).copied().filter(|seen| seen.ingest_time_us >= oldest_us)
    }

    /// Takes in an event that is in the table already.
    pub(crate) fn remember(&mut self, id: u128, content_hash: i64, ingest_time_us: i64) {
        // A rebuild meets the copies of an id (one a window) in any order: the youngest stands.
        let given = Seen { content_hash, ingest_time_us };
        let seen = self.seen.entry(id).or_insert(given);
        if seen.ingest_time_us < ingest_time_us {
            *seen = given;
        }
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

    /// The newest receipt remembered so far; `None` before the first.
    pub(crate) fn newest_us(&self) -> Option<i64> {
        (self.newest_us > i64::MIN).then_some(self.newest_us)
    }

    /// Receipts before this are forgotten.
    pub(crate) fn horizon_us(&self) -> i64 {
        self.newest_us.saturating_sub(self.window_us).saturating_sub(SLACK_US)
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

    #[test]
    fn a_rebuild_in_any_order_answers_as_the_running_job() {
        const HOUR_US: i64 = 3_600_000_000;
        let window_us = 2 * HOUR_US;
        let mut running = RecentIds::new(window_us);
        let mut rows = Vec::new();
        let (id, receipts) =
            (|number: i64| id_hash("web", &format!("{}", number % 7)), [0, 1, 5, 4, 9, 2, 9, 12, 13, 20]);
        for (number, hour) in (0..200).map(|number| (number, receipts[number as usize % 10] + number / 10)) {
            let (content, time_us) = (number % 3, hour * HOUR_US);
            if running.observe(id(number), content, time_us) == Verdict::New {
                rows.push((id(number), content, time_us));
            }
            for backwards in [false, true] {
                let mut rebuilt = RecentIds::since(window_us, running.newest_us().unwrap());
                let mut remember =
                    |(id, content, time_us): &(u128, i64, i64)| rebuilt.remember(*id, *content, *time_us);
                match backwards {
                    false => rows.iter().for_each(&mut remember),
                    true => rows.iter().rev().for_each(&mut remember),
                }
                for (number, hour) in (0..7).flat_map(|number| (0..40).map(move |hour| (number, hour))) {
                    let [running, rebuilt] = [&running, &rebuilt].map(|ids| ids.find(id(number), hour * HOUR_US));
                    assert_eq!(running.map(|seen| seen.content_hash), rebuilt.map(|seen| seen.content_hash));
                }
            }
        }
    }
}

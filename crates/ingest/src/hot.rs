//! Ids that send far more than one visitor can: a shared id, a loop in a page, a robot.
//!
//! In:      the partition key of each event.
//! Out:     a warning and a count, once a window, for each id that is over the limit.
//! Promise: it costs two counts an event and a fixed piece of memory; an id over the limit is always seen, and one under it is
//!          taken for one over it only where it shares both counters with others that together are.
//! Not here: moving it. All of a person lies in one partition, or a retry would not meet its first copy and a session would be
//!          cut in two (docs/adr/0012-history-and-hot-keys.md). Ids that stand for nobody are spread by `settle_identity`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tributary_schemas::Event;

use crate::telling;

const WINDOW_US: i64 = 10_000_000;
/// Counters of one row. With 65,536 a door that takes 100,000 events a second from as many ids has some 15 in each.
const COUNTERS: usize = 1 << 16;
/// An id is named in the log once in so long.
const NAMED_EVERY_US: i64 = 600_000_000;
const NAMED_MAX: usize = 1_000;

pub(crate) struct HotKeys {
    /// Events in a window; 0: nobody looks.
    events_max: u32,
    hasher: RandomState,
    /// Two rows, each with another part of the hash: who is over the limit is so in both.
    rows: [Box<[AtomicU32]>; 2],
    window: AtomicI64,
    named_us: Mutex<HashMap<u64, i64>>,
}

impl HotKeys {
    /// * `events_per_second_max`: of one id; 0 looks at none.
    pub(crate) fn new(events_per_second_max: u32) -> Self {
        let events_max = events_per_second_max.saturating_mul(u32::try_from(WINDOW_US / 1_000_000).unwrap_or(1));
        let counters = if events_max == 0 { 0 } else { COUNTERS };
        let row = || (0..counters).map(|_| AtomicU32::new(0)).collect();
        Self {
            events_max,
            hasher: RandomState::new(),
            rows: [row(), row()],
            window: AtomicI64::new(0),
            named_us: Mutex::default(),
        }
    }

    /// Counts an event; whether with it its id went over the limit in this window.
    ///
    /// * `key`: what the event's partition is chosen by.
    pub(crate) fn see(&self, key: &[u8], event: &Event) -> bool {
        if self.events_max == 0 || event.person_key().is_none() {
            return false;
        }
        let window = event.ingest_time_us.div_euclid(WINDOW_US);
        let last = self.window.load(Ordering::Relaxed);
        // A request that waited long may come from the window before; it counts into this one.
        if last < window && self.window.compare_exchange(last, window, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            // Who counts just now may be lost in it, which is nothing to a limit.
            for counter in self.rows.iter().flat_map(|row| row.iter()) {
                counter.store(0, Ordering::Relaxed);
            }
        }
        let hash = self.hasher.hash_one(key);
        let count = |row: usize| {
            let index = (hash >> (16 * row)) as usize % COUNTERS;
            self.rows[row][index].fetch_add(1, Ordering::Relaxed) + 1
        };
        let is_over = count(0).min(count(1)) == self.events_max.saturating_add(1);
        if is_over {
            self.tell(hash, event);
        }
        is_over
    }

    fn tell(&self, hash: u64, event: &Event) {
        telling::hot_key(&event.source);
        let mut named_us = self.named_us.lock().unwrap_or_else(PoisonError::into_inner);
        let now_us = event.ingest_time_us;
        if named_us.get(&hash).is_some_and(|named| now_us - named < NAMED_EVERY_US) {
            return;
        }
        if NAMED_MAX <= named_us.len() {
            named_us.clear();
        }
        named_us.insert(hash, now_us);
        tracing::warn!(
            source = event.source,
            id = event.person_key(),
            events_in_10_s = self.events_max,
            "one id sends more than a visitor can: is it shared by many, or a page in a loop? All of it goes to one partition"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_over_the_limit_is_told_once_a_window() {
        let hot = HotKeys::new(10);
        let see = |id: &str, time_us: i64| {
            let mut event = Event::new("s", "test", "e", "page", time_us);
            event.anonymous_id = Some(id.to_owned());
            hot.see(&event.partition_key(), &event)
        };
        let told: Vec<u32> = (0..500).filter(|_| see("loop", 5)).collect();
        assert_eq!(told.len(), 1);
        assert!((0..1_000).all(|visitor| !see(&format!("v{visitor}"), 6)), "others are not");
        let next_window = (0..500).filter(|_| see("loop", WINDOW_US + 5)).count();
        assert_eq!(next_window, 1);
        let nobody = Event::new("s", "test", "e", "page", 5);
        assert!(
            (0..500).all(|_| !hot.see(&nobody.partition_key(), &nobody)),
            "who names nobody is spread by its event's id"
        );
        assert!((0..500).all(|_| !HotKeys::new(0).see(b"k", &nobody)));
    }
}

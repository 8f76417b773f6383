//! The door's side of the books: how much it took, by source and minute of receipt.
//!
//! In:      what became durable of each request.
//! Out:     counts of the last hours.
//! Promise: counts only what was answered as taken; bounded in minutes, whatever the sources.
//! Not here: what became of it (the lake), and whether the two agree (the binary).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

const MINUTE_US: i64 = 60_000_000;
/// Long enough for a pipeline that has fallen behind to be seen catching up.
const MINUTES_MAX: i64 = 240;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    pub events: u64,
    pub dead_letters: u64,
    /// Not kept, as the rules of privacy have it.
    pub suppressed: u64,
}

/// Shared between the door, which writes, and whoever balances the books.
#[derive(Debug, Default)]
pub struct Ledger {
    /// By minute since 1970 and source.
    taken: Mutex<BTreeMap<(i64, String), Taken>>,
}

impl Ledger {
    pub(crate) fn add(&self, source: &str, ingest_time_us: i64, taken: Taken) {
        let minute = ingest_time_us.div_euclid(MINUTE_US);
        let mut all = self.lock();
        let known = all.entry((minute, source.to_owned())).or_default();
        known.events += taken.events;
        known.dead_letters += taken.dead_letters;
        known.suppressed += taken.suppressed;
        let newest = all.last_key_value().map_or(minute, |((minute, _), _)| *minute);
        while all.first_key_value().is_some_and(|((minute, _), _)| *minute < newest - MINUTES_MAX) {
            all.pop_first();
        }
    }

    /// (minute since 1970, source, what was taken), oldest first.
    pub fn minutes(&self) -> Vec<(i64, String, Taken)> {
        self.lock().iter().map(|((minute, source), taken)| (*minute, source.clone(), *taken)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(i64, String), Taken>> {
        // Counts are added whole; whoever panicked left none half done.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_adds_up_by_minute_and_old_minutes_go() {
        let ledger = Ledger::default();
        let one = Taken { events: 3, dead_letters: 1, suppressed: 2 };
        ledger.add("web", 59_999_999, one);
        ledger.add("web", 0, one);
        ledger.add("app", 60_000_000, one);
        let expected =
            [(0, "web".to_owned(), Taken { events: 6, dead_letters: 2, suppressed: 4 }), (1, "app".to_owned(), one)];
        assert_eq!(ledger.minutes(), expected);
        ledger.add("web", MINUTE_US * (MINUTES_MAX + 1), one);
        assert_eq!(ledger.minutes().first().map(|minute| minute.0), Some(1), "minute 0 is too old now");
    }
}

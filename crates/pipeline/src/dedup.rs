//! Which events were here before: exact by (source, event id), within a window of receipt times.
//!
//! In:      id and content of each event of one partition, in log order.
//! Out:     whether it is new, the same again, or another event that bears the same id.
//! Promise: the answer depends on the log's prefix only, never on when a commit or a restart came between.
//!
//! Memory: an id takes 20 bytes and one of control, in a table of which a third to 7/8 are ids of the window: 24 to 64
//! bytes, and when the table is made anew the new one beside it. The window is what bounds it: 100 new events a second
//! for seven days are 60 million ids, 1.5 to 4 GB. A duplicate always meets its first copy here, since the partition is chosen by ids
//! that a retry repeats.
//!
//! What is compared are 64 bits of the id and 64 of the content. Among 60 million ids two share their 64 bits with a
//! chance of 1 in 10,000, and then one of them is kept under an id of its own, flagged, as if the ids were the same; to
//! be taken for a copy it would have to share all 128.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const SECOND_US: i64 = 1_000_000;

/// Ids are kept this much longer than the window, so that receipts a little out of order and a
/// rebuild from the table see what the running job saw.
const SLACK_S: i64 = 3_600;

pub(crate) struct RecentIds {
    window_s: i64,
    seen: HashTable<Seen>,
    newest_us: i64,
    /// The newest receipt of an event that bears an id made by [`derived_id`].
    newest_derived_s: i64,
}

/// Halves instead of whole words: aligned to 4, an entry takes 20 bytes and not 24.
#[derive(Clone, Copy)]
struct Seen {
    id: [u32; 2],
    content: [u32; 2],
    /// Receipt, in whole seconds since 1970: times of the calendar up to 2106, and later ones as that.
    second: u32,
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
pub(crate) fn id_hash(source: &str, event_id: &str) -> u64 {
    xxh3_64_with_seed(event_id.as_bytes(), xxh3_64(source.as_bytes()))
}

/// The id an event gets whose own id is taken: the same in every replay and for each of its retries.
pub(crate) fn derived_id(event_id: &str, content_hash: i64) -> String {
    format!("{:016x}~{}", xxh3_64(&content_hash.to_be_bytes()), &event_id[..event_id.floor_char_boundary(200)])
}

/// Whether an id may be one of [`derived_id`]; a client may have such ids too.
pub(crate) fn is_derived(event_id: &str) -> bool {
    event_id.as_bytes().get(16) == Some(&b'~')
}

impl Seen {
    fn new(id: u64, content_hash: i64, second: u32) -> Self {
        Self { id: halves(id), content: halves(content_hash.cast_unsigned()), second }
    }

    /// Where it stands in the table: the id is a hash already.
    fn hash(&self) -> u64 {
        whole(self.id)
    }
}

fn halves(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

fn whole(halves: [u32; 2]) -> u64 {
    u64::from(halves[0]) << 32 | u64::from(halves[1])
}

fn second_of(time_us: i64) -> i64 {
    time_us.div_euclid(SECOND_US).clamp(0, u32::MAX.into())
}

impl RecentIds {
    pub(crate) fn new(window_us: i64) -> Self {
        Self {
            window_s: window_us / SECOND_US,
            seen: HashTable::new(),
            newest_us: i64::MIN,
            newest_derived_s: i64::MIN,
        }
    }

    /// For a rebuild: forgets at once what a job whose newest receipt was `newest_us` had forgotten.
    pub(crate) fn since(window_us: i64, newest_us: i64) -> Self {
        Self { newest_us, ..Self::new(window_us) }
    }

    /// Looks an event up and, if it is new, remembers it.
    pub(crate) fn observe(&mut self, id: u64, content_hash: i64, ingest_time_us: i64) -> Verdict {
        match self.find(id, ingest_time_us) {
            Some(seen) if seen.content == halves(content_hash.cast_unsigned()) => Verdict::Duplicate,
            Some(_) => Verdict::Collision,
            None => {
                self.remember(id, content_hash, ingest_time_us);
                Verdict::New
            }
        }
    }

    /// Whether `observe` would call it a duplicate.
    pub(crate) fn knows(&self, id: u64, content_hash: i64, ingest_time_us: i64) -> bool {
        self.find(id, ingest_time_us).is_some_and(|seen| seen.content == halves(content_hash.cast_unsigned()))
    }

    /// Whether an event that bears a derived id may be remembered. They are rare, and while there is none nobody needs
    /// to ask for one.
    pub(crate) fn has_derived(&self) -> bool {
        self.horizon_s() <= self.newest_derived_s
    }

    /// Says that an event was remembered under a derived id.
    pub(crate) fn note_derived(&mut self, ingest_time_us: i64) {
        self.newest_derived_s = second_of(ingest_time_us).max(self.newest_derived_s);
    }

    /// What is behind the horizon may still lie here until the next sweep; it does not count, as a rebuild would not
    /// have it.
    fn find(&self, id: u64, ingest_time_us: i64) -> Option<Seen> {
        let oldest_s = second_of(ingest_time_us).saturating_sub(self.window_s).max(self.horizon_s());
        let found = self.seen.find(id, |seen| whole(seen.id) == id).copied();
        found.filter(|seen| oldest_s <= seen.second.into())
    }

    /// Takes in an event that is in the table already.
    pub(crate) fn remember(&mut self, id: u64, content_hash: i64, ingest_time_us: i64) {
        self.newest_us = self.newest_us.max(ingest_time_us);
        if self.seen.len() == self.seen.capacity() {
            self.sweep();
        }
        let second = u32::try_from(second_of(ingest_time_us)).expect("clamped to what 32 bits hold");
        let given = Seen::new(id, content_hash, second);
        match self.seen.entry(id, |seen| whole(seen.id) == id, Seen::hash) {
            // A rebuild meets the copies of an id (one a window) in any order: the youngest stands.
            Entry::Occupied(mut known) if known.get().second < second => *known.get_mut() = given,
            Entry::Occupied(_) => {}
            Entry::Vacant(free) => _ = free.insert(given),
        }
    }

    /// Forgets what is behind the horizon, and makes room for a third more than what is left. Called when the table is
    /// full, so an id pays for it three times at most. What stays is moved: erased in its place, an entry would go on
    /// taking room.
    fn sweep(&mut self) {
        let horizon_s = self.horizon_s();
        let lives = |seen: &&Seen| horizon_s <= seen.second.into();
        let live = self.seen.iter().filter(lives).count();
        let mut fresh = HashTable::with_capacity((live + live / 3).max(64));
        for seen in self.seen.iter().filter(lives) {
            fresh.insert_unique(seen.hash(), *seen, Seen::hash);
        }
        self.seen = fresh;
    }

    /// The newest receipt remembered so far; `None` before the first.
    pub(crate) fn newest_us(&self) -> Option<i64> {
        (self.newest_us > i64::MIN).then_some(self.newest_us)
    }

    /// Receipts before this are forgotten.
    pub(crate) fn horizon_us(&self) -> i64 {
        self.horizon_s().saturating_mul(SECOND_US)
    }

    fn horizon_s(&self) -> i64 {
        match self.newest_us {
            i64::MIN => i64::MIN,
            newest_us => second_of(newest_us).saturating_sub(self.window_s).saturating_sub(SLACK_S),
        }
    }

    /// Writes what is remembered, for `read_snapshot`: a few numbers, then 20 bytes an id.
    pub(crate) fn write_snapshot(&self, out: &mut Vec<u8>) {
        let horizon_s = self.horizon_s();
        let lives = |seen: &&Seen| horizon_s <= seen.second.into();
        let count = self.seen.iter().filter(lives).count() as u64;
        out.reserve(Self::SNAPSHOT_HEAD_BYTES + self.seen.len() * Self::SNAPSHOT_ID_BYTES);
        out.extend_from_slice(&self.window_s.to_le_bytes());
        out.extend_from_slice(&self.newest_us.to_le_bytes());
        out.extend_from_slice(&self.newest_derived_s.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
        for seen in self.seen.iter().filter(lives) {
            for word in [seen.id[0], seen.id[1], seen.content[0], seen.content[1], seen.second] {
                out.extend_from_slice(&word.to_le_bytes());
            }
        }
    }

    const SNAPSHOT_HEAD_BYTES: usize = 32;
    const SNAPSHOT_ID_BYTES: usize = 20;

    /// What `write_snapshot` wrote; `None` if these are not such bytes, or hold the ids of a shorter window than asked for.
    pub(crate) fn read_snapshot(window_us: i64, bytes: &[u8]) -> Option<Self> {
        let (head, ids) = bytes.split_at_checked(Self::SNAPSHOT_HEAD_BYTES)?;
        let word = |at: usize| head[at..at + 8].try_into().map(i64::from_le_bytes).ok();
        let count = usize::try_from(word(24)?).ok()?;
        if word(0)? < window_us / SECOND_US || ids.len() != count.checked_mul(Self::SNAPSHOT_ID_BYTES)? {
            return None;
        }
        let mut read = Self::since(window_us, word(8)?);
        read.newest_derived_s = word(16)?;
        read.seen.reserve(count + count / 3, Seen::hash);
        let (entries, _) = ids.as_chunks::<20>();
        for entry in entries {
            let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let seen = Seen { id: [word(0), word(4)], content: [word(8), word(12)], second: word(16) };
            read.seen.insert_unique(seen.hash(), seen, Seen::hash);
        }
        Some(read)
    }

    /// Ids held, some of which may be behind the horizon.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// What they take.
    pub(crate) fn bytes(&self) -> usize {
        self.seen.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: i64 = super::SECOND_US;

    #[test]
    fn a_retry_is_a_duplicate_and_other_content_a_collision() {
        let mut ids = RecentIds::new(1_000 * SECOND_US);
        let id = id_hash("web", "1");
        assert_eq!(ids.observe(id, 7, 10), Verdict::New);
        assert_eq!(ids.observe(id, 7, 20), Verdict::Duplicate);
        assert_eq!(ids.observe(id, 8, 20), Verdict::Collision);
        assert_eq!(ids.observe(id_hash("app", "1"), 7, 20), Verdict::New, "another source has ids of its own");
    }

    #[test]
    fn the_window_is_by_receipt_and_counts_from_the_first_copy() {
        let mut ids = RecentIds::new(1_000 * SECOND_US);
        let id = id_hash("web", "1");
        assert_eq!(ids.observe(id, 7, 0), Verdict::New);
        assert_eq!(ids.observe(id, 7, 1_000 * SECOND_US), Verdict::Duplicate);
        assert_eq!(ids.observe(id, 7, 1_001 * SECOND_US), Verdict::New);
        assert_eq!(ids.observe(id, 7, 1_002 * SECOND_US), Verdict::Duplicate);
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_and_its_room_used_again() {
        let mut ids = RecentIds::new(1_000 * SECOND_US);
        for n in 0..100_000_i64 {
            ids.remember(id_hash("web", &n.to_string()), 0, n * SECOND_US);
        }
        assert!(ids.bytes() < 64 * 4_600, "{} bytes for the ids of 4,600 seconds", ids.bytes());
        assert!(!ids.knows(id_hash("web", "90000"), 0, 90_000 * SECOND_US), "behind the horizon");
        assert!(ids.knows(id_hash("web", "99500"), 0, 99_999 * SECOND_US));
    }

    #[test]
    fn an_id_takes_the_memory_that_is_said() {
        let mut ids = RecentIds::new(i64::MAX);
        for n in 0..1_000_000_i64 {
            ids.remember(id_hash("web", &n.to_string()), n, n);
            let each = ids.bytes() / ids.len();
            assert!(n < 1_000 || each <= 49, "{each} bytes an id with {n}");
        }
    }

    #[test]
    fn a_snapshot_answers_as_the_running_job() {
        let mut ids = RecentIds::new(1_000 * SECOND_US);
        for n in 0..20_000_i64 {
            ids.observe(id_hash("web", &(n % 7_000).to_string()), n % 3, n * SECOND_US);
        }
        ids.note_derived(19_000 * SECOND_US);
        let mut bytes = Vec::new();
        ids.write_snapshot(&mut bytes);
        let read = RecentIds::read_snapshot(1_000 * SECOND_US, &bytes).unwrap();
        assert_eq!((read.newest_us(), read.has_derived()), (ids.newest_us(), ids.has_derived()));
        assert!(read.len() <= 4_601, "what is behind the horizon is left out: {}", read.len());
        for n in 0..7_000 {
            let id = id_hash("web", &n.to_string());
            for second in [0, 18_000, 19_999, 20_500] {
                let found = [&ids, &read].map(|ids| ids.find(id, second * SECOND_US).map(|seen| seen.content));
                assert_eq!(found[0], found[1]);
            }
        }
        for length in [0, 31, bytes.len() - 1] {
            assert!(RecentIds::read_snapshot(SECOND_US, &bytes[..length]).is_none());
        }
        assert!(RecentIds::read_snapshot(1_001 * SECOND_US, &bytes).is_none(), "it lacks ids of the longer window");
        assert!(RecentIds::read_snapshot(999 * SECOND_US, &bytes).is_some());
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
                let mut remember = |(id, content, time_us): &(u64, i64, i64)| rebuilt.remember(*id, *content, *time_us);
                match backwards {
                    false => rows.iter().for_each(&mut remember),
                    true => rows.iter().rev().for_each(&mut remember),
                }
                for (number, hour) in (0..7).flat_map(|number| (0..40).map(move |hour| (number, hour))) {
                    let [running, rebuilt] = [&running, &rebuilt].map(|ids| ids.find(id(number), hour * HOUR_US));
                    assert_eq!(running.map(|seen| seen.content), rebuilt.map(|seen| seen.content));
                }
            }
        }
    }
}

//! Sequences: whole paths and n-grams, each kept once.
//!
//! In:       codes one after the other, and whether more came behind them.
//! Out:      a tally for each distinct one.
//! Promise:  exact: a hash only says where to look, the codes are compared. An entry is 64 bytes and one of the table's own,
//!           and four bytes a code.
//! Not here: which sequences there are (`counts.rs`).

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::flow_table::mix;
use super::tally::{Stamp, Tally};

/// Codes, and whether the path went on behind them. Ordered: those that did not first, then by codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence<'s> {
    pub(super) is_cut: bool,
    pub(super) codes: &'s [u32],
}

impl Sequence<'_> {
    #[inline]
    fn hash(self) -> u64 {
        self.codes.iter().fold(u64::from(self.is_cut), |hash, code| mix(hash ^ u64::from(*code)))
    }
}

/// Where the codes are: begin, length in six bits, whether it is cut in one.
#[derive(Debug, Clone, Copy)]
struct Place(u64);

impl Place {
    const LENGTH_BITS: u32 = 6;

    fn new(begin: usize, sequence: Sequence<'_>) -> Self {
        debug_assert!(sequence.codes.len() < 1 << Self::LENGTH_BITS, "a path has at most 50 nodes");
        let what = (sequence.codes.len() as u64) << 1 | u64::from(sequence.is_cut);
        Self((begin as u64) << (Self::LENGTH_BITS + 1) | what)
    }

    #[inline]
    fn of(self, codes: &[u32]) -> Sequence<'_> {
        let begin = (self.0 >> (Self::LENGTH_BITS + 1)) as usize;
        let length = (self.0 >> 1) as usize & ((1 << Self::LENGTH_BITS) - 1);
        Sequence { is_cut: self.0 & 1 != 0, codes: &codes[begin..begin + length] }
    }
}

#[derive(Debug, Clone)]
struct SequenceEntry {
    place: Place,
    counted: Stamp,
    tally: Tally,
}

#[derive(Debug, Clone, Default)]
pub(super) struct SequenceTable {
    entries: HashTable<SequenceEntry>,
    codes: Vec<u32>,
}

impl SequenceTable {
    pub(super) const ENTRY_BYTES: usize = size_of::<SequenceEntry>() + 1;

    #[inline]
    pub(super) fn count(&mut self, sequence: Sequence<'_>, now: Stamp, has_goal: bool, time_us: u64) {
        let entry = self.entry(sequence);
        entry.tally.count(&mut entry.counted, now, has_goal, time_us);
    }

    pub(super) fn add(&mut self, sequence: Sequence<'_>, tally: &Tally) {
        self.entry(sequence).tally.add(tally);
    }

    #[inline]
    fn entry(&mut self, sequence: Sequence<'_>) -> &mut SequenceEntry {
        let Self { entries, codes } = self;
        let found = entries.entry(
            sequence.hash(),
            |entry| entry.place.of(codes) == sequence,
            |entry| entry.place.of(codes).hash(),
        );
        match found {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let place = Place::new(codes.len(), sequence);
                codes.extend_from_slice(sequence.codes);
                new.insert(SequenceEntry { place, counted: Stamp::default(), tally: Tally::default() }).into_mut()
            }
        }
    }

    pub(super) fn get(&self, sequence: Sequence<'_>) -> Tally {
        let is_same = |entry: &SequenceEntry| entry.place.of(&self.codes) == sequence;
        self.entries.find(sequence.hash(), is_same).map(|entry| entry.tally).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Sequence<'_>, &Tally)> {
        self.entries.iter().map(|entry| (entry.place.of(&self.codes), &entry.tally))
    }

    pub(super) fn forget_stamps(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.counted = Stamp::default());
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.allocation_size() + self.codes.capacity() * size_of::<u32>()
    }
}

//! Flows: what went from where to where at each step.
//!
//! In:       a step and two codes.
//! Out:      a tally for each.
//! Promise:  a flow is 64 bits; its entry is 64 bytes and one of the table's own. A table grows by doubling and is at most
//!           seven eighths full.
//! Not here: what the flows of a path are (`counts.rs`).

use hashbrown::HashTable;

use super::tally::{Stamp, Tally};

const CODE_BITS: u32 = 29;
const CODE_MASK: u64 = (1 << CODE_BITS) - 1;

/// Codes above are not nodes but what became of a path.
pub(super) const NODE_CODE_MAX: u32 = (1 << CODE_BITS) - 9;

/// As a target: the path ends here.
pub(super) const ENDED: u32 = (1 << CODE_BITS) - 1;
/// As a target: the path goes on beyond the last step kept.
pub(super) const WENT_ON: u32 = (1 << CODE_BITS) - 2;
/// As a node: all those that are not told one by one.
pub(super) const OTHER: u32 = (1 << CODE_BITS) - 3;
/// As a target: the node itself, whatever follows.
pub(super) const WHOLE: u32 = (1 << CODE_BITS) - 4;

/// A step with its two nodes. Ordered by step, then source, then target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FlowKey(pub(super) u64);

impl FlowKey {
    /// * `step`: 1 to `STEP_COUNT_MAX`.
    #[inline]
    pub(super) fn new(step: usize, source: u32, target: u32) -> Self {
        Self((step as u64) << (2 * CODE_BITS) | u64::from(source) << CODE_BITS | u64::from(target))
    }

    pub(super) fn step(self) -> usize {
        (self.0 >> (2 * CODE_BITS)) as usize
    }

    pub(super) fn source(self) -> u32 {
        (self.0 >> CODE_BITS & CODE_MASK) as u32
    }

    pub(super) fn target(self) -> u32 {
        (self.0 & CODE_MASK) as u32
    }

    #[inline]
    pub(super) fn hash(self) -> u64 {
        mix(self.0)
    }
}

/// Spreads a number over 64 bits: the product with an odd constant, its halves folded together. The codes are a
/// dictionary's, so nobody outside chooses them.
#[inline]
pub(super) fn mix(bits: u64) -> u64 {
    let product = u128::from(bits ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
    (product >> 64) as u64 ^ product as u64
}

#[derive(Debug, Clone)]
pub(super) struct FlowEntry {
    pub(super) key: FlowKey,
    counted: Stamp,
    pub(super) tally: Tally,
}

#[derive(Debug, Clone, Default)]
pub(super) struct FlowTable(HashTable<FlowEntry>);

impl FlowTable {
    pub(super) const ENTRY_BYTES: usize = size_of::<FlowEntry>() + 1;

    #[inline]
    pub(super) fn count(&mut self, key: FlowKey, now: Stamp, has_goal: bool, time_us: u64) {
        let entry = self.entry(key);
        entry.tally.count(&mut entry.counted, now, has_goal, time_us);
    }

    pub(super) fn add(&mut self, key: FlowKey, tally: &Tally) {
        self.entry(key).tally.add(tally);
    }

    #[inline]
    fn entry(&mut self, key: FlowKey) -> &mut FlowEntry {
        self.0
            .entry(key.hash(), |entry| entry.key == key, |entry| entry.key.hash())
            .or_insert_with(|| FlowEntry { key, counted: Stamp::default(), tally: Tally::default() })
            .into_mut()
    }

    pub(super) fn get(&self, key: FlowKey) -> Tally {
        self.0.find(key.hash(), |entry| entry.key == key).map(|entry| entry.tally).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FlowEntry> {
        self.0.iter()
    }

    pub(super) fn forget_stamps(&mut self) {
        self.0.iter_mut().for_each(|entry| entry.counted = Stamp::default());
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

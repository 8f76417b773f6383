//! Nodes of steps: how many paths have a node at a step.
//!
//! In:       a step and a node.
//! Out:      a tally for each.
//! Promise:  nodes of small codes are found by their number, with no search, for they are counted as often as there are
//!           rows. They take 64 bytes each; all together 3.2 MiB at most.
//! Not here: edges (`flow_table.rs`), which are too many for that.

use super::flow_table::{FlowKey, FlowTable, WHOLE};
use super::tally::{Stamp, StampedTally, Tally};

/// Codes below are found by their number.
const COMMON_CODE_COUNT: usize = 1024;

#[derive(Debug, Clone, Default)]
pub(super) struct NodeTable {
    /// By step less one, then code.
    common: Vec<Vec<StampedTally>>,
    common_count: usize,
    rare: FlowTable,
}

impl NodeTable {
    #[inline]
    pub(super) fn count(&mut self, step: usize, node: u32, now: Stamp, has_goal: bool) {
        match self.common(step, node) {
            Some(entry) => entry.count(now, has_goal, 0),
            None => self.rare.count(FlowKey::new(step, node, WHOLE), now, has_goal, 0),
        }
    }

    pub(super) fn add(&mut self, step: usize, node: u32, tally: &Tally) {
        match self.common(step, node) {
            Some(entry) => entry.tally.add(tally),
            None => self.rare.add(FlowKey::new(step, node, WHOLE), tally),
        }
    }

    /// The entry of a common node, which is going to be counted.
    #[inline]
    fn common(&mut self, step: usize, node: u32) -> Option<&mut StampedTally> {
        let code = node as usize;
        if COMMON_CODE_COUNT <= code {
            return None;
        }
        if self.common.get(step - 1).is_none_or(|codes| codes.len() <= code) {
            self.grow(step, code);
        }
        let entry = &mut self.common[step - 1][code];
        self.common_count += usize::from(entry.tally.paths == 0);
        Some(entry)
    }

    #[cold]
    fn grow(&mut self, step: usize, code: usize) {
        if self.common.len() < step {
            self.common.resize(step, Vec::new());
        }
        self.common[step - 1].resize((code + 1).next_power_of_two(), StampedTally::default());
    }

    pub(super) fn get(&self, step: usize, node: u32) -> Tally {
        let common = step.checked_sub(1).and_then(|at| self.common.get(at)).and_then(|codes| codes.get(node as usize));
        common.map_or_else(|| self.rare.get(FlowKey::new(step, node, WHOLE)), |entry| entry.tally)
    }

    /// Those that were counted, common ones in the order of their keys and then the others in none.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FlowKey, &Tally)> {
        let common = self.common.iter().enumerate().flat_map(|(at, codes)| {
            let counted = codes.iter().zip(0..).filter(|(entry, _)| entry.tally.paths != 0);
            counted.map(move |(entry, code)| (FlowKey::new(at + 1, code, WHOLE), &entry.tally))
        });
        common.chain(self.rare.iter().map(|entry| (entry.key, &entry.tally)))
    }

    pub(super) fn forget_stamps(&mut self) {
        self.common.iter_mut().flatten().for_each(|entry| entry.counted = Stamp::default());
        self.rare.forget_stamps();
    }

    pub(super) fn len(&self) -> usize {
        self.common_count + self.rare.len()
    }

    pub(super) fn bytes(&self) -> usize {
        let common = self.common.iter().map(|codes| codes.capacity() * size_of::<StampedTally>()).sum::<usize>();
        self.common.capacity() * size_of::<Vec<StampedTally>>() + common + self.rare.bytes()
    }
}

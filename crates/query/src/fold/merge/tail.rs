//! Rows that lie in no sorted file, by unit.
//!
//! In:       shares, as gathering gives them.
//! Out:      their units by name, each with its rows.
//!
//! What came since the last compaction: little, beside what was compacted.

use std::ops::Range;

use crate::fold::shard::Grouped;

pub(in crate::fold) struct Tail {
    shares: Vec<Grouped>,
    /// Share and unit, by name.
    order: Vec<(u32, u32)>,
}

impl Tail {
    pub(in crate::fold) fn new(shares: Vec<Grouped>) -> Self {
        let units = |(share, grouped): (usize, &Grouped)| {
            let named = |unit| (share as u32, unit as u32);
            (0..grouped.unit_count()).filter(|unit| !grouped.words(*unit).is_empty()).map(named).collect::<Vec<_>>()
        };
        let mut order: Vec<(u32, u32)> = shares.iter().enumerate().flat_map(units).collect();
        let name = |(share, unit): &(u32, u32)| shares[*share as usize].unit(*unit as usize);
        order.sort_unstable_by(|a, b| name(a).cmp(name(b)));
        Self { shares, order }
    }

    pub(super) fn unit(&self, at: usize) -> &str {
        let (share, unit) = self.order[at];
        self.shares[share as usize].unit(unit as usize)
    }

    pub(super) fn words(&self, at: usize) -> &[u64] {
        let (share, unit) = self.order[at];
        self.shares[share as usize].words(unit as usize)
    }

    /// The units from one name on and before another.
    pub(super) fn range(&self, from: Option<&str>, before: Option<&str>) -> Range<usize> {
        let name_of = |(share, unit): &(u32, u32)| self.shares[*share as usize].unit(*unit as usize);
        let place = |name: &str| self.order.partition_point(|at| name_of(at) < name);
        from.map_or(0, place)..before.map_or(self.order.len(), place)
    }
}

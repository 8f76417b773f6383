//! Breakdown: the same statistics by arm and by slice (country, device, day).
//!
//! In:       units one by one, or whole breakdowns, each unit with its arm and its slice.
//! Out:      what is known per arm and slice; the largest slices with the rest as one.
//! Promise:  one pass, mergeable in any order; the same slices are kept in every arm, and no unit is lost.
//! Not here: what is gathered (`Gather`), tests.
//!
//! Definitions: `docs/methods.md#dimensions`.

use std::collections::BTreeMap;

use super::comparison::Proportion;
use super::quantile::ClusteredSample;
use crate::stats::{JointMoments, Moments, UnitSample};

/// A sufficient statistic: what must be kept of units to answer for all of them.
pub trait Gather: Default {
    /// The statistic of the units of both.
    fn gather(&mut self, other: Self);
}

impl Gather for Moments {
    fn gather(&mut self, other: Self) {
        *self = self.merge(other);
    }
}

impl<const K: usize> Gather for JointMoments<K> {
    fn gather(&mut self, other: Self) {
        *self = self.merge(other);
    }
}

impl<const K: usize> Gather for UnitSample<K> {
    fn gather(&mut self, other: Self) {
        *self = std::mem::take(self).merge(other);
    }
}

impl Gather for Proportion {
    fn gather(&mut self, other: Self) {
        *self = self.merge(other);
    }
}

impl Gather for ClusteredSample {
    fn gather(&mut self, other: Self) {
        *self = std::mem::take(self).merge(other);
    }
}

/// The slice all but the largest are joined to.
pub const OTHER: &str = "(other)";
/// Beyond this many slices nobody reads on, and by chance alone one is "significant" (GrowthBook's limit).
pub const SLICE_COUNT_MAX: usize = 20;

/// Statistics by slice and arm.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown<T> {
    /// By slice, then arm: the count of units and their statistic.
    cells: BTreeMap<String, BTreeMap<String, (u64, T)>>,
}

impl<T> Default for Breakdown<T> {
    fn default() -> Self {
        Self { cells: BTreeMap::new() }
    }
}

impl<T: Gather + Clone> Breakdown<T> {
    /// Takes in one unit.
    pub fn push(&mut self, slice: &str, arm: &str, add: impl FnOnce(&mut T)) {
        let (unit_count, statistic) = self.cell(slice, arm);
        *unit_count += 1;
        add(statistic);
    }

    /// Takes in many units that were gathered elsewhere.
    pub fn gather(&mut self, slice: &str, arm: &str, unit_count: u64, statistic: T) {
        let cell = self.cell(slice, arm);
        cell.0 += unit_count;
        cell.1.gather(statistic);
    }

    pub fn merge(&mut self, other: Self) {
        for (slice, arms) in other.cells {
            for (arm, (unit_count, statistic)) in arms {
                self.gather(&slice, &arm, unit_count, statistic);
            }
        }
    }

    /// The statistic of one arm over all slices.
    pub fn arm(&self, arm: &str) -> T {
        let mut total = T::default();
        for arms in self.cells.values() {
            if let Some((_, statistic)) = arms.get(arm) {
                total.gather(statistic.clone());
            }
        }
        total
    }

    /// Arms in the order of their names.
    pub fn arms(&self) -> Vec<&str> {
        let mut arms: Vec<&str> = self.cells.values().flat_map(BTreeMap::keys).map(String::as_str).collect();
        arms.sort_unstable();
        arms.dedup();
        arms
    }

    /// Units of an arm, and its statistic, in one slice; none of none where it is not there.
    pub fn in_slice(&self, slice: &str, arm: &str) -> (u64, T) {
        self.cells.get(slice).and_then(|arms| arms.get(arm)).cloned().unwrap_or_default()
    }

    /// Slices by size, largest first, those of a size by name; "(other)" last.
    pub fn slices(&self) -> Vec<&str> {
        let mut slices: Vec<(&str, u64)> =
            self.cells.iter().map(|(slice, arms)| (slice.as_str(), arms.values().map(|cell| cell.0).sum())).collect();
        slices.sort_by_key(|(slice, unit_count)| (*slice == OTHER, std::cmp::Reverse(*unit_count), *slice));
        slices.into_iter().map(|(slice, _)| slice).collect()
    }

    /// At most `slice_count_max` slices: the largest, and the rest joined as "(other)", which is one of them.
    ///
    /// * `slice_count_max`: at least 1.
    #[must_use]
    pub fn largest(&self, slice_count_max: usize) -> Self {
        if self.cells.len() <= slice_count_max {
            return self.clone();
        }
        let kept = slice_count_max.max(1) - 1;
        let mut joined = Self::default();
        for (rank, slice) in self.slices().into_iter().enumerate() {
            let name = if rank < kept { slice } else { OTHER };
            for (arm, (unit_count, statistic)) in &self.cells[slice] {
                joined.gather(name, arm, *unit_count, statistic.clone());
            }
        }
        joined
    }

    fn cell(&mut self, slice: &str, arm: &str) -> &mut (u64, T) {
        self.cells.entry(slice.to_owned()).or_default().entry(arm.to_owned()).or_default()
    }
}

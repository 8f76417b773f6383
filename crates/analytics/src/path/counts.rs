//! Counts of all paths together.
//!
//! In:       paths, session after session and unit after unit, as `PathFold` tells them; other counts of other units.
//! Out:      counts, exact; a report; or sorted entries for a run on disk.
//! Promise:  merging counts of disjoint sets of units, in any order, is counting them together. What the counts take is told
//!           by `bytes` at any time and given back by `drain`.
//! Not here: choosing what is shown (`report.rs`).

use super::duration::{DurationTable, bucket_of};
use super::flow_table::{ENDED, FlowKey, FlowTable, NODE_CODE_MAX, WENT_ON};
use super::fold::Path;
use super::node_table::NodeTable;
use super::report::{PathReport, PathReportBuilder, ReportLimits};
use super::run::Key;
use super::sequence_table::{Sequence, SequenceTable};
use super::tally::{Stamp, StampedTally, Tally};
use crate::error::AnalyticsError;

/// What is counted beside flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountPlan {
    /// Quantiles of the time of each edge.
    pub has_durations: bool,
    /// Each distinct whole path.
    pub has_full_paths: bool,
    /// Runs of so many nodes, wherever they are on a path; 1 to `STEP_COUNT_MAX`.
    pub n_gram_length: Option<usize>,
}

impl CountPlan {
    /// The plan, if its numbers make sense.
    pub fn checked(self) -> Result<Self, AnalyticsError> {
        let max = super::STEP_COUNT_MAX;
        match self.n_gram_length {
            Some(given) if !(1..=max).contains(&given) => Err(AnalyticsError::NGramLength { given, max }),
            _ => Ok(self),
        }
    }
}

/// How many paths went from where to where, and what else the plan asks for.
#[derive(Debug, Clone)]
pub struct PathCounts {
    plan: CountPlan,
    now: Stamp,
    totals: StampedTally,
    levels: Vec<StampedTally>,
    nodes: NodeTable,
    flows: FlowTable,
    durations: DurationTable,
    full_paths: SequenceTable,
    n_grams: SequenceTable,
}

impl PathCounts {
    /// Bytes of an entry for each flow (edge, node of a step, end at a node), each bucket of an edge's times, each distinct
    /// path and n-gram; the last two take four more a node. Tables double, so between one and a bit and twice as much is
    /// taken; `drain` takes 8 more an entry for a while.
    pub const FLOW_BYTES: usize = FlowTable::ENTRY_BYTES;
    pub const DURATION_BYTES: usize = DurationTable::ENTRY_BYTES;
    pub const SEQUENCE_BYTES: usize = SequenceTable::ENTRY_BYTES;

    pub fn new(plan: CountPlan) -> Result<Self, AnalyticsError> {
        Ok(Self::empty(plan.checked()?))
    }

    fn empty(plan: CountPlan) -> Self {
        Self {
            plan,
            now: Stamp::default(),
            totals: StampedTally::default(),
            levels: Vec::new(),
            nodes: NodeTable::default(),
            flows: FlowTable::default(),
            durations: DurationTable::default(),
            full_paths: SequenceTable::default(),
            n_grams: SequenceTable::default(),
        }
    }

    pub fn plan(&self) -> CountPlan {
        self.plan
    }

    /// Counts a path.
    ///
    /// * Paths of one session come one after the other, and so do those of one unit, the first one saying so.
    /// * Fails for a code above `NODE_CODE_MAX`; nothing is counted then.
    #[inline]
    pub fn add(&mut self, path: Path<'_>) -> Result<(), AnalyticsError> {
        if let Some(&given) = path.nodes.iter().find(|node| NODE_CODE_MAX < **node) {
            return Err(AnalyticsError::NodeCode { given, max: NODE_CODE_MAX });
        }
        let (Some(&last), Some(&first_us), Some(&last_us)) =
            (path.nodes.last(), path.times_us.first(), path.times_us.last())
        else {
            return Err(AnalyticsError::EmptyPath);
        };
        self.move_on(path.is_first_of_session, path.is_first_of_unit);
        let (now, has_goal) = (self.now, path.has_goal);
        if self.levels.len() < path.nodes.len() {
            self.levels.resize(path.nodes.len(), StampedTally::default());
        }
        for (at, (&node, level)) in path.nodes.iter().zip(&mut self.levels).enumerate() {
            level.count(now, has_goal, 0);
            self.nodes.count(at + 1, node, now, has_goal);
        }
        for (at, (pair, times_us)) in path.nodes.windows(2).zip(path.times_us.windows(2)).enumerate() {
            let edge = FlowKey::new(at + 1, pair[0], pair[1]);
            let time_us = times_us[0].abs_diff(times_us[1]);
            self.flows.count(edge, now, has_goal, time_us);
            if self.plan.has_durations {
                self.durations.add(edge, bucket_of(time_us), 1);
            }
        }
        let fate = if path.is_cut { WENT_ON } else { ENDED };
        self.flows.count(FlowKey::new(path.nodes.len(), last, fate), now, has_goal, 0);
        let time_us = first_us.abs_diff(last_us);
        self.totals.count(now, has_goal, time_us);
        if self.plan.has_full_paths {
            self.full_paths.count(Sequence { is_cut: path.is_cut, codes: path.nodes }, now, has_goal, time_us);
        }
        if let Some(length) = self.plan.n_gram_length {
            for codes in path.nodes.windows(length) {
                self.n_grams.count(Sequence { is_cut: false, codes }, now, has_goal, 0);
            }
        }
        Ok(())
    }

    #[inline]
    fn move_on(&mut self, is_new_session: bool, is_new_unit: bool) {
        // A number is half used up: begin anew at the next unit, of which nothing is counted yet.
        if is_new_unit && u32::MAX / 2 < self.now.session {
            self.forget_stamps();
        }
        let is_new_unit = is_new_unit || self.now.unit == 0;
        self.now.session = self.now.session.saturating_add(u32::from(is_new_session || is_new_unit));
        self.now.unit = self.now.unit.saturating_add(u32::from(is_new_unit));
    }

    /// As after many sessions.
    #[cfg(test)]
    pub(super) fn be_late(&mut self) {
        self.now.session = u32::MAX / 2 + 1;
    }

    /// No entry may remember a number that is given out again.
    #[cold]
    fn forget_stamps(&mut self) {
        self.now = Stamp::default();
        self.totals.counted = Stamp::default();
        self.levels.iter_mut().for_each(|level| level.counted = Stamp::default());
        self.nodes.forget_stamps();
        self.flows.forget_stamps();
        self.full_paths.forget_stamps();
        self.n_grams.forget_stamps();
    }

    /// The counts of both together.
    ///
    /// * `other`: of the same plan; no unit may be in both, or it counts twice.
    #[must_use]
    pub fn merge(mut self, mut other: Self) -> Self {
        debug_assert_eq!(self.plan, other.plan, "counts of one question");
        if self.entry_count() < other.entry_count() {
            std::mem::swap(&mut self, &mut other);
        }
        self.totals.tally.add(&other.totals.tally);
        if self.levels.len() < other.levels.len() {
            self.levels.resize(other.levels.len(), StampedTally::default());
        }
        for (ours, theirs) in self.levels.iter_mut().zip(&other.levels) {
            ours.tally.add(&theirs.tally);
        }
        other.nodes.iter().for_each(|(key, tally)| self.nodes.add(key.step(), key.source(), tally));
        other.flows.iter().for_each(|entry| self.flows.add(entry.key, &entry.tally));
        other.durations.iter().for_each(|entry| self.durations.add(entry.key, entry.bucket, entry.count));
        other.full_paths.iter().for_each(|(sequence, tally)| self.full_paths.add(sequence, tally));
        other.n_grams.iter().for_each(|(sequence, tally)| self.n_grams.add(sequence, tally));
        self
    }

    /// All paths.
    pub fn totals(&self) -> Tally {
        self.totals.tally
    }

    /// Paths that have a node at a step.
    pub fn node(&self, step: usize, node: u32) -> Tally {
        let is_known = (1..=super::STEP_COUNT_MAX).contains(&step) && node <= NODE_CODE_MAX;
        if is_known { self.nodes.get(step, node) } else { Tally::default() }
    }

    /// Paths that have one node at a step and the other at the next.
    pub fn edge(&self, step: usize, source: u32, target: u32) -> Tally {
        self.flow(step, source, target)
    }

    /// Paths that end at a node of a step: nothing followed.
    pub fn ended(&self, step: usize, node: u32) -> Tally {
        self.flow(step, node, ENDED)
    }

    /// Paths that go on from a node at the last step kept.
    pub fn went_on(&self, step: usize, node: u32) -> Tally {
        self.flow(step, node, WENT_ON)
    }

    fn flow(&self, step: usize, source: u32, target: u32) -> Tally {
        let is_known = step <= super::STEP_COUNT_MAX && source <= NODE_CODE_MAX;
        if is_known { self.flows.get(FlowKey::new(step, source, target)) } else { Tally::default() }
    }

    /// Paths that are this one, node for node.
    pub fn full_path(&self, nodes: &[u32], is_cut: bool) -> Tally {
        self.full_paths.get(Sequence { is_cut, codes: nodes })
    }

    /// How many entries of any kind there are.
    pub fn entry_count(&self) -> usize {
        self.nodes.len() + self.flows.len() + self.durations.len() + self.full_paths.len() + self.n_grams.len()
    }

    /// What the counts take now, in bytes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.levels.capacity() * size_of::<StampedTally>()
            + self.nodes.bytes()
            + self.flows.bytes()
            + self.durations.bytes()
            + self.full_paths.bytes()
            + self.n_grams.bytes()
    }

    /// Gives all counts away in the order of their keys, and begins anew with none.
    ///
    /// * `write`: gets a key and what it counts; its error ends the work and is returned, and the counts are lost.
    /// * Call it between units, or a unit that goes on counts twice.
    pub fn drain<E>(&mut self, write: impl FnMut(&[u8], &Tally) -> Result<(), E>) -> Result<(), E> {
        std::mem::replace(self, Self::empty(self.plan)).visit(write)
    }

    /// Takes in one entry of `drain`.
    ///
    /// * Fails for a key that is none of ours.
    pub fn absorb(&mut self, key: &[u8], tally: &Tally) -> Result<(), AnalyticsError> {
        let mut codes = [0; super::STEP_COUNT_MAX];
        match Key::read(key, &mut codes)? {
            Key::Totals => self.totals.tally.add(tally),
            Key::Level(step) => {
                if self.levels.len() < step {
                    self.levels.resize(step, StampedTally::default());
                }
                self.levels[step - 1].tally.add(tally);
            }
            Key::Node(node) => self.nodes.add(node.step(), node.source(), tally),
            Key::Edge(flow) => self.flows.add(flow, tally),
            Key::Duration(flow, bucket) => self.durations.add(flow, bucket, tally.paths),
            Key::FullPath(sequence) => self.full_paths.add(sequence, tally),
            Key::NGram(sequence) => self.n_grams.add(sequence, tally),
        }
        Ok(())
    }

    /// The largest flows, paths and n-grams, the rest summed up.
    pub fn top(&self, limits: ReportLimits) -> Result<PathReport, AnalyticsError> {
        let mut report = PathReportBuilder::new(limits)?;
        self.visit(|key, tally| report.push(key, tally))?;
        Ok(report.finish())
    }

    fn visit<E>(&self, mut write: impl FnMut(&[u8], &Tally) -> Result<(), E>) -> Result<(), E> {
        let mut bytes = Vec::with_capacity(super::KEY_BYTES_MAX);
        let mut write = |key: Key<'_>, tally: &Tally| {
            key.write(&mut bytes);
            write(&bytes, tally)
        };
        write(Key::Totals, &self.totals.tally)?;
        for (at, level) in self.levels.iter().enumerate() {
            write(Key::Level(at + 1), &level.tally)?;
        }
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_unstable_by_key(|(key, _)| *key);
        for (key, tally) in nodes {
            write(Key::Node(key), tally)?;
        }
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_unstable_by_key(|entry| entry.key);
        for entry in flows {
            write(Key::Edge(entry.key), &entry.tally)?;
        }
        let mut durations: Vec<_> = self.durations.iter().collect();
        durations.sort_unstable_by_key(|entry| (entry.key, entry.bucket));
        for entry in durations {
            let tally = Tally { paths: entry.count, ..Tally::default() };
            write(Key::Duration(entry.key, entry.bucket), &tally)?;
        }
        for (table, key) in [(&self.full_paths, Key::FullPath as fn(_) -> _), (&self.n_grams, Key::NGram)] {
            let mut sequences: Vec<_> = table.iter().collect();
            sequences.sort_unstable_by_key(|(sequence, _)| *sequence);
            for (sequence, tally) in sequences {
                write(key(sequence), tally)?;
            }
        }
        Ok(())
    }
}

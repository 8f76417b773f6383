//! Rows of one instant, shared out among the steps of a funnel so that an attempt gets furthest.
//!
//! In:       the rows that share an instant; where an attempt stands before it; where it is to stand after.
//! Out:      whether it can, and which row serves which step: as many optional steps on the way as can be.
//! Promise:  exact: a maximum matching of steps to distinct rows (Kuhn 1955). Nothing is allocated once buffers have grown.
//! Not here: windows of the attempt (`chains.rs`); the older fold's version without optional steps (`tie_group.rs`).

use super::definition::FunnelDefinition;

/// A row that is tied with others: the steps it meets, and the caller's handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tied {
    pub(super) step_mask: u32,
    pub(super) row: u64,
}

/// Keeps the row unless the instant already has as many of its kind as an attempt could use.
pub(super) fn remember(rows: &mut Vec<Tied>, row: Tied) {
    let same = rows.iter().filter(|kept| kept.step_mask == row.step_mask).count();
    if same < row.step_mask.count_ones() as usize {
        rows.push(row);
    }
}

/// Keeps the row if it meets a step that none before it met: for ties of which only one row counts.
pub(super) fn remember_one_a_step(rows: &mut Vec<Tied>, row: Tied) {
    let met = rows.iter().fold(0, |met, kept| met | kept.step_mask);
    if row.step_mask & !met != 0 {
        rows.push(Tied { step_mask: row.step_mask & !met, row: row.row });
    }
}

const FREE: u8 = u8::MAX;

#[derive(Debug, Clone, Default)]
pub(super) struct Matcher {
    /// The step index each row serves.
    owner: Vec<u8>,
    tried: Vec<bool>,
    /// The best sharing out so far, where several first steps are tried.
    kept: Vec<u8>,
}

impl Matcher {
    /// Shares rows out for an attempt that stands at step index `from` (none: is yet to start) and is to stand at `to`.
    ///
    /// * `may_be_first`: whether the attempt may go on with this step index, by the step's own window.
    /// * Returns whether it can; `matches` then tells how.
    pub(super) fn spread(
        &mut self,
        definition: &FunnelDefinition,
        rows: &[Tied],
        from: Option<usize>,
        to: usize,
        may_be_first: impl Fn(usize) -> bool,
    ) -> bool {
        let begin = from.map_or(0, |from| from + 1);
        let is_mandatory = |step: usize| definition.optional & (1 << step) == 0;
        if rows.len() < (begin..to).filter(|step| is_mandatory(*step)).count() + 1 {
            return false;
        }
        // Without windows of steps the first of the new steps may be any, and one try finds the most.
        if !definition.has_step_windows {
            return self.share(definition, rows, begin, to, false);
        }
        let mut found = false;
        self.kept.clear();
        for first in begin..=to {
            if may_be_first(first) && self.share(definition, rows, first, to, true) {
                let is_more = !found || count(&self.kept) < count(&self.owner);
                found = true;
                if is_more {
                    self.kept.clone_from(&self.owner);
                }
            }
            if is_mandatory(first) {
                break;
            }
        }
        std::mem::swap(&mut self.owner, &mut self.kept);
        found
    }

    /// What the last `spread` gave away: step index and row.
    pub(super) fn matches<'a>(&'a self, rows: &'a [Tied]) -> impl Iterator<Item = (usize, u64)> + 'a {
        let given = self.owner.iter().zip(rows).filter(|(owner, _)| **owner != FREE);
        given.map(|(owner, row)| (usize::from(*owner), row.row))
    }

    pub(super) fn matched_count(&self) -> u32 {
        count(&self.owner)
    }

    pub(super) fn matched_steps(&self) -> u32 {
        self.owner.iter().filter(|owner| **owner != FREE).fold(0, |steps, owner| steps | 1 << owner)
    }

    fn share(
        &mut self,
        definition: &FunnelDefinition,
        rows: &[Tied],
        begin: usize,
        to: usize,
        needs_begin: bool,
    ) -> bool {
        self.owner.clear();
        self.owner.resize(rows.len(), FREE);
        let is_needed =
            |step: usize| step == to || definition.optional & (1 << step) == 0 || needs_begin && step == begin;
        // What must be matched comes first: a step that has a row keeps one while others are served.
        for step in (begin..=to).filter(|step| is_needed(*step)) {
            if !self.serve(rows, step) {
                return false;
            }
        }
        for step in (begin..=to).filter(|step| !is_needed(*step)) {
            self.serve(rows, step);
        }
        true
    }

    fn serve(&mut self, rows: &[Tied], step: usize) -> bool {
        self.tried.clear();
        self.tried.resize(rows.len(), false);
        give(step, rows, &mut self.owner, &mut self.tried)
    }
}

fn count(owner: &[u8]) -> u32 {
    owner.iter().map(|owner| u32::from(*owner != FREE)).sum()
}

/// One augmenting path: gives `step` a row, moving owners if it must.
fn give(step: usize, rows: &[Tied], owner: &mut [u8], tried: &mut [bool]) -> bool {
    for (index, row) in rows.iter().enumerate() {
        if tried[index] || row.step_mask & (1 << step) == 0 {
            continue;
        }
        tried[index] = true;
        if owner[index] == FREE || give(usize::from(owner[index]), rows, owner, tried) {
            owner[index] = u8::try_from(step).expect("a funnel has at most 32 steps");
            return true;
        }
    }
    false
}

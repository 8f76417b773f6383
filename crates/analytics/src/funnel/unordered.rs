//! Attempts at a funnel whose steps come in any order.
//!
//! In:       the rows of one unit (one session, if the window is the session) that meet a step, in order.
//! Out:      the largest number of steps done by distinct rows within one window, and which.
//! Promise:  exact; at most one row per step is kept, whatever the number of rows.
//! Not here: steps that have an order (`chains.rs`).
//!
//! Why so few rows are enough: the sets of rows that can be shared out among steps are the independent sets of a
//! transversal matroid. Of such a matroid the basis of latest rows is kept right, as rows come in, by one exchange: the new
//! row enters, and the earliest row that it makes superfluous leaves (Edmonds 1971). And whatever the window, the rows of
//! that basis within it are a largest set within it, and start as late as any.

use super::definition::{FunnelDefinition, StepOrder};
use super::{STEP_COUNT_MAX, StepReached};

#[derive(Debug, Clone, Copy)]
struct Kept {
    time_us: i64,
    deadline_us: i64,
    row: u64,
    step_mask: u32,
    /// The step index it serves.
    step: usize,
}

/// The best attempt so far.
#[derive(Debug, Clone, Default)]
pub(super) struct BestSet {
    /// Steps done; 0 = none.
    pub(super) level: usize,
    pub(super) deadline_us: i64,
    pub(super) place: u64,
    pub(super) reached: Vec<StepReached>,
}

const NOBODY: usize = usize::MAX;

/// Steps to look at, each once, and the row that would move there.
struct StepSearch {
    queue: [usize; STEP_COUNT_MAX],
    begin: usize,
    end: usize,
    seen: u32,
    giver: [usize; STEP_COUNT_MAX],
}

impl StepSearch {
    fn for_row(step_mask: u32, row: usize) -> Self {
        let mut search =
            Self { queue: [0; STEP_COUNT_MAX], begin: 0, end: 0, seen: 0, giver: [NOBODY; STEP_COUNT_MAX] };
        search.add(step_mask, row);
        search
    }

    fn add(&mut self, step_mask: u32, row: usize) {
        let mut left = step_mask & !self.seen;
        self.seen |= step_mask;
        while left != 0 {
            let step = left.trailing_zeros() as usize;
            left &= left - 1;
            self.giver[step] = row;
            self.queue[self.end] = step;
            self.end += 1;
        }
    }

    fn take(&mut self) -> Option<usize> {
        let step = (self.begin < self.end).then(|| self.queue[self.begin]);
        self.begin += 1;
        step
    }
}

#[derive(Debug, Clone)]
pub(super) struct Unordered {
    /// In the order of the rows.
    kept: Vec<Kept>,
    pub(super) best: BestSet,
}

impl Unordered {
    pub(super) fn new(step_count: usize) -> Self {
        Self { kept: Vec::with_capacity(step_count + 1), best: BestSet::default() }
    }

    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.best.level = 0;
        self.best.reached.clear();
    }

    /// Whether a row at `time_us` could still add to the steps of some window.
    pub(super) fn could_go_on(&self, definition: &FunnelDefinition, time_us: i64) -> bool {
        self.best.level < definition.step_count && self.kept.iter().any(|kept| time_us <= kept.deadline_us)
    }

    pub(super) fn take(&mut self, definition: &FunnelDefinition, time_us: i64, place: u64, row: u64, step_mask: u32) {
        let expired = self.kept.iter().take_while(|kept| kept.deadline_us < time_us).count();
        self.kept.drain(..expired);
        let deadline_us = definition.deadline_us(time_us);
        self.exchange(Kept { time_us, deadline_us, row, step_mask, step: 0 });
        let needs_first = definition.order == StepOrder::AnyWithFirst;
        let level = self.kept.len();
        if self.best.level < level && (!needs_first || self.kept.iter().any(|kept| kept.step_mask & 1 != 0)) {
            self.note_best(place, needs_first);
        }
    }

    /// Lets a row enter; the earliest of those it makes superfluous leaves.
    fn exchange(&mut self, new: Kept) {
        let mut owner = [NOBODY; STEP_COUNT_MAX];
        for (index, kept) in self.kept.iter().enumerate() {
            owner[kept.step] = index;
        }
        // Breadth first over the steps that could be made free for the new row.
        let new_index = self.kept.len();
        let mut search = StepSearch::for_row(new.step_mask, new_index);
        let mut earliest = new_index;
        let mut free = None;
        while let Some(step) = search.take() {
            let holder = owner[step];
            if holder == NOBODY {
                free = Some(step);
                break;
            }
            earliest = earliest.min(holder);
            search.add(self.kept[holder].step_mask, holder);
        }
        if earliest == new_index && free.is_none() {
            return;
        }
        // The chain of moves ends at a free step or at that of the row which leaves.
        let mut step = free.unwrap_or_else(|| self.kept[earliest].step);
        self.kept.push(new);
        loop {
            let mover = search.giver[step];
            let was = self.kept[mover].step;
            self.kept[mover].step = step;
            if mover == new_index {
                break;
            }
            step = was;
        }
        if free.is_none() {
            self.kept.remove(earliest);
        }
    }

    fn note_best(&mut self, place: u64, needs_first: bool) {
        let best = &mut self.best;
        best.level = self.kept.len();
        best.place = place;
        best.deadline_us = self.kept[0].deadline_us;
        best.reached.clear();
        best.reached.extend(self.kept.iter().map(|kept| StepReached {
            step: kept.step + 1,
            time_us: kept.time_us,
            row: kept.row,
        }));
        // As many steps are done if a row that could be step 1 is, rather than what it now is.
        if needs_first && !best.reached.iter().any(|reached| reached.step == 1) {
            let index = self.kept.iter().position(|kept| kept.step_mask & 1 != 0);
            best.reached[index.expect("the caller has seen one")].step = 1;
        }
    }
}

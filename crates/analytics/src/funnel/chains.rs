//! Attempts at a funnel whose steps have an order, as a fold of bounded state.
//!
//! In:       the rows of one unit (one session, if the window is the session) that meet a step or an exclusion, in order.
//! Out:      the best attempt so far, and whether one could still go on.
//! Promise:  exact, for every definition that `FunnelDefinition` lets through. One attempt per step is kept, whatever the
//!           number of rows; nothing is allocated once the buffers have grown.
//! Not here: sessions, several attempts (`fold.rs`), steps in any order (`unordered.rs`).
//!
//! Why one attempt per step is enough, though a window may count from step 1 and others from the step before: of all
//! attempts that stand at a step, the one that got there last also started last. Its source was the latest-started attempt
//! at an earlier step, and those starts never fall. So it has the most left of both windows, and whatever another could
//! still become, it can become too; an exclusion or a broken order ends both alike. A frontier of (start, last) pairs would
//! always hold one pair. Only optional steps with windows of their own beside exclusions break this, and are refused.

use super::definition::{Barrier, FunnelDefinition, StepOrder};
use super::tied::{Matcher, Tied};
use super::{Counting, StepReached};

/// An attempt: when it started, until when it may go on, its last step, which steps it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Head {
    pub(super) start_us: i64,
    pub(super) deadline_us: i64,
    pub(super) last_us: i64,
    pub(super) steps: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    time_us: i64,
    row: u64,
}

/// The best attempt so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Best {
    /// Number of the last step, from 1; 0 = none.
    pub(super) level: usize,
    pub(super) head: Head,
    /// The place of the row that brought it there among all rows of the unit.
    pub(super) place: u64,
    /// An exclusion came while it stood at its last step.
    pub(super) met_exclusion: bool,
    /// A row that does not fit came while it stood at its last step.
    is_broken: bool,
    pub(super) reached: Vec<StepReached>,
}

impl Best {
    pub(super) fn clear(&mut self) {
        self.level = 0;
        self.met_exclusion = false;
        self.is_broken = false;
        self.reached.clear();
    }
}

/// One row or one run of tied rows, as the fold takes it in.
#[derive(Clone, Copy)]
pub(super) struct Instant<'a> {
    pub(super) time_us: i64,
    pub(super) place: u64,
    /// Bits of the exclusion mask, of all its rows together.
    pub(super) excluded: u32,
    pub(super) rows: &'a [Tied],
}

impl Instant<'_> {
    fn row_of(&self, step: usize) -> u64 {
        let meets = |row: &&Tied| row.step_mask & (1 << step) != 0;
        self.rows.iter().find(meets).expect("the step is one of those the rows meet").row
    }
}

#[derive(Debug, Clone)]
pub(super) struct Chains {
    step_count: usize,
    /// Row `k` (of `step_count` cells) holds the events of the attempt that stands at step index `k`; a cell counts if
    /// the head has the bit of its step.
    cells: Vec<Cell>,
    heads: Vec<Head>,
    /// Bit `k`: an attempt stands at step index `k`.
    live: u32,
    /// Bit `k`: one ever did.
    ever: u32,
    /// The time and place of the first event that started an attempt.
    pub(super) first_start: Option<(i64, u64)>,
    pub(super) is_stopped: bool,
    pub(super) best: Best,
    /// For step index `k`, the earliest moment until which an attempt that came there since the last exclusion may go on.
    clean_until_us: Vec<Option<i64>>,
    /// Bit `k`: an attempt that came there met no exclusion while it could go on.
    clean: u32,
}

impl Chains {
    pub(super) fn new(step_count: usize) -> Self {
        Self {
            step_count,
            cells: vec![Cell::default(); step_count * step_count],
            heads: vec![Head::default(); step_count],
            live: 0,
            ever: 0,
            first_start: None,
            is_stopped: false,
            best: Best::default(),
            clean_until_us: vec![None; step_count],
            clean: 0,
        }
    }

    /// For the next attempt of the unit, or the next unit.
    pub(super) fn clear(&mut self) {
        self.live = 0;
        if self.ever != 0 {
            self.ever = 0;
            self.first_start = None;
            self.best.clear();
            self.clean_until_us.fill(None);
            self.clean = 0;
        }
        self.is_stopped = false;
    }

    /// True once later rows cannot change the answer.
    pub(super) fn is_settled(&self) -> bool {
        self.best.level == self.step_count || self.is_stopped
    }

    /// Whether a row at `time_us` could still lead some attempt on.
    pub(super) fn could_go_on(&self, definition: &FunnelDefinition, time_us: i64) -> bool {
        !self.is_settled()
            && (0..self.step_count)
                .any(|step| self.live & (1 << step) != 0 && time_us <= until_us(definition, step, &self.heads[step]))
    }

    /// Whether an attempt that reached `level` met no exclusion later, while it could go on.
    pub(super) fn is_clean(&self, level: usize) -> bool {
        level == 0 || self.clean & (1 << (level - 1)) != 0 || self.clean_until_us[level - 1].is_some()
    }

    /// Takes one event in: a row, or tied rows of which an attempt may use one.
    ///
    /// * `step_mask`: the steps that any of `instant.rows` meets; of several, each meets steps that no other does.
    pub(super) fn take_one(
        &mut self,
        definition: &FunnelDefinition,
        barriers: &[Barrier],
        instant: Instant<'_>,
        step_mask: u32,
    ) {
        if self.ever == 0 && step_mask & 1 == 0 {
            return;
        }
        let Instant { time_us, excluded, .. } = instant;
        let hit = excluded != 0;
        let ended = if hit { self.meet_exclusions(definition, barriers, time_us, excluded) } else { 0 };
        if definition.order == StepOrder::StrictStop && self.is_foreign(definition, step_mask) {
            self.is_stopped = true;
            return;
        }
        let mut formed = 0;
        let mut left = step_mask;
        // Highest step first, so that the row leads on attempts from before it and is used once.
        while left != 0 {
            let step = (u32::BITS - 1 - left.leading_zeros()) as usize;
            left &= !(1 << step);
            if step == 0 {
                formed |= u32::from(self.start(definition, instant, ended));
                continue;
            }
            let mut sources = self.live & definition.before[step];
            if hit {
                sources &= !forbidden(barriers, excluded, step);
            }
            if let Some(source) = self.latest(definition, sources, step, time_us) {
                self.lead_on(definition, source, step, instant, ended);
                formed |= 1 << step;
            }
        }
        self.live &= !(ended & !formed);
        if definition.order == StepOrder::StrictReset {
            self.break_off(definition, !step_mask);
        }
    }

    /// Takes several rows of one instant in, in whichever order serves best.
    pub(super) fn take_tied(
        &mut self,
        definition: &FunnelDefinition,
        barriers: &[Barrier],
        instant: Instant<'_>,
        matcher: &mut Matcher,
    ) {
        let Instant { time_us, place, excluded, rows } = instant;
        let ended = self.meet_exclusions(definition, barriers, time_us, excluded);
        let may_start = definition.counting != Counting::First || self.first_start.is_none();
        let (before, mut formed) = (self.live, 0);
        for step in (0..self.step_count).rev() {
            let closed = forbidden(barriers, excluded, step);
            let mut choice: Option<(i64, u32, Option<usize>)> = None;
            if may_start && matcher.spread(definition, rows, None, step, |_| true) {
                choice = Some((time_us, matcher.matched_count(), None));
            }
            for source in (0..step).filter(|source| before & !closed & (1 << source) != 0) {
                let head = self.heads[source];
                let in_window = |next: usize| time_us.saturating_sub(head.last_us) <= definition.step_windows_us[next];
                let step_count = head.steps.count_ones();
                let rank = |matched_count| (head.start_us, step_count + matched_count, Some(source));
                if head.deadline_us < time_us || choice.is_some_and(|best| head.start_us < best.0) {
                    continue;
                }
                if matcher.spread(definition, rows, Some(source), step, in_window) {
                    let found = rank(matcher.matched_count());
                    if choice.is_none_or(|best| best < found) {
                        choice = Some(found);
                    }
                }
            }
            let Some((_, _, source)) = choice else { continue };
            formed |= 1 << step;
            let found = match source {
                None => matcher.spread(definition, rows, None, step, |_| true),
                Some(source) => {
                    let last_us = self.heads[source].last_us;
                    let in_window = |next: usize| time_us.saturating_sub(last_us) <= definition.step_windows_us[next];
                    matcher.spread(definition, rows, Some(source), step, in_window)
                }
            };
            debug_assert!(found, "the same rows were matched a moment ago");
            let head = match source {
                None => self.new_head(definition, time_us),
                Some(source) => self.heads[source],
            };
            let head = Head { last_us: time_us, steps: head.steps | matcher.matched_steps(), ..head };
            if self.replaces(definition, step, &head, ended) {
                self.copy(source, step);
                for (matched, row) in matcher.matches(rows) {
                    self.cells[step * self.step_count + matched] = Cell { time_us, row };
                }
                self.settle(step, head, place);
            }
            self.note_clean(definition, step, head);
        }
        if formed & 1 != 0 {
            self.first_start.get_or_insert((time_us, place));
        }
        self.live &= !(ended & !formed);
    }

    /// Whether no attempt could ever use such a row, though one has started.
    fn is_foreign(&self, definition: &FunnelDefinition, step_mask: u32) -> bool {
        let is_usable = |step: usize| step == 0 || self.ever & definition.before[step] != 0;
        self.ever != 0 && !(0..self.step_count).any(|step| step_mask & (1 << step) != 0 && is_usable(step))
    }

    /// Marks what exclusions do to attempts from before them.
    ///
    /// * Returns the steps whose attempts end unless the instant leads them past the exclusion.
    fn meet_exclusions(
        &mut self,
        definition: &FunnelDefinition,
        barriers: &[Barrier],
        time_us: i64,
        excluded: u32,
    ) -> u32 {
        let hit = barriers.iter().filter(|barrier| barrier.bit_mask & excluded != 0);
        let ended = hit.fold(0, |ended, barrier| ended | barrier.stands);
        if ended == 0 {
            return 0;
        }
        if let Some(step) = self.best.level.checked_sub(1)
            && ended & (1 << step) != 0
            && !self.best.is_broken
            && time_us <= until_us(definition, step, &self.best.head)
        {
            self.best.met_exclusion = true;
        }
        if definition.voids_units {
            let taints = |barrier: &&Barrier| barrier.voids_unit && barrier.bit_mask & excluded != 0;
            let tainted = barriers.iter().filter(taints).fold(0, |tainted, barrier| tainted | barrier.stands);
            for step in (0..self.step_count).filter(|step| ended & (1 << step) != 0) {
                let is_clean = |until_us: i64| until_us < time_us || tainted & (1 << step) == 0;
                if self.clean_until_us[step].take().is_some_and(is_clean) {
                    self.clean |= 1 << step;
                }
            }
        }
        ended
    }

    fn new_head(&self, definition: &FunnelDefinition, time_us: i64) -> Head {
        Head { start_us: time_us, deadline_us: definition.deadline_us(time_us), last_us: time_us, steps: 0 }
    }

    /// Ends the attempts that stand at `steps`, because the row does not fit them. No exclusion can meet them any more.
    fn break_off(&mut self, definition: &FunnelDefinition, steps: u32) {
        self.live &= !steps;
        if self.best.level.checked_sub(1).is_some_and(|step| steps & (1 << step) != 0) {
            self.best.is_broken = true;
        }
        if definition.voids_units {
            for step in (0..self.step_count).filter(|step| steps & (1 << step) != 0) {
                self.clean |= u32::from(self.clean_until_us[step].take().is_some()) << step;
            }
        }
    }

    /// Begins an attempt; says whether it may.
    fn start(&mut self, definition: &FunnelDefinition, instant: Instant<'_>, ended: u32) -> bool {
        let Instant { time_us, place, .. } = instant;
        if self.first_start.is_some() && definition.counting == Counting::First {
            return false;
        }
        self.first_start.get_or_insert((time_us, place));
        let head = Head { steps: 1, ..self.new_head(definition, time_us) };
        if self.replaces(definition, 0, &head, ended) {
            self.cells[0] = Cell { time_us, row: instant.row_of(0) };
            self.settle(0, head, place);
        }
        self.note_clean(definition, 0, head);
        true
    }

    /// Of the attempts that stand at `sources`, the latest started (of these, that with most steps) that may go on with
    /// `step`.
    fn latest(&self, definition: &FunnelDefinition, sources: u32, step: usize, time_us: i64) -> Option<usize> {
        // Without optional steps there is one source at most.
        if sources.is_power_of_two() {
            let source = sources.trailing_zeros() as usize;
            return self.may_follow(definition, source, step, time_us).then_some(source);
        }
        let mut left = sources;
        let mut best: Option<(i64, u32, usize)> = None;
        while left != 0 {
            let source = left.trailing_zeros() as usize;
            left &= left - 1;
            let head = &self.heads[source];
            let rank = (head.start_us, head.steps.count_ones(), source);
            if best.is_none_or(|best| best < rank) && self.may_follow(definition, source, step, time_us) {
                best = Some(rank);
            }
        }
        best.map(|(_, _, source)| source)
    }

    fn may_follow(&self, definition: &FunnelDefinition, source: usize, step: usize, time_us: i64) -> bool {
        let head = &self.heads[source];
        time_us <= head.deadline_us
            && (!definition.has_step_windows
                || time_us.saturating_sub(head.last_us) <= definition.step_windows_us[step])
    }

    fn lead_on(&mut self, definition: &FunnelDefinition, source: usize, step: usize, instant: Instant<'_>, ended: u32) {
        let from = self.heads[source];
        let head = Head { last_us: instant.time_us, steps: from.steps | 1 << step, ..from };
        if self.replaces(definition, step, &head, ended) {
            self.copy(Some(source), step);
            self.cells[step * self.step_count + step] = Cell { time_us: instant.time_us, row: instant.row_of(step) };
            self.settle(step, head, instant.place);
        }
        self.note_clean(definition, step, head);
    }

    /// Whether an attempt that has just come to `step` is to be kept rather than the one that stood there.
    ///
    /// On equal starts the older stays, for it did its steps earlier; unless steps have windows, which the newer has more
    /// of, or the newer has more of the optional steps.
    fn replaces(&self, definition: &FunnelDefinition, step: usize, head: &Head, ended: u32) -> bool {
        if self.live & !ended & (1 << step) == 0 {
            return true;
        }
        let old = &self.heads[step];
        old.start_us < head.start_us
            || old.start_us == head.start_us
                && (definition.has_step_windows || old.steps.count_ones() < head.steps.count_ones())
    }

    fn copy(&mut self, source: Option<usize>, step: usize) {
        if let Some(source) = source {
            let from = source * self.step_count;
            self.cells.copy_within(from..=from + source, step * self.step_count);
        }
    }

    fn settle(&mut self, step: usize, head: Head, place: u64) {
        self.heads[step] = head;
        self.live |= 1 << step;
        self.ever |= 1 << step;
        // The first to reach a level settles its attempt: a later one could only complete later.
        if self.best.level <= step {
            let row = step * self.step_count;
            let best = &mut self.best;
            best.clear();
            (best.level, best.head, best.place) = (step + 1, head, place);
            let done = (0..=step).filter(|done| head.steps & (1 << done) != 0);
            best.reached.extend(done.map(|done| {
                let Cell { time_us, row } = self.cells[row + done];
                StepReached { step: done + 1, time_us, row }
            }));
        }
    }

    fn note_clean(&mut self, definition: &FunnelDefinition, step: usize, head: Head) {
        if definition.voids_units && self.clean_until_us[step].is_none() {
            self.clean_until_us[step] = Some(until_us(definition, step, &head));
        }
    }
}

/// The last moment at which an attempt that stands at `step` may reach a next one.
pub(super) fn until_us(definition: &FunnelDefinition, step: usize, head: &Head) -> i64 {
    if !definition.has_step_windows {
        return head.deadline_us;
    }
    let may_follow = |next: &usize| definition.before[*next] & (1 << step) != 0;
    let longest_us = (step + 1..definition.step_count).filter(may_follow).map(|next| definition.step_windows_us[next]);
    head.deadline_us.min(head.last_us.saturating_add(longest_us.max().unwrap_or(0)))
}

/// The steps from which exclusions of the instant let no attempt come to `step`.
fn forbidden(barriers: &[Barrier], excluded: u32, step: usize) -> u32 {
    let hit = barriers.iter().filter(|barrier| barrier.bit_mask & excluded != 0 && step < barrier.past);
    hit.fold(0, |closed, barrier| closed | barrier.stands)
}

//! The exact ordered funnel, as a fold: one event at a time, a few timestamps of state.
//!
//! In:       rows in time order, then in log order (`seq`) among equal times.
//! Out:      the best `Attempt`: highest level; for it the earliest completion; for that the latest start.
//! Promise:  the level is the largest `k` for which `k` distinct events exist, the i-th meeting step i, in order,
//!           the last within the window of the first. O(rows × steps); state does not grow with the rows,
//!           except, under `TieOrder::Any`, by the rows that share one instant.
//! Not here: events of one instant taken in any order (`tie_group.rs`), ClickHouse's looser meaning (`window_funnel.rs`).
//!
//! Why one chain per length is enough: of all chains of length `k` seen so far, the one that started last
//! has the most window left, so whatever another chain could still become, it can become too.

use super::{check_step_count, tie_group};
use crate::error::AnalyticsError;

/// What to do with events that carry the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TieOrder {
    /// They happened in the order of the rows, which is the order of the log. Deterministic; the default.
    #[default]
    Ingest,
    /// They may be taken in whichever order brings the unit furthest. ClickHouse's `strict_once`.
    Any,
    /// At most one of them counts: each step must be later than the one before. ClickHouse's
    /// `strict_once` with `strict_increase`.
    StrictlyIncreasing,
}

impl TieOrder {
    const ALLOWED: &'static str = "ingest, any, strictly_increasing";

    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        match text {
            "ingest" => Ok(Self::Ingest),
            "any" => Ok(Self::Any),
            "strictly_increasing" => Ok(Self::StrictlyIncreasing),
            _ => Err(AnalyticsError::TieOrder { given: text.to_owned(), allowed: Self::ALLOWED }),
        }
    }
}

/// The question one exact funnel asks.
///
/// Invariant: `step_count` is within 1 to `STEP_COUNT_MAX`; made only by `new`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExactRule {
    step_count: usize,
    window_us: Option<i64>,
    tie_order: TieOrder,
}

impl ExactRule {
    /// * `window_us`: from the event of step 1 to that of the last step, inclusive; `None` = no limit.
    ///   A negative window lets nothing past step 1.
    /// * Fails for a step count outside 1 to `STEP_COUNT_MAX`.
    pub fn new(step_count: usize, window_us: Option<i64>, tie_order: TieOrder) -> Result<Self, AnalyticsError> {
        Ok(Self { step_count: check_step_count(step_count)?, window_us, tie_order })
    }

    pub fn step_count(&self) -> usize {
        self.step_count
    }

    fn within_window(&self, start_us: i64, time_us: i64) -> bool {
        self.window_us.is_none_or(|window_us| time_us.saturating_sub(start_us) <= window_us)
    }
}

/// The attempt that gives a unit its level.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempt {
    /// Steps reached: 0 (never entered) to the step count.
    pub level: usize,
    /// The time of each step reached, in step order, never falling; `level` of them. The last minus the
    /// first is the time to convert. Each is the earliest possible for an attempt with this start.
    pub times_us: Vec<i64>,
}

/// The state of one unit's exact funnel.
///
/// A plain value: clone it for a checkpoint, go on from the clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactFold {
    rule: ExactRule,
    /// Row `k` (of `step_count` cells) holds, in its first `k + 1` cells, the step times of the chain of
    /// length `k + 1` with the latest start.
    chain_times_us: Vec<i64>,
    /// Bit `k` says whether row `k` holds a chain.
    chains_live: u32,
    best: Attempt,
    /// Events of one instant, kept until the instant is over; empty under `TieOrder::Ingest`.
    tie_masks: Vec<u32>,
    last_time_us: i64,
}

impl ExactFold {
    pub fn new(rule: ExactRule) -> Self {
        Self {
            rule,
            chain_times_us: vec![0; rule.step_count * rule.step_count],
            chains_live: 0,
            best: Attempt::default(),
            tie_masks: Vec::new(),
            last_time_us: i64::MIN,
        }
    }

    /// Takes the next event in.
    ///
    /// * `time_us`: not before that of the last event pushed.
    /// * `mask`: bit `k` set if the event meets step `k + 1`; bits past the last step are ignored.
    pub fn push(&mut self, time_us: i64, mask: u32) {
        debug_assert!(self.last_time_us <= time_us, "events arrive in time order");
        let mask = mask & (u32::MAX >> (u32::BITS - step_bits(self.rule.step_count)));
        if mask == 0 || self.is_complete() {
            return;
        }
        if self.last_time_us < time_us {
            self.close_instant();
            self.last_time_us = time_us;
        }
        match self.rule.tie_order {
            TieOrder::Ingest => self.advance_by_one_event(time_us, mask),
            TieOrder::Any => tie_group::remember(&mut self.tie_masks, mask, self.rule.step_count),
            // A chain can use one event of the instant at most, so the instant is one event that meets
            // every step any of them meets.
            TieOrder::StrictlyIncreasing => match self.tie_masks.first_mut() {
                Some(union) => *union |= mask,
                None => self.tie_masks.push(mask),
            },
        }
    }

    /// True once the last step is reached: later events cannot change the answer.
    pub fn is_complete(&self) -> bool {
        self.best.level == self.rule.step_count
    }

    /// The best attempt among all events pushed.
    pub fn finish(mut self) -> Attempt {
        self.close_instant();
        self.best
    }

    fn close_instant(&mut self) {
        let masks = std::mem::take(&mut self.tie_masks);
        match masks.as_slice() {
            [] => {}
            [mask] => self.advance_by_one_event(self.last_time_us, *mask),
            masks => self.advance_by_tied_events(self.last_time_us, masks),
        }
    }

    /// Highest step first, so that the event lengthens chains that existed before it and is never used twice.
    fn advance_by_one_event(&mut self, time_us: i64, mask: u32) {
        for step in (0..self.rule.step_count).rev() {
            if mask & (1 << step) == 0 {
                continue;
            }
            if step == 0 {
                self.replace_chain(0, None, time_us);
            } else if self.can_continue(step - 1, time_us) {
                self.replace_chain(step, Some(step - 1), time_us);
            }
        }
    }

    /// As above for the events of one instant in any order: row `step` may be reached from any shorter chain
    /// from before the instant, if the steps between can each have an event of their own.
    fn advance_by_tied_events(&mut self, time_us: i64, masks: &[u32]) {
        let reach = tie_group::reach(masks, self.rule.step_count);
        for step in (0..self.rule.step_count).rev() {
            if step < reach[0] && (step == 0 || self.rule.within_window(time_us, time_us)) {
                self.replace_chain(step, None, time_us);
                continue;
            }
            // The latest start has the most window left; of equal starts the longest chain came by its
            // steps earlier.
            let source = (0..step)
                .filter(|&from| step < reach[from + 1] && self.can_continue(from, time_us))
                .max_by_key(|&from| (self.start_us(from), from));
            if source.is_some() {
                self.replace_chain(step, source, time_us);
            }
        }
    }

    fn can_continue(&self, from: usize, time_us: i64) -> bool {
        self.chains_live & (1 << from) != 0 && self.rule.within_window(self.start_us(from), time_us)
    }

    fn start_us(&self, row: usize) -> i64 {
        self.chain_times_us[row * self.rule.step_count]
    }

    /// Puts into row `step` the chain of row `from` (none: nothing) followed by steps at `time_us`, if it
    /// starts later than what is there. On equal starts the older stays: it completed its steps earlier.
    fn replace_chain(&mut self, step: usize, from: Option<usize>, time_us: i64) {
        let start_us = from.map_or(time_us, |from| self.start_us(from));
        let is_live = self.chains_live & (1 << step) != 0;
        if is_live && start_us <= self.start_us(step) {
            return;
        }
        let row = step * self.rule.step_count;
        let kept = from.map_or(0, |from| {
            let source = from * self.rule.step_count;
            self.chain_times_us.copy_within(source..=source + from, row);
            from + 1
        });
        self.chain_times_us[row + kept..=row + step].fill(time_us);
        self.chains_live |= 1 << step;
        self.note_best(step);
    }

    /// The first event to reach a level settles its attempt: a later one could only complete later.
    fn note_best(&mut self, step: usize) {
        if self.best.level <= step {
            let row = step * self.rule.step_count;
            self.best.level = step + 1;
            self.best.times_us.clear();
            self.best.times_us.extend_from_slice(&self.chain_times_us[row..=row + step]);
        }
    }
}

/// The exact funnel over a slice, for callers that hold all of a unit's rows.
///
/// * `rows`: `(time_us, mask)`; their order is the order of the log. Rows out of time order are sorted first,
///   and stay in the given order within one instant.
/// * Returns the best attempt; see `ExactFold`.
///
/// Source: `docs/methods.md#funnel`. The slow, obvious version is `testkit::oracle::funnel::best_attempt`.
pub fn exact_funnel(rows: &[(i64, u32)], rule: ExactRule) -> Attempt {
    let mut fold = ExactFold::new(rule);
    if rows.is_sorted_by_key(|row| row.0) {
        for &(time_us, mask) in rows {
            fold.push(time_us, mask);
        }
    } else {
        let mut sorted = rows.to_vec();
        sorted.sort_by_key(|row| row.0);
        for (time_us, mask) in sorted {
            fold.push(time_us, mask);
        }
    }
    fold.finish()
}

fn step_bits(step_count: usize) -> u32 {
    u32::try_from(step_count).expect("a rule has at most 32 steps")
}

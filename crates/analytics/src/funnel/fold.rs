//! Funnels as a fold: rows of one unit go in, its outcome comes out, and the next unit begins.
//!
//! In:       rows of one unit in the order of time, and of the log among equal times; a definition.
//! Out:      a `FunnelOutcome`.
//! Promise:  exact for every `FunnelDefinition`; rows in another order are a mistake of the caller. Nothing is allocated a
//!           row once the buffers have grown; a row that meets nothing costs a comparison, unless the order is strict.
//! Not here: what an attempt is (`chains.rs`, `unordered.rs`), counts over units (`counts.rs`).
//!
//! Totals: an attempt ends with the row that completes it, and the next begins after that row. An attempt also ends, where
//! it got to, when a row that could start another comes and nothing of it could go on. So attempts never overlap, none
//! completes later than it could, and so as many complete as can.

use std::collections::HashMap;

use super::chains::{Chains, Instant};
use super::definition::{Barrier, FunnelDefinition};
use super::outcome::{FunnelOutcome, Span};
use super::tied::{Matcher, Tied, remember, remember_one_a_step};
use super::unordered::Unordered;
use super::{Counting, TieOrder};

/// So many open sessions of one unit are kept for the next unit; beyond, their memory is given back.
const LANES_KEPT: usize = 64;

#[derive(Debug, Clone)]
enum Search {
    Ordered {
        chains: Chains,
        /// The same without exclusions that void the unit, if there are any.
        disregarding: Option<Box<Chains>>,
    },
    Unordered(Unordered),
}

/// The state of one session; of the whole unit, if sessions do not matter.
#[derive(Debug, Clone)]
struct Lane {
    session: u64,
    search: Search,
    /// Tied rows, kept until their run is over.
    tied: Vec<Tied>,
    excluded: u32,
    has_run: bool,
    run_begin_us: i64,
    run_end_us: i64,
    run_place: u64,
    last_row_us: i64,
}

/// The funnel of one unit after the other.
#[derive(Debug, Clone)]
pub struct FunnelFold {
    definition: FunnelDefinition,
    lanes: Vec<Lane>,
    lanes_used: usize,
    current: usize,
    lane_of: HashMap<u64, usize>,
    place: u64,
    last_time_us: i64,
    matcher: Matcher,
    /// Attempts of this unit that have ended, for totals.
    ended: FunnelOutcome,
}

impl FunnelFold {
    pub fn new(definition: &FunnelDefinition) -> Self {
        Self {
            definition: definition.clone(),
            lanes: vec![Lane::new(definition, 0)],
            lanes_used: usize::from(definition.quiet_gap_us().is_none()),
            current: 0,
            lane_of: HashMap::new(),
            place: 0,
            last_time_us: i64::MIN,
            matcher: Matcher::default(),
            ended: FunnelOutcome::default(),
        }
    }

    pub fn definition(&self) -> &FunnelDefinition {
        &self.definition
    }

    /// Takes the unit's next row in.
    ///
    /// * `time_us`: not before that of the row before.
    /// * `row`: a handle of the caller's, given back with the step that the row serves.
    /// * `step_mask`: bit `k` if the row meets step `k + 1`; others are ignored. A strict order sees rows of mask 0 too.
    /// * `exclusion_mask`: bit `b` if the row meets the exclusions of bit `b`.
    /// * `session`: matters for `FunnelWindow::SameSession` alone; sessions of a unit may overlap.
    pub fn push(&mut self, time_us: i64, row: u64, step_mask: u32, exclusion_mask: u32, session: u64) {
        debug_assert!(self.last_time_us <= time_us, "rows arrive in time order");
        self.last_time_us = time_us;
        self.place += 1;
        let definition = &self.definition;
        let step_mask = step_mask & definition.step_mask;
        let excluded = exclusion_mask & definition.exclusion_mask;
        let matters = step_mask | excluded != 0 || definition.order.is_strict();
        let index = if definition.quiet_gap_us().is_some() {
            let Some(index) = self.lane(session, step_mask | excluded) else { return };
            self.lanes[index].last_row_us = time_us;
            index
        } else {
            0
        };
        if !matters {
            return;
        }
        let lane = &mut self.lanes[index];
        let definition = &self.definition;
        if definition.tie_order == TieOrder::Ingest || definition.order.is_any() {
            let rows = [Tied { step_mask, row }];
            let instant = Instant { time_us, place: self.place, excluded, rows: &rows };
            lane.take(definition, instant, &mut self.matcher, &mut self.ended);
            return;
        }
        if lane.has_run && definition.tie_tolerance_us < time_us.saturating_sub(lane.run_end_us) {
            lane.close_run(definition, &mut self.matcher, &mut self.ended);
        }
        if !lane.has_run {
            (lane.has_run, lane.run_begin_us, lane.run_place) = (true, time_us, self.place);
        }
        lane.run_end_us = time_us;
        lane.excluded |= excluded;
        if step_mask != 0 {
            let tied = Tied { step_mask, row };
            match definition.tie_order {
                TieOrder::Any => remember(&mut lane.tied, tied),
                _ => remember_one_a_step(&mut lane.tied, tied),
            }
        }
    }

    /// Gives the unit's outcome and is ready for the next unit.
    ///
    /// * `as_of_us`: until when rows are known; no row pushed is later.
    /// * `outcome`: overwritten.
    pub fn finish_into(&mut self, as_of_us: i64, outcome: &mut FunnelOutcome) {
        outcome.clear();
        if self.place != 0 {
            for lane in &mut self.lanes[..self.lanes_used] {
                lane.close_run(&self.definition, &mut self.matcher, &mut self.ended);
            }
            self.report(as_of_us, outcome);
            self.reset();
        }
    }

    /// Forgets the unit's rows.
    pub fn reset(&mut self) {
        for lane in &mut self.lanes[..self.lanes_used] {
            lane.clear();
        }
        if self.definition.quiet_gap_us().is_some() {
            self.lanes_used = 0;
            self.lane_of.clear();
            self.lanes.truncate(LANES_KEPT);
        }
        self.current = 0;
        self.place = 0;
        self.last_time_us = i64::MIN;
        self.ended.clear();
    }

    /// The lane of a session; one begins with the first row that an attempt could use.
    fn lane(&mut self, session: u64, bits: u32) -> Option<usize> {
        if self.current < self.lanes_used && self.lanes[self.current].session == session {
            return Some(self.current);
        }
        let index = match self.lane_of.get(&session) {
            Some(index) => *index,
            None if bits == 0 => return None,
            None => {
                let index = self.lanes_used;
                if index == self.lanes.len() {
                    self.lanes.push(Lane::new(&self.definition, session));
                }
                self.lanes[index].session = session;
                self.lanes_used += 1;
                self.lane_of.insert(session, index);
                index
            }
        };
        self.current = index;
        Some(index)
    }

    fn report(&mut self, as_of_us: i64, outcome: &mut FunnelOutcome) {
        let definition = &self.definition;
        let lanes = &self.lanes[..self.lanes_used];
        // Of sessions only that with the unit's first start counts, if only the first attempt does; of tied ones any.
        let first_start = |lane: &Lane| {
            let (time_us, place) = lane.first_start()?;
            Some((time_us, if definition.tie_order == TieOrder::Ingest { place } else { 0 }))
        };
        let first =
            (definition.counting == Counting::First).then(|| lanes.iter().filter_map(first_start).min()).flatten();
        let counts = |lane: &&Lane| first.is_none_or(|first| first_start(lane) == Some(first));
        outcome.is_open = lanes.iter().filter(counts).any(|lane| lane.is_open(definition, as_of_us));
        if definition.counting == Counting::Totals {
            std::mem::swap(&mut outcome.spans, &mut self.ended.spans);
            std::mem::swap(&mut outcome.reached, &mut self.ended.reached);
            for lane in lanes {
                lane.report_into(definition, outcome);
            }
        } else {
            let best = lanes.iter().filter(counts).filter(|lane| 0 < lane.level());
            if let Some(lane) = best.min_by_key(|lane| lane.rank(definition)) {
                lane.report_into(definition, outcome);
            }
        }
        for span in &mut outcome.spans {
            span.deadline_us = span.deadline_us.min(as_of_us);
        }
        if definition.voids_units && is_unit_void(lanes.iter().filter(counts)) {
            outcome.clear();
            outcome.is_voided = true;
        }
    }
}

/// Whether no clean attempt goes as far as one would without the exclusions that void units.
fn is_unit_void<'a>(lanes: impl Iterator<Item = &'a Lane> + Clone) -> bool {
    let ordered = lanes.filter_map(|lane| match &lane.search {
        Search::Ordered { chains, disregarding: Some(disregarding) } => Some((chains, disregarding.best.level)),
        _ => None,
    });
    let level = ordered.clone().map(|(_, level)| level).max().unwrap_or(0);
    0 < level && !ordered.clone().any(|(chains, _)| chains.is_clean(level))
}

impl Lane {
    fn new(definition: &FunnelDefinition, session: u64) -> Self {
        let step_count = definition.step_count;
        let search = if definition.order.is_any() {
            Search::Unordered(Unordered::new(step_count))
        } else {
            let disregarding = definition.voids_units.then(|| Box::new(Chains::new(step_count)));
            Search::Ordered { chains: Chains::new(step_count), disregarding }
        };
        Self {
            session,
            search,
            tied: Vec::new(),
            excluded: 0,
            has_run: false,
            run_begin_us: 0,
            run_end_us: 0,
            run_place: 0,
            last_row_us: i64::MIN,
        }
    }

    fn clear(&mut self) {
        self.clear_attempt();
        if let Search::Ordered { disregarding: Some(disregarding), .. } = &mut self.search {
            disregarding.clear();
        }
        self.tied.clear();
        self.excluded = 0;
        self.has_run = false;
    }

    fn clear_attempt(&mut self) {
        match &mut self.search {
            Search::Ordered { chains, .. } => chains.clear(),
            Search::Unordered(unordered) => unordered.clear(),
        }
    }

    fn close_run(&mut self, definition: &FunnelDefinition, matcher: &mut Matcher, ended: &mut FunnelOutcome) {
        if self.has_run {
            let rows = std::mem::take(&mut self.tied);
            let (time_us, place, excluded) = (self.run_begin_us, self.run_place, self.excluded);
            self.take(definition, Instant { time_us, place, excluded, rows: &rows }, matcher, ended);
            self.tied = rows;
            self.tied.clear();
            self.excluded = 0;
            self.has_run = false;
        }
    }

    fn take(
        &mut self,
        definition: &FunnelDefinition,
        instant: Instant<'_>,
        matcher: &mut Matcher,
        ended: &mut FunnelOutcome,
    ) {
        let step_mask = instant.rows.iter().fold(0, |mask, row| mask | row.step_mask);
        if definition.counting == Counting::Totals {
            let starts = if definition.order.is_any() { step_mask != 0 } else { step_mask & 1 != 0 };
            if starts && 0 < self.level() && !self.is_stopped() && !self.could_go_on(definition, instant.time_us) {
                self.report_into(definition, ended);
                self.clear_attempt();
            }
        }
        match &mut self.search {
            Search::Unordered(unordered) => {
                if step_mask != 0 && unordered.best.level < definition.step_count {
                    let row = instant.rows[0].row;
                    unordered.take(definition, instant.time_us, instant.place, row, step_mask);
                }
            }
            Search::Ordered { chains, disregarding } => {
                advance(chains, definition, &definition.barriers, instant, step_mask, matcher);
                if let Some(disregarding) = disregarding {
                    advance(disregarding, definition, &definition.attempt_barriers, instant, step_mask, matcher);
                }
            }
        }
        if definition.counting == Counting::Totals && self.level() == definition.step_count {
            self.report_into(definition, ended);
            self.clear_attempt();
        }
    }

    fn level(&self) -> usize {
        match &self.search {
            Search::Ordered { chains, .. } => chains.best.level,
            Search::Unordered(unordered) => unordered.best.level,
        }
    }

    fn is_stopped(&self) -> bool {
        matches!(&self.search, Search::Ordered { chains, .. } if chains.is_stopped)
    }

    fn first_start(&self) -> Option<(i64, u64)> {
        match &self.search {
            Search::Ordered { chains, .. } => chains.first_start,
            Search::Unordered(_) => None,
        }
    }

    fn could_go_on(&self, definition: &FunnelDefinition, time_us: i64) -> bool {
        match &self.search {
            Search::Ordered { chains, .. } => chains.could_go_on(definition, time_us),
            Search::Unordered(unordered) => unordered.could_go_on(definition, time_us),
        }
    }

    fn is_open(&self, definition: &FunnelDefinition, as_of_us: i64) -> bool {
        let is_quiet = |gap_us: i64| self.last_row_us.saturating_add(gap_us) <= as_of_us;
        0 < self.level()
            && !definition.quiet_gap_us().is_some_and(is_quiet)
            && self.could_go_on(definition, as_of_us.saturating_add(1))
    }

    /// Smaller is better: further; then earlier to get there (by row where rows have an order); then later to start; then
    /// more steps on the way.
    fn rank(&self, definition: &FunnelDefinition) -> (usize, i64, u64, i64, usize, u64) {
        let (reached, place) = match &self.search {
            Search::Ordered { chains, .. } => (&chains.best.reached, chains.best.place),
            Search::Unordered(unordered) => (&unordered.best.reached, unordered.best.place),
        };
        let (first_us, last_us) = (reached[0].time_us, reached[reached.len() - 1].time_us);
        let has_row_order = definition.tie_order == TieOrder::Ingest || definition.order.is_any();
        let order = if has_row_order { place } else { 0 };
        (usize::MAX - self.level(), last_us, order, first_us.saturating_neg(), usize::MAX - reached.len(), place)
    }

    /// Adds the best attempt, if there is one.
    fn report_into(&self, definition: &FunnelDefinition, outcome: &mut FunnelOutcome) {
        let level = self.level();
        if level == 0 {
            return;
        }
        let (reached, deadline_us, met_exclusion) = match &self.search {
            Search::Ordered { chains, .. } => {
                (&chains.best.reached, chains.best.head.deadline_us, chains.best.met_exclusion)
            }
            Search::Unordered(unordered) => (&unordered.best.reached, unordered.best.deadline_us, false),
        };
        let deadline_us = match definition.quiet_gap_us() {
            Some(gap_us) => self.last_row_us.saturating_add(gap_us),
            None => deadline_us,
        };
        let is_complete = level == definition.step_count;
        outcome.add(reached, Span { begin: 0, end: 0, level, is_complete, deadline_us, met_exclusion });
    }
}

fn advance(
    chains: &mut Chains,
    definition: &FunnelDefinition,
    barriers: &[Barrier],
    instant: Instant<'_>,
    step_mask: u32,
    matcher: &mut Matcher,
) {
    if chains.is_settled() {
        return;
    }
    if instant.rows.len() < 2 || definition.tie_order == TieOrder::StrictlyIncreasing {
        chains.take_one(definition, barriers, instant, step_mask);
    } else {
        chains.take_tied(definition, barriers, instant, matcher);
    }
}

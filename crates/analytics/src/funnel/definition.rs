//! What one funnel asks, checked once.
//!
//! In:       a `FunnelQuestion`: steps, order, window, ties, exclusions, counting.
//! Out:      a `FunnelDefinition` that `FunnelFold` can answer exactly.
//! Promise:  what cannot be answered exactly is refused here, with the pair of wishes that do not go together.
//! Not here: which event meets which step (the caller's predicates, as bits of a mask).

use super::{STEP_COUNT_MAX, TieOrder, calendar, check_step_count};
use crate::calendar::{Calendar, Period};
use crate::error::AnalyticsError;

/// In which order steps must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StepOrder {
    /// One after another; anything may lie between.
    #[default]
    Ordered,
    /// As `Ordered`, but a row that does not meet the step last reached or lead on from it breaks the attempt; a later one
    /// can still convert. Repeating the step last reached breaks nothing.
    StrictReset,
    /// As `Ordered`, but once step 1 is reached the first row that no attempt could ever use (it meets no step, or only
    /// steps whose predecessor was not reached) ends the search.
    StrictStop,
    /// In any order: the level is the number of steps done by distinct events within one window, which any step opens.
    Any,
    /// As `Any`, but step 1 must be among them.
    AnyWithFirst,
}

impl StepOrder {
    const ALLOWED: &'static str = "ordered, strict_reset, strict_stop, any, any_with_first";

    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        match text {
            "ordered" => Ok(Self::Ordered),
            "strict_reset" => Ok(Self::StrictReset),
            "strict_stop" => Ok(Self::StrictStop),
            "any" => Ok(Self::Any),
            "any_with_first" => Ok(Self::AnyWithFirst),
            _ => {
                let given = text.to_owned();
                Err(AnalyticsError::FunnelWord { what: "step order", given, allowed: Self::ALLOWED })
            }
        }
    }

    pub(super) fn is_strict(self) -> bool {
        matches!(self, Self::StrictReset | Self::StrictStop)
    }

    pub(super) fn is_any(self) -> bool {
        matches!(self, Self::Any | Self::AnyWithFirst)
    }
}

/// How long an attempt may take from its first event on. Ends are inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FunnelWindow {
    #[default]
    Unlimited,
    Duration {
        length_us: i64,
    },
    /// To the end of the `day_count`-th calendar day, that of the first event being the first, in the zone's calendar.
    CalendarDays {
        day_count: u32,
        zone: String,
    },
    /// All events of one session, by the session number of the row. `quiet_gap_us`: a session with no row for so long is
    /// over; it only decides whether an attempt is still open.
    SameSession {
        quiet_gap_us: i64,
    },
}

/// Which attempts of a unit count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Counting {
    /// The best one: furthest; of these the first to get there; of these the last to start.
    #[default]
    Best,
    /// The best of those that start with the unit's first step-1 event.
    First,
    /// All, one after another: see `FunnelFold`.
    Totals,
}

impl Counting {
    const ALLOWED: &'static str = "best, first, totals";

    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        match text {
            "best" => Ok(Self::Best),
            "first" => Ok(Self::First),
            "totals" => Ok(Self::Totals),
            _ => {
                let given = text.to_owned();
                Err(AnalyticsError::FunnelWord { what: "counting", given, allowed: Self::ALLOWED })
            }
        }
    }
}

/// What an excluded event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExclusionEffect {
    /// No attempt gets past it; steps reached before stay reached, and another attempt may convert.
    VoidAttempt,
    /// The unit is left out, unless an attempt that goes as far as any would without exclusions is clean.
    VoidUnit,
}

impl ExclusionEffect {
    const ALLOWED: &'static str = "void_attempt, void_unit";

    pub fn parse(text: &str) -> Result<Self, AnalyticsError> {
        match text {
            "void_attempt" => Ok(Self::VoidAttempt),
            "void_unit" => Ok(Self::VoidUnit),
            _ => {
                let given = text.to_owned();
                Err(AnalyticsError::FunnelWord { what: "effect of an exclusion", given, allowed: Self::ALLOWED })
            }
        }
    }
}

/// An event that must not happen while an attempt stands at steps `from_step` to `to_step - 1`, before it and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exclusion {
    /// The bit of the exclusion mask, 0 to 31, that says so of a row. Several exclusions may share one.
    pub bit: u32,
    /// Counted from 1.
    pub from_step: usize,
    /// Counted from 1; after `from_step`.
    pub to_step: usize,
    pub effect: ExclusionEffect,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FunnelStep {
    /// May be skipped; if it is done on the way it is reached. Never the first or the last.
    pub is_optional: bool,
    /// From the step of the attempt before it, inclusive; `None` = no limit. Nothing for step 1.
    pub window_us: Option<i64>,
}

/// A funnel as one asks for it; `FunnelDefinition::new` checks it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FunnelQuestion {
    pub steps: Vec<FunnelStep>,
    pub order: StepOrder,
    pub window: FunnelWindow,
    pub tie_order: TieOrder,
    /// A row that comes at most this long after the row before it is tied with it, and so on: the whole run is taken to
    /// have happened when its first row did. Only rows that meet a step or an exclusion are looked at.
    pub tie_tolerance_us: i64,
    pub exclusions: Vec<Exclusion>,
    pub counting: Counting,
}

impl FunnelQuestion {
    /// The plain question: so many mandatory steps, in order, within a window.
    pub fn ordered(step_count: usize, window: FunnelWindow) -> Self {
        Self { steps: vec![FunnelStep::default(); step_count], window, ..Self::default() }
    }
}

/// Until when an attempt may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Limit {
    None,
    Duration(i64),
    Days(u32, Calendar),
    Session { quiet_gap_us: i64 },
}

/// An exclusion as the fold needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Barrier {
    pub(super) bit_mask: u32,
    /// Bit `k`: attempts whose last step is index `k` stand before it.
    pub(super) stands: u32,
    /// The step index at which one is past it.
    pub(super) past: usize,
    pub(super) voids_unit: bool,
}

/// A funnel that can be answered exactly. Made only by `new`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunnelDefinition {
    pub(super) step_count: usize,
    pub(super) order: StepOrder,
    pub(super) limit: Limit,
    pub(super) tie_order: TieOrder,
    pub(super) tie_tolerance_us: i64,
    pub(super) counting: Counting,
    pub(super) optional: u32,
    pub(super) step_windows_us: [i64; STEP_COUNT_MAX],
    pub(super) has_step_windows: bool,
    /// Bit `j` of entry `k`: an attempt whose last step is index `j` may go on with index `k`.
    pub(super) before: [u32; STEP_COUNT_MAX],
    pub(super) step_mask: u32,
    pub(super) exclusion_mask: u32,
    pub(super) barriers: Vec<Barrier>,
    /// Those that void the attempt alone.
    pub(super) attempt_barriers: Vec<Barrier>,
    pub(super) voids_units: bool,
}

impl FunnelDefinition {
    /// Fails for a step count outside 1 to `STEP_COUNT_MAX`, a negative duration, no calendar day, an unknown zone, an
    /// optional first or last step, an exclusion that is not from a step to a later one, and for:
    ///
    /// * `Any` orders with optional steps, windows of steps, exclusions, tie tolerance, `strictly_increasing`, or `First`;
    /// * strict orders with ties other than `ingest`; tolerance with `ingest`;
    /// * optional steps that have or stand beside windows of steps, with strict orders or exclusions;
    /// * `Totals` with ties in `any` order, and with exclusions that void the unit.
    pub fn new(question: FunnelQuestion) -> Result<Self, AnalyticsError> {
        let step_count = check_step_count(question.steps.len())?;
        let limit = check_window(&question.window)?;
        if question.tie_tolerance_us < 0 {
            let given = question.tie_tolerance_us;
            return Err(AnalyticsError::FunnelNumber { what: "the tie tolerance", least: 0, given });
        }
        let optional = check_optional(&question.steps)?;
        let step_windows_us = check_step_windows(&question.steps)?;
        for exclusion in &question.exclusions {
            check_exclusion(exclusion, step_count)?;
        }
        check_together(&question)?;
        let barrier = |exclusion: &Exclusion| Barrier {
            bit_mask: 1 << exclusion.bit,
            stands: bits_below(exclusion.to_step - 1) & !bits_below(exclusion.from_step - 1),
            past: exclusion.to_step - 1,
            voids_unit: exclusion.effect == ExclusionEffect::VoidUnit,
        };
        let is_of_attempt = |exclusion: &&Exclusion| exclusion.effect == ExclusionEffect::VoidAttempt;
        let barriers: Vec<Barrier> = question.exclusions.iter().map(barrier).collect();
        let attempt_barriers: Vec<Barrier> = question.exclusions.iter().filter(is_of_attempt).map(barrier).collect();
        Ok(Self {
            step_count,
            order: question.order,
            limit,
            tie_order: question.tie_order,
            tie_tolerance_us: question.tie_tolerance_us,
            counting: question.counting,
            optional,
            has_step_windows: question.steps[1..].iter().any(|step| step.window_us.is_some()),
            step_windows_us,
            before: before_each(step_count, optional),
            step_mask: bits_below(step_count),
            exclusion_mask: barriers.iter().fold(0, |mask, barrier| mask | barrier.bit_mask),
            voids_units: attempt_barriers.len() < barriers.len(),
            barriers,
            attempt_barriers,
        })
    }

    pub fn step_count(&self) -> usize {
        self.step_count
    }

    /// Steps one of which every attempt begins with; bit `k` is step `k + 1`. Of a unit that meets none there is nothing to tell.
    pub fn opening_mask(&self) -> u32 {
        if self.order.is_any() { self.step_mask } else { 1 }
    }

    /// Whether step `k` of an answer is "`k` steps done", as it is where they come in any order.
    pub fn is_by_position(&self) -> bool {
        self.order.is_any()
    }

    /// Whether step `step` (from 1) may be skipped.
    pub fn is_optional(&self, step: usize) -> bool {
        (1..=self.step_count).contains(&step) && self.optional & (1 << (step - 1)) != 0
    }

    /// The last moment at which an attempt that starts at `start_us` may reach a step.
    pub(super) fn deadline_us(&self, start_us: i64) -> i64 {
        match &self.limit {
            Limit::None | Limit::Session { .. } => i64::MAX,
            Limit::Duration(length_us) => start_us.saturating_add(*length_us),
            Limit::Days(day_count, days) => {
                let after = days.number(start_us).saturating_add(i64::from(*day_count));
                days.start_us(after).saturating_sub(1)
            }
        }
    }

    pub(super) fn quiet_gap_us(&self) -> Option<i64> {
        match self.limit {
            Limit::Session { quiet_gap_us } => Some(quiet_gap_us),
            _ => None,
        }
    }
}

/// The lowest `count` bits.
pub(super) fn bits_below(count: usize) -> u32 {
    if count >= STEP_COUNT_MAX { u32::MAX } else { (1 << count) - 1 }
}

/// From the last mandatory step before each on: what lies after it is optional.
fn before_each(step_count: usize, optional: u32) -> [u32; STEP_COUNT_MAX] {
    let mut before = [0; STEP_COUNT_MAX];
    for (step, sources) in before.iter_mut().enumerate().take(step_count).skip(1) {
        let first = (0..step).rev().find(|&earlier| optional & (1 << earlier) == 0).unwrap_or(0);
        *sources = bits_below(step) & !bits_below(first);
    }
    before
}

fn check_window(window: &FunnelWindow) -> Result<Limit, AnalyticsError> {
    let not_negative = |what, given: i64| {
        if given < 0 { Err(AnalyticsError::FunnelNumber { what, least: 0, given }) } else { Ok(given) }
    };
    match window {
        FunnelWindow::Unlimited => Ok(Limit::None),
        FunnelWindow::Duration { length_us } => Ok(Limit::Duration(not_negative("the window", *length_us)?)),
        FunnelWindow::CalendarDays { day_count: 0, .. } => {
            Err(AnalyticsError::FunnelNumber { what: "the window in calendar days", least: 1, given: 0 })
        }
        FunnelWindow::CalendarDays { day_count, zone } => {
            Ok(Limit::Days(*day_count, calendar::in_zone(Period::Day, zone)?))
        }
        FunnelWindow::SameSession { quiet_gap_us } => {
            Ok(Limit::Session { quiet_gap_us: not_negative("the quiet gap", *quiet_gap_us)? })
        }
    }
}

fn check_optional(steps: &[FunnelStep]) -> Result<u32, AnalyticsError> {
    let mut optional = 0;
    for (index, _) in steps.iter().enumerate().filter(|(_, step)| step.is_optional) {
        if index == 0 || index + 1 == steps.len() {
            return Err(AnalyticsError::FunnelOptionalEnd { step: index + 1, step_count: steps.len() });
        }
        optional |= 1 << index;
    }
    Ok(optional)
}

fn check_step_windows(steps: &[FunnelStep]) -> Result<[i64; STEP_COUNT_MAX], AnalyticsError> {
    let mut windows_us = [i64::MAX; STEP_COUNT_MAX];
    for (index, step) in steps.iter().enumerate() {
        match step.window_us {
            Some(given) if given < 0 => {
                return Err(AnalyticsError::FunnelNumber { what: "the window of a step", least: 0, given });
            }
            Some(window_us) if 0 < index => windows_us[index] = window_us,
            _ => {}
        }
    }
    Ok(windows_us)
}

fn check_exclusion(exclusion: &Exclusion, step_count: usize) -> Result<(), AnalyticsError> {
    let Exclusion { bit, from_step, to_step, .. } = *exclusion;
    if bit < u32::BITS && 1 <= from_step && from_step < to_step && to_step <= step_count {
        Ok(())
    } else {
        Err(AnalyticsError::FunnelExclusion { from_step, to_step, bit, step_count })
    }
}

/// What no fold of bounded state answers exactly, or what has no one meaning.
fn check_together(question: &FunnelQuestion) -> Result<(), AnalyticsError> {
    let has_optional = question.steps.iter().any(|step| step.is_optional);
    let has_step_windows = question.steps.iter().skip(1).any(|step| step.window_us.is_some());
    let has_exclusions = !question.exclusions.is_empty();
    let has_tolerance = 0 < question.tie_tolerance_us;
    let is_any = question.order.is_any();
    let is_strict = question.order.is_strict();
    let is_totals = question.counting == Counting::Totals;
    let voids_unit = question.exclusions.iter().any(|exclusion| exclusion.effect == ExclusionEffect::VoidUnit);
    let pairs = [
        (is_any && has_optional, "steps in any order", "optional steps"),
        (is_any && has_step_windows, "steps in any order", "windows of steps"),
        (is_any && has_exclusions, "steps in any order", "exclusions between steps"),
        (is_any && has_tolerance, "steps in any order", "a tie tolerance"),
        (is_any && question.counting == Counting::First, "steps in any order", "the first attempt alone"),
        (
            is_any && question.tie_order == TieOrder::StrictlyIncreasing,
            "steps in any order",
            "ties that are strictly increasing",
        ),
        (is_strict && question.tie_order != TieOrder::Ingest, "a strict order", "ties in another order than ingest"),
        (has_tolerance && question.tie_order == TieOrder::Ingest, "ties in the order of ingest", "a tie tolerance"),
        (has_optional && has_step_windows && is_strict, "optional steps and windows of steps", "a strict order"),
        (has_optional && has_step_windows && has_exclusions, "optional steps and windows of steps", "exclusions"),
        (is_totals && question.tie_order == TieOrder::Any && !is_any, "totals", "ties in any order"),
        (is_totals && voids_unit, "totals", "exclusions that void the unit"),
    ];
    match pairs.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, first, second)) => Err(AnalyticsError::FunnelTogether { first, second }),
        None => Ok(()),
    }
}

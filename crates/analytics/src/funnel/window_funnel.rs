//! ClickHouse's `windowFunnel`, restated: for people who compare with it or come from it.
//!
//! In:       a unit's rows `(time_us, mask)`, in any order; a window; modes.
//! Out:      the level.
//! Promise:  the same integer as ClickHouse 26.9 for every mode but `strict_once` joined with a stop mode, which is refused.
//! Not here: step times (ClickHouse has none); the level people usually mean (`exact.rs`).
//!
//! Why both exist: by default one event may serve several steps here, so a visitor with one page view passes
//! "view, then view again". `docs/methods.md#funnel` says by how much the two differ.

use super::{ExactRule, TieOrder, check_step_count, exact_funnel};
use crate::error::AnalyticsError;

/// ClickHouse's strictness switches, all off by default.
///
/// Invariant: `strict_once` is never on together with `strict_order` or `strict_deduplication`; made only by `parse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    strict_deduplication: bool,
    strict_order: bool,
    strict_increase: bool,
    strict_once: bool,
    allow_reentry: bool,
}

impl Modes {
    const ALLOWED: &'static str = "strict_deduplication, strict_order, strict_increase, strict_once, allow_reentry";

    /// * `names`: each one of `strict_deduplication` (a repeated step ends the search), `strict_order` (a foreign
    ///   event ends it), `strict_increase` (each step later than the one before), `strict_once` (an event serves
    ///   one step), `allow_reentry` (with `strict_order`: a step out of order is skipped, not the end).
    /// * Fails for any other name, and for `strict_once` with a mode that ends the search.
    pub fn parse(names: &[&str]) -> Result<Self, AnalyticsError> {
        let mut modes = Self::default();
        for name in names {
            match *name {
                "strict_deduplication" => modes.strict_deduplication = true,
                "strict_order" => modes.strict_order = true,
                "strict_increase" => modes.strict_increase = true,
                "strict_once" => modes.strict_once = true,
                "allow_reentry" => modes.allow_reentry = true,
                other => {
                    return Err(AnalyticsError::FunnelMode { given: other.to_owned(), allowed: Self::ALLOWED });
                }
            }
        }
        let stops = [(modes.strict_order, "strict_order"), (modes.strict_deduplication, "strict_deduplication")];
        match stops.iter().find(|(is_on, _)| *is_on && modes.strict_once) {
            Some((_, second)) => Err(AnalyticsError::FunnelModePair { first: "strict_once", second }),
            None => Ok(modes),
        }
    }
}

/// How far `windowFunnel(window, modes)` says the unit came.
///
/// * `rows`: `(time_us, mask)`, bit `k` of the mask set if the event meets condition `k + 1`; any order.
///   Among equal times lower steps are taken first, as ClickHouse does.
/// * `window_us`: from the event of step 1, inclusive, 0 or more.
/// * Returns 0 to `step_count`. Fails for a step count outside 1 to `STEP_COUNT_MAX`.
///
/// Source: ClickHouse `AggregateFunctionWindowFunnel.cpp`; `docs/methods.md#funnel`.
pub fn window_funnel_level(
    rows: &[(i64, u32)],
    step_count: usize,
    window_us: i64,
    modes: Modes,
) -> Result<usize, AnalyticsError> {
    if modes.strict_once {
        // ClickHouse enumerates sequences for this mode; the exact fold gives the same level in linear time.
        let tie_order = if modes.strict_increase { TieOrder::StrictlyIncreasing } else { TieOrder::Any };
        let rule = ExactRule::new(step_count, Some(window_us), tie_order)?;
        return Ok(exact_funnel(rows, rule).level);
    }
    let step_count = check_step_count(step_count)?;
    Ok(search(&matches_in_order(rows, step_count, modes), step_count, window_us, modes))
}

/// The event of no condition, which only `strict_order` sees.
const FOREIGN: usize = usize::MAX;

/// One entry for each condition each row meets, by time, then foreign events, then lower steps.
fn matches_in_order(rows: &[(i64, u32)], step_count: usize, modes: Modes) -> Vec<(i64, usize)> {
    let mut matches = Vec::with_capacity(rows.len());
    for &(time_us, mask) in rows {
        let before = matches.len();
        matches.extend((0..step_count).filter(|step| mask & (1 << step) != 0).map(|step| (time_us, step)));
        if modes.strict_order && matches.len() == before {
            matches.push((time_us, FOREIGN));
        }
    }
    // `wrapping_add` puts FOREIGN first within its instant.
    matches.sort_unstable_by_key(|&(time_us, step)| (time_us, step.wrapping_add(1)));
    matches
}

/// The time of a chain's first and last event.
#[derive(Clone, Copy)]
struct Span {
    first_us: i64,
    last_us: i64,
}

fn search(matches: &[(i64, usize)], step_count: usize, window_us: i64, modes: Modes) -> usize {
    let mut spans: Vec<Option<Span>> = vec![None; step_count];
    for &(time_us, step) in matches {
        let has_start = spans[0].is_some();
        if step == FOREIGN {
            if has_start {
                break;
            }
            continue;
        }
        if step == 0 {
            spans[0] = Some(Span { first_us: time_us, last_us: time_us });
            if step_count == 1 {
                return 1;
            }
            continue;
        }
        if modes.strict_deduplication && spans[step].is_some() {
            break;
        }
        let Some(before) = spans[step - 1] else {
            if modes.strict_order && has_start && !modes.allow_reentry {
                break;
            }
            continue;
        };
        let is_in_window = time_us <= before.first_us.saturating_add(window_us);
        if is_in_window && (!modes.strict_increase || before.last_us < time_us) {
            spans[step] = Some(Span { first_us: before.first_us, last_us: time_us });
            if step + 1 == step_count {
                return step_count;
            }
        }
    }
    // A step is only ever set above a set one, so the count is the level.
    spans.iter().flatten().count()
}

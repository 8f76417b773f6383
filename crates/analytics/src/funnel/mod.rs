//! Funnels: how far down a list of steps one unit (person, session, account) came.
//!
//! In:       the unit's rows `(time_us, mask)`: bit `k` of `mask` says that the event meets step `k + 1`.
//! Out:      the level reached (0 = never entered) and, from the exact fold, the times of the steps.
//! Promise:  exact: each event is used once and the level is the best that exists; `window_funnel`:
//!           ClickHouse's answer, row for row, quirks included.
//! Not here: which event meets which step (the caller's predicates), rates and intervals (`stats::wilson_interval`).
//!
//! Definitions: `docs/methods.md#funnel`.

mod exact;
mod tie_group;
mod window_funnel;

mod definition;
mod fold;
mod outcome;

mod conversion_curve;
mod counts;
mod durations;

mod calendar;
mod chains;
mod tied;
mod unordered;

pub use calendar::{EntryBuckets, EntryPeriod};
pub use conversion_curve::{ConversionCurve, CurvePoint};
pub use counts::{FunnelCounts, Rate};
pub use definition::{
    Counting, Exclusion, ExclusionEffect, FunnelDefinition, FunnelQuestion, FunnelStep, FunnelWindow, StepOrder,
};
pub use durations::DurationCounts;
pub use exact::{Attempt, ExactFold, ExactRule, TieOrder, exact_funnel};
pub use fold::FunnelFold;
pub use outcome::{FunnelAttempt, FunnelOutcome, StepReached};
pub use window_funnel::{Modes, window_funnel_level};

use crate::error::AnalyticsError;

/// One bit of the `u32` mask for each step; also ClickHouse's limit.
pub const STEP_COUNT_MAX: usize = 32;

fn check_step_count(step_count: usize) -> Result<usize, AnalyticsError> {
    if (1..=STEP_COUNT_MAX).contains(&step_count) {
        Ok(step_count)
    } else {
        Err(AnalyticsError::StepCount { given: step_count, max: STEP_COUNT_MAX })
    }
}

#[cfg(test)]
mod fold_tests;
#[cfg(test)]
mod tests;

//! Activity: who was there, period by period.
//!
//! In:       the times of one unit's rows in time order, unit after unit.
//! Out:      by period new, returning, resurrecting and dormant units; units active in trailing windows; units by how many
//!           days of a month they were active.
//! Promise:  exact, not sketched; all counts merge; a row in a period that is already known costs two comparisons, and what
//!           is kept of a unit is bounded by the periods asked about.
//! Not here: which row is activity (the caller's predicate), retention by cohort (`retention`).
//!
//! Definitions: `docs/methods.md#activity`.

mod fold;
mod range;

mod active;
mod lifecycle;
mod stickiness;

pub use active::{ActiveCounts, WINDOW_COUNT_MAX};
pub use fold::{ActivePeriods, ActivityFold};
pub use lifecycle::{LifecycleCounts, LifecyclePeriod};
pub use range::{PERIOD_COUNT_MAX, PeriodRange};
pub use stickiness::{StickinessCounts, StickinessFold};

#[cfg(test)]
mod tests;

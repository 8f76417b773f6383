//! Retention: of the units that began in one period, how many came back in the periods after.
//!
//! In:       rows of one unit in time order, unit after unit, each a start or a return or both, with a value.
//! Out:      a table of cohorts by periods since the start: units, returns, revenue; what is over and what still runs.
//! Promise:  the same table for rows of one time in any order; tables merge exactly; nothing grows with the rows, and a row
//!           allocates nothing once the buffers of the largest unit are there.
//! Not here: which event is a start (the caller's predicates), periods (`calendar`).
//!
//! Definitions: `docs/methods.md#retention`.

mod definition;

mod by_period;
mod by_start;
mod fold;

mod counts;

pub use counts::{CohortRetention, OverallRetention, RetentionCell, RetentionCounts};
pub use definition::{
    CELL_COUNT_MAX, CohortRule, Counting, RetentionDefinition, RetentionQuestion, ReturnEvent, SamePeriod, Windows,
};
pub use fold::RetentionFold;

#[cfg(test)]
mod tests;

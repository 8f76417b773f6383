//! Paths: what people do one thing after another, within a session.
//!
//! In:       rows of one unit (person, account) in time order: a time, a node (page, screen, event: a code of the caller's
//!           dictionary), marks that say whether the row meets the start, the end, the goal.
//! Out:      each path to a sink; of all paths together how many went from where to where at which step, how long it took,
//!           where they ended, the paths most often walked and whether those converted.
//! Promise:  counts are exact before anything is left out, and what is left out is a node of its own, so that into each
//!           node of each step come as many paths as go on from it and end there. Memory is the caller's to bound: counts
//!           can be written away as sorted runs, and runs merge to the same counts.
//! Not here: names of nodes and how they are tidied, which row meets what (`query`).
//!
//! The way through: `definition` says what a path is, `fold` finds paths, `counts` counts them (`node_table`,
//! `flow_table`, `sequence_table`, `duration` are what it keeps), `run` writes and merges counts, `report` picks the largest.
//!
//! Definitions: `docs/methods.md#paths-of-sessions`.

mod definition;
mod fold;

mod tally;

mod counts;
mod duration;
mod flow_table;
mod node_table;
mod sequence_table;

mod report;
mod run;

pub use counts::{CountPlan, PathCounts};
pub use definition::{Anchor, Occurrence, PathDefinition, STEP_COUNT_MAX, SessionCut, Walk};
pub use duration::Durations;
pub use fold::{Marks, Path, PathFold, PathRow};
pub use report::{
    FlowRow, FlowTarget, LevelRow, NodeRow, PathNode, PathReport, PathReportBuilder, ReportLimits, SequenceRest,
    SequenceRow, Width,
};
pub use run::{KEY_BYTES_MAX, RunEntry, merge_runs};
pub use tally::Tally;

/// The largest code a node may have: a step, two nodes and what became of a path fit 64 bits.
pub const NODE_CODE_MAX: u32 = flow_table::NODE_CODE_MAX;

#[cfg(test)]
mod tests;

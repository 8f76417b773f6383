//! Log to lake: order, deduplicate, sessionize, commit. The only writer of the lake.
//!
//! In:       the `events` and `dead_letters` topics of the log, from the positions the lake itself holds.
//! Out:      the tables `events`, `sessions`, `identities`, `dead_letters`.
//! Promise:  each record of the log reaches the lake exactly once, whatever crashes in between; the same
//!           log gives the same rows; what is late, doubled or unreadable is kept apart and counted.
//! Not here: HTTP, SQL, campaigns; what a session is (that is `analytics`).
//!
//! Read `job` first: it is the loop, and `source` what it polls. `commit` says in which order the tables move and what a crash does.

mod aside;
mod catch_up;
mod columns;
mod commit;
mod dedup;
mod enrich;
mod enrich_rules;
mod error;
mod fold;
mod identity_rows;
mod job;
mod live;
mod messages;
mod needed;
mod observe;
mod pending;
mod recover;
mod repair;
mod session_rows;
pub mod settings;
mod source;
mod state_file;
mod tail;

pub use error::{Advice, PipelineError};
pub use job::{GROUP, Parts, Progress, Summary, run, run_live};
pub use live::{LiveDesk, LiveTail, Tail, TailAsked, TailError, live};
pub use needed::needed;
pub use observe::{PartitionStanding, Standing, Tables, describe_metrics, rule_fingerprint};
pub use settings::{Assignment, FileText, PipelineSettings};

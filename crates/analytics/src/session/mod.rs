//! Sessions: which events of one device make one visit, and what that visit was.
//!
//! In:       events of one log partition, in log order, with their own times in any order.
//! Out:      versions of sessions (`Upsert`) and tombstones of sessions that were merged or cut anew.
//! Promise:  the sessions left standing are those of the batch definition over the events that were not late, whatever
//!           the arrival order, the points of `drain`, and the points of restart.
//! Not here: deduplication, the lake, `log_partition` and `version` (all `pipeline`); who the person is (`identities`).
//!
//! Definition: `docs/methods.md#session`. The slow, obvious version is `testkit::oracle::session`. How the state is kept
//! small: `docs/adr/0005-session-state.md`.

mod rule;

mod midnight;

mod id;

mod event;

mod sessionizer;

mod waiting;

mod texts;

mod fact;

mod span;

mod line;

mod draft;

mod changes;

mod slab;

mod filing;

mod restore;

mod snapshot;

mod repair;

pub use changes::{Change, Changes, NO_CURRENCY, Session, Tombstone};
pub use draft::ENGAGED_STEP_US_MAX;
pub use event::{SessionEvent, Shown, Touch, belongs_to_session};
pub use id::{SessionId, SessionIdError, SessionKey};
pub use midnight::Midnight;
pub use repair::{RepairError, Standing, affected, resession};
pub use restore::{FoundSessions, RestoreError, Restorer};
pub use rule::{CampaignSplits, GapCloses, RuleFault, SessionPreset, SessionRule};
pub use sessionizer::{Observed, Sessionizer};
pub use snapshot::SnapshotError;

#[cfg(test)]
mod tests;

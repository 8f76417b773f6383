//! Sessions: which events of one device make one visit, and what that visit was.
//!
//! In:       events of one log partition, in log order, with their own times in any order.
//! Out:      versions of sessions (`Upsert`) and tombstones of sessions that were merged or cut anew.
//! Promise:  the sessions left standing are those of the batch definition over the events that were not late, whatever
//!           the arrival order, the points of `drain`, and the points of restart.
//! Not here: deduplication, the lake, `log_partition` and `version` (all `pipeline`); who the person is (`identities`).
//!
//! Definition: `docs/methods.md#session`. The slow, obvious version is `testkit::oracle::session`.

mod rule;

mod id;

mod event;

mod sessionizer;

mod line;

mod summary;

mod restore;

pub use event::{SessionEvent, Touch, belongs_to_session};
pub use id::{SessionId, SessionIdError, SessionKey};
pub use restore::{FoundSessions, RestoreError, Restorer};
pub use rule::{GapCloses, RuleFault, SessionRule};
pub use sessionizer::{Observed, SessionChange, Sessionizer, Tombstone};
pub use summary::{CurrencyValue, ENGAGED_STEP_US_MAX, NO_CURRENCY, Session};

#[cfg(test)]
mod tests;

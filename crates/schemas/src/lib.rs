//! Every shape that crosses a wall: the event, its bytes in the log, the tables of the lake.
//!
//! In:       nothing; this crate is the ground floor.
//! Out:      `Event` and `DeadLetter`, their wire encoding, the Arrow schemas of all tables, ids and junk rules.
//! Promise:  one column table per shape (`columns`); Arrow, Avro, the docs and the lake are derived from it.
//! Not here: HTTP, Kafka, Delta, tokio, and what the words *mean* (that is `analytics`).

pub mod agents;
pub mod clock;
pub mod columns;
pub mod docs;
pub mod event;
pub mod ids;
pub mod money;
pub mod tables;
pub mod vocabulary;
pub mod wire;

pub use agents::is_mail_scanner;
pub use clock::{Clock, ManualClock, SystemClock};
pub use columns::{Column, ColumnKind, Personal, Purpose};
pub use event::{DeadLetter, Event, Exposure};
pub use ids::{IdError, SourceId, is_junk_id, is_placeholder_id, joins_nobody};
pub use money::{Money, MoneyError, currency};
pub use tables::Table;
pub use vocabulary::{
    ClockQuality, Consent, DeadReason, EngagementClass, EventFlags, EventKind, LinkAction, LinkKind, LinkReason,
};

//! The ordered, partitioned, durable log of keyed bytes that everything else is derived from.
//!
//! In:       records (key, value, time) for a partition of a topic; positions to read from.
//! Out:      offsets, once the record is durable; records in offset order; bounds; lag positions.
//! Promise:  an acknowledged record survives a crash and a power cut; a reader never sees a record that a
//!           crash could take back; a start outside the bounds is an error, never silently moved.
//! Not here: what the bytes mean (`schemas`), who writes (`ingest`), exactly-once (`pipeline`, `lake`).
//!
//! Two lives behind one trait: [`embedded`] (segment files on a local disk) and [`kafka`] (feature `kafka`); [`spooled`] puts
//! the first before the second. One conformance suite, `tests/it/conformance.rs`, holds all to the same promise.

mod error;
mod log;
mod partition;

pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod spooled;

pub use error::{Advice, LogError};
pub use log::{Ack, Bounds, Change, Delivered, EventLog, LogReader, Polled, Record, SpoolState, TopicInfo, TopicSpec};
pub use partition::partition_for;

//! The one integration-test binary of the log.
//!
//! `conformance` holds every life of the log to the same promise; the other modules test what only one has.
#![allow(clippy::unwrap_used)]

mod conformance;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_group;
mod kill;
mod spooled;

//! The stream job against a real embedded log and real Delta tables.
#![allow(clippy::unwrap_used)]

mod enrich;
mod live;
mod oracle;
mod power_cut;
mod real_data;
mod replay;
mod slow_log;
mod world;

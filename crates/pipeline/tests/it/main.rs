//! The stream job against a real embedded log and real Delta tables.
#![allow(clippy::unwrap_used)]

mod changed_log;
mod enrich;
mod group_log;
mod live;
mod log_changes;
mod oracle;
mod power_cut;
mod real_data;
mod repair;
mod replay;
mod retention;
mod rival_store;
mod rivals;
mod session_row;
mod silence;
mod slow_log;
mod state;
mod world;

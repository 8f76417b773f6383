//! The house stands: the real binary, on real logs, with real clients, through faults.
//!
//! One binary, so that the tests link once. What needs Kafka, Python or Node finds them through environment
//! variables that `cargo xtask test` sets; without them those tests say on stderr that they were skipped.

#![allow(clippy::unwrap_used, reason = "tests")]

// The walls.
mod arrows;

// What the tests below stand on.
mod audit;
mod chance;
mod load;
mod outside;
mod proxy;
mod server;

// The line as its users meet it.
mod bad_input;
mod browser;
mod bucket;
mod dashboards;
mod dead_letters;
mod definitions;
mod dialects;
mod door;
mod flight;
mod graceful;
mod live;
mod openapi;
mod other_engine;
mod own_csv;
mod page;
mod persons;
mod postgres;
mod scale_out;
mod sdk;
mod tls;
mod tour;
mod watch;

// The line under fire.
mod kafka_away;
mod kafka_changes;
mod kill_loop;
mod replay;
mod workers;

// The commands and the demo.
mod cli;
mod demo;
mod import;
mod lake;
mod ops;
mod settings;
mod shell;

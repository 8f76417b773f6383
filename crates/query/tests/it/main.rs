//! The engine as its users meet it: over a real lake with a planted world.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod access_shop;
mod currencies;
mod definitions;
mod distributed;
mod docs;
mod experiment_oracle;
mod experiment_reference;
mod experiments;
mod facts;
mod http;
mod limits;
mod live;
mod people;
mod persons;
mod plans;
mod random_funnels;
mod slt;
mod world;

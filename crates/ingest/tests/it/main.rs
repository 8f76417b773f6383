//! The door from outside: requests in, answers and records out, against a log that can be told to fail.

#![allow(clippy::unwrap_used)]

mod captures;
mod corpus;
mod dialects;
mod durability;
mod hostile;
mod house;
mod limits;
mod mail;
mod messages;
mod native;
mod neighbours;
mod privacy;
mod recorder;
mod schemas;
mod segment;
mod webhooks;

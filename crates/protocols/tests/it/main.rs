//! The protocols against an engine on an empty lake, byte by byte: what real clients never send, and what they leave behind.

#![allow(clippy::unwrap_used, reason = "tests")]

mod client;
mod postgres;

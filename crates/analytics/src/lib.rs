//! What the words mean: session, person, funnel, path, credit, experiment.
//!
//! In:       plain values: times in UTC microseconds, masks, counts, amounts in micros.
//! Out:      plain values; the same ones for the same input, on every machine.
//! Promise:  pure: no async, no clock, no random number, no I/O. One definition for each word: SQL, HTTP and the
//!           streaming job call the same function. Each is proved against a slow, obvious version in `testkit::oracle`.
//! Not here: how rows come to be (`pipeline`), how they are found (`query`), SQL, Arrow.
//!
//! Definitions with their sources: `docs/methods.md`.

pub mod error;

pub mod calendar;

pub mod funnel;

pub mod path;
pub mod retention;

pub mod activity;

pub mod rfm;

pub mod attribution;

pub mod stats;

pub mod experiment;

pub mod session;

pub mod identity;

pub mod channel;

pub mod enrich;

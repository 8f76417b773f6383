//! The door of the tests, for the fuzz targets.
//!
//! In:      the name of a parser, and bytes.
//! Out:     nothing; a promise of the door that does not hold panics, and so does an input that takes a second.
//! Not here: the promises (`promises/`), and the door on a recorder (the tests' own, by its path).

#![allow(clippy::unwrap_used, dead_code, reason = "the tests' house has rooms that are not used here")]

use std::time::Duration;

use libfuzzer_sys::Corpus;
use rustix::time::{ClockId, clock_gettime};

#[path = "../../crates/ingest/tests/it/house.rs"]
mod house;
mod promises;
#[path = "../../crates/ingest/tests/it/recorder.rs"]
mod recorder;

/// Longest work one input may make: it asks twice and decodes what came of it. By the thread's own clock, so that a busy
/// machine finds nothing that is not there.
const WORK_MAX: Duration = Duration::from_secs(1);

pub fn run(parser: &str, input: &[u8]) -> Corpus {
    let begin = worked();
    let is_input = promises::check(parser, input);
    let took = worked() - begin;
    assert!(took < WORK_MAX, "{} bytes made work for {took:?}", input.len());
    if is_input { Corpus::Keep } else { Corpus::Reject }
}

fn worked() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).expect("this clock begins at nought")
}

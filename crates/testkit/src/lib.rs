//! What tests share: slow obvious versions of each rule, and worlds whose truth was planted.
//!
//! In:       seeds and plain values.
//! Out:      answers and events to compare with.
//! Promise:  the same output for the same input, for ever; no rule here shares code with the rule it checks.
//! Not here: test cases, which live beside what they test.

pub mod oracle;
pub mod world;

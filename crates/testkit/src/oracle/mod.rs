//! Slow, obvious versions: what the fast ones are proved against.
//!
//! In:       plain values, few of them.
//! Out:      the right answer.
//! Promise:  each is short enough to be read as the definition.
//! Not here: speed.

pub mod activity;
pub mod attribution;
pub mod experiment;
pub mod funnel;
pub mod funnel_attempts;
pub mod identity;
pub mod markov;
pub mod path;
pub mod retention;
pub mod rfm;
pub mod session;
pub mod shapley;

//! Every promise of the crate that needs more than one rule to check, in one binary.
//!
//! In:       `tests/data` (facts from reference implementations; see its README) and random small cases.
//! Out:      pass or fail; a failing random case prints the input that failed.
//! Promise:  reads only files of this crate, but for the folder that `TRIBUTARY_TEST_ORACLES` names, if it is set: there the
//!           whole sets are of which `tests/data` has parts.
//! Not here: one rule alone, which is tested beside it.

#![expect(clippy::unwrap_used, reason = "a helper of a test may stop the test")]

mod activity_oracle;
mod activity_reference;
mod attribution_learnt_oracle;
mod attribution_learnt_reference;
mod attribution_oracle;
mod attribution_reference;
mod calendar_cases;
mod calendar_oracle;
mod enrich;
mod experiment_cases;
mod experiment_gbstats;
mod experiment_oracle;
mod experiment_packages;
mod experiment_peeking;
mod experiment_properties;
mod experiment_reference;
mod fixtures;
mod funnel_attempts_oracle;
mod funnel_attempts_reference;
mod funnel_oracle;
mod funnel_reference;
mod identity;
mod path_oracle;
mod path_reference;
mod retention_cases;
mod retention_oracle;
mod retention_reference;
mod rfm_oracle;
mod rfm_reference;
mod session;

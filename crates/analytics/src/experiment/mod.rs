//! Experiments: did the treatment move the number, and may we believe it?
//!
//! In:       per arm mergeable statistics of units (`Breakdown` gathers them in one pass); the planned split.
//! Out:      an effect of any kind of metric, its tests (fixed, sequential, Bayes), a decision with its reasons.
//! Promise:  equals scipy, statsmodels, gbstats and tea-tasting within 1e-9 (docs name the function, and where we differ
//!           on purpose); p is a tail, so it does not drop to 0 by rounding, and its logarithm is given beside it.
//! Not here: finding units and events (`query`).
//!
//! The way through: `exposure` and `window` say who and what counts; `breakdown` gathers; `Effect` compares two arms
//! (or `strata`, `quantile`), of means, shares or ratios, `winsor` capped or not; `fixed`, `lift`, `sequential`,
//! `group_sequential`, `bayes` infer; `multiple` adjusts; `split`, `novelty` and `power` check; `decision` says what to do.
//! `comparison` and `verdict` are the short way, for one look at plain means and shares.
//!
//! Definitions: `docs/methods.md#experiment`.

mod exposure;
mod window;

mod breakdown;
mod winsor;

mod comparison;
mod effect;
mod quantile;
mod strata;

mod bayes;
mod fixed;
mod group_sequential;
mod lift;
mod multiple;
mod sequential;

mod novelty;
mod power;
mod split;

mod decision;
mod verdict;

pub use bayes::{BetaComparison, BetaPrior, NormalPrior, Posterior, Scale, compare_beta, posterior};
pub use breakdown::{Breakdown, Gather, OTHER, SLICE_COUNT_MAX};
pub use comparison::{Comparison, Proportion, Untestable, compare_means, compare_proportions};
pub use decision::{Advice, Decision, DecisionRule, Evidence, Ground, Guardrail, Look, decide};
pub use effect::{Effect, Estimate};
pub use exposure::{Exposures, FirstExposure};
pub use fixed::{Alternative, FixedTest, Reference, Tested};
pub use group_sequential::{LookBound, Spending, look_bounds};
pub use lift::{LiftInterval, LiftMethod, lift_interval};
pub use multiple::{Correction, adjust, adjusted_interval};
pub use novelty::{DayByDay, Novelty, NoveltyRule, novelty};
pub use power::{Horizon, Plan, Remaining, units_for_effect_size, units_for_shares, units_for_student};
pub use quantile::{ClusteredSample, QuantilePoints, Spacing, quantile_effect};
pub use sequential::{ConfidenceSequence, MixtureTest};
pub use split::{RecordedArm, SplitCheck, SplitUnknown, check_split, recorded_weights};
pub use strata::{Stratum, stratified_cuped_means, stratified_cuped_ratios, stratified_means, stratified_ratios};
pub use verdict::{Finding, Goal, Judgement, Reason, Rule, Verdict, judge, judge_by};
pub use window::{InProgress, MetricWindow, is_retained, is_through_funnel};
pub use winsor::{CapRule, cap};

#[cfg(test)]
mod tests;

//! Experiments: did the treatment move the number, and may we believe it?
//!
//! In:       per arm the moments of a value, or successes among units; the planned split.
//! Out:      a comparison (difference, lift, intervals, p), a check of the split, a verdict with its reasons.
//! Promise:  equals scipy and statsmodels within 1e-9 (docs name the function); p is a tail, so it does not drop
//!           to 0 by rounding, and its logarithm is given beside it.
//! Not here: who was exposed when (`query`), looking again and again until p is small: these are
//!           fixed-horizon tests, right at one look decided beforehand.
//!
//! Definitions: `docs/methods.md#experiment`.

mod comparison;
mod split;
mod verdict;

pub use comparison::{Comparison, Proportion, Untestable, compare_means, compare_proportions};
pub use split::{RecordedArm, SplitCheck, SplitUnknown, check_split, recorded_weights};
pub use verdict::{Goal, Judgement, Reason, Rule, Verdict, judge};

#[cfg(test)]
mod tests;

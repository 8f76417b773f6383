//! The few pieces of statistics that funnels and experiments share.
//!
//! In:       counts and values, or sums that were gathered elsewhere.
//! Out:      moments that merge, intervals, tail probabilities.
//! Promise:  agrees with scipy and statsmodels within 1e-9; a tail too small for an `f64` still has its logarithm.
//! Not here: what is compared with what, and what to conclude (`experiment`).

mod interval;
mod joint;
mod moments;
mod sample;
pub(crate) mod tail;

pub use interval::{Alpha, Interval, wilson_interval};
pub use joint::JointMoments;
pub use moments::Moments;
pub use sample::{UnitSample, quantile_of_sorted};
pub use tail::PValue;

#[cfg(test)]
mod tests;

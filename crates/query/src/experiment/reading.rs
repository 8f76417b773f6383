//! One arm of a slice on one metric, as it was counted.
//!
//! In:       the arm's cells, by stratum.
//! Out:      its share, its moments by stratum, its quantile; its value with the interval of its own.
//! Promise:  read off once an arm: samples are put in order here and nowhere else.
//! Not here: comparing arms (`infer.rs`).

use std::collections::BTreeMap;

use tributary_analytics::experiment::{ClusteredSample, Estimate, FixedTest, Proportion, QuantilePoints, Spacing};
use tributary_analytics::stats::{Alpha, JointMoments, wilson_interval};

use super::measure::Measure;
use super::sums::WIDTH;
use super::tally::{Arm, MetricCell};

pub(super) struct Reading {
    pub(super) share: Proportion,
    /// Of the strata that have anybody who counts.
    pub(super) joints: BTreeMap<Option<u32>, JointMoments<WIDTH>>,
    /// Of a quantile, with any value.
    pub(super) points: Option<QuantilePoints>,
    pub(super) in_progress: u64,
}

/// An arm by itself, nothing taken out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alone {
    pub(super) value: Option<f64>,
    /// Of one look.
    pub(super) interval: Option<[f64; 2]>,
}

impl Reading {
    /// * `metric`: its place among the metrics.
    /// * `cap`: as `MetricCell::joint` takes it.
    pub(super) fn of(measure: Measure, metric: usize, arm: &Arm, cap: Option<f64>) -> Self {
        let cells = || arm.0.iter().map(|(stratum, cell)| (*stratum, &cell.metrics[metric]));
        let sum = |of: fn(&MetricCell) -> u64| cells().map(|(_, cell)| of(cell)).sum::<u64>();
        let (yes, all) = (sum(|cell| cell.with_any), sum(|cell| cell.unit_count));
        // A stratum of nobody but crossovers is none.
        let counted = cells().filter(|(_, cell)| 0 < cell.unit_count);
        let points = match measure {
            Measure::Quantile { level } => {
                let values = cells().map(|(_, cell)| cell.values.clone()).reduce(ClusteredSample::merge);
                values.and_then(|values| values.points(level, Spacing::Exact))
            }
            _ => None,
        };
        Self {
            share: Proportion::new(yes, all).expect("who did something is among the units"),
            joints: counted.map(|(stratum, cell)| (stratum, cell.joint(cap))).collect(),
            points,
            in_progress: sum(|cell| cell.in_progress),
        }
    }

    pub(super) fn unit_count(&self) -> u64 {
        self.share.unit_count()
    }

    pub(super) fn alone(&self, measure: Measure, alpha: Alpha) -> Alone {
        if measure.is_share() {
            let (yes, all) = (self.share.success_count(), self.share.unit_count());
            let interval = wilson_interval(yes, all, alpha).map(|of| [of.low, of.high]);
            return Alone { value: (0 < all).then(|| yes as f64 / all as f64), interval };
        }
        let joint = self.joints.values().copied().reduce(JointMoments::merge).unwrap_or_default();
        let (value, estimate) = match measure {
            Measure::Quantile { .. } => (self.points.map(|of| of.value), self.points.and_then(|of| of.estimate())),
            Measure::Ratio => {
                let ratio = joint.means().filter(|means| means[1] != 0.0).map(|means| means[0] / means[1]);
                (ratio, Estimate::of_ratio(&joint.columns([0, 1])))
            }
            _ => (joint.means().map(|means| means[0]), Estimate::of_mean(&joint.moments(0))),
        };
        let test = FixedTest { alpha, ..FixedTest::CONVENTIONAL };
        // Without any spread an interval would say that nothing is left to know.
        let has_error = |estimate: &Estimate| 0.0 < estimate.standard_error && 1.0 <= estimate.degrees_of_freedom;
        let interval = estimate.filter(has_error).map(|estimate| test.run(&estimate).interval);
        Alone { value, interval: interval.map(|of| [of.low, of.high]) }
    }
}

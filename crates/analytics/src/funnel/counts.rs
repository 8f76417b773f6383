//! Funnel numbers over many units: reached, rates, times, who may still convert.
//!
//! In:       outcomes of units; one `FunnelCounts` for each value of a breakdown or bucket of entries, kept by the caller.
//! Out:      for each step how many attempts reached it, shares with intervals, times to convert; the conversion curve.
//! Promise:  merged parts equal the whole; bounded by the number of steps, not of units.
//! Not here: which step's event a breakdown takes its value from: the caller looks it up by the row of the step.

use super::FunnelAttempt;
use super::FunnelDefinition;
use super::conversion_curve::ConversionCurve;
use super::durations::DurationCounts;
use super::outcome::FunnelOutcome;
use crate::stats::{Alpha, Interval, wilson_interval};

/// A share with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub reached: u64,
    pub of: u64,
    /// `reached / of`; `None` of none.
    pub ratio: Option<f64>,
    /// Wilson's; `None` of none.
    pub interval: Option<Interval>,
}

impl Rate {
    fn new(reached: u64, of: u64, alpha: Alpha) -> Self {
        let ratio = (of != 0).then(|| reached as f64 / of as f64);
        Self { reached, of, ratio, interval: wilson_interval(reached, of, alpha) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct StepCounts {
    reached: u64,
    from_first: DurationCounts,
    from_previous: DurationCounts,
}

/// Counts of attempts: of units, unless the counting is `Totals`.
///
/// Under `StepOrder::Any` step `k` is "`k` steps done".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunnelCounts {
    steps: Vec<StepCounts>,
    optional: u32,
    is_by_position: bool,
    curve: ConversionCurve,
    open_count: u64,
    voided_count: u64,
    met_exclusion_count: u64,
}

impl FunnelCounts {
    pub fn new(definition: &FunnelDefinition) -> Self {
        Self {
            steps: vec![StepCounts::default(); definition.step_count],
            optional: definition.optional,
            is_by_position: definition.order.is_any(),
            curve: ConversionCurve::default(),
            open_count: 0,
            voided_count: 0,
            met_exclusion_count: 0,
        }
    }

    /// Counts a unit with all its attempts. For a breakdown or trend of totals, where the attempts of a unit may belong
    /// apart, use `push_attempt` and the outcome's flags instead.
    pub fn push(&mut self, outcome: &FunnelOutcome) {
        for attempt in outcome.attempts() {
            self.push_attempt(&attempt);
        }
        self.push_flags(outcome);
    }

    /// Counts whether the unit is open or left out: for who counts its attempts by `push_attempt`.
    pub fn push_flags(&mut self, outcome: &FunnelOutcome) {
        self.open_count += u64::from(outcome.is_open);
        self.voided_count += u64::from(outcome.is_voided);
    }

    /// Counts one attempt, of an outcome of the same definition.
    pub fn push_attempt(&mut self, attempt: &FunnelAttempt<'_>) {
        let start_us = attempt.start_us();
        let mut previous_us = start_us;
        for (position, reached) in attempt.reached.iter().enumerate() {
            let index = if self.is_by_position { position } else { reached.step - 1 };
            let step = &mut self.steps[index];
            step.reached += 1;
            if position != 0 {
                step.from_first.push(reached.time_us.saturating_sub(start_us));
                step.from_previous.push(reached.time_us.saturating_sub(previous_us));
            }
            previous_us = reached.time_us;
        }
        if attempt.is_complete {
            self.curve.push_converted(attempt.duration_us());
        } else {
            self.curve.push_watched(attempt.observed_until_us.saturating_sub(start_us));
        }
        self.met_exclusion_count += u64::from(attempt.met_exclusion);
    }

    /// * `other`: of the same definition.
    pub fn merge(&mut self, other: &Self) {
        debug_assert_eq!(self.steps.len(), other.steps.len(), "counts of one definition");
        for (step, more) in self.steps.iter_mut().zip(&other.steps) {
            step.reached += more.reached;
            step.from_first.merge(&more.from_first);
            step.from_previous.merge(&more.from_previous);
        }
        self.curve.merge(&other.curve);
        self.open_count += other.open_count;
        self.voided_count += other.voided_count;
        self.met_exclusion_count += other.met_exclusion_count;
    }

    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// How many attempts reached step `step` (from 1); never more than a mandatory step before.
    pub fn reached(&self, step: usize) -> u64 {
        self.steps[step - 1].reached
    }

    /// Of those that entered.
    pub fn rate_from_first(&self, step: usize, alpha: Alpha) -> Rate {
        Rate::new(self.reached(step), self.reached(1), alpha)
    }

    /// Of those that reached the last mandatory step before; for step 1 itself.
    pub fn rate_from_previous(&self, step: usize, alpha: Alpha) -> Rate {
        let previous = (1..step).rev().find(|previous| self.optional & (1 << (previous - 1)) == 0).unwrap_or(1);
        Rate::new(self.reached(step), self.reached(previous), alpha)
    }

    /// From step 1 to step `step`, of the attempts that reached it; empty for step 1.
    pub fn time_from_first(&self, step: usize) -> &DurationCounts {
        &self.steps[step - 1].from_first
    }

    /// From the step each attempt reached before it; empty for step 1.
    pub fn time_from_previous(&self, step: usize) -> &DurationCounts {
        &self.steps[step - 1].from_previous
    }

    /// Units that may still convert: their window is not over.
    pub fn open_count(&self) -> u64 {
        self.open_count
    }

    /// Units left out by an exclusion that voids units.
    pub fn voided_count(&self) -> u64 {
        self.voided_count
    }

    /// Attempts that an exclusion ended where they stood.
    pub fn met_exclusion_count(&self) -> u64 {
        self.met_exclusion_count
    }

    /// From step 1 to the last step.
    pub fn conversion_curve(&self) -> &ConversionCurve {
        &self.curve
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FunnelFold, FunnelQuestion, FunnelWindow};
    use super::*;

    #[test]
    fn rates_have_intervals_and_previous_means_the_last_mandatory_step() {
        let window = FunnelWindow::Duration { length_us: 100 };
        let mut question = FunnelQuestion::ordered(3, window);
        question.steps[1].is_optional = true;
        let definition = FunnelDefinition::new(question).unwrap();
        let mut counts = FunnelCounts::new(&definition);
        let (mut fold, mut outcome) = (FunnelFold::new(&definition), FunnelOutcome::default());
        for rows in [&[(0, 1), (4, 2), (9, 4)][..], &[(0, 1), (7, 4)], &[(0, 1)], &[(0, 2)]] {
            for (time_us, mask) in rows {
                fold.push(*time_us, 0, *mask, 0, 0);
            }
            fold.finish_into(50, &mut outcome);
            counts.push(&outcome);
        }
        let alpha = Alpha::FIVE_PERCENT;
        assert_eq!([1, 2, 3].map(|step| counts.reached(step)), [3, 1, 2]);
        let rate = counts.rate_from_previous(3, alpha);
        assert_eq!((rate.reached, rate.of, rate.interval), (2, 3, wilson_interval(2, 3, alpha)));
        assert_eq!(counts.time_from_first(3).mean_us(), Some(8.0));
        assert_eq!(counts.time_from_previous(3).mean_us(), Some(6.0));
        assert_eq!(counts.open_count(), 1);
        let shares: Vec<f64> = counts.conversion_curve().points(alpha).iter().map(|point| point.share).collect();
        assert!((shares[0] - 1.0 / 3.0).abs() < 1e-12 && (shares[1] - 2.0 / 3.0).abs() < 1e-12);
    }
}

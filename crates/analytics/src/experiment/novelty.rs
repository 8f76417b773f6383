//! Novelty: an effect that is there because it is new fades; one that must be learned grows.
//!
//! In:       per unit its value by whole days since its exposure.
//! Out:      the effect day by day, and a test of "late is as early".
//! Promise:  the test compares each unit with itself (late less early, a day), so that units who always do more do not
//!           look like a trend; only units seen for the whole time take part, so neither does who came when.
//! Not here: the calendar; a holiday hits units at different days since exposure.
//!
//! Definitions: `docs/methods.md#novelty`.

use std::collections::BTreeMap;

use super::comparison::Untestable;
use super::effect::Effect;
use super::fixed::{FixedTest, Tested};
use crate::stats::Moments;

/// Which days are early and which late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoveltyRule {
    /// Days 0 up to this one are early; above 0.
    pub early_days: u32,
    /// Days from there up to this one are late; above `early_days`.
    pub days: u32,
}

impl NoveltyRule {
    /// The first week against the second.
    pub const CONVENTIONAL: Self = Self { early_days: 7, days: 14 };
}

/// What is kept of one arm.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DayByDay {
    days: BTreeMap<u32, Moments>,
    /// Of units seen for all days: late less early, both a day.
    late_less_early: Moments,
}

impl DayByDay {
    /// From what was gathered elsewhere, such as by whole numbers.
    ///
    /// * `days`: by day since exposure, of the units seen for that day in full.
    /// * `late_less_early`: of units seen for all days of the rule: a late day's mean less an early day's.
    pub fn from_moments(days: BTreeMap<u32, Moments>, late_less_early: Moments) -> Self {
        Self { days, late_less_early }
    }

    /// Takes in one unit.
    ///
    /// * `values`: per day since exposure, 0 where nothing happened; as many as the unit was seen for in full.
    pub fn push(&mut self, values: &[f64], rule: NoveltyRule) {
        for (day, value) in (0_u32..).zip(values) {
            self.days.entry(day).or_default().push(*value);
        }
        let (early_days, days) = (rule.early_days as usize, rule.days as usize);
        if let (Some(early), Some(late)) = (values.get(..early_days), values.get(early_days..days)) {
            let a_day = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            self.late_less_early.push(a_day(late) - a_day(early));
        }
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        for (day, moments) in other.days {
            let cell = self.days.entry(day).or_default();
            *cell = cell.merge(moments);
        }
        self.late_less_early = self.late_less_early.merge(other.late_less_early);
        self
    }
}

/// What became of the effect over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Novelty {
    /// By day since exposure, each by itself.
    pub days: Vec<(u32, Result<Effect, Untestable>)>,
    /// The effect of a late day less that of an early one, and the test that it is 0.
    pub change: Result<(Effect, Tested), Untestable>,
}

/// Compares two arms day by day.
pub fn novelty(control: &DayByDay, treatment: &DayByDay, test: &FixedTest) -> Novelty {
    let days = control
        .days
        .iter()
        .filter_map(|(day, moments)| Some((*day, Effect::of_means(moments, treatment.days.get(day)?))))
        .collect();
    let change = Effect::of_means(&control.late_less_early, &treatment.late_less_early)
        .map(|effect| (effect, test.run(&effect.absolute())));
    Novelty { days, change }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arm(units: u32, bonus: impl Fn(u32) -> f64) -> DayByDay {
        let mut arm = DayByDay::default();
        for unit in 0..units {
            // Units differ far more from each other than any effect; within a unit a little noise by day.
            let values: Vec<f64> = (0..14)
                .map(|day| f64::from(unit % 50) * 10.0 + f64::from((unit * 7 + day * 13) % 11) + bonus(day))
                .collect();
            arm.push(&values, NoveltyRule::CONVENTIONAL);
        }
        arm
    }

    #[test]
    fn an_effect_that_fades_is_found_and_one_that_stays_is_not() {
        let control = arm(500, |_| 0.0);
        let fades = novelty(&control, &arm(500, |day| if day < 7 { 3.0 } else { 1.0 }), &FixedTest::CONVENTIONAL);
        let (effect, tested) = fades.change.unwrap();
        assert!((effect.difference + 2.0).abs() < 1e-9 && tested.p.p_value < 1e-6, "{effect:?} {tested:?}");
        assert_eq!(fades.days.len(), 14);
        let stays = novelty(&control, &arm(500, |_| 3.0), &FixedTest::CONVENTIONAL);
        assert!(stays.change.unwrap().1.p.p_value > 0.9);
    }

    #[test]
    fn a_unit_seen_for_a_few_days_counts_in_those_only() {
        let mut brief = DayByDay::default();
        brief.push(&[1.0, 2.0], NoveltyRule::CONVENTIONAL);
        assert_eq!((brief.days.len(), brief.late_less_early.unit_count()), (2, 0));
    }
}

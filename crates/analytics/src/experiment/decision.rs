//! The decision: ship it, leave it, keep running, or why that cannot be said.
//!
//! In:       everything that was checked of an experiment on one metric (`Evidence`), and a rule.
//! Out:      one `Advice` with its `Ground`s in words, most important first.
//! Promise:  what voids the experiment is told before what it found; a fixed test that is looked at before its end
//!           decides nothing; the same evidence gives the same text.
//! Not here: the statistics. `verdict.rs` is the shorter form of this, for one comparison at one look.
//!
//! Definitions: `docs/methods.md#decision`.

use std::fmt;

use super::comparison::Untestable;
use super::effect::Estimate;
use super::fixed::Tested;
use super::power::Remaining;
use super::split::{SplitCheck, SplitUnknown};
use super::verdict::{Goal, Reason};
use crate::stats::{Alpha, PValue};

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    Ship,
    DoNotShip,
    KeepRunning,
    /// Something is wrong, or missing, that more units will not mend by themselves.
    CannotSay,
}

impl Advice {
    pub fn words(self) -> &'static str {
        match self {
            Self::Ship => "ship",
            Self::DoNotShip => "do not ship",
            Self::KeepRunning => "keep running",
            Self::CannotSay => "cannot say",
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.words())
    }
}

/// How the p in the evidence may be read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Look {
    /// A fixed test: right once `planned_unit_count` units (both arms) are in, and at no look before.
    Fixed { planned_unit_count: u64 },
    /// A fixed test whose end nobody decided on.
    Unplanned,
    /// A test that is right at any look.
    Sequential,
    /// A look of a group sequential test, and whether its bound is passed.
    Group { is_passed: bool, is_last: bool },
}

/// A metric that must not get worse.
#[derive(Debug, Clone, PartialEq)]
pub struct Guardrail {
    pub name: String,
    /// The effect, and p of "worse", one-sided or two-sided, adjusted or not, as the asker decided.
    pub effect: Result<(Estimate, PValue), Untestable>,
    pub goal: Goal,
}

/// All that is known when it is decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    pub split: Result<SplitCheck, SplitUnknown>,
    pub control_unit_count: u64,
    pub treatment_unit_count: u64,
    /// Units that saw more than one arm and were left out.
    pub crossover_unit_count: u64,
    /// The rarer outcome's expected count in the smaller arm, of shares.
    pub expected_count_min: Option<f64>,
    /// The difference or the lift with its test, p adjusted where several tests are made.
    pub effect: Result<(Estimate, Tested), Untestable>,
    pub look: Look,
    pub guardrails: Vec<Guardrail>,
    /// The change of the effect from early to late days, where it was tested.
    pub novelty: Option<(Estimate, Tested)>,
    /// Until the effect one cares for would be found, where it was asked.
    pub remaining: Option<Remaining>,
}

/// When to speak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecisionRule {
    pub goal: Goal,
    pub alpha: Alpha,
    pub split_alpha: Alpha,
    pub unit_count_min: u64,
    /// More than this share of units in two arms: whatever sorts units into arms does not hold on to them.
    pub crossover_ratio_max: f64,
    /// What is too small an effect to care for, as a size in the estimate's unit; 0 where any is welcome.
    pub effect_size_min: f64,
}

impl DecisionRule {
    /// As `Rule::CONVENTIONAL`; one in a hundred units in two arms, as GrowthBook warns of.
    pub const CONVENTIONAL: Self = Self {
        goal: Goal::HigherIsBetter,
        alpha: Alpha::FIVE_PERCENT,
        split_alpha: Alpha::ONE_PER_MILLE,
        unit_count_min: 100,
        crossover_ratio_max: 0.01,
        effect_size_min: 0.0,
    };
}

/// One fact behind an advice.
#[derive(Debug, Clone, PartialEq)]
pub enum Ground {
    /// Shared with the short verdict.
    Fact(Reason),
    Crossover {
        unit_count: u64,
        ratio: f64,
        ratio_max: f64,
    },
    Better {
        value: f64,
        low: f64,
        high: f64,
    },
    Worse {
        value: f64,
        low: f64,
        high: f64,
    },
    TooSmallToCare {
        value: f64,
        effect_size_min: f64,
    },
    /// The interval lies within what is too small to care for: not "we do not know", but "it is nothing".
    NothingToFind {
        low: f64,
        high: f64,
        effect_size_min: f64,
    },
    GuardrailWorse {
        name: String,
        value: f64,
        log10_p: f64,
    },
    /// Nobody can say that it is not worse.
    GuardrailUntested {
        name: String,
        why: Untestable,
    },
    Peeking {
        unit_count: u64,
        planned_unit_count: u64,
    },
    NoPlan,
    BoundNotPassed {
        is_last: bool,
    },
    Fading {
        change: f64,
        log10_p: f64,
    },
    StillToCome {
        unit_count: f64,
        days: Option<f64>,
    },
    EnoughUnits,
}

impl fmt::Display for Ground {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fact(reason) => reason.fmt(formatter),
            Self::Crossover { unit_count, ratio, ratio_max } => write!(
                formatter,
                "{unit_count} units ({:.2} %) saw more than one arm, {:.2} % are allowed",
                ratio * 100.0,
                ratio_max * 100.0
            ),
            Self::Better { value, low, high } => {
                write!(formatter, "treatment is better: {value:.4}, between {low:.4} and {high:.4}")
            }
            Self::Worse { value, low, high } => {
                write!(formatter, "treatment is worse: {value:.4}, between {low:.4} and {high:.4}")
            }
            Self::TooSmallToCare { value, effect_size_min } => {
                write!(formatter, "the effect is there but {value:.4} is below the {effect_size_min} one cares for")
            }
            Self::NothingToFind { low, high, effect_size_min } => write!(
                formatter,
                "whatever the effect is, it lies between {low:.4} and {high:.4}, below the {effect_size_min} one cares for"
            ),
            Self::GuardrailWorse { name, value, log10_p } => {
                write!(formatter, "guardrail {name} is worse: {value:.4} (p = 10^{log10_p:.1})")
            }
            Self::GuardrailUntested { name, why } => {
                let why = match why {
                    Untestable::TooFewUnits { .. } => "too few units",
                    Untestable::NoVariation => "within neither arm do units differ",
                    Untestable::NoDenominator => "its denominator sums to 0 in an arm",
                };
                write!(formatter, "guardrail {name} cannot be tested: {why}")
            }
            Self::Peeking { unit_count, planned_unit_count } => write!(
                formatter,
                "this is a test for one look at {planned_unit_count} units, and {unit_count} are in: deciding now would \
                 make false winners"
            ),
            Self::NoPlan => formatter.write_str(
                "nobody decided beforehand when to look, so p may have been watched until it was small; plan the end, \
                 or use a sequential test",
            ),
            Self::BoundNotPassed { is_last: false } => {
                formatter.write_str("the bound of this look is not passed, and there are looks to come")
            }
            Self::BoundNotPassed { is_last: true } => formatter.write_str("the bound of the last look is not passed"),
            Self::Fading { change, log10_p } => write!(
                formatter,
                "the effect changes with the days since exposure by {change:.4} (p = 10^{log10_p:.1}): what it will be in \
                 the long run is not known"
            ),
            Self::StillToCome { unit_count, days: Some(days) } => {
                write!(formatter, "{unit_count:.0} more units are needed, {:.0} days at this pace", days.ceil())
            }
            Self::StillToCome { unit_count, days: None } => write!(formatter, "{unit_count:.0} more units are needed"),
            Self::EnoughUnits => formatter.write_str("the effect one cares for would have been found by now"),
        }
    }
}

/// An advice and what it rests on; never without a ground.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub advice: Advice,
    pub grounds: Vec<Ground>,
}

impl fmt::Display for Decision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.advice)?;
        for (index, ground) in self.grounds.iter().enumerate() {
            write!(formatter, "{}{ground}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// Says what to do about an experiment.
///
/// Source: `docs/methods.md#decision`.
pub fn decide(evidence: &Evidence, rule: &DecisionRule) -> Decision {
    let (advice, mut grounds) = match voids(evidence, rule) {
        voids if !voids.is_empty() => (Advice::CannotSay, voids),
        _ => weigh(evidence, rule),
    };
    match &evidence.split {
        Ok(split) if 0 < split.unplanned_unit_count => {
            grounds.push(Ground::Fact(Reason::UnplannedUnits { unit_count: split.unplanned_unit_count }));
        }
        Ok(_) => {}
        Err(unknown) => grounds.push(Ground::Fact(Reason::SplitUnchecked(*unknown))),
    }
    Decision { advice, grounds }
}

/// What makes every number below it worthless.
fn voids(evidence: &Evidence, rule: &DecisionRule) -> Vec<Ground> {
    let mut voids = Vec::new();
    let limit_p = rule.split_alpha.ratio();
    if let Ok(split) = &evidence.split
        && split.p.p_value < limit_p
    {
        voids.push(Ground::Fact(Reason::SplitImprobable { log10_p: split.p.log10_p, limit_p }));
    }
    let counted = evidence.control_unit_count + evidence.treatment_unit_count;
    let ratio = evidence.crossover_unit_count as f64 / (counted + evidence.crossover_unit_count).max(1) as f64;
    if rule.crossover_ratio_max < ratio {
        let unit_count = evidence.crossover_unit_count;
        voids.push(Ground::Crossover { unit_count, ratio, ratio_max: rule.crossover_ratio_max });
    }
    voids
}

/// The advice of an experiment that was run as it should be.
fn weigh(evidence: &Evidence, rule: &DecisionRule) -> (Advice, Vec<Ground>) {
    let shortages = shortages(evidence, rule);
    let (estimate, tested) = match &evidence.effect {
        Ok(effect) if shortages.is_empty() => effect,
        Ok(_) => return (Advice::KeepRunning, with_remaining(shortages, evidence)),
        Err(Untestable::TooFewUnits { .. }) => return (Advice::KeepRunning, with_remaining(shortages, evidence)),
        // More units may bring spread, or a denominator; but as likely the metric is wrong.
        Err(Untestable::NoVariation) => return (Advice::CannotSay, vec![Ground::Fact(Reason::NoVariation)]),
        Err(Untestable::NoDenominator) => return (Advice::CannotSay, vec![Ground::Fact(Reason::NoDenominator)]),
    };
    // A guardrail is heeded at any look: a false alarm costs less than the harm.
    let broken = broken_guardrails(evidence, rule);
    if !broken.is_empty() {
        return (Advice::DoNotShip, broken);
    }
    let is_found = match evidence.look {
        Look::Fixed { planned_unit_count } => {
            let unit_count = evidence.control_unit_count + evidence.treatment_unit_count;
            if unit_count < planned_unit_count {
                let grounds = vec![Ground::Peeking { unit_count, planned_unit_count }];
                return (Advice::KeepRunning, with_remaining(grounds, evidence));
            }
            tested.p.p_value < rule.alpha.ratio()
        }
        Look::Unplanned => return (Advice::CannotSay, vec![Ground::NoPlan]),
        Look::Sequential => tested.p.p_value < rule.alpha.ratio(),
        Look::Group { is_passed, .. } => is_passed,
    };
    if is_found { found(evidence, rule, estimate, tested) } else { not_found(evidence, rule, tested) }
}

fn found(evidence: &Evidence, rule: &DecisionRule, estimate: &Estimate, tested: &Tested) -> (Advice, Vec<Ground>) {
    let value = estimate.value;
    let (low, high) = (tested.interval.low, tested.interval.high);
    let alpha = rule.alpha.ratio();
    let significant = Ground::Fact(Reason::Significant { log10_p: tested.p.log10_p, alpha });
    if !is_better(value, rule.goal) {
        return (Advice::DoNotShip, vec![Ground::Worse { value, low, high }, significant]);
    }
    if value.abs() < rule.effect_size_min {
        let effect_size_min = rule.effect_size_min;
        return (Advice::DoNotShip, vec![Ground::TooSmallToCare { value, effect_size_min }, significant]);
    }
    let mut grounds = vec![Ground::Better { value, low, high }];
    if matches!(evidence.look, Look::Fixed { .. } | Look::Sequential) {
        grounds.push(significant);
    }
    match &evidence.novelty {
        Some((change, change_tested)) if change_tested.p.p_value < alpha && !is_better(change.value, rule.goal) => {
            let fading = Ground::Fading { change: change.value, log10_p: change_tested.p.log10_p };
            grounds.insert(0, fading);
            (Advice::KeepRunning, grounds)
        }
        _ => {
            let untested = untested_guardrails(evidence);
            if untested.is_empty() {
                return (Advice::Ship, grounds);
            }
            grounds.splice(0..0, untested);
            (Advice::CannotSay, grounds)
        }
    }
}

fn not_found(evidence: &Evidence, rule: &DecisionRule, tested: &Tested) -> (Advice, Vec<Ground>) {
    let (low, high) = (tested.interval.low, tested.interval.high);
    let effect_size_min = rule.effect_size_min;
    if 0.0 < effect_size_min && -effect_size_min < low && high < effect_size_min {
        return (Advice::DoNotShip, vec![Ground::NothingToFind { low, high, effect_size_min }]);
    }
    let alpha = rule.alpha.ratio();
    let plain = Ground::Fact(Reason::NotSignificant { p_value: tested.p.p_value, alpha });
    match evidence.look {
        Look::Group { is_last: false, .. } => {
            (Advice::KeepRunning, with_remaining(vec![Ground::BoundNotPassed { is_last: false }], evidence))
        }
        Look::Group { is_last: true, .. } => (Advice::DoNotShip, vec![Ground::BoundNotPassed { is_last: true }]),
        // Its one look is taken. To run on and test again would be peeking.
        Look::Fixed { .. } | Look::Unplanned => (Advice::DoNotShip, vec![plain]),
        Look::Sequential => match evidence.remaining {
            Some(remaining) if remaining.unit_count <= 0.0 => (Advice::DoNotShip, vec![plain, Ground::EnoughUnits]),
            _ => (Advice::KeepRunning, with_remaining(vec![plain], evidence)),
        },
    }
}

fn broken_guardrails(evidence: &Evidence, rule: &DecisionRule) -> Vec<Ground> {
    let broken = |guardrail: &Guardrail| {
        let (estimate, p) = guardrail.effect.ok()?;
        let is_broken = p.p_value < rule.alpha.ratio() && !is_better(estimate.value, guardrail.goal);
        let (name, log10_p) = (guardrail.name.clone(), p.log10_p);
        is_broken.then_some(Ground::GuardrailWorse { name, value: estimate.value, log10_p })
    };
    evidence.guardrails.iter().filter_map(broken).collect()
}

fn untested_guardrails(evidence: &Evidence) -> Vec<Ground> {
    let untested = |guardrail: &Guardrail| {
        let why = guardrail.effect.err()?;
        Some(Ground::GuardrailUntested { name: guardrail.name.clone(), why })
    };
    evidence.guardrails.iter().filter_map(untested).collect()
}

fn shortages(evidence: &Evidence, rule: &DecisionRule) -> Vec<Ground> {
    let (control_unit_count, treatment_unit_count) = (evidence.control_unit_count, evidence.treatment_unit_count);
    let unit_count_min = rule.unit_count_min;
    let mut shortages = Vec::new();
    let is_untestable = matches!(evidence.effect, Err(Untestable::TooFewUnits { .. }));
    if control_unit_count.min(treatment_unit_count) < unit_count_min || is_untestable {
        let few = Reason::FewUnits { control_unit_count, treatment_unit_count, unit_count_min };
        shortages.push(Ground::Fact(few));
    }
    if let Some(few) = evidence.expected_count_min.and_then(Reason::few_successes_or_failures) {
        shortages.push(Ground::Fact(few));
    }
    shortages
}

fn with_remaining(mut grounds: Vec<Ground>, evidence: &Evidence) -> Vec<Ground> {
    if let Some(remaining) = evidence.remaining
        && 0.0 < remaining.unit_count
    {
        grounds.push(Ground::StillToCome { unit_count: remaining.unit_count, days: remaining.days });
    }
    grounds
}

fn is_better(value: f64, goal: Goal) -> bool {
    match goal {
        Goal::HigherIsBetter => 0.0 < value,
        Goal::LowerIsBetter => value < 0.0,
    }
}

#[cfg(test)]
mod tests;

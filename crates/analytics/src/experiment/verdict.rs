//! The verdict: one plain word for people who do not read p values, and why.
//!
//! In:       the check of the split and the comparison (or why there is none), a rule.
//! Out:      a `Verdict` with its `Reason`s.
//! Promise:  in this order: a broken split is never believed; too little data is never called a draw; then p decides.
//! Not here: the statistics themselves.

use std::fmt;

use super::comparison::{Comparison, Untestable};
use super::split::{SplitCheck, SplitUnknown};
use crate::stats::Alpha;

/// Which way the metric should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    HigherIsBetter,
    LowerIsBetter,
}

/// When to speak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// p below this names a winner.
    pub alpha: Alpha,
    /// p of the split below this voids the experiment.
    pub split_alpha: Alpha,
    /// Fewer units than this in either arm: no verdict.
    pub unit_count_min: u64,
    pub goal: Goal,
}

impl Rule {
    /// 5 % for the metric; 1 per mille for the split, which is checked at every look (as GrowthBook does); 100
    /// units an arm, below which a mean of skewed money is not near normal.
    pub const CONVENTIONAL: Self = Self {
        alpha: Alpha::FIVE_PERCENT,
        split_alpha: Alpha::ONE_PER_MILLE,
        unit_count_min: 100,
        goal: Goal::HigherIsBetter,
    };
}

/// The normal approximation to a share is trusted from here (Cochran 1954).
const EXPECTED_COUNT_MIN: f64 = 5.0;

/// What to tell the marketer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    TreatmentWins,
    ControlWins,
    NoClearDifference,
    /// Sample ratio mismatch: assignment or counting is broken.
    SplitBroken,
    TooFewUnits,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Self::TreatmentWins => "winner: treatment",
            Self::ControlWins => "winner: control",
            Self::NoClearDifference => "no clear difference",
            Self::SplitBroken => "split is not as planned: do not trust",
            Self::TooFewUnits => "too few units",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.words())
    }
}

/// One fact behind a verdict. Shown by `Display`, in words.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    SplitImprobable { log10_p: f64, limit_p: f64 },
    UnplannedUnits { unit_count: u64 },
    SplitUnchecked(SplitUnknown),
    FewUnits { control_unit_count: u64, treatment_unit_count: u64, unit_count_min: u64 },
    FewSuccessesOrFailures { expected_count: f64, expected_count_min: f64 },
    NoVariation,
    NoDenominator,
    Significant { log10_p: f64, alpha: f64 },
    NotSignificant { p_value: f64, alpha: f64 },
    Bound { statistic: f64, z: f64, is_passed: bool },
    Chance { to_win: f64, to_lose: f64, needed: f64 },
}

/// What names a winner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Finding {
    /// p of the comparison below alpha: of a fixed or a sequential test, adjusted or not.
    P,
    /// The bound of a look of a group sequential test, passed or not.
    Bound { statistic: f64, z: f64, is_passed: bool },
    /// The chance that treatment is better, or worse, is at least `1 - alpha / 2`: with a flat prior the same as p below
    /// alpha in a z test.
    Chance { to_win: f64, to_lose: f64 },
}

impl Reason {
    /// If so few of the rarer outcome are expected that a share is not near normal.
    pub(super) fn few_successes_or_failures(expected_count: f64) -> Option<Self> {
        let expected_count_min = EXPECTED_COUNT_MIN;
        (expected_count < expected_count_min)
            .then_some(Self::FewSuccessesOrFailures { expected_count, expected_count_min })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SplitImprobable { log10_p, limit_p } => {
                write!(formatter, "the units are not split as planned (p = 10^{log10_p:.1}, limit {limit_p})")
            }
            Self::UnplannedUnits { unit_count } => {
                write!(formatter, "{unit_count} units are in an arm that was to get none")
            }
            Self::SplitUnchecked(SplitUnknown::ChancesVary) => formatter.write_str(
                "the split is not checked: the recorded probabilities changed, and of more than two arms they do not \
                 tell the plan; state it",
            ),
            Self::SplitUnchecked(SplitUnknown::ChancesSum { sum }) => write!(
                formatter,
                "the split is not checked: the recorded probabilities of the arms sum to {sum:.2}, not 1; state the plan"
            ),
            Self::FewUnits { control_unit_count, treatment_unit_count, unit_count_min } => write!(
                formatter,
                "{control_unit_count} units in control and {treatment_unit_count} in treatment, \
                 {unit_count_min} are needed in each"
            ),
            Self::FewSuccessesOrFailures { expected_count, expected_count_min } => write!(
                formatter,
                "an arm would expect {expected_count:.1} of the rarer outcome, {expected_count_min} are needed"
            ),
            Self::NoVariation => {
                formatter.write_str("there is no spread within the arms to measure a difference against")
            }
            Self::NoDenominator => formatter.write_str("the denominator of the ratio is 0 in an arm"),
            Self::Significant { log10_p, alpha } => {
                write!(formatter, "chance alone would show this much with p = 10^{log10_p:.1}, below {alpha}")
            }
            Self::NotSignificant { p_value, alpha } => {
                write!(formatter, "chance alone would show this much with p = {p_value:.3}, not below {alpha}")
            }
            Self::Bound { statistic, z, is_passed } => {
                let passed = if *is_passed { "passes" } else { "does not pass" };
                write!(formatter, "the statistic {statistic:.3} {passed} the bound of this look, {z:.3}")
            }
            Self::Chance { to_win, to_lose, needed } => write!(
                formatter,
                "treatment is better with a chance of {to_win:.4} and worse with {to_lose:.4}, {needed} is asked for"
            ),
        }
    }
}

/// A verdict and the facts it rests on, most important first; never without one.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub reasons: Vec<Reason>,
}

/// Says what to make of an experiment on one metric.
///
/// * `split`: what `check_split` returned, or why there was nothing to check against.
/// * `comparison`: what `compare_means` or `compare_proportions` returned.
///
/// Source: `docs/methods.md#experiment`.
pub fn judge(
    split: &Result<SplitCheck, SplitUnknown>,
    comparison: &Result<Comparison, Untestable>,
    rule: &Rule,
) -> Judgement {
    judge_by(split, comparison, rule, Finding::P)
}

/// The same where something else than p may name the winner.
pub fn judge_by(
    split: &Result<SplitCheck, SplitUnknown>,
    comparison: &Result<Comparison, Untestable>,
    rule: &Rule,
    finding: Finding,
) -> Judgement {
    let (verdict, mut reasons) = decide(split, comparison, rule, finding);
    match split {
        // A few strays do not void the arms that were planned, but someone should look.
        Ok(split) if 0 < split.unplanned_unit_count => {
            reasons.push(Reason::UnplannedUnits { unit_count: split.unplanned_unit_count });
        }
        Ok(_) => {}
        Err(unknown) => reasons.push(Reason::SplitUnchecked(*unknown)),
    }
    Judgement { verdict, reasons }
}

fn decide(
    split: &Result<SplitCheck, SplitUnknown>,
    comparison: &Result<Comparison, Untestable>,
    rule: &Rule,
    finding: Finding,
) -> (Verdict, Vec<Reason>) {
    let limit_p = rule.split_alpha.ratio();
    if let Ok(split) = split
        && split.p.p_value < limit_p
    {
        return (Verdict::SplitBroken, vec![Reason::SplitImprobable { log10_p: split.p.log10_p, limit_p }]);
    }
    let comparison = match comparison {
        Ok(comparison) => comparison,
        Err(untestable) => return (Verdict::TooFewUnits, vec![untestable_reason(*untestable, rule)]),
    };
    let shortages = shortages(comparison, rule);
    if !shortages.is_empty() {
        return (Verdict::TooFewUnits, shortages);
    }
    let (is_found, reason) = found(comparison, rule.alpha.ratio(), finding);
    if !is_found {
        return (Verdict::NoClearDifference, vec![reason]);
    }
    let treatment_is_better = match (finding, rule.goal) {
        // A strong prior may turn the sign of what was counted.
        (Finding::Chance { to_win, to_lose }, _) => to_lose < to_win,
        (_, Goal::HigherIsBetter) => 0.0 < comparison.difference,
        (_, Goal::LowerIsBetter) => comparison.difference < 0.0,
    };
    let verdict = if treatment_is_better { Verdict::TreatmentWins } else { Verdict::ControlWins };
    (verdict, vec![reason])
}

fn found(comparison: &Comparison, alpha: f64, finding: Finding) -> (bool, Reason) {
    match finding {
        Finding::P if comparison.p.p_value < alpha => {
            (true, Reason::Significant { log10_p: comparison.p.log10_p, alpha })
        }
        Finding::P => (false, Reason::NotSignificant { p_value: comparison.p.p_value, alpha }),
        Finding::Bound { statistic, z, is_passed } => (is_passed, Reason::Bound { statistic, z, is_passed }),
        Finding::Chance { to_win, to_lose } => {
            let needed = 1.0 - alpha / 2.0;
            (needed <= to_win.max(to_lose), Reason::Chance { to_win, to_lose, needed })
        }
    }
}

fn untestable_reason(untestable: Untestable, rule: &Rule) -> Reason {
    match untestable {
        Untestable::TooFewUnits { control_unit_count, treatment_unit_count } => {
            Reason::FewUnits { control_unit_count, treatment_unit_count, unit_count_min: rule.unit_count_min }
        }
        Untestable::NoVariation => Reason::NoVariation,
        Untestable::NoDenominator => Reason::NoDenominator,
    }
}

fn shortages(comparison: &Comparison, rule: &Rule) -> Vec<Reason> {
    let (control_unit_count, treatment_unit_count) = (comparison.control_unit_count, comparison.treatment_unit_count);
    let mut shortages = Vec::new();
    if control_unit_count.min(treatment_unit_count) < rule.unit_count_min {
        let unit_count_min = rule.unit_count_min;
        shortages.push(Reason::FewUnits { control_unit_count, treatment_unit_count, unit_count_min });
    }
    shortages.extend(comparison.expected_count_min.and_then(Reason::few_successes_or_failures));
    shortages
}

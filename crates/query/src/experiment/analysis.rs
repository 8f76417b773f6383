//! How arms are compared: the statistics asked for, and what they are asked with.
//!
//! In:       the arguments of `experiment` that say nothing of single units.
//! Out:      an `Analysis`.
//! Promise:  what has no meaning together is refused with the reason, not left out.
//! Not here: the statistics themselves: `analytics::experiment`.

use tributary_analytics::experiment::{
    Alternative, CapRule, Correction, Goal, LiftMethod, LookBound, NormalPrior, Scale, Spending, look_bounds,
};
use tributary_analytics::stats::Alpha;

use super::design::Design;
use super::split::Split;
use crate::error::QueryError;
use crate::table_function::Arguments;

#[derive(Debug, Clone)]
pub(super) struct Analysis {
    pub(super) statistics: Statistics,
    pub(super) alpha: Alpha,
    /// One for each metric.
    pub(super) goals: Vec<Goal>,
    pub(super) control: Option<String>,
    pub(super) split: Option<Split>,
    pub(super) slices_max: usize,
    pub(super) cap: CapRule,
    pub(super) lift: LiftMethod,
    pub(super) correction: Option<Correction>,
    pub(super) units_min: u64,
    pub(super) power: f64,
    /// The smallest lift one cares for, as a size.
    pub(super) effect: Option<f64>,
    pub(super) planned_units: Option<u64>,
    /// Places of the metrics that must not get worse.
    pub(super) guardrails: Vec<usize>,
}

#[derive(Debug, Clone)]
pub(super) enum Statistics {
    /// Right at one look.
    Fixed,
    /// Right at any.
    Sequential {
        tuning_unit_count: f64,
    },
    /// * `looks`: units of all arms at the looks before, ascending.
    GroupSequential {
        planned_units: u64,
        looks: Vec<f64>,
        spending: Spending,
    },
    Bayes {
        prior: Option<NormalPrior>,
    },
}

impl Statistics {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Sequential { .. } => "sequential",
            Self::GroupSequential { .. } => "group_sequential",
            Self::Bayes { .. } => "bayes",
        }
    }
}

impl Analysis {
    /// The bound of the look at so many units of all arms; `None` where looks have none.
    pub(super) fn look(&self, all_unit_count: u64) -> Option<LookBound> {
        let Statistics::GroupSequential { planned_units, looks, spending } = &self.statistics else { return None };
        let planned = *planned_units as f64;
        let now = all_unit_count as f64 / planned;
        // A look at more units than there are now is none that came before.
        let before = looks.iter().map(|units| units / planned).filter(|ratio| *ratio < now);
        let ratios: Vec<f64> = before.chain([now]).filter(|ratio| 0.0 < *ratio).collect();
        look_bounds(&ratios, self.alpha, Alternative::TwoSided, *spending).last().copied()
    }
}

/// Each takes a second's hundredth, and a handful is what such tests are for.
const LOOKS_MAX: usize = 50;

pub(super) fn read(arguments: &Arguments<'_>, design: &Design) -> Result<Analysis, QueryError> {
    let fault = |reason: &str| arguments.fault(reason.to_owned());
    let planned_units = arguments.maybe_whole("planned_units", 2..=u64::from(u32::MAX) * 1_000)?;
    let statistics = statistics(arguments, planned_units)?;
    let lift = match arguments.text("lift")?.as_str() {
        "delta" => LiftMethod::Delta,
        "log" => LiftMethod::Log,
        "fieller" => LiftMethod::Fieller,
        other => return Err(arguments.fault(format!("lift is {other:?}: delta, log or fieller"))),
    };
    if lift != LiftMethod::Delta && !matches!(statistics, Statistics::Fixed) {
        return Err(fault("lift: log and fieller are of fixed tests; leave it out, or take statistics => 'fixed'"));
    }
    let correction = match arguments.maybe_text("correction")?.as_deref() {
        None => None,
        Some("bonferroni") => Some(Correction::Bonferroni),
        Some("holm") => Some(Correction::Holm),
        Some("benjamini_hochberg") => Some(Correction::BenjaminiHochberg),
        Some(other) => {
            return Err(arguments.fault(format!("correction is {other:?}: bonferroni, holm or benjamini_hochberg")));
        }
    };
    if correction.is_some() && !matches!(statistics, Statistics::Fixed | Statistics::Sequential { .. }) {
        return Err(fault(
            "correction: it adjusts p values that may be held against alpha, of fixed and sequential tests",
        ));
    }
    let guardrails = guardrails(arguments, design)?;
    if !guardrails.is_empty() && matches!(statistics, Statistics::Bayes { .. }) {
        return Err(fault("guardrails: they speak in the advice, and Bayes gives none; take another of statistics"));
    }
    let cap = cap(arguments)?;
    if cap != CapRule::None && !design.metrics.iter().any(|metric| metric.measure.is_capped()) {
        return Err(fault("winsorize: it caps the metrics value, count and ratio"));
    }
    if design.places.stratum.is_some() && design.metrics.iter().any(|metric| metric.measure.is_quantile()) {
        return Err(fault("strata: there is no quantile by strata; leave one out"));
    }
    let split = arguments.maybe_text("split")?.map(|split| Split::parse(&split)).transpose();
    Ok(Analysis {
        statistics,
        alpha: alpha(arguments)?,
        goals: goals(arguments, design)?,
        control: arguments.maybe_text("control")?,
        split: split.map_err(|reason| arguments.fault(reason))?,
        slices_max: arguments.whole("slices_max", 1..=10_000)? as usize,
        cap,
        lift,
        correction,
        units_min: arguments.whole("units_min", 0..=1_000_000_000)?,
        power: power(arguments)?,
        effect: arguments.maybe_number("effect", |lift| 0.0 < lift, "a lift above 0, such as 0.05 for 5 %")?,
        planned_units,
        guardrails,
    })
}

fn guardrails(arguments: &Arguments<'_>, design: &Design) -> Result<Vec<usize>, QueryError> {
    let place = |name: &String| {
        let place = design.metrics.iter().position(|metric| metric.name == *name);
        place.ok_or_else(|| arguments.fault(format!("guardrails: '{name}' is none of the metrics: name it there too")))
    };
    arguments.texts("guardrails")?.iter().map(place).collect()
}

pub(super) fn alpha(arguments: &Arguments<'_>) -> Result<Alpha, QueryError> {
    let ratio =
        arguments.number("alpha", |alpha| 0.0 < alpha && alpha < 1.0, "a number between 0 and 1, such as 0.05")?;
    Alpha::new(ratio).map_err(|error| arguments.fault(error.to_string()))
}

/// Above alpha: with less, nothing would be needed.
pub(super) fn power(arguments: &Arguments<'_>) -> Result<f64, QueryError> {
    let alpha = alpha(arguments)?.ratio();
    arguments.number("power", |power| alpha < power && power < 1.0, "a number above alpha and below 1, such as 0.8")
}

pub(super) fn goal(arguments: &Arguments<'_>, text: &str) -> Result<Goal, QueryError> {
    match text {
        "higher" => Ok(Goal::HigherIsBetter),
        "lower" => Ok(Goal::LowerIsBetter),
        other => Err(arguments.fault(format!("goal '{other}' is not known; allowed: higher, lower"))),
    }
}

pub(super) fn goals(arguments: &Arguments<'_>, design: &Design) -> Result<Vec<Goal>, QueryError> {
    let goals = arguments.texts("goal")?;
    let goals = goals.iter().map(|text| goal(arguments, text)).collect::<Result<Vec<_>, _>>()?;
    match (goals.as_slice(), design.metrics.len()) {
        ([goal], count) => Ok(vec![*goal; count]),
        (several, count) if several.len() == count => Ok(goals),
        (several, count) => {
            Err(arguments.fault(format!("{} goals for {count} metrics: give one, or one each", several.len())))
        }
    }
}

fn cap(arguments: &Arguments<'_>) -> Result<CapRule, QueryError> {
    let ignore_zeros = match arguments.text("winsorize_of")?.as_str() {
        "all" => false,
        "nonzero" => true,
        other => return Err(arguments.fault(format!("winsorize_of is {other:?}: all or nonzero"))),
    };
    let level = arguments.maybe_number("winsorize", |level| 0.0 < level && level < 1.0, "a share such as 0.99")?;
    Ok(level.map_or(CapRule::None, |level| CapRule::Percentile { level, ignore_zeros }))
}

fn statistics(arguments: &Arguments<'_>, planned_units: Option<u64>) -> Result<Statistics, QueryError> {
    let name = arguments.text("statistics")?;
    let prior = arguments.numbers("prior", |_| true, "a mean and a deviation, such as [0, 0.3]")?;
    let looks = arguments.wholes("looks", 1..=u64::from(u32::MAX) * 1_000)?;
    if !prior.is_empty() && name != "bayes" {
        return Err(arguments.fault("prior: what was believed before is for statistics => 'bayes'".to_owned()));
    }
    if !looks.is_empty() && name != "group_sequential" {
        return Err(arguments.fault("looks: they are of statistics => 'group_sequential'".to_owned()));
    }
    match name.as_str() {
        "fixed" => Ok(Statistics::Fixed),
        "sequential" => Ok(Statistics::Sequential { tuning_unit_count: tuning(arguments)? }),
        "group_sequential" => {
            let planned_units = planned_units.ok_or_else(|| {
                arguments
                    .fault("group_sequential needs planned_units: how many units of all arms there will be".to_owned())
            })?;
            if LOOKS_MAX < looks.len() {
                return Err(arguments.fault(format!("looks: {} are too many, at most {LOOKS_MAX}", looks.len())));
            }
            if !looks.is_sorted() {
                return Err(
                    arguments.fault("looks: give the units of all arms at the looks before, ascending".to_owned())
                );
            }
            let spending = match arguments.text("spending")?.as_str() {
                "obrien_fleming" => Spending::ObrienFleming,
                "pocock" => Spending::Pocock,
                other => return Err(arguments.fault(format!("spending is {other:?}: obrien_fleming or pocock"))),
            };
            let looks = looks.into_iter().map(|units| units as f64).collect();
            Ok(Statistics::GroupSequential { planned_units, looks, spending })
        }
        "bayes" => Ok(Statistics::Bayes { prior: bayes_prior(arguments, &prior)? }),
        other => {
            let known = "fixed, sequential, group_sequential, bayes";
            Err(arguments.fault(format!("statistics is {other:?}: {known}")))
        }
    }
}

pub(super) fn tuning(arguments: &Arguments<'_>) -> Result<f64, QueryError> {
    arguments.number(
        "tuning",
        |units| 1.0 <= units,
        "the number of units at which the test is to be sharpest, 1 or more",
    )
}

fn bayes_prior(arguments: &Arguments<'_>, prior: &[f64]) -> Result<Option<NormalPrior>, QueryError> {
    let scale = match arguments.text("prior_scale")?.as_str() {
        "relative" => Scale::Relative,
        "absolute" => Scale::Absolute,
        other => return Err(arguments.fault(format!("prior_scale is {other:?}: relative or absolute"))),
    };
    match prior {
        [] => Ok(None),
        [mean, deviation] if 0.0 < *deviation => Ok(Some(NormalPrior { mean: *mean, deviation: *deviation, scale })),
        _ => Err(arguments.fault("prior: give a mean and a deviation above 0, such as [0, 0.3]".to_owned())),
    }
}

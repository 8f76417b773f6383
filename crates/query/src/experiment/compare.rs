//! The rows of `experiment`: each arm of each slice on each metric, against control.
//!
//! In:       a tally, the design and the analysis.
//! Out:      `Line`s in the order they are told in.
//! Promise:  p values are adjusted over all rows of the answer. A split that is not as planned is told before anything
//!           else. An experiment that cannot be judged has a verdict that says so.
//! Not here: how two arms are compared (`infer.rs`), how the rows are written (`table.rs`).

use std::collections::{BTreeMap, BTreeSet};

use tributary_analytics::calendar::DAY_US;
use tributary_analytics::experiment::{
    CapRule, Comparison, DecisionRule, Estimate, Evidence, Finding, Guardrail, LiftInterval, Look, LookBound, Rule,
    SplitCheck, SplitUnknown, Tested, Untestable, adjust, adjusted_interval, cap, check_split, decide, judge_by,
    recorded_weights,
};
use tributary_analytics::stats::{Interval, PValue};

use super::analysis::{Analysis, Statistics};
use super::design::Design;
use super::infer::{Circumstances, Inferred, Pair};
use super::reading::{Alone, Reading};
use super::tally::{Arm, Slice};

type Split = Result<SplitCheck, SplitUnknown>;

/// One arm of one slice on one metric.
pub(super) struct Line {
    pub(super) metric: usize,
    pub(super) slice: Option<String>,
    pub(super) variant: String,
    pub(super) is_control: bool,
    pub(super) persons: u64,
    pub(super) crossovers: u64,
    pub(super) in_progress: u64,
    pub(super) with_any: u64,
    pub(super) alone: Alone,
    pub(super) split: Split,
    /// Of a treatment.
    pub(super) compared: Option<Compared>,
}

/// A treatment beside control.
pub(super) struct Compared {
    pub(super) inferred: Result<Inferred, Untestable>,
    unit_counts: [u64; 2],
    crossovers: u64,
    all_unit_count: u64,
    pub(super) adjusted: Option<PValue>,
    pub(super) verdict: String,
    pub(super) reasons: String,
    /// `None` where beliefs are told, which no rule decides by.
    pub(super) advice: Option<String>,
}

/// * `span_us`: from the first exposure to the last.
/// * Fails if the control or the split stated names a variant nobody was shown.
pub(super) fn lines(
    design: &Design,
    analysis: &Analysis,
    slices: &[Slice],
    span_us: Option<i64>,
) -> Result<Vec<Line>, String> {
    let variants: BTreeSet<&str> = slices.iter().flat_map(|slice| slice.arms.keys()).map(String::as_str).collect();
    let variants: Vec<&str> = variants.into_iter().collect();
    let Some(control) = control(analysis.control.as_deref(), &variants)? else { return Ok(Vec::new()) };
    let mut ordered = vec![control];
    ordered.extend(variants.iter().filter(|variant| **variant != control));
    let splits = slices.iter().map(|slice| split(analysis, slice, &variants)).collect::<Result<Vec<_>, _>>()?;
    let persons = |slice: &Slice| slice.arms.values().map(|arm| arm.sum(|cell| cell.persons)).sum::<u64>();
    let all_unit_count = slices.iter().map(persons).sum();
    let whole = Whole { all_unit_count, look: analysis.look(all_unit_count), span_us };
    let mut lines = Vec::new();
    for (metric, asked) in design.metrics.iter().enumerate() {
        let cap = cap_of(analysis, asked.measure.is_capped(), metric, slices);
        for (slice, split) in slices.iter().zip(&splits) {
            let nobody = Arm::default();
            let arm = |variant: &str| slice.arms.get(variant).unwrap_or(&nobody);
            let of_control = Reading::of(asked.measure, metric, arm(control), cap);
            for variant in &ordered {
                let this = arm(variant);
                let treatment = (*variant != control).then(|| Reading::of(asked.measure, metric, this, cap));
                let reading = treatment.as_ref().unwrap_or(&of_control);
                let crossovers = this.sum(|cell| cell.crossovers);
                let compared = treatment.as_ref().map(|treatment| {
                    let pair = Pair::of(asked.measure, [&of_control, treatment]);
                    let crossovers = crossovers + arm(control).sum(|cell| cell.crossovers);
                    compare(design, analysis, metric, &pair, crossovers, whole)
                });
                lines.push(Line {
                    metric,
                    slice: slice.name.clone(),
                    variant: (*variant).to_owned(),
                    is_control: treatment.is_none(),
                    persons: reading.unit_count(),
                    crossovers,
                    in_progress: reading.in_progress,
                    with_any: reading.share.success_count(),
                    alone: reading.alone(asked.measure, analysis.alpha),
                    split: *split,
                    compared,
                });
            }
        }
    }
    adjust_all(&mut lines, analysis);
    let guardrails = guardrails(design, analysis, &lines);
    for line in &mut lines {
        // A guardrail is judged by itself.
        let is_guardrail = analysis.guardrails.contains(&line.metric);
        let key = (line.slice.clone(), line.variant.clone());
        let beside = guardrails.get(&key).filter(|_| !is_guardrail).map_or(&[][..], Vec::as_slice);
        judge(line, analysis, beside);
    }
    Ok(lines)
}

/// What is the same for all rows.
#[derive(Clone, Copy)]
struct Whole {
    all_unit_count: u64,
    look: Option<LookBound>,
    span_us: Option<i64>,
}

fn compare(
    design: &Design,
    analysis: &Analysis,
    metric: usize,
    pair: &Pair,
    crossovers: u64,
    whole: Whole,
) -> Compared {
    let counted = pair.unit_counts.iter().sum::<u64>() as f64;
    // Units that came within a day, such as by one mailing, have no pace.
    let days = whole.span_us.filter(|span| DAY_US <= *span).map(|span| span as f64 / DAY_US as f64);
    let beside = Circumstances {
        has_covariate: design.before_us.is_some(),
        look: whole.look,
        units_a_day: days.map(|days| counted / days),
        goal: analysis.goals[metric],
    };
    Compared {
        inferred: pair.infer(analysis, beside),
        unit_counts: pair.unit_counts,
        crossovers,
        all_unit_count: whole.all_unit_count,
        adjusted: None,
        verdict: String::new(),
        reasons: String::new(),
        advice: None,
    }
}

/// By slice and variant.
type Guardrails = BTreeMap<(Option<String>, String), Vec<Guardrail>>;

fn guardrails(design: &Design, analysis: &Analysis, lines: &[Line]) -> Guardrails {
    let mut guardrails = Guardrails::new();
    for line in lines.iter().filter(|line| analysis.guardrails.contains(&line.metric)) {
        let Some(compared) = &line.compared else { continue };
        let effect = match &compared.inferred {
            Ok(inferred) => Ok((inferred.estimate, inferred.tested.p)),
            // All units of both arms are the same: no complaint on either side is no harm.
            Err(Untestable::NoVariation) if of_control(lines, line) == line.alone.value => continue,
            Err(why) => Err(*why),
        };
        let name = design.metrics[line.metric].name.clone();
        let guardrail = Guardrail { name, effect, goal: analysis.goals[line.metric] };
        guardrails.entry((line.slice.clone(), line.variant.clone())).or_default().push(guardrail);
    }
    guardrails
}

/// What the metric is in control, of the same slice.
fn of_control(lines: &[Line], line: &Line) -> Option<f64> {
    let is_it = |other: &&Line| other.is_control && other.metric == line.metric && other.slice == line.slice;
    lines.iter().find(is_it)?.alone.value
}

/// `None` if nobody was exposed to anything.
///
/// * `variants`: by name.
pub(super) fn control<'a>(wanted: Option<&str>, variants: &[&'a str]) -> Result<Option<&'a str>, String> {
    let by_name = |name: &str| variants.iter().find(|variant| **variant == name).copied();
    match wanted {
        _ if variants.is_empty() => Ok(None),
        Some(name) => by_name(name).map(Some).ok_or_else(|| {
            format!("experiment: nobody was shown the control {name:?}; the variants are: {}", variants.join(", "))
        }),
        None => Ok(by_name("control").or_else(|| variants.first().copied())),
    }
}

fn split(analysis: &Analysis, slice: &Slice, variants: &[&str]) -> Result<Split, String> {
    let nobody = Arm::default();
    let arms: Vec<&Arm> = variants.iter().map(|variant| slice.arms.get(*variant).unwrap_or(&nobody)).collect();
    let weights = match &analysis.split {
        Some(stated) => Ok(stated.weights(variants).map_err(|reason| format!("experiment: {reason}"))?),
        None => recorded_weights(&arms.iter().map(|arm| arm.recorded()).collect::<Vec<_>>()),
    };
    let unit_counts: Vec<u64> = arms.iter().map(|arm| arm.sum(|cell| cell.persons)).collect();
    match weights {
        Ok(weights) => check_split(&unit_counts, &weights).map(Ok).map_err(|error| error.to_string()),
        Err(unknown) => Ok(Err(unknown)),
    }
}

/// One cap for all arms and slices: by arm it would take away the very difference that is looked for.
fn cap_of(analysis: &Analysis, is_capped: bool, metric: usize, slices: &[Slice]) -> Option<f64> {
    if !is_capped || analysis.cap == CapRule::None {
        return None;
    }
    let cells = slices.iter().flat_map(|slice| slice.arms.values()).flat_map(|arm| arm.0.values());
    Some(cap(cells.map(|cell| &cell.metrics[metric].sample), 0, analysis.cap))
}

fn adjust_all(lines: &mut [Line], analysis: &Analysis) {
    let mut tested: Vec<&mut Compared> = lines
        .iter_mut()
        // A guardrail that raised its alarm too seldom would be none.
        .filter(|line| !analysis.guardrails.contains(&line.metric))
        .filter_map(|line| line.compared.as_mut())
        .filter(|compared| compared.inferred.as_ref().is_ok_and(|inferred| inferred.chances.is_none()))
        .collect();
    let p = |compared: &&mut Compared| compared.inferred.as_ref().ok().map(|inferred| inferred.tested.p);
    let plain: Vec<PValue> = tested.iter().filter_map(p).collect();
    let adjusted = analysis.correction.map_or_else(|| plain.clone(), |correction| adjust(&plain, correction));
    for (compared, adjusted) in tested.iter_mut().zip(adjusted) {
        compared.adjusted = Some(adjusted);
        let Ok(inferred) = &mut compared.inferred else { continue };
        if analysis.correction.is_none() {
            continue;
        }
        let widen =
            |estimate: &Estimate, interval: Interval| adjusted_interval(estimate, interval, adjusted, analysis.alpha);
        inferred.tested.interval = widen(&inferred.estimate, inferred.tested.interval);
        if let (Some(lift), Some(LiftInterval::Bounded(interval))) = (inferred.lift, inferred.lift_interval) {
            inferred.lift_interval = Some(LiftInterval::Bounded(widen(&lift, interval)));
        }
    }
}

fn judge(line: &mut Line, analysis: &Analysis, guardrails: &[Guardrail]) {
    let goal = analysis.goals[line.metric];
    let split = line.split;
    let Some(compared) = &mut line.compared else { return };
    let rule = Rule { alpha: analysis.alpha, unit_count_min: analysis.units_min, goal, ..Rule::CONVENTIONAL };
    let finding = match &compared.inferred {
        Ok(Inferred { chances: Some(chances), .. }) => {
            Finding::Chance { to_win: chances.to_win, to_lose: chances.to_lose }
        }
        Ok(Inferred { bound: Some(bound), tested, .. }) => {
            Finding::Bound { statistic: tested.statistic, z: bound.z, is_passed: bound.is_passed }
        }
        _ => Finding::P,
    };
    let judgement = judge_by(&split, &as_comparison(compared), &rule, finding);
    let mut reasons: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
    match compared.inferred.as_ref().ok().and_then(|inferred| inferred.lift_interval) {
        Some(LiftInterval::Outside(Interval { low, high })) => reasons
            .push(format!("control is not clear of 0, so every lift fits but those between {low:.4} and {high:.4}")),
        Some(LiftInterval::Unbounded) => {
            reasons.push("control is all but 0, so no lift is excluded".to_owned());
        }
        _ => {}
    }
    if matches!(analysis.statistics, Statistics::Bayes { prior: Some(_) })
        && matches!(compared.inferred, Err(Untestable::NoDenominator))
    {
        reasons.push("a prior on the lift says nothing where control is 0: take prior_scale => 'absolute'".to_owned());
    }
    compared.verdict = judgement.verdict.to_string();
    compared.reasons = reasons.join("; ");
    compared.advice = advice(compared, split, analysis, line.metric, guardrails);
}

/// In the form the short verdict takes.
fn as_comparison(compared: &Compared) -> Result<Comparison, Untestable> {
    let inferred = compared.inferred.as_ref().map_err(|untestable| *untestable)?;
    let [control_unit_count, treatment_unit_count] = compared.unit_counts;
    let Inferred { estimate, tested, lift, .. } = inferred;
    Ok(Comparison {
        control_unit_count,
        treatment_unit_count,
        // The verdict does not look at the arms' own values.
        control_value: 0.0,
        treatment_value: estimate.value,
        control_interval: tested.interval,
        treatment_interval: tested.interval,
        difference: estimate.value,
        standard_error: estimate.standard_error,
        difference_interval: tested.interval,
        lift_ratio: lift.map(|lift| lift.value),
        lift_interval: None,
        statistic: tested.statistic,
        degrees_of_freedom: Some(estimate.degrees_of_freedom),
        p: compared.adjusted.unwrap_or(tested.p),
        expected_count_min: inferred.expected_count_min,
    })
}

fn advice(
    compared: &Compared,
    split: Split,
    analysis: &Analysis,
    metric: usize,
    guardrails: &[Guardrail],
) -> Option<String> {
    let [control_unit_count, treatment_unit_count] = compared.unit_counts;
    let counted = control_unit_count + treatment_unit_count;
    let look = match &analysis.statistics {
        Statistics::Bayes { .. } => return None,
        Statistics::Sequential { .. } => Look::Sequential,
        Statistics::GroupSequential { .. } => {
            let bound = compared.inferred.as_ref().ok().and_then(|inferred| inferred.bound);
            Look::Group {
                is_passed: bound.is_some_and(|bound| bound.is_passed),
                is_last: bound.is_some_and(|bound| bound.is_last),
            }
        }
        Statistics::Fixed => match analysis.planned_units {
            None => Look::Unplanned,
            // The plan is of all arms; these two have their part of it.
            Some(planned) if planned <= compared.all_unit_count => Look::Fixed { planned_unit_count: counted },
            Some(planned) => {
                let part = planned as f64 * counted as f64 / compared.all_unit_count.max(1) as f64;
                Look::Fixed { planned_unit_count: (part.ceil() as u64).max(counted + 1) }
            }
        },
    };
    let mut effect_size_min = 0.0;
    let effect = match &compared.inferred {
        Err(untestable) => Err(*untestable),
        Ok(inferred) => {
            let p = compared.adjusted.unwrap_or(inferred.tested.p);
            match (analysis.effect, inferred.lift, inferred.lift_interval) {
                // What one cares for is a lift, so it is held against the lift.
                (Some(size), Some(lift), Some(LiftInterval::Bounded(interval))) => {
                    effect_size_min = size;
                    Ok((lift, Tested { p, interval, ..inferred.tested }))
                }
                _ => Ok((inferred.estimate, Tested { p, ..inferred.tested })),
            }
        }
    };
    let evidence = Evidence {
        split,
        control_unit_count,
        treatment_unit_count,
        crossover_unit_count: compared.crossovers,
        expected_count_min: compared.inferred.as_ref().ok().and_then(|inferred| inferred.expected_count_min),
        effect,
        look,
        guardrails: guardrails.to_vec(),
        novelty: None,
        remaining: compared.inferred.as_ref().ok().and_then(|inferred| inferred.remaining),
    };
    let rule = DecisionRule {
        goal: analysis.goals[metric],
        alpha: analysis.alpha,
        unit_count_min: analysis.units_min,
        effect_size_min,
        ..DecisionRule::CONVENTIONAL
    };
    Some(decide(&evidence, &rule).to_string())
}

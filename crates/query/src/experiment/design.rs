//! The design of an experiment: who is in it, and what is measured of each unit.
//!
//! In:       the arguments all functions of experiments share.
//! Out:      a `Design`, and the columns of its fold.
//! Promise:  the same arguments give the same measures to each of the functions, so that no two can disagree.
//! Not here: how arms are compared (`analysis.rs`), what is made of a unit's rows (`measure.rs`).

use tributary_analytics::calendar::DAY_US;
use tributary_analytics::experiment::{InProgress, MetricWindow};
use tributary_analytics::funnel::{ExactRule, TieOrder};

use super::exposure_to;
use super::measure::{Measure, Metric};
use crate::error::QueryError;
use crate::fold::Layout;
use crate::table_function::{Arguments, FoldRows, Wants, as_text, mentions, never, quoted};

/// Places of conditions in a row's mask; steps of a funnel come after them.
pub(super) mod bit {
    pub(in super::super) const MIXED: u32 = 1 << 0;
    pub(in super::super) const CONVERSION: u32 = 1 << 1;
    pub(in super::super) const RETURNS: u32 = 1 << 2;
    pub(in super::super) const ACTIVATION: u32 = 1 << 3;
    pub(in super::super) const STEPS_AT: usize = 4;
}

/// Places of codes and values of a row; those nobody asks for have none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places {
    pub(super) slice: Option<usize>,
    pub(super) stratum: Option<usize>,
    pub(super) currency: Option<usize>,
    pub(super) value: Option<usize>,
    pub(super) numerator: Option<usize>,
    pub(super) denominator: Option<usize>,
}

/// The code of the variant shown, and the value of the chance of it.
pub(super) const VARIANT: usize = 0;
pub(super) const CHANCE: usize = 0;

/// What a chance is multiplied by, so that millionths of it keep fifteen digits.
const CHANCE_SCALE: &str = "1000000000.0";
pub(super) const CHANCE_WHOLE: f64 = 1e15;

#[derive(Debug, Clone)]
pub(super) struct Design {
    pub(super) metrics: Vec<Metric>,
    /// `None`: no covariate.
    pub(super) before_us: Option<i64>,
    pub(super) has_activation: bool,
    pub(super) places: Places,
    /// For `EXPLAIN`.
    pub(super) words: String,
}

/// A design with its columns.
pub(super) struct Asked {
    pub(super) design: Design,
    pub(super) rows: FoldRows,
}

pub(super) fn read(arguments: &Arguments<'_>) -> Result<Asked, QueryError> {
    let name = arguments.text("name")?;
    let names = arguments.texts("metric")?;
    if names.is_empty() {
        return Err(arguments.fault("no metric is named".to_owned()));
    }
    let window = window(arguments)?;
    let mut metrics = Vec::with_capacity(names.len());
    for name in &names {
        if metrics.iter().any(|metric: &Metric| metric.name == *name) {
            return Err(arguments.fault(format!("metric '{name}' is named twice")));
        }
        metrics.push(metric(arguments, name, window)?);
    }
    let is_of_returns = metrics.iter().all(|metric| metric.measure == Measure::Retention);
    if is_of_returns && (window.length_us.is_some() || window.delay_us != 0) {
        return Err(arguments.fault("retention counts by return_days: leave window and delay away".to_owned()));
    }
    let before_us = if arguments.takes("cuped") { arguments.maybe_duration_us("cuped")? } else { None };
    if before_us == Some(0) {
        return Err(arguments.fault("cuped: the time before the exposure is longer than 0".to_owned()));
    }
    if before_us.is_some()
        && let Some(metric) = metrics.iter().find(|metric| !metric.measure.has_covariate())
    {
        return Err(arguments.fault(format!("cuped: there is no covariate of the metric '{}'", metric.name)));
    }
    columns(arguments, &name, metrics, before_us)
}

fn window(arguments: &Arguments<'_>) -> Result<MetricWindow, QueryError> {
    if !arguments.takes("window") {
        return Ok(MetricWindow::SINCE_EXPOSURE);
    }
    let in_progress = match arguments.text("in_progress")?.as_str() {
        "count" => InProgress::Count,
        "leave_out" => InProgress::LeaveOut,
        other => return Err(arguments.fault(format!("in_progress is {other:?}: count or leave_out"))),
    };
    Ok(MetricWindow {
        delay_us: arguments.duration_us("delay")?,
        length_us: arguments.maybe_duration_us("window")?,
        lookback_us: None,
        in_progress,
    })
}

fn metric(arguments: &Arguments<'_>, name: &str, window: MetricWindow) -> Result<Metric, QueryError> {
    let (measure, window) = match name {
        "conversion" => (Measure::Conversion, window),
        "value" => (Measure::Value, window),
        "count" => (Measure::Count, window),
        "ratio" if arguments.takes("numerator") => (Measure::Ratio, window),
        "quantile" if arguments.takes("level") => {
            let level = arguments.number("level", |level| 0.0 < level && level < 1.0, "a number between 0 and 1")?;
            (Measure::Quantile { level }, window)
        }
        "retention" if arguments.takes("returns") => {
            (Measure::Retention, return_window(arguments, window.in_progress)?)
        }
        "funnel" if arguments.takes("steps") => {
            let steps = arguments.maybe_conditions("steps")?;
            if steps.is_empty() {
                return Err(arguments.fault("the metric 'funnel' needs steps".to_owned()));
            }
            let rule = ExactRule::new(steps.len(), None, TieOrder::Ingest);
            (Measure::Funnel { rule: rule.map_err(|error| arguments.fault(error.to_string()))? }, window)
        }
        other => {
            let mut allowed = vec!["conversion", "value", "count"];
            let further =
                [("ratio", "numerator"), ("quantile", "level"), ("retention", "returns"), ("funnel", "steps")];
            allowed.extend(further.iter().filter(|(_, argument)| arguments.takes(argument)).map(|(name, _)| *name));
            return Err(arguments.fault(format!("metric '{other}' is not known; allowed: {}", allowed.join(", "))));
        }
    };
    Ok(Metric { name: name.to_owned(), measure, window })
}

/// Whole days of 24 hours since the exposure, from the first to before the last.
fn return_window(arguments: &Arguments<'_>, in_progress: InProgress) -> Result<MetricWindow, QueryError> {
    let days = arguments.wholes("return_days", 0..=36_500)?;
    match days.as_slice() {
        [from, to] if from < to => {
            let [from_us, to_us] = [from, to].map(|days| days.cast_signed() * DAY_US);
            Ok(MetricWindow { delay_us: from_us, length_us: Some(to_us - from_us - 1), lookback_us: None, in_progress })
        }
        _ => Err(arguments
            .fault("return_days: give the first day and the one before which it ends, such as [7, 14]".to_owned())),
    }
}

fn columns(
    arguments: &Arguments<'_>,
    name: &str,
    metrics: Vec<Metric>,
    before_us: Option<i64>,
) -> Result<Asked, QueryError> {
    let has = |wanted: fn(&Measure) -> bool| metrics.iter().any(|metric| wanted(&metric.measure));
    let conversion = if has(Measure::is_of_conversions) { arguments.condition("conversion")? } else { never() };
    let returns = if has(|measure| *measure == Measure::Retention) { arguments.condition("returns")? } else { never() };
    let activation = arguments.maybe_condition("activation")?;
    let steps = if has(|measure| matches!(measure, Measure::Funnel { .. })) {
        arguments.conditions("steps")?.into_iter().map(|step| step.sql).collect()
    } else {
        Vec::new()
    };
    if Layout::MASKS_MAX < bit::STEPS_AT + steps.len() {
        let most = Layout::MASKS_MAX - bit::STEPS_AT;
        return Err(arguments.fault(format!("{} steps: {most} at most", steps.len())));
    }
    let shown = |function: &str| format!("{function}(exposures, {})", quoted(name));
    let has_activation = activation.is_some();
    let mut masks = vec![shown(exposure_to::IS_MIXED), conversion, returns, activation.unwrap_or_else(never)];
    masks.extend(steps);

    let mut places = Places::default();
    let mut codes = vec![shown(exposure_to::VARIANT)];
    let mut values = vec![format!("{} * {CHANCE_SCALE}", shown(exposure_to::PROBABILITY))];
    let mut amounts = Vec::new();
    let mut amount = |name: &'static str, is_wanted: bool| -> Result<Option<usize>, QueryError> {
        if !is_wanted {
            return Ok(None);
        }
        let amount = arguments.maybe_amount(name)?;
        let amount = amount.ok_or_else(|| arguments.fault(format!("the metric needs a {name}, and it is NULL")))?;
        values.push(amount.clone());
        amounts.push(amount);
        Ok(Some(values.len() - 1))
    };
    let is_ratio = has(|measure| *measure == Measure::Ratio);
    places.value = amount("value", has(Measure::is_of_value))?;
    places.numerator = amount("numerator", is_ratio)?;
    places.denominator = amount("denominator", is_ratio)?;
    for (argument, place) in [("by", &mut places.slice), ("strata", &mut places.stratum)] {
        if !arguments.takes(argument) {
            continue;
        }
        if let Some(expression) = arguments.maybe_expression(argument)? {
            *place = Some(codes.len());
            codes.push(as_text(&expression));
        }
    }
    // Whatever else an amount is, it is no money unless it is made of the value.
    if amounts.iter().any(|amount| mentions(amount, "value")) {
        places.currency = Some(codes.len());
        codes.push("CASE WHEN value IS NOT NULL THEN coalesce(currency, 'XXX') END".to_owned());
    }

    let mut wanted: Vec<String> = masks[1..].iter().filter(|mask| **mask != never()).cloned().collect();
    if is_ratio {
        let of_ratio = [places.numerator, places.denominator].into_iter().flatten();
        wanted.extend(of_ratio.map(|place| format!("({}) IS NOT NULL", values[place])));
    }
    wanted.push("exposures IS NOT NULL".to_owned());
    let rows = Wants { conditions: masks, codes, values }.over(arguments, &wanted)?;
    let words = metrics.iter().map(|metric| metric.name.as_str()).collect::<Vec<_>>().join(", ");
    let words = format!("'{name}' by {words}");
    let design = Design { metrics, before_us, has_activation, places, words };
    Ok(Asked { design, rows })
}

//! The rows of `experiment` as a batch.
//!
//! In:       lines.
//! Out:      the columns of the table function.
//! Promise:  a number that is not there, or has no end, is NULL.

#![allow(clippy::cast_possible_wrap, reason = "counts are far below 2^63")]

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use tributary_analytics::experiment::LiftInterval;
use tributary_analytics::stats::Interval;

use super::analysis::Analysis;
use super::compare::{Compared, Line};
use super::design::Design;
use super::infer::{Chances, Inferred};

pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let mut fields = vec![text("metric"), text("slice"), text("variant")];
    fields.push(Field::new("is_control", DataType::Boolean, true));
    let counts = ["persons", "crossover_persons", "in_progress_persons", "conversions"];
    fields.extend(counts.map(|name| Field::new(name, DataType::Int64, true)));
    fields.extend(["metric_value", "metric_low", "metric_high"].map(number));
    fields.extend(["difference", "difference_low", "difference_high"].map(number));
    fields.extend(["relative_lift", "relative_lift_low", "relative_lift_high"].map(number));
    fields.push(text("statistics"));
    fields.extend(["p_value", "log10_p", "p_value_adjusted"].map(number));
    fields.extend(["chance_to_win", "treatment_risk", "control_risk"].map(number));
    fields.extend(["variance_reduction", "detectable_lift", "units_remaining", "days_remaining"].map(number));
    fields.push(number("srm_p_value"));
    fields.extend(["verdict", "reasons", "advice"].map(text));
    Arc::new(Schema::new(fields))
});

pub(super) fn batch(design: &Design, analysis: &Analysis, lines: &[Line]) -> Result<RecordBatch> {
    let text =
        |of: &dyn Fn(&Line) -> Option<String>| -> ArrayRef { Arc::new(lines.iter().map(of).collect::<StringArray>()) };
    let count = |of: fn(&Line) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(lines.iter().map(|line| of(line) as i64)))
    };
    let number = |of: &dyn Fn(&Line) -> Option<f64>| -> ArrayRef {
        let numbers = lines.iter().map(|line| of(line).filter(|number| number.is_finite()));
        Arc::new(numbers.collect::<Float64Array>())
    };
    let inferred = |of: fn(&Inferred) -> Option<f64>| number(&|line| of(found(line)?));
    // What is believed has no p.
    let tested = |of: fn(&Inferred, &Compared) -> Option<f64>| {
        number(&|line| of(found(line).filter(|inferred| inferred.chances.is_none())?, line.compared.as_ref()?))
    };
    let chances = |of: fn(&Chances) -> f64| number(&|line| found(line)?.chances.as_ref().map(of));
    let told = |of: fn(&Compared) -> Option<String>| text(&|line| of(line.compared.as_ref()?));
    let columns: Vec<ArrayRef> = vec![
        text(&|line| Some(design.metrics[line.metric].name.clone())),
        text(&|line| line.slice.clone()),
        text(&|line| Some(line.variant.clone())),
        Arc::new(lines.iter().map(|line| Some(line.is_control)).collect::<BooleanArray>()),
        count(|line| line.persons),
        count(|line| line.crossovers),
        count(|line| line.in_progress),
        count(|line| line.with_any),
        number(&|line| line.alone.value),
        number(&|line| line.alone.interval.map(|[low, _]| low)),
        number(&|line| line.alone.interval.map(|[_, high]| high)),
        inferred(|inferred| Some(inferred.estimate.value)),
        inferred(|inferred| Some(inferred.tested.interval.low)),
        inferred(|inferred| Some(inferred.tested.interval.high)),
        inferred(|inferred| inferred.lift.map(|lift| lift.value)),
        inferred(|inferred| bounded(inferred).map(|interval| interval.low)),
        inferred(|inferred| bounded(inferred).map(|interval| interval.high)),
        text(&|_| Some(analysis.statistics.name().to_owned())),
        tested(|inferred, _| Some(inferred.tested.p.p_value)),
        tested(|inferred, _| Some(inferred.tested.p.log10_p)),
        tested(|inferred, compared| Some(compared.adjusted.unwrap_or(inferred.tested.p).p_value)),
        chances(|chances| chances.to_win),
        chances(|chances| chances.treatment_risk),
        chances(|chances| chances.control_risk),
        inferred(|inferred| inferred.variance_reduction),
        inferred(|inferred| inferred.detectable_lift),
        inferred(|inferred| inferred.remaining.map(|remaining| remaining.unit_count.ceil())),
        inferred(|inferred| inferred.remaining.and_then(|remaining| remaining.days)),
        number(&|line| line.split.as_ref().ok().map(|split| split.p.p_value)),
        told(|compared| Some(compared.verdict.clone())),
        told(|compared| Some(compared.reasons.clone())),
        told(|compared| compared.advice.clone()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

fn found(line: &Line) -> Option<&Inferred> {
    line.compared.as_ref()?.inferred.as_ref().ok()
}

fn bounded(inferred: &Inferred) -> Option<Interval> {
    match inferred.lift_interval {
        Some(LiftInterval::Bounded(interval)) => Some(interval),
        _ => None,
    }
}

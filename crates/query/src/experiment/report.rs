//! `experiment_report(metric, goal, control, split, arms)`: the arms of an experiment, compared.
//!
//! In:       what to compare by, the plan, and the arms, `list<struct{variant, persons, crossover_persons, conversions,
//!           mean, variance, currency_low, currency_high, chances, chance_sum, chance_min, chance_max}>`, in any
//!           order. All but `crossover_persons` are of the persons counted.
//! Out:      `list<struct>` with one entry an arm, in the columns of the table function.
//! Promise:  an experiment that cannot be judged has a verdict that says so, and no numbers made up. Amounts of
//!           different currencies are refused, not added.
//! Not here: tests, intervals, verdicts: `analytics::experiment`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    new_empty_array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{cast, concat};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use tributary_analytics::experiment::{
    Comparison, Goal, Judgement, Proportion, RecordedArm, Rule, SplitCheck, SplitUnknown, Untestable, check_split,
    compare_means, compare_proportions, judge, recorded_weights,
};
use tributary_analytics::stats::{Interval, Moments};

use super::split::Split;

pub(crate) fn functions() -> Vec<ScalarUDF> {
    vec![ScalarUDF::from(ExperimentReport { signature: Signature::user_defined(Volatility::Immutable) })]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metric {
    Conversion,
    Value,
}

impl Metric {
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        match text {
            "conversion" => Ok(Self::Conversion),
            "value" => Ok(Self::Value),
            other => Err(format!("metric '{other}' is not known; allowed: conversion, value")),
        }
    }
}

pub(super) fn parse_goal(text: &str) -> std::result::Result<Goal, String> {
    match text {
        "higher" => Ok(Goal::HigherIsBetter),
        "lower" => Ok(Goal::LowerIsBetter),
        other => Err(format!("goal '{other}' is not known; allowed: higher, lower")),
    }
}

/// One arm as it was counted.
#[derive(Debug, Clone)]
struct Arm {
    variant: String,
    persons: i64,
    crossover_persons: i64,
    conversions: i64,
    mean: Option<f64>,
    variance: Option<f64>,
    /// The first and the last by name of the currencies its conversions have.
    currencies: Option<(String, String)>,
    recorded: RecordedArm,
}

impl Arm {
    fn unit_count(&self) -> u64 {
        u64::try_from(self.persons).expect("a count is not negative")
    }

    fn proportion(&self) -> Proportion {
        let conversions = u64::try_from(self.conversions).expect("a count is not negative");
        Proportion::new(conversions, self.unit_count()).expect("persons with a conversion are among the persons")
    }

    fn moments(&self) -> Moments {
        Moments::from_mean_and_variance(self.unit_count(), self.mean.unwrap_or(0.0), self.variance.unwrap_or(0.0))
    }

    fn metric_value(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Conversion => (0 < self.persons).then(|| self.conversions as f64 / self.persons as f64),
            Metric::Value => self.mean,
        }
    }
}

/// One row of the answer.
struct Row<'a> {
    arm: &'a Arm,
    is_control: bool,
    own_interval: Option<Interval>,
    /// Of a treatment: what came of comparing it with control.
    compared: Option<(std::result::Result<Comparison, Untestable>, Judgement)>,
}

struct Report<'a> {
    metric: Metric,
    split: std::result::Result<SplitCheck, SplitUnknown>,
    rows: Vec<Row<'a>>,
}

fn report<'a>(
    metric: Metric,
    goal: Goal,
    control: &'a Arm,
    stated: Option<&Split>,
    arms: &'a [Arm],
) -> Result<Report<'a>> {
    if metric == Metric::Value {
        one_currency(arms)?;
    }
    let weights = match stated {
        Some(stated) => {
            let variants: Vec<&str> = arms.iter().map(|arm| arm.variant.as_str()).collect();
            Ok(stated.weights(&variants).map_err(|reason| exec_datafusion_err!("experiment: {reason}"))?)
        }
        None => recorded_weights(&arms.iter().map(|arm| arm.recorded).collect::<Vec<_>>()),
    };
    let unit_counts: Vec<u64> = arms.iter().map(Arm::unit_count).collect();
    let split = match weights {
        Ok(weights) => Ok(check_split(&unit_counts, &weights).map_err(|error| exec_datafusion_err!("{error}"))?),
        Err(unknown) => Err(unknown),
    };
    let rule = Rule { goal, ..Rule::CONVENTIONAL };
    let mut rows = vec![Row { arm: control, is_control: true, own_interval: None, compared: None }];
    for arm in arms.iter().filter(|arm| arm.variant != control.variant) {
        let comparison = match metric {
            Metric::Conversion => compare_proportions(control.proportion(), arm.proportion(), rule.alpha),
            Metric::Value => compare_means(control.moments(), arm.moments(), rule.alpha),
        };
        let judgement = judge(&split, &comparison, &rule);
        if let Ok(comparison) = &comparison {
            rows[0].own_interval = Some(comparison.control_interval);
        }
        let own_interval = comparison.as_ref().ok().map(|comparison| comparison.treatment_interval);
        rows.push(Row { arm, is_control: false, own_interval, compared: Some((comparison, judgement)) });
    }
    Ok(Report { metric, split, rows })
}

fn one_currency(arms: &[Arm]) -> Result<()> {
    let low = arms.iter().filter_map(|arm| arm.currencies.as_ref()).map(|(low, _)| low).min();
    let high = arms.iter().filter_map(|arm| arm.currencies.as_ref()).map(|(_, high)| high).max();
    match low.zip(high) {
        Some((low, high)) if low != high => exec_err!(
            "experiment: the conversions have values in several currencies, {low} and {high} among them (XXX: none \
             said), which cannot be added; choose one: conversion => event_kind = 'conversion' AND currency = '{low}'"
        ),
        _ => Ok(()),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExperimentReport {
    signature: Signature,
}

impl ScalarUDFImpl for ExperimentReport {
    fn name(&self) -> &str {
        "experiment_report"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [_, _, _, _, arms] => {
                Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Utf8, DataType::Utf8, arms.clone()])
            }
            _ => plan_err!("experiment_report takes (metric, goal, control, split, arms)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(DataType::Struct(COLUMNS.clone()), true))))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [metric, goal, control, split, arms] = arguments.args.as_slice() else {
            return exec_err!("experiment_report takes five arguments");
        };
        let text = |value: &ColumnarValue| match value {
            ColumnarValue::Scalar(ScalarValue::Utf8(text)) => Ok(text.clone()),
            _ => exec_err!("experiment_report: metric, goal, control and split are constant texts"),
        };
        let metric =
            Metric::parse(&text(metric)?.unwrap_or_default()).map_err(|reason| exec_datafusion_err!("{reason}"))?;
        let goal = parse_goal(&text(goal)?.unwrap_or_default()).map_err(|reason| exec_datafusion_err!("{reason}"))?;
        let control = text(control)?;
        let split = text(split)?.map(|split| Split::parse(&split)).transpose();
        let split = split.map_err(|reason| exec_datafusion_err!("experiment: {reason}"))?;
        let lists = arms.to_array(arguments.number_rows)?;
        let lists = lists.as_list::<i32>();
        let mut lengths = Vec::new();
        let mut entries: Vec<StructArray> = Vec::new();
        for index in 0..lists.len() {
            let arms = if lists.is_null(index) { Vec::new() } else { read_arms(lists.value(index).as_struct())? };
            let Some(control) = control_arm(control.as_deref(), &arms)? else {
                lengths.push(0);
                continue;
            };
            let report = report(metric, goal, control, split.as_ref(), &arms)?;
            lengths.push(report.rows.len());
            entries.push(to_struct(&report)?);
        }
        let entries: Vec<&dyn Array> = entries.iter().map(|entry| entry as &dyn Array).collect();
        let values =
            if entries.is_empty() { new_empty_array(&DataType::Struct(COLUMNS.clone())) } else { concat(&entries)? };
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let lists = ListArray::try_new(field, OffsetBuffer::from_lengths(lengths), values, None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }
}

/// `None` if nobody was exposed to anything.
fn control_arm<'a>(wanted: Option<&str>, arms: &'a [Arm]) -> Result<Option<&'a Arm>> {
    let by_name = |name: &str| arms.iter().find(|arm| arm.variant == name);
    match wanted {
        _ if arms.is_empty() => Ok(None),
        Some(name) => by_name(name).map(Some).ok_or_else(|| {
            let variants: Vec<&str> = arms.iter().map(|arm| arm.variant.as_str()).collect();
            exec_datafusion_err!(
                "experiment: nobody was shown the control {name:?}; the variants are: {}",
                variants.join(", ")
            )
        }),
        None => Ok(by_name("control").or_else(|| arms.first())),
    }
}

/// By name.
fn read_arms(arms: &StructArray) -> Result<Vec<Arm>> {
    let column = |name: &str, data_type: DataType| -> Result<ArrayRef> {
        let column = arms.column_by_name(name);
        let column = column.ok_or_else(|| exec_datafusion_err!("experiment_report needs a field {name:?}"))?;
        Ok(cast(column, &data_type)?)
    };
    let text = |name| column(name, DataType::Utf8);
    let count = |name| column(name, DataType::Int64);
    let ratio = |name| column(name, DataType::Float64);
    let (persons, crossover_persons, conversions) =
        (count("persons")?, count("crossover_persons")?, count("conversions")?);
    let (variants, currency_low, currency_high) = (text("variant")?, text("currency_low")?, text("currency_high")?);
    let (mean, variance) = (ratio("mean")?, ratio("variance")?);
    let (chances, chance_sum) = (count("chances")?, ratio("chance_sum")?);
    let (chance_min, chance_max) = (ratio("chance_min")?, ratio("chance_max")?);
    let number = |column: &ArrayRef, index: usize| column.as_primitive::<Int64Type>().value(index);
    let maybe = |column: &ArrayRef, index: usize| {
        column.is_valid(index).then(|| column.as_primitive::<Float64Type>().value(index))
    };
    let word = |column: &ArrayRef, index: usize| {
        column.is_valid(index).then(|| column.as_string::<i32>().value(index).to_owned())
    };
    let whole =
        |column: &ArrayRef, index: usize| u64::try_from(number(column, index)).expect("a count is not negative");
    let mut read: Vec<Arm> = (0..arms.len())
        .map(|index| Arm {
            variant: variants.as_string::<i32>().value(index).to_owned(),
            persons: number(&persons, index),
            crossover_persons: number(&crossover_persons, index),
            conversions: number(&conversions, index),
            mean: maybe(&mean, index),
            variance: maybe(&variance, index),
            currencies: word(&currency_low, index).zip(word(&currency_high, index)),
            recorded: RecordedArm {
                unit_count: whole(&persons, index),
                known_count: whole(&chances, index),
                chance_sum: maybe(&chance_sum, index).unwrap_or(0.0),
                chance_min: maybe(&chance_min, index).unwrap_or(0.0),
                chance_max: maybe(&chance_max, index).unwrap_or(0.0),
            },
        })
        .collect();
    read.sort_by(|a, b| a.variant.cmp(&b.variant));
    Ok(read)
}

static COLUMNS: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let mut fields = vec![field("variant", DataType::Utf8), field("is_control", DataType::Boolean)];
    fields.extend(["persons", "crossover_persons", "conversions"].map(|name| field(name, DataType::Int64)));
    fields.extend(
        [
            "metric_value",
            "metric_low",
            "metric_high",
            "difference",
            "difference_low",
            "difference_high",
            "relative_lift",
            "relative_lift_low",
            "relative_lift_high",
            "p_value",
            "srm_p_value",
        ]
        .map(|name| field(name, DataType::Float64)),
    );
    fields.extend(["verdict", "reasons"].map(|name| field(name, DataType::Utf8)));
    Fields::from(fields)
});

fn to_struct(report: &Report<'_>) -> Result<StructArray> {
    let rows = &report.rows;
    let count = |of: fn(&Arm) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(row.arm))))
    };
    let ratio =
        |of: &dyn Fn(&Row<'_>) -> Option<f64>| -> ArrayRef { Arc::new(rows.iter().map(of).collect::<Float64Array>()) };
    let compared = |of: fn(&Comparison) -> Option<f64>| {
        ratio(&|row| row.compared.as_ref().and_then(|(comparison, _)| of(comparison.as_ref().ok()?)))
    };
    let judged = |of: fn(&Judgement) -> String| -> ArrayRef {
        let words = rows.iter().map(|row| row.compared.as_ref().map(|(_, judgement)| of(judgement)));
        Arc::new(words.collect::<StringArray>())
    };
    let reasons =
        |judgement: &Judgement| judgement.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.arm.variant))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.is_control)))),
        count(|arm| arm.persons),
        count(|arm| arm.crossover_persons),
        count(|arm| arm.conversions),
        ratio(&|row| row.arm.metric_value(report.metric)),
        ratio(&|row| row.own_interval.map(|interval| interval.low)),
        ratio(&|row| row.own_interval.map(|interval| interval.high)),
        compared(|comparison| Some(comparison.difference)),
        compared(|comparison| Some(comparison.difference_interval.low)),
        compared(|comparison| Some(comparison.difference_interval.high)),
        compared(|comparison| comparison.lift_ratio),
        compared(|comparison| comparison.lift_interval.map(|interval| interval.low)),
        compared(|comparison| comparison.lift_interval.map(|interval| interval.high)),
        compared(|comparison| Some(comparison.p.p_value)),
        ratio(&|_| report.split.as_ref().ok().map(|split| split.p.p_value)),
        judged(|judgement| judgement.verdict.to_string()),
        judged(reasons),
    ];
    Ok(StructArray::try_new(COLUMNS.clone(), columns, None)?)
}

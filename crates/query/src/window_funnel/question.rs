//! The constants of a call: window, mode, steps; and the answer for a group's rows.
//!
//! In:       the arguments of the aggregate; sorted rows.
//! Out:      levels or times, one per group.
//! Promise:  a window or mode that is no constant, or no window or mode, is refused with what to write.

use std::sync::Arc;

use datafusion::arrow::array::builder::{Int64Builder, ListBuilder};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::logical_expr::function::AccumulatorArgs;
use tributary_analytics::funnel::{
    Attempt, ExactFold, ExactRule, Modes, STEP_COUNT_MAX, TieOrder, window_funnel_level,
};

use super::rows::Grouped;
use crate::duration;

#[derive(Debug, Clone, Copy)]
enum Rule {
    Exact(ExactRule),
    ClickHouse { window_us: i64, modes: Modes },
}

#[derive(Debug, Clone)]
pub(super) struct Question {
    rule: Rule,
    pub(super) step_count: usize,
    pub(super) has_sequence: bool,
    /// Rows that meet no step matter too: they end a strict search.
    pub(super) keeps_foreign: bool,
}

/// What is allowed besides ClickHouse's modes.
const OTHER_MODES: &str = "; or 'exact', 'exact, any', 'exact, strictly_increasing', 'default'";

/// Why a mode is none, with those there are.
pub(crate) fn check_mode(mode: &str) -> std::result::Result<(), String> {
    rule(mode, 1, None).map(drop).map_err(|error| format!("{error}{OTHER_MODES}"))
}

pub(super) fn check_step_count(name: &str, step_count: usize) -> Result<()> {
    if (1..=STEP_COUNT_MAX).contains(&step_count) {
        return Ok(());
    }
    plan_err!("{name} takes 1 to {STEP_COUNT_MAX} steps, not {step_count}")
}

impl Question {
    pub(super) fn read(name: &str, arguments: &AccumulatorArgs<'_>) -> Result<Self> {
        let constant = |index: usize, what: &str| {
            let nothing = RecordBatch::new_empty(Arc::new(arguments.schema.clone()));
            match arguments.exprs[index].evaluate(&nothing) {
                Ok(ColumnarValue::Scalar(value)) => Ok(value),
                _ => plan_err!("{name}: the {what} must be the same for all rows: write it as a constant"),
            }
        };
        let window_us = window_us(name, &constant(0, "window")?)?;
        let mode = match constant(1, "mode")? {
            ScalarValue::Utf8(Some(mode)) => mode,
            _ => return plan_err!("{name}: the mode is NULL: give a word such as 'exact'"),
        };
        let has_sequence = arguments.expr_fields.get(3).is_some_and(|field| *field.data_type() == DataType::Int64);
        let step_count = arguments.exprs.len() - if has_sequence { 4 } else { 3 };
        let (rule, keeps_foreign) =
            rule(&mode, step_count, window_us).map_err(|error| plan_datafusion_err!("{name}: {error}{OTHER_MODES}"))?;
        Ok(Self { rule, step_count, has_sequence, keeps_foreign })
    }

    pub(super) fn has_times(&self) -> bool {
        matches!(self.rule, Rule::Exact(_))
    }

    pub(super) fn levels(&self, grouped: &Grouped) -> Result<ArrayRef> {
        let mut pairs = Vec::new();
        let levels = grouped.groups().map(|group| {
            let level = match self.rule {
                Rule::Exact(rule) => attempt(rule, group).level,
                Rule::ClickHouse { window_us, modes } => {
                    pairs.clear();
                    pairs.extend(group.iter().map(|row| (row.time_us, row.mask)));
                    window_funnel_level(&pairs, self.step_count, window_us, modes)
                        .map_err(|error| exec_datafusion_err!("{error}"))?
                }
            };
            Ok(i64::try_from(level).expect("a level is at most the number of steps"))
        });
        Ok(Arc::new(Int64Array::from_iter_values(levels.collect::<Result<Vec<_>>>()?)))
    }

    pub(super) fn times(&self, grouped: &Grouped) -> Result<ArrayRef> {
        let Rule::Exact(rule) = self.rule else { return plan_err!("only exact funnels have step times") };
        let mut lists = ListBuilder::new(Int64Builder::new()).with_field(Field::new_list_field(DataType::Int64, false));
        for group in grouped.groups() {
            lists.values().append_slice(&attempt(rule, group).times_us);
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    }
}

fn attempt(rule: ExactRule, group: &[super::rows::Row]) -> Attempt {
    let mut fold = ExactFold::new(rule);
    for row in group {
        fold.push(row.time_us, row.mask);
        if fold.is_complete() {
            break;
        }
    }
    fold.finish()
}

fn window_us(name: &str, window: &ScalarValue) -> Result<Option<i64>> {
    let fault = |reason: String| plan_datafusion_err!("{name}: the window: {reason}");
    match window {
        value if value.is_null() => Ok(None),
        ScalarValue::Int64(Some(us)) => Ok(Some(*us)),
        ScalarValue::Utf8(Some(text)) => duration::parse_us(text).map(Some).map_err(fault),
        ScalarValue::IntervalMonthDayNano(Some(interval)) => {
            if interval.months != 0 {
                return Err(fault("months have no fixed length: count in days".to_owned()));
            }
            let days_us = i64::from(interval.days).saturating_mul(86_400_000_000);
            Ok(Some(days_us.saturating_add(interval.nanoseconds / 1_000)))
        }
        other => Err(fault(format!("{other} is no length of time"))),
    }
}

fn rule(
    mode: &str,
    step_count: usize,
    window_us: Option<i64>,
) -> std::result::Result<(Rule, bool), tributary_analytics::error::AnalyticsError> {
    let words: Vec<&str> =
        mode.split(|c: char| c == ',' || c.is_whitespace()).filter(|word| !word.is_empty()).collect();
    if let Some(("exact", rest)) = words.split_first().map(|(first, rest)| (*first, rest)) {
        let tie_order = match rest {
            [] => TieOrder::default(),
            words => TieOrder::parse(&words.join(" "))?,
        };
        return Ok((Rule::Exact(ExactRule::new(step_count, window_us, tie_order)?), false));
    }
    let names: Vec<&str> = words.into_iter().filter(|word| *word != "default").collect();
    let modes = Modes::parse(&names)?;
    let rule = Rule::ClickHouse { window_us: window_us.unwrap_or(i64::MAX), modes };
    Ok((rule, names.contains(&"strict_order")))
}

#[cfg(test)]
impl Question {
    /// One step, no limit.
    pub(super) fn for_tests() -> Self {
        let rule = ExactRule::new(1, None, TieOrder::Ingest).expect("one step is allowed");
        Self { rule: Rule::Exact(rule), step_count: 1, has_sequence: false, keeps_foreign: false }
    }
}

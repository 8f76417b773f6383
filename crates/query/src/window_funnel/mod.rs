//! The aggregates `window_funnel` and `window_funnel_times`: how far one unit came, and when.
//!
//! In:       `(window, mode, time [, sequence], step_1, step_2, ...)` of the rows of one group, in any order.
//! Out:      `window_funnel`: the level, 0 (never entered) to the number of steps, as bigint.
//!           `window_funnel_times`: the times of the steps of the attempt that reached the level, as a list of
//!           bigint microseconds, empty if never entered; exact modes only.
//! Promise:  the answer does not depend on how the rows were cut into batches and partitions.
//! Not here: what a level is: `analytics::funnel`.
//!
//! * `window`: `INTERVAL '30 days'`, `'30 days'`, or a bigint of microseconds; NULL for no limit. From the first
//!   step to the last, inclusive. (ClickHouse's is a number of seconds; here a bare number is in the unit of the
//!   time column, as everywhere in these tables.)
//! * `mode`: `exact` (each event serves one step; the default of the `funnel` function), `exact, any`,
//!   `exact, strictly_increasing` (what to do with equal times); or ClickHouse's: `default`, or a list of
//!   `strict_deduplication`, `strict_order`, `strict_increase`, `strict_once`, `allow_reentry`.
//! * `time`: bigint microseconds or a timestamp; rows without one do not count.
//! * `sequence`: bigint, NULL being 0; the order of rows of equal time. Give `log_offset`, or where a unit may lie in
//!   several partitions of the log what `funnel` gives (`EXPLAIN` shows it). Without it such rows are taken by the
//!   steps they meet, lower first: always the same, but not what happened.
//! * `step_k`: boolean, up to 32; NULL is false.

mod question;
mod rows;

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};

use question::Question;
pub(crate) use question::check_mode;
use rows::{Grouped, Rows};

pub(crate) fn functions() -> Vec<AggregateUDF> {
    vec![AggregateUDF::from(WindowFunnel::new(Output::Level)), AggregateUDF::from(WindowFunnel::new(Output::Times))]
}

/// What is returned of the attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Output {
    Level,
    Times,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WindowFunnel {
    output: Output,
    signature: Signature,
}

impl WindowFunnel {
    fn new(output: Output) -> Self {
        Self { output, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn gatherer(&self, arguments: &AccumulatorArgs<'_>) -> Result<Gatherer> {
        let question = Question::read(self.name(), arguments)?;
        if self.output == Output::Times && !question.has_times() {
            return plan_err!("window_funnel_times: only mode 'exact' has step times; window_funnel gives the level");
        }
        Ok(Gatherer { output: self.output, question, rows: Rows::default(), group_count: 0 })
    }
}

const LIST_OF_TIMES: fn() -> DataType = || DataType::List(Arc::new(Field::new_list_field(DataType::Int64, false)));

fn usage(name: &str) -> String {
    format!(
        "it takes window, mode, time, perhaps a sequence, and steps, such as {name}('30 days', 'exact', event_time_us, log_offset, \
         event_kind = 'page', event_kind = 'conversion')"
    )
}

impl AggregateUDFImpl for WindowFunnel {
    fn name(&self) -> &str {
        match self.output {
            Output::Level => "window_funnel",
            Output::Times => "window_funnel_times",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.output {
            Output::Level => DataType::Int64,
            Output::Times => LIST_OF_TIMES(),
        })
    }

    fn is_nullable(&self) -> bool {
        false
    }

    fn default_value(&self, data_type: &DataType) -> Result<ScalarValue> {
        match self.output {
            Output::Level => Ok(ScalarValue::Int64(Some(0))),
            Output::Times => ScalarValue::new_default(data_type),
        }
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let [window, mode, time, rest @ ..] = given else {
            return plan_err!("{name} has {} arguments: {}", given.len(), usage(name));
        };
        let window = match window {
            DataType::Interval(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            text if text.is_string() => DataType::Utf8,
            number if number.is_integer() || number.is_null() => DataType::Int64,
            other => {
                return plan_err!("{name}: the window is of type {other}: give INTERVAL '30 days' or microseconds");
            }
        };
        if !mode.is_string() {
            return plan_err!("{name}: the second argument, the mode, is of type {mode} and no word: {}", usage(name));
        }
        let time = match time {
            DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            number if number.is_integer() => DataType::Int64,
            other => return plan_err!("{name}: the third argument, the time, is of type {other}: {}", usage(name)),
        };
        let mut wanted = vec![window, DataType::Utf8, time];
        let steps = match rest {
            [sequence, steps @ ..] if sequence.is_integer() => {
                wanted.push(DataType::Int64);
                steps
            }
            steps => steps,
        };
        for (index, step) in steps.iter().enumerate() {
            if !matches!(step, DataType::Boolean | DataType::Null) {
                return plan_err!(
                    "{name}: step {} is of type {step}, not a condition that is true or false",
                    index + 1
                );
            }
        }
        question::check_step_count(name, steps.len())?;
        wanted.extend(steps.iter().map(|_| DataType::Boolean));
        Ok(wanted)
    }

    fn state_fields(&self, arguments: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(rows::state_fields(arguments.name))
    }

    fn accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.gatherer(&arguments)?)))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }

    fn create_groups_accumulator(&self, arguments: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.gatherer(&arguments)?))
    }
}

/// Gathers the rows of many groups that meet a step, and answers for each at the end.
#[derive(Debug)]
struct Gatherer {
    output: Output,
    question: Question,
    rows: Rows,
    group_count: usize,
}

impl Gatherer {
    fn answer(&self, grouped: &Grouped) -> Result<ArrayRef> {
        match self.output {
            Output::Level => self.question.levels(grouped),
            Output::Times => self.question.times(grouped),
        }
    }

    /// The rows of the first groups, which are forgotten here.
    fn emit(&mut self, emit_to: EmitTo) -> (Rows, usize) {
        match emit_to {
            EmitTo::All => (std::mem::take(&mut self.rows), std::mem::take(&mut self.group_count)),
            EmitTo::First(count) => {
                self.group_count -= count;
                (self.rows.take_first_groups(count), count)
            }
        }
    }
}

impl GroupsAccumulator for Gatherer {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        group_count: usize,
    ) -> Result<()> {
        self.group_count = group_count;
        self.rows.push_batch(&self.question, values, Some(group_indices), filter)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], group_count: usize) -> Result<()> {
        self.group_count = group_count;
        self.rows.push_state(states, group_indices)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (rows, group_count) = self.emit(emit_to);
        self.answer(&rows.by_group(group_count))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (rows, group_count) = self.emit(emit_to);
        Ok(rows.by_group(group_count).to_state())
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let mut rows = Rows::default();
        rows.push_batch(&self.question, values, None, filter)?;
        Ok(rows.by_group(values[0].len()).to_state())
    }

    fn size(&self) -> usize {
        self.rows.size(self.group_count)
    }
}

/// The same without GROUP BY, and for `OVER (...)`, where the answer is asked for again and again.
#[derive(Debug)]
struct OneGroup(Gatherer);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.0.update_batch(values, &vec![0; values[0].len()], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.0.merge_batch(states, &vec![0; states[0].len()], 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // As one group they are put in order where they are, and are in order the next time.
        let grouped = std::mem::take(&mut self.0.rows).by_group(1);
        let answer = self.0.answer(&grouped);
        self.0.rows = grouped.into_rows();
        ScalarValue::try_from_array(&answer?, 0)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let state = std::mem::take(&mut self.0.rows).by_group(1).to_state();
        state.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect()
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.0.size()
    }
}

#[cfg(test)]
mod tests;

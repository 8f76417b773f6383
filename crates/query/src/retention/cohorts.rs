//! The fold of `retention` and `retention_overall`.
//!
//! In:       a unit's rows: whether they start, whether they are a return, what they are worth.
//! Out:      the table of cohorts and periods, or its columns over all cohorts that are old enough. Values are NULL where those
//!           of the breakdown are in several currencies.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use tributary_analytics::calendar::{Calendar, Progress};
use tributary_analytics::retention::{
    CohortRule, Counting, RetentionCounts, RetentionDefinition, RetentionFold, RetentionQuestion, ReturnEvent, Windows,
};
use tributary_analytics::stats::{Alpha, Interval};

use super::{Asked, start_type, starts};
use crate::currencies::Currencies;
use crate::fold::{About, Fold, Rows};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(super) struct Question {
    pub(super) calendar: Calendar,
    pub(super) asked: Asked,
    pub(super) cohort_rule: CohortRule,
    pub(super) return_event: ReturnEvent,
    pub(super) windows: Windows,
    pub(super) counting: Counting,
}

#[derive(Debug)]
pub(super) struct RetentionAnswer {
    pub(super) question: Question,
    pub(super) is_overall: bool,
    pub(super) has_breakdown: bool,
}

/// `None` where there are no events at all.
pub(super) struct Part(Option<Folding>);

pub(super) struct Folding {
    definition: RetentionDefinition,
    fold: RetentionFold,
    /// By value of the breakdown, that of the unit's first event; with what the values of returns are in.
    counts: BTreeMap<Option<u32>, (RetentionCounts, Currencies)>,
}

const STARTS: u32 = 1 << 0;
const RETURNS: u32 = 1 << 1;

impl Fold for RetentionAnswer {
    type Part = Part;

    fn explain(&self) -> String {
        let Question { calendar, cohort_rule, counting, .. } = &self.question;
        format!("retention by {:?} in {}, {cohort_rule:?}, {counting:?}", calendar.period(), calendar.zone())
    }

    fn schema(&self) -> SchemaRef {
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let money = |name: &str| Field::new(name, DataType::Decimal128(38, 6), true);
        let mut fields: Vec<Field> = Vec::new();
        fields.extend(self.has_breakdown.then(|| Field::new("breakdown", DataType::Utf8, true)));
        if !self.is_overall {
            fields.push(Field::new("cohort", start_type(&self.question.calendar), true));
        }
        fields.extend([count("period"), count("period_to"), count("cohort_units"), count("units")]);
        fields.extend(["rate", "rate_low", "rate_high"].map(number));
        if !self.is_overall {
            fields.extend([count("events"), money("value"), money("cumulative_value")]);
            fields.push(Field::new("is_complete", DataType::Boolean, true));
        }
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let Some(starts_us) = self.question.asked.range(about) else { return Ok(Part(None)) };
        let definition = RetentionDefinition::new(RetentionQuestion {
            calendar: self.question.calendar.clone(),
            starts_us,
            cohort_rule: self.question.cohort_rule,
            return_event: self.question.return_event,
            windows: self.question.windows,
            counting: self.question.counting.clone(),
        });
        let definition = definition.map_err(|error| exec_datafusion_err!("{error}"))?;
        Ok(Part(Some(Folding { fold: RetentionFold::new(&definition), definition, counts: BTreeMap::new() })))
    }

    fn unit(&self, part: &mut Part, _: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let Some(Folding { definition, fold, counts }) = &mut part.0 else { return Ok(()) };
        let value = if self.has_breakdown { rows.iter().find_map(|row| row.code(0)) } else { None };
        let (counts, currencies) =
            counts.entry(value).or_insert_with(|| (RetentionCounts::new(definition), Currencies::default()));
        let returns = match self.question.return_event {
            ReturnEvent::SameAsStart => STARTS,
            ReturnEvent::Own => RETURNS,
        };
        for row in rows.iter() {
            let mask = row.mask();
            let mut value_micros = 0;
            if !self.is_overall {
                value_micros = row.value_micros(0).unwrap_or(0);
                let currency = row.code(usize::from(self.has_breakdown)).filter(|_| mask & returns != 0);
                currency.into_iter().for_each(|currency| currencies.push(currency));
            }
            fold.push(row.time_us(), mask & STARTS != 0, mask & RETURNS != 0, value_micros);
        }
        fold.finish_into(counts);
        Ok(())
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        let (Some(part), Some(other)) = (&mut part.0, other.0) else { return Ok(()) };
        for (value, (more, more_currencies)) in other.counts {
            match part.counts.get_mut(&value) {
                Some((counts, currencies)) => {
                    counts.merge(&more);
                    currencies.merge(more_currencies);
                }
                None => _ = part.counts.insert(value, (more, more_currencies)),
            }
        }
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        let Some(part) = &part.0 else { return 0 };
        // A cell is two counts and an amount.
        let cells = part.definition.cohort_count() * part.definition.columns().len();
        part.counts.len() * cells * 32
    }

    fn finish(&self, part: Part, about: &About<'_>) -> Result<RecordBatch> {
        let mut lines = Lines::default();
        if let Some(Folding { counts, .. }) = part.0 {
            let known_until_us = about.times_us.map_or(i64::MIN, |(_, last_us)| last_us.saturating_add(1));
            for (value, (counts, currencies)) in counts {
                let value = about.texts.first().and_then(|texts| texts.get(value)).map(str::to_owned);
                if self.is_overall {
                    lines.overall(value, &counts, known_until_us);
                } else {
                    lines.cohorts(value, &counts, currencies.several().is_none(), known_until_us);
                }
            }
        }
        lines.table(Fold::schema(self), &self.question.calendar)
    }
}

#[derive(Default)]
struct Lines {
    values: Vec<Option<String>>,
    /// By number.
    cohorts: Vec<i64>,
    /// First and last period, units of the cohort, units that came back, events.
    counts: [Vec<i64>; 5],
    /// Rate, low, high.
    numbers: [Vec<Option<f64>>; 3],
    /// Value, cumulative.
    amounts: [Vec<Option<i128>>; 2],
    complete: Vec<bool>,
}

impl Lines {
    fn push(&mut self, value: Option<String>, periods: (u32, u32), of: u64, units: u64, interval: Option<Interval>) {
        self.values.push(value);
        let told = [i64::from(periods.0), i64::from(periods.1), of as i64, units as i64];
        self.counts.iter_mut().zip(told).for_each(|(column, count)| column.push(count));
        let rate = (0 < of).then(|| units as f64 / of as f64);
        let told = [rate, interval.map(|of| of.low), interval.map(|of| of.high)];
        self.numbers.iter_mut().zip(told).for_each(|(column, number)| column.push(number));
    }

    fn overall(&mut self, value: Option<String>, counts: &RetentionCounts, known_until_us: i64) {
        for column in counts.overall(known_until_us, Alpha::FIVE_PERCENT) {
            self.push(value.clone(), column.periods, column.eligible_count, column.unit_count, column.interval);
        }
    }

    /// Cohorts nobody is in, and cells whose time has not begun, are no rows.
    ///
    /// * `adds_up`: their amounts are in one currency.
    fn cohorts(&mut self, value: Option<String>, counts: &RetentionCounts, adds_up: bool, known_until_us: i64) {
        for cohort in counts.cohorts(known_until_us, Alpha::FIVE_PERCENT) {
            for cell in cohort.cells.iter().filter(|cell| cell.progress != Progress::Ahead && 0 < cohort.unit_count) {
                self.push(value.clone(), cell.periods, cohort.unit_count, cell.unit_count, cell.interval);
                self.cohorts.push(cohort.cohort);
                self.counts[4].push(cell.event_count as i64);
                self.amounts[0].push(adds_up.then_some(cell.revenue_micros));
                self.amounts[1].push(adds_up.then_some(cell.cumulative_revenue_micros));
                self.complete.push(cell.progress == Progress::Over);
            }
        }
    }

    fn table(self, schema: SchemaRef, calendar: &Calendar) -> Result<RecordBatch> {
        let money = |amounts: Vec<Option<i128>>| -> Result<ArrayRef> {
            Ok(Arc::new(Decimal128Array::from(amounts).with_precision_and_scale(38, 6)?))
        };
        let [from, to, of, units, events] = self.counts.map(|column| Arc::new(Int64Array::from(column)) as ArrayRef);
        let [rate, low, high] = self.numbers.map(|column| Arc::new(Float64Array::from(column)) as ArrayRef);
        let [value, cumulative] = self.amounts.map(money);
        let column = |name: &str| -> Result<ArrayRef> {
            Ok(match name {
                "breakdown" => Arc::new(StringArray::from(self.values.clone())),
                "cohort" => starts(calendar, &self.cohorts),
                "period" => Arc::clone(&from),
                "period_to" => Arc::clone(&to),
                "cohort_units" => Arc::clone(&of),
                "units" => Arc::clone(&units),
                "rate" => Arc::clone(&rate),
                "rate_low" => Arc::clone(&low),
                "rate_high" => Arc::clone(&high),
                "events" => Arc::clone(&events),
                "is_complete" => Arc::new(BooleanArray::from(self.complete.clone())),
                "value" => Arc::clone(value.as_ref().map_err(|error| exec_datafusion_err!("{error}"))?),
                _ => Arc::clone(cumulative.as_ref().map_err(|error| exec_datafusion_err!("{error}"))?),
            })
        };
        let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

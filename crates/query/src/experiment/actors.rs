//! `experiment_actors`: each unit that was exposed, with its amount of each metric.
//!
//! In:       subjects with their rows.
//! Out:      a row for each unit and metric, by unit.
//! Promise:  the same units and amounts that `experiment` counts; who saw two variants is told, without amounts.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use super::design::Design;
use super::measure::{Measure, Measured, Subject, measure};
use super::sums::MICROS;
use crate::currencies::Currencies;
use crate::fold::{Rows, Texts};

#[derive(Debug, Default)]
pub(super) struct Actors {
    actors: Vec<Actor>,
    bytes: usize,
    pub(super) currencies: Currencies,
}

#[derive(Debug)]
struct Actor {
    unit: Box<str>,
    subject: Subject,
    /// One for each metric; `None` for who is not counted.
    measured: Vec<Option<Measured>>,
}

impl Actors {
    pub(super) fn push(
        &mut self,
        design: &Design,
        subject: Subject,
        (unit, rows): (&str, Rows<'_>),
        known_until_us: i64,
    ) {
        let amounts = |metric| match subject.is_crossover {
            true => None,
            false => measure(design, metric, &subject, rows, known_until_us, &mut self.currencies),
        };
        let measured: Vec<Option<Measured>> = design.metrics.iter().map(amounts).collect();
        self.bytes += size_of::<Actor>() + unit.len() + measured.len() * size_of::<Option<Measured>>();
        self.actors.push(Actor { unit: unit.into(), subject, measured });
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.actors.extend(other.actors);
        self.bytes += other.bytes;
        self.currencies.merge(other.currencies);
    }

    pub(super) fn bytes(&self) -> usize {
        // Once more as columns.
        2 * self.bytes
    }

    pub(super) fn batch(mut self, design: &Design, variants: &Texts) -> Result<RecordBatch> {
        self.actors.sort_unstable_by(|a, b| a.unit.cmp(&b.unit));
        let rows = || self.actors.iter().flat_map(|actor| (0..design.metrics.len()).map(move |metric| (actor, metric)));
        let text = |of: &dyn Fn(&Actor, usize) -> Option<String>| -> ArrayRef {
            Arc::new(rows().map(|(actor, metric)| of(actor, metric)).collect::<StringArray>())
        };
        let flag = |of: &dyn Fn(&Actor, usize) -> Option<bool>| -> ArrayRef {
            Arc::new(rows().map(|(actor, metric)| of(actor, metric)).collect::<BooleanArray>())
        };
        let number = |of: &dyn Fn(&Measured, bool) -> Option<f64>| -> ArrayRef {
            let number = |(actor, metric): (&Actor, usize)| {
                of(actor.measured[metric].as_ref()?, design.metrics[metric].measure == Measure::Ratio)
            };
            Arc::new(rows().map(number).collect::<Float64Array>())
        };
        let amount = |measured: &Measured, column: usize| measured.amounts[column] as f64 / MICROS;
        let value = |measured: &Measured, column: usize, is_ratio: bool| match is_ratio {
            false => Some(amount(measured, column)),
            true => {
                let denominator = amount(measured, column + 1);
                (denominator != 0.0).then(|| amount(measured, column) / denominator)
            }
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|actor, _| Some(actor.unit.to_string())),
            text(&|actor, _| variants.get(Some(actor.subject.variant)).map(str::to_owned)),
            Arc::new(rows().map(|(actor, _)| Some(actor.subject.exposed_us)).collect::<Int64Array>()),
            flag(&|actor, _| Some(actor.subject.is_crossover)),
            text(&|_, metric| Some(design.metrics[metric].name.clone())),
            flag(&|actor, metric| (!actor.subject.is_crossover).then(|| actor.measured[metric].is_none())),
            number(&|measured, is_ratio| value(measured, 0, is_ratio)),
            number(&|measured, is_ratio| is_ratio.then(|| amount(measured, 0))),
            number(&|measured, is_ratio| is_ratio.then(|| amount(measured, 1))),
            number(&|measured, is_ratio| design.before_us.is_some().then(|| value(measured, 2, is_ratio)).flatten()),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let flag = |name: &str| Field::new(name, DataType::Boolean, true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        text("unit"),
        text("variant"),
        Field::new("exposed_time_us", DataType::Int64, true),
        flag("is_crossover"),
        text("metric"),
        flag("is_in_progress"),
        number("value"),
        number("numerator"),
        number("denominator"),
        number("value_before"),
    ]))
});

pub(super) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

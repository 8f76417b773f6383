//! The fold of `rfm`.
//!
//! In:       a unit's purchases.
//! Out:      a row a unit that bought: recency, frequency and monetary value, their scores and the segment. Where the
//!           purchases are in several currencies, monetary value and its score are NULL: neither sums nor ranks of them mean anything.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, exec_datafusion_err};
use tributary_analytics::rfm::{Cut, RfmFold, RfmMeasures, RfmRule};

use crate::currencies::Currencies;
use crate::fold::{About, Fold, Rows};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(super) struct RfmAnswer {
    /// `None`: just after the last event.
    pub(super) as_of_us: Option<i64>,
    pub(super) tiles: u32,
    pub(super) cut: Cut,
}

pub(super) struct Part {
    as_of_us: i64,
    fold: RfmFold,
    units: Vec<(Box<str>, RfmMeasures)>,
    currencies: Currencies,
    name_bytes: usize,
}

const PURCHASE: u32 = 1;

impl Fold for RfmAnswer {
    type Part = Part;

    fn explain(&self) -> String {
        format!("recency, frequency and monetary value in {} {:?}", self.tiles, self.cut)
    }

    fn schema(&self) -> SchemaRef {
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let mut fields = vec![Field::new("unit", DataType::Utf8, false)];
        fields.extend(["recency_days", "frequency"].map(count));
        fields.push(Field::new("monetary", DataType::Decimal128(38, 6), true));
        fields.extend(["recency_score", "frequency_score", "monetary_score"].map(count));
        fields.push(Field::new("segment", DataType::Utf8, true));
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let after_all = about.times_us.map_or(i64::MAX, |(_, last_us)| last_us.saturating_add(1));
        let as_of_us = self.as_of_us.unwrap_or(after_all);
        let (units, currencies) = (Vec::new(), Currencies::default());
        Ok(Part { as_of_us, fold: RfmFold::new(as_of_us), units, currencies, name_bytes: 0 })
    }

    fn unit(&self, part: &mut Part, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        for row in rows.iter() {
            let is_purchase = row.mask() & PURCHASE != 0;
            part.fold.push(row.time_us(), is_purchase, row.value_micros(0).unwrap_or(0));
            let counts = is_purchase && row.time_us() < part.as_of_us;
            row.code(0).filter(|_| counts).into_iter().for_each(|currency| part.currencies.push(currency));
        }
        if let Some(measures) = part.fold.finish() {
            part.name_bytes += unit.len();
            part.units.push((unit.into(), measures));
        }
        Ok(())
    }

    fn merge(&self, part: &mut Part, other: Part) -> Result<()> {
        part.units.extend(other.units);
        part.currencies.merge(other.currencies);
        part.name_bytes += other.name_bytes;
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        // Once more as columns.
        2 * (part.name_bytes + part.units.capacity() * size_of::<(Box<str>, RfmMeasures)>())
    }

    fn finish(&self, mut part: Part, _: &About<'_>) -> Result<RecordBatch> {
        part.units.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let rule =
            RfmRule::new(part.as_of_us, self.tiles, self.cut).map_err(|error| exec_datafusion_err!("{error}"))?;
        let scores = rule.scores(&part.units);
        let score = |of: &dyn Fn(usize) -> i64| Arc::new((0..scores.len()).map(of).collect::<Int64Array>()) as ArrayRef;
        // What cannot be added is not told; segments are of recency and frequency alone.
        let adds_up = part.currencies.several().is_none();
        let money = part.units.iter().map(|(_, measures)| adds_up.then_some(measures.monetary_micros));
        let money = money.collect::<Decimal128Array>();
        let by_money = scores.iter().map(|scores| adds_up.then_some(i64::from(scores.monetary)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(part.units.iter().map(|(unit, _)| unit))),
            score(&|unit| scores[unit].recency_days),
            score(&|unit| part.units[unit].1.frequency as i64),
            Arc::new(money.with_precision_and_scale(38, 6)?),
            score(&|unit| i64::from(scores[unit].recency)),
            score(&|unit| i64::from(scores[unit].frequency)),
            Arc::new(by_money.collect::<Int64Array>()),
            Arc::new(scores.iter().map(|scores| scores.segment.map(|segment| segment.name())).collect::<StringArray>()),
        ];
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }
}

//! The fold of `sessionize`.
//!
//! In:       a unit's rows, in order.
//! Out:      its sessions, as columns that go out as soon as there are enough.

#![allow(clippy::cast_possible_wrap, reason = "counts and places are far below 2^63")]

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringViewArray, StringViewBuilder, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;

use crate::fold::{About, Fold, Layout, Rows};
use crate::stop::StopFlag;

#[derive(Debug)]
pub(super) struct SessionsOf {
    pub(super) gap_us: i64,
    pub(super) layout: Layout,
}

/// Sessions that have not gone out yet, and the texts their touches are.
pub(super) struct Part {
    touches: Option<StringViewArray>,
    units: StringViewBuilder,
    numbers: Vec<i64>,
    starts_us: Vec<i64>,
    ends_us: Vec<i64>,
    events: Vec<i64>,
    goals: Vec<i64>,
    values: Vec<i128>,
    first: Vec<Option<u32>>,
    last: Vec<Option<u32>>,
}

/// Fewer wait for more.
const ROWS_OUT: usize = 8_192;

#[derive(Default)]
struct Session {
    start_us: i64,
    end_us: i64,
    events: i64,
    goals: i64,
    value: i128,
    first: Option<u32>,
    last: Option<u32>,
}

impl Part {
    fn push(&mut self, unit: &str, number: i64, session: &Session) {
        self.units.append_value(unit);
        self.numbers.push(number);
        self.starts_us.push(session.start_us);
        self.ends_us.push(session.end_us);
        self.events.push(session.events);
        self.goals.push(session.goals);
        self.values.push(session.value);
        self.first.push(session.first);
        self.last.push(session.last);
    }
}

impl SessionsOf {
    fn batch(&self, part: &mut Part) -> Result<RecordBatch> {
        let whole = |column: &mut Vec<i64>| Arc::new(Int64Array::from(std::mem::take(column))) as ArrayRef;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(part.units.finish()),
            whole(&mut part.numbers),
            whole(&mut part.starts_us),
            whole(&mut part.ends_us),
            whole(&mut part.events),
            whole(&mut part.goals),
        ];
        let values = std::mem::take(&mut part.values);
        if 0 < self.layout.values {
            columns.push(Arc::new(Decimal128Array::from(values).with_precision_and_scale(38, 6)?));
        }
        for codes in [&mut part.first, &mut part.last] {
            let codes = std::mem::take(codes);
            if let Some(touches) = &part.touches {
                columns.push(take(touches, &UInt32Array::from(codes), None)?);
            }
        }
        Ok(RecordBatch::try_new(Fold::schema(self), columns)?)
    }
}

impl Fold for SessionsOf {
    type Part = Part;

    fn explain(&self) -> String {
        format!("sessions, each ended by more than {} s without an event", self.gap_us as f64 / 1e6)
    }

    fn schema(&self) -> SchemaRef {
        let text = |name| Field::new(name, DataType::Utf8View, true);
        let count = |name| Field::new(name, DataType::Int64, true);
        let mut fields = vec![text("unit")];
        fields.extend(["session_number", "start_time_us", "end_time_us", "events", "goals"].map(count));
        if 0 < self.layout.values {
            fields.push(Field::new("value", DataType::Decimal128(38, 6), true));
        }
        if 0 < self.layout.codes {
            fields.extend(["first_touch", "last_touch"].map(text));
        }
        Arc::new(Schema::new(fields))
    }

    fn start(&self, about: &About<'_>) -> Result<Part> {
        let texts = about.texts.first();
        let touches = texts.map(|texts| (0..texts.len() as u32).map(|code| texts.get(Some(code))).collect());
        Ok(Part {
            touches,
            units: StringViewBuilder::new(),
            numbers: Vec::new(),
            starts_us: Vec::new(),
            ends_us: Vec::new(),
            events: Vec::new(),
            goals: Vec::new(),
            values: Vec::new(),
            first: Vec::new(),
            last: Vec::new(),
        })
    }

    fn unit(&self, part: &mut Part, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let Layout { codes, values, .. } = self.layout;
        let mut number = 1;
        let mut session = Session::default();
        for row in rows.iter() {
            let time_us = row.time_us();
            if session.events == 0 {
                session.start_us = time_us;
            } else if self.gap_us < time_us.saturating_sub(session.end_us) {
                part.push(unit, number, &session);
                number += 1;
                session = Session { start_us: time_us, ..Session::default() };
            }
            session.end_us = time_us;
            session.events += 1;
            session.goals += i64::from(row.mask() & 1);
            if 0 < values {
                session.value += i128::from(row.value_micros(0).unwrap_or(0));
            }
            if 0 < codes
                && let Some(code) = row.code(0)
            {
                session.first = session.first.or(Some(code));
                session.last = Some(code);
            }
        }
        part.push(unit, number, &session);
        Ok(())
    }

    fn merge(&self, part: &mut Part, mut other: Part) -> Result<()> {
        for unit in &other.units.finish() {
            part.units.append_option(unit);
        }
        part.numbers.append(&mut other.numbers);
        part.starts_us.append(&mut other.starts_us);
        part.ends_us.append(&mut other.ends_us);
        part.events.append(&mut other.events);
        part.goals.append(&mut other.goals);
        part.values.append(&mut other.values);
        part.first.append(&mut other.first);
        part.last.append(&mut other.last);
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        let row = 5 * size_of::<i64>() + size_of::<i128>() + 2 * size_of::<Option<u32>>();
        part.numbers.capacity() * row + part.units.allocated_size()
    }

    fn drain(&self, part: &mut Part) -> Result<Option<RecordBatch>> {
        if part.numbers.len() < ROWS_OUT { Ok(None) } else { self.batch(part).map(Some) }
    }

    fn finish(&self, mut part: Part, _: &About<'_>) -> Result<RecordBatch> {
        self.batch(&mut part)
    }
}

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

/// Sessions that have not gone out yet, each with its unit, and the texts their touches are.
pub(super) struct Part {
    touches: Option<StringViewArray>,
    units: StringViewBuilder,
    sessions: Vec<Session>,
}

/// Fewer wait for more.
const ROWS_OUT: usize = 8_192;

#[derive(Default)]
struct Session {
    number: i64,
    start_us: i64,
    end_us: i64,
    events: i64,
    goals: i64,
    value: i128,
    first: Option<u32>,
    last: Option<u32>,
}

impl Session {
    fn begun(number: i64, start_us: i64) -> Self {
        Self { number, start_us, ..Self::default() }
    }
}

impl Part {
    fn push(&mut self, unit: &str, session: Session) {
        self.units.append_value(unit);
        self.sessions.push(session);
    }
}

impl SessionsOf {
    fn batch(&self, part: &mut Part) -> Result<RecordBatch> {
        let sessions = std::mem::take(&mut part.sessions);
        let whole = |of: fn(&Session) -> i64| Arc::new(sessions.iter().map(of).collect::<Int64Array>()) as ArrayRef;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(part.units.finish()),
            whole(|session| session.number),
            whole(|session| session.start_us),
            whole(|session| session.end_us),
            whole(|session| session.events),
            whole(|session| session.goals),
        ];
        if 0 < self.layout.values {
            let values = sessions.iter().map(|session| session.value).collect::<Decimal128Array>();
            columns.push(Arc::new(values.with_precision_and_scale(38, 6)?));
        }
        if let Some(touches) = &part.touches {
            let codes: [fn(&Session) -> Option<u32>; 2] = [|session| session.first, |session| session.last];
            for code in codes {
                columns.push(take(touches, &sessions.iter().map(code).collect::<UInt32Array>(), None)?);
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
        Ok(Part { touches, units: StringViewBuilder::new(), sessions: Vec::new() })
    }

    fn unit(&self, part: &mut Part, unit: &str, rows: Rows<'_>, _: &StopFlag) -> Result<()> {
        let Layout { codes, values, .. } = self.layout;
        let mut session = Session::begun(1, rows.at(0).time_us());
        for row in rows.iter() {
            let time_us = row.time_us();
            if 0 < session.events && self.gap_us < time_us.saturating_sub(session.end_us) {
                let next = Session::begun(session.number + 1, time_us);
                part.push(unit, std::mem::replace(&mut session, next));
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
        part.push(unit, session);
        Ok(())
    }

    fn merge(&self, part: &mut Part, mut other: Part) -> Result<()> {
        for unit in &other.units.finish() {
            part.units.append_option(unit);
        }
        part.sessions.append(&mut other.sessions);
        Ok(())
    }

    fn bytes(&self, part: &Part) -> usize {
        part.sessions.capacity() * size_of::<Session>() + part.units.allocated_size()
    }

    fn drain(&self, part: &mut Part) -> Result<Option<RecordBatch>> {
        if part.sessions.len() < ROWS_OUT { Ok(None) } else { self.batch(part).map(Some) }
    }

    fn finish(&self, mut part: Part, _: &About<'_>) -> Result<RecordBatch> {
        self.batch(&mut part)
    }
}

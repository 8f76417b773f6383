//! Values of an answer as PostgreSQL writes them, as text and as bytes.
//!
//! In:       batches, the shapes of their columns, the format a client asked for.
//! Out:      rows.
//! Promise:  each shape has both formats, and both say the same. A NULL is no value.
//! Not here: which shape a type has (`types.rs`).

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, DurationMicrosecondType, Field, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::json::writer::{EncoderOptions, make_encoder};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::{BufMut, BytesMut};

use super::frontend::Format;
use super::types::Shape;
use super::{backend, calendar, numeric};

/// A batch about to be written.
pub(crate) struct Rows {
    columns: Vec<Column>,
    formats: Arc<[Format]>,
    count: usize,
}

impl Rows {
    /// * `shapes`, `formats`: of its columns.
    pub(crate) fn of(batch: &RecordBatch, shapes: &[Shape], formats: Arc<[Format]>) -> Result<Self, ArrowError> {
        let pairs = batch.columns().iter().zip(batch.schema_ref().fields()).zip(shapes);
        let columns = pairs.map(|((array, field), shape)| Column::of(array, field, shape));
        Ok(Self { columns: columns.collect::<Result<_, _>>()?, formats, count: batch.num_rows() })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn write(&self, row: usize, out: &mut BytesMut) {
        backend::data_row(out, self.columns.len(), |index, out| {
            let column = &self.columns[index];
            let is_there = !column.is_null(row);
            if is_there {
                column.write(row, self.formats[index], out);
            }
            is_there
        });
    }
}

/// The first value of a column as text.
pub(super) fn first_text(array: &ArrayRef, field: &Field, shape: &Shape) -> Result<Option<Vec<u8>>, ArrowError> {
    let column = Column::of(&array.slice(0, 1), field, shape)?;
    if column.is_null(0) {
        return Ok(None);
    }
    let mut text = BytesMut::new();
    column.write_text(0, &mut text);
    Ok(Some(text.to_vec()))
}

/// A column in the one form its shape is written from.
enum Column {
    Bool(BooleanArray),
    Int2(PrimitiveArray<Int16Type>),
    Int4(PrimitiveArray<Int32Type>),
    Int8(PrimitiveArray<Int64Type>),
    Float4(PrimitiveArray<Float32Type>),
    Float8(PrimitiveArray<Float64Type>),
    /// Decimal text.
    Numeric(StringArray),
    Text(StringArray),
    Bytea(BinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp {
        us: PrimitiveArray<TimestampMicrosecondType>,
        zone: &'static str,
    },
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    List {
        list: ListArray,
        items: Box<Column>,
        item_oid: u32,
    },
}

impl Column {
    fn of(array: &ArrayRef, field: &Field, shape: &Shape) -> Result<Self, ArrowError> {
        fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> PrimitiveArray<T> {
            array.as_primitive::<T>().clone()
        }
        // What cannot be told in PostgreSQL's type is a fault, not a NULL.
        let to = |array: &ArrayRef, data_type: &DataType| {
            if array.data_type() == data_type {
                return Ok(array.clone());
            }
            cast_with_options(array, data_type, &CastOptions { safe: false, format_options: FormatOptions::default() })
        };
        let array = match array.data_type() {
            // There is no cast of a length of time to months, days and nanoseconds.
            DataType::Union(..) => &text_of_union(array)?,
            DataType::Duration(_) => &interval_of_duration(&to(array, &DataType::Duration(TimeUnit::Microsecond))?),
            _ => array,
        };
        let array = match shape.canonical() {
            Some(canonical) => to(array, &canonical)?,
            None => array.clone(),
        };
        Ok(match shape {
            Shape::Bool => Self::Bool(array.as_boolean().clone()),
            Shape::Int2 => Self::Int2(primitive(&array)),
            Shape::Int4 => Self::Int4(primitive(&array)),
            Shape::Int8 => Self::Int8(primitive(&array)),
            Shape::Float4 => Self::Float4(primitive(&array)),
            Shape::Float8 => Self::Float8(primitive(&array)),
            Shape::Numeric(_) => Self::Numeric(array.as_string().clone()),
            Shape::Text => Self::Text(array.as_string().clone()),
            Shape::Bytea => Self::Bytea(array.as_binary().clone()),
            Shape::Date => Self::Date(primitive(&array)),
            Shape::Time => Self::Time(primitive(&array)),
            Shape::Timestamp => Self::Timestamp { us: primitive(&array), zone: "" },
            Shape::TimestampTz => Self::Timestamp { us: primitive(&array), zone: "+00" },
            Shape::Interval => Self::Interval(primitive(&array)),
            Shape::Json => Self::Text(json(&array, field)?),
            Shape::Array(item) => {
                let of = match array.data_type() {
                    DataType::List(of)
                    | DataType::LargeList(of)
                    | DataType::FixedSizeList(of, _)
                    | DataType::ListView(of)
                    | DataType::LargeListView(of) => of.clone(),
                    other => return Err(ArrowError::CastError(format!("{other} is no list"))),
                };
                let list = to(&array, &DataType::List(of.clone()))?.as_list::<i32>().clone();
                let items = Box::new(Self::of(list.values(), &of, item)?);
                Self::List { list, items, item_oid: item.oid() }
            }
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int2(array) => array.is_null(row),
            Self::Int4(array) => array.is_null(row),
            Self::Int8(array) => array.is_null(row),
            Self::Float4(array) => array.is_null(row),
            Self::Float8(array) => array.is_null(row),
            Self::Numeric(array) | Self::Text(array) => array.is_null(row),
            Self::Bytea(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Time(array) => array.is_null(row),
            Self::Timestamp { us, .. } => us.is_null(row),
            Self::Interval(array) => array.is_null(row),
            Self::List { list, .. } => list.is_null(row),
        }
    }

    fn write(&self, row: usize, format: Format, out: &mut BytesMut) {
        match format {
            Format::Text => self.write_text(row, out),
            Format::Binary => self.write_binary(row, out),
        }
    }

    fn write_text(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(array) => out.put_u8(if array.value(row) { b't' } else { b'f' }),
            Self::Int2(array) => put_shown(out, array.value(row)),
            Self::Int4(array) => put_shown(out, array.value(row)),
            Self::Int8(array) => put_shown(out, array.value(row)),
            Self::Float4(array) => {
                let value = array.value(row);
                put_float(out, f64::from(value), &format!("{value}"), &format!("{value:e}"));
            }
            Self::Float8(array) => {
                let value = array.value(row);
                put_float(out, value, &format!("{value}"), &format!("{value:e}"));
            }
            Self::Numeric(array) | Self::Text(array) => out.put_slice(array.value(row).as_bytes()),
            Self::Bytea(array) => {
                out.put_slice(b"\\x");
                for byte in array.value(row) {
                    out.put_slice(&[hex(byte >> 4), hex(byte & 15)]);
                }
            }
            Self::Date(array) => out.put_slice(calendar::date(array.value(row)).as_bytes()),
            Self::Time(array) => out.put_slice(calendar::time(array.value(row)).as_bytes()),
            Self::Timestamp { us, zone } => out.put_slice(calendar::timestamp(us.value(row), zone).as_bytes()),
            Self::Interval(array) => {
                let value = array.value(row);
                let text = calendar::interval(value.months, value.days, value.nanoseconds / 1_000);
                out.put_slice(text.as_bytes());
            }
            Self::List { list, items, .. } => {
                out.put_u8(b'{');
                for (index, item) in span(list, row).enumerate() {
                    if index != 0 {
                        out.put_u8(b',');
                    }
                    items.write_item(item, out);
                }
                out.put_u8(b'}');
            }
        }
    }

    /// As text inside an array: in quotes where it would be read otherwise.
    fn write_item(&self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_slice(b"NULL");
            return;
        }
        let mut text = BytesMut::new();
        self.write_text(row, &mut text);
        let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
        if !text.is_empty() && !text.iter().any(special) && !text.eq_ignore_ascii_case(b"null") {
            out.put_slice(&text);
            return;
        }
        out.put_u8(b'"');
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                out.put_u8(b'\\');
            }
            out.put_u8(byte);
        }
        out.put_u8(b'"');
    }

    fn write_binary(&self, row: usize, out: &mut BytesMut) {
        match self {
            Self::Bool(array) => out.put_u8(array.value(row).into()),
            Self::Int2(array) => out.put_i16(array.value(row)),
            Self::Int4(array) => out.put_i32(array.value(row)),
            Self::Int8(array) => out.put_i64(array.value(row)),
            Self::Float4(array) => out.put_f32(array.value(row)),
            Self::Float8(array) => out.put_f64(array.value(row)),
            Self::Numeric(array) => numeric::write(array.value(row), out),
            Self::Text(array) => out.put_slice(array.value(row).as_bytes()),
            Self::Bytea(array) => out.put_slice(array.value(row)),
            Self::Date(array) => out.put_i32(array.value(row).saturating_sub(calendar::EPOCH_DAYS)),
            Self::Time(array) => out.put_i64(array.value(row)),
            Self::Timestamp { us, .. } => out.put_i64(us.value(row).saturating_sub(calendar::EPOCH_US)),
            Self::Interval(array) => {
                let value = array.value(row);
                out.put_i64(value.nanoseconds / 1_000);
                out.put_i32(value.days);
                out.put_i32(value.months);
            }
            Self::List { list, items, item_oid } => {
                let span = span(list, row);
                let has_null = span.clone().any(|item| items.is_null(item));
                // One dimension, which begins at 1; an array without items has none.
                out.put_i32(i32::from(!span.is_empty()));
                out.put_i32(has_null.into());
                out.put_u32(*item_oid);
                if !span.is_empty() {
                    out.put_u32(u32::try_from(span.len()).expect("a list's offsets are 32 bits"));
                    out.put_i32(1);
                }
                for item in span {
                    let begin = out.len();
                    out.put_u32(u32::MAX);
                    if !items.is_null(item) {
                        items.write_binary(item, out);
                        let length = u32::try_from(out.len() - begin - 4).expect("an item lies in a batch below 2 GiB");
                        out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
                    }
                }
            }
        }
    }
}

/// Where the items of a list lie.
fn span(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    let at = |index: usize| usize::try_from(offsets[index]).expect("offsets count from 0 up");
    at(row)..at(row + 1)
}

fn put_shown(out: &mut BytesMut, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("bytes take all");
}

/// The fewest digits that mean the same number, in the words of PostgreSQL.
fn put_float(out: &mut BytesMut, value: f64, plain: &str, exponential: &str) {
    let text = if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value < 0.0 { "-Infinity" } else { "Infinity" }.to_owned()
    } else if value == 0.0 || (1e-4..1e15).contains(&value.abs()) {
        plain.to_owned()
    } else {
        let (digits, exponent) = exponential.split_once('e').unwrap_or((exponential, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        format!("{digits}e{sign}{exponent:0>2}")
    };
    out.put_slice(text.as_bytes());
}

fn hex(half: u8) -> u8 {
    b"0123456789abcdef"[usize::from(half)]
}

fn interval_of_duration(array: &ArrayRef) -> ArrayRef {
    let durations = array.as_primitive::<DurationMicrosecondType>();
    let intervals: PrimitiveArray<IntervalMonthDayNanoType> = durations.unary(|us| {
        arrow::datatypes::IntervalMonthDayNano { months: 0, days: 0, nanoseconds: us.saturating_mul(1_000) }
    });
    Arc::new(intervals)
}

/// Each value as the text of whichever it is.
fn text_of_union(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let union = array.as_union();
    let options = FormatOptions::default();
    let text = |row: usize| {
        let value = union.value(row);
        if value.logical_null_count() != 0 {
            return Ok(None);
        }
        Ok(Some(ArrayFormatter::try_new(&value, &options)?.value(0).to_string()))
    };
    Ok(Arc::new((0..union.len()).map(text).collect::<Result<StringArray, ArrowError>>()?))
}

/// Each value as JSON.
fn json(array: &ArrayRef, field: &Field) -> Result<StringArray, ArrowError> {
    let options = EncoderOptions::default();
    let field = Arc::new(field.clone());
    let mut encoder = make_encoder(&field, array, &options)?;
    let mut text = Vec::new();
    let mut values = Vec::with_capacity(array.len());
    for row in 0..array.len() {
        if array.is_null(row) {
            values.push(None);
            continue;
        }
        text.clear();
        encoder.encode(row, &mut text);
        values.push(Some(String::from_utf8_lossy(&text).into_owned()));
    }
    Ok(StringArray::from(values))
}

#[cfg(test)]
mod tests;

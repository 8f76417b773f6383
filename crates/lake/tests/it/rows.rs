//! Rows for any table, made from its definition: every column holds something, nullable ones also null.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field};
use tributary_schemas::Table;

/// One row per offset; `log_offset` is the offset, all else follows from it. Rows spread over `days` days.
pub(crate) fn rows(table: Table, offsets: std::ops::Range<i64>, days: i32) -> RecordBatch {
    let seeds: Vec<i64> = offsets.collect();
    let schema = table.arrow_schema();
    let columns = schema.fields().iter().map(|field| column(field, &seeds, days)).collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

fn column(field: &Field, seeds: &[i64], days: i32) -> ArrayRef {
    let is_null = |seed: i64| field.is_nullable() && seed.rem_euclid(3) == 1;
    let name = field.name();
    macro_rules! array {
        ($array:ty, $value:expr) => {
            Arc::new(seeds.iter().map(|seed| (!is_null(*seed)).then(|| $value(*seed))).collect::<$array>()) as ArrayRef
        };
    }
    match field.data_type() {
        DataType::Utf8 => array!(StringArray, |seed| format!("{name}-{seed:06}")),
        DataType::Int64 => array!(Int64Array, |seed| seed),
        DataType::Int32 => array!(Int32Array, |seed| seed as i32 % 4),
        DataType::Float64 => array!(Float64Array, |seed| seed as f64 / 8.0),
        DataType::Boolean => array!(BooleanArray, |seed| seed % 2 == 0),
        DataType::Date32 => array!(Date32Array, |seed| 20_000 + seed as i32 % days),
        DataType::Decimal128(precision, scale) => {
            let values = seeds.iter().map(|seed| (!is_null(*seed)).then(|| i128::from(*seed) * 1_000_001 - 5));
            Arc::new(values.collect::<Decimal128Array>().with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::List(item) => {
            let lengths: Vec<usize> =
                seeds.iter().map(|seed| if is_null(*seed) { 0 } else { seed.rem_euclid(4) as usize }).collect();
            let children: Vec<i64> = seeds
                .iter()
                .zip(&lengths)
                .flat_map(|(seed, length)| (0..*length as i64).map(move |i| seed + i))
                .collect();
            let nulls = field.is_nullable().then(|| seeds.iter().map(|seed| !is_null(*seed)).collect::<NullBuffer>());
            let values = column(item, &children, days);
            Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), values, nulls).unwrap())
        }
        DataType::Struct(fields) => {
            let nulls = field.is_nullable().then(|| seeds.iter().map(|seed| !is_null(*seed)).collect::<NullBuffer>());
            let arrays = fields.iter().map(|field| column(field, seeds, days)).collect();
            Arc::new(StructArray::try_new(fields.clone(), arrays, nulls).unwrap())
        }
        other => new_null_array(other, seeds.len()),
    }
}

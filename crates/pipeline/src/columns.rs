//! Typed sight of a batch's columns, by name.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type};

/// The column of that name; the batch's schema is ours, so it is there.
pub(crate) fn array<'b>(batch: &'b RecordBatch, name: &str) -> &'b ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("our own schema has the column {name}"))
}

pub(crate) fn text<'b>(batch: &'b RecordBatch, name: &str) -> &'b StringArray {
    array(batch, name).as_string::<i32>()
}

pub(crate) fn int<'b>(batch: &'b RecordBatch, name: &str) -> &'b Int64Array {
    array(batch, name).as_primitive::<Int64Type>()
}

pub(crate) fn small_int<'b>(batch: &'b RecordBatch, name: &str) -> &'b Int32Array {
    array(batch, name).as_primitive::<Int32Type>()
}

pub(crate) fn money<'b>(batch: &'b RecordBatch, name: &str) -> &'b Decimal128Array {
    array(batch, name).as_primitive::<Decimal128Type>()
}

pub(crate) fn text_at(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

pub(crate) fn int_at(array: &Int64Array, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| array.value(row))
}

/// The rows whose mark is set, in order.
pub(crate) fn keep_rows(batch: &RecordBatch, keep: &[bool]) -> RecordBatch {
    arrow::compute::filter_record_batch(batch, &BooleanArray::from(keep.to_vec()))
        .expect("the mask is as long as the batch")
}

/// Days since 1970 of a time, rounding towards the past.
pub(crate) fn day_of(time_us: i64) -> i32 {
    i32::try_from(time_us.div_euclid(86_400_000_000)).expect("i64 microseconds hold fewer than 2^31 days")
}

/// The time, or the nearest between 1970 and 9999. The door lets no other through, but a record of a foreign producer may
/// have its time in the wrong unit, and no table can name a day of the year 60,000.
pub(crate) fn in_calendar(time_us: i64) -> i64 {
    const LAST_US: i64 = 253_402_300_799_999_999;
    time_us.clamp(0, LAST_US)
}

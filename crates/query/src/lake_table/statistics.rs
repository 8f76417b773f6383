//! What the lake knows of a file, in DataFusion's words.
//!
//! In:       `DataFile`.
//! Out:      scalar bounds, partition values, `Statistics`.
//! Promise:  row and null counts are exact; bounds are said to be inexact, since the lake may keep wider ones,
//!           so they steer a plan and never become an answer.

use datafusion::arrow::datatypes::{DataType, Fields, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics, exec_datafusion_err};
use tributary_lake::{Bound, DataFile};

pub(super) fn min_of(file: &DataFile, column: &str) -> Option<ScalarValue> {
    let is_partition = file.partition.iter().any(|(name, _)| name == column);
    if is_partition {
        return file.partition_value(column).map(text);
    }
    file.column(column)?.min.as_ref().map(scalar)
}

pub(super) fn max_of(file: &DataFile, column: &str) -> Option<ScalarValue> {
    let is_partition = file.partition.iter().any(|(name, _)| name == column);
    if is_partition {
        return file.partition_value(column).map(text);
    }
    file.column(column)?.max.as_ref().map(scalar)
}

pub(super) fn partition_values(file: &DataFile, columns: &Fields) -> Result<Vec<ScalarValue>> {
    let value_of = |(name, data_type): (&String, &DataType)| match file.partition_value(name) {
        Some(value) => ScalarValue::try_from_string(value.to_owned(), data_type)
            .map_err(|error| exec_datafusion_err!("file {}: {name} = {value:?}: {error}", file.path)),
        None => ScalarValue::try_from(data_type),
    };
    columns.iter().map(|field| value_of((field.name(), field.data_type()))).collect()
}

/// Of the columns in the file; DataFusion adds those of the partition itself.
pub(super) fn of_file(file: &DataFile, schema: &SchemaRef) -> Statistics {
    let bound = |value: Option<ScalarValue>, data_type: &DataType| {
        let value = value.and_then(|value| value.cast_to(data_type).ok());
        value.map_or(Precision::Absent, Precision::Inexact)
    };
    let columns = schema.fields().iter().map(|field| {
        let mut column = ColumnStatistics::new_unknown();
        if let Some(null_count) = file.null_count(field.name()) {
            column.null_count = Precision::Exact(count(null_count));
        }
        column.min_value = bound(min_of(file, field.name()), field.data_type());
        column.max_value = bound(max_of(file, field.name()), field.data_type());
        column
    });
    Statistics {
        num_rows: Precision::Exact(count(file.rows)),
        total_byte_size: Precision::Absent,
        column_statistics: columns.collect(),
    }
}

fn count(count: u64) -> usize {
    usize::try_from(count).expect("a file has fewer rows than the machine has addresses")
}

fn scalar(bound: &Bound) -> ScalarValue {
    match bound {
        Bound::Int(value) => ScalarValue::Int64(Some(*value)),
        Bound::Text(value) => text(value),
    }
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8(Some(value.to_owned()))
}

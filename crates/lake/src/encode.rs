//! From rows to the bytes of Parquet files.
//!
//! In:      batches of one table.
//! Out:     one file a partition value: name, bytes, statistics.
//! Promise: rows of a partition keep their order; every row is in exactly one file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, partition, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::errors::ParquetError;
use rayon::prelude::*;
use tributary_schemas::Table;
use uuid::Uuid;

use crate::error::LakeError;
use crate::parquet_file::{self, ROW_GROUP_BYTES_MAX};
use crate::settings::LakeSettings;
use crate::statistics::{self, Statistics};

#[derive(Debug)]
pub(crate) struct EncodedFile {
    /// From the table's folder, partition folders first.
    pub path: String,
    pub bytes: Bytes,
    pub rows: u64,
    pub partition: Vec<(String, Option<String>)>,
    pub statistics: Statistics,
}

/// Checks the batches against the table and encodes them. Pure work: run it off the async threads.
pub(crate) fn encode(
    table: Table,
    schema: &SchemaRef,
    batches: Vec<RecordBatch>,
    settings: &LakeSettings,
) -> Result<Vec<EncodedFile>, LakeError> {
    let mut by_partition: BTreeMap<PartitionValues, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches {
        let batch = fit(table, schema, batch)?;
        for (values, part) in split(table, batch)? {
            by_partition.entry(values).or_default().push(part);
        }
    }
    by_partition.into_iter().map(|(values, parts)| encode_file(table, values, parts, settings)).collect()
}

/// One per partition column, in the table's order; `None` is null.
type PartitionValues = Vec<Option<String>>;

fn fit(table: Table, schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch, LakeError> {
    let given = batch.schema();
    let same_names =
        given.fields().iter().map(|field| field.name()).eq(schema.fields().iter().map(|field| field.name()));
    if !same_names {
        let names = |schema: &SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>();
        let reason = format!("a batch has the columns {:?}, the table has {:?}", names(&given), names(schema));
        return Err(LakeError::Rows { table, reason });
    }
    // Checks types and that required columns have no nulls.
    RecordBatch::try_new(schema.clone(), batch.columns().to_vec())
        .map_err(|error| LakeError::Rows { table, reason: format!("a batch does not fit: {error}") })
}

/// The rows of a batch by partition, without the partition columns.
fn split(table: Table, batch: RecordBatch) -> Result<Vec<(PartitionValues, RecordBatch)>, LakeError> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let fault = |reason: String| LakeError::Rows { table, reason };
    let columns: Vec<&ArrayRef> = table
        .partition_columns()
        .iter()
        .map(|column| batch.column_by_name(column).expect("the batch fits the table, and these are its columns"))
        .collect();
    // Rows of one day mostly follow each other: a run of equal values is named once, not row by row.
    let runs = partition(&columns.iter().copied().cloned().collect::<Vec<_>>())
        .map_err(|error| fault(format!("the partition columns: {error}")));
    let runs = if columns.is_empty() { std::iter::once(0..batch.num_rows()).collect() } else { runs?.ranges() };
    let mut rows_by_values: BTreeMap<PartitionValues, Vec<u32>> = BTreeMap::new();
    for run in runs {
        let mut values = PartitionValues::new();
        for column in &columns {
            let text = cast(&column.slice(run.start, 1), &DataType::Utf8)
                .map_err(|error| fault(format!("a partition column: {error}")))?;
            values.push(text.is_valid(0).then(|| text.as_string::<i32>().value(0).to_owned()));
        }
        let rows = u32::try_from(run.start).ok().zip(u32::try_from(run.end).ok());
        let (from, to) = rows.ok_or_else(|| fault("a batch has more than 4 billion rows".to_owned()))?;
        rows_by_values.entry(values).or_default().extend(from..to);
    }
    if let Some(bad) = rows_by_values.keys().flatten().flatten().find(|value| !is_plain(value)) {
        return Err(fault(format!("{bad:?} cannot name a partition folder: only letters, digits, - and _ can")));
    }
    let kept: Vec<usize> = (0..batch.num_columns())
        .filter(|index| !table.partition_columns().contains(&batch.schema().field(*index).name().as_str()))
        .collect();
    let batch = batch.project(&kept).map_err(|error| fault(error.to_string()))?;
    if rows_by_values.len() == 1 {
        return Ok(rows_by_values.into_keys().map(|values| (values, batch.clone())).collect());
    }
    let part = |(values, rows): (PartitionValues, Vec<u32>)| {
        take_record_batch(&batch, &UInt32Array::from(rows)).map(|part| (values, part))
    };
    rows_by_values.into_iter().map(part).collect::<Result<_, _>>().map_err(|error| fault(error.to_string()))
}

fn is_plain(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn encode_file(
    table: Table,
    values: PartitionValues,
    parts: Vec<RecordBatch>,
    settings: &LakeSettings,
) -> Result<EncodedFile, LakeError> {
    let partition: Vec<(String, Option<String>)> =
        table.partition_columns().iter().map(|column| (*column).to_owned()).zip(values).collect();
    let path = file_path(&partition);
    let bytes = to_parquet(&parts, settings).map_err(|source| LakeError::File { path: path.clone(), source })?;
    Ok(EncodedFile {
        path,
        bytes,
        rows: parts.iter().map(|part| part.num_rows() as u64).sum(),
        partition,
        statistics: statistics::of_batches(&parts, table.statistics_columns()),
    })
}

#[expect(clippy::disallowed_methods, reason = "file names of writers that do not know of each other must not meet")]
pub(crate) fn file_path(partition: &[(String, Option<String>)]) -> String {
    let mut path = String::new();
    for (column, value) in partition {
        path.push_str(&format!("{column}={}/", value.as_deref().unwrap_or("__HIVE_DEFAULT_PARTITION__")));
    }
    format!("{path}{}.parquet", Uuid::new_v4())
}

/// Below so many rows the threads cost more than they save.
const PARALLEL_ROWS_MIN: usize = 4_096;

fn to_parquet(parts: &[RecordBatch], settings: &LakeSettings) -> Result<Bytes, ParquetError> {
    let schema = parts.first().map(|part| part.schema()).unwrap_or_else(|| Arc::new(Schema::empty()));
    let properties = parquet_file::properties(&schema, settings, settings.zstd_level_fresh, &[])?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
    let rows: usize = parts.iter().map(RecordBatch::num_rows).sum();
    let bytes: usize = parts.iter().map(RecordBatch::get_array_memory_size).sum();
    // Encoded they weigh a quarter of this at most.
    let is_one_group = rows <= settings.row_group_rows_max && bytes <= 4 * ROW_GROUP_BYTES_MAX;
    if rows < PARALLEL_ROWS_MIN || !is_one_group {
        for part in parts {
            writer.write(part)?;
        }
        return Ok(writer.into_inner()?.into());
    }
    // The columns of one row group side by side, on as many threads as there are processors.
    let (mut file, factory) = writer.into_serialized_writer()?;
    let mut leaves = factory.create_column_writers(0)?.into_iter();
    let roots: Vec<usize> = (0..leaves.len()).map(|leaf| file.schema_descr().get_column_root_idx(leaf)).collect();
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let count = roots.iter().filter(|root| **root == index).count();
        (index, field, leaves.by_ref().take(count).collect::<Vec<_>>())
    });
    let fields: Vec<_> = fields.collect();
    let encoded = fields.into_par_iter().with_max_len(1).map(|(index, field, mut writers)| {
        for part in parts {
            for (writer, leaf) in writers.iter_mut().zip(compute_leaves(field, part.column(index))?) {
                writer.write(&leaf)?;
            }
        }
        writers.into_iter().map(ArrowColumnWriter::close).collect::<Result<Vec<_>, _>>()
    });
    let encoded: Vec<Vec<ArrowColumnChunk>> = encoded.collect::<Result<_, ParquetError>>()?;
    let mut group = file.next_row_group()?;
    for chunk in encoded.into_iter().flatten() {
        chunk.append_to_row_group(&mut group)?;
    }
    group.close()?;
    Ok(file.into_inner()?.into())
}

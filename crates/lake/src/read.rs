//! From files back to rows.
//!
//! In:      the files of a snapshot and the columns wanted.
//! Out:     batches with exactly those columns, file after file.
//! Promise: a column that is younger than a file reads as null from it; partition columns, which are not in
//!          the files, read as their partition's value.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use tributary_schemas::Table;

use crate::error::LakeError;
use crate::file_bytes::FileBytes;
use crate::snapshot::DataFile;

type Batches = BoxStream<'static, Result<RecordBatch, LakeError>>;

pub(crate) fn read(
    table: Table,
    schema: &SchemaRef,
    store: Arc<dyn ObjectStore>,
    files: Vec<DataFile>,
    columns: &[&str],
) -> Batches {
    let wanted = match wanted_schema(table, schema, columns) {
        Ok(wanted) => wanted,
        Err(error) => return stream::once(async { Err(error) }).boxed(),
    };
    stream::iter(files).then(move |file| read_file(store.clone(), file, wanted.clone())).try_flatten().boxed()
}

fn wanted_schema(table: Table, schema: &SchemaRef, columns: &[&str]) -> Result<SchemaRef, LakeError> {
    let mut fields = Vec::with_capacity(columns.len());
    for column in columns {
        let Ok(field) = schema.field_with_name(column) else {
            return Err(LakeError::Rows { table, reason: format!("it has no column {column:?}") });
        };
        fields.push(Arc::new(field.clone()));
    }
    Ok(Arc::new(Schema::new(fields)))
}

async fn read_file(store: Arc<dyn ObjectStore>, file: DataFile, wanted: SchemaRef) -> Result<Batches, LakeError> {
    let failed = {
        let path = file.path.to_string();
        move |source: ParquetError| LakeError::File { path: path.clone(), source }
    };
    let path = Path::parse(&file.path).map_err(|error| failed(ParquetError::External(Box::new(error))))?;
    let reader = FileBytes { store, path, size_bytes: file.size_bytes };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(&failed)?;
    let present = builder.schema().fields().iter().enumerate();
    let roots = present.filter(|(_, field)| wanted.column_with_name(field.name()).is_some()).map(|(index, _)| index);
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let batches = builder.with_projection(mask).build().map_err(&failed)?;
    let filled = batches.map(move |batch| {
        let filled = batch.and_then(|batch| fill(&batch, &file, &wanted).map_err(ParquetError::from));
        filled.map_err(&failed)
    });
    Ok(filled.boxed())
}

fn fill(batch: &RecordBatch, file: &DataFile, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let mut arrays = Vec::with_capacity(wanted.fields().len());
    for field in wanted.fields() {
        let array = match file.partition.iter().find(|(column, _)| column == field.name()) {
            Some((_, value)) => constant(value.as_deref(), field, rows)?,
            None => match batch.column_by_name(field.name()) {
                Some(array) if array.data_type() == field.data_type() => array.clone(),
                Some(array) => cast(array, field.data_type())?,
                None => new_null_array(field.data_type(), rows),
            },
        };
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(wanted.clone(), arrays, &options)
}

fn constant(value: Option<&str>, field: &Field, rows: usize) -> Result<ArrayRef, ArrowError> {
    let Some(value) = value else { return Ok(new_null_array(field.data_type(), rows)) };
    let texts = StringArray::from_iter_values(std::iter::repeat_n(value, rows));
    let array = cast(&texts, field.data_type())?;
    if 0 < array.null_count() {
        return Err(ArrowError::CastError(format!("partition value {value:?} is no {}", field.data_type())));
    }
    Ok(array)
}

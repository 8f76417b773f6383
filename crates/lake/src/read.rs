//! From files back to rows.
//!
//! In:      the files of a snapshot and the columns wanted; tests that rows must pass.
//! Out:     batches with exactly those columns, file after file.
//! Promise: a column that is younger than a file reads as null from it; partition columns, which are not in
//!          the files, read as their partition's value.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicate, ArrowPredicateFn, RowFilter};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::ParquetError;
use tributary_schemas::Table;

use crate::error::LakeError;
use crate::file_bytes::FileBytes;
use crate::snapshot::DataFile;

type Batches = BoxStream<'static, Result<RecordBatch, LakeError>>;
type Judge = dyn Fn(&RecordBatch) -> BooleanArray + Send + Sync;

/// A test that rows must pass. It is asked before the other columns are read, and those are read of rows that passed
/// alone: where few do, that is the most of the work saved.
#[derive(Clone)]
pub struct RowTest {
    columns: Vec<&'static str>,
    judge: Arc<Judge>,
}

impl RowTest {
    /// * `columns`: those it looks at, the fewest and shortest that will do.
    /// * `judge`: says of a batch with exactly these columns which rows pass; null is no.
    pub fn new(
        columns: impl IntoIterator<Item = &'static str>,
        judge: impl Fn(&RecordBatch) -> BooleanArray + Send + Sync + 'static,
    ) -> Self {
        Self { columns: columns.into_iter().collect(), judge: Arc::new(judge) }
    }
}

/// Reads the rows that pass all of `tests`, asked in their order.
pub(crate) fn read(
    table: Table,
    schema: &SchemaRef,
    store: Arc<dyn ObjectStore>,
    files: Vec<DataFile>,
    columns: &[&str],
    tests: &[RowTest],
) -> Batches {
    let asked = || {
        let wanted = wanted_schema(table, schema, columns)?;
        let tests = tests.iter().map(|test| Ok((wanted_schema(table, schema, &test.columns)?, test.judge.clone())));
        Ok((wanted, tests.collect::<Result<Vec<_>, LakeError>>()?))
    };
    let (wanted, tests) = match asked() {
        Ok(asked) => asked,
        Err(error) => return stream::once(async { Err(error) }).boxed(),
    };
    let one = move |file| read_file(store.clone(), file, wanted.clone(), tests.clone());
    stream::iter(files).then(one).try_flatten().boxed()
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

async fn read_file(
    store: Arc<dyn ObjectStore>,
    file: DataFile,
    wanted: SchemaRef,
    tests: Vec<(SchemaRef, Arc<Judge>)>,
) -> Result<Batches, LakeError> {
    let failed = {
        let path = file.path.to_string();
        move |source: ParquetError| LakeError::File { path: path.clone(), source }
    };
    let path = Path::parse(&file.path).map_err(|error| failed(ParquetError::External(Box::new(error))))?;
    let reader = FileBytes { store, path, size_bytes: file.size_bytes };
    let mut builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(&failed)?;
    let mask_of = |builder: &ParquetRecordBatchStreamBuilder<FileBytes>, wanted: &SchemaRef| {
        let present = builder.schema().fields().iter().enumerate();
        let of_them = present.filter(|(_, field)| wanted.column_with_name(field.name()).is_some());
        ProjectionMask::roots(builder.parquet_schema(), of_them.map(|(index, _)| index))
    };
    if !tests.is_empty() {
        let as_predicate = |(wanted, judge): (SchemaRef, Arc<Judge>)| {
            let (mask, file) = (mask_of(&builder, &wanted), file.clone());
            let ask = move |batch: RecordBatch| Ok(judge(&fill(&batch, &file, &wanted)?));
            Box::new(ArrowPredicateFn::new(mask, ask)) as Box<dyn ArrowPredicate>
        };
        let filter = RowFilter::new(tests.into_iter().map(as_predicate).collect());
        builder = builder.with_row_filter(filter);
    }
    let mask = mask_of(&builder, &wanted);
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

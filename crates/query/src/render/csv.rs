//! CSV: a header, then a line a row; RFC 4180 quoting, empty for NULL.

use std::io::Write;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

use crate::answer::Answer;

/// Writes batches as they come.
pub struct CsvWriter<W: Write> {
    writer: arrow::csv::Writer<W>,
    schema: SchemaRef,
    has_header: bool,
}

impl<W: Write> CsvWriter<W> {
    pub fn new(out: W, schema: &SchemaRef) -> Self {
        let fields = schema.fields().iter().map(|field| match is_nested(field.data_type()) {
            true => Field::new(field.name(), DataType::Utf8, true),
            false => field.as_ref().clone(),
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { writer: arrow::csv::WriterBuilder::new().with_header(true).build(out), schema, has_header: false }
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.has_header = true;
        let columns = batch.columns().iter().map(flat).collect::<Result<Vec<_>, _>>()?;
        self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)
    }

    /// An answer without rows has its header still.
    pub fn finish(mut self) -> Result<(), ArrowError> {
        if !self.has_header {
            self.writer.write(&RecordBatch::new_empty(self.schema.clone()))?;
        }
        Ok(())
    }
}

pub fn csv(answer: &Answer, out: impl Write) -> Result<(), ArrowError> {
    let mut writer = CsvWriter::new(out, &answer.schema);
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

fn is_nested(data_type: &DataType) -> bool {
    data_type.is_nested()
}

/// CSV has no lists and structs: they are written as the table shows them.
fn flat(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if !is_nested(column.data_type()) {
        return Ok(column.clone());
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
    let texts = (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
    Ok(Arc::new(texts.collect::<StringArray>()))
}

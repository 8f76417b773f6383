//! JSON: one object a row, NULL written out; as an array, or as lines.
//!
//! Amounts of money keep all their digits; so do 64-bit numbers, which some readers then round (JavaScript
//! beyond 2^53): cast such a column to text where that matters.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited, WriterBuilder};

use crate::answer::Answer;

/// Writes batches as they come.
pub struct JsonWriter<W: Write, F: JsonFormat>(arrow::json::Writer<W, F>);

/// A row a line.
pub type NdjsonWriter<W> = JsonWriter<W, LineDelimited>;

/// One array of rows; `[]` for none.
pub type JsonArrayWriter<W> = JsonWriter<W, JsonArray>;

impl<W: Write, F: JsonFormat> JsonWriter<W, F> {
    pub fn new(out: W) -> Self {
        Self(WriterBuilder::new().with_explicit_nulls(true).build(out))
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)
    }

    pub fn finish(mut self) -> Result<(), ArrowError> {
        self.0.finish()
    }
}

pub fn ndjson(answer: &Answer, out: impl Write) -> Result<(), ArrowError> {
    let mut writer = NdjsonWriter::new(out);
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

/// An array of the rows.
pub fn json(answer: &Answer, out: impl Write) -> Result<(), ArrowError> {
    let mut writer = JsonArrayWriter::new(out);
    for batch in &answer.batches {
        writer.write(batch)?;
    }
    writer.finish()
}

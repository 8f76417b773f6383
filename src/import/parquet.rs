//! Parquet: rows of a columnar file.
//!
//! In:      a file with flat columns; lists and structs are taken as their printed text.
//! Out:     rows with every cell as text; times in RFC 3339.
//! Promise: one batch of rows in memory at a time.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::reader::{Rows, Source};
use super::row::{Body, Columns, Reject, Row, content_hash};

pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
    columns: Arc<Columns>,
    batch: Option<(RecordBatch, usize)>,
    number: u64,
    rows_total: u64,
    length_bytes: u64,
    bytes_read: Arc<AtomicU64>,
}

impl ParquetRows {
    pub(crate) fn open(source: &Source, bytes_read: Arc<AtomicU64>) -> anyhow::Result<Self> {
        let not_parquet = || format!("{} cannot be read as Parquet", source.name());
        let (metadata, batches) = match source {
            Source::File(path) => {
                let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).with_context(not_parquet)?;
                (builder.metadata().clone(), builder.with_batch_size(4_096).build().with_context(not_parquet)?)
            }
            Source::Bytes { bytes, .. } => {
                let builder = ArrowReaderBuilder::try_new(bytes.clone()).with_context(not_parquet)?;
                (builder.metadata().clone(), builder.with_batch_size(4_096).build().with_context(not_parquet)?)
            }
        };
        let rows_total = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let schema = arrow::array::RecordBatchReader::schema(&batches);
        let columns = Arc::new(Columns::new(schema.fields().iter().map(|field| field.name().clone()).collect()));
        let length_bytes = source.length_bytes()?;
        Ok(Self { batches, columns, batch: None, number: 0, rows_total, length_bytes, bytes_read })
    }
}

impl Rows for ParquetRows {
    fn next_row(&mut self) -> anyhow::Result<Option<Result<Row, Reject>>> {
        let (batch, index) = loop {
            match self.batch.take() {
                Some((batch, index)) if index < batch.num_rows() => break (batch, index),
                _ => match self.batches.next() {
                    None => return Ok(None),
                    Some(batch) => self.batch = Some((batch.context("the Parquet file is damaged")?, 0)),
                },
            }
        };
        self.number += 1;
        let options = FormatOptions::default().with_timestamp_tz_format(None);
        let mut cells = Vec::with_capacity(batch.num_columns());
        for column in batch.columns() {
            let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
            cells.push(formatter.value(index).to_string());
        }
        self.batch = Some((batch, index + 1));
        // Parquet is read by blocks, so the share of rows tells better than the bytes how far we are.
        let share = self.number as f64 / self.rows_total.max(1) as f64;
        self.bytes_read.store((share * self.length_bytes as f64) as u64, Ordering::Relaxed);
        let parts: Vec<&[u8]> = cells.iter().map(String::as_bytes).collect();
        let content_hash = content_hash(&parts);
        let body = Body::Cells { columns: self.columns.clone(), cells };
        Ok(Some(Ok(Row { line: self.number, body, content_hash })))
    }

    fn columns(&self) -> Option<&Columns> {
        Some(&self.columns)
    }
}

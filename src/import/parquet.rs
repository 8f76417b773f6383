//! Parquet: rows of a columnar file.
//!
//! In:      a file with flat columns; lists and structs are taken as their printed text.
//! Out:     rows with every cell as text, NULL as empty text; amounts with all their digits; times in RFC 3339.
//! Promise: one batch of rows in memory at a time; a cell that cannot be printed rejects its row, and no more.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::reader::{Rows, Source};
use super::row::{Body, Columns, Reject, Row, content_hash};

const BATCH_ROWS: usize = 4_096;

pub(super) struct ParquetRows {
    batches: ParquetRecordBatchReader,
    columns: Arc<Columns>,
    /// The cells of one batch, row by row.
    rows: std::vec::IntoIter<Result<Vec<String>, String>>,
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
                (builder.metadata().clone(), builder.with_batch_size(BATCH_ROWS).build().with_context(not_parquet)?)
            }
            Source::Bytes { bytes, .. } => {
                let builder = ArrowReaderBuilder::try_new(bytes.clone()).with_context(not_parquet)?;
                (builder.metadata().clone(), builder.with_batch_size(BATCH_ROWS).build().with_context(not_parquet)?)
            }
        };
        let rows_total = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let schema = arrow::array::RecordBatchReader::schema(&batches);
        let columns = Arc::new(Columns::new(schema.fields().iter().map(|field| field.name().clone()).collect()));
        let length_bytes = source.length_bytes()?;
        Ok(Self { batches, columns, rows: Vec::new().into_iter(), number: 0, rows_total, length_bytes, bytes_read })
    }
}

impl Rows for ParquetRows {
    fn next_row(&mut self) -> anyhow::Result<Option<Result<Row, Reject>>> {
        let cells = loop {
            if let Some(cells) = self.rows.next() {
                break cells;
            }
            let Some(batch) = self.batches.next() else { return Ok(None) };
            let damaged = || format!("the file breaks off after row {}, it is not complete", self.number);
            self.rows = cells_of(&batch.with_context(damaged)?)?.into_iter();
        };
        self.number += 1;
        // Parquet is read by blocks, so the share of rows tells better than the bytes how far we are.
        let share = self.number as f64 / self.rows_total.max(1) as f64;
        self.bytes_read.store((share * self.length_bytes as f64) as u64, Ordering::Relaxed);
        let cells = match cells {
            Ok(cells) => cells,
            Err(reason) => return Ok(Some(Err(Reject { line: self.number, reason, row: String::new() }))),
        };
        let parts: Vec<&[u8]> = cells.iter().map(String::as_bytes).collect();
        let content_hash = content_hash(&parts);
        let body = Body::Cells { columns: self.columns.clone(), cells };
        Ok(Some(Ok(Row { line: self.number, body, content_hash })))
    }

    fn columns(&self) -> Option<&Columns> {
        Some(&self.columns)
    }
}

/// Every cell as text, row by row; a row with a cell that has none as the reason.
fn cells_of(batch: &RecordBatch) -> Result<Vec<Result<Vec<String>, String>>, ArrowError> {
    let options = FormatOptions::default();
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let cell = |(index, column): (usize, &ArrayFormatter<'_>), row: usize| {
        let name = batch.schema_ref().field(index).name();
        column.value(row).try_to_string().map_err(|error| format!("column {name:?} cannot be read: {error}"))
    };
    let row = |row| columns.iter().enumerate().map(|column| cell(column, row)).collect();
    Ok((0..batch.num_rows()).map(row).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        ArrayRef, Date32Array, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray,
    };
    use parquet::arrow::ArrowWriter;

    use super::super::time::Times;
    use super::*;

    /// 2026-03-01T10:00:00Z.
    const TIME_S: i64 = 1_772_359_200;

    fn file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
        let columns = columns.into_iter().map(|(name, column)| (name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        bytes
    }

    fn rows_of(bytes: Vec<u8>) -> Vec<Result<Vec<String>, String>> {
        let source = Source::Bytes { name: "t.parquet".to_owned(), bytes: bytes.into() };
        let mut rows = ParquetRows::open(&source, Arc::default()).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next_row().unwrap() {
            all.push(match row {
                Ok(Row { body: Body::Cells { cells, .. }, .. }) => Ok(cells),
                Ok(_) => unreachable!("Parquet has cells"),
                Err(reject) => Err(reject.reason),
            });
        }
        all
    }

    #[test]
    fn every_type_becomes_the_text_the_door_understands() {
        let zoned = |zone: &str| -> ArrayRef {
            Arc::new(TimestampMicrosecondArray::from(vec![Some(TIME_S * 1_000_000 + 1), None]).with_timezone(zone))
        };
        let price = Decimal128Array::from(vec![Some(123_456_789_012_000_001), None]);
        let rows = rows_of(file(vec![
            ("who", Arc::new(StringArray::from(vec![Some("ann"), None]))),
            ("price", Arc::new(price.with_precision_and_scale(18, 6).unwrap())),
            ("count", Arc::new(Int64Array::from(vec![Some(-3), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(20_513), None]))),
            ("utc", zoned("UTC")),
            ("offset", zoned("+02:00")),
            ("berlin", zoned("Europe/Berlin")),
            ("local", Arc::new(TimestampMillisecondArray::from(vec![Some(TIME_S * 1_000), None]))),
            ("fine", Arc::new(TimestampNanosecondArray::from(vec![Some(TIME_S * 1_000_000_000), None]))),
        ]));
        let expected = [
            "ann",
            "123456789012.000001",
            "-3",
            "2026-03-01",
            "2026-03-01T10:00:00.000001Z",
            "2026-03-01T12:00:00.000001+02:00",
            "2026-03-01T11:00:00.000001+01:00",
            "2026-03-01T10:00:00",
            "2026-03-01T10:00:00",
        ];
        assert_eq!(rows, [Ok(expected.map(str::to_owned).to_vec()), Ok(vec![String::new(); 9])]);
        // A zone moves the spelling, not the instant; without one it is UTC.
        for (cell, time_us) in [(4, 1), (5, 1), (6, 1), (7, 0), (8, 0)] {
            let read = Times::default().read(expected[cell]).unwrap().time_us;
            assert_eq!(read, TIME_S * 1_000_000 + time_us, "{}", expected[cell]);
        }
    }

    #[test]
    fn a_cell_that_cannot_be_printed_rejects_its_row() {
        let times = TimestampMillisecondArray::from(vec![TIME_S * 1_000, i64::MAX]);
        let rows = rows_of(file(vec![("at", Arc::new(times))]));
        assert_eq!(rows[0], Ok(vec!["2026-03-01T10:00:00".to_owned()]));
        assert!(rows[1].as_ref().is_err_and(|reason| reason.contains("\"at\"")), "{rows:?}");
    }

    #[test]
    fn a_file_that_is_none_is_told() {
        let source = Source::Bytes { name: "t.parquet".to_owned(), bytes: b"who\nann\n".to_vec().into() };
        let told = format!("{:#}", ParquetRows::open(&source, Arc::default()).err().unwrap());
        assert!(told.contains("t.parquet cannot be read as Parquet"), "{told}");
    }
}

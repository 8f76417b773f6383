//! Sorting more rows than fit in memory.
//!
//! In:      batches in any order.
//! Out:     the same rows in the order of `Table::sort_columns`, batch by batch.
//! Promise: about `compact_memory_bytes` of rows are held; sorted runs of that size wait in files without a name and are
//!          merged from there, at most `FAN_IN` at a time. What fits in memory touches no disk.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Seek};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use tributary_schemas::Table;

use crate::buckets::{spill, unnamed};
use crate::error::LakeError;
use crate::settings::LakeSettings;

/// Runs merged at a time: of each a batch is in memory.
const FAN_IN: usize = 64;
/// Rows of a batch of a run: 64 runs of events at a kilobyte a row are 64 MB.
const RUN_BATCH_ROWS: usize = 1_024;
const OUT_BATCH_ROWS: usize = 8_192;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, LakeError>>>;

pub(super) struct Sorter {
    table: Table,
    schema: SchemaRef,
    settings: LakeSettings,
    order: Order,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    runs: Vec<File>,
}

/// The columns sorted by, and their form that compares as bytes.
struct Order {
    columns: Vec<usize>,
    converter: RowConverter,
}

impl Order {
    fn new(table: Table, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let columns: Vec<usize> =
            table.sort_columns().iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>()?;
        let fields = columns.iter().map(|index| SortField::new(schema.field(*index).data_type().clone()));
        Ok(Self { converter: RowConverter::new(fields.collect())?, columns })
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> = self.columns.iter().map(|index| batch.column(*index).clone()).collect();
        self.converter.convert_columns(&columns)
    }
}

impl Sorter {
    pub(super) fn new(table: Table, schema: SchemaRef, settings: &LakeSettings) -> Result<Self, LakeError> {
        let order = Order::new(table, &schema).map_err(|error| fault(table, error))?;
        Ok(Self { table, schema, settings: settings.clone(), order, held: Vec::new(), held_bytes: 0, runs: Vec::new() })
    }

    pub(super) fn push(&mut self, batch: RecordBatch) -> Result<(), LakeError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.held_bytes += batch.get_array_memory_size();
        self.held.push(batch);
        if self.settings.compact_memory_bytes <= self.held_bytes {
            let sorted = self.sort_held(RUN_BATCH_ROWS)?;
            let run = self.spill(sorted)?;
            self.runs.push(run);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Batches, LakeError> {
        if self.runs.is_empty() {
            return self.sort_held(OUT_BATCH_ROWS);
        }
        while FAN_IN < self.runs.len() {
            let merged = self.merge(FAN_IN, None)?;
            let run = self.spill(merged)?;
            self.runs.push(run);
        }
        let last = self.sort_held(RUN_BATCH_ROWS)?;
        self.merge(FAN_IN, Some(last))
    }

    /// Takes what is held, in order.
    fn sort_held(&mut self, batch_rows: usize) -> Result<Batches, LakeError> {
        let (batches, table) = (std::mem::take(&mut self.held), self.table);
        self.held_bytes = 0;
        let keys = batches.iter().map(|batch| self.order.keys(batch)).collect::<Result<Vec<Rows>, _>>();
        let keys = keys.map_err(|error| fault(table, error))?;
        let mut places: Vec<(usize, usize)> = Vec::with_capacity(batches.iter().map(RecordBatch::num_rows).sum());
        for (batch, rows) in batches.iter().enumerate() {
            places.extend((0..rows.num_rows()).map(|row| (batch, row)));
        }
        places.sort_unstable_by(|one, other| {
            keys[one.0].row(one.1).cmp(&keys[other.0].row(other.1)).then_with(|| one.cmp(other))
        });
        drop(keys);
        let mut at = 0;
        Ok(Box::new(std::iter::from_fn(move || {
            let part = &places[at..places.len().min(at + batch_rows)];
            at += part.len();
            let refs: Vec<&RecordBatch> = batches.iter().collect();
            (!part.is_empty()).then(|| interleave_record_batch(&refs, part).map_err(|error| fault(table, error)))
        })))
    }

    fn spill(&self, batches: Batches) -> Result<File, LakeError> {
        let fault = |error| fault(self.table, error);
        let file = unnamed(&self.settings)?;
        let mut writer = StreamWriter::try_new(BufWriter::new(file), &self.schema).map_err(fault)?;
        for batch in batches {
            writer.write(&batch?).map_err(fault)?;
        }
        let buffer = writer.into_inner().map_err(fault)?;
        let mut file = buffer.into_inner().map_err(|error| spill(error.into_error()))?;
        file.rewind().map_err(spill)?;
        Ok(file)
    }

    /// The first runs, and another, as one.
    fn merge(&mut self, count: usize, other: Option<Batches>) -> Result<Batches, LakeError> {
        let table = self.table;
        let mut sources = Vec::new();
        for file in self.runs.drain(..count.min(self.runs.len())) {
            let reader = StreamReader::try_new(BufReader::new(file), None).map_err(|error| fault(table, error))?;
            sources.push(Box::new(reader.map(move |batch| batch.map_err(|error| fault(table, error)))) as Batches);
        }
        sources.extend(other);
        let order = Order::new(table, &self.schema).map_err(|error| fault(table, error))?;
        Ok(Box::new(Merge::new(table, order, sources)?))
    }
}

/// Several sorted sources as one. Each source is a cursor on a row of its current batch.
struct Merge {
    table: Table,
    order: Order,
    cursors: Vec<Cursor>,
    /// The key of each source's current row, the smallest on top.
    next: BinaryHeap<Reverse<(OwnedRow, usize)>>,
    /// Batches that rows of the output being made come from; each cursor knows its own.
    batches: Vec<RecordBatch>,
}

struct Cursor {
    source: Batches,
    slot: usize,
    row: usize,
    keys: Option<Rows>,
}

impl Merge {
    fn new(table: Table, order: Order, sources: Vec<Batches>) -> Result<Self, LakeError> {
        let cursors = sources.into_iter().map(|source| Cursor { source, slot: 0, row: 0, keys: None }).collect();
        let mut merge = Self { table, order, cursors, next: BinaryHeap::new(), batches: Vec::new() };
        for number in 0..merge.cursors.len() {
            merge.load(number)?;
        }
        Ok(merge)
    }

    /// Brings the cursor to the next batch of its source.
    fn load(&mut self, number: usize) -> Result<(), LakeError> {
        let cursor = &mut self.cursors[number];
        cursor.keys = None;
        let Some(batch) = cursor.source.find(|batch| batch.as_ref().map_or(true, |batch| 0 < batch.num_rows())) else {
            return Ok(());
        };
        let batch = batch?;
        let keys = self.order.keys(&batch).map_err(|error| fault(self.table, error))?;
        self.next.push(Reverse((keys.row(0).owned(), number)));
        (cursor.slot, cursor.row, cursor.keys) = (self.batches.len(), 0, Some(keys));
        self.batches.push(batch);
        Ok(())
    }

    fn step(&mut self) -> Result<Option<RecordBatch>, LakeError> {
        let mut places = Vec::with_capacity(OUT_BATCH_ROWS);
        while places.len() < OUT_BATCH_ROWS
            && let Some(Reverse((_, number))) = self.next.pop()
        {
            let cursor = &mut self.cursors[number];
            places.push((cursor.slot, cursor.row));
            cursor.row += 1;
            match &cursor.keys {
                Some(keys) if cursor.row < keys.num_rows() => {
                    self.next.push(Reverse((keys.row(cursor.row).owned(), number)));
                }
                _ => self.load(number)?,
            }
        }
        if places.is_empty() {
            return Ok(None);
        }
        let refs: Vec<&RecordBatch> = self.batches.iter().collect();
        let merged = interleave_record_batch(&refs, &places).map_err(|error| fault(self.table, error))?;
        self.forget();
        Ok(Some(merged))
    }

    /// Lets go of batches that no cursor stands on.
    fn forget(&mut self) {
        let mut kept = Vec::new();
        for cursor in self.cursors.iter_mut().filter(|cursor| cursor.keys.is_some()) {
            kept.push(self.batches[cursor.slot].clone());
            cursor.slot = kept.len() - 1;
        }
        self.batches = kept;
    }
}

impl Iterator for Merge {
    type Item = Result<RecordBatch, LakeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn fault(table: Table, error: ArrowError) -> LakeError {
    match error {
        ArrowError::IoError(_, source) => spill(source),
        error => LakeError::Rows { table, reason: format!("its rows cannot be sorted: {error}") },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int32Array;
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema};

    use super::*;

    fn batch(rows: &[(i64, i64)]) -> RecordBatch {
        let schema = Schema::new(vec![
            Field::new("text", DataType::Utf8, true),
            Field::new("ingest_time_us", DataType::Int64, false),
            Field::new("log_partition", DataType::Int32, false),
            Field::new("log_offset", DataType::Int64, false),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(
                rows.iter().map(|(_, offset)| (offset % 3 != 0).then(|| offset.to_string())).collect::<StringArray>(),
            ),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(time, _)| *time))),
            Arc::new(Int32Array::from(vec![0; rows.len()])),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, offset)| *offset))),
        ];
        RecordBatch::try_new(Arc::new(schema), columns).unwrap()
    }

    /// Sorts `count` rows whose times are scattered, holding so many bytes.
    fn sorted(count: i64, memory_bytes: usize) -> Vec<(i64, i64)> {
        let settings = LakeSettings { compact_memory_bytes: memory_bytes, ..LakeSettings::default() };
        let rows: Vec<(i64, i64)> = (0..count).map(|offset| ((offset * 7_919) % 1_009, offset)).collect();
        let mut sorter = Sorter::new(Table::DeadLetters, batch(&[]).schema(), &settings).unwrap();
        for part in rows.chunks(100) {
            sorter.push(batch(part)).unwrap();
        }
        let mut found = Vec::new();
        for batch in sorter.finish().unwrap() {
            let batch = batch.unwrap();
            let (times, offsets) =
                (batch.column(1).as_primitive::<Int64Type>(), batch.column(3).as_primitive::<Int64Type>());
            assert!(batch.column(2).as_primitive::<Int32Type>().values().iter().all(|partition| *partition == 0));
            for row in 0..batch.num_rows() {
                let text = batch.column(0).as_string::<i32>();
                let offset = offsets.value(row);
                assert_eq!(arrow::array::Array::is_null(text, row), offset % 3 == 0);
                found.push((times.value(row), offset));
            }
        }
        found
    }

    #[test]
    fn rows_come_out_in_order_however_little_fits() {
        for count in [0, 1, 99, 20_000] {
            let mut expected: Vec<(i64, i64)> = (0..count).map(|offset| ((offset * 7_919) % 1_009, offset)).collect();
            expected.sort_unstable();
            // All in memory; a few runs; so many that they are merged in rounds.
            for memory_bytes in [1 << 30, 100_000, 1] {
                assert_eq!(sorted(count, memory_bytes), expected, "{count} rows in {memory_bytes} bytes");
            }
        }
    }
}

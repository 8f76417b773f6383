//! Gathering: batches of one input, cut into shares of units.
//!
//! In:       batches of a `Layout`; which units are wanted, if not all.
//! Out:      shares; the texts of the code columns.
//! Promise:  a unit is looked up once for each run of rows of it. A row without a unit or a time is left out; one
//!           of a unit that is not wanted is counted, and no more.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::Result;
use datafusion::execution::TaskContext;

use super::Layout;
use super::ask_text::TextConditions;
use super::batch::{self, BatchReader};
use super::interner::{self, Interner};
use super::look::Wanted;
use super::row::stride;
use super::shard::{SHARDS, Shard, shard_of};
use super::spill::Spilled;

pub(super) struct Gatherer {
    wanted: Option<Arc<Wanted>>,
    reader: BatchReader,
    /// Of the batch at hand; kept for their memory.
    ranges: Vec<Range<usize>>,
    runs: Vec<Run>,
    stride: usize,
    shards: Vec<Shard>,
    spilled: Vec<Spilled>,
    rows: u64,
    times_us: Option<(i64, i64)>,
}

/// Rows of one unit, one after the other.
struct Run {
    rows: Range<usize>,
    hash: u64,
    shard: usize,
    guess: Option<u32>,
    unit: u32,
}

/// What one input came to.
pub(super) struct Harvest {
    pub(super) shards: Vec<Shard>,
    pub(super) codes: Vec<Interner>,
    pub(super) spilled: Vec<Spilled>,
    pub(super) rows: u64,
    pub(super) times_us: Option<(i64, i64)>,
}

impl Gatherer {
    /// * `wanted`: `None` for all units.
    /// * `conditions`: what makes the masks, where batches have texts in their place; else none.
    pub(super) fn new(layout: Layout, wanted: Option<Arc<Wanted>>, conditions: &[Arc<TextConditions>]) -> Self {
        let codes = std::iter::repeat_with(Interner::default).take(layout.codes).collect();
        Self {
            wanted,
            reader: BatchReader::new(layout, conditions, codes),
            ranges: Vec::new(),
            runs: Vec::new(),
            stride: stride(layout),
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            spilled: Vec::new(),
            rows: 0,
            times_us: None,
        }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let units = batch.column(0).as_string_view();
        let times = batch.column(1).as_primitive::<Int64Type>();
        self.find_runs(units, times);
        self.ranges.clear();
        match self.wanted {
            Some(_) => self.ranges.extend(self.runs.iter().map(|run| run.rows.clone())),
            None => self.ranges.push(0..batch.num_rows()),
        }
        let batch = self.reader.read(batch, &self.ranges)?;
        for run in &self.runs {
            self.shards[run.shard].put(run.rows.clone(), self.stride, |words, rows| batch.write(words, rows, run.unit));
        }
        Ok(())
    }

    /// Runs of rows of one unit that is wanted, each with the unit's number. All are looked for before any is found: see
    /// `Interner::guess`.
    fn find_runs(&mut self, units: &StringViewArray, times: &Int64Array) {
        batch::runs(units, times, &mut self.ranges);
        self.runs.clear();
        for rows in self.ranges.drain(..) {
            let hash = interner::hash(units.value(rows.start).as_bytes());
            let (first_us, last_us) = self.times_us.unwrap_or((i64::MAX, i64::MIN));
            let of_run = &times.values()[rows.clone()];
            let first_us = of_run.iter().fold(first_us, |least, time_us| *time_us.min(&least));
            let last_us = of_run.iter().fold(last_us, |most, time_us| *time_us.max(&most));
            self.times_us = Some((first_us, last_us));
            self.rows += rows.len() as u64;
            if self.wanted.as_ref().is_none_or(|wanted| wanted.has(hash)) {
                self.runs.push(Run { rows, hash, shard: shard_of(hash), guess: None, unit: 0 });
            }
        }
        for run in &mut self.runs {
            run.guess = self.shards[run.shard].units.guess(run.hash);
        }
        for run in &mut self.runs {
            let name = units.value(run.rows.start).as_bytes();
            run.unit = self.shards[run.shard].units.confirm(run.guess, run.hash, name);
        }
    }

    /// Memory held, and what putting the largest share in order will take besides.
    pub(super) fn size(&self) -> usize {
        let largest = self.shards.iter().map(Shard::row_bytes).max().unwrap_or_default();
        self.reader.size() + self.shards.iter().map(Shard::size).sum::<usize>() + 2 * largest
    }

    /// Puts the shares on disk. The texts of codes stay.
    pub(super) fn spill(&mut self, context: &TaskContext) -> Result<usize> {
        self.reader.forget();
        let spilled = Spilled::write(&mut self.shards, context)?;
        let bytes = spilled.total_bytes();
        self.spilled.push(spilled);
        Ok(bytes)
    }

    pub(super) fn finish(self) -> Harvest {
        let Self { shards, reader, spilled, rows, times_us, .. } = self;
        Harvest { shards, codes: reader.codes, spilled, rows, times_us }
    }
}

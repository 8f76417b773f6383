//! Gathering: batches of one input, cut into shares of units.
//!
//! In:       batches of a `Layout`.
//! Out:      shares; the texts of the code columns.
//! Promise:  a unit is looked up once for each run of rows of it. A row without a unit or a time is left out.

use datafusion::arrow::array::{Array, AsArray, Decimal128Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type};
use datafusion::common::Result;
use datafusion::execution::TaskContext;

use super::Layout;
use super::interner::{self, Interner};
use super::row::{NO_CODE, NO_VALUE, sortable, stride, unit_and_mask};
use super::shard::{SHARDS, Shard, shard_of};
use super::spill::Spilled;
use crate::columns;

pub(super) struct Gatherer {
    layout: Layout,
    stride: usize,
    shards: Vec<Shard>,
    codes: Vec<Interner>,
    spilled: Vec<Spilled>,
    rows: u64,
    times_us: Option<(i64, i64)>,
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
    pub(super) fn new(layout: Layout) -> Self {
        Self {
            layout,
            stride: stride(layout),
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            codes: std::iter::repeat_with(Interner::default).take(layout.codes).collect(),
            spilled: Vec::new(),
            rows: 0,
            times_us: None,
        }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) {
        let Layout { masks, codes, values } = self.layout;
        let column = |index: usize| batch.column(index).as_ref();
        let units = column(0).as_string_view();
        let times = column(1).as_primitive::<Int64Type>();
        let sequences = column(2).as_primitive::<Int64Type>();
        let rest = Layout::BEFORE_MASKS;
        let row_masks = columns::masks((rest..rest + masks).map(|index| column(index).as_boolean()), batch.num_rows());
        let rest = rest + masks;
        let row_codes: Vec<Vec<u32>> = (0..codes)
            .map(|index| intern_each(&mut self.codes[index], column(rest + index).as_string_view()))
            .collect();
        let rest = rest + codes;
        let row_values: Vec<&Decimal128Array> =
            (0..values).map(|index| column(rest + index).as_primitive::<Decimal128Type>()).collect();

        let mut run: Option<(usize, usize, u32)> = None;
        for index in 0..batch.num_rows() {
            if units.is_null(index) || times.is_null(index) {
                continue;
            }
            let (shard, unit) = match run {
                Some((of, shard, unit)) if columns::same_text(units, of, index) => (shard, unit),
                _ => {
                    let name = units.value(index).as_bytes();
                    let hash = interner::hash(name);
                    let shard = shard_of(hash);
                    (shard, self.shards[shard].units.intern(hash, name))
                }
            };
            run = Some((index, shard, unit));
            let words = self.shards[shard].room(self.stride);
            let sequence = if sequences.is_null(index) { 0 } else { sequences.value(index) };
            let time_us = times.value(index);
            let (first_us, last_us) = self.times_us.unwrap_or((time_us, time_us));
            self.times_us = Some((first_us.min(time_us), last_us.max(time_us)));
            words.push(sortable(time_us));
            words.push(sortable(sequence));
            words.push(unit_and_mask(unit, row_masks[index]));
            for pair in row_codes.chunks(2) {
                let [first, second] =
                    [pair.first(), pair.get(1)].map(|codes| codes.map_or(NO_CODE, |codes| codes[index]));
                words.push(u64::from(first) | u64::from(second) << 32);
            }
            for values in &row_values {
                // 18 digits fit: the plan casts to that.
                let value = if values.is_null(index) { NO_VALUE } else { values.value(index) as i64 };
                words.push(value as u64);
            }
            self.rows += 1;
        }
    }

    /// Memory held, and what putting the largest share in order will take besides.
    pub(super) fn size(&self) -> usize {
        let codes = self.codes.iter().map(Interner::size).sum::<usize>();
        let largest = self.shards.iter().map(Shard::row_bytes).max().unwrap_or_default();
        codes + self.shards.iter().map(Shard::size).sum::<usize>() + 2 * largest
    }

    /// Puts the shares on disk. The texts of codes stay.
    pub(super) fn spill(&mut self, context: &TaskContext) -> Result<usize> {
        let spilled = Spilled::write(&mut self.shards, context)?;
        let bytes = spilled.total_bytes();
        self.spilled.push(spilled);
        Ok(bytes)
    }

    pub(super) fn finish(self) -> Harvest {
        let Self { shards, codes, spilled, rows, times_us, .. } = self;
        Harvest { shards, codes, spilled, rows, times_us }
    }
}

fn intern_each(interner: &mut Interner, texts: &StringViewArray) -> Vec<u32> {
    let mut codes = Vec::with_capacity(texts.len());
    let mut run: Option<(usize, u32)> = None;
    for index in 0..texts.len() {
        if texts.is_null(index) {
            codes.push(NO_CODE);
            continue;
        }
        let code = match run {
            Some((of, code)) if columns::same_text(texts, of, index) => code,
            _ => {
                let text = texts.value(index).as_bytes();
                interner.intern(interner::hash(text), text)
            }
        };
        run = Some((index, code));
        codes.push(code);
    }
    codes
}

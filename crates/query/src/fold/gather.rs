//! Gathering: batches of one input, cut into shares of units.
//!
//! In:       batches of a `Layout`; which units are wanted, if not all.
//! Out:      shares; the texts of the code columns.
//! Promise:  a unit is looked up once for each run of rows of it. A row without a unit or a time is left out; one
//!           of a unit that is not wanted is counted, and no more.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type};
use datafusion::common::Result;
use datafusion::execution::TaskContext;

use super::Layout;
use super::ask_text::{Asked, TextConditions};
use super::interner::{self, Interner};
use super::look::Wanted;
use super::row::{NO_CODE, NO_VALUE, sortable, stride, unit_and_mask};
use super::shard::{SHARDS, Shard, shard_of};
use super::spill::Spilled;
use crate::columns;

pub(super) struct Gatherer {
    layout: Layout,
    wanted: Option<Arc<Wanted>>,
    asked: Vec<Asked>,
    /// Of the batch at hand; kept for its memory.
    runs: Vec<Run>,
    stride: usize,
    shards: Vec<Shard>,
    codes: Vec<Interner>,
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
        Self {
            layout,
            wanted,
            asked: conditions.iter().cloned().map(Asked::new).collect(),
            runs: Vec::new(),
            stride: stride(layout),
            shards: std::iter::repeat_with(Shard::default).take(SHARDS).collect(),
            codes: std::iter::repeat_with(Interner::default).take(layout.codes).collect(),
            spilled: Vec::new(),
            rows: 0,
            times_us: None,
        }
    }

    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<()> {
        let Layout { masks, codes, values } = self.layout;
        let column = |index: usize| batch.column(index).as_ref();
        let units = column(0).as_string_view();
        let times = column(1).as_primitive::<Int64Type>();
        let sequences = column(2).as_primitive::<Int64Type>();
        let rest = Layout::BEFORE_MASKS;
        self.find_runs(units, times);
        let runs = std::mem::take(&mut self.runs);
        let some_rows: Vec<Range<usize>> = match self.wanted {
            Some(_) => runs.iter().map(|run| run.rows.clone()).collect(),
            None => std::iter::once(0..batch.num_rows()).collect(),
        };
        let asked = self.asked.iter_mut().enumerate().map(|(nth, asked)| {
            let texts = column(rest + nth).as_string_view();
            asked.masks(texts, &some_rows)
        });
        let or = |mut masks: Vec<u32>, more: Vec<u32>| {
            masks.iter_mut().zip(more).for_each(|(mask, more)| *mask |= more);
            masks
        };
        let (row_masks, rest) = match asked.reduce(|masks, more| Ok(or(masks?, more?))) {
            Some(row_masks) => (row_masks?, rest + self.asked.len()),
            None => {
                let conditions = (rest..rest + masks).map(|index| column(index).as_boolean());
                (columns::masks(conditions, batch.num_rows()), rest + masks)
            }
        };
        let row_codes: Vec<Vec<u32>> = (0..codes)
            .map(|index| intern_each(&mut self.codes[index], column(rest + index).as_string_view(), &some_rows))
            .collect();
        let rest = rest + codes;
        let row_values: Vec<&Decimal128Array> =
            (0..values).map(|index| column(rest + index).as_primitive::<Decimal128Type>()).collect();
        let batch = Columns { times, sequences, masks: &row_masks, codes: &row_codes, values: &row_values };
        for run in &runs {
            self.shards[run.shard].put(run.rows.clone(), self.stride, |words, rows| match self.stride {
                3 => batch.write::<3>(words, rows, run.unit),
                4 => batch.write::<4>(words, rows, run.unit),
                5 => batch.write::<5>(words, rows, run.unit),
                6 => batch.write::<6>(words, rows, run.unit),
                7 => batch.write::<7>(words, rows, run.unit),
                stride => batch.write_each(words.chunks_exact_mut(stride), rows, run.unit),
            });
        }
        self.runs = runs;
        Ok(())
    }

    /// Runs of rows of one unit that is wanted, each with the unit's number. All are looked for before any is found: see
    /// `Interner::guess`.
    fn find_runs(&mut self, units: &StringViewArray, times: &Int64Array) {
        let changes = columns::changes(&[units], units.len());
        self.runs.clear();
        let mut is_open = false;
        for (row, is_changed) in changes.into_iter().enumerate() {
            if units.is_null(row) || times.is_null(row) {
                is_open = false;
                continue;
            }
            // Where a file has no dictionary, equal texts lie at different places: a look at both is less than to look it up.
            let is_same = || !is_changed || units.value(row) == units.value(row - 1);
            match self.runs.last_mut() {
                Some(run) if is_open && is_same() => run.rows.end = row + 1,
                _ => self.runs.push(Run { rows: row..row + 1, hash: 0, shard: 0, guess: None, unit: 0 }),
            }
            is_open = true;
        }
        for run in &mut self.runs {
            run.hash = interner::hash(units.value(run.rows.start).as_bytes());
            run.shard = shard_of(run.hash);
            let (first_us, last_us) = self.times_us.unwrap_or((i64::MAX, i64::MIN));
            let of_run = &times.values()[run.rows.clone()];
            let first_us = of_run.iter().fold(first_us, |least, time_us| *time_us.min(&least));
            let last_us = of_run.iter().fold(last_us, |most, time_us| *time_us.max(&most));
            self.times_us = Some((first_us, last_us));
            self.rows += run.rows.len() as u64;
        }
        if let Some(wanted) = &self.wanted {
            self.runs.retain(|run| wanted.has(run.hash));
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
        let asked = self.asked.iter().map(Asked::size).sum::<usize>();
        let codes = self.codes.iter().map(Interner::size).sum::<usize>() + asked;
        let largest = self.shards.iter().map(Shard::row_bytes).max().unwrap_or_default();
        codes + self.shards.iter().map(Shard::size).sum::<usize>() + 2 * largest
    }

    /// Puts the shares on disk. The texts of codes stay.
    pub(super) fn spill(&mut self, context: &TaskContext) -> Result<usize> {
        self.asked.iter_mut().for_each(Asked::forget);
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

/// The columns of a batch, as rows are written from them.
struct Columns<'a> {
    times: &'a Int64Array,
    sequences: &'a Int64Array,
    masks: &'a [u32],
    codes: &'a [Vec<u32>],
    values: &'a [&'a Decimal128Array],
}

impl Columns<'_> {
    /// With the width of a row known, it is written without a loop.
    fn write<const STRIDE: usize>(&self, words: &mut [u64], rows: Range<usize>, unit: u32) {
        self.write_each(words.as_chunks_mut::<STRIDE>().0.iter_mut().map(<[u64; STRIDE]>::as_mut_slice), rows, unit);
    }

    fn write_each<'w>(&self, words: impl Iterator<Item = &'w mut [u64]>, rows: Range<usize>, unit: u32) {
        for (row, words) in rows.zip(words) {
            let sequence = if self.sequences.is_null(row) { 0 } else { self.sequences.value(row) };
            words[0] = sortable(self.times.value(row));
            words[1] = sortable(sequence);
            words[2] = unit_and_mask(unit, self.masks[row]);
            let rest = &mut words[3..];
            let (of_codes, of_values) = rest.split_at_mut(self.codes.len().div_ceil(2));
            for (word, pair) in of_codes.iter_mut().zip(self.codes.chunks(2)) {
                let [first, second] =
                    [pair.first(), pair.get(1)].map(|codes| codes.map_or(NO_CODE, |codes| codes[row]));
                *word = u64::from(first) | u64::from(second) << 32;
            }
            for (word, values) in of_values.iter_mut().zip(self.values) {
                // 18 digits fit: the plan casts to that.
                let value = if values.is_null(row) { NO_VALUE } else { values.value(row) as i64 };
                *word = value as u64;
            }
        }
    }
}

/// The code of each text of some rows. Most columns of codes hold few texts, and the batch has each of them at one place or
/// a few: a small table of views is asked before the texts are.
pub(super) fn intern_each(interner: &mut Interner, texts: &StringViewArray, rows: &[Range<usize>]) -> Vec<u32> {
    const PLACES_BITS: u32 = 8;
    let mut seen = vec![(0_u128, NO_CODE); 1 << PLACES_BITS];
    let nulls = texts.nulls().filter(|nulls| 0 < nulls.null_count());
    let mut code = |(row, view): (usize, &u128)| {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            return NO_CODE;
        }
        let mixed = ((*view as u64) ^ (*view >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = &mut seen[(mixed >> (u64::BITS - PLACES_BITS)) as usize];
        if place.0 != *view || place.1 == NO_CODE {
            let text = texts.value(row).as_bytes();
            *place = (*view, interner.intern(interner::hash(text), text));
        }
        place.1
    };
    let mut codes = vec![NO_CODE; texts.len()];
    for rows in rows {
        let views = rows.clone().zip(&texts.views()[rows.clone()]);
        codes[rows.clone()].iter_mut().zip(views).for_each(|(to, at)| *to = code(at));
    }
    codes
}

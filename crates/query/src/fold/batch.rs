//! A batch of a fold's input: its runs of units, and its rows as words.
//!
//! In:       batches of a `Layout`; the conditions on texts, where batches have texts in the place of conditions.
//! Out:      runs of rows of one unit; the words of each row.
//! Promise:  a text is looked up once a batch for most rows, whether it is asked of or told by its code.
//! Not here: where rows go (`gather.rs`, `merge`).

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{Array, AsArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type};
use datafusion::common::Result;

use super::Layout;
use super::ask_text::{Asked, TextConditions};
use super::interner::{self, Interner};
use super::row::{NO_CODE, NO_VALUE, sortable, stride, unit_and_mask};
use crate::columns;

/// Runs of rows that have a time and the same unit.
pub(super) fn runs(units: &StringViewArray, times: &Int64Array, runs: &mut Vec<Range<usize>>) {
    let changes = columns::changes(&[units], units.len());
    runs.clear();
    let mut is_open = false;
    for (row, is_changed) in changes.into_iter().enumerate() {
        if units.is_null(row) || times.is_null(row) {
            is_open = false;
            continue;
        }
        // Where a file has no dictionary, equal texts lie at different places: a look at both is less than to look it up.
        let is_same = || !is_changed || units.value(row) == units.value(row - 1);
        match runs.last_mut() {
            Some(run) if is_open && is_same() => run.end = row + 1,
            _ => runs.push(row..row + 1),
        }
        is_open = true;
    }
}

/// What is known from batch to batch.
pub(super) struct BatchReader {
    layout: Layout,
    asked: Vec<Asked>,
    pub(super) codes: Vec<Interner>,
}

impl BatchReader {
    /// * `conditions`: what makes the masks, where batches have texts in their place; else none.
    /// * `codes`: the texts that are known of each code column.
    pub(super) fn new(layout: Layout, conditions: &[Arc<TextConditions>], codes: Vec<Interner>) -> Self {
        Self { layout, asked: conditions.iter().cloned().map(Asked::new).collect(), codes }
    }

    /// * `some_rows`: those that are to be written; texts of others are not looked at.
    pub(super) fn read(&mut self, batch: &RecordBatch, some_rows: &[Range<usize>]) -> Result<BatchRows> {
        let Layout { masks, codes, values } = self.layout;
        let column = |index: usize| batch.column(index).as_ref();
        let rest = Layout::BEFORE_MASKS;
        let asked = self.asked.iter_mut().enumerate().map(|(nth, asked)| {
            let texts = column(rest + nth).as_string_view();
            asked.masks(texts, some_rows)
        });
        let or = |mut masks: Vec<u32>, more: Vec<u32>| {
            masks.iter_mut().zip(more).for_each(|(mask, more)| *mask |= more);
            masks
        };
        let (masks, rest) = match asked.reduce(|masks, more| Ok(or(masks?, more?))) {
            Some(masks) => (masks?, rest + self.asked.len()),
            None => {
                let conditions = (rest..rest + masks).map(|index| column(index).as_boolean());
                (columns::masks(conditions, batch.num_rows()), rest + masks)
            }
        };
        let intern = |(nth, interner)| intern_each(interner, column(rest + nth).as_string_view(), some_rows);
        let row_codes = self.codes.iter_mut().enumerate().map(intern).collect();
        let rest = rest + codes;
        let value = |index: usize| column(rest + index).as_primitive::<Decimal128Type>().clone();
        Ok(BatchRows {
            stride: stride(self.layout),
            times: column(1).as_primitive::<Int64Type>().clone(),
            sequences: column(2).as_primitive::<Int64Type>().clone(),
            masks,
            codes: row_codes,
            values: (0..values).map(value).collect(),
        })
    }

    /// To have its memory: texts are asked again. Codes stay.
    pub(super) fn forget(&mut self) {
        self.asked.iter_mut().for_each(Asked::forget);
    }

    /// Texts that have a code.
    pub(super) fn text_count(&self) -> usize {
        self.codes.iter().map(Interner::len).sum()
    }

    pub(super) fn size(&self) -> usize {
        self.codes.iter().map(Interner::size).sum::<usize>() + self.asked.iter().map(Asked::size).sum::<usize>()
    }
}

/// The columns of a batch, as rows are written from them.
pub(super) struct BatchRows {
    stride: usize,
    times: Int64Array,
    sequences: Int64Array,
    masks: Vec<u32>,
    codes: Vec<Vec<u32>>,
    values: Vec<Decimal128Array>,
}

impl BatchRows {
    /// * `words`: room for the words of exactly these rows.
    pub(super) fn write(&self, words: &mut [u64], rows: Range<usize>, unit: u32) {
        // With the width of a row known, it is written without a loop.
        match self.stride {
            3 => self.write_as::<3>(words, rows, unit),
            4 => self.write_as::<4>(words, rows, unit),
            5 => self.write_as::<5>(words, rows, unit),
            6 => self.write_as::<6>(words, rows, unit),
            7 => self.write_as::<7>(words, rows, unit),
            stride => self.write_each(words.chunks_exact_mut(stride), rows, unit),
        }
    }

    fn write_as<const STRIDE: usize>(&self, words: &mut [u64], rows: Range<usize>, unit: u32) {
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
            for (word, values) in of_values.iter_mut().zip(&self.values) {
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

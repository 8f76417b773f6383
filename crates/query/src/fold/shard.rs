//! A share of the units, with the rows of each.
//!
//! In:       runs of rows by unit; what other threads gathered of the same share.
//! Out:      each unit's rows, in order.
//! Promise:  a unit is in one share only, whoever gathered it. Rows lie in blocks, so that growing copies none.

use std::ops::Range;

use datafusion::common::Result;

use super::interner::Interner;
use super::row::{self, Rows};
use super::{Layout, Texts};

/// Shares a question is cut into: one is put in order at a time by each thread, so this bounds the copy.
pub(super) const SHARDS: usize = 64;

/// Words of a block; the first of a share is smaller, for there are many shares.
const BLOCK_WORDS: usize = 16 * 1024;
const FIRST_BLOCK_WORDS: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) units: Interner,
    pub(super) blocks: Vec<Vec<u64>>,
    /// Of the blocks: asked for after each batch, and there are thousands.
    block_bytes: usize,
}

/// Where a unit's rows go, by the upper bits of its hash: the table of a share uses the lower.
pub(super) fn shard_of(hash: u64) -> usize {
    (hash >> (u64::BITS - SHARDS.trailing_zeros())) as usize
}

impl Shard {
    /// Makes room for rows and lets them be written: in one piece, or in two where a block is full.
    ///
    /// * `write`: writes the words of some of the rows.
    pub(super) fn put(
        &mut self,
        mut rows: Range<usize>,
        stride: usize,
        mut write: impl FnMut(&mut [u64], Range<usize>),
    ) {
        while !rows.is_empty() {
            let room = self.blocks.last().map_or(0, |block| (block.capacity() - block.len()) / stride);
            if room == 0 {
                let words = if self.blocks.is_empty() { FIRST_BLOCK_WORDS } else { BLOCK_WORDS };
                self.push_block(Vec::with_capacity(words));
                continue;
            }
            let some = rows.start..rows.end.min(rows.start + room);
            rows.start = some.end;
            let block = self.blocks.last_mut().expect("there is one with room");
            let begin = block.len();
            block.resize(begin + some.len() * stride, 0);
            write(&mut block[begin..], some);
        }
    }

    pub(super) fn row_bytes(&self) -> usize {
        self.block_bytes
    }

    pub(super) fn push_block(&mut self, block: Vec<u64>) {
        self.block_bytes += block.capacity() * size_of::<u64>();
        self.blocks.push(block);
    }

    pub(super) fn size(&self) -> usize {
        self.units.size() + self.row_bytes()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// What one thread gathered of a share, with what its codes are called in common.
pub(super) struct Gathered<'a> {
    pub(super) shard: Shard,
    pub(super) codes: &'a [Vec<u32>],
}

/// Rows by unit, in order; filled with one share after the other, in the same memory.
pub(super) struct Grouped {
    units: Interner,
    words: Vec<u64>,
    /// Where each unit's rows begin, in words; one more than units.
    starts: Vec<usize>,
    next: Vec<usize>,
    layout: Layout,
    /// Units without one of these conditions are left out; 0: none is.
    wanted: u32,
    /// Of each unit, what its rows meet; empty where none is left out.
    masks: Vec<u32>,
}

impl Grouped {
    pub(super) fn new(layout: Layout, wanted: u32) -> Self {
        Self {
            units: Interner::default(),
            words: Vec::new(),
            starts: Vec::new(),
            next: Vec::new(),
            layout,
            wanted,
            masks: Vec::new(),
        }
    }

    /// Puts what several threads gathered together. Their rows are given up block by block.
    pub(super) fn fill(&mut self, mut parts: Vec<Gathered<'_>>) {
        let stride = row::stride(self.layout);
        let mut known: Vec<Vec<u32>> = Vec::with_capacity(parts.len());
        self.units = Interner::default();
        for (place, part) in parts.iter_mut().enumerate() {
            let units = std::mem::take(&mut part.shard.units);
            if place == 0 {
                known.push((0..units.len() as u32).collect());
                self.units = units;
            } else {
                known.push(self.units.intern_all(&units));
            }
        }
        let Self { starts, next, words: ordered, units, masks, wanted, .. } = self;
        starts.clear();
        starts.resize(units.len() + 1, 0);
        masks.clear();
        masks.resize(if *wanted == 0 { 0 } else { units.len() }, 0);
        for (part, known) in parts.iter().zip(&known) {
            for words in part.shard.blocks.iter().flat_map(|block| block.chunks_exact(stride)) {
                let unit = known[row::unit_of(words) as usize] as usize;
                starts[unit + 1] += stride;
                if let Some(mask) = masks.get_mut(unit) {
                    *mask |= row::mask_of(words);
                }
            }
        }
        let is_left_out = |unit: usize| masks.get(unit).is_some_and(|mask| mask & *wanted == 0);
        for unit in 0..units.len() {
            starts[unit + 1] = starts[unit] + if is_left_out(unit) { 0 } else { starts[unit + 1] };
        }
        next.clone_from(starts);
        let row_words = starts.last().copied().unwrap_or_default();
        // Each word is written below: what stands there of the share before need not be wiped.
        ordered.resize(row_words, 0);
        for (part, known) in parts.into_iter().zip(&known) {
            for block in part.shard.blocks {
                for words in block.chunks_exact(stride) {
                    let unit = known[row::unit_of(words) as usize] as usize;
                    if is_left_out(unit) {
                        continue;
                    }
                    let at = &mut next[unit];
                    let to = &mut ordered[*at..*at + stride];
                    to.copy_from_slice(words);
                    row::forget_unit(to);
                    for (index, common) in part.codes.iter().enumerate() {
                        let code = row::code(words, index);
                        if code != row::NO_CODE {
                            row::set_code(to, index, common[code as usize]);
                        }
                    }
                    *at += stride;
                }
            }
        }
        self.sort();
    }

    fn sort(&mut self) {
        let stride = row::stride(self.layout);
        for bounds in self.starts.windows(2) {
            sort_unit(&mut self.words[bounds[0]..bounds[1]], stride);
        }
    }

    pub(super) fn unit_count(&self) -> usize {
        self.units.len()
    }

    pub(super) fn unit(&self, unit: usize) -> &str {
        self.units.str(unit)
    }

    /// A unit's rows; none if it is left out.
    pub(super) fn words(&self, unit: usize) -> &[u64] {
        &self.words[self.starts[unit]..self.starts[unit + 1]]
    }

    /// Each unit's name and rows.
    pub(super) fn each(&self, mut visit: impl FnMut(&str, Rows<'_>) -> Result<()>) -> Result<()> {
        for unit in 0..self.unit_count() {
            let words = self.words(unit);
            if !words.is_empty() {
                visit(self.unit(unit), Rows::new(words, self.layout))?;
            }
        }
        Ok(())
    }
}

/// Puts the rows of one unit in order.
pub(super) fn sort_unit(words: &mut [u64], stride: usize) {
    match stride {
        3 => sort_rows::<3>(words),
        4 => sort_rows::<4>(words),
        5 => sort_rows::<5>(words),
        6 => sort_rows::<6>(words),
        7 => sort_rows::<7>(words),
        stride => sort_long_rows(words, stride),
    }
}

/// The same, but rows of equal time stay as they lie.
pub(super) fn sort_unit_by_time(words: &mut [u64], stride: usize) {
    let is_sorted = words.chunks_exact(stride).is_sorted_by_key(row::time_of);
    if !is_sorted {
        let mut rows: Vec<&[u64]> = words.chunks_exact(stride).collect();
        rows.sort_by_key(|words| row::time_of(words));
        let sorted: Vec<u64> = rows.concat();
        words.copy_from_slice(&sorted);
    }
}

/// Whole rows are compared: two of equal time and sequence come in the same order whoever gathered them.
fn sort_rows<const STRIDE: usize>(words: &mut [u64]) {
    let (rows, _) = words.as_chunks_mut::<STRIDE>();
    if !rows.is_sorted() {
        rows.sort_unstable();
    }
}

fn sort_long_rows(words: &mut [u64], stride: usize) {
    let is_sorted = words.chunks_exact(stride).is_sorted();
    if is_sorted {
        return;
    }
    let mut rows: Vec<&[u64]> = words.chunks_exact(stride).collect();
    rows.sort_unstable();
    let sorted: Vec<u64> = rows.concat();
    words.copy_from_slice(&sorted);
}

/// The texts of all threads as one, in order of text, and what each thread's codes are among them.
pub(super) fn common_texts(parts: &[&Interner]) -> (Texts, Vec<Vec<u32>>) {
    let mut all = Interner::default();
    let in_all: Vec<Vec<u32>> = parts.iter().map(|part| all.intern_all(part)).collect();
    let mut order: Vec<u32> = (0..all.len() as u32).collect();
    order.sort_unstable_by_key(|index| all.text(*index as usize));
    let mut rank = vec![0; all.len()];
    for (place, index) in order.iter().enumerate() {
        rank[*index as usize] = place as u32;
    }
    let text = |index: &u32| all.str(*index as usize).into();
    let texts = Texts(order.iter().map(text).collect());
    (texts, in_all.into_iter().map(|part| part.into_iter().map(|index| rank[index as usize]).collect()).collect())
}

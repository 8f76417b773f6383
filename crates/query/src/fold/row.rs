//! A row as a few machine words.
//!
//! In:       times, sequence, conditions, codes and values of one event.
//! Out:      the same, read back; words that sort as the rows do.
//! Promise:  the first two words, compared as numbers, order rows by time and then by sequence.

use super::Layout;

/// Flips the sign: signed numbers then sort as unsigned words.
const SIGN: u64 = 1 << 63;

/// No text.
pub(super) const NO_CODE: u32 = u32::MAX;

/// No value. A decimal of 18 digits never comes near it.
pub(super) const NO_VALUE: i64 = i64::MIN;

const TIME: usize = 0;
const UNIT_AND_MASK: usize = 2;
const FIRST_CODES: usize = 3;

/// Words a row of this layout takes.
pub(super) fn stride(layout: Layout) -> usize {
    FIRST_CODES + layout.codes.div_ceil(2) + layout.values
}

pub(super) fn sortable(number: i64) -> u64 {
    (number as u64) ^ SIGN
}

/// Sorts as the times do.
pub(super) fn time_of(words: &[u64]) -> u64 {
    words[TIME]
}

pub(super) fn unit_of(words: &[u64]) -> u32 {
    words[UNIT_AND_MASK] as u32
}

pub(super) fn mask_of(words: &[u64]) -> u32 {
    (words[UNIT_AND_MASK] >> 32) as u32
}

pub(super) fn unit_and_mask(unit: u32, mask: u32) -> u64 {
    u64::from(unit) | u64::from(mask) << 32
}

/// Then rows compare alike whoever numbered the units.
pub(super) fn forget_unit(words: &mut [u64]) {
    words[UNIT_AND_MASK] &= !u64::from(u32::MAX);
}

pub(super) fn set_code(words: &mut [u64], index: usize, code: u32) {
    let shift = 32 * (index % 2);
    let word = &mut words[FIRST_CODES + index / 2];
    *word = *word & !(u64::from(u32::MAX) << shift) | u64::from(code) << shift;
}

pub(super) fn code(words: &[u64], index: usize) -> u32 {
    (words[FIRST_CODES + index / 2] >> (32 * (index % 2))) as u32
}

/// The rows of one unit, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a> {
    words: &'a [u64],
    stride: usize,
    value_at: usize,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    words: &'a [u64],
    value_at: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(words: &'a [u64], layout: Layout) -> Self {
        Self { words, stride: stride(layout), value_at: FIRST_CODES + layout.codes.div_ceil(2) }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Row<'a>> + ExactSizeIterator + use<'a> {
        let value_at = self.value_at;
        self.words.chunks_exact(self.stride).map(move |words| Row { words, value_at })
    }

    pub(crate) fn at(&self, index: usize) -> Row<'a> {
        Row { words: &self.words[index * self.stride..][..self.stride], value_at: self.value_at }
    }
}

impl Row<'_> {
    /// Microseconds since 1970, UTC.
    pub(crate) fn time_us(&self) -> i64 {
        (self.words[TIME] ^ SIGN).cast_signed()
    }

    /// Bit `k` says whether condition `k` holds; one that is null does not.
    pub(crate) fn mask(&self) -> u32 {
        (self.words[UNIT_AND_MASK] >> 32) as u32
    }

    /// A number into the `Texts` of the column.
    pub(crate) fn code(&self, index: usize) -> Option<u32> {
        Some(code(self.words, index)).filter(|code| *code != NO_CODE)
    }

    /// Millionths.
    pub(crate) fn value_micros(&self, index: usize) -> Option<i64> {
        Some(self.words[self.value_at + index].cast_signed()).filter(|value| *value != NO_VALUE)
    }
}

//! Columns, read the way several operators want them.

use std::borrow::Cow;

use datafusion::arrow::array::{Array, BooleanArray, StringViewArray};

/// Bit `k` of each row's mask says whether condition `k` holds; one that is null does not.
///
/// * `conditions`: up to 32, each of `row_count` rows.
pub(crate) fn masks<'a>(conditions: impl Iterator<Item = &'a BooleanArray>, row_count: usize) -> Vec<u32> {
    let mut masks = vec![0; row_count];
    for (bit, values) in conditions.enumerate() {
        set_bit(&mut masks, bit, values);
    }
    masks
}

/// Sets a bit of the mask of each row for which a condition holds.
pub(crate) fn set_bit(masks: &mut [u32], bit: usize, values: &BooleanArray) {
    // What stands under a null is not specified.
    let holds = match values.nulls() {
        Some(nulls) if 0 < nulls.null_count() => Cow::Owned(values.values() & nulls.inner()),
        _ => Cow::Borrowed(values.values()),
    };
    for index in holds.set_indices() {
        masks[index] |= 1 << bit;
    }
}

/// Where a row differs from the one before in any of the columns; the first always does. Told by the views alone: two equal
/// texts of different places may count as different, never the other way round.
pub(crate) fn changes(columns: &[&StringViewArray], row_count: usize) -> Vec<bool> {
    let mut changes = vec![false; row_count];
    let Some((first, others)) = changes.split_first_mut() else { return changes };
    *first = true;
    for texts in columns {
        for (changed, pair) in others.iter_mut().zip(texts.views().windows(2)) {
            *changed |= pair[0] != pair[1];
        }
        if let Some(nulls) = texts.nulls().filter(|nulls| 0 < nulls.null_count()) {
            for (changed, row) in others.iter_mut().zip(1..) {
                *changed |= nulls.is_valid(row) != nulls.is_valid(row - 1);
            }
        }
    }
    changes
}

//! Columns, read the way several operators want them.

use std::borrow::Cow;

use datafusion::arrow::array::{Array, BooleanArray, StringViewArray};

/// Bit `k` of each row's mask says whether condition `k` holds; one that is null does not.
///
/// * `conditions`: up to 32, each of `row_count` rows.
pub(crate) fn masks<'a>(conditions: impl Iterator<Item = &'a BooleanArray>, row_count: usize) -> Vec<u32> {
    let mut masks = vec![0; row_count];
    for (bit, values) in conditions.enumerate() {
        // What stands under a null is not specified.
        let holds = match values.nulls() {
            Some(nulls) if 0 < nulls.null_count() => Cow::Owned(values.values() & nulls.inner()),
            _ => Cow::Borrowed(values.values()),
        };
        for index in holds.set_indices() {
            masks[index] |= 1 << bit;
        }
    }
    masks
}

/// Whether two rows hold the same text; nulls are the same as each other. Texts of a dictionary page that are the same lie
/// in the same place.
pub(crate) fn same_text(texts: &StringViewArray, a: usize, b: usize) -> bool {
    match (texts.is_valid(a), texts.is_valid(b)) {
        (true, true) => texts.views()[a] == texts.views()[b] || texts.value(a) == texts.value(b),
        (a, b) => a == b,
    }
}

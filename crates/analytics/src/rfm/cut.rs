//! Cuts a ranking into scores.
//!
//! In:       values from the worst to the best.
//! Out:      a score for each, 1 for the worst.
//! Promise:  scores never fall along the ranking; whole numbers only.
//! Not here: in which order equal values are ranked (`mod.rs`).
//!
//! Definitions: `docs/methods.md#rfm`.

/// More would say more than most lists of customers hold.
pub const TILE_COUNT_MAX: u32 = 100;

/// How a ranking is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Into parts of equal size, the first ones larger by one if it must be; SQL's `ntile`. Equal values may be parted:
    /// units of smaller ids then get the smaller score.
    Tiles,
    /// At the quantiles of the values, so that equal values have one score. Parts may be of any size: where most units
    /// bought once, most have a frequency of 1.
    Quantiles,
}

/// * `values`: ascending.
pub(super) fn scores(cut: Cut, values: &[i128], tile_count: u32) -> Vec<u32> {
    match cut {
        Cut::Tiles => tiles(values.len(), tile_count),
        Cut::Quantiles => quantiles(values, tile_count),
    }
}

fn tiles(value_count: usize, tile_count: u32) -> Vec<u32> {
    let (size, larger_count) = (value_count / tile_count as usize, value_count % tile_count as usize);
    let sizes = (1..=tile_count).map(|tile| (tile, size + usize::from(tile as usize <= larger_count)));
    sizes.flat_map(|(tile, size)| std::iter::repeat_n(tile, size)).collect()
}

/// The score is 1 and one more for each quantile below the value; quantile `j` is the smallest value that at least
/// `j / tile_count` of all do not exceed.
fn quantiles(values: &[i128], tile_count: u32) -> Vec<u32> {
    let quantile = |j: u32| values[(j as usize * values.len()).div_ceil(tile_count as usize) - 1];
    let mut score = 1;
    let score_of = |value: &i128| {
        while score < tile_count && quantile(score) < *value {
            score += 1;
        }
        score
    };
    values.iter().map(score_of).collect()
}

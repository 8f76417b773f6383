//! Scores by rank, by counting who is worse.
//!
//! In:       the value of each unit, its id being its place.
//! Out:      the score of each, 1 for the worst.
//! Promise:  nothing is sorted.
//! Not here: speed.

/// SQL's `ntile` over `order by value, place`.
pub fn tiles(values: &[i128], tile_count: usize) -> Vec<usize> {
    let score = |place: usize| {
        let worse = |other: &usize| (values[*other], *other) < (values[place], place);
        let rank = (0..values.len()).filter(worse).count();
        let (size, larger_count) = (values.len() / tile_count, values.len() % tile_count);
        let in_larger = larger_count * (size + 1);
        if rank < in_larger { rank / (size + 1) + 1 } else { larger_count + (rank - in_larger) / size + 1 }
    };
    (0..values.len()).map(score).collect()
}

/// One more than the number of quantiles that are below the value. Quantile `j` of `k` is the smallest value such that at
/// least `j / k` of the units are not above it.
pub fn quantile_cuts(values: &[i128], tile_count: usize) -> Vec<usize> {
    let quantile = |j: usize| {
        let not_above = |value: i128| values.iter().filter(|other| **other <= value).count();
        values.iter().copied().filter(|value| j * values.len() <= not_above(*value) * tile_count).min()
    };
    values.iter().map(|value| 1 + (1..tile_count).filter(|j| quantile(*j) < Some(*value)).count()).collect()
}

//! The cumulative game: a coalition is worth what was converted by paths that met nobody else.
//!
//! In:       a path table.
//! Out:      conversions and value per channel.
//! Promise:  one pass over the paths, any number of channels; nothing is negative, and all sums to the totals.
//! Not here: journeys without a conversion, of which this game knows nothing; conversion by conversion, with views that weigh
//!           less and at times and places of touches, which is `CreditRule::Shapley`. This one is of a table of paths.

use super::super::{PathTable, split_total_by_weights};

/// By channel code.
#[derive(Debug, Clone, PartialEq)]
pub struct Cumulative {
    pub conversions: Vec<f64>,
    /// Whole millionths; they sum to the table's value exactly.
    pub value_micros: Vec<i128>,
}

/// Each path's conversions in equal parts to its distinct channels: that is the Shapley value of this game.
///
/// Source: Zhao, Mahboobi and Bagheri (2018); `docs/methods.md#shapley`.
pub fn cumulative_shapley(table: &PathTable) -> Cumulative {
    let channel_count = table.channel_count() as usize;
    let (mut conversions, mut values) = (vec![0.0; channel_count], vec![0.0; channel_count]);
    let mut distinct: Vec<u32> = Vec::new();
    for row in table.rows().filter(|row| 0 < row.counts.conversions) {
        distinct.clear();
        distinct.extend_from_slice(row.channels);
        distinct.sort_unstable();
        distinct.dedup();
        let part = 1.0 / distinct.len() as f64;
        for &channel in &distinct {
            conversions[channel as usize] += row.counts.conversions as f64 * part;
            values[channel as usize] += row.counts.value_micros as f64 * part;
        }
    }
    // Cut once at the end: row by row, what does not divide evenly would add up with whoever has the last code.
    let value_micros = split_total_by_weights(table.totals().value_micros, &values);
    Cumulative { conversions, value_micros }
}

//! Leave one out: what fractribution calls Shapley.
//!
//! In:       a path table.
//! Out:      conversions and value per channel.
//! Promise:  the numbers of Google's fractribution, revenue of repeated paths included (which its loader forgets).
//! Not here: Shapley values: each touch is left out once from its own path, and a path that was never walked counts as one
//!           that never converts, which credits whoever is on rare paths.

use std::collections::HashMap;

use super::super::{PathCounts, PathTable};

/// By channel code.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelCredit {
    pub conversions: Vec<f64>,
    /// In millionths of a currency.
    pub value_micros: Vec<f64>,
}

/// A touch's part is what its path's conversion rate loses without it, at least 0, in proportion; the last touch gets all if
/// none loses anything.
///
/// Source: google/fractribution at 72ad8a4a; `docs/methods.md#shapley`.
pub fn leave_one_out(table: &PathTable) -> ChannelCredit {
    let mut counts_by_path: HashMap<&[u32], PathCounts> = HashMap::new();
    for row in table.rows() {
        let counts = counts_by_path.entry(row.channels).or_default();
        counts.conversions += row.counts.conversions;
        counts.nulls += row.counts.nulls;
    }
    let rate = |path: &[u32]| {
        let counts = counts_by_path.get(path).copied().unwrap_or_default();
        let journeys = counts.conversions + counts.nulls;
        if journeys == 0 { 0.0 } else { counts.conversions as f64 / journeys as f64 }
    };
    let channel_count = table.channel_count() as usize;
    let mut credit = ChannelCredit { conversions: vec![0.0; channel_count], value_micros: vec![0.0; channel_count] };
    let mut shorter = Vec::new();
    for row in table.rows().filter(|row| 0 < row.counts.conversions) {
        let whole = rate(row.channels);
        let mut lost: Vec<f64> = (0..row.channels.len())
            .map(|left_out| {
                shorter.clear();
                shorter.extend_from_slice(&row.channels[..left_out]);
                shorter.extend_from_slice(&row.channels[left_out + 1..]);
                (whole - rate(&shorter)).max(0.0)
            })
            .collect();
        let mut sum: f64 = lost.iter().sum();
        if sum == 0.0 {
            let last = lost.len() - 1;
            lost[last] = 1.0;
            sum = 1.0;
        }
        for (channel, lost) in row.channels.iter().zip(lost) {
            credit.conversions[*channel as usize] += lost / sum * row.counts.conversions as f64;
            credit.value_micros[*channel as usize] += lost / sum * row.counts.value_micros as f64;
        }
    }
    credit
}

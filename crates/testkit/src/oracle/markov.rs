//! A Markov chain of touches, by the sentences that define it.
//!
//! In:       paths with counts, an order.
//! Out:      the chance of a conversion, the expected value, and what removing a channel takes from both.
//! Promise:  obvious: states are lists of channels, the equations are solved in full by elimination with pivots, backwards
//!           from the ends.
//! Not here: speed: with `n` states it takes `n` cubed steps for each channel.

use std::collections::BTreeMap;

/// One path and how it ended how often.
#[derive(Debug, Clone, PartialEq)]
pub struct Walked {
    pub channels: Vec<u32>,
    pub conversions: u64,
    pub nulls: u64,
    /// Of all conversions together.
    pub value: f64,
}

/// The chance to convert and the value to expect, from the start, if walks may pass only states all of whose channels are
/// allowed.
///
/// * `with_nulls`: else journeys without a conversion are left out.
pub fn outcome_within(
    walked: &[Walked],
    order: usize,
    with_nulls: bool,
    is_allowed: impl Fn(u32) -> bool,
) -> (f64, f64) {
    // The empty list is the start.
    let mut followed: BTreeMap<(Vec<u32>, Vec<u32>), f64> = BTreeMap::new();
    let mut left: BTreeMap<Vec<u32>, f64> = BTreeMap::new();
    let mut converted: BTreeMap<Vec<u32>, (f64, f64)> = BTreeMap::new();
    for path in walked {
        let nulls = if with_nulls { path.nulls } else { 0 };
        let journeys = (path.conversions + nulls) as f64;
        if journeys == 0.0 {
            continue;
        }
        let mut at = Vec::new();
        for state in states(&path.channels, order) {
            *followed.entry((at.clone(), state.clone())).or_default() += journeys;
            *left.entry(at).or_default() += journeys;
            at = state;
        }
        *left.entry(at.clone()).or_default() += journeys;
        let ended = converted.entry(at).or_default();
        ended.0 += path.conversions as f64;
        ended.1 += path.value;
    }
    let states: Vec<&Vec<u32>> = left.keys().filter(|state| state.iter().all(|channel| is_allowed(*channel))).collect();
    // x[i] = end[i] + sum over j of chance[i, j] x[j], once for conversions and once for value.
    let mut rows: Vec<Vec<f64>> = Vec::new();
    for (i, from) in states.iter().enumerate() {
        let chance = |count: f64| count / left[*from];
        let mut row: Vec<f64> = states
            .iter()
            .map(|to| -chance(followed.get(&((*from).clone(), (*to).clone())).copied().unwrap_or(0.0)))
            .collect();
        row[i] += 1.0;
        let ended = converted.get(*from).copied().unwrap_or((0.0, 0.0));
        row.extend([chance(ended.0), chance(ended.1)]);
        rows.push(row);
    }
    match states.iter().position(|state| state.is_empty()) {
        Some(start) => {
            let solved = solve(rows);
            (solved[start][0], solved[start][1])
        }
        None => (0.0, 0.0),
    }
}

/// What is lost without a channel, as a part of what there is with all.
pub fn removal_effect(walked: &[Walked], order: usize, with_nulls: bool, removed: u32) -> (f64, f64) {
    let whole = outcome_within(walked, order, with_nulls, |_| true);
    let rest = outcome_within(walked, order, with_nulls, |channel| channel != removed);
    let lost = |of: f64, left: f64| if of == 0.0 { 0.0 } else { 1.0 - left / of };
    (lost(whole.0, rest.0), lost(whole.1, rest.1))
}

/// Each run of `order` touches, or the whole of a shorter path; a state that repeats the one before it is left out.
fn states(channels: &[u32], order: usize) -> Vec<Vec<u32>> {
    let mut states: Vec<Vec<u32>> = if channels.len() <= order {
        vec![channels.to_vec()]
    } else {
        channels.windows(order).map(<[u32]>::to_vec).collect()
    };
    states.dedup();
    states
}

/// Gauss's elimination with pivots: each row has the coefficients and then two right sides.
fn solve(mut rows: Vec<Vec<f64>>) -> Vec<[f64; 2]> {
    let count = rows.len();
    for pivot in 0..count {
        let largest = (pivot..count).max_by(|a, b| rows[*a][pivot].abs().total_cmp(&rows[*b][pivot].abs()));
        rows.swap(pivot, largest.expect("there is at least the pivot"));
        let of_pivot = rows[pivot].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            if i != pivot {
                let factor = row[pivot] / of_pivot[pivot];
                for (cell, of_pivot) in row.iter_mut().zip(&of_pivot) {
                    *cell -= factor * of_pivot;
                }
            }
        }
    }
    (0..count).map(|i| [rows[i][count] / rows[i][i], rows[i][count + 1] / rows[i][i]]).collect()
}

//! Transforms: what of a path's order and repetition a model gets to see.
//!
//! In:       the channels of one path, in order, as codes.
//! Out:      which of its touches stay.
//! Promise:  a path that had a touch keeps one, but for `LastSteps` of none.
//! Not here: which touches are near enough (`lookback.rs`), who is the same touch told twice (`journey.rs`).

use std::collections::HashMap;

/// Names and meaning are fractribution's, so that a path is the same here and there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// All as it is: `D A B B C D C C`.
    Unique,
    /// Of a run of one channel the latest: `D A B C D C`.
    Exposure,
    /// Of each channel the first: `D A B C`.
    First,
    /// Of each channel the first, whose step is then the channel *and* how often it came: `D(2) A(1) B(2) C(3)`.
    /// The counts are told by `channel_frequencies`.
    Frequency,
    /// All but this channel, unless there is no other.
    RemoveIfNotAll { channel: u32 },
    /// All but this channel's run at the end, unless there is no other.
    RemoveIfLastAndNotAll { channel: u32 },
    /// The last so many.
    LastSteps { count: usize },
}

impl Transform {
    /// * `channels`: one path, in order.
    /// * Returns the places that stay, ascending.
    ///
    /// Source: `docs/methods.md#paths`; fractribution's `path_transforms.sql`.
    pub fn kept(self, channels: &[u32]) -> Vec<usize> {
        let all = 0..channels.len();
        match self {
            Self::Unique => all.collect(),
            Self::Exposure => all.filter(|&at| channels.get(at + 1) != Some(&channels[at])).collect(),
            Self::First | Self::Frequency => firsts(channels),
            Self::RemoveIfNotAll { channel } => {
                let others: Vec<usize> = all.clone().filter(|&at| channels[at] != channel).collect();
                if others.is_empty() { all.collect() } else { others }
            }
            Self::RemoveIfLastAndNotAll { channel } => {
                let last_other = channels.iter().rposition(|&other| other != channel);
                (0..last_other.map_or(channels.len(), |at| at + 1)).collect()
            }
            Self::LastSteps { count } => (channels.len().saturating_sub(count)..channels.len()).collect(),
        }
    }
}

/// Each channel of a path, in order of its first touch, and how often it came: the steps of `Transform::Frequency`.
pub fn channel_frequencies(channels: &[u32]) -> Vec<(u32, u32)> {
    let mut count_by_channel = HashMap::new();
    for &channel in channels {
        *count_by_channel.entry(channel).or_insert(0) += 1;
    }
    firsts(channels).into_iter().map(|at| (channels[at], count_by_channel[&channels[at]])).collect()
}

/// Paths are short; looking back through one is quicker than hashing it.
fn firsts(channels: &[u32]) -> Vec<usize> {
    const SHORT: usize = 32;
    if channels.len() <= SHORT {
        return (0..channels.len()).filter(|&at| !channels[..at].contains(&channels[at])).collect();
    }
    let mut seen = std::collections::HashSet::new();
    (0..channels.len()).filter(|&at| seen.insert(channels[at])).collect()
}

//! Path tables: how often each path was walked, and how often it converted.
//!
//! In:       paths of channel codes with counts, one after the other.
//! Out:      what the models that learn from all paths read.
//! Promise:  no path is empty and no code is too large; values are not negative and come with conversions. One path may
//!           come in several rows: that changes no answer.
//! Not here: how paths come to be (`journey.rs`), names of channels.

use crate::error::AnalyticsError;

/// Paths with their weights, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTable {
    channel_count: u32,
    steps: Vec<u32>,
    /// Where each row's steps end.
    ends: Vec<usize>,
    counts: Vec<PathCounts>,
}

/// How a path ended, how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathCounts {
    pub conversions: u64,
    /// Journeys along this path without a conversion.
    pub nulls: u64,
    /// Value of all conversions together, in millionths of a currency.
    pub value_micros: i64,
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathRow<'t> {
    pub channels: &'t [u32],
    pub counts: PathCounts,
}

/// What all rows sum to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PathTotals {
    pub conversions: u64,
    pub nulls: u64,
    pub value_micros: i128,
}

impl PathTotals {
    pub fn journeys(self) -> u64 {
        self.conversions + self.nulls
    }
}

impl PathTable {
    pub const CHANNEL_COUNT_MAX: u32 = 65_535;

    /// * `channel_count`: codes are below this; channels that never come get no credit.
    pub fn new(channel_count: u32) -> Result<Self, AnalyticsError> {
        if Self::CHANNEL_COUNT_MAX < channel_count {
            return Err(AnalyticsError::ChannelCount { given: channel_count, max: Self::CHANNEL_COUNT_MAX });
        }
        Ok(Self { channel_count, steps: Vec::new(), ends: Vec::new(), counts: Vec::new() })
    }

    /// Adds a row, or says why it can be none.
    pub fn push(&mut self, channels: &[u32], counts: PathCounts) -> Result<(), AnalyticsError> {
        if channels.is_empty() {
            return Err(AnalyticsError::EmptyPath);
        }
        if let Some(&channel) = channels.iter().find(|channel| self.channel_count <= **channel) {
            return Err(AnalyticsError::ChannelCode { given: channel, channel_count: self.channel_count });
        }
        if counts.value_micros < 0 || (counts.conversions == 0 && counts.value_micros != 0) {
            return Err(AnalyticsError::PathValue {
                value_micros: counts.value_micros,
                conversion_count: counts.conversions,
            });
        }
        self.steps.extend_from_slice(channels);
        self.ends.push(self.steps.len());
        self.counts.push(counts);
        Ok(())
    }

    pub fn channel_count(&self) -> u32 {
        self.channel_count
    }

    pub fn row_count(&self) -> usize {
        self.counts.len()
    }

    pub fn rows(&self) -> impl Iterator<Item = PathRow<'_>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends);
        ranges
            .zip(&self.counts)
            .map(|((start, end), counts)| PathRow { channels: &self.steps[start..*end], counts: *counts })
    }

    pub fn totals(&self) -> PathTotals {
        self.counts.iter().fold(PathTotals::default(), |sum, counts| PathTotals {
            conversions: sum.conversions + counts.conversions,
            nulls: sum.nulls + counts.nulls,
            value_micros: sum.value_micros + i128::from(counts.value_micros),
        })
    }

    /// The same paths with other counts.
    ///
    /// * `recount`: given each row in order.
    pub(super) fn recounted(&self, recount: impl FnMut(PathRow<'_>) -> PathCounts) -> Self {
        Self { counts: self.rows().map(recount).collect(), ..self.clone() }
    }

    /// The distinct channels of each row as a bit mask. Only for tables of at most 64 channels.
    pub(super) fn channel_masks(&self) -> impl Iterator<Item = (u64, PathCounts)> {
        debug_assert!(self.channel_count <= u64::BITS, "a mask has a bit for each channel");
        self.rows().map(|row| (row.channels.iter().fold(0, |mask, channel| mask | 1_u64 << channel), row.counts))
    }
}

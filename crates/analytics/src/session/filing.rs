//! When to look at a line again: which may have sessions that are sealed.
//!
//! In:       the end of the oldest session of a line, and its lowest offset.
//! Out:      lines that are due; the lowest offset of all.
//! Promise:  a line is looked at once for each time it is filed, not at each report; the lowest offset told is never
//!           above the true one, and rises to it when the lines are filed anew.
//! Not here: what is in a line.
//!
//! Lines are filed in coarse buckets of time. A line whose session goes on is not moved: it is filed anew when the
//! bucket it was put into is due. One that must be looked at earlier is filed once more, and says itself in which bucket
//! it is. A session is kept a bucket longer than it must be, at the most.

use std::collections::BTreeMap;

/// In which bucket a line is that is in none.
pub(super) const UNFILED: i64 = i64::MIN;

#[derive(Debug)]
pub(super) struct Filing {
    buckets: BTreeMap<i64, Bucket>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) low_offset: i64,
    pub(super) lines: Vec<u32>,
}

impl Filing {
    pub(super) fn new() -> Self {
        Self { buckets: BTreeMap::new() }
    }

    /// Returns the bucket.
    pub(super) fn file(&mut self, line: u32, end_us: i64, low_offset: i64, bucket_us: i64) -> i64 {
        let number = end_us.div_euclid(bucket_us);
        let bucket = self.buckets.entry(number).or_insert(Bucket { low_offset, lines: Vec::new() });
        bucket.low_offset = bucket.low_offset.min(low_offset);
        bucket.lines.push(line);
        number
    }

    /// Takes out the first bucket if all that ended in it is sealed, as `is_sealed` says of its last moment.
    pub(super) fn take_due(&mut self, bucket_us: i64, is_sealed: impl Fn(i64) -> bool) -> Option<(i64, Bucket)> {
        let first = self.buckets.first_entry()?;
        let number = *first.key();
        let last_us = number.saturating_add(1).saturating_mul(bucket_us).saturating_sub(1);
        is_sealed(last_us).then(|| (number, first.remove()))
    }

    pub(super) fn low_offset(&self) -> Option<i64> {
        self.buckets.values().map(|bucket| bucket.low_offset).min()
    }

    pub(super) fn buckets(&self) -> impl ExactSizeIterator<Item = (i64, &Bucket)> {
        self.buckets.iter().map(|(number, bucket)| (*number, bucket))
    }

    /// For a snapshot.
    pub(super) fn restore(&mut self, number: i64, bucket: Bucket) {
        self.buckets.insert(number, bucket);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let lines: usize = self.buckets.values().map(|bucket| bucket.lines.capacity() * size_of::<u32>()).sum();
        lines + self.buckets.len() * size_of::<(i64, Bucket)>()
    }
}

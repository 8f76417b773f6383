//! How long something took: a histogram whose buckets grow with the time.
//!
//! In:       times of an edge.
//! Out:      quantiles of them.
//! Promise:  buckets are whole numbers, so histograms add to the same one in any order. A bucket is at most a sixteenth of its
//!           time wide and its middle is told, so a quantile is off by at most a thirty-second; below 16 microseconds by
//!           nothing.
//! Not here: the mean, which is exact (`Tally::mean_time_us`).

use hashbrown::HashTable;

use super::flow_table::{FlowKey, mix};

/// Buckets for each doubling of the time.
const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;

/// The number of the last bucket; below it are all.
pub(super) const BUCKET_MAX: u16 = 975;

/// The bucket a time falls into; rises with the time.
#[inline]
pub(super) fn bucket_of(time_us: u64) -> u16 {
    if time_us < STEPS {
        return time_us as u16;
    }
    let exponent = 63 - time_us.leading_zeros() - STEP_BITS;
    let within = time_us >> exponent & (STEPS - 1);
    ((u64::from(exponent) + 1) * STEPS + within) as u16
}

/// The middle of a bucket.
fn middle_us(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < STEPS {
        return bucket;
    }
    let exponent = bucket / STEPS - 1;
    let lowest = (STEPS + bucket % STEPS) << exponent;
    lowest + (1 << exponent >> 1)
}

/// The times of one edge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Durations {
    /// Bucket and count; ascending, no count is 0.
    buckets: Vec<(u16, u64)>,
}

impl Durations {
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The least time that at least a share of `level` of all times is not above, to within a thirty-second of itself.
    ///
    /// * `level`: 0 to 1. Returns `None` for no times.
    ///
    /// Source: Hyndman and Fan (1996), type 1.
    pub fn quantile_us(&self, level: f64) -> Option<u64> {
        let rank = ((level.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut passed = 0_u64;
        for (bucket, count) in &self.buckets {
            passed = passed.saturating_add(*count);
            if rank <= passed {
                return Some(middle_us(*bucket));
            }
        }
        // Rounding of a count beyond 2^53 may put the rank behind the last.
        self.buckets.last().map(|(bucket, _)| middle_us(*bucket))
    }

    pub(super) fn add(&mut self, bucket: u16, count: u64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.saturating_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            self.add(*bucket, *count);
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct DurationEntry {
    pub(super) key: FlowKey,
    pub(super) count: u64,
    pub(super) bucket: u16,
}

impl DurationEntry {
    #[inline]
    fn hash(key: FlowKey, bucket: u16) -> u64 {
        mix(key.hash() ^ u64::from(bucket))
    }
}

/// The histograms of all edges together, a bucket an entry.
#[derive(Debug, Clone, Default)]
pub(super) struct DurationTable(HashTable<DurationEntry>);

impl DurationTable {
    pub(super) const ENTRY_BYTES: usize = size_of::<DurationEntry>() + 1;

    #[inline]
    pub(super) fn add(&mut self, key: FlowKey, bucket: u16, count: u64) {
        let entry = self
            .0
            .entry(
                DurationEntry::hash(key, bucket),
                |entry| entry.key == key && entry.bucket == bucket,
                |entry| DurationEntry::hash(entry.key, entry.bucket),
            )
            .or_insert_with(|| DurationEntry { key, count: 0, bucket })
            .into_mut();
        entry.count = entry.count.saturating_add(count);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DurationEntry> {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_whose_middle_is_near() {
        let mut times: Vec<u64> = (0..5_000).collect();
        times.extend((12..64).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + (1 << bit) / 3]));
        times.push(u64::MAX);
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(bucket_of(pair[0]) <= bucket_of(pair[1]), "{pair:?}");
        }
        for time_us in times {
            let bucket = bucket_of(time_us);
            assert!(bucket <= BUCKET_MAX, "{time_us}");
            assert!(middle_us(bucket).abs_diff(time_us) <= time_us / 32, "{time_us}: {}", middle_us(bucket));
            assert_eq!(bucket_of(middle_us(bucket)), bucket, "{time_us}");
        }
    }

    #[test]
    fn a_quantile_is_the_least_time_with_enough_at_or_below_it() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile_us(0.5), None);
        for time_us in [3, 5, 5, 9] {
            durations.add(bucket_of(time_us), 1);
        }
        let quantiles = [0.0, 0.25, 0.26, 0.75, 0.76, 1.0].map(|level| durations.quantile_us(level).unwrap());
        assert_eq!(quantiles, [3, 3, 5, 5, 9, 9]);
        let mut twice = durations.clone();
        twice.merge(&durations);
        assert_eq!((twice.count(), twice.quantile_us(0.75)), (8, Some(5)));
    }
}

//! How long conversions take: counts by duration that merge, and quantiles with a known error.
//!
//! In:       durations in microseconds, 0 or more.
//! Out:      exact count, sum, least and greatest; quantiles; counts by class.
//! Promise:  merged parts equal the whole. A quantile is off by at most 1 part in 128 of the duration that has that rank:
//!           below 128 microseconds classes hold one duration, above them each doubling is cut into 64. At most 3,712
//!           classes whatever the number of durations.
//! Not here: units that have not converted (`conversion_curve.rs`).

/// Each doubling is cut into two to the power of this many classes.
const CUT_BITS: u32 = 6;
const CUTS: usize = 1 << CUT_BITS;

/// Durations, counted by class.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DurationCounts {
    /// By doubling, then by cut. Durations of one question lie in a few doublings, so the others have no table.
    counts: Vec<Option<Box<[u64; CUTS]>>>,
    count: u64,
    sum_us: i128,
    least_us: i64,
    greatest_us: i64,
}

impl DurationCounts {
    /// * `duration_us`: below 0 is taken as 0.
    pub fn push(&mut self, duration_us: i64) {
        let duration_us = duration_us.max(0);
        let class = usize::from(class(duration_us));
        self.doubling(class / CUTS)[class % CUTS] += 1;
        self.least_us = if self.count == 0 { duration_us } else { self.least_us.min(duration_us) };
        self.greatest_us = self.greatest_us.max(duration_us);
        self.count += 1;
        self.sum_us += i128::from(duration_us);
    }

    fn doubling(&mut self, index: usize) -> &mut [u64; CUTS] {
        if self.counts.len() <= index {
            self.counts.resize(index + 1, None);
        }
        self.counts[index].get_or_insert_with(|| Box::new([0; CUTS]))
    }

    /// The classes that hold durations, ascending, and how many each holds.
    fn counted(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        let doublings = self.counts.iter().enumerate().filter_map(|(index, cuts)| Some((index, cuts.as_deref()?)));
        let classes = doublings.flat_map(|(index, cuts)| (index * CUTS..).zip(cuts));
        // There are 3,712 classes.
        classes.filter(|(_, count)| **count != 0).map(|(class, count)| (class as u16, *count))
    }

    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        for (index, cuts) in other.counts.iter().enumerate() {
            let Some(cuts) = cuts else { continue };
            self.doubling(index).iter_mut().zip(&**cuts).for_each(|(count, more)| *count += more);
        }
        self.least_us = if self.count == 0 { other.least_us } else { self.least_us.min(other.least_us) };
        self.greatest_us = self.greatest_us.max(other.greatest_us);
        self.count += other.count;
        self.sum_us += other.sum_us;
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    /// The exact mean in microseconds; `None` for no durations.
    pub fn mean_us(&self) -> Option<f64> {
        (self.count != 0).then(|| self.sum_us as f64 / self.count as f64)
    }

    /// Exact; `None` for no durations.
    pub fn least_us(&self) -> Option<i64> {
        (self.count != 0).then_some(self.least_us)
    }

    /// Exact; `None` for no durations.
    pub fn greatest_us(&self) -> Option<i64> {
        (self.count != 0).then_some(self.greatest_us)
    }

    /// The duration of rank `ceil(level * count)` among the sorted ones, off by at most 1/128 of it.
    ///
    /// * `level`: 0 to 1; 0.5 is the median. Outside it is taken as the nearer end.
    /// * Returns `None` for no durations.
    pub fn quantile_us(&self, level: f64) -> Option<i64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((level.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (class, count) in self.counted() {
            seen += count;
            if rank <= seen {
                let (low_us, high_us) = bounds(class);
                return Some((low_us + (high_us - low_us) / 2).clamp(self.least_us, self.greatest_us));
            }
        }
        Some(self.greatest_us)
    }

    /// The classes that hold durations, ascending: the least and the greatest duration of each, both inclusive, and how
    /// many it holds.
    pub fn classes(&self) -> impl Iterator<Item = (i64, i64, u64)> + '_ {
        self.counted().map(|(class, count)| {
            let (low_us, high_us) = bounds(class);
            (low_us, high_us, count)
        })
    }

    /// The least duration of each class that holds any, and how many it holds.
    pub(super) fn steps(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        self.classes().map(|(low_us, _, count)| (low_us, count))
    }
}

fn class(duration_us: i64) -> u16 {
    let value = duration_us.unsigned_abs();
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(CUT_BITS + 1);
    let class = (u64::from(shift) << CUT_BITS) + (value >> shift);
    u16::try_from(class).expect("a duration below 2^63 is in one of 3,712 classes")
}

fn bounds(class: u16) -> (i64, i64) {
    let (class, cut) = (i64::from(class), 1_i64 << CUT_BITS);
    let shift = (class / cut - 1).max(0);
    let low_us = (class - shift * cut) << shift;
    (low_us, low_us + ((1_i64 << shift) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_all_durations_without_gap_or_overlap() {
        let last = class(i64::MAX);
        assert!(last < 3_712);
        assert_eq!(bounds(0).0, 0);
        for index in 0..last {
            assert_eq!(bounds(index).1 + 1, bounds(index + 1).0);
        }
        assert_eq!(bounds(last).1, i64::MAX);
        for duration_us in [0, 1, 127, 128, 129, 255, 256, 1_000_003, 86_400_000_000, i64::MAX] {
            let (low_us, high_us) = bounds(class(duration_us));
            assert!((low_us..=high_us).contains(&duration_us));
            assert!((high_us - low_us) as f64 <= low_us as f64 / 64.0);
        }
    }

    #[test]
    fn quantiles_are_off_by_one_part_in_128_at_most() {
        let mut durations: Vec<i64> = (1..=5_000_i64).map(|index| index * index * 37).collect();
        let mut counts = DurationCounts::default();
        for duration_us in durations.iter().rev() {
            counts.push(*duration_us);
        }
        durations.sort_unstable();
        for level in [0.0, 0.01, 0.5, 0.9, 0.999, 1.0] {
            let rank = ((level * 5_000.0_f64).ceil() as usize).max(1);
            let exact = durations[rank - 1] as f64;
            let ours = counts.quantile_us(level).unwrap() as f64;
            assert!((ours - exact).abs() <= exact / 128.0, "{level}: {ours} {exact}");
        }
        assert_eq!(counts.mean_us(), Some(durations.iter().sum::<i64>() as f64 / 5_000.0));
        assert_eq!(DurationCounts::default().quantile_us(0.5), None);
    }
}

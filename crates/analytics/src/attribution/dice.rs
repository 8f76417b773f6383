//! Dice: numbers that look random and are the same in every run.
//!
//! In:       a seed, which is an argument of whoever throws.
//! Out:      whole numbers, fractions, counts, orders.
//! Promise:  the same seed gives the same throws on every machine and in every version: bootstrap intervals and sampled
//!           Shapley values can be repeated.
//! Not here: secrets; the seed tells all.

/// SplitMix64 (Steele, Lea and Flood 2014): one addition and a mix, no state but a counter.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// How often a thing happens that is expected to happen `expected` times.
    ///
    /// Counts down a product of fractions (Knuth), in pieces, because `exp(-expected)` is 0 from 745 on; sums of Poisson
    /// counts are Poisson counts.
    pub(super) fn poisson(&mut self, expected: u64) -> u64 {
        const PIECE: u64 = 32;
        let mut count = 0;
        let mut left = expected;
        while 0 < left {
            let piece = left.min(PIECE);
            left -= piece;
            let threshold = (-(piece as f64)).exp();
            let mut product = self.fraction();
            while threshold < product {
                count += 1;
                product *= self.fraction();
            }
        }
        count
    }

    /// Each order as likely as any other (Fisher and Yates), up to the bias of 64 bits.
    pub(super) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            let chosen = (u128::from(self.next()) * (last as u128 + 1)) >> 64;
            things.swap(last, usize::try_from(chosen).expect("at most `last`"));
        }
    }
}

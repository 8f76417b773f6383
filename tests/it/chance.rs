//! Random numbers that can be had again: the seed is printed, and taken from `TRIBUTARY_TEST_SEED` if that is set.

/// SplitMix64 (Steele, Lea and Flood 2014): one addition and a mix a number, good enough to choose moments by.
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    /// A generator for the test `name`, which is told on stderr so that a failure can be repeated.
    pub(crate) fn of(name: &str) -> Self {
        let seed = match std::env::var("TRIBUTARY_TEST_SEED") {
            Ok(text) => text.parse().expect("TRIBUTARY_TEST_SEED is a whole number"),
            Err(_) => 20_080_401,
        };
        eprintln!("{name}: TRIBUTARY_TEST_SEED={seed}");
        Self { state: seed }
    }

    /// A generator of its own for one of several tasks.
    pub(crate) fn split(&mut self) -> Self {
        Self { state: self.next() }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

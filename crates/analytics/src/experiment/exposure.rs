//! Exposure: which arm a unit is in, and from when on it counts.
//!
//! In:       what a unit was shown, in any order, in any parts.
//! Out:      the arm of the first exposure, its time, and whether another arm was shown as well.
//! Promise:  the first exposure wins, by time and then by place in the log; merging parts in any order gives the same.
//! Not here: what to do with units that saw two arms; they are to be left out of both and reported.

/// What is known of one unit's exposures to one experiment so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exposures<Arm> {
    first: Option<FirstExposure<Arm>>,
    is_crossover: bool,
}

/// The exposure that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstExposure<Arm> {
    pub time_us: i64,
    /// Place in the log, for exposures of the same microsecond.
    pub sequence: u64,
    pub arm: Arm,
}

impl<Arm: Clone + Ord> Exposures<Arm> {
    pub fn push(&mut self, time_us: i64, sequence: u64, arm: Arm) {
        self.take(FirstExposure { time_us, sequence, arm });
    }

    pub fn merge(&mut self, other: Self) {
        self.is_crossover |= other.is_crossover;
        if let Some(first) = other.first {
            self.take(first);
        }
    }

    /// `None` if there was none.
    pub fn first(&self) -> Option<&FirstExposure<Arm>> {
        self.first.as_ref()
    }

    /// Whether more than one arm was shown.
    pub fn is_crossover(&self) -> bool {
        self.is_crossover
    }

    fn take(&mut self, exposure: FirstExposure<Arm>) {
        let Some(first) = &mut self.first else {
            self.first = Some(exposure);
            return;
        };
        self.is_crossover |= first.arm != exposure.arm;
        // The arm last, so that even a fault of the log (two records at one place) has one answer in any order.
        let key = |exposure: &FirstExposure<Arm>| (exposure.time_us, exposure.sequence, exposure.arm.clone());
        if key(&exposure) < key(first) {
            *first = exposure;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wins_in_whatever_parts_and_order() {
        let seen = [(30, 1, "b"), (10, 7, "a"), (10, 9, "b"), (20, 2, "a")];
        for cut in 0..=seen.len() {
            for reversed in [false, true] {
                let mut parts = [Exposures::default(), Exposures::default()];
                for (index, (time_us, sequence, arm)) in seen.into_iter().enumerate() {
                    parts[usize::from(index < cut)].push(time_us, sequence, arm);
                }
                let [mut one, mut other] = parts;
                if reversed {
                    std::mem::swap(&mut one, &mut other);
                }
                one.merge(other);
                assert_eq!(one.first().map(|first| (first.time_us, first.arm)), Some((10, "a")));
                assert!(one.is_crossover());
            }
        }
    }

    #[test]
    fn the_same_arm_again_is_no_crossover() {
        let mut exposures = Exposures::default();
        exposures.push(2, 0, "a");
        exposures.push(1, 0, "a");
        assert!(!exposures.is_crossover());
        assert_eq!(exposures.first().map(|first| first.time_us), Some(1));
    }
}

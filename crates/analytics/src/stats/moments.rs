//! Moments: what must be kept of many values to know their mean and variance.
//!
//! In:       values one by one, other moments, mean and variance, or sums from an engine that can only add.
//! Out:      count, mean, variance.
//! Promise:  merging in any grouping gives the same answer up to rounding, and no digits are lost when the mean is
//!           large beside the spread (which plain sums of squares do).
//! Not here: tests (`experiment`).

/// Count, mean and centred sum of squares of one value per unit.
///
/// Source: Welford (1962) for one value, Chan, Golub and LeVeque (1979) for two groups.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    unit_count: u64,
    mean: f64,
    /// Sum of squared distances to the mean; 0 or more.
    centred_squares: f64,
}

impl Moments {
    pub fn push(&mut self, value: f64) {
        self.unit_count += 1;
        let from_old_mean = value - self.mean;
        self.mean += from_old_mean / self.unit_count as f64;
        self.centred_squares += from_old_mean * (value - self.mean);
    }

    /// The moments of both groups of values together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        if self.unit_count == 0 {
            return other;
        }
        if other.unit_count == 0 {
            return self;
        }
        let unit_count = self.unit_count + other.unit_count;
        let other_ratio = other.unit_count as f64 / unit_count as f64;
        let between = other.mean - self.mean;
        Self {
            unit_count,
            mean: self.mean + between * other_ratio,
            centred_squares: self.centred_squares
                + other.centred_squares
                + between * between * self.unit_count as f64 * other_ratio,
        }
    }

    /// From what an SQL engine has gathered by merging, without cancelling.
    ///
    /// * `variance`: the sample variance, dividing by one less than the count; not looked at below two units.
    pub fn from_mean_and_variance(unit_count: u64, mean: f64, variance: f64) -> Self {
        if unit_count == 0 {
            return Self::default();
        }
        let degrees_of_freedom = (unit_count - 1) as f64;
        let centred_squares = if degrees_of_freedom == 0.0 { 0.0 } else { variance * degrees_of_freedom };
        Self { unit_count, mean, centred_squares }
    }

    /// From plain sums, as an SQL engine has them. Prefer `push` and `merge`: with a mean a million times
    /// the spread, sums of squares keep about four digits of the variance.
    ///
    /// * `sum_squares`: sum of each value squared; below `sum² / unit_count` only by rounding, and then taken as equal.
    pub fn from_sums(unit_count: u64, sum: f64, sum_squares: f64) -> Self {
        if unit_count == 0 {
            return Self::default();
        }
        let mean = sum / unit_count as f64;
        Self { unit_count, mean, centred_squares: (sum_squares - sum * mean).max(0.0) }
    }

    pub fn unit_count(&self) -> u64 {
        self.unit_count
    }

    /// `None` for no units.
    pub fn mean(&self) -> Option<f64> {
        (0 < self.unit_count).then_some(self.mean)
    }

    /// The sample variance, dividing by one less than the count; `None` below two units.
    pub fn variance(&self) -> Option<f64> {
        (2 <= self.unit_count).then(|| self.centred_squares / (self.unit_count - 1) as f64)
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.push(value);
        }
        moments
    }
}

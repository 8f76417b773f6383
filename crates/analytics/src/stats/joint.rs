//! Joint moments: several values of each unit, with how they vary together.
//!
//! In:       `K` values per unit (such as numerator and denominator, or now and before), other joint moments.
//! Out:      count, means, covariances.
//! Promise:  as `Moments`: merging in any grouping gives the same answer up to rounding, and no digits are lost
//!           when a mean is large beside its spread.
//! Not here: what the columns mean (`experiment`).

use super::moments::Moments;

/// Count, means and centred sums of products of `K` values per unit.
///
/// Source: Welford (1962) and Chan, Golub and LeVeque (1979), for products instead of squares.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointMoments<const K: usize> {
    unit_count: u64,
    means: [f64; K],
    /// Symmetric: at `[i][j]` the sum of (value i less its mean) times (value j less its mean).
    centred_products: [[f64; K]; K],
}

impl<const K: usize> Default for JointMoments<K> {
    fn default() -> Self {
        Self { unit_count: 0, means: [0.0; K], centred_products: [[0.0; K]; K] }
    }
}

impl<const K: usize> JointMoments<K> {
    pub fn push(&mut self, values: [f64; K]) {
        self.unit_count += 1;
        let count = self.unit_count as f64;
        let from_means: [f64; K] = std::array::from_fn(|i| values[i] - self.means[i]);
        let weight = (count - 1.0) / count;
        for i in 0..K {
            self.means[i] += from_means[i] / count;
            for j in 0..K {
                self.centred_products[i][j] += from_means[i] * from_means[j] * weight;
            }
        }
    }

    /// The joint moments of both groups of units together.
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
        let between: [f64; K] = std::array::from_fn(|i| other.means[i] - self.means[i]);
        let weight = self.unit_count as f64 * other_ratio;
        Self {
            unit_count,
            means: std::array::from_fn(|i| self.means[i] + between[i] * other_ratio),
            centred_products: std::array::from_fn(|i| {
                std::array::from_fn(|j| {
                    self.centred_products[i][j] + other.centred_products[i][j] + between[i] * between[j] * weight
                })
            }),
        }
    }

    /// From what an SQL engine has gathered.
    ///
    /// * `covariances`: symmetric sample covariances, dividing by one less than the count; not looked at below two units.
    pub fn from_means_and_covariances(unit_count: u64, means: [f64; K], covariances: [[f64; K]; K]) -> Self {
        if unit_count == 0 {
            return Self::default();
        }
        let degrees_of_freedom = (unit_count - 1) as f64;
        let scaled = |covariance: f64| if degrees_of_freedom == 0.0 { 0.0 } else { covariance * degrees_of_freedom };
        Self { unit_count, means, centred_products: covariances.map(|row| row.map(scaled)) }
    }

    pub fn unit_count(&self) -> u64 {
        self.unit_count
    }

    /// `None` for no units.
    pub fn means(&self) -> Option<[f64; K]> {
        (0 < self.unit_count).then_some(self.means)
    }

    /// Sample covariances, dividing by one less than the count; `None` below two units.
    pub fn covariances(&self) -> Option<[[f64; K]; K]> {
        let degrees_of_freedom = self.unit_count.checked_sub(1).filter(|degrees| 0 < *degrees)? as f64;
        Some(self.centred_products.map(|row| row.map(|product| product / degrees_of_freedom)))
    }

    /// Some of the values alone, in another order if wished.
    ///
    /// * `of`: each below `K`.
    pub fn columns<const M: usize>(&self, of: [usize; M]) -> JointMoments<M> {
        JointMoments {
            unit_count: self.unit_count,
            means: of.map(|i| self.means[i]),
            centred_products: of.map(|i| of.map(|j| self.centred_products[i][j])),
        }
    }

    /// The moments of one of the values alone.
    ///
    /// * `column`: below `K`.
    pub fn moments(&self, column: usize) -> Moments {
        let variance = self.covariances().map_or(0.0, |covariances| covariances[column][column]);
        Moments::from_mean_and_variance(self.unit_count, self.means[column], variance)
    }
}

impl<const K: usize> FromIterator<[f64; K]> for JointMoments<K> {
    fn from_iter<I: IntoIterator<Item = [f64; K]>>(rows: I) -> Self {
        let mut moments = Self::default();
        for row in rows {
            moments.push(row);
        }
        moments
    }
}

//! Sums of a unit's amounts and of their products, as whole numbers.
//!
//! In:       four amounts a unit, in millionths: of the metric, of a ratio's denominator, and of both before the exposure.
//! Out:      the joint moments.
//! Promise:  exact, so merging in any order gives the same bits, and nothing cancels where the mean is large beside the
//!           spread.
//! Not here: what is made of the moments: `analytics::experiment`.

use datafusion::arrow::datatypes::i256;
use tributary_analytics::stats::JointMoments;

/// Amounts of a unit: the metric, a ratio's denominator, the two before the exposure. Millionths.
pub(super) type Amounts = [i128; WIDTH];
pub(super) const WIDTH: usize = 4;

/// A unit that has more than 6e17 in some column would need half a million events of the largest amount there is; up to it no
/// sum below leaves 256 bits, whatever the number of units.
const AMOUNT_MAX: i128 = 1 << 79;

#[derive(Debug, Clone)]
pub(super) struct Sums {
    unit_count: u64,
    sums: [i128; WIDTH],
    /// At `[i][j]`, `i <= j`: the sum of the products.
    products: [[i256; WIDTH]; WIDTH],
}

impl Default for Sums {
    fn default() -> Self {
        Self { unit_count: 0, sums: [0; WIDTH], products: [[i256::ZERO; WIDTH]; WIDTH] }
    }
}

impl Sums {
    pub(super) fn push(&mut self, amounts: Amounts) {
        self.unit_count += 1;
        let amounts = amounts.map(|amount| amount.clamp(-AMOUNT_MAX, AMOUNT_MAX));
        for i in 0..WIDTH {
            if amounts[i] == 0 {
                continue;
            }
            self.sums[i] += amounts[i];
            for j in i..WIDTH {
                if amounts[j] != 0 {
                    let product = match amounts[i].checked_mul(amounts[j]) {
                        Some(product) => i256::from_i128(product),
                        None => i256::from_i128(amounts[i]).wrapping_mul(i256::from_i128(amounts[j])),
                    };
                    self.products[i][j] = self.products[i][j].wrapping_add(product);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.unit_count += other.unit_count;
        for i in 0..WIDTH {
            self.sums[i] += other.sums[i];
            for j in i..WIDTH {
                self.products[i][j] = self.products[i][j].wrapping_add(other.products[i][j]);
            }
        }
    }

    /// In whole units of the amounts.
    pub(super) fn joint(&self) -> JointMoments<WIDTH> {
        let count = i256::from_i128(i128::from(self.unit_count));
        let units = self.unit_count as f64;
        let pairs = units * (units - 1.0);
        let covariance = |i: usize, j: usize| {
            let (i, j) = (i.min(j), i.max(j));
            let of_means = i256::from_i128(self.sums[i]).wrapping_mul(i256::from_i128(self.sums[j]));
            let centred = self.products[i][j].wrapping_mul(count).wrapping_sub(of_means);
            if self.unit_count < 2 { 0.0 } else { float(centred) / pairs / (MICROS * MICROS) }
        };
        let means =
            std::array::from_fn(|i| if self.unit_count == 0 { 0.0 } else { self.sums[i] as f64 / units / MICROS });
        let covariances = std::array::from_fn(|i| std::array::from_fn(|j| covariance(i, j)));
        JointMoments::from_means_and_covariances(self.unit_count, means, covariances)
    }
}

pub(super) const MICROS: f64 = 1e6;

/// To the nearest float or its neighbour.
fn float(number: i256) -> f64 {
    let (low, high) = number.wrapping_abs().to_parts();
    let size = high as f64 * 2.0_f64.powi(128) + low as f64;
    if number < i256::ZERO { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Amounts that nobody orders: small, negative, huge, all alike.
    fn amounts() -> Vec<Amounts> {
        let mut state = 7_u64;
        (0..200_i128)
            .map(|unit| {
                std::array::from_fn(|column| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let noise = i128::from(state >> 40);
                    [noise, -noise * unit, 1_000_000_000_000_000 + noise, noise % 3 * 1_000_000][column]
                })
            })
            .collect()
    }

    #[test]
    fn they_are_the_moments_of_the_same_numbers() {
        let mut sums = Sums::default();
        amounts().into_iter().for_each(|amounts| sums.push(amounts));
        let ours = sums.joint();
        // Welford's, on floats, from which the large common part is taken out beforehand.
        let shifted = amounts().into_iter().map(|mut amounts| {
            amounts[2] -= 1_000_000_000_000_000;
            amounts.map(|amount| amount as f64 / MICROS)
        });
        let theirs: JointMoments<WIDTH> = shifted.collect();
        let (ours_means, theirs_means) = (ours.means().unwrap(), theirs.means().unwrap());
        for i in 0..WIDTH {
            let shift = if i == 2 { 1e9 } else { 0.0 };
            assert!((ours_means[i] - shift - theirs_means[i]).abs() <= 1e-12 * ours_means[i].abs(), "{i}");
            for j in 0..WIDTH {
                let (ours, theirs) = (ours.covariances().unwrap()[i][j], theirs.covariances().unwrap()[i][j]);
                assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{i} {j}: {ours} {theirs}");
            }
        }
    }

    #[test]
    fn any_cut_and_order_gives_the_same_bits() {
        let whole = amounts().into_iter().fold(Sums::default(), |mut sums, amounts| {
            sums.push(amounts);
            sums
        });
        for cut in [1, 60, 199] {
            let (mut one, mut other) = (Sums::default(), Sums::default());
            for (place, amounts) in amounts().into_iter().rev().enumerate() {
                if place < cut { one.push(amounts) } else { other.push(amounts) }
            }
            other.merge(&one);
            assert_eq!(other.joint(), whole.joint());
        }
    }

    #[test]
    fn the_largest_amounts_still_fit() {
        let mut sums = Sums::default();
        sums.push([AMOUNT_MAX; WIDTH]);
        sums.push([-AMOUNT_MAX; WIDTH]);
        let size = AMOUNT_MAX as f64 / MICROS;
        assert_eq!(sums.joint().means().unwrap(), [0.0; WIDTH]);
        let covariance = sums.joint().covariances().unwrap()[0][1];
        assert!((covariance / size / size - 2.0).abs() < 1e-12, "{covariance}");
        assert_eq!(Sums::default().joint().unit_count(), 0);
    }
}

//! Shares: a value cut into whole micros in given proportions.
//!
//! In:       a value of either sign, one weight per part.
//! Out:      one share per part.
//! Promise:  shares sum to the value exactly, and each is less than one micro from its proportion. Weights are taken to 53
//!           bits of the largest (for a sum of over 74 bits to fewer), as many as an `f64` has. The same on every machine:
//!           only whole numbers are divided. A refund's shares are the sale's, negated.
//! Not here: where the weights come from.

/// Shares a value in proportion to weights, by the method of the largest remainder.
///
/// * `weights`: 0 or more; one that is negative or not finite counts as 0. If all are 0, the parts are equal.
/// * Returns one share per weight, with the sign of the value or 0; empty for no weights.
///
/// Each gets its proportion rounded toward zero. What is left goes, one micro each, to those that lost most by rounding;
/// of those that lost the same, to the later ones, which are the nearest to the conversion.
///
/// Source: Hamilton's method of apportionment, `docs/methods.md#shares`.
pub fn split_by_weights(value_micros: i64, weights: &[f64]) -> Vec<i64> {
    let mut shares = Shares::default();
    shares.split(value_micros, weights);
    shares.micros
}

/// Shares values one after the other, in room that is used again.
#[derive(Debug, Default)]
pub struct Shares {
    micros: Vec<i64>,
    parts: Vec<u64>,
    by_loss: Vec<(u128, usize)>,
}

impl Shares {
    /// As `split_by_weights`. It is `split_total_by_weights` with numbers of one word: that one is the slow, obvious version.
    pub fn split(&mut self, value_micros: i64, weights: &[f64]) -> &[i64] {
        self.micros.clear();
        let amount = u128::from(value_micros.unsigned_abs());
        let weight_max = weights.iter().copied().map(usable).fold(0.0, f64::max);
        if weight_max == 0.0 {
            return self.split_equally(value_micros, weights.len());
        }
        let largest_part = (1_u64 << WEIGHT_BITS) as f64;
        self.parts.clear();
        self.parts.extend(weights.iter().map(|weight| (usable(*weight) / weight_max * largest_part).round() as u64));
        let parts_sum: u128 = self.parts.iter().map(|part| u128::from(*part)).sum();
        let sign = value_micros.signum();
        let mut left_over = amount;
        self.by_loss.clear();
        for (i, part) in self.parts.iter().enumerate() {
            // Rules that give all to one are many: nothing is divided for the others.
            let product = amount * u128::from(*part);
            let share = if *part == 0 { 0 } else { product / parts_sum };
            left_over -= share;
            self.by_loss.push((product - share * parts_sum, i));
            self.micros.push(with_sign(share, sign));
        }
        let left_over = usize::try_from(left_over).expect("fewer micros are left than there are parts");
        if 0 < left_over {
            self.by_loss.select_nth_unstable_by(left_over - 1, |a, b| b.cmp(a));
            for (_, i) in &self.by_loss[..left_over] {
                self.micros[*i] += sign;
            }
        }
        &self.micros
    }

    /// The same for equal weights.
    pub fn split_equally(&mut self, value_micros: i64, part_count: usize) -> &[i64] {
        self.micros.clear();
        let Ok(count) = i64::try_from(part_count) else { return &[] };
        if 0 < count {
            let left_over = (value_micros % count).unsigned_abs() as usize;
            self.micros.resize(part_count, value_micros / count);
            for share in &mut self.micros[part_count - left_over..] {
                *share += value_micros.signum();
            }
        }
        &self.micros
    }
}

/// `share` is no larger than a value.
fn with_sign(share: u128, sign: i64) -> i64 {
    let share = share as u64;
    if sign < 0 { 0_i64.wrapping_sub_unsigned(share) } else { share.cast_signed() }
}

/// One that is no weight counts as 0.
fn usable(weight: f64) -> f64 {
    if weight.is_finite() { weight.max(0.0) } else { 0.0 }
}

/// As many as an `f64` has.
const WEIGHT_BITS: u32 = 53;

/// The same for a sum of many values, which may be larger than one value can be.
pub fn split_total_by_weights(value_micros: i128, weights: &[f64]) -> Vec<i128> {
    if weights.is_empty() {
        return Vec::new();
    }
    let amount = value_micros.unsigned_abs();
    let parts = whole_parts(amount, weights);
    let parts_sum: u128 = parts.iter().sum();
    // Rules that give all to one are many: nothing is divided for the others.
    let share = |part: &u128| if *part == 0 { 0 } else { amount * part / parts_sum };
    let mut shares: Vec<u128> = parts.iter().map(share).collect();
    let left_over = amount - shares.iter().sum::<u128>();
    // Fewer micros are left than parts lost something: what was lost sums to `left_over` times `parts_sum`.
    let left_over = usize::try_from(left_over).expect("fewer micros are left than there are parts");
    if 0 < left_over {
        let lost = |i: usize| amount * parts[i] - shares[i] * parts_sum;
        let mut by_loss: Vec<(u128, usize)> = (0..parts.len()).map(|i| (lost(i), i)).collect();
        by_loss.select_nth_unstable_by(left_over - 1, |a, b| b.cmp(a));
        for &(_, i) in &by_loss[..left_over] {
            shares[i] += 1;
        }
    }
    let with_sign = |share: u128| {
        let share = i128::try_from(share).expect("checked by `whole_parts`: the value has fewer than 127 bits");
        if value_micros < 0 { -share } else { share }
    };
    shares.into_iter().map(with_sign).collect()
}

/// The weights as whole numbers, the largest having as many bits as fit beside the amount in 127, at most 53.
fn whole_parts(amount: u128, weights: &[f64]) -> Vec<u128> {
    let amount_bits = u128::BITS - amount.leading_zeros();
    assert!(amount_bits < 120, "a sum of money has fewer than 36 digits");
    let largest_part = (1_u64 << WEIGHT_BITS.min(127 - amount_bits)) as f64;
    let weight_max = weights.iter().copied().map(usable).fold(0.0, f64::max);
    if weight_max == 0.0 {
        return vec![1; weights.len()];
    }
    weights.iter().map(|&weight| (usable(weight) / weight_max * largest_part).round() as u128).collect()
}

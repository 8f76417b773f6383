//! Tails: how much probability lies beyond a value, also as a logarithm, and back.
//!
//! In:       a test statistic, degrees of freedom.
//! Out:      the upper tail and its natural logarithm.
//! Promise:  computed as a tail, never as 1 minus a body, so small ones keep all their digits; where the tail is
//!           below what an `f64` holds (about 1e-308) the logarithm is still right.
//! Not here: two sides or one (the callers double).
//!
//! Why not `statrs` 0.19 for all of it: its `erfc` is right to ten digits only (at z = 1.96), and its Student's t
//! stops a continued fraction after 140 terms and subtracts log-gammas of like size, which costs digits from some
//! 100 000 degrees of freedom on, an ordinary experiment here.

use std::f64::consts::{LN_2, LN_10, PI};

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};
use statrs::function::gamma::ln_gamma;

/// How often chance alone would show as much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PValue {
    /// 0 to 1; below about 1e-308 it is 0 and only `log10_p` tells.
    pub p_value: f64,
    /// Always finite for a finite statistic.
    pub log10_p: f64,
}

impl PValue {
    pub(crate) const CERTAIN: Self = Self { p_value: 1.0, log10_p: 0.0 };

    pub(crate) fn ln(self) -> f64 {
        self.log10_p * LN_10
    }

    /// The smaller of two: what remains of all looks so far at a test that may be looked at continuously.
    #[must_use]
    pub fn smaller(self, other: Self) -> Self {
        if other.log10_p < self.log10_p { other } else { self }
    }

    pub(crate) fn from_ln(ln_p: f64) -> Self {
        // Rounding may lift the doubled half of a distribution a hair above 1.
        let ln_p = ln_p.min(0.0);
        Self { p_value: ln_p.exp(), log10_p: ln_p / LN_10 }
    }

    /// Both tails of a symmetric distribution, given one.
    pub(crate) fn two_sided(ln_one_tail: f64) -> Self {
        Self::from_ln(LN_2 + ln_one_tail)
    }
}

/// `ln P(Z > z)` for a standard normal; `z` is 0 or more.
pub(crate) fn ln_normal_tail(z: f64) -> f64 {
    let ln_density = -z * z / 2.0 - (2.0 * PI).ln() / 2.0;
    if z < 3.0 {
        // Half less the body, as the series z + z^3/3 + z^5/(3·5) + .. (Abramowitz and Stegun 26.2.11).
        // At 3 the subtraction costs three digits of sixteen.
        let mut term = z;
        let mut sum = z;
        for odd in (3..200).step_by(2) {
            term *= z * z / f64::from(odd);
            sum += term;
        }
        return (0.5 - ln_density.exp() * sum).ln();
    }
    // Mills' ratio as a continued fraction (26.2.14), from the far end; at 3 it needs some 100 terms.
    let mills = (1..=200).rev().fold(z, |below, k| z + f64::from(k) / below);
    ln_density - mills.ln()
}

/// `ln P(Z > z)` for any `z`.
pub(crate) fn ln_normal_above(z: f64) -> f64 {
    if 0.0 <= z { ln_normal_tail(z) } else { ln_complement(ln_normal_tail(-z)) }
}

/// `ln P(T > t)` for any `t`.
pub(crate) fn ln_student_above(t: f64, degrees_of_freedom: f64) -> f64 {
    if 0.0 <= t {
        ln_student_tail(t, degrees_of_freedom)
    } else {
        ln_complement(ln_student_tail(-t, degrees_of_freedom))
    }
}

/// `ln(1 - exp(ln_part))`, for parts up to one half.
fn ln_complement(ln_part: f64) -> f64 {
    (-ln_part.exp()).ln_1p()
}

/// `E[max(Z - z, 0)]` for a standard normal and any `z`: by how much it is above `z` on average.
///
/// As printed, `phi(z) - z P(Z > z)` subtracts equal numbers when `z` is large. `P(Z > z) / phi(z)` is Mills' ratio
/// `1 / (z + r)` with `r = 1 / (z + 2 / (z + 3 / ..))`, so the difference is `phi(z) r / (z + r)`, all of one sign.
pub(crate) fn normal_excess(z: f64) -> f64 {
    let ln_density = -z * z / 2.0 - (2.0 * PI).ln() / 2.0;
    if z < 3.0 {
        return ln_density.exp() - z * ln_normal_above(z).exp();
    }
    let rest = (2..=200).rev().fold(z, |below, k| z + f64::from(k) / below).recip();
    ln_density.exp() * rest / (z + rest)
}

/// `ln P(T > t)` for Student's t; `t` is 0 or more.
///
/// The tail is half the regularised incomplete beta function at `x = df / (df + t²)`.
pub(crate) fn ln_student_tail(t: f64, degrees_of_freedom: f64) -> f64 {
    if t == 0.0 {
        return -LN_2;
    }
    // x and y = 1 - x each come from the ratio itself: subtracting would lose the small one.
    let a = degrees_of_freedom / 2.0;
    let ratio = t / degrees_of_freedom.sqrt();
    let (x, y, ln_x) = if ratio <= 1.0 {
        let square = ratio * ratio;
        (1.0 / (1.0 + square), square / (1.0 + square), -square.ln_1p())
    } else {
        let square = ratio.recip() * ratio.recip();
        (square / (1.0 + square), 1.0 / (1.0 + square), -2.0 * ratio.ln() - square.ln_1p())
    };
    let ln_front = a * ln_x + 0.5 * y.ln() - ln_beta_with_half(a);
    // Each fraction converges on its own side of the distribution's middle, which is near t = 1.
    if 0.5 * x < a * y {
        ln_front - beta_fraction(a, 0.5, x, y).ln() - LN_2
    } else {
        let body = ln_front.exp() / beta_fraction(0.5, a, y, x);
        (0.5 * (1.0 - body)).ln()
    }
}

/// `ln P(X > x)` for chi-square; `x` is 0 or more.
pub(crate) fn ln_chi_square_tail(x: f64, degrees_of_freedom: f64) -> f64 {
    let tail = ChiSquared::new(degrees_of_freedom).expect("degrees of freedom are above 0").sf(x);
    if 1e-280 < tail {
        return tail.ln();
    }
    // The upper incomplete gamma function as a continued fraction (Abramowitz and Stegun 6.5.31),
    // evaluated by modified Lentz; it converges fast because here x is far beyond the mean.
    let a = degrees_of_freedom / 2.0;
    let x = x / 2.0;
    let mut b = x + 1.0 - a;
    let mut c = f64::MAX;
    let mut d = b.recip();
    let mut fraction = d;
    for i in 1..1_000 {
        let i = f64::from(i);
        let numerator = -i * (i - a);
        b += 2.0;
        d = (numerator * d + b).recip();
        c = b + numerator / c;
        fraction *= d * c;
        if (d * c - 1.0).abs() < f64::EPSILON {
            break;
        }
    }
    a * x.ln() - x - ln_gamma(a) + fraction.ln()
}

/// The `z` with `P(Z > z) = tail`; `tail` is above 0 and below 1.
pub(crate) fn normal_quantile(tail: f64) -> f64 {
    -Normal::standard().inverse_cdf(tail)
}

/// The `z` of 0 or more with `ln P(Z > z) = ln_tail`, also where the tail itself is no longer an `f64`;
/// `ln_tail` is at most `ln 1/2`.
pub(crate) fn normal_quantile_of_ln(ln_tail: f64) -> f64 {
    if -600.0 < ln_tail {
        return normal_quantile(ln_tail.exp());
    }
    // The tail is below exp(-z²/2), so z is below this; and beyond 600 it is less than 1 below.
    let mut high = (-2.0 * ln_tail).sqrt();
    let mut low = high - 1.0;
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || high <= middle {
            return middle;
        }
        if ln_tail < ln_normal_tail(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// The `t` with `P(T > t) = tail`; `tail` is above 0 and below 1.
pub(crate) fn student_quantile_signed(tail: f64, degrees_of_freedom: f64) -> f64 {
    if tail <= 0.5 {
        student_quantile(tail, degrees_of_freedom)
    } else {
        -student_quantile(1.0 - tail, degrees_of_freedom)
    }
}

/// The `t` with `P(T > t) = tail`; `tail` is above 0 and at most one half.
pub(crate) fn student_quantile(tail: f64, degrees_of_freedom: f64) -> f64 {
    if 1e6 < degrees_of_freedom {
        // Cornish and Fisher's expansion; what is left out is below z^9 / df^4.
        let z = normal_quantile(tail);
        let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
        let df = degrees_of_freedom;
        return z
            + (z3 + z) / (4.0 * df)
            + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * df * df)
            + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * df.powi(3));
    }
    // Bisection down to neighbouring floats: some sixty tails, and nothing that can diverge.
    let ln_tail = tail.ln();
    let mut low = 0.0;
    let mut high = 1.0;
    while ln_tail < ln_student_tail(high, degrees_of_freedom) {
        low = high;
        high *= 2.0;
    }
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || high <= middle {
            return middle;
        }
        if ln_tail < ln_student_tail(middle, degrees_of_freedom) {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// `ln B(a, 1/2)`, the difference of log-gammas taken by its own series where they would cancel.
fn ln_beta_with_half(a: f64) -> f64 {
    let ln_gamma_step = if a < 20.0 {
        ln_gamma(a + 0.5) - ln_gamma(a)
    } else {
        // ln Γ(a + 1/2) - ln Γ(a) for large a; the next term is below 1e-14 at 20.
        let u = a.recip();
        0.5 * a.ln() - u / 8.0 + u.powi(3) / 192.0 - u.powi(5) / 640.0 + 17.0 * u.powi(7) / 14_336.0
    };
    0.5 * PI.ln() - ln_gamma_step
}

/// The continued fraction of the incomplete beta function, for `x` up to `a / (a + b)` and `y = 1 - x`:
/// `I_x(a, b) = x^a y^b / B(a, b) / fraction`. Evaluated by modified Lentz.
///
/// Source: Didonato and Morris (1992), ACM TOMS 18, algorithm 708 (`bfrac`). The better known fraction (Press et
/// al., 6.4) subtracts numbers near 1 when `a` is large: at a million degrees of freedom it kept eleven digits.
fn beta_fraction(a: f64, b: f64, x: f64, y: f64) -> f64 {
    const TERM_COUNT_MAX: u32 = 100_000;
    let partial_denominator = |n: f64| {
        n + n * (b - n) * x / (a + 2.0 * n - 1.0)
            + (a + n) / (a + 2.0 * n + 1.0) * (a * y - b * x + 1.0 + n * (1.0 + y))
    };
    let mut fraction = partial_denominator(0.0);
    let mut c = fraction;
    let mut d = 0.0;
    for n in 1..TERM_COUNT_MAX {
        let n = f64::from(n);
        let square_root = x / (a + 2.0 * n - 1.0);
        let numerator = (a + n - 1.0) * (a + b + n - 1.0) * n * (b - n) * square_root * square_root;
        let denominator = partial_denominator(n);
        d = (denominator + numerator * d).recip();
        c = denominator + numerator / c;
        let change = c * d;
        fraction *= change;
        if (change - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    fraction
}

//! Money: a decimal amount, never a float.
//!
//! In:      decimal text ("12.50"; with an exponent, "1e3", as JSON writes large and small numbers).
//! Out:     whole millionths, which fit `DECIMAL(18, 6)` and an `i64`.
//! Promise: exact to six digits after the point; further ones are rounded; no float on the way.

/// Digits in all and after the point, as the lake stores them.
pub const PRECISION: u8 = 18;
pub const SCALE: i8 = 6;

/// The code of a currency as the lake writes it, three capital letters; `None` if `text` is no code.
pub fn currency(text: &str) -> Option<String> {
    let is_code = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_code.then(|| text.to_ascii_uppercase())
}

/// An amount in millionths of its currency's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money {
    pub micros: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an amount: give decimal digits such as 12.50, at most 12 before and 6 after the point")]
pub struct MoneyError {
    text: String,
}

impl Money {
    pub const MICROS_MAX: i64 = 999_999_999_999_999_999;

    /// Reads plain decimal text, also with an exponent as JSON writes large or small numbers.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        parse_micros(text.trim())
            .map(|micros| Self { micros })
            .ok_or_else(|| MoneyError { text: text.chars().take(40).collect() })
    }
}

fn parse_micros(text: &str) -> Option<i64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if !byte.is_ascii_digit() || value > i128::MAX / 100 {
            return None;
        }
        value = value * 10 + i128::from(byte - b'0');
    }
    // The digits stand for value * 10^(exponent - fraction length); we want millionths.
    let shift = i32::from(SCALE).checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let micros = if value == 0 {
        0
    } else if shift >= 0 {
        value.checked_mul(10i128.checked_pow(u32::try_from(shift).ok()?)?)?
    } else {
        // More than six digits after the point: exact halves and all, a float's noise (0.1 + 0.2) is
        // rounded to the nearest millionth; it is below anything money can be paid in.
        let divisor = 10i128.checked_pow(shift.unsigned_abs())?;
        (value + divisor / 2) / divisor
    };
    let micros = i64::try_from(if negative { -micros } else { micros }).ok()?;
    (-Money::MICROS_MAX..=Money::MICROS_MAX).contains(&micros).then_some(micros)
}

impl std::fmt::Display for Money {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.micros < 0 { "-" } else { "" };
        let micros = self.micros.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn decimal_text_becomes_millionths() {
        for (text, micros) in [
            ("12.50", 12_500_000),
            ("-0.000001", -1),
            ("7", 7_000_000),
            ("1e3", 1_000_000_000),
            ("2.5E-3", 2_500),
            ("0.30000000000000004", 300_000),
            (".5", 500_000),
            ("0e99", 0),
        ] {
            assert_eq!(Money::parse(text).unwrap().micros, micros, "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", "-", ".", "12,5", "NaN", "1e", "9999999999999", "-9223372036854.775808", "1e40", "0x10", "١"]
        {
            assert!(Money::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn display_reads_back() {
        for micros in [0, 1, -1, 999_999, -1_000_001, Money::MICROS_MAX] {
            let money = Money { micros };
            assert_eq!(Money::parse(&money.to_string()).unwrap(), money);
        }
    }
}

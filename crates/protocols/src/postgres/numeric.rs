//! `numeric` in PostgreSQL's binary form.
//!
//! In:       a decimal number as text, such as `-12.500000`; or the bytes of one.
//! Out:      the other.
//! Promise:  no digit is lost, zeros behind the point stay.

use std::fmt::Write as _;

use bytes::{Buf, BufMut};

/// It is written in digits of four decimals each.
const DIGIT_DECIMALS: usize = 4;

const NEGATIVE: u16 = 0x4000;

/// * `text`: an optional `-`, digits, perhaps a point and digits. Anything else (`NaN`) is written as NaN.
pub(crate) fn write(text: &str, out: &mut impl BufMut) {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (NEGATIVE, digits),
        None => (0, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        out.put_slice(&[0, 0, 0, 0, 0xc0, 0, 0, 0]);
        return;
    }
    // Groups of four to both sides of the point.
    let whole = whole.trim_start_matches('0');
    let before = whole.len().div_ceil(DIGIT_DECIMALS);
    let mut decimals = "0".repeat(before * DIGIT_DECIMALS - whole.len());
    decimals.push_str(whole);
    decimals.push_str(fraction);
    decimals.push_str(&"0".repeat(decimals.len().next_multiple_of(DIGIT_DECIMALS) - decimals.len()));
    let mut groups: Vec<u16> = decimals
        .as_bytes()
        .chunks(DIGIT_DECIMALS)
        .map(|group| group.iter().fold(0, |sum, decimal| sum * 10 + u16::from(decimal - b'0')))
        .collect();
    // Zeros at both ends are left out: the weight and the scale say where they stand.
    while groups.last() == Some(&0) {
        groups.pop();
    }
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    let weight = if groups.is_empty() { 0 } else { small(before) - 1 - small(leading) };
    out.put_u16(small(groups.len()).cast_unsigned());
    out.put_i16(weight);
    out.put_u16(if groups.is_empty() { 0 } else { sign });
    out.put_u16(small(fraction.len()).cast_unsigned());
    for group in groups {
        out.put_u16(group);
    }
}

fn small(count: usize) -> i16 {
    i16::try_from(count).expect("a decimal of Arrow has at most 76 digits")
}

/// `None` where the bytes are no number, or one that has no digits (NaN, infinities).
pub(crate) fn read(mut bytes: &[u8]) -> Option<String> {
    /// As many as Arrow's widest decimals have on both sides of the point together; one with more cannot be asked with.
    const GROUPS_MAX: u16 = 20;
    let count = bytes.try_get_u16().ok()?;
    let weight = bytes.try_get_i16().ok()?;
    let sign = bytes.try_get_u16().ok()?;
    let scale = usize::from(bytes.try_get_u16().ok()?);
    let in_reach = (-20..=20).contains(&weight) && scale <= 80 && count <= GROUPS_MAX;
    if !in_reach || (sign != 0 && sign != NEGATIVE) || bytes.len() != usize::from(count) * 2 {
        return None;
    }
    let groups: Vec<u16> = (0..count).map(|_| bytes.get_u16()).collect();
    if groups.iter().any(|group| 9_999 < *group) {
        return None;
    }
    let at = |place: i16| {
        let index = usize::try_from(i32::from(weight) - i32::from(place)).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = String::new();
    if sign == NEGATIVE {
        text.push('-');
    }
    let mut whole = String::new();
    for place in (0..=weight.max(0)).rev() {
        write!(whole, "{:04}", at(place)).ok()?;
    }
    let trimmed = whole.trim_start_matches('0');
    text.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    if 0 < scale {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < scale {
            write!(fraction, "{:04}", at(place)).ok()?;
            place -= 1;
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        write(text, &mut bytes);
        bytes
    }

    #[test]
    fn numbers_are_written_as_postgres_writes_them() {
        // As `numeric_send` of PostgreSQL 16 gives them.
        let cases: &[(&str, &[u8])] = &[
            ("0", &[0, 0, 0, 0, 0, 0, 0, 0]),
            ("0.000000", &[0, 0, 0, 0, 0, 0, 0, 6]),
            ("1", &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
            ("-1.5", &[0, 2, 0, 0, 0x40, 0, 0, 1, 0, 1, 0x13, 0x88]),
            ("12345.678", &[0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 0x09, 0x29, 0x1a, 0x7c]),
            ("0.0001", &[0, 1, 0xff, 0xff, 0, 0, 0, 4, 0, 1]),
            ("10000", &[0, 1, 0, 1, 0, 0, 0, 0, 0, 1]),
            ("NaN", &[0, 0, 0, 0, 0xc0, 0, 0, 0]),
        ];
        for (text, bytes) in cases {
            assert_eq!(written(text), *bytes, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["0", "0.000000", "1", "-1.5", "12345.678", "0.0001", "10000", "123456789012.000001", "99999999.9"]
        {
            assert_eq!(read(&written(text)).as_deref(), Some(text));
        }
        let long = format!("{}.{}", "9".repeat(32), "1".repeat(6));
        assert_eq!(read(&written(&long)), Some(long));
        for bytes in [&b""[..], &[0, 1], &[0, 0, 0, 0, 0xc0, 0, 0, 0], &[0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff]] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}

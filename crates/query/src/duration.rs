//! Lengths of time as people write them: `30 days`, `1 hour 30 minutes`.
//!
//! In:       text.
//! Out:      microseconds.
//! Promise:  exact units only: a month has no fixed length, so it is refused rather than guessed.

const UNITS: &[(&[&str], i64)] = &[
    (&["us", "microsecond", "microseconds"], 1),
    (&["ms", "millisecond", "milliseconds"], 1_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60_000_000),
    (&["h", "hour", "hours"], 3_600_000_000),
    (&["d", "day", "days"], 86_400_000_000),
    (&["w", "week", "weeks"], 604_800_000_000),
];

/// Returns microseconds, 0 or more; or what is wrong with the text.
pub(crate) fn parse_us(text: &str) -> Result<i64, String> {
    let wrong = |what: &str| format!("'{text}' {what}; write a length such as '30 days' or '1 hour 30 minutes'");
    let mut rest = text.trim();
    let mut total_us = 0_i64;
    if rest.is_empty() {
        return Err(wrong("is empty"));
    }
    // The one length that is the same in every unit.
    if rest == "0" {
        return Ok(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let count: i64 = rest[..digits].parse().map_err(|_| wrong("has no whole number where one is needed"))?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase();
        rest = rest[letters..].trim_start();
        if matches!(unit.as_str(), "mon" | "month" | "months" | "y" | "year" | "years") {
            return Err(wrong("counts in months or years, which have no fixed length: count in days"));
        }
        let (_, unit_us) = UNITS
            .iter()
            .find(|(names, _)| names.contains(&unit.as_str()))
            .ok_or_else(|| wrong("has a number without a unit, or a unit that is not known"))?;
        let part_us = count.checked_mul(*unit_us);
        total_us = part_us.and_then(|part| total_us.checked_add(part)).ok_or_else(|| wrong("is too long"))?;
    }
    Ok(total_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_as_people_write_them() {
        for (text, us) in [
            ("30 days", 30 * 86_400_000_000),
            ("1 hour 30 minutes", 5_400_000_000),
            ("90m", 5_400_000_000),
            (" 2 Weeks ", 14 * 86_400_000_000),
            ("0 seconds", 0),
            ("0", 0),
        ] {
            assert_eq!(parse_us(text), Ok(us), "{text}");
        }
    }

    #[test]
    fn what_has_no_fixed_length_is_refused_with_what_to_write() {
        for text in ["", "days", "5", "1 month", "1.5 days", "-1 day", "9999999999999 weeks", "1 day,"] {
            assert!(parse_us(text).unwrap_err().contains("write a length such as"), "{text}");
        }
    }
}

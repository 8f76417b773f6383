//! Times in imported rows.
//!
//! In:      text: RFC 3339, a day, a day and a clock time (UTC), each with "+ 5s" behind it if need be.
//! Out:     microseconds since 1970, UTC, and the one spelling the door is sent.
//! Promise: a time that is not understood is refused, never guessed.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

/// Reads a time.
pub(crate) fn read(text: &str) -> Result<i64, String> {
    let text = text.trim();
    let (instant, later_us) = match text.rsplit_once(" + ") {
        Some((instant, later)) => (instant.trim(), duration_us(later.trim())?),
        None => (text, 0),
    };
    let time = instant
        .parse::<Timestamp>()
        .ok()
        .or_else(|| utc(instant.parse::<DateTime>().ok()?))
        .or_else(|| utc(instant.parse::<Date>().ok()?.to_datetime(jiff::civil::Time::midnight())))
        .ok_or_else(|| {
            format!("{text:?} is no time; write 2026-10-01T08:30:00Z, 2026-10-01 08:30:00 (UTC) or 2026-10-01")
        })?;
    time.as_microsecond().checked_add(later_us).ok_or_else(|| format!("{text:?} lies outside the years 1 to 9999"))
}

/// RFC 3339, UTC; `None` outside the years jiff knows.
pub(crate) fn show(time_us: i64) -> Option<String> {
    Timestamp::from_microsecond(time_us).ok().map(|time| time.to_string())
}

fn utc(local: DateTime) -> Option<Timestamp> {
    local.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn duration_us(text: &str) -> Result<i64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit_us: i64 = match unit.trim() {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        other => return Err(format!("{other:?} is no unit of time; use us, ms, s, m, h or d")),
    };
    let count: i64 = count.parse().map_err(|_| format!("{text:?} is no length of time; write for example 90s"))?;
    count.checked_mul(unit_us).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spellings_of_one_instant_agree() {
        let expected = 1_207_008_000_000_000;
        for text in [
            "2008-04-01",
            "2008-04-01T00:00:00Z",
            "2008-04-01 00:00:00",
            "2008-04-01T02:00:00+02:00",
            "2008-03-31T23:59:00Z + 60s",
            "2008-03-31 + 1d",
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
        assert_eq!(show(expected).unwrap(), "2008-04-01T00:00:00Z");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in ["", "yesterday", "2008-13-01", "2008-04-01 + 5x", "2008-04-01 + s", "1207008000"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

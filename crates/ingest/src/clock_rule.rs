//! When an event happened, by the best clock there is.
//!
//! In:      what the client wrote as its time and sending time; when we received it.
//! Out:     `event_time_us` and how it was found.
//! Promise: no event lies more than `future_us_max` ahead of our clock, nor before 2000 nor after 9999, nor, by a
//!          clock that is not trusted, more than `past_us_max` ago: one bad clock must neither move a watermark
//!          nor open a thousand days of the lake. Pure: time comes in.
//!
//! The rule, first that fits:
//! 1. no time given: our receipt (`received`);
//! 2. a time that cannot be read: our receipt, flagged (`clamped`); the caller keeps what was written;
//! 3. a trusted clock (server, import): as it is (`trusted`);
//! 4. a sending time that is credible, 30 s or more off our clock: receipt - (sent - client) (`corrected`);
//! 5. else as it is (`unchecked`); `clock_skew_us` is kept where it could be seen.
//!
//! Whatever comes out of 3 to 5 and lies outside the bounds is replaced by our receipt (`clamped`).
//!
//! Why 30 s: the difference of the two clocks also holds the time on the line, and a phone takes seconds.
//! Why not on a retry: some SDKs (`posthog-node`, `rudder-sdk-node`) send the first attempt's time again, so the
//! difference would be the time since then. Why 1 s of grace: `snowplow-tracker` cuts its sending time to
//! whole seconds, which lets it lie before the event.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tributary_schemas::ClockQuality;

use crate::json::Scalar;

const SKEW_US_MIN: i64 = 30_000_000;
const SENT_BEFORE_US_MAX: i64 = 1_000_000;
/// 2000-01-01: no tracker is older; what reads earlier is a clock that lost its battery.
const PAST_US: i64 = 946_684_800_000_000;
/// 9999-12-31T23:59:59Z: what date types of the query engines hold.
const FUTURE_US: i64 = 253_402_300_799_000_000;

/// How far from our own clock a time may lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClockBounds {
    pub future_us_max: i64,
    /// For clocks that are not trusted.
    pub past_us_max: i64,
}

/// A time as a client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Absent,
    At(i64),
    /// Text or a number that is no time.
    Unreadable,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientClock {
    pub client: Written,
    pub sent: Written,
    /// Takes the client's clock as it is.
    pub trusted: bool,
    /// This is a second attempt, so `sent` may be the first one's.
    pub retried: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    pub event_time_us: i64,
    pub quality: ClockQuality,
    /// Client minus us; positive: the client is ahead.
    pub skew_us: Option<i64>,
}

pub(crate) fn settle(clock: ClientClock, ingest_time_us: i64, bounds: ClockBounds) -> Settled {
    let received = |quality| Settled { event_time_us: ingest_time_us, quality, skew_us: None };
    let client_us = match clock.client {
        Written::Absent => return received(ClockQuality::Received),
        Written::Unreadable => return received(ClockQuality::Clamped),
        Written::At(client_us) => client_us,
    };
    let sent_us = match clock.sent {
        Written::At(sent_us) if !clock.retried && (PAST_US..=FUTURE_US).contains(&sent_us) => Some(sent_us),
        _ => None,
    };
    let skew_us = sent_us.map(|sent_us| sent_us - ingest_time_us);
    let (time_us, quality) = match (sent_us, skew_us) {
        _ if clock.trusted => (client_us, ClockQuality::Trusted),
        (Some(sent_us), Some(skew_us))
            if SKEW_US_MIN <= skew_us.abs() && client_us.saturating_sub(sent_us) <= SENT_BEFORE_US_MAX =>
        {
            let waited_us = sent_us.saturating_sub(client_us).max(0);
            (ingest_time_us.saturating_sub(waited_us), ClockQuality::Corrected)
        }
        _ => (client_us, ClockQuality::Unchecked),
    };
    let latest_us = FUTURE_US.min(ingest_time_us.saturating_add(bounds.future_us_max));
    let earliest_us =
        if clock.trusted { PAST_US } else { PAST_US.max(ingest_time_us.saturating_sub(bounds.past_us_max)) };
    if (earliest_us..=latest_us).contains(&time_us) {
        Settled { event_time_us: time_us, quality, skew_us }
    } else {
        Settled { event_time_us: ingest_time_us, quality: ClockQuality::Clamped, skew_us }
    }
}

/// Reads a time: ISO 8601 text (without an offset: UTC), or a number since 1970, also as text, in seconds,
/// milliseconds or microseconds by its size. `Err`: neither text nor a number.
pub(crate) fn read_time<'a>(value: Option<&Scalar<'a>>) -> Result<Written, &'static str> {
    match value {
        None => Ok(Written::Absent),
        Some(Scalar::Text(text)) => Ok(match text.text.trim() {
            "" => Written::Absent,
            text => read_text(text).map_or(Written::Unreadable, Written::At),
        }),
        Some(Scalar::Number(digits)) => Ok(read_number(digits).map_or(Written::Unreadable, Written::At)),
        Some(other) => Err(other.kind()),
    }
}

fn read_text(text: &str) -> Option<i64> {
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    if let Ok(local) = text.parse::<DateTime>() {
        return Some(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_microsecond());
    }
    read_number(text)
}

/// The unit follows from the size: seconds reach 1e11 in the year 5138, milliseconds are past it since 1973.
fn read_number(digits: &str) -> Option<i64> {
    let number: f64 = digits.parse().ok()?;
    let per_unit_us = match number.abs() {
        size if size < 1e11 => 1e6,
        size if size < 1e14 => 1e3,
        size if size < 1e17 => 1.0,
        _ => return None,
    };
    // Below 1e17 the product is far inside i64, and a time of today keeps its microsecond in an f64.
    #[allow(clippy::cast_possible_truncation, reason = "bounded above")]
    let time_us = (number * per_unit_us).round() as i64;
    number.is_finite().then_some(time_us)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tributary_schemas::ClockQuality as Q;

    const NOW_US: i64 = 1_795_000_000_000_000;
    const FIVE_MIN_US: i64 = 300_000_000;
    const DAY_US: i64 = 86_400_000_000;
    const BOUNDS: ClockBounds = ClockBounds { future_us_max: FIVE_MIN_US, past_us_max: 30 * DAY_US };
    const S_US: i64 = 1_000_000;

    fn at(client_us: i64, sent_us: i64) -> ClientClock {
        ClientClock { client: Written::At(client_us), sent: Written::At(sent_us), trusted: false, retried: false }
    }

    fn settled(clock: ClientClock) -> (i64, Q) {
        let settled = settle(clock, NOW_US, BOUNDS);
        (settled.event_time_us - NOW_US, settled.quality)
    }

    #[test]
    fn the_rule_case_by_case() {
        let hour_us = 3600 * S_US;
        let absent = ClientClock { client: Written::Absent, ..at(0, NOW_US) };
        assert_eq!(settled(absent), (0, Q::Received));
        assert_eq!(settled(ClientClock { client: Written::Unreadable, ..absent }), (0, Q::Clamped));
        // A clock an hour behind or ahead is corrected; the wait on the device is kept.
        assert_eq!(settled(at(NOW_US - hour_us - 2 * S_US, NOW_US - hour_us)), (-2 * S_US, Q::Corrected));
        assert_eq!(settled(at(NOW_US + hour_us - 2 * S_US, NOW_US + hour_us)), (-2 * S_US, Q::Corrected));
        // A queue kept offline for an hour on a good clock stays where it was.
        assert_eq!(settled(at(NOW_US - hour_us, NOW_US - S_US)), (-hour_us, Q::Unchecked));
        // Less than 30 s off is not touched.
        assert_eq!(settled(at(NOW_US - 31 * S_US, NOW_US - 29 * S_US)), (-31 * S_US, Q::Unchecked));
        // On a retry the sending time proves nothing.
        let retried = ClientClock { retried: true, ..at(NOW_US - 62 * S_US, NOW_US - 60 * S_US) };
        assert_eq!(settled(retried), (-62 * S_US, Q::Unchecked));
        // Sent a little before it happened: delay 0. Sent long before: not credible.
        assert_eq!(settled(at(NOW_US - hour_us + 999_000, NOW_US - hour_us)), (0, Q::Corrected));
        let odd = at(NOW_US - hour_us + 1_000_001, NOW_US - hour_us);
        assert_eq!(settled(odd), (-hour_us + 1_000_001, Q::Unchecked));
        // A trusted clock is taken as it is, but for the bounds.
        let trusted = ClientClock { trusted: true, ..at(NOW_US - 9000 * hour_us, NOW_US - hour_us) };
        assert_eq!(settled(trusted), (-9000 * hour_us, Q::Trusted));
        assert_eq!(settled(ClientClock { client: Written::At(NOW_US + hour_us), ..trusted }), (0, Q::Clamped));
        assert_eq!(settled(ClientClock { client: Written::At(PAST_US - 1), ..trusted }), (0, Q::Clamped));
        assert_eq!(
            settled(ClientClock { client: Written::At(NOW_US + FIVE_MIN_US), ..trusted }),
            (FIVE_MIN_US, Q::Trusted)
        );
        // A clock that is not trusted reaches back thirty days.
        let unsent = |client_us| ClientClock { sent: Written::Absent, ..at(client_us, 0) };
        assert_eq!(settled(unsent(NOW_US - 30 * DAY_US)), (-30 * DAY_US, Q::Unchecked));
        assert_eq!(settled(unsent(NOW_US - 30 * DAY_US - 1)), (0, Q::Clamped));
        // No sending time, no check.
        assert_eq!(settled(ClientClock { sent: Written::Absent, ..at(NOW_US - S_US, 0) }), (-S_US, Q::Unchecked));
    }

    #[test]
    fn skew_is_positive_when_the_client_is_ahead() {
        assert_eq!(settle(at(NOW_US, NOW_US + 40 * S_US), NOW_US, BOUNDS).skew_us, Some(40 * S_US));
        assert_eq!(settle(at(NOW_US, NOW_US - S_US), NOW_US, BOUNDS).skew_us, Some(-S_US));
    }

    #[test]
    fn times_are_read_as_sdks_write_them() {
        let cases = [
            (r#""2025-01-02T03:04:05.000Z""#, Written::At(1_735_787_045_000_000)),
            (r#""2025-01-02T03:04:05.123456+00:00""#, Written::At(1_735_787_045_123_456)),
            (r#""2025-01-02T05:04:05+02:00""#, Written::At(1_735_787_045_000_000)),
            (r#""2025-01-02T05:04:05+0200""#, Written::At(1_735_787_045_000_000)),
            (r#""2025-01-02 03:04:05Z""#, Written::At(1_735_787_045_000_000)),
            (r#""2025-01-02T03:04:05""#, Written::At(1_735_787_045_000_000)),
            (r#""2025-01-02""#, Written::At(1_735_776_000_000_000)),
            ("1735787045", Written::At(1_735_787_045_000_000)),
            ("1735787045.25", Written::At(1_735_787_045_250_000)),
            ("1735787045123", Written::At(1_735_787_045_123_000)),
            ("1735787045123456", Written::At(1_735_787_045_123_456)),
            (r#""1735787045123""#, Written::At(1_735_787_045_123_000)),
            ("-1", Written::At(-1_000_000)),
            ("1e300", Written::Unreadable),
            (r#""yesterday""#, Written::Unreadable),
            (r#""2025-13-45T00:00:00Z""#, Written::Unreadable),
            (r#""inf""#, Written::Unreadable),
            (r#""NaN""#, Written::Unreadable),
            (r#"" ""#, Written::Absent),
        ];
        for (json, written) in cases {
            assert_eq!(read_time(Some(&crate::json::scalar(json))).unwrap(), written, "{json}");
        }
        assert_eq!(read_time(None).unwrap(), Written::Absent);
        assert_eq!(read_time(Some(&crate::json::scalar("{}"))), Err("an object"));
    }

    proptest! {
        #[test]
        fn no_clock_moves_an_event_out_of_bounds(
            client_us in any::<i64>(), sent_us in any::<i64>(), trusted: bool, retried: bool,
        ) {
            let clock = ClientClock { client: Written::At(client_us), sent: Written::At(sent_us), trusted, retried };
            let settled = settle(clock, NOW_US, BOUNDS);
            let earliest_us = if trusted { PAST_US } else { NOW_US - 30 * DAY_US };
            prop_assert!((earliest_us..=NOW_US + FIVE_MIN_US).contains(&settled.event_time_us));
        }

        #[test]
        fn any_text_reads_as_a_time_or_not_at_all(text in ".{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            read_time(Some(&crate::json::scalar(&json))).unwrap();
        }
    }
}

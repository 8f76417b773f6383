//! What the tables must say, counted the slow and obvious way from the lines themselves.
//!
//! In:      lines of JSON.
//! Out:     how many events, sessions and microseconds of visits there are.
//! Promise: knows nothing of the line: every value is parsed whole, events are sorted by person and time, a visit ends
//!          after more than 30 quiet minutes or a day. Of copies (one `messageId`) the first counts.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::Context;

use super::input::Lines;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Truth {
    pub(super) events: i64,
    pub(super) sessions: i64,
    pub(super) duration_us: i64,
}

const GAP_US: i64 = 30 * 60 * 1_000_000;
const DAY_US: i64 = 24 * 3_600 * 1_000_000;

pub(super) fn count(lines: Lines) -> anyhow::Result<Truth> {
    // 24 bytes an event, whatever the texts: ten million fit. Two texts of one hash are one in a million runs of that size.
    let mut events: Vec<(u64, i64, u64)> = Vec::new();
    for line in lines {
        let event: serde_json::Value = serde_json::from_slice(&line?).context("a line is not JSON")?;
        let text = |name: &str| event[name].as_str().with_context(|| format!("an event has no {name}"));
        let time: jiff::Timestamp = text("timestamp")?.parse().context("a timestamp is none")?;
        events.push((hash(text("anonymousId")?), time.as_microsecond(), hash(text("messageId")?)));
    }
    // Copies have the same person and time, so they lie together.
    events.sort_unstable();
    events.dedup();
    let mut truth = Truth { events: events.len().cast_signed() as i64, ..Truth::default() };
    let mut open: Option<(u64, i64, i64)> = None;
    for (person, time_us, _) in events {
        open = match open {
            Some((of, start_us, end_us))
                if of == person && time_us - end_us <= GAP_US && time_us - start_us <= DAY_US =>
            {
                truth.duration_us += time_us - end_us;
                Some((of, start_us, time_us))
            }
            _ => {
                truth.sessions += 1;
                Some((person, time_us, time_us))
            }
        };
    }
    Ok(truth)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visits_are_counted_by_hand() {
        let line = |person: &str, id: &str, time: &str| {
            Ok(format!(r#"{{"anonymousId":"{person}","messageId":"{id}","timestamp":"2026-06-{time}Z"}}"#).into_bytes())
        };
        let lines = vec![
            line("a", "1", "01T00:00:00"),
            line("b", "2", "01T00:10:00"),
            line("a", "3", "01T00:30:00"),
            line("a", "3", "01T00:30:00"),
            line("a", "4", "01T01:00:01"),
        ];
        let truth = count(Box::new(lines.into_iter())).unwrap();
        assert_eq!(truth, Truth { events: 4, sessions: 3, duration_us: 1_800_000_000 });
    }
}

//! Whose sessions, and which one: the key and the id.
//!
//! In:       source and session key of an event; the first event of a session.
//! Out:      `SessionKey` (borrowed, to look up with) and `SessionId` (128 bits, 32 hex digits at rest).
//! Promise:  the id depends on the key and the first event alone, so every replay finds it again.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// Whose sessions: one device, person or stray event within one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey<'a> {
    pub source: &'a str,
    pub session_key: &'a str,
}

/// Name of a session: a hash of source, session key and first event. Prints as 32 lower-case hex digits, and sorts as
/// they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u128);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a session id: 32 of 0-9 and a-f")]
pub struct SessionIdError {
    text: String,
}

impl SessionId {
    /// The id of the session of `key` that begins with event `event_id` at `time_us`.
    ///
    /// The time is hashed too, because a source may use an event id again with other content (flag `id_collision`):
    /// two sessions that began with such events would share a name, and the view of the latest version would lose one.
    /// Two events of a key at the same time are always in the same session, so id and time together are enough.
    pub fn of(key: SessionKey<'_>, event_id: &str, time_us: i64) -> Self {
        let mut bytes = Vec::with_capacity(key.source.len() + key.session_key.len() + event_id.len() + 11);
        for text in [key.source, key.session_key, event_id] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(&time_us.to_le_bytes());
        Self(xxh3_128(&bytes))
    }

    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Result<Self, SessionIdError> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(text, 16) {
            Ok(number) if digits && text.len() == 32 => Ok(Self(number)),
            _ => Err(SessionIdError { text: text.chars().take(80).collect() }),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

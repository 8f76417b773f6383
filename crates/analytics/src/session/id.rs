//! Whose sessions, and which one: the key, the id, and the order of events of one time.
//!
//! In:       source and session key of an event; the first event of a session.
//! Out:      `SessionKey` (borrowed, to look up with), `SessionId` (128 bits, 32 hex digits at rest), tie keys.
//! Promise:  the id depends on the key and the first event alone, so every replay finds it again.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

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

/// Eight bytes for an event id: what is kept of it, and what settles the order of events of the same time. An id of at
/// most eight bytes is its own text, so such ids sort as texts do; of a longer one it is XXH3-64.
pub(super) fn tie_key(event_id: &str) -> u64 {
    let bytes = event_id.as_bytes();
    if bytes.len() > 8 {
        return xxh3_64(bytes);
    }
    let mut text = [0; 8];
    text[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(text)
}

impl SessionId {
    /// The id of the session of `key` that begins with event `event_id` at `time_us`.
    ///
    /// The time is hashed too, because a source may use an event id again with other content (flag `id_collision`):
    /// two sessions that began with such events would share a name, and the view of the latest version would lose one.
    /// Two events of a key at the same time are always in the same session, so id and time together are enough.
    pub fn of(key: SessionKey<'_>, event_id: &str, time_us: i64) -> Self {
        Self::of_first(key, tie_key(event_id), time_us)
    }

    pub(super) fn of_first(key: SessionKey<'_>, tie: u64, time_us: i64) -> Self {
        // One run over bytes put together: the streaming hasher is ten times dearer on so few.
        let mut bytes = Vec::with_capacity(key.source.len() + key.session_key.len() + 18);
        for text in [key.source, key.session_key] {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(&tie.to_le_bytes());
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

    /// Its 32 hex digits, without a formatter: a column of them is written for every report.
    pub fn hex(self) -> [u8; 32] {
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0.to_be_bytes()) {
            *pair = [byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]);
        }
        digits
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

//! Which id an event goes by.
//!
//! In:      the id its client gave, or the bytes of the event.
//! Out:     an id of at most `ID_BYTES_MAX` bytes that is the same whenever the event is sent again.
//! Promise: a retry meets its first copy. Two events without an id that are equal in every member are one: who
//!          means two gives them ids or times.

use tributary_schemas::ids::ID_BYTES_MAX;
use uuid::Uuid;

use crate::dialect::pairs::Pairs;
use crate::json::{self, JsonError};
use crate::text::cut;

/// Names our derived ids among all UUIDs of version 5. Made once, by chance; changing it would double every
/// retry that is under way.
const NAMESPACE: Uuid = Uuid::from_u128(0x6d0e_3a52_9c41_4f7b_8b1d_27e5_90f4_c6a8);

pub(crate) struct EventId {
    pub event_id: String,
    /// What the client wrote, where that differs.
    pub client_event_id: Option<String>,
}

/// The client's own id; one too long for the column is replaced by its hash.
pub(crate) fn given(source: &str, id: &str) -> EventId {
    if id.len() <= ID_BYTES_MAX {
        EventId { event_id: id.to_owned(), client_event_id: None }
    } else {
        let event_id = derived(source, &["id", id]);
        EventId { event_id, client_event_id: Some(cut(id, ID_BYTES_MAX).to_owned()) }
    }
}

/// A UUIDv5 of source and parts. Lengths go in, so that no two lists of parts read alike.
pub(crate) fn derived(source: &str, parts: &[&str]) -> String {
    let mut name = Vec::new();
    for part in std::iter::once(&source).chain(parts) {
        name.extend_from_slice(&part.len().to_le_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &name).to_string()
}

/// Members that say how an event was sent, not what it is: they differ between two attempts.
const SENDING: &[&str] = &["sentAt", "writeKey", "write_key", "_metadata", "sent_time", "sent_at", "offset"];

/// An id from the event's content: its members in order of name, as they were written.
pub(crate) fn from_content(source: &str, call: &str, event_json: &str) -> Result<EventId, JsonError> {
    let mut members = json::members(event_json)?;
    members.retain(|(name, _)| !SENDING.contains(&&**name));
    members.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut parts = vec!["content", call];
    for (name, value) in &members {
        parts.extend([&**name, *value]);
    }
    Ok(EventId { event_id: derived(source, &parts), client_event_id: None })
}

/// An id from names and values; `sending` are those that differ between two attempts.
pub(crate) fn of_pairs(source: &str, dialect: &str, pairs: &Pairs, sending: &[&str]) -> String {
    let members = pairs.sorted();
    let mut parts = vec!["pairs", dialect];
    for (name, value) in members.into_iter().filter(|(name, _)| !sending.contains(name)) {
        parts.extend([name, value]);
    }
    derived(source, &parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_own_id_is_kept_and_a_long_one_hashed() {
        assert_eq!(given("shop", "node-next-1-a").event_id, "node-next-1-a");
        let long = "ä".repeat(200);
        let hashed = given("shop", &long);
        assert_eq!(hashed.event_id.len(), 36);
        assert_eq!(hashed.client_event_id.unwrap().len(), ID_BYTES_MAX);
        assert_ne!(hashed.event_id, given("shop", &format!("{long}x")).event_id);
    }

    #[test]
    fn a_retry_has_the_same_content_id_and_other_content_another() {
        let id = |json: &str| from_content("shop", "track", json).unwrap().event_id;
        let first = id(r#"{"event": "A", "userId": "u", "sentAt": "1"}"#);
        assert_eq!(first, id(r#"{"userId": "u", "event": "A", "sentAt": "2", "_metadata": {}}"#));
        assert_ne!(first, id(r#"{"event": "B", "userId": "u"}"#));
        // As our own dialect and PostHog's older SDKs call it.
        assert_eq!(first, id(r#"{"event": "A", "userId": "u", "sent_time": 1, "sent_at": "x", "offset": 9}"#));
        assert_ne!(first, from_content("other", "track", r#"{"event": "A", "userId": "u"}"#).unwrap().event_id);
        assert_ne!(first, from_content("shop", "page", r#"{"event": "A", "userId": "u"}"#).unwrap().event_id);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(derived("s", &["ab", "c"]), derived("s", &["a", "bc"]));
    }
}

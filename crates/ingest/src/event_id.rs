//! Which id an event goes by.
//!
//! In:      the id its client gave, or the bytes of the event.
//! Out:     an id of at most `ID_BYTES_MAX` bytes that is the same whenever the event is sent again.
//! Promise: a retry meets its first copy. Two events without an id that are equal in every member are one: who
//!          means two gives them ids or times. An id that was made of something tells it to nobody: an address or the
//!          rest of a network cannot be guessed and held against it without the secret.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tributary_schemas::ids::ID_BYTES_MAX;

use crate::dialect::pairs::Pairs;
use crate::json::{self, JsonError};
use crate::text::cut;

/// Of the secret's other uses none begins so. Changing it, or the secret, doubles every retry that is under way.
const PREFIX: &[u8] = b"tributary event id\0";

pub(crate) struct EventId {
    pub event_id: String,
    /// What the client wrote, where that differs.
    pub client_event_id: Option<String>,
}

/// Makes ids. Every door of one log has the same secret, as for tickets, and so makes the same.
pub(crate) struct EventIds {
    keyed: Hmac<Sha256>,
}

impl EventIds {
    pub(crate) fn new(secret: &str) -> Self {
        let mut keyed = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        keyed.update(PREFIX);
        Self { keyed }
    }

    /// The client's own id; one too long for the column is replaced by its hash.
    pub(crate) fn given(&self, source: &str, id: &str) -> EventId {
        if id.len() <= ID_BYTES_MAX {
            EventId { event_id: id.to_owned(), client_event_id: None }
        } else {
            let event_id = self.derived(source, &["id", id]);
            EventId { event_id, client_event_id: Some(cut(id, ID_BYTES_MAX).to_owned()) }
        }
    }

    /// A UUID (version 8) of source and parts. Lengths go in, so that no two lists of parts read alike.
    pub(crate) fn derived(&self, source: &str, parts: &[&str]) -> String {
        let mut mac = self.keyed.clone();
        for part in std::iter::once(&source).chain(parts) {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        let code = mac.finalize().into_bytes();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&code[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid().hyphenated().to_string()
    }

    /// An id from the event's content: its members in order of name, as they were written.
    pub(crate) fn of_content(&self, source: &str, call: &str, event_json: &str) -> Result<EventId, JsonError> {
        let mut members = json::members(event_json)?;
        members.retain(|(name, _)| !SENDING.contains(&&**name));
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut parts = vec!["content", call];
        for (name, value) in &members {
            parts.extend([&**name, *value]);
        }
        Ok(EventId { event_id: self.derived(source, &parts), client_event_id: None })
    }

    /// An id from names and values; `sending` are those that differ between two attempts.
    pub(crate) fn of_pairs(&self, source: &str, dialect: &str, pairs: &Pairs, sending: &[&str]) -> String {
        let members = pairs.sorted();
        let mut parts = vec!["pairs", dialect];
        for (name, value) in members.into_iter().filter(|(name, _)| !sending.contains(name)) {
            parts.extend([name, value]);
        }
        self.derived(source, &parts)
    }
}

/// Members that say how an event was sent, not what it is: they differ between two attempts.
const SENDING: &[&str] = &["sentAt", "writeKey", "write_key", "_metadata", "sent_time", "sent_at", "offset"];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ids() -> EventIds {
        EventIds::new("a secret of at least thirty-two bytes")
    }

    #[test]
    fn an_own_id_is_kept_and_a_long_one_hashed() {
        assert_eq!(ids().given("shop", "node-next-1-a").event_id, "node-next-1-a");
        let long = "ä".repeat(200);
        let hashed = ids().given("shop", &long);
        assert_eq!(hashed.event_id.len(), 36);
        assert_eq!(hashed.client_event_id.unwrap().len(), ID_BYTES_MAX);
        assert_ne!(hashed.event_id, ids().given("shop", &format!("{long}x")).event_id);
    }

    #[test]
    fn a_retry_has_the_same_content_id_and_other_content_another() {
        let id = |json: &str| ids().of_content("shop", "track", json).unwrap().event_id;
        let first = id(r#"{"event": "A", "userId": "u", "sentAt": "1"}"#);
        assert_eq!(first, id(r#"{"userId": "u", "event": "A", "sentAt": "2", "_metadata": {}}"#));
        assert_ne!(first, id(r#"{"event": "B", "userId": "u"}"#));
        // As our own dialect and PostHog's older SDKs call it.
        assert_eq!(first, id(r#"{"event": "A", "userId": "u", "sent_time": 1, "sent_at": "x", "offset": 9}"#));
        assert_ne!(first, ids().of_content("other", "track", r#"{"event": "A", "userId": "u"}"#).unwrap().event_id);
        assert_ne!(first, ids().of_content("shop", "page", r#"{"event": "A", "userId": "u"}"#).unwrap().event_id);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(ids().derived("s", &["ab", "c"]), ids().derived("s", &["a", "bc"]));
    }

    #[test]
    fn an_id_is_made_with_the_secret_as_anybody_with_the_secret_would() {
        let id = ids().derived("shop", &["ticket", "jane@example.com"]);
        // By hmac and uuid of the Python library: the prefix, then each part behind its length in 8 little-endian bytes.
        assert_eq!(id, "a8028c32-4e54-8333-b4ad-cd13466cb7a8");
        assert_ne!(
            id,
            EventIds::new("another secret of thirty-two bytes!").derived("shop", &["ticket", "jane@example.com"])
        );
    }
}

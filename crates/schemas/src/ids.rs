//! Ids: made only by parsing, and the rules for ids that are no ids and for ids that join nobody.
//!
//! In:      text from requests and settings.
//! Out:     `SourceId`; whether a person's id is junk, and whether it may join one id to another.
//! Promise: two spellings are two ids: nothing is folded or trimmed behind the caller's back.

/// The longest id a person, device, account or event may carry.
pub const ID_BYTES_MAX: usize = 256;

/// Name of a source of events, as the settings give it to a write key: 1 to 64 of `a-z 0-9 _ - .`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(Box<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {kind}: {rule}")]
pub struct IdError {
    kind: &'static str,
    rule: &'static str,
    text: String,
}

impl SourceId {
    pub const LENGTH_BYTES_MAX: usize = 64;

    pub fn parse(text: &str) -> Result<Self, IdError> {
        let plain = text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'));
        if text.is_empty() || Self::LENGTH_BYTES_MAX < text.len() || !plain {
            return Err(IdError {
                kind: "source name",
                rule: "use 1 to 64 of a-z, 0-9, '_', '-' and '.'",
                text: text.chars().take(80).collect(),
            });
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for SourceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Values that clients send when they have no id. Filing events under one of them would make one
/// mega-person of strangers, so they count as absent.
///
/// Source: PostHog's list of illegal distinct ids (`rust/capture`), widened by what RudderStack's
/// users reported (rudder-server pull request 4067).
const JUNK: &[&str] = &[
    "null",
    "undefined",
    "none",
    "nil",
    "nan",
    "true",
    "false",
    "0",
    "-1",
    "anonymous",
    "guest",
    "unknown",
    "distinct_id",
    "distinctid",
    "anonymous_id",
    "anonymousid",
    "user_id",
    "userid",
    "id",
    "email",
    "not_authenticated",
    "not set",
    "(not set)",
    "[object object]",
    "[object,object]",
    "object",
    "undefined undefined",
    "n/a",
];

/// Whether `text` is no id at all: blank, a placeholder, or nothing but zeros and dashes.
pub fn is_junk_id(text: &str) -> bool {
    let text = text.trim();
    let zeros = text.bytes().all(|byte| matches!(byte, b'0' | b'-'));
    text.is_empty() || zeros || JUNK.iter().any(|junk| text.eq_ignore_ascii_case(junk))
}

/// What people and programs write where an id is asked for and there is none yet: accounts of a test, a demo, a counter
/// at a till. Unlike junk it may be somebody's id, so the event keeps it; but it is many people's, so nothing is joined
/// through it.
///
/// Source: the default blocked values of Segment's Unify (zeros and dashes, -1, null, anonymous, which are junk here
/// already), what mParticle's and PostHog's guides name as the commonest slips, and names every test suite has.
const PLACEHOLDERS: &[&str] = &[
    "test",
    "testing",
    "tester",
    "testuser",
    "test_user",
    "test-user",
    "test user",
    "demo",
    "demo_user",
    "demo-user",
    "demouser",
    "dummy",
    "sample",
    "example",
    "default",
    "user",
    "username",
    "user_name",
    "visitor",
    "customer",
    "customer_id",
    "client",
    "client_id",
    "anon",
    "anonymous_user",
    "anonymous-user",
    "anonymous user",
    "guest_user",
    "guest-user",
    "guest user",
    "admin",
    "administrator",
    "root",
    "nobody",
    "someone",
    "public",
    "kiosk",
    "foo",
    "bar",
    "abc",
    "xxx",
    "asdf",
    "name",
    "uuid",
    "your_user_id",
    "your-user-id",
    "{{user_id}}",
    "${user_id}",
    "<user_id>",
    "unidentified",
    "not_logged_in",
    "not logged in",
    "logged_out",
];

/// Mailboxes of no person, at whatever domain.
const NOBODYS_MAILBOXES: &[&str] = &["noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "na"];
/// First labels of domains that are written when no address is known.
const NOBODYS_DOMAINS: &[&str] =
    &["example", "test", "email", "domain", "none", "na", "noemail", "nomail", "fake", "asdf"];

/// Whether an id may be a person's and yet stands for many: a placeholder, alone or as an e-mail address.
pub fn is_placeholder_id(text: &str) -> bool {
    let text = text.trim();
    let is_of = |list: &[&str], text: &str| list.iter().any(|known| text.eq_ignore_ascii_case(known));
    if is_of(PLACEHOLDERS, text) {
        return true;
    }
    let Some((mailbox, domain)) = text.split_once('@') else { return false };
    let first_label = domain.split('.').next().unwrap_or_default();
    let is_nobody = is_junk_id(mailbox) || is_of(NOBODYS_MAILBOXES, mailbox);
    is_nobody
        || is_of(NOBODYS_DOMAINS, first_label)
            && (is_of(PLACEHOLDERS, mailbox) || mailbox.eq_ignore_ascii_case(first_label))
}

/// Whether no two ids may be joined through this one.
pub fn joins_nobody(text: &str) -> bool {
    is_junk_id(text) || is_placeholder_id(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_source_name_is_plain() {
        assert_eq!(SourceId::parse("web-shop.eu").unwrap().as_str(), "web-shop.eu");
        for text in ["", "Web", "a b", "ü", &"a".repeat(65)] {
            assert!(SourceId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn placeholders_are_junk_and_ids_are_not() {
        for text in ["", "  ", "NULL", "undefined", "00000000-0000-0000-0000-000000000000", "[object Object]", "Guest"]
        {
            assert!(is_junk_id(text), "{text}");
        }
        for text in ["u1", "7", "10", "anon-5", "guest-42", "null-pointer"] {
            assert!(!is_junk_id(text), "{text}");
        }
    }

    #[test]
    fn a_placeholder_joins_nobody_but_is_an_id() {
        for text in [
            "test",
            "Demo",
            "admin",
            "test@test.com",
            "noreply@shop.eu",
            "null@shop.eu",
            "user@example.com",
            "none@none.com",
            "asdf@asdf.com",
        ] {
            assert!(is_placeholder_id(text) && joins_nobody(text) && !is_junk_id(text), "{text}");
        }
        for text in ["ada", "ada@example.com", "test7", "user-7", "testa@shop.eu", "u@x", "anne.test@shop.eu"] {
            assert!(!joins_nobody(text), "{text}");
        }
        assert!(joins_nobody("00000000-0000-0000-0000-000000000000"));
    }
}

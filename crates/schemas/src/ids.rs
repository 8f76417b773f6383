//! Ids: made only by parsing, and the rule for ids that are no ids.
//!
//! In:      text from requests and settings.
//! Out:     `SourceId`, and whether a person's id is junk.
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
}

//! Tickets: what a pixel or a link in a message carries, signed so that nobody can make or change one.
//!
//! In:      a `Ticket` and the secret; or text from a stranger.
//! Out:     URL-safe text; or the `Ticket` we once signed.
//! Promise: text that differs in any byte from what [`sign`] returned does not verify, and how long that takes
//!          says nothing of how near it was. So the redirect goes only where we said: it is no open redirect.
//!
//! Form: base64url(JSON) '.' base64url(HMAC-SHA256 over the text before the '.', with a prefix of its own so
//! that the secret's other uses can never sign a ticket). The JSON is readable by whoever holds the mail.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use url::Url;

pub const VERSION: u8 = 1;

/// The longest ticket we sign or look at: with host and path it still fits the 8 KiB request line of most proxies.
pub const LENGTH_BYTES_MAX: usize = 6_000;

const PREFIX: &[u8] = b"tributary ticket\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketKind {
    /// A link: `/r/{ticket}`.
    #[serde(rename = "c")]
    Click,
    /// A pixel: `/p.gif?t={ticket}`.
    #[serde(rename = "o")]
    Open,
    /// A way out: `/u/{ticket}`, also for `List-Unsubscribe` (RFC 8058).
    #[serde(rename = "u")]
    Unsubscribe,
}

/// Who was sent what, and where the link goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticket {
    #[serde(rename = "v")]
    pub version: u8,
    #[serde(rename = "k")]
    pub kind: TicketKind,
    /// Where a click goes: `http` or `https`. Absent on all others.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The source its event is filed under.
    #[serde(rename = "s")]
    pub source: String,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// The device the person was last seen on, where that is known: its clicks then stand in the device's sessions.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub anonymous_id: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub campaign_id: Option<String>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub link_id: Option<String>,
    /// `email` where absent.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub experiment: Option<String>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<String>,
    /// UTC milliseconds after which it is no longer good; absent: never ends.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    #[error("the ticket is not one of ours, or was changed")]
    Forged,
    #[error("the ticket was good until {expires_ms} ms since 1970")]
    Expired { expires_ms: i64 },
    #[error("a ticket goes to an http or https address, and {url:?} is none")]
    BadUrl { url: String },
    #[error("the secret for tickets is empty: set ingest.ticket_secret")]
    NoSecret,
    #[error("the ticket would be {bytes} bytes, over {LENGTH_BYTES_MAX}: shorten its address")]
    TooLong { bytes: usize },
}

impl Ticket {
    /// A link to `url`; fill in the rest.
    pub fn click(source: &str, url: &str) -> Self {
        Self { url: Some(url.to_owned()), ..Self::open(source).of_kind(TicketKind::Click) }
    }

    /// An open pixel; fill in the rest.
    pub fn open(source: &str) -> Self {
        Self {
            version: VERSION,
            kind: TicketKind::Open,
            url: None,
            source: source.to_owned(),
            user_id: None,
            anonymous_id: None,
            message_id: None,
            campaign_id: None,
            link_id: None,
            channel: None,
            experiment: None,
            variant: None,
            decision_id: None,
            expires_ms: None,
        }
    }

    /// A way out of all messages of `source`, or of those of a campaign; fill in the rest.
    pub fn unsubscribe(source: &str) -> Self {
        Self::open(source).of_kind(TicketKind::Unsubscribe)
    }

    fn of_kind(self, kind: TicketKind) -> Self {
        Self { kind, ..self }
    }
}

/// The ticket as text for an address: `A-Z a-z 0-9 - _ .`.
pub fn sign(ticket: &Ticket, secret: &str) -> Result<String, TicketError> {
    if ticket.kind == TicketKind::Click {
        target(ticket)?;
    }
    let json = serde_json::to_vec(ticket).expect("a ticket is text and numbers");
    let payload = URL_SAFE_NO_PAD.encode(json);
    let code = code_of(&payload, secret)?.finalize().into_bytes();
    let text = format!("{payload}.{}", URL_SAFE_NO_PAD.encode(code));
    if LENGTH_BYTES_MAX < text.len() { Err(TicketError::TooLong { bytes: text.len() }) } else { Ok(text) }
}

/// The ticket that was signed as `text` with one of `secrets`.
pub fn verify(text: &str, secrets: &[&str], now_ms: i64) -> Result<Ticket, TicketError> {
    if LENGTH_BYTES_MAX < text.len() {
        return Err(TicketError::Forged);
    }
    let (payload, code) = text.split_once('.').ok_or(TicketError::Forged)?;
    // The decoder refuses padding and spare bits, so a code has exactly one spelling.
    let code = URL_SAFE_NO_PAD.decode(code).map_err(|_| TicketError::Forged)?;
    // `verify_slice` compares in constant time.
    let signed = |secret: &&&str| code_of(payload, secret).is_ok_and(|mac| mac.verify_slice(&code).is_ok());
    secrets.iter().find(signed).ok_or(TicketError::Forged)?;
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TicketError::Forged)?;
    let ticket: Ticket = serde_json::from_slice(&json).map_err(|_| TicketError::Forged)?;
    if ticket.version != VERSION {
        return Err(TicketError::Forged);
    }
    match ticket.expires_ms {
        Some(expires_ms) if expires_ms < now_ms => Err(TicketError::Expired { expires_ms }),
        _ => Ok(ticket),
    }
}

/// Where a click ticket goes.
pub fn target(ticket: &Ticket) -> Result<Url, TicketError> {
    let text = ticket.url.as_deref().unwrap_or_default();
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err(TicketError::BadUrl { url: text.chars().take(200).collect() }),
    }
}

fn code_of(payload: &str, secret: &str) -> Result<Hmac<Sha256>, TicketError> {
    if secret.is_empty() {
        return Err(TicketError::NoSecret);
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(PREFIX);
    mac.update(payload.as_bytes());
    Ok(mac)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn ticket() -> Ticket {
        Ticket {
            user_id: Some("u1".to_owned()),
            message_id: Some("m1".to_owned()),
            campaign_id: Some("spring".to_owned()),
            expires_ms: Some(1_000),
            ..Ticket::click("mailer", "https://shop.example/a?b=c")
        }
    }

    #[test]
    fn what_was_signed_verifies_until_it_expires() {
        let text = sign(&ticket(), SECRET).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')), "{text}");
        assert_eq!(verify(&text, &["another", SECRET], 1_000).unwrap(), ticket());
        assert_eq!(verify(&text, &[SECRET], 1_001), Err(TicketError::Expired { expires_ms: 1_000 }));
        assert_eq!(verify(&text, &["another"], 0), Err(TicketError::Forged));
        assert_eq!(verify(&text, &[""], 0), Err(TicketError::Forged));
        assert_eq!(sign(&ticket(), ""), Err(TicketError::NoSecret));
    }

    #[test]
    fn only_web_addresses_are_signed() {
        for url in ["javascript:alert(1)", "//evil.example", "data:text/html,x", "ftp://x/", "mailto:a@b.c", ""] {
            assert!(matches!(sign(&Ticket::click("s", url), SECRET), Err(TicketError::BadUrl { .. })), "{url}");
        }
        let long = format!("https://x.example/{}", "a".repeat(LENGTH_BYTES_MAX));
        assert!(matches!(sign(&Ticket::click("s", &long), SECRET), Err(TicketError::TooLong { .. })));
        assert!(sign(&Ticket::open("s"), SECRET).is_ok());
    }

    #[test]
    fn every_single_changed_byte_is_noticed() {
        let text = sign(&ticket(), SECRET).unwrap().into_bytes();
        for index in 0..text.len() {
            for byte in [b'A', b'B', b'_', b'.', text[index] ^ 1] {
                let mut changed = text.clone();
                changed[index] = byte;
                let Ok(changed_text) = std::str::from_utf8(&changed) else { continue };
                if changed != text {
                    assert_eq!(verify(changed_text, &[SECRET], 0), Err(TicketError::Forged), "{index} {byte}");
                }
            }
            let mut shorter = text.clone();
            shorter.remove(index);
            let same = shorter == text;
            assert!(same || verify(std::str::from_utf8(&shorter).unwrap(), &[SECRET], 0).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_text_verifies_only_if_we_signed_it(text in "[A-Za-z0-9_.=-]{0,200}", url in "https?://[a-z]{1,9}/\\PC{0,30}") {
            prop_assert!(verify(&text, &[SECRET], 0).is_err());
            let signed = Ticket::click("s", &url);
            if let Ok(text) = sign(&signed, SECRET) {
                prop_assert_eq!(verify(&text, &[SECRET], 0).unwrap(), signed);
            }
        }
    }
}

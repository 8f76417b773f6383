//! Mailgun's webhooks.
//!
//! In:      `{"signature": {timestamp, token, signature}, "event-data": {..}}`, signed by HMAC-SHA256.
//! Out:     one event, known by `event-data.id`.
//! Promise: the signature does not cover the event, so that whoever has seen one request could sign any: a token is good for
//!          one body only, within the time a request may be old.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use tributary_schemas::{EngagementClass, Event};

use super::mail::{self, Own, Told, What};
use super::{Doubt, not_read};
use crate::clock_rule::read_time;
use crate::dialect::reading::plain;
use crate::dialect::{Refused, Sender, judge_size};
use crate::json;

const DIALECT: &str = "mailgun";

/// What the signature covers.
pub(super) struct Signed {
    pub time_us: i64,
    token: String,
}

pub(super) fn verify(wire: &[u8], signing_key: &str) -> Result<Signed, Doubt> {
    const UNSIGNED: Doubt = Doubt::Unsigned("the body has no signature of Mailgun");
    let text = std::str::from_utf8(wire).map_err(|_| UNSIGNED)?.trim();
    let [signature] = json::pick(text, ["signature"]).map_err(|_| UNSIGNED)?;
    let parts = signature.and_then(|json| json::pick(json, ["timestamp", "token", "signature"]).ok());
    let [Some(timestamp), Some(token), Some(signature)] = parts.unwrap_or_default().map(|json| json.and_then(plain))
    else {
        return Err(UNSIGNED);
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(signing_key.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(timestamp.as_bytes());
    mac.update(token.as_bytes());
    // `verify_slice` compares in constant time.
    mac.verify_slice(&hex(&signature).ok_or(Doubt::Forged)?).map_err(|_| Doubt::Forged)?;
    let seconds: i64 = timestamp.parse().map_err(|_| Doubt::Forged)?;
    Ok(Signed { time_us: seconds.saturating_mul(1_000_000), token })
}

/// Bytes of hexadecimal digits in small letters: a signature has one spelling.
fn hex(text: &str) -> Option<Vec<u8>> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !is_plain || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

/// The tokens that were used, each with the body it was used for.
#[derive(Default)]
pub(super) struct Tokens {
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    bodies: HashMap<String, [u8; 32]>,
    /// In the order they came, with the time of receipt.
    order: VecDeque<(i64, String)>,
}

impl Tokens {
    /// Most tokens remembered; 100,000 take some 20 MB. Beyond it the oldest are forgotten before their time.
    const COUNT_MAX: usize = 100_000;

    /// Whether this token comes for the first time, or again with the same body: Mailgun repeats a request whose answer it
    /// did not hear.
    pub(super) fn first_use(
        &self,
        signed: &Signed,
        wire: &[u8],
        ingest_time_us: i64,
        age_ms_max: u64,
    ) -> Result<(), Doubt> {
        let body: [u8; 32] = Sha256::digest(wire).into();
        // Each change below leaves it whole.
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest_us =
            ingest_time_us.saturating_sub(i64::try_from(age_ms_max.saturating_mul(1_000)).unwrap_or(i64::MAX));
        while used.order.front().is_some_and(|(time_us, _)| *time_us < oldest_us) || Self::COUNT_MAX <= used.order.len()
        {
            if let Some((_, token)) = used.order.pop_front() {
                used.bodies.remove(&token);
            }
        }
        match used.bodies.get(&signed.token) {
            Some(known) if *known == body => Ok(()),
            Some(_) => Err(Doubt::Forged),
            None => {
                used.bodies.insert(signed.token.clone(), body);
                used.order.push_back((ingest_time_us, signed.token.clone()));
                Ok(())
            }
        }
    }
}

pub(super) fn event(text: &str, sender: &Sender<'_>) -> Result<Event, Refused> {
    judge_size(text, sender.settings)?;
    let [data] = json::pick(text.trim(), ["event-data"]).map_err(|error| not_read("Mailgun", &error))?;
    let data = data.ok_or_else(|| not_read("Mailgun", &"it has no event-data"))?;
    let members = json::members(data).map_err(|error| not_read("Mailgun", &error))?;
    let get = |name: &str| {
        members.iter().find(|(known, _)| known == name).map(|(_, json)| *json).filter(|json| *json != "null")
    };
    let word = |name: &str| get(name).and_then(plain);
    let what = match word("event").as_deref() {
        Some("accepted") => What::Sent,
        Some("delivered") => What::Delivered,
        Some("opened") => What::Opened,
        Some("clicked") => What::Clicked,
        Some("complained") => What::Complained,
        Some("unsubscribed") => What::Unsubscribed,
        Some("failed") if word("severity").as_deref() == Some("temporary") => What::Deferred,
        Some("failed") => What::Bounced,
        Some("rejected") => What::Dropped,
        other => return Err(Refused::field("event-data.event", "one of Mailgun's", other.unwrap_or("nothing"))),
    };
    let id = word("id").ok_or_else(|| Refused::field("event-data.id", "an id", "nothing"))?;
    let client = get("client-info").and_then(|json| json::pick(json, ["bot", "user-agent"]).ok()).unwrap_or_default();
    let [bot, user_agent] = client.map(|json| json.and_then(plain));
    let headers = get("message").and_then(|json| json::pick(json, ["headers"]).ok()?[0]);
    let message_id = headers.and_then(|json| plain(json::pick(json, ["message-id"]).ok()?[0]?));
    let mut own = Own::default();
    // Without any it is an empty list.
    for (name, json) in get("user-variables").and_then(|json| json::members(json).ok()).unwrap_or_default() {
        own.put(&name, &plain(json).unwrap_or_default());
    }
    let first_tag = || plain(json::first(get("tags")?)?);
    own.campaign_id = own.campaign_id.or_else(first_tag);
    let told = Told {
        id: vec![&id],
        time: read_time(get("timestamp").map(json::scalar).as_ref()).ok(),
        recipient: word("recipient"),
        message_id,
        own,
        link: word("url"),
        user_agent,
        ip: word("ip"),
        machine: match bot.as_deref() {
            Some("apple") => Some((EngagementClass::PrivacyProxy, "mailgun_bot_apple")),
            Some("gmail") => Some((EngagementClass::PrivacyProxy, "mailgun_bot_gmail")),
            Some("generic") => Some((EngagementClass::Bot, "mailgun_bot_generic")),
            _ => None,
        },
        properties: Some(data),
        ..Told::default()
    };
    mail::event(DIALECT, what, told, sender)
}

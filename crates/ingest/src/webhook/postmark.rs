//! Postmark's webhooks.
//!
//! In:      one object a request; a password in HTTP Basic, for Postmark signs nothing.
//! Out:     one event, known by message, kind, recipient and time: Postmark gives events no id.
//! Promise: a request without the password of the settings is not read.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;
use tributary_schemas::Event;

use super::mail::{self, Own, Told, What};
use super::{Doubt, not_read};
use crate::clock_rule::read_time;
use crate::dialect::reading::plain;
use crate::dialect::{Refused, Sender, judge_size};
use crate::json;

const DIALECT: &str = "postmark";

/// * `secret`: `user:password`, as written into the webhook's address at Postmark.
pub(super) fn verify(headers: &HeaderMap, secret: &str) -> Result<(), Doubt> {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
    let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic")) else {
        return Err(Doubt::Unsigned(
            "the request has no user and password: write https://user:password@.. at Postmark",
        ));
    };
    let given = STANDARD.decode(given.trim()).map_err(|_| Doubt::Forged)?;
    if bool::from(given.ct_eq(secret.as_bytes())) { Ok(()) } else { Err(Doubt::Forged) }
}

pub(super) fn event(text: &str, sender: &Sender<'_>) -> Result<Event, Refused> {
    judge_size(text, sender.settings)?;
    let members = json::whole(text.trim()).and_then(json::members).map_err(|error| not_read("Postmark", &error))?;
    let get = |name: &str| {
        members.iter().find(|(known, _)| known == name).map(|(_, json)| *json).filter(|json| *json != "null")
    };
    let word = |name: &str| get(name).and_then(plain);
    let kind = word("RecordType");
    let what = match kind.as_deref() {
        Some("Delivery") => What::Delivered,
        Some("Open") => What::Opened,
        Some("Click") => What::Clicked,
        // A full mailbox comes right again.
        Some("Bounce") if matches!(word("Type").as_deref(), Some("Transient" | "SoftBounce" | "DnsError")) => {
            What::Deferred
        }
        Some("Bounce") => What::Bounced,
        Some("SpamComplaint") => What::Complained,
        Some("SubscriptionChange") if get("SuppressSending") == Some("false") => What::Resubscribed,
        Some("SubscriptionChange") => What::Unsubscribed,
        other => return Err(Refused::field("RecordType", "one of Postmark's", other.unwrap_or("nothing"))),
    };
    let time = ["DeliveredAt", "ReceivedAt", "BouncedAt", "ChangedAt"].into_iter().find_map(get);
    let message_id = word("MessageID");
    let recipient = word("Recipient").or_else(|| word("Email"));
    let link = word("OriginalLink");
    let own_id = word("ID");
    let mut own = Own::default();
    for (name, json) in get("Metadata").and_then(|json| json::members(json).ok()).unwrap_or_default() {
        own.put(&name, &plain(json).unwrap_or_default());
    }
    own.campaign_id = own.campaign_id.or_else(|| word("Tag"));
    let time_text = time.and_then(plain).unwrap_or_default();
    // A bounce has an id; else no two events agree in all of these.
    let id = vec![
        own_id.as_deref().unwrap_or_default(),
        message_id.as_deref().unwrap_or_default(),
        recipient.as_deref().unwrap_or_default(),
        &time_text,
        link.as_deref().unwrap_or_default(),
    ];
    let ip = get("Geo").and_then(|json| plain(json::pick(json, ["IP"]).ok()?[0]?));
    let told = Told {
        time: read_time(time.map(json::scalar).as_ref()).ok(),
        recipient: recipient.clone(),
        message_id: message_id.clone(),
        own,
        link: link.clone(),
        user_agent: word("UserAgent"),
        ip,
        properties: Some(text.trim()),
        id,
        ..Told::default()
    };
    mail::event(DIALECT, what, told, sender)
}

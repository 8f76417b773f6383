//! SendGrid's event webhook.
//!
//! In:      a list of flat events, signed by ECDSA P-256 over the time stamp and the body.
//! Out:     one event each, known by `sg_event_id`.
//! Promise: the body is checked byte for byte before it is read. SendGrid sends many events more than once (up to 46 times
//!          were seen); their id is the same.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tributary_schemas::{EngagementClass, Event};

use super::mail::{self, Own, Told, What};
use super::{Doubt, not_read};
use crate::clock_rule::read_time;
use crate::dialect::reading::plain;
use crate::dialect::{Refused, Sender, judge_size};
use crate::json;

const DIALECT: &str = "sendgrid";
const SIGNATURE: &str = "x-twilio-email-event-webhook-signature";
const TIMESTAMP: &str = "x-twilio-email-event-webhook-timestamp";

/// The key as SendGrid shows it: DER in base64, with or without the lines of PEM around it.
pub(crate) fn key_der(text: &str) -> Option<Vec<u8>> {
    let base64: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(base64.split_whitespace().collect::<String>()).ok().filter(|der| !der.is_empty())
}

/// Checks the signature; returns when it was made.
pub(super) fn verify(headers: &HeaderMap, wire: &[u8], key: &str) -> Result<i64, Doubt> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(signature), Some(timestamp)) = (header(SIGNATURE), header(TIMESTAMP)) else {
        return Err(Doubt::Unsigned("the request has no signature of SendGrid: turn on its signed event webhook"));
    };
    let signature = STANDARD.decode(signature.trim()).map_err(|_| Doubt::Forged)?;
    let mut signed = timestamp.as_bytes().to_vec();
    signed.extend_from_slice(wire);
    let key = key_der(key).ok_or(Doubt::Forged)?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(&signed, &signature).map_err(|_| Doubt::Forged)?;
    let seconds: i64 = timestamp.trim().parse().map_err(|_| Doubt::Forged)?;
    Ok(seconds.saturating_mul(1_000_000))
}

pub(super) fn events<'a>(text: &'a str, sender: &Sender<'_>) -> Vec<(&'a str, Result<Event, Refused>)> {
    match json::elements(text, sender.settings.batch_events_max) {
        Ok(Some(events)) => events.into_iter().map(|json| (json, event(json, sender))).collect(),
        Ok(None) => vec![(text, Err(not_read("SendGrid", &"too many events in one request")))],
        Err(error) => vec![(text, Err(not_read("SendGrid", &error)))],
    }
}

fn event(event_json: &str, sender: &Sender<'_>) -> Result<Event, Refused> {
    judge_size(event_json, sender.settings)?;
    let members = json::members(event_json).map_err(|error| not_read("SendGrid", &error))?;
    let mut own = Own::default();
    let mut told = Told { properties: Some(event_json), ..Told::default() };
    let (mut kind, mut event_id, mut category, mut marketing_campaign) = (None, None, None, None);
    for (name, json) in &members {
        let text = plain(json);
        match &**name {
            "event" => kind = text,
            "sg_event_id" => event_id = text,
            "timestamp" => told.time = read_time(Some(&json::scalar(json))).ok(),
            "email" => told.recipient = text,
            // Of `id.filter..` the part before the point is what the sending call was answered with.
            "sg_message_id" => told.message_id = text.map(|id| id.split('.').next().unwrap_or_default().to_owned()),
            "url" => told.link = text,
            "url_offset" => {
                let [index] = json::pick(json, ["index"]).unwrap_or_default();
                told.link_id = index.and_then(plain);
            }
            "useragent" => told.user_agent = text,
            "ip" => told.ip = text,
            "sg_machine_open" if *json == "true" => {
                told.machine = Some((EngagementClass::PrivacyProxy, "sg_machine_open"));
            }
            "category" => category = text,
            "marketing_campaign_id" => marketing_campaign = text,
            name => own.put(name, text.as_deref().unwrap_or_default()),
        }
    }
    let what = match kind.as_deref() {
        Some("processed") => What::Sent,
        Some("delivered") => What::Delivered,
        Some("deferred") => What::Deferred,
        Some("bounce" | "blocked") => What::Bounced,
        Some("dropped") => What::Dropped,
        Some("open") => What::Opened,
        Some("click") => What::Clicked,
        Some("spamreport") => What::Complained,
        Some("unsubscribe" | "group_unsubscribe") => What::Unsubscribed,
        Some("group_resubscribe") => What::Resubscribed,
        other => return Err(Refused::field("event", "one of SendGrid's", other.unwrap_or("nothing"))),
    };
    // Their server's address says nothing of the reader.
    if !matches!(what, What::Opened | What::Clicked | What::Unsubscribed | What::Resubscribed) {
        told.ip = None;
    }
    own.campaign_id = own.campaign_id.or(marketing_campaign).or(category);
    told.own = own;
    let id = event_id.ok_or_else(|| Refused::field("sg_event_id", "an id", "nothing"))?;
    told.id = vec![&id];
    mail::event(DIALECT, what, told, sender)
}

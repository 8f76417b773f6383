//! Amazon SES's events, inside an SNS envelope that was verified.
//!
//! In:      `Message`: an object with `eventType` (or `notificationType`) and `mail`.
//! Out:     one event, or one for each recipient of a bounce, complaint, delivery or delay.
//! Promise: an event is known by message, kind, recipient and time: SNS's own id differs between two topics that tell the same.

use tributary_schemas::Event;

use super::mail::{self, Own, Told, What};
use super::not_read;
use crate::clock_rule::read_time;
use crate::dialect::reading::plain;
use crate::dialect::{Refused, Sender, judge_size};
use crate::json;

const DIALECT: &str = "ses";

pub(super) fn events(envelope: &str, sender: &Sender<'_>) -> Vec<Result<Event, Refused>> {
    match read(envelope, sender) {
        Ok(events) => events.into_iter().map(Ok).collect(),
        Err(refused) => vec![Err(refused)],
    }
}

fn read(envelope: &str, sender: &Sender<'_>) -> Result<Vec<Event>, Refused> {
    judge_size(envelope, sender.settings)?;
    let unread = |error: &dyn std::fmt::Display| not_read("Amazon SES", &error.to_string());
    let [message] = json::pick(envelope.trim(), ["Message"]).map_err(|error| unread(&error))?;
    let message = message.and_then(plain).ok_or_else(|| unread(&"it has no Message"))?;
    judge_size(&message, sender.settings)?;
    let message = message.trim();
    let members = json::whole(message).and_then(json::members).map_err(|error| unread(&error))?;
    let get = |name: &str| {
        members.iter().find(|(known, _)| known == name).map(|(_, json)| *json).filter(|json| *json != "null")
    };
    let kind = get("eventType").or(get("notificationType")).and_then(plain).unwrap_or_default();
    // What an event says of itself stands under a name of its own; whom it was about, in a list in there.
    let (what, name, list) = match kind.as_str() {
        "Send" => (What::Sent, "send", None),
        "Delivery" => (What::Delivered, "delivery", Some("recipients")),
        "DeliveryDelay" => (What::Deferred, "deliveryDelay", Some("delayedRecipients")),
        "Bounce" => (What::Bounced, "bounce", Some("bouncedRecipients")),
        "Complaint" => (What::Complained, "complaint", Some("complainedRecipients")),
        "Open" => (What::Opened, "open", None),
        "Click" => (What::Clicked, "click", None),
        "Reject" => (What::Dropped, "reject", None),
        "Rendering Failure" | "RenderingFailure" => (What::Dropped, "failure", None),
        "Subscription" => (What::Unsubscribed, "subscription", None),
        other => return Err(Refused::field("eventType", "one of SES's", &format!("{other:?}"))),
    };
    let detail = get(name).unwrap_or("{}");
    let [timestamp, ip, user_agent, link, bounce_type, preferences] =
        json::pick(detail, ["timestamp", "ipAddress", "userAgent", "link", "bounceType", "newTopicPreferences"])
            .map_err(|error| unread(&error))?;
    let what = match what {
        // A full mailbox comes right again.
        What::Bounced if bounce_type.and_then(plain).as_deref() == Some("Transient") => What::Deferred,
        What::Unsubscribed if !says_unsubscribe(preferences) => What::Resubscribed,
        what => what,
    };

    let [mail_json] = [get("mail").unwrap_or("{}")];
    let [mail_time, message_id, destination, tags] =
        json::pick(mail_json, ["timestamp", "messageId", "destination", "tags"]).map_err(|error| unread(&error))?;
    let time = timestamp.or(mail_time);
    let message_id = message_id.and_then(plain);
    let time_text = time.and_then(plain).unwrap_or_default();
    let mut recipients = list.map(|list| recipients(detail, list)).unwrap_or_default();
    if recipients.is_empty() {
        recipients = destination.map(texts).unwrap_or_default();
    }
    if matches!(what, What::Opened | What::Clicked) && 1 < recipients.len() {
        // One of several has opened it, and SES does not say which.
        recipients.clear();
    }
    let recipients: Vec<Option<String>> =
        if recipients.is_empty() { vec![None] } else { recipients.into_iter().map(Some).collect() };

    let link = link.and_then(plain);
    recipients
        .into_iter()
        .map(|recipient| {
            let id = vec![
                message_id.as_deref().unwrap_or_default(),
                recipient.as_deref().unwrap_or_default(),
                &time_text,
                link.as_deref().unwrap_or_default(),
            ];
            let told = Told {
                time: read_time(time.map(json::scalar).as_ref()).ok(),
                recipient: recipient.clone(),
                message_id: message_id.clone(),
                own: own_of(tags),
                link: link.clone(),
                user_agent: user_agent.and_then(plain).filter(|_| matches!(what, What::Opened | What::Clicked)),
                ip: ip.and_then(plain),
                properties: Some(message),
                id,
                ..Told::default()
            };
            mail::event(DIALECT, what, told, sender)
        })
        .collect()
}

fn says_unsubscribe(preferences: Option<&str>) -> bool {
    let Some(preferences) = preferences else { return true };
    let Ok([all, topics]) = json::pick(preferences, ["unsubscribeAll", "topicSubscriptionStatus"]) else { return true };
    all == Some("true") || topics.is_some_and(|topics| topics.contains("OptOut"))
}

/// Addresses, each as text or as `{emailAddress}`.
fn recipients(detail: &str, list: &str) -> Vec<String> {
    let found = json::pick(detail, [list]).ok().and_then(|[list]| list);
    let elements = found.and_then(|list| json::elements(list, RECIPIENTS_MAX).ok()?).unwrap_or_default();
    elements
        .into_iter()
        .filter_map(|json| plain(json).or_else(|| plain(json::pick(json, ["emailAddress"]).ok()?[0]?)))
        .collect()
}

fn texts(list: &str) -> Vec<String> {
    json::elements(list, RECIPIENTS_MAX).ok().flatten().unwrap_or_default().into_iter().filter_map(plain).collect()
}

/// SES takes 50 recipients a message.
const RECIPIENTS_MAX: usize = 1_000;

/// Tags are lists: `{"campaign_id": ["spring"]}`.
fn own_of(tags: Option<&str>) -> Own {
    let mut own = Own::default();
    for (name, json) in tags.and_then(|json| json::members(json).ok()).unwrap_or_default() {
        if let Some(value) = texts(json).first() {
            own.put(&name, value);
        }
    }
    own
}

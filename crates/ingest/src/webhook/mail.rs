//! What the providers' events have in common: something happened to a message on its way to somebody.
//!
//! In:      what one provider's file has found in an event.
//! Out:     an `Event`.
//! Promise: the same words for the same thing, whoever tells it: a report over two providers needs no translation.

use tributary_schemas::{EngagementClass, Event, EventKind};

use crate::clock_rule::{ClientClock, Written};
use crate::dialect::page::put_address;
use crate::dialect::reading::{Reading, put_time};
use crate::dialect::{Refused, Sender, finish};
use crate::engagement::{self, Verdict};
use crate::network;
use crate::text::{AGENT_BYTES_MAX, NAME_BYTES_MAX};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Sent,
    Delivered,
    Deferred,
    Bounced,
    /// Not sent at all: the provider would not.
    Dropped,
    Opened,
    Clicked,
    Complained,
    Unsubscribed,
    Resubscribed,
}

impl What {
    fn name_and_kind(self) -> (&'static str, EventKind) {
        match self {
            Self::Sent => ("Email Sent", EventKind::Send),
            Self::Delivered => ("Email Delivered", EventKind::Send),
            Self::Deferred => ("Email Deferred", EventKind::Feedback),
            Self::Bounced => ("Email Bounced", EventKind::Feedback),
            Self::Dropped => ("Email Dropped", EventKind::Feedback),
            Self::Opened => ("Email Opened", EventKind::Open),
            Self::Clicked => ("Email Link Clicked", EventKind::Click),
            Self::Complained => ("Email Marked as Spam", EventKind::Feedback),
            Self::Unsubscribed => ("Unsubscribed", EventKind::Feedback),
            Self::Resubscribed => ("Resubscribed", EventKind::Consent),
        }
    }
}

/// One event as a provider tells it.
#[derive(Default)]
pub(super) struct Told<'a> {
    /// What makes it this event and no other, by the provider's own ids.
    pub id: Vec<&'a str>,
    pub time: Option<Written>,
    pub recipient: Option<String>,
    /// The provider's id of the message.
    pub message_id: Option<String>,
    /// What the sender had attached to the message, for itself.
    pub own: Own,
    pub link: Option<String>,
    pub link_id: Option<String>,
    pub user_agent: Option<String>,
    pub ip: Option<String>,
    /// The provider says that a machine did it: which sort, and by what mark.
    pub machine: Option<(EngagementClass, &'static str)>,
    /// All of it as JSON.
    pub properties: Option<&'a str>,
}

/// Ids the sender attached to the message, under the names of our columns.
#[derive(Default)]
pub(super) struct Own {
    pub user_id: Option<String>,
    pub anonymous_id: Option<String>,
    pub message_id: Option<String>,
    pub campaign_id: Option<String>,
    pub decision_id: Option<String>,
}

impl Own {
    /// Takes `value` if `name` is that of an id; spelled our way or Segment's.
    pub(super) fn put(&mut self, name: &str, value: &str) {
        let slot = match name {
            "user_id" | "userId" => &mut self.user_id,
            "anonymous_id" | "anonymousId" => &mut self.anonymous_id,
            "message_id" | "messageId" => &mut self.message_id,
            "campaign_id" | "campaignId" | "campaign" => &mut self.campaign_id,
            "decision_id" | "decisionId" => &mut self.decision_id,
            _ => return,
        };
        if !value.trim().is_empty() {
            *slot = Some(value.to_owned());
        }
    }
}

pub(super) fn event(dialect: &str, what: What, told: Told<'_>, sender: &Sender<'_>) -> Result<Event, Refused> {
    let source = &sender.key.source;
    let (name, kind) = what.name_and_kind();
    let mut parts = vec![dialect, name];
    parts.extend(told.id.iter().copied());
    let mut event = Event::new(source, dialect, &sender.ids.derived(source, &parts), name, sender.ingest_time_us);
    event.event_kind = kind;
    event.channel = Some("email".to_owned());

    let mut reading = Reading::default();
    // Who was not named otherwise is known by the address, which has no letter case to whoever delivers it.
    let address = told.recipient.as_deref().map(|address| address.trim().to_lowercase());
    event.user_id = told.own.user_id.or(address).and_then(|id| reading.plain_id(&id));
    event.anonymous_id = told.own.anonymous_id.and_then(|id| reading.plain_id(&id));
    event.message_id = told.own.message_id.or(told.message_id).and_then(|id| reading.plain_id(&id));
    event.campaign_id = told.own.campaign_id.and_then(|id| reading.plain_id(&id));
    event.decision_id = told.own.decision_id.and_then(|id| reading.plain_id(&id));
    event.link_id = told.link_id.and_then(|id| reading.fit(&id, NAME_BYTES_MAX));
    if let Some(link) = &told.link {
        put_address(&mut event, link, &mut reading);
    }
    event.ip_truncated = told.ip.as_deref().and_then(network::parse_ip).map(network::truncated);
    event.user_agent = told.user_agent.and_then(|agent| reading.fit(&agent, AGENT_BYTES_MAX));
    let verdict = match (told.machine, what) {
        (Some((class, reason)), _) => Verdict::named(class, reason),
        (None, What::Opened | What::Clicked) => {
            engagement::of_message_request(false, &axum::http::HeaderMap::new(), event.user_agent.as_deref())
        }
        (None, What::Unsubscribed | What::Resubscribed | What::Complained) => Verdict::plain(EngagementClass::Human),
        _ => Verdict::plain(EngagementClass::Unknown),
    };
    verdict.put_on(&mut event);

    let client = told.time.unwrap_or(Written::Absent);
    put_time(&mut event, ClientClock { client, sent: Written::Absent, trusted: true, retried: false }, sender);
    event.properties = told.properties.map(str::to_owned);
    reading.put_flags(&mut event);
    finish(&mut event, true, false, sender)?;
    Ok(event)
}

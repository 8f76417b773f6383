//! `GET /v1/tail`: what comes in, as it comes, for whoever is setting something up.
//!
//! In:      events and dead letters that have become durable; a watcher's token and filters.
//! Out:     server-sent events, one a record: `event: event` or `event: dead_letter`, with JSON.
//! Promise: watching costs the door nothing while nobody does, and never holds it up: a watcher that is too slow misses
//!          some and is told how many. What he sees is durable.
//! Not here: what was before (SQL has it), and requests that were refused to their sender's face.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use tokio::sync::broadcast;
use tributary_schemas::{DeadLetter, Event};

use crate::auth;
use crate::dialect::pairs::Pairs;
use crate::json;
use crate::refusal::Refusal;
use crate::router::Door;
use crate::text::cut;

/// How many records a watcher may be behind.
const BEHIND_MAX: usize = 1_024;
const WATCHERS_MAX: usize = 32;
/// Longer properties are left out and longer payloads cut: 1,024 records stay below 20 MB.
const SHOWN_BYTES_MAX: usize = 16 << 10;
/// Proxies close what says nothing.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// One record, and what it can be filtered by.
struct Item {
    is_dead: bool,
    source: String,
    dialect: String,
    name: String,
    kind: &'static str,
    people: Vec<String>,
    data: String,
}

pub(crate) struct Tail {
    sender: broadcast::Sender<Arc<Item>>,
}

impl Default for Tail {
    fn default() -> Self {
        Self { sender: broadcast::channel(BEHIND_MAX).0 }
    }
}

impl Tail {
    /// Shows what has become durable to those who watch.
    pub(crate) fn show<'e>(&self, events: impl Iterator<Item = &'e Event>, letters: &[DeadLetter], spooled: bool) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let items = events.map(|event| item_of_event(event, spooled)).chain(letters.iter().map(item_of_letter));
        for item in items {
            // Whoever watched may have gone meanwhile.
            drop(self.sender.send(Arc::new(item)));
        }
    }
}

fn item_of_event(event: &Event, spooled: bool) -> Item {
    let mut data = json!({
        "source": event.source, "dialect": event.dialect, "event_id": event.event_id, "event_name": event.event_name,
        "event_kind": event.event_kind.as_str(), "event_time_us": event.event_time_us,
        "ingest_time_us": event.ingest_time_us, "clock_quality": event.clock_quality.as_str(),
        "anonymous_id": event.anonymous_id, "user_id": event.user_id, "account_id": event.account_id,
        "value": event.value.as_ref().map(ToString::to_string), "currency": event.currency, "channel": event.channel,
        "campaign_id": event.campaign_id, "message_id": event.message_id, "utm_source": event.utm_source,
        "utm_medium": event.utm_medium, "utm_campaign": event.utm_campaign, "url_host": event.url_host,
        "url_path": event.url_path, "referrer_host": event.referrer_host, "library": event.library,
        "engagement_class": event.engagement_class.as_str(), "consent": event.consent.map(|consent| consent.0),
        "flags": event.flags.0, "durability": if spooled { "spool" } else { "log" },
    });
    if let Some(members) = data.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    // Put in as they are: they may hold what a reader of JSON refuses, such as half an emoji.
    let properties = event.properties.as_deref().filter(|json| json.len() <= SHOWN_BYTES_MAX);
    let properties: Vec<(&str, &str)> = properties.map(|json| ("properties", json)).into_iter().collect();
    let data = data.to_string();
    let people = [&event.anonymous_id, &event.user_id, &event.account_id];
    Item {
        is_dead: false,
        source: event.source.clone(),
        dialect: event.dialect.clone(),
        name: event.event_name.clone(),
        kind: event.event_kind.as_str(),
        people: people.into_iter().flatten().cloned().collect(),
        // Properties are as they were written: a line end in them would end the record for whoever reads lines. In text JSON
        // has none.
        data: json::with_members(Some(&data), &properties).unwrap_or(data).replace(['\n', '\r'], " "),
    }
}

fn item_of_letter(letter: &DeadLetter) -> Item {
    let source = letter.source.clone().unwrap_or_default();
    let data = json!({
        "source": source, "dialect": letter.dialect, "event_id": letter.event_id, "reason": letter.reason.as_str(),
        "detail": letter.detail, "event_name": letter.event.as_ref().map(|event| &event.event_name), "ingest_time_us": letter.ingest_time_us, "payload": letter.payload.as_deref().map(|payload| cut(payload, SHOWN_BYTES_MAX)),
    });
    Item {
        is_dead: true,
        source,
        dialect: letter.dialect.clone(),
        name: letter.reason.as_str().to_owned(),
        kind: "dead_letter",
        people: Vec::new(),
        data: data.to_string(),
    }
}

/// What a watcher wants to see; what is absent lets everything pass.
struct Filter {
    source: Option<String>,
    dialect: Option<String>,
    name: Option<String>,
    kind: Option<String>,
    person: Option<String>,
    dead: bool,
}

impl Filter {
    fn of(query: &Pairs) -> Self {
        let get = |name: &str| query.get(name).map(str::to_owned);
        Self {
            source: get("source"),
            dialect: get("dialect"),
            name: get("name"),
            kind: get("kind"),
            person: get("person"),
            dead: query.get("dead") == Some("true"),
        }
    }

    fn lets_pass(&self, item: &Item) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        is(&self.source, &item.source)
            && is(&self.dialect, &item.dialect)
            && is(&self.name, &item.name)
            && is(&self.kind, item.kind)
            && self.person.as_ref().is_none_or(|person| item.people.contains(person))
            && (!self.dead || item.is_dead)
    }
}

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let head = request.into_parts().0;
    if let Err(refusal) = auth::check_token(&head, &door.settings.watch_tokens) {
        return refusal.into_response();
    }
    if WATCHERS_MAX <= door.tail.sender.receiver_count() {
        return Refusal::Full.into_response();
    }
    let watcher = Watcher {
        filter: Filter::of(&Pairs::of_uri(&head.uri)),
        receiver: door.tail.sender.subscribe(),
        stop: door.parts.stop.clone(),
    };
    let records = stream::unfold(watcher, |mut watcher| async move {
        let event = watcher.next().await?;
        Some((Ok::<_, Infallible>(event), watcher))
    });
    Sse::new(records).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response()
}

struct Watcher {
    filter: Filter,
    receiver: broadcast::Receiver<Arc<Item>>,
    stop: tokio_util::sync::CancellationToken,
}

impl Watcher {
    /// `None` when the server stops.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            let received = tokio::select! {
                received = self.receiver.recv() => received,
                () = self.stop.cancelled() => return None,
            };
            match received {
                Ok(item) if self.filter.lets_pass(&item) => {
                    let name = if item.is_dead { "dead_letter" } else { "event" };
                    return Some(SseEvent::default().event(name).data(&item.data));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    return Some(SseEvent::default().event("missed").data(count.to_string()));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

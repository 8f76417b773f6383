//! `GET /p.gif`: an image of one dot that says something was seen.
//!
//! In:      `?t={ticket}` (an open of a message we sent), or `?writeKey=&event=&anonymousId=&userId=&messageId=` and
//!          any further parameters, which become properties.
//! Out:     always the same image, never stored by anyone.
//! Promise: the image comes within `redirect_wait_ms_max` of the request, whatever the log does: a broken
//!          picture in a mail is worse than a lost open. What was not logged is counted.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tributary_schemas::{DeadReason, Event, EventFlags, EventKind};

use super::pairs::Pairs;
use super::{Refused, Sender, honour_privacy_control, settle_identity, short_id};
use crate::append::{Accepted, append_regardless};
use crate::dialect::redirect;
use crate::event_id::EventId;
use crate::kind_rule::kind_of_name;
use crate::refusal::Refusal;
use crate::replay::{self, Replay};
use crate::router::Door;
use crate::text::{NAME_BYTES_MAX, TITLE_BYTES_MAX, cut};
use crate::ticket::TicketKind;
use crate::{auth, consent, engagement, landing, network, telling};

pub(crate) const DIALECT: &str = "pixel";

/// One transparent dot, GIF89a.
const GIF: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\
    !\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let head = request.into_parts().0;
    if let Some(replay) = head.extensions.get::<Replay>() {
        return match accept(&door, &head) {
            Ok(accepted) => replay.append(&door, accepted).await.map_or_else(Refusal::answer, |_| gif()),
            Err(reason) => Refusal::Unbelieved(reason.to_owned()).answer(),
        };
    }
    match (door.room.enter(), accept(&door, &head)) {
        (Ok(place), Ok(accepted)) => {
            let wait = door.settings.redirect_wait_max();
            append_regardless(door, place, DIALECT, accepted, wait).await;
        }
        (Err(refusal), _) => telling::not_logged(DIALECT, refusal.word()),
        (_, Err(reason)) => telling::not_logged(DIALECT, reason),
    }
    gif()
}

/// One dot that nobody may keep.
pub(crate) fn gif() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "image/gif"),
        (header::CACHE_CONTROL, "no-store, no-cache, must-revalidate, private, max-age=0"),
        (header::PRAGMA, "no-cache"),
        (header::EXPIRES, "0"),
    ];
    (StatusCode::OK, headers, GIF.as_slice()).into_response()
}

/// `GET /pixel/v1/{track, page}` of RudderStack: the same parameters, and the path says what happened.
pub(crate) async fn receive_rudder(
    state: State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let call = path.map(|Path(call)| call).unwrap_or_default();
    // A page has no name of its own there.
    let (mut head, body) = request.into_parts();
    let has_event = Pairs::of_uri(&head.uri).get("event").is_some();
    if !has_event && let Ok(uri) = format!("{}&event={call}", head.uri).parse() {
        head.uri = uri;
    }
    receive(state, Request::from_parts(head, body)).await
}

/// What the request says, or the word for why nothing is logged.
fn accept(door: &Door, head: &axum::http::request::Parts) -> Result<Accepted, &'static str> {
    let query = Pairs::of_uri(&head.uri);
    if let Some(text) = query.get("t") {
        let ingest_time_us = door.parts.clock.now_us();
        let ticket = redirect::verify(door, text, ingest_time_us).map_err(|_| "forged_ticket")?;
        if ticket.kind != TicketKind::Open {
            return Err("forged_ticket");
        }
        let event = redirect::event_of(&ticket, text, DIALECT, head, door, ingest_time_us);
        return Ok(Accepted { events: vec![event], ..Accepted::default() });
    }
    let keys = auth::keys_outside_body(&head.headers, &head.uri);
    let key = match head.extensions.get::<Replay>() {
        Some(replay) => replay.key(&door.settings.write_keys),
        None => auth::find(&door.settings.write_keys, &keys),
    };
    let key = key.map_err(|refusal| refusal.word())?;
    let sender = Sender::of(door, key, head, door.parts.clock.now_us());
    let mut accepted = Accepted::default();
    let read = event(&sender, &query, &head.method, &head.headers);
    let alone = || {
        let text = replay::without_keys(head.uri.query().unwrap_or_default());
        // What the browser says of the page goes with it.
        match referer(&head.headers).filter(|_| query.get("url").is_none()) {
            Some(page) => {
                let page = url::form_urlencoded::Serializer::new(String::new()).append_pair("url", page).finish();
                format!("{text}&{page}")
            }
            None => text,
        }
    };
    sender.file(&mut accepted, DIALECT, alone, read);
    Ok(accepted)
}

fn referer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::REFERER).and_then(|value| value.to_str().ok())
}

fn event(sender: &Sender<'_>, query: &Pairs, method: &Method, headers: &HeaderMap) -> Result<Event, Refused> {
    let name = query.get("event").unwrap_or("pixel");
    let source = &sender.key.source;
    let own_id = query.get("messageId").filter(|id| !tributary_schemas::is_junk_id(id));
    // Without an id two loads are two events, even of the same address: a page seen twice was seen twice.
    let id = own_id.map_or_else(
        || {
            let agent = sender.user_agent.as_deref().unwrap_or_default();
            let peer = sender.ip.map(|ip| ip.to_string()).unwrap_or_default();
            let time = sender.ingest_time_us.to_string();
            let text = sender.head.uri.query().unwrap_or_default();
            EventId {
                event_id: sender.ids.derived(source, &["pixel", text, agent, &peer, &time]),
                client_event_id: None,
            }
        },
        |id| sender.own_id(id),
    );
    let mut event = Event::new(source, DIALECT, &id.event_id, cut(name, NAME_BYTES_MAX), sender.ingest_time_us);
    event.client_event_id = id.client_event_id;
    event.event_kind = if name == "page" { EventKind::Page } else { kind_of_name(name) };
    for (field, column) in [
        ("anonymousId", &mut event.anonymous_id),
        ("userId", &mut event.user_id),
        ("groupId", &mut event.account_id),
        ("channel", &mut event.channel),
        ("campaign_id", &mut event.campaign_id),
        ("ad_id", &mut event.ad_id),
        ("creative_id", &mut event.creative_id),
        ("message_id", &mut event.message_id),
    ] {
        let value = query.get(field);
        *column = value.and_then(short_id);
        if column.is_none() && value.is_some_and(|value| !value.trim().is_empty()) {
            let detail = format!("{field}: expected at most {} bytes", tributary_schemas::ids::ID_BYTES_MAX);
            return Err(Refused::new(DeadReason::InvalidField, detail));
        }
    }
    let mut trimmed = name.len() > NAME_BYTES_MAX;
    let mut put = |text: &str, bytes_max: usize| {
        let kept = cut(text, bytes_max);
        trimmed |= kept.len() < text.len();
        (!kept.is_empty()).then(|| kept.to_owned())
    };
    // The page that shows the pixel: as it says itself, else as the browser says.
    if let Some(address) = query.get("url").or(referer(headers)) {
        landing::fill(&mut event, address, &mut put);
    }
    event.title = query.get("title").and_then(|title| put(title, TITLE_BYTES_MAX));
    let (host, term) = query.get("referrer").map(landing::referrer_of).unwrap_or_default();
    event.referrer_term = term.and_then(|term| put(&term, NAME_BYTES_MAX));
    event.referrer_host = host;
    if trimmed {
        event.flags = event.flags.with(EventFlags::TRIMMED);
    }
    let properties = query.rest(&["writeKey", "event", "anonymousId", "userId", "messageId"]);
    event.properties = properties.map(|properties| serde_json::Value::from(properties).to_string());
    put_browser(&mut event, sender.user_agent.clone(), sender.ip, method, headers);
    put_consent(&mut event, query);
    if sender.privacy_control {
        honour_privacy_control(&mut event);
    }
    settle_identity(&mut event, own_id.is_some())?;
    Ok(event)
}

/// The parameters by which ad servers pass on what a visitor allowed: a TC string, or one of GPP.
pub(crate) fn put_consent(event: &mut Event, query: &Pairs) {
    if let Some(text) = query.get("gdpr_consent").or(query.get("gpp")).filter(|text| !text.is_empty()) {
        event.consent = consent::with_tcf(event.consent, text);
    }
}

/// What a request of a mail reader or browser shows of itself.
pub(crate) fn put_browser(
    event: &mut Event,
    user_agent: Option<String>,
    ip: Option<std::net::IpAddr>,
    method: &Method,
    headers: &HeaderMap,
) {
    engagement::of_message_request(method == Method::HEAD, headers, user_agent.as_deref()).put_on(event);
    event.user_agent = user_agent;
    event.ip_truncated = ip.map(network::truncated);
}

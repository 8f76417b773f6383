//! `GET /r/{ticket}`: a link of a message, counted on its way.
//!
//! In:      a ticket that `ticket::sign` made.
//! Out:     302 to the address inside it; a plain page with 404 for anything else.
//! Promise: it goes only where a signed ticket says, so it is no open redirect; machine and person get the same
//!          answer; it comes within `redirect_wait_ms_max`, and the append goes on behind it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tributary_schemas::{Event, EventFlags, EventKind, Exposure};

use super::pairs::Pairs;
use super::{honour_privacy_control, pixel, short_id, user_agent};
use crate::append::{Accepted, append_regardless};
use crate::router::Door;
use crate::text::cut;
use crate::ticket::{self, Ticket, TicketError, TicketKind};
use crate::{landing, network, telling};

pub(crate) const DIALECT: &str = "redirect";

pub(crate) async fn receive(
    State(door): State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // A path that is not UTF-8 is a forged ticket like any other.
    let text = path.map(|Path(text)| text).unwrap_or_default();
    let head = request.into_parts().0;
    let ingest_time_us = door.parts.clock.now_us();
    let target = verify(&door, &text, ingest_time_us).and_then(|ticket| match ticket.kind {
        TicketKind::Click => ticket::target(&ticket).map(|url| (ticket, url)),
        TicketKind::Open | TicketKind::Unsubscribe => Err(TicketError::Forged),
    });
    // `url` has escaped whatever a header may not hold.
    let found = target.ok().and_then(|(ticket, url)| Some((ticket, HeaderValue::from_str(url.as_str()).ok()?)));
    let Some((ticket, location)) = found else {
        telling::refusal("forged_ticket");
        return not_found();
    };
    match door.room.enter() {
        Ok(place) => {
            let event = event_of(&ticket, &text, DIALECT, &head, &door, ingest_time_us);
            let wait = door.settings.redirect_wait_max();
            let accepted = Accepted { events: vec![event], ..Accepted::default() };
            append_regardless(door, place, DIALECT, accepted, wait).await;
        }
        Err(refusal) => telling::not_logged(DIALECT, refusal.word()),
    }
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, private")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::FOUND, headers).into_response()
}

pub(crate) fn not_found() -> Response {
    const PAGE: &str = "<!doctype html><meta charset=utf-8><title>Link not found</title>\
        <p>This link is not known or no longer good. Please look for the newest message from the sender.</p>\n";
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
    (StatusCode::NOT_FOUND, headers, PAGE).into_response()
}

pub(crate) fn verify(door: &Door, text: &str, now_us: i64) -> Result<Ticket, TicketError> {
    let settings = &door.settings;
    let secrets: Vec<&str> =
        std::iter::once(&settings.ticket_secret).chain(&settings.former_ticket_secrets).map(String::as_str).collect();
    ticket::verify(text, &secrets, now_us.div_euclid(1_000))
}

/// The open or click that a request with this ticket is.
///
/// Its id is the ticket, the class of who asked and the minute: a client that asks twice at once is one open,
/// the same person an hour later is a second one, and a scanner's visit does not swallow the person's.
pub(crate) fn event_of(
    ticket: &Ticket,
    text: &str,
    dialect: &str,
    head: &Parts,
    door: &Door,
    ingest_time_us: i64,
) -> Event {
    let by_email = ticket.channel.as_deref().is_none_or(|channel| channel == "email");
    let (name, kind) = match (ticket.kind, by_email) {
        (TicketKind::Open, true) => ("Email Opened", EventKind::Open),
        (TicketKind::Open, false) => ("Message Opened", EventKind::Open),
        (TicketKind::Click, true) => ("Email Link Clicked", EventKind::Click),
        (TicketKind::Click, false) => ("Message Link Clicked", EventKind::Click),
        (TicketKind::Unsubscribe, _) => ("Unsubscribed", EventKind::Feedback),
    };
    let mut event = Event::new(&ticket.source, dialect, "", name, ingest_time_us);
    event.event_kind = kind;
    let ip = network::visitor_ip(head, door.settings.forwarded_hops);
    pixel::put_browser(&mut event, user_agent(&head.headers), ip, &head.method, &head.headers);
    // To leave twice is to leave.
    let is_once = ticket.kind == TicketKind::Unsubscribe;
    let minute = if is_once { String::new() } else { ingest_time_us.div_euclid(60_000_000).to_string() };
    event.event_id = door.ids.derived(&ticket.source, &["ticket", text, event.engagement_class.as_str(), &minute]);

    event.user_id = ticket.user_id.as_deref().and_then(short_id);
    event.anonymous_id = ticket.anonymous_id.as_deref().and_then(short_id);
    event.message_id.clone_from(&ticket.message_id);
    event.campaign_id.clone_from(&ticket.campaign_id);
    event.link_id.clone_from(&ticket.link_id);
    event.decision_id.clone_from(&ticket.decision_id);
    event.channel = Some(ticket.channel.clone().unwrap_or_else(|| "email".to_owned()));
    if let (Some(experiment), Some(variant)) = (&ticket.experiment, &ticket.variant) {
        let (experiment, variant) = (experiment.clone(), variant.clone());
        event.exposures.push(Exposure {
            experiment,
            variant,
            decision_id: ticket.decision_id.clone(),
            probability: None,
        });
    }
    if let Some(url) = &ticket.url {
        let mut trimmed = false;
        landing::fill(&mut event, url, &mut |text, bytes_max| {
            trimmed |= bytes_max < text.len();
            Some(cut(text, bytes_max).to_owned())
        });
        if trimmed {
            event.flags = event.flags.with(EventFlags::TRIMMED);
        }
    }
    pixel::put_consent(&mut event, &Pairs::of_uri(&head.uri));
    if head.headers.get("sec-gpc").is_some_and(|value| value == "1") {
        honour_privacy_control(&mut event);
    }
    event.drop_junk_ids();
    if event.person_key().is_none() {
        event.flags = event.flags.with(EventFlags::UNORDERED);
    }
    event
}

//! `/u/{ticket}`: the way out of a mailing.
//!
//! In:      a ticket of kind unsubscribe; a GET, or a POST (RFC 8058: `List-Unsubscribe=One-Click`).
//! Out:     a page with one button; on a POST an event, durable before the answer.
//! Promise: looking changes nothing: scanners and mail readers follow every link there is, and many a reader was thrown out
//!          by one. A POST is taken whatever its body says, is never shed, and is one event however often it comes.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tributary_schemas::EngagementClass;

use super::redirect;
use crate::append::{Accepted, append};
use crate::engagement::Verdict;
use crate::refusal::Refusal;
use crate::router::Door;
use crate::telling;
use crate::ticket::TicketKind;

pub(crate) const DIALECT: &str = "unsubscribe";

pub(crate) async fn receive(
    State(door): State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    // The body says nothing that the method does not; it is not read.
    let head = request.into_parts().0;
    let ingest_time_us = door.parts.clock.now_us();
    let ticket = redirect::verify(&door, &text, ingest_time_us).ok();
    let Some(ticket) = ticket.filter(|ticket| ticket.kind == TicketKind::Unsubscribe) else {
        telling::refusal("forged_ticket");
        return redirect::not_found();
    };
    if head.method != Method::POST {
        return page(
            StatusCode::OK,
            "Unsubscribe",
            "<p>Do you want no more of these messages?</p>\
             <form method=post><button type=submit>Unsubscribe</button></form>",
        );
    }
    let mut event = redirect::event_of(&ticket, &text, DIALECT, &head, &door, ingest_time_us);
    // A mail service presses the button for its user, with a library of its own.
    Verdict::plain(EngagementClass::Human).put_on(&mut event);
    event.event_id = door.ids.derived(&ticket.source, &["unsubscribe", &text]);
    let accepted = Accepted { events: vec![event], ..Accepted::default() };
    let begin = tokio::time::Instant::now();
    let appended = append(&door, accepted).await;
    telling::handled(&ticket.source, DIALECT, &appended, begin);
    match appended {
        Ok(durable) => {
            durable.mark(page(StatusCode::OK, "Unsubscribed", "<p>You will get no more of these messages.</p>"))
        }
        Err(refusal) => {
            telling::refusal(refusal.word());
            sorry(&refusal)
        }
    }
}

fn sorry(refusal: &Refusal) -> Response {
    let mut response = page(
        refusal.status(),
        "Please try again",
        "<p>This could not be noted just now. Please try again in a minute.</p>",
    );
    response.headers_mut().insert(header::RETRY_AFTER, axum::http::HeaderValue::from_static("30"));
    response
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=robots content=noindex>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title><h1>{title}</h1>{body}</html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; form-action 'self'; frame-ancestors 'none'"),
    ];
    (status, headers, html).into_response()
}

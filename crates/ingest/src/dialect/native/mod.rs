//! Our own dialect: `POST /v1/events`, events by the names of their columns, and an answer for each.
//!
//! In:      JSON: one event, a list of them, `{"events": [..]}`, or one event a line (NDJSON).
//! Out:     200 with one result an event: `ok`, `warning` (taken, but not all as it was sent), `drop` (kept as a dead
//!          letter; sending it again changes nothing) or `retry` (to be sent again with the same id).
//! Promise: an event that is bad, or that the log did not take, costs its neighbours nothing; what has no column is
//!          kept in the properties.
//!
//! The four results are those of PostHog's `/i/v1/analytics/events`, so that a client needs one way to read both.

mod map;
mod read;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;

use crate::append::{Accepted, Durable};
use crate::body::Text;
use crate::dialect::{Sender, post};
use crate::refusal::Refusal;
use crate::router::Door;

pub(crate) const DIALECT: &str = "native";
pub(crate) const PATH: &str = "/v1/events";

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    match post::take(&Native, &door, request).await {
        Ok(durable) => {
            let mut response = Response::new(Body::from(answer(&durable)));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            durable.mark(response)
        }
        Err(refusal) => refusal.answer(),
    }
}

/// Written straight down: as a tree it was a map and three strings for each event.
fn answer(durable: &Durable) -> Vec<u8> {
    let mut json = Vec::with_capacity(64 + 80 * durable.told.len());
    json.extend_from_slice(br#"{"accepted":"#);
    put(&mut json, &durable.event_count);
    json.extend_from_slice(br#","dead_lettered":"#);
    put(&mut json, &durable.dead_letter_count);
    json.extend_from_slice(br#","results":["#);
    for (index, told) in durable.told.iter().enumerate() {
        json.extend_from_slice(if index == 0 { br#"{"event_id":"# } else { br#",{"event_id":"# });
        put(&mut json, &told.event_id);
        json.extend_from_slice(br#","result":""#);
        json.extend_from_slice(told.outcome.as_str().as_bytes());
        json.push(b'"');
        if told.details.is_some() {
            json.extend_from_slice(br#","details":"#);
            put(&mut json, &told.details);
        }
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    json
}

fn put(json: &mut Vec<u8>, value: &impl serde::Serialize) {
    serde_json::to_writer(json, value).expect("text and numbers are always JSON");
}

struct Native;

impl post::Dialect for Native {
    const NAME: &'static str = DIALECT;
    const TELLS_EACH: bool = true;

    fn key_in_body(&self, text: &str) -> Option<String> {
        read::key_in_body(text)
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        read::read(text, sender)
    }
}

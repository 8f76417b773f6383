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

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

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
            let headers = [(header::CONTENT_TYPE, "application/json")];
            durable.mark((StatusCode::OK, headers, answer(&durable)).into_response())
        }
        Err(refusal) => refusal.answer(),
    }
}

/// Written straight down: as a tree it was a map and three strings for each event.
fn answer(durable: &Durable) -> String {
    let mut json =
        format!(r#"{{"accepted":{},"dead_lettered":{},"results":["#, durable.event_count, durable.dead_letter_count);
    for (index, told) in durable.told.iter().enumerate() {
        json.push_str(if index == 0 { r#"{"event_id":"# } else { r#",{"event_id":"# });
        json.push_str(&quoted(told.event_id.as_deref()));
        json.push_str(r#","result":""#);
        json.push_str(told.outcome.as_str());
        json.push('"');
        if told.details.is_some() {
            json.push_str(r#","details":"#);
            json.push_str(&quoted(told.details.as_deref()));
        }
        json.push('}');
    }
    json.push_str("]}");
    json
}

fn quoted(text: Option<&str>) -> String {
    serde_json::to_string(&text).expect("text is always JSON")
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

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
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::append::{Accepted, Told};
use crate::body::Text;
use crate::dialect::{Sender, post};
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::telling;

pub(crate) const DIALECT: &str = "native";
pub(crate) const PATH: &str = "/v1/events";

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    match post::take(&Native, &door, request).await {
        Ok(durable) => {
            let results: Vec<serde_json::Value> = durable.told.iter().map(result).collect();
            let answer = serde_json::json!({
                "accepted": durable.event_count, "dead_lettered": durable.dead_letter_count, "results": results,
            });
            durable.mark(json_answer(StatusCode::OK, &answer))
        }
        Err(refusal) => {
            telling::refusal(refusal.word());
            refusal.into_response()
        }
    }
}

fn result(told: &Told) -> serde_json::Value {
    let mut result = serde_json::json!({"event_id": told.event_id, "result": told.outcome.as_str()});
    if let Some(details) = &told.details {
        result["details"] = details.as_str().into();
    }
    result
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

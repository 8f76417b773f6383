//! `GET /v1/receipts/{event_id}`: where one event is, and what became of it.
//!
//! In:      an event's id; `?source=` where several send the same ids; `?days=` how far back to look (30).
//! Out:     200 with its rows of `events` (with position in the log, and whether they are committed), of `dead_letters` (with
//!          the reason) and the session it counts to; 404 if it is in none of them.
//! Promise: who asks finds what they may see: an id is looked for as they see it. What the stream job has read is found, whether it is committed or not; the answer says up to which offsets it
//!          looked, so that "not found" has a meaning.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::access::Asker;
use crate::answer::Answer;
use crate::engine::Engine;
use crate::error::QueryError;
use crate::http::{fault, refusal};
use crate::render;

#[derive(Debug, Deserialize)]
pub(crate) struct Parameters {
    source: Option<String>,
    days: Option<u32>,
}

const DAYS: u32 = 30;
/// A hundred years: no event is older, and a date so far back can still be reckoned.
const DAYS_MAX: u32 = 36_500;
/// As long as the columns of ids are.
const ID_BYTES_MAX: usize = 256;

pub(crate) async fn receipt(
    State(engine): State<Arc<Engine>>,
    Extension(asker): Extension<Asker>,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<Parameters>, QueryRejection>,
) -> Response {
    let (Ok(Path(event_id)), Ok(Query(parameters))) = (path, query) else {
        let advice = "give the id the event was sent with, and ?days= as a whole number";
        return refusal(StatusCode::BAD_REQUEST, "the id or a parameter cannot be read", advice);
    };
    if ID_BYTES_MAX < event_id.len() {
        return refusal(StatusCode::BAD_REQUEST, "no event has so long an id", "give the id the event was sent with");
    }
    match find(&engine, &asker, &event_id, &parameters).await {
        Ok((found, body)) => {
            let status = if found { StatusCode::OK } else { StatusCode::NOT_FOUND };
            (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
        }
        Err(error) => fault(&error),
    }
}

async fn find(
    engine: &Engine,
    asker: &Asker,
    event_id: &str,
    parameters: &Parameters,
) -> Result<(bool, Value), QueryError> {
    let days = parameters.days.unwrap_or(DAYS).min(DAYS_MAX);
    let of_source =
        parameters.source.as_deref().map_or_else(String::new, |source| format!(" AND source = {}", text(source)));
    let id = text(event_id);
    // A live table needs a stream job that can be asked; without one the tables alone must do.
    let live = engine.live().own.is_some() || !engine.live().others.is_empty();
    let (events, sessions) = if live { ("events_live", "sessions_live") } else { ("events", "sessions") };
    let since = format!("CAST(now() AS DATE) - INTERVAL '{days} days'");
    let answer = engine
        .query_as(asker.clone(), &format!(
            "SELECT source, dialect, event_name, event_kind, event_time_us, ingest_time_us, clock_quality, flags, consent, \
             session_key, log_partition, log_offset FROM {events} WHERE event_id = {id}{of_source} AND event_date >= {since} \
             ORDER BY log_partition, log_offset LIMIT 10"
        ))
        .await?;
    let looked_up_to = answer.live_positions.clone();
    let mut events_found = rows(&answer)?;
    // What the stream job has read is a row of the table once it has committed: in a moment, as a rule.
    let committed = match live && !events_found.is_empty() {
        true => {
            let places = format!(
                "SELECT log_partition, log_offset FROM events WHERE event_id = {id}{of_source} AND event_date >= {since} \
                 ORDER BY log_partition, log_offset LIMIT 10"
            );
            rows(&engine.query_as(asker.clone(), &places).await?)?
        }
        false => events_found.clone(),
    };
    for event in &mut events_found {
        let is_it = |row: &Value| ["log_partition", "log_offset"].iter().all(|name| row[name] == event[name]);
        event["committed"] = committed.iter().any(is_it).into();
    }
    let letters = engine
        .query_as(asker.clone(), &format!(
            "SELECT source, dialect, reason, detail, ingest_time_us, log_topic, log_partition, log_offset FROM dead_letters \
             WHERE event_id = {id}{of_source} AND ingest_date >= {since} LIMIT 10"
        ))
        .await?;
    let letters_found = rows(&letters)?;
    let mut sessions_found = Vec::new();
    for event in &events_found {
        let (Some(source), Some(key), Some(time_us)) =
            (event["source"].as_str(), event["session_key"].as_str(), event["event_time_us"].as_i64())
        else {
            continue;
        };
        let session = engine
            .query_as(asker.clone(), &format!(
                "SELECT session_id, start_time_us, end_time_us, event_count, is_final FROM {sessions} WHERE source = {} AND \
                 session_key = {} AND start_time_us <= {time_us} AND end_time_us >= {time_us} LIMIT 1",
                text(source),
                text(key)
            ))
            .await?;
        sessions_found.extend(rows(&session)?);
    }
    let found = !events_found.is_empty() || !letters_found.is_empty();
    let mut body = json!({
        "event_id": event_id, "found": found, "events": events_found, "dead_letters": letters_found,
        "sessions": sessions_found, "days": days, "looked_up_to": looked_up_to,
    });
    if !found {
        body["advice"] =
            "an event that was answered with 200 a moment ago is here within a second, one that was answered \
                          with X-Ingest-Durability: spool once the log is back; look further back with ?days="
                .into();
    }
    Ok((found, body))
}

/// Text as SQL writes it.
fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

fn rows(answer: &Answer) -> Result<Vec<Value>, QueryError> {
    let mut json = Vec::new();
    render::json(answer, &mut json).map_err(|error| QueryError::broke(&error.to_string()))?;
    serde_json::from_slice(&json).map_err(|error| QueryError::broke(&error.to_string()))
}

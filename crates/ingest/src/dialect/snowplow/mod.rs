//! Snowplow's tracker protocol: `POST /com.snowplowanalytics.snowplow/tp2` and `GET /i`.
//!
//! In:      flat lists of parameters, with self-describing events and contexts inside, plain or in base64.
//! Out:     `ok`, or one dot, once all is durable: trackers take a 200 as leave to forget.
//! Promise: what is not taken now is answered 503, which trackers send again; a bad event is a dead letter behind a 200.
//! Not here: `/r/tp2?u=`: it would go wherever a stranger says. Links have tickets (`redirect`).
//!
//! Trackers send no key. The source is the one known as their app id (`aid`), or that of `?writeKey=` or a header.

mod map;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::append::Accepted;
use crate::auth;
use crate::body::Text;
use crate::dialect::pairs::Pairs;
use crate::dialect::reading::plain;
use crate::dialect::{Sender, judge_size, pixel, post};
use crate::json;
use crate::refusal::Refusal;
use crate::router::Door;

pub(crate) const DIALECT: &str = "snowplow";
pub(crate) const POST_PATH: &str = "/com.snowplowanalytics.snowplow/tp2";
pub(crate) const GET_PATHS: &[&str] = &["/i", "/ice.png"];

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    if request.method() != Method::POST {
        return receive_get(&door, request).await;
    }
    match post::take(&Snowplow, &door, request).await {
        Ok(durable) => {
            let ok = (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "ok");
            durable.mark(ok.into_response())
        }
        Err(refusal) => refusal.answer(),
    }
}

async fn receive_get(door: &Door, request: Request) -> Response {
    let head = request.into_parts().0;
    // No tracker asks so; whoever does looks whether there is something.
    if head.method == Method::HEAD {
        return pixel::gif();
    }
    match post::take_query(&Snowplow, door, &head, map::event).await {
        Ok(durable) => durable.mark(pixel::gif()),
        Err(refusal) => refusal.answer(),
    }
}

struct Snowplow;

const PAYLOAD_SCHEMA: &str = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4";

const ADVICE: &str = "send {\"schema\": \"iglu:com.snowplowanalytics.snowplow/payload_data/..\", \"data\": [{..}]}";

impl post::Dialect for Snowplow {
    const NAME: &'static str = DIALECT;

    /// An app may be called by its key.
    fn keys(&self, head: &Parts) -> Vec<String> {
        let mut keys = auth::keys_outside_body(&head.headers, &head.uri);
        keys.extend(Pairs::of_uri(&head.uri).get("aid").map(str::to_owned));
        keys
    }

    fn key_in_body(&self, text: &str) -> Option<String> {
        app_in_body(text)
    }

    fn names(&self, head: &Parts, text: &str) -> Vec<String> {
        let in_query = Pairs::of_uri(&head.uri).get("aid").map(str::to_owned);
        in_query.or_else(|| app_in_body(text)).into_iter().collect()
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        let malformed = |error: json::JsonError| Refusal::Malformed {
            detail: format!("body: expected an object with a list named data: {error}"),
            advice: ADVICE,
        };
        let count_max = sender.settings.batch_events_max;
        let [list] = json::pick(text.text.trim(), ["data"]).map_err(malformed)?;
        let Some(list) = list else {
            return Err(Refusal::Malformed { detail: "data: expected a list, found none".to_owned(), advice: ADVICE });
        };
        let events = json::elements(list, count_max).map_err(malformed)?.ok_or(Refusal::TooMany { count_max })?;
        let mut accepted = Accepted::default();
        for event_json in events {
            let read = judge_size(event_json, sender.settings)
                .and_then(|()| map::pairs_of(event_json))
                .and_then(|pairs| map::event(&pairs, sender));
            let alone = || format!(r#"{{"schema":"{PAYLOAD_SCHEMA}","data":[{event_json}]}}"#);
            sender.file(&mut accepted, DIALECT, alone, read);
        }
        Ok(accepted)
    }
}

/// The app id of the first event: it may be a key, or a name a source is known by.
fn app_in_body(text: &str) -> Option<String> {
    let list = json::pick(text, ["data"]).ok()?[0]?;
    let aid = json::pick(json::first(list)?, ["aid"]).ok()?[0]?;
    plain(aid)
}

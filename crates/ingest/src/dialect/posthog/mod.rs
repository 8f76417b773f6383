//! PostHog's capture API, as its SDKs speak it.
//!
//! In:      `/e`, `/i/v0/e`, `/capture`, `/track`, `/engage`, `/batch` (JSON, a list, a batch, a form around base64, a GET
//!          with `?data=`), and `/i/v1/analytics/events`.
//! Out:     `{"status": 1}`; on v1 one result an event: `ok`, `warning`, `drop` or `retry`.
//! Promise: never a 429, for `posthog-js` takes no 4xx as a reason to come again. `/flags` and `/array/{key}/config` are
//!          answered, or the SDK waits for them and sends its last events in a way a browser throws away.
//! Not here: session replay (`/s`): its recordings are no events. lz64: no SDK of the last years packs so.

mod map;
mod read;

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;

use crate::append::Accepted;
use crate::auth;
use crate::body::{self, Text};
use crate::dialect::{Sender, pairs, post};
use crate::intake::Reserved;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::settings::IngestSettings;

pub(crate) const DIALECT: &str = "posthog";

pub(crate) const PATHS: &[&str] = &["/e", "/i/v0/e", "/capture", "/track", "/engage", "/batch"];
pub(crate) const V1_PATH: &str = "/i/v1/analytics/events";
pub(crate) const FLAGS_PATHS: &[&str] = &["/flags", "/decide"];

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let request = if request.method() == Method::POST { request } else { data_as_body(request) };
    match post::take(&Posthog, &door, request).await {
        Ok(durable) => durable.mark(json_answer(StatusCode::OK, &serde_json::json!({"status": 1}))),
        Err(refusal) => refusal.answer(),
    }
}

/// `GET /e/?data=..`: what would be the body stands in the query.
fn data_as_body(request: Request) -> Request {
    let (mut head, _) = request.into_parts();
    head.method = Method::POST;
    let data = pairs::Pairs::of_uri(&head.uri).get("data").unwrap_or_default().to_owned();
    Request::from_parts(head, Body::from(data))
}

pub(crate) async fn receive_v1(State(door): State<Arc<Door>>, request: Request) -> Response {
    match post::take(&PosthogV1, &door, request).await {
        Ok(durable) => {
            let results: serde_json::Map<String, serde_json::Value> = durable
                .told
                .iter()
                .filter_map(|told| {
                    let mut result = serde_json::json!({"result": told.outcome.as_str()});
                    if let Some(details) = &told.details {
                        result["details"] = details.as_str().into();
                    }
                    Some((told.event_id.clone()?, result))
                })
                .collect();
            durable.mark(json_answer(StatusCode::OK, &serde_json::json!({"results": results})))
        }
        Err(refusal) => refusal.answer(),
    }
}

/// No flags are kept here: an empty list is what a project without flags answers.
pub(crate) async fn flags() -> Response {
    let none = serde_json::json!({
        "flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": false,
        "supportedCompression": ["gzip", "gzip-js"], "sessionRecording": false,
    });
    json_answer(StatusCode::OK, &none)
}

/// What `posthog-js` asks for at its start. Without `supportedCompression` it sends its last events on leaving a page as
/// JSON, which a browser asks leave for first and then does not send.
pub(crate) async fn config(path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let (key, file) = path.map(|Path(parts)| parts).unwrap_or_default();
    let config = serde_json::json!({
        "token": key, "supportedCompression": ["gzip", "gzip-js"], "hasFeatureFlags": false, "sessionRecording": false,
        "surveys": false, "heatmaps": false, "autocaptureExceptions": false, "capturePerformance": false,
        "captureDeadClicks": false, "siteApps": [], "isAuthenticated": false, "toolbarParams": {},
    });
    match file.as_str() {
        "config" => json_answer(StatusCode::OK, &config),
        "config.js" => {
            // The key is a stranger's text inside a script: as JSON, and without what could end the script.
            let key = serde_json::Value::from(key).to_string().replace('<', "\\u003c");
            let script = format!(
                "(function(){{window._POSTHOG_REMOTE_CONFIG=window._POSTHOG_REMOTE_CONFIG||{{}};\
                 window._POSTHOG_REMOTE_CONFIG[{key}]={{config:{},siteApps:[]}}}})();",
                config.to_string().replace('<', "\\u003c")
            );
            ([(header::CONTENT_TYPE, "application/javascript")], script).into_response()
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

struct Posthog;

impl post::Dialect for Posthog {
    const NAME: &'static str = DIALECT;

    fn open<'b>(
        &self,
        unpacked: Cow<'b, [u8]>,
        settings: &IngestSettings,
        reserved: &mut Reserved,
    ) -> Result<Cow<'b, [u8]>, Refusal> {
        let plain = unpacked.trim_ascii();
        if plain.starts_with(b"{") || plain.starts_with(b"[") {
            return Ok(unpacked);
        }
        let text = String::from_utf8_lossy(plain);
        // A form; its '+' is that of base64 where the sender did not escape it.
        let data = match text.split('&').find_map(|pair| pair.strip_prefix("data=")) {
            Some(data) => {
                let data = data.replace('+', "%2B");
                url::form_urlencoded::parse(format!("d={data}").as_bytes()).next().map(|(_, data)| data.into_owned())
            }
            None => Some(text.into_owned()),
        };
        let data = data.unwrap_or_default();
        if data.trim_start().starts_with(['{', '[']) {
            return Ok(Cow::Owned(data.into_bytes()));
        }
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(data.trim()).map_err(|error| Refusal::Malformed {
                detail: format!("body: neither JSON nor base64 of it: {error}"),
                advice: "send JSON, plain or gzip, or a form with data= and base64 of either; lz64 is not read",
            })?;
        reserved.grow(bytes.len())?;
        Ok(Cow::Owned(body::unpack_inner(&bytes, settings, reserved)?.into_owned()))
    }

    fn keys(&self, head: &Parts) -> Vec<String> {
        keys(head)
    }

    fn key_in_body(&self, text: &str) -> Option<String> {
        read::key_in_body(text)
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        read::read(text, sender)
    }
}

struct PosthogV1;

impl post::Dialect for PosthogV1 {
    const NAME: &'static str = DIALECT;
    const TELLS_EACH: bool = true;

    fn keys(&self, head: &Parts) -> Vec<String> {
        keys(head)
    }

    fn key_in_body(&self, text: &str) -> Option<String> {
        read::key_in_body(text)
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        read::read(text, sender)
    }
}

fn keys(head: &Parts) -> Vec<String> {
    let mut keys = auth::keys_outside_body(&head.headers, &head.uri);
    let query = pairs::Pairs::of_uri(&head.uri);
    keys.extend(["api_key", "token"].into_iter().filter_map(|name| query.get(name).map(str::to_owned)));
    keys
}

//! Segment's HTTP tracking API, as Segment's and RudderStack's SDKs speak it.
//!
//! In:      `POST /v1/{track,page,screen,identify,group,alias}`, their one-letter forms, `/v1/batch` and `/v1/import`;
//!          Jitsu's `/api/s/..` and RudderStack's beacon, which are the same events; what browser SDKs ask for at their start.
//! Out:     200 with counts once all is durable; else why not and what to do.
//! Promise: a bad event becomes a dead letter behind a 200 (any 4xx ends the process around RudderStack's Node
//!          client, and most SDKs throw the whole batch away); only a body that cannot be read is a 400, and
//!          that body is a dead letter too.

mod context;
mod map;
mod read;

pub use context::CONTEXT_KEPT;

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::append::Accepted;
use crate::auth;
use crate::body::Text;
use crate::dialect::{Sender, post};
use crate::refusal::{Refusal, json_answer};
use crate::router::{Door, Secure};

pub(crate) const DIALECT: &str = "segment";

/// What a request or an event says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Track,
    Page,
    Screen,
    Identify,
    Group,
    Alias,
}

impl Call {
    const NAMES: &[(&str, Self)] = &[
        ("track", Self::Track),
        ("page", Self::Page),
        ("screen", Self::Screen),
        ("identify", Self::Identify),
        ("group", Self::Group),
        ("alias", Self::Alias),
    ];

    fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, call)| *call)
    }

    fn as_str(self) -> &'static str {
        Self::NAMES.iter().find(|(_, call)| *call == self).map_or("track", |(name, _)| name)
    }
}

/// Segment's own for the past.
pub(crate) const IMPORT_PATH: &str = "/v1/import";

/// Each path and the call it stands for; `None`: each event says its own.
pub(crate) const PATHS: &[(&str, Option<Call>)] = &[
    ("/v1/track", Some(Call::Track)),
    ("/v1/t", Some(Call::Track)),
    ("/v1/page", Some(Call::Page)),
    ("/v1/p", Some(Call::Page)),
    ("/v1/screen", Some(Call::Screen)),
    ("/v1/s", Some(Call::Screen)),
    ("/v1/identify", Some(Call::Identify)),
    ("/v1/i", Some(Call::Identify)),
    ("/v1/group", Some(Call::Group)),
    ("/v1/g", Some(Call::Group)),
    ("/v1/alias", Some(Call::Alias)),
    ("/v1/a", Some(Call::Alias)),
    ("/v1/batch", None),
    ("/v1/b", None),
    (IMPORT_PATH, None),
    // RudderStack's browser SDK on leaving a page, with its key in the query.
    ("/beacon/v1/batch", None),
    // Jitsu's SDKs: Segment's events under paths of their own.
    ("/api/s/track", Some(Call::Track)),
    ("/api/s/page", Some(Call::Page)),
    ("/api/s/screen", Some(Call::Screen)),
    ("/api/s/identify", Some(Call::Identify)),
    ("/api/s/group", Some(Call::Group)),
    ("/api/s/alias", Some(Call::Alias)),
    ("/api/s/s2s/track", Some(Call::Track)),
    ("/api/s/s2s/page", Some(Call::Page)),
    ("/api/s/s2s/screen", Some(Call::Screen)),
    ("/api/s/s2s/identify", Some(Call::Identify)),
    ("/api/s/s2s/group", Some(Call::Group)),
    ("/api/s/s2s/alias", Some(Call::Alias)),
    ("/api/s/s2s/batch", None),
];

/// Where `analytics-next` reports how it is doing itself.
pub(crate) const METRICS_PATH: &str = "/v1/m";

/// What `analytics-next` asks for at its start, on its `cdnURL`.
pub(crate) const SETTINGS_PATH: &str = "/v1/projects/{key}/settings";
/// What RudderStack's browser SDK asks for at its start, on its `configUrl`.
pub(crate) const RUDDER_CONFIG_PATH: &str = "/sourceConfig/";

/// Tells the SDK to send its events here: the host it asked on, by the protocol it asked with.
pub(crate) async fn settings(
    State(door): State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    secure: Option<Extension<Secure>>,
    headers: HeaderMap,
) -> Response {
    let key = path.map(|Path(key)| key).unwrap_or_default();
    if let Err(refusal) = auth::find(&door.settings.write_keys, std::slice::from_ref(&key)) {
        return refusal.into_response();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // A page that was served by TLS may load nothing that was not: we end it ourselves, or whoever does it for us says so.
    let by_tls = secure.is_some() || headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let settings = serde_json::json!({
        "integrations": {"Segment.io": {
            "apiKey": key, "apiHost": format!("{host}/v1"), "protocol": if by_tls { "https" } else { "http" },
            "bundlingStatus": "bundled", "type": "server", "addBundledMetadata": true, "unbundledIntegrations": [],
            "retryQueue": true,
        }},
        "plan": {"track": {"__default": {"enabled": true, "integrations": {}}},
                 "identify": {"__default": {"enabled": true}}, "group": {"__default": {"enabled": true}}},
        "edgeFunction": {}, "analyticsNextEnabled": true, "middlewareSettings": {}, "enabledMiddleware": {},
        "metrics": {"sampleRate": 0}, "legacyVideoPluginsEnabled": false, "remotePlugins": [],
    });
    let mut response = json_answer(StatusCode::OK, &settings);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    response
}

/// A source without destinations, so that the SDK sends its events here and nowhere else.
pub(crate) async fn rudder_config(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let keys = auth::keys_outside_body(&head.headers, &head.uri);
    let key = match auth::find(&door.settings.write_keys, &keys) {
        Ok(key) => key,
        Err(refusal) => return refusal.into_response(),
    };
    let config = serde_json::json!({
        "source": {
            "id": key.source, "name": key.source, "writeKey": key.key, "enabled": true, "workspaceId": "tributary",
            "config": {"statsCollection": {"errors": {"enabled": false}, "metrics": {"enabled": false}}},
            "connections": [], "destinations": [], "dataplanes": {},
        },
        "updatedAt": "2026-01-01T00:00:00.000Z", "consentManagementMetadata": {"providers": []},
    });
    json_answer(StatusCode::OK, &config)
}

pub(crate) async fn discard() -> Response {
    json_answer(StatusCode::OK, &serde_json::json!({"success": true}))
}

pub(crate) async fn receive(call: Option<Call>, State(door): State<Arc<Door>>, request: Request) -> Response {
    match take(call, &door, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(),
    }
}

async fn take(call: Option<Call>, door: &Door, request: Request) -> Result<Response, Refusal> {
    let is_history = request.uri().path() == IMPORT_PATH;
    let durable = post::take(&Segment { call }, door, request).await?;
    let mut counts = serde_json::json!({
        "success": true, "accepted": durable.event_count, "dead_lettered": durable.dead_letter_count,
    });
    // Who sends the past must know which of it now counts as today's.
    if is_history {
        counts["clamped"] = durable.clamped_count.into();
    }
    Ok(durable.mark(json_answer(StatusCode::OK, &counts)))
}

struct Segment {
    /// What the path says happened; `None`: each event says its own.
    call: Option<Call>,
}

impl post::Dialect for Segment {
    const NAME: &'static str = DIALECT;

    fn key_in_body(&self, text: &str) -> Option<String> {
        read::key_in_body(text)
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        read::read(self.call, text, sender)
    }
}

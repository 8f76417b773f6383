//! Segment's HTTP tracking API, as Segment's and RudderStack's SDKs speak it.
//!
//! In:      `POST /v1/{track,page,screen,identify,group,alias}`, their one-letter forms, `/v1/batch` and `/v1/import`.
//! Out:     200 with counts once all is durable; else why not and what to do.
//! Promise: a bad event becomes a dead letter behind a 200 (any 4xx ends the process around RudderStack's Node
//!          client, and most SDKs throw the whole batch away); only a body that cannot be read is a 400, and
//!          that body is a dead letter too.
//!
//! Content-Type is not looked at: SDKs send JSON as text and gzip as forms.

mod context;
mod map;
mod read;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tributary_schemas::DeadReason;

use crate::append::{Accepted, append};
use crate::dialect::{Refused, Sender};
use crate::intake;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::{auth, body, telling};

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
    ("/v1/import", None),
];

/// Where `analytics-next` reports how it is doing itself.
pub(crate) const METRICS_PATH: &str = "/v1/m";

pub(crate) async fn discard() -> Response {
    json_answer(StatusCode::OK, &serde_json::json!({"success": true}))
}

pub(crate) async fn receive(call: Option<Call>, State(door): State<Arc<Door>>, request: Request) -> Response {
    match take(call, &door, request).await {
        Ok(response) => response,
        Err(refusal) => {
            telling::refusal(refusal.word());
            refusal.into_response()
        }
    }
}

async fn take(call: Option<Call>, door: &Door, request: Request) -> Result<Response, Refusal> {
    let place = door.room.enter()?;
    let (head, body) = request.into_parts();
    let mut keys = auth::keys_outside_body(&head.headers, &head.uri);
    let mut reserved = place.reserve();
    let wire = intake::read(&head.headers, body, &door.settings, &mut reserved).await?;
    let ingest_time_us = door.parts.clock.now_us();

    let unpacked = body::unpack(&wire, &door.settings, &mut reserved);
    if auth::find(&door.settings.write_keys, &keys).is_err()
        && let Ok(unpacked) = &unpacked
    {
        keys.extend(read::key_in_body(&body::text(unpacked).text));
    }
    let key = auth::find(&door.settings.write_keys, &keys)?;
    let sender = Sender::of(&door.settings, key, &head, ingest_time_us);

    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(refusal) => return Err(keep_and_refuse(door, &sender, &wire, refusal).await),
    };
    let accepted = match read::read(call, &body::text(&unpacked), &sender) {
        Ok(accepted) => accepted,
        Err(refusal) => return Err(keep_and_refuse(door, &sender, &unpacked, refusal).await),
    };
    let durable = append(door, accepted).await?;
    let counts = serde_json::json!({
        "success": true, "accepted": durable.event_count, "dead_lettered": durable.dead_letter_count,
    });
    Ok(json_answer(StatusCode::OK, &counts))
}

/// A body that cannot be read is kept as a dead letter before its sender hears so: the sender throws it away.
/// If even that cannot be made durable, the sender is told to come again instead.
async fn keep_and_refuse(door: &Door, sender: &Sender<'_>, payload: &[u8], refusal: Refusal) -> Refusal {
    let Refusal::Malformed { detail, .. } = &refusal else { return refusal };
    let refused = Refused::new(DeadReason::Malformed, detail.clone());
    let letter = sender.dead_letter(DIALECT, refused, payload);
    match append(door, Accepted { events: Vec::new(), dead_letters: vec![letter] }).await {
        Ok(_) => refusal,
        Err(away) => away,
    }
}

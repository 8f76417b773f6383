//! `POST /webhooks/{source}`: what a mail provider tells of the messages it sent for us.
//!
//! In:      requests of SendGrid, Amazon SES (by way of SNS), Postmark and Mailgun.
//! Out:     events in the log: sent, delivered, opened, clicked, bounced, complained, unsubscribed; a 2xx once durable.
//! Promise: a request is believed after its signature or password was checked, over the bytes as they came; a provider that
//!          tells the same thing forty times is counted once, by the id it gave; a machine's open is kept and named.
//! Not here: our own pixels and links (`dialect`): both may tell of one open, and both are kept.
//!
//! What the four have in common is in `mail`; each file knows one provider. Sources: the providers' documentation of their
//! webhooks, and their own libraries, which the tests ask for their opinion of the same requests.

mod mail;
mod mailgun;
mod postmark;
mod sendgrid;
mod ses;
mod sns;
mod web;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tributary_schemas::{DeadReason, Event};

use crate::append::{Accepted, Durable, append};
use crate::body;
use crate::dialect::{Refused, Sender};
use crate::intake;
use crate::refusal::Refusal;
use crate::replay::Replay;
use crate::router::Door;
use crate::settings::{Provider, WebhookSettings, WriteKey};
use crate::telling;

pub use web::{HttpsWeb, Web, WebError};

pub(crate) use sendgrid::key_der as sendgrid_key;

/// One webhook and what is remembered about it.
pub(crate) struct Webhook {
    pub settings: WebhookSettings,
    /// The source its events are filed under; nobody writes with it.
    key: WriteKey,
    tokens: mailgun::Tokens,
    certificates: sns::Certificates,
}

impl Webhook {
    pub(crate) fn new(settings: WebhookSettings) -> Self {
        let key = WriteKey { source: settings.source.clone(), trusted_clock: true, ..WriteKey::default() };
        Self { settings, key, tokens: mailgun::Tokens::default(), certificates: sns::Certificates::default() }
    }
}

/// Why a request was not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Doubt {
    /// Nothing to go by: no signature, no password, not the shape of this provider.
    #[error("{0}")]
    Unsigned(&'static str),
    #[error("the signature does not fit the body and the secret in the settings")]
    Forged,
    #[error("the request was signed more than {age_ms_max} ms ago, or ahead of our clock")]
    Stale { age_ms_max: u64 },
    /// The means to judge are away: come again.
    #[error("{0}")]
    Away(WebError),
}

pub(crate) async fn receive(
    State(door): State<Arc<Door>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    // What is no text is the name of none.
    let source = path.map(|Path(source)| source).unwrap_or_default();
    let begin = tokio::time::Instant::now();
    let taken = take(&door, &source, request).await;
    if let Some(webhook) = door.webhooks.iter().find(|webhook| webhook.settings.source == source) {
        telling::handled(&source, webhook.settings.provider.as_str(), &taken, begin);
    }
    match taken {
        Ok(Some(durable)) => durable.mark(StatusCode::OK.into_response()),
        Ok(None) => StatusCode::OK.into_response(),
        Err(refusal) => refusal.answer(),
    }
}

/// `None`: there was nothing to keep, only a subscription to confirm.
async fn take(door: &Door, source: &str, request: Request) -> Result<Option<Durable>, Refusal> {
    let webhook = door.webhooks.iter().find(|webhook| webhook.settings.source == source);
    let webhook = webhook.ok_or(Refusal::NoWebhook)?;
    let place = door.room.enter()?;
    let (head, body) = request.into_parts();
    let mut reserved = place.reserve();
    let wire = intake::read(&head.headers, body, &door.settings, &mut reserved).await?;
    let ingest_time_us = door.parts.clock.now_us();

    // The signature is over the bytes as they came: nothing is unpacked or parsed before.
    let refused = |doubt: Doubt| match doubt {
        Doubt::Away(error) => Refusal::Elsewhere(error.to_string()),
        doubt => Refusal::Unbelieved(doubt.to_string()),
    };
    let replay = head.extensions.get::<Replay>();
    if replay.is_none() {
        verify(door, webhook, &head, &wire, ingest_time_us).await.map_err(refused)?;
    }

    let unpacked = body::unpack(&wire, &head.headers, &door.settings, &mut reserved)?;
    let text = body::text(&unpacked);
    let sender = Sender::of(door, &webhook.key, &head, ingest_time_us);
    let dialect = webhook.settings.provider.as_str();
    let mut accepted = Accepted::default();
    let events: Vec<(&str, Result<Event, Refused>)> = match webhook.settings.provider {
        Provider::Sendgrid => sendgrid::events(&text.text, &sender),
        Provider::Postmark => vec![(&text.text, postmark::event(&text.text, &sender))],
        Provider::Mailgun => vec![(&text.text, mailgun::event(&text.text, &sender))],
        Provider::Ses => match sns::confirmation(&text.text) {
            Some(confirmation) if replay.is_none() => {
                return sns::confirm(&confirmation, door).await.map(|()| None).map_err(refused);
            }
            _ => ses::events(&text.text, &sender).into_iter().map(|event| (&*text.text, event)).collect(),
        },
    };
    for (written, event) in events {
        // SendGrid tells of many in a list; one that cannot be read as such is kept as it came.
        let is_of_list = text.text.trim_start().starts_with('[') && written.len() < text.text.len();
        let alone = || if is_of_list { format!("[{written}]") } else { written.to_owned() };
        sender.file(&mut accepted, dialect, alone, event);
    }
    match replay {
        Some(replay) => replay.append(door, accepted).await.map(Some),
        None => append(door, accepted).await.map(Some),
    }
}

async fn verify(door: &Door, webhook: &Webhook, head: &Parts, wire: &[u8], ingest_time_us: i64) -> Result<(), Doubt> {
    let settings = &webhook.settings;
    let age_ms_max = door.settings.webhook_age_ms_max;
    let fresh = |signed_us: i64| {
        let age_us = i64::try_from(age_ms_max.saturating_mul(1_000)).unwrap_or(i64::MAX);
        let is_fresh =
            (ingest_time_us.saturating_sub(age_us)..=ingest_time_us.saturating_add(FUTURE_US_MAX)).contains(&signed_us);
        if is_fresh { Ok(()) } else { Err(Doubt::Stale { age_ms_max }) }
    };
    match settings.provider {
        Provider::Sendgrid => sendgrid::verify(&head.headers, wire, &settings.secret).and_then(fresh),
        Provider::Postmark => postmark::verify(&head.headers, &settings.secret),
        Provider::Mailgun => {
            let signed = mailgun::verify(wire, &settings.secret)?;
            fresh(signed.time_us)?;
            webhook.tokens.first_use(&signed, wire, ingest_time_us, age_ms_max)
        }
        Provider::Ses => {
            let message = sns::Message::read(wire, &settings.topics)?;
            fresh(message.time_us)?;
            message.verify(&webhook.certificates, &*door.parts.web).await
        }
    }
}

/// How far ahead of our clock a provider's may be.
const FUTURE_US_MAX: i64 = 300_000_000;

/// A body that is not of its provider's shape.
fn not_read(provider: &str, error: &impl std::fmt::Display) -> Refused {
    Refused::new(DeadReason::Malformed, format!("body: expected a webhook of {provider}: {error}"))
}

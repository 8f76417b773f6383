//! How every dialect comes in, posted or in a query: room, guard, body, key, its own reading, the log.
//!
//! In:      a request, and the dialect that reads it.
//! Out:     what is durable of it, for the dialect to answer with; or a refusal.
//! Promise: a body that cannot be read is a dead letter before its sender hears of it, for the sender throws it away;
//!          nothing here knows how a dialect writes its events.
//!
//! Content-Type is not looked at: SDKs send JSON as text and gzip as forms.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::request::Parts;
use tokio::time::Instant;
use tributary_schemas::{DeadReason, Event};

use crate::append::{Accepted, Durable, append, append_each};
use crate::body::{self, Text};
use crate::dialect::pairs::Pairs;
use crate::dialect::{Refused, Sender, judge_size};
use crate::intake::{self, Reserved};
use crate::refusal::Refusal;
use crate::replay::{self, Replay};
use crate::router::Door;
use crate::settings::{IngestSettings, WriteKey};
use crate::{auth, network, telling};

/// A protocol of trackers.
pub(crate) trait Dialect: Sync {
    const NAME: &'static str;
    /// Whether its answer tells each event apart; then events the log did not take are told so one by one.
    const TELLS_EACH: bool = false;

    /// Takes off what lies between the packing and the text, such as a form around base64.
    fn open<'b>(
        &self,
        unpacked: Cow<'b, [u8]>,
        _settings: &IngestSettings,
        _reserved: &mut Reserved,
    ) -> Result<Cow<'b, [u8]>, Refusal> {
        Ok(unpacked)
    }

    /// The write keys outside the body, best first.
    fn keys(&self, head: &Parts) -> Vec<String> {
        auth::keys_outside_body(&head.headers, &head.uri)
    }

    /// The write key the body names, if it can be read that far.
    fn key_in_body(&self, _text: &str) -> Option<String> {
        None
    }

    /// Names the source is known by where the dialect has no keys; looked at when no key is known.
    fn names(&self, _head: &Parts, _text: &str) -> Vec<String> {
        Vec::new()
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal>;
}

/// Takes a request in. Once this returns `Ok`, all it names is durable.
pub(crate) async fn take<D: Dialect>(dialect: &D, door: &Door, request: Request) -> Result<Durable, Refusal> {
    let begin = Instant::now();
    let mut key = None;
    let taken = take_of(dialect, door, request, &mut key).await;
    tell::<D>(key, &taken, begin);
    taken
}

/// * `whose`: told as soon as it is known, also of a request that is refused later; not of a replay, which was counted.
async fn take_of<'d, D: Dialect>(
    dialect: &D,
    door: &'d Door,
    request: Request,
    whose: &mut Option<&'d WriteKey>,
) -> Result<Durable, Refusal> {
    let place = door.room.enter()?;
    let (head, body) = request.into_parts();
    let replay = head.extensions.get::<Replay>();
    if replay.is_none() {
        door.guard.let_address(network::visitor_ip(&head, door.settings.forwarded_hops))?;
    }
    let mut reserved = place.reserve();
    let wire = intake::read(&head.headers, body, &door.settings, &mut reserved).await?;
    let ingest_time_us = door.parts.clock.now_us();
    let unpacked = body::unpack(&wire, &head.headers, &door.settings, &mut reserved)
        .and_then(|unpacked| dialect.open(unpacked, &door.settings, &mut reserved));
    let key = key_of(dialect, door, &head, unpacked.as_deref().ok())?;
    if replay.is_none() {
        *whose = Some(key);
        door.guard.let_key(key, &head.headers)?;
    }
    let sender = Sender::of(door, key, &head, ingest_time_us);

    let unpacked = match unpacked {
        Ok(unpacked) => unpacked,
        Err(refusal) => return Err(keep_and_refuse(D::NAME, door, &sender, &wire, refusal).await),
    };
    let accepted = match dialect.read(&body::text(&unpacked), &sender) {
        Ok(accepted) => accepted,
        Err(refusal) => return Err(keep_and_refuse(D::NAME, door, &sender, &unpacked, refusal).await),
    };
    if let Some(replay) = replay {
        return replay.append(door, accepted).await;
    }
    if key.historical || accepted.historical {
        door.history.admit(door).await?;
    }
    if D::TELLS_EACH { append_each(door, accepted).await } else { append(door, accepted).await }
}

fn tell<D: Dialect>(key: Option<&WriteKey>, taken: &Result<Durable, Refusal>, begin: Instant) {
    if let Some(key) = key {
        telling::handled(&key.source, D::NAME, taken, begin);
    }
}

/// Takes in a request whose one event stands in its query.
pub(crate) async fn take_query<D: Dialect>(
    dialect: &D,
    door: &Door,
    head: &Parts,
    read: impl FnOnce(&Pairs, &Sender<'_>) -> Result<Event, Refused>,
) -> Result<Durable, Refusal> {
    let begin = Instant::now();
    let mut key = None;
    let taken = take_query_of(dialect, door, head, read, &mut key).await;
    tell::<D>(key, &taken, begin);
    taken
}

async fn take_query_of<'d, D: Dialect>(
    dialect: &D,
    door: &'d Door,
    head: &Parts,
    read: impl FnOnce(&Pairs, &Sender<'_>) -> Result<Event, Refused>,
    whose: &mut Option<&'d WriteKey>,
) -> Result<Durable, Refusal> {
    let _place = door.room.enter()?;
    let replay = head.extensions.get::<Replay>();
    if replay.is_none() {
        door.guard.let_address(network::visitor_ip(head, door.settings.forwarded_hops))?;
    }
    let key = key_of(dialect, door, head, Some(b""))?;
    if replay.is_none() {
        *whose = Some(key);
        door.guard.let_key(key, &head.headers)?;
    }
    let sender = Sender::of(door, key, head, door.parts.clock.now_us());
    let query = head.uri.query().unwrap_or_default();
    let mut accepted = Accepted::default();
    let read = judge_size(query, &door.settings).and_then(|()| read(&Pairs::of(query), &sender));
    sender.file(&mut accepted, D::NAME, || replay::without_keys(query), read);
    match replay {
        Some(replay) => replay.append(door, accepted).await,
        None => append(door, accepted).await,
    }
}

/// Reads a request as [`take`] does and keeps nothing of it.
pub(crate) async fn look<D: Dialect>(dialect: &D, door: &Door, request: Request) -> Result<Accepted, Refusal> {
    let place = door.room.enter()?;
    let (head, body) = request.into_parts();
    let mut reserved = place.reserve();
    let wire = intake::read(&head.headers, body, &door.settings, &mut reserved).await?;
    let unpacked = body::unpack(&wire, &head.headers, &door.settings, &mut reserved)?;
    let unpacked = dialect.open(unpacked, &door.settings, &mut reserved)?;
    let key = key_of(dialect, door, &head, Some(&unpacked))?;
    let sender = Sender::of(door, key, &head, door.parts.clock.now_us());
    dialect.read(&body::text(&unpacked), &sender)
}

/// Whose request it is: by a key outside the body, else by what the body says, where that can be read.
fn key_of<'d, D: Dialect>(
    dialect: &D,
    door: &'d Door,
    head: &Parts,
    unpacked: Option<&[u8]>,
) -> Result<&'d WriteKey, Refusal> {
    let known = &door.settings.write_keys;
    if let Some(replay) = head.extensions.get::<Replay>() {
        return replay.key(known);
    }
    let mut keys = dialect.keys(head);
    let found = auth::find(known, &keys);
    let (Err(_), Some(unpacked)) = (&found, unpacked) else { return found };
    let text = body::text(unpacked);
    keys.extend(dialect.key_in_body(text.text.trim()));
    let by_name = |refusal| auth::find_by_name(known, &dialect.names(head, text.text.trim())).ok_or(refusal);
    auth::find(known, &keys).or_else(by_name)
}

/// A body that cannot be read is kept as a dead letter before its sender hears so: the sender throws it away.
/// If even that cannot be made durable, the sender is told to come again instead.
async fn keep_and_refuse(dialect: &str, door: &Door, sender: &Sender<'_>, payload: &[u8], refusal: Refusal) -> Refusal {
    let Refusal::Malformed { detail, .. } = &refusal else { return refusal };
    if sender.head.extensions.get::<Replay>().is_some() {
        return refusal;
    }
    let refused = Refused::new(DeadReason::Malformed, detail.clone());
    let letter = sender.dead_letter(dialect, refused, payload);
    match append(door, Accepted { dead_letters: vec![letter], ..Accepted::default() }).await {
        Ok(_) => refusal,
        Err(away) => away,
    }
}

//! `POST /v1/dead-letters/replay`: dead letters through the door again, after what kept them out was mended.
//!
//! In:      `{"letters": [{from, source, request, payload, ..}], "dry_run": false}` as `tributary dead-letters replay` finds
//!          them in the lake; a token of `ingest.replay_tokens`.
//! Out:     for each letter `ok`, `drop` (it still cannot be read, and why) or `retry`.
//! Promise: a letter goes the way it came: the same path, dialect, source and time of receipt for its clock; keys, signatures
//!          and rates were judged then. Nothing is kept of one that still cannot be read: it is in the lake already. Each event
//!          says in `replayed_from` which letter it came of, so that the second replay of a letter can be told from the first.
//! Not here: which letters have been replayed. The lake knows.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use tower::ServiceExt as _;

use crate::append::{Accepted, Durable, Outcome, append};
use crate::auth;
use crate::dialect::Sender;
use crate::dialect::pairs::Pairs;
use crate::engagement;
use crate::intake;
use crate::network;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::settings::WriteKey;

pub(crate) const PATH: &str = "/v1/dead-letters/replay";

/// Marks a request as one that was here before. No request from outside can carry it.
#[derive(Clone)]
pub(crate) struct Replay {
    from: String,
    source: String,
    trusted: bool,
    /// The event it is about, where the letter names one: others of the same payload were taken then.
    event_id: Option<String>,
    /// When it was received first: clocks are judged by it.
    pub ingest_time_us: i64,
    pub ip: Option<IpAddr>,
    dry_run: bool,
    outcome: Arc<Mutex<Option<(Outcome, String, usize)>>>,
}

/// The parameters of a POST's query that say something of its events; the others are keys, or say how to answer.
const QUERY_KEPT: &[&str] = &["_"];

/// The parameters by which keys are told.
const KEYS: &[&str] = &["writeKey", "api_key", "api_secret", "token", "token_auth"];

/// A query as the payload of a dead letter: without the keys, which the source stands for.
pub(crate) fn without_keys(query: &str) -> String {
    let is_key = |pair: &&str| KEYS.contains(&pair.split('=').next().unwrap_or_default());
    query.split('&').filter(|pair| !is_key(pair)).collect::<Vec<_>>().join("&")
}

/// What is said of the events beside the body: the word that stands for it in a dead letter, and the header that says it
/// again, with its value.
const HEADERS_KEPT: &[(&str, &str, &str)] = &[
    (RETRIED, "x-retry-count", "1"),
    ("sp-anonymous", "sp-anonymous", "1"),
    (PRIVACY_CONTROL, "sec-gpc", "1"),
    (PREFETCH, "sec-purpose", "prefetch"),
];
const RETRIED: &str = "retried";
const PRIVACY_CONTROL: &str = "gpc";
const PREFETCH: &str = "prefetch";
/// Its key is one whose clock is trusted; a source may have others.
const TRUSTED: &str = "trusted";

/// The request of a dead letter, as it is kept: method, path and query, and what was said beside the body. Of a GET the path
/// alone, for its query is the payload.
pub(crate) fn request_line(sender: &Sender<'_>) -> String {
    let head = sender.head;
    let mut line = format!("{} {}", head.method, head.uri.path());
    let query = Pairs::of_uri(&head.uri);
    let kept: Vec<(&str, &str)> =
        QUERY_KEPT.iter().filter_map(|name| query.get(name).map(|value| (*name, value))).collect();
    if head.method == Method::POST && !kept.is_empty() {
        line.push('?');
        line.push_str(&url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept).finish());
    }
    let mut say = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    for (word, name, _) in HEADERS_KEPT {
        // Where a value decides, it is as the door read it: `Sec-GPC: 0` objects to nothing.
        let is_said = match *word {
            RETRIED => sender.retried,
            PRIVACY_CONTROL => sender.privacy_control,
            PREFETCH => engagement::is_prefetch(&head.headers),
            _ => head.headers.contains_key(*name),
        };
        if is_said {
            say(word);
        }
    }
    if sender.key.trusted_clock {
        say(TRUSTED);
    }
    line
}

impl Replay {
    /// The key of the source it was filed under.
    pub(crate) fn key<'k>(&self, known: &'k [WriteKey]) -> Result<&'k WriteKey, Refusal> {
        let of_source = || known.iter().filter(|key| key.source == self.source);
        let same = of_source().find(|key| key.trusted_clock == self.trusted);
        same.or(of_source().next()).ok_or(Refusal::UnknownKey)
    }

    /// Appends what was read of a letter this time, unless nothing was, or nothing shall be.
    pub(crate) async fn append(&self, door: &Door, mut accepted: Accepted) -> Result<Durable, Refusal> {
        // A letter may be older than the rule.
        let hidden = |id: &String| door.privacy.hidden_id(&self.source, id);
        let event_id = self.event_id.as_ref().map(|id| hidden(id).unwrap_or_else(|| id.clone()));
        if let Some(event_id) = &event_id {
            // A message to three people that could not be read for one of them.
            let is_it = |id: &str| id == event_id;
            if accepted.events.iter().any(|event| is_it(&event.event_id)) {
                accepted.events.retain(|event| is_it(&event.event_id));
                accepted.dead_letters.clear();
            }
            // An id that was made of its place among others is made of no other place now.
            if let [event] = &mut accepted.events[..] {
                event.event_id.clone_from(event_id);
            }
        }
        if accepted.events.is_empty() {
            let why =
                accepted.dead_letters.first().map_or("it holds no event".to_owned(), |letter| letter.detail.clone());
            self.tell(Outcome::Drop, why, 0);
            return Ok(Durable {
                event_count: 0,
                dead_letter_count: 0,
                clamped_count: 0,
                told: Vec::new(),
                spooled: false,
            });
        }
        accepted.told.clear();
        let (events, letters) = (accepted.events.len(), accepted.dead_letters.len());
        let details =
            if letters == 0 { String::new() } else { format!("{letters} of its events still cannot be read") };
        if self.dry_run {
            self.tell(Outcome::Ok, details, events);
            return Ok(Durable {
                event_count: events,
                dead_letter_count: letters,
                clamped_count: 0,
                told: Vec::new(),
                spooled: false,
            });
        }
        let now_us = door.parts.clock.now_us();
        for event in &mut accepted.events {
            event.ingest_time_us = now_us;
            event.replayed_from = Some(self.from.clone());
        }
        // They stand for the rest of the letter they came of.
        for letter in &mut accepted.dead_letters {
            letter.ingest_time_us = now_us;
            if let Some(event) = &mut letter.event {
                event.replayed_from = Some(self.from.clone());
            }
        }
        let durable = append(door, accepted).await?;
        self.tell(Outcome::Ok, details, durable.event_count);
        Ok(durable)
    }

    fn tell(&self, outcome: Outcome, details: String, events: usize) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some((outcome, details, events));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    letters: Vec<Letter>,
    #[serde(default)]
    dry_run: bool,
}

/// A row of `dead_letters`, as far as it takes to send it again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    /// `log_topic/log_partition/log_offset`.
    from: String,
    source: String,
    #[serde(default)]
    event_id: Option<String>,
    ingest_time_us: i64,
    request: String,
    payload: String,
    #[serde(default)]
    user_agent: Option<String>,
    #[serde(default)]
    ip_truncated: Option<String>,
}

#[derive(Serialize)]
struct Told {
    from: String,
    result: &'static str,
    events: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
}

/// Letters of one request that are on their way at a time.
const AT_A_TIME: usize = 16;

/// Most letters in one request.
pub(crate) const LETTERS_MAX: usize = 1_000;

/// * `dialects`: the routes of the door, which the letters are sent to.
pub(crate) async fn receive(dialects: Router, State(door): State<Arc<Door>>, request: Request) -> Response {
    match take(dialects, &door, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.answer(),
    }
}

async fn take(dialects: Router, door: &Door, request: Request) -> Result<Response, Refusal> {
    let (head, body) = request.into_parts();
    auth::check_token(&head, &door.settings.replay_tokens)?;
    let place = door.room.enter()?;
    let mut reserved = place.reserve();
    let body = intake::read(&head.headers, body, &door.settings, &mut reserved).await?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| Refusal::Malformed {
        detail: format!("body: expected letters: {error}"),
        advice: "send {\"letters\": [..]} with rows of dead_letters, or use `tributary dead-letters replay`",
    })?;
    if LETTERS_MAX < asked.letters.len() {
        return Err(Refusal::TooMany { count_max: LETTERS_MAX });
    }
    // Each letter takes a place of its own.
    drop((reserved, place));
    let sending = asked.letters.into_iter().map(|letter| send(&dialects, letter, asked.dry_run));
    let results: Vec<Told> = stream::iter(sending).buffered(AT_A_TIME).collect().await;
    Ok(json_answer(StatusCode::OK, &serde_json::json!({"results": results})))
}

async fn send(dialects: &Router, letter: Letter, dry_run: bool) -> Told {
    let from = letter.from.clone();
    let (request, outcome) = match request_of(letter, dry_run) {
        Ok(made) => made,
        Err(details) => return Told { from, result: Outcome::Drop.as_str(), events: 0, details },
    };
    let response = dialects.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
    let told = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((outcome, details, events)) = told {
        return Told { from, result: outcome.as_str(), events, details };
    }
    // It was refused before it was read, or the log did not take it.
    let outcome = if response.status().is_server_error() { Outcome::Retry } else { Outcome::Drop };
    let status = response.status();
    let body = to_bytes(response.into_body(), 64 << 10).await.unwrap_or_default();
    let said: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = said.get("error").and_then(serde_json::Value::as_str).unwrap_or("no more is told");
    Told { from, result: outcome.as_str(), events: 0, details: format!("{status}: {said}") }
}

type Made = (Request, Arc<Mutex<Option<(Outcome, String, usize)>>>);

fn request_of(letter: Letter, dry_run: bool) -> Result<Made, String> {
    let mut words = letter.request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let body = match letter.payload.strip_prefix("base64:") {
        Some(packed) => base64::engine::general_purpose::STANDARD
            .decode(packed)
            .map_err(|error| format!("payload: expected base64 after \"base64:\": {error}"))?,
        None => letter.payload.into_bytes(),
    };
    // Tickets make no letters, and what they lead to keeps nothing of a replay apart.
    if ["/r/", "/u/"].iter().any(|ticket| path.starts_with(ticket)) {
        return Err(format!("request: {path} takes no replay"));
    }
    let in_query = |body: &[u8]| format!("{path}?{}", String::from_utf8_lossy(body));
    let (method, uri, body) = match method {
        "POST" => (Method::POST, path.to_owned(), body),
        "GET" => (Method::GET, in_query(&body), Vec::new()),
        "HEAD" => (Method::HEAD, in_query(&body), Vec::new()),
        _ => return Err(format!("request: expected POST, GET or HEAD and a path, found {:?}", letter.request)),
    };
    let words: Vec<&str> = words.collect();
    let said = HEADERS_KEPT.iter().filter(|(word, ..)| words.contains(word));
    let outcome = Arc::new(Mutex::new(None));
    let replay = Replay {
        from: letter.from,
        source: letter.source,
        trusted: words.contains(&TRUSTED),
        event_id: letter.event_id,
        ingest_time_us: letter.ingest_time_us,
        // `203.0.113.0/24`: the network is all that was kept.
        ip: letter
            .ip_truncated
            .as_deref()
            .and_then(|text| network::parse_ip(text.split('/').next().unwrap_or_default())),
        dry_run,
        outcome: outcome.clone(),
    };
    let mut request = Request::builder().method(method).uri(uri);
    if let Some(agent) = letter.user_agent.and_then(|agent| HeaderValue::from_str(&agent).ok()) {
        request = request.header(header::USER_AGENT, agent);
    }
    for (_, name, value) in said {
        request = request.header(*name, *value);
    }
    let request = request.extension(replay).body(Body::from(body));
    Ok((request.map_err(|error| format!("request: expected a path: {error}"))?, outcome))
}

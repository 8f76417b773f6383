//! Matomo's tracking API: `GET` and `POST /matomo.php` (`/piwik.php`), single and bulk.
//!
//! In:      parameters in the query or a form; `{"requests": ["?idsite=..&rec=1", ..], "token_auth": ".."}` for many.
//! Out:     one dot (204 with `send_image=0`), or `{"status": "success", "tracked": n, "invalid": k}`, once all is durable.
//! Promise: a bad request among many costs the others nothing.
//!
//! A source is the one known as the site's id (`idsite`), or that of `token_auth`, `?writeKey=` or a header.
//! Source: Matomo's Tracking HTTP API, and the requests of `matomo-tracker`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tributary_schemas::{Event, EventKind, Money};

use crate::append::Accepted;
use crate::body::Text;
use crate::clock_rule::{ClientClock, Written, read_time};
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::pairs::Pairs;
use crate::dialect::reading::{Reading, put_time};
use crate::dialect::{Refused, Sender, finish, judge_size, pixel, post, put_visitor};
use crate::json::{self, CleanedText, Scalar};
use crate::kind_rule::kind_of_name;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::text::{AGENT_BYTES_MAX, CODE_BYTES_MAX, NAME_BYTES_MAX, TITLE_BYTES_MAX};
use crate::{auth, replay};

pub(crate) const DIALECT: &str = "matomo";
pub(crate) const PATHS: &[&str] = &["/matomo.php", "/piwik.php"];

/// Parameters that are read into columns, or that say how and not what.
const TAKEN: &[&str] = &[
    "idsite",
    "rec",
    "_id",
    "cid",
    "uid",
    "url",
    "urlref",
    "action_name",
    "ua",
    "lang",
    "res",
    "cip",
    "cdt",
    "token_auth",
    "rand",
    "send_image",
    "apiv",
    "revenue",
    "_rcn",
    "_rck",
    "writeKey",
];

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let answered = match *request.method() {
        Method::POST => take_post(&door, request).await,
        Method::HEAD => Ok(pixel::gif()),
        _ => take_get(&door, request).await,
    };
    answered.unwrap_or_else(Refusal::answer)
}

async fn take_get(door: &Door, request: Request) -> Result<Response, Refusal> {
    let head = request.into_parts().0;
    let durable = post::take_query(&Matomo, door, &head, |pairs, sender| map(pairs, 0, sender)).await?;
    let empty = Pairs::of_uri(&head.uri).get("send_image") == Some("0");
    Ok(durable.mark(if empty { StatusCode::NO_CONTENT.into_response() } else { pixel::gif() }))
}

async fn take_post(door: &Door, request: Request) -> Result<Response, Refusal> {
    let durable = post::take(&Matomo, door, request).await?;
    let counts = serde_json::json!({
        "status": "success", "tracked": durable.event_count, "invalid": durable.dead_letter_count,
    });
    Ok(durable.mark(json_answer(StatusCode::OK, &counts)))
}

struct Matomo;

impl post::Dialect for Matomo {
    const NAME: &'static str = DIALECT;

    fn keys(&self, head: &Parts) -> Vec<String> {
        let mut keys = auth::keys_outside_body(&head.headers, &head.uri);
        let query = Pairs::of_uri(&head.uri);
        // A site may be called by its key.
        keys.extend(["token_auth", "idsite"].into_iter().filter_map(|name| query.get(name).map(str::to_owned)));
        keys
    }

    fn key_in_body(&self, text: &str) -> Option<String> {
        if !text.starts_with('{') {
            let form = Pairs::of(text);
            return form.get("token_auth").or(form.get("idsite")).map(str::to_owned);
        }
        let token = json::pick(text, ["token_auth"]).ok()?[0].and_then(json::text_of);
        token.map(std::borrow::Cow::into_owned).or_else(|| site_in_body(text))
    }

    fn names(&self, head: &Parts, text: &str) -> Vec<String> {
        let of_query = Pairs::of_uri(&head.uri).get("idsite").map(str::to_owned);
        of_query.or_else(|| site_in_body(text)).into_iter().collect()
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        let body = text.text.trim();
        let mut accepted = Accepted::default();
        if !body.starts_with('{') {
            // A form, or nothing: then all stands in the query.
            read_one(
                if body.is_empty() { sender.head.uri.query().unwrap_or_default() } else { body },
                &mut accepted,
                sender,
            );
            return Ok(accepted);
        }
        let malformed = |error: json::JsonError| Refusal::Malformed {
            detail: format!("body: expected an object with a list named requests: {error}"),
            advice: "send {\"requests\": [\"?idsite=1&rec=1&url=..\"]}, or the parameters in the query",
        };
        let count_max = sender.settings.batch_events_max;
        let [list] = json::pick(body, ["requests"]).map_err(malformed)?;
        let requests = json::elements(list.unwrap_or("[]"), count_max).map_err(malformed)?;
        for request in requests.ok_or(Refusal::TooMany { count_max })? {
            match json::scalar(request) {
                Scalar::Text(text) => read_one(query_of(&text.text), &mut accepted, sender),
                other => {
                    let refused = Refused::field("requests", "queries as text", other.kind());
                    sender.file(&mut accepted, DIALECT, || format!(r#"{{"requests":[{request}]}}"#), Err(refused));
                }
            }
        }
        Ok(accepted)
    }
}

/// The site of the first request of a body.
fn site_in_body(text: &str) -> Option<String> {
    if !text.starts_with('{') {
        return Pairs::of(text).get("idsite").map(str::to_owned);
    }
    let list = json::pick(text, ["requests"]).ok()?[0]?;
    let first = json::text_of(json::first(list)?)?;
    Pairs::of(query_of(&first)).get("idsite").map(str::to_owned)
}

/// What stands after the '?', or all of it.
fn query_of(request: &str) -> &str {
    request.split_once('?').map_or(request, |(_, query)| query)
}

fn read_one(query: &str, accepted: &mut Accepted, sender: &Sender<'_>) {
    let index = accepted.events.len() + accepted.dead_letters.len();
    let read = judge_size(query, sender.settings).and_then(|()| map(&Pairs::of(query), index, sender));
    sender.file(accepted, DIALECT, || replay::without_keys(query), read);
}

/// * `index`: which of the requests of a bulk it is.
fn map(pairs: &Pairs, index: usize, sender: &Sender<'_>) -> Result<Event, Refused> {
    if pairs.get("rec") != Some("1") {
        return Err(Refused::field("rec", "1", "something else: Matomo records nothing without it"));
    }
    let mut reading = Reading::default();
    let mut event = Event::new(&sender.key.source, DIALECT, "", "", sender.ingest_time_us);
    name_and_kind(&mut event, pairs, &mut reading);

    event.user_id = pairs.get("uid").and_then(|id| reading.plain_id(id));
    event.anonymous_id = pairs.get("cid").or(pairs.get("_id")).and_then(|id| reading.plain_id(id));
    if let Some(url) = pairs.get("url") {
        put_address(&mut event, url, &mut reading);
    }
    if let Some(referrer) = pairs.get("urlref") {
        put_referrer(&mut event, referrer, &mut reading);
    }
    let mut text = |name: &str, bytes_max| pairs.get(name).and_then(|text| reading.fit(text, bytes_max));
    event.title = text("action_name", TITLE_BYTES_MAX);
    event.language = text("lang", CODE_BYTES_MAX);
    event.screen = text("res", CODE_BYTES_MAX);
    event.user_agent = text("ua", AGENT_BYTES_MAX);
    if event.utm_campaign.is_none() {
        event.utm_campaign = text("_rcn", NAME_BYTES_MAX);
        event.utm_term = event.utm_term.take().or(text("_rck", NAME_BYTES_MAX));
    }

    let from_server = sender.key.trusted_clock;
    put_visitor(&mut event, pairs.get("cip"), from_server, sender);

    let cdt = pairs.get("cdt").map(|text| Scalar::Text(CleanedText { text: text.into(), cleaned: false }));
    let client = read_time(cdt.as_ref()).unwrap_or(Written::Unreadable);
    put_time(&mut event, ClientClock { client, sent: Written::Absent, trusted: from_server, retried: false }, sender);

    // An order is one, however often it is told. A random number or a time tells a repeat from a second time; without
    // either nothing does, and two requests are two events.
    let source = &sender.key.source;
    event.event_id = match (pairs.get("ec_id"), pairs.get("rand").or(pairs.get("cdt"))) {
        (Some(order), _) => sender.ids.derived(source, &["matomo", "order", order]),
        (None, Some(_)) => sender.ids.of_pairs(source, DIALECT, pairs, &["token_auth", "send_image"]),
        (None, None) => {
            let content = sender.ids.of_pairs(source, DIALECT, pairs, &["token_auth", "send_image"]);
            let received = sender.ingest_time_us.to_string();
            sender.ids.derived(source, &["matomo", &content, &received, &index.to_string()])
        }
    };
    event.properties = pairs.rest(TAKEN).map(|rest| serde_json::Value::from(rest).to_string());
    reading.put_flags(&mut event);
    // Matomo knows a visitor without an id by address and browser; so do we, for a day. One without even these counts too.
    let is_nobody = event.user_id.is_none();
    finish(&mut event, true, is_nobody, sender)?;
    Ok(event)
}

fn name_and_kind(event: &mut Event, pairs: &Pairs, reading: &mut Reading) {
    let value = pairs.get("revenue").map(Money::parse);
    reading.unread_value |= matches!(value, Some(Err(_)));
    event.value = value.and_then(Result::ok);
    let (name, kind) = if pairs.get("ec_id").is_some() {
        ("order", EventKind::Conversion)
    } else if pairs.get("idgoal") == Some("0") {
        ("cart", EventKind::Custom)
    } else if pairs.get("idgoal").is_some() {
        ("goal", EventKind::Conversion)
    } else if let Some(action) = pairs.get("e_a") {
        (action, kind_of_name(action))
    } else if pairs.get("c_i").is_some() {
        ("content_interaction", EventKind::Click)
    } else if pairs.get("c_n").is_some() {
        ("content_impression", EventKind::Impression)
    } else if pairs.get("search").is_some() {
        ("site_search", EventKind::Custom)
    } else if pairs.get("download").is_some() {
        ("download", EventKind::Custom)
    } else if pairs.get("link").is_some() {
        ("outlink", EventKind::Custom)
    } else if pairs.get("ping") == Some("1") {
        ("ping", EventKind::Engagement)
    } else {
        ("page_view", EventKind::Page)
    };
    event.event_name = reading.fit(name, NAME_BYTES_MAX).unwrap_or_else(|| "event".to_owned());
    event.event_kind = kind;
}

//! CloudEvents 1.0 over HTTP: `POST /v1/cloudevents`, binary, structured and batched.
//!
//! In:      `ce-*` headers around any body; an object, or a list of them, with `specversion`.
//! Out:     200 with counts once all is durable.
//! Promise: an event is known by its `source` and `id`, as the specification has it; `data` become the properties.
//!
//! Who it was is said by extension attributes (`anonymousid`, `userid`, `accountid`) or in the data, by the names of our
//! columns or Segment's. Source: CloudEvents 1.0.2, HTTP protocol binding 1.0.2.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use tributary_schemas::{Event, EventKind};

use crate::append::Accepted;
use crate::body::Text;
use crate::clock_rule::ClientClock;
use crate::dialect::columns::put_column;
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::reading::{Reading, put_time, time};
use crate::dialect::{Refused, Sender, finish, judge_size, post};
use crate::json::{self, Scalar};
use crate::kind_rule::kind_of_name;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::text::NAME_BYTES_MAX;
use crate::{engagement, network};

pub(crate) const DIALECT: &str = "cloudevents";
pub(crate) const PATH: &str = "/v1/cloudevents";

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    match post::take(&CloudEvents, &door, request).await {
        Ok(durable) => {
            let counts = serde_json::json!({
                "accepted": durable.event_count, "dead_lettered": durable.dead_letter_count,
            });
            durable.mark(json_answer(StatusCode::OK, &counts))
        }
        Err(refusal) => refusal.answer(),
    }
}

struct CloudEvents;

/// Attributes that are not put into the properties.
const TAKEN: &[&str] =
    &["specversion", "id", "time", "type", "data", "data_base64", "anonymousid", "userid", "accountid"];

impl post::Dialect for CloudEvents {
    const NAME: &'static str = DIALECT;

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        let body = text.text.trim();
        let mut accepted = Accepted::default();
        if sender.head.headers.contains_key("ce-specversion") {
            let attributes = attributes_of_headers(body, sender);
            let read = judge_size(body, sender.settings).and_then(|()| map(&attributes, sender));
            // As one object: what stood in the headers stays with it.
            sender.file(&mut accepted, DIALECT, || structured(&attributes), read);
            return Ok(accepted);
        }
        let malformed = |error: json::JsonError| Refusal::Malformed {
            detail: format!("body: expected a CloudEvent or a list of them: {error}"),
            advice: "send the attributes as ce-* headers, or a JSON object with specversion, id, source, type and data",
        };
        let count_max = sender.settings.batch_events_max;
        let events = match body.starts_with('[') {
            true => json::elements(body, count_max).map_err(malformed)?.ok_or(Refusal::TooMany { count_max })?,
            false => {
                json::pick(body, []).map_err(malformed)?;
                vec![body]
            }
        };
        for event_json in events {
            let read = judge_size(event_json, sender.settings)
                .and_then(|()| {
                    json::members(event_json)
                        .map_err(|_| Refused::field("event", "an object", json::scalar(event_json).kind()))
                })
                .and_then(|members| {
                    let attributes: Vec<(String, String)> =
                        members.into_iter().map(|(name, json)| (name.into_owned(), json.to_owned())).collect();
                    map(&attributes, sender)
                });
            sender.file(&mut accepted, DIALECT, || event_json, read);
        }
        Ok(accepted)
    }
}

/// Attributes in headers, the data alone in the body.
fn attributes_of_headers(body: &str, sender: &Sender<'_>) -> Vec<(String, String)> {
    let headers = &sender.head.headers;
    let named = headers.iter().filter_map(|(name, value)| Some((name.as_str().strip_prefix("ce-")?, value)));
    let mut attributes: Vec<(String, String)> = named
        .map(|(name, value)| {
            // Values may be percent-encoded UTF-8 (section 3.1.3.2).
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = percent_decoded(&text);
            (name.to_owned(), serde_json::Value::from(text).to_string())
        })
        .collect();
    if !body.is_empty() {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok();
        let data = if is_json { body.to_owned() } else { serde_json::Value::from(body).to_string() };
        attributes.push(("data".to_owned(), data));
        if let Some(kind) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
            attributes.push(("datacontenttype".to_owned(), serde_json::Value::from(kind).to_string()));
        }
    }
    attributes
}

fn structured(attributes: &[(String, String)]) -> String {
    let members: Vec<(&str, Option<&str>)> =
        attributes.iter().map(|(name, json)| (name.as_str(), Some(json.as_str()))).collect();
    json::object(&members)
}

fn percent_decoded(text: &str) -> String {
    // A form's '+' is a blank; here it is itself.
    let escaped = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map_or_else(String::new, |(text, _)| text.into_owned())
}

fn map(attributes: &[(String, String)], sender: &Sender<'_>) -> Result<Event, Refused> {
    let get = |name: &str| {
        let found = attributes.iter().rev().find(|(known, _)| known == name).map(|(_, json)| json.as_str());
        found.filter(|json| *json != "null")
    };
    let mut reading = Reading::default();
    let mut required = |name: &'static str| {
        let text = reading.id_of_any_length(name, get(name))?;
        text.ok_or_else(|| Refused::field(name, "text, as CloudEvents requires it", "nothing"))
    };
    let (id, origin, kind) = (required("id")?, required("source")?, required("type")?);
    let name = reading.fit(&kind, NAME_BYTES_MAX);
    let name = name.ok_or_else(|| Refused::field("type", "what happened", "blanks"))?;
    let source = &sender.key.source;
    let mut event = Event::new(source, DIALECT, "", &name, sender.ingest_time_us);
    event.event_id = sender.ids.derived(source, &["cloudevents", &origin, &id]);
    event.client_event_id = reading.fit(&id, tributary_schemas::ids::ID_BYTES_MAX);
    // `com.example.order.completed`: the last two words say what happened, where the whole says nothing to us.
    let words: Vec<&str> = name.rsplit('.').take(2).collect();
    event.event_kind = match kind_of_name(&name) {
        EventKind::Custom if words.len() == 2 => kind_of_name(&format!("{} {}", words[1], words[0])),
        kind => kind,
    };

    let data = get("data");
    put_data(&mut event, data, &mut reading)?;
    event.anonymous_id = reading.id("anonymousid", get("anonymousid"))?.or(event.anonymous_id.take());
    event.user_id = reading.id("userid", get("userid"))?.or(event.user_id.take());
    event.account_id = reading.id("accountid", get("accountid"))?.or(event.account_id.take());
    event.ip_truncated = sender.ip.filter(|_| !sender.key.trusted_clock).map(network::truncated);
    engagement::of_reported(event.event_kind, true, None).put_on(&mut event);
    let clock = ClientClock {
        client: time("time", get("time"))?,
        sent: time("sent", None)?,
        trusted: sender.key.trusted_clock,
        retried: sender.retried,
    };
    put_time(&mut event, clock, sender);

    let mut extra: Vec<(&str, &str)> = attributes
        .iter()
        .filter(|(name, json)| !TAKEN.contains(&name.as_str()) && json != "null")
        .map(|(name, json)| (name.as_str(), json.as_str()))
        .collect();
    let object = data.filter(|data| data.starts_with('{'));
    extra.extend(data.filter(|_| object.is_none()).map(|data| ("data", data)));
    extra.extend(get("data_base64").map(|data| ("data_base64", data)));
    event.properties = json::with_members(object, &extra);
    reading.put_flags(&mut event);
    finish(&mut event, true, false, sender)
        .map_err(|refused| Refused { event_id: Some(event.event_id.clone()), ..refused })?;
    Ok(event)
}

/// Members of the data that are called as our columns are, or as Segment's SDKs call them.
fn put_data(event: &mut Event, data: Option<&str>, reading: &mut Reading) -> Result<(), Refused> {
    let Some(Ok(members)) = data.filter(|data| data.starts_with('{')).map(json::members) else { return Ok(()) };
    for (name, json) in members.iter().filter(|(_, json)| *json != "null").map(|(name, json)| (&**name, *json)) {
        let column = match name {
            "anonymousId" => "anonymous_id",
            "userId" => "user_id",
            "accountId" | "groupId" => "account_id",
            "revenue" | "total" => "value",
            name => name,
        };
        match column {
            "url" => {
                if let Some(url) = reading.text("url", Some(json), usize::MAX) {
                    put_address(event, &url, reading);
                }
            }
            "referrer" => {
                if let Some(referrer) = reading.text("referrer", Some(json), usize::MAX) {
                    put_referrer(event, &referrer, reading);
                }
            }
            "value" => event.value = event.value.or(reading.money(name, json)),
            // Ids that are written as lists or objects here mean something else.
            column if matches!(json::scalar(json), Scalar::List | Scalar::Object) && column.ends_with("_id") => {}
            column => {
                put_column(event, column, json, reading)?;
            }
        }
    }
    Ok(())
}

//! Google's Measurement Protocol for GA4: `POST /mp/collect`, and `/debug/mp/collect`, which stores nothing.
//!
//! In:      `{client_id | app_instance_id, user_id?, timestamp_micros?, consent?, user_properties?, events: [{name, params}]}`,
//!          with `?api_secret=` (a write key) and `?measurement_id=` (a name a source is known by).
//! Out:     204 without a body once all is durable; of the debug endpoint a list of what is wrong.
//! Promise: an event has no id of its own here. A purchase is known by its `transaction_id`, any other by its content if it
//!          has a time; without one, two requests are two events, for nothing tells a second one from a repeat.
//!
//! Source: Google's reference and limits of the Measurement Protocol, and the requests of `ga4mp`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use tributary_schemas::{Consent, Event, EventKind};

use crate::append::Accepted;
use crate::body::Text;
use crate::clock_rule::ClientClock;
use crate::dialect::columns::put_column;
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::pairs::Pairs;
use crate::dialect::reading::{Reading, put_time, time};
use crate::dialect::{Refused, Sender, finish, judge_size, post};
use crate::json::{self, Scalar};
use crate::kind_rule::kind_of_name;
use crate::refusal::{Refusal, json_answer};
use crate::router::Door;
use crate::text::{NAME_BYTES_MAX, TITLE_BYTES_MAX};
use crate::{auth, engagement};

pub(crate) const DIALECT: &str = "ga4";
pub(crate) const PATH: &str = "/mp/collect";
pub(crate) const DEBUG_PATH: &str = "/debug/mp/collect";

pub(crate) async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    match post::take(&Ga4, &door, request).await {
        Ok(durable) => durable.mark(StatusCode::NO_CONTENT.into_response()),
        Err(refusal) => refusal.answer(),
    }
}

/// Reads as [`receive`] does, keeps nothing, and says what would become a dead letter.
pub(crate) async fn debug(State(door): State<Arc<Door>>, request: Request) -> Response {
    let messages = match post::look(&Ga4, &door, request).await {
        Ok(accepted) => accepted.dead_letters.into_iter().map(|letter| message("events", &letter.detail)).collect(),
        Err(refusal @ Refusal::Malformed { .. }) => vec![message("", &refusal.to_string())],
        Err(refusal) => return refusal.into_response(),
    };
    json_answer(StatusCode::OK, &serde_json::json!({"validationMessages": messages}))
}

fn message(field_path: &str, description: &str) -> serde_json::Value {
    serde_json::json!({"fieldPath": field_path, "description": description, "validationCode": "VALUE_INVALID"})
}

struct Ga4;

impl post::Dialect for Ga4 {
    const NAME: &'static str = DIALECT;

    fn keys(&self, head: &Parts) -> Vec<String> {
        let mut keys = auth::keys_outside_body(&head.headers, &head.uri);
        keys.extend(Pairs::of_uri(&head.uri).get("api_secret").map(str::to_owned));
        keys
    }

    fn names(&self, head: &Parts, _text: &str) -> Vec<String> {
        let query = Pairs::of_uri(&head.uri);
        ["measurement_id", "firebase_app_id"].iter().filter_map(|name| query.get(name).map(str::to_owned)).collect()
    }

    fn read(&self, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
        const ADVICE: &str = "send {\"client_id\": \"..\", \"events\": [{\"name\": \"..\", \"params\": {..}}]}";
        let malformed = |error: json::JsonError| Refusal::Malformed {
            detail: format!("body: expected an object with a list named events: {error}"),
            advice: ADVICE,
        };
        let body = text.text.trim();
        let [client_id, app_instance_id, user_id, time, events, consent, user_properties, non_personalized] =
            json::pick(
                body,
                [
                    "client_id",
                    "app_instance_id",
                    "user_id",
                    "timestamp_micros",
                    "events",
                    "consent",
                    "user_properties",
                    "non_personalized_ads",
                ],
            )
            .map_err(malformed)?;
        let Some(list) = events else {
            return Err(Refusal::Malformed {
                detail: "events: expected a list, found none".to_owned(),
                advice: ADVICE,
            });
        };
        // They are copied into each event of the request; GA4 itself takes 25 of some 60 bytes.
        const USER_PROPERTIES_BYTES_MAX: usize = 16 << 10;
        if user_properties
            .is_some_and(|json| USER_PROPERTIES_BYTES_MAX < json.len() || judge_size(json, sender.settings).is_err())
        {
            let detail =
                format!("user_properties: expected at most {USER_PROPERTIES_BYTES_MAX} bytes, not nested deep");
            return Err(Refusal::Malformed { detail, advice: "send fewer or shorter user properties" });
        }
        // `ga4mp` knows a user by a property of that name.
        let among_properties = user_properties
            .and_then(|json| json::pick(json, ["user_id"]).ok()?[0])
            .and_then(|json| json::pick(json, ["value"]).ok()?[0]);
        let user_id = user_id.or(among_properties);
        let frame = Frame {
            device: client_id.or(app_instance_id),
            user_id,
            time,
            consent: consent.and_then(consent_of).map(|granted| match non_personalized {
                Some("true") => Consent(granted.0 & !Consent::ADS.0),
                _ => granted,
            }),
            user_properties,
        };
        let count_max = sender.settings.batch_events_max;
        // `ga4mp` sends a postponed event by itself, without a list around it.
        let events = match list.starts_with('{') {
            true => vec![list],
            false => json::elements(list, count_max).map_err(malformed)?.ok_or(Refusal::TooMany { count_max })?,
        };
        let mut accepted = Accepted::default();
        for (index, event_json) in events.into_iter().enumerate() {
            let read = judge_size(event_json, sender.settings).and_then(|()| map(event_json, index, &frame, sender));
            let alone = || {
                let list = format!("[{event_json}]");
                json::object(&[
                    ("client_id", frame.device),
                    ("user_id", user_id),
                    ("timestamp_micros", time),
                    ("consent", consent),
                    ("user_properties", user_properties),
                    ("non_personalized_ads", non_personalized),
                    ("events", Some(&list)),
                ])
            };
            sender.file(&mut accepted, DIALECT, alone, read);
        }
        Ok(accepted)
    }
}

/// What a request says for all of its events.
struct Frame<'a> {
    device: Option<&'a str>,
    user_id: Option<&'a str>,
    time: Option<&'a str>,
    consent: Option<Consent>,
    user_properties: Option<&'a str>,
}

/// `ad_user_data` and `ad_personalization`, each GRANTED or DENIED. It says nothing of analytics: who sends an event here has
/// been allowed to count it.
fn consent_of(json: &str) -> Option<Consent> {
    let [user_data, personalization] = json::pick(json, ["ad_user_data", "ad_personalization"]).ok()?;
    let is_granted = |json: Option<&str>| {
        json.is_some_and(
            |json| matches!(json::scalar(json), Scalar::Text(text) if text.text.eq_ignore_ascii_case("granted")),
        )
    };
    let mut consent = Consent::ANALYTICS;
    if is_granted(user_data) {
        consent = consent.with(Consent::ADS);
    }
    if is_granted(personalization) {
        consent = consent.with(Consent::PERSONALIZATION);
    }
    Some(consent)
}

/// Parameters that are called as our columns are.
const COLUMNS: &[&str] = &[
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "campaign_id",
    "creative_id",
    "language",
];

fn map(event_json: &str, index: usize, frame: &Frame<'_>, sender: &Sender<'_>) -> Result<Event, Refused> {
    let not_object = |_| Refused::field("events", "objects", json::scalar(event_json).kind());
    let [name, params, own_time] =
        json::pick(event_json, ["name", "params", "timestamp_micros"]).map_err(not_object)?;
    let mut reading = Reading::default();
    let found = name.map_or("nothing", |json| json::scalar(json).kind());
    let name = reading
        .text("name", name, NAME_BYTES_MAX)
        .ok_or_else(|| Refused::field("name", "the name of what happened, as text", found))?;
    let mut event = Event::new(&sender.key.source, DIALECT, "", &name, sender.ingest_time_us);
    event.event_kind = match name.as_str() {
        "page_view" | "screen_view" => EventKind::Page,
        name => kind_of_name(name),
    };
    event.anonymous_id = reading.id("client_id", frame.device)?;
    event.user_id = reading.id("user_id", frame.user_id)?;
    event.consent = frame.consent;

    let mut transaction_id = None;
    let mut campaign = [None; 3];
    if let Some(params) = params {
        let members =
            json::members(params).map_err(|_| Refused::field("params", "an object", json::scalar(params).kind()))?;
        for (name, json) in members.iter().filter(|(_, json)| *json != "null").map(|(name, json)| (&**name, *json)) {
            match name {
                "transaction_id" => transaction_id = reading.id("transaction_id", Some(json))?,
                "value" => event.value = reading.money("value", json),
                "currency" => event.currency = reading.currency(Some(json)),
                "page_title" => event.title = reading.text("page_title", Some(json), TITLE_BYTES_MAX),
                "page_location" => {
                    if let Some(url) = reading.text("page_location", Some(json), usize::MAX) {
                        put_address(&mut event, &url, &mut reading);
                    }
                }
                "page_referrer" => {
                    if let Some(referrer) = reading.text("page_referrer", Some(json), usize::MAX) {
                        put_referrer(&mut event, &referrer, &mut reading);
                    }
                }
                "source" => campaign[0] = Some(json),
                "medium" => campaign[1] = Some(json),
                "campaign" => campaign[2] = Some(json),
                name if COLUMNS.contains(&name) => {
                    put_column(&mut event, name, json, &mut reading)?;
                }
                _ => {}
            }
        }
    }
    let [source, medium, name_of_campaign] = campaign;
    for (column, json) in
        [(&mut event.utm_source, source), (&mut event.utm_medium, medium), (&mut event.utm_campaign, name_of_campaign)]
    {
        if column.is_none() {
            *column = reading.text("campaign", json, NAME_BYTES_MAX);
        }
    }

    let client = time("timestamp_micros", own_time.or(frame.time))?;
    let source = &sender.key.source;
    let device = frame.device.unwrap_or_default();
    let user = frame.user_id.unwrap_or_default();
    let content = sender.ids.of_content(source, "ga4", event_json).map_err(not_object)?.event_id;
    event.event_id = match (&transaction_id, own_time.or(frame.time)) {
        (Some(id), _) if event.event_kind == EventKind::Conversion => sender.ids.derived(source, &["ga4", &name, id]),
        (_, Some(time)) => sender.ids.derived(source, &["ga4", device, user, &content, time, &index.to_string()]),
        (_, None) => {
            let received = sender.ingest_time_us.to_string();
            sender.ids.derived(source, &["ga4", device, user, &content, &received, &index.to_string()])
        }
    };
    // It is a protocol for servers, whose address says nothing of the visitor: no network is kept.
    engagement::of_reported(event.event_kind, true, None).put_on(&mut event);
    put_time(&mut event, ClientClock { client, sent: time("sent", None)?, trusted: true, retried: false }, sender);
    let extra: Vec<(&str, &str)> = frame.user_properties.map(|json| ("user_properties", json)).into_iter().collect();
    event.properties = json::with_members(params, &extra);
    reading.put_flags(&mut event);
    finish(&mut event, transaction_id.is_some(), false, sender)?;
    Ok(event)
}

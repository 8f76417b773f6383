//! The table of routes: paths, method, tag, summary, what body, what answers.
//!
//! In:      the paths of the router.
//! Out:     an operation for each path and method.
//! Promise: each says every status its handler can answer with, and no other.

use serde_json::{Map, Value, json};

use super::schemas::{object, of};
use super::{KEYS, Routes, TAGS, answer};

#[rustfmt::skip]
pub(super) fn table<'r>(routes: &Routes<'r>) -> Vec<Route<'r>> {
    let (text, list, any) = (json!({"type": "string"}), json!({"type": "array", "items": {}}), json!({"type": ["object", "array"], "items": {}}));
    let json = |schema: Value| answer("Done.", JSON, schema);
    let counts = |members: Value| taken(JSON, json!({"allOf": [of("Counts")], "type": "object", "properties": members}));
    let status = || json!({"status": {"const": 1}});
    let success = || object(&["success"], json!({"success": {"const": true}}));
    let tracked = || json!({"status": {"const": "success"}, "tracked": {"type": "integer"}, "invalid": {"type": "integer"}});
    let posthog_body = || body(&[(JSON, any.clone()), (FORM, object(&["data"], json!({"data": text}))), (TEXT, text.clone())]);
    let page = || names(&["writeKey", "event", "anonymousId", "userId", "messageId", "groupId", "url", "title", "referrer",
        "channel", "campaign_id", "ad_id", "creative_id", "message_id"]);
    let ticket = || vec![query("t", text.clone(), "A signed ticket: an open of a message we sent. Then nothing else is read.")];
    let matomo_query = || names(&["idsite", "rec", "url", "urlref", "action_name", "_id", "cid", "uid", "rand", "cdt", "revenue",
        "ec_id", "idgoal", "e_c", "e_a", "send_image"]);
    let snowplow_query = || names(&["e", "aid", "p", "tv", "eid", "dtm", "duid", "uid", "url", "page", "refr"]);
    let tail_query = || vec![
        query("source", text.clone(), "Only of this source."), query("dialect", text.clone(), "Only of this protocol."),
        query("name", text.clone(), "Only events of this name."), query("kind", text.clone(), "Only events of this kind."),
        query("person", text.clone(), "Only of this anonymous, user or account id."),
        query("dead", json!({"type": "boolean"}), "true: only dead letters."),
    ];
    let sql = body(&[(JSON, json!({"type": "object", "required": ["sql"], "additionalProperties": false,
        "properties": {"sql": text, "format": {"enum": ["json", "csv", "ndjson", "arrow", "parquet", null]}}})), (TEXT, text.clone())]);
    let fault = |words: &str| answer(words, JSON, of("Fault"));
    let faults = || [(400, "The question is wrong."), (401, "No token, or none that is known."),
        (403, "Not for the access this token is of: query.access."), (408, "It took too long."),
        (422, "It needs more than one question may have."), (429, "Too often for this access; Retry-After says when again."), (500, "A fault of ours."), (503, "Too many questions, or the lake is away.")]
        .map(|(status, words)| (status, fault(words)));
    let mut sql_answer = json(of("Answer"));
    for media in ["text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"] {
        sql_answer["content"][media] = json!({"schema": text});
    }
    let formats = || vec![query("format", json!({"enum": ["json", "csv", "ndjson", "arrow", "parquet"]}), "Of the answer; else as Accept says.")];
    vec![
        row(routes.native, POST, "events", "sendEvents", "Take one event, a list, {\"events\": [..]}, or one event a line").key(&[""])
            .body(native_body()).says(200, results()).refuses(OF_BODY),

        row(routes.segment, POST, "segment", "segment", "Take what Segment's, RudderStack's and Jitsu's SDKs send: one call or a batch").key(&[""])
            .body(body(&[(JSON, any.clone()), (TEXT, text.clone())])).says(200, counts(json!({"success": {"const": true}}))).refuses(OF_BODY),
        row(routes.segment_metrics, POST, "segment", "segmentMetrics", "Take how analytics-next is doing, and forget it")
            .body(optional(&[(JSON, any.clone())])).says(200, json(success())),
        row(routes.segment_settings, GET, "segment", "segmentSettings", "Tell analytics-next at its start to send its events here")
            .says(200, json(object(&["integrations"], json!({})))).refuses(&[401]),
        row(routes.rudder_config, GET, "segment", "rudderConfig", "Tell RudderStack's browser SDK at its start to send its events here").key(&[])
            .says(200, json(object(&["source"], json!({})))).refuses(&[401]),
        row(routes.rudder_pixel, GET, "segment", "rudderPixel", "Take a RudderStack pixel; always an image").key(&[""])
            .query(page()).says(200, image()),

        row(routes.posthog, POST, "posthog", "posthogPost", "Take events: JSON, or a form around base64 of it").key(&["apiKey", ""])
            .body(posthog_body()).says(200, taken(JSON, object(&["status"], status()))).refuses(OF_BODY),
        row(routes.posthog, GET, "posthog", "posthogGet", "Take events that stand in the query").key(&["apiKey", ""])
            .query(names(&["data", "_"])).says(200, taken(JSON, object(&["status"], status()))).refuses(&[400, 401, 403, 413, 503]),
        row(routes.posthog_v1, POST, "posthog", "posthogV1", "Take a batch, with an answer for each event").key(&["apiKey", ""])
            .body(body(&[(JSON, any.clone())])).says(200, taken(JSON, of("PosthogResults"))).refuses(OF_BODY),
        row(routes.posthog_flags, GET, "posthog", "posthogFlagsGet", "Say that there are no flags").says(200, json(object(&["flags"], json!({})))),
        row(routes.posthog_flags, POST, "posthog", "posthogFlagsPost", "Say that there are no flags")
            .body(optional(&[(JSON, any.clone())])).says(200, json(object(&["flags"], json!({})))),
        row(routes.posthog_config, GET, "posthog", "posthogConfig", "Tell posthog-js at its start what there is here")
            .says(200, with(json(object(&["token"], json!({}))), "application/javascript", &text)).says(404, empty("Neither config nor config.js.")),

        row(routes.snowplow_get, GET, "snowplow", "snowplowGet", "Take one event from the query; an image").key(&["appId"])
            .query(snowplow_query()).says(200, taken("image/gif", gif())).refuses(OF_QUERY),
        row(routes.snowplow_post, POST, "snowplow", "snowplowPost", "Take a payload of events").key(&["appId", ""])
            .body(body(&[(JSON, object(&["schema", "data"], json!({"schema": text, "data": list})))])).says(200, taken(TEXT, text.clone())).refuses(OF_BODY),

        row(routes.matomo, GET, "matomo", "matomoGet", "Take one event from the query; an image, or nothing with send_image=0").key(&["siteId", "tokenAuth"])
            .query(matomo_query()).says(200, taken("image/gif", gif())).says(204, durable(empty("All of it is durable."))).refuses(OF_QUERY),
        row(routes.matomo, POST, "matomo", "matomoPost", "Take a form, or many requests in JSON").key(&["siteId", "tokenAuth", ""])
            .body(optional(&[(FORM, json!({"type": "object"})), (JSON, object(&["requests"], json!({"requests": list, "token_auth": text})))]))
            .says(200, taken(JSON, object(&["status", "tracked", "invalid"], tracked()))).refuses(OF_BODY),

        row(routes.ga4, POST, "ga4", "ga4Collect", "Take events of the Measurement Protocol").key(&["apiSecret"])
            .query(names(&["measurement_id", "firebase_app_id"])).body(ga4_body()).says(204, durable(empty("All of it is durable."))).refuses(OF_BODY),
        row(routes.ga4_debug, POST, "ga4", "ga4Debug", "Say what is wrong with events, and keep nothing").key(&["apiSecret"])
            .query(names(&["measurement_id", "firebase_app_id"])).body(ga4_body())
            .says(200, json(object(&["validationMessages"], json!({"validationMessages": list})))).refuses(&[400, 401, 408, 413, 503]),

        row(routes.cloudevents, POST, "cloudevents", "cloudevents", "Take CloudEvents: with ce- headers around any body, structured, or batched").key(&[])
            .body(body(&[("application/cloudevents+json", json!({"type": "object"})), ("application/cloudevents-batch+json", list.clone()), (JSON, any.clone())]))
            .says(200, counts(json!({}))).refuses(OF_BODY),

        row(routes.webhooks, POST, "mail", "webhook", "Take what a mail provider tells; it signs in its own way")
            .body(body(&[(JSON, any.clone()), (TEXT, text.clone())])).says(200, empty("All of it is durable, or there was nothing to keep.")).refuses(&[400, 401, 404, 408, 413, 503]),

        row(routes.script, GET, "messages", "script", "Our browser SDK").says(200, answer("The script.", "text/javascript", text.clone())).says(304, empty("The browser has it.")),
        row(routes.pixel, GET, "messages", "pixel", "Take one event from the query, or an open by its ticket; always an image").key(&[""])
            .query([ticket(), page()].concat()).says(200, image()),
        row(routes.link, GET, "messages", "link", "Count a click and go where the ticket says").says(302, found()).says(404, html("No good ticket.")),
        row(routes.way_out, GET, "messages", "wayOut", "Show the button that ends a mailing; changes nothing").says(200, html("The button.")).says(404, html("No good ticket.")),
        row(routes.way_out, POST, "messages", "unsubscribe", "End a mailing (RFC 8058); the body is not read")
            .body(optional(&[(FORM, json!({"type": "object"}))])).says(200, durable(html("It is noted.")))
            .says(404, html("No good ticket.")).says(503, retried(html("The log is away: try again."))),

        row(routes.tail, GET, "watch", "tail", "What comes in, as it comes: events named event, dead_letter and missed").token()
            .query(tail_query()).says(200, answer("A stream without end.", "text/event-stream", text.clone())).refuses(&[401, 503]),
        row(routes.replay, POST, "watch", "replayDeadLetters", "Send dead letters through the door again").token()
            .body(body(&[(JSON, of("Letters"))])).says(200, json(of("Replayed"))).refuses(&[400, 401, 408, 413, 503]),
        row(routes.health, GET, "watch", "healthz", "Whether the process lives").says(200, answer("It lives.", TEXT, text.clone())),
        row(routes.ready, GET, "watch", "readyz", "Whether it would take an event now").says(200, json(object(&["ready"], json!({"ready": {"const": true}}))))
            .says(503, answer("Not now.", JSON, object(&["ready", "reason"], json!({"ready": {"const": false}, "reason": text})))),
        row(routes.itself, GET, "watch", "openapi", "This document").says(200, json(json!({"type": "object"}))),

        row(routes.sql, POST, "questions", "sql", "Ask in SQL").token().query(formats())
            .body(sql).says(200, sql_answer.clone()).says_all(faults()).says(413, fault("The text is too long.")),
        row(routes.functions, GET, "questions", "functions", "All functions over people, their arguments and an example of each").token()
            .says(200, json(object(&["functions"], json!({"functions": list})))).says(401, fault("No token, or none that is known.")),
        row(routes.function, POST, "questions", "callFunction", "Call a function with its arguments by name").token().query(formats())
            .body(optional(&[(JSON, json!({"type": "object"}))])).says(200, sql_answer)
            .says_all(faults()).says(413, fault("The arguments are too long.")),
        row(routes.definitions, GET, "questions", "definitions", "All that is defined: events, channels, segments, metrics, funnels").token()
            .says(200, json(object(&["definitions", "truncated"], json!({
                "definitions": {"type": "array", "items": of("Definition")}, "truncated": {"type": "boolean"}}))))
            .says_all(faults()),
        row(routes.receipts, GET, "questions", "receipt", "Where one event is, and what became of it").token()
            .query(vec![query("source", text.clone(), "Where several send the same ids."), query("days", json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}), "How far back to look; 30.")])
            .says(200, json(of("Receipt"))).says(404, answer("It is nowhere.", JSON, of("Receipt"))).says_all(faults()),
    ]
}

const GET: &str = "get";
const POST: &str = "post";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const TEXT: &str = "text/plain";

fn native_body() -> Value {
    let mut body = body(&[
        (JSON, of("Events")),
        ("application/x-ndjson", json!({"type": "string", "description": "One event a line."})),
        (TEXT, json!({"type": "string", "description": "The same JSON or lines: beacons can say no other type."})),
    ]);
    let page =
        json!({"event_id": "1", "name": "page", "anonymous_id": "d1", "url": "https://shop.example/?utm_source=news"});
    let order = json!({"event_id": "2", "name": "Order Completed", "anonymous_id": "d1", "user_id": "ada", "value": "49.90",
        "currency": "EUR", "consent": {"analytics": true, "ads": false}, "properties": {"colour": "red"}});
    body["content"][JSON]["examples"] = json!({
        "one": {"value": page}, "list": {"value": [page, order]},
        "batch": {"value": {"sent_time": "2026-01-02T03:04:05.678Z", "events": [order]}},
    });
    body["content"]["application/x-ndjson"]["examples"] = json!({"lines": {"value": format!("{page}\n{order}\n")}});
    body
}

fn results() -> Value {
    let mut answer = taken(JSON, of("Results"));
    answer["content"][JSON]["examples"] = json!({"each": {"value": {"accepted": 2, "dead_lettered": 1, "results": [
        {"event_id": "1", "result": "ok"},
        {"event_id": "2", "result": "warning", "details": "colour: no column has this name; kept in properties"},
        {"event_id": "3", "result": "drop", "details": "name: expected what happened, as text, found nothing"},
    ]}}});
    answer
}

fn ga4_body() -> Value {
    let members = json!({"client_id": {"type": "string"}, "user_id": {"type": "string"}, "events": {"type": "array", "items": {}}});
    body(&[(JSON, object(&["events"], members))])
}
enum Asks {
    Nobody,
    /// A write key: as everywhere, or as this protocol has it ("": in the body).
    Key(&'static [&'static str]),
    Token,
}

pub(super) struct Route<'r> {
    pub(super) paths: &'r [&'r str],
    pub(super) method: &'static str,
    tag: &'static str,
    /// Begins the operation's id; where there are several paths, each ends it.
    id: &'static str,
    summary: &'static str,
    asks: Asks,
    query: Vec<Value>,
    body: Option<Value>,
    answers: Vec<(u16, Value)>,
    refuses: &'static [u16],
}

impl Route<'_> {
    pub(super) fn operation(&self, path: &str) -> Value {
        let id = if self.paths.len() == 1 { self.id.to_owned() } else { format!("{}{}", self.id, camel(path)) };
        let in_path = path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| {
            let words = PATH_WORDS.iter().find(|(known, _)| *known == name).map_or("", |(_, words)| words);
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}, "description": words})
        });
        let mut parameters: Vec<Value> = in_path.chain(self.query.iter().cloned()).collect();
        if self.body.is_some() && matches!(self.asks, Asks::Key(_)) {
            let common = ["Packing", "RetryCount", "PrivacyControl"];
            parameters.extend(common.map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
        }
        let security: Vec<Value> = match self.asks {
            Asks::Nobody => Vec::new(),
            Asks::Key(own) => KEYS.iter().chain(own).map(|name| scheme(name)).collect(),
            Asks::Token => vec![scheme("token")],
        };
        let mut responses: Map<String, Value> =
            self.answers.iter().map(|(status, answer)| (status.to_string(), answer.clone())).collect();
        for status in self.refuses {
            let refused = json!({"$ref": format!("#/components/responses/Refused{status}")});
            responses.insert(status.to_string(), refused);
        }
        let mut operation = json!({
            "operationId": id, "tags": [self.tag], "summary": self.summary, "security": security, "parameters": parameters,
            "responses": responses,
        });
        if let Some((.., link)) = TAGS.iter().find(|(tag, _, link)| *tag == self.tag && !link.is_empty()) {
            operation["externalDocs"] = json!({"url": link});
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        operation
    }
}

const PATH_WORDS: &[(&str, &str)] = &[
    ("key", "A write key."),
    ("file", "config or config.js."),
    ("call", "track or page."),
    ("source", "A source of ingest.webhooks."),
    ("ticket", "A signed ticket, as `tributary link` prints it."),
    ("event_id", "The id the event was sent with."),
];

fn scheme(name: &str) -> Value {
    if name.is_empty() { json!({}) } else { json!({name: []}) }
}

fn row<'r>(
    paths: &'r [&'r str],
    method: &'static str,
    tag: &'static str,
    id: &'static str,
    summary: &'static str,
) -> Route<'r> {
    let (query, answers) = (Vec::new(), Vec::new());
    Route { paths, method, tag, id, summary, asks: Asks::Nobody, query, body: None, answers, refuses: &[] }
}

impl Route<'_> {
    fn key(self, own: &'static [&'static str]) -> Self {
        Self { asks: Asks::Key(own), ..self }
    }

    fn token(self) -> Self {
        Self { asks: Asks::Token, ..self }
    }

    fn query(self, query: Vec<Value>) -> Self {
        Self { query, ..self }
    }

    fn body(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    fn says(self, status: u16, answer: Value) -> Self {
        self.says_all([(status, answer)])
    }

    fn says_all(mut self, answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        self.answers.extend(answers);
        self
    }

    fn refuses(self, refuses: &'static [u16]) -> Self {
        Self { refuses, ..self }
    }
}

/// `/v1/t.js` as `V1TJs`; a slash at the end is told too.
fn camel(path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id: String = words.map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect();
    if path.ends_with('/') {
        id.push_str("Slash");
    }
    id
}

/// What a request may be refused with that brings a body; and one whose events stand in its query.
const OF_BODY: &[u16] = &[400, 401, 403, 408, 413, 503];
const OF_QUERY: &[u16] = &[401, 403, 503];

/// The answer to what was taken.
fn taken(media: &str, schema: Value) -> Value {
    durable(answer("All of it is durable.", media, schema))
}

/// An answer that says where what was taken is.
fn durable(mut answer: Value) -> Value {
    answer["headers"] = json!({"X-Ingest-Durability": {"$ref": "#/components/headers/Durability"}});
    answer
}

fn retried(mut answer: Value) -> Value {
    answer["headers"] = json!({"Retry-After": {"$ref": "#/components/headers/RetryAfter"}});
    answer
}

fn found() -> Value {
    json!({"description": "There it goes.", "headers": {"Location": {"required": true, "schema": {"type": "string"}}}})
}

fn with(mut answer: Value, media: &str, schema: &Value) -> Value {
    answer["content"][media] = json!({"schema": schema});
    answer
}

fn empty(words: &str) -> Value {
    json!({"description": words})
}

fn html(words: &str) -> Value {
    answer(words, "text/html", json!({"type": "string"}))
}

fn image() -> Value {
    answer("One transparent dot.", "image/gif", gif())
}

fn gif() -> Value {
    json!({"type": "string", "contentMediaType": "image/gif"})
}

fn body(contents: &[(&str, Value)]) -> Value {
    let mut body = optional(contents);
    body["required"] = json!(true);
    body
}

/// A body that may be missing.
fn optional(contents: &[(&str, Value)]) -> Value {
    let content = contents.iter().map(|(media, schema)| ((*media).to_owned(), json!({"schema": schema})));
    json!({"content": content.collect::<Map<_, _>>()})
}

/// Query parameters that need no more words than their vendor has for them.
fn names(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})).collect()
}

fn query(name: &str, schema: Value, words: &str) -> Value {
    json!({"name": name, "in": "query", "schema": schema, "description": words})
}

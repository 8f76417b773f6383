//! Real requests of unmodified SDKs become the events they meant.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::house::{Answer, House, NOW_US, assert_columns, gzip};

const CAPTURES: [&str; 2] =
    [include_str!("../data/segment_captures.jsonl"), include_str!("../data/dialect_captures.jsonl")];

/// Every captured request.
pub(crate) fn all() -> Vec<Value> {
    let lines = CAPTURES.iter().flat_map(|captures| captures.lines());
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A captured request as it came.
pub(crate) fn request_of(capture: &Value, key: Option<(&str, &str)>) -> Request<Body> {
    let body = capture["body"].as_str().unwrap().as_bytes().to_vec();
    let headers = capture["headers"].as_object().unwrap();
    let packed = headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
    let mut request =
        Request::builder().method(capture["method"].as_str().unwrap_or("POST")).uri(capture["path"].as_str().unwrap());
    for (name, value) in headers.iter().filter(|(name, _)| *name != "content-length") {
        request = request.header(name, value.as_str().unwrap());
    }
    if let Some((name, value)) = key {
        request = request.header(name, value);
    }
    request.body(Body::from(if packed { gzip(&body) } else { body })).unwrap()
}

/// Sends a captured request to a new house as it came.
pub(crate) async fn sent(client: &str, key: Option<(&str, &str)>) -> (House, Answer) {
    let captures = all();
    let capture = captures.iter().find(|capture| capture["client"] == client);
    let capture = capture.unwrap_or_else(|| panic!("no capture of {client}"));
    let house = House::new();
    let answer = house.ask(request_of(capture, key)).await;
    assert!(answer.status.is_success(), "{answer:?}");
    assert_eq!(house.dead_letters(), Vec::<Value>::new());
    (house, answer)
}

/// Of a browser's page too, and without a key: what surrounds the handlers is the same.
#[tokio::test]
async fn the_short_way_answers_as_the_router_does() {
    let mut count = 0;
    for capture in all() {
        for (name, value) in
            [("origin", "https://shop.example"), ("x-forwarded-for", "192.0.2.1"), ("content-encoding", "br")]
        {
            let request = || request_of(&capture, Some((name, value)));
            let (router, short) = (House::new(), House::new());
            if request().method() != Method::POST || !short.short.takes(request().uri().path()) {
                continue;
            }
            let (expected, found) = (router.ask_by(false, request()).await, short.ask_by(true, request()).await);
            let client = &capture["client"];
            assert_eq!((expected.status, &expected.body), (found.status, &found.body), "{client}");
            // How long the body is whoever writes it says.
            let told = |answer: &Answer| {
                let headers = answer.headers.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH);
                let mut told: Vec<_> = headers.map(|(name, value)| (name.to_string(), value.clone())).collect();
                told.sort();
                told
            };
            assert_eq!(told(&expected), told(&found), "{client}");
            assert_eq!(router.events(), short.events(), "{client}");
            assert_eq!(router.dead_letters(), short.dead_letters(), "{client}");
            count += 1;
        }
    }
    assert!(60 < count, "{count}");
}

async fn replayed(client: &str) -> Vec<Value> {
    let (house, answer) = sent(client, None).await;
    assert_eq!(answer.status, StatusCode::OK);
    let events = house.events();
    assert_eq!(answer.json()["accepted"], events.len());
    events
}

#[tokio::test]
async fn analytics_node_track_identify_alias() {
    let events = replayed("analytics-node 3.1.0: track, identify, alias").await;
    assert_eq!(events.len(), 3);
    assert_columns(
        &events[0],
        json!({
            "event_id": "node-next-1795352664921-f6c2f538-bb72-4ae7-a94b-90119ec86753", "client_event_id": null,
            "source": "seg-node", "dialect": "segment", "anonymous_id": null, "user_id": "u1",
            "event_time_us": 1_735_787_045_000_000_i64, "client_time_us": 1_735_787_045_000_000_i64,
            "sent_time_us": 1_795_352_664_938_000_i64, "ingest_time_us": NOW_US, "clock_quality": "trusted",
            "clock_skew_us": -15_062_000, "event_name": "Order Completed", "event_kind": "conversion",
            "currency": null, "library": "@segment/analytics-node/3.1.0", "user_agent": null, "ip_truncated": null,
            "engagement_class": "human", "consent": null, "flags": 0, "properties": "{\"revenue\":12.5}",
        }),
    );
    assert_eq!(events[0]["value"].to_string().trim_matches('"').parse::<f64>().unwrap(), 12.5);
    assert_columns(
        &events[1],
        json!({
            "event_name": "identify", "event_kind": "identify", "user_id": "u1", "properties": "{\"email\":\"x@y.z\"}",
            "event_time_us": 1_795_352_664_922_000_i64,
        }),
    );
    assert_columns(
        &events[2],
        json!({"event_name": "alias", "event_kind": "alias", "user_id": "u1", "previous_id": "anon", "properties": null}),
    );
}

#[tokio::test]
async fn analytics_node_page_group_screen() {
    let events = replayed("analytics-node 3.1.0: page, group, screen").await;
    assert_eq!(events.len(), 3);
    assert_columns(
        &events[0],
        json!({
            "event_name": "page", "event_kind": "page", "title": "Home", "anonymous_id": "an1", "user_id": null,
            "properties": "{\"name\":\"Home\"}", "clock_quality": "trusted",
        }),
    );
    assert_columns(
        &events[1],
        json!({"event_name": "group", "event_kind": "group", "account_id": "g1", "user_id": "u1", "properties": "{}"}),
    );
    assert_columns(
        &events[2],
        json!({"event_name": "screen", "event_kind": "page", "title": "S", "user_id": "u1", "properties": "{\"name\":\"S\"}"}),
    );
}

#[tokio::test]
async fn rudder_node_sends_gzip_that_says_it_is_a_form() {
    let events = replayed("rudder-sdk-node 3.0.13: track").await;
    assert_eq!(events.len(), 1);
    assert_columns(
        &events[0],
        json!({
            "event_id": "f6bbcc95-eecf-409f-a224-21f41dc7fcb2", "source": "rud-node", "event_name": "Clicked",
            "event_kind": "custom", "user_id": "u1", "properties": "{\"x\":1}", "library": "analytics-node/3.0.13",
            // RudderStack's `channel` says where the library runs; it is no marketing channel.
            "channel": null,
            "event_time_us": 1_795_352_665_059_000_i64, "sent_time_us": 1_795_352_665_076_000_i64,
            "clock_quality": "trusted",
        }),
    );
    let events = replayed("rudder-sdk-node 3.0.13: identify").await;
    assert_columns(&events[0], json!({"event_kind": "identify", "properties": "{\"a\":1}", "user_id": "u1"}));
}

fn of_browser() -> Value {
    json!({
        "source": "seg-web", "url_host": "shop.test", "url_path": "/p", "url_query": "utm_source=news&utm_campaign=c1",
        "title": "T", "utm_source": "news", "utm_campaign": "c1", "utm_medium": null, "referrer_host": "google.com",
        "language": "en-US", "timezone": "UTC", "library": "analytics.js/npm:next-1.84.3",
        "user_agent": "Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/24.1.3",
        "ip_truncated": "203.0.113.0/24", "engagement_class": "human", "clock_quality": "unchecked", "flags": 0,
    })
}

#[tokio::test]
async fn analytics_next_one_call_a_request() {
    let events = replayed("analytics-next 1.84.3: page").await;
    assert_columns(&events[0], of_browser());
    assert_columns(
        &events[0],
        json!({
            "event_id": "ajs-next-1795352669393-823becb4-200a-4eb3-aedb-a83fe2efe27a", "event_kind": "page",
            "event_name": "page", "anonymous_id": "3becb420-0a5e-43ee-9ba8-3fe2efe27af3", "user_id": null,
            "event_time_us": 1_795_352_669_393_000_i64, "clock_skew_us": -10_544_000,
        }),
    );
    let events = replayed("analytics-next 1.84.3: track").await;
    assert_columns(&events[0], of_browser());
    assert_columns(&events[0], json!({"event_name": "Ev", "event_kind": "custom", "properties": "{\"a\":1}"}));
    let events = replayed("analytics-next 1.84.3: identify").await;
    assert_columns(&events[0], of_browser());
    assert_columns(
        &events[0],
        json!({
            "event_kind": "identify", "user_id": "u1", "properties": "{\"email\":\"x@y\"}",
            "anonymous_id": "3becb420-0a5e-43ee-9ba8-3fe2efe27af3",
        }),
    );
}

#[tokio::test]
async fn analytics_next_batches() {
    let events = replayed("analytics-next 1.84.3: batch of page and track").await;
    assert_eq!(events.len(), 2);
    for event in &events {
        assert_columns(event, of_browser());
        // The batch carries the sending time for all of them.
        assert_eq!(event["sent_time_us"], 1_795_352_677_039_000_i64);
    }
    assert_eq!(events[0]["event_kind"], "page");
    assert_eq!(events[1]["event_name"], "Ev");
    assert_eq!(replayed("analytics-next 1.84.3: batch of identify").await.len(), 1);
}

#[tokio::test]
async fn python_libraries_send_null_ids_and_offsets() {
    let events = replayed("segment-analytics-python 2.4.0: track, identify").await;
    assert_eq!(events.len(), 2);
    assert_columns(
        &events[0],
        json!({
            "source": "seg-py", "event_name": "Ev", "user_id": "u1", "anonymous_id": null, "properties": "{\"a\": 1}",
            "event_time_us": 1_795_352_717_858_000_i64, "sent_time_us": 1_795_352_718_359_029_i64,
            "clock_quality": "trusted", "flags": 0,
        }),
    );
    assert_columns(&events[1], json!({"event_kind": "identify", "properties": "{\"e\": 2}"}));
    let events = replayed("rudder-sdk-python 2.1.9: track").await;
    assert_columns(&events[0], json!({"source": "rud-py", "event_time_us": 1_795_352_718_976_761_i64}));
}

#[tokio::test]
async fn jitsu_sends_what_segment_does_under_paths_of_its_own() {
    let events = replayed("jitsu-js 1.11.0: page").await;
    assert_columns(
        &events[0],
        json!({
            "event_id": "159c0g8ogxm27oadhymrmi", "source": "jitsu", "dialect": "segment", "event_kind": "page", "title": "T",
            "anonymous_id": "946cdce5-5203-4478-b12f-b730f73a0779", "utm_source": "news", "utm_campaign": "c1",
            "url_host": "shop.test", "referrer_host": "google.com", "library": "@jitsu/js/1.11.0",
        }),
    );
    assert_eq!(replayed("jitsu-js 1.11.0: track").await[0]["event_kind"], "custom");
    assert_eq!(replayed("jitsu-js 1.11.0: identify").await[0]["event_kind"], "identify");
}

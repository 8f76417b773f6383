//! The mapping of Segment's events, rule by rule.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tributary_eventlog::partition_for;

use crate::house::{EVENTS, House, NOW_US, PARTITIONS, assert_columns, gzip};

#[tokio::test]
async fn one_bad_event_does_not_spoil_its_49_neighbours() {
    let house = House::new();
    let mut batch: Vec<Value> = (0..50)
        .map(|i| json!({"type": "track", "event": "E", "userId": format!("u{i}"), "messageId": format!("m{i}")}))
        .collect();
    batch[17] = json!({"type": "track", "event": {"not": "text"}, "userId": "u17", "messageId": "m17"});
    let answer = house.post("/v1/batch", json!({"batch": batch}).to_string()).await;
    assert_eq!(answer.json(), json!({"success": true, "accepted": 49, "dead_lettered": 1}));
    assert_eq!(house.events().len(), 49);
    let letter = &house.dead_letters()[0];
    assert_columns(
        letter,
        json!({
            "source": "shop", "dialect": "segment", "event_id": "m17", "ingest_time_us": NOW_US, "reason": "invalid_field",
            "detail": "event: expected the name of what happened, as text, found an object",
            // A batch of its own, so that it can be sent again by itself.
            "payload": json!({"batch": [batch[17]]}).to_string(), "payload_bytes": json!({"batch": [batch[17]]}).to_string().len(),
            "request": "POST /v1/batch", "user_id": "u17", "event_name": null, "event_kind": null,
        }),
    );
}

#[tokio::test]
async fn each_kind_of_bad_event_says_which_field_and_what_was_expected() {
    let house = House::new();
    for (event, reason, words) in [
        (json!({"event": "E", "userId": "u"}), "invalid_field", "type: expected one of track"),
        (json!({"type": "trak", "userId": "u"}), "invalid_field", "found \"trak\""),
        (json!({"type": "track", "userId": "u"}), "invalid_field", "event: expected"),
        (
            json!({"type": "track", "event": "E", "userId": ["u"]}),
            "invalid_field",
            "userId: expected text or a number, found a list",
        ),
        (json!({"type": "track", "event": "E", "userId": "u".repeat(257)}), "invalid_field", "at most 256 bytes"),
        (
            json!({"type": "track", "event": "E", "userId": "u", "properties": [1]}),
            "invalid_field",
            "properties: expected an object, found a list",
        ),
        (
            json!({"type": "track", "event": "E", "userId": "u", "context": "x"}),
            "invalid_field",
            "context: expected an object",
        ),
        (
            json!({"type": "track", "event": "E", "userId": "u", "timestamp": {}}),
            "invalid_field",
            "timestamp: expected ISO 8601",
        ),
        (
            json!({"type": "track", "event": "E", "userId": "u", "messageId": [1]}),
            "invalid_field",
            "messageId: expected text",
        ),
        (json!({"type": "alias", "userId": "u"}), "invalid_field", "previousId: expected an id"),
        (json!({"type": "group", "userId": "u"}), "invalid_field", "groupId: expected an id"),
        (json!({"type": "track", "event": "E"}), "no_identity", "anonymousId, userId: expected at least one"),
        (
            json!({"type": "track", "event": "E", "userId": "null", "anonymousId": "undefined"}),
            "no_identity",
            "count as none",
        ),
        (json!("text"), "invalid_field", "event: expected an object, found text"),
        (json!(null), "invalid_field", "event: expected an object"),
    ] {
        let before = house.dead_letters().len();
        let answer = house.post("/v1/batch", json!({"batch": [event]}).to_string()).await;
        assert_eq!(answer.json()["dead_lettered"], 1, "{event}");
        let letter = house.dead_letters().remove(before);
        assert_eq!(letter["reason"], reason, "{letter}");
        assert!(letter["detail"].as_str().unwrap().contains(words), "{letter} wants {words}");
    }
    assert_eq!(house.events().len(), 0);
}

#[tokio::test]
async fn junk_ids_count_as_absent_and_are_flagged() {
    let house = House::new();
    let event = house
        .event("/v1/track", json!({"event": "E", "anonymousId": "undefined", "userId": 42, "messageId": "m"}))
        .await;
    assert_columns(&event, json!({"anonymous_id": null, "user_id": "42", "flags": 16}));
    // With an id of its own an event without a person stands alone.
    let event = house.event("/v1/track", json!({"event": "E", "userId": false, "messageId": "m2"})).await;
    assert_columns(&event, json!({"user_id": null, "event_id": "m2", "flags": 16 | 4}));
    // A message id that is none would make all its events one.
    let one = house.event("/v1/track", json!({"event": "E", "userId": "u", "messageId": "undefined"})).await;
    let two = house.event("/v1/track", json!({"event": "F", "userId": "u", "messageId": "undefined"})).await;
    assert_ne!(one["event_id"], two["event_id"]);
    assert_eq!(one["flags"], 16);
}

#[tokio::test]
async fn a_retry_without_message_id_gets_the_same_event_id() {
    let house = House::new();
    let id = |event: Value| async {
        let house = &house;
        house.event("/v1/track", event).await["event_id"].as_str().unwrap().to_owned()
    };
    let first =
        id(json!({"event": "E", "userId": "u", "timestamp": "2026-11-22T13:00:00Z", "sentAt": "2026-11-22T13:00:01Z"}))
            .await;
    let again =
        id(json!({"event": "E", "userId": "u", "timestamp": "2026-11-22T13:00:00Z", "sentAt": "2026-11-22T13:00:09Z"}))
            .await;
    let other = id(json!({"event": "E", "userId": "u", "timestamp": "2026-11-22T13:00:02Z"})).await;
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(first.len(), 36);
}

#[tokio::test]
async fn absurd_clocks_are_clamped_and_what_was_written_is_kept() {
    let house = House::new();
    let at = |timestamp: Value| json!({"event": "E", "userId": "u", "messageId": timestamp.to_string(), "timestamp": timestamp});
    for timestamp in
        [json!("2099-01-01T00:00:00Z"), json!("1970-01-01T00:00:00Z"), json!(1e16), json!("-000044-03-15T12:00:00Z")]
    {
        let event = house.event("/v1/track", at(timestamp)).await;
        assert_columns(&event, json!({"event_time_us": NOW_US, "clock_quality": "clamped", "flags": 2}));
        assert!(event["client_time_us"].is_i64());
    }
    let event = house.event("/v1/track", at(json!("half past nine"))).await;
    assert_columns(
        &event,
        json!({
            "event_time_us": NOW_US, "clock_quality": "clamped", "flags": 2, "client_time_us": null,
            "properties": "{\"$timestamp\":\"half past nine\"}",
        }),
    );
    let event = house.event("/v1/track", json!({"event": "E", "userId": "u", "messageId": "m"})).await;
    assert_columns(&event, json!({"event_time_us": NOW_US, "clock_quality": "received", "flags": 0}));
    let event = house.event("/v1/track", at(json!(1_795_352_670_000_i64))).await;
    assert_columns(&event, json!({"event_time_us": 1_795_352_670_000_000_i64, "clock_quality": "unchecked"}));
}

#[tokio::test]
async fn a_skewed_clock_is_corrected_unless_this_is_a_retry_or_the_key_is_trusted() {
    let house = House::new();
    // Happened at 13:00:00, sent at 13:00:02, by a clock more than four minutes behind ours (13:04:40).
    let event = json!({
        "event": "E", "userId": "u", "messageId": "m",
        "timestamp": "2026-11-22T13:00:00Z", "sentAt": "2026-11-22T13:00:02Z",
    });
    let corrected = house.event("/v1/track", event.clone()).await;
    assert_columns(
        &corrected,
        json!({
            "event_time_us": NOW_US - 2_000_000, "clock_quality": "corrected", "clock_skew_us": -278_000_000,
            "client_time_us": NOW_US - 280_000_000,
        }),
    );
    let retry = |key: &str| {
        let request = Request::post("/v1/track").header("x-retry-count", if key == "WK" { "1" } else { "0" });
        request.header("x-write-key", key).body(Body::from(event.to_string())).unwrap()
    };
    house.ask(retry("WK")).await;
    house.ask(retry("TRUSTED")).await;
    let events = house.events();
    assert_columns(
        &events[1],
        json!({"event_time_us": NOW_US - 280_000_000, "clock_quality": "unchecked", "clock_skew_us": null}),
    );
    assert_columns(
        &events[2],
        json!({"event_time_us": NOW_US - 280_000_000, "clock_quality": "trusted", "source": "import"}),
    );
}

#[tokio::test]
async fn the_marketing_columns_are_read() {
    let house = House::new();
    let event = house
        .event(
            "/v1/track",
            json!({
                "event": "Order Completed", "anonymousId": "a", "messageId": "m",
                "properties": {
                    "total": "99.90", "currency": "eur", "campaign_id": 7, "channel": "email", "ad_id": "ad",
                    "creative_id": "cr", "message_id": "msg", "link_id": 3, "decision_id": "d", "country": "DE",
                    "exposures": [
                        {"experiment": "e1", "variant": "b", "probability": 0.5, "decision_id": "d1"},
                        {"experiment": "e2"}, 5, {"experiment": "e3", "variant": 2, "probability": 7}
                    ],
                },
                "context": {
                    "campaign": {"source": "s", "medium": "m", "name": "n", "term": "t", "content": "c", "id": "ignored"},
                    "page": {"url": "https://shop.example/p?gclid=G&fbclid=F&utm_source=not", "referrer": "https://www.bing.com/x"},
                    "screen": {"width": 1024, "height": 768},
                    "device": {"id": "dev"}, "os": {"name": "iOS"}, "groupId": "acme", "location": {"region": "BY"},
                    "consent": {"categoryPreferences": {"Advertising": false, "Analytics": true, "C0003": true, "x": true}},
                },
            }),
        )
        .await;
    assert_columns(
        &event,
        json!({
            "event_kind": "conversion", "currency": "EUR", "campaign_id": "7", "channel": "email", "ad_id": "ad",
            "creative_id": "cr", "message_id": "msg", "link_id": "3", "decision_id": "d", "country": "DE", "region": "BY",
            "utm_source": "s", "utm_medium": "m", "utm_campaign": "n", "utm_term": "t", "utm_content": "c", "gclid": "G",
            "fbclid": "F", "referrer_host": "www.bing.com", "screen": "1024x768", "device_id": "dev", "os": "iOS",
            "account_id": "acme", "consent": 1 | 8, "url_host": "shop.example", "url_path": "/p",
        }),
    );
    assert_eq!(event["value"].to_string().trim_matches('"').parse::<f64>().unwrap(), 99.9);
    let exposures = event["exposures"].as_array().unwrap();
    assert_eq!(exposures.len(), 2);
    assert_eq!(exposures[0], json!({"experiment": "e1", "variant": "b", "decision_id": "d1", "probability": 0.5}));
    assert_eq!(exposures[1], json!({"experiment": "e3", "variant": "2"}));
}

#[tokio::test]
async fn an_experiment_viewed_is_an_exposure() {
    let house = House::new();
    let event = house
        .event(
            "/v1/track",
            json!({
                "event": "Experiment Viewed", "userId": "u", "messageId": "m",
                "properties": {"experiment_name": "button", "variation_name": "green"},
            }),
        )
        .await;
    assert_eq!(event["event_kind"], "impression");
    assert_eq!(event["exposures"], json!([{"experiment": "button", "variant": "green"}]));
}

#[tokio::test]
async fn a_sender_may_name_the_kind_itself() {
    let house = House::new();
    let event = json!({"event": "Ping", "userId": "u", "messageId": "m", "context": {"tributary": {"kind": "cost"}}});
    assert_columns(
        &house.event("/v1/track", event).await,
        json!({"event_kind": "cost", "engagement_class": "unknown"}),
    );
    let event =
        json!({"event": "Ping", "userId": "u", "messageId": "n", "context": {"tributary": {"kind": "nonsense"}}});
    assert_columns(
        &house.event("/v1/track", event).await,
        json!({"event_kind": "custom", "engagement_class": "human"}),
    );
}

#[tokio::test]
async fn context_of_the_batch_fills_what_the_event_lacks() {
    let house = House::new();
    let body = json!({
        "context": {"locale": "de-DE", "ip": "198.51.100.7", "library": {"name": "analytics-python", "version": "1"}},
        "batch": [
            {"type": "track", "event": "E", "userId": "u", "messageId": "1"},
            {"type": "track", "event": "E", "userId": "u", "messageId": "2", "context": {"locale": "fr-FR"}},
        ],
    });
    house.post("/v1/batch", body.to_string()).await;
    let events = house.events();
    assert_columns(
        &events[0],
        json!({"language": "de-DE", "ip_truncated": "198.51.100.0/24", "library": "analytics-python/1"}),
    );
    assert_columns(&events[1], json!({"language": "fr-FR", "ip_truncated": "198.51.100.0/24"}));
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let body = json!({"batch": [{"type": "track", "event": "E", "userId": "u", "messageId": "m"}]}).to_string();
    let mut with_mark = b"\xEF\xBB\xBF".to_vec();
    with_mark.extend_from_slice(body.as_bytes());
    for content_type in
        ["application/json", "text/plain", "application/x-www-form-urlencoded", "image/png", "multipart/form-data"]
    {
        for bytes in [body.clone().into_bytes(), gzip(body.as_bytes()), with_mark.clone()] {
            let house = House::new();
            let request = Request::post("/v1/batch").header("content-type", content_type).header("x-write-key", "WK");
            // Some proxies unpack and keep the label.
            let answer = house.ask(request.header("content-encoding", "gzip").body(Body::from(bytes)).unwrap()).await;
            assert_eq!(answer.json()["accepted"], 1, "{content_type}");
        }
    }
}

#[tokio::test]
async fn an_event_goes_to_its_persons_partition() {
    let house = House::new();
    for i in 0..20 {
        house
            .event(
                "/v1/track",
                json!({"event": "E", "anonymousId": format!("a{}", i % 4), "messageId": format!("m{i}")}),
            )
            .await;
    }
    for (partition, record) in house.log.taken(EVENTS) {
        let key = record.key.unwrap();
        assert!(key.starts_with(b"shop\0a"), "{key:?}");
        assert_eq!(partition, partition_for(&key, PARTITIONS));
        assert_eq!(record.time_ms, NOW_US / 1_000);
    }
}

#[tokio::test]
async fn long_text_is_cut_and_flagged_and_long_message_ids_are_hashed() {
    let house = House::new();
    let event =
        house.event("/v1/track", json!({"event": "ä".repeat(200), "userId": "u", "messageId": "m".repeat(300)})).await;
    assert_eq!(event["event_name"].as_str().unwrap(), "ä".repeat(128));
    assert_eq!(event["flags"], 32);
    assert_eq!(event["event_id"].as_str().unwrap().len(), 36);
    assert_eq!(event["client_event_id"].as_str().unwrap().len(), 256);
}

#[tokio::test]
async fn a_long_campaign_id_is_left_out_not_cut() {
    let house = House::new();
    let properties = json!({"campaign_id": "c".repeat(257), "ad_id": "a".repeat(256)});
    let event = house.event("/v1/track", json!({"event": "E", "userId": "u", "properties": properties})).await;
    assert_columns(&event, json!({"campaign_id": null, "ad_id": "a".repeat(256), "flags": 32}));
    assert!(event["properties"].as_str().unwrap().contains(&"c".repeat(257)), "the properties keep it");
}

#[tokio::test]
async fn money_that_is_none_is_flagged_and_stays_in_the_properties() {
    let house = House::new();
    for (properties, flags) in [
        (json!({"revenue": "12,50", "currency": "EUR"}), 128),
        (json!({"total": 1e30}), 128),
        (json!({"revenue": 5, "currency": "Euro"}), 128),
        (json!({"revenue": "", "currency": ""}), 0),
        (json!({"revenue": null}), 0),
        (json!({"value": "red"}), 0),
        (json!({"revenue": "12.50", "currency": "eur"}), 0),
    ] {
        let event = house.event("/v1/track", json!({"event": "E", "userId": "u", "properties": properties})).await;
        assert_eq!(event["flags"], flags, "{properties}");
        assert_eq!(serde_json::from_str::<Value>(event["properties"].as_str().unwrap()).unwrap(), properties);
    }
}

#[tokio::test]
async fn a_bad_letter_spoils_neither_body_nor_event() {
    let house = House::new();
    let mut body = br#"{"batch":[{"type":"track","event":"A?B","userId":"u","messageId":"1"},{"type":"track","event":"\ud800x\u0000","userId":"u","messageId":"2"},{"type":"track","event":"fine","userId":"u","messageId":"3"}]}"#.to_vec();
    let position = body.iter().position(|byte| *byte == b'?').unwrap();
    body[position] = 0xFF;
    assert_eq!(house.post("/v1/batch", body).await.json()["accepted"], 3);
    let events = house.events();
    assert_columns(&events[0], json!({"event_name": "A\u{FFFD}B", "flags": 32}));
    assert_eq!(events[1]["flags"], 32);
    assert!(!events[1]["event_name"].as_str().unwrap().contains('\0'));
    assert_columns(&events[2], json!({"event_name": "fine", "flags": 0}));
}

#[tokio::test]
async fn privacy_control_of_the_browser_is_kept_and_grants_nothing() {
    let house = House::new();
    let body = json!({"event": "E", "userId": "u", "messageId": "m"}).to_string();
    let request = Request::post("/v1/track").header("x-write-key", "WK").header("sec-gpc", "1");
    house.ask(request.body(Body::from(body)).unwrap()).await;
    assert_columns(&house.events()[0], json!({"consent": null, "flags": 64}));
}

#[tokio::test]
async fn an_identify_or_alias_that_says_unlink_is_named_so() {
    let house = House::new();
    let identify = json!({"anonymousId": "d", "userId": "u", "traits": {"unlink": true}});
    let event = house.event("/v1/identify", identify).await;
    assert_eq!([&event["event_name"], &event["event_kind"]], ["identity_unlink", "identify"]);
    let alias = json!({"previousId": "p", "userId": "u", "traits": {"unlink": true}});
    let event = house.event("/v1/alias", alias).await;
    assert_eq!([&event["event_name"], &event["event_kind"]], ["identity_unlink", "alias"]);
    for traits in [json!({"unlink": false}), json!({"unlink": "true"}), json!({})] {
        let event = house.event("/v1/identify", json!({"anonymousId": "d", "userId": "u", "traits": traits})).await;
        assert_eq!(event["event_name"], "identify");
    }
}

#[tokio::test]
async fn every_path_of_the_dialect_leads_to_its_call() {
    let house = House::new();
    for (paths, kind, event) in [
        (["/v1/track", "/v1/t"], "custom", json!({"event": "E", "userId": "u"})),
        (["/v1/page", "/v1/p"], "page", json!({"userId": "u"})),
        (["/v1/screen", "/v1/s"], "page", json!({"userId": "u"})),
        (["/v1/identify", "/v1/i"], "identify", json!({"userId": "u"})),
        (["/v1/group", "/v1/g"], "group", json!({"userId": "u", "groupId": "g"})),
        (["/v1/alias", "/v1/a"], "alias", json!({"userId": "u", "previousId": "p"})),
    ] {
        for path in paths {
            assert_eq!(house.event(path, event.clone()).await["event_kind"], kind, "{path}");
        }
    }
    let batch = json!({"batch": [{"type": "track", "event": "E", "userId": "u"}]}).to_string();
    for path in ["/v1/batch", "/v1/b", "/v1/import"] {
        assert_eq!(house.post(path, batch.clone()).await.json()["accepted"], 1, "{path}");
    }
    assert_eq!(house.post("/v1/batch", "{\"batch\":[]}").await.json()["accepted"], 0);
    assert_eq!(house.post("/v1/m", "anything").await.status, StatusCode::OK);
}

#[tokio::test]
async fn browsers_may_ask_first_and_post_with_their_key() {
    let house = House::new();
    let request = Request::options("/v1/t")
        .header("origin", "https://shop.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-retry-count");
    let answer = house.ask(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://shop.example");
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type,x-retry-count");
    assert_eq!(answer.headers["access-control-max-age"], "7200");
    let mut settings = crate::house::settings();
    settings.cors_origins = vec!["https://shop.example".to_owned()];
    let house = House::with(settings);
    let request = Request::post("/v1/t").header("origin", "https://other.example").header("x-write-key", "WK");
    let answer = house.ask(request.body(Body::from(r#"{"event":"E","userId":"u"}"#)).unwrap()).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

/// RudderStack's browser SDK says who somebody is in the context, and goes on saying so with each event that follows.
#[tokio::test]
async fn traits_of_the_context_are_those_of_an_identify_and_of_nothing_else() {
    let house = House::new();
    let context = json!({"traits": {"plan": "gold"}});
    house.post("/v1/identify", json!({"userId": "u", "messageId": "1", "context": context}).to_string()).await;
    house
        .post("/v1/track", json!({"userId": "u", "messageId": "2", "event": "E", "context": context}).to_string())
        .await;
    let both = json!({"userId": "u", "messageId": "3", "traits": {"plan": "lead"}, "context": context});
    house.post("/v1/identify", both.to_string()).await;
    let events = house.events();
    let properties: Vec<&Value> = events.iter().map(|event| &event["properties"]).collect();
    assert_eq!(properties, [&json!(r#"{"plan":"gold"}"#), &Value::Null, &json!(r#"{"plan":"lead"}"#)]);
}

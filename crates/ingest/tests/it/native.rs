//! Our own dialect: every column by its name, and an answer for each event.

use std::io::Write as _;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tributary_eventlog::LogError;

use crate::house::{Answer, House, NOW_US, assert_columns, gzip};
use crate::recorder::Mood;

const PATH: &str = "/v1/events";

#[tokio::test]
async fn every_column_has_its_name() {
    let house = House::new();
    let event = json!({
        "event_id": "e1", "name": "Order Completed", "time": "2026-11-22T13:04:38.123Z", "sent_time": "2026-11-22T13:04:39Z",
        "anonymous_id": "a", "user_id": "u", "device_id": "dev", "account_id": "acme", "value": "19.99", "currency": "eur",
        "channel": "email", "campaign_id": "c", "ad_id": "ad", "creative_id": "cr", "message_id": "m", "link_id": "l",
        "decision_id": "dec", "url": "https://shop.example/p?utm_source=news&gclid=G&x=1", "utm_medium": "mail",
        "referrer": "https://www.google.de/search?q=shoes", "title": "T", "language": "de", "timezone": "Europe/Berlin",
        "screen": "1x2", "os": "Linux", "country": "DE", "region": "BE", "library": "mine/1",
        "consent": {"analytics": true, "ads": false}, "gpc": false,
        "exposures": [{"experiment": "x", "variant": "b", "probability": 0.5}], "properties": {"sku": "A1", "n": 1.10},
    });
    let answer = house.post(PATH, event.to_string()).await;
    assert_eq!(
        answer.json(),
        json!({"accepted": 1, "dead_lettered": 0, "results": [{"event_id": "e1", "result": "ok"}]})
    );
    assert_columns(
        &house.events()[0],
        json!({
            "event_id": "e1", "dialect": "native", "source": "shop", "event_name": "Order Completed", "event_kind": "conversion",
            "event_time_us": 1_795_352_678_123_000_i64, "sent_time_us": 1_795_352_679_000_000_i64, "ingest_time_us": NOW_US,
            "anonymous_id": "a", "user_id": "u", "device_id": "dev", "account_id": "acme", "currency": "EUR",
            "channel": "email", "campaign_id": "c", "ad_id": "ad", "creative_id": "cr", "message_id": "m", "link_id": "l",
            "decision_id": "dec", "url_host": "shop.example", "url_path": "/p", "utm_source": "news", "utm_medium": "mail",
            "gclid": "G", "referrer_host": "www.google.de", "referrer_term": "shoes", "title": "T", "language": "de",
            "timezone": "Europe/Berlin", "screen": "1x2", "os": "Linux", "country": "DE", "region": "BE", "library": "mine/1",
            "consent": 1, "flags": 0, "properties": "{\"n\":1.1,\"sku\":\"A1\"}",
        }),
    );
    assert_eq!(house.events()[0]["exposures"][0]["variant"], "b");
}

#[tokio::test]
async fn one_a_list_a_frame_and_lines_are_all_read() {
    let event = |id: &str| json!({"event_id": id, "name": "E", "user_id": "u"});
    for (body, count) in [
        (event("1").to_string(), 1),
        (json!([event("1"), event("2")]).to_string(), 2),
        (json!({"events": [event("1"), event("2"), event("3")], "sent_time": "2026-11-22T13:04:40Z"}).to_string(), 3),
        (format!("{}\n{}\r\n\n{}\n", event("1"), event("2"), event("3")), 3),
    ] {
        for packed in [false, true] {
            let house = House::new();
            let bytes = if packed { gzip(body.as_bytes()) } else { body.clone().into_bytes() };
            let answer = house.post(PATH, bytes).await;
            assert_eq!((answer.json()["accepted"].clone(), house.events().len()), (json!(count), count), "{body}");
            assert_eq!(answer.json()["results"].as_array().unwrap().len(), count);
        }
    }
}

#[tokio::test]
async fn what_is_odd_is_warned_of_and_kept() {
    let house = House::new();
    let ask = async |event: Value| {
        let answer = house.post(PATH, event.to_string()).await.json();
        (answer["results"][0].clone(), house.events().pop().unwrap())
    };
    let (told, event) = ask(json!({"name": "E", "user_id": "u", "colour\"": {"a": [1]}, "properties": {"b": 2}})).await;
    assert_eq!(told["result"], "warning");
    assert!(told["details"].as_str().unwrap().contains("no column has this name"), "{told}");
    assert_eq!(event["properties"], r#"{"colour\"":{"a":[1]},"b":2}"#);
    let (told, event) = ask(json!({"name": "E", "user_id": "u", "value": "lots", "currency": "EUR"})).await;
    assert!(told["details"].as_str().unwrap().contains("value or currency"), "{told}");
    assert_columns(&event, json!({"flags": 128, "currency": "EUR"}));
    let (told, event) = ask(json!({"name": "E", "user_id": "u", "time": "yesterday"})).await;
    assert!(told["details"].as_str().unwrap().contains("time: neither"), "{told}");
    assert_columns(&event, json!({"event_time_us": NOW_US, "flags": 2, "properties": r#"{"$time":"yesterday"}"#}));
    let (told, event) = ask(json!({"name": "E", "user_id": "u", "time": "2031-01-01"})).await;
    assert!(told["details"].as_str().unwrap().contains("outside the bounds"), "{told}");
    assert_columns(&event, json!({"event_time_us": NOW_US, "clock_quality": "clamped"}));
    let (told, event) = ask(json!({"kind": "page", "user_id": "u", "url": "/x"})).await;
    assert_eq!((told["result"].as_str(), event["event_name"].as_str()), (Some("ok"), Some("page")));
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_with_its_reason() {
    let house = House::new();
    for (event, words) in [
        (json!({"user_id": "u"}), "name: expected what happened"),
        (json!({"name": "E"}), "at least one"),
        (json!({"name": "E", "user_id": ["u"]}), "user_id: expected text or a number"),
        (json!({"name": "E", "user_id": "u", "kind": "buy"}), "kind: expected one of page"),
        (json!({"name": "E", "user_id": "u", "properties": [1]}), "properties: expected an object"),
        (json!({"name": "E", "user_id": "u", "time": {}}), "time: expected ISO 8601"),
        (json!({"kind": "alias", "user_id": "u"}), "previous_id: expected an id"),
        (json!([1]), "event: expected an object"),
    ] {
        let before = house.dead_letters().len();
        let answer = house.post(PATH, json!([event]).to_string()).await;
        assert_eq!(answer.json()["results"][0]["result"], "drop", "{event}");
        let letter = house.dead_letters().remove(before);
        assert!(letter["detail"].as_str().unwrap().contains(words), "{event}: {letter}");
        assert_eq!(answer.json()["results"][0]["details"], letter["detail"]);
    }
    assert_eq!(house.events().len(), 0);
    let answer = house.post(PATH, "nothing of the kind").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    // A file that breaks off costs its last line.
    let answer = house.post(PATH, "{\"name\": \"E\", \"user_id\": \"u\"}\n{\"name\": \"E\", \"us").await;
    let results: Vec<Value> =
        answer.json()["results"].as_array().unwrap().iter().map(|told| told["result"].clone()).collect();
    assert_eq!(results, ["ok", "drop"]);
}

#[tokio::test]
async fn events_the_log_did_not_take_are_told_to_come_again() {
    let house = House::new();
    let body = json!([{"event_id": "1", "name": "E", "user_id": "u"}, {"event_id": "2", "name": "E", "user_id": "u"}]);
    house.log.set(Mood::EveryOther(LogError::Busy));
    let answer = house.post(PATH, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"accepted": 1, "dead_lettered": 0, "results": [{"event_id": "1", "result": "ok"},
            {"event_id": "2", "result": "retry", "details": "the log did not take it for now"}]})
    );
    house.log.set(Mood::Refusing(LogError::Busy));
    assert_eq!(house.post(PATH, body.to_string()).await.status, StatusCode::SERVICE_UNAVAILABLE);
    // Segment's answer has no place for it: there the whole request comes again.
    house.log.set(Mood::EveryOther(LogError::Busy));
    let batch = json!({"batch": [{"type": "track", "event": "E", "userId": "u"}, {"type": "track", "event": "F", "userId": "u"}]});
    assert_eq!(house.post("/v1/batch", batch.to_string()).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_visitor_without_an_id_is_known_for_a_day() {
    let house = House::new();
    let ask = async |host: &str, agent: &str| {
        let body = json!({"cookieless": true, "events": [{"name": "page", "url": format!("https://{host}/")}]});
        let request =
            Request::post("/v1/events?writeKey=WK").header("user-agent", agent).body(Body::from(body.to_string()));
        let answer = house.ask(request.unwrap()).await;
        assert_eq!(answer.json()["accepted"], 1, "{answer:?}");
        house.events().pop().unwrap()["anonymous_id"].as_str().unwrap().to_owned()
    };
    let first = ask("a.example", "Mozilla/5.0 X").await;
    assert_eq!(ask("a.example", "Mozilla/5.0 X").await, first);
    assert_ne!(ask("b.example", "Mozilla/5.0 X").await, first, "not across sites");
    assert_ne!(ask("a.example", "Mozilla/5.0 Y").await, first);
    house.clock.advance_us(86_400_000_000);
    assert_ne!(ask("a.example", "Mozilla/5.0 X").await, first, "not across days");
    assert!(!first.contains("203.0.113"));
}

#[tokio::test]
async fn every_packing_gives_the_same_events() {
    let body = json!([{"event_id": "1", "name": "E", "user_id": "u"}]).to_string();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(body.as_bytes()).unwrap();
    for (label, bytes) in [
        ("identity", body.clone().into_bytes()),
        ("gzip", gzip(body.as_bytes())),
        ("deflate", zlib.finish().unwrap()),
        ("zstd", zstd::encode_all(body.as_bytes(), 3).unwrap()),
    ] {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense/x"] {
            let house = House::new();
            let request = Request::post("/v1/events?writeKey=WK")
                .header("content-encoding", label)
                .header("content-type", content_type)
                .body(Body::from(bytes.clone()));
            let answer: Answer = house.ask(request.unwrap()).await;
            assert_eq!(answer.json()["accepted"], 1, "{label} {content_type}");
        }
    }
}

#[tokio::test]
async fn what_is_not_what_its_column_holds_is_kept_and_told() {
    let house = House::new();
    let odd = json!({
        "event_id": "odd", "name": "E", "user_id": "u", "title": {"x": 1}, "country": true, "exposures": "x", "consent": true,
        "gpc": "yes", "ip": 7, "cookieless": 1, "url": ["https://shop.example"], "write_key": "WK",
    });
    let told = house.post("/v1/events", odd.to_string()).await.json();
    let result = &told["results"][0];
    assert_eq!(result["result"], "warning");
    let event = &house.events()[0];
    let properties: Value = serde_json::from_str(event["properties"].as_str().unwrap()).unwrap();
    for name in ["title", "country", "exposures", "consent", "gpc", "ip", "cookieless", "url"] {
        assert_eq!(properties[name], odd[name], "{name}");
        assert!(result["details"].as_str().unwrap().contains(&format!("{name}: ")), "{name}: {result}");
    }
    assert_eq!(properties.as_object().unwrap().len(), 8, "and nothing of the key: {properties}");
    // With another key it is the same event.
    let ids =
        async |body: Value| house.post("/v1/events", body.to_string()).await.json()["results"][0]["event_id"].clone();
    let one = ids(json!({"name": "E", "user_id": "u", "write_key": "WK"})).await;
    assert_eq!(one, ids(json!({"name": "E", "user_id": "u"})).await);
    // What empties a column is no fault.
    let fine = json!({"name": "E", "user_id": "u", "title": null, "exposures": [], "consent": {"ads": false}});
    assert_eq!(house.post("/v1/events", fine.to_string()).await.json()["results"][0]["result"], "ok");
    // A dead letter holds what could be read, and that is JSON.
    house
        .post(
            "/v1/events",
            json!({"event_id": "bad", "name": "E", "user_id": "u", "properties": 7, "colour": "red"}).to_string(),
        )
        .await;
    let letter = &house.dead_letters()[0];
    let kept: Value = serde_json::from_str(letter["properties"].as_str().unwrap()).unwrap();
    assert_eq!((kept, &letter["user_id"]), (json!({"colour": "red"}), &json!("u")));
}

#[tokio::test]
async fn paths_that_are_no_text_are_answered_in_our_words() {
    let house = House::new();
    for (path, status) in [("/v1/projects/%FF/settings", 401), ("/array/%FF/config", 404)] {
        assert_eq!(house.get(path).await.status.as_u16(), status, "{path}");
    }
    let webhook = house.post("/webhooks/%FF", "{}").await;
    assert_eq!((webhook.status.as_u16(), webhook.headers["content-type"].to_str().unwrap()), (404, "application/json"));
    assert_eq!(house.get("/pixel/v1/%FF?writeKey=WK&anonymousId=a").await.headers["content-type"], "image/gif");
}

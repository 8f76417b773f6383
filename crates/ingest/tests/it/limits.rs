//! What is refused, with which status, and that nothing of a known sender is lost by it.

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use std::time::Duration;

use tributary_ingest::{IngestSettings, WriteKey};

use crate::house::{House, gzip, settings};

fn batch(count: usize) -> String {
    let events: Vec<Value> =
        (0..count).map(|i| json!({"type": "track", "event": "E", "userId": "u", "messageId": i.to_string()})).collect();
    json!({"batch": events}).to_string()
}

#[track_caller]
fn assert_refused(answer: &crate::house::Answer, status: StatusCode, words: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let body = answer.json();
    assert!(body["error"].as_str().unwrap().contains(words), "{body} wants {words}");
    assert!(!body["advice"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_or_missing_key_is_told_so_and_nothing_is_kept() {
    let house = House::new();
    let ask = |key: Option<&str>, body: &str| {
        let mut request = Request::post("/v1/batch");
        if let Some(key) = key {
            request = request.header("x-write-key", key);
        }
        request.body(Body::from(body.to_owned())).unwrap()
    };
    assert_refused(&house.ask(ask(None, &batch(1))).await, StatusCode::UNAUTHORIZED, "no write key");
    assert_refused(&house.ask(ask(Some("nope"), &batch(1))).await, StatusCode::UNAUTHORIZED, "not known");
    assert_refused(&house.ask(ask(None, "garbage")).await, StatusCode::UNAUTHORIZED, "no write key");
    assert!(house.events().is_empty() && house.dead_letters().is_empty());
    // In the body, in the query, as a bearer token: all open.
    let with_key = batch(1).replacen('{', "{\"writeKey\":\"WK\",", 1);
    assert_eq!(house.ask(ask(None, &with_key)).await.status, StatusCode::OK);
    let request = Request::post("/v1/batch?writeKey=WK").body(Body::from(batch(1))).unwrap();
    assert_eq!(house.ask(request).await.status, StatusCode::OK);
    let request = Request::post("/v1/batch").header("authorization", "Bearer WK").body(Body::from(batch(1))).unwrap();
    assert_eq!(house.ask(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_and_kept() {
    let packed = gzip(batch(50).as_bytes());
    let truncated = packed[..packed.len() / 2].to_vec();
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xFF;
    for (path, body, words) in [
        ("/v1/batch", b"{\"batch\": [".to_vec(), "body: expected an object"),
        ("/v1/batch", b"".to_vec(), "body: expected an object"),
        ("/v1/batch", b"<xml/>".to_vec(), "body: expected"),
        ("/v1/batch", b"{\"events\": []}".to_vec(), "batch: expected a list"),
        ("/v1/batch", b"{\"batch\": 5}".to_vec(), "batch: expected a list"),
        ("/v1/track", b"{\"event\": NaN}".to_vec(), "body: expected an event"),
        ("/v1/batch", truncated, "the gzip body breaks off"),
        ("/v1/batch", damaged, "the gzip body breaks off or is damaged"),
        ("/v1/batch", b"\x1f\x8b".to_vec(), "the gzip body breaks off"),
    ] {
        let house = House::new();
        let answer = house.post(path, body.clone()).await;
        assert_refused(&answer, StatusCode::BAD_REQUEST, words);
        let letters = house.dead_letters();
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0]["reason"], "malformed");
        assert_eq!(letters[0]["payload_bytes"], body.len());
        match String::from_utf8(body) {
            Ok(text) => assert_eq!(letters[0]["payload"].as_str().unwrap(), text),
            Err(_) => assert!(letters[0]["payload"].as_str().unwrap().starts_with("base64:H4s")),
        }
    }
}

#[tokio::test]
async fn sizes_are_held_before_the_memory_is_taken() {
    let mut settings = settings();
    settings.request_bytes_max = 2 << 20;
    settings.body_bytes_max = 3 << 20;
    settings.event_bytes_max = 64 << 10;
    let house = House::with(settings);
    assert_refused(
        &house.post("/v1/batch", vec![b' '; (2 << 20) + 1]).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "over 2097152 bytes",
    );
    // Announced too large: refused before a byte is read.
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::post("/v1/batch").header("x-write-key", "WK").header("content-length", "9999999999");
    assert_refused(&house.ask(request.body(endless).unwrap()).await, StatusCode::PAYLOAD_TOO_LARGE, "over");
    // A bomb: 100 MB of blanks in 100 KB.
    let bomb = gzip(&vec![b' '; 100 << 20]);
    assert!(bomb.len() < 200 << 10);
    assert_refused(&house.post("/v1/batch", bomb).await, StatusCode::PAYLOAD_TOO_LARGE, "decompression");
    // Within the size, beyond the ratio.
    let dense = gzip(&vec![b' '; 2 << 20]);
    assert_refused(&house.post("/v1/batch", dense).await, StatusCode::PAYLOAD_TOO_LARGE, "more than 100 times");
    assert_refused(
        &house.post("/v1/batch", batch(2_501)).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "more than 2500 events",
    );
    assert_eq!(house.post("/v1/batch", gzip(batch(2_500).as_bytes())).await.json()["accepted"], 2_500);
    assert!(house.dead_letters().is_empty());

    let large = json!({"event": "E", "userId": "u", "messageId": "big", "properties": {"x": "x".repeat(70_000)}});
    let letter = house.dead("/v1/track", large.clone()).await;
    assert_eq!(letter["reason"], "too_large");
    assert_eq!(letter["payload"].as_str().unwrap(), large.to_string());
}

#[tokio::test]
async fn nesting_beyond_reason_becomes_a_dead_letter() {
    let house = House::new();
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    let body = format!("{{\"event\":\"E\",\"userId\":\"u\",\"properties\":{{\"a\":{deep}}}}}");
    assert_eq!(house.post("/v1/track", body).await.json()["dead_lettered"], 1);
    assert!(house.dead_letters()[0]["detail"].as_str().unwrap().contains("deeper than 64"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let mut settings = settings();
    settings.body_time_ms_max = 20;
    let house = House::with(settings);
    let endless = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
    assert_refused(&house.post("/v1/batch", endless).await, StatusCode::REQUEST_TIMEOUT, "did not come within 20 ms");
    let broken = futures::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("line down"))]);
    assert_refused(&house.post("/v1/batch", Body::from_stream(broken)).await, StatusCode::BAD_REQUEST, "broke off");
}

#[tokio::test]
async fn who_finds_no_room_is_told_to_come_again() {
    let mut settings = settings();
    settings.in_flight_requests_max = 1;
    let house = House::with(settings);
    let (send, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let held = tokio::spawn({
        let router = house.router.clone();
        let request = Request::post("/v1/track").header("x-write-key", "WK").body(Body::from_stream(body)).unwrap();
        async move { tower::ServiceExt::oneshot(router, request).await.unwrap().status() }
    });
    // The first request holds the only place from its first poll on.
    let full = loop {
        tokio::task::yield_now().await;
        let answer = house.post("/v1/track", r#"{"event":"E","userId":"u"}"#).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
    };
    assert_refused(&full, StatusCode::SERVICE_UNAVAILABLE, "too many requests");
    assert_eq!(full.headers["retry-after"], "1");
    // A pixel finds no room either, and is an image all the same.
    assert_eq!(house.get("/p.gif?writeKey=WK&event=E&userId=u").await.body.len(), 43);
    send.unbounded_send(Ok(Bytes::from(r#"{"event":"E","userId":"u"}"#))).unwrap();
    drop(send);
    assert_eq!(held.await.unwrap(), StatusCode::OK);
    assert_eq!(house.post("/v1/track", r#"{"event":"E","userId":"u"}"#).await.status, StatusCode::OK);
}

#[tokio::test]
async fn bytes_in_work_are_bounded_too() {
    let mut settings = settings();
    settings.request_bytes_max = 100 << 10;
    settings.body_bytes_max = 256 << 10;
    settings.in_flight_bytes_max = 356 << 10;
    let house = House::with(settings);
    let (send, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    for _ in 0..3 {
        // Under the limit of one request, and held for as long as it lasts.
        send.unbounded_send(Ok(Bytes::from(vec![b' '; 30 << 10]))).unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..3 {
        let (send, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
        send.unbounded_send(Ok(Bytes::from(vec![b' '; 99 << 10]))).unwrap();
        let router = house.router.clone();
        let request = Request::post("/v1/track").header("x-write-key", "WK").body(Body::from_stream(body)).unwrap();
        held.push((send, tokio::spawn(tower::ServiceExt::oneshot(router, request))));
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let answer = house.post("/v1/track", Body::from_stream(body)).await;
    assert_refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "too many requests");
    for (send, task) in held {
        drop(send);
        assert_eq!(task.await.unwrap().unwrap().status(), StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn history_waits_while_the_line_is_behind_and_the_present_does_not() {
    let mut settings = settings();
    settings.history_backlog_max = 1_000;
    settings.write_keys.push(WriteKey {
        key: "PAST".into(),
        source: "past".into(),
        historical: true,
        ..WriteKey::default()
    });
    let house = House::with(settings);
    let batch = r#"{"batch": [{"type": "track", "event": "E", "userId": "u"}]}"#;
    let migration = r#"{"api_key": "WK", "historical_migration": true, "batch": [{"event": "E", "distinct_id": "u"}]}"#;
    let with_past_key = async || {
        let request = Request::post("/v1/batch").header("x-write-key", "PAST");
        house.ask(request.body(Body::from(batch)).unwrap()).await.status
    };
    // No job has reported: nobody is kept waiting for.
    assert_eq!(house.post("/v1/import", batch).await.status, StatusCode::OK);
    tokio::time::sleep(Duration::from_millis(250)).await;
    house.log.set_backlog(1_001);
    let waits = house.post("/v1/import", batch).await;
    assert_eq!((waits.status, waits.headers["retry-after"].to_str().unwrap()), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    assert_eq!(house.post("/batch", migration).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(with_past_key().await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.post("/v1/batch", batch).await.status, StatusCode::OK, "the present");
    house.log.set_backlog(1_000);
    let again = async {
        while house.post("/v1/import", batch).await.status != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), again).await.expect("history goes on once the line has come near");
    assert_eq!((house.post("/batch", migration).await.status, with_past_key().await), (StatusCode::OK, StatusCode::OK));
    // A log that is away: what it can keep meanwhile is kept for the present.
    house.log.spool(0.1);
    assert_eq!(house.post("/v1/import", batch).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(house.post("/v1/batch", batch).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_visitor_who_asks_too_often_waits_and_the_proxy_before_him_does_not() {
    let house = House::with(IngestSettings { address_requests_per_second: 1, forwarded_hops: 1, ..settings() });
    let asked = [
        ("POST", "/v1/events?writeKey=WK", r#"{"name":"E","user_id":"u"}"#),
        ("POST", "/v1/track?writeKey=WK", r#"{"event":"E","userId":"u"}"#),
        ("POST", "/e/?api_key=WK", r#"{"event":"E","distinct_id":"u"}"#),
        ("POST", "/com.snowplowanalytics.snowplow/tp2", r#"{"data":[{"e":"pv","aid":"web","duid":"d"}]}"#),
        ("GET", "/com.snowplowanalytics.snowplow/tp2?e=pv&aid=web&duid=d", ""),
        ("GET", "/i?e=pv&aid=web&duid=d", ""),
        ("GET", "/ice.png?e=pv&aid=web&duid=d", ""),
        ("POST", "/matomo.php", r#"{"requests":["?idsite=1&rec=1&uid=u"]}"#),
        ("GET", "/matomo.php?idsite=1&rec=1&uid=u", ""),
        ("GET", "/piwik.php?idsite=1&rec=1&uid=u", ""),
        ("POST", "/mp/collect?api_secret=WK", r#"{"client_id":"c","events":[{"name":"E"}]}"#),
        ("POST", "/v1/cloudevents?writeKey=WK", r#"{"id":"1","source":"/s","type":"E"}"#),
    ];
    let ask = async |method: &str, uri: &str, body: &str, visitor: &str| {
        let request = Request::builder().method(method).uri(uri).header("x-forwarded-for", visitor);
        house.ask(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let mut taken = 0;
    for (index, (method, uri, body)) in asked.into_iter().enumerate() {
        let mut answers = Vec::new();
        for attempt in 0..5 {
            // What he writes himself stands before what the proxy saw, and makes him no other.
            let visitor = format!("192.0.2.{attempt}, 198.51.100.{index}");
            answers.push(ask(method, uri, body, &visitor).await);
        }
        assert!(answers[0].status.is_success(), "{uri}: {:?}", answers[0]);
        // Where the machine is busy a second passes between two of them, but hardly between any two.
        let refused = answers.iter().find(|answer| !answer.status.is_success()).expect(uri);
        assert_refused(refused, StatusCode::SERVICE_UNAVAILABLE, "more often than the settings allow");
        assert_eq!(refused.headers["retry-after"], "1", "{uri}");
        // All of them come from the one address of the proxy.
        answers.push(ask(method, uri, body, &format!("203.0.113.{index}")).await);
        assert!(answers[5].status.is_success(), "{uri}: {:?}", answers[5]);
        taken += answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(house.events().len(), taken, "{uri}");
    }
    // What people look at and follow is let through.
    for _ in 0..3 {
        let seen = ask("GET", "/p.gif?writeKey=WK&event=Seen&anonymousId=a", "", "198.51.100.0").await;
        assert_eq!(seen.status, StatusCode::OK);
    }
    house.tasks.close();
    house.tasks.wait().await;
    assert_eq!(house.events().len(), taken + 3);
}

//! What may be kept, and who may come in, seen from outside.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tributary_ingest::{IngestSettings, PrivacyRule, Treatment, WriteKey};

use crate::house::{House, settings};
use crate::recorder::Mood;

fn with_rule(rule: PrivacyRule) -> House {
    House::with(IngestSettings { privacy: vec![rule], ..settings() })
}

/// The same person, said in every dialect.
fn said_everywhere(email: &str) -> Vec<Request<Body>> {
    let post = |path: &str, body: Value| Request::post(path).body(Body::from(body.to_string())).unwrap();
    vec![
        post(
            "/v1/track?writeKey=WK",
            json!({"event": "E", "userId": email, "properties": {"email": email, "ssn": "1"}}),
        ),
        post(
            "/v1/events?writeKey=WK",
            json!({"name": "E", "user_id": email, "properties": {"a": [{"m": email, "SSN": 1}]}}),
        ),
        post(
            "/e/?api_key=WK",
            json!({"event": "E", "distinct_id": email, "properties": {"$set": {"email": email, "ssn": 2}}}),
        ),
        post(
            "/com.snowplowanalytics.snowplow/tp2?writeKey=WK",
            json!({"schema": "s", "data": [{"e": "pv", "uid": email, "url": format!("https://x.example/?m={email}&pwd=1"), "ssn": "3"}]}),
        ),
        post(
            "/mp/collect?api_secret=WK",
            json!({"client_id": "c", "user_id": email, "events": [{"name": "E", "params": {"m": email, "ssn": 4}}]}),
        ),
        Request::get(format!("/matomo.php?writeKey=WK&rec=1&idsite=9&uid={email}&ssn=5")).body(Body::empty()).unwrap(),
        post(
            "/v1/cloudevents?writeKey=WK",
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "E", "userid": email, "data": {"m": email, "ssn": 6}}),
        ),
    ]
}

#[tokio::test]
async fn a_rule_holds_in_every_dialect_and_reaches_the_log_before_the_event() {
    let email = "ada@example.com";
    let rule = PrivacyRule { emails: Treatment::Hash, drop: vec!["ssn".to_owned()], ..PrivacyRule::default() };
    let house = with_rule(rule);
    let mut hashes = HashSet::new();
    for request in said_everywhere(email) {
        let path = request.uri().to_string();
        let before = house.events().len();
        let answer = house.ask(request).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        let event = house.events().remove(before);
        let text = event.to_string();
        assert!(
            !text.contains("ada") && !text.to_lowercase().contains("ssn") && !text.contains("pwd"),
            "{path}: {text}"
        );
        hashes.insert(event["user_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(hashes.len(), 1, "one person is one, whoever tells of her: {hashes:?}");
    // Not in the bytes either, nor in the keys by which records are told apart.
    for (_, record) in house.log.taken(crate::house::EVENTS) {
        let all = [record.key.unwrap_or_default().to_vec(), record.value.to_vec()].concat();
        assert!(!String::from_utf8_lossy(&all).contains("ada@"));
    }
}

#[tokio::test]
async fn what_is_not_kept_is_told_as_well_and_counted() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# asked not to be recorded\nada@example.com\n").unwrap();
    let rule = PrivacyRule { requires: vec!["analytics".to_owned()], ..PrivacyRule::default() };
    let house =
        House::with(IngestSettings { privacy: vec![rule], suppress_file: file.path().to_owned(), ..settings() });
    let body = json!([
        {"event_id": "1", "name": "E", "user_id": "Ada@Example.com"},
        {"event_id": "2", "name": "E", "user_id": "bob"},
        {"event_id": "3", "name": "E", "user_id": "eve", "consent": {"analytics": false}},
        {"event_id": "4", "user_id": "bob"},
        {"event_id": "5", "name": "E", "user_id": "bob", "consent": {"analytics": true}},
    ]);
    let answer = house.post("/v1/events", body.to_string()).await.json();
    let told: Vec<&str> =
        answer["results"].as_array().unwrap().iter().map(|told| told["result"].as_str().unwrap()).collect();
    assert_eq!(told, ["ok", "ok", "ok", "drop", "ok"], "there is nothing to mend and nothing to send again");
    let kept: Vec<Value> = house.events().iter().map(|event| event["event_id"].clone()).collect();
    assert_eq!(kept, ["2", "5"]);
    let minutes = house.ledger.minutes();
    let taken = minutes[0].2;
    assert_eq!((taken.events, taken.dead_letters, taken.suppressed), (2, 1, 2), "{minutes:?}");
}

#[tokio::test]
async fn a_key_may_be_held_to_its_pages_and_to_a_rate() {
    let key = WriteKey {
        key: "WEB".to_owned(),
        source: "web".to_owned(),
        origins: vec!["https://shop.example".to_owned()],
        requests_per_second: 2,
        ..WriteKey::default()
    };
    let house = House::with(IngestSettings { write_keys: vec![key], ..settings() });
    let ask = async |origin: &str| {
        let body = json!({"event": "E", "userId": "u"}).to_string();
        let request = Request::post("/v1/track?writeKey=WEB").header("origin", origin).body(Body::from(body));
        house.ask(request.unwrap()).await
    };
    let foreign = ask("https://evil.example").await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    assert!(foreign.json()["advice"].as_str().unwrap().contains("origins"));
    let statuses = [ask("https://shop.example").await.status, ask("https://shop.example").await.status];
    assert_eq!(statuses, [StatusCode::OK; 2]);
    let often = ask("https://shop.example").await;
    // The one code every SDK takes as a reason to come again.
    assert_eq!((often.status, often.headers.contains_key("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, true));
    // A page's script must be able to read the answer to know that it should wait.
    assert_eq!(often.headers["access-control-allow-origin"], "https://shop.example");
    assert!(often.headers["access-control-expose-headers"].to_str().unwrap().contains("retry-after"));
}

async fn body_frame(stream: &mut Body) -> Option<String> {
    let frame = stream.frame().await?.unwrap();
    Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_watcher_sees_what_is_durable_and_only_with_a_token() {
    let house = House::with(IngestSettings { watch_tokens: vec!["watch me if you can".to_owned()], ..settings() });
    assert_eq!(house.get("/v1/tail").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(House::new().get("/v1/tail?writeKey=").await.status, StatusCode::UNAUTHORIZED, "no tokens, no watchers");
    let request = Request::get("/v1/tail?name=E&person=ada").header("authorization", "Bearer watch me if you can");
    let response = house.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    for (name, user) in [("E", "bob"), ("F", "ada"), ("E", "ada")] {
        house.event("/v1/track", json!({"event": name, "userId": user, "properties": {"n": 1.50}})).await;
    }
    let mut stream = response.into_body();
    let text = tokio::time::timeout(Duration::from_secs(10), body_frame(&mut stream)).await.unwrap().unwrap();
    let data: Value = serde_json::from_str(text.split_once("data: ").unwrap().1.trim()).unwrap();
    assert!(text.starts_with("event: event\n"), "{text}");
    assert_eq!(
        (&data["event_name"], &data["user_id"], &data["durability"]),
        (&json!("E"), &json!("ada"), &json!("log"))
    );
    // Half an emoji and a number out of reach are taken, and shown as they came; what the log did not take is not shown.
    let body = r#"{"event":"E","userId":"ada","messageId":"odd","properties":{"half":"\ud83d","far":1e999}}"#;
    assert_eq!(house.post("/v1/track", body).await.status, StatusCode::OK);
    let frame = tokio::time::timeout(Duration::from_secs(10), body_frame(&mut stream)).await.unwrap().unwrap();
    assert!(frame.contains(r#""half":"\ud83d","far":1e999"#), "{frame}");
    house.log.set(Mood::EveryOther(tributary_eventlog::LogError::Busy));
    let both = json!([{"event_id": "taken", "name": "E", "user_id": "ada"}, {"event_id": "away", "name": "E", "user_id": "ada"}]);
    house.post("/v1/events", both.to_string()).await;
    house.log.set(Mood::Taking);
    house.event("/v1/track", json!({"event": "E", "userId": "ada", "messageId": "after"})).await;
    for id in ["taken", "after"] {
        let frame = tokio::time::timeout(Duration::from_secs(10), body_frame(&mut stream)).await.unwrap().unwrap();
        assert!(frame.contains(&format!(r#""event_id":"{id}""#)), "{id}: {frame}");
    }
    // What was written over several lines is shown in one.
    let pretty = "{\"event\":\"E\",\"userId\":\"ada\",\"messageId\":\"pretty\",\"properties\":{\n  \"a\": 1,\r\n  \"b\": \"x\"\n}}";
    assert_eq!(house.post("/v1/track", pretty).await.status, StatusCode::OK);
    let frame = tokio::time::timeout(Duration::from_secs(10), body_frame(&mut stream)).await.unwrap().unwrap();
    assert_eq!(frame.matches("data: ").count(), 1, "{frame}");
    // It ends with the server.
    house.stop.cancel();
    assert!(tokio::time::timeout(Duration::from_secs(10), body_frame(&mut stream)).await.unwrap().is_none());
}

/// Strings of the IAB's own library (`tests/data/tcf_strings.json`): analytics alone, ads alone.
const ANALYTICS_ALONE: &str = "CQgYw8AQgYw8AEsAAAENBaFgAIGAAAAAAAYgAAAAAAAA.YAAAAAAAAAAA";
const ADS_ALONE: &str = "CQgYw8AQgYw8AEsAAAENBaFgAMIAAAAAAAYgAAAAAAAA.YAAAAAAAAAAA";

#[tokio::test]
async fn a_string_of_the_iabs_framework_is_read_wherever_consent_is_told() {
    let house = House::new();
    let consent_of = async |path: &str, event: Value| {
        let before = house.events().len();
        assert_eq!(house.post(path, event.to_string()).await.status, StatusCode::OK);
        house.events().remove(before)["consent"].clone()
    };
    let native = |consent: Value| json!({"name": "E", "user_id": "u", "consent": consent});
    assert_eq!(consent_of("/v1/events", native(json!(ANALYTICS_ALONE))).await, 1);
    assert_eq!(consent_of("/v1/events", native(json!({"tcf": ADS_ALONE}))).await, 4);
    // It speaks of analytics, ads and personalization; what else is said of the others stands.
    let both = json!({"tcf": ADS_ALONE, "analytics": true, "marketing": true});
    assert_eq!(consent_of("/v1/events", native(both)).await, 2 | 4);
    assert_eq!(consent_of("/v1/events", native(json!("not such a string"))).await, Value::Null);
    let segment = json!({"event": "E", "userId": "u", "context": {"consent": {"tcf": ANALYTICS_ALONE, "categoryPreferences": {"marketing": true}}}});
    assert_eq!(consent_of("/v1/track", segment).await, 1 | 2);
    let before = house.events().len();
    house.get(&format!("/p.gif?writeKey=WK&event=e&anonymousId=a&gdpr=1&gdpr_consent={ADS_ALONE}")).await;
    let pixel = async {
        while house.events().len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), pixel).await.unwrap();
    assert_eq!(house.events()[before]["consent"], 4);
}

#[tokio::test]
async fn who_withdraws_or_leaves_is_recorded_and_a_letter_of_somebody_suppressed_is_not() {
    let rule = PrivacyRule { requires: vec!["analytics".to_owned()], ..PrivacyRule::default() };
    let folder = tempfile::tempdir().unwrap();
    let suppressed = folder.path().join("suppressed.txt");
    std::fs::write(&suppressed, "eve\n").unwrap();
    let house = House::with(IngestSettings { privacy: vec![rule], suppress_file: suppressed, ..settings() });
    let refused = json!({"analytics": false});
    house
        .post(
            "/v1/events",
            json!([
                {"event_id": "1", "name": "E", "user_id": "u", "consent": refused},
                {"event_id": "2", "name": "Consent Changed", "kind": "consent", "user_id": "u", "consent": refused},
                {"event_id": "3", "name": "Unsubscribed", "kind": "feedback", "user_id": "u", "consent": refused},
                // Letters: of somebody who refused, who is suppressed, and of nobody known.
                {"event_id": "4", "name": "E", "user_id": "u", "consent": refused, "properties": 7},
                {"event_id": "5", "name": "E", "user_id": "eve", "properties": 7},
                {"event_id": "6", "name": "E", "user_id": "bob", "properties": 7},
            ])
            .to_string(),
        )
        .await;
    let ids =
        |rows: Vec<Value>| rows.iter().map(|row| row["event_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(house.events()), ["2", "3"]);
    assert_eq!(ids(house.dead_letters()), ["6"]);
    house.stop.cancel();
}

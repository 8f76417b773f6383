//! What may be kept, and who may come in, seen from outside.

use std::collections::HashSet;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use tributary_ingest::ticket::{self, Ticket};
use tributary_ingest::{IngestSettings, PrivacyRule, Treatment, WriteKey};

use crate::house::{House, SECRET, settings};
use crate::mail;
use crate::recorder::Mood;

fn with_rule(rule: PrivacyRule) -> House {
    mail::house(IngestSettings { privacy: vec![rule], ..settings() })
}

/// The same person, said in every way in: by trackers, pixels and tickets, and by those who send our mail. What the latter say of
/// his address is the one the others come from.
fn said_everywhere(email: &str) -> Vec<Request<Body>> {
    let page: String =
        url::form_urlencoded::byte_serialize(format!("https://x.example/{email}?pwd=1").as_bytes()).collect();
    let signed = |ticket: Ticket| ticket::sign(&Ticket { user_id: Some(email.to_owned()), ..ticket }, SECRET).unwrap();
    let get = |uri: String| Request::get(uri).body(Body::empty()).unwrap();
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
        get(format!("/matomo.php?writeKey=WK&rec=1&idsite=9&uid={email}&ssn=5")),
        post(
            "/v1/cloudevents?writeKey=WK",
            json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "E", "userid": email, "data": {"m": email, "ssn": 6}}),
        ),
        get(format!("/p.gif?writeKey=WK&event=E&userId={email}&m={email}&ssn=7&url={page}")),
        get(format!("/pixel/v1/track?writeKey=WK&event=E&userId={email}&m={email}&ssn=8")),
        get(format!("/p.gif?t={}", signed(Ticket::open("mailer")))),
        get(format!("/r/{}", signed(Ticket::click("mailer", &format!("https://x.example/{email}?m={email}&pwd=1"))))),
        post(&format!("/u/{}", signed(Ticket::unsubscribe("mailer"))), json!({})),
        mail::sendgrid(&[json!({
            "event": "open", "sg_event_id": "1", "timestamp": 1_795_352_679, "email": email, "ip": ADDRESS, "ssn": 9,
        })]),
        mail::mailgun(&json!({
            "event": "opened", "id": "1", "timestamp": 1_795_352_679.5, "recipient": email, "ip": ADDRESS,
            "message": {"headers": {"to": email}}, "user-variables": {"ssn": 10},
        })),
        mail::postmark(&json!({
            "RecordType": "Open", "MessageID": "1", "ReceivedAt": "2026-11-22T13:04:39Z", "Recipient": email,
            "Geo": {"IP": ADDRESS}, "Metadata": {"ssn": "11"},
        })),
        mail::ses(&json!({
            "eventType": "Open", "open": {"timestamp": "2026-11-22T13:04:39Z", "ipAddress": ADDRESS},
            "mail": {"timestamp": "2026-11-22T13:04:38Z", "messageId": "1", "destination": [email], "tags": {"ssn": ["12"]}},
        })),
    ]
}

/// Where [`House`] is asked from.
const ADDRESS: &str = "203.0.113.77";

/// Asks, and returns the one event this becomes; those of pixels and links may stand a moment after the answer.
async fn event_of(house: &House, request: Request<Body>) -> Value {
    let (path, before) = (request.uri().to_string(), house.events().len());
    let answer = house.ask(request).await;
    assert!(answer.status.is_success() || answer.status.is_redirection(), "{path}: {answer:?}");
    let stands = async {
        while house.events().len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let stands = tokio::time::timeout(Duration::from_secs(10), stands).await;
    assert!(stands.is_ok(), "{path}: no event, but {:?}", house.dead_letters());
    house.events().remove(before)
}

#[tokio::test]
async fn a_rule_holds_in_every_dialect_and_reaches_the_log_before_the_event() {
    // Her name is no part of an id by chance: those hold digits of 16.
    let email = "zoy@example.com";
    let rule = PrivacyRule { emails: Treatment::Hash, drop: vec!["ssn".to_owned()], ..PrivacyRule::default() };
    let house = with_rule(rule);
    let mut hashes = HashSet::new();
    for request in said_everywhere(email) {
        let path = request.uri().to_string();
        let event = event_of(&house, request).await;
        let text = event.to_string();
        assert!(
            !text.contains("zoy") && !text.to_lowercase().contains("ssn") && !text.contains("pwd"),
            "{path}: {text}"
        );
        hashes.insert(event["user_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(hashes.len(), 1, "one person is one, whoever tells of her: {hashes:?}");
    // Not in the bytes either, nor in the keys by which records are told apart.
    for (_, record) in house.log.taken(crate::house::EVENTS) {
        let all = [record.key.unwrap_or_default().to_vec(), record.value.to_vec()].concat();
        assert!(!String::from_utf8_lossy(&all).contains("zoy"));
    }
}

#[tokio::test]
async fn of_an_address_no_more_than_the_network_is_kept_and_where_a_rule_says_so_nothing() {
    let house = mail::house(settings());
    let drop = ["ip", "ipAddress"].map(str::to_owned).to_vec();
    let without = with_rule(PrivacyRule { drop_network: true, drop, ..PrivacyRule::default() });
    for request in said_everywhere("zoy@example.com") {
        let path = request.uri().path().to_owned();
        let event = event_of(&house, request).await;
        // GA4's is a protocol of servers.
        let network = if path == "/mp/collect" { Value::Null } else { json!("203.0.113.0/24") };
        assert_eq!(event["ip_truncated"], network, "{path}");
        // What a provider writes into its own JSON stays there unless a rule names it.
        assert!(path.starts_with("/webhooks/") || !event.to_string().contains(ADDRESS), "{path}: {event}");
    }
    for request in said_everywhere("zoy@example.com") {
        let path = request.uri().path().to_owned();
        let event = event_of(&without, request).await;
        assert_eq!(event["ip_truncated"], Value::Null, "{path}");
        assert!(!event.to_string().contains("203.0.113"), "{path}: {event}");
    }
}

#[tokio::test]
async fn an_id_tells_nobody_of_what_it_was_made() {
    let of_secret = |secret: &str| {
        mail::house(IngestSettings {
            ticket_secret: secret.to_owned(),
            former_ticket_secrets: vec![SECRET.to_owned()],
            ..settings()
        })
    };
    let houses = [of_secret(SECRET), of_secret(SECRET), of_secret("another secret, of thirty-two bytes or more")];
    let requests = || said_everywhere("zoy@example.com").into_iter();
    for ((first, second), other) in requests().zip(requests()).zip(requests()) {
        let path = first.uri().path().to_owned();
        let [first, second, other] = [
            event_of(&houses[0], first).await["event_id"].clone(),
            event_of(&houses[1], second).await["event_id"].clone(),
            event_of(&houses[2], other).await["event_id"].clone(),
        ];
        assert_eq!(first, second, "{path}: a retry at another door meets its first copy");
        assert_ne!(first, other, "{path}: whoever guesses the address could hold it against the id");
    }
}

#[tokio::test]
async fn an_id_that_is_an_address_is_kept_as_the_rule_says() {
    let email = "zoy@example.com";
    for emails in [Treatment::Hash, Treatment::Drop] {
        let house = with_rule(PrivacyRule { emails, ..PrivacyRule::default() });
        let good = json!({"event_id": email, "name": "E", "user_id": "u"});
        let body = json!([good, {"event_id": email, "user_id": "u"}]).to_string();
        let answer = house.post("/v1/events", body.clone()).await.json();
        let (event, letter) = (house.events().remove(0), house.dead_letters().remove(0));
        let id = event["event_id"].as_str().unwrap();
        assert!(id.starts_with("h_"), "{event}");
        assert_eq!((&letter["event_id"], &answer["results"][0]["event_id"]), (&json!(id), &json!(id)));
        assert!(!format!("{event}{letter}").contains("zoy"), "{event} {letter}");
        house.post("/v1/events", body).await;
        assert_eq!(house.events()[1]["event_id"], id, "a retry has the same");
    }
    let house = with_rule(PrivacyRule::default());
    house.post("/v1/events", json!({"event_id": email, "name": "E", "user_id": "u"}).to_string()).await;
    assert_eq!(house.events()[0]["event_id"], email);
}

/// Neither in a letter, nor under the name by which a dialect keeps what its column cannot hold.
#[tokio::test]
async fn what_is_packed_is_kept_under_no_name() {
    let rule = PrivacyRule { emails: Treatment::Hash, drop: vec!["page".to_owned()], ..PrivacyRule::default() };
    let house = with_rule(rule);
    // {"email":"zoy@example.com"}
    let packed = "eyJlbWFpbCI6InpveUBleGFtcGxlLmNvbSJ9";
    let data = json!([
        {"e": "ue", "eid": "1", "uid": "u", "ue_px": packed},
        {"e": "pv", "eid": "2", "uid": "u", "cx": [packed], "page": {"phone": 1}, "other": [2]},
    ]);
    let body = json!({"schema": "s", "data": data}).to_string();
    house.post("/com.snowplowanalytics.snowplow/tp2", body).await;
    let (letter, event) = (house.dead_letters().remove(0), house.events().remove(0));
    assert!(letter["payload"].as_str().unwrap().contains("\"eid\":\"1\""), "{letter}");
    assert!(!format!("{letter}{event}").contains(packed), "{letter} {event}");
    assert_eq!(event["properties"], r#"{"other":"[2]"}"#);
}

#[tokio::test]
async fn a_letter_older_than_the_rule_is_replayed_as_the_rule_says() {
    let token = "a replay token of some length";
    let house = House::with(IngestSettings {
        privacy: vec![PrivacyRule { emails: Treatment::Hash, ..PrivacyRule::default() }],
        replay_tokens: vec![token.to_owned()],
        ..settings()
    });
    let email = "zoy@example.com";
    let event = json!({"event_id": email, "name": "E", "user_id": "u"});
    house.post("/v1/events", event.to_string()).await;
    let source = house.events()[0]["source"].clone();
    let letter = json!({
        "from": "dead_letters/0/1", "source": source, "event_id": email, "ingest_time_us": 1, "request": "POST /v1/events",
        "payload": json!([event]).to_string(),
    });
    let request = Request::post("/v1/dead-letters/replay").header("authorization", format!("Bearer {token}"));
    let body = json!({"letters": [letter], "dry_run": false}).to_string();
    let answer = house.ask(request.body(Body::from(body)).unwrap()).await.json();
    assert_eq!(answer["results"][0]["result"], "ok", "{answer}");
    let events = house.events();
    assert_eq!(events[0]["event_id"], events[1]["event_id"], "it meets its first copy");
    assert!(events[1]["event_id"].as_str().unwrap().starts_with("h_"), "{events:?}");
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

/// As RudderStack's browser SDK writes down what its visitor chose.
#[tokio::test]
async fn what_rudderstack_says_of_consent_is_heard() {
    let rule = PrivacyRule { requires: vec!["analytics".to_owned()], ..PrivacyRule::default() };
    let house = with_rule(rule);
    let event = |id: &str, said: &Value| {
        let context = json!({"consentManagement": said});
        json!({"event": "E", "userId": "u", "messageId": id, "context": context})
    };
    let both = json!({
        "provider": "oneTrust", "resolutionStrategy": "and", "allowedConsentIds": ["C0001", "C0002", "C0003"],
        "deniedConsentIds": ["C0004"],
    });
    // Where it says only what was denied, the rest is allowed.
    let denied = json!({"provider": "custom", "deniedConsentIds": ["ads"]});
    // Its browser SDK sends the other list all the same.
    let denied_beside = json!({"provider": "custom", "allowedConsentIds": [], "deniedConsentIds": ["ads"]});
    let unasked = json!({"provider": "custom"});
    for (id, said, consent) in [
        ("m1", both, json!(1 | 8)),
        ("m2", denied, json!(1 | 2 | 8 | 16)),
        ("m6", denied_beside, json!(1 | 2 | 8 | 16)),
        ("m3", unasked, Value::Null),
    ] {
        assert_eq!(house.event("/v1/track", event(id, &said)).await["consent"], consent, "{said}");
    }
    for (id, said) in [
        ("m4", json!({"allowedConsentIds": ["C0004"], "deniedConsentIds": ["C0002"]})),
        ("m5", json!({"deniedConsentIds": ["C0002"]})),
        ("m7", json!({"allowedConsentIds": [], "deniedConsentIds": []})),
    ] {
        let answer = house.post("/v1/track", event(id, &said).to_string()).await;
        assert_eq!(answer.json(), json!({"success": true, "accepted": 0, "dead_lettered": 0}), "{said}");
    }
    assert_eq!(house.events().len(), 4);
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

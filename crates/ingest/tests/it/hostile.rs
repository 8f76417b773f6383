//! Whatever comes in, the door stands: no panic, no 500, nothing of a known sender lost without a word.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::house::{Answer, House, gzip};

/// Answers every request on one house and checks that accepted + dead-lettered is what the log holds.
fn stands(path: &str, bodies: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for body in bodies {
            let house = House::new();
            let answer = house.post(path, body.clone()).await;
            let (events, letters) = (house.events().len() as u64, house.dead_letters().len() as u64);
            match answer.status {
                StatusCode::OK => {
                    prop_assert_eq!(answer.json()["accepted"].as_u64().unwrap(), events);
                    prop_assert_eq!(answer.json()["dead_lettered"].as_u64().unwrap(), letters);
                }
                StatusCode::BAD_REQUEST => prop_assert_eq!((events, letters), (0, 1)),
                StatusCode::PAYLOAD_TOO_LARGE => prop_assert_eq!((events, letters), (0, 0)),
                other => prop_assert!(false, "{} for {:?}", other, String::from_utf8_lossy(body)),
            }
        }
        Ok(())
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2026-11-22T13:04:05Z")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(member(), inner, 0..6)
                .prop_map(|map| Value::from(serde_json::Map::from_iter(map))),
        ]
    })
}

/// Mostly names the mapping looks for.
fn member() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "type",
            "event",
            "name",
            "userId",
            "anonymousId",
            "previousId",
            "groupId",
            "messageId",
            "timestamp",
            "sentAt",
            "originalTimestamp",
            "properties",
            "traits",
            "context",
            "page",
            "url",
            "referrer",
            "campaign",
            "consent",
            "categoryPreferences",
            "library",
            "screen",
            "width",
            "height",
            "revenue",
            "currency",
            "exposures",
            "ip",
            "userAgent",
            "tributary",
            "kind",
            "device",
            "id",
            "search",
            "category",
            "channel",
        ])
        .prop_map(str::to_owned),
        ".{0,6}",
    ]
}

fn any_event() -> impl Strategy<Value = Value> {
    prop::collection::hash_map(member(), any_json(), 0..10).prop_map(|map| {
        let mut event = serde_json::Map::from_iter(map);
        event.entry("type").or_insert(json!("track"));
        event.entry("event").or_insert(json!("E"));
        event.entry("userId").or_insert(json!("u"));
        Value::from(event)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut as_gzip = vec![0x1F, 0x8B, 8];
        as_gzip.extend_from_slice(&body);
        stands("/v1/batch", &[body.clone(), as_gzip, gzip(&body)])?;
        stands("/v1/track", &[body])?;
    }

    #[test]
    fn any_json_is_answered(json in any_json()) {
        let body = json.to_string().into_bytes();
        stands("/v1/batch", &[body.clone(), json!({"batch": [json]}).to_string().into_bytes()])?;
        stands("/v1/page", &[body])?;
    }

    #[test]
    fn any_event_is_an_event_or_a_dead_letter(events in prop::collection::vec(any_event(), 1..4), cut in 0..400_usize) {
        let body = json!({"batch": events}).to_string().into_bytes();
        let broken = body[..cut.min(body.len())].to_vec();
        stands("/v1/batch", &[body, broken])?;
    }

    #[test]
    fn any_query_and_ticket_is_answered(query in "[ -~]{0,80}", ticket in "[A-Za-z0-9_.~-]{1,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new();
            let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>().replace("%3D", "=").replace("%26", "&");
            let answer = house.get(&format!("/p.gif?writeKey=WK&{query}")).await;
            prop_assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 43));
            prop_assert_eq!(house.get(&format!("/r/{ticket}")).await.status, StatusCode::NOT_FOUND);
            Ok(())
        })?;
    }

    #[test]
    fn any_header_is_answered(value in prop::collection::vec(32..=255_u8, 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let house = House::new();
            let mut request = Request::post("/v1/track?writeKey=WK");
            for name in ["authorization", "user-agent", "x-retry-count", "sec-gpc", "content-encoding", "x-forwarded-for", "referer"] {
                if let Ok(value) = axum::http::HeaderValue::from_bytes(&value) {
                    request = request.header(name, value);
                }
            }
            let answer = house.ask(request.body(Body::from(r#"{"event":"E","userId":"u"}"#)).unwrap()).await;
            prop_assert_eq!(answer.status, StatusCode::OK);
            Ok(())
        })?;
    }
}

/// A browser that guesses takes what a stranger sent for a page, and runs it.
#[tokio::test]
async fn no_browser_may_guess_what_an_answer_is() {
    let house = House::new();
    let is_told = |answer: &Answer, status: u16, what: &str| {
        assert_eq!(answer.status.as_u16(), status, "{what}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{what}");
    };
    for (uri, body, status) in [
        ("/v1/events?writeKey=WK", r#"{"name":"<script>","user_id":"u"}"#, 200),
        ("/v1/track?writeKey=WK", r#"{"event":"E","userId":"u"}"#, 200),
        ("/v1/track?writeKey=nobody", r#"{"event":"E","userId":"u"}"#, 401),
        ("/v1/batch?writeKey=WK", "<script>", 400),
        ("/batch?api_key=WK", r#"{"batch":[]}"#, 200),
        ("/i/v1/analytics/events?api_key=WK", r#"{"batch":[]}"#, 200),
        ("/com.snowplowanalytics.snowplow/tp2?writeKey=WK", r#"{"data":[]}"#, 200),
        ("/mp/collect?api_secret=WK", r#"{"client_id":"c","events":[]}"#, 204),
        ("/matomo.php?writeKey=WK", r#"{"requests":[]}"#, 200),
        ("/v1/cloudevents?writeKey=WK", "[]", 200),
    ] {
        assert!(house.short.takes(uri.split('?').next().unwrap()), "{uri}");
        for short in [true, false] {
            let answer = house.ask_by(short, Request::post(uri).body(Body::from(body)).unwrap()).await;
            is_told(&answer, status, &format!("{uri}, short: {short}"));
        }
    }
    for (uri, status) in [
        ("/p.gif?writeKey=WK&event=E&userId=u", 200),
        ("/i?e=pv&aid=web&duid=d", 200),
        ("/r/forged", 404),
        ("/u/forged", 404),
        ("/t.js", 200),
        ("/array/%3Cscript%3E/config.js", 200),
        ("/v1/tail", 401),
        ("/v1/track", 405),
        ("/nowhere", 404),
        ("/healthz", 200),
        ("/openapi.json", 200),
    ] {
        is_told(&house.get(uri).await, status, uri);
    }
}

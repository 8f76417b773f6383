//! Many events in one request, any of them bad in any way: the good ones are taken, the bad ones kept, and all is answered well.
//!
//! In:      batches of each dialect that takes more than one event at a time.
//! Out:     just the good ones as events, one dead letter for each of the others, and the success the dialect has.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use tributary_ingest::IngestSettings;

use crate::house::{Answer, settings};
use crate::mail;

/// Small, so that an event above it costs little.
const EVENT_BYTES_MAX: usize = 4 << 10;

/// How a dialect writes many events.
struct Dialect {
    /// A good event; the id is found again in `column`, for it makes this event no other.
    good: fn(&str) -> Value,
    column: &'static str,
    /// The same event, bad in each of the ways that make a dead letter of it alone.
    bad: fn(&Value) -> Vec<Value>,
    /// Whether a body may begin with it: of some the first event says how the rest is read.
    may_begin: fn(&Value) -> bool,
    request: fn(&[Value]) -> Request<Body>,
    /// Holds the answer to what was sent.
    check: fn(&Answer, &[Sent]),
}

struct Sent {
    id: String,
    is_good: bool,
    event: Value,
}

fn spared(dialect: &Dialect, ways: &[Option<Index>]) {
    let sent: Vec<Sent> = ways.iter().enumerate().map(|(index, way)| sent(dialect, index, way.as_ref())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let house = mail::house(IngestSettings { event_bytes_max: EVENT_BYTES_MAX, ..settings() });
        let events: Vec<Value> = sent.iter().map(|sent| sent.event.clone()).collect();
        let answer = house.ask((dialect.request)(&events)).await;
        let found: Vec<Value> = house.events().iter().map(|event| event[dialect.column].clone()).collect();
        let good: Vec<Value> = sent.iter().filter(|sent| sent.is_good).map(|sent| json!(sent.id)).collect();
        assert_eq!(found, good, "{answer:?}");
        let letters = house.dead_letters();
        assert_eq!(letters.len(), sent.len() - good.len(), "{letters:?}");
        (dialect.check)(&answer, &sent);
    });
}

/// * `way`: which of the bad ones it is; absent: it is good.
fn sent(dialect: &Dialect, index: usize, way: Option<&Index>) -> Sent {
    let id = format!("neighbour-{index}");
    let good = (dialect.good)(&id);
    let event = match way {
        None => good,
        Some(way) => {
            let mut bad = (dialect.bad)(&good);
            bad.retain(|event| index != 0 || (dialect.may_begin)(event));
            way.get(&bad).clone()
        }
    };
    Sent { id, is_good: way.is_none(), event }
}

/// The event with some members changed, or taken away by a null.
fn but(event: &Value, changes: Value) -> Value {
    let mut event = event.clone();
    let members = event.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => members.remove(name),
            value => members.insert(name.clone(), value.clone()),
        };
    }
    event
}

/// What no dialect takes for an event.
fn no_events() -> Vec<Value> {
    vec![json!(7), json!("text"), Value::Null, json!([]), json!(true)]
}

fn too_large() -> Value {
    json!("x".repeat(EVENT_BYTES_MAX))
}

/// One level more than an event may have.
fn too_deep() -> Value {
    (0..65).fold(json!(1), |inner, _| json!([inner]))
}

/// Longer than an id may be.
fn too_long() -> Value {
    json!("u".repeat(257))
}

/// Posts with the write key `WK`.
fn posted(path: &str, body: String) -> Request<Body> {
    Request::post(path).header("authorization", "Basic V0s6").body(Body::from(body)).unwrap()
}

fn counts(sent: &[Sent]) -> (usize, usize) {
    let good = sent.iter().filter(|sent| sent.is_good).count();
    (good, sent.len() - good)
}

const SEGMENT: Dialect = Dialect {
    good: |id| json!({"type": "track", "event": id, "userId": "ada", "messageId": id}),
    column: "event_name",
    bad: |good| {
        let changes = [
            json!({"type": null}),
            json!({"type": "trak"}),
            json!({"type": 7}),
            json!({"type": "alias"}),
            json!({"type": "group"}),
            json!({"event": null}),
            json!({"event": {"not": "text"}}),
            json!({"userId": ["ada"]}),
            json!({"userId": too_long()}),
            json!({"anonymousId": {}}),
            json!({"userId": null, "messageId": null}),
            json!({"userId": "null", "messageId": null}),
            json!({"properties": [1]}),
            json!({"properties": {"x": too_large()}}),
            json!({"properties": {"x": too_deep()}}),
            json!({"context": "x"}),
            json!({"timestamp": {}}),
            json!({"sentAt": []}),
            json!({"messageId": [1]}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/v1/batch", json!({"batch": events}).to_string()),
    check: |answer, sent| {
        let (accepted, dead_lettered) = counts(sent);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"success": true, "accepted": accepted, "dead_lettered": dead_lettered}));
    },
};

const POSTHOG: Dialect = Dialect {
    good: |id| json!({"event": id, "uuid": id, "distinct_id": "ada"}),
    column: "event_name",
    bad: |good| {
        let changes = [
            json!({"event": null}),
            json!({"event": ["not a name"]}),
            json!({"event": "  "}),
            json!({"event": "$create_alias"}),
            json!({"event": "$groupidentify"}),
            json!({"distinct_id": {}}),
            json!({"distinct_id": too_long()}),
            json!({"distinct_id": null, "uuid": null}),
            json!({"uuid": [1]}),
            json!({"properties": 7}),
            json!({"properties": {"$device_id": []}}),
            json!({"properties": {"x": too_large()}}),
            json!({"properties": {"x": too_deep()}}),
            json!({"timestamp": {}}),
            json!({"sent_at": []}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/batch", json!({"api_key": "WK", "batch": events}).to_string()),
    check: |answer, _| {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"status": 1}));
    },
};

const POSTHOG_V1: Dialect = Dialect {
    request: |events| {
        let body = json!({"created_at": "2026-11-22T13:04:40Z", "historical_migration": false, "batch": events});
        posted("/i/v1/analytics/events", body.to_string())
    },
    check: |answer, sent| {
        assert_eq!(answer.status, StatusCode::OK);
        let answer = answer.json();
        for Sent { id, is_good, event } in sent {
            let told = &answer["results"][id]["result"];
            // Of one whose uuid was not read there is nothing to tell it by.
            let is_told = if *is_good { told == "ok" } else { told == "drop" || told.is_null() };
            assert!(is_told, "{event}: {answer}");
        }
    },
    ..POSTHOG
};

const SNOWPLOW: Dialect = Dialect {
    good: |id| json!({"e": "se", "se_ca": "c", "se_ac": id, "eid": id, "uid": "ada"}),
    column: "event_name",
    bad: |good| {
        let deep = json!({"schema": "iglu:com.acme/deep/jsonschema/1-0-0", "data": {"x": too_deep()}});
        let changes = [
            json!({"e": null}),
            json!({"e": "xx"}),
            json!({"e": {}}),
            json!({"se_ac": null}),
            json!({"se_ac": "  "}),
            json!({"e": "ue"}),
            json!({"e": "ue", "ue_pr": "no JSON"}),
            json!({"e": "ue", "ue_pr": r#"{"schema": "not of Iglu"}"#}),
            json!({"e": "ue", "ue_pr": deep.to_string()}),
            json!({"e": "ue", "ue_px": "!"}),
            json!({"co": "[]"}),
            json!({"co": r#"{"data": 7}"#}),
            json!({"cx": "!"}),
            json!({"uid": null, "eid": null}),
            json!({"page": too_large()}),
            json!({"page": too_deep()}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| {
        let schema = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4";
        posted("/com.snowplowanalytics.snowplow/tp2", json!({"schema": schema, "data": events}).to_string())
    },
    check: |answer, _| assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, b"ok".as_slice())),
};

/// Its events are queries.
const MATOMO: Dialect = Dialect {
    good: |id| json!(format!("?idsite=1&rec=1&uid=ada&e_c=c&e_a={id}")),
    column: "event_name",
    bad: |good| {
        let query = good.as_str().unwrap();
        let bad = [
            json!(query.replace("rec=1", "rec=0")),
            json!(query.replace("&rec=1", "")),
            json!(format!("{query}&x={}", "x".repeat(EVENT_BYTES_MAX))),
            json!("?"),
            json!(""),
            json!({}),
        ];
        bad.into_iter().chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/matomo.php", json!({"requests": events}).to_string()),
    check: |answer, sent| {
        let (tracked, invalid) = counts(sent);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"status": "success", "tracked": tracked, "invalid": invalid}));
    },
};

const GA4: Dialect = Dialect {
    good: |id| json!({"name": id, "params": {"session_id": "1"}}),
    column: "event_name",
    bad: |good| {
        let changes = [
            json!({"name": null}),
            json!({"name": {}}),
            json!({"name": "  "}),
            json!({"params": [1]}),
            json!({"params": {"transaction_id": {}}}),
            json!({"params": {"x": too_large()}}),
            json!({"params": {"x": too_deep()}}),
            json!({"timestamp_micros": {}}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/mp/collect", json!({"client_id": "c", "events": events}).to_string()),
    check: |answer, _| assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0)),
};

const CLOUDEVENTS: Dialect = Dialect {
    good: |id| json!({"specversion": "1.0", "id": id, "source": "/shop", "type": id, "userid": "ada"}),
    column: "event_name",
    bad: |good| {
        let changes = [
            json!({"id": null}),
            json!({"id": []}),
            json!({"source": null}),
            json!({"type": null}),
            json!({"type": {}}),
            json!({"type": "  "}),
            json!({"userid": []}),
            json!({"userid": too_long()}),
            json!({"anonymousid": {}}),
            json!({"accountid": too_long()}),
            json!({"time": {}}),
            json!({"data": {"userId": too_long()}}),
            json!({"data": {"x": too_large()}}),
            json!({"data": {"x": too_deep()}}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/v1/cloudevents", json!(events).to_string()),
    check: |answer, sent| {
        let (accepted, dead_lettered) = counts(sent);
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json(), json!({"accepted": accepted, "dead_lettered": dead_lettered}));
    },
};

const SENDGRID: Dialect = Dialect {
    good: |id| json!({"event": "delivered", "sg_event_id": id, "timestamp": 1_795_352_600, "user_id": id}),
    column: "user_id",
    bad: |good| {
        let changes = [
            json!({"event": null}),
            json!({"event": "nonsense"}),
            json!({"event": {}}),
            json!({"sg_event_id": null}),
            json!({"sg_event_id": {}}),
            json!({"reason": too_large()}),
            json!({"reason": too_deep()}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: mail::sendgrid,
    check: |answer, _| assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0)),
};

const NATIVE: Dialect = Dialect {
    good: |id| json!({"event_id": id, "name": id, "user_id": "ada"}),
    column: "event_name",
    bad: |good| {
        let changes = [
            json!({"name": null}),
            json!({"name": {}}),
            json!({"user_id": ["ada"]}),
            json!({"user_id": too_long()}),
            json!({"user_id": null, "event_id": null}),
            json!({"previous_id": {}}),
            json!({"kind": "buy"}),
            json!({"kind": 7}),
            json!({"kind": "alias"}),
            json!({"kind": "group"}),
            json!({"properties": [1]}),
            json!({"properties": {"x": too_large()}}),
            json!({"properties": {"x": too_deep()}}),
            json!({"time": {}}),
            json!({"sent_time": []}),
            json!({"event_id": [1]}),
        ];
        changes.into_iter().map(|changes| but(good, changes)).chain(no_events()).collect()
    },
    may_begin: |_| true,
    request: |events| posted("/v1/events", json!(events).to_string()),
    check: |answer, sent| {
        assert_eq!(answer.status, StatusCode::OK);
        let answer = answer.json();
        let (accepted, dead_lettered) = counts(sent);
        assert_eq!((&answer["accepted"], &answer["dead_lettered"]), (&json!(accepted), &json!(dead_lettered)));
        // In the order they were sent.
        let told: Vec<&Value> = answer["results"].as_array().unwrap().iter().map(|told| &told["result"]).collect();
        let expected: Vec<&str> = sent.iter().map(|sent| if sent.is_good { "ok" } else { "drop" }).collect();
        assert_eq!(told, expected, "{answer}");
    },
};

/// One event a line. Text stands for a line as it is written, and so for what is no JSON.
const LINES: Dialect = Dialect {
    bad: |good| {
        let broken = json!(r#"{"name": "E", "user_id": "ada"#);
        (NATIVE.bad)(good).into_iter().chain([broken]).collect()
    },
    // By it the body is known to be lines.
    may_begin: Value::is_object,
    request: |events| {
        let lines = events.iter().map(|event| match event {
            Value::String(line) => line.clone(),
            event => event.to_string(),
        });
        posted("/v1/events", lines.collect::<Vec<_>>().join("\n"))
    },
    ..NATIVE
};

/// For each event of a batch how it is bad, if it is.
fn ways() -> impl Strategy<Value = Vec<Option<Index>>> {
    prop::collection::vec(prop::option::of(any::<Index>()), 1..=30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_segments_batch(ways in ways()) {
        spared(&SEGMENT, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_posthogs_batch(ways in ways()) {
        spared(&POSTHOG, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_posthogs_v1(ways in ways()) {
        spared(&POSTHOG_V1, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_snowplows_post(ways in ways()) {
        spared(&SNOWPLOW, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_matomos_bulk(ways in ways()) {
        spared(&MATOMO, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_ga4(ways in ways()) {
        spared(&GA4, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_a_list_of_cloudevents(ways in ways()) {
        spared(&CLOUDEVENTS, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_sendgrids_webhook(ways in ways()) {
        spared(&SENDGRID, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_our_list(ways in ways()) {
        spared(&NATIVE, &ways);
    }

    #[test]
    fn a_bad_event_costs_its_neighbours_nothing_in_our_lines(ways in ways()) {
        spared(&LINES, &ways);
    }
}

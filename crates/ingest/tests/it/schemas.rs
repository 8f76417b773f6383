//! Events held against schemas, and dead letters sent through the door again.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tributary_ingest::schema::{Fit, Schemas};
use tributary_ingest::{IngestSettings, WriteKey};

use crate::captures;
use crate::house::{Answer, House, NOW_US, assert_columns, settings};

fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, schema) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, schema.to_string()).unwrap();
    }
    folder
}

fn order(version: &str, members: Value) -> Value {
    let mut schema = json!({"self": {"event": "Order", "version": version}, "type": "object"});
    for (name, value) in members.as_object().unwrap() {
        schema[name] = value.clone();
    }
    schema
}

fn with_total(version: &str) -> Value {
    order(version, json!({"properties": {"total": {"type": "number"}}, "required": ["total"]}))
}

const TOKEN: &str = "may send again";

fn held_to(folder: &tempfile::TempDir, mode: &str) -> IngestSettings {
    IngestSettings {
        schema_dir: folder.path().to_owned(),
        schema_mode: serde_json::from_value(json!(mode)).unwrap(),
        replay_tokens: vec![TOKEN.to_owned()],
        ..settings()
    }
}

/// The rows of `dead_letters` that replay needs, of letters as they stand in the log.
fn letters_of(house: &House) -> Vec<Value> {
    let letters = house.dead_letters();
    letters.iter().enumerate().map(|(offset, letter)| letter_of(letter, offset)).collect()
}

fn letter_of(letter: &Value, offset: usize) -> Value {
    let mut row = json!({"from": format!("dead_letters/0/{offset}")});
    for name in ["source", "event_id", "ingest_time_us", "request", "payload", "user_agent", "ip_truncated"] {
        if let Some(value) = letter.get(name) {
            row[name] = value.clone();
        }
    }
    row
}

async fn replay(house: &House, letters: &[Value], dry_run: bool) -> Answer {
    let body = json!({"letters": letters, "dry_run": dry_run}).to_string();
    let request = Request::post("/v1/dead-letters/replay").header("authorization", format!("Bearer {TOKEN}"));
    house.ask(request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn an_event_off_its_schema_is_warned_of_or_kept_apart() {
    let folder = folder(&[("order/1-0-0.json", with_total("1-0-0"))]);
    let warning = House::with(held_to(&folder, "warn"));
    let good = warning.event("/v1/track", json!({"event": "Order", "userId": "u", "properties": {"total": 5}})).await;
    assert_columns(&good, json!({"schema_version": "1-0-0", "warnings": null, "flags": 0}));
    let other = warning.event("/v1/track", json!({"event": "Other", "userId": "u"})).await;
    assert_columns(&other, json!({"schema_version": null, "warnings": null}));
    let said = "schema: properties/total: value is not of type \"number\" (schema 1-0-0)";
    let bad = json!({"event": "Order", "userId": "u", "messageId": "m1", "properties": {"total": "ada@example.com"}});
    let off = warning.event("/v1/track", bad.clone()).await;
    // The value is not told: it may be personal.
    assert_columns(&off, json!({"schema_version": null, "warnings": [said], "flags": 256 | 128}));
    let told = warning.post("/v1/events", json!({"name": "Order", "user_id": "u"}).to_string()).await.json();
    assert_eq!(told["results"][0]["result"], "warning", "{told}");

    let enforcing = House::with(held_to(&folder, "enforce"));
    let dead = enforcing.dead("/v1/track", bad).await;
    // In the shape of an event: it can be searched for like one.
    assert_columns(
        &dead,
        json!({
            "reason": "off_schema", "detail": said.strip_prefix("schema: ").unwrap(), "event_id": "m1", "event_name": "Order",
            "user_id": "u", "properties": "{\"total\":\"ada@example.com\"}", "request": "POST /v1/track",
            "ip_truncated": "203.0.113.0/24",
        }),
    );
    // One bad event costs its neighbours nothing.
    let batch: Vec<Value> = (0..50)
        .map(|index| json!({"name": "Order", "user_id": "u", "properties": {"total": if index % 7 == 0 { json!("x") } else { json!(index) }}}))
        .collect();
    let told = enforcing.post("/v1/events", json!(batch).to_string()).await.json();
    assert_eq!((&told["accepted"], &told["dead_lettered"]), (&json!(42), &json!(8)));
    assert_eq!(told["results"][7]["result"], "drop");
}

#[tokio::test]
async fn sources_schemas_and_names_may_have_modes_of_their_own() {
    let mut strict = with_total("1-0-0");
    strict["self"]["mode"] = json!("enforce");
    let mut elsewhere = with_total("1-0-0");
    elsewhere["self"] = json!({"event": "Visit", "version": "1-0-0", "sources": ["seg-node"]});
    let folder = folder(&[("a.json", strict), ("b.json", elsewhere)]);
    let house = House::with(held_to(&folder, "warn"));
    let dead = house.dead("/v1/track", json!({"event": "Order", "userId": "u"})).await;
    assert_eq!(dead["reason"], "off_schema");
    let visit = house.event("/v1/track", json!({"event": "Visit", "userId": "u"})).await;
    assert_columns(&visit, json!({"warnings": null}));

    let mut settings = held_to(&folder, "warn");
    settings.schema_required = true;
    settings.write_keys.push(WriteKey {
        key: "STRICT".into(),
        source: "strict".into(),
        schema_mode: Some(tributary_ingest::schema::SchemaMode::Enforce),
        ..WriteKey::default()
    });
    let house = House::with(settings);
    let visit = house.event("/v1/track", json!({"event": "Visit", "userId": "u"})).await;
    assert_eq!(visit["flags"], 256, "no schema of this name for this source");
    let request = Request::post("/v1/track").header("x-write-key", "STRICT");
    house.ask(request.body(Body::from(json!({"event": "Visit", "userId": "u"}).to_string())).unwrap()).await;
    assert_columns(
        &house.dead_letters()[0],
        json!({"source": "strict", "reason": "off_schema", "event_name": "Visit"}),
    );
}

#[test]
fn of_each_model_the_newest_version_counts() {
    let narrow = |version: &str, total_max: i64| {
        order(
            version,
            json!({"properties": {"total": {"type": "integer", "maximum": total_max}}, "required": ["total"]}),
        )
    };
    let other_shape = order("2-0-0", json!({"properties": {"amount": {"type": "string"}}, "required": ["amount"]}));
    let folder = folder(&[("1.json", narrow("1-0-0", 10)), ("2.json", narrow("1-1-0", 5)), ("3.json", other_shape)]);
    let schemas = Schemas::read(folder.path()).unwrap();
    let fit = |properties: &str| schemas.fit("Order", "shop", Some(properties));
    let is = |fit: Fit, version: &str| matches!(fit, Fit::Fits(found) if found.to_string() == version);
    assert!(is(fit(r#"{"total": 4}"#), "1-1-0"));
    assert!(is(fit(r#"{"amount": "4", "$lib": 1}"#), "2-0-0"));
    let Fit::Fails { version, faults, .. } = fit(r#"{"total": 7}"#) else { panic!("1-1-0 took the place of 1-0-0") };
    assert_eq!((version.to_string().as_str(), faults.len()), ("2-0-0", 1), "{faults:?}");
    assert_eq!(schemas.fit("Else", "shop", None), Fit::NoSchema);
    assert_eq!(schemas.files().iter().map(|file| file.counts).collect::<Vec<_>>(), [false, true, true]);
}

#[test]
fn every_fault_of_a_folder_is_told() {
    let twice = with_total("1-0-0");
    let narrower = order("1-0-1", json!({"properties": {"total": {"type": "integer"}}, "required": ["total"]}));
    let wider = order("1-0-2", json!({"properties": {"total": {"type": "number"}, "coupon": {"type": "string"}}}));
    let mut for_some = with_total("1-0-0");
    for_some["self"]["sources"] = json!(["shop"]);
    let files = folder(&[
        ("a.json", with_total("1-0-0")),
        ("b.json", twice),
        ("c.json", narrower),
        ("d.json", json!({"self": {"event": "X", "version": "1"}})),
        ("e.json", json!({"self": {"event": "X", "version": "1-0-0"}, "type": "nothing"})),
        ("f.json", json!({"type": "object"})),
        ("g.json", json!({"self": {"event": "Y", "version": "1-0-0"}, "$ref": "https://far.example/x"})),
        ("h.json", for_some),
        ("i.json", json!({"self": {"event": "Z", "version": "1-0-0"}, "properties": {"a": {"pattern": "(?=x)"}}})),
    ]);
    std::fs::write(files.path().join("j.json"), "{").unwrap();
    std::fs::write(files.path().join("README.md"), "not a schema").unwrap();
    let faults = Schemas::read(files.path()).err().unwrap();
    for (file, word) in [
        ("b.json", "is also"),
        ("c.json", "ADDITION"),
        ("d.json", "MODEL-REVISION-ADDITION"),
        ("e.json", "no JSON Schema"),
        ("f.json", "says nothing of itself"),
        ("g.json", ""),
        ("h.json", "same sources"),
        ("i.json", "no JSON Schema"),
        ("j.json", "expected JSON"),
    ] {
        let told = faults.iter().find(|fault| fault.contains(file) && fault.contains(word));
        assert!(told.is_some(), "{file}: {faults:#?}");
    }
    let good = folder(&[
        ("a.json", with_total("1-0-0")),
        ("b.json", {
            let mut wider = wider;
            wider["self"]["version"] = json!("1-0-1");
            wider
        }),
    ]);
    assert!(Schemas::read(good.path()).is_ok());
    // Iglu's own files are taken as they are, and refer to one another by `$id`.
    let iglu = folder(&[
        (
            "com.shop/order/jsonschema/1-0-0",
            json!({
                "$schema": "http://iglucentral.com/schemas/com.snowplowanalytics.self-desc/schema/jsonschema/1-0-0#",
                "self": {"vendor": "com.shop", "name": "order", "format": "jsonschema", "version": "1-0-0"},
                "type": "object", "properties": {"price": {"$ref": "https://shop.example/price"}}, "additionalProperties": false,
            }),
        ),
        ("price.json", json!({"$id": "https://shop.example/price", "type": "number", "minimum": 0})),
    ]);
    let schemas = Schemas::read(iglu.path()).unwrap();
    assert!(matches!(schemas.fit("order", "any", Some(r#"{"price": 1}"#)), Fit::Fits(_)));
    assert!(matches!(schemas.fit("order", "any", Some(r#"{"price": -1}"#)), Fit::Fails { .. }));
    assert!(matches!(schemas.fit("order", "any", Some(r#"{"prize": 1}"#)), Fit::Fails { .. }));
}

#[tokio::test]
async fn a_folder_is_read_anew_and_a_broken_one_changes_nothing() {
    let folder = folder(&[("order.json", with_total("1-0-0"))]);
    let house = House::with(held_to(&folder, "warn"));
    let flags = async || {
        let event =
            house.event("/v1/track", json!({"event": "Order", "userId": "u", "properties": {"total": "x"}})).await;
        event["flags"].as_i64().unwrap() & 256
    };
    assert_eq!(flags().await, 256);
    let file = folder.path().join("order.json");
    std::fs::write(&file, "{").unwrap();
    let loose = order("1-0-0", json!({}));
    let until = async |wanted: i64| {
        for _ in 0..200 {
            if flags().await == wanted {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the folder was not read anew");
    };
    // Longer than a look takes: what is broken holds nothing up and lets nothing through.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    assert_eq!(flags().await, 256);
    std::fs::write(&file, loose.to_string()).unwrap();
    until(0).await;
    house.stop.cancel();
}

/// What an event is, without when it was taken and by which way.
fn same(event: &Value) -> Value {
    let mut event = event.clone();
    let members = event.as_object_mut().unwrap();
    for name in ["ingest_time_us", "replayed_from", "warnings", "schema_version"] {
        members.remove(name);
    }
    // Of the address only the network was kept, and an id of the day is made of the whole.
    if members.get("anonymous_id").and_then(Value::as_str).is_some_and(|id| id.starts_with("day-")) {
        members.remove("anonymous_id");
    }
    event
}

/// Every request the real SDKs were seen to send: kept out by a schema, mended, replayed, it is the event it would have been.
#[tokio::test]
async fn whatever_the_dialect_a_letter_becomes_the_event_it_would_have_been() {
    let nothing = tempfile::tempdir().unwrap();
    let mut replayed_dialects = std::collections::BTreeSet::new();
    for capture in captures::all() {
        let client = capture["client"].as_str().unwrap();
        let key = Some(("x-write-key", "WK"));
        let open = House::with(held_to(&nothing, "warn"));
        assert!(open.ask(captures::request_of(&capture, key)).await.status.is_success(), "{client}");
        let expected: Vec<Value> = open.events().iter().map(same).collect();

        let strict = House::with(IngestSettings { schema_required: true, ..held_to(&nothing, "enforce") });
        assert!(strict.ask(captures::request_of(&capture, key)).await.status.is_success(), "{client}");
        assert_eq!(strict.events().len(), 0, "{client}");
        let letters = letters_of(&strict);
        assert_eq!(letters.len(), expected.len(), "{client}");

        // A day later.
        open.clock.advance_us(86_400_000_000);
        let told = replay(&open, &letters, true).await;
        assert_eq!(open.events().len(), expected.len(), "a dry run keeps nothing: {told:?}");
        let told = replay(&open, &letters, false).await.json();
        for result in told["results"].as_array().unwrap() {
            assert_eq!((&result["result"], &result["events"]), (&json!("ok"), &json!(1)), "{client}: {result}");
        }
        let events = open.events().split_off(expected.len());
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["ingest_time_us"], NOW_US + 86_400_000_000_i64);
            assert_eq!(event["replayed_from"], format!("dead_letters/0/{index}"));
            replayed_dialects.insert(event["dialect"].as_str().unwrap().to_owned());
        }
        assert_eq!(events.iter().map(same).collect::<Vec<_>>(), expected, "{client}");
    }
    assert!(6 <= replayed_dialects.len(), "{replayed_dialects:?}");
}

#[tokio::test]
async fn a_letter_that_still_cannot_be_read_is_told_and_not_kept_again() {
    let nothing = tempfile::tempdir().unwrap();
    let house = House::with(held_to(&nothing, "warn"));
    house.post("/v1/batch", r#"{"batch": [{"type": "track", "event": "E", "messageId": "m"}, {"type": "no"}]}"#).await;
    house.post("/v1/batch", "not JSON").await;
    assert_eq!(house.dead_letters().len(), 2);
    let letters = letters_of(&house);
    let told = replay(&house, &letters, false).await.json();
    for result in told["results"].as_array().unwrap() {
        assert_eq!(result["result"], "drop");
        assert!(!result["details"].as_str().unwrap().is_empty());
    }
    assert_eq!((house.dead_letters().len(), house.events().len()), (2, 1));
    // Mended by hand: the payload is what it should have been.
    let mut mended = letters[1].clone();
    mended["payload"] = json!(r#"{"batch": [{"type": "track", "event": "F", "userId": "u"}, {"type": "track"}]}"#);
    let told = replay(&house, &[mended], false).await.json();
    assert_eq!((&told["results"][0]["result"], &told["results"][0]["events"]), (&json!("ok"), &json!(1)), "{told}");
    assert_eq!((house.dead_letters().len(), house.events().len()), (3, 2), "what came of one letter may leave another");
    // A log that is away: to be sent again.
    house.log.set(crate::recorder::Mood::Refusing(tributary_eventlog::LogError::Busy));
    let mut mended = letters[1].clone();
    mended["payload"] = json!(r#"{"batch": [{"type": "track", "event": "F", "userId": "u"}]}"#);
    let told = replay(&house, &[mended], false).await.json();
    assert_eq!(told["results"][0]["result"], "retry", "{told}");
}

#[tokio::test]
async fn only_who_has_a_token_may_send_again() {
    let nothing = tempfile::tempdir().unwrap();
    let house = House::with(held_to(&nothing, "warn"));
    let ask = async |token: &str, body: &str| {
        let request = Request::post("/v1/dead-letters/replay").header("authorization", format!("Bearer {token}"));
        house.ask(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    assert_eq!(ask("WK", "{}").await.status, StatusCode::UNAUTHORIZED, "a write key is none");
    assert_eq!(House::new().post("/v1/dead-letters/replay", "{}").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(ask(TOKEN, "{}").await.status, StatusCode::BAD_REQUEST);
    let letter = |request: &str, source: &str| json!({"letters": [{"from": "t/0/0", "source": source, "ingest_time_us": NOW_US, "request": request, "payload": "{}"}]});
    for (request, source) in [
        ("DELETE /v1/track", "shop"),
        ("POST nowhere", "shop"),
        ("POST /v1/nothing", "shop"),
        ("POST /v1/dead-letters/replay", "shop"),
        ("GET /v1/tail", "shop"),
        ("POST /v1/track", "unknown"),
        ("", "shop"),
    ] {
        let told = ask(TOKEN, &letter(request, source).to_string()).await.json();
        assert_eq!(told["results"][0]["result"], "drop", "{request}: {told}");
    }
    assert_eq!((house.events().len(), house.dead_letters().len()), (0, 0));
}

#[tokio::test]
async fn what_headers_said_of_an_event_is_said_again() {
    let nothing = tempfile::tempdir().unwrap();
    let strict = House::with(IngestSettings { schema_required: true, ..held_to(&nothing, "enforce") });
    let open = House::with(held_to(&nothing, "warn"));
    let event = json!({"event": "E", "userId": "u", "context": {"consent": {"categoryPreferences": {"ads": true, "analytics": true}}}});
    for (name, value) in [("sec-gpc", "0"), ("sec-gpc", "1"), ("x-retry-count", "0"), ("x-retry-count", "2")] {
        let request = Request::post("/v1/track").header("authorization", "Basic V0s6").header(name, value);
        strict.ask(request.body(Body::from(event.to_string())).unwrap()).await;
    }
    // A pixel that a mail reader fetched before anybody looked.
    let pixel = Request::get("/p.gif?writeKey=WK&event=E&anonymousId=a").header("user-agent", "Mozilla/5.0 (X11)");
    strict.ask(pixel.header("x-moz", "prefetch").body(Body::empty()).unwrap()).await;
    let letters = letters_of(&strict);
    let requests: Vec<&str> = letters.iter().map(|letter| letter["request"].as_str().unwrap()).collect();
    let track = ["POST /v1/track", "POST /v1/track gpc", "POST /v1/track", "POST /v1/track retried"];
    assert_eq!(requests, [track.as_slice(), &["GET /p.gif prefetch"]].concat());
    replay(&open, &letters, false).await;
    let events = open.events();
    let consents: Vec<i64> = events[..4].iter().map(|event| event["consent"].as_i64().unwrap()).collect();
    assert_eq!(consents, [1 | 4, 1, 1 | 4, 1 | 4]);
    assert_eq!(events[4]["engagement_class"], "prefetch");
}

//! Real requests of PostHog's, Snowplow's, Matomo's, Google's and CloudEvents' clients become the events they meant.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use serde_json::{Value, json};

use crate::captures::sent;
use crate::house::{Answer, House, NOW_US, assert_columns, gzip};

async fn events_of(client: &str) -> (Vec<Value>, Answer) {
    let (house, answer) = sent(client, None).await;
    (house.events(), answer)
}

#[tokio::test]
async fn posthog_node_capture_identify_alias() {
    let (events, answer) = events_of("posthog-node 5.70.0: capture, identify, alias").await;
    assert_eq!(answer.json(), json!({"status": 1}));
    assert_eq!(events.len(), 3);
    assert_columns(
        &events[0],
        json!({
            "event_id": "01a2035b-9bc4-7587-bea5-f2639ae4e501", "source": "ph-node", "dialect": "posthog",
            "event_name": "e1", "event_kind": "custom", "user_id": "d1", "anonymous_id": null,
            "event_time_us": 1_795_352_665_028_000_i64, "sent_time_us": 1_795_352_665_029_000_i64, "clock_quality": "trusted",
            "library": "posthog-node/5.70.0", "user_agent": null, "ip_truncated": null, "flags": 0, "consent": null,
            "properties": "{\"a\":1,\"$lib\":\"posthog-node\",\"$lib_version\":\"5.70.0\",\"$is_server\":true,\"$geoip_disable\":true}",
        }),
    );
    assert_columns(&events[1], json!({"event_name": "$identify", "event_kind": "identify", "user_id": "d1"}));
    assert_columns(
        &events[2],
        json!({"event_name": "$create_alias", "event_kind": "alias", "user_id": "d1", "previous_id": "d2"}),
    );
}

#[tokio::test]
async fn posthog_js_is_a_device_before_a_login_and_a_person_after() {
    let device = "01a2035b-e7f9-7d00-b009-46c1cd4b055d";
    let page = json!({
        "source": "ph-web", "anonymous_id": device, "url_host": "shop.test", "url_path": "/p", "utm_source": "news",
        "utm_campaign": "c1", "utm_medium": null, "gclid": null, "referrer_host": "google.com", "language": "en-US", "timezone": "UTC",
        "screen": "0x0", "os": "Linux", "library": "web/1.449.2", "clock_quality": "unchecked", "flags": 0,
        "user_agent": "Mozilla/5.0 (linux) AppleWebKit/537.36 (KHTML, like Gecko) jsdom/24.1.3",
        "ip_truncated": "203.0.113.0/24",
    });
    let (events, _) = events_of("posthog-js 1.449.2: custom").await;
    assert_columns(&events[0], page.clone());
    assert_columns(
        &events[0],
        json!({"event_name": "hello", "user_id": null, "event_time_us": 1_795_352_684_586_000_i64}),
    );
    let (events, _) = events_of("posthog-js 1.449.2: identify").await;
    assert_columns(&events[0], page.clone());
    assert_columns(&events[0], json!({"event_name": "$identify", "event_kind": "identify", "user_id": "u1"}));
    let properties: Value = serde_json::from_str(events[0]["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties["$set"]["email"], "e@x");
    let (events, _) = events_of("posthog-js 1.449.2: pageview").await;
    assert_columns(&events[0], page);
    assert_columns(&events[0], json!({"event_name": "$pageview", "event_kind": "page", "user_id": "u1", "title": "T"}));
}

#[tokio::test]
async fn posthog_python_names_a_person_and_offsets() {
    let (events, _) = events_of("posthog-python 7.91.1: capture, set").await;
    assert_columns(
        &events[0],
        json!({
            "source": "ph-py", "event_name": "Ev", "user_id": "d1", "event_time_us": 1_795_352_719_771_141_i64,
            "clock_quality": "trusted", "os": "Linux",
        }),
    );
    assert_columns(&events[1], json!({"event_name": "$set", "event_kind": "identify", "user_id": "d1"}));
    let properties: Value = serde_json::from_str(events[1]["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties["$set"], json!({"b": 1}));
}

#[tokio::test]
async fn posthog_bodies_are_read_in_every_wrapping() {
    let event = json!({
        "api_key": "phc_B", "event": "E", "uuid": "0190a0b0-0000-7000-8000-000000000001", "distinct_id": "d",
        "properties": {"token": "phc_B", "note": "a+b/c?d&e=ä"},
    });
    let plain = event.to_string();
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let form = |data: &str| {
        let escaped: String = url::form_urlencoded::byte_serialize(data.as_bytes()).collect();
        format!("data={escaped}")
    };
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("plain", plain.clone().into_bytes()),
        ("list", json!([event]).to_string().into_bytes()),
        ("gzip", gzip(plain.as_bytes())),
        ("base64", base64(plain.as_bytes()).into_bytes()),
        ("form of base64", form(&base64(plain.as_bytes())).into_bytes()),
        ("form of base64, not escaped", format!("data={}", base64(plain.as_bytes())).into_bytes()),
        ("form of base64 of gzip", form(&base64(&gzip(plain.as_bytes()))).into_bytes()),
        ("form of JSON", form(&plain).into_bytes()),
        ("list without a key outside", json!([{"event": "E", "uuid": "0190a0b0-0000-7000-8000-000000000001",
            "properties": event["properties"].as_object().unwrap().iter().chain([(&"distinct_id".to_owned(), &json!("d"))])
                .map(|(k, v)| (k.clone(), v.clone())).collect::<serde_json::Map<_, _>>()}]).to_string().into_bytes()),
    ];
    for (wrapping, body) in bodies {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            let house = House::new();
            let request = Request::post("/e/?compression=whatever&ver=1&_=1795352680000")
                .header("content-type", content_type)
                .body(Body::from(body.clone()));
            let answer = house.ask(request.unwrap()).await;
            assert_eq!(answer.status, StatusCode::OK, "{wrapping} {answer:?}");
            assert_columns(
                &house.events()[0],
                json!({"event_name": "E", "user_id": "d", "event_id": "0190a0b0-0000-7000-8000-000000000001",
                       "sent_time_us": NOW_US}),
            );
        }
    }
    let house = House::new();
    let data: String = url::form_urlencoded::byte_serialize(base64(plain.as_bytes()).as_bytes()).collect();
    assert_eq!(house.get(&format!("/e/?data={data}")).await.status, StatusCode::OK);
    assert_eq!(house.events().len(), 1);
}

#[tokio::test]
async fn posthog_v1_tells_each_event_by_its_uuid() {
    let house = House::new();
    let (good, bad, late) = (
        "0190a0b0-0000-7000-8000-000000000001",
        "0190a0b0-0000-7000-8000-000000000002",
        "0190a0b0-0000-7000-8000-000000000003",
    );
    let body = json!({"created_at": "2026-11-22T13:04:40Z", "historical_migration": false, "batch": [
        {"event": "E", "uuid": good, "distinct_id": "d", "timestamp": "2026-11-22T13:04:39Z", "options": {}, "properties": {}},
        {"event": ["not a name"], "uuid": bad, "distinct_id": "d", "properties": {}},
        {"event": "E", "uuid": late, "distinct_id": "d", "timestamp": "2039-01-01T00:00:00Z", "properties": {}},
    ]});
    let request = Request::post("/i/v1/analytics/events")
        .header("authorization", "Bearer phc_B")
        .header("posthog-attempt", "1")
        .body(Body::from(body.to_string()));
    let answer = house.ask(request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    let results = &answer.json()["results"];
    assert_eq!(results[good], json!({"result": "ok"}));
    assert_eq!(results[bad]["result"], "drop");
    assert!(results[bad]["details"].as_str().unwrap().contains("event: expected the name"));
    assert_eq!(results[late]["result"], "warning");
    assert_eq!((house.events().len(), house.dead_letters().len()), (2, 1));
}

#[tokio::test]
async fn posthog_asks_and_is_answered() {
    let house = House::new();
    let flags = house.post("/flags/?v=2", "{}").await;
    assert_eq!((flags.status, &flags.json()["featureFlags"]), (StatusCode::OK, &json!({})));
    let config = house.get("/array/phc_B/config").await.json();
    assert_eq!((&config["supportedCompression"][0], &config["hasFeatureFlags"]), (&json!("gzip"), &json!(false)));
    let script = String::from_utf8(house.get("/array/phc_B%3C%2Fscript%3E/config.js").await.body).unwrap();
    assert!(script.contains("phc_B\\u003c/script>") && !script.contains("</script>"), "{script}");
    // A key nobody knows is refused, and with no 429.
    let answer = house.ask(Request::post("/e/").body(Body::from(r#"{"api_key":"x","event":"E"}"#)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn snowplow_node_posts_page_views_and_self_describing_events() {
    let (events, answer) = events_of("snowplow node-tracker 4.8.0: post").await;
    assert_eq!(answer.body, b"ok");
    assert_columns(
        &events[0],
        json!({
            "event_id": "db803b10-7c34-4736-aacd-f515acf08574", "source": "snow", "dialect": "snowplow",
            "event_name": "page_view", "event_kind": "page", "title": "T", "url_host": "x.y", "utm_source": "a",
            "event_time_us": 1_795_352_665_206_000_i64, "sent_time_us": 1_795_352_665_228_000_i64, "clock_quality": "trusted",
            "library": "snowplow/node-4.8.0", "ip_truncated": null, "user_agent": null, "flags": 4,
        }),
    );
    assert_columns(
        &events[1],
        json!({"event_name": "click", "event_kind": "custom", "event_id": "c699751b-f9ac-4b24-be40-1c1a3cbff6f7"}),
    );
    let properties: Value = serde_json::from_str(events[1]["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties, json!({"$schema": "iglu:com.acme/click/jsonschema/1-0-0", "id": 1, "p": "srv"}));
}

#[tokio::test]
async fn snowplow_browser_by_post_and_by_get() {
    let page = json!({
        "source": "snow", "event_name": "page_view", "event_kind": "page", "title": "T", "url_path": "/p", "utm_campaign": "c1",
        "referrer_host": "google.com", "language": "en-US", "timezone": "UTC", "screen": "0x0",
        "library": "snowplow/js-4.10.1", "ip_truncated": "203.0.113.0/24", "flags": 0,
    });
    let (events, _) = events_of("snowplow browser-tracker 4.10.1: post").await;
    assert_columns(&events[0], page.clone());
    assert_columns(
        &events[0],
        json!({
            "anonymous_id": "a01cf7dd-77a6-43f7-897c-d8e6b9a5def6", "event_time_us": 1_795_352_692_296_000_i64,
            "event_id": "7910acc1-3857-447b-afa3-8e24c9881fd6", "clock_quality": "unchecked",
        }),
    );
    let properties: Value = serde_json::from_str(events[0]["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties["contexts"][0]["data"]["id"], "e85868aa-7ef0-444d-bf4b-9d99055baccd");
    assert_eq!(properties["sid"], "a47e3498-c8ea-4439-b83b-79fd8a4ee87a");
    assert_columns(&events[1], json!({"event_name": "x", "url_host": "shop.test"}));

    let (events, answer) = events_of("snowplow browser-tracker 4.10.1: get page view").await;
    assert!(answer.body.starts_with(b"GIF89a"));
    assert!(answer.headers["cache-control"].to_str().unwrap().contains("no-store"));
    assert_columns(&events[0], page);
    let properties: Value = serde_json::from_str(events[0]["properties"].as_str().unwrap()).unwrap();
    assert_eq!(properties["contexts"][0]["data"]["id"], "2ae0268e-ae3b-4727-8fbd-1088c2ff9adc");
    let (events, _) = events_of("snowplow browser-tracker 4.10.1: get self-describing").await;
    assert_columns(&events[0], json!({"event_name": "x", "anonymous_id": "7d1d0703-dca0-466c-ad8a-4ab2d6c0ac5d"}));
}

#[tokio::test]
async fn snowplow_python_and_structured_events() {
    let (events, _) = events_of("snowplow-tracker py 1.1.0: post").await;
    // It cuts its sending time to seconds, so that it lies before the event.
    assert_columns(
        &events[0],
        json!({"event_kind": "page", "event_time_us": 1_795_352_719_784_000_i64, "sent_time_us": 1_795_352_719_000_000_i64}),
    );
    assert_columns(&events[1], json!({"event_name": "a", "event_kind": "custom"}));
    let (events, _) = events_of("snowplow node-tracker 4.8.0: get").await;
    assert_columns(&events[0], json!({"event_name": "a", "event_id": "c5c31bdd-e827-4306-809d-ed63743ff9d6"}));
    let properties: Value = serde_json::from_str(events[0]["properties"].as_str().unwrap()).unwrap();
    assert_eq!((&properties["se_ca"], &properties["se_va"]), (&json!("c"), &json!("2")));
    assert_eq!(events_of("snowplow-tracker py 1.1.0: get").await.0.len(), 1);
}

#[tokio::test]
async fn snowplow_rules() {
    let house = House::new();
    let post = async |event: Value, anonymous: bool| {
        let mut request = Request::post("/com.snowplowanalytics.snowplow/tp2");
        if anonymous {
            request = request.header("sp-anonymous", "*");
        }
        let body =
            json!({"schema": "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4", "data": [event]});
        let before = (house.events().len(), house.dead_letters().len());
        let answer = house.ask(request.body(Body::from(body.to_string())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        house.events().into_iter().nth(before.0).or_else(|| house.dead_letters().into_iter().nth(before.1)).unwrap()
    };
    let described = |schema: &str, data: Value| {
        json!({"schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
               "data": {"schema": schema, "data": data}})
        .to_string()
    };
    let order = post(
        json!({"e": "ue", "aid": "web", "eid": "e1", "duid": "d",
            "ue_pr": described("iglu:com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
                json!({"type": "transaction"})),
            "co": json!({"schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0", "data": [
                {"schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/transaction/jsonschema/1-0-0",
                 "data": {"transaction_id": "T1", "revenue": 19.99, "currency": "EUR"}}]}).to_string()}),
        false,
    )
    .await;
    assert_columns(&order, json!({"event_kind": "conversion", "currency": "EUR"}));
    assert_eq!(order["value"].to_string().trim_matches('"').parse::<f64>().unwrap(), 19.99);

    let chosen = post(
        json!({"e": "ue", "aid": "web", "eid": "e2", "duid": "d",
            "ue_pr": described("iglu:com.snowplowanalytics.snowplow/consent_preferences/jsonschema/1-0-0",
                json!({"eventType": "allow_selected", "consentScopes": ["analytics", "targeting"]}))}),
        false,
    )
    .await;
    assert_columns(&chosen, json!({"event_kind": "consent", "consent": 1 + 4}));

    let anonymous = json!({"e": "pv", "aid": "web", "eid": "e3", "nuid": "n", "url": "https://x.example/"});
    let hidden = post(anonymous.clone(), true).await;
    assert_columns(&hidden, json!({"ip_truncated": null}));
    assert!(hidden["anonymous_id"].as_str().unwrap().starts_with("day-"));
    assert_columns(&post(anonymous, false).await, json!({"anonymous_id": "n", "ip_truncated": "203.0.113.0/24"}));

    let trusted = post(
        json!({"e": "pv", "aid": "web", "eid": "e4", "duid": "d", "ttm": "1795352600000",
        "dtm": "1795350000000", "stm": "1795300000000"}),
        false,
    )
    .await;
    assert_columns(&trusted, json!({"event_time_us": 1_795_352_600_000_000_i64, "clock_quality": "unchecked"}));

    // What is no parameter of theirs is kept as it was written, under a name of theirs too.
    let odd = post(
        json!({"e": "pv", "aid": "web", "eid": "e5", "duid": "d", "own": ["a", {"b": 1}], "page": {"c": [2]}}),
        false,
    )
    .await;
    assert_columns(&odd, json!({"title": null}));
    let kept: Value = serde_json::from_str(odd["properties"].as_str().unwrap()).unwrap();
    assert_eq!(kept, json!({"own": r#"["a",{"b":1}]"#, "$page": r#"{"c":[2]}"#}));

    for (event, words) in [
        (json!({"e": "xx", "aid": "web", "eid": "b1", "duid": "d"}), "e: expected one of pv"),
        (json!({"e": "se", "aid": "web", "eid": "b2", "duid": "d"}), "se_ac: expected"),
        (json!({"e": "ue", "aid": "web", "eid": "b3", "duid": "d", "ue_px": "!!!"}), "ue_px: expected base64"),
        (json!({"e": "ue", "aid": "web", "eid": "b4", "duid": "d", "ue_pr": "{\"schema\": 1}"}), "iglu:vendor/name"),
        (json!({"e": "pv", "aid": "web", "eid": "b5", "duid": "d", "co": "[]"}), "co: expected a JSON object"),
        (
            json!({"e": "ue", "aid": "web", "eid": "b6", "duid": "d",
            "ue_pr": described("iglu:a/b/jsonschema/1-0-0", serde_json::from_str(&format!("{}1{}", "[".repeat(70), "]".repeat(70))).unwrap())}),
            "nests deeper",
        ),
    ] {
        let letter = post(event.clone(), false).await;
        assert!(letter["detail"].as_str().unwrap_or_default().contains(words), "{event}: {letter}");
        assert_eq!(letter["event_id"], event["eid"]);
    }
    house.post("/com.snowplowanalytics.snowplow/tp2", json!({"data": [null]}).to_string()).await;
    let last = house.dead_letters().pop().unwrap();
    assert_eq!(last["detail"], "event: expected an object of parameters, found null");
    // Nobody is known as this app.
    let stranger = Request::get("/i?e=pv&aid=nobody&duid=d").body(Body::empty()).unwrap();
    assert_eq!(house.ask(stranger).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn ga4_knows_a_purchase_by_its_transaction() {
    let (events, answer) = events_of("ga4mp 2.0.4: purchase").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_columns(
        &events[0],
        json!({
            "source": "ga4", "dialect": "ga4", "event_name": "purchase", "event_kind": "conversion", "anonymous_id": "1.2",
            "event_time_us": NOW_US, "clock_quality": "received", "flags": 0,
            "properties": "{\"value\": 1, \"session_id\": 1795352721, \"engagement_time_msec\": 1}",
        }),
    );

    let house = House::new();
    let collect = async |body: Value| {
        let request = Request::post("/mp/collect?measurement_id=G-1&api_secret=SEC").body(Body::from(body.to_string()));
        assert_eq!(house.ask(request.unwrap()).await.status, StatusCode::NO_CONTENT);
        house.events().pop().unwrap()["event_id"].clone()
    };
    let purchase = json!({"client_id": "c", "consent": {"ad_user_data": "GRANTED", "ad_personalization": "DENIED"},
        "user_id": "u", "events": [{"name": "purchase", "params": {"transaction_id": "T1", "value": "19.99", "currency": "EUR",
            "page_location": "https://shop.example/x?gclid=G", "page_title": "Thanks"}}]});
    let first = collect(purchase.clone()).await;
    assert_columns(
        &house.events()[0],
        json!({"user_id": "u", "consent": 1 + 4, "currency": "EUR", "gclid": "G", "title": "Thanks", "url_path": "/x"}),
    );
    house.clock.advance_us(60_000_000);
    assert_eq!(collect(purchase).await, first, "the same transaction a minute later");
    let view = json!({"client_id": "c", "events": [{"name": "page_view", "params": {}}]});
    let first = collect(view.clone()).await;
    house.clock.advance_us(1);
    assert_ne!(collect(view).await, first, "nothing tells a second view from a repeat");
    let timed = json!({"client_id": "c", "timestamp_micros": "1795352600000000", "events": [{"name": "page_view", "params": {}}]});
    let first = collect(timed.clone()).await;
    house.clock.advance_us(1);
    assert_eq!(collect(timed).await, first);
    assert_eq!(house.events().pop().unwrap()["event_time_us"], 1_795_352_600_000_000_i64);
    let of_user = |user: &str| {
        json!({"client_id": "c", "user_id": user, "timestamp_micros": 1_795_352_600_000_000_i64,
        "events": [{"name": "page_view"}]})
    };
    assert_ne!(collect(of_user("ada")).await, collect(of_user("bob")).await, "two people at one moment are two");
}

#[tokio::test]
async fn the_debug_endpoint_of_ga4_keeps_nothing() {
    let house = House::new();
    let ask = async |body: &'static str| {
        house
            .ask(Request::post("/debug/mp/collect?measurement_id=G-1&api_secret=SEC").body(Body::from(body)).unwrap())
            .await
    };
    let good = ask(r#"{"client_id": "c", "events": [{"name": "page_view"}]}"#).await;
    assert_eq!(good.json(), json!({"validationMessages": []}));
    let bad = ask(r#"{"client_id": "c", "events": [{"params": {}}]}"#).await.json();
    assert!(bad["validationMessages"][0]["description"].as_str().unwrap().starts_with("name: expected"), "{bad}");
    assert_eq!(ask("{}").await.json()["validationMessages"].as_array().unwrap().len(), 1);
    assert_eq!((house.events().len(), house.dead_letters().len()), (0, 0));
}

#[tokio::test]
async fn matomo_single_and_bulk() {
    let (events, answer) = events_of("matomo-tracker 2.2.4: single").await;
    assert!(answer.body.starts_with(b"GIF89a"));
    assert_columns(
        &events[0],
        json!({
            "source": "matomo", "dialect": "matomo", "event_name": "page_view", "event_kind": "page", "title": "A",
            "anonymous_id": "0123456789abcdef", "user_id": "u1", "url_host": "x", "utm_source": "a", "user_agent": "Node",
            "event_time_us": NOW_US, "clock_quality": "received",
        }),
    );
    let (events, answer) = events_of("matomo-tracker 2.2.4: bulk").await;
    assert_eq!(answer.json(), json!({"status": "success", "tracked": 2, "invalid": 0}));
    assert_columns(&events[0], json!({"event_name": "b", "url_path": "/1", "flags": 0}));
    assert!(
        events[0]["anonymous_id"].as_str().unwrap().starts_with("day-"),
        "known by address and browser, as Matomo does"
    );
    assert_eq!(events[0]["properties"], "{\"e_a\":\"b\",\"e_c\":\"Buy\"}");

    let house = House::new();
    let order = "/matomo.php?idsite=1&rec=1&_id=0123456789abcdef&idgoal=0&ec_id=O1&revenue=12.50&send_image=0";
    assert_eq!(house.get(order).await.status, StatusCode::NO_CONTENT);
    assert_eq!(house.get(&format!("{order}&rand=7")).await.status, StatusCode::NO_CONTENT);
    let events = house.events();
    assert_columns(&events[0], json!({"event_name": "order", "event_kind": "conversion"}));
    assert_eq!(events[0]["event_id"], events[1]["event_id"], "an order is one, however often it is told");
    // Two that are alike in one bulk are two.
    let twice = json!({"requests": ["?idsite=1&rec=1&_id=b1", "?idsite=1&rec=1&_id=b1"]});
    let before = house.events().len();
    house.ask(Request::post("/matomo.php").body(Body::from(twice.to_string())).unwrap()).await;
    let events = house.events();
    assert_ne!(events[before]["event_id"], events[before + 1]["event_id"]);
    // One bad request among good ones.
    let bulk = json!({"requests": ["?idsite=1&rec=1&_id=a1", "?idsite=1&_id=a1", 7, "?idsite=1&rec=1&_id=a2"]});
    let request = Request::post("/piwik.php").body(Body::from(bulk.to_string())).unwrap();
    assert_eq!(house.ask(request).await.json(), json!({"status": "success", "tracked": 2, "invalid": 2}));
}

#[tokio::test]
async fn cloudevents_structured_binary_and_batched() {
    let key = Some(("x-write-key", "WK"));
    let mut ids = Vec::new();
    // The recording went to a path of the recorder's.
    for client in ["cloudevents 10: structured", "cloudevents 10: binary"] {
        let (house, answer) = sent(client, key).await;
        assert_eq!(answer.json(), json!({"accepted": 1, "dead_lettered": 0}));
        let event = house.events().remove(0);
        assert_columns(
            &event,
            json!({
                "dialect": "cloudevents", "event_name": "t", "client_event_id": "673641b4-53d7-43a3-88aa-a239db1cce1e",
                "event_time_us": 1_795_352_714_578_000_i64,
            }),
        );
        let properties: Value = serde_json::from_str(event["properties"].as_str().unwrap()).unwrap();
        assert_eq!((&properties["a"], &properties["source"]), (&json!(1), &json!("/s")));
        ids.push(event["event_id"].clone());
    }
    assert_eq!(ids[0], ids[1], "one event, whatever it was packed in");

    let house = House::new();
    let batch = json!([
        {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.order.completed", "userid": "u",
         "data": {"revenue": 5, "currency": "EUR", "url": "https://shop.example/?utm_source=x"}},
        {"specversion": "1.0", "id": "2", "source": "/shop"},
    ]);
    assert_eq!(
        house.post("/v1/cloudevents", batch.to_string()).await.json(),
        json!({"accepted": 1, "dead_lettered": 1})
    );
    assert_columns(
        &house.events()[0],
        json!({"event_kind": "conversion", "user_id": "u", "currency": "EUR", "utm_source": "x"}),
    );
    assert!(house.dead_letters()[0]["detail"].as_str().unwrap().starts_with("type: expected"));
}

#[tokio::test]
async fn browser_sdks_are_told_where_to_send() {
    let house = House::new();
    let request =
        Request::get("/v1/projects/WKB/settings").header("host", "t.shop.example").header("x-forwarded-proto", "https");
    let answer = house.ask(request.body(Body::empty()).unwrap()).await;
    let segment = &answer.json()["integrations"]["Segment.io"];
    assert_eq!(segment["apiKey"], "WKB");
    assert_eq!((&segment["apiHost"], &segment["protocol"]), (&json!("t.shop.example/v1"), &json!("https")));
    assert_eq!(house.get("/v1/projects/NOBODY/settings").await.status, StatusCode::UNAUTHORIZED);
    let config = house.get("/sourceConfig/?p=npm&writeKey=WK_RUD").await.json();
    assert_eq!((&config["source"]["enabled"], &config["source"]["writeKey"]), (&json!(true), &json!("WK_RUD")));

    let answer = house.get("/pixel/v1/page?writeKey=WK_RUD&anonymousId=a&userId=u").await;
    assert!(answer.body.starts_with(b"GIF89a"));
    house.tasks.close();
    house.tasks.wait().await;
    assert_columns(&house.events()[0], json!({"event_name": "page", "event_kind": "page", "anonymous_id": "a"}));
}

#[tokio::test]
async fn the_browser_sdk_is_served_and_kept_by_browsers() {
    let house = House::new();
    let plain = house.get("/t.js").await;
    assert_eq!(plain.body, include_bytes!("../../../../sdk/js/dist/tributary.js"));
    let request = Request::get("/t.js").header("accept-encoding", "br, gzip").body(Body::empty()).unwrap();
    let packed = house.ask(request).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() < 5_000, "{} bytes", packed.body.len());
    let request = Request::get("/t.js").header("if-none-match", &plain.headers["etag"]).body(Body::empty()).unwrap();
    assert_eq!(house.ask(request).await.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_browser_that_objects_to_ads_has_not_refused_the_rest() {
    let house = House::new();
    let consent = async |event: Value| {
        let answer = house.post("/v1/events", event.to_string()).await;
        assert_eq!(answer.json()["accepted"], 1, "{answer:?}");
        house.events().pop().unwrap()
    };
    let objects = json!({"name": "E", "anonymous_id": "a", "gpc": true, "consent": {"ads": false, "sale": false}});
    assert_columns(&consent(objects).await, json!({"consent": null, "flags": 64}));
    let refuses = json!({"name": "E", "anonymous_id": "a", "consent": {"analytics": false}});
    assert_columns(&consent(refuses).await, json!({"consent": 0}));
    let engaged = json!({"name": "engagement", "anonymous_id": "a", "properties": {"engaged_ms": 2000}});
    assert_columns(&consent(engaged).await, json!({"event_kind": "engagement"}));
}

//! `POST /v1/sql` as a client sees it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt;
use tributary_query::{QuerySettings, router};

use crate::definitions::with_examples;
use crate::world::{self, World};

const TOKEN: &str = "a-token-of-good-length";

async fn door(settings: QuerySettings) -> (Router, World) {
    let world = world::planted().await;
    let engine =
        world.engine(QuerySettings { tokens: vec!["another-token-of-length".into(), TOKEN.into()], ..settings });
    (router(Arc::new(engine)), world)
}

fn ask(body: impl Into<Body>) -> Request<Body> {
    let request = Request::post("/v1/sql").header("authorization", format!("Bearer {TOKEN}"));
    request.header("content-type", "application/json").body(body.into()).unwrap()
}

async fn answer(door: &Router, request: Request<Body>) -> (StatusCode, String) {
    let response = door.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_answer_has_columns_rows_and_versions() {
    let (door, _world) = door(QuerySettings::default()).await;
    let sql = r#"{"sql": "SELECT event_id, value, event_time_us, campaign_id FROM events WHERE event_kind = 'conversion' AND source = 'shop' ORDER BY value LIMIT 2"}"#;
    let (status, body) = answer(&door, ask(sql)).await;
    assert_eq!(status, StatusCode::OK);
    let mut body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert!(body["elapsed_ms"].is_u64());
    body["elapsed_ms"] = 0.into();
    // How much is read depends on which file was first: what cannot be among the least two is left out. (`facts.rs` counts.)
    for told in ["rows_read", "bytes_read"] {
        assert!(body["facts"][told].as_u64().unwrap() > 0, "{told}");
        body["facts"][told] = 0.into();
    }
    body["facts"]["tables"][0]["written_time_us"] = 0.into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&body).unwrap(), @r#"
    {
      "columns": [
        {
          "name": "event_id",
          "type": "Utf8"
        },
        {
          "name": "value",
          "type": "Decimal128(18, 6)"
        },
        {
          "name": "event_time_us",
          "type": "Int64"
        },
        {
          "name": "campaign_id",
          "type": "Utf8"
        }
      ],
      "elapsed_ms": 0,
      "facts": {
        "bytes_read": 0,
        "definition": "SELECT event_id, value, event_time_us, campaign_id FROM events WHERE event_kind = 'conversion' AND source = 'shop' ORDER BY value LIMIT 2",
        "rows_read": 0,
        "tables": [
          {
            "event_time_us": 1772791200000000,
            "ingest_time_us": 1772791200000000,
            "live": false,
            "table": "events",
            "version": 3,
            "written_time_us": 0
          }
        ],
        "timezone": "UTC",
        "window": null
      },
      "row_count": 2,
      "rows": [
        {
          "campaign_id": null,
          "event_id": "dan-1",
          "event_time_us": 1772542800000000,
          "value": 5.0
        },
        {
          "campaign_id": null,
          "event_id": "eve-2",
          "event_time_us": 1772546400000000,
          "value": 7.5
        }
      ],
      "truncated": false,
      "versions": {
        "dead_letters": 0,
        "events": 3,
        "identities": 1,
        "sessions": 1
      }
    }
    "#);
}

#[tokio::test]
async fn text_in_and_csv_out() {
    let (door, _world) = door(QuerySettings::default()).await;
    let request = Request::post("/v1/sql?format=csv").header("authorization", format!("bearer {TOKEN}"));
    let sql = "SELECT source, count(*) AS events, array_agg(DISTINCT event_kind ORDER BY event_kind) AS kinds FROM events GROUP BY source ORDER BY 1";
    let (status, body) = answer(&door, request.body(Body::from(sql)).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    insta::assert_snapshot!(body, @r#"
    source,events,kinds
    mail,480,"[conversion, send]"
    shop,14,"[click, conversion, page]"
    "#);
}

#[tokio::test]
async fn without_a_known_token_nothing_is_looked_at() {
    let (door, world) = door(QuerySettings::default()).await;
    for (token, advice) in [
        ("", "Authorization: Bearer"),
        ("Bearer ", "Authorization: Bearer"),
        ("Basic a-token-of-good-length", "Authorization: Bearer"),
        ("Bearer wrong", "keys.toml"),
        ("Bearer a-token-of-good-lengt", "keys.toml"),
    ] {
        let request = Request::post("/v1/sql").header("authorization", token).body(Body::from("not even SQL")).unwrap();
        let (status, body) = answer(&door, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}: {body}");
        assert!(body.contains(advice), "{body}");
    }
    let closed = router(Arc::new(world.engine(QuerySettings::default())));
    let (status, body) = answer(&closed, ask("{}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body.contains("query.tokens"), "{body}");
}

#[tokio::test]
async fn each_fault_has_its_status_and_advice() {
    let settings = QuerySettings { sql_bytes_max: 200, ..QuerySettings::default() };
    let (door, _world) = door(settings).await;
    let long = format!(r#"{{"sql": "SELECT '{}'"}}"#, "x".repeat(300));
    let longer = "x".repeat(5_000);
    for (body, status) in [
        ("{", 400),
        (r#"{"sql": "SELECT 1", "formt": "csv"}"#, 400),
        (r#"{"sql": "SELECT nothing FROM events"}"#, 400),
        (r#"{"sql": "SELEC 1"}"#, 400),
        (r#"{"sql": "SELECT 1 / 0"}"#, 400),
        (r#"{"sql": "DROP TABLE events"}"#, 400),
        (long.as_str(), 413),
        (longer.as_str(), 413),
    ] {
        let (got, text) = answer(&door, ask(body.to_owned())).await;
        assert_eq!(got.as_u16(), status, "{body}: {text}");
        let text: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text["error"].is_string() && text["advice"].is_string(), "{text}");
    }
}

#[tokio::test]
async fn a_question_in_json_needs_no_header_and_a_parameter_stands_once() {
    let (door, _world) = door(QuerySettings::default()).await;
    let post = |address: &str, body: &str| {
        let request = Request::post(address).header("authorization", format!("Bearer {TOKEN}"));
        request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(body.to_owned())).unwrap()
    };
    for address in ["/v1/sql", "/v1/query/sql"] {
        let (status, body) = answer(&door, post(address, r#" {"sql": "SELECT 1 AS one", "format": "csv"}"#)).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "one\n1\n"));
        let (status, body) = answer(&door, post(&format!("{address}?format=csv"), "SELECT 1 AS one")).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "one\n1\n"));
    }
    for address in ["/v1/sql?format=csv&format=json", "/v1/query/rfm?format=csv&format=json"] {
        let (status, body) = answer(&door, post(address, "")).await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(body["error"].as_str().unwrap().contains("format") && body["advice"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn a_text_within_its_bound_is_not_too_long_for_being_escaped() {
    let settings = QuerySettings { sql_bytes_max: 4_000, ..QuerySettings::default() };
    let (door, _world) = door(settings).await;
    // Two bytes each, six as many clients write them.
    let accents = "\\u00e9".repeat(1_900);
    let (status, body) = answer(&door, ask(format!(r#"{{"sql": "SELECT length('{accents}') AS l"}}"#))).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert!(body.contains("1900"), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_time_is_408() {
    let settings = QuerySettings { time_ms_max: 200, ..QuerySettings::default() };
    let (door, _world) = door(settings).await;
    let sql = "SELECT count(*) FROM events a, events b, generate_series(1, 8000) AS c(v) WHERE a.event_time_us + b.event_time_us < c.v";
    let (status, body) = answer(&door, ask(format!(r#"{{"sql": "{sql}"}}"#))).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{body}");
    assert!(body.contains("query.time_ms_max"), "{body}");
}

fn call(function: &str, arguments: &str) -> Request<Body> {
    let request = Request::post(format!("/v1/query/{function}")).header("authorization", format!("Bearer {TOKEN}"));
    request.body(arguments.to_owned().into()).unwrap()
}

#[tokio::test]
async fn an_experiment_is_called_with_numbers_lists_and_flags_as_json() {
    let (door, _world) = door(QuerySettings::default()).await;
    let arguments = r#"{"name": "subject_line", "metric": ["conversion", "value"], "statistics": "bayes",
        "prior": [-0.1, 0.3], "alpha": 0.1, "cuped": "14 days", "split": null, "filter": true}"#;
    let (status, by_name) = answer(&door, call("experiment", arguments)).await;
    assert_eq!(status, StatusCode::OK, "{by_name}");
    let sql = "SELECT * FROM experiment(name => 'subject_line', metric => ['conversion', 'value'], \
               statistics => 'bayes', prior => [-0.1, 0.3], alpha => 0.1, cuped => '14 days')";
    let (_, by_sql) = answer(&door, ask(serde_json::json!({"sql": sql}).to_string())).await;
    let rows = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["rows"].clone();
    assert_eq!(rows(&by_name), rows(&by_sql));
    assert_eq!(rows(&by_name).as_array().unwrap().len(), 4);
    assert!(rows(&by_name)[1]["chance_to_win"].as_f64().unwrap() > 0.9);
    let (status, plan) = answer(&door, call("experiment_plan", r#"{"base_rate": 0.1, "lift": 0.1}"#)).await;
    assert_eq!((status, rows(&plan)[0]["control_units"].as_i64()), (StatusCode::OK, Some(14_745)), "{plan}");
}

#[tokio::test]
async fn a_function_is_called_with_its_arguments_as_json() {
    let (door, _world) = door(QuerySettings::default()).await;
    let arguments =
        r#"{"steps": ["event_kind = 'page'", "event_kind = 'conversion'"], "window": "7 days", "source": "shop"}"#;
    let (status, by_name) = answer(&door, call("funnel", arguments)).await;
    assert_eq!(status, StatusCode::OK, "{by_name}");
    let sql = "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion'], window => '7 days', \
               source => 'shop', names => ['event_kind = ''page''', 'event_kind = ''conversion'''])";
    let (_, by_sql) = answer(&door, ask(serde_json::json!({"sql": sql}).to_string())).await;
    let rows = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["rows"].clone();
    assert_eq!(rows(&by_name), rows(&by_sql));
    assert_eq!(rows(&by_name)[1]["units_reached"], 2);
    // All have defaults, but the steps.
    let (status, body) = answer(&door, call("attribution", "")).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    for (function, arguments, told) in [
        ("funnel", "{}", "argument steps is missing"),
        ("funnel", "[]", "cannot be read as a JSON object"),
        ("funnel", r#"{"steps": {"a": 1}}"#, "steps is an object"),
        ("fun", "{}", "there is no function"),
        ("lifecycle", r#"{"perid": "week"}"#, "there is no argument"),
    ] {
        let (status, body) = answer(&door, call(function, arguments)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(body.contains(told), "{body}");
    }
    let list =
        Request::get("/v1/query").header("authorization", format!("Bearer {TOKEN}")).body(Body::empty()).unwrap();
    let (status, list) = answer(&door, list).await;
    assert_eq!(status, StatusCode::OK);
    assert!(list.contains("funnel_actors") && list.contains("30 minutes"), "{list}");
    let unknown = Request::post("/v1/query/funnel").body(Body::empty()).unwrap();
    assert_eq!(answer(&door, unknown).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn facts_stand_in_a_header_where_the_body_is_the_answer_alone() {
    let (door, _world) = door(QuerySettings::default()).await;
    let question = r#"{"sql": "SELECT step FROM funnel(steps => [event_kind = 'page'], names => ['gesehen: \u00e9'])", "format": "csv"}"#;
    let response = door.clone().oneshot(ask(question)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let facts = tributary_query::Facts::from_header(response.headers()["x-tributary-facts"].to_str().unwrap()).unwrap();
    assert!(facts.definition.contains("window => '30 days'") && facts.definition.contains('\u{e9}'), "{facts:?}");
    // All but one file, whose four rows have no page among them.
    assert_eq!((facts.read.unwrap().rows_read, facts.timezone.as_str()), (490, "UTC"));
    assert!(!response.headers().contains_key("x-tributary-live-positions"), "no tail was asked for");
    // A definition that is too long for a header is known by its beginning and its hash there, and told whole in JSON.
    let long = format!("SELECT step FROM funnel(steps => [event_name IN ({})])", vec!["'page'"; 1_000].join(", "));
    let said = |format: &str| ask(serde_json::json!({"sql": long, "format": format}).to_string());
    let response = door.clone().oneshot(said("csv")).await.unwrap();
    let facts = tributary_query::Facts::from_header(response.headers()["x-tributary-facts"].to_str().unwrap()).unwrap();
    let left_out = facts.definition_left_out.unwrap();
    let (_, body) = answer(&door, said("json")).await;
    let whole =
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["facts"]["definition"].as_str().unwrap().to_owned();
    assert_eq!((facts.definition.as_str(), left_out.bytes), ("", whole.len()));
    assert!(whole.starts_with(&left_out.begins), "{left_out:?}");
}

#[tokio::test]
async fn definitions_are_told_and_called_by_name() {
    let (door, _world) = door(with_examples()).await;
    let list = Request::get("/v1/metrics").header("authorization", format!("Bearer {TOKEN}"));
    let (status, list) = answer(&door, list.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let revenue = list["definitions"].as_array().unwrap().iter().find(|it| it["name"] == "revenue").unwrap();
    assert_eq!(
        (&revenue["kind"], &revenue["unit"], &revenue["file"]),
        (&"metric".into(), &"EUR".into(), &"shop.toml".into())
    );
    let unknown = Request::get("/v1/metrics").body(Body::empty()).unwrap();
    assert_eq!(answer(&door, unknown).await.0, StatusCode::UNAUTHORIZED);
    for (function, arguments, spelled_out) in [
        (
            "funnel",
            r#"{"definition": "checkout", "source": "shop"}"#,
            "SELECT * FROM funnel(definition => 'checkout', source => 'shop')",
        ),
        (
            "funnel",
            r#"{"steps": ["event('viewed')", "event('bought')"], "window": "7 days"}"#,
            "SELECT * FROM funnel(definition => 'checkout')",
        ),
        (
            "metric",
            r#"{"definition": "revenue", "by": "channel_of()", "period": "day"}"#,
            "SELECT * FROM metric('revenue', by => channel_of(), period => 'day')",
        ),
    ] {
        let (status, by_http) = answer(&door, call(function, arguments)).await;
        assert_eq!(status, StatusCode::OK, "{by_http}");
        let (_, by_sql) = answer(&door, ask(serde_json::json!({"sql": spelled_out}).to_string())).await;
        let rows = |body: &str| serde_json::from_str::<serde_json::Value>(body).unwrap()["rows"].clone();
        assert_eq!(rows(&by_http), rows(&by_sql));
        assert!(!rows(&by_http).as_array().unwrap().is_empty());
    }
    let (status, body) = answer(&door, call("metric", r#"{"definition": "revenu"}"#)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("did you mean revenue?"), "{body}");
}

#[tokio::test]
async fn answers_come_in_the_format_that_is_asked_for() {
    let (door, _world) = door(QuerySettings::default()).await;
    let bytes = async |request: Request<Body>| {
        let response = door.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let media = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert_eq!(response.headers()["x-tributary-row-count"], "5");
        (media, to_bytes(response.into_body(), usize::MAX).await.unwrap())
    };
    let sql = "SELECT event_id, value FROM events ORDER BY event_id LIMIT 5";
    let asked = |name: &str| {
        let request =
            Request::post(format!("/v1/sql?format={name}")).header("authorization", format!("Bearer {TOKEN}"));
        request.body(Body::from(sql)).unwrap()
    };
    let (media, arrow) = bytes(asked("arrow")).await;
    assert_eq!(media, "application/vnd.apache.arrow.stream");
    let batches: Vec<_> =
        arrow::ipc::reader::StreamReader::try_new(&*arrow, None).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 5);
    let (_, parquet) = bytes(asked("parquet")).await;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let (_, lines) = bytes(asked("ndjson")).await;
    assert_eq!(lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 5);
    // By the first media type that is known, without a name.
    let accepting = Request::post("/v1/sql").header("authorization", format!("Bearer {TOKEN}"));
    let accepting = accepting.header("accept", "text/html, text/csv;q=0.9, application/json").body(Body::from(sql));
    let (media, text) = bytes(accepting.unwrap()).await;
    assert!(media.starts_with("text/csv") && text.starts_with(b"event_id,value\n"));
}

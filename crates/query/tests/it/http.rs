//! `POST /v1/sql` as a client sees it.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use tower::ServiceExt;
use tributary_query::{QuerySettings, router};

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
    for token in ["", "Bearer ", "Bearer wrong", "Basic a-token-of-good-length", "Bearer a-token-of-good-lengt"] {
        let request = Request::post("/v1/sql").header("authorization", token).body(Body::from("not even SQL")).unwrap();
        let (status, body) = answer(&door, request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{token}: {body}");
        assert!(body.contains("Authorization: Bearer"), "{body}");
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

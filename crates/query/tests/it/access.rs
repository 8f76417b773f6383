//! Who may see what. The truth is a second lake in which only the rows that may be seen were ever written, and two words that no
//! answer may hold.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;
use tributary_query::{
    AccessSettings, Answer, Asker, Engine, Personal, QueryError, QuerySettings, Question, live_router, render, router,
};

use crate::access_shop::{Shop, event_allows};
use crate::definitions::with_examples;
use crate::docs;
use crate::world::World;

const FULL: &str = "a-token-that-sees-all";
const ADS: &str = "a-token-of-the-agency";
const MASKED: &str = "a-token-of-an-analyst";
const PLAIN: &str = "a-token-of-somebody-trusted";
const BOTH: [&str; 2] = ["analytics", "ads"];

fn access(name: &str, token: &str, purposes: &[&str], personal: Personal) -> AccessSettings {
    let purposes = purposes.iter().map(|purpose| (*purpose).to_owned()).collect();
    AccessSettings { name: name.to_owned(), token: token.to_owned(), purposes, personal, ..AccessSettings::default() }
}

fn settings(access: Vec<AccessSettings>) -> QuerySettings {
    let mask_secret = "a secret of these tests".to_owned();
    QuerySettings { tokens: vec![FULL.to_owned()], access, mask_secret, threads: 2, ..with_examples() }
}

/// * `agency`: analytics and ads, masked. `analyst`: all rows, masked. `trusted`: analytics, nothing masked.
fn usual() -> QuerySettings {
    settings(vec![
        access("agency", ADS, &BOTH, Personal::All(false)),
        access("analyst", MASKED, &[], Personal::All(false)),
        access("trusted", PLAIN, &["analytics"], Personal::All(true)),
    ])
}

async fn asked(engine: &Engine, asker: Asker, sql: &str) -> Answer {
    engine.query_as(asker, sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

fn text(answer: &Answer) -> String {
    let mut json = Vec::new();
    render::json(answer, &mut json).unwrap();
    String::from_utf8(json).unwrap()
}

fn rows(answer: &Answer) -> Vec<serde_json::Map<String, Value>> {
    serde_json::from_str(&text(answer)).unwrap()
}

async fn number(engine: &Engine, token: &str, sql: &str) -> i64 {
    let answer = asked(engine, engine.asker(token).unwrap(), sql).await;
    rows(&answer)[0].values().next().unwrap().as_i64().unwrap()
}

/// Sorted, without the columns of `without`, floats as far as they are sure.
fn comparable(answer: &Answer, without: &[String]) -> Vec<String> {
    let sure = |value: Value| match value.as_f64().filter(|_| value.is_f64()) {
        Some(float) => Value::from(format!("{float:.9e}")),
        None => value,
    };
    let row = |row: serde_json::Map<String, Value>| {
        let kept = row.into_iter().filter(|(name, _)| !without.contains(name));
        let kept: serde_json::Map<String, Value> = kept.map(|(name, value)| (name, sure(value))).collect();
        serde_json::to_string(&kept).unwrap()
    };
    let mut rows: Vec<String> = rows(answer).into_iter().map(row).collect();
    rows.sort();
    rows
}

const RELATIONS: [&str; 12] = [
    "events",
    "person_events",
    "sessions",
    "person_sessions",
    "session_history",
    "persons",
    "identity_map",
    "identities",
    "dead_letters",
    "open_dead_letters",
    "ingestion_warnings",
    "metric_definitions",
];

/// Each table and view, each documented question, and some that lean on persons.
fn questions() -> Vec<String> {
    let mut questions: Vec<String> = RELATIONS.iter().map(|name| format!("SELECT * FROM {name}")).collect();
    questions.extend(RELATIONS.iter().map(|name| format!("SELECT count(*) AS n FROM {name}")));
    questions.extend(docs::questions());
    let more = [
        "SELECT channel, count(*) AS n, sum(value) AS value, count(DISTINCT person_id) AS people FROM person_events GROUP BY channel",
        "SELECT count(*) AS n FROM person_events AS a JOIN identity_map AS b ON a.user_id = b.user_id",
        "SELECT count(*) AS n FROM events AS e JOIN sessions AS s ON e.session_key = s.session_key AND e.event_time_us BETWEEN s.start_time_us AND s.end_time_us",
        "SELECT count(*) AS n FROM identities AS i JOIN events AS e ON i.event_id = e.event_id AND i.anonymous_id = e.anonymous_id",
        "SELECT n, count(*) AS people FROM (SELECT person_id, count(*) AS n FROM person_events GROUP BY person_id) GROUP BY n",
        "SELECT count(*) AS n FROM events WHERE event_date >= DATE '2026-10-09' AND event_name = 'Order Completed'",
        "SELECT min(event_time_us) AS first, max(event_time_us) AS last, count(value) AS worth FROM events",
        "SELECT * FROM (SELECT * FROM events ORDER BY event_time_us DESC LIMIT 5)",
        "SELECT * FROM funnel(steps => [event_kind = 'click', event_kind = 'conversion'], key => account_id)",
    ];
    questions.extend(more.map(str::to_owned));
    questions
}

/// Where a pseudonym stands in one of the rows, or nothing in place of what was said.
fn masked_columns(answer: &Answer) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in rows(answer) {
        for (name, value) in row {
            let is_pseudonym = value.as_str().is_some_and(|text| text.starts_with("p_"));
            if is_pseudonym && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let nothing = [
        "properties",
        "url_query",
        "referrer_term",
        "user_agent",
        "ip_truncated",
        "warnings",
        "payload",
        "request",
        "detail",
        "for_example",
        "content_hash",
        "event_id",
        "previous_id",
    ];
    names.extend(nothing.map(str::to_owned));
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_sees_what_a_lake_without_the_other_rows_holds() {
    let shop = Shop::new();
    let world = shop.lake(&[], false).await;
    let settings = settings(vec![
        access("trusted", PLAIN, &["analytics"], Personal::All(true)),
        AccessSettings { unasked: true, ..access("unasked", ADS, &BOTH, Personal::All(true)) },
    ]);
    let engine = world.engine(QuerySettings { rows_max: 100_000, ..settings });
    for (token, purposes, unasked) in [(PLAIN, &["analytics"][..], false), (ADS, &BOTH[..], true)] {
        let allowed = shop.lake(purposes, unasked).await;
        let truth = allowed.engine(QuerySettings { threads: 2, rows_max: 100_000, ..with_examples() });
        let mut some = 0;
        for sql in questions() {
            let seen = asked(&engine, engine.asker(token).unwrap(), &sql).await;
            let wanted = asked(&truth, truth.owner(), &sql).await;
            assert_eq!(comparable(&seen, &[]), comparable(&wanted, &[]), "{purposes:?}: {sql}");
            some += usize::from(0 < seen.row_count());
        }
        assert!(questions().len() / 2 < some, "{some} questions have an answer");
        let events = number(&engine, token, "SELECT count(*) FROM events").await;
        assert!(0 < events && events < i64::try_from(shop.events.len()).unwrap(), "{events}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_masks_all_is_as_it_was_but_what_is_personal() {
    let shop = Shop::new();
    let world = shop.lake(&[], false).await;
    let engine = world.engine(QuerySettings { rows_max: 100_000, ..usual() });
    for (token, purposes) in [(ADS, &BOTH[..]), (MASKED, &[][..])] {
        let allowed = shop.lake(purposes, false).await;
        let truth = allowed.engine(QuerySettings { threads: 2, rows_max: 100_000, ..with_examples() });
        for sql in questions() {
            let seen = asked(&engine, engine.asker(token).unwrap(), &sql).await;
            let said = text(&seen);
            assert!(!said.contains("secret"), "{sql}: {said}");
            assert!(token == MASKED || !said.contains("hidden"), "{sql}: {said}");
            // Equal scores are told apart by names, which are others here.
            if sql.contains("FROM rfm(") {
                continue;
            }
            let masked = masked_columns(&seen);
            let wanted = asked(&truth, truth.owner(), &sql).await;
            assert_eq!(comparable(&seen, &masked), comparable(&wanted, &masked), "{token}: {sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_condition_is_worked_out_on_a_row_or_value_that_is_not_seen() {
    let world = Shop::new().lake(&[], false).await;
    let engine = world.engine(usual());
    let agency = || engine.asker(ADS).unwrap();
    // On a row that is not seen each of these would fail, and its words would be in the error.
    for sql in [
        "SELECT count(*) FROM events WHERE CAST(utm_term AS INT) = 1",
        "SELECT count(*) FROM person_events WHERE CAST(utm_term AS INT) = 1 AND person_id IS NOT NULL",
        "SELECT sum(CAST(utm_term AS INT)) FROM events",
        "SELECT count(*) FROM events WHERE CASE WHEN campaign_id = 'hidden' THEN 1 / (length(campaign_id) - 6) = 1 ELSE true END",
        "SELECT CAST(utm_term AS INT) AS n FROM events ORDER BY CAST(utm_term AS INT) LIMIT 1",
        "SELECT count(*) FROM events a JOIN events b ON CAST(a.utm_term AS INT) = CAST(b.utm_term AS INT) AND a.log_offset = b.log_offset",
        "SELECT CAST(utm_term AS INT) AS n, count(*) FROM events GROUP BY CAST(utm_term AS INT)",
        "SELECT count(*) FROM dead_letters WHERE CAST(utm_term AS INT) = 1",
        "SELECT * FROM funnel(steps => [CAST(utm_term AS INT) = 1, event_kind = 'conversion'])",
        "SELECT count(*) FROM sessions WHERE 1 / event_count >= 0",
    ] {
        asked(&engine, agency(), sql).await;
        let fails = sql.contains("utm_term") || sql.contains("campaign_id");
        assert_eq!(engine.query(sql).await.is_err(), fails, "for who sees all: {sql}");
    }
    // No row is found by what stands under a mask, and an error tells the mask.
    for condition in [
        "user_id = 'secret-u3'",
        "user_id LIKE 'secret%'",
        "starts_with(session_key, 'secret')",
        "session_key >= 's'",
        "session_key IN ('secret-d0', 'secret-d5')",
        "properties IS NOT NULL",
        "strpos(coalesce(user_agent, ''), 'agent') > 0",
        "anonymous_id = (SELECT 'secret-d' || '5')",
        "event_id ~ 'secret'",
        "gclid BETWEEN 'secret' AND 'secreu'",
    ] {
        let sql = format!("SELECT count(*) FROM person_events WHERE {condition}");
        assert_eq!(number(&engine, ADS, &sql).await, 0, "{condition}");
        let sql = format!("SELECT count(*) FROM person_events WHERE NOT coalesce({condition}, false)");
        assert!(0 < number(&engine, ADS, &sql).await, "{condition}");
        let sql = format!("SELECT count(*) FILTER (WHERE {condition}) FROM person_events");
        assert_eq!(number(&engine, ADS, &sql).await, 0, "{condition}");
    }
    let error = engine.query_as(agency(), "SELECT CAST(session_key AS INT) FROM events").await.unwrap_err().to_string();
    assert!(error.contains("p_") && !error.contains("secret"), "{error}");
    // The order is that of the pseudonyms, and the smallest and largest are theirs.
    let ordered = rows(&asked(&engine, agency(), "SELECT session_key FROM events ORDER BY session_key").await);
    let keys: Vec<String> = ordered.iter().map(|row| row["session_key"].as_str().unwrap().to_owned()).collect();
    assert!(keys.is_sorted() && keys[0].starts_with("p_"), "{keys:?}");
    let ends = rows(&asked(&engine, agency(), "SELECT min(session_key) AS a, max(session_key) AS b FROM events").await);
    assert_eq!(
        (ends[0]["a"].as_str(), ends[0]["b"].as_str()),
        (keys.first().map(String::as_str), keys.last().map(String::as_str))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_whatever_name_a_table_is_asked_for_it_is_the_same() {
    let shop = Shop::new();
    let world = shop.lake(&[], false).await;
    let engine = world.engine(usual());
    let seen = shop.events.iter().filter(|event| event_allows(event, &BOTH, false)).count();
    let seen = i64::try_from(seen).unwrap();
    for sql in [
        "SELECT count(*) FROM events",
        "SELECT count(*) FROM tributary.public.events",
        "SELECT count(*) FROM \"public\".\"events\"",
        "SELECT sum(n) FROM (SELECT 1 AS n FROM EVENTS)",
        "WITH events AS (SELECT * FROM public.events) SELECT count(*) FROM events",
        "SELECT count(*) FROM (SELECT * FROM events UNION ALL SELECT * FROM events WHERE false)",
        "SELECT (SELECT count(*) FROM events) AS n",
        "SELECT count(e.event_id) FROM generate_series(1, 1) AS g LEFT JOIN events AS e ON true",
        "SELECT count(*) FROM events WHERE event_date >= DATE '2000-01-01' OR log_offset IS NULL",
        "SELECT count(*) FROM person_events",
        "SELECT count(*) FROM (SELECT * FROM events LIMIT 100000)",
    ] {
        assert_eq!(number(&engine, ADS, sql).await, seen, "{sql}");
    }
    // Persons by their real ids can be asked for below the masks only.
    let oracle = "SELECT person_of('web', NULL, 'secret-d0', 'secret-d0', 0) AS p";
    let refused = engine.query_as(engine.asker(MASKED).unwrap(), oracle).await.unwrap_err();
    assert!(matches!(refused, QueryError::Question(_)), "{refused}");
    // Names and columns are no secret, and the description has no rows.
    let tables = asked(&engine, engine.asker(ADS).unwrap(), "SELECT * FROM information_schema.columns").await;
    assert!(!text(&tables).contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_is_shown_and_its_work_is_not() {
    let world = Shop::new().lake(&[], false).await;
    let engine = world.engine(usual());
    for token in [ADS, MASKED, PLAIN] {
        let asker = || engine.asker(token).unwrap();
        for words in [
            "EXPLAIN ANALYZE",
            "EXPLAIN VERBOSE",
            "EXPLAIN ANALYZE VERBOSE",
            "explain (analyze) ",
            "EXPLAIN EXPLAIN ANALYZE",
        ] {
            let sql = format!("{words} SELECT count(*) FROM events WHERE session_key = 'secret-d1'");
            let error = engine.query_as(asker(), &sql).await.unwrap_err();
            // Some of these forms are no SQL at all.
            let is_forbidden = matches!(error, QueryError::Forbidden { .. });
            let is_no_sql = matches!(error, QueryError::Question(_) | QueryError::Statement { .. });
            assert!(
                is_forbidden || (is_no_sql && (words.contains('(') || words.starts_with("EXPLAIN EXPLAIN"))),
                "{sql}: {error}"
            );
        }
        let plan = text(
            &asked(&engine, asker(), "EXPLAIN SELECT user_id, count(*) FROM person_events GROUP BY user_id").await,
        );
        assert!(plan.contains("SeenExec") || token == PLAIN, "{plan}");
        assert!(!plan.contains("secret") && !plan.to_lowercase().contains("statistics"), "{plan}");
    }
    asked(&engine, engine.owner(), "EXPLAIN ANALYZE SELECT count(*) FROM events").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudonyms_stay_and_are_others_for_another_access() {
    let world = Shop::new().lake(&[], false).await;
    let sql = "SELECT person_id, user_id FROM person_events WHERE event_time_us % 48 >= 0 AND user_id IS NOT NULL ORDER BY log_offset LIMIT 1";
    let sql = sql.replace("event_time_us % 48 >= 0 AND ", "");
    let first = world.engine(usual());
    let said = async |engine: &Engine, token: &str| text(&asked(engine, engine.asker(token).unwrap(), &sql).await);
    let (agency, analyst) = (said(&first, ADS).await, said(&first, MASKED).await);
    assert_ne!(agency, analyst);
    let again = world.engine(usual());
    assert_eq!(said(&again, ADS).await, agency);
    let other = world.engine(QuerySettings { mask_secret: "another secret of tests".to_owned(), ..usual() });
    assert_ne!(said(&other, ADS).await, agency);
    let granted = Personal::Columns(vec!["user_id".to_owned()]);
    let granted = world.engine(settings(vec![access("agency", ADS, &[], granted)]));
    let row = rows(&asked(&granted, granted.asker(ADS).unwrap(), &sql).await).remove(0);
    assert!(
        row["user_id"].as_str().unwrap().starts_with("secret-u")
            && row["person_id"].as_str().unwrap().starts_with("p_")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_are_not_open_are_refused_and_not_named() {
    let world = Shop::new().lake(&[], false).await;
    let tables = Some(vec!["person_events".to_owned(), "sessions".to_owned()]);
    let access = AccessSettings { tables, ..access("agency", ADS, &[], Personal::All(true)) };
    let engine = world.engine(settings(vec![access]));
    let asker = || engine.asker(ADS).unwrap();
    asked(&engine, asker(), "SELECT count(*) FROM person_events").await;
    asked(&engine, asker(), "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion'])").await;
    for sql in [
        "SELECT * FROM events",
        "SELECT * FROM tributary.public.dead_letters",
        "SELECT (SELECT count(*) FROM persons) AS n",
        "SELECT * FROM funnel(steps => [event_kind = 'page', event_id IN (SELECT event_id FROM events)])",
        "EXPLAIN SELECT * FROM identities",
    ] {
        let error = engine.query_as(asker(), sql).await.unwrap_err();
        assert!(matches!(error, QueryError::Forbidden { .. }), "{sql}: {error}");
    }
    let named = text(
        &asked(&engine, asker(), "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
            .await,
    );
    assert!(named.contains("person_events") && !named.contains("dead_letters"), "{named}");
    let error = engine.query_as(asker(), "SELECT * FROM sesions").await.unwrap_err().to_string();
    assert!(error.contains("did you mean sessions") && !error.contains("identities"), "{error}");
    // A definition is the SQL it stands for, and the list of them is a table as any other.
    asked(&engine, asker(), "SELECT * FROM metric('buyers')").await;
    // That asks for no person, and so asks `events`.
    for sql in ["SELECT * FROM metric('revenue')", "SELECT * FROM metric_definitions"] {
        let error = engine.query_as(asker(), sql).await.unwrap_err();
        assert!(matches!(error, QueryError::Forbidden { .. }), "{sql}: {error}");
    }
    let (status, _, body) = http(&Arc::new(engine), ADS, Request::get("/v1/metrics"), "").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_told_to_who_sees_all() {
    let world = Shop::new().lake(&[], false).await;
    let engine = Arc::new(world.engine(usual()));
    let sql = "SELECT count(person_id) AS n FROM person_events";
    // Even who sees every row and column is told nothing of the work where it is an access.
    for (token, is_told) in [(FULL, true), (ADS, false), (MASKED, false), (PLAIN, false)] {
        let answer = asked(&engine, engine.asker(token).unwrap(), sql).await;
        assert_eq!(answer.facts.read.is_some(), is_told, "{token}");
        assert_eq!(answer.facts.timezone, "UTC");
        let (status, _, body) = http(&engine, token, Request::post("/v1/sql"), sql).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        for name in ["rows_read", "bytes_read", "tables"] {
            assert_eq!(body["facts"].get(name).is_some(), is_told, "{token}: {name}");
        }
        assert!(body["facts"]["definition"].as_str().unwrap().contains("person_events"), "{body}");
        // What is defined is about nobody.
        let (status, _, body) = http(&engine, token, Request::get("/v1/metrics"), "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        let revenue = body["definitions"].as_array().unwrap().iter().find(|it| it["name"] == "revenue").unwrap();
        assert!(revenue["definition"].as_str().unwrap().contains("sum(value)"), "{revenue}");
    }
}

/// One more question than there may be, and what is told of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_has_limits_of_its_own() {
    let world = Shop::new().lake(&[], false).await;
    let slow = "SELECT count(*) FROM generate_series(1, 10000000) AS a, generate_series(1, 10000000) AS b WHERE a.value * b.value = 17";
    let limited = |change: &dyn Fn(&mut AccessSettings)| {
        let mut own = access("agency", ADS, &[], Personal::All(false));
        change(&mut own);
        Arc::new(world.engine(settings(vec![own])))
    };
    // Time, and the work ends with it.
    let engine = limited(&|own| own.time_ms_max = Some(300));
    let error = engine.query_as(engine.asker(ADS).unwrap(), slow).await.unwrap_err();
    assert!(matches!(error, QueryError::TimedOut { time_ms_max: 300 }), "{error}");
    let begun = std::time::Instant::now();
    while 0 < engine.task_count() {
        assert!(begun.elapsed().as_secs() < 15, "{} tasks run on", engine.task_count());
        tokio::task::yield_now().await;
    }
    // Rows: cut over HTTP, an error where they are streamed.
    let engine = limited(&|own| own.rows_max = Some(7));
    let all = "SELECT log_offset FROM events";
    let cut = asked(&engine, engine.asker(ADS).unwrap(), all).await;
    assert_eq!((cut.row_count(), cut.truncated), (7, true));
    let mut stream = engine.ask(Question::plain(engine.asker(ADS).unwrap(), all)).await.unwrap();
    let error = loop {
        match futures::StreamExt::next(&mut stream).await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, QueryError::TooManyRows { rows_max: 7 }), "{error}");
    assert_eq!(asked(&engine, engine.owner(), all).await.row_count(), 480);
    // Memory of its own pool, while others have the server's.
    let engine = limited(&|own| own.memory_bytes_max = Some(16 << 20));
    let wide = "SELECT array_agg(rpad(e.event_name, 1000)) AS a FROM events AS e, generate_series(1, 100) AS g";
    let error = engine.query_as(engine.asker(ADS).unwrap(), wide).await.unwrap_err();
    assert!(matches!(error, QueryError::OutOfMemory { .. }), "{error}");
    asked(&engine, engine.asker(FULL).unwrap(), wide).await;
    // Turns: one is taken, the next waits for it in vain, and another's goes on.
    let engine = limited(&|own| (own.queries_max, own.time_ms_max) = (Some(1), Some(1_000)));
    // Nobody reads it, so it keeps its turn and no thread.
    let unread = "SELECT value FROM generate_series(1, 100000000)";
    let held = engine.ask(Question::plain(engine.asker(ADS).unwrap(), unread)).await.unwrap();
    let error = engine.query_as(engine.asker(ADS).unwrap(), "SELECT 1 AS n").await.unwrap_err();
    assert!(matches!(error, QueryError::Busy { queries_max: 1, .. }), "{error}");
    asked(&engine, engine.asker(FULL).unwrap(), "SELECT 1 AS n").await;
    drop(held);
    asked(&engine, engine.asker(ADS).unwrap(), "SELECT 1 AS n").await;
    // Questions a minute.
    let engine = limited(&|own| own.queries_per_minute = Some(2));
    for _ in 0..2 {
        asked(&engine, engine.asker(ADS).unwrap(), "SELECT 1 AS n").await;
    }
    let error = engine.query_as(engine.asker(ADS).unwrap(), "SELECT 1 AS n").await.unwrap_err();
    assert!(matches!(error, QueryError::TooOften { per_minute: 2, wait_s: 1..=30, .. }), "{error}");
    // As many may be described: drivers describe what they ask.
    let describe = || engine.describe(Question::plain(engine.asker(ADS).unwrap(), "SELECT 1 AS n"));
    for _ in 0..2 {
        describe().await.unwrap();
    }
    assert!(matches!(describe().await.unwrap_err(), QueryError::TooOften { per_minute: 2, .. }));
    asked(&engine, engine.asker(FULL).unwrap(), "SELECT 1 AS n").await;
}

async fn http(
    engine: &Arc<Engine>,
    token: &str,
    request: axum::http::request::Builder,
    body: &str,
) -> (StatusCode, Option<String>, String) {
    let door = router(Arc::clone(engine)).merge(live_router(Arc::clone(engine)));
    let request = request.header("authorization", format!("Bearer {token}")).body(Body::from(body.to_owned())).unwrap();
    let response = door.oneshot(request).await.unwrap();
    let status = response.status();
    let again = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, again, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_http_each_token_is_who_it_is() {
    let shop = Shop::new();
    let world = shop.lake(&[], false).await;
    let mut hashed = access("hashed", "", &BOTH, Personal::All(false));
    // printf %s a-token-known-by-hash | sha256sum
    hashed.token_sha256 = "1aca8d2b94210c28e5aa8f9dfb457f96b5eb94fcfa67d79ecc9ef406e3947d3d".to_owned();
    let mut all = usual();
    all.access.push(hashed);
    all.access[1].queries_per_minute = Some(1);
    let engine = Arc::new(world.engine(all));
    let seen = shop.events.iter().filter(|event| event_allows(event, &BOTH, false)).count();
    let sql = "SELECT count(*) AS n FROM events";
    for (token, count) in [(FULL, 480), (ADS, seen), ("a-token-known-by-hash", seen)] {
        let (status, _, body) = http(&engine, token, Request::post("/v1/sql"), sql).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["rows"][0]["n"], count, "{token}");
        // Versions of tables tell how often others wrote.
        assert_eq!(body["versions"].as_object().unwrap().is_empty(), token != FULL, "{body}");
    }
    assert_eq!(engine.tokens().len(), 4, "one known by its hash alone is none to prove without saying it");
    let (status, ..) = http(&engine, "a-token-known-by-hush", Request::post("/v1/sql"), sql).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    // A function, a receipt, the tail between processes.
    let call = r#"{"steps": ["event_kind = 'click'", "event_kind = 'conversion'"], "breakdown": "user_id"}"#;
    let (status, _, body) = http(&engine, ADS, Request::post("/v1/query/funnel"), call).await;
    assert!(status == StatusCode::OK && !body.contains("secret"), "{body}");
    let real = "/v1/receipts/secret-e0-1?days=36500";
    assert_eq!(http(&engine, FULL, Request::get(real), "").await.0, StatusCode::OK);
    assert_eq!(http(&engine, ADS, Request::get(real), "").await.0, StatusCode::NOT_FOUND);
    let own =
        asked(&engine, engine.asker(ADS).unwrap(), "SELECT event_id FROM events ORDER BY log_offset LIMIT 1").await;
    let own = rows(&own)[0]["event_id"].as_str().unwrap().to_owned();
    let (status, _, body) = http(&engine, ADS, Request::get(format!("/v1/receipts/{own}?days=36500")), "").await;
    assert!(status == StatusCode::OK && !body.contains("secret"), "{body}");
    for token in [ADS, PLAIN] {
        let (status, _, body) = http(&engine, token, Request::post("/v1/live/tail"), "{}").await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    }
    // Not for you, and not so often.
    let (status, _, body) = http(&engine, ADS, Request::post("/v1/sql"), "EXPLAIN ANALYZE SELECT 1").await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{body}");
    assert_eq!(http(&engine, MASKED, Request::post("/v1/sql"), sql).await.0, StatusCode::OK);
    let (status, again, body) = http(&engine, MASKED, Request::post("/v1/sql"), sql).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS, "{body}");
    assert!((1..=60).contains(&again.unwrap().parse::<u32>().unwrap()) && body.contains("analyst"), "{body}");
}

/// A face that asks as the owner lets everybody see everything.
#[test]
fn no_face_asks_as_the_owner() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    let protocols = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocols/src");
    let mut folders = vec![protocols.into()];
    let mut files: Vec<std::path::PathBuf> =
        vec![format!("{root}/http.rs").into(), format!("{root}/receipt.rs").into()];
    files.extend(
        std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.ends_with("http")),
    );
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir::<std::path::PathBuf>(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for file in files.iter().filter(|file| file.is_file()) {
        let code = std::fs::read_to_string(file).unwrap();
        for call in [".query(", ".query_stream(", ".owner("] {
            let at = code.lines().find(|line| line.contains(call) && line.contains("engine"));
            assert!(at.is_none(), "{}: {at:?}", file.display());
        }
    }
}

mod live {
    use std::sync::Arc;

    use futures::TryStreamExt;
    use tributary_query::live::{LiveAsked, LiveFault, LiveRows, LiveSource, LiveSources};
    use tributary_schemas::Table;

    use super::*;

    #[derive(Debug)]
    struct Tail(LiveRows);

    #[async_trait::async_trait]
    impl LiveSource for Tail {
        async fn tail(&self, _: &LiveAsked) -> Result<LiveRows, LiveFault> {
            Ok(self.0.clone())
        }
    }

    /// The shop's events, but in the tail and not in a table.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_tail_is_seen_as_the_tables_are() {
        let shop = Shop::new();
        let of = async |table: Table| {
            let elsewhere = shop.lake(&[], false).await;
            let snapshot = elsewhere.lake.snapshot(table).await.unwrap();
            let schema = snapshot.schema();
            let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            snapshot.read(&columns, |_| true).try_collect().await.unwrap()
        };
        let rows = LiveRows {
            positions: vec![(0, 480)],
            partitions: 1,
            events: of(Table::Events).await,
            sessions: of(Table::Sessions).await,
        };
        let world = World::empty().await;
        let sources = LiveSources { own: None, others: vec![Arc::new(Tail(rows))] };
        let engine = Engine::with_live(usual(), world.lake.clone(), sources).unwrap();
        let allowed = shop.lake(&BOTH, false).await;
        let truth = allowed.engine(QuerySettings::default());
        for (live, table) in [
            ("events_live", "events"),
            ("person_events_live", "events"),
            ("session_history_live", "session_history"),
            ("sessions_live", "sessions"),
            ("person_sessions_live", "sessions"),
        ] {
            let wanted = asked(&truth, truth.owner(), &format!("SELECT count(*) AS n FROM {table}")).await;
            let wanted = super::rows(&wanted)[0]["n"].as_i64().unwrap();
            assert!(0 < wanted, "{table}");
            assert_eq!(number(&engine, ADS, &format!("SELECT count(*) FROM {live}")).await, wanted, "{live}");
            let all = text(&asked(&engine, engine.asker(ADS).unwrap(), &format!("SELECT * FROM {live}")).await);
            assert!(!all.contains("secret") && !all.contains("hidden") && all.contains("p_"), "{live}: {all}");
        }
    }
}

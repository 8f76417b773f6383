//! The limits: time, rows, memory, turns, depth.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use tributary_query::{Advice, Engine, QueryError, QuerySettings};
use tributary_schemas::{Event, EventKind};

use crate::world;

/// Two billion pairs, and none of them an answer: minutes of work inside one join.
const SILENT: &str = "SELECT count(*) FROM events a, events b, generate_series(1, 8000) AS c(v)
    WHERE a.event_time_us + b.event_time_us < c.v";

/// As many, each of them an answer.
const LOUD: &str =
    "SELECT sum(a.log_offset + b.log_offset + c.v) FROM events a, events b, generate_series(1, 8000) AS c(v)";

/// The same behind a hash table: each row meets all others of its source.
const HASHED: &str = "SELECT count(*) FROM (SELECT source, log_offset FROM events, generate_series(1, 300)) a
    JOIN (SELECT source, log_offset FROM events, generate_series(1, 300)) b
    ON a.source = b.source AND a.log_offset + b.log_offset < 0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_over_its_time_is_stopped_and_leaves_nothing_running() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { time_ms_max: 500, ..QuerySettings::default() });
    for heavy in [SILENT, LOUD, HASHED] {
        let error = engine.query(heavy).await.unwrap_err();
        assert!(matches!(error, QueryError::TimedOut { time_ms_max: 500 }), "{error}");
        assert_eq!(error.advice(), Advice::AskLess);
        nothing_runs(&engine, heavy).await;
    }
    // The engine goes on.
    assert_eq!(engine.query("SELECT 1").await.unwrap().row_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_dropped_stops_the_work() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    let mut stream = engine.query_stream(SILENT).await.unwrap();
    let first = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
    assert!(first.is_err(), "it cannot be ready yet");
    drop(stream);
    nothing_runs(&engine, SILENT).await;
}

/// Waits until the engine has no task left.
async fn nothing_runs(engine: &Engine, question: &str) {
    let began = Instant::now();
    while 0 < engine.task_count() {
        let is_soon = began.elapsed() < Duration::from_secs(15);
        assert!(is_soon, "{} tasks run on: {question}", engine.task_count());
        tokio::task::yield_now().await;
    }
}

/// With one thread for everything, as this test has, the asker never gives it away here: were the answer computed
/// on it, it would never come.
#[tokio::test]
async fn an_answer_is_computed_on_other_threads_than_the_askers() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    let mut stream = engine.query_stream("SELECT count(*) FROM events a, events b").await.unwrap();
    let began = Instant::now();
    while 0 < engine.task_count() {
        assert!(began.elapsed() < Duration::from_secs(15), "it waits for the asker's thread");
        std::thread::yield_now();
    }
    assert_eq!(stream.next().await.unwrap().unwrap().num_rows(), 1);
    // An engine may be dropped on a thread of another runtime, and its last answer after it.
    drop(engine);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_person_met_too_often_is_refused_by_memory_and_told_so() {
    let world = world::World::empty().await;
    let at = |second: i64| world::MARCH_US + second * 1_000_000;
    // A robot with a campaign of its own each second, then as many conversions; and who loads one page again and again.
    let mut events = Vec::new();
    for second in 0..2_000 {
        let touch = world::event(&format!("t{second}"), "robot", EventKind::Page, at(second));
        events.push(Event { channel: Some("email".into()), campaign_id: Some(format!("c{second}")), ..touch });
        events.push(world::event(&format!("c{second}"), "robot", EventKind::Conversion, at(2_000 + second)));
        let again = world::event(&format!("r{second}"), "reload", EventKind::Page, at(second));
        events.push(Event { channel: Some("email".into()), campaign_id: Some("c".into()), ..again });
        events.push(world::event(&format!("b{second}"), "reload", EventKind::Conversion, at(2_000 + second)));
    }
    world.plant(0, &events).await;
    let engine = world.engine(QuerySettings { memory_bytes_max: 64 << 20, ..QuerySettings::default() });
    // Each touch of each conversion would be a row.
    let error = engine.query("SELECT count(*) FROM touchpoints()").await.unwrap_err();
    assert!(matches!(error, QueryError::OutOfMemory { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::AskLess);
    assert!(error.to_string().contains("one person having up to 4000000"), "{error}");
    // Credit is summed path by path; and a page loaded two thousand times is one touch.
    for model in ["last_touch", "linear"] {
        let answer = engine.query(&format!("SELECT * FROM attribution(model => '{model}')")).await.unwrap();
        assert_eq!(answer.row_count(), 1);
    }
    let rows = "SELECT count(*) FROM touchpoints(filter => person_id <> 'shop:robot')";
    assert_eq!(engine.query(rows).await.unwrap().row_count(), 1);
}

#[tokio::test]
async fn an_answer_is_cut_at_rows_max_and_says_so() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { rows_max: 10, ..QuerySettings::default() });
    let answer = engine.query("SELECT event_id FROM events").await.unwrap();
    assert_eq!((answer.row_count(), answer.truncated), (10, true));
    let answer = engine.query("SELECT event_id FROM events LIMIT 10").await.unwrap();
    assert_eq!((answer.row_count(), answer.truncated), (10, false));
    // A stream has no such limit.
    let stream = engine.query_stream("SELECT event_id FROM events").await.unwrap();
    let rows: usize = stream.map(|batch| batch.unwrap().num_rows()).collect::<Vec<_>>().await.iter().sum();
    assert_eq!(rows, 494);
}

#[tokio::test]
async fn an_answer_too_large_is_cut_too() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { answer_bytes_max: 1_000_000, ..QuerySettings::default() });
    let answer = engine
        .query("SELECT rpad(event_id, 1000) AS a, rpad(event_id, 999) AS b, rpad(event_id, 998) AS c FROM events")
        .await
        .unwrap();
    assert!(answer.truncated);
}

#[tokio::test]
async fn memory_that_runs_out_names_the_setting() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { memory_bytes_max: 16 << 20, threads: 1, ..QuerySettings::default() });
    let sql = "SELECT array_agg(rpad(a.event_id, 1000)) FROM events a, events b";
    let error = engine.query(sql).await.unwrap_err();
    assert!(matches!(error, QueryError::OutOfMemory { .. }), "{error:?}");
    assert!(error.to_string().contains("query.memory_bytes_max"), "{error}");
}

#[tokio::test]
async fn a_question_waits_for_its_turn_and_is_told_when_none_comes() {
    let world = world::planted().await;
    let settings = QuerySettings { queries_max: 1, time_ms_max: 200, ..QuerySettings::default() };
    let engine = Arc::new(world.engine(settings));
    let open = engine.query_stream("SELECT event_id FROM events").await.unwrap();
    let error = engine.query("SELECT 1").await.unwrap_err();
    assert!(matches!(error, QueryError::Busy { queries_max: 1, .. }), "{error}");
    drop(open);
    assert_eq!(engine.query("SELECT 1").await.unwrap().row_count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_too_deep_for_the_stack_are_refused_and_others_are_answered() {
    let world = world::planted().await;
    let engine = Arc::new(world.engine(QuerySettings::default()));
    let chain = |count: usize, part: &str, link: &str| vec![part; count].join(link);
    let joins = (0..300).map(|i| format!("JOIN (VALUES (1)) AS t{i}(c) ON true")).collect::<Vec<_>>().join(" ");
    let withs = (1..300).map(|i| format!("c{i} AS (SELECT x FROM c{})", i - 1)).collect::<Vec<_>>().join(", ");
    let text_step = chain(700, "flags = 1", " OR ").replace('\'', "''");
    let too_much = [
        format!("SELECT count(*) FROM events WHERE {}", chain(900, "flags = 7", " AND ")),
        format!("SELECT {}", chain(30_000, "1", "+")),
        format!("SELECT {}", chain(300, "'a'", "||")),
        format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("SELECT {} true", "NOT ".repeat(900)),
        format!("SELECT {}1", "- ".repeat(900)),
        chain(900, "SELECT 1", " UNION ALL "),
        format!("SELECT 1 FROM (VALUES (1)) AS t {joins}"),
        format!("SELECT 1 FROM {}", chain(300, "(VALUES (1))", ", ")),
        format!("WITH c0 AS (SELECT 1 AS x), {withs} SELECT * FROM c299"),
        format!("SELECT properties{} FROM events", "->'a'".repeat(40)),
        format!("SELECT * FROM funnel(steps => ['{text_step}'])"),
    ];
    for sql in too_much {
        let begin: String = sql.chars().take(60).collect();
        let error = answered(&engine, sql).await.expect_err(&begin);
        assert_eq!(error.advice(), Advice::FixInput, "{begin}: {error}");
    }
    let values: Vec<String> = (0..64).map(|i| format!("(VALUES (1)) AS t{i}")).collect();
    let much = [
        format!("SELECT count(*) FROM events WHERE {}", chain(74, "flags = 7", " AND ")),
        format!("SELECT {}", chain(149, "1", "+")),
        chain(64, "SELECT 1", " UNION ALL "),
        format!("SELECT count(*) FROM events WHERE flags IN ({})", chain(10_000, "7", ",")),
        format!("SELECT 1 FROM {}", values.join(", ")),
        format!("SELECT properties{} FROM events", "->'a'".repeat(12)),
    ];
    for sql in much {
        let begin: String = sql.chars().take(60).collect();
        answered(&engine, sql).await.unwrap_or_else(|error| panic!("{begin}: {error}"));
    }
}

/// On a worker thread, whose stack is the small one.
async fn answered(engine: &Arc<Engine>, sql: String) -> Result<usize, QueryError> {
    let engine = Arc::clone(engine);
    tokio::spawn(async move { engine.query(&sql).await.map(|answer| answer.row_count()) }).await.unwrap()
}

#[tokio::test]
async fn versions_are_those_of_the_newest_commits() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    let before = engine.query("SELECT 1").await.unwrap().versions;
    world.plant(1_000, &[world::event("new", "n1", EventKind::Page, world::MARCH_US)]).await;
    let answer = engine.query("SELECT event_id FROM events WHERE event_id = 'new'").await.unwrap();
    assert_eq!(answer.row_count(), 1);
    let moved: Vec<_> = answer.versions.iter().zip(&before).map(|(now, then)| now.1 - then.1).collect();
    assert_eq!(moved, [1, 0, 0, 0]);
}

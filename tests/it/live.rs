//! Freshness: what was acknowledged is in the live tables at once, however seldom commits come.
//!
//! In:      a server that commits every 30 seconds, and one that only answers questions.
//! Out:     `events_live` and `sessions_live` have an event within a second of its answer; `events` has not.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{Home, QUERY_TOKEN, Server, WRITE_KEY};

const FRESH_MAX: Duration = Duration::from_secs(1);
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

fn seldom() -> Home {
    Home::embedded().with("pipeline.commit_interval_ms", "30000")
}

async fn post(server: &Server<'_>, number: i64) {
    let event = json!({"event": "Order Completed", "anonymousId": "d1", "messageId": format!("m{number}")});
    let (status, answer) = server.post("/v1/track", WRITE_KEY, event.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

/// Asks over and over until the question has this answer; how long that took.
async fn until(server: &Server<'_>, query: &str, expected: i64) -> Duration {
    let begun = Instant::now();
    loop {
        let found = server.number(query).await;
        if found == expected {
            return begun.elapsed();
        }
        assert!(found < expected, "{query}: {found}, more than {expected}");
        assert!(begun.elapsed() < PATIENCE, "{query}: {found} of {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_event_is_in_the_live_tables_within_a_second() {
    let home = seldom();
    let server = home.start().await;
    // The first question of a process is the slowest: footers, code, the catalog.
    until(&server, "SELECT count(*) FROM events_live", 0).await;
    let mut quickest = Duration::MAX;
    for number in 1..=5 {
        post(&server, number).await;
        let took = until(&server, "SELECT count(*) FROM events_live", number).await;
        quickest = quickest.min(took);
        assert_eq!(server.number("SELECT count(*) FROM events").await, 0, "no commit came yet");
    }
    // A machine full of other tests may take longer for one of them, not for each.
    assert!(quickest < FRESH_MAX, "{quickest:?} at best");
    let session = server.sql("SELECT session_key, event_count, conversion_count FROM sessions_live").await;
    assert_eq!(session.len(), 1);
    assert_eq!((&session[0]["session_key"], &session[0]["event_count"]), (&json!("d1"), &json!(5)));
    let person = server.sql("SELECT DISTINCT person_id FROM person_events_live").await;
    assert_eq!(person[0]["person_id"], "shop:d1");
    assert_eq!(server.stop().await.code(), Some(0), "{}", home.told());

    // Committed and live are one table after a start, too.
    let server = home.start().await;
    post(&server, 6).await;
    until(&server, "SELECT count(*) FROM events_live", 6).await;
    assert_eq!(server.number("SELECT count(DISTINCT (log_partition, log_offset)) FROM events_live").await, 6);
    assert_eq!(server.number("SELECT count(*) FROM events").await, 5);
    assert_eq!(server.number("SELECT event_count FROM sessions_live").await, 6);
}

/// A process that only answers questions, on the lake of another.
pub(crate) struct Questions {
    client: reqwest::Client,
    url: String,
}

impl Questions {
    pub(crate) async fn of(home: &Home) -> Self {
        let begun = Instant::now();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        loop {
            let told = home.told();
            let address = told.lines().find_map(|line| line.strip_prefix("listening on "));
            if let Some(address) = address
                && client.get(format!("{address}/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
            {
                return Self { client, url: format!("{address}/v1/sql") };
            }
            assert!(begun.elapsed() < PATIENCE, "it does not start:\n{told}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn ask(&self, sql: &str) -> (u16, Value) {
        let body = json!({"sql": sql}).to_string();
        let request = self.client.post(&self.url).bearer_auth(QUERY_TOKEN).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_stream_job_asks_the_one_that_has_it() {
    let home = seldom();
    let server = home.start().await;
    post(&server, 1).await;
    until(&server, "SELECT count(*) FROM events_live", 1).await;

    let other = Home::with_data_of(&home).with("serve.roles", "query").with("query.live_urls", &server.url(""));
    let _process = other.spawn();
    let questions = Questions::of(&other).await;
    let (status, answer) = questions.ask("SELECT count(*) AS n FROM events_live").await;
    assert_eq!((status, &answer["rows"][0]["n"]), (200, &json!(1)), "{answer}");
    let read: u64 = answer["live_positions"].as_array().unwrap().iter().map(|at| at[1].as_u64().unwrap()).sum();
    assert_eq!(read, 1, "{answer}");
    // In a format that has no room for it, a header says the same.
    let request = questions.client.post(format!("{}?format=csv", questions.url)).bearer_auth(QUERY_TOKEN);
    let csv = request.body("SELECT count(*) AS n FROM events_live").send().await.unwrap();
    let positions: Value = serde_json::from_slice(csv.headers()["x-tributary-live-positions"].as_bytes()).unwrap();
    assert_eq!(positions, answer["live_positions"]);
    let (_, answer) = questions.ask("SELECT event_count AS n FROM sessions_live").await;
    assert_eq!(answer["rows"][0]["n"], 1, "{answer}");
    let (_, answer) = questions.ask("SELECT count(*) AS n FROM events").await;
    assert_eq!(answer["rows"][0]["n"], 0, "{answer}");

    // Whoever has no token learns nothing.
    let unknown = questions.client.post(server.url("/v1/live/tail")).body("{}").send().await.unwrap();
    assert_eq!(unknown.status().as_u16(), 401);

    let lonely = Home::with_data_of(&home).with("serve.roles", "query");
    let _process = lonely.spawn();
    let questions = Questions::of(&lonely).await;
    let (status, answer) = questions.ask("SELECT count(*) AS n FROM events_live").await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("query.live_urls"), "{answer}");
    let (status, answer) = questions.ask("SELECT 'events_live' AS word, count(*) AS n FROM events").await;
    assert_eq!(status, 200, "a question that only says the word is answered: {answer}");
}

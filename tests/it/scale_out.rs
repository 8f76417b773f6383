//! A head and its workers as processes of their own.

use std::time::Instant;

use serde_json::{Value, json};

use crate::live::{PATIENCE, Questions};
use crate::server::{Home, Server, WRITE_KEY};

const TOKEN: &str = "it-worker-token-0123456789";

/// The address a process says it has for `scheme`.
async fn said(home: &Home, scheme: &str) -> String {
    let begun = Instant::now();
    loop {
        let told = home.told();
        let line = format!("listening on {scheme}://");
        if let Some(address) = told.lines().find_map(|told| told.strip_prefix(&line)) {
            return address.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE, "it does not say where:\n{told}");
        tokio::task::yield_now().await;
    }
}

async fn post(server: &Server<'_>, day: u32) {
    let event = |number: u32| {
        json!({
            "type": "track", "event": if number.is_multiple_of(3) { "Order Completed" } else { "Page Viewed" },
            "anonymousId": format!("d{}", number % 7), "messageId": format!("m{day}-{number}"),
            "timestamp": format!("2026-03-{day:02}T10:{:02}:00Z", number % 60),
        })
    };
    let batch = json!({"batch": (0..50).map(event).collect::<Vec<_>>()});
    let (status, answer) = server.post("/v1/batch", WRITE_KEY, batch.to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_help_a_head_and_are_missed_when_they_die() {
    let home = Home::embedded();
    let server = home.start().await;
    for day in 1..=6 {
        post(&server, day).await;
        server.wait_until_queryable("SELECT count(*) FROM events", i64::from(day) * 50).await;
    }
    let helper = || {
        Home::with_data_of(&home)
            .with("serve.roles", "worker")
            .with("worker.listen", "127.0.0.1:0")
            .with("worker.token", TOKEN)
    };
    let homes = [helper(), helper(), helper()];
    let mut workers = Vec::new();
    let mut urls = Vec::new();
    for home in &homes {
        workers.push(home.spawn_beside());
        urls.push(format!("http://{}", said(home, "worker").await));
    }
    let head = Home::with_data_of(&home)
        .with("serve.roles", "query")
        .with("query.threads", "2")
        .with("query.workers", &urls.join(","))
        .with("query.worker_scan_bytes_min", "1")
        .with("worker.token", TOKEN);
    let _process = head.spawn_beside();
    let questions = Questions::of(&head).await;

    let question =
        "SELECT event_name, count(DISTINCT person_id) AS n FROM person_events GROUP BY event_name ORDER BY 1";
    let alone = Value::Array(server.sql(question).await.into_iter().map(Value::Object).collect());
    let (status, answer) = questions.ask(question).await;
    assert_eq!((status, &answer["rows"]), (200, &alone), "{answer}");
    let by = &answer["facts"]["workers"];
    assert_eq!(
        (&by["count"], &by["counted"], &by["asked_again"]),
        (&json!(3), &json!(true), &json!(false)),
        "{answer}"
    );
    assert!(answer["facts"]["rows_read"].as_u64() >= Some(300), "{answer}");

    workers.remove(1).kill_9().await;
    let (status, answer) = questions.ask(question).await;
    assert_eq!((status, &answer["rows"]), (200, &alone), "{answer}");
    assert_eq!(answer["facts"]["workers"]["count"], 2, "{answer}");

    for worker in workers.drain(..) {
        worker.kill_9().await;
    }
    let (status, answer) = questions.ask(question).await;
    assert_eq!(status, 503, "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("none of the 3 workers"), "{error}");
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn neither_side_starts_without_a_token() {
    for (roles, knob, value) in [
        ("worker", "worker.listen", "127.0.0.1:0"),
        ("query", "query.workers", "http://127.0.0.1:1,http://127.0.0.1:2"),
    ] {
        let home = Home::embedded().with("serve.roles", roles).with(knob, value);
        let (status, told) = home.start_in_vain("127.0.0.1:0").await;
        assert_eq!(status.code(), Some(2), "{told}");
        assert!(told.contains("worker.token") && told.contains("at least 16"), "{told}");
    }
}

//! Watching what comes in, and asking what became of one event.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::server::{Home, QUERY_TOKEN, Server, WRITE_KEY};

async fn send(server: &Server<'_>, events: &Value) -> Value {
    let url = format!("http://{}/v1/events?writeKey={WRITE_KEY}", server.address());
    let answer = reqwest::Client::new().post(url).body(events.to_string()).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn tail_shows_what_comes_in_and_lets_pass_what_was_asked_for() {
    let home = Home::embedded();
    let server = home.start().await;
    let watch = |more: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(["tail", "--json", "--url", &format!("http://{}", server.address()), "--token", QUERY_TOKEN]);
        command.args(more).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().unwrap()
    };
    let mut orders = watch(&["--kind", "conversion", "--count", "2"]);
    let mut dead = watch(&["--dead", "--count", "1"]);
    // A watcher sees what comes from its first moment on: send until both have seen enough.
    let (mut order_lines, mut dead_lines) =
        (BufReader::new(orders.stdout.take().unwrap()).lines(), BufReader::new(dead.stdout.take().unwrap()).lines());
    let sending = async {
        for index in 0.. {
            let events = json!([
                {"event_id": format!("p{index}"), "name": "page", "anonymous_id": "a"},
                {"event_id": format!("o{index}"), "name": "Order Completed", "anonymous_id": "a", "value": "19.99", "currency": "EUR"},
                {"event_id": format!("b{index}"), "anonymous_id": "a"},
            ]);
            send(&server, &events).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let reading = async {
        let first: Value = serde_json::from_str(&order_lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(
            (&first["event_name"], &first["value"]),
            (&json!("Order Completed"), &json!("19.990000")),
            "{first}"
        );
        let second: Value = serde_json::from_str(&order_lines.next_line().await.unwrap().unwrap()).unwrap();
        assert_eq!(second["event_kind"], "conversion");
        let letter: Value = serde_json::from_str(&dead_lines.next_line().await.unwrap().unwrap()).unwrap();
        assert!(letter["detail"].as_str().unwrap().starts_with("name: expected"), "{letter}");
        assert!(orders.wait().await.unwrap().success() && dead.wait().await.unwrap().success());
    };
    let watched = async {
        tokio::select! {
            () = sending => unreachable!("it sends until somebody has seen enough"),
            () = reading => {}
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), watched).await.unwrap();
    // Nobody watches without a token.
    let url = format!("http://{}/v1/tail", server.address());
    let client = reqwest::Client::new();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    assert_eq!(client.get(&url).bearer_auth(WRITE_KEY).send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_receipt_says_where_an_event_is_and_what_became_of_it() {
    let home = Home::embedded();
    let server = home.start().await;
    let client = reqwest::Client::new();
    let ask = async |id: &str| {
        let url = format!("http://{}/v1/receipts/{id}", server.address());
        let answer = client.get(url).bearer_auth(QUERY_TOKEN).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap())
    };
    let before = ask("o'1").await;
    assert_eq!((before.0, &before.1["found"]), (404, &json!(false)));
    let events = json!([
        {"event_id": "o'1", "name": "Order Completed", "anonymous_id": "a", "value": 5, "currency": "EUR"},
        {"event_id": "bad", "anonymous_id": "a"},
    ]);
    send(&server, &events).await;
    // The second copy of it is a duplicate, and says so.
    send(&server, &json!([events[0]])).await;
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    let receipt = loop {
        let (status, receipt) = ask("o'1").await;
        let is_whole = |receipt: &Value| {
            let event = &receipt["events"][0];
            event["committed"] == true && receipt["dead_letters"][0]["reason"] == "duplicate"
        };
        if status == 200 && !receipt["sessions"].as_array().unwrap().is_empty() && is_whole(&receipt) {
            break receipt;
        }
        assert!(tokio::time::Instant::now() < deadline, "{receipt}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let event = &receipt["events"][0];
    assert_eq!((&event["event_name"], &event["event_kind"]), (&json!("Order Completed"), &json!("conversion")));
    assert_eq!(receipt["events"].as_array().unwrap().len(), 1, "{receipt}");
    assert!(event["log_partition"].is_number() && event["log_offset"].is_number(), "{receipt}");
    assert!(receipt["sessions"][0]["session_id"].is_string());
    let (_, bad) = loop {
        let found = ask("bad").await;
        if found.0 == 200 {
            break found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{}", found.1);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(bad["dead_letters"][0]["reason"], "invalid_field");
    let url = format!("http://{}/v1/receipts/bad", server.address());
    assert_eq!(client.get(url).send().await.unwrap().status(), 401, "rows are about people");
}

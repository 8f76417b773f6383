//! 200 means durable, and anything less is said.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use tokio::sync::Semaphore;
use tributary_eventlog::LogError;
use tributary_ingest::ticket::{self, Ticket};

use crate::house::{House, SECRET, assert_columns, settings};
use crate::recorder::Mood;

const EVENT: &str = r#"{"event":"E","userId":"u","messageId":"m"}"#;

#[tokio::test]
async fn no_answer_leaves_before_every_record_is_durable() {
    let house = Arc::new(House::new());
    let gate = Arc::new(Semaphore::new(0));
    house.log.set(Mood::Gated(gate.clone()));
    let asking = tokio::spawn({
        let house = house.clone();
        // One event and one dead letter: two appends, two topics.
        let body = json!({"batch": [{"type": "track", "event": "E", "userId": "u"}, {"type": "nonsense"}]}).to_string();
        async move { house.post("/v1/batch", body).await }
    });
    house.log.begun.acquire().await.unwrap().forget();
    let settle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    // A letter that went in beside a refused event would go in again with each retry.
    assert_eq!(house.log.begun.available_permits(), 0, "the dead letter waits until the event stands");
    gate.add_permits(1);
    house.log.begun.acquire().await.unwrap().forget();
    settle().await;
    assert!(!asking.is_finished(), "the dead letter is not durable yet");
    gate.add_permits(1);
    let answer = asking.await.unwrap();
    assert_eq!(answer.json(), json!({"success": true, "accepted": 1, "dead_lettered": 1}));
}

#[tokio::test]
async fn a_log_that_is_away_means_come_again() {
    for error in [
        LogError::Busy,
        LogError::Retriable("broker down".into()),
        LogError::Unknown,
        LogError::DiskFull { dir: PathBuf::from("secret-place") },
        LogError::Closed,
        LogError::Fatal("x".into()),
    ] {
        let house = House::new();
        house.log.set(Mood::Refusing(error));
        let answer = house.post("/v1/track", EVENT).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(answer.json()["advice"].as_str().unwrap().contains("same ids"));
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret-place"));
        // What cannot even be kept as a dead letter is not refused for good.
        assert_eq!(house.post("/v1/track", "garbage").await.status, StatusCode::SERVICE_UNAVAILABLE);
        house.log.set(Mood::Taking);
        assert_eq!(house.post("/v1/track", EVENT).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_dead_letter_that_is_not_durable_holds_the_answer_back() {
    let house = House::new();
    house.log.set(Mood::NoDeadLetters);
    let body = json!({"batch": [{"type": "track", "event": "E", "userId": "u"}, {"type": "nonsense"}]}).to_string();
    assert_eq!(house.post("/v1/batch", body).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_log_that_hangs_is_waited_for_only_so_long() {
    let mut settings = settings();
    settings.append_time_ms_max = 20;
    let house = House::with(settings);
    house.log.set(Mood::Gated(Arc::new(Semaphore::new(0))));
    let answer = house.post("/v1/track", EVENT).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.json()["error"].as_str().unwrap().contains("did not confirm within 20 ms"));
}

#[tokio::test]
async fn an_event_too_large_for_the_log_becomes_a_dead_letter() {
    let house = House::new();
    house.log.set(Mood::Narrow(3_000));
    let body = json!({"batch": [
        {"type": "track", "event": "small", "userId": "u", "messageId": "1"},
        {"type": "track", "event": "large", "userId": "u", "messageId": "2", "properties": {"x": "x".repeat(5_000)}},
    ]});
    let answer = house.post("/v1/batch", body.to_string()).await;
    assert_eq!(answer.json(), json!({"success": true, "accepted": 1, "dead_lettered": 1}));
    let letter = &house.dead_letters()[0];
    assert_eq!(letter["reason"], "too_large");
    assert_eq!(letter["event_id"], "2");
    assert_eq!(letter["payload"].as_str().unwrap().len(), 1_024);
    assert_eq!(letter["payload_bytes"], 5_008);
    assert_eq!(house.events().len(), 1);
    // Not even a letter fits: the sender keeps it.
    house.log.set(Mood::Narrow(10));
    assert_eq!(house.post("/v1/track", EVENT).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn readiness_follows_the_log_and_the_stop() {
    let house = House::new();
    assert_eq!(house.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(house.get("/readyz").await.json(), json!({"ready": true}));
    house.log.set(Mood::Refusing(LogError::Retriable("broker down".into())));
    let answer = house.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.json()["reason"].as_str().unwrap().contains("broker down"));
    assert_eq!(house.get("/healthz").await.status, StatusCode::OK);
    house.log.set(Mood::Taking);
    house.stop.cancel();
    assert_eq!(house.get("/readyz").await.json(), json!({"ready": false, "reason": "shutting down"}));
    // Who still comes is still served.
    assert_eq!(house.post("/v1/track", EVENT).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_pixel_answers_while_the_log_hangs_and_its_event_arrives_later() {
    let house = House::new();
    let gate = Arc::new(Semaphore::new(0));
    house.log.set(Mood::Gated(gate.clone()));
    let begin = tokio::time::Instant::now();
    let answer = house.get("/p.gif?writeKey=WK&event=Seen&anonymousId=a").await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 43));
    assert!(begin.elapsed() < Duration::from_secs(5), "far below the append's own limit");
    assert!(house.events().is_empty());
    gate.add_permits(1);
    house.tasks.close();
    house.tasks.wait().await;
    assert_eq!(house.events()[0]["event_name"], "Seen");
}

#[tokio::test]
async fn a_link_leads_on_while_the_log_hangs_and_its_click_arrives_later() {
    let mut settings = settings();
    settings.redirect_wait_ms_max = 20;
    let house = House::with(settings);
    let gate = Arc::new(Semaphore::new(0));
    house.log.set(Mood::Gated(gate.clone()));
    let target = "https://shop.example/sale?utm_source=news";
    let ticket = Ticket { user_id: Some("ada".to_owned()), ..Ticket::click("mailer", target) };
    let link = format!("/r/{}", ticket::sign(&ticket, SECRET).unwrap());
    let begin = tokio::time::Instant::now();
    let answer = house.get(&link).await;
    let waited = begin.elapsed();
    assert_eq!((answer.status, answer.headers["location"].to_str().unwrap()), (StatusCode::FOUND, target));
    assert!(waited < Duration::from_secs(2), "{waited:?}, far below the append's own limit");
    assert!(house.events().is_empty());
    gate.add_permits(1);
    house.tasks.close();
    house.tasks.wait().await;
    let click = json!({"event_name": "Email Link Clicked", "source": "mailer", "user_id": "ada", "url_path": "/sale"});
    assert_columns(&house.events()[0], click);
}

#[tokio::test]
async fn the_door_serves_a_real_socket() {
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let house = House::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = house.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    let stop = house.stop.clone();
    let serving = tokio::spawn(async move {
        axum::serve(listener, service).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = EVENT.len();
    let head = format!(
        "POST /v1/track?writeKey=WK HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(EVENT.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(house.events()[0]["ip_truncated"], "127.0.0.0/24");
    house.stop.cancel();
    serving.await.unwrap();
}

#[tokio::test]
async fn an_answer_says_where_what_it_took_is() {
    let house = House::new();
    assert_eq!(house.post("/v1/track", EVENT).await.headers["x-ingest-durability"], "log");
    house.log.spool(0.0);
    assert_eq!(house.post("/v1/track", EVENT).await.headers["x-ingest-durability"], "spool");
    let body = json!({"batch": [{"type": "nonsense"}]}).to_string();
    assert_eq!(house.post("/v1/batch", body).await.headers["x-ingest-durability"], "spool", "a dead letter waits too");
}

#[tokio::test]
async fn a_spool_that_fills_up_turns_the_least_important_away_first() {
    let house = House::new();
    let page = json!({"type": "page", "userId": "u"});
    let click = json!({"type": "track", "event": "Email Link Clicked", "userId": "u"});
    let order = json!({"type": "track", "event": "Order Completed", "userId": "u"});
    let mixed = json!({"batch": [page, order]});
    for (fill, taken) in [(0.79, [true; 4]), (0.8, [false, true, true, true]), (0.95, [false, false, true, true])] {
        house.log.spool(fill);
        let bodies = [json!({"batch": [page]}), json!({"batch": [click]}), json!({"batch": [order]}), mixed.clone()];
        for (body, taken) in bodies.into_iter().zip(taken) {
            let answer = house.post("/v1/batch", body.to_string()).await;
            let status = if taken { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            assert_eq!(answer.status, status, "at {fill}: {body}");
            assert_eq!(answer.headers.contains_key("retry-after"), !taken);
        }
    }
}

//! Connections: silent ones, unfinished ones, and those of a balancer while the server stops.
//!
//! In:      bytes on sockets, as no HTTP client would send them.
//! Out:     who is served, who is closed, and when.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::{Home, WRITE_KEY};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn read_to_the_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // A connection that is cut off may end with a reset.
    drop(read.expect("the server closes it"));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn silent_connections_keep_nobody_out_for_long() {
    let idle = Duration::from_millis(2_000);
    let home = Home::embedded().with("serve.connections_max", "8").with("serve.idle_ms_max", "2000");
    let server = home.start().await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        stream.write_all(b"GET /healthz HT").await.unwrap();
        silent.push(stream);
    }
    let mut honest = TcpStream::connect(server.address()).await.unwrap();
    honest.write_all(b"GET /healthz HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = read_to_the_end(&mut honest).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // All places were taken, so it was served only after one of the silent ones had been closed.
    assert!(begun.elapsed() >= idle.mul_f32(0.9), "served after {:?}: there is no bound", begun.elapsed());
    for mut stream in silent {
        let answer = read_to_the_end(&mut stream).await;
        assert!(!answer.contains(" 200 "), "{answer}");
    }
}

#[tokio::test]
async fn a_head_is_bounded_and_an_answer_is_what_its_type_says() {
    let home = Home::embedded();
    let server = home.start().await;
    for (path, status) in [
        ("/p.gif", "431"),
        ("/v1/events", "431"),
        ("/metrics", "200"),
        ("/status", "200"),
        ("/no", "404"),
        ("/healthz", "200"),
    ] {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        // hyper by itself would take the longest of these.
        let filler = "x".repeat(match (status, path) {
            ("431", _) => 300 << 10,
            (_, "/healthz") => 40 << 10,
            _ => 0,
        });
        let method = if path == "/v1/events" { "POST" } else { "GET" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: it\r\nConnection: close\r\nX-Filler: {filler}\r\n\r\n");
        // It may be refused before it is written to its end.
        drop(stream.write_all(head.as_bytes()).await);
        let answer = read_to_the_end(&mut stream).await;
        // Whoever is still writing when the connection ends may not come to read why.
        let is_cut = status == "431" && answer.is_empty();
        assert!(is_cut || answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(status == "431" || answer.contains("x-content-type-options: nosniff"), "{path}: {answer}");
    }
}

/// Of a whole server: what it puts around the door must not stand in the way.
#[tokio::test]
async fn a_browser_that_asks_first_is_let_in() {
    let home = Home::embedded();
    let server = home.start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let document: serde_json::Value =
        serde_json::from_slice(&client.get(server.url("/openapi.json")).send().await.unwrap().bytes().await.unwrap())
            .unwrap();
    let mut count = 0;
    for (path, calls) in document["paths"].as_object().unwrap() {
        // What browsers of other sites call: not what asks for a token, nor what only programs send.
        let is_of_house = [
            "/v1/sql",
            "/v1/query",
            "/v1/metrics",
            "/v1/tail",
            "/v1/receipts",
            "/v1/dead-letters",
            "/healthz",
            "/readyz",
            "/openapi",
        ];
        if is_of_house.iter().any(|house| path.starts_with(house)) {
            continue;
        }
        let method = if calls.get("post").is_some() { "POST" } else { "GET" };
        let path =
            path.replace("{key}", "k").replace("{file}", "config").replace("{ticket}", "t").replace("{call}", "track");
        let asked = client
            .request(reqwest::Method::OPTIONS, server.url(&path.replace("{source}", "s")))
            .header("origin", "https://shop.example")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "authorization,content-type,x-retry-count")
            .send()
            .await
            .unwrap();
        assert_eq!(asked.status().as_u16(), 200, "{path}");
        let says =
            |name: &str| asked.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(says("access-control-allow-origin"), "https://shop.example", "{path}");
        assert_eq!(says("access-control-allow-credentials"), "true", "{path}");
        assert!(says("access-control-allow-methods").contains(method), "{path}");
        assert_eq!(says("access-control-allow-headers"), "authorization,content-type,x-retry-count", "{path}");
        count += 1;
    }
    assert!(40 < count, "{count}");
    // Who asks in a way that is not answered hears so, and a page's script may read it.
    let refused = client.delete(server.url("/v1/track")).header("origin", "https://shop.example").send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 405);
    assert_eq!(refused.headers()["access-control-allow-origin"], "https://shop.example");
    assert!(refused.text().await.unwrap().contains("DELETE is not answered at /v1/track"));
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_by_a_stop_and_not_answered() {
    let home = Home::embedded().with("serve.drain_ms_max", "300");
    let server = home.start().await;
    let mut slow = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /v1/track HTTP/1.1\r\nHost: it\r\nX-Write-Key: {WRITE_KEY}\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut told = vec![0; 25];
    tokio::time::timeout(PATIENCE, slow.read_exact(&mut told)).await.expect("it asks for the body").unwrap();
    assert_eq!(told, b"HTTP/1.1 100 Continue\r\n\r\n");
    slow.write_all(b"{\"event\":").await.unwrap();
    server.ask_to_stop();
    let answer = read_to_the_end(&mut slow).await;
    assert!(!answer.contains("200"), "{answer}");
    let status = server.ended().await;
    assert_eq!(status.code(), Some(0), "{}", home.told());
    assert!(home.told().contains("cut off"), "{}", home.told());
}

#[tokio::test]
async fn a_balancer_hears_of_a_stop_while_requests_are_still_taken() {
    let home = Home::embedded().with("serve.unready_ms", "3000");
    let server = home.start().await;
    server.ask_to_stop();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(server.url("/readyz")).send().await;
        let status = answer.expect("the door is still open").status().as_u16();
        if status == 503 {
            break;
        }
        assert!(status == 200 && Instant::now() < deadline, "{status}");
    }
    let (status, answer) = server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"u1"}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(server.ended().await.code(), Some(0), "{}", home.told());
    let server = home.start().await;
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
}

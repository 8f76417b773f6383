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

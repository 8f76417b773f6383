//! A server that speaks TLS, and one whose traces are collected.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::server::{Home, WRITE_KEY};

/// Self-signed, for localhost and 127.0.0.1, a century long; two of them, so that one can take the other's place.
const FIRST: (&str, &str) = (include_str!("data/tls/first.pem"), include_str!("data/tls/first.key"));
const SECOND: (&str, &str) = (include_str!("data/tls/second.pem"), include_str!("data/tls/second.key"));

const PATIENCE: Duration = Duration::from_secs(60);

fn trusting(certificate: &str) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(certificate.as_bytes()).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().timeout(Duration::from_secs(10)).build().unwrap()
}

#[tokio::test]
async fn a_server_speaks_tls_takes_a_newer_certificate_and_is_found_by_its_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let put = |pair: (&str, &str)| {
        std::fs::write(&key, pair.1).unwrap();
        std::fs::write(&certificate, pair.0).unwrap();
    };
    put(FIRST);
    let home = Home::embedded()
        .with("serve.tls_certificate", certificate.to_str().unwrap())
        .with("serve.tls_key", key.to_str().unwrap());
    // A key that is another's is told before anything is served.
    std::fs::write(&key, SECOND.1).unwrap();
    let (status, told) = home.start_in_vain("127.0.0.1:0").await;
    assert_eq!(status.code(), Some(2));
    assert!(told.contains("serve.tls_certificate") && told.contains("do not fit"), "{told}");
    put(FIRST);

    let mut server = home.spawn();
    let first = trusting(FIRST.0);
    let url = tokio::time::timeout(PATIENCE, async {
        loop {
            assert!(server.runs(), "{}", home.told());
            let written = std::fs::read_to_string(home.data_dir().join("listen.addr")).unwrap_or_default();
            let url = written.trim().to_owned();
            if url.starts_with("https://") && first.get(format!("{url}/readyz")).send().await.is_ok() {
                return url;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    });
    let url = url.await.expect("it answers by TLS");
    let event = json!({"event_id": "tls", "name": "E", "user_id": "u"}).to_string();
    let answer =
        first.post(format!("{url}/v1/events")).basic_auth(WRITE_KEY, Some("")).body(event).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    // A page by TLS may send its events by TLS only.
    let told = first.get(format!("{url}/v1/projects/{WRITE_KEY}/settings")).send().await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.bytes().await.unwrap()).unwrap();
    assert_eq!(told["integrations"]["Segment.io"]["protocol"], "https", "{told}");
    assert!(trusting(SECOND.0).get(format!("{url}/readyz")).send().await.is_err(), "who does not trust it stays away");
    // In the clear there is no answer.
    let plain = url.replace("https", "http");
    assert!(first.get(format!("{plain}/readyz")).send().await.is_err());
    // Commands on the same machine find it by its data folder.
    let data = home.data_dir().to_str().unwrap().to_owned();
    let found = tokio::task::spawn_blocking({
        let mut command = home.tool(&[
            "sql",
            "--data",
            &data,
            "--format",
            "csv",
            "SELECT count(*) AS n FROM events_live WHERE event_id = 'tls'",
        ]);
        move || command.output().unwrap()
    });
    let found = found.await.unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "n\n1", "{}", String::from_utf8_lossy(&found.stderr));

    put(SECOND);
    let second = trusting(SECOND.0);
    let renewed = async {
        while second.get(format!("{url}/readyz")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, renewed).await.expect("the newer certificate is taken");
    assert!(server.stop().await.success());
}

/// A collector that keeps what is posted to it.
async fn collector() -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::<Mutex<Vec<u8>>>::default();
    let keep = kept.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move {
                let mut bytes = vec![0; 64 << 10];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    keep.lock().unwrap().extend_from_slice(&bytes[..count]);
                    // Whether a request is whole by now does not matter: each gets an answer in the end.
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
                }
            });
        }
    });
    (url, kept)
}

#[tokio::test]
async fn requests_appends_and_commits_are_traced_where_a_collector_is_named() {
    let (collector, kept) = collector().await;
    let home = Home::embedded().with("telemetry.otlp_endpoint", &collector);
    let server = home.start().await;
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
    // The trace of whoever sends goes on here.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let event = json!({"event_id": "traced", "name": "E", "user_id": "u"}).to_string();
    let request = client.post(server.url("/v1/events")).basic_auth(WRITE_KEY, Some("")).body(event);
    let answer = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_id = 'traced'", 1).await;
    assert!(server.stop().await.success(), "the last spans are sent on the way down");
    let kept = kept.lock().unwrap();
    let holds = |bytes: &[u8]| kept.windows(bytes.len()).any(|window| window == bytes);
    for name in ["POST /v1/traces", "POST /v1/events", "append", "commit", "http.route", "tributary"] {
        assert!(holds(name.as_bytes()), "{name}");
    }
    let trace: Vec<u8> =
        (0..16).map(|index| u8::from_str_radix(&trace[2 * index..2 * index + 2], 16).unwrap()).collect();
    assert!(holds(&trace), "the sender's trace");
}

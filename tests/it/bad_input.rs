//! Bad input and bad circumstances: each gets a clear word, and everybody else goes on.
//!
//! In:      broken requests, wrong keys, absurd clocks, junk ids; a data folder and a port in use; a full disk.
//! Out:     a status and a message that says what to do; dead letters with reasons; no accepted event lost.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::outside;
use crate::server::{Home, SOURCE, Server, TRUSTED_KEY, WRITE_KEY};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn page(id: &str) -> Value {
    json!({"type": "page", "messageId": id, "anonymousId": "device-1", "name": "Home"})
}

#[tokio::test]
async fn a_request_that_cannot_be_taken_is_refused_with_what_to_do() {
    let home = Home::embedded();
    let server = home.start().await;
    let good = json!({"batch": [page("good")]}).to_string();
    let packed = gzip(good.as_bytes());
    let bomb = gzip(&vec![b' '; 30 << 20]);
    let huge = vec![b'x'; 5 << 20];
    let cases: [(&str, &str, Vec<u8>, u16); 9] = [
        ("not JSON", WRITE_KEY, b"{\"batch\": [".to_vec(), 400),
        ("neither object nor list", WRITE_KEY, b"\"events\"".to_vec(), 400),
        ("a batch that is no list", WRITE_KEY, b"{\"batch\": 7}".to_vec(), 400),
        ("nothing at all", WRITE_KEY, Vec::new(), 400),
        ("gzip that breaks off", WRITE_KEY, packed[..packed.len() - 9].to_vec(), 400),
        ("a body over the limit", WRITE_KEY, huge, 413),
        ("a body that grows over the limit", WRITE_KEY, bomb, 413),
        ("an unknown write key", "no-such-key", good.clone().into_bytes(), 401),
        ("no write key", "", good.clone().into_bytes(), 401),
    ];
    for (what, key, body, expected) in cases {
        let (status, answer) = server.post("/v1/batch", key, body).await;
        assert_eq!(status, expected, "{what}: {answer}");
        for member in ["error", "advice"] {
            assert!(answer[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {member} in {answer}");
        }
    }
    // What came with a known key and could not be read as a whole is kept, for its sender throws it away.
    server.wait_until_queryable("SELECT count(*) FROM dead_letters WHERE reason = 'malformed'", 5).await;
    // The door still stands, also for gzip.
    assert_eq!(server.post("/v1/batch", WRITE_KEY, packed).await.0, 200);
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;

    for (path, expected) in [("/v1/batch", 405), ("/nowhere", 404), ("/r/forged.ticket", 404)] {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        let answer = client.get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "GET {path}");
        assert!(answer.headers().get("location").is_none(), "GET {path} leads nowhere");
    }
}

#[tokio::test]
async fn a_bad_event_is_kept_apart_with_its_reason_and_its_neighbours_are_taken() {
    let home = Home::embedded();
    let server = home.start().await;
    let large = "x".repeat(300 << 10);
    let bad = [
        ("invalid_field", json!(7)),
        ("invalid_field", json!({"type": "no such call", "messageId": "b2", "userId": "u"})),
        ("invalid_field", json!({"type": "track", "event": {"a": 1}, "messageId": "b3", "userId": "u"})),
        ("invalid_field", json!({"type": "track", "event": "x", "messageId": "b4", "userId": ["u"]})),
        ("invalid_field", json!({"type": "track", "event": "x", "messageId": "b5", "userId": "u".repeat(300)})),
        ("no_identity", json!({"type": "track", "event": "x", "userId": "undefined"})),
        (
            "too_large",
            json!({"type": "track", "event": "x", "messageId": "b7", "userId": "u", "properties": {"text": large}}),
        ),
    ];
    let mut batch = Vec::new();
    for (index, (_, event)) in bad.iter().enumerate() {
        batch.push(page(&format!("good-{index}")));
        batch.push(event.clone());
    }
    let (status, answer) = server.post("/v1/batch", WRITE_KEY, json!({"batch": batch}).to_string()).await;
    assert_eq!(status, 200, "{answer}");

    let bad_count = i64::try_from(bad.len()).unwrap();
    server.wait_until_queryable("SELECT count(*) FROM events", bad_count).await;
    server.wait_until_queryable("SELECT count(*) FROM dead_letters", bad_count).await;
    let rows = server
        .sql("SELECT source, dialect, event_id, reason, detail, payload, payload_bytes FROM dead_letters ORDER BY log_partition, log_offset")
        .await;
    let mut found: Vec<&str> = rows.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    let mut expected: Vec<&str> = bad.iter().map(|(reason, _)| *reason).collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{rows:#?}");
    for row in &rows {
        assert_eq!(row["source"], SOURCE);
        assert!(!row["detail"].as_str().unwrap().is_empty(), "{row:?}");
        assert!(row["payload_bytes"].as_i64().unwrap() > 0, "{row:?}");
    }
    let names_its_event = rows.iter().filter(|row| row.get("event_id").is_some_and(Value::is_string)).count();
    assert!(names_its_event >= 4, "{rows:#?}");
}

#[tokio::test]
async fn an_absurd_clock_moves_no_event_out_of_its_time() {
    let home = Home::embedded();
    let server = home.start().await;
    let times = ["3000-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "yesterday", "-5", "99999999999999999999"];
    let event = |(index, time): (usize, &&str)| json!({"type": "page", "messageId": format!("e{index}"), "anonymousId": "d", "timestamp": time});
    let batch: Vec<Value> = times.iter().enumerate().map(event).collect();
    for key in [WRITE_KEY, TRUSTED_KEY] {
        let body = json!({"batch": batch, "sentAt": "1980-01-01T00:00:00Z"}).to_string();
        assert_eq!(server.post("/v1/batch", key, body).await.0, 200);
    }
    let count = i64::try_from(2 * times.len()).unwrap();
    server.wait_until_queryable("SELECT count(*) FROM events", count).await;
    // 2: clamped. Every one of them stands at its receipt.
    let clamped = "SELECT count(*) FROM events WHERE event_time_us = ingest_time_us AND (flags & 2) = 2 AND clock_quality = 'clamped'";
    assert_eq!(server.number(clamped).await, count);
    // A healthy event afterwards is not late: the year 3000 did not move the watermark.
    assert_eq!(server.post("/v1/batch", WRITE_KEY, json!({"batch": [page("healthy")]}).to_string()).await.0, 200);
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_id = 'healthy' AND flags = 0", 1).await;
}

#[tokio::test]
async fn junk_ids_make_no_mega_person() {
    let home = Home::embedded();
    let server = home.start().await;
    let junk = ["null", "undefined", "00000000-0000-0000-0000-000000000000", "[object Object]", "anonymous"];
    let event = |(index, id): (usize, &&str)| json!({"type": "page", "messageId": format!("e{index}"), "anonymousId": id, "userId": "NaN"});
    let batch: Vec<Value> = junk.iter().enumerate().map(event).collect();
    assert_eq!(server.post("/v1/batch", WRITE_KEY, json!({"batch": batch}).to_string()).await.0, 200);
    let count = i64::try_from(junk.len()).unwrap();
    server.wait_until_queryable("SELECT count(*) FROM events", count).await;
    // 16: junk_id.
    let apart = "SELECT count(DISTINCT session_key) FROM events WHERE anonymous_id IS NULL AND user_id IS NULL AND (flags & 16) = 16";
    assert_eq!(server.number(apart).await, count);
}

#[tokio::test]
async fn a_second_server_on_the_same_data_says_that_it_is_in_use() {
    let home = Home::embedded();
    let server = home.start().await;
    let (status, told) = home.start_in_vain("127.0.0.1:0").await;
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("in use"), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    // The first is not disturbed.
    assert_eq!(server.post("/v1/batch", WRITE_KEY, json!({"batch": [page("still-here")]}).to_string()).await.0, 200);
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
}

#[tokio::test]
async fn a_port_in_use_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let (status, told) = Home::embedded().start_in_vain(&listen).await;
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains(&listen) && told.contains("--listen"), "{told}");
}

#[tokio::test]
async fn all_faults_of_the_settings_are_told_at_once_and_nothing_is_made() {
    let home = Home::embedded()
        .with("pipeline.commit_interval_ms", "0")
        .with("lake.zstd_level", "99")
        .with("serve.roles", "ingst")
        .with("log.queue_bytes_max", "0")
        .with("lake.url", "ftp://host/lake")
        .with("ingest.event_byte_max", "1");
    let (status, told) = home.start_in_vain("127.0.0.1:0").await;
    assert_eq!(status.code(), Some(2), "{told}");
    for part in [
        "6 faults",
        "commit_interval_ms",
        "zstd_level",
        "ingst",
        "log.queue_bytes_max is 0",
        "ftp://host/lake",
        "event_byte_max: there is no such knob; did you mean event_bytes_max?",
    ] {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    assert!(!home.data_dir().exists(), "no keys, no folders");
}

/// A small file system of its own, unmounted with the value.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(test: &str, size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { dir }),
            Ok(output) => {
                outside::skipped(
                    test,
                    &format!("this process may not mount: {}", String::from_utf8_lossy(&output.stderr).trim()),
                );
                None
            }
            Err(error) => {
                outside::skipped(test, &format!("no mount command: {error}"));
                None
            }
        }
    }

    /// Takes all the room there is, until the answer is dropped by `free`.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.dir.path().join("filler")).unwrap();
        let block = vec![0_u8; 64 << 10];
        while file.write_all(&block).is_ok() {}
        // What is left is smaller than a block.
        while file.write_all(&block[..512]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.dir.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that was killed a moment ago may still hold it.
        drop(Command::new("umount").arg("-l").arg(self.dir.path()).status());
    }
}

#[tokio::test]
async fn a_full_disk_refuses_new_events_and_loses_none_it_took() {
    let test = "a_full_disk_refuses_new_events_and_loses_none_it_took";
    let Some(disk) = SmallDisk::mount(test, "48m") else { return };
    let home = Home::embedded().with_data_in(disk.dir.path().join("data"));
    let server = home.start().await;
    let mut acknowledged = Vec::new();
    for index in 0..20 {
        assert!(try_page(&server, index, &mut acknowledged).await.0, "there is room at first");
    }
    disk.fill();
    // The log may still have room in a block it holds; soon it has none.
    let mut refusal = None;
    for index in 20..400 {
        let (taken, status, answer) = try_page(&server, index, &mut acknowledged).await;
        if !taken {
            refusal = Some((status, answer));
            break;
        }
    }
    let (status, answer) = refusal.expect("a full disk refuses");
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"].as_str().is_some_and(|text| text.contains("log")), "{answer}");

    disk.free();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let mut index = 1_000;
    let mut server = server;
    while !(server.ready().await && try_page(&server, index, &mut acknowledged).await.0) {
        assert!(server.runs(), "a disk that was full ends nothing: {}", home.told());
        assert!(std::time::Instant::now() < deadline, "it does not go on: {}", home.told());
        index += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let count = i64::try_from(acknowledged.len()).unwrap();
    let ids = acknowledged.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    server.wait_until_queryable(&format!("SELECT count(*) FROM events WHERE event_id IN ({ids})"), count).await;
    assert_eq!(server.number("SELECT count(*) - count(DISTINCT event_id) FROM events").await, 0);
}

/// Sends one event of 4 KiB; whether it was taken, and the answer.
async fn try_page(server: &Server<'_>, index: usize, acknowledged: &mut Vec<String>) -> (bool, u16, Value) {
    let id = format!("page-{index}");
    let mut event = page(&id);
    event["properties"] = json!({"text": "y".repeat(4 << 10)});
    let (status, answer) = server.post("/v1/page", WRITE_KEY, event.to_string()).await;
    let taken = status == 200;
    if taken {
        acknowledged.push(id);
    }
    (taken, status, answer)
}

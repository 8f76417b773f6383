//! The lake in a bucket: a real S3-compatible server, over a line that loses requests and answers.
//!
//! `cargo xtask test` starts the server and sets TRIBUTARY_TEST_S3; without it these tests say that they did not run.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tributary_lake::{Advice, Lake, LakeSettings, StoreOptions, VacuumOptions};
use tributary_schemas::Table;

use crate::compact::{everything, with_column};
use crate::faults;
use crate::positions::advance;
use crate::rows::rows;
use crate::{all_rows, assert_each_offset_once};

/// `host:port` of the server.
fn server(test: &str) -> Option<String> {
    let found = std::env::var("TRIBUTARY_TEST_S3").ok().filter(|url| !url.is_empty());
    let Some(url) = found else {
        let line = format!("{test}: TRIBUTARY_TEST_S3 is not set; `cargo xtask test` sets it and runs this too\n");
        // Past libtest's capture: a test that did not run counts as passed.
        std::io::stderr().write_all(format!("SKIPPED {line}").as_bytes()).unwrap();
        if let Some(file) = std::env::var_os("TRIBUTARY_TEST_SKIPPED") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
            file.unwrap().write_all(line.as_bytes()).unwrap();
        }
        return None;
    };
    Some(url.trim_start_matches("http://").to_owned())
}

fn make_bucket(server: &str, bucket: &str) {
    let mut stream = std::net::TcpStream::connect(server).unwrap();
    let request = format!("PUT /{bucket} HTTP/1.1\r\nhost: {server}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn settings(endpoint: &str, bucket: &str) -> LakeSettings {
    let options = [
        ("aws_endpoint", format!("http://{endpoint}")),
        ("aws_region", "us-east-1".to_owned()),
        ("aws_access_key_id", "test".to_owned()),
        ("aws_secret_access_key", "test".to_owned()),
        ("aws_allow_http", "true".to_owned()),
        ("timeout", "2 seconds".to_owned()),
    ];
    LakeSettings {
        url: format!("s3://{bucket}/some/lake"),
        object_store: StoreOptions(options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        checkpoint_interval_commits: 10,
        ..LakeSettings::default()
    }
}

fn bucket_of(server: &str, name: &str) -> String {
    let bucket = format!("{name}-{}", std::process::id());
    make_bucket(server, &bucket);
    bucket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_in_a_bucket_keeps_every_promise_of_one_in_a_folder() {
    let Some(server) = server("a_lake_in_a_bucket_keeps_every_promise_of_one_in_a_folder") else { return };
    let settings = settings(&server, &bucket_of(&server, "promises"));
    assert!(!Lake::is_there(&settings).await.unwrap());
    let lake = Lake::open(settings.clone()).await.unwrap();
    assert!(Lake::is_there(&settings).await.unwrap());

    // Append, fence, checkpoint.
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let mut zombie = Lake::open(settings.clone()).await.unwrap().writer(Table::Events).await.unwrap();
    for part in 0..12_i64 {
        let moves = [advance("p", (part != 0).then_some(part * 10), part * 10 + 10)];
        writer.append(vec![rows(Table::Events, part * 10..part * 10 + 10, 2)], &moves).await.unwrap();
    }
    let error = zombie.append(vec![rows(Table::Events, 0..9, 1)], &[advance("p", None, 9)]).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Fenced, "{error}");
    let fresh = Lake::open(settings.clone()).await.unwrap();
    let status = fresh.status(Table::Events).await.unwrap();
    assert_eq!((status.version, status.checkpoint, status.files, status.rows), (12, Some(10), 24, 120));

    // Compaction.
    let before = lake.snapshot(Table::Events).await.unwrap();
    let done = lake.compact(Table::Events, &everything()).await.unwrap();
    assert_eq!((done.files_before, done.files_after, done.rows_after), (24, 2, 120));
    assert_eq!(all_rows(&before).await.num_rows(), 120, "a reader of the version before still reads");
    writer.append(vec![rows(Table::Events, 120..121, 1)], &[advance("p", Some(120), 121)]).await.unwrap();
    for lake in [&lake, &fresh, &Lake::open(settings.clone()).await.unwrap()] {
        assert_each_offset_once(lake, Table::Events, 121).await;
    }

    // Vacuum. The server tells times in whole seconds, so what was removed in this one is young for a little longer.
    let week = VacuumOptions { horizon_hours: 168, force: false, dry_run: false };
    assert_eq!(lake.vacuum(Table::Events, &week).await.unwrap().files, 0);
    let now = VacuumOptions { horizon_hours: 0, force: true, dry_run: false };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut swept = 0;
    while swept < 24 {
        assert!(tokio::time::Instant::now() < deadline, "{swept} of 24 files went");
        swept += lake.vacuum(Table::Events, &now).await.unwrap().files;
    }
    assert_eq!(swept, 24);
    let found = Lake::open(settings).await.unwrap().verify("events-topic").await.unwrap();
    assert!(found.is_sound(), "{:?} {:?}", found.tables, found.faults);
    assert_each_offset_once(&lake, Table::Events, 121).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_up_in_parts_and_is_whole() {
    let Some(server) = server("a_large_file_goes_up_in_parts_and_is_whole") else { return };
    let lake = Lake::open(settings(&server, &bucket_of(&server, "parts"))).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let mut bits = 1_u64;
    let mut noise = || {
        let word = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:08x}", bits >> 32)
        };
        std::iter::repeat_with(word).take(12_500).collect::<String>()
    };
    for part in 0..4 {
        let properties: arrow::array::StringArray = (0..110).map(|_| Some(noise())).collect();
        let batch =
            with_column(&rows(Table::Events, part * 110..part * 110 + 110, 1), "properties", Arc::new(properties));
        writer.append(vec![batch], &[]).await.unwrap();
    }
    let done = lake.compact(Table::Events, &everything()).await.unwrap();
    assert!(done.files_after == 1 && 16 << 20 < done.bytes_after, "{done:?}");
    assert!(lake.verify("events-topic").await.unwrap().is_sound());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_a_lake_in_a_bucket_at_once_make_it_once() {
    let Some(server) = server("many_that_open_a_lake_in_a_bucket_at_once_make_it_once") else { return };
    let settings = settings(&server, &bucket_of(&server, "opened"));
    let lakes = futures::future::join_all((0..6).map(|_| Lake::open(settings.clone()))).await;
    for lake in lakes {
        assert_eq!(lake.unwrap().snapshot(Table::Events).await.unwrap().version(), 0);
    }
}

/// Two owners of one position, a zombie that believes for ever what is long past, and a compactor; a third of all requests
/// fails before it arrives, after it was done, or without any answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rivals_for_one_position_over_a_bad_line_write_each_range_once() {
    let Some(server) = server("rivals_for_one_position_over_a_bad_line_write_each_range_once") else { return };
    for seed in 1..=2 {
        let bucket = bucket_of(&server, &format!("rivals-{seed}"));
        let direct = Lake::open(settings(&server, &bucket)).await.unwrap();
        let mut first = direct.writer(Table::Events).await.unwrap();
        first.append(vec![rows(Table::Events, 0..3, 1)], &[advance("p", None, 3)]).await.unwrap();
        let line = BadLine::to(&server, seed).await;
        let mut lakes = Vec::new();
        for _ in 0..3 {
            lakes.push(Lake::open(settings(&line.address, &bucket)).await.unwrap());
        }
        line.begin();
        let (ended, watch) = tokio::sync::watch::channel(false);
        let compacting = tokio::spawn(faults::compact(lakes.pop().unwrap(), watch));
        let haunted = direct.clone();
        let haunting = tokio::spawn(async move {
            for _ in 0..20 {
                let mut zombie = haunted.writer(Table::Events).await.unwrap();
                let error =
                    zombie.append(vec![rows(Table::Events, 0..7, 1)], &[advance("p", None, 7)]).await.unwrap_err();
                assert_eq!(error.advice(), Advice::Fenced, "{error}");
            }
        });
        let mut owners = JoinSet::new();
        for (lake, step) in lakes.into_iter().zip([7, 11]) {
            owners.spawn(faults::own(lake, "p".to_owned(), step, 120));
        }
        owners.join_all().await;
        ended.send_replace(true);
        let compacted = compacting.await.unwrap();
        haunting.await.unwrap();
        eprintln!("seed {seed}: {} requests spoilt, {compacted:?}", line.spoilt.load(Ordering::SeqCst));
        assert!(10 < line.spoilt.load(Ordering::SeqCst));
        let lake = Lake::open(settings(&server, &bucket)).await.unwrap();
        assert_eq!(lake.snapshot(Table::Events).await.unwrap().txn("p"), Some(120), "seed {seed}");
        assert_each_offset_once(&lake, Table::Events, 120).await;
        let found = lake.verify("events-topic").await.unwrap();
        assert!(found.is_sound(), "seed {seed}: {:?} {:?}", found.tables, found.faults);
    }
}

/// A proxy of one request a connection that spoils some of them, by a seed.
struct BadLine {
    address: String,
    on: Arc<std::sync::atomic::AtomicBool>,
    spoilt: Arc<AtomicU64>,
    listening: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoil {
    No,
    /// 500, and the server never hears of it.
    Before,
    /// The server does it, the client is told 500.
    After,
    /// The server does it, the line breaks.
    Lost,
    /// The server does it, the answer comes after the client has given up.
    Hung,
}

impl BadLine {
    async fn to(server: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let on = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spoilt = Arc::new(AtomicU64::new(0));
        let (server, turned_on, counter) = (server.to_owned(), on.clone(), spoilt.clone());
        let listening = tokio::spawn(async move {
            let mut drawn = seed;
            loop {
                let (client, _) = listener.accept().await.unwrap();
                drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let spoil = match ((drawn >> 33) % 100, turned_on.load(Ordering::SeqCst)) {
                    (0..8, true) => Spoil::Before,
                    (8..18, true) => Spoil::After,
                    (18..28, true) => Spoil::Lost,
                    (28..30, true) => Spoil::Hung,
                    _ => Spoil::No,
                };
                counter.fetch_add(u64::from(spoil != Spoil::No), Ordering::SeqCst);
                // A client that gives up is no fault of the proxy.
                tokio::spawn(pass(client, server.clone(), spoil));
            }
        });
        Self { address, on, spoilt, listening }
    }

    fn begin(&self) {
        self.on.store(true, Ordering::SeqCst);
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn pass(mut client: TcpStream, server: String, spoil: Spoil) -> std::io::Result<()> {
    const FAILED: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let request = read_request(&mut client).await?;
    if spoil == Spoil::Before {
        return client.write_all(FAILED).await;
    }
    let mut upstream = TcpStream::connect(&server).await?;
    upstream.write_all(&request).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    match spoil {
        Spoil::No => client.write_all(&answer).await,
        Spoil::Before | Spoil::After => client.write_all(FAILED).await,
        Spoil::Lost => Ok(()),
        Spoil::Hung => {
            // Ends when the client has had enough.
            client.read(&mut [0]).await.map(|_| ())
        }
    }
}

/// One whole request, asking for the connection to be closed after it.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while bytes.len() < head_end + length.unwrap_or(0) {
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let body = bytes.split_off(head_end);
    let mut request = head.trim_end().to_owned();
    request.push_str("\r\nconnection: close\r\n\r\n");
    Ok([request.into_bytes(), body].concat())
}

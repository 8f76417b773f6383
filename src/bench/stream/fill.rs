//! The first half: lines through the door into the log, as a server would take them.
//!
//! In:      lines as a Segment SDK sends them; a folder.
//! Out:     a log with one event a line; how long that took.
//! Promise: the door's own code decodes, maps, addresses and appends; only the socket is left out. Its clock stands at
//!          the receipt of the line, so that a month of events is a month to deduplication too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::http::Request;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tributary_eventlog::EventLog;
use tributary_ingest::{IngestSettings, Parts, WriteKey};
use tributary_schemas::{Clock, ManualClock};

use super::input::{Lines, received_us};
use super::job::open_log;
use crate::bench::usage;

pub(super) struct Filled {
    pub(super) events: u64,
    pub(super) json_bytes: u64,
    pub(super) log_bytes: u64,
    pub(super) wall: Duration,
    pub(super) cpu: Option<Duration>,
}

/// Below the door's own limits on events and bytes of a request.
const BATCH_EVENTS: usize = 2_000;
const BATCH_BYTES: usize = 3 << 20;

pub(super) async fn fill(lines: Lines, folder: &Path, partitions: u32) -> anyhow::Result<Filled> {
    let (log, events, dead_letters) = open_log(folder, partitions).await?;
    let clock = Arc::new(ManualClock::at_us(0));
    let key =
        WriteKey { key: "bench".to_owned(), source: "bench".to_owned(), trusted_clock: true, ..WriteKey::default() };
    let parts = Parts {
        log: log.clone(),
        events,
        dead_letters,
        reader: "bench".to_owned(),
        clock: clock.clone(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        ledger: Arc::default(),
        web: Arc::new(tributary_ingest::HttpsWeb),
    };
    let settings = IngestSettings { write_keys: vec![key], ..IngestSettings::default() };
    let router = tributary_ingest::router(settings, parts)?;

    let mut filled = Filled { events: 0, json_bytes: 0, log_bytes: 0, wall: Duration::ZERO, cpu: None };
    let (begun, cpu_before) = (Instant::now(), usage::own_cpu());
    let (mut body, mut count) = (Vec::new(), 0_usize);
    for line in lines {
        let line = line.context("reading the events")?;
        filled.json_bytes += line.len() as u64 + 1;
        body.extend_from_slice(if count == 0 { br#"{"batch":["# } else { b"," });
        body.extend_from_slice(&line);
        count += 1;
        // Not that of the last line alone: a copy bears the receipt of the line it copies, up to an hour before.
        if let Some(received_us) = received_us(&line) {
            clock.advance_us((received_us - clock.now_us()).max(0));
        }
        if count == BATCH_EVENTS || BATCH_BYTES <= body.len() {
            filled.events += send(&router, std::mem::take(&mut body), count).await?;
            count = 0;
        }
    }
    if count > 0 {
        filled.events += send(&router, body, count).await?;
    }
    filled.wall = begun.elapsed();
    filled.cpu = usage::own_cpu().zip(cpu_before).map(|(now, before)| now.saturating_sub(before));
    drop(router);
    log.close().await?;
    filled.log_bytes = folder_bytes(&folder.join("log"))?;
    Ok(filled)
}

/// Sends a batch and sees to it that every event was taken.
async fn send(router: &axum::Router, mut body: Vec<u8>, count: usize) -> anyhow::Result<u64> {
    body.extend_from_slice(b"]}");
    // write key `bench`, no password
    let mut request = Request::post("/v1/batch").header("authorization", "Basic YmVuY2g6").body(Body::from(body))?;
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let response = router.clone().oneshot(request).await?;
    let status = response.status();
    let answer = axum::body::to_bytes(response.into_body(), 1 << 20).await?;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
    ensure!(
        status.is_success() && answer["accepted"] == count,
        "the door took {} of {count} events and answered {status}; is the file one of Segment events?",
        answer["accepted"]
    );
    Ok(count as u64)
}

pub(super) fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot look into {}", folder.display()))? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() { folder_bytes(&entry.path())? } else { meta.len() };
    }
    Ok(bytes)
}

//! The door: events over HTTP until they are durable, against the bare log with the same records.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicInfo, TopicSpec};
use tributary_ingest::{IngestSettings, Parts, WriteKey};
use tributary_schemas::SystemClock;

use super::events::{event, record, segment_json};
use super::{Ceiling, Finding, per_second};
use crate::http;

const PARTITIONS: u32 = 4;
const CLIENTS: usize = 8;
const BATCH_EVENTS: usize = 100;

pub(super) async fn run(events: usize, folder: &Path) -> anyhow::Result<Finding> {
    // Bodies and records are made before the clock runs: it measures the door, not the loader's encoder.
    let all: Vec<_> = (0..events).map(event).collect();
    let bodies = all.chunks(BATCH_EVENTS).map(|chunk| {
        let batch: Vec<_> = chunk.iter().map(segment_json).collect();
        Bytes::from(serde_json::json!({"batch": batch}).to_string())
    });
    let bodies: Vec<Bytes> = bodies.collect();
    let records: Vec<Vec<(u32, Record)>> =
        all.chunks(BATCH_EVENTS).map(|chunk| chunk.iter().map(|event| record(event, PARTITIONS)).collect()).collect();
    drop(all);

    let through_door = door(&bodies, events, &folder.join("door")).await?;
    let bare = bare_log(records, events, &folder.join("bare")).await?;
    Ok(Finding {
        per_second: through_door,
        ceilings: vec![Ceiling { name: "the bare log, same records and clients", per_second: bare }],
        remarks: vec![format!("{CLIENTS} clients, {BATCH_EVENTS} events a request, every answer after fdatasync")],
    })
}

async fn open(dir: &Path) -> anyhow::Result<(Arc<EmbeddedLog>, TopicInfo, TopicInfo)> {
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(dir))?;
    let events = log.ensure_topic(&TopicSpec { name: "events".to_owned(), partitions: PARTITIONS }).await?;
    let dead_letters = log.ensure_topic(&TopicSpec { name: "dead".to_owned(), partitions: 1 }).await?;
    Ok((log, events, dead_letters))
}

async fn door(bodies: &[Bytes], events: usize, dir: &Path) -> anyhow::Result<f64> {
    let (log, topic, dead_letters) = open(dir).await?;
    let stop = CancellationToken::new();
    let key =
        WriteKey { key: "bench".to_owned(), source: "bench".to_owned(), trusted_clock: true, ..WriteKey::default() };
    let settings = IngestSettings { write_keys: vec![key], ..IngestSettings::default() };
    let parts = Parts {
        log: log.clone(),
        events: topic.clone(),
        dead_letters,
        reader: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        stop: stop.clone(),
        tasks: TaskTracker::new(),
        ledger: Arc::default(),
        web: Arc::new(tributary_ingest::HttpsWeb),
    };
    let router = tributary_ingest::router(settings, parts)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/v1/batch", listener.local_addr()?);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    let server = tokio::spawn(server.into_future());

    let client = http::client_for(&url, std::time::Duration::from_secs(60))?;
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for first in 0..CLIENTS {
        let bodies: Vec<Bytes> = bodies.iter().skip(first).step_by(CLIENTS).cloned().collect();
        let (client, url) = (client.clone(), url.clone());
        clients.spawn(async move {
            for body in bodies {
                let answer = client.post(&url).basic_auth("bench", Some("")).body(body).send().await?;
                ensure!(answer.status().is_success(), "the door answers {}", answer.status());
            }
            Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done.context("a client broke off")??;
    }
    let rate = per_second(events, begun.elapsed());

    let mut durable = 0;
    for partition in 0..PARTITIONS {
        durable += log.bounds(&topic.topic, partition).await?.next;
    }
    ensure!(durable == events as u64, "{durable} of {events} events are in the log");
    stop.cancel();
    drop(client);
    server.await.context("the door broke off")??;
    log.close().await?;
    Ok(rate)
}

async fn bare_log(records: Vec<Vec<(u32, Record)>>, events: usize, dir: &Path) -> anyhow::Result<f64> {
    let (log, topic, _) = open(dir).await?;
    let mut parts: Vec<Vec<Vec<(u32, Record)>>> = (0..CLIENTS).map(|_| Vec::new()).collect();
    for (index, batch) in records.into_iter().enumerate() {
        parts[index % CLIENTS].push(batch);
    }
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for part in parts {
        let (log, topic) = (log.clone(), topic.topic.clone());
        clients.spawn(async move {
            for batch in part {
                for ack in log.append(&topic, batch).await {
                    ack?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = clients.join_next().await {
        done.context("a client broke off")??;
    }
    let rate = per_second(events, begun.elapsed());
    log.close().await?;
    Ok(rate)
}

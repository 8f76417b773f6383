//! The servers of `bench door`, each in a process of its own.
//!
//! In:      which one; a folder for its log; a pipe that is closed when it should end.
//! Out:     its address on the first line of standard output.
//! Promise: the durable one is the door as `serve` runs it, but for the other roles.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicInfo, TopicSpec};
use tributary_ingest::{HttpsWeb, IngestSettings, Parts, Short, WriteKey};
use tributary_schemas::SystemClock;

use crate::serve::http::{Limits, Routes, connections_that_fit, serve};

#[derive(clap::Args)]
pub(crate) struct ServerArgs {
    #[arg(long)]
    kind: Kind,
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    kafka: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    Durable,
    /// Keeps the bytes as durably, and reads none of them.
    Kept,
    Naive,
    Empty,
}

pub(super) const KEY: &str = "bench";

pub(crate) async fn command(args: ServerArgs) -> anyhow::Result<()> {
    let mut short = None;
    let router = match args.kind {
        Kind::Durable => {
            let (router, straight) = durable(&args).await?;
            short = Some(straight);
            router
        }
        Kind::Kept => {
            let (log, topic) = open_log(&args, "kept", 1).await?;
            Router::new().route(
                "/v1/events",
                post(async move |body: Bytes| {
                    // Any time does: only retention by age looks at it.
                    let record = Record { key: None, value: body, time_ms: 1 };
                    match log.append(&topic.topic, vec![(0, record)]).await.pop() {
                        Some(Ok(_)) => StatusCode::NO_CONTENT,
                        _ => StatusCode::SERVICE_UNAVAILABLE,
                    }
                }),
            )
        }
        Kind::Naive => Router::new().route(
            "/v1/events",
            post(async |body: Bytes| match serde_json::from_slice::<serde_json::Value>(&body) {
                Ok(_) => StatusCode::NO_CONTENT,
                Err(_) => StatusCode::BAD_REQUEST,
            }),
        ),
        Kind::Empty => Router::new().route("/v1/events", post(async |_: Bytes| StatusCode::NO_CONTENT)),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let limits = Limits { connections_max: connections_that_fit(10_000), idle_max: std::time::Duration::from_secs(75) };
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, None, Routes { router, short }, limits, stop.clone()));
    // Ends when whoever started it does.
    let ended = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    drop(ended.await);
    Ok(())
}

async fn open_log(args: &ServerArgs, topic: &str, partitions: u32) -> anyhow::Result<(Arc<dyn EventLog>, TopicInfo)> {
    let log: Arc<dyn EventLog> = match &args.kafka {
        None => EmbeddedLog::open(EmbeddedSettings::in_dir(&args.data))?,
        #[cfg(feature = "kafka")]
        Some(bootstrap) => {
            let settings = tributary_eventlog::kafka::KafkaSettings {
                replication_factor: 1,
                ..tributary_eventlog::kafka::KafkaSettings::at(bootstrap)
            };
            tributary_eventlog::kafka::KafkaLog::connect(settings).await?
        }
        #[cfg(not(feature = "kafka"))]
        Some(_) => anyhow::bail!("this program was built without the feature `kafka`"),
    };
    // A topic of its own each time: the folder's name is new each time too.
    let unique = args.data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let topic = log.ensure_topic(&TopicSpec { name: format!("{topic}-{unique}"), partitions }).await?;
    Ok((log, topic))
}

async fn durable(args: &ServerArgs) -> anyhow::Result<(Router, Short)> {
    let (log, events) = open_log(args, "door", 4).await?;
    let dead_letters = log.ensure_topic(&TopicSpec { name: format!("dead-{}", events.topic), partitions: 1 }).await?;
    let key = WriteKey { key: KEY.to_owned(), source: "bench".to_owned(), ..WriteKey::default() };
    let settings = IngestSettings { write_keys: vec![key], ..IngestSettings::default() };
    let parts = Parts {
        log,
        events,
        dead_letters,
        reader: "bench".to_owned(),
        clock: Arc::new(SystemClock),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        ledger: Arc::default(),
        web: Arc::new(HttpsWeb),
    };
    Ok(tributary_ingest::routes(settings, parts)?)
}

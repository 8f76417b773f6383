//! The parts the roles work with: a listener, a log with its topics, a lake.
//!
//! In:      settings.
//! Out:     each part, open.
//! Promise: what a user can mend (a port or folder in use, a disk that is full) is told as such.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tributary_eventlog::embedded::EmbeddedLog;
use tributary_eventlog::spooled::SpooledLog;
use tributary_eventlog::{Advice, EventLog, LogError, TopicInfo, TopicSpec};
use tributary_lake::{Lake, local_folder};
use tributary_schemas::{Clock, Table};

use crate::cli::UserError;
use crate::http;
use crate::settings::{LogKind, LogSettings, PartitionsGrown, Settings};

/// The log and the two topics everything flows through.
#[derive(Clone)]
pub(crate) struct LogParts {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) events: TopicInfo,
    pub(crate) dead_letters: TopicInfo,
}

pub(crate) async fn listen(settings: &Settings) -> anyhow::Result<TcpListener> {
    let listen = &settings.serve.listen;
    let error = match TcpListener::bind(listen).await {
        Ok(listener) => return Ok(listener),
        Err(error) => error,
    };
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse if http::is_tributary(&format!("http://{listen}")).await => {
            "a Tributary server runs there already; stop it, or choose another port with --listen 127.0.0.1:PORT, and \
             another data folder with --data"
        }
        std::io::ErrorKind::AddrInUse => {
            "another program listens there; stop it, or choose another port with --listen 127.0.0.1:PORT"
        }
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need rights; choose one above with --listen",
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address; choose another with --listen",
        _ => "choose another address with --listen",
    };
    Err(UserError(format!("cannot listen on {listen} ({error}): {advice}")).into())
}

/// * `spooled`: this process takes events in, so that they must have somewhere to wait while Kafka is away.
pub(crate) async fn open_log(settings: &LogSettings, clock: Arc<dyn Clock>, spooled: bool) -> anyhow::Result<LogParts> {
    let log = match settings.kind {
        #[cfg(feature = "kafka")]
        LogKind::Kafka if spooled && settings.spool => {
            // Whether it is there is asked of its topics, which the spool may remember.
            let kafka = tributary_eventlog::kafka::KafkaLog::lazily(settings.kafka()).map_err(log_fault)?;
            SpooledLog::open(kafka, settings.spool()).await.map_err(log_fault)?
        }
        _ => open_kind(settings, clock).await?,
    };
    let events = TopicSpec { name: settings.events_topic.clone(), partitions: settings.partitions };
    let dead_letters =
        TopicSpec { name: settings.dead_letters_topic.clone(), partitions: settings.dead_letters_partitions };
    let accept = settings.partitions_grown == PartitionsGrown::Accept;
    let events = ensure_topic(log.as_ref(), events, accept).await.map_err(log_fault)?;
    // Nothing depends on which partition a dead letter lies in.
    let dead_letters = ensure_topic(log.as_ref(), dead_letters, true).await.map_err(log_fault)?;
    Ok(LogParts { log, events, dead_letters })
}

/// Returns once the log can be asked for its events: at once, unless the server was started while it was away.
pub(crate) async fn log_is_there(log: &LogParts) {
    let mut pause = Duration::from_millis(100);
    while let Err(error) = log.log.partitions(&log.events.topic).await {
        tracing::debug!(%error, "the stream job waits for the log");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

/// Makes or finds the topic; one that has more partitions than was set is taken as it is, where that is accepted.
async fn ensure_topic(log: &dyn EventLog, spec: TopicSpec, accept_more: bool) -> Result<TopicInfo, LogError> {
    match log.ensure_topic(&spec).await {
        Err(LogError::PartitionsDiffer { topic, asked, found }) if asked < found && accept_more => {
            tracing::warn!(topic, set = asked, found, "the topic has more partitions than were set: accepted");
            log.ensure_topic(&TopicSpec { partitions: found, ..spec }).await
        }
        ensured => ensured,
    }
}

async fn open_kind(settings: &LogSettings, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn EventLog>> {
    match settings.kind {
        LogKind::Embedded => {
            let settings = settings.embedded(clock);
            // Opening reads files, after a crash for seconds.
            let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open(settings)).await;
            Ok(opened.context("opening the log broke off")?.map_err(log_fault)?)
        }
        #[cfg(feature = "kafka")]
        LogKind::Kafka => {
            let settings = settings.kafka();
            Ok(tributary_eventlog::kafka::KafkaLog::connect(settings).await.map_err(log_fault)?)
        }
        #[cfg(not(feature = "kafka"))]
        LogKind::Kafka => Err(UserError("this program was built without the feature `kafka`".to_owned()).into()),
    }
}

pub(crate) async fn open_lake(settings: &Settings) -> anyhow::Result<Lake> {
    Lake::open(settings.lake.clone())
        .await
        .with_context(|| format!("the lake in {} cannot be opened", settings.lake.url))
}

/// The log and its topics, where they are there already; makes none.
pub(crate) async fn existing_log(settings: &Settings, clock: Arc<dyn Clock>) -> anyhow::Result<Option<LogParts>> {
    let settings = &settings.log;
    if settings.kind == LogKind::Embedded && !settings.dir.is_dir() {
        return Ok(None);
    }
    let log = open_kind(settings, clock).await?;
    let mut found = Vec::new();
    for (topic, partitions) in [
        (&settings.events_topic, settings.partitions),
        (&settings.dead_letters_topic, settings.dead_letters_partitions),
    ] {
        match log.bounds(topic, 0).await {
            Ok(_) => {}
            Err(LogError::NoSuchTopic { .. }) => {
                log.close().await.map_err(log_fault)?;
                return Ok(None);
            }
            Err(error) => return Err(log_fault(error)),
        }
        // It is there, so this only finds it; whoever looks may look at partitions that were added.
        let spec = TopicSpec { name: topic.clone(), partitions };
        found.push(ensure_topic(log.as_ref(), spec, true).await.map_err(log_fault)?);
    }
    let [events, dead_letters] = <[TopicInfo; 2]>::try_from(found).expect("two topics were looked for");
    Ok(Some(LogParts { log, events, dead_letters }))
}

/// The lake, where it is there already; makes none, and no table of one.
pub(crate) async fn existing_lake(settings: &Settings) -> anyhow::Result<Option<Lake>> {
    if let Some(folder) = lake_folder(settings) {
        // Opening makes the tables that are missing.
        let is_there = |table: &&Table| folder.join(table.name()).join("_delta_log").is_dir();
        let missing: Vec<&str> = Table::ALL.iter().filter(|table| !is_there(table)).map(|table| table.name()).collect();
        if missing.len() == Table::ALL.len() {
            return Ok(None);
        }
        if !missing.is_empty() {
            let advice = "a part of it was deleted; make it anew from the log with `tributary replay --swap`";
            return Err(UserError(format!("{} lacks {}: {advice}", folder.display(), missing.join(", "))).into());
        }
    }
    open_lake(settings).await.map(Some)
}

/// The folder the lake lies in, where it is one on this machine.
pub(crate) fn lake_folder(settings: &Settings) -> Option<PathBuf> {
    local_folder(&settings.lake.url).ok().flatten()
}

/// What a person must mend, as a user's fault: the log's own words say how.
fn log_fault(error: LogError) -> anyhow::Error {
    match error.advice() {
        Advice::FixSetup | Advice::FixInput => UserError(error.to_string()).into(),
        _ if matches!(error, LogError::DiskFull { .. }) => UserError(error.to_string()).into(),
        _ => anyhow::Error::new(error).context("the log cannot be opened"),
    }
}

//! A log with a spool before it: when the log is away, records wait on the local disk and follow later.
//!
//! In:      appends; a log that may be away; a folder.
//! Out:     acknowledgements that say whether a record is in the log or in the spool; either way it is durable.
//! Promise: records of one partition reach the log in the order they were acknowledged: while the spool holds some of a
//!          partition, new ones of it go there too. A position moves only after the log has acknowledged, so a crash drains
//!          some again: the line drops doubles by their ids. The spool is bounded; full, it says [`LogError::Busy`].
//! Not here: reading. Readers see the log alone.
//!
//! ```text
//!  append ──▶ log            while it answers within `after_ms`
//!         └─▶ spool ──▶ log  from its first failure on, until the spool of that partition is empty
//! ```
//!
//! A record the log did not answer for in time may be in it all the same, and is spooled too: a double, not a loss.

mod drain;
mod lanes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::embedded::{EmbeddedLog, EmbeddedSettings};
use crate::{Ack, Bounds, EventLog, LogError, LogReader, Record, SpoolState, TopicInfo, TopicSpec};
use lanes::Lanes;

#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// A folder of its own; it must survive whatever the process does not.
    pub dir: PathBuf,
    /// Keys and values that may wait. Beyond it appends are told `Busy`.
    pub bytes_max: u64,
    /// How long the log may take before a record goes to the spool.
    pub after_ms: u64,
    /// As the log's own, so that nothing is spooled that the log could never take.
    pub record_bytes_max: usize,
}

/// Where the drain's positions stand in the spool.
const GROUP: &str = "drain";

/// The drain has nobody who waits for it: it may wait so many times longer for the log.
const DRAIN_PATIENCE: u64 = 15;

pub struct SpooledLog {
    log: Arc<dyn EventLog>,
    spool: Arc<EmbeddedLog>,
    settings: SpoolSettings,
    lanes: Arc<Lanes>,
    stop: watch::Sender<bool>,
    drain: Mutex<Option<JoinHandle<()>>>,
}

impl SpooledLog {
    /// Takes the folder, recovers what waits in it, and begins to drain. Blocks for file operations.
    pub async fn open(log: Arc<dyn EventLog>, settings: SpoolSettings) -> Result<Arc<Self>, LogError> {
        let of_spool = EmbeddedSettings {
            record_bytes_max: settings.record_bytes_max,
            // A spool is short-lived: small segments give their room back soon.
            segment_bytes_max: 16 << 20,
            retention_waits_for: vec![GROUP.to_owned()],
            ..EmbeddedSettings::in_dir(settings.dir.clone())
        };
        let open = move || {
            let spool = EmbeddedLog::open(of_spool)?;
            let found_bytes = file_bytes(&spool.dir().join("topics"));
            Ok((spool, found_bytes))
        };
        let opened = tokio::task::spawn_blocking(open).await;
        let (spool, found_bytes) =
            opened.map_err(|error| LogError::Fatal(format!("opening the spool was ended: {error}")))??;
        let lanes = Arc::new(Lanes::new(settings.bytes_max, found_bytes));
        let (stop, stopped) = watch::channel(false);
        let patience = Duration::from_millis(settings.after_ms.saturating_mul(DRAIN_PATIENCE));
        let drain = tokio::spawn(drain::run(log.clone(), spool.clone(), lanes.clone(), patience, stopped));
        Ok(Arc::new(Self { log, spool, settings, lanes, stop, drain: Mutex::new(Some(drain)) }))
    }

    /// Spools `records`, each with its index in the request, and puts the answers at their places.
    async fn spool(
        &self,
        topic: &str,
        mut records: Vec<(usize, (u32, Record))>,
        answers: &mut [Option<Result<Ack, LogError>>],
    ) {
        records.sort_by_key(|(index, _)| *index);
        let bytes: u64 = records.iter().map(|(_, (_, record))| lanes::bytes_of(record)).sum();
        let partitions = records.iter().map(|(_, (partition, _))| *partition);
        let Some(mut writing) = self.lanes.begin(topic, partitions, bytes) else {
            for (index, _) in records {
                answers[index] = Some(Err(LogError::Busy));
            }
            return;
        };
        let (indices, records): (Vec<usize>, Vec<(u32, Record)>) = records.into_iter().unzip();
        let sizes: Vec<u64> = records.iter().map(|(_, record)| lanes::bytes_of(record)).collect();
        let acks = self.spool.append(topic, records).await;
        for ((index, ack), bytes) in indices.into_iter().zip(acks).zip(sizes) {
            answers[index] = Some(ack.map(|ack| {
                writing.wrote(&ack, bytes);
                Ack { spooled: true, ..ack }
            }));
        }
    }
}

/// What the files below a folder take; what cannot be looked at counts as nothing, for it is an estimate.
fn file_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let of_entry = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => file_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(of_entry).sum()
}

/// Whether the log might take the record at another time.
fn is_away(error: &LogError) -> bool {
    matches!(error, LogError::Busy | LogError::Retriable(_) | LogError::Unknown | LogError::Fatal(_))
}

#[async_trait]
impl EventLog for SpooledLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        let info = self.log.ensure_topic(spec).await?;
        // The spool's own may have fewer, where some were added to the log's since.
        let of_spool = TopicSpec { name: spec.name.clone(), partitions: info.partitions };
        let ensured = match self.spool.ensure_topic(&of_spool).await {
            Err(LogError::PartitionsDiffer { found, .. }) => {
                let all = self.spool.ensure_topic(&TopicSpec { partitions: found, ..of_spool }).await;
                all.map(|of_spool| of_spool.partitions)
            }
            ensured => ensured.map(|of_spool| of_spool.partitions),
        };
        for partition in 0..ensured? {
            let next = self.spool.bounds(&spec.name, partition).await?.next;
            let drained = self.spool.position(GROUP, &spec.name, partition).await?.unwrap_or(0);
            self.lanes.found(&spec.name, partition, drained, next);
        }
        Ok(info)
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic).await
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        let mut answers: Vec<Option<Result<Ack, LogError>>> = vec![None; records.len()];
        let spooling = self.lanes.spooling(topic);
        let (mut spooled, direct): (Vec<_>, Vec<_>) =
            records.into_iter().enumerate().partition(|(_, (partition, _))| spooling.contains(partition));
        if !direct.is_empty() {
            // Bytes are shared, so a copy costs a count.
            let copies = direct.iter().map(|(_, record)| record.clone()).collect();
            let patience = Duration::from_millis(self.settings.after_ms);
            match tokio::time::timeout(patience, self.log.append(topic, copies)).await {
                Ok(acks) => {
                    for ((index, record), ack) in direct.into_iter().zip(acks) {
                        match ack {
                            Err(error) if is_away(&error) => spooled.push((index, record)),
                            answer => answers[index] = Some(answer),
                        }
                    }
                }
                Err(_) => spooled.extend(direct),
            }
        }
        if !spooled.is_empty() {
            self.spool(topic, spooled, &mut answers).await;
        }
        answers.into_iter().map(|answer| answer.unwrap_or(Err(LogError::Unknown))).collect()
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(topic, start).await
    }

    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.log.group_reader(group, topic).await
    }

    async fn record_at(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<Record>, LogError> {
        self.log.record_at(topic, partition, offset).await
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        self.log.report_position(group, topic, next).await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.position(group, topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        self.log.trim(topic, partition, keep_from).await
    }

    /// Ready as long as either takes a record.
    async fn check(&self) -> Result<(), LogError> {
        let patience = Duration::from_millis(self.settings.after_ms);
        match tokio::time::timeout(patience, self.log.check()).await {
            Ok(Ok(())) => Ok(()),
            _ if self.lanes.state().fill() < 1.0 => self.spool.check().await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(LogError::Retriable("the log does not answer and the spool is full".to_owned())),
        }
    }

    fn spool_state(&self) -> Option<SpoolState> {
        Some(self.lanes.state())
    }

    async fn close(&self) -> Result<(), LogError> {
        self.stop.send_replace(true);
        let drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drain) = drain {
            drain.await.map_err(|error| LogError::Fatal(format!("the drain of the spool broke off: {error}")))?;
        }
        // What waits stays where it is; the next start goes on with it.
        let spool = self.spool.close().await;
        self.log.close().await.and(spool)
    }
}

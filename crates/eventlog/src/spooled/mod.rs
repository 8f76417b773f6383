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
//! A record the log did not answer for in time may be in it all the same, and is spooled too: a double, not a loss. A start
//! needs no log either, if one before it has seen the topics.

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
        Ok(Self::around(log, spool, found_bytes, settings))
    }

    /// * `spool`: open, and nobody else's.
    pub(crate) fn around(
        log: Arc<dyn EventLog>,
        spool: Arc<EmbeddedLog>,
        found_bytes: u64,
        settings: SpoolSettings,
    ) -> Arc<Self> {
        let lanes = Arc::new(Lanes::new(settings.bytes_max, found_bytes));
        let (stop, stopped) = watch::channel(false);
        let patience = Duration::from_millis(settings.after_ms.saturating_mul(DRAIN_PATIENCE));
        let drain = tokio::spawn(drain::run(log.clone(), spool.clone(), lanes.clone(), patience, stopped));
        Arc::new(Self { log, spool, settings, lanes, stop, drain: Mutex::new(Some(drain)) })
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
        let Some(writing) = self.lanes.begin(topic, partitions, bytes) else {
            for (index, _) in records {
                answers[index] = Some(Err(LogError::Busy));
            }
            return;
        };
        let (indices, records): (Vec<usize>, Vec<(u32, Record)>) = records.into_iter().unzip();
        // In a task of its own: a sender who hangs up must not take the account of what was written with him.
        let written = tokio::spawn(write(self.spool.clone(), writing, topic.to_owned(), records)).await;
        let acks = written.unwrap_or_else(|_| vec![Err(LogError::Unknown); indices.len()]);
        for (index, ack) in indices.into_iter().zip(acks) {
            answers[index] = Some(ack);
        }
    }

    /// The topic as the log told it last, in this life or one before.
    fn remembered(&self, topic: &str) -> Option<TopicInfo> {
        let text = std::fs::read_to_string(self.settings.dir.join(TOPICS_FILE)).ok()?;
        let topics: Vec<(String, u32, String)> = serde_json::from_str(&text).ok()?;
        let found = topics.into_iter().find(|(name, ..)| name == topic);
        found.map(|(topic, partitions, topic_id)| TopicInfo { topic, topic_id, partitions })
    }

    fn remember(&self, info: &TopicInfo) -> Result<(), LogError> {
        let file = self.settings.dir.join(TOPICS_FILE);
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut topics: Vec<(String, u32, String)> = serde_json::from_str(&text).unwrap_or_default();
        let known = (info.topic.clone(), info.partitions, info.topic_id.clone());
        if topics.contains(&known) {
            return Ok(());
        }
        topics.retain(|(name, ..)| *name != info.topic);
        topics.push(known);
        let text = serde_json::to_string(&topics).expect("text and numbers are always JSON");
        let draft = file.with_extension("draft");
        let written = std::fs::File::create(&draft)
            .and_then(|mut out| {
                std::io::Write::write_all(&mut out, text.as_bytes())?;
                out.sync_all()
            })
            .and_then(|()| std::fs::rename(&draft, &file));
        written.map_err(|error| LogError::Fatal(format!("{} cannot be written: {error}", file.display())))
    }

    /// The topic as the log tells it; or, while the log is away, as it told it last.
    async fn topic(&self, spec: &TopicSpec) -> Result<(TopicInfo, bool), LogError> {
        let Some(before) = self.remembered(&spec.name) else {
            return self.log.ensure_topic(spec).await.map(|info| (info, true));
        };
        // It need not be waited for a second time.
        let patience = if self.lanes.has_unseen() { FIRST_LOOK_MAX / 10 } else { FIRST_LOOK_MAX };
        match tokio::time::timeout(patience, self.log.ensure_topic(spec)).await {
            Ok(Ok(info)) => Ok((info, true)),
            Ok(Err(error)) if !is_away(&error) => Err(error),
            // A password that is refused is a fault of the settings, and no weather.
            Ok(Err(LogError::Fatal(told))) => Err(LogError::Fatal(told)),
            _ if before.partitions != spec.partitions => Err(LogError::PartitionsDiffer {
                topic: before.topic,
                asked: spec.partitions,
                found: before.partitions,
            }),
            _ => Ok((before, false)),
        }
    }
}

/// What the log told of its topics, so that a start need not wait for it.
const TOPICS_FILE: &str = "topics.json";
/// How long a start waits for a log it knows before it goes on without.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(5);

async fn write(
    spool: Arc<EmbeddedLog>,
    mut writing: lanes::Writing,
    topic: String,
    records: Vec<(u32, Record)>,
) -> Vec<Result<Ack, LogError>> {
    let sizes: Vec<u64> = records.iter().map(|(_, record)| lanes::bytes_of(record)).collect();
    let acks = spool.append(&topic, records).await;
    let acks = acks.into_iter().zip(sizes).map(|(ack, bytes)| {
        ack.map(|ack| {
            writing.wrote(&ack, bytes);
            Ack { spooled: true, ..ack }
        })
    });
    acks.collect()
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
        let (info, seen) = self.topic(spec).await?;
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
        let before = self.remembered(&spec.name);
        if seen {
            if let Some(before) = before.filter(|before| before.topic_id != info.topic_id)
                && self.lanes.spooling(&spec.name) != Vec::<u32>::new()
            {
                return Err(LogError::Fatal(format!(
                    "the spool in {} holds records of topic {} as it was ({}), and the log has another one of that name ({}): \
                     point the settings at the log they belong to, or move the folder away",
                    self.settings.dir.display(),
                    spec.name,
                    before.topic_id,
                    info.topic_id
                )));
            }
            self.remember(&info)?;
        } else {
            tracing::warn!(topic = info.topic, "the log is away; until it is there all goes to the spool");
            self.lanes.hold(info.clone());
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
        if let Some(fault) = self.lanes.fault() {
            return Err(LogError::Fatal(fault));
        }
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

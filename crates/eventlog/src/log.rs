//! The seam itself: what a log offers, whichever life it leads.
//!
//! In:      records addressed to (topic, partition) by the caller; the log never chooses a partition.
//! Out:     offsets, bounds, records in offset order.
//! Promise: offsets of one partition only grow. They are dense in the embedded log and NOT in Kafka, so a
//!          position is taken from [`Polled::positions`] and never counted.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::LogError;

/// One entry of the log. `time_ms` is UTC milliseconds, given by the writer, greater than zero (Kafka's client
/// takes zero for "now"); the log keeps it, and only retention by age looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Bytes>,
    pub value: Bytes,
    pub time_ms: i64,
}

/// A topic as asked for. `name`: 1 to 200 bytes of `a-z A-Z 0-9 . _ -`; `partitions`: at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
}

/// A topic as it is.
///
/// `topic_id` names this very topic: a topic that is deleted and made anew under the same name must not pass
/// for the old one, or stored offsets would point into other data. Keep it beside every stored offset.
/// Embedded: a uuid made with the topic. Kafka: cluster id and topic name (the topic's own uuid is out of
/// reach of the safe client, see `kafka`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    pub topic: String,
    pub topic_id: String,
    pub partitions: u32,
}

/// Where a record now stands, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    pub partition: u32,
    pub offset: u64,
    /// It waits in the spool and is not in the log yet; `offset` is the spool's.
    pub spooled: bool,
}

/// What waits in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolState {
    pub bytes: u64,
    pub bytes_max: u64,
    /// Partitions whose records go through the spool now.
    pub partitions: u32,
    pub records: u64,
}

impl SpoolState {
    /// From 0 (empty) to 1 (full).
    pub fn fill(&self) -> f64 {
        if self.bytes_max == 0 { 1.0 } else { self.bytes as f64 / self.bytes_max as f64 }
    }
}

/// What a partition holds: offsets `earliest..next`, counting durable records only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub earliest: u64,
    pub next: u64,
}

/// A record as read. Its bytes share the buffer of the read they came with: copy out what is kept for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub partition: u32,
    pub offset: u64,
    pub record: Record,
}

/// The answer to one poll.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Polled {
    /// In offset order within a partition.
    pub records: Vec<Delivered>,
    /// (partition, next offset) after `records`, for every partition of the reader, ascending by partition.
    /// On Kafka it may exceed the last record's offset by more than one.
    pub positions: Vec<(u32, u64)>,
    /// Partitions with nothing more to read at the moment of the poll, ascending.
    pub at_end: Vec<u32>,
    /// What the group decided (readers of [`EventLog::group_reader`] only). It comes without records and in every poll
    /// until it is answered; no record comes meanwhile.
    pub change: Option<Change>,
}

/// What a group decided about a reader's partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These are the reader's too from now on, perhaps none. Answer with [`LogReader::take`].
    Assigned(Vec<u32>),
    /// Another waits for these: finish what was read of them, then answer with [`LogReader::release`].
    Revoked(Vec<u32>),
    /// These may be another's already: drop what was read of them and answer with [`LogReader::release`].
    Lost(Vec<u32>),
}

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes the topic, or finds it. An existing topic with another number of partitions is an error:
    /// repartitioning would send a key elsewhere.
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError>;

    /// How many partitions the topic has at this moment: on Kafka anybody may add some.
    async fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// Appends records, each with its partition; resolves once every one is durable or refused.
    ///
    /// * One result per record, in the order given. Records of one partition keep their order.
    /// * Not atomic: some may be refused while others stand.
    /// * Dropping the future may or may not append the records.
    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>>;

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError>;

    /// A reader of exactly these partitions, from exactly these offsets.
    ///
    /// `start`: (partition, first offset to read), each partition once. An offset before `earliest` or after
    /// `next` is [`LogError::OutOfRange`]; the same error comes from a poll when retention overtakes the reader.
    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError>;

    /// A reader of those partitions that `group` gives it, among all readers of the group in any process. It reads none
    /// until [`LogReader::take`] says from where: no position of the group is ever used. The embedded log belongs to one
    /// process and refuses.
    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError>;

    /// The record at exactly this offset; `None` if the partition holds none there, or no longer.
    async fn record_at(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<Record>, LogError> {
        /// A broker in good health answers in a tenth of a second.
        const PATIENCE: Duration = Duration::from_secs(15);
        let Bounds { earliest, next } = self.bounds(topic, partition).await?;
        if !(earliest..next).contains(&offset) {
            return Ok(None);
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut reader = match self.reader(topic, &[(partition, offset)]).await {
            // Retention was faster.
            Err(LogError::OutOfRange { .. }) => return Ok(None),
            opened => opened?,
        };
        while tokio::time::Instant::now() < deadline {
            let polled = match reader.poll(1, Duration::from_millis(200)).await {
                Err(LogError::OutOfRange { .. }) => return Ok(None),
                polled => polled?,
            };
            if let Some(first) = polled.records.into_iter().next() {
                return Ok((first.offset == offset).then_some(first.record));
            }
            if polled.at_end.contains(&partition) {
                return Ok(None);
            }
        }
        Err(LogError::Retriable(format!("record {offset} of partition {partition} of topic {topic} did not come")))
    }

    /// Tells how far `group` has come, for showing lag. Recovery never reads it: positions for recovery are
    /// committed with the rows they produced.
    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError>;

    /// What `group` last reported; `None` if it never did.
    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError>;

    /// Says that offsets below `keep_from` are no longer needed. A hint: the log frees what it can and returns
    /// the earliest offset it still holds, at most `keep_from` unless it stood higher already.
    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError>;

    /// Would an append be taken now? For readiness.
    async fn check(&self) -> Result<(), LogError>;

    /// What waits in the spool before this log, if there is one.
    fn spool_state(&self) -> Option<SpoolState> {
        None
    }

    /// Makes what was taken durable and lets go. Later calls fail.
    async fn close(&self) -> Result<(), LogError>;
}

#[async_trait]
pub trait LogReader: Send {
    /// The next records, at least one unless `wait` passes first; about `bytes_max` of keys and values, and
    /// always at least one record however large.
    ///
    /// Cancel-safe: a dropped poll loses nothing, the next one delivers what it would have.
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError>;

    /// Answers [`Change::Assigned`]: reads those partitions too, each from exactly this offset.
    async fn take(&mut self, _start: &[(u32, u64)]) -> Result<(), LogError> {
        Err(LogError::Invalid("a reader of fixed partitions takes no others".into()))
    }

    /// Answers [`Change::Revoked`] and [`Change::Lost`]: reads those partitions no longer.
    async fn release(&mut self) -> Result<(), LogError> {
        Err(LogError::Invalid("a reader of fixed partitions has none to give back".into()))
    }

    /// Ends the reader, and tells its group, so that others need not wait until it is missed. Dropping it does the same
    /// in its own time.
    async fn close(&mut self) -> Result<(), LogError> {
        Ok(())
    }
}

impl TopicSpec {
    /// Whether a log can hold it; if not, what to give instead.
    pub fn check(&self) -> Result<(), &'static str> {
        /// Kafka's rule is 249; a file name needs room for a suffix.
        const NAME_BYTES_MAX: usize = 200;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let name = self.name.as_str();
        if !(1..=NAME_BYTES_MAX).contains(&name.len())
            || !name.bytes().all(plain)
            || name.starts_with('.')
            || name.ends_with(".unfinished")
        {
            return Err("write 1 to 200 characters of a-z A-Z 0-9 . _ -, not beginning with a dot and not ending in \
                        .unfinished");
        }
        if self.partitions == 0 { Err("give it 1 partition or more") } else { Ok(()) }
    }
}

pub(crate) fn check_spec(spec: &TopicSpec) -> Result<(), LogError> {
    spec.check().map_err(|advice| LogError::Invalid(format!("topic {:?}: {advice}", spec.name)))
}

/// Ascending by partition; at least one, none twice.
pub(crate) fn check_start(start: &[(u32, u64)]) -> Result<Vec<(u32, u64)>, LogError> {
    let mut next = start.to_vec();
    next.sort_unstable();
    if next.is_empty() {
        return Err(LogError::Invalid("a reader was given no partition".into()));
    }
    if next.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(LogError::Invalid("a reader was given the same partition twice".into()));
    }
    Ok(next)
}

pub(crate) fn in_bounds(topic: &str, partition: u32, asked: u64, bounds: Bounds) -> Result<(), LogError> {
    let Bounds { earliest, next } = bounds;
    if (earliest..=next).contains(&asked) {
        return Ok(());
    }
    Err(LogError::OutOfRange { topic: topic.to_owned(), partition, earliest, next, asked })
}

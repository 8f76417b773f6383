//! A log whose past can be made another: as when a topic is deleted and made anew, or given partitions.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tributary_eventlog::{Ack, Bounds, EventLog, LogError, LogReader, Polled, Record, TopicInfo, TopicSpec};

#[derive(Default)]
pub(crate) struct Changed {
    /// Every record has other bytes than it was written with.
    rewritten: AtomicBool,
    /// A record asked for by itself is not there; the one after it is.
    hidden: AtomicBool,
    /// The log begins where it ends.
    forgotten: AtomicBool,
    added: AtomicU32,
    removed: AtomicU32,
}

impl Changed {
    pub(crate) fn rewrite(&self, on: bool) {
        self.rewritten.store(on, Ordering::SeqCst);
    }

    pub(crate) fn hide(&self, on: bool) {
        self.hidden.store(on, Ordering::SeqCst);
    }

    pub(crate) fn forget_all(&self, on: bool) {
        self.forgotten.store(on, Ordering::SeqCst);
    }

    /// To the topic of events, as far as it is counted.
    pub(crate) fn add_partitions(&self, count: u32) {
        self.added.store(count, Ordering::SeqCst);
    }

    pub(crate) fn remove_partitions(&self, count: u32) {
        self.removed.store(count, Ordering::SeqCst);
    }
}

pub(crate) struct ChangedLog {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) changed: Arc<Changed>,
}

struct ChangedReader {
    inner: Box<dyn LogReader>,
    changed: Arc<Changed>,
}

#[async_trait]
impl LogReader for ChangedReader {
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError> {
        let mut polled = self.inner.poll(bytes_max, wait).await?;
        if self.changed.rewritten.load(Ordering::SeqCst) {
            for delivered in &mut polled.records {
                delivered.record.value = Bytes::from_static(b"of another log");
            }
        }
        Ok(polled)
    }
}

#[async_trait]
impl EventLog for ChangedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        self.log.ensure_topic(spec).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let partitions = self.log.partitions(topic).await?;
        if topic == "dead_letters" {
            return Ok(partitions);
        }
        Ok(partitions + self.changed.added.load(Ordering::SeqCst) - self.changed.removed.load(Ordering::SeqCst))
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        self.log.append(topic, records).await
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds(topic, partition).await?;
        let forgotten = self.changed.forgotten.load(Ordering::SeqCst);
        Ok(if forgotten { Bounds { earliest: bounds.next, ..bounds } } else { bounds })
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.log.reader(topic, start).await?;
        Ok(Box::new(ChangedReader { inner, changed: self.changed.clone() }))
    }

    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.log.group_reader(group, topic).await
    }

    async fn record_at(&self, topic: &str, partition: u32, offset: u64) -> Result<Option<Record>, LogError> {
        if self.changed.hidden.load(Ordering::SeqCst) || self.changed.forgotten.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let found = self.log.record_at(topic, partition, offset).await?;
        let rewritten = self.changed.rewritten.load(Ordering::SeqCst);
        Ok(found.map(|record| if rewritten { Record { value: "of another log".into(), ..record } } else { record }))
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

    async fn check(&self) -> Result<(), LogError> {
        self.log.check().await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.log.close().await
    }
}

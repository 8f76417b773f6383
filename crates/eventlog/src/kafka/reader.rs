//! Reading from Kafka: explicit offsets, nothing stored with the broker.
//!
//! In:      partitions and offsets from the owner, or partitions from a group and offsets from the owner.
//! Out:     records; what the group decided.
//! Promise: what has been taken from librdkafka but not yet given out stays here when a poll is dropped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use tokio::sync::oneshot;

use super::context::Context;
use super::group::Membership;
use super::{Asker, errors, partitions, positions, record_bytes};
use crate::log::{check_start, in_bounds};
use crate::{Change, Delivered, LogError, LogReader, Polled, Record};

/// Counted for each record beside its bytes, so that a poll of empty records ends too.
const ENTRY_BYTES: usize = 16;

pub(crate) struct KafkaReader {
    topic: String,
    asker: Asker,
    /// `None` once closed.
    consumer: Option<StreamConsumer<Context>>,
    group: Option<Arc<Membership>>,
    ready: Vec<Delivered>,
    ready_bytes: usize,
    /// (partition, next offset), ascending by partition.
    next: Vec<(u32, u64)>,
    at_end: BTreeSet<u32>,
}

enum News {
    Record(Delivered),
    End(u32),
    /// The connection is gone or slow; librdkafka mends it by itself.
    Disturbed,
    OutOfRange,
    Failed(LogError),
}

impl KafkaReader {
    pub(crate) async fn start(
        config: &ClientConfig,
        asker: Asker,
        topic: &str,
        start: &[(u32, u64)],
    ) -> Result<Self, LogError> {
        let next = check_start(start)?;
        for (partition, offset) in &next {
            in_bounds(topic, *partition, *offset, asker.bounds(topic, *partition).await?)?;
        }
        let list = positions(topic, &next)?;
        let reader = Self::new(config, asker, topic, next, None)?;
        reader.consumer()?.assign(&list).map_err(|error| errors::of_request(&error, topic))?;
        Ok(reader)
    }

    /// Becomes a member of the group named in `config`.
    pub(crate) fn join(config: &ClientConfig, asker: Asker, topic: &str) -> Result<Self, LogError> {
        let reader = Self::new(config, asker, topic, Vec::new(), Some(Arc::default()))?;
        reader.consumer()?.subscribe(&[topic]).map_err(|error| errors::of_request(&error, topic))?;
        Ok(reader)
    }

    fn new(
        config: &ClientConfig,
        asker: Asker,
        topic: &str,
        next: Vec<(u32, u64)>,
        group: Option<Arc<Membership>>,
    ) -> Result<Self, LogError> {
        let context = group.iter().fold(asker.context.clone(), |context, group| context.of_member(group.clone()));
        let consumer: StreamConsumer<Context> =
            config.create_with_context(context).map_err(|error| errors::of_request(&error, topic))?;
        Ok(Self {
            topic: topic.to_owned(),
            asker,
            consumer: Some(consumer),
            group,
            ready: Vec::new(),
            ready_bytes: 0,
            next,
            at_end: BTreeSet::new(),
        })
    }

    fn consumer(&self) -> Result<&StreamConsumer<Context>, LogError> {
        self.consumer.as_ref().ok_or(LogError::Closed)
    }

    async fn take_in(&mut self, news: News) -> Result<(), LogError> {
        match news {
            News::Record(delivered) => {
                self.at_end.remove(&delivered.partition);
                let next = self.next.iter_mut().find(|(partition, _)| *partition == delivered.partition);
                let Some((_, next)) = next.filter(|(_, next)| *next <= delivered.offset) else { return Ok(()) };
                *next = delivered.offset + 1;
                self.ready_bytes += ENTRY_BYTES + record_bytes(&delivered.record);
                self.ready.push(delivered);
            }
            News::End(partition) => {
                self.at_end.insert(partition);
            }
            // Without a connection we do not know where the end is.
            News::Disturbed => self.at_end.clear(),
            News::OutOfRange => return Err(self.out_of_range().await),
            News::Failed(error) => return Err(error),
        }
        Ok(())
    }

    /// librdkafka says only that some offset is out of range; we say which.
    async fn out_of_range(&self) -> LogError {
        for (partition, offset) in &self.next {
            let checked = match self.asker.bounds(&self.topic, *partition).await {
                Ok(bounds) => in_bounds(&self.topic, *partition, *offset, bounds),
                Err(error) => Err(error),
            };
            if let Err(error) = checked {
                return error;
            }
        }
        LogError::Retriable(format!("topic {} moved under the reader", self.topic))
    }

    fn answer(&mut self) -> Polled {
        self.ready_bytes = 0;
        Polled {
            records: std::mem::take(&mut self.ready),
            positions: self.next.clone(),
            at_end: self.at_end.iter().copied().collect(),
            change: None,
        }
    }

    /// Takes the client down and, if it is a member of a group, out of it; says when that is done. Its threads are waited
    /// for, up to seconds when a broker is gone: on a thread that nobody else needs. `None`: it is down already.
    fn end(&mut self) -> Option<oneshot::Receiver<()>> {
        let consumer = self.consumer.take()?;
        let (group, topic) = (self.group.clone(), self.topic.clone());
        let (done, ended) = oneshot::channel();
        let ending = move || {
            if let Some(group) = &group {
                group.leave(&consumer, &topic);
            }
            drop(consumer);
            // Whether anybody waits does not matter.
            _ = done.send(());
        };
        drop(std::thread::Builder::new().name("log-reader-ends".into()).spawn(ending));
        Some(ended)
    }
}

async fn came(group: Option<&Arc<Membership>>) {
    match group {
        Some(group) => group.came().await,
        None => std::future::pending().await,
    }
}

#[async_trait]
impl LogReader for KafkaReader {
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            while self.ready_bytes < bytes_max || self.ready.is_empty() {
                let news = self.consumer()?.recv().now_or_never().map(|got| sort(got, &self.topic));
                let Some(news) = news else { break };
                self.take_in(news).await?;
            }
            if !self.ready.is_empty() {
                return Ok(self.answer());
            }
            if let Some(change) = self.group.as_ref().and_then(|group| group.first()) {
                return Ok(Polled { change: Some(change), ..self.answer() });
            }
            let consumer = self.consumer()?;
            let news = tokio::select! {
                biased;
                // The event of a rebalance wakes whoever receives, but is no message: it is looked for above.
                () = came(self.group.as_ref()) => continue,
                waited = tokio::time::timeout_at(deadline, consumer.recv()) => {
                    waited.map(|got| sort(got, &self.topic))
                }
            };
            match news {
                Ok(news) => self.take_in(news).await?,
                Err(_) => return Ok(self.answer()),
            }
        }
    }

    async fn take(&mut self, start: &[(u32, u64)]) -> Result<(), LogError> {
        let Some(group) = self.group.clone() else {
            return Err(LogError::Invalid("a reader of fixed partitions takes no others".into()));
        };
        let Some(Change::Assigned(assigned)) = group.first() else {
            return Err(LogError::Invalid("the group has given this reader nothing to take".into()));
        };
        let start = if start.is_empty() { Vec::new() } else { check_start(start)? };
        if !start.iter().map(|(partition, _)| *partition).eq(assigned.iter().copied()) {
            return Err(LogError::Invalid(format!("the group gave partitions {assigned:?}, taken are {start:?}")));
        }
        for (partition, offset) in &start {
            in_bounds(&self.topic, *partition, *offset, self.asker.bounds(&self.topic, *partition).await?)?;
        }
        let list = positions(&self.topic, &start)?;
        let taken = self.consumer()?.incremental_assign(&list);
        taken.map_err(|error| errors::of_request(&error, &self.topic))?;
        group.answered();
        self.next.retain(|(partition, _)| !assigned.contains(partition));
        self.next.extend(start);
        self.next.sort_unstable();
        self.at_end.retain(|partition| !assigned.contains(partition));
        Ok(())
    }

    async fn release(&mut self) -> Result<(), LogError> {
        let Some(group) = self.group.clone() else {
            return Err(LogError::Invalid("a reader of fixed partitions has none to give back".into()));
        };
        let Some(Change::Revoked(gone) | Change::Lost(gone)) = group.first() else {
            return Err(LogError::Invalid("the group has asked this reader for nothing back".into()));
        };
        let released = self.consumer()?.incremental_unassign(&partitions(&self.topic, &gone)?);
        released.map_err(|error| errors::of_request(&error, &self.topic))?;
        group.answered();
        self.next.retain(|(partition, _)| !gone.contains(partition));
        self.at_end.retain(|partition| !gone.contains(partition));
        Ok(())
    }

    async fn close(&mut self) -> Result<(), LogError> {
        let Some(ended) = self.end() else { return Ok(()) };
        // A thread that could not be had has dropped the other half.
        ended.await.map_err(|_| LogError::Retriable("a reader could not be closed".into()))
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        drop(self.end());
    }
}

fn sort(got: Result<BorrowedMessage<'_>, KafkaError>, topic: &str) -> News {
    let error = match got {
        Ok(message) => return delivered(&message),
        Err(error) => error,
    };
    if let KafkaError::PartitionEOF(partition) = error {
        return u32::try_from(partition).map_or(News::Disturbed, News::End);
    }
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange) => News::OutOfRange,
        _ => match errors::of_request(&error, topic) {
            LogError::Retriable(_) => News::Disturbed,
            error => News::Failed(error),
        },
    }
}

fn delivered(message: &BorrowedMessage<'_>) -> News {
    let (Ok(partition), Ok(offset)) = (u32::try_from(message.partition()), u64::try_from(message.offset())) else {
        return News::Failed(LogError::Fatal("Kafka gave a record a negative offset".into()));
    };
    News::Record(Delivered {
        partition,
        offset,
        record: Record {
            key: message.key().map(Bytes::copy_from_slice),
            value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            time_ms: message.timestamp().to_millis().unwrap_or_default(),
        },
    })
}

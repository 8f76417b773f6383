//! Reading from Kafka: assigned partitions, explicit offsets, nothing stored with the broker.
//!
//! Promise: what has been taken from librdkafka but not yet given out stays here when a poll is dropped.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};

use super::context::Context;
use super::{Asker, errors, positions, record_bytes};
use crate::log::{check_start, in_bounds};
use crate::{Delivered, LogError, LogReader, Polled, Record};

/// Counted for each record beside its bytes, so that a poll of empty records ends too.
const ENTRY_BYTES: usize = 16;

pub(crate) struct KafkaReader {
    topic: String,
    asker: Asker,
    /// `None` only while being dropped.
    consumer: Option<StreamConsumer<Context>>,
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
        let consumer: StreamConsumer<Context> =
            config.create_with_context(asker.context.clone()).map_err(|error| errors::of_request(&error, topic))?;
        let reader = Self {
            topic: topic.to_owned(),
            asker,
            consumer: Some(consumer),
            ready: Vec::new(),
            ready_bytes: 0,
            next,
            at_end: BTreeSet::new(),
        };
        let list = positions(topic, &reader.next)?;
        reader.consumer()?.assign(&list).map_err(|error| errors::of_request(&error, topic))?;
        Ok(reader)
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
        }
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
            let waited = tokio::time::timeout_at(deadline, self.consumer()?.recv()).await;
            let news = waited.map(|got| sort(got, &self.topic));
            match news {
                Ok(news) => self.take_in(news).await?,
                Err(_) => return Ok(self.answer()),
            }
        }
    }
}

impl Drop for KafkaReader {
    fn drop(&mut self) {
        // Closing a consumer waits for its threads, up to seconds when a broker is gone: not on a runtime thread.
        let consumer = self.consumer.take();
        drop(std::thread::Builder::new().name("log-reader-ends".into()).spawn(move || drop(consumer)));
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

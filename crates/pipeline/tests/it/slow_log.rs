//! A log whose readers say they are at the end while records are on their way to them, as Kafka's do.

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tributary_eventlog::{Ack, Bounds, EventLog, LogError, LogReader, Polled, Record, TopicInfo, TopicSpec};

pub(crate) struct SlowLog(pub(crate) Arc<dyn EventLog>);

struct SlowReader {
    inner: Box<dyn LogReader>,
    start: Vec<(u32, u64)>,
    polls_left: u32,
}

#[async_trait]
impl LogReader for SlowReader {
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError> {
        if self.polls_left == 0 {
            return self.inner.poll(bytes_max, wait).await;
        }
        self.polls_left -= 1;
        tokio::time::sleep(wait).await;
        let at_end = self.start.iter().map(|(partition, _)| *partition).collect();
        Ok(Polled { records: Vec::new(), positions: self.start.clone(), at_end, change: None })
    }
}

#[async_trait]
impl EventLog for SlowLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        self.0.ensure_topic(spec).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.0.partitions(topic).await
    }

    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.0.group_reader(group, topic).await
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        self.0.append(topic, records).await
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.0.bounds(topic, partition).await
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        let inner = self.0.reader(topic, start).await?;
        Ok(Box::new(SlowReader { inner, start: start.to_vec(), polls_left: 20 }))
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        self.0.report_position(group, topic, next).await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.0.position(group, topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        self.0.trim(topic, partition, keep_from).await
    }

    async fn check(&self) -> Result<(), LogError> {
        self.0.check().await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.0.close().await
    }
}

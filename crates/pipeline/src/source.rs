//! One topic as the job reads it: whoever decides about its partitions, it is polled in one way.
//!
//! In:       partitions with where to begin, or the name of a group that hands them out.
//! Out:      records, and what the group decided.
//! Promise:  a worker that owns no partition waits in peace; a position outside the log is `LogLost`, at the start and
//!           later. Polls are cancel-safe.

use std::time::Duration;

use tributary_eventlog::{EventLog, LogError, LogReader, Polled, TopicInfo};

use crate::error::PipelineError;

pub(crate) struct Source {
    topic: String,
    /// `None`: no partition is ours and none ever will be.
    reader: Option<Box<dyn LogReader>>,
}

impl Source {
    /// Of no partition.
    pub(crate) fn idle(topic: &TopicInfo) -> Self {
        Self { topic: topic.topic.clone(), reader: None }
    }

    /// Of exactly these partitions.
    pub(crate) async fn fixed(
        log: &dyn EventLog,
        topic: &TopicInfo,
        start: &[(u32, u64)],
    ) -> Result<Self, PipelineError> {
        if start.is_empty() {
            return Ok(Self::idle(topic));
        }
        let topic = topic.topic.clone();
        let reader = log.reader(&topic, start).await.map_err(|error| log_error(&topic, error))?;
        Ok(Self { topic, reader: Some(reader) })
    }

    /// Of what the group hands out. Each topic has a group of its own, so that one rebalance does not disturb the other.
    pub(crate) async fn shared(log: &dyn EventLog, topic: &TopicInfo, group: &str) -> Result<Self, PipelineError> {
        let topic = topic.topic.clone();
        let reader = log.group_reader(&format!("{group}.{topic}"), &topic).await;
        Ok(Self { reader: Some(reader.map_err(|error| log_error(&topic, error))?), topic })
    }

    pub(crate) async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, PipelineError> {
        match &mut self.reader {
            Some(reader) => reader.poll(bytes_max, wait).await.map_err(|error| log_error(&self.topic, error)),
            None => std::future::pending().await,
        }
    }

    /// Answers that partitions came: reads them from here.
    pub(crate) async fn take(&mut self, start: &[(u32, u64)]) -> Result<(), PipelineError> {
        match &mut self.reader {
            Some(reader) => reader.take(start).await.map_err(|error| log_error(&self.topic, error)),
            None => Ok(()),
        }
    }

    /// Answers that partitions are asked back, or are lost.
    pub(crate) async fn release(&mut self) -> Result<(), PipelineError> {
        match &mut self.reader {
            Some(reader) => reader.release().await.map_err(|error| log_error(&self.topic, error)),
            None => Ok(()),
        }
    }

    /// Lets the others of the group know at once that this worker is gone. If that fails they find out by themselves.
    pub(crate) async fn close(&mut self) {
        const CLOSE_MAX: Duration = Duration::from_secs(5);
        let Some(mut reader) = self.reader.take() else { return };
        if !matches!(tokio::time::timeout(CLOSE_MAX, reader.close()).await, Ok(Ok(()))) {
            tracing::debug!(topic = self.topic, "a reader did not close in time");
        }
    }
}

pub(crate) fn log_error(topic: &str, error: LogError) -> PipelineError {
    let topic = topic.to_owned();
    match error {
        LogError::OutOfRange { partition, earliest, next, asked, .. } => {
            PipelineError::LogLost { topic, partition, committed: asked, earliest, next }
        }
        source => PipelineError::Log { topic, source },
    }
}

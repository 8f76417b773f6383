//! The embedded log: segment files in one data directory, no other process needed.
//!
//! In:       appends from any task; a directory.
//! Out:      acknowledgements after `fdatasync`; reads of durable records.
//! Promise:  see the crate. One process at a time holds the directory. `kill -9` and power cuts lose nothing that
//!           was acknowledged (`recovery.rs` says how); a full disk refuses writes and the log lives on.
//! Not here: a network, replication.
//!
//! ```text
//!  dir/LOCK                        held while open
//!  dir/positions.json              what groups reported, for lag
//!  dir/topics/NAME/topic.json      id and partitions
//!  dir/topics/NAME/00..042.log     segment (segment.rs), frames (frame.rs), shared by all partitions
//!  dir/topics/NAME/00..042.idx     map of a closed segment, a shortcut (index.rs)
//! ```
//!
//! Reading order: append goes through `queue`, `commit`, `frame`, `segment`; reading through `topic`, `reader`.

mod disk;
mod settings;
mod store;

mod commit;
mod frame;
mod index;
mod positions;
mod queue;
mod reader;
mod recovery;
mod segment;
mod topic;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use settings::EmbeddedSettings;

use crate::{Ack, Bounds, EventLog, LogError, LogReader, Record, TopicInfo, TopicSpec};
use disk::{Disk, RealDisk};
use reader::EmbeddedReader;
use store::Store;
use topic::Topic;

pub struct EmbeddedLog {
    store: Arc<Store>,
}

impl EmbeddedLog {
    /// Takes the directory and recovers every topic in it. Blocks for file operations: seconds after a crash
    /// at worst (one segment a topic is read), milliseconds after a clean stop.
    pub fn open(settings: EmbeddedSettings) -> Result<Arc<Self>, LogError> {
        Self::open_on(Arc::new(RealDisk), settings)
    }

    fn open_on(disk: Arc<dyn Disk>, settings: EmbeddedSettings) -> Result<Arc<Self>, LogError> {
        Ok(Arc::new(Self { store: Arc::new(Store::open(disk, settings)?) }))
    }

    pub fn dir(&self) -> PathBuf {
        self.store.settings.dir.clone()
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| LogError::Fatal(format!("a file operation was ended: {error}")))?
    }

    /// Refuses what can never be taken, queues the rest, waits for the round.
    async fn append_to(&self, topic: &Topic, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        let refusals: Vec<Option<LogError>> =
            records.iter().map(|(partition, record)| self.refusal(topic, *partition, record)).collect();
        let good: Vec<(u32, Record)> =
            records.into_iter().zip(&refusals).filter(|(_, refusal)| refusal.is_none()).map(|(pair, _)| pair).collect();
        let answer = if good.is_empty() { Ok(Vec::new()) } else { queue_and_wait(topic, good).await };
        let mut acks = answer.map(Vec::into_iter);
        let mut one = || match &mut acks {
            Ok(acks) => acks.next().ok_or(LogError::Unknown),
            Err(error) => Err(error.clone()),
        };
        refusals.into_iter().map(|refusal| refusal.map_or_else(&mut one, Err)).collect()
    }

    fn refusal(&self, topic: &Topic, partition: u32, record: &Record) -> Option<LogError> {
        let bytes = record.value.len() + record.key.as_ref().map_or(0, bytes::Bytes::len);
        let bytes_max = self.store.settings.record_bytes_max;
        if bytes_max < bytes {
            return Some(LogError::TooLarge { bytes, bytes_max });
        }
        topic.check_partition(partition).err()
    }
}

async fn queue_and_wait(topic: &Topic, records: Vec<(u32, Record)>) -> Result<Vec<Ack>, LogError> {
    let answer = topic.queue.put(records).await?;
    // Without an answer the commit thread broke, in the middle of we do not know what.
    answer.await.unwrap_or(Err(LogError::Unknown))
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        let spec = spec.clone();
        self.blocking(move |store| store.ensure_topic(&spec)).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.store.topic(topic)?.partitions)
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        match self.store.topic(topic) {
            Ok(topic) => self.append_to(&topic, records).await,
            Err(error) => vec![Err(error); records.len()],
        }
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        let topic = self.store.topic(topic)?;
        topic.check_partition(partition)?;
        let state = topic.state();
        state.check_readable()?;
        Ok(state.bounds(partition))
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(EmbeddedReader::new(self.store.topic(topic)?, start)?))
    }

    async fn group_reader(&self, _group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        Err(LogError::Invalid(format!(
            "topic {topic} cannot be shared by a group: the embedded log belongs to one process. Read its partitions by \
             their numbers (pipeline.assignment = \"static\"), or keep the log on Kafka"
        )))
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        let topic = self.store.topic(topic)?;
        topic.state().check_readable()?;
        for (partition, _) in next {
            topic.check_partition(*partition)?;
        }
        let (group, next) = (group.to_owned(), next.to_vec());
        self.blocking(move |store| store.report_position(&group, &topic.name, &next)).await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.store.topic(topic)?.check_partition(partition)?;
        Ok(self.store.positions.get(group, topic, partition))
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        let topic = self.store.topic(topic)?;
        topic.check_partition(partition)?;
        self.blocking(move |_| store::trim(&topic, partition, keep_from)).await
    }

    async fn check(&self) -> Result<(), LogError> {
        self.blocking(Store::check).await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.blocking(Store::close).await
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        // Waits for the round that is being written. A caller that can not spare the moment closes first.
        drop(self.store.close());
    }
}

//! What an operator wants to know of a topic and the line does not.
//!
//! In:      the settings of a cluster, a topic's name.
//! Out:     how many copies each partition has, and how many of them are up to date.
//! Promise: asks, and changes nothing.

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{KafkaSettings, errors};
use crate::LogError;

/// (copies, copies in sync) of each partition. Blocks for at most the request time-out.
pub fn replicas(settings: &KafkaSettings, topic: &str) -> Result<Vec<(usize, usize)>, LogError> {
    let consumer: BaseConsumer =
        settings.client().create().map_err(|error| LogError::Invalid(format!("Kafka settings: {error}")))?;
    let metadata = consumer.fetch_metadata(Some(topic), settings.request_timeout());
    let metadata = metadata.map_err(|error| errors::of_request(&error, topic))?;
    let found = metadata.topics().iter().find(|found| found.name() == topic && found.error().is_none());
    let found = found.ok_or_else(|| LogError::NoSuchTopic { topic: topic.to_owned() })?;
    Ok(found.partitions().iter().map(|partition| (partition.replicas().len(), partition.isr().len())).collect())
}

//! What can be set about the log, and what must hold before it is opened.
//!
//! In:      the `[log]` part of the settings.
//! Out:     the settings of either life of the log; every fault in them, by the name of its knob.
//! Promise: what is refused here is what the log itself would refuse, told before a port is bound or a file made.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tributary_eventlog::TopicSpec;
use tributary_eventlog::embedded::EmbeddedSettings;
use tributary_eventlog::spooled::SpoolSettings;
use tributary_schemas::{Clock, SystemClock};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogKind {
    Embedded,
    Kafka,
}

/// What to do about a topic of events that was given more partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PartitionsGrown {
    Stop,
    Accept,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSettings {
    pub(crate) kind: LogKind,
    pub(crate) partitions: u32,
    pub(crate) partitions_grown: PartitionsGrown,
    pub(crate) events_topic: String,
    pub(crate) dead_letters_topic: String,
    pub(crate) dead_letters_partitions: u32,
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes_max: u64,
    pub(crate) retention_bytes_max: u64,
    pub(crate) retention_hours_max: u64,
    pub(crate) queue_bytes_max: usize,
    pub(crate) queue_wait_ms_max: u64,
    pub(crate) record_bytes_max: usize,
    pub(crate) round_bytes_max: usize,
    pub(crate) kafka_bootstrap_servers: String,
    pub(crate) kafka_replication_factor: u16,
    pub(crate) kafka_message_timeout_ms: u32,
    pub(crate) kafka_request_timeout_ms: u32,
    pub(crate) kafka_linger_ms: u32,
    pub(crate) kafka_properties: BTreeMap<String, String>,
    pub(crate) kafka_topic_config: BTreeMap<String, String>,
    pub(crate) spool: bool,
    pub(crate) spool_dir: PathBuf,
    pub(crate) spool_bytes_max: u64,
    pub(crate) spool_after_ms: u64,
}

impl LogSettings {
    /// Every fault, each naming its knob.
    pub(super) fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.partitions == 0 {
            faults.push("log.partitions is 0; give 1 or more".to_owned());
        }
        if self.dead_letters_partitions == 0 {
            faults.push("log.dead_letters_partitions is 0; give 1 or more".to_owned());
        }
        for (name, topic) in [("events_topic", &self.events_topic), ("dead_letters_topic", &self.dead_letters_topic)] {
            if let Err(advice) = (TopicSpec { name: topic.clone(), partitions: 1 }).check() {
                faults.push(format!("log.{name} is {topic:?}; {advice}"));
            }
        }
        if self.events_topic == self.dead_letters_topic {
            faults.push("log.events_topic and log.dead_letters_topic must differ".to_owned());
        }
        if self.spool && (self.spool_bytes_max == 0 || self.spool_after_ms == 0) {
            faults.push(
                "log.spool_bytes_max and log.spool_after_ms must be 1 or more; or set log.spool = false".to_owned(),
            );
        }
        // Kafka's life has these limits too, where it has the knob.
        let of_the_log = self.embedded(Arc::new(SystemClock)).check();
        faults.extend(of_the_log.into_iter().map(|fault| format!("log.{fault}")));
        if self.kind == LogKind::Kafka {
            if self.kafka_bootstrap_servers.is_empty() {
                faults
                    .push("log.kafka_bootstrap_servers is empty; name the brokers, such as localhost:9092".to_owned());
            }
            if self.kafka_replication_factor == 0 {
                faults.push("log.kafka_replication_factor is 0; give 1 on a single broker, best 3".to_owned());
            }
            if cfg!(not(feature = "kafka")) {
                faults.push("log.kind is kafka, but this program was built without the feature `kafka`".to_owned());
            }
        }
        faults
    }

    /// `now_ms` comes from the clock seam.
    pub(crate) fn embedded(&self, clock: Arc<dyn Clock>) -> EmbeddedSettings {
        let limit = |value: u64| (value > 0).then_some(value);
        EmbeddedSettings {
            segment_bytes_max: self.segment_bytes_max,
            retention_bytes_max: limit(self.retention_bytes_max),
            retention_age_ms_max: limit(self.retention_hours_max.saturating_mul(3_600_000)),
            retention_waits_for: vec![tributary_pipeline::GROUP.to_owned()],
            queue_bytes_max: self.queue_bytes_max,
            queue_wait_ms_max: self.queue_wait_ms_max,
            record_bytes_max: self.record_bytes_max,
            round_bytes_max: self.round_bytes_max,
            now_ms: Arc::new(move || clock.now_us() / 1_000),
            ..EmbeddedSettings::in_dir(self.dir.clone())
        }
    }

    pub(crate) fn spool(&self) -> SpoolSettings {
        SpoolSettings {
            dir: self.spool_dir.clone(),
            bytes_max: self.spool_bytes_max,
            after_ms: self.spool_after_ms,
            record_bytes_max: self.record_bytes_max,
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn kafka(&self) -> tributary_eventlog::kafka::KafkaSettings {
        let pairs =
            |map: &BTreeMap<String, String>| map.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        tributary_eventlog::kafka::KafkaSettings {
            replication_factor: self.kafka_replication_factor,
            message_timeout_ms: self.kafka_message_timeout_ms,
            request_timeout_ms: self.kafka_request_timeout_ms,
            linger_ms: self.kafka_linger_ms,
            record_bytes_max: self.record_bytes_max,
            queue_bytes_max: self.queue_bytes_max,
            topic_config: pairs(&self.kafka_topic_config),
            extra: pairs(&self.kafka_properties),
            ..tributary_eventlog::kafka::KafkaSettings::at(&self.kafka_bootstrap_servers)
        }
    }
}

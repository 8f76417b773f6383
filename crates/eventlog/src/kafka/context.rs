//! What librdkafka says by itself, told once instead of ninety times.
//!
//! In:      its log lines and errors, from its own threads.
//! Out:     log events of ours.
//! Promise: that a partition was read to its end is no error. The same thing is told once in a while for all clients of
//!          one log together; the rest is there at the level `debug`. What a group decides goes to `group`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::group::Membership;

const ONCE_IN: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
pub(crate) struct Context {
    /// When each kind of thing was told last. Kinds are codes of librdkafka, so they are few.
    told: Arc<Mutex<HashMap<String, Instant>>>,
    /// Of the client that is a member of a group.
    group: Option<Arc<Membership>>,
}

impl Context {
    pub(crate) fn of_member(&self, group: Arc<Membership>) -> Self {
        Self { group: Some(group), ..self.clone() }
    }

    fn is_new(&self, kind: &str) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = told.get(kind).is_none_or(|last| ONCE_IN <= now - *last);
        if is_new {
            told.insert(kind.to_owned(), now);
        }
        is_new
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        use RDKafkaLogLevel as L;
        match level {
            L::Emerg | L::Alert | L::Critical | L::Error | L::Warning if self.is_new(fac) => {
                tracing::warn!(target: "librdkafka", "{fac} {log_message}");
            }
            _ => tracing::debug!(target: "librdkafka", "{fac} {log_message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::PartitionEOF) => {}
            code if self.is_new(&format!("{code:?}")) => tracing::warn!(target: "librdkafka", "{reason}"),
            _ => tracing::debug!(target: "librdkafka", "{reason}"),
        }
    }
}

impl ConsumerContext for Context {
    /// In place of rdkafka's own, which would begin to read at the group's offsets at once.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        match &self.group {
            Some(group) => group.rebalanced(consumer, code, partitions),
            None => tracing::error!("a reader of fixed partitions was handed others by a group: not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_kind_is_told_once_by_all_clients_together() {
        let one = Context::default();
        let other = one.clone();
        assert!(one.is_new("FAIL"));
        assert!(!other.is_new("FAIL"));
        assert!(other.is_new("REQTMOUT"));
    }
}

//! The last record taken from a partition, remembered by what it was, so that another log cannot pass for ours.
//!
//! In:       records as they are folded; what the lake stored of the last one.
//! Out:      an offset and a hash, to be stored beside the position; or that the log is another one now.
//! Promise:  a topic that was deleted and made anew, or written over, is noticed before anything of it is taken. That
//!           retention removed the record is no fault.
//!
//! Kafka tells its clients no id of a topic, and a new topic under an old name has records at the old offsets soon
//! enough: offsets alone would go on in the middle of other data, and what came before would be skipped in silence.

use tributary_eventlog::{Bounds, Delivered, EventLog, LogError, Record, TopicInfo};
use xxhash_rust::xxh3::Xxh3;

use crate::error::PipelineError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) offset: i64,
    pub(crate) hash: i64,
}

impl Tail {
    pub(crate) fn of(delivered: &Delivered) -> Self {
        Self { offset: delivered.offset.cast_signed(), hash: hash(delivered.offset, &delivered.record) }
    }

    /// As the lake holds it: two numbers, or neither.
    pub(crate) fn stored(offset: Option<i64>, hash: Option<i64>) -> Option<Self> {
        Some(Self { offset: offset?, hash: hash? })
    }
}

/// Reads the record again and compares.
pub(crate) async fn check_tail(
    log: &dyn EventLog,
    topic: &TopicInfo,
    partition: u32,
    tail: Tail,
) -> Result<(), PipelineError> {
    let asked = tail.offset.cast_unsigned();
    let failed = |source: LogError| PipelineError::Log { topic: topic.topic.clone(), source };
    let found = log.record_at(&topic.topic, partition, asked).await.map_err(failed)?;
    let is_ours = match found {
        Some(record) => hash(asked, &record) == tail.hash,
        // Gone with its time, or never in this log. Where the log begins after it, the position tells which.
        None => {
            let Bounds { earliest, .. } = log.bounds(&topic.topic, partition).await.map_err(failed)?;
            asked < earliest
        }
    };
    if is_ours {
        return Ok(());
    }
    Err(PipelineError::LogReplaced { topic: topic.topic.clone(), partition, offset: asked })
}

fn hash(offset: u64, record: &Record) -> i64 {
    let mut hasher = Xxh3::new();
    hasher.update(&offset.to_le_bytes());
    hasher.update(&record.time_ms.to_le_bytes());
    // A length keeps key and value apart; no key is no length that a key can have.
    hasher.update(&record.key.as_ref().map_or(u64::MAX, |key| key.len() as u64).to_le_bytes());
    hasher.update(record.key.as_deref().unwrap_or_default());
    hasher.update(&record.value);
    hasher.digest().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_differs_is_another_record() {
        let record = |key: Option<&'static str>, value: &'static str, time_ms| Record {
            key: key.map(Into::into),
            value: value.into(),
            time_ms,
        };
        let first = hash(7, &record(Some("k"), "v", 1));
        assert_eq!(first, hash(7, &record(Some("k"), "v", 1)));
        for other in [
            hash(8, &record(Some("k"), "v", 1)),
            hash(7, &record(Some("k"), "v", 2)),
            hash(7, &record(Some("k"), "w", 1)),
            hash(7, &record(Some("kv"), "", 1)),
            hash(7, &record(Some(""), "kv", 1)),
            hash(7, &record(None, "kv", 1)),
        ] {
            assert_ne!(first, other);
        }
    }
}

//! What can go wrong with the log, and what the caller should do about it.

use std::path::PathBuf;

/// What to do about a [`LogError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Nothing was written; the same call may succeed later. To a client: 429 or 503.
    Retry,
    /// It may or may not be written. Send it again with the same event id and let the reader drop the double.
    RetryWithSameId,
    /// The same call can never succeed.
    FixInput,
    /// The reader and the log no longer fit: a person must choose between losing and re-reading records.
    CheckPositions,
    /// A person must repair settings, disk or broker; then start again.
    FixSetup,
}

/// Cloneable, because one failed commit round answers many records.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    #[error("the log's queue is full: send less at a time, or again in a moment")]
    Busy,
    #[error("the log took nothing for now, try again: {0}")]
    Retriable(String),
    #[error("no space left for the log in {}: nothing was written; free space or shorten retention", dir.display())]
    DiskFull { dir: PathBuf },
    #[error("the log did not confirm: the record may or may not be written; send it again under the same id")]
    Unknown,
    #[error(
        "offset {asked} is outside what partition {partition} of topic {topic} holds ({earliest}..{next}): \
         the log was trimmed, cut or replaced since this position was stored"
    )]
    OutOfRange { topic: String, partition: u32, earliest: u64, next: u64, asked: u64 },
    #[error("a record of {bytes} bytes is over the limit of {bytes_max}: split it or raise the limit")]
    TooLarge { bytes: usize, bytes_max: usize },
    #[error("no topic {topic} in this log: make it with ensure_topic first")]
    NoSuchTopic { topic: String },
    #[error("topic {topic} has partitions 0 to {}, not {partition}", partitions.saturating_sub(1))]
    NoSuchPartition { topic: String, partition: u32, partitions: u32 },
    #[error(
        "topic {topic} has {found} partitions and {asked} were asked for: {}",
        if found > asked {
            "if it was made so, set log.partitions (of dead letters, log.dead_letters_partitions) to that number; if some \
             were added, keys now go to other partitions than before: take a new topic name, or log.partitions_grown = \
             \"accept\" after reading what that costs in docs/adr/0009-kafka-groups-and-changes.md"
        } else {
            "set log.partitions (of dead letters, log.dead_letters_partitions) to that number, or choose another topic \
             name: more partitions would send keys elsewhere"
        }
    )]
    PartitionsDiffer { topic: String, asked: u32, found: u32 },
    #[error("refused: {0}")]
    Invalid(String),
    #[error(
        "the log in {} is in use by another process: stop that one, or give this one its own data directory",
        dir.display()
    )]
    InUse { dir: PathBuf },
    #[error(
        "the log is damaged: {} at byte {position}: {what}; restore the file from a copy, or move the topic's \
         directory away to begin anew without these records",
        file.display()
    )]
    Corrupt { file: PathBuf, position: u64, what: String },
    #[error("the log is closed")]
    Closed,
    #[error("the log is out of order: {0}")]
    Fatal(String),
}

impl LogError {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Busy | Self::Retriable(_) | Self::DiskFull { .. } => Advice::Retry,
            Self::Unknown => Advice::RetryWithSameId,
            Self::TooLarge { .. }
            | Self::NoSuchTopic { .. }
            | Self::NoSuchPartition { .. }
            | Self::Invalid(_)
            | Self::Closed => Advice::FixInput,
            Self::OutOfRange { .. } => Advice::CheckPositions,
            Self::PartitionsDiffer { .. } | Self::InUse { .. } | Self::Corrupt { .. } | Self::Fatal(_) => {
                Advice::FixSetup
            }
        }
    }
}

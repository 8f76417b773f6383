//! What can stop the stream job, and what the caller should do.

use tributary_eventlog::{Advice as LogAdvice, LogError};
use tributary_lake::{Advice as LakeAdvice, LakeError};

#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("the settings of the pipeline are wrong: {}", faults.join("; "))]
    Settings { faults: Vec<String> },
    #[error("reading topic {topic} failed")]
    Log { topic: String, source: LogError },
    #[error("table {table} failed")]
    Lake { table: &'static str, source: LakeError },
    #[error(
        "the lake stands at offset {committed} of partition {partition} of topic {topic}, but the log now holds only \
         [{earliest}, {next}): records between were removed or the log was replaced. Give the log back, or start a \
         new lake from what is left; nothing was skipped"
    )]
    LogLost { topic: String, partition: u32, committed: u64, earliest: u64, next: u64 },
    #[error(
        "record {offset} of partition {partition} of topic {topic} is not the one the lake took from there: the topic was \
         deleted and made anew under its name, or written over. Nothing of it was taken. Give the old topic back; or keep \
         the new one under a name of its own (log.events_topic, log.dead_letters_topic) with a lake of its own (--data)"
    )]
    LogReplaced { topic: String, partition: u32, offset: u64 },
    #[error(
        "topic {topic} now has {found} partitions and had {known}: partitions were added, and keys go to others than \
         before. Deduplication and sessions are per partition, so a person's events of before and after would not meet. \
         Make a new topic with {found} partitions and cut over to it with a lake of its own; or, if a retry doubled and a \
         session cut in two at that moment do no harm, set log.partitions_grown = \"accept\" and start all processes \
         again"
    )]
    PartitionsGrown { topic: String, known: u32, found: u32 },
    #[error(
        "topic {topic} now has {found} partitions and had {known}: Kafka never takes partitions away, so the topic was \
         deleted and made anew. Nothing of it was taken. Give the old topic back; or keep the new one under a name of its \
         own (log.events_topic, log.dead_letters_topic) with a lake of its own (--data)"
    )]
    PartitionsFewer { topic: String, known: u32, found: u32 },
    #[error(
        "the lake already holds rows of partition {partition} that came from another log than topic {topic} \
         ({topic_id}): the log is another one, or was made anew. A lake belongs to one log: use another data folder \
         (--data), or give the old log back"
    )]
    OtherLog { topic: String, topic_id: String, partition: u32 },
    #[error(
        "another worker keeps moving the positions of this one ({times} times in a row): two workers have the same \
         worker_ordinal, or worker_count or assignment or group_id of [pipeline] differs between them. Give each its own \
         ordinal, or all of them the same group"
    )]
    Fenced { times: u32 },
    #[error(
        "a partition of topic {topic} was asked back by the group, and the lake did not take its rows within {waited_ms} ms: \
         given up, the next owner reads them again"
    )]
    HandOver { topic: String, waited_ms: u128 },
    #[error(
        "partition {partition} was put into sessions by another session rule, or by an older version of this program: \
         put session_preset, the other session_* knobs, allowed_lateness_ms and watermark_delay_ms of [pipeline] back; or \
         make the lake anew from the log by the new rule, with `tributary replay --swap`"
    )]
    RuleChanged { partition: u32 },
    #[error(
        "table sessions stands at offset {sessions} of partition {partition}, table events only at {events}: a part of \
         the lake was deleted. Make it anew from the log with `tributary replay --swap`"
    )]
    SessionsAhead { partition: u32, sessions: i64, events: i64 },
    #[error(
        "the state of the sessions could not be rebuilt from the lake: {detail}. If it is so again after a start, \
         make the lake anew from the log with `tributary replay --swap`"
    )]
    Rebuild { detail: String },
}

/// What the caller should do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The surroundings are at fault and may mend: start again.
    Retry,
    /// Somebody must look first.
    Stop,
}

impl PipelineError {
    pub fn advice(&self) -> Advice {
        let may_mend = match self {
            Self::Log { source, .. } => matches!(source.advice(), LogAdvice::Retry | LogAdvice::RetryWithSameId),
            Self::Lake { source, .. } => matches!(source.advice(), LakeAdvice::Retry | LakeAdvice::Fenced),
            Self::HandOver { .. } => true,
            _ => false,
        };
        if may_mend { Advice::Retry } else { Advice::Stop }
    }
}

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
        "the lake already holds rows of partition {partition} that came from another log than topic {topic} \
         ({topic_id}): the log is another one, or was made anew. A lake belongs to one log: use another data folder \
         (--data), or give the old log back"
    )]
    OtherLog { topic: String, topic_id: String, partition: u32 },
    #[error(
        "another worker keeps moving the positions of this one ({times} times in a row): two workers have the same \
         worker_ordinal or worker_count differs between them. Give each its own ordinal"
    )]
    Fenced { times: u32 },
    #[error(
        "partition {partition} was put into sessions by another session rule, or by an older version of this program: \
         put session_preset, the other session_* knobs, allowed_lateness_ms and watermark_delay_ms of [pipeline] back; or \
         stop, delete the lake's folder (the log still holds everything, if its retention kept everything) and start again"
    )]
    RuleChanged { partition: u32 },
    #[error(
        "table sessions stands at offset {sessions} of partition {partition}, table events only at {events}: a part of \
         the lake was deleted. Stop, delete all of the lake's folder (the log still holds everything, if its \
         retention kept everything) and start again"
    )]
    SessionsAhead { partition: u32, sessions: i64, events: i64 },
    #[error(
        "the state of the sessions could not be rebuilt from the lake: {detail}. If it is so again after a start, stop, \
         delete the lake's folder (the log still holds everything, if its retention kept everything) and start again"
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
            _ => false,
        };
        if may_mend { Advice::Retry } else { Advice::Stop }
    }
}

//! Is the log still the one it was?
//!
//! In:       how many partitions each topic has now; the record at the place of the last one taken.
//! Out:      the topics as they are; an error where going on would skip or mix records in silence.
//! Promise:  asked at every start and every `log_check_interval_ms`. Brokers that are away are no answer: whoever reads
//!           finds out soon enough.
//! Not here: records that retention took before they were read: the reader is told (`source`).

use std::cmp::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tributary_eventlog::{EventLog, TopicInfo};

use super::{Job, Summary, Topics, told};
use crate::commit::CommitError;
use crate::error::{Advice, PipelineError};
use crate::settings::Assignment;
use crate::tail::check_tail;

impl Job<'_> {
    pub(super) async fn look_at_log(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        self.compare(summary).await?;
        self.close_silent_sources(summary).await?;
        // Counted from the answer: brokers that take longer over it than the interval must not keep us from reading.
        self.look_due = Instant::now() + Duration::from_millis(self.settings.log_check_interval_ms);
        Ok(())
    }

    async fn compare(&mut self, summary: &mut Summary) -> Result<(), CommitError> {
        let (log, Topics { events, dead_letters }) = (self.parts.log.as_ref(), &self.topics);
        let accept = self.settings.accept_grown_partitions;
        let events = if_answered(as_it_is(log, events, events.partitions, accept).await)?;
        let dead_letters = if_answered(as_it_is(log, dead_letters, dead_letters.partitions, true).await)?;
        // One partition tells: a topic is made anew as a whole.
        let newest = self.events.iter().filter_map(|owned| Some((owned.fold.partition, owned.fold.tail?)));
        if let Some((partition, tail)) = newest.max_by_key(|(_, tail)| tail.offset) {
            if_answered(check_tail(log, &self.topics.events, partition, tail).await)?;
        }
        let newest = self.dead.iter().filter_map(|owned| Some((owned.fold.partition, owned.fold.tail?)));
        if let Some((partition, tail)) = newest.max_by_key(|(_, tail)| tail.offset) {
            if_answered(check_tail(log, &self.topics.dead_letters, partition, tail).await)?;
        }
        let has_grown = |now: &Option<TopicInfo>, before: &TopicInfo| now.as_ref().is_some_and(|now| now != before);
        let grown = has_grown(&events, &self.topics.events) || has_grown(&dead_letters, &self.topics.dead_letters);
        // A group hands the new partitions out by itself.
        if grown && self.settings.assignment == Assignment::Static {
            self.commit(summary).await?;
            return Err(CommitError::Grown);
        }
        if let Some(events) = events {
            self.topics.events = events;
        }
        if let Some(dead_letters) = dead_letters {
            self.topics.dead_letters = dead_letters;
        }
        Ok(())
    }
}

/// The topic with as many partitions as it has now, where it had `known`; an error if that must not be.
pub(super) async fn as_it_is(
    log: &dyn EventLog,
    topic: &TopicInfo,
    known: u32,
    accept_more: bool,
) -> Result<TopicInfo, PipelineError> {
    let asked = log.partitions(&topic.topic).await;
    let found = asked.map_err(|source| PipelineError::Log { topic: topic.topic.clone(), source })?;
    let name = || topic.topic.clone();
    match found.cmp(&known) {
        Ordering::Less => Err(PipelineError::PartitionsFewer { topic: name(), known, found }),
        Ordering::Greater if !accept_more => Err(PipelineError::PartitionsGrown { topic: name(), known, found }),
        Ordering::Greater => {
            tracing::warn!(topic = topic.topic, known, found, "the topic has more partitions than before: accepted");
            Ok(TopicInfo { partitions: found, ..topic.clone() })
        }
        Ordering::Equal => Ok(TopicInfo { partitions: found, ..topic.clone() }),
    }
}

/// `None` where the log gave no answer for now.
fn if_answered<T>(looked: Result<T, PipelineError>) -> Result<Option<T>, PipelineError> {
    match looked {
        Err(error) if error.advice() == Advice::Retry => {
            tracing::debug!(error = told(&error), "the log could not be looked at");
            Ok(None)
        }
        looked => looked.map(Some),
    }
}

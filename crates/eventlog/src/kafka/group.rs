//! What a consumer group decided about one member, kept until the member has answered.
//!
//! In:       librdkafka's rebalance events, on whichever thread polls.
//! Out:      changes, oldest first; a wake-up when one comes.
//! Promise:  nothing is assigned here. librdkafka waits, with every partition of the member paused and its heartbeats
//!           going on, until the member answers; so no record is read but from the offset that the member names, and
//!           no thread of ours waits inside a callback.
//! Not here: where to begin to read (the owner of the reader knows), and how records come (`reader`).
//!
//! The group shares partitions cooperatively (`cooperative-sticky`): a change names only what comes or goes, so it is
//! answered with `incremental_assign` and `incremental_unassign`, never with `assign`, which would replace the rest.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;

use super::context::Context;
use crate::Change;

#[derive(Default)]
pub(crate) struct Membership {
    state: Mutex<State>,
    came: Notify,
}

#[derive(Default)]
struct State {
    changes: VecDeque<Change>,
    /// The member is being closed and answers for itself.
    leaving: bool,
}

impl Membership {
    /// The oldest change that has no answer yet.
    pub(crate) fn first(&self) -> Option<Change> {
        self.state().changes.front().cloned()
    }

    pub(crate) fn answered(&self) {
        self.state().changes.pop_front();
    }

    /// Resolves once a change has come since the last time; perhaps once too often.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    pub(crate) fn rebalanced(
        &self,
        consumer: &BaseConsumer<Context>,
        code: RDKafkaRespErr,
        partitions: &TopicPartitionList,
    ) {
        let numbers = partitions.elements().into_iter().filter_map(|element| u32::try_from(element.partition()).ok());
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        let change = if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            Change::Assigned(numbers)
        } else if consumer.assignment_lost() {
            Change::Lost(numbers)
        } else {
            Change::Revoked(numbers)
        };
        tracing::debug!(?change, "the group decided");
        let mut state = self.state();
        if state.leaving {
            drop(state);
            let answered = match change {
                Change::Assigned(_) => consumer.incremental_assign(&TopicPartitionList::new()),
                Change::Revoked(_) | Change::Lost(_) => consumer.incremental_unassign(partitions),
            };
            tell(answered);
            return;
        }
        state.changes.push_back(change);
        self.came.notify_one();
    }

    /// From here on the member takes nothing and gives back everything; what waits for an answer gets it now, or the
    /// client would never close.
    pub(crate) fn leave(&self, consumer: &impl Consumer<Context>, topic: &str) {
        let waiting = {
            let mut state = self.state();
            state.leaving = true;
            std::mem::take(&mut state.changes)
        };
        for change in waiting {
            tell(match change {
                Change::Assigned(_) => consumer.incremental_assign(&TopicPartitionList::new()),
                Change::Revoked(numbers) | Change::Lost(numbers) => {
                    super::partitions(topic, &numbers).map_or(Ok(()), |list| consumer.incremental_unassign(&list))
                }
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever leaves has no use for the reason why a group no longer listens.
fn tell(answered: Result<(), KafkaError>) {
    if let Err(error) = answered {
        tracing::debug!(%error, "a group had moved on before it was answered");
    }
}

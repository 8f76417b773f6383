//! The lane of history: what is imported comes in only as fast as the line takes it up.
//!
//! In:      requests that say they bring the past: a write key marked `historical`, `/v1/import`, PostHog's
//!          `historical_migration`.
//! Out:     leave to go on, or the word to come again.
//! Promise: history waits outside while more than `history_backlog_max` records wait to be taken up, or while the log is away;
//!          so the present, which shares partitions with it, never waits behind more than that. A person's past and present
//!          stay in one partition, in order: that is why there is no topic apart (docs/adr/0012-history-and-hot-keys.md).
//! Not here: the present, which is never held back for this.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::refusal::Refusal;
use crate::router::Door;

/// Old enough to be looked at again. What comes in meanwhile is over the limit by at most what a door takes in that time.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A log in good health says how far it is in a hundredth of it.
const ASK_MAX: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct History {
    /// When somebody looked, and whether the line was behind.
    seen: Mutex<Option<(Instant, bool)>>,
    looking: tokio::sync::Mutex<()>,
}

impl History {
    /// Whether history may come in now.
    pub(crate) async fn admit(&self, door: &Door) -> Result<(), Refusal> {
        let backlog_max = door.settings.history_backlog_max;
        if backlog_max == 0 {
            return Ok(());
        }
        if door.parts.log.spool_state().is_some_and(|spool| spool.partitions != 0) {
            return Err(Refusal::Behind);
        }
        let last = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_behind = match (last, self.looking.try_lock()) {
            (Some((at, is_behind)), _) if at.elapsed() < LOOK_EVERY => is_behind,
            // One looks; those who come meanwhile go by what was found last, and wait for nothing.
            (last, Err(_)) => last.is_some_and(|(_, is_behind)| is_behind),
            (_, Ok(_looking)) => {
                // A log that does not say is one that history can wait for.
                let asked = tokio::time::timeout(ASK_MAX, backlog(door)).await;
                let is_behind = asked.map_or(true, |records| records.is_some_and(|records| backlog_max < records));
                *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), is_behind));
                is_behind
            }
        };
        if is_behind { Err(Refusal::Behind) } else { Ok(()) }
    }
}

/// Records that no stream job has reported to have taken up; `None` where none ever reported, or the log cannot be asked.
async fn backlog(door: &Door) -> Option<u64> {
    let (log, topic, reader) = (&door.parts.log, &door.parts.events, &door.parts.reader);
    let mut records = 0;
    let mut has_reader = false;
    for partition in 0..topic.partitions {
        let bounds = log.bounds(&topic.topic, partition).await.ok()?;
        let position = log.position(reader, &topic.topic, partition).await.ok()?;
        has_reader |= position.is_some();
        records += bounds.next.saturating_sub(position.unwrap_or(bounds.earliest).max(bounds.earliest));
    }
    has_reader.then_some(records)
}

//! What waits in the spool follows to the log, in order.
//!
//! In:      the spool, the log, the partitions that wait.
//! Out:     records in the log; positions in the spool.
//! Promise: a partition's next records are handed over only after those before them were acknowledged; a log that is still
//!          away is asked again with a growing pause; a record the log will never take is put aside and named.
//!
//! A crash after the log's acknowledgement and before the position is stored: those records are handed over again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::sync::watch;

use super::GROUP;
use super::lanes::{Lanes, bytes_of};
use crate::embedded::EmbeddedLog;
use crate::{Delivered, EventLog, LogError, TopicSpec};

/// One step: at most so much is handed over before a position is stored.
const STEP_BYTES: usize = 1 << 20;
/// Partitions that are drained at a time.
const STEPS_MAX: usize = 16;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Somebody may have spooled just before we listened.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run(
    log: Arc<dyn EventLog>,
    spool: Arc<EmbeddedLog>,
    lanes: Arc<Lanes>,
    patience: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let mut pause = PAUSE_MIN;
    while !*stopped.borrow() {
        let waiting = lanes.waiting();
        // Side by side: a partition whose leader is away holds up no other.
        let stepping = async {
            let mut seen_topics = HashMap::new();
            for (topic, ..) in &waiting {
                if !seen_topics.contains_key(topic) {
                    seen_topics.insert(topic.clone(), see(&*log, &lanes, topic, patience).await);
                }
            }
            let mut steps = Vec::new();
            for (topic, partition, from) in waiting {
                if seen_topics.get(&topic) == Some(&true) {
                    let (log, spool, lanes) = (&*log, &*spool, &*lanes);
                    steps.push(async move {
                        let stepped = step(log, spool, lanes, &topic, partition, from, patience).await;
                        (topic, partition, stepped)
                    });
                }
            }
            let done: Vec<_> = stream::iter(steps).buffer_unordered(STEPS_MAX).collect().await;
            (seen_topics.values().all(|seen| *seen), done)
        };
        // Broken off in the middle, a step is one that was not made: what it handed over is handed over again.
        let (all_seen, stepped) = tokio::select! {
            stepped = stepping => stepped,
            _ = stopped.changed() => return,
        };
        let mut moved = false;
        let mut is_away = !all_seen;
        for (topic, partition, stepped) in stepped {
            match stepped {
                Ok(count) => moved |= 0 < count,
                Err(error) => {
                    tracing::debug!(%error, topic, partition, "the spool cannot be drained for now");
                    is_away = true;
                }
            }
        }
        if moved && !is_away {
            pause = PAUSE_MIN;
            continue;
        }
        let wait = if is_away { pause } else { LOOK_EVERY };
        pause = if is_away { (pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // While the log is away a ring is no reason to ask it sooner.
            () = lanes.bell.notified(), if !is_away => {}
            changed = stopped.changed() => if changed.is_err() { return },
        }
    }
}

/// Whether the topic is known to be there and the one it was: a start while the log was away took that from memory.
async fn see(log: &dyn EventLog, lanes: &Lanes, topic: &str, patience: Duration) -> bool {
    let Some(before) = lanes.unseen(topic) else { return true };
    let spec = TopicSpec { name: topic.to_owned(), partitions: before.partitions };
    let found = match tokio::time::timeout(patience, log.ensure_topic(&spec)).await {
        Ok(Ok(found)) => found,
        // Others added some. The records that wait lie in those that were there.
        Ok(Err(LogError::PartitionsDiffer { asked, found, .. })) if asked < found => {
            tracing::warn!(topic, asked, found, "the topic has got partitions while the log was away");
            lanes.seen(topic);
            return true;
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, topic, "the log cannot be asked for a topic");
            return false;
        }
        Err(_) => return false,
    };
    if found.topic_id != before.topic_id {
        let fault = format!(
            "the spool holds records of topic {topic} as it was ({}), and the log that is there now has another one of that name \
             ({}): point the settings at the log they belong to, or move the spool's folder away",
            before.topic_id, found.topic_id
        );
        tracing::error!("{fault}");
        lanes.set_fault(fault);
        return false;
    }
    tracing::info!(topic, "the log is there; what waited in the spool follows");
    lanes.seen(topic);
    true
}

/// Hands over the next records of a partition. Returns how many moved on.
async fn step(
    log: &dyn EventLog,
    spool: &EmbeddedLog,
    lanes: &Lanes,
    topic: &str,
    partition: u32,
    from: u64,
    patience: Duration,
) -> Result<usize, LogError> {
    let bounds = spool.bounds(topic, partition).await?;
    let from = from.max(bounds.earliest);
    if bounds.next <= from {
        lanes.drained(topic, partition, from, 0);
        return Ok(0);
    }
    let mut reader = spool.reader(topic, &[(partition, from)]).await?;
    let records = reader.poll(STEP_BYTES, Duration::from_millis(1)).await?.records;
    if records.is_empty() {
        return Ok(0);
    }
    let handed = records.iter().map(|delivered| (partition, delivered.record.clone())).collect();
    let appended = tokio::time::timeout(patience, log.append(topic, handed)).await;
    let acks = appended.map_err(|_| LogError::Retriable("the log does not answer".to_owned()))?;
    let (mut next, mut bytes, mut count) = (from, 0, 0);
    let mut failed = None;
    for (delivered, ack) in records.iter().zip(acks) {
        match ack {
            Ok(_) => {}
            Err(error)
                if super::is_away(&error) || matches!(error, LogError::Closed | LogError::NoSuchTopic { .. }) =>
            {
                failed = Some(error);
                break;
            }
            Err(error) => put_aside(spool, topic, delivered, &error).await?,
        }
        next = delivered.offset + 1;
        bytes += bytes_of(&delivered.record);
        count += 1;
    }
    if 0 < count {
        // On a full disk no position can be stored, and the room that would help is given back below. Not stored, these records
        // are handed over once more after a restart, unless their files are gone by then.
        if let Err(error) = spool.report_position(GROUP, topic, &[(partition, next)]).await {
            tracing::warn!(%error, topic, partition, "how far the spool was drained cannot be stored");
        }
        lanes.drained(topic, partition, next, bytes);
        spool.trim(topic, partition, next).await?;
    }
    failed.map_or(Ok(count), Err)
}

/// Keeps a record that the log refuses for good in a topic of its own, so that it neither stops the others nor is lost.
async fn put_aside(spool: &EmbeddedLog, topic: &str, delivered: &Delivered, error: &LogError) -> Result<(), LogError> {
    let name = format!("{topic}.refused");
    tracing::error!(%error, topic, offset = delivered.offset, "the log refuses a spooled record for good; it lies in the spool's topic {name}");
    spool.ensure_topic(&TopicSpec { name: name.clone(), partitions: 1 }).await?;
    let answer = spool.append(&name, vec![(0, delivered.record.clone())]).await;
    answer.into_iter().next().unwrap_or(Err(LogError::Unknown)).map(|_| ())
}

//! What waits in the spool follows to the log, in order.
//!
//! In:      the spool, the log, the partitions that wait.
//! Out:     records in the log; positions in the spool.
//! Promise: a partition's next records are handed over only after those before them were acknowledged; a log that is still
//!          away is asked again with a growing pause; a record the log will never take is put aside and named.
//!
//! A crash after the log's acknowledgement and before the position is stored: those records are handed over again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::GROUP;
use super::lanes::{Lanes, bytes_of};
use crate::embedded::EmbeddedLog;
use crate::{Delivered, EventLog, LogError, TopicSpec};

/// One step: at most so much is handed over before a position is stored.
const STEP_BYTES: usize = 1 << 20;
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
        let mut moved = false;
        let mut is_away = false;
        for (topic, partition, from) in waiting {
            if *stopped.borrow() {
                return;
            }
            let stepping = step(&*log, &spool, &lanes, &topic, partition, from, patience);
            // Broken off in the middle, a step is one that was not made: what it handed over is handed over again.
            let stepped = tokio::select! {
                stepped = stepping => stepped,
                _ = stopped.changed() => return,
            };
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

//! Which partitions go through the spool, and how much waits there.
//!
//! In:      writes that begin and end, records that were drained.
//! Out:     whether a partition's records go to the spool now.
//! Promise: a partition leaves the spool only when nothing of it waits there and nobody is writing to it; all of it is
//!          decided under one lock that is never held over a wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::{Ack, Record, SpoolState, TopicInfo};

pub(super) struct Lanes {
    bytes_max: u64,
    inner: Mutex<Inner>,
    /// Rung when something was spooled.
    pub(super) bell: Notify,
}

#[derive(Default)]
struct Inner {
    lanes: HashMap<(String, u32), Lane>,
    bytes: u64,
    /// Not counted into `bytes` yet.
    found_bytes: u64,
    /// Topics that are known from the time before this start, and that the log has not been asked for since.
    unseen: HashMap<String, TopicInfo>,
    /// Why what waits cannot follow, until a person has seen to it.
    fault: Option<String>,
}

#[derive(Default)]
struct Lane {
    spooling: bool,
    writers: usize,
    /// The spool's next offset to drain, and the one after its last acknowledged record.
    drained: u64,
    next: u64,
}

pub(super) fn bytes_of(record: &Record) -> u64 {
    (record.value.len() + record.key.as_ref().map_or(0, bytes::Bytes::len)) as u64
}

impl Lanes {
    /// * `found_bytes`: the size of the files a start found. They stand for what waits in them until all of it has gone.
    pub(super) fn new(bytes_max: u64, found_bytes: u64) -> Self {
        let inner = Inner { found_bytes, ..Inner::default() };
        Self { bytes_max, inner: Mutex::new(inner), bell: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every change below is made in one step; whoever panicked left none half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a start finds of a partition.
    pub(super) fn found(&self, topic: &str, partition: u32, drained: u64, next: u64) {
        let mut inner = self.lock();
        let lane = inner.lanes.entry((topic.to_owned(), partition)).or_default();
        lane.drained = lane.drained.max(drained);
        lane.next = lane.next.max(next);
        lane.spooling |= lane.drained < lane.next;
        if lane.spooling {
            inner.bytes += std::mem::take(&mut inner.found_bytes);
            self.bell.notify_one();
        }
    }

    /// The log could not be asked for this topic: all of it goes through the spool until it was.
    pub(super) fn hold(&self, topic: TopicInfo) {
        let mut inner = self.lock();
        for ((_, _), lane) in inner.lanes.iter_mut().filter(|((of, _), _)| *of == topic.topic) {
            lane.spooling = true;
        }
        inner.unseen.insert(topic.topic.clone(), topic);
        drop(inner);
        self.bell.notify_one();
    }

    /// The topic as it was, if the log has not been asked for it since the start.
    pub(super) fn unseen(&self, topic: &str) -> Option<TopicInfo> {
        self.lock().unseen.get(topic).cloned()
    }

    /// Whether the log was away when it was asked for another topic.
    pub(super) fn has_unseen(&self) -> bool {
        !self.lock().unseen.is_empty()
    }

    pub(super) fn set_fault(&self, fault: String) {
        self.lock().fault = Some(fault);
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    pub(super) fn seen(&self, topic: &str) {
        self.lock().unseen.remove(topic);
    }

    /// The partitions of a topic that go through the spool now; as a rule none.
    pub(super) fn spooling(&self, topic: &str) -> Vec<u32> {
        let inner = self.lock();
        let spooling = inner.lanes.iter().filter(|((of, _), lane)| lane.spooling && of == topic);
        spooling.map(|((_, partition), _)| *partition).collect()
    }

    /// From here on these partitions go through the spool. `None`: it has no room for so many bytes, or for one of them.
    pub(super) fn begin(
        self: &Arc<Self>,
        topic: &str,
        partitions: impl Iterator<Item = u32>,
        bytes: u64,
    ) -> Option<Writing> {
        let mut inner = self.lock();
        if self.bytes_max < inner.bytes + bytes {
            return None;
        }
        let mut keys: Vec<(String, u32)> = partitions.map(|partition| (topic.to_owned(), partition)).collect();
        keys.sort_unstable();
        keys.dedup();
        // A partition that was added to the log since the spool was made has no place in it.
        if keys.iter().any(|key| !inner.lanes.contains_key(key)) {
            return None;
        }
        inner.bytes += bytes;
        for key in &keys {
            if let Some(lane) = inner.lanes.get_mut(key) {
                lane.spooling = true;
                lane.writers += 1;
            }
        }
        drop(inner);
        Some(Writing { lanes: self.clone(), keys, unwritten_bytes: bytes })
    }

    /// Partitions with something to drain: topic, partition, offset to begin at.
    pub(super) fn waiting(&self) -> Vec<(String, u32, u64)> {
        let inner = self.lock();
        let waiting = inner.lanes.iter().filter(|(_, lane)| lane.spooling);
        let mut waiting: Vec<_> =
            waiting.map(|((topic, partition), lane)| (topic.clone(), *partition, lane.drained)).collect();
        waiting.sort_unstable();
        waiting
    }

    /// Says how far the log has acknowledged; with that a partition may go to the log again.
    pub(super) fn drained(&self, topic: &str, partition: u32, drained: u64, bytes: u64) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        let Some(lane) = inner.lanes.get_mut(&(topic.to_owned(), partition)) else { return };
        lane.drained = lane.drained.max(drained);
        if lane.writers == 0 && lane.next <= lane.drained {
            lane.spooling = false;
        }
        if inner.lanes.values().all(|lane| !lane.spooling) {
            inner.bytes = 0;
        }
    }

    pub(super) fn state(&self) -> SpoolState {
        let inner = self.lock();
        let waiting = inner.lanes.values().filter(|lane| lane.spooling);
        let (partitions, records) = waiting
            .fold((0, 0), |(count, records), lane| (count + 1, records + lane.next.saturating_sub(lane.drained)));
        SpoolState { bytes: inner.bytes, bytes_max: self.bytes_max, partitions, records }
    }
}

/// A write on its way to the spool. It belongs to a task of its own, which whoever asked for it may leave but not end.
pub(super) struct Writing {
    lanes: Arc<Lanes>,
    keys: Vec<(String, u32)>,
    unwritten_bytes: u64,
}

impl Writing {
    pub(super) fn wrote(&mut self, ack: &Ack, bytes: u64) {
        self.unwritten_bytes = self.unwritten_bytes.saturating_sub(bytes);
        let mut inner = self.lanes.lock();
        for key in self.keys.iter().filter(|(_, partition)| *partition == ack.partition) {
            if let Some(lane) = inner.lanes.get_mut(key) {
                lane.next = lane.next.max(ack.offset + 1);
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut inner = self.lanes.lock();
        inner.bytes = inner.bytes.saturating_sub(self.unwritten_bytes);
        for key in &self.keys {
            if let Some(lane) = inner.lanes.get_mut(key) {
                lane.writers -= 1;
            }
        }
        drop(inner);
        self.lanes.bell.notify_one();
    }
}

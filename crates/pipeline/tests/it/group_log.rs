//! A group whose every decision the test makes: politely, or as rudely as a group can be.
//!
//! Each worker has a `GroupLog` of its own over the same log and the same `Group`.

use async_trait::async_trait;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tributary_eventlog::{Ack, Bounds, Change, EventLog, LogError, LogReader, Polled, Record, TopicInfo, TopicSpec};

/// Who has which partition of each topic, as the group sees it.
#[derive(Default)]
pub(crate) struct Group {
    state: Mutex<BTreeMap<(String, u32), Share>>,
    queues: Mutex<BTreeMap<(String, usize), VecDeque<Change>>>,
    news: Notify,
}

#[derive(Clone, Copy)]
struct Share {
    owner: usize,
    /// Asked back from the owner for this one.
    next: Option<usize>,
}

impl Group {
    /// Asks the owner to hand the partition over.
    pub(crate) fn pass_on(&self, topic: &str, partition: u32, to: usize) {
        let mut state = self.lock();
        let Some(share) = state.get_mut(&(topic.to_owned(), partition)) else { return };
        if share.owner != to && share.next.is_none() {
            share.next = Some(to);
            let owner = share.owner;
            self.push(topic, owner, Change::Revoked(vec![partition]));
        }
    }

    /// Whether each partition has an owner.
    pub(crate) fn shares(&self, topic: &str, partitions: u32) -> bool {
        let state = self.lock();
        (0..partitions).all(|partition| state.contains_key(&(topic.to_owned(), partition)))
    }

    /// Gives the partition to another at once. The owner hears of it only when `tell_lost` is called.
    pub(crate) fn take_away(&self, topic: &str, partition: u32, to: usize) -> Option<usize> {
        let mut state = self.lock();
        let share = state.get_mut(&(topic.to_owned(), partition)).filter(|share| share.next.is_none())?;
        let owner = std::mem::replace(&mut share.owner, to);
        if owner == to {
            return None;
        }
        self.push(topic, to, Change::Assigned(vec![partition]));
        Some(owner)
    }

    /// Unless it has it again by now.
    pub(crate) fn tell_lost(&self, topic: &str, partition: u32, member: usize) {
        let state = self.lock();
        if state.get(&(topic.to_owned(), partition)).is_some_and(|share| share.owner != member) {
            self.push(topic, member, Change::Lost(vec![partition]));
        }
    }

    /// A member that joins anew has nothing yet: it is offered what the group counts as its own.
    fn join(&self, topic: &str, member: usize, partitions: u32) {
        let mut state = self.lock();
        let mut offered = Vec::new();
        for partition in 0..partitions {
            let share = state.entry((topic.to_owned(), partition)).or_insert(Share { owner: member, next: None });
            if share.owner == member {
                match share.next.take() {
                    // What it was asked for it no longer has.
                    Some(next) => {
                        share.owner = next;
                        self.push(topic, next, Change::Assigned(vec![partition]));
                    }
                    None => offered.push(partition),
                }
            }
        }
        self.queues.lock().unwrap().insert((topic.to_owned(), member), [Change::Assigned(offered)].into());
        self.news.notify_waiters();
    }

    fn released(&self, topic: &str, member: usize, partitions: &[u32]) {
        let mut state = self.lock();
        for partition in partitions {
            let share = state.get_mut(&(topic.to_owned(), *partition)).unwrap();
            if share.owner == member
                && let Some(next) = share.next.take()
            {
                share.owner = next;
                self.push(topic, next, Change::Assigned(vec![*partition]));
            }
        }
    }

    fn push(&self, topic: &str, member: usize, change: Change) {
        self.queues.lock().unwrap().entry((topic.to_owned(), member)).or_default().push_back(change);
        self.news.notify_waiters();
    }

    fn first(&self, topic: &str, member: usize) -> Option<Change> {
        self.queues.lock().unwrap().get(&(topic.to_owned(), member))?.front().cloned()
    }

    fn answered(&self, topic: &str, member: usize) {
        self.queues.lock().unwrap().get_mut(&(topic.to_owned(), member)).unwrap().pop_front();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Share>> {
        self.state.lock().unwrap()
    }
}

pub(crate) struct GroupLog {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) group: Arc<Group>,
    pub(crate) member: usize,
}

struct GroupReader {
    log: Arc<dyn EventLog>,
    group: Arc<Group>,
    member: usize,
    topic: String,
    next: Vec<(u32, u64)>,
    inner: Option<Box<dyn LogReader>>,
}

impl GroupReader {
    async fn read(&mut self, next: Vec<(u32, u64)>) -> Result<(), LogError> {
        self.inner = if next.is_empty() { None } else { Some(self.log.reader(&self.topic, &next).await?) };
        self.next = next;
        self.group.answered(&self.topic, self.member);
        Ok(())
    }
}

#[async_trait]
impl LogReader for GroupReader {
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError> {
        let group = self.group.clone();
        let came = group.news.notified();
        if let Some(change) = self.group.first(&self.topic, self.member) {
            return Ok(Polled { change: Some(change), positions: self.next.clone(), ..Polled::default() });
        }
        let Some(inner) = &mut self.inner else {
            drop(tokio::time::timeout(wait, came).await);
            return Ok(Polled::default());
        };
        tokio::select! {
            () = came => Ok(Polled { positions: self.next.clone(), ..Polled::default() }),
            polled = inner.poll(bytes_max, wait) => {
                let polled = polled?;
                self.next.clone_from(&polled.positions);
                Ok(polled)
            }
        }
    }

    async fn take(&mut self, start: &[(u32, u64)]) -> Result<(), LogError> {
        let mut next = self.next.clone();
        next.retain(|(partition, _)| start.iter().all(|(taken, _)| taken != partition));
        next.extend(start);
        self.read(next).await
    }

    async fn release(&mut self) -> Result<(), LogError> {
        let Some(Change::Revoked(gone) | Change::Lost(gone)) = self.group.first(&self.topic, self.member) else {
            return Err(LogError::Invalid("nothing was asked back".into()));
        };
        let mut next = self.next.clone();
        next.retain(|(partition, _)| !gone.contains(partition));
        self.read(next).await?;
        self.group.released(&self.topic, self.member, &gone);
        Ok(())
    }
}

#[async_trait]
impl EventLog for GroupLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        self.log.ensure_topic(spec).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic).await
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        self.log.append(topic, records).await
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(topic, partition).await
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(topic, start).await
    }

    async fn group_reader(&self, _group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.group.join(topic, self.member, self.log.partitions(topic).await?);
        Ok(Box::new(GroupReader {
            log: self.log.clone(),
            group: self.group.clone(),
            member: self.member,
            topic: topic.to_owned(),
            next: Vec::new(),
            inner: None,
        }))
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        self.log.report_position(group, topic, next).await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.log.position(group, topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        self.log.trim(topic, partition, keep_from).await
    }

    async fn check(&self) -> Result<(), LogError> {
        self.log.check().await
    }

    async fn close(&self) -> Result<(), LogError> {
        self.log.close().await
    }
}

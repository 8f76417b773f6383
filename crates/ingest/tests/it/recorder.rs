//! A log that remembers what it was given and can be told to refuse, hang or wait.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tributary_eventlog::{Ack, Bounds, EventLog, LogError, LogReader, Record, SpoolState, TopicInfo, TopicSpec};

#[derive(Clone)]
pub(crate) enum Mood {
    Taking,
    Refusing(LogError),
    /// Takes nothing until the semaphore has a permit for each append.
    Gated(Arc<Semaphore>),
    /// Values above this many bytes are too large.
    Narrow(usize),
    /// The second record of an append is refused, and every other after it.
    EveryOther(LogError),
    /// Events are taken, dead letters are not.
    NoDeadLetters,
}

pub(crate) struct Recorder {
    mood: Mutex<Mood>,
    taken: Mutex<Vec<(String, u32, Record)>>,
    /// How full the spool is that everything goes to.
    spool: Mutex<Option<f64>>,
    /// Records that wait for the stream job; `None`: there is none that reported.
    backlog: Mutex<Option<u64>>,
    /// A permit for each append that has begun.
    pub begun: Semaphore,
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            mood: Mutex::new(Mood::Taking),
            taken: Mutex::default(),
            spool: Mutex::default(),
            backlog: Mutex::default(),
            begun: Semaphore::new(0),
        })
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn set_backlog(&self, records: u64) {
        *self.backlog.lock().unwrap() = Some(records);
    }

    /// From here on everything goes to a spool that is so full.
    pub(crate) fn spool(&self, fill: f64) {
        *self.spool.lock().unwrap() = Some(fill);
    }

    pub(crate) fn taken(&self, topic: &str) -> Vec<(u32, Record)> {
        let taken = self.taken.lock().unwrap();
        taken.iter().filter(|(of, ..)| of == topic).map(|(_, partition, record)| (*partition, record.clone())).collect()
    }
}

#[async_trait]
impl EventLog for Recorder {
    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        self.begun.add_permits(1);
        let mood = self.mood.lock().unwrap().clone();
        if let Mood::Gated(gate) = &mood {
            gate.acquire().await.unwrap().forget();
        }
        let mut index = 0;
        let take = |(partition, record): (u32, Record)| {
            index += 1;
            let bytes = record.value.len();
            match &mood {
                Mood::Refusing(error) => return Err(error.clone()),
                Mood::EveryOther(error) if index % 2 == 0 => return Err(error.clone()),
                Mood::NoDeadLetters if topic == super::house::DEAD_LETTERS => return Err(LogError::Unknown),
                Mood::Narrow(bytes_max) if *bytes_max < bytes => {
                    return Err(LogError::TooLarge { bytes, bytes_max: *bytes_max });
                }
                _ => {}
            }
            let mut taken = self.taken.lock().unwrap();
            taken.push((topic.to_owned(), partition, record));
            Ok(Ack { partition, offset: taken.len() as u64, spooled: self.spool.lock().unwrap().is_some() })
        };
        records.into_iter().map(take).collect()
    }

    async fn check(&self) -> Result<(), LogError> {
        match &*self.mood.lock().unwrap() {
            Mood::Refusing(error) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    fn spool_state(&self) -> Option<SpoolState> {
        let fill = (*self.spool.lock().unwrap())?;
        Some(SpoolState { bytes: (fill * 1e6) as u64, bytes_max: 1_000_000, partitions: 1, records: 1 })
    }

    async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }

    async fn ensure_topic(&self, _: &TopicSpec) -> Result<TopicInfo, LogError> {
        unreachable!("the door makes no topics")
    }

    async fn partitions(&self, _: &str) -> Result<u32, LogError> {
        unreachable!("the door is told how many there are")
    }

    async fn group_reader(&self, _: &str, _: &str) -> Result<Box<dyn LogReader>, LogError> {
        unreachable!("the door does not read")
    }

    async fn bounds(&self, _: &str, partition: u32) -> Result<Bounds, LogError> {
        // All that waits lies in one of them.
        let next = if partition == 0 { self.backlog.lock().unwrap().unwrap_or(0) } else { 0 };
        Ok(Bounds { earliest: 0, next })
    }

    async fn reader(&self, _: &str, _: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        unreachable!("the door does not read")
    }

    async fn report_position(&self, _: &str, _: &str, _: &[(u32, u64)]) -> Result<(), LogError> {
        unreachable!("the door does not read")
    }

    async fn position(&self, group: &str, _: &str, _: u32) -> Result<Option<u64>, LogError> {
        assert_eq!(group, super::house::READER);
        Ok(self.backlog.lock().unwrap().map(|_| 0))
    }

    async fn trim(&self, _: &str, _: u32, _: u64) -> Result<u64, LogError> {
        unreachable!("the door does not trim")
    }
}

/// Long enough that only a hang runs into it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

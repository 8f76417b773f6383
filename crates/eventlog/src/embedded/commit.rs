//! The commit thread: the only writer of a topic's files.
//!
//! In:       rounds from the queue.
//! Out:      one write and one `fdatasync` a round, then the durable mark rises, then every append is answered.
//! Promise:  that order. A full disk refuses the round and leaves no trace of it; a sync that fails ends the log,
//!           because what a failed sync left on the disk is not knowable and asking again would lie.
//!
//! One round serves all that wait, so the price of a sync is shared: the more producers, the larger the rounds.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::disk::{DiskFile, Lock};
use super::frame::{Draft, Header};
use super::index;
use super::queue::{Request, Taken};
use super::segment::{self, Map, Segment, data_start};
use super::topic::{Health, Topic};
use crate::{Ack, LogError};

/// A partition's records of one round lie in frames of about this payload: large enough to spare overhead,
/// small enough that a reader with little room need not check megabytes for a few records.
const FRAME_BYTES: usize = 256 << 10;
/// How often an idle topic looks for segments that have grown too old.
const IDLE_CHECK: Duration = Duration::from_secs(30);

pub(crate) struct Committer {
    topic: Arc<Topic>,
    /// The data directory stays locked until the last thread that may write is gone.
    _lock: Arc<Lock>,
    file: Arc<dyn DiskFile>,
    segment: u64,
    end: u64,
    next_offsets: Vec<u64>,
    buffer: Vec<u8>,
}

struct Round {
    headers: Vec<Header>,
    acks: Vec<Vec<Ack>>,
    next_offsets: Vec<u64>,
}

impl Committer {
    pub(crate) fn new(topic: Arc<Topic>, lock: Arc<Lock>, file: Arc<dyn DiskFile>) -> Self {
        let state = topic.state();
        let last = state.segments.back().expect("recovery gives at least one segment");
        let (segment, end, next_offsets) = (last.number, last.map.end, last.map.next_offsets.clone());
        drop(state);
        Self { topic, _lock: lock, file, segment, end, next_offsets, buffer: Vec::new() }
    }

    /// Runs until the queue is closed and empty. The body of the topic's thread.
    pub(crate) fn run(mut self) {
        self.tidy();
        loop {
            match self.topic.queue.take(self.topic.settings.round_bytes_max, IDLE_CHECK) {
                Taken::Round(requests) => self.commit(requests),
                Taken::Idle => self.tidy(),
                Taken::Closed => break,
            }
        }
        let state = self.topic.state();
        let sound = !matches!(state.health, Health::Dead(_));
        let map = state.segments.back().map(|segment| segment.map.clone());
        drop(state);
        // After a clean stop, recovery knows how far the file was durable and can tell damage from a torn tail.
        if let Some(map) = map.filter(|_| sound) {
            index::store(self.topic.disk.as_ref(), &self.topic.dir, self.topic.home(self.segment), &map);
        }
        self.topic.rounds.send_modify(|rounds| *rounds += 1);
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let answers = match self.write_round(&requests) {
            Ok(acks) => acks.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); requests.len()],
        };
        for (request, answer) in requests.into_iter().zip(answers) {
            // Nobody listens if the append was cancelled; the records stand all the same.
            drop(request.answer.send(answer));
        }
        if self.topic.settings.segment_bytes_max <= self.end {
            self.roll();
        }
    }

    fn write_round(&mut self, requests: &[Request]) -> Result<Vec<Vec<Ack>>, LogError> {
        self.topic.state().check()?;
        let round = self.lay_out(requests);
        if let Err(error) = self.file.write_at(&self.buffer, self.end) {
            return Err(self.undo(&error));
        }
        if let Err(error) = self.file.sync_data() {
            // A failed sync may leave the pages in the cache, marked clean. Cut away, they can not be read back
            // after a restart and pass for durable.
            drop(self.file.truncate(self.end));
            self.die(format!("the disk did not take a sync: {error}"));
            return Err(LogError::Unknown);
        }
        let mut state = self.topic.state();
        if let Some(segment) = state.segments.back_mut() {
            for header in &round.headers {
                segment.map.add(header);
            }
            self.end = segment.map.end;
        }
        state.health = Health::Sound;
        drop(state);
        self.next_offsets = round.next_offsets;
        self.topic.rounds.send_modify(|rounds| *rounds += 1);
        Ok(round.acks)
    }

    /// Gives every record its offset and fills the buffer with the round's frames.
    fn lay_out(&mut self, requests: &[Request]) -> Round {
        let mut next_offsets = self.next_offsets.clone();
        let mut drafts: Vec<Draft> = Vec::new();
        let mut open: HashMap<u32, usize> = HashMap::new();
        let mut acks = Vec::with_capacity(requests.len());
        for request in requests {
            let mut offsets = Vec::with_capacity(request.records.len());
            for (partition, record) in &request.records {
                let next_offset = &mut next_offsets[*partition as usize];
                let index = match open.get(partition) {
                    Some(index) if drafts[*index].payload_bytes() < FRAME_BYTES => *index,
                    _ => {
                        drafts.push(Draft::new(*partition, *next_offset));
                        open.insert(*partition, drafts.len() - 1);
                        drafts.len() - 1
                    }
                };
                offsets.push(Ack { partition: *partition, offset: drafts[index].push(record), spooled: false });
                *next_offset += 1;
            }
            acks.push(offsets);
        }
        self.buffer.clear();
        let home = self.topic.home(self.segment);
        let headers = drafts
            .iter()
            .map(|draft| draft.write(home, self.end + self.buffer.len() as u64, self.end, &mut self.buffer))
            .collect();
        Round { headers, acks, next_offsets }
    }

    /// After a write that failed: takes back what of it reached the file.
    fn undo(&self, error: &io::Error) -> LogError {
        // The cut is synced too: else a frame that we refuse here could stand up again after a power cut, and
        // the client, who was told "not written", would have sent it twice.
        let undone = self.file.truncate(self.end).and_then(|()| self.file.sync_data());
        if undone.is_err() || !is_full(error) {
            self.die(format!("the disk did not take a write: {error}"));
            return LogError::Unknown;
        }
        self.topic.state().health = Health::Full;
        tracing::error!(topic = self.topic.name, %error, "no space left for the log; refusing writes");
        self.topic.disk_full()
    }

    fn die(&self, why: String) {
        tracing::error!(topic = self.topic.name, why, "the log stops here");
        self.topic.state().health = Health::Dead(why);
        self.topic.rounds.send_modify(|rounds| *rounds += 1);
    }

    /// Retention. An old segment that is still the last is closed first, or it would stay for ever.
    fn tidy(&mut self) {
        let state = self.topic.state();
        let stale = state.check().is_ok() && state.segments.back().is_some_and(|last| self.topic.is_too_old(last));
        drop(state);
        if stale {
            self.roll();
        } else {
            self.remove_old();
        }
    }

    fn roll(&mut self) {
        if self.topic.state().check().is_err() {
            return;
        }
        match self.start_segment() {
            Ok(()) => self.remove_old(),
            // The old segment goes on growing; the next round tries again.
            Err(error) => tracing::error!(topic = self.topic.name, %error, "could not start a new segment"),
        }
    }

    fn start_segment(&mut self) -> io::Result<()> {
        let topic = &self.topic;
        let number = self.segment + 1;
        let (file, path) = segment::create(topic.disk.as_ref(), &topic.dir, topic.home(number), &self.next_offsets)?;
        let mut state = topic.state();
        let closed = state.segments.back().map(|segment| segment.map.clone());
        state.segments.push_back(Segment {
            number,
            path,
            first_offsets: self.next_offsets.clone(),
            map: Map::empty(&self.next_offsets),
        });
        drop(state);
        if let Some(map) = closed {
            index::store(topic.disk.as_ref(), &topic.dir, topic.home(self.segment), &map);
        }
        self.file = file;
        self.segment = number;
        self.end = data_start(topic.partitions);
        Ok(())
    }

    fn remove_old(&self) {
        if let Err(error) = self.topic.remove_old() {
            tracing::error!(topic = self.topic.name, %error, "could not remove an old segment");
        }
    }
}

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

//! The line before the commit thread, bounded in bytes.
//!
//! In:      appends from any number of tasks.
//! Out:     rounds: what stands in the line, in order, up to a round's size.
//! Promise: never more than `queue_bytes_max` waits or is being written; who comes then waits its turn for at
//!          most `queue_wait_ms_max` and is told `Busy` after that. First come, first served.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::frame::record_bytes;
use crate::{Ack, LogError, Record};

/// Counted for each record beside its bytes, so that a million empty records are not free.
const ENTRY_BYTES: usize = 64;

pub(crate) struct Request {
    pub(crate) records: Vec<(u32, Record)>,
    pub(crate) answer: oneshot::Sender<Result<Vec<Ack>, LogError>>,
    bytes: usize,
    /// Gives the room back when the request has been answered.
    _room: OwnedSemaphorePermit,
}

pub(crate) enum Taken {
    Round(Vec<Request>),
    Idle,
    Closed,
}

pub(crate) struct Queue {
    line: Mutex<Line>,
    ready: Condvar,
    room: Arc<Semaphore>,
    room_bytes: u32,
    wait_max: Duration,
}

#[derive(Default)]
struct Line {
    requests: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    pub(crate) fn new(bytes_max: usize, wait_max: Duration) -> Self {
        let room_bytes = u32::try_from(bytes_max.max(1)).unwrap_or(u32::MAX);
        let permits = usize::try_from(room_bytes).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self {
            line: Mutex::new(Line::default()),
            ready: Condvar::new(),
            room: Arc::new(Semaphore::new(permits)),
            room_bytes,
            wait_max,
        }
    }

    pub(crate) async fn put(
        &self,
        records: Vec<(u32, Record)>,
    ) -> Result<oneshot::Receiver<Result<Vec<Ack>, LogError>>, LogError> {
        let bytes: usize = records.iter().map(|(_, record)| ENTRY_BYTES + record_bytes(record)).sum();
        // A request larger than the whole line takes all of it: it goes alone instead of never.
        let room_bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.room_bytes);
        let room = self.room.clone().acquire_many_owned(room_bytes);
        let room = match tokio::time::timeout(self.wait_max, room).await {
            Err(_) => return Err(LogError::Busy),
            Ok(Err(_)) => return Err(LogError::Closed),
            Ok(Ok(room)) => room,
        };
        let (answer, answered) = oneshot::channel();
        let mut line = self.lock();
        if line.closed {
            return Err(LogError::Closed);
        }
        // The one thread that takes from the line sleeps only while it is empty; to call it costs a system call.
        let sleeps = line.requests.is_empty();
        line.requests.push_back(Request { records, answer, bytes, _room: room });
        drop(line);
        if sleeps {
            self.ready.notify_one();
        }
        Ok(answered)
    }

    /// Waits for work, at most `idle`. Takes at least one request, then more while they fit `round_bytes_max`.
    pub(crate) fn take(&self, round_bytes_max: usize, idle: Duration) -> Taken {
        let line = self.lock();
        let (mut line, _) = self
            .ready
            .wait_timeout_while(line, idle, |line| line.requests.is_empty() && !line.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let mut round = Vec::new();
        let mut bytes = 0;
        while let Some(request) = line.requests.front() {
            bytes += request.bytes;
            if !round.is_empty() && round_bytes_max < bytes {
                break;
            }
            round.extend(line.requests.pop_front());
        }
        match (round.is_empty(), line.closed) {
            (false, _) => Taken::Round(round),
            (true, true) => Taken::Closed,
            (true, false) => Taken::Idle,
        }
    }

    /// Nothing more comes in; what stands in the line is still served.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.close();
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // No code that can panic runs under this lock, so a poisoned line is still a whole one.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Reading: one walk through a topic's files for all partitions of the reader.
//!
//! In:       durable frames, from the smallest of the start positions on.
//! Out:      records of the reader's partitions, each exactly once and in offset order.
//! Promise:  no gap passes unseen: offsets here are dense, and a missing one is `Corrupt`.
//!           A poll that is dropped leaves the cursor where it was, and what it was reading for the next one: so an owner
//!           that often drops its polls still gets on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;

use super::frame::{HEADER_BYTES, Header, Records, record_bytes};
use super::segment::{Window, data_start};
use super::topic::{Span, Topic};
use crate::log::{check_start, in_bounds};
use crate::{Delivered, LogError, LogReader, Polled};

pub(crate) struct EmbeddedReader {
    topic: Arc<Topic>,
    cursor: Cursor,
    /// A walk that was begun and not yet given out.
    walking: Option<JoinHandle<Walked>>,
}

/// Records, and where to go on after them.
type Walked = Result<(Vec<Delivered>, Cursor), LogError>;

#[derive(Clone)]
struct Cursor {
    segment: u64,
    position: u64,
    window: Option<Window>,
    /// A frame of which only a part has been given out.
    open: Option<Records>,
    /// (partition, next offset), ascending by partition.
    next: Vec<(u32, u64)>,
}

impl EmbeddedReader {
    pub(crate) fn new(topic: Arc<Topic>, start: &[(u32, u64)]) -> Result<Self, LogError> {
        let next = check_start(start)?;
        for (partition, _) in &next {
            topic.check_partition(*partition)?;
        }
        let state = topic.state();
        state.check_readable()?;
        for (partition, offset) in &next {
            in_bounds(&topic.name, *partition, *offset, state.bounds(*partition))?;
        }
        let at = next.iter().map(|(partition, offset)| state.locate(*partition, *offset)).min();
        drop(state);
        let (segment, position) = at.expect("a start names at least one partition: checked above");
        Ok(Self { topic, cursor: Cursor { segment, position, window: None, open: None, next }, walking: None })
    }

    /// True if there is nothing to read now; an error if retention or a close overtook the reader.
    fn stands_at_end(&self) -> Result<bool, LogError> {
        let state = self.topic.state();
        state.check_readable()?;
        let mut at_end = true;
        for (partition, next) in &self.cursor.next {
            let bounds = state.bounds(*partition);
            in_bounds(&self.topic.name, *partition, *next, bounds)?;
            at_end &= *next == bounds.next;
        }
        Ok(at_end)
    }

    fn answer(&self, records: Vec<Delivered>) -> Polled {
        let state = self.topic.state();
        let positions = self.cursor.next.clone();
        let at_end = positions
            .iter()
            .filter(|(partition, next)| state.bounds(*partition).next == *next)
            .map(|(partition, _)| *partition)
            .collect();
        drop(state);
        Polled { records, positions, at_end, change: None }
    }
}

#[async_trait]
impl LogReader for EmbeddedReader {
    async fn poll(&mut self, bytes_max: usize, wait: Duration) -> Result<Polled, LogError> {
        let walking = match &mut self.walking {
            Some(walking) => walking,
            None => {
                let deadline = tokio::time::Instant::now() + wait;
                let mut rounds = self.topic.rounds.subscribe();
                while self.stands_at_end()? {
                    match tokio::time::timeout_at(deadline, rounds.changed()).await {
                        Ok(Ok(())) => {}
                        // The sender lives in the topic we hold, so this is the time-out.
                        Ok(Err(_)) | Err(_) => return Ok(self.answer(Vec::new())),
                    }
                }
                // The walk works on a copy, which takes the cursor's place once it is given out.
                let (topic, cursor) = (self.topic.clone(), self.cursor.clone());
                self.walking.insert(tokio::task::spawn_blocking(move || walk(&topic, cursor, bytes_max)))
            }
        };
        let walked = walking.await;
        self.walking = None;
        let (records, cursor) = walked.map_err(|error| LogError::Fatal(format!("a read was ended: {error}")))??;
        self.cursor = cursor;
        Ok(self.answer(records))
    }
}

fn walk(topic: &Topic, mut cursor: Cursor, bytes_max: usize) -> Walked {
    let mut records = Vec::new();
    let mut bytes = 0;
    loop {
        while let Some(open) = cursor.open.as_mut().filter(|open| !open.is_spent()) {
            if bytes_max <= bytes && !records.is_empty() {
                return Ok((records, cursor));
            }
            let delivered = open.take().map_err(|what| corrupt(topic, &cursor, cursor.position, what))?;
            let next = cursor.next.iter_mut().find(|(partition, _)| *partition == delivered.partition);
            let Some((_, next)) = next.filter(|(_, next)| *next <= delivered.offset) else { continue };
            *next = delivered.offset + 1;
            bytes += record_bytes(&delivered.record);
            records.push(delivered);
        }
        cursor.open = None;
        if bytes_max <= bytes && !records.is_empty() {
            return Ok((records, cursor));
        }
        let span = topic.state().span(cursor.segment);
        let Some(span) = span else {
            find_again(topic, &mut cursor)?;
            continue;
        };
        if cursor.position == span.end {
            if span.is_last {
                return Ok((records, cursor));
            }
            cursor.segment += 1;
            cursor.position = data_start(topic.partitions);
            cursor.window = None;
            continue;
        }
        open_frame(topic, &mut cursor, &span)?;
    }
}

/// Steps over one frame, and opens it if it has something for this reader.
fn open_frame(topic: &Topic, cursor: &mut Cursor, span: &Span) -> Result<(), LogError> {
    let position = cursor.position;
    let mut window = match cursor.window.take() {
        Some(window) => window,
        None => match topic.disk.open(&span.path) {
            Ok(file) => Window::new(file),
            // Retention took it between our look and our open; the next look will find it gone.
            Err(_) if topic.state().span(cursor.segment).is_none() => return Ok(()),
            Err(error) => return Err(unreadable(topic, &error)),
        },
    };
    let head = window.get(position, HEADER_BYTES, span.end).map_err(|error| unreadable(topic, &error))?;
    let Some(header) = head.as_deref().and_then(Header::read) else {
        return Err(corrupt(topic, cursor, position, "no frame where one was written"));
    };
    let frame_bytes = header.frame_bytes();
    let next = cursor.next.iter().find(|(partition, _)| *partition == header.partition);
    if let Some((_, next)) = next.filter(|(_, next)| *next < header.next_offset()) {
        let frame = window.get(position, frame_bytes, span.end).map_err(|error| unreadable(topic, &error))?;
        let frame = frame.filter(|frame| header.checks(frame, topic.home(cursor.segment), position));
        let Some(frame) = frame else {
            return Err(corrupt(topic, cursor, position, "the checksum of a frame is wrong"));
        };
        if *next < header.base_offset {
            return Err(corrupt(topic, cursor, position, "records are missing before this frame"));
        }
        cursor.open = Some(Records::new(&header, frame.slice(HEADER_BYTES..)));
    }
    cursor.position = position + frame_bytes as u64;
    cursor.window = Some(window);
    Ok(())
}

/// The reader's segment is gone. If its positions are still held (what went was already read, or not its
/// own), it goes on from there; else retention was faster.
fn find_again(topic: &Topic, cursor: &mut Cursor) -> Result<(), LogError> {
    let state = topic.state();
    for (partition, asked) in &cursor.next {
        in_bounds(&topic.name, *partition, *asked, state.bounds(*partition))?;
    }
    let at = cursor.next.iter().map(|(partition, offset)| state.locate(*partition, *offset)).min();
    drop(state);
    (cursor.segment, cursor.position) = at.unwrap_or((cursor.segment, cursor.position));
    cursor.window = None;
    Ok(())
}

fn unreadable(topic: &Topic, error: &io::Error) -> LogError {
    LogError::Fatal(format!("topic {} can not be read: {error}", topic.name))
}

fn corrupt(topic: &Topic, cursor: &Cursor, position: u64, what: &str) -> LogError {
    let file = topic.dir.join(super::segment::log_name(cursor.segment));
    LogError::Corrupt { file, position, what: what.to_owned() }
}

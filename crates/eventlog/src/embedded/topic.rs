//! One topic: what readers may see of it, and what may be thrown away.
//!
//! In:      rounds the commit thread made durable (`commit.rs`); trim hints; time.
//! Out:     bounds, and where to read (`reader.rs`).
//! Promise: the state here knows durable bytes only, so a reader can not see what a crash could take back.
//!          Retention removes whole closed segments from the front, never the one being written.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::EmbeddedSettings;
use super::disk::Disk;
use super::frame::Home;
use super::positions::Positions;
use super::queue::Queue;
use super::segment::{Segment, index_name};
use crate::{Bounds, LogError};

pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: u128,
    pub(crate) partitions: u32,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) settings: Arc<EmbeddedSettings>,
    pub(crate) positions: Arc<Positions>,
    pub(crate) queue: Queue,
    /// Counts commit rounds; readers at the end wait for it to move.
    pub(crate) rounds: watch::Sender<u64>,
    pub(crate) state: Mutex<State>,
    /// Held while files are removed, so that two do not remove the same.
    pub(crate) removing: Mutex<()>,
}

pub(crate) struct State {
    /// Consecutive; the last is the one being written.
    pub(crate) segments: VecDeque<Segment>,
    /// What `trim` was told, per partition.
    pub(crate) keep_from: Vec<u64>,
    pub(crate) health: Health,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    Sound,
    Full,
    Dead(String),
    Closed,
}

/// Where a reader stands and how far it may go there.
pub(crate) struct Span {
    pub(crate) path: PathBuf,
    pub(crate) end: u64,
    pub(crate) is_last: bool,
}

impl Topic {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Changes under this lock are plain assignments that do not panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn home(&self, segment: u64) -> Home {
        Home { topic_id: self.id, segment }
    }

    pub(crate) fn check_partition(&self, partition: u32) -> Result<(), LogError> {
        if partition < self.partitions {
            return Ok(());
        }
        Err(LogError::NoSuchPartition { topic: self.name.clone(), partition, partitions: self.partitions })
    }

    pub(crate) fn disk_full(&self) -> LogError {
        LogError::DiskFull { dir: self.settings.dir.clone() }
    }

    /// Frees what trim hints and retention allow. Blocks for file operations.
    pub(crate) fn remove_old(&self) -> io::Result<()> {
        let _one_at_a_time = self.removing.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            // Readers first see the earliest offset rise, then the file goes.
            let mut state = self.state();
            if state.health == Health::Closed || !self.may_remove_first(&state) {
                return Ok(());
            }
            let Some(segment) = state.segments.pop_front() else { return Ok(()) };
            drop(state);
            tracing::info!(topic = self.name, segment = segment.number, "removing an old segment");
            self.disk.remove(&segment.path)?;
            match self.disk.remove(&self.dir.join(index_name(segment.number))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // One sync a file: were two removals to reach the disk in the wrong order, a power cut would leave
            // a gap, and a gap is damage.
            self.disk.sync_dir(&self.dir)?;
        }
    }

    fn may_remove_first(&self, state: &State) -> bool {
        let (Some(first), true) = (state.segments.front(), 1 < state.segments.len()) else { return false };
        let mut ends = first.map.next_offsets.iter().zip(&state.keep_from);
        if ends.all(|(end, keep_from)| end <= keep_from) {
            return true;
        }
        let too_old = self.is_too_old(first);
        let bytes: u64 = state.segments.iter().map(|segment| segment.map.end).sum();
        let too_much = self.settings.retention_bytes_max.is_some_and(|max| max < bytes);
        (too_old || too_much) && self.settings.retention_waits_for.iter().all(|group| self.has_passed(group, first))
    }

    pub(crate) fn is_too_old(&self, segment: &Segment) -> bool {
        let Some(age_ms_max) = self.settings.retention_age_ms_max else { return false };
        let age_ms = (self.settings.now_ms)().saturating_sub(segment.map.time_ms_max);
        !segment.map.is_empty() && u64::try_from(age_ms).is_ok_and(|age_ms| age_ms_max < age_ms)
    }

    fn has_passed(&self, group: &str, segment: &Segment) -> bool {
        (0..self.partitions).zip(&segment.map.next_offsets).zip(&segment.first_offsets).all(
            |((partition, end), first)| {
                first == end || self.positions.get(group, &self.name, partition).is_some_and(|next| *end <= next)
            },
        )
    }
}

impl State {
    pub(crate) fn bounds(&self, partition: u32) -> Bounds {
        let index = partition as usize;
        // A topic always has at least the segment being written.
        let earliest = self.segments.front().map_or(0, |segment| segment.first_offsets[index]);
        let next = self.segments.back().map_or(0, |segment| segment.map.next_offsets[index]);
        Bounds { earliest, next }
    }

    /// (segment number, position) to begin reading `offset` at, which is within the bounds.
    pub(crate) fn locate(&self, partition: u32, offset: u64) -> (u64, u64) {
        let after = self.segments.partition_point(|segment| segment.first_offsets[partition as usize] <= offset);
        let segment = &self.segments[after.saturating_sub(1)];
        (segment.number, segment.map.position_for(partition, offset))
    }

    pub(crate) fn span(&self, number: u64) -> Option<Span> {
        let first = self.segments.front()?.number;
        let index = usize::try_from(number.checked_sub(first)?).ok()?;
        let segment = self.segments.get(index)?;
        Some(Span { path: segment.path.clone(), end: segment.map.end, is_last: index + 1 == self.segments.len() })
    }

    /// A log that lost its disk can still be read: what it shows was durable before.
    pub(crate) fn check_readable(&self) -> Result<(), LogError> {
        if self.health == Health::Closed { Err(LogError::Closed) } else { Ok(()) }
    }

    pub(crate) fn check(&self) -> Result<(), LogError> {
        match &self.health {
            Health::Sound | Health::Full => Ok(()),
            Health::Dead(why) => Err(LogError::Fatal(why.clone())),
            Health::Closed => Err(LogError::Closed),
        }
    }
}

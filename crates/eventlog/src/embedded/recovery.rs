//! Opening a topic's files after any end: a clean stop, a kill, a power cut, or real damage.
//!
//! In:       the topic's directory.
//! Out:      its segments, the last one ready to be appended to; or `Corrupt` with file and byte.
//! Promise:  what was acknowledged is there, or the log refuses to open. Only the last commit round, which nobody
//!           was told of, may be cut away.
//!
//! The rule for a bad frame in the last segment: a round is one write and one sync, and the next round starts
//! only after that sync. So a good frame after the bad one that belongs to a *later* round proves that the bad
//! one was once durable: damage, refuse. A good frame of the *same* round only shows that the disk wrote the
//! round's blocks in its own order before the power went: a torn tail, cut it. (A rule without rounds, "any good
//! frame after a bad one means damage", would refuse to start after an ordinary power cut.)

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::frame::{HEADER_BYTES, Header, Home};
use super::index;
use super::segment::{Map, Segment, Window, data_start, log_name, read_header};
use crate::LogError;

pub(crate) struct Opened {
    pub(crate) segments: VecDeque<Segment>,
    pub(crate) active: Arc<dyn DiskFile>,
    /// Bytes of a torn round that were cut away.
    pub(crate) cut_bytes: u64,
}

pub(crate) fn open_segments(
    disk: &dyn Disk,
    dir: &Path,
    topic_id: u128,
    partitions: u32,
    scan_all: bool,
) -> Result<Opened, LogError> {
    let numbers = segment_numbers(disk, dir)?;
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut active: Option<Arc<dyn DiskFile>> = None;
    let mut cut_bytes = 0;
    for (index, number) in numbers.iter().copied().enumerate() {
        let is_last = index + 1 == numbers.len();
        let place = Place { disk, dir, path: dir.join(log_name(number)), home: Home { topic_id, segment: number } };
        if let Some(before) = segments.back().filter(|before| before.number + 1 != number) {
            return Err(place.corrupt(0, format!("segment {} before it is missing", before.number + 1)));
        }
        let file = disk.open(&place.path).map_err(|error| place.io(&error))?;
        let Some(first_offsets) = place.first_offsets(file.as_ref(), partitions, is_last && index != 0)? else {
            break;
        };
        if segments.back().is_some_and(|before| before.map.next_offsets != first_offsets) {
            return Err(place.corrupt(0, "its first offsets do not follow on the segment before".into()));
        }
        let map = if is_last {
            let (map, cut) = place.open_last(&file, &first_offsets)?;
            cut_bytes = cut;
            map
        } else {
            place.open_closed(&file, &first_offsets, scan_all)?
        };
        segments.push_back(Segment { number, path: place.path, first_offsets, map });
        active = Some(file);
    }
    let Some(active) = active else {
        let what = "the topic has no segment file".to_owned();
        return Err(LogError::Corrupt { file: dir.to_path_buf(), position: 0, what });
    };
    Ok(Opened { segments, active, cut_bytes })
}

/// Ascending. Left-overs of an interrupted write or removal go.
fn segment_numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, LogError> {
    let io = |error: io::Error| LogError::Fatal(format!("{}: {error}", dir.display()));
    let names = disk.list(dir).map_err(io)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    numbers.sort_unstable();
    for name in &names {
        let orphan = name
            .strip_suffix(".idx")
            .is_some_and(|number| number.parse().is_ok_and(|number: u64| numbers.binary_search(&number).is_err()));
        if orphan || name.ends_with(".tmp") {
            disk.remove(&dir.join(name)).map_err(io)?;
        }
    }
    Ok(numbers)
}

struct Place<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    path: PathBuf,
    home: Home,
}

impl Place<'_> {
    /// `None`: the file was being made when the power went, and is gone now.
    fn first_offsets(
        &self,
        file: &dyn DiskFile,
        partitions: u32,
        may_be_unfinished: bool,
    ) -> Result<Option<Vec<u64>>, LogError> {
        let start = data_start(partitions);
        let length = file.len_bytes().map_err(|error| self.io(&error))?;
        let mut bytes = vec![0; usize::try_from(start.min(length)).expect("a header fits memory")];
        let read = file.read_at(&mut bytes, 0).map_err(|error| self.io(&error))?;
        match read_header(&bytes[..read], self.home, partitions) {
            Ok(offsets) => Ok(Some(offsets)),
            // The header is synced before the first frame is written, so a file no longer than its header
            // holds nothing anyone was told of.
            Err(_) if may_be_unfinished && length <= start => {
                self.disk.remove(&self.path).map_err(|error| self.io(&error))?;
                self.disk.sync_dir(self.dir).map_err(|error| self.io(&error))?;
                Ok(None)
            }
            Err(what) => Err(self.corrupt(0, what)),
        }
    }

    fn open_closed(&self, file: &Arc<dyn DiskFile>, first: &[u64], scan: bool) -> Result<Map, LogError> {
        let length = file.len_bytes().map_err(|error| self.io(&error))?;
        let partitions = u32::try_from(first.len()).expect("partitions are counted in u32");
        let stored = index::load(self.disk, self.dir, self.home, partitions);
        if let Some(map) = stored.filter(|map| map.end == length && !scan) {
            return Ok(map);
        }
        let (map, bad) = self.scan(file, first, length)?;
        if let Some(position) = bad {
            return Err(self.corrupt(position, "a bad frame in a closed segment".into()));
        }
        index::store(self.disk, self.dir, self.home, &map);
        Ok(map)
    }

    /// Returns the map and how many torn bytes were cut.
    fn open_last(&self, file: &Arc<dyn DiskFile>, first: &[u64]) -> Result<(Map, u64), LogError> {
        let length = file.len_bytes().map_err(|error| self.io(&error))?;
        let partitions = u32::try_from(first.len()).expect("partitions are counted in u32");
        // A clean stop leaves an index here too; what it covers was durable then.
        let durable = index::load(self.disk, self.dir, self.home, partitions).map_or(0, |map| map.end);
        let (map, bad) = self.scan(file, first, length)?;
        if map.end < durable {
            let what =
                format!("{durable} bytes were durable at the last clean stop; a bad frame or the end comes before");
            return Err(self.corrupt(map.end, what));
        }
        if let Some(bad) = bad {
            if let Some(later) = self.later_round(file, bad, length, partitions)? {
                let what = format!("a bad frame, with a good one of a later commit round at byte {later}");
                return Err(self.corrupt(bad, what));
            }
            file.truncate(bad).map_err(|error| self.io(&error))?;
        }
        // Also without a cut: frames that a killed process wrote may be in the page cache only, and readers
        // are about to see them.
        file.sync_data().map_err(|error| self.io(&error))?;
        let cut_bytes = length.saturating_sub(map.end);
        Ok((map, cut_bytes))
    }

    /// The map of the good frames from the start, and where the first bad one is.
    fn scan(&self, file: &Arc<dyn DiskFile>, first: &[u64], end: u64) -> Result<(Map, Option<u64>), LogError> {
        let mut map = Map::empty(first);
        let mut window = Window::new(file.clone());
        while map.end < end {
            let Some(header) = self.good_frame(&mut window, map.end, end)? else {
                let bad = map.end;
                return Ok((map, Some(bad)));
            };
            let expected = map.next_offsets.get(header.partition as usize);
            if expected != Some(&header.base_offset) {
                return Err(self.corrupt(map.end, "a good frame with offsets out of order".into()));
            }
            map.add(&header);
        }
        Ok((map, None))
    }

    fn good_frame(&self, window: &mut Window, position: u64, end: u64) -> Result<Option<Header>, LogError> {
        let head = window.get(position, HEADER_BYTES, end).map_err(|error| self.io(&error))?;
        let Some(header) = head.as_deref().and_then(Header::read) else {
            return Ok(None);
        };
        let frame = window.get(position, header.frame_bytes(), end).map_err(|error| self.io(&error))?;
        Ok(frame.filter(|frame| header.checks(frame, self.home, position)).map(|_| header))
    }

    /// Where a good frame stands whose round began after `bad`.
    fn later_round(
        &self,
        file: &Arc<dyn DiskFile>,
        bad: u64,
        end: u64,
        partitions: u32,
    ) -> Result<Option<u64>, LogError> {
        let mut headers = Window::new(file.clone());
        let mut frames = Window::new(file.clone());
        let mut position = bad + 1;
        while position + HEADER_BYTES as u64 <= end {
            let head = headers.get(position, HEADER_BYTES, end).map_err(|error| self.io(&error))?;
            let candidate = head.as_deref().and_then(Header::read).filter(|header| {
                bad < header.round_position && header.round_position <= position && header.partition < partitions
            });
            if candidate.is_some() && self.good_frame(&mut frames, position, end)?.is_some() {
                return Ok(Some(position));
            }
            position += 1;
        }
        Ok(None)
    }

    fn io(&self, error: &io::Error) -> LogError {
        LogError::Fatal(format!("{}: {error}", self.path.display()))
    }

    fn corrupt(&self, position: u64, what: String) -> LogError {
        LogError::Corrupt { file: self.path.clone(), position, what }
    }
}

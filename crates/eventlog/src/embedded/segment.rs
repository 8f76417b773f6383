//! One segment file: its header, a window to read it through, and the map of what lies in it.
//!
//! A topic is a row of such files, each shared by all partitions, so that one sync a commit round serves them
//! all (measured: four files and four syncs a round gave a third of the rate).
//!
//! ```text
//!  0  magic "TRIBLOG1"   12  topic id u128   36  partitions u32                      all little-endian
//!  8  format version u32 28  number u64      40  first offset of each partition u64, then crc32c u32
//! ```
//! The first offsets stand in the header because a partition may have nothing in any file that retention left,
//! and its next offset must still be known.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::disk::{Disk, DiskFile};
use super::frame::{Header, Home, u32_at, u64_at};

const MAGIC: [u8; 8] = *b"TRIBLOG1";
const FORMAT_VERSION: u32 = 1;
/// A position enters the map when at least this much of the file lies between it and the partition's last one:
/// 128 MiB make at most 2,048 entries of 16 bytes a partition.
const MAP_STEP_BYTES: u64 = 64 << 10;

/// Where frames begin in a file of a topic with so many partitions.
pub(crate) fn data_start(partitions: u32) -> u64 {
    44 + 8 * u64::from(partitions)
}

pub(crate) fn log_name(number: u64) -> String {
    format!("{number:020}.log")
}

pub(crate) fn index_name(number: u64) -> String {
    format!("{number:020}.idx")
}

fn header_bytes(home: Home, first_offsets: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_slice(&MAGIC);
    out.put_u32_le(FORMAT_VERSION);
    out.put_u128_le(home.topic_id);
    out.put_u64_le(home.segment);
    out.put_u32_le(u32::try_from(first_offsets.len()).expect("partitions are counted in u32"));
    for offset in first_offsets {
        out.put_u64_le(*offset);
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

/// Makes the file, with its header and its name durable before any frame.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    home: Home,
    first_offsets: &[u64],
) -> io::Result<(Arc<dyn DiskFile>, PathBuf)> {
    let path = dir.join(log_name(home.segment));
    let made = disk.create(&path).and_then(|file| {
        file.write_at(&header_bytes(home, first_offsets), 0)?;
        file.sync_data()?;
        disk.sync_dir(dir)?;
        Ok(file)
    });
    if made.is_err() {
        // Left behind, it would stand in the way of the next attempt.
        drop(disk.remove(&path));
    }
    Ok((made?, path))
}

/// The first offset of each partition, or what is wrong with this header.
pub(crate) fn read_header(bytes: &[u8], home: Home, partitions: u32) -> Result<Vec<u64>, String> {
    let length = usize::try_from(data_start(partitions)).map_err(|_| "too many partitions".to_owned())?;
    if bytes.len() < length {
        return Err("the file header is cut short".into());
    }
    let (body, crc) = bytes[..length].split_at(length - 4);
    if body[..8] != MAGIC {
        return Err("this is not a segment file".into());
    }
    if u32_at(body, 8) != FORMAT_VERSION {
        return Err(format!("format version {} is not known to this program", u32_at(body, 8)));
    }
    if u32_at(crc, 0) != crc32c::crc32c(body) {
        return Err("the checksum of the file header is wrong".into());
    }
    if body[12..28] != home.topic_id.to_le_bytes() || u64_at(body, 28) != home.segment {
        return Err("the file belongs to another topic or another place".into());
    }
    if u32_at(body, 36) != partitions {
        return Err(format!("the file has {} partitions", u32_at(body, 36)));
    }
    Ok(body[40..].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

/// A segment as the topic knows it.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) first_offsets: Vec<u64>,
    pub(crate) map: Map,
}

/// What lies in a segment, up to its durable end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// Durable bytes of the file.
    pub(crate) end: u64,
    pub(crate) next_offsets: Vec<u64>,
    /// Newest record time, `i64::MIN` while empty.
    pub(crate) time_ms_max: i64,
    /// Per partition, ascending and sparse.
    pub(crate) entries: Vec<Vec<Entry>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base_offset: u64,
    pub(crate) position: u64,
}

impl Map {
    pub(crate) fn empty(first_offsets: &[u64]) -> Self {
        let partitions = u32::try_from(first_offsets.len()).expect("partitions are counted in u32");
        Self {
            end: data_start(partitions),
            next_offsets: first_offsets.to_vec(),
            time_ms_max: i64::MIN,
            entries: vec![Vec::new(); first_offsets.len()],
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.time_ms_max == i64::MIN && self.entries.iter().all(Vec::is_empty)
    }

    /// Takes in the frame that stands at the end.
    pub(crate) fn add(&mut self, header: &Header) {
        let partition = header.partition as usize;
        let entries = &mut self.entries[partition];
        if entries.last().is_none_or(|last| last.position + MAP_STEP_BYTES <= self.end) {
            entries.push(Entry { base_offset: header.base_offset, position: self.end });
        }
        self.next_offsets[partition] = header.next_offset();
        self.time_ms_max = self.time_ms_max.max(header.time_ms_max);
        self.end += header.frame_bytes() as u64;
    }

    /// Where to begin looking for `offset`, which lies in this segment.
    pub(crate) fn position_for(&self, partition: u32, offset: u64) -> u64 {
        let entries = &self.entries[partition as usize];
        let after = entries.partition_point(|entry| entry.base_offset <= offset);
        entries[..after].last().map_or(data_start_of(self), |entry| entry.position)
    }
}

fn data_start_of(map: &Map) -> u64 {
    44 + 8 * map.next_offsets.len() as u64
}

/// Reads a file front to back in large gulps; what it hands out are slices of the gulp.
#[derive(Clone)]
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    gulp: Bytes,
    gulp_position: u64,
}

const GULP_BYTES: u64 = 1 << 20;

impl Window {
    pub(crate) fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file, gulp: Bytes::new(), gulp_position: 0 }
    }

    /// `count` bytes from `position`; `None` if that passes `end`.
    pub(crate) fn get(&mut self, position: u64, count: usize, end: u64) -> io::Result<Option<Bytes>> {
        let stop = position + count as u64;
        if end < stop {
            return Ok(None);
        }
        let gulp_end = self.gulp_position + self.gulp.len() as u64;
        if position < self.gulp_position || gulp_end < stop {
            let want = (end - position).min(GULP_BYTES).max(count as u64);
            let mut buffer = vec![0; usize::try_from(want).map_err(|_| io::ErrorKind::FileTooLarge)?];
            let read = self.file.read_at(&mut buffer, position)?;
            buffer.truncate(read);
            if read < count {
                return Ok(None);
            }
            self.gulp = Bytes::from(buffer);
            self.gulp_position = position;
        }
        let from = usize::try_from(position - self.gulp_position).expect("inside the gulp: checked above");
        Ok(Some(self.gulp.slice(from..from + count)))
    }
}

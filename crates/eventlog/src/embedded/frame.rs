//! Frames: how records lie in a segment file.
//!
//! In:       records of one partition, and where in which file the frame will stand.
//! Out:      bytes with a CRC32C; and back.
//! Promise:  bytes pass for a frame only at the position, in the segment and in the topic they were written
//!           for: those three seed the checksum. A record whose value happens to hold a copied frame can not
//!           fool recovery, and neither can a block that the disk put in the wrong place.
//!
//! ```text
//!  0  magic "TFr1"       16  base offset u64        40  records, each:
//!  4  crc32c of 8..end   24  round position u64          time_ms i64
//!  8  payload bytes u32  32  newest time_ms i64          key bytes u32 (u32::MAX: no key), value bytes u32
//! 12  partition u32      40  record count u32            key, value
//!                        44  payload                                          all little-endian
//! ```
//! The round position is where the commit round began that the frame belongs to. One round is one write and
//! one sync, so after a power cut any part of the last round may be there or not; recovery (`recovery.rs`) tells
//! by this number whether a good frame after a bad one belongs to the same torn round or proves real damage.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Delivered, Record};

pub(crate) const HEADER_BYTES: usize = 44;
const MAGIC: [u8; 4] = *b"TFr1";
const NO_KEY: u32 = u32::MAX;
const RECORD_OVERHEAD_BYTES: usize = 16;
/// Longer payloads are taken for damage, so that a bad length can not make us allocate the world.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// Which file a frame belongs to; with the position it seeds the checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Home {
    pub(crate) topic_id: u128,
    pub(crate) segment: u64,
}

impl Home {
    fn seed(self, position: u64) -> u32 {
        let mut text = [0u8; 32];
        text[..16].copy_from_slice(&self.topic_id.to_le_bytes());
        text[16..24].copy_from_slice(&self.segment.to_le_bytes());
        text[24..].copy_from_slice(&position.to_le_bytes());
        crc32c::crc32c(&text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    crc: u32,
    pub(crate) payload_bytes: usize,
    pub(crate) partition: u32,
    pub(crate) base_offset: u64,
    pub(crate) round_position: u64,
    pub(crate) time_ms_max: i64,
    pub(crate) count: u32,
}

impl Header {
    /// `None` if these bytes do not even look like a frame. `bytes` holds at least [`HEADER_BYTES`].
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes[..4] != MAGIC {
            return None;
        }
        let header = Self {
            crc: u32_at(bytes, 4),
            payload_bytes: u32_at(bytes, 8) as usize,
            partition: u32_at(bytes, 12),
            base_offset: u64_at(bytes, 16),
            round_position: u64_at(bytes, 24),
            time_ms_max: u64_at(bytes, 32).cast_signed(),
            count: u32_at(bytes, 40),
        };
        (header.payload_bytes <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    pub(crate) fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    pub(crate) fn next_offset(&self) -> u64 {
        self.base_offset + u64::from(self.count)
    }

    /// `frame` is the whole frame, header and payload.
    pub(crate) fn checks(&self, frame: &[u8], home: Home, position: u64) -> bool {
        frame.len() == self.frame_bytes() && crc32c::crc32c_append(home.seed(position), &frame[8..]) == self.crc
    }
}

pub(crate) fn record_bytes(record: &Record) -> usize {
    RECORD_OVERHEAD_BYTES + record.key.as_ref().map_or(0, Bytes::len) + record.value.len()
}

/// The records of one frame as they are gathered, before it is known where the frame will stand.
pub(crate) struct Draft {
    pub(crate) partition: u32,
    base_offset: u64,
    count: u32,
    time_ms_max: i64,
    payload: BytesMut,
}

impl Draft {
    pub(crate) fn new(partition: u32, base_offset: u64) -> Self {
        Self { partition, base_offset, count: 0, time_ms_max: i64::MIN, payload: BytesMut::new() }
    }

    pub(crate) fn payload_bytes(&self) -> usize {
        self.payload.len()
    }

    /// Returns the offset the record will have. Key and value are below `u32::MAX` bytes: checked on append.
    #[allow(clippy::cast_possible_truncation, reason = "lengths are checked against record_bytes_max")]
    pub(crate) fn push(&mut self, record: &Record) -> u64 {
        let offset = self.base_offset + u64::from(self.count);
        self.count += 1;
        self.time_ms_max = self.time_ms_max.max(record.time_ms);
        self.payload.reserve(record_bytes(record));
        self.payload.put_i64_le(record.time_ms);
        self.payload.put_u32_le(record.key.as_ref().map_or(NO_KEY, |key| key.len() as u32));
        self.payload.put_u32_le(record.value.len() as u32);
        self.payload.put_slice(record.key.as_deref().unwrap_or_default());
        self.payload.put_slice(&record.value);
        offset
    }

    /// Appends the frame to `out`, to stand at `position` of the file; returns its header.
    #[allow(clippy::cast_possible_truncation, reason = "a draft is closed long before 4 GiB")]
    pub(crate) fn write(&self, home: Home, position: u64, round_position: u64, out: &mut Vec<u8>) -> Header {
        let start = out.len();
        out.put_slice(&MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(self.payload.len() as u32);
        out.put_u32_le(self.partition);
        out.put_u64_le(self.base_offset);
        out.put_u64_le(round_position);
        out.put_i64_le(self.time_ms_max);
        out.put_u32_le(self.count);
        out.put_slice(&self.payload);
        let crc = crc32c::crc32c_append(home.seed(position), &out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        Header {
            crc,
            payload_bytes: self.payload.len(),
            partition: self.partition,
            base_offset: self.base_offset,
            round_position,
            time_ms_max: self.time_ms_max,
            count: self.count,
        }
    }
}

/// The records of a checked frame, given out one by one without copying.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    partition: u32,
    next_offset: u64,
    end_offset: u64,
    rest: Bytes,
}

impl Records {
    /// `payload` is that of a frame whose checksum was right.
    pub(crate) fn new(header: &Header, payload: Bytes) -> Self {
        Self {
            partition: header.partition,
            next_offset: header.base_offset,
            end_offset: header.next_offset(),
            rest: payload,
        }
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.next_offset == self.end_offset
    }

    /// The next record; `Err` if the lengths inside do not add up, which a right checksum rules out.
    pub(crate) fn take(&mut self) -> Result<Delivered, &'static str> {
        const ODD: &str = "record lengths inside a frame with a right checksum do not add up";
        if self.rest.len() < RECORD_OVERHEAD_BYTES {
            return Err(ODD);
        }
        let time_ms = u64_at(&self.rest, 0).cast_signed();
        let key_bytes = u32_at(&self.rest, 8);
        let value_bytes = u32_at(&self.rest, 12) as usize;
        let mut rest = self.rest.slice(RECORD_OVERHEAD_BYTES..);
        let key_len = if key_bytes == NO_KEY { 0 } else { key_bytes as usize };
        if rest.len() < key_len + value_bytes {
            return Err(ODD);
        }
        let key = rest.split_to(key_len);
        let value = rest.split_to(value_bytes);
        self.rest = rest;
        let offset = self.next_offset;
        self.next_offset += 1;
        let key = (key_bytes != NO_KEY).then_some(key);
        Ok(Delivered { partition: self.partition, offset, record: Record { key, value, time_ms } })
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_passes_only_at_its_own_place() {
        let home = Home { topic_id: 7, segment: 3 };
        let mut draft = Draft::new(2, 100);
        let records = [
            Record { key: Some(Bytes::from_static(b"k")), value: Bytes::from_static(b"one"), time_ms: 5 },
            Record { key: None, value: Bytes::new(), time_ms: -1 },
            Record { key: Some(Bytes::new()), value: Bytes::from_static(b"three"), time_ms: 9 },
        ];
        for record in &records {
            draft.push(record);
        }
        let mut out = Vec::new();
        let header = draft.write(home, 4096, 4000, &mut out);
        assert_eq!(Header::read(&out), Some(header));
        assert_eq!((header.next_offset(), header.time_ms_max), (103, 9));
        assert!(header.checks(&out, home, 4096));
        assert!(!header.checks(&out, home, 4097));
        assert!(!header.checks(&out, Home { segment: 4, ..home }, 4096));
        assert!(!header.checks(&out, Home { topic_id: 8, ..home }, 4096));
        for index in 8..out.len() {
            let mut bad = out.clone();
            bad[index] ^= 1;
            assert!(!header.checks(&bad, home, 4096), "a flipped bit in byte {index} is seen");
        }
        let mut read = Records::new(&header, Bytes::from(out).slice(HEADER_BYTES..));
        for (record, offset) in records.iter().zip(100..) {
            assert_eq!(read.take().unwrap(), Delivered { partition: 2, offset, record: record.clone() });
        }
        assert!(read.is_spent());
    }
}

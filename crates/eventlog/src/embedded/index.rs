//! The map of a closed segment, kept beside it as `.idx` so that opening need not read every byte.
//!
//! In:      the map of a segment at the moment of its closing (or of a clean stop).
//! Out:     the same map, or `None`: missing, damaged, from another segment. Then the segment is scanned.
//! Promise: an index is only ever a shortcut; deleting all of them costs time, not records.

use std::path::Path;

use bytes::BufMut;

use super::disk::{Disk, read_whole, write_atomically};
use super::frame::{Home, u32_at, u64_at};
use super::segment::{Entry, Map, index_name};

const MAGIC: [u8; 8] = *b"TRIBIDX1";

/// Best effort: the next open scans the segment if this did not work.
pub(crate) fn store(disk: &dyn Disk, dir: &Path, home: Home, map: &Map) {
    if let Err(error) = write_atomically(disk, dir, &index_name(home.segment), &encode(home, map)) {
        tracing::warn!(segment = home.segment, %error, "could not store a segment's index; it will be rebuilt");
    }
}

pub(crate) fn load(disk: &dyn Disk, dir: &Path, home: Home, partitions: u32) -> Option<Map> {
    let bytes = read_whole(disk, &dir.join(index_name(home.segment))).ok()?;
    decode(&bytes, home, partitions as usize)
}

fn encode(home: Home, map: &Map) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_slice(&MAGIC);
    out.put_u128_le(home.topic_id);
    out.put_u64_le(home.segment);
    out.put_u64_le(map.end);
    out.put_i64_le(map.time_ms_max);
    for (next_offset, entries) in map.next_offsets.iter().zip(&map.entries) {
        out.put_u64_le(*next_offset);
        out.put_u64_le(entries.len() as u64);
        for entry in entries {
            out.put_u64_le(entry.base_offset);
            out.put_u64_le(entry.position);
        }
    }
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

fn decode(bytes: &[u8], home: Home, partitions: usize) -> Option<Map> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if body.len() < 48 || body[..8] != MAGIC || u32_at(crc, 0) != crc32c::crc32c(body) {
        return None;
    }
    if body[8..24] != home.topic_id.to_le_bytes() || u64_at(body, 24) != home.segment {
        return None;
    }
    let mut map = Map {
        end: u64_at(body, 32),
        time_ms_max: u64_at(body, 40).cast_signed(),
        next_offsets: Vec::new(),
        entries: Vec::new(),
    };
    let mut words = body[48..].as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    for _ in 0..partitions {
        map.next_offsets.push(words.next()?);
        let count = words.next()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(Entry { base_offset: words.next()?, position: words.next()? });
        }
        map.entries.push(entries);
    }
    words.next().is_none().then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_taken_whole_or_not_at_all() {
        let home = Home { topic_id: 1, segment: 2 };
        let entry = Entry { base_offset: 5, position: 60 };
        let map = Map { end: 99, next_offsets: vec![7, 0], time_ms_max: 3, entries: vec![vec![entry], vec![]] };
        let bytes = encode(home, &map);
        assert_eq!(decode(&bytes, home, 2), Some(map));
        assert_eq!(decode(&bytes, Home { segment: 3, ..home }, 2), None);
        assert_eq!(decode(&bytes, home, 3), None);
        for index in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[index] ^= 4;
            assert_eq!(decode(&bad, home, 2), None, "byte {index}");
            assert_eq!(decode(&bytes[..index], home, 2), None, "cut at {index}");
        }
    }
}

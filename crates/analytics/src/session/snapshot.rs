//! The open sessions as bytes, and back: a restart in the time it takes to read them.
//!
//! In:       a `Sessionizer` right after a `drain`; bytes.
//! Out:      bytes; a `Sessionizer` that goes on exactly as the first would.
//! Promise:  bytes of another rule, another layout, or damaged ones are refused, never misread.
//! Not here: where they are kept, and at which log position they were taken (`pipeline`).
//!
//! Two workers that fold the same log may write different bytes: texts are numbered as they came, and a restart numbers
//! them anew. What they hold is the same.

use xxhash_rust::xxh3::xxh3_64;

use super::filing::Bucket;
use super::line::Line;
use super::rule::SessionRule;
use super::sessionizer::Sessionizer;
use super::texts::Texts;

const MAGIC: [u8; 4] = *b"TRSS";
/// Of these bytes: counted up when they change.
const VERSION: u8 = 2;

/// Why bytes are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("these {bytes} bytes are no snapshot of sessions: rebuild the sessions from the tables")]
    NoSnapshot { bytes: usize },
    #[error("the snapshot has version {version}, this program reads {VERSION}: rebuild the sessions from the tables")]
    OtherVersion { version: u8 },
    #[error("the snapshot was made by another session rule: rebuild the sessions from the tables")]
    OtherRule,
    #[error("the snapshot is damaged (its checksum differs): rebuild the sessions from the tables")]
    Damaged,
}

impl Sessionizer {
    /// Appends the snapshot. To be taken right after a `drain`: what waits for one is not in it.
    pub fn write_snapshot(&self, out: &mut Vec<u8>) {
        debug_assert!(self.is_told(), "a snapshot is taken right after a drain");
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        put(self.rule.fingerprint().cast_unsigned(), out);
        let checked_from = out.len() + 8;
        put(0, out);

        put(self.session_count as u64, out);
        put(self.texts.by_number().len() as u64, out);
        for text in self.texts.by_number() {
            // 0 stands for a number that is free.
            put(text.map_or(0, |text| text.len() as u64 + 1), out);
            out.extend_from_slice(text.unwrap_or_default().as_bytes());
        }
        put(self.sources.len() as u64, out);
        // A line that was filed more than once is written where it says it is.
        let mut is_written = vec![false; self.lines.len()];
        for (source_number, source) in (0..).zip(&self.sources) {
            put(source.name.len() as u64, out);
            out.extend_from_slice(source.name.as_bytes());
            put(source.watermark_us.is_some().into(), out);
            put(source.watermark_us.unwrap_or(0).cast_unsigned(), out);
            put(source.filing.buckets().len() as u64, out);
            for (bucket_number, bucket) in source.filing.buckets() {
                put(bucket_number.cast_unsigned(), out);
                put(bucket.low_offset.cast_unsigned(), out);
                let count_at = out.len();
                let mut count = 0_u64;
                put(count, out);
                for number in &bucket.lines {
                    let line = self.lines.get(*number);
                    if is_written[*number as usize] || !line.is_filed(source_number, bucket_number) {
                        continue;
                    }
                    is_written[*number as usize] = true;
                    count += 1;
                    line.key_hash.into_iter().for_each(|half| put(half, out));
                    let facts = line.packed();
                    out.extend_from_slice(&u32::try_from(facts.len()).expect("a line is no 4 GiB").to_le_bytes());
                    out.extend_from_slice(facts);
                }
                out[count_at..count_at + 8].copy_from_slice(&count.to_le_bytes());
            }
        }
        let checksum = xxh3_64(&out[checked_from..]);
        out[checked_from - 8..checked_from].copy_from_slice(&checksum.to_le_bytes());
    }

    /// The opposite of `write_snapshot`.
    pub fn read_snapshot(rule: SessionRule, bytes: &[u8]) -> Result<Self, SnapshotError> {
        let mut head = Bytes(bytes);
        if head.take(4) != Some(&MAGIC) {
            return Err(SnapshotError::NoSnapshot { bytes: bytes.len() });
        }
        match head.take(1) {
            Some(&[VERSION]) => {}
            Some(&[version]) => return Err(SnapshotError::OtherVersion { version }),
            _ => return Err(SnapshotError::NoSnapshot { bytes: bytes.len() }),
        }
        if head.number() != Some(rule.fingerprint().cast_unsigned()) {
            return Err(SnapshotError::OtherRule);
        }
        if head.number() != Some(xxh3_64(head.0)) {
            return Err(SnapshotError::Damaged);
        }
        // Behind a checksum that fits come the bytes we wrote: what is missing now is missing through a fault of ours.
        read(rule, head).ok_or(SnapshotError::Damaged)
    }
}

fn read(rule: SessionRule, mut from: Bytes<'_>) -> Option<Sessionizer> {
    let mut sessionizer = Sessionizer::new(rule);
    sessionizer.session_count = from.size()?;
    let mut texts = Vec::new();
    for _ in 0..from.size()? {
        texts.push(match from.size()? {
            0 => None,
            bytes => Some(from.text(bytes - 1)?),
        });
    }
    sessionizer.texts = Texts::restored(texts.into_iter());
    for _ in 0..from.size()? {
        let bytes = from.size()?;
        let name = from.text(bytes)?;
        let is_known = from.number()? != 0;
        let watermark_us = Some(from.number()?.cast_signed()).filter(|_| is_known);
        let source = sessionizer.add_source(name, watermark_us);
        for _ in 0..from.size()? {
            let number = from.number()?.cast_signed();
            let low_offset = from.number()?.cast_signed();
            let count = from.size()?;
            let mut lines = Vec::with_capacity(count.min(from.0.len()));
            sessionizer.reserve_lines(count.min(from.0.len()));
            for _ in 0..count {
                let key_hash = [from.number()?, from.number()?];
                let bytes = u32::from_le_bytes(from.take(4)?.try_into().ok()?);
                let facts = from.take(usize::try_from(bytes).ok()?)?;
                let mut line = Line::restored(key_hash, source, facts.to_vec());
                line.bucket = number;
                lines.push(sessionizer.add_line(line));
            }
            sessionizer.sources[source as usize].filing.restore(number, Bucket { low_offset, lines });
        }
    }
    from.0.is_empty().then_some(sessionizer)
}

fn put(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// What is left to read; `None` where it ends too soon.
struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn text(&mut self, bytes: usize) -> Option<&'b str> {
        std::str::from_utf8(self.take(bytes)?).ok()
    }
}

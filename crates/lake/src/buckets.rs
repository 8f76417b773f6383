//! Small records of more rows than fit in memory, brought together by their id.
//!
//! In:      records of a fixed size, in any order.
//! Out:     all records of an id in one bucket, sorted; bucket after bucket.
//! Promise: one bucket at a time is in memory, of about the bytes allowed; the rest waits in files without a name, which a
//!          crash takes with it.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use crate::error::LakeError;
use crate::settings::LakeSettings;

pub(crate) trait Record: Ord + Sized {
    const BYTES: usize;
    fn id(&self) -> u128;
    fn put(&self, to: &mut Vec<u8>);
    fn get(from: &mut Bytes<'_>) -> Self;
}

/// More files at once than this are a trouble of their own; the buckets grow then.
const BUCKETS_MAX: u64 = 256;

pub(crate) enum Buckets<R> {
    Memory(Vec<R>),
    Files(Vec<BufWriter<File>>),
}

impl<R: Record> Buckets<R> {
    pub(crate) fn new(rows: u64, settings: &LakeSettings) -> Result<Self, LakeError> {
        let bytes = rows.saturating_mul(size_of::<R>() as u64);
        let count = bytes.div_ceil(settings.compact_memory_bytes.max(1) as u64).min(BUCKETS_MAX);
        if count <= 1 {
            return Ok(Self::Memory(Vec::new()));
        }
        let files = (0..count).map(|_| unnamed(settings).map(BufWriter::new)).collect::<Result<_, _>>()?;
        Ok(Self::Files(files))
    }

    pub(crate) fn push(&mut self, record: R) -> Result<(), LakeError> {
        match self {
            Self::Memory(records) => records.push(record),
            Self::Files(files) => {
                let bucket = usize::try_from(record.id() % files.len() as u128).expect("a bucket's number is small");
                let mut bytes = Vec::with_capacity(R::BYTES);
                record.put(&mut bytes);
                files[bucket].write_all(&bytes).map_err(spill)?;
            }
        }
        Ok(())
    }

    /// Hands each bucket over, sorted.
    pub(crate) fn each(self, mut take: impl FnMut(Vec<R>)) -> Result<(), LakeError> {
        match self {
            Self::Memory(mut records) => {
                records.sort_unstable();
                take(records);
            }
            Self::Files(files) => {
                for file in files {
                    let mut file = file.into_inner().map_err(|error| spill(error.into_error()))?;
                    file.rewind().map_err(spill)?;
                    let mut bytes = Vec::new();
                    BufReader::new(file).read_to_end(&mut bytes).map_err(spill)?;
                    let mut records: Vec<R> =
                        bytes.chunks_exact(R::BYTES).map(|part| R::get(&mut Bytes(part))).collect();
                    records.sort_unstable();
                    take(records);
                }
            }
        }
        Ok(())
    }
}

/// What is left of a record being read.
pub(crate) struct Bytes<'b>(&'b [u8]);

impl<'b> Bytes<'b> {
    #[cfg(test)]
    pub(crate) fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (first, rest) = self.0.split_first_chunk().expect("a record is as long as its fields together");
        self.0 = rest;
        *first
    }
}

/// A file for what does not fit in memory; gone with its handle.
pub(crate) fn unnamed(settings: &LakeSettings) -> Result<File, LakeError> {
    match &settings.spill_dir {
        Some(dir) => std::fs::create_dir_all(dir).and_then(|()| tempfile::tempfile_in(dir)),
        None => tempfile::tempfile(),
    }
    .map_err(spill)
}

pub(crate) fn spill(source: std::io::Error) -> LakeError {
    LakeError::Spill { source }
}

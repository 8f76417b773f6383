//! Shares that did not fit in memory.
//!
//! In:       the shares one thread gathered, when the pool has no more.
//! Out:      one share at a time, read back.
//! Promise:  a file is removed when nobody holds it; its bytes count against `query.spill_bytes_max`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use datafusion::common::{Result, exec_datafusion_err};
use datafusion::execution::SpillFile;
use datafusion::execution::TaskContext;

use super::interner;
use super::shard::Shard;

/// What was written at one time.
pub(super) struct Spilled {
    file: Arc<dyn SpillFile>,
    /// By share: where it lies, in bytes.
    places: Vec<Option<(u64, usize)>>,
}

const WORD: usize = size_of::<u64>();

impl Spilled {
    pub(super) fn write(shards: &mut [Shard], context: &TaskContext) -> Result<Self> {
        let file = context.runtime_env().disk_manager.create_tmp_file("Fold")?;
        let mut writer = BufWriter::with_capacity(1 << 18, file.open_writer()?);
        let mut places = Vec::with_capacity(shards.len());
        let mut offset = 0;
        for shard in shards {
            let shard = std::mem::take(shard);
            if shard.is_empty() {
                places.push(None);
                continue;
            }
            let mut written = 0;
            let mut write = |bytes: &[u8]| -> Result<()> {
                written += bytes.len();
                Ok(writer.write_all(bytes)?)
            };
            write(&(shard.units.len() as u64).to_le_bytes())?;
            for (_, unit) in shard.units.iter() {
                write(&(unit.len() as u64).to_le_bytes())?;
                write(unit)?;
            }
            for block in &shard.blocks {
                for word in block {
                    write(&word.to_le_bytes())?;
                }
            }
            places.push(Some((offset, written)));
            offset += written as u64;
        }
        let mut writer = writer.into_inner().map_err(|error| exec_datafusion_err!("writing to disk: {error}"))?;
        writer.finish()?;
        Ok(Self { file, places })
    }

    /// Bytes the share has on disk, about what it takes in memory.
    pub(super) fn bytes(&self, shard: usize) -> usize {
        self.places[shard].map_or(0, |(_, bytes)| bytes)
    }

    pub(super) fn total_bytes(&self) -> usize {
        (0..self.places.len()).map(|shard| self.bytes(shard)).sum()
    }

    pub(super) fn read(&self, shard: usize) -> Result<Option<Shard>> {
        let Some((offset, length)) = self.places[shard] else { return Ok(None) };
        let path = self.file.path().ok_or_else(|| exec_datafusion_err!("what was put on disk has no path"))?;
        let mut bytes = vec![0; length];
        File::open(path)?.read_exact_at(&mut bytes, offset)?;
        let mut rest = bytes.as_slice();
        let mut take = |count: usize| -> Result<&[u8]> {
            let (taken, after) = rest.split_at_checked(count).ok_or_else(|| exec_datafusion_err!("a file was cut"))?;
            rest = after;
            Ok(taken)
        };
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
        let mut shard = Shard::default();
        for _ in 0..number(take(WORD)?) {
            let length = number(take(WORD)?) as usize;
            let unit = take(length)?;
            shard.units.intern(interner::hash(unit), unit);
        }
        shard.push_block(rest.chunks_exact(WORD).map(number).collect());
        Ok(Some(shard))
    }
}

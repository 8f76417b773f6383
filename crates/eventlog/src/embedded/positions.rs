//! How far each group says it has come. Shown as lag, and heeded by retention if the settings name the group.
//!
//! Promise: a report is durable when it returns; a crash leaves the file old or new. It is not a place for
//!          recovery positions: a damaged file is set aside with a warning and begun anew.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, read_whole, write_atomically};

const FILE_NAME: &str = "positions.json";

/// group, topic, partition, next offset
type Table = BTreeMap<String, BTreeMap<String, BTreeMap<u32, u64>>>;

pub(crate) struct Positions {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    table: Mutex<Table>,
    writing: Mutex<()>,
}

impl Positions {
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        let table = match read_whole(disk.as_ref(), &dir.join(FILE_NAME)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Table::new(),
            Err(error) => return Err(error),
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(file = FILE_NAME, %error, "the reported positions are unreadable; lag starts anew");
                Table::new()
            }),
        };
        Ok(Self { disk, dir, table: Mutex::new(table), writing: Mutex::new(()) })
    }

    /// Blocks for a sync.
    pub(crate) fn report(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> io::Result<()> {
        self.change(|table| {
            let partitions = table.entry(group.to_owned()).or_default().entry(topic.to_owned()).or_default();
            partitions.extend(next.iter().copied());
        })
    }

    /// Drops what was said of a topic that begins anew: its old offsets mean other records now. Blocks for a sync.
    pub(crate) fn forget(&self, topic: &str) -> io::Result<()> {
        if self.table().values().all(|topics| !topics.contains_key(topic)) {
            return Ok(());
        }
        self.change(|table| {
            for topics in table.values_mut() {
                topics.remove(topic);
            }
        })
    }

    /// Writers wait for each other, so that an older table cannot overwrite a newer one; readers, some of them on the
    /// runtime's threads, wait for nobody's sync.
    fn change(&self, change: impl FnOnce(&mut Table)) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = self.table().clone();
        change(&mut table);
        let bytes = serde_json::to_vec_pretty(&table)?;
        write_atomically(self.disk.as_ref(), &self.dir, FILE_NAME, &bytes)?;
        *self.table() = table;
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, group: &str, topic: &str, partition: u32) -> Option<u64> {
        self.table().get(group)?.get(topic)?.get(&partition).copied()
    }
}

//! A disk in memory that remembers what is durable and what is not.
//!
//! * Bytes become durable with `sync_data`, names with `sync_dir` of their directory.
//! * When the power goes, each 512-byte sector that was not synced is there or not, each on its own; a length
//!   that grew may have grown in part; each change of a name that was not synced happened or not.
//!
//! That is harsher than a journaling file system, and what POSIX allows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use crate::embedded::disk::{Disk, DiskFile, Lock};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names not yet durable, oldest first.
    unsynced: Vec<NameChange>,
    /// Changes until the power goes.
    changes_left: Option<usize>,
    space_bytes: Option<usize>,
    syncs_fail: bool,
    syncs_held: bool,
}

#[derive(Default, Clone)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// What was there before a cut that is not durable yet: the disk may have written it out by itself.
    before_cuts: Vec<Vec<u8>>,
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// xorshift64*: enough to choose sectors, and the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit.max(1)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

pub(crate) struct HeldSyncs(MemoryDisk);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.state().syncs_held = false;
        self.0.0.released.notify_all();
    }
}

impl MemoryDisk {
    pub(crate) fn power_goes_after(&self, changes: usize) {
        self.state().changes_left = Some(changes);
    }

    pub(crate) fn power_is_gone(&self) -> bool {
        self.state().changes_left == Some(0)
    }

    /// Room for so many more bytes; `None`: no limit.
    pub(crate) fn set_space(&self, space_bytes: Option<usize>) {
        self.state().space_bytes = space_bytes;
    }

    pub(crate) fn set_syncs_fail(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// A sync waits until the answer is dropped, also by a test that fails.
    pub(crate) fn hold_syncs(&self) -> HeldSyncs {
        self.state().syncs_held = true;
        HeldSyncs(self.clone())
    }

    /// The process died and the power stayed: the next one finds everything written, durable or not.
    pub(crate) fn process_begins_anew(&self) {
        self.state().changes_left = None;
    }

    /// What is found when the power is back.
    pub(crate) fn after_power_loss(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut names = state.durable_names.clone();
        for change in &state.unsynced {
            if dice.coin() {
                apply(&mut names, change);
            }
        }
        let files: Vec<Content> = state
            .files
            .iter()
            .map(|file| {
                let kept = torn(file, dice);
                Content { now: kept.clone(), durable: kept, before_cuts: Vec::new() }
            })
            .collect();
        let state = State { files, durable_names: names.clone(), names, ..State::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), released: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }
}

fn torn(file: &Content, dice: &mut Dice) -> Vec<u8> {
    let now = file.before_cuts.get(dice.below(file.before_cuts.len() + 1)).unwrap_or(&file.now);
    let (short, long) = (now.len().min(file.durable.len()), now.len().max(file.durable.len()));
    let len = match dice.below(3) {
        0 => short,
        1 => long,
        _ => short + dice.below(long - short + 1),
    };
    let mut kept = vec![0; len];
    for start in (0..len).step_by(SECTOR_BYTES) {
        let from = if dice.coin() { now } else { &file.durable };
        let end = len.min(start + SECTOR_BYTES).min(from.len());
        if start < end {
            kept[start..end].copy_from_slice(&from[start..end]);
        }
    }
    kept
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    match change {
        NameChange::Create(path, file) => {
            names.insert(path.clone(), *file);
        }
        NameChange::Remove(path) => {
            names.remove(path);
        }
        NameChange::Rename(from, to) => {
            let moved: Vec<PathBuf> = names.keys().filter(|name| name.starts_with(from)).cloned().collect();
            for name in moved {
                let file = names.remove(&name).unwrap();
                let rest = name.strip_prefix(from).unwrap();
                let name = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                names.insert(name, file);
            }
        }
    }
}

fn power_gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl State {
    /// Counts down to the power cut. The change during which it comes is made, but not durable.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.changes_left {
            Some(0) => return Err(power_gone()),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn ended(&self) -> io::Result<()> {
        if self.changes_left == Some(0) { Err(power_gone()) } else { Ok(()) }
    }

    fn rename(&mut self, change: NameChange) -> io::Result<()> {
        self.change()?;
        apply(&mut self.names, &change);
        self.unsynced.push(change);
        self.ended()
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter_map(|name| name.strip_prefix(dir).ok()?.components().next());
        let names: BTreeSet<String> = inside.map(|name| name.as_os_str().to_str().unwrap().to_owned()).collect();
        Ok(names.into_iter().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state().find(path)?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.files.push(Content::default());
        let file = state.files.len() - 1;
        state.rename(NameChange::Create(path.to_path_buf(), file))?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state().rename(NameChange::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.rename(NameChange::Remove(path.to_path_buf()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.ended()?;
        let (ours, others) = std::mem::take(&mut state.unsynced).into_iter().partition(|change| {
            let path = match change {
                NameChange::Create(path, _) | NameChange::Remove(path) | NameChange::Rename(path, _) => path,
            };
            path.parent() == Some(dir)
        });
        state.unsynced = others;
        let ours: Vec<NameChange> = ours;
        for change in &ours {
            apply(&mut state.durable_names, change);
        }
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Lock>> {
        Ok(Some(Lock::pretended()))
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.file].now;
        let from = usize::try_from(position).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change()?;
        // A full disk takes what still fits, as a real one may.
        let fits = bytes.len().min(state.space_bytes.unwrap_or(usize::MAX));
        state.space_bytes = state.space_bytes.map(|space| space - fits);
        let now = &mut state.files[self.file].now;
        let from = usize::try_from(position).unwrap();
        now.resize(now.len().max(from + fits), 0);
        now[from..from + fits].copy_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.ended()
    }

    fn truncate(&self, len_bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change()?;
        let file = &mut state.files[self.file];
        let len = usize::try_from(len_bytes).unwrap();
        let freed = file.now.len().saturating_sub(len);
        file.before_cuts.push(file.now.clone());
        file.now.resize(len, 0);
        state.space_bytes = state.space_bytes.map(|space| space + freed);
        state.ended()
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = self.disk.state();
        let mut state = self.disk.0.released.wait_while(state, |state| state.syncs_held).unwrap();
        state.change()?;
        state.ended()?;
        if state.syncs_fail {
            return Err(io::Error::other("input/output error"));
        }
        let file = &mut state.files[self.file];
        file.durable = file.now.clone();
        file.before_cuts.clear();
        Ok(())
    }
}

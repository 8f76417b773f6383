//! A folder for one run, gone afterwards.

use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) struct BenchFolder {
    path: PathBuf,
    parent: PathBuf,
    stays: bool,
}

impl BenchFolder {
    /// A new folder inside `parent`; the process's number in its name keeps two benchmarks apart.
    pub(crate) fn make(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, parent: parent.to_owned(), stays: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it behind: something in it must be looked at.
    pub(crate) fn keep(&mut self) {
        self.stays = true;
    }
}

impl Drop for BenchFolder {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
        // Only one that is empty goes: what others have there stays.
        drop(std::fs::remove_dir(&self.parent));
    }
}

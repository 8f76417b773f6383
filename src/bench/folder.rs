//! A folder for one run, gone afterwards.

use std::path::{Path, PathBuf};

use anyhow::Context;

pub(crate) struct BenchFolder(PathBuf);

impl BenchFolder {
    /// A new folder inside `parent`; the process's number in its name keeps two benchmarks apart.
    pub(crate) fn make(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("run-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for BenchFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

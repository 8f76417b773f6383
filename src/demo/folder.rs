//! The demo's folder: fresh each time, and nobody else's data at risk.
//!
//! In:      a path.
//! Out:     an empty folder with the demo's mark in it.
//! Promise: a folder without the mark that holds anything is refused; one whose log is in use is left alone.

use std::path::Path;

use anyhow::Context;
use tributary_eventlog::LogError;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};

use crate::cli::UserError;

const MARK: &str = ".tributary-demo";

pub(crate) async fn make_fresh(dir: &Path) -> anyhow::Result<()> {
    let cannot = || format!("cannot make the demo's folder {}; choose another with --data", dir.display());
    let holds_something = match std::fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(UserError(format!("{}: {error}", cannot())).into()),
    };
    if holds_something && !dir.join(MARK).exists() {
        return Err(UserError(format!(
            "{} holds something that is not a demo's; the demo wipes its folder, so choose another with --data",
            dir.display()
        ))
        .into());
    }
    if holds_something {
        free_to_wipe(&dir.join("log")).await?;
        std::fs::remove_dir_all(dir).with_context(cannot)?;
    }
    std::fs::create_dir_all(dir).with_context(cannot)?;
    let text = "This folder belongs to `tributary demo`, which wipes it when it runs again.\n";
    std::fs::write(dir.join(MARK), text).with_context(cannot)
}

/// Takes and lets go of the log, which only works while no other process holds it.
async fn free_to_wipe(log_dir: &Path) -> anyhow::Result<()> {
    if !log_dir.exists() {
        return Ok(());
    }
    let settings = EmbeddedSettings::in_dir(log_dir);
    let opened = tokio::task::spawn_blocking(move || EmbeddedLog::open(settings)).await?;
    match opened {
        Err(error @ LogError::InUse { .. }) => {
            Err(UserError(format!("a demo or server is still running here: {error}")).into())
        }
        // Whatever else is wrong with it, it is about to be wiped.
        Err(_) => Ok(()),
        Ok(log) => {
            tributary_eventlog::EventLog::close(log.as_ref()).await?;
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_without_the_mark_is_never_wiped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.txt"), "five years").unwrap();
        let error = make_fresh(dir.path()).await.unwrap_err();
        assert!(error.is::<UserError>(), "{error}");
        assert!(dir.path().join("thesis.txt").exists());
    }

    #[tokio::test]
    async fn a_demos_own_folder_is_made_fresh() {
        let dir = tempfile::tempdir().unwrap();
        let demo = dir.path().join("demo");
        make_fresh(&demo).await.unwrap();
        std::fs::write(demo.join("old"), "").unwrap();
        make_fresh(&demo).await.unwrap();
        assert!(!demo.join("old").exists() && demo.join(MARK).exists());
    }
}

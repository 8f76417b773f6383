//! The demo's folder: fresh each time, and nobody else's data at risk.
//!
//! In:      a path.
//! Out:     an empty folder with the demo's mark in it.
//! Promise: a folder without the mark that holds anything is refused, and so is one that a server has used since: what
//!          it took in is somebody's; one whose log is in use is left alone.

use std::path::Path;

use anyhow::Context;
use tributary_eventlog::LogError;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};

use crate::cli::UserError;

const MARK: &str = ".tributary-demo";
/// Beside the mark once a server has run here.
const SERVED: &str = ".tributary-demo-served";

/// Says that a server is about to use this folder. Other folders than a demo's are left as they are.
pub(crate) fn serves(dir: &Path) -> anyhow::Result<()> {
    if !dir.join(MARK).exists() {
        return Ok(());
    }
    let text = "A server has used this folder of `tributary demo`, so it is not wiped any more.\n";
    let file = dir.join(SERVED);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}; is the disk full?", file.display()))
}

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
    if dir.join(SERVED).exists() {
        return Err(UserError(format!(
            "a server has used {} since the last demo and may have taken in events of yours; the demo wipes its folder, \
             so choose another with --data, or remove this one yourself",
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

    #[tokio::test]
    async fn what_a_server_took_in_is_not_wiped() {
        let dir = tempfile::tempdir().unwrap();
        let (demo, other) = (dir.path().join("demo"), dir.path().join("other"));
        make_fresh(&demo).await.unwrap();
        std::fs::create_dir(&other).unwrap();
        std::fs::write(demo.join("log"), "an event of somebody's").unwrap();
        for folder in [&demo, &other] {
            serves(folder).unwrap();
        }
        let error = make_fresh(&demo).await.unwrap_err();
        assert!(error.is::<UserError>(), "{error}");
        assert!(demo.join("log").exists());
        assert_eq!(std::fs::read_dir(&other).unwrap().count(), 0, "a folder that is no demo's is left as it is");
    }
}

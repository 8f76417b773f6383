//! The file of ids of which nothing is recorded, read anew when it changes.
//!
//! In:      a text file: an id or an e-mail address a line; blank lines and lines that begin with '#' say nothing.
//! Out:     a set of ids.
//! Promise: a server does not start without the file it was given; one that is gone or cannot be read later leaves the last
//!          list standing, and is named in the log.

use std::collections::HashSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::privacy::Privacy;

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the file once, and gives back the task that follows it.
pub(crate) fn follow(
    file: PathBuf,
    privacy: Arc<Privacy>,
    stop: CancellationToken,
) -> Result<impl Future<Output = ()> + Send + 'static, String> {
    let advice = "make it, an id a line, or leave ingest.suppress_file empty";
    let (mut seen, ids) =
        read(&file).map_err(|error| format!("ingest.suppress_file: {} ({error}): {advice}", file.display()))?;
    privacy.suppress(ids);
    Ok(async move {
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            let path = file.clone();
            let looked = tokio::task::spawn_blocking(move || changed(&path, seen)).await;
            match looked {
                Ok(Ok(Some((now, ids)))) => {
                    tracing::info!(ids = ids.len(), "read the list of ids of which nothing is recorded");
                    privacy.suppress(ids);
                    seen = now;
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, file = %file.display(), "the list of suppressed ids cannot be read")
                }
                Err(error) => tracing::warn!(%error, "reading the list of suppressed ids broke off"),
            }
        }
    })
}

/// What tells one state of a file from another.
pub(crate) type Mark = (Option<SystemTime>, u64);

pub(crate) fn mark(file: &Path) -> std::io::Result<Mark> {
    let metadata = std::fs::metadata(file)?;
    Ok((metadata.modified().ok(), metadata.len()))
}

fn changed(file: &Path, seen: Mark) -> std::io::Result<Option<(Mark, HashSet<String>)>> {
    if mark(file)? == seen { Ok(None) } else { read(file).map(Some) }
}

fn read(file: &Path) -> std::io::Result<(Mark, HashSet<String>)> {
    let mark = mark(file)?;
    let text = std::fs::read_to_string(file)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    // As written, and without letter case: an address has none, an id may.
    Ok((mark, lines.flat_map(|line| [line.to_owned(), line.to_lowercase()]).collect()))
}

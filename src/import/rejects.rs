//! Rejected rows: counted, the first few shown, all written down.
//!
//! In:      rejects, in any order.
//! Out:     a count; lines to print; an NDJSON file, made with the first of them.
//! Promise: memory is bounded however many there are; a file of an earlier run does not pass for one of this run.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::row::Reject;

const SHOWN_MAX: usize = 10;

pub(crate) struct Rejects {
    path: Option<PathBuf>,
    file: Option<BufWriter<File>>,
    shown: Vec<String>,
    count: u64,
}

impl Rejects {
    pub(crate) fn new(path: Option<PathBuf>) -> Self {
        Self { path, file: None, shown: Vec::new(), count: 0 }
    }

    pub(crate) fn add(&mut self, reject: Reject) -> anyhow::Result<()> {
        self.count += 1;
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(format!("line {}: {}", reject.line, reject.reason));
        }
        let Some(path) = &self.path else { return Ok(()) };
        if self.file.is_none() {
            let made = File::create(path).with_context(|| {
                format!("cannot write rejected rows to {}; name another place with --rejects FILE", path.display())
            })?;
            self.file = Some(BufWriter::new(made));
        }
        let file = self.file.as_mut().expect("opened on the lines above");
        let line = serde_json::json!({"line": reject.line, "reason": reject.reason, "row": reject.row});
        writeln!(file, "{line}").with_context(|| format!("cannot write to {}", path.display()))
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn file_written(&self) -> Option<PathBuf> {
        self.path.clone().filter(|_| self.file.is_some())
    }

    /// The lines to print, once everything is written down.
    pub(crate) fn finish(&mut self) -> anyhow::Result<Vec<String>> {
        match (&mut self.file, &self.path) {
            (Some(file), _) => file.flush().context("the rejected rows could not be written down in full")?,
            // Nothing but a plain file: --rejects /dev/null must not take the device away.
            (None, Some(path)) if path.is_file() => std::fs::remove_file(path).with_context(|| {
                format!("no row was rejected, but {} of an earlier run cannot be removed", path.display())
            })?,
            (None, _) => {}
        }
        Ok(std::mem::take(&mut self.shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_of_an_earlier_run_do_not_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.rejected.ndjson");
        let mut first = Rejects::new(Some(path.clone()));
        first.add(Reject { line: 2, reason: "odd".to_owned(), row: "x".to_owned() }).unwrap();
        assert_eq!((first.finish().unwrap().len(), path.exists()), (1, true));
        assert_eq!((Rejects::new(Some(path.clone())).finish().unwrap().len(), path.exists()), (0, false));
    }
}

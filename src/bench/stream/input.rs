//! Where the events of a run come from: a file of lines, or the made-up stream.
//!
//! In:      a path or nothing, and how many events.
//! Out:     the same lines each time they are asked for; a file of them where somebody else must read them.
//! Promise: one line is in memory at a time; a file with fewer lines than asked for is a fault.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::made::Made;
use crate::cli::UserError;

/// The seed of the made-up stream: results are compared between runs.
const SEED: u64 = 42;

#[derive(Debug, Clone)]
pub(super) struct Input {
    file: Option<PathBuf>,
    pub(super) events: u64,
}

pub(super) type Lines = Box<dyn Iterator<Item = std::io::Result<Vec<u8>>> + Send>;

impl Input {
    /// The first `events` of the file, all of them where `None`; without a file, as many made up.
    pub(super) fn new(file: Option<&Path>, events: Option<u64>) -> anyhow::Result<Self> {
        let Some(path) = file else {
            return Ok(Self { file: None, events: events.unwrap_or(1_000_000) });
        };
        let cannot = |error| UserError(format!("cannot read {}: {error}", path.display()));
        let events = match events {
            Some(events) => events,
            None => {
                let lines = BufReader::with_capacity(1 << 20, File::open(path).map_err(cannot)?);
                let mut count = 0;
                for line in lines.split(b'\n') {
                    count += u64::from(!line?.is_empty());
                }
                count
            }
        };
        ensure!(events > 0, UserError(format!("{} holds no events", path.display())));
        Ok(Self { file: Some(path.to_owned()), events })
    }

    pub(super) fn named(&self) -> String {
        self.file.as_ref().map_or_else(|| "made up".to_owned(), |path| path.display().to_string())
    }

    pub(super) fn lines(&self) -> anyhow::Result<Lines> {
        let Some(path) = &self.file else {
            return Ok(Box::new(Made::new(self.events, SEED).map(Ok)));
        };
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let limit = usize::try_from(self.events)?;
        let lines = BufReader::with_capacity(1 << 20, file).split(b'\n');
        Ok(Box::new(lines.filter(|line| line.as_ref().map_or(true, |line| !line.is_empty())).take(limit)))
    }

    /// The lines as one file: the input itself where it is just that.
    pub(super) fn as_file(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.file {
            let mut more = BufReader::with_capacity(1 << 20, File::open(path)?).split(b'\n');
            let whole = more.by_ref().filter(|line| line.as_ref().map_or(true, |line| !line.is_empty())).count() as u64;
            if whole == self.events {
                return Ok(path.canonicalize()?);
            }
        }
        let path = folder.join(format!("input-{}.ndjson", self.events));
        self.write(&mut BufWriter::with_capacity(1 << 20, File::create(&path)?))?;
        Ok(path.canonicalize()?)
    }

    /// The lines in ten files of a folder, for engines that stream a folder file by file.
    pub(super) fn as_parts(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let parts = folder.join(format!("input-{}-parts", self.events));
        std::fs::create_dir_all(&parts)?;
        let per_part = self.events.div_ceil(10);
        let mut out: Option<BufWriter<File>> = None;
        for (index, line) in self.lines()?.enumerate() {
            let index = index as u64;
            if index.is_multiple_of(per_part) {
                if let Some(mut done) = out.take() {
                    done.flush()?;
                }
                let name = format!("part{:02}.json", index / per_part);
                out = Some(BufWriter::with_capacity(1 << 20, File::create(parts.join(name))?));
            }
            let out = out.as_mut().context("the first line opens the first part")?;
            out.write_all(&line?)?;
            out.write_all(b"\n")?;
        }
        if let Some(mut done) = out {
            done.flush()?;
        }
        Ok(parts.canonicalize()?)
    }

    fn write(&self, out: &mut impl Write) -> anyhow::Result<()> {
        for line in self.lines()? {
            out.write_all(&line?)?;
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }
}

/// When the line says it was received, in microseconds.
pub(super) fn received_us(line: &[u8]) -> Option<i64> {
    let (_, rest) = std::str::from_utf8(line).ok()?.split_once(r#""receivedAt":""#)?;
    let (text, _) = rest.split_once('"')?;
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_to_the_events_asked_for_and_kept_where_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let text: String = (0..25).map(|number| format!("{{\"n\":{number}}}\n")).collect();
        std::fs::write(&path, text).unwrap();
        let all = Input::new(Some(&path), None).unwrap();
        assert_eq!(all.events, 25);
        assert_eq!(all.as_file(dir.path()).unwrap(), path.canonicalize().unwrap());
        let ten = Input::new(Some(&path), Some(10)).unwrap();
        let file = ten.as_file(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 10);
        let parts = all.as_parts(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(parts).unwrap().count(), 9, "three lines a part");
    }

    #[test]
    fn the_receipt_is_found_in_a_line() {
        let line = br#"{"timestamp":"2026-06-01T00:00:00Z","receivedAt":"2026-06-01T00:00:01.5Z","x":1}"#;
        assert_eq!(received_us(line), Some(1_780_272_001_500_000));
        assert_eq!(received_us(b"{}"), None);
    }
}

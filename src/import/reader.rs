//! Files: opened, unpacked, and read as rows.
//!
//! In:      a path, or bytes that came with the program.
//! Out:     rows one at a time.
//! Promise: gzip is told by its first bytes, not by the name, and so are UTF-16 and what stands between cells; how far
//!          reading has come is always known.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};

use super::delimited::DelimitedRows;
use super::encoding;
use super::mapping::FileShape;
use super::ndjson::NdjsonRows;
use super::parquet::ParquetRows;
use super::row::{Columns, Reject, Row};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileFormat {
    Csv,
    Ndjson,
    Parquet,
}

impl FileFormat {
    /// By the name, leaving a `.gz` out of account.
    fn of_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match Path::new(name).extension()?.to_str()? {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "ndjson" | "jsonl" | "json" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// What is imported.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    /// Data that came with the program, or was made by it.
    Bytes {
        name: String,
        bytes: bytes::Bytes,
    },
}

/// Rows one at a time; a row that cannot be read comes as its own error and does not end the file.
pub(crate) trait Rows {
    /// `None` at the end. The outer error ends the import: the file itself cannot be read on.
    fn next_row(&mut self) -> anyhow::Result<Option<Result<Row, Reject>>>;

    /// The columns, where all rows have the same ones.
    fn columns(&self) -> Option<&Columns>;
}

/// A file that was opened, and what was found out on the way.
pub(super) struct Opened {
    pub(super) rows: Box<dyn Rows>,
    /// What stands between the cells; `None` where there are none.
    pub(super) delimiter: Option<u8>,
    /// The name of the text's encoding; `None` where it is no text.
    pub(super) encoding: Option<&'static str>,
}

impl Source {
    /// The name without its folders: part of message ids, so that moving a file does not change them.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::File(path) => path.file_name().and_then(|name| name.to_str()).unwrap_or("file"),
            Self::Bytes { name, .. } => name,
        }
    }

    pub(crate) fn length_bytes(&self) -> anyhow::Result<u64> {
        match self {
            Self::File(path) => {
                let metadata = path.metadata().with_context(|| format!("cannot read {}", path.display()))?;
                if metadata.is_dir() {
                    bail!("{} is a folder; name one file", path.display());
                }
                Ok(metadata.len())
            }
            Self::Bytes { bytes, .. } => Ok(bytes.len() as u64),
        }
    }

    pub(super) fn open(
        &self,
        format: Option<FileFormat>,
        shape: &FileShape,
        bytes_read: Arc<AtomicU64>,
    ) -> anyhow::Result<Opened> {
        let name = self.name();
        let Some(format) = format.or_else(|| FileFormat::of_name(name)) else {
            bail!("what kind of file is {name}? Its name does not say; add --format csv, ndjson or parquet");
        };
        if format == FileFormat::Parquet {
            let rows = Box::new(ParquetRows::open(self, bytes_read)?);
            return Ok(Opened { rows, delimiter: None, encoding: None });
        }
        let raw: Box<dyn Read + Send> = match self {
            Self::File(path) => Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?),
            Self::Bytes { bytes, .. } => Box::new(std::io::Cursor::new(bytes.clone())),
        };
        let mut counted = BufReader::with_capacity(1 << 16, Counted { inner: raw, bytes_read });
        let packed = counted.fill_buf().with_context(|| format!("cannot read {name}"))?.starts_with(&[0x1f, 0x8b]);
        let unpacked: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(counted)))
        } else {
            Box::new(counted)
        };
        let (text, encoding) = encoding::as_utf8(unpacked, shape.encoding)?;
        let lines = Lines::new(text, encoding::not_readable(encoding));
        if format == FileFormat::Ndjson {
            let rows = Box::new(NdjsonRows::open(lines));
            return Ok(Opened { rows, delimiter: None, encoding: Some(encoding.name()) });
        }
        let rows = DelimitedRows::open(lines, shape.delimiter, tab_by_name(name))?;
        let delimiter = Some(rows.delimiter());
        Ok(Opened { rows: Box::new(rows), delimiter, encoding: Some(encoding.name()) })
    }
}

/// Whether the name says that tabs stand between the cells.
fn tab_by_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".tsv") || name.ends_with(".tsv.gz")
}

struct Counted {
    inner: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The longest line taken; a longer one is skipped and told.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Physical lines of a text, without their ends.
pub(super) struct Lines {
    input: Box<dyn BufRead + Send>,
    /// What a line that is no text is told with.
    not_readable: String,
    number: u64,
}

/// One line as read.
pub(super) struct Line {
    /// 1-based.
    pub(crate) number: u64,
    pub(crate) text: Result<String, LineFault>,
}

pub(super) struct LineFault {
    pub(crate) reason: String,
    pub(crate) shown: String,
}

impl Lines {
    pub(crate) fn new(input: Box<dyn BufRead + Send>, not_readable: String) -> Self {
        Self { input, not_readable, number: 0 }
    }

    #[cfg(test)]
    pub(crate) fn of(text: &[u8]) -> Self {
        Self::new(Box::new(std::io::Cursor::new(text.to_vec())), encoding::not_readable(encoding_rs::UTF_8))
    }

    pub(crate) fn next_line(&mut self) -> anyhow::Result<Option<Line>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX as u64 + 1);
        let broken = || format!("the file breaks off after line {}, it is not complete", self.number);
        let read = limited.read_until(b'\n', &mut bytes).with_context(broken)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        let number = self.number;
        if bytes.len() > LINE_BYTES_MAX && bytes.last() != Some(&b'\n') {
            self.skip_to_line_end()?;
            let shown = String::from_utf8_lossy(&bytes[..200]).into_owned();
            let reason = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Ok(Some(Line { number, text: Err(LineFault { reason, shown }) }));
        }
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        if number == 1 && bytes.starts_with(&[0xef, 0xbb, 0xbf]) {
            bytes.drain(..3);
        }
        let text = String::from_utf8(bytes).map_err(|error| LineFault {
            reason: self.not_readable.clone(),
            shown: String::from_utf8_lossy(error.as_bytes()).chars().take(200).collect(),
        });
        Ok(Some(Line { number, text }))
    }

    fn skip_to_line_end(&mut self) -> anyhow::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            match buffer.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.input.consume(end + 1);
                    return Ok(());
                }
                None => {
                    let length = buffer.len();
                    self.input.consume(length);
                }
            }
        }
    }
}

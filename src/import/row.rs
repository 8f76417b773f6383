//! A row as a file gives it, before anyone says what it means.
//!
//! In:      cells under column names, or a JSON object.
//! Out:     values by name; the line it came from; a hash of its content.
//! Promise: the hash is the same in every run and every release: message ids are made from it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

/// The columns of a table-shaped file, in file order.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    names: Vec<String>,
    index: HashMap<String, usize>,
}

impl Columns {
    pub(crate) fn new(names: Vec<String>) -> Self {
        let index = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, index }
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }
}

#[derive(Debug)]
pub(crate) enum Body {
    Cells { columns: Arc<Columns>, cells: Vec<String> },
    Object(Map<String, Value>),
}

#[derive(Debug)]
pub(crate) struct Row {
    /// 1-based line of the file (row number, in Parquet).
    pub(crate) line: u64,
    pub(crate) body: Body,
    /// FNV-1a of the row as it stood in the file.
    pub(crate) content_hash: u64,
}

/// A row that could not be sent, kept whole.
#[derive(Debug, Clone)]
pub(crate) struct Reject {
    pub(crate) line: u64,
    pub(crate) reason: String,
    /// The row as it stood in the file, as far as it can be shown.
    pub(crate) row: String,
}

impl Row {
    /// The value under this name: a cell's text, or in an object the value at a dotted path.
    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, Value>> {
        match &self.body {
            Body::Cells { columns, cells } => {
                let cell = cells.get(columns.position(name)?)?;
                Some(Cow::Owned(Value::String(cell.clone())))
            }
            Body::Object(object) => {
                if let Some(value) = object.get(name) {
                    return Some(Cow::Borrowed(value));
                }
                let mut parts = name.split('.');
                let first = object.get(parts.next()?)?;
                parts.try_fold(first, |value, part| value.get(part)).map(Cow::Borrowed)
            }
        }
    }

    /// About how much memory it takes.
    pub(crate) fn length_bytes(&self) -> usize {
        match &self.body {
            Body::Cells { cells, .. } => cells.iter().map(String::len).sum(),
            // Objects are bounded by the length of a line; how much of it this one has is not worth counting.
            Body::Object(object) => object.len() * 64,
        }
    }

    pub(crate) fn reject(&self, reason: String) -> Reject {
        let row = match &self.body {
            Body::Cells { cells, .. } => serde_json::to_string(cells),
            Body::Object(object) => serde_json::to_string(object),
        };
        Reject { line: self.line, reason, row: row.unwrap_or_default() }
    }
}

/// FNV-1a, 64 bits. Not the standard library's hasher, which may change between releases of Rust.
///
/// Source: draft-eastlake-fnv, "The 64-bit FNV-1a".
pub(crate) fn content_hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // The 0xff between parts, which no UTF-8 text holds, keeps ("ab","c") and ("a","bc") apart.
        for byte in part.iter().chain(&[0xff]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// Rows that tests make.
#[cfg(test)]
pub(super) mod made {
    use super::*;

    pub(crate) fn columns(names: &[&str]) -> Arc<Columns> {
        Arc::new(Columns::new(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    pub(crate) fn row(columns: &Arc<Columns>, cells: &[&str]) -> Row {
        let cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
        Row { line: 2, content_hash: 42, body: Body::Cells { columns: columns.clone(), cells } }
    }
}

//! Reads `tests/data`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One row of a CSV file by column name.
pub(crate) struct Record(HashMap<String, String>);

impl Record {
    pub(crate) fn text(&self, column: &str) -> &str {
        self.0.get(column).unwrap_or_else(|| panic!("no column {column}"))
    }

    pub(crate) fn integer(&self, column: &str) -> i64 {
        self.text(column).parse().unwrap()
    }

    pub(crate) fn float(&self, column: &str) -> f64 {
        self.text(column).parse().unwrap()
    }

    pub(crate) fn cells(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(column, cell)| (column.as_str(), cell.as_str()))
    }
}

fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", name].iter().collect()
}

pub(crate) fn records(name: &str) -> Vec<Record> {
    records_at(&path(name))
}

pub(crate) fn records_at(path: &Path) -> Vec<Record> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.deserialize().map(|row| Record(row.unwrap())).collect()
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap()
}

/// `theirs` may differ by `tolerance` in size 1 numbers and in proportion for larger ones.
#[track_caller]
pub(crate) fn assert_close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    let off = (ours - theirs).abs() / theirs.abs().max(1.0);
    assert!(off <= tolerance, "{what}: {ours} is not {theirs}, off by {off:e}");
}

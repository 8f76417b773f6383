//! Reads `tests/data`.

use std::collections::HashMap;
use std::env;
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
    json_at(&path(name))
}

/// Python writes infinite and missing numbers as bare words, which JSON has not; they are read as texts.
pub(crate) fn json_at(path: &Path) -> serde_json::Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.replace("-Infinity", "\"-inf\"").replace("Infinity", "\"inf\"").replace("NaN", "\"nan\"");
    serde_json::from_str(&text).unwrap()
}

/// The folder of a set of oracles: the committed part of it, and the whole where `TRIBUTARY_TEST_ORACLES` says where.
pub(crate) fn oracle_folders(set: &str) -> Vec<PathBuf> {
    let whole = env::var_os("TRIBUTARY_TEST_ORACLES").map(|folder| PathBuf::from(folder).join(set));
    [Some(path(set)), whole].into_iter().flatten().collect()
}

/// `theirs` may differ by `tolerance` in size 1 numbers and in proportion for larger ones.
#[track_caller]
pub(crate) fn assert_close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    let off = (ours - theirs).abs() / theirs.abs().max(1.0);
    assert!(off <= tolerance, "{what}: {ours} is not {theirs}, off by {off:e}");
}

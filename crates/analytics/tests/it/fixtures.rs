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

/// Facts of one reference: those of this repository, and the whole set where there is one.
pub(crate) struct Reference(PathBuf);

impl Reference {
    /// * `name`: a folder of `tests/data`; the whole set is looked for in the folder `TRIBUTARY_TEST_ORACLES` names.
    pub(crate) fn all(name: &str) -> Vec<Self> {
        let mut found = vec![Self(path(name))];
        if let Some(folder) = env::var_os("TRIBUTARY_TEST_ORACLES") {
            found.push(Self(Path::new(&folder).join(name)));
        }
        found
    }

    /// The one of this repository alone.
    pub(crate) fn committed(name: &str) -> Self {
        Self(path(name))
    }

    /// The whole set alone.
    pub(crate) fn extended(name: &str) -> Option<Self> {
        env::var_os("TRIBUTARY_TEST_ORACLES").map(|folder| Self(Path::new(&folder).join(name)))
    }

    /// Plain or gzipped; the small set has not all files, the whole one must.
    pub(crate) fn find(&self, name: &str) -> Option<Vec<Record>> {
        let plain = self.0.join(name);
        let packed = self.0.join(format!("{name}.gz"));
        let text = if plain.exists() {
            fs::read_to_string(plain).unwrap()
        } else if packed.exists() {
            std::io::read_to_string(flate2::read::GzDecoder::new(fs::File::open(packed).unwrap())).unwrap()
        } else {
            assert!(self.0.starts_with(env!("CARGO_MANIFEST_DIR")), "{name} is missing from the whole set");
            return None;
        };
        let delimiter = if text.lines().next().unwrap().contains(';') { b';' } else { b',' };
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
        Some(reader.deserialize().map(|row| Record(row.unwrap())).collect())
    }

    /// A file that only this repository has, of facts that the whole set has in another form.
    pub(crate) fn find_part(&self, name: &str) -> Option<Vec<Record>> {
        self.0.starts_with(env!("CARGO_MANIFEST_DIR")).then(|| self.get(name))
    }

    pub(crate) fn get(&self, name: &str) -> Vec<Record> {
        self.find(name).unwrap_or_else(|| panic!("{name} is not in {}", self.0.display()))
    }
}

//! The folder of schemas, as it lies in a repository.
//!
//! In:      a folder of JSON files (`*.json`, or as Iglu has it `jsonschema/1-0-0`), at any depth: each one a JSON Schema with `self: {event, version, sources?, mode?}`. Files
//!          without `self` but with an `$id` are there for others to refer to.
//! Out:     the schemas, or every fault of every file in plain words.
//! Promise: nothing is fetched: a `$ref` leads within the folder. Patterns are matched in linear time, so that no event can
//!          keep the door busy. An ADDITION that would refuse what the version before it took is a fault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jsonschema::{PatternOptions, Registry, Validator};
use serde::Deserialize;
use serde_json::Value;

use super::compat::{self, Grade};
use super::version::SchemaVersion;
use super::{SchemaMode, Schemas};
use crate::text::NAME_BYTES_MAX;

/// One file, read and understood.
pub(super) struct Entry {
    pub file: PathBuf,
    pub event: String,
    pub version: SchemaVersion,
    /// The sources it is for; empty: all.
    pub sources: Vec<String>,
    /// Its own mode, where it has one.
    pub mode: Option<SchemaMode>,
    pub schema: Value,
    pub validator: Validator,
}

/// What a schema says of itself. `name`, `vendor` and `format` are those of Iglu's, which are taken as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfDescription {
    #[serde(alias = "name")]
    event: String,
    version: String,
    #[serde(default)]
    sources: Vec<String>,
    mode: Option<SchemaMode>,
    #[serde(default, rename = "vendor")]
    _vendor: Option<String>,
    #[serde(default, rename = "format")]
    _format: Option<String>,
}

/// More is no schema: the largest of Iglu Central has 60 KB.
const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 16;

/// Reads the whole folder.
pub(super) fn read(folder: &Path) -> Result<Schemas, Vec<String>> {
    let mut files = Vec::new();
    find(folder, 0, &mut files).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut documents = Vec::new();
    for file in files {
        match document(&file) {
            Ok(value) => documents.push((file, value)),
            Err(fault) => faults.push(format!("{}: {fault}", file.display())),
        }
    }
    let registry = match registry(&documents) {
        Ok(registry) => registry,
        Err(fault) => {
            faults.push(fault);
            return Err(faults);
        }
    };
    let mut entries = Vec::new();
    for (file, schema) in &documents {
        if schema.get("self").is_none() {
            if schema.get("$id").is_none() {
                let advice = "it says nothing of itself: add \"self\": {\"event\": \"Order Completed\", \"version\": \"1-0-0\"}, \
                              or \"$id\" if others refer to it";
                faults.push(format!("{}: {advice}", file.display()));
            }
            continue;
        }
        match entry(file, schema, &registry) {
            Ok(entry) => entries.push(entry),
            Err(fault) => faults.push(format!("{}: {fault}", file.display())),
        }
    }
    entries.sort_by(|a, b| (&a.event, &a.sources, a.version, &a.file).cmp(&(&b.event, &b.sources, b.version, &b.file)));
    faults.extend(faults_between(&entries));
    let shared = documents.iter().filter(|(_, schema)| schema.get("self").is_none());
    let shared = shared
        .filter_map(|(file, schema)| Some((file.clone(), schema.get("$id")?.as_str()?.to_owned(), schema.clone())));
    if faults.is_empty() { Ok(Schemas::of(entries, shared.collect())) } else { Err(faults) }
}

/// Every JSON file, in the order of their names. Names that begin with a dot are no schemas: `.git`.
pub(super) fn find(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    if DEPTH_MAX < depth {
        return Err(format!("{}: folders are nested more than {DEPTH_MAX} deep", folder.display()));
    }
    let mut paths = Vec::new();
    for found in std::fs::read_dir(folder).map_err(unreadable)? {
        paths.push(found.map_err(unreadable)?.path());
    }
    paths.sort();
    for path in paths {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            find(&path, depth + 1, files)?;
        } else if name.ends_with(".json") || folder.ends_with("jsonschema") {
            files.push(path);
        }
        if FILES_MAX < files.len() {
            return Err(format!("{}: more than {FILES_MAX} files", folder.display()));
        }
    }
    Ok(())
}

fn document(file: &Path) -> Result<Value, String> {
    let bytes = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(format!("{bytes} bytes are more than a schema may have, {FILE_BYTES_MAX}"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_str(&text).map_err(|error| format!("expected JSON: {error}"))?;
    if value.is_object() { Ok(value) } else { Err("expected a JSON object, which a schema is".to_owned()) }
}

/// The files others may refer to by their `$id`.
fn registry(documents: &[(PathBuf, Value)]) -> Result<Registry<'_>, String> {
    let mut builder = Registry::new();
    let mut seen = BTreeMap::new();
    for (file, value) in documents {
        let Some(id) = value.get("$id").and_then(Value::as_str) else { continue };
        if let Some(other) = seen.insert(id, file) {
            return Err(format!("{}: $id {id} is also that of {}", file.display(), other.display()));
        }
        builder = builder.add(id, value).map_err(|error| format!("{}: $id {id}: {error}", file.display()))?;
    }
    builder
        .prepare()
        .map_err(|error| format!("a $ref leads nowhere: {error}; nothing is fetched, it must be in the folder"))
}

fn entry(file: &Path, schema: &Value, registry: &Registry<'_>) -> Result<Entry, String> {
    let said: SelfDescription =
        Deserialize::deserialize(&schema["self"]).map_err(|error: serde_json::Error| format!("self: {error}"))?;
    if said.event.is_empty() || NAME_BYTES_MAX < said.event.len() {
        return Err(format!("self.event: expected the name of an event, 1 to {NAME_BYTES_MAX} bytes"));
    }
    let version = SchemaVersion::parse(&said.version);
    let version = version.ok_or("self.version: expected MODEL-REVISION-ADDITION, such as 1-0-0")?;
    let mut plain = schema.clone();
    if let Some(members) = plain.as_object_mut() {
        // Ours, and no keyword. Iglu's own meta-schema is none that a validator knows: draft 4, and `self`.
        members.remove("self");
        if members.get("$schema").and_then(Value::as_str).is_some_and(|id| id.starts_with("http://iglucentral.com/")) {
            members.insert("$schema".to_owned(), "http://json-schema.org/draft-04/schema#".into());
        }
    }
    let validator = jsonschema::options()
        .with_registry(registry)
        .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
        .should_validate_formats(true)
        .should_ignore_unknown_formats(true)
        .build(&plain)
        .map_err(|error| format!("it is no JSON Schema: at {:?}: {error}", error.instance_path().to_string()))?;
    let mut sources = said.sources;
    sources.sort();
    Ok(Entry { file: file.to_owned(), event: said.event, version, sources, mode: said.mode, schema: plain, validator })
}

/// What the versions of one event do not agree on. Entries come in the order of event, sources and version.
fn faults_between(entries: &[Entry]) -> Vec<String> {
    let mut faults = Vec::new();
    for of_event in entries.chunk_by(|a, b| a.event == b.event) {
        let lines: Vec<&[Entry]> = of_event.chunk_by(|a, b| a.sources == b.sources).collect();
        for (index, line) in lines.iter().enumerate() {
            let other = lines[..index].iter().find(|other| shares_a_source(&other[0], &line[0]));
            faults.extend(other.map(|other| {
                format!(
                    "{}: {:?} is described for some of the same sources in {}: give each source one line of versions",
                    line[0].file.display(),
                    line[0].event,
                    other[0].file.display()
                )
            }));
            for pair in line.windows(2) {
                if let [old, new] = pair {
                    faults.extend(faults_of_step(old, new));
                }
            }
        }
    }
    faults
}

fn shares_a_source(a: &Entry, b: &Entry) -> bool {
    a.sources.is_empty() || b.sources.is_empty() || a.sources.iter().any(|source| b.sources.contains(source))
}

/// From one version to the next of the same line.
fn faults_of_step(old: &Entry, new: &Entry) -> Vec<String> {
    let (file, event, version) = (new.file.display(), &new.event, new.version);
    if old.version == version {
        return vec![format!("{file}: {event:?} {version} is also {}", old.file.display())];
    }
    if (old.version.model, old.version.revision) != (version.model, version.revision) {
        return Vec::new();
    }
    let narrower = compat::narrowings(&old.schema, &new.schema).into_iter().filter(|it| it.grade == Grade::Narrower);
    narrower
        .map(|found| {
            let pointer = if found.pointer.is_empty() { "/" } else { &found.pointer };
            format!(
                "{file}: {event:?} {version} is an ADDITION to {} and may refuse what that took: {pointer}: {}; raise the REVISION, \
                 or the MODEL if old clients must go on",
                old.version, found.detail
            )
        })
        .collect()
}

//! Schemas: what the properties of an event of some name must look like.
//!
//! In:      a folder of JSON Schemas (`folder`), and events as their dialects read them.
//! Out:     events with the version they fit; or, where they fit none, a warning in them or a dead letter of them.
//! Promise: an event without a schema is let through unlooked-at, unless the settings want one for each. A folder that cannot
//!          stand keeps a server from starting; one that becomes so later leaves the last good one standing, and is told.
//!
//! Of each MODEL its newest version counts: a REVISION takes the place of the one before it, a new MODEL stands beside the
//! old one until that is deleted. Members whose name begins with `$` are a tracker's or ours and are not looked at. What is
//! wrong is told without the values: they may be personal.

mod compat;
mod folder;
mod version;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tributary_schemas::{DeadReason, Event, EventFlags};

use self::folder::Entry;
use crate::dialect::Refused;
use crate::settings::IngestSettings;
use crate::text::cut;
use crate::{suppressed, telling};

pub use self::version::SchemaVersion;

/// What becomes of an event that fits no schema of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SchemaMode {
    /// It is taken, flagged and says why in `warnings`.
    #[default]
    Warn,
    /// It becomes a dead letter.
    Enforce,
}

/// The versions of one event's schema that count, for some sources.
struct Line {
    /// Empty: all.
    sources: Vec<String>,
    /// Newest first, one a MODEL.
    versions: Vec<Entry>,
}

/// The schemas of a folder.
#[derive(Default)]
pub struct Schemas {
    by_event: HashMap<String, Vec<Line>>,
    files: Vec<SchemaFile>,
    /// What others refer to, by its `$id`.
    shared: Vec<(PathBuf, String, Value)>,
}

/// One version as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaFile {
    pub file: PathBuf,
    pub event: String,
    pub version: SchemaVersion,
    /// The sources it is for; empty: all.
    pub sources: Vec<String>,
    /// Whether events are held to it: the newest of its MODEL.
    pub counts: bool,
    /// Its text without what says nothing to a validator, to tell whether a published version was changed.
    pub schema: Value,
}

/// How properties stand to the schemas of their event's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// There is none.
    NoSchema,
    Fits(SchemaVersion),
    /// What is wrong by the newest version, a place and a reason each; no value is told.
    Fails {
        version: SchemaVersion,
        faults: Vec<String>,
        mode: Option<SchemaMode>,
    },
}

/// More are wrong for the same reason.
const FAULTS_TOLD_MAX: usize = 5;
const FAULT_BYTES_MAX: usize = 300;

impl Schemas {
    /// Reads a folder whole.
    ///
    /// Errors: every fault of every file, each naming it and what to do.
    pub fn read(folder: &Path) -> Result<Self, Vec<String>> {
        folder::read(folder)
    }

    /// Entries come in the order of event, sources and version.
    fn of(entries: Vec<Entry>, shared: Vec<(PathBuf, String, Value)>) -> Self {
        let mut schemas = Self { shared, ..Self::default() };
        for entry in entries {
            schemas.files.push(SchemaFile {
                file: entry.file.clone(),
                event: entry.event.clone(),
                version: entry.version,
                sources: entry.sources.clone(),
                counts: true,
                schema: entry.schema.clone(),
            });
            let lines = schemas.by_event.entry(entry.event.clone()).or_default();
            let line = match lines.iter_mut().position(|line| line.sources == entry.sources) {
                Some(index) => &mut lines[index],
                None => {
                    lines.push(Line { sources: entry.sources.clone(), versions: Vec::new() });
                    lines.last_mut().expect("pushed a line before")
                }
            };
            // The newest of a MODEL takes the place of those before it.
            if line.versions.first().is_some_and(|before| before.version.model == entry.version.model) {
                let before = line.versions.remove(0);
                if let Some(file) = schemas.files.iter_mut().find(|file| file.file == before.file) {
                    file.counts = false;
                }
            }
            line.versions.insert(0, entry);
        }
        schemas
    }

    /// Files without a version that others refer to: file, `$id` and text.
    pub fn shared(&self) -> &[(PathBuf, String, Value)] {
        &self.shared
    }

    /// Every version, in the order of event, sources and version.
    pub fn files(&self) -> &[SchemaFile] {
        &self.files
    }

    /// How properties stand to the schemas of an event's name.
    ///
    /// * `properties`: a JSON object; absent, an empty one is looked at.
    pub fn fit(&self, event_name: &str, source: &str, properties: Option<&str>) -> Fit {
        let lines = self.by_event.get(event_name).map(Vec::as_slice).unwrap_or_default();
        let is_for = |line: &&Line| line.sources.is_empty() || line.sources.iter().any(|known| known == source);
        let Some(line) = lines.iter().find(is_for) else { return Fit::NoSchema };
        let Some(newest) = line.versions.first() else { return Fit::NoSchema };
        let fails = |faults| Fit::Fails { version: newest.version, faults, mode: newest.mode };
        let mut instance = match serde_json::from_str::<Value>(properties.unwrap_or("{}")) {
            Ok(instance) => instance,
            Err(error) => return fails(vec![format!("properties: expected JSON that can be read whole: {error}")]),
        };
        if let Some(members) = instance.as_object_mut() {
            members.retain(|name, _| !name.starts_with('$'));
        }
        if let Some(fitting) = line.versions.iter().find(|entry| entry.validator.is_valid(&instance)) {
            return Fit::Fits(fitting.version);
        }
        let faults = newest.validator.iter_errors(&instance).take(FAULTS_TOLD_MAX);
        // It may name every member that is too many.
        let told = |error: jsonschema::ValidationError<'_>| {
            let text = format!("properties{}: {}", error.instance_path(), error.masked());
            cut(&text, FAULT_BYTES_MAX).to_owned()
        };
        fails(faults.map(told).collect())
    }
}

/// The schemas in force, and how they are held against events.
pub(crate) struct Judge {
    schemas: RwLock<Arc<Schemas>>,
    mode: SchemaMode,
    /// An event without a schema is one that fits none.
    required: bool,
}

impl Judge {
    fn new(settings: &IngestSettings, schemas: Schemas) -> Self {
        Self { schemas: RwLock::new(Arc::new(schemas)), mode: settings.schema_mode, required: settings.schema_required }
    }

    fn schemas(&self) -> Arc<Schemas> {
        self.schemas.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The judge of one request: all of its events are held to the same schemas.
    ///
    /// * `is_replay`: what is wrong was counted when it came first.
    pub(crate) fn sit(&self, mode_of_source: Option<SchemaMode>, is_replay: bool) -> Option<Bench> {
        let schemas = self.schemas();
        let idle = schemas.by_event.is_empty() && !self.required;
        let mode = mode_of_source.unwrap_or(self.mode);
        (!idle).then(|| Bench { schemas, mode, required: self.required, is_replay })
    }
}

pub(crate) struct Bench {
    schemas: Arc<Schemas>,
    mode: SchemaMode,
    required: bool,
    is_replay: bool,
}

impl Bench {
    /// Notes on an event the version it fits, or else what is wrong; in mode `enforce` the event is refused.
    pub(crate) fn judge(&self, mut event: Event) -> Result<Event, Refused> {
        let (detail, mode) = match self.schemas.fit(&event.event_name, &event.source, event.properties.as_deref()) {
            Fit::Fits(version) => {
                event.schema_version = Some(version.to_string());
                return Ok(event);
            }
            Fit::NoSchema if !self.required => return Ok(event),
            Fit::NoSchema => ("no schema has the name of this event: add one, or mend the name".to_owned(), self.mode),
            Fit::Fails { version, faults, mode } => {
                (format!("{} (schema {version})", faults.join("; ")), mode.unwrap_or(self.mode))
            }
        };
        if !self.is_replay {
            telling::off_schema(&event.source, mode);
        }
        match mode {
            SchemaMode::Warn => {
                event.flags = event.flags.with(EventFlags::OFF_SCHEMA);
                event.warnings.push(format!("schema: {detail}"));
                Ok(event)
            }
            SchemaMode::Enforce => {
                let event_id = Some(event.event_id.clone());
                Err(Refused { event_id, event: Some(Box::new(event)), ..Refused::new(DeadReason::OffSchema, detail) })
            }
        }
    }
}

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the folder of the settings, and gives back the judge and the task that follows the folder.
pub(crate) fn open(
    settings: &IngestSettings,
    stop: CancellationToken,
) -> Result<(Arc<Judge>, Option<impl Future<Output = ()> + Send + 'static>), Vec<String>> {
    let folder = settings.schema_dir.clone();
    if folder.as_os_str().is_empty() {
        return Ok((Arc::new(Judge::new(settings, Schemas::default())), None));
    }
    let mut seen = mark(&folder);
    let schemas = Schemas::read(&folder)
        .map_err(|faults| faults.into_iter().map(|fault| format!("ingest.schema_dir: {fault}")).collect::<Vec<_>>())?;
    let judge = Arc::new(Judge::new(settings, schemas));
    telling::schemas_stand(true);
    let kept = judge.clone();
    let following = async move {
        let mut looked_at = seen.clone();
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            let (path, before, last) = (folder.clone(), seen.clone(), looked_at.clone());
            let looked = tokio::task::spawn_blocking(move || {
                let now = mark(&path);
                // Two looks alike: a checkout in its midst is neither the old state nor the new one.
                let read = (now != before && now == last).then(|| Schemas::read(&path));
                (now, read)
            });
            match looked.await {
                Ok((now, None)) => looked_at = now,
                Ok((now, Some(read))) => {
                    seen = now;
                    match read {
                        Ok(schemas) => {
                            tracing::info!(versions = schemas.files.len(), "read the schemas of events anew");
                            telling::schemas_stand(true);
                            *judge.schemas.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(schemas);
                        }
                        Err(faults) => {
                            telling::schemas_stand(false);
                            tracing::warn!(faults = faults.join("; "), "the schemas cannot stand; those before hold");
                        }
                    }
                }
                Err(error) => tracing::warn!(%error, "reading the schemas broke off"),
            }
        }
    };
    Ok((kept, Some(following)))
}

/// What tells one state of the folder from another: the names, sizes and times of its files.
fn mark(folder: &Path) -> Vec<(PathBuf, Option<suppressed::Mark>)> {
    let mut files = Vec::new();
    if folder::find(folder, 0, &mut files).is_err() {
        return Vec::new();
    }
    let marked = |file: PathBuf| {
        let mark = suppressed::mark(&file).ok();
        (file, mark)
    };
    files.into_iter().map(marked).collect()
}

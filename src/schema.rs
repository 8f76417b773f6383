//! `tributary schema`: the schemas of events, checked before they are in force.
//!
//! In:      a folder of schemas; the folder as it was before; events to try.
//! Out:     what is in it, or every fault with what to do.
//! Promise: what passes here is what a server takes: both read the folder by the same code. Exit code 2 on any fault, so that
//!          a pipeline of a repository stops there.

use std::io::BufRead as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tributary_ingest::schema::{Fit, Schemas};

use crate::cli::UserError;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct SchemaArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Check a folder of schemas: their JSON, their versions, and that no ADDITION refuses what was taken before
    Check(CheckArgs),
}

#[derive(clap::Args)]
struct CheckArgs {
    /// The folder; by default ingest.schema_dir of the settings
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The folder as it is in force, such as the main branch: no version in it may be changed
    #[arg(long, value_name = "FOLDER")]
    against: Option<PathBuf>,
    /// Events to hold against the schemas, one a line: {"name": "..", "properties": {..}, "source": ".."}
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

pub(crate) fn command(args: SchemaArgs, load: impl FnOnce() -> Result<Settings, SettingsError>) -> anyhow::Result<()> {
    let Action::Check(args) = args.action;
    let folder = match args.folder {
        Some(folder) => folder,
        None => load()?.ingest.schema_dir,
    };
    if folder.as_os_str().is_empty() {
        return Err(UserError("name a folder of schemas, or set ingest.schema_dir".to_owned()).into());
    }
    let schemas = read(&folder)?;
    let mut faults = Vec::new();
    if let Some(before) = &args.against {
        faults.extend(changed(&read(before)?, &schemas));
    }
    for file in schemas.files() {
        let sources = if file.sources.is_empty() { "all sources".to_owned() } else { file.sources.join(", ") };
        let older = if file.counts { "" } else { "  (a newer one takes its place)" };
        println!("{:<12}{:?}  for {sources}{older}", file.version.to_string(), file.event);
    }
    if let Some(events) = &args.events {
        faults.extend(tried(&schemas, events)?);
    }
    if faults.is_empty() {
        let count = schemas.files().len();
        println!("{count} {}, no faults", if count == 1 { "version" } else { "versions" });
        return Ok(());
    }
    Err(UserError(faults.join("\n")).into())
}

fn read(folder: &Path) -> anyhow::Result<Schemas> {
    Schemas::read(folder).map_err(|faults| UserError(faults.join("\n")).into())
}

/// Versions that were in force and are not what they were. One may be deleted: that is how an old MODEL ends.
fn changed(before: &Schemas, now: &Schemas) -> Vec<String> {
    let mut faults = Vec::new();
    for old in before.files() {
        let same = |new: &&tributary_ingest::schema::SchemaFile| {
            new.event == old.event && new.version == old.version && new.sources == old.sources
        };
        if let Some(new) = now.files().iter().find(same)
            && new.schema != old.schema
        {
            faults.push(format!(
                "{}: {:?} {} was changed after it came into force: add a new version instead",
                new.file.display(),
                new.event,
                new.version
            ));
        }
    }
    for (_, id, old) in before.shared() {
        if let Some((file, _, new)) = now.shared().iter().find(|(_, known, _)| known == id)
            && new != old
        {
            faults.push(format!(
                "{}: what others refer to as {id} was changed: give it a new $id instead",
                file.display()
            ));
        }
    }
    faults
}

/// Events of a file that do not fit.
fn tried(schemas: &Schemas, file: &Path) -> anyhow::Result<Vec<String>> {
    let reader = std::fs::File::open(file).map_err(|error| UserError(format!("{}: {error}", file.display())))?;
    let mut faults = Vec::new();
    let (mut fitting, mut without) = (0, 0);
    for (index, line) in std::io::BufReader::new(reader).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let at = format!("{}, line {}", file.display(), index + 1);
        let event: Value = match serde_json::from_str(&line) {
            Ok(event) => event,
            Err(error) => {
                faults.push(format!("{at}: {error}"));
                continue;
            }
        };
        let text = |names: &[&str]| names.iter().find_map(|name| event.get(*name).and_then(Value::as_str));
        let Some(name) = text(&["name", "event", "event_name"]) else {
            faults.push(format!("{at}: expected an event with a name"));
            continue;
        };
        let properties = event.get("properties").map(Value::to_string);
        match schemas.fit(name, text(&["source"]).unwrap_or_default(), properties.as_deref()) {
            Fit::Fits(_) => fitting += 1,
            Fit::NoSchema => without += 1,
            Fit::Fails { version, faults: found, .. } => {
                faults.push(format!("{at}: {name:?} does not fit {version}: {}", found.join("; ")));
            }
        }
    }
    println!("{fitting} events fit, {} do not, {without} have no schema", faults.len());
    Ok(faults)
}

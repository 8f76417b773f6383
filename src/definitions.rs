//! `tributary metrics`: the definitions of a shop, checked before they are in force.
//!
//! In:      a folder of definitions.
//! Out:     what is defined, or every fault with its file, its key and what to do.
//! Promise: what passes here is what a server takes: both read the folder and plan each definition by the same code. No lake
//!          of anybody's is opened: the tables are always the same. Exit code 2 on any fault.

use std::path::PathBuf;

use tributary_lake::{Lake, LakeSettings};
use tributary_query::definitions::{self, Definitions};
use tributary_query::{Engine, QueryError, QuerySettings};

use crate::cli::UserError;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct MetricsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Check a folder of definitions and list them
    Check {
        /// The folder; by default query.metrics_dir of the settings
        #[arg(value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

pub(crate) async fn command(
    args: MetricsArgs,
    load: impl FnOnce() -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let Action::Check { folder } = args.action;
    let folder = match folder {
        Some(folder) => folder,
        None => load()?.query.metrics_dir.ok_or_else(|| {
            UserError("name a folder of definitions, or set query.metrics_dir (docs/sql.md#definitions)".to_owned())
        })?,
    };
    let empty = EmptyLake::new();
    let url =
        empty.0.to_str().ok_or_else(|| UserError("the folder for temporary files has no readable name".to_owned()))?;
    let lake = Lake::open(LakeSettings { url: url.to_owned(), fsync: false, ..LakeSettings::default() }).await?;
    let engine = Engine::new(QuerySettings::default(), lake).map_err(told)?;
    // What cannot be read hides no fault of what can.
    let texts = definitions::texts(&folder).map_err(|faults| told(QueryError::Definitions { faults }))?;
    let (standing, mut faults) = Definitions::standing(&texts);
    match engine.replace_definitions(standing).await {
        Err(QueryError::Definitions { faults: more }) => faults.extend(more),
        other => other.map_err(told)?,
    }
    if !faults.is_empty() {
        return Err(told(QueryError::Definitions { faults }));
    }
    for definition in engine.definitions().all() {
        let (kind, name) = (definition.kind.word(), &definition.name);
        println!("{kind:<12}{name}  {}", definition.description.as_deref().unwrap_or(&definition.sql));
    }
    let count = engine.definitions().all().len();
    println!("{count} {}, no faults", if count == 1 { "definition" } else { "definitions" });
    Ok(())
}

/// Faults of definitions are the user's to mend.
pub(crate) fn told(error: QueryError) -> anyhow::Error {
    match error {
        QueryError::Definitions { .. } => UserError(error.to_string()).into(),
        error => error.into(),
    }
}

/// A folder for tables without rows, gone with this.
struct EmptyLake(PathBuf);

impl EmptyLake {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("tributary-metrics-{}", random_name())))
    }
}

impl Drop for EmptyLake {
    fn drop(&mut self) {
        // What cannot be deleted lies in a folder for temporary files.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// Two commands at once must not share a folder.
fn random_name() -> String {
    let mut bytes = [0_u8; 8];
    // Without random bytes the number of the process must do.
    if getrandom::fill(&mut bytes).is_err() {
        return std::process::id().to_string();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

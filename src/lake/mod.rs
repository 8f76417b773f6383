//! `tributary lake`: how the tables stand, and their upkeep by hand.
//!
//! In:      the lake of the settings, or of a data folder; a server may be writing it meanwhile.
//! Out:     one report, for people or as JSON.
//! Promise: nothing is made where there is no lake. `verify` ends with 1 when it found a fault, and tells each.
//! Not here: the upkeep itself (`crates/lake`), and when a server does it (`serve/upkeep.rs`).

mod report;

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use tributary_lake::{CompactOptions, Lake, VacuumOptions};
use tributary_schemas::Table;

use crate::cli::UserError;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct LakeArgs {
    #[command(subcommand)]
    command: Command,
    /// Data folder of the lake, where the settings do not say where it is
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// Report as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Versions, files, bytes, rows, days and positions
    Status {
        #[arg(value_enum, value_name = "TABLE")]
        tables: Vec<TableName>,
    },
    /// Put small files together, sorted and without duplicates
    Compact {
        #[arg(value_enum, value_name = "TABLE")]
        tables: Vec<TableName>,
        /// Also days that still grow, and days whose rewrite does not pay yet
        #[arg(long)]
        all: bool,
    },
    /// Delete files that no version within the horizon needs, and old entries of the log
    Vacuum {
        #[arg(value_enum, value_name = "TABLE")]
        tables: Vec<TableName>,
        /// Versions as old as this stay readable; by default lake.vacuum_horizon_hours
        #[arg(long, value_name = "HOURS")]
        hours: Option<u64>,
        /// Allow fewer than 24 hours: only when nobody writes or reads the lake
        #[arg(long)]
        force: bool,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Read everything and say what is not as the log says
    Verify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum TableName {
    Events,
    Sessions,
    Identities,
    DeadLetters,
}

impl TableName {
    fn table(self) -> Table {
        match self {
            Self::Events => Table::Events,
            Self::Sessions => Table::Sessions,
            Self::Identities => Table::Identities,
            Self::DeadLetters => Table::DeadLetters,
        }
    }
}

/// Those named, or all, in the order of `Table::ALL`.
fn chosen(names: &[TableName]) -> Vec<Table> {
    let is_chosen = |table: &Table| names.is_empty() || names.iter().any(|name| name.table() == *table);
    Table::ALL.iter().copied().filter(is_chosen).collect()
}

pub(crate) async fn command(
    args: LakeArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let settings = load(args.data)?;
    if !Lake::is_there(&settings.lake).await? {
        let advice = "name its data folder with --data DIR, or its place with lake.url";
        return Err(UserError(format!("there is no lake in {}; {advice}", settings.lake.url)).into());
    }
    let lake = Lake::open(settings.lake.clone()).await?;
    let told = match args.command {
        Command::Status { tables } => {
            let mut all = Vec::new();
            for table in chosen(&tables) {
                all.push(lake.status(table).await?);
            }
            report::status(&lake, &all, args.json)
        }
        Command::Compact { tables, all } => {
            let needed = tributary_pipeline::needed(&lake, &settings.pipeline).await?;
            let options = CompactOptions {
                everything: all,
                log_topic: settings.log.events_topic.clone(),
                needed_from: needed.offsets,
            };
            let mut done = Vec::new();
            for table in chosen(&tables) {
                done.push((table, lake.compact(table, &options).await?));
            }
            report::compacted(&done, args.json)
        }
        Command::Vacuum { tables, hours, force, dry_run } => {
            let horizon_hours = hours.unwrap_or(settings.lake.vacuum_horizon_hours);
            let options = VacuumOptions { horizon_hours, force, dry_run };
            let mut done = Vec::new();
            for table in chosen(&tables) {
                let swept = lake.vacuum(table, &options).await;
                done.push((table, swept.map_err(users_fault)?));
            }
            report::vacuumed(&done, dry_run, args.json)
        }
        Command::Verify => {
            let found = lake.verify(&settings.log.events_topic).await?;
            print!("{}", report::verified(&found, args.json));
            anyhow::ensure!(found.is_sound(), "the lake is not what its log says");
            return Ok(());
        }
    };
    print!("{told}");
    Ok(())
}

fn users_fault(error: tributary_lake::LakeError) -> anyhow::Error {
    match error.advice() {
        tributary_lake::Advice::FixInput => UserError(error.to_string()).into(),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_named_as_in_sql() {
        for (name, table) in TableName::value_variants().iter().zip(Table::ALL) {
            assert_eq!(name.table(), *table);
            assert_eq!(name.to_possible_value().unwrap().get_name(), table.name());
        }
        assert_eq!(chosen(&[TableName::DeadLetters, TableName::Events]), [Table::Events, Table::DeadLetters]);
        assert_eq!(chosen(&[]), Table::ALL);
    }
}

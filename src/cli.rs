//! The command line: what can be asked of the program, and how its faults are told.
//!
//! In:      arguments.
//! Out:     the command's work; one message on stderr when it fails; an exit code.
//! Promise: a fault of the user's (a setting, a port in use, a file that is not there) ends with 2 and says
//!          what to do; any other failure ends with 1.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::settings::{Layers, LogKind, Role, Settings, SettingsError, process_environment};
use crate::{bench, dead_letters, definitions, demo, import, lake, link, ops, schema, serve, sql, tail, telemetry};

#[derive(Parser)]
#[command(
    name = "tributary",
    version,
    about = "Streaming analytics for marketing: from the door to the answer",
    after_help = "First time here? Run `tributary demo`."
)]
struct Cli {
    /// Settings file; by default ./tributary.toml where it exists
    #[arg(long, global = true, value_name = "FILE")]
    settings: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the line: the door, the stream job, the answers
    Serve(ServeArgs),
    /// See it all work on real and made-up data, in about a minute
    Demo(demo::DemoArgs),
    /// Send a CSV, NDJSON or Parquet file through the door
    Import(Box<import::ImportArgs>),
    /// Ask questions in SQL: one on the command line, or a shell
    Sql(sql::SqlArgs),
    /// See how the lake stands, compact it, sweep it, check it
    Lake(lake::LakeArgs),
    /// How it is: lag, tables, sessions, accounting; exit code 1 when something is wrong
    Status(ops::StatusArgs),
    /// Check settings, machine, log and lake, and say what to do
    Doctor(ops::DoctorArgs),
    /// Make the lake anew from the log
    Replay(ops::ReplayArgs),
    /// Watch what comes in, as it comes
    Tail(tail::TailArgs),
    /// Check the schemas of events
    Schema(schema::SchemaArgs),
    /// Check the definitions of metrics, events, channels and funnels
    Metrics(definitions::MetricsArgs),
    /// See what could not become an event, and send it through the door again
    DeadLetters(dead_letters::DeadLettersArgs),
    /// Make a signed link, pixel and way out for a message
    Link(link::LinkArgs),
    /// Measure this machine
    Bench(bench::BenchArgs),
    /// Print every setting with its default, unit and reason
    Settings,
}

#[derive(clap::Args)]
struct ServeArgs {
    /// Which roles this process runs, comma-separated; all by default
    #[arg(long, value_delimiter = ',', value_name = "ROLES")]
    roles: Vec<Role>,
    /// Which log to use
    #[arg(long, value_name = "KIND")]
    log: Option<LogKind>,
    /// Folder for log, lake and keys
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Which workers help to answer, by URL, comma-separated
    #[arg(long, value_delimiter = ',', value_name = "URLS")]
    workers: Vec<String>,
}

/// A fault of the user's own: told as it is, with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UserError(pub String);

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tributary: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(run(cli));
    // Blocking threads of a client (a shell waiting for a key) must not hold up the exit.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tributary: {error:#}");
            if is_users(&error) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

fn is_users(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<UserError>() || cause.is::<SettingsError>())
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let layers =
        |flags| Layers { file: cli.settings.clone(), environment: process_environment(), flags, ..Layers::default() };
    match cli.command {
        Command::Serve(args) => {
            let settings = Settings::load(layers(args.flags()))?;
            demo::serves(&settings.serve.data_dir)?;
            serve::command(settings).await
        }
        Command::Demo(args) => {
            telemetry::start_quiet();
            demo::command(args).await
        }
        Command::Import(args) => {
            telemetry::start_quiet();
            import::command(*args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Sql(args) => {
            telemetry::start_quiet();
            sql::command(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Lake(args) => {
            telemetry::start_quiet();
            lake::command(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Status(args) => {
            telemetry::start_quiet();
            ops::status(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Doctor(args) => {
            telemetry::start_quiet();
            ops::doctor(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Replay(args) => {
            telemetry::start_quiet();
            ops::replay(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Tail(args) => {
            telemetry::start_quiet();
            tail::command(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Schema(args) => schema::command(args, || Settings::load(layers(Vec::new()))),
        Command::Metrics(args) => {
            telemetry::start_quiet();
            definitions::command(args, || Settings::load(layers(Vec::new()))).await
        }
        Command::DeadLetters(args) => {
            telemetry::start_quiet();
            dead_letters::command(args, |data| Settings::load(layers(data_flag(data)))).await
        }
        Command::Link(args) => link::command(args, |data| Settings::load(layers(data_flag(data)))),
        Command::Bench(args) => {
            telemetry::start_quiet();
            bench::command(args).await
        }
        Command::Settings => {
            if let Some(file) = &cli.settings {
                return Err(UserError(format!(
                    "`tributary settings` prints the defaults, whatever stands in a file; leave --settings out. Whether {} \
                     can stand is told by `tributary --settings {} doctor`",
                    file.display(),
                    file.display()
                ))
                .into());
            }
            print!("{}", crate::settings::DEFAULTS);
            Ok(())
        }
    }
}

/// How commands other than `serve` name the data folder.
fn data_flag(data: Option<PathBuf>) -> Vec<(&'static str, String)> {
    data.map(|data| ("serve.data_dir", data.display().to_string())).into_iter().collect()
}

impl ServeArgs {
    fn flags(&self) -> Vec<(&'static str, String)> {
        let mut flags = data_flag(self.data.clone());
        if !self.roles.is_empty() {
            let roles: Vec<String> = self.roles.iter().map(spelling).collect();
            flags.push(("serve.roles", roles.join(",")));
        }
        flags.extend(self.log.as_ref().map(|kind| ("log.kind", spelling(kind))));
        flags.extend(self.listen.clone().map(|listen| ("serve.listen", listen)));
        if !self.workers.is_empty() {
            flags.push(("query.workers", self.workers.join(",")));
        }
        flags
    }
}

/// The spelling of a choice on the command line, which is also the one in settings files.
pub(crate) fn spelling(choice: &impl clap::ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_become_the_last_layer() {
        let cli = Cli::parse_from([
            "tributary",
            "serve",
            "--roles",
            "ingest,query",
            "--log",
            "kafka",
            "--data",
            "d",
            "--workers",
            "http://a:1,http://b:1",
        ]);
        let Command::Serve(args) = cli.command else { panic!("serve was asked for") };
        let flags = args.flags();
        let expected = [
            ("serve.data_dir", "d"),
            ("serve.roles", "ingest,query"),
            ("log.kind", "kafka"),
            ("query.workers", "http://a:1,http://b:1"),
        ];
        assert_eq!(flags, expected.map(|(key, value)| (key, value.to_owned())));
    }
}

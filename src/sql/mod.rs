//! `tributary sql`: questions from the command line, one or many.
//!
//! In:       SQL; a lake folder on this machine, or a server.
//! Out:      answers on stdout as table, CSV or JSON; errors and remarks on stderr.
//! Promise:  stdout carries the answer only; exit code 1 when a question cannot be answered.
//! Not here: what may be asked, and the limits (`query`).

mod asker;
mod shell;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use crate::settings::{Settings, SettingsError};
use asker::Asker;

#[derive(clap::Args)]
pub(crate) struct SqlArgs {
    /// The question; without one, standard input is read, or a shell opens where that is a terminal
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    /// Data folder with the lake to ask
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// Server to ask instead of a folder
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Token for that server
    #[arg(long, value_name = "TOKEN", env = "TRIBUTARY_SQL_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How answers are printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
}

pub(crate) async fn command(
    args: SqlArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let asker = match &args.url {
        Some(url) => Asker::server(url, args.token.clone())?,
        None => Asker::folder(&load(args.data.clone())?).await?,
    };
    match args.query {
        Some(sql) => answer_once(&asker, &sql, args.format).await,
        None if std::io::stdin().is_terminal() => shell::run(&asker, args.format).await,
        None => {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql)?;
            answer_once(&asker, &sql, args.format).await
        }
    }
}

async fn answer_once(asker: &Asker, sql: &str, format: Format) -> anyhow::Result<()> {
    let answer = asker.ask(sql.trim().trim_end_matches(';'), format).await?;
    print(&answer)?;
    if answer.truncated {
        eprintln!("{}", asker::TRUNCATED);
    }
    Ok(())
}

/// A closed pipe (`| head`) is a reader that has seen enough, not a fault.
fn print(answer: &asker::Printed) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(&answer.text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

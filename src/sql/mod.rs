//! `tributary sql`: questions from the command line, one or many.
//!
//! In:       SQL, questions with a `;` between them, or words of the shell (`\d`); a lake folder on this machine, or a server.
//! Out:      answers on stdout as table, CSV or JSON; errors and remarks on stderr.
//! Promise:  stdout carries the answers only, in their order, with an empty line between them; the first question that cannot be
//!           answered, or not in full, is the last, and the exit code 1. CSV and JSON from a folder are never cut off.
//! Not here: what may be asked, and the limits (`query`).

mod asker;
mod shell;
mod split;

use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;

use anyhow::Context;

use crate::cli::UserError;
use crate::server::ServerArgs;
use crate::settings::{Settings, SettingsError};
pub(crate) use asker::Asker;

#[derive(clap::Args)]
pub(crate) struct SqlArgs {
    /// The question; without one, standard input is read, or a shell opens where that is a terminal
    #[arg(value_name = "QUERY")]
    query: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
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
    let ServerArgs { data, url, token, insecure_http } = args.server;
    let asker = match &url {
        Some(url) => Asker::server(url, token, insecure_http)?,
        None => Asker::folder(load(data)?, token).await?,
    };
    match args.query {
        Some(sql) => answer_each(&asker, &sql, args.format).await,
        None if std::io::stdin().is_terminal() => shell::run(&asker, args.format).await,
        None => {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql)?;
            let mut is_told = false;
            let questions = shell::piped(&sql, |words| {
                is_told = true;
                eprintln!("{words}");
            });
            let questions = questions.map_err(UserError)?;
            // Nothing but words of the shell is no question left out.
            if is_told && questions.trim().is_empty() {
                return Ok(());
            }
            answer_each(&asker, &questions, args.format).await
        }
    }
}

async fn answer_each(asker: &Asker, sql: &str, format: Format) -> anyhow::Result<()> {
    let (mut questions, last) = split::split(sql);
    if !last.is_empty() || questions.is_empty() {
        questions.push(last);
    }
    let count = questions.len();
    for (index, question) in questions.into_iter().enumerate() {
        if 0 < index {
            // A fault comes again with the answer, where it is told.
            drop(std::io::stdout().write_all(b"\n"));
        }
        let answered = answer_once(asker, question, format).await;
        if 1 < count {
            answered.with_context(|| format!("question {} of {count}", index + 1))?;
        } else {
            answered?;
        }
    }
    Ok(())
}

async fn answer_once(asker: &Asker, sql: &str, format: Format) -> anyhow::Result<()> {
    if let (Asker::Folder(folder), Format::Csv | Format::Json) = (asker, format)
        && !asker::is_live(sql)
    {
        let mut out = Out::new(std::io::stdout().lock());
        let mut notes = Vec::new();
        let streamed = asker::stream(&folder.engine, sql, format, &mut out).await.map(|told| notes = told);
        out.finish(streamed)?;
        tell(&notes);
        return Ok(());
    }
    let answer = asker.ask(sql, format).await?;
    print(&answer)?;
    tell(&answer.notes);
    anyhow::ensure!(!answer.truncated, asker::TRUNCATED);
    Ok(())
}

/// Beside rows that a program reads.
fn tell(notes: &[String]) {
    notes.iter().for_each(|note| eprintln!("note: {note}"));
}

/// A closed pipe (`| head`) is a reader that has seen enough, not a fault.
fn print(answer: &asker::Printed) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    match out.write_all(&answer.text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// An output that remembers what befell it: the writers above tell faults as text only, or flush as they are dropped.
struct Out<W: Write> {
    inner: std::io::BufWriter<W>,
    fault: Option<std::io::ErrorKind>,
}

impl<W: Write> Out<W> {
    fn new(inner: W) -> Self {
        Self { inner: std::io::BufWriter::new(inner), fault: None }
    }

    /// `written`: what came of it for those above.
    fn finish(mut self, written: anyhow::Result<()>) -> anyhow::Result<()> {
        if self.fault.is_none() {
            drop(self.flush());
        }
        match self.fault {
            Some(std::io::ErrorKind::BrokenPipe) => Ok(()),
            Some(kind) => anyhow::bail!("the answer cannot be written: {kind}"),
            None => written,
        }
    }

    fn noted<T>(&mut self, done: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &done {
            self.fault.get_or_insert(error.kind());
        }
        done
    }
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let done = self.inner.write(bytes);
        self.noted(done)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let done = self.inner.flush();
        self.noted(done)
    }
}

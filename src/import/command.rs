//! `tributary import`: the command around an import.
//!
//! In:      a command line.
//! Out:     a bar while it runs; a summary; rejected rows beside the file. Or a first mapping, printed or in a file of its own.
//! Promise: exit code 0 also when some rows were rejected: they are told and written down, the rest is in. A file
//!          that breaks off ends with 1, after what stood before is in and told. A proposal overwrites nothing.

use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::late::Before;
use super::propose::propose;
use super::{Door, FileFormat, ImportOptions, Mapping, Source, Summary, grouped, progress_bar, rejects_path, run};
use crate::cli::UserError;
use crate::http;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct ImportArgs {
    /// The file: CSV (plain or gzip), NDJSON or Parquet
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which columns become which fields of an event; see docs/import.md
    #[arg(long, value_name = "FILE.toml")]
    mapping: Option<PathBuf>,
    /// Import nothing, but propose a mapping by the header and the first rows: print it, or with =FILE.toml write it to a new file
    #[arg(
        long,
        value_name = "FILE.toml",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "-",
        conflicts_with = "mapping"
    )]
    propose: Option<PathBuf>,
    /// The server; by default the one that runs on the data folder
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The key to write with; by default that of --source in the data folder
    #[arg(long, value_name = "KEY", env = "TRIBUTARY_WRITE_KEY", hide_env_values = true)]
    write_key: Option<String>,
    /// The source to file the events under, when the key is looked up in the data folder
    #[arg(long, value_name = "NAME", default_value = "import")]
    source: String,
    /// Data folder of a server on this machine
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Send the key in clear to another machine
    #[arg(long)]
    insecure_http: bool,
    /// What kind of file it is, where its name does not say
    #[arg(long, value_name = "KIND")]
    format: Option<FileFormat>,
    /// Requests under way at once, where their times lie close enough together
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    in_flight: usize,
    /// Where rejected rows go; by default FILE.rejected.ndjson
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
}

pub(crate) async fn command(
    args: ImportArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let mapping = match &args.mapping {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| UserError(format!("cannot read the mapping {}: {error}", path.display())))?;
            Mapping::parse(&text).map_err(|error| UserError(format!("the mapping {}: {error}", path.display())))?
        }
        None => Mapping::default(),
    };
    if let Err(error) = std::fs::File::open(&args.file) {
        return Err(UserError(format!("cannot open {}: {error}", args.file.display())).into());
    }
    if let Some(place) = &args.propose {
        return write_proposal(&args, place);
    }
    let Addressed { door, url, source } = door(&args, load)?;
    let before = Before::ask(&url).await;
    let options = ImportOptions {
        format: args.format,
        requests_in_flight_max: args.in_flight.clamp(1, 64),
        rejects_file: Some(args.rejects.clone().unwrap_or_else(|| rejects_path(&args.file))),
        ..ImportOptions::default()
    };
    let stop = CancellationToken::new();
    let importing =
        run(Source::File(args.file.clone()), mapping, door, options, progress_bar("importing"), stop.clone());
    tokio::pin!(importing);
    let summary = tokio::select! {
        summary = &mut importing => summary,
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            importing.await
        }
    };
    let summary = summary?;
    print_summary(&summary, &args);
    if let Some(before) = before
        && let Some(told) = before.told(&url, source.as_deref(), &summary).await
    {
        eprintln!("  {told}");
    }
    match summary.broke_off {
        Some(why) => Err(anyhow::anyhow!("{why}. What stood before is in, and is not doubled by another run soon")),
        None => Ok(()),
    }
}

/// Proposes a mapping: on stdout for `-`, else in a file that was not there.
fn write_proposal(args: &ImportArgs, place: &Path) -> anyhow::Result<()> {
    let printed = place == Path::new("-");
    let mapping = if printed { Path::new("mapping.toml") } else { place };
    // Looked at first, so that nobody waits for what cannot be written; `create_new` below is what holds.
    let is_there = || {
        UserError(format!("{} is there already, and is not overwritten; name another, or remove it", place.display()))
    };
    if !printed && place.exists() {
        return Err(is_there().into());
    }
    let import = format!("tributary import {} --mapping {}", in_shell(&args.file), in_shell(mapping));
    let source = Source::File(args.file.clone());
    source.length_bytes().map_err(super::users)?;
    let proposal = propose(&source, args.format, &import)?;
    if printed {
        print!("{}", proposal.text);
    } else {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(place);
        let written = file.and_then(|mut file| file.write_all(proposal.text.as_bytes()));
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => is_there(),
            _ => UserError(format!("cannot write {}: {error}", place.display())),
        })?;
    }
    for line in &proposal.told {
        eprintln!("  {line}");
    }
    let looked_at = if printed { "the mapping".to_owned() } else { in_shell(mapping) };
    eprintln!("look {looked_at} through, then: {import}");
    Ok(())
}

/// A path as a shell takes it.
fn in_shell(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|char| char.is_alphanumeric() || "._-/".contains(char));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Where the rows go.
struct Addressed {
    door: Door,
    url: String,
    /// `None` where a key was given: whose it is only the server knows.
    source: Option<String>,
}

/// Address and key: from the flags, else from the data folder of a server on this machine.
fn door(
    args: &ImportArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<Addressed> {
    if let Some(url) = &args.url {
        http::address(url)?;
        http::keep_secret(url, args.insecure_http)?;
    }
    if let (Some(url), Some(key)) = (&args.url, &args.write_key) {
        return Ok(Addressed { door: Door::new(url, key)?, url: http::address(url)?, source: None });
    }
    let settings = load(args.data.clone())?;
    let url = match &args.url {
        Some(url) => url.clone(),
        None => running_server(&settings)?,
    };
    let key = match &args.write_key {
        Some(key) => key.clone(),
        None => {
            let mut keys = settings.ingest.write_keys.iter();
            let found = keys.find(|key| key.source == args.source).map(|key| key.key.clone());
            found.ok_or_else(|| {
                UserError(format!(
                    "no write key for the source {:?} is known; give one with --write-key, or name another source \
                     with --source, or the server's data folder with --data",
                    args.source
                ))
            })?
        }
    };
    let source = args.write_key.is_none().then(|| args.source.clone());
    Ok(Addressed { door: Door::new(&url, &key)?, url: http::address(&url)?, source })
}

/// How long a server on this machine may take to let somebody in.
const KNOCK_TIME_MAX: Duration = Duration::from_secs(5);

/// The address a server on this data folder wrote down.
///
/// A server that was killed leaves its address behind; five minutes of trying again would not bring it back.
fn running_server(settings: &Settings) -> anyhow::Result<String> {
    if let Some((url, addr)) = http::written_down(&settings.serve.data_dir)
        && TcpStream::connect_timeout(&addr, KNOCK_TIME_MAX).is_ok()
    {
        return Ok(url);
    }
    Err(UserError(format!(
        "no server runs on {}; start one with `tributary serve`, or name one with --url http://HOST:PORT",
        settings.serve.data_dir.display()
    ))
    .into())
}

/// What came of it, for a person.
fn print_summary(summary: &Summary, args: &ImportArgs) {
    println!(
        "{} {} in {}: {} accepted, {} dead-lettered, {} rejected ({}/s)",
        grouped(summary.rows),
        if summary.rows == 1 { "row" } else { "rows" },
        seconds(summary.took),
        grouped(summary.accepted),
        grouped(summary.dead_lettered),
        grouped(summary.rejected),
        grouped(summary.rows_per_second() as u64),
    );
    for line in &summary.rejects_shown {
        eprintln!("  {line}");
    }
    if (summary.rejects_shown.len() as u64) < summary.rejected {
        eprintln!("  ... and {} more", grouped(summary.rejected - summary.rejects_shown.len() as u64));
    }
    if 0 < summary.dead_lettered {
        eprintln!("  {}", where_kept_apart(summary.dead_lettered, args));
    }
    if 0 < summary.clamped {
        eprintln!(
            "  {} of the accepted rows count as of now: the door put the time of receipt in the place of theirs, which lay out of its \
             bounds. History wants a source with trusted_clock = true; is time_zone right?",
            grouped(summary.clamped)
        );
    }
    for note in &summary.notes {
        eprintln!("  {note}");
    }
    if 0 < summary.behind {
        eprintln!(
            "  {} of them happened more than an hour before one that stands above them: they may be too late for a session. Sort \
             the file by time (docs/import.md)",
            grouped(summary.behind)
        );
    }
    if let Some(file) = &summary.rejects_file {
        eprintln!("  all rejected rows, with reasons: {}", file.display());
    }
}

/// The door's answer counts what it kept apart, and its table says the rest.
fn where_kept_apart(count: u64, args: &ImportArgs) -> String {
    let server = match (&args.url, &args.data) {
        (Some(url), _) => format!(" --url {url} --token TOKEN"),
        (None, Some(data)) => format!(" --data {}", in_shell(data)),
        (None, None) => String::new(),
    };
    format!(
        "the door kept {} of them apart; in a few seconds, which and why: tributary sql{server} \"SELECT event_id, reason, detail FROM \
         dead_letters WHERE reason <> 'duplicate' ORDER BY ingest_time_us DESC LIMIT {count}\" (an id of ours ends with the line)",
        grouped(count)
    )
}

pub(crate) fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

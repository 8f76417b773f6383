//! `tributary dead-letters`: what could not become an event: which there are, and through the door again after a fix.
//!
//! In:      a running server; which letters; or a file of them, mended by hand.
//! Out:     `list`: how many, by source, reason and event. `export`: the letters as NDJSON. `replay`: what became of each.
//! Promise: a letter is open until an event says that it came of it (`replayed_from`), so a replay that was cut off goes on, and
//!          one that is run twice counts nothing twice. What still cannot be read stays open, and is told.
//! Not here: how a letter is read again (`ingest/src/replay.rs`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::cli::UserError;
use crate::http;
use crate::server::ServerArgs;
use crate::settings::{Settings, SettingsError};
use crate::sql::{Asker, Format};

#[derive(clap::Args)]
pub(crate) struct DeadLettersArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// How many are open, by source, reason and event
    List(ListArgs),
    /// Print open ones as NDJSON, to be mended in an editor and given to `replay --file`
    Export(ListArgs),
    /// Send open ones through the door again
    Replay(ReplayArgs),
}

#[derive(clap::Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: Filter,
}

#[derive(clap::Args)]
struct ReplayArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    filter: Filter,
    /// Letters as `export` prints them, instead of those in the lake
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "reason", "event", "since", "until", "condition"])]
    file: Option<PathBuf>,
    /// The door, where it is another server than the one that answers SQL
    #[arg(long, value_name = "URL")]
    door: Option<String>,
    /// Token for the door, of ingest.replay_tokens; by default that of the data folder
    #[arg(long, value_name = "TOKEN", env = "TRIBUTARY_REPLAY_TOKEN", hide_env_values = true)]
    door_token: Option<String>,
    /// Only say what would become of them
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
struct Filter {
    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only those with this reason: off_schema, invalid_field, malformed ...
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Only those whose event has this name, where it could be read
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Only those received at this time or later, such as 2026-11-27T12:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Timestamp>,
    /// Only those received before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Timestamp>,
    /// Only those of which this SQL holds, over the columns of `dead_letters`
    #[arg(long = "where", value_name = "SQL")]
    condition: Option<String>,
}

/// Letters asked for at a time; an answer that cannot hold so many has the first of them. Each question looks through the
/// events for those that came of a letter since.
const PAGE_ROWS: usize = 2_000;
/// Letters in one request to the door.
const LETTERS_MAX: usize = 100;
/// Payloads in one request to the door; it takes 4 MiB unless the settings say otherwise.
const BYTES_MAX: usize = 2 << 20;
/// A door that is busy is asked again so often.
const TRIES_MAX: u32 = 30;
const REQUEST_TIME_MAX: Duration = Duration::from_secs(120);
/// Letters that were not mended, told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

impl Filter {
    fn sql(&self) -> String {
        let mut conditions = Vec::new();
        let text = |value: &str| format!("'{}'", value.replace('\'', "''"));
        for (column, value) in [("source", &self.source), ("reason", &self.reason), ("event_name", &self.event)] {
            conditions.extend(value.as_deref().map(|value| format!("{column} = {}", text(value))));
        }
        conditions.extend(self.since.map(|time| format!("ingest_time_us >= {}", time.as_microsecond())));
        conditions.extend(self.until.map(|time| format!("ingest_time_us < {}", time.as_microsecond())));
        conditions.extend(self.condition.as_deref().map(|sql| format!("({sql})")));
        if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") }
    }
}

/// A server that was found: where it is, and the token it takes.
struct Found {
    asker: Asker,
    url: String,
    /// For the door.
    token: String,
}

async fn find(
    server: &ServerArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<Found> {
    let (url, settings) = server.find(load).await?;
    let first =
        |of: fn(&Settings) -> &Vec<String>| settings.as_ref().and_then(|settings| of(settings).first().cloned());
    let token = server.token.clone().or_else(|| first(|settings| &settings.query.tokens));
    let asker = Asker::server(&url, token, server.insecure_http)?;
    let token = first(|settings| &settings.ingest.replay_tokens).unwrap_or_default();
    Ok(Found { asker, url, token })
}

pub(crate) async fn command(
    args: DeadLettersArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    match args.action {
        Action::List(args) => list(&find(&args.server, load).await?, &args.filter).await,
        Action::Export(args) => export(&find(&args.server, load).await?, &args.filter).await,
        Action::Replay(args) => {
            let mut found = find(&args.server, load).await?;
            if let Some(token) = &args.door_token {
                found.token.clone_from(token);
            }
            if found.token.is_empty() {
                let advice = "the door asks for a token of ingest.replay_tokens: give it with --door-token or in \
                              TRIBUTARY_REPLAY_TOKEN; on the server it stands in keys.toml in its data folder";
                return Err(UserError(advice.to_owned()).into());
            }
            replay(&found, &args).await
        }
    }
}

async fn list(found: &Found, filter: &Filter) -> anyhow::Result<()> {
    let sql = format!(
        "SELECT source, reason, event_name, count(*) AS letters, sum(CASE WHEN replayable THEN 1 ELSE 0 END) AS replayable, \
         max(detail) AS for_example, max(ingest_date) AS last_day \
         FROM open_dead_letters WHERE {} GROUP BY source, reason, event_name ORDER BY letters DESC, source, reason, event_name",
        filter.sql()
    );
    let printed = found.asker.ask(&sql, Format::Table).await?;
    std::io::stdout().write_all(&printed.text)?;
    Ok(())
}

async fn export(found: &Found, filter: &Filter) -> anyhow::Result<()> {
    let mut pages = Pages::default();
    let mut out = std::io::stdout().lock();
    loop {
        let rows = pages.next(found, filter).await?;
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            if writeln!(out, "{}", Value::from(row.clone())).is_err() {
                return Ok(());
            }
        }
    }
}

/// What of a row the door needs; the rest is for whoever reads it.
const LETTER: &[&str] =
    &["from", "source", "event_id", "ingest_time_us", "request", "payload", "user_agent", "ip_truncated"];

/// The open letters that can be replayed, in the order of the log, some at a time.
#[derive(Default)]
struct Pages {
    /// What holds of those that were not had yet.
    after: Option<String>,
}

impl Pages {
    /// None when there are no more.
    async fn next(&mut self, found: &Found, filter: &Filter) -> anyhow::Result<Vec<Map<String, Value>>> {
        let printed = found.asker.ask(&page_sql(filter, self), Format::Json).await?;
        let rows: Vec<Map<String, Value>> =
            serde_json::from_slice(&printed.text).context("the server's answer is no list of rows")?;
        match rows.last() {
            Some(last) => self.after = Some(beyond(last)?),
            None if printed.truncated => bail!(
                "the server cuts its answers short of one row: raise query.rows_max or query.answer_bytes_max there"
            ),
            None => {}
        }
        Ok(rows)
    }
}

fn page_sql(filter: &Filter, pages: &Pages) -> String {
    format!(
        "SELECT log_topic || '/' || CAST(log_partition AS VARCHAR) || '/' || CAST(log_offset AS VARCHAR) AS \"from\", \
         source, event_id, ingest_time_us, request, payload, user_agent, ip_truncated, \
         reason, detail, event_name, log_topic, log_partition, log_offset \
         FROM open_dead_letters WHERE replayable AND {} AND {} \
         ORDER BY log_topic, log_partition, log_offset LIMIT {PAGE_ROWS}",
        filter.sql(),
        pages.after.as_deref().unwrap_or("true")
    )
}

/// What holds of the letters after `last`.
fn beyond(last: &Map<String, Value>) -> anyhow::Result<String> {
    let number = |name: &str| last.get(name).and_then(Value::as_i64).context("a row without its position");
    let topic = last.get("log_topic").and_then(Value::as_str).context("a row without its topic")?.replace('\'', "''");
    let (partition, offset) = (number("log_partition")?, number("log_offset")?);
    Ok(format!(
        "(log_topic > '{topic}' OR (log_topic = '{topic}' AND (log_partition > {partition} OR (log_partition = {partition} AND \
         log_offset > {offset}))))"
    ))
}

/// What became of letters so far.
#[derive(Default)]
struct Outcome {
    letters: usize,
    events: u64,
    /// Letters that still cannot be read, by the reason that is told of them.
    left: BTreeMap<String, Vec<String>>,
}

async fn replay(found: &Found, args: &ReplayArgs) -> anyhow::Result<()> {
    let door = match &args.door {
        Some(url) => http::address(url)?,
        None => found.url.clone(),
    };
    http::keep_secret(&door, args.server.insecure_http)?;
    let client = http::client_for(&door, REQUEST_TIME_MAX)?;
    let mut outcome = Outcome::default();
    if let Some(file) = &args.file {
        let reader = std::io::BufReader::new(
            std::fs::File::open(file).map_err(|error| UserError(format!("{}: {error}", file.display())))?,
        );
        let mut rows = Vec::new();
        for (index, line) in reader.lines().enumerate() {
            let line = line?;
            if line.trim().is_empty() {
                continue;
            }
            let row = serde_json::from_str(&line)
                .map_err(|error| UserError(format!("{}, line {}: {error}", file.display(), index + 1)))?;
            rows.push(row);
            if rows.len() == LETTERS_MAX {
                send(&client, &door, found, std::mem::take(&mut rows), args.dry_run, &mut outcome).await?;
            }
        }
        send(&client, &door, found, rows, args.dry_run, &mut outcome).await?;
    } else {
        let mut pages = Pages::default();
        loop {
            let rows = pages.next(found, &args.filter).await?;
            if rows.is_empty() {
                break;
            }
            send(&client, &door, found, rows, args.dry_run, &mut outcome).await?;
        }
    }
    tell(&outcome, args.dry_run);
    anyhow::ensure!(
        outcome.left.is_empty(),
        "some letters still cannot be taken: mend what is told above and run it again"
    );
    Ok(())
}

/// Sends letters, no more at once than a request may hold.
async fn send(
    client: &reqwest::Client,
    door: &str,
    found: &Found,
    rows: Vec<Map<String, Value>>,
    dry_run: bool,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for mut row in rows {
        row.retain(|name, value| LETTER.contains(&name.as_str()) && !value.is_null());
        // As it is sent: quotes and line ends in a payload are twice as long there.
        let size = Value::from(row.clone()).to_string().len();
        if (BYTES_MAX < bytes + size || batch.len() == LETTERS_MAX) && !batch.is_empty() {
            send_batch(client, door, found, std::mem::take(&mut batch), dry_run, outcome).await?;
            bytes = 0;
        }
        bytes += size;
        batch.push(row);
    }
    send_batch(client, door, found, batch, dry_run, outcome).await
}

async fn send_batch(
    client: &reqwest::Client,
    door: &str,
    found: &Found,
    mut letters: Vec<Map<String, Value>>,
    dry_run: bool,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let mut tries = 0;
    while !letters.is_empty() {
        let body = json!({"letters": letters, "dry_run": dry_run}).to_string();
        let request = client.post(format!("{door}/v1/dead-letters/replay")).bearer_auth(&found.token);
        let answer = request.body(body).send().await.map_err(|error| http::no_answer(door, &error))?;
        let status = answer.status();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
        tries += 1;
        if status.is_server_error() && tries < TRIES_MAX {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let said = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("nothing more").to_owned();
        if !status.is_success() {
            return Err(UserError(format!("{door} answers {status}: {}; {}", said("error"), said("advice"))).into());
        }
        let results = told.get("results").and_then(Value::as_array).context("the door tells no results")?;
        let mut again = Vec::new();
        for (letter, result) in letters.into_iter().zip(results) {
            let text = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
            match text("result") {
                "retry" if tries < TRIES_MAX => again.push(letter),
                "ok" => {
                    outcome.letters += 1;
                    outcome.events += result.get("events").and_then(Value::as_u64).unwrap_or(0);
                }
                _ => outcome.left.entry(text("details").to_owned()).or_default().push(text("from").to_owned()),
            }
        }
        letters = again;
        if !letters.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

fn tell(outcome: &Outcome, dry_run: bool) {
    let would = if dry_run { "would become" } else { "became" };
    let count = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    println!("{} {would} {}", count(outcome.letters as u64, "letter"), count(outcome.events, "event"));
    let left: usize = outcome.left.values().map(Vec::len).sum();
    if left == 0 {
        return;
    }
    println!("{left} still cannot be taken:");
    for (why, letters) in outcome.left.iter().take(TOLD_MAX) {
        println!("  {} x {why}; first {}", letters.len(), letters[0]);
    }
    if TOLD_MAX < outcome.left.len() {
        println!("  and {} other reasons", outcome.left.len() - TOLD_MAX);
    }
}

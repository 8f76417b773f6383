//! `tributary tail`: what comes in at the door of a running server, as it comes.
//!
//! In:      a server, and what to let pass.
//! Out:     one line a record, for people or as JSON.
//! Promise: it ends when the server does or when it is interrupted; it says so when it was too slow and missed some.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::UserError;
use crate::http;
use crate::server::ServerArgs;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only what this source sends
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only what comes by this protocol: segment, posthog, native ...
    #[arg(long, value_name = "NAME")]
    dialect: Option<String>,
    /// Only events of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only events of this kind: page, click, conversion ...
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Only events of this anonymous, user or account id
    #[arg(long, value_name = "ID")]
    person: Option<String>,
    /// Only what could not become an event
    #[arg(long)]
    dead: bool,
    /// End after so many
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// A server that says nothing at all for so long is gone: it sends a sign of life every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn command(
    args: TailArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let (url, settings) = args.server.find(load).await?;
    let of_settings =
        settings.as_ref().and_then(|settings| settings.ingest.watch_tokens.first().or(settings.query.tokens.first()));
    let token = args.server.token.or_else(|| of_settings.cloned());
    http::keep_secret(&url, args.server.insecure_http)?;
    let Some(token) = token else {
        return Err(
            UserError(
                "a server asks for a token: give it with --token or in TRIBUTARY_SQL_TOKEN (without --url it is taken from the \
                 data folder of the server)"
                    .to_owned(),
            ).into()
        );
    };
    let mut query: Vec<(&str, &str)> = [
        ("source", &args.source),
        ("dialect", &args.dialect),
        ("name", &args.name),
        ("kind", &args.kind),
        ("person", &args.person),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect();
    if args.dead {
        query.push(("dead", "true"));
    }
    let address =
        reqwest::Url::parse_with_params(&format!("{url}/v1/tail"), query).context("the address of the server")?;
    // It lasts as long as it lasts: silence is what is bounded.
    let client = http::client_for(&url, Duration::from_secs(366 * 24 * 3_600))?;
    let request = client.get(address).bearer_auth(token);
    let mut answer = request.send().await.map_err(|error| http::no_answer(&url, &error))?;
    if !answer.status().is_success() {
        let status = answer.status();
        let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
        let said = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("nothing more").to_owned();
        return Err(UserError(format!("{url} answers {status}: {}; {}", said("error"), said("advice"))).into());
    }
    if !args.json {
        eprintln!("watching {url}; end with Ctrl-C");
    }
    let mut left = args.count.unwrap_or(usize::MAX);
    let mut waiting = Vec::new();
    let mut kind = String::new();
    while 0 < left {
        let chunk = match tokio::time::timeout(SILENCE_MAX, answer.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => bail!("{url}: the connection broke off: {error}"),
            Err(_) => bail!("{url} says nothing any more"),
        };
        waiting.extend_from_slice(&chunk);
        while let Some(end) = waiting.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = waiting.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            match line.trim_end().split_once(": ") {
                Some(("event", name)) => name.clone_into(&mut kind),
                Some(("data", data)) if kind == "missed" => eprintln!("too slow: {data} records were not shown"),
                Some(("data", data)) => {
                    let shown = if args.json { data.to_owned() } else { for_people(&kind, data) };
                    // Whoever reads has gone: that is an end like any other.
                    if writeln!(std::io::stdout(), "{shown}").is_err() {
                        return Ok(());
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn for_people(kind: &str, data: &str) -> String {
    let record: Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let time_us = record.get("ingest_time_us").and_then(Value::as_i64).unwrap_or_default();
    let time = Timestamp::from_microsecond(time_us).map(|time| format!("{time:.3}")).unwrap_or_default();
    if kind == "dead_letter" {
        return format!("{time}  DEAD  {}/{}  {}: {}", text("source"), text("dialect"), text("reason"), text("detail"));
    }
    let person = ["user_id", "anonymous_id"].iter().map(|name| text(name)).find(|id| !id.is_empty()).unwrap_or("-");
    let mut line = format!(
        "{time}  {}/{}  {} ({})  {person}",
        text("source"),
        text("dialect"),
        text("event_name"),
        text("event_kind")
    );
    for (name, before) in [("url_path", "  "), ("campaign_id", "  campaign "), ("value", "  "), ("currency", " ")] {
        if !text(name).is_empty() {
            line.push_str(before);
            line.push_str(text(name));
        }
    }
    let warnings = record.get("warnings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if let Some(first) = warnings.first().and_then(Value::as_str) {
        line.push_str("  WARNING ");
        line.push_str(first);
        if 1 < warnings.len() {
            line.push_str(&format!(" (and {} more)", warnings.len() - 1));
        }
    }
    line
}

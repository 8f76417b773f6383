//! Whom we ask: a lake in a folder, or a server.
//!
//! In:      SQL and a format.
//! Out:     the answer as text.
//! Promise: both give the same text for the same answer, but for the frame of tables.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use serde_json::value::RawValue;
use tributary_lake::Lake;
use tributary_query::{Engine, render};

use super::Format;
use crate::cli::UserError;
use crate::http;
use crate::settings::Settings;

pub(crate) enum Asker {
    Folder(Box<Engine>),
    Server { client: reqwest::Client, url: String, token: String },
}

pub(crate) struct Printed {
    pub(crate) text: Vec<u8>,
    pub(crate) truncated: bool,
    pub(crate) elapsed: Duration,
}

/// The server stops a question long before this; a server that is gone is noticed in the end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Said when an answer was cut off.
pub(crate) const TRUNCATED: &str =
    "these are the first rows only; ask for fewer with LIMIT or GROUP BY, or raise query.rows_max";

impl Asker {
    /// Reads the tables as they stand in the folder; a server may be writing them meanwhile.
    pub(crate) async fn folder(settings: &Settings) -> anyhow::Result<Self> {
        let url = &settings.lake.url;
        let path = url.strip_prefix("file://").unwrap_or(url);
        if !std::path::Path::new(path).is_dir() {
            return Err(UserError(format!(
                "there is no lake in {path}; name its data folder with --data DIR, ask a server with --url, or make \
                 data to look at with `tributary demo`"
            ))
            .into());
        }
        let lake = Lake::open(settings.lake.clone()).await?;
        Ok(Self::Folder(Box::new(Engine::new(settings.query.clone(), lake)?)))
    }

    pub(crate) fn server(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let Some(token) = token else {
            let advice = "a server asks for a token: give it with --token or in TRIBUTARY_SQL_TOKEN; on the server it \
                          stands in keys.toml in its data folder, or in its settings";
            return Err(UserError(advice.to_owned()).into());
        };
        if !url.starts_with("http://") {
            return Err(UserError(format!("{url:?} is no address of a server; write http://HOST:PORT")).into());
        }
        let url = format!("{}/v1/sql", url.trim_end_matches('/'));
        Ok(Self::Server { client: http::client_for(&url, ANSWER_TIME_MAX)?, url, token })
    }

    pub(crate) async fn ask(&self, sql: &str, format: Format) -> anyhow::Result<Printed> {
        let begun = Instant::now();
        match self {
            Self::Folder(engine) => {
                let answer = engine.query(sql).await.map_err(|error| anyhow!("{error}\n{}", error.advice().words()))?;
                let mut text = Vec::new();
                match format {
                    Format::Table => text = render::table(&answer)?.into_bytes(),
                    Format::Csv => render::csv(&answer, &mut text)?,
                    Format::Json => {
                        render::json(&answer, &mut text)?;
                        text.push(b'\n');
                    }
                }
                Ok(Printed { text, truncated: answer.truncated, elapsed: begun.elapsed() })
            }
            Self::Server { client, url, token } => {
                let wire_format = if format == Format::Csv { "csv" } else { "json" };
                let question = serde_json::json!({"sql": sql, "format": wire_format}).to_string();
                let request = client.post(url).bearer_auth(token).header("content-type", "application/json");
                let response = request.body(question).send().await.with_context(|| format!("{url} does not answer"))?;
                let status = response.status();
                let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
                let truncated = header("x-tributary-truncated").is_some_and(|value| value == "true");
                let body = response.bytes().await.context("the answer broke off; ask again")?;
                if !status.is_success() {
                    bail!("{}", refusal(status.as_u16(), &body));
                }
                if format == Format::Csv {
                    return Ok(Printed { text: body.to_vec(), truncated, elapsed: begun.elapsed() });
                }
                let answer: WireAnswer<'_> = serde_json::from_slice(&body).context("the answer is not one of ours")?;
                let text = match format {
                    Format::Table => {
                        let plural = if answer.row_count == 1 { "row" } else { "rows" };
                        let elapsed_s = begun.elapsed().as_secs_f64();
                        format!("{}{} {plural} in {elapsed_s:.3} s\n", table(&answer)?, answer.row_count)
                    }
                    _ => format!("{}\n", answer.rows.get()),
                };
                Ok(Printed { text: text.into_bytes(), truncated: answer.truncated, elapsed: begun.elapsed() })
            }
        }
    }
}

/// A server's answer; the rows stay as they came, with their columns in the order asked for.
#[derive(serde::Deserialize)]
struct WireAnswer<'b> {
    columns: Vec<WireColumn>,
    #[serde(borrow)]
    rows: &'b RawValue,
    row_count: usize,
    truncated: bool,
}

#[derive(serde::Deserialize)]
struct WireColumn {
    name: String,
}

fn refusal(status: u16, body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match (answer["error"].as_str(), answer["advice"].as_str()) {
        (Some(error), Some(advice)) => format!("{error}\n{advice}"),
        (Some(error), None) => error.to_owned(),
        _ => format!("the server answers {status}; is it a Tributary server?"),
    }
}

fn table(answer: &WireAnswer<'_>) -> anyhow::Result<String> {
    let rows: Vec<Value> = serde_json::from_str(answer.rows.get()).context("the rows of the answer are not JSON")?;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_FULL_CONDENSED);
    table.set_header(answer.columns.iter().map(|column| column.name.as_str()));
    for row in &rows {
        table.add_row(answer.columns.iter().map(|column| match &row[&column.name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
    }
    Ok(format!("{table}\n"))
}

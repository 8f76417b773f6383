//! Whom we ask: a lake in a folder, or a server.
//!
//! In:      SQL and a format.
//! Out:     the answer as text; from a folder also row by row, however many there are.
//! Promise: both give the same text for the same answer, but for the time it took.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::TryStreamExt;
use serde_json::Value;
use serde_json::value::RawValue;
use tributary_lake::Lake;
use tributary_query::{Answer, Engine, FACTS_HEADER, Facts, QueryError, render};

use super::Format;
use crate::cli::UserError;
use crate::definitions;
use crate::http;
use crate::ops;
use crate::settings::Settings;

pub(crate) enum Asker {
    Folder(Box<Folder>),
    Server(Server),
}

/// A folder, and who asks: for live tables the server that runs on it, if one does.
pub(crate) struct Folder {
    pub(crate) engine: Engine,
    settings: Settings,
    token: Option<String>,
}

pub(crate) struct Server {
    client: reqwest::Client,
    url: String,
    token: String,
}

pub(crate) struct Printed {
    pub(crate) text: Vec<u8>,
    /// Names that no event bears, where the text has no place for them: a table tells them below itself.
    pub(crate) notes: Vec<String>,
    pub(crate) row_count: usize,
    pub(crate) truncated: bool,
    pub(crate) elapsed: Duration,
}

/// The server stops a question long before this; a server that is gone is noticed in the end.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3_600);

/// Said when an answer was cut off.
pub(crate) const TRUNCATED: &str = "these are the first rows only; ask for fewer with LIMIT or GROUP BY, raise \
                                    query.rows_max, or have all of them from the folder: tributary sql --data DIR \
                                    --format csv QUERY";

impl Asker {
    /// Reads the tables as they stand in the folder; a server may be writing them meanwhile.
    ///
    /// * `token`: for that server; by default the first of the folder's.
    pub(crate) async fn folder(settings: Settings, token: Option<String>) -> anyhow::Result<Self> {
        let url = &settings.lake.url;
        // Opening a lake makes the tables that are missing: a slip in the path must not make them just anywhere.
        let is_lake = Lake::is_there(&settings.lake).await?;
        if !is_lake {
            return Err(UserError(format!(
                "there is no lake in {url}; name its data folder with --data DIR, ask a server with --url, or make \
                 data to look at with `tributary demo`"
            ))
            .into());
        }
        let lake = Lake::open(settings.lake.clone()).await?;
        let engine = Engine::new(settings.query.clone(), lake).map_err(definitions::told)?;
        let token = token.or_else(|| settings.query.tokens.first().cloned());
        Ok(Self::Folder(Box::new(Folder { engine, settings, token })))
    }

    pub(crate) fn server(url: &str, token: Option<String>, insecure_http: bool) -> anyhow::Result<Self> {
        Ok(Self::Server(Server::at(url, token, insecure_http)?))
    }

    /// The answer, cut off at the limits of whoever is asked.
    pub(crate) async fn ask(&self, sql: &str, format: Format) -> anyhow::Result<Printed> {
        match self {
            Self::Folder(folder) if is_live(sql) => folder.server().await?.ask(sql, format).await,
            Self::Folder(folder) => folder.ask(sql, format).await,
            Self::Server(server) => server.ask(sql, format).await,
        }
    }
}

/// Whether a question needs the tail of the log, which only a running server has.
pub(crate) fn is_live(sql: &str) -> bool {
    tributary_query::live::names_a_live_table(sql)
}

impl Folder {
    /// The server that runs on this folder.
    async fn server(&self) -> anyhow::Result<Server> {
        let url = ops::running(&self.settings).await.ok_or_else(|| {
            UserError(format!(
                "live tables are told by a running server, and none runs on {}; start one with `tributary serve`, name one \
                 with --url and --token, or ask for the same table without _live",
                self.settings.serve.data_dir.display()
            ))
        })?;
        Server::at(&url, self.token.clone(), false)
    }

    async fn ask(&self, sql: &str, format: Format) -> anyhow::Result<Printed> {
        let begun = Instant::now();
        let answer = self.engine.query(sql).await.map_err(told)?;
        let mut text = Vec::new();
        match format {
            Format::Table => text = render::table(&answer)?.into_bytes(),
            Format::Csv => render::csv(&answer, &mut text)?,
            Format::Json => {
                render::json(&answer, &mut text)?;
                text.push(b'\n');
            }
        }
        let (row_count, truncated) = (answer.row_count(), answer.truncated);
        let notes = if format == Format::Table { Vec::new() } else { answer.facts.notes };
        Ok(Printed { text, notes, row_count, truncated, elapsed: begun.elapsed() })
    }
}

impl Server {
    fn at(url: &str, token: Option<String>, insecure_http: bool) -> anyhow::Result<Self> {
        let url = http::address(url)?;
        http::keep_secret(&url, insecure_http)?;
        let Some(token) = token else {
            let advice = "a server asks for a token: give it with --token or in TRIBUTARY_SQL_TOKEN; on the server it \
                          stands in keys.toml in its data folder, or in its settings";
            return Err(UserError(advice.to_owned()).into());
        };
        let url = format!("{url}/v1/sql");
        Ok(Self { client: http::client_for(&url, ANSWER_TIME_MAX)?, url, token })
    }

    async fn ask(&self, sql: &str, format: Format) -> anyhow::Result<Printed> {
        let begun = Instant::now();
        let Self { client, url, token } = self;
        // A table is laid out here, from CSV, where every amount is the text it is: JSON would be read as floats.
        let wire_format = if format == Format::Json { "json" } else { "csv" };
        let question = serde_json::json!({"sql": sql, "format": wire_format}).to_string();
        let request = client.post(url).bearer_auth(token).header("content-type", "application/json");
        let response = request.body(question).send().await.map_err(|error| http::no_answer(url, &error))?;
        let status = response.status();
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let truncated = header("x-tributary-truncated").map(|value| value == "true");
        let row_count = header("x-tributary-row-count").and_then(|value| value.parse().ok());
        // A server of an older version says none.
        let facts = header(FACTS_HEADER).and_then(|value| Facts::from_header(&value).ok()).unwrap_or_default();
        let body = response.bytes().await.context("the answer broke off; ask again")?;
        if !status.is_success() {
            bail!("{}", refusal(status.as_u16(), &body));
        }
        let elapsed = begun.elapsed();
        if format == Format::Json {
            let answer: WireAnswer<'_> = serde_json::from_slice(&body).context(NOT_OURS)?;
            let text = format!("{}\n", answer.rows.get()).into_bytes();
            let WireAnswer { row_count, truncated, facts, .. } = answer;
            return Ok(Printed { text, notes: facts.notes, row_count, truncated, elapsed });
        }
        let (Some(row_count), Some(truncated)) = (row_count, truncated) else { bail!(NOT_OURS) };
        let (text, notes) = match format {
            Format::Table => {
                let table = render::table(&answer_of_csv(&body, facts, truncated, elapsed)?)?;
                (table.into_bytes(), Vec::new())
            }
            _ => (body.to_vec(), facts.notes),
        };
        Ok(Printed { text, notes, row_count, truncated, elapsed })
    }
}

/// Every row of an answer as CSV or as a JSON array, written as they come.
///
/// * Returns its notes.
pub(crate) async fn stream(
    engine: &Engine,
    sql: &str,
    format: Format,
    mut out: impl Write,
) -> anyhow::Result<Vec<String>> {
    let mut answer = engine.query_stream(sql).await.map_err(told)?;
    if format == Format::Csv {
        let mut writer = render::CsvWriter::new(&mut out, &answer.schema());
        while let Some(batch) = answer.try_next().await.map_err(told)? {
            writer.write(&batch)?;
        }
        writer.finish()?;
    } else {
        let mut writer = render::JsonArrayWriter::new(&mut out);
        while let Some(batch) = answer.try_next().await.map_err(told)? {
            writer.write(&batch)?;
        }
        writer.finish()?;
        out.write_all(b"\n")?;
    }
    Ok(answer.facts().notes)
}

fn told(error: QueryError) -> anyhow::Error {
    anyhow!("{error}\n{}", error.advice().words())
}

/// A server's answer in JSON; the rows stay as they came.
#[derive(serde::Deserialize)]
struct WireAnswer<'b> {
    #[serde(borrow)]
    rows: &'b RawValue,
    row_count: usize,
    truncated: bool,
    /// A server of an older version says none.
    #[serde(default)]
    facts: Facts,
}

const NOT_OURS: &str = "the answer is not one of ours; is it a Tributary server?";

fn refusal(status: u16, body: &[u8]) -> String {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    match (answer["error"].as_str(), answer["advice"].as_str()) {
        (Some(error), Some(advice)) => format!("{error}\n{advice}"),
        (Some(error), None) => error.to_owned(),
        _ => format!("the server answers {status}; is it a Tributary server?"),
    }
}

/// The same answer with every cell as the text it has in CSV, which is the text it has in a table.
fn answer_of_csv(body: &[u8], facts: Facts, truncated: bool, elapsed: Duration) -> anyhow::Result<Answer> {
    let mut records = csv::ReaderBuilder::new().has_headers(false).from_reader(body).into_records();
    let names = records.next().context(NOT_OURS)?.context(NOT_OURS)?;
    let mut columns = vec![Vec::new(); names.len()];
    for record in records {
        let record = record.context(NOT_OURS)?;
        for (column, cell) in columns.iter_mut().zip(&record) {
            column.push(cell.to_owned());
        }
    }
    let fields: Vec<Field> = names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
    let batches = vec![RecordBatch::try_new(schema.clone(), columns)?];
    Ok(Answer { schema, batches, elapsed, versions: Vec::new(), live_positions: None, facts, truncated })
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Date32Array, Decimal128Array, Float64Array, ListArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Money no float holds, columns of one name (which our engine asks to name apart), NULL beside empty text, quotes,
    /// line ends, a nested column.
    fn answer() -> Answer {
        let money = Decimal128Array::from(vec![Some(123_456_789_012_000_001), None, Some(12_500_000)]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("channel", Arc::new(StringArray::from(vec![Some("email, \"new\""), None, Some("")]))),
            ("channel", Arc::new(StringArray::from(vec![Some("two\nlines"), Some("search"), None]))),
            ("value", Arc::new(money.with_precision_and_scale(18, 6).unwrap())),
            ("rate", Arc::new(Float64Array::from(vec![Some(0.1), Some(1e300), None]))),
            ("won", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(20_513), None, Some(0)]))),
            (
                "parts",
                Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
                    Some(vec![Some(1), None]),
                    Some(vec![]),
                    None,
                ])),
            ),
        ];
        answer_with(columns)
    }

    fn answer_with(columns: Vec<(&str, ArrayRef)>) -> Answer {
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        let schema = Arc::new(Schema::new(fields));
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batches = vec![RecordBatch::try_new(schema.clone(), columns).unwrap()];
        Answer {
            schema,
            batches,
            elapsed: Duration::from_millis(12),
            versions: Vec::new(),
            live_positions: None,
            facts: Facts::default(),
            truncated: false,
        }
    }

    #[test]
    fn a_table_laid_out_from_csv_is_the_table_of_the_values() {
        let one_column = answer_with(vec![("name", Arc::new(StringArray::from(vec![Some(""), None, Some("x")])))]);
        let no_rows = Answer { batches: Vec::new(), truncated: true, ..answer() };
        for answer in [answer(), one_column, no_rows] {
            let mut wire = Vec::new();
            render::csv(&answer, &mut wire).unwrap();
            let laid_out = answer_of_csv(&wire, Facts::default(), answer.truncated, answer.elapsed).unwrap();
            assert_eq!(render::table(&laid_out).unwrap(), render::table(&answer).unwrap());
        }
    }

    #[test]
    fn what_is_not_our_csv_is_told() {
        for body in ["", "a,b\n1\n"] {
            assert!(answer_of_csv(body.as_bytes(), Facts::default(), false, Duration::ZERO).is_err(), "{body:?}");
        }
    }
}

//! `POST /v1/sql` (`/v1/query/sql` too), `POST /v1/query/FUNCTION`: questions over HTTP.
//!
//! In:       `{"sql": "...", "format": "json"}`, or the SQL as plain text with `?format=csv`; for a function, its arguments as
//!           a JSON object (`ask.rs`); a token. Formats: json, csv, ndjson, arrow (an IPC stream), parquet; by `format` or
//!           by `Accept`.
//! Out:      200 with the answer: JSON `{columns, rows, row_count, truncated, elapsed_ms, versions, live_positions, facts}`, or
//!           another format with the same in headers `x-tributary-...`. Else `{"error", "advice"}` with
//!           400 the question is wrong · 401 no such token · 403 not for this access · 408 over its time · 413 the text is too long ·
//!           429 too often for this access · 422 needs more memory than allowed · 503 too many questions, or the lake is away · 500 ours.
//!           `POST /v1/live/tail` for other processes of ours: what the stream job of this one has and their snapshots lack,
//!           as `live::encode` writes it; 409 if they must pin anew, 503 if it cannot be asked.
//! Promise:  nothing is looked at before the token; tokens are compared without a hint of how much of one was right.
//! Not here: what may be asked (`statement.rs`), and seen (`access`).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::access::Asker;
use crate::answer::Answer;
use crate::ask;
use crate::engine::Engine;
use crate::error::{Advice, QueryError};
use crate::facts::{FACTS_HEADER, Facts};
use crate::live::{self, LiveAsked, LiveFault};
use crate::page;
use crate::question::{Face, Question};
use crate::receipt;
use crate::render;

/// The routes, for the binary to mount.
pub fn router(engine: Arc<Engine>) -> Router {
    // In JSON a byte of text takes up to six (\u001b); the rest of the object is small. The exact bound is the
    // engine's.
    let body_bytes_max = engine.settings().sql_bytes_max.saturating_mul(6).saturating_add(1_024);
    Router::new()
        .route("/v1/sql", post(sql))
        .route("/v1/query/sql", post(sql))
        .route("/v1/query", get(functions))
        .route("/v1/metrics", get(definitions))
        .route("/v1/query/{function}", post(function))
        .route("/v1/receipts/{event_id}", get(receipt::receipt))
        .layer(DefaultBodyLimit::max(body_bytes_max))
        // Around this route only: a layer around the router would answer for paths that are not there, too.
        .route_layer(from_fn_with_state(Arc::clone(&engine), authorize))
        .with_state(engine)
        // It says nothing that is anybody's, so it wants no token.
        .merge(page::router())
}

/// The route by which other processes ask for the tail, for the binary to mount where there is a stream job.
pub fn live_router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route(live::PATH, post(live_tail))
        .layer(DefaultBodyLimit::max(LIVE_ASKED_BYTES_MAX))
        .route_layer(from_fn(only_who_sees_all))
        .route_layer(from_fn_with_state(Arc::clone(&engine), authorize))
        .with_state(engine)
}

/// Two positions a partition, each some 70 bytes: thousands of partitions.
const LIVE_ASKED_BYTES_MAX: usize = 1 << 20;

/// The tail is rows as they are.
async fn only_who_sees_all(Extension(asker): Extension<Asker>, request: Request, next: Next) -> Response {
    if asker.sees_all() {
        return next.run(request).await;
    }
    let told = format!("the access {} may not see the tail as it is", asker.name());
    refusal(
        StatusCode::FORBIDDEN,
        &told,
        "processes know one another by the first of query.tokens; ask for events_live",
    )
}

async fn live_tail(State(engine): State<Arc<Engine>>, body: Bytes) -> Response {
    let asked: LiveAsked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let advice = "both processes must be of one version";
            return refusal(StatusCode::BAD_REQUEST, &format!("the positions cannot be read: {error}"), advice);
        }
    };
    let Some(own) = engine.live().own.clone() else {
        let advice = "name a process with the role pipeline in query.live_urls";
        return refusal(StatusCode::NOT_FOUND, "this process has no stream job", advice);
    };
    let rows = match own.tail(&asked).await {
        Ok(rows) => rows,
        Err(LiveFault::PinAnew) => return refusal(StatusCode::CONFLICT, "other snapshots are needed", "pin anew"),
        Err(LiveFault::Away(reason)) => {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &reason, Advice::Retry.words());
        }
    };
    match engine.compute(move || live::encode(&rows)).await {
        Some(Ok(bytes)) => ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Some(Err(error)) => fault(&QueryError::broke(&error.to_string())),
        None => fault(&QueryError::broke("the writing of the tail broke")),
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Csv,
    Ndjson,
    Arrow,
    Parquet,
}

impl Format {
    /// By its name, and as others call it.
    const NAMED: [(&str, &str, Self); 5] = [
        ("json", "application/json", Self::Json),
        ("csv", "text/csv", Self::Csv),
        ("ndjson", "application/x-ndjson", Self::Ndjson),
        ("arrow", "application/vnd.apache.arrow.stream", Self::Arrow),
        ("parquet", "application/vnd.apache.parquet", Self::Parquet),
    ];

    /// The one asked for by name, else by the media type that `Accept` names first, if any.
    fn asked(parameters: &Parameters, headers: &HeaderMap) -> Result<Option<Self>, String> {
        if let Some(name) = &parameters.format {
            let known = Self::NAMED.iter().find(|(known, ..)| known == name);
            let names = || Self::NAMED.map(|(name, ..)| name).join(", ");
            return known
                .map(|(.., format)| Some(*format))
                .ok_or_else(|| format!("format {name:?} is not known: {}", names()));
        }
        let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let types = accepted.split(',').map(|one| one.split(';').next().unwrap_or_default().trim());
        let format = types.filter_map(|one| Self::NAMED.iter().find(|(_, media, _)| *media == one)).next();
        Ok(format.map(|(.., format)| *format))
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            _ => Self::NAMED
                .iter()
                .find(|(.., format)| *format == self)
                .map_or("application/json", |(_, media, _)| media),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    sql: String,
    format: Option<Format>,
}

#[derive(Debug, Deserialize)]
struct Parameters {
    format: Option<String>,
}

async fn authorize(State(engine): State<Arc<Engine>>, mut request: Request, next: Next) -> Response {
    if !engine.has_tokens() {
        let advice = "set query.tokens on the server: rows are about people, so nobody may ask without one";
        return refusal(StatusCode::UNAUTHORIZED, "this server has no tokens", advice);
    }
    let given = bearer(request.headers()).unwrap_or_default();
    if let Some(asker) = engine.asker(given) {
        request.extensions_mut().insert(asker);
        return next.run(request).await;
    }
    let (what, advice) = match given {
        "" => ("no token was sent", "send the header: Authorization: Bearer <token>"),
        _ => (
            "no such token",
            "take one of query.tokens or query.access; the first start wrote one (sql_...) into keys.toml",
        ),
    };
    let mut response = refusal(StatusCode::UNAUTHORIZED, what, advice);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The whole body, or the answer to one that is too long or breaks off.
fn whole(engine: &Engine, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Box<Response>> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_long(engine).into(),
        status => refusal(status, &rejection.body_text(), "send the request again").into(),
    })
}

fn of_address(parameters: Result<Query<Parameters>, QueryRejection>) -> Result<Parameters, String> {
    parameters.map(|Query(parameters)| parameters).map_err(|rejection| rejection.body_text())
}

async fn sql(
    State(engine): State<Arc<Engine>>,
    Extension(asker): Extension<Asker>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match whole(&engine, body) {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let question = match of_address(parameters).and_then(|parameters| read(&headers, &parameters, &body)) {
        Ok(question) => question,
        Err(reason) => {
            let advice = r#"send {"sql": "SELECT ...", "format": "json"}, or the SQL alone as text/plain"#;
            return refusal(StatusCode::BAD_REQUEST, &reason, advice);
        }
    };
    answer(&engine, asker, &question.sql, question.format.unwrap_or_default()).await
}

async fn functions() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], ask::functions().to_string()).into_response()
}

async fn definitions(State(engine): State<Arc<Engine>>, Extension(asker): Extension<Asker>) -> Response {
    match asked(&engine, asker, ask::DEFINITIONS).await {
        Ok(answer) => definitions_body(&answer).unwrap_or_else(unwritten),
        Err(error) => fault(&error),
    }
}

async fn function(
    State(engine): State<Arc<Engine>>,
    Extension(asker): Extension<Asker>,
    Path(name): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match whole(&engine, body) {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let read = || -> Result<(String, Format), String> {
        // No arguments are none: all have defaults.
        let arguments = if body.is_empty() { "{}".as_bytes() } else { &body };
        let arguments = serde_json::from_slice(arguments);
        let arguments = arguments.map_err(|error| format!("the arguments cannot be read as a JSON object: {error}"))?;
        let format = Format::asked(&of_address(parameters)?, &headers)?.unwrap_or_default();
        Ok((ask::call(&name, &arguments)?, format))
    };
    match read() {
        Ok((sql, format)) => answer(&engine, asker, &sql, format).await,
        Err(reason) => {
            refusal(StatusCode::BAD_REQUEST, &reason, "GET /v1/query tells all functions and their arguments")
        }
    }
}

/// The first rows of the answer, as `Engine::query_as` gives them.
async fn asked(engine: &Engine, asker: Asker, sql: &str) -> Result<Answer, QueryError> {
    engine.ask(Question::plain(asker, sql).by(Face::Http)).await?.collect().await
}

async fn answer(engine: &Arc<Engine>, asker: Asker, sql: &str, format: Format) -> Response {
    if engine.settings().sql_bytes_max < sql.len() {
        return too_long(engine);
    }
    // If the asker hangs up, axum drops this future and with it the work.
    match asked(engine, asker, sql).await {
        Ok(answer) => {
            // Megabytes of text are not written on the threads that take events in.
            let written = engine.compute(move || respond(&answer, format)).await;
            written.unwrap_or_else(|| fault(&QueryError::broke("the writing of the answer broke")))
        }
        Err(error) => fault(&error),
    }
}

fn read(headers: &HeaderMap, parameters: &Parameters, body: &[u8]) -> Result<Asked, String> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::asked(parameters, headers)?;
    // No SQL begins so, and most who forget the header have written JSON.
    if content_type.starts_with("application/json") || body.trim_ascii_start().starts_with(b"{") {
        let mut question: Asked =
            serde_json::from_slice(body).map_err(|error| format!("the body cannot be read as JSON: {error}"))?;
        question.format = question.format.or(format);
        return Ok(question);
    }
    let sql = std::str::from_utf8(body).map_err(|error| format!("the body is not UTF-8: {error}"))?;
    Ok(Asked { sql: sql.to_owned(), format })
}

fn respond(answer: &Answer, format: Format) -> Response {
    let rendered = match format {
        Format::Json => json_body(answer),
        format => plain_body(answer, format),
    };
    rendered.unwrap_or_else(unwritten)
}

type Unwritten = Box<dyn std::error::Error + Send + Sync>;

fn unwritten(error: Unwritten) -> Response {
    tracing::error!(%error, "an answer could not be written");
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written", Advice::Stop.words())
}

/// Its rows as a JSON array.
fn json_rows(answer: &Answer) -> Result<Box<RawValue>, Unwritten> {
    let mut rows = Vec::new();
    render::json(answer, &mut rows)?;
    Ok(RawValue::from_string(String::from_utf8(rows)?)?)
}

fn definitions_body(answer: &Answer) -> Result<Response, Unwritten> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        definitions: &'a RawValue,
        truncated: bool,
    }
    let rows = json_rows(answer)?;
    let body = Body { definitions: &rows, truncated: answer.truncated };
    Ok(([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&body)?).into_response())
}

fn json_body(answer: &Answer) -> Result<Response, Unwritten> {
    let rows = json_rows(answer)?;
    let columns: Vec<_> = answer
        .schema
        .fields()
        .iter()
        .map(|field| json!({"name": field.name(), "type": field.data_type().to_string()}))
        .collect();
    #[derive(serde::Serialize)]
    struct Body<'a> {
        columns: Vec<serde_json::Value>,
        rows: &'a RawValue,
        row_count: usize,
        truncated: bool,
        elapsed_ms: u128,
        versions: serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        live_positions: Option<&'a [(u32, u64)]>,
        facts: &'a Facts,
    }
    let body = Body {
        columns,
        rows: &rows,
        row_count: answer.row_count(),
        truncated: answer.truncated,
        elapsed_ms: answer.elapsed.as_millis(),
        versions: answer.versions.iter().map(|(table, version)| (table.name().to_owned(), json!(version))).collect(),
        live_positions: answer.live_positions.as_deref(),
        facts: &answer.facts,
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], serde_json::to_vec(&body)?).into_response())
}

/// As `live_positions` of a JSON answer: `[[partition, next offset], ...]`.
const LIVE_POSITIONS_HEADER: &str = "x-tributary-live-positions";

/// The answer alone, what is to be said of it in headers.
fn plain_body(answer: &Answer, format: Format) -> Result<Response, Unwritten> {
    let mut text = Vec::new();
    match format {
        Format::Csv => render::csv(answer, &mut text)?,
        Format::Arrow => render::arrow_stream(answer, &mut text)?,
        Format::Parquet => render::parquet(answer, &mut text)?,
        Format::Json | Format::Ndjson => render::ndjson(answer, &mut text)?,
    }
    let mut said = vec![
        (header::CONTENT_TYPE.as_str(), format.media_type().to_owned()),
        ("x-tributary-row-count", answer.row_count().to_string()),
        ("x-tributary-truncated", answer.truncated.to_string()),
        ("x-tributary-elapsed-ms", answer.elapsed.as_millis().to_string()),
        (FACTS_HEADER, answer.facts.header()?),
    ];
    if let Some(positions) = &answer.live_positions {
        said.push((LIVE_POSITIONS_HEADER, serde_json::to_string(positions)?));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in said {
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value)?);
    }
    Ok((headers, text).into_response())
}

pub(crate) fn fault(error: &QueryError) -> Response {
    let status = match error {
        QueryError::TimedOut { .. } => StatusCode::REQUEST_TIMEOUT,
        QueryError::OutOfMemory { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        QueryError::Forbidden { .. } => StatusCode::FORBIDDEN,
        QueryError::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => match error.advice() {
            Advice::FixInput => StatusCode::BAD_REQUEST,
            Advice::AskLess => StatusCode::UNPROCESSABLE_ENTITY,
            Advice::Retry => StatusCode::SERVICE_UNAVAILABLE,
            Advice::Stop => StatusCode::INTERNAL_SERVER_ERROR,
        },
    };
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        // Paths and settings of the server are for its log, not for who asks.
        tracing::error!(%error, "a question could not be answered");
        return refusal(status, "the question could not be answered", error.advice().words());
    }
    let mut response = refusal(status, &error.to_string(), error.advice().words());
    if let QueryError::TooOften { wait_s, .. } = error {
        response.headers_mut().insert(header::RETRY_AFTER, (*wait_s).into());
    }
    response
}

fn too_long(engine: &Engine) -> Response {
    let error = format!("the SQL text is longer than {} bytes (query.sql_bytes_max)", engine.settings().sql_bytes_max);
    refusal(StatusCode::PAYLOAD_TOO_LARGE, &error, "ask a shorter question")
}

pub(crate) fn refusal(status: StatusCode, error: &str, advice: &str) -> Response {
    let body = json!({"error": error, "advice": advice}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

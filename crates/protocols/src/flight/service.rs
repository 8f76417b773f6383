//! The calls of Flight SQL.
//!
//! In:       requests of a client that knows a token.
//! Out:      answers, batch by batch as the engine computes them.
//! Promise:  every question goes to the engine. A stream the client drops stops the work behind it.
//!
//! A ticket of a question holds its text, so that nothing need be kept between asking what an answer looks like and fetching it; the
//! tables may be newer by then. Neither a ticket nor a prepared statement holds a right: each is worked on as whoever shows it may see.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use bytes::Bytes;
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, VisitMut, VisitorMut};
use futures::StreamExt as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Request, Response};
use prost::Message;
use tokio::sync::OnceCell;
use tributary_query::{AnswerStream, Asker, Described, Dialect, Engine, Face, QueryError, Question, Relation};

use super::FlightSettings;
use super::catalog;
use super::grpc::{self, Answer, Messages, Requests, Status};
use super::ipc::{Reader, Writer, answer_schema, schema_bytes};
use super::proto::{
    Action, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, ActionResult, ActionType, Any,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, FlightData, FlightDescriptor,
    FlightEndpoint, FlightInfo, PutResult, SchemaResult, Ticket, TicketStatementQuery,
};
use super::statements::{Prepared, Statements};
use crate::postgres;

pub(super) struct Service {
    engine: Arc<Engine>,
    settings: FlightSettings,
    statements: Statements,
    relations: OnceCell<Vec<Relation>>,
}

const SERVICE: &str = "/arrow.flight.protocol.FlightService/";

impl Service {
    pub(super) fn new(engine: Arc<Engine>, settings: FlightSettings) -> Self {
        let statements = Statements::new(settings.statements_max, Duration::from_millis(settings.idle_ms_max));
        Self { engine, settings, statements, relations: OnceCell::new() }
    }

    /// One call, whatever it is.
    pub(super) async fn call(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        let (token, asker) = match self.authorized(request.headers()) {
            Ok(shown) => shown,
            Err(status) => {
                metrics::counter!("tributary_flight_refused_total").increment(1);
                return grpc::respond(grpc::one(Err(status)));
            }
        };
        let method = request.uri().path().strip_prefix(SERVICE).unwrap_or_default().to_owned();
        metrics::counter!("tributary_flight_calls_total", "method" => known(&method)).increment(1);
        let requests = Requests::new(request.into_body(), self.settings.message_bytes_max);
        let mut response = match self.answer(asker, &method, requests).await {
            Ok(messages) => grpc::respond(messages),
            Err(status) => grpc::respond(grpc::one(Err(status))),
        };
        // Who shows a token by name and password goes on with it alone.
        if method == "Handshake"
            && let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            response.headers_mut().insert(AUTHORIZATION, value);
        }
        response
    }

    /// The token that was shown, as a bearer's or as a password, and whose it is.
    fn authorized(&self, headers: &HeaderMap) -> Result<(String, Asker), Status> {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (scheme, rest) = shown.split_once(' ').unwrap_or_default();
        let given = if scheme.eq_ignore_ascii_case("bearer") {
            rest.trim().to_owned()
        } else if scheme.eq_ignore_ascii_case("basic") {
            // Some clients leave the padding out.
            let decoded = BASE64_STANDARD.decode(rest).or_else(|_| BASE64_STANDARD_NO_PAD.decode(rest));
            let pair = decoded.ok().and_then(|pair| String::from_utf8(pair).ok()).unwrap_or_default();
            pair.split_once(':').map(|(_, password)| password.to_owned()).unwrap_or_default()
        } else {
            return Err(Status::unauthenticated("send authorization: Bearer <token>, or a token as password"));
        };
        match self.engine.asker(&given) {
            Some(asker) => Ok((given, asker)),
            None => Err(Status::unauthenticated("no such token")),
        }
    }

    async fn answer(self: Arc<Self>, asker: Asker, method: &str, mut requests: Requests) -> Result<Messages, Status> {
        match method {
            // What counted was the header.
            "Handshake" => Ok(grpc::many(Vec::new())),
            "GetFlightInfo" => {
                let info = self.info(asker, read(requests.only().await?)?).await?;
                Ok(grpc::one(Ok(info.encode_to_vec().into())))
            }
            "GetSchema" => {
                let descriptor: FlightDescriptor = read(requests.only().await?)?;
                let schema = self.schema_of(asker, &any(descriptor.command)?).await?;
                Ok(grpc::one(Ok(SchemaResult { schema: schema_bytes(&schema) }.encode_to_vec().into())))
            }
            "DoGet" => {
                let ticket: Ticket = read(requests.only().await?)?;
                self.get(asker, &any(ticket.ticket)?).await
            }
            "DoPut" => self.put(requests).await,
            "DoAction" => self.act(asker, read(requests.only().await?)?).await,
            "ListActions" => {
                let of = |(kind, description): (&str, &str)| {
                    ActionType { kind: kind.to_owned(), description: description.to_owned() }.encode_to_vec().into()
                };
                let all = [("CreatePreparedStatement", "prepare a question"), ("ClosePreparedStatement", "forget it")];
                Ok(grpc::many(all.map(of).into()))
            }
            "ListFlights" => Ok(grpc::many(Vec::new())),
            _ => Err(Status::unimplemented("this call")),
        }
    }

    async fn info(&self, asker: Asker, descriptor: FlightDescriptor) -> Result<FlightInfo, Status> {
        let command = any(descriptor.command.clone())?;
        let schema = self.schema_of(asker, &command).await?;
        let ticket = match command.name() {
            Some("CommandStatementQuery") => {
                let asked: CommandStatementQuery = read(command.value)?;
                Any::of("TicketStatementQuery", &TicketStatementQuery { handle: asked.query.into() })
            }
            _ => command,
        };
        Ok(FlightInfo {
            schema: schema_bytes(&schema),
            descriptor: Some(descriptor),
            endpoints: vec![FlightEndpoint { ticket: Some(Ticket { ticket: ticket.encode_to_vec().into() }) }],
            total_records: -1,
            total_bytes: -1,
            ordered: true,
        })
    }

    /// What the answer to a command looks like.
    async fn schema_of(&self, asker: Asker, command: &Any) -> Result<SchemaRef, Status> {
        match command.name() {
            Some("CommandStatementQuery") => {
                let asked: CommandStatementQuery = read(command.value.clone())?;
                Ok(answer_schema(&self.describe(asker, asked.query).await?.schema))
            }
            Some("CommandPreparedStatementQuery") => {
                let asked: CommandPreparedStatementQuery = read(command.value.clone())?;
                let prepared = self.statements.get(&asked.handle)?;
                let described = match prepared.values.is_empty() {
                    true => self.describe(asker, prepared.sql).await?,
                    false => self.engine.describe(with_values(asker, prepared)).await?,
                };
                Ok(answer_schema(&described.schema))
            }
            _ => match catalog::answer(command, self.relations().await?)? {
                Some(batch) => Ok(batch.schema()),
                None => Err(refused(command)),
            },
        }
    }

    async fn describe(&self, asker: Asker, sql: String) -> Result<Described, QueryError> {
        let mut marks = Marks { seen: 0, values: None };
        let rewrite = move |statement: &mut Statement| marks.put(statement);
        let question = Question::plain(asker, sql).by(Face::Flight);
        self.engine.describe(Question { rewrite: Some(Box::new(rewrite)), ..question }).await
    }

    async fn relations(&self) -> Result<&Vec<Relation>, QueryError> {
        self.relations.get_or_try_init(async || self.engine.relations().await).await
    }

    async fn get(&self, asker: Asker, ticket: &Any) -> Result<Messages, Status> {
        let question = match ticket.name() {
            Some("TicketStatementQuery") => {
                let asked: TicketStatementQuery = read(ticket.value.clone())?;
                let sql =
                    String::from_utf8(asked.handle.into()).map_err(|_| Status::invalid("the ticket is not ours"))?;
                Question::plain(asker, sql).by(Face::Flight)
            }
            Some("CommandPreparedStatementQuery") => {
                let asked: CommandPreparedStatementQuery = read(ticket.value.clone())?;
                with_values(asker, self.statements.get(&asked.handle)?)
            }
            _ => {
                let batch = catalog::answer(ticket, self.relations().await?)?.ok_or_else(|| refused(ticket))?;
                return whole(&batch);
            }
        };
        Ok(stream(self.engine.ask(question).await?))
    }

    /// Values for a prepared statement.
    async fn put(&self, mut requests: Requests) -> Result<Messages, Status> {
        let (mut handle, mut reader) = (None, Reader::default());
        while let Some(message) = requests.next().await? {
            let data: FlightData = read(message)?;
            if handle.is_none() {
                let command = any(data.descriptor.clone().unwrap_or_default().command)?;
                if command.name() != Some("CommandPreparedStatementQuery") {
                    return Err(refused(&command));
                }
                let asked: CommandPreparedStatementQuery = read(command.value)?;
                handle = Some(asked.handle);
            }
            reader.add(&data);
            if self.settings.message_bytes_max < reader.len() {
                let told = format!(
                    "values have more than {} bytes (flight.message_bytes_max)",
                    self.settings.message_bytes_max
                );
                return Err(Status::exhausted(told));
            }
        }
        let handle = handle.ok_or_else(|| Status::invalid("nothing was put"))?;
        let batches =
            reader.batches().map_err(|error| Status::invalid(format!("the values cannot be read: {error}")))?;
        let mut filled = batches.iter().filter(|batch| batch.num_rows() != 0);
        let values = match (filled.next(), filled.next()) {
            (None, _) => Vec::new(),
            (Some(one), None) if one.num_rows() == 1 => values_of(one)?,
            _ => return Err(Status::invalid("a question is asked with one row of values at a time")),
        };
        self.statements.bind(&handle, values)?;
        let result = DoPutPreparedStatementResult { handle: Some(handle) };
        Ok(grpc::one(Ok(PutResult { metadata: result.encode_to_vec().into() }.encode_to_vec().into())))
    }

    async fn act(&self, asker: Asker, action: Action) -> Result<Messages, Status> {
        match action.kind.as_str() {
            "CreatePreparedStatement" => {
                let asked: ActionCreatePreparedStatementRequest = read(any(action.body)?.value)?;
                let (dataset_schema, parameters) = match self.describe(asker, asked.query.clone()).await {
                    Ok(described) => (schema_bytes(&answer_schema(&described.schema)), numbered(&described)),
                    // A parameter of a table function: what it gives is known once it has its value.
                    Err(QueryError::Function { .. }) => (Bytes::new(), Vec::new()),
                    Err(error) => return Err(error.into()),
                };
                let result = ActionCreatePreparedStatementResult {
                    handle: self.statements.add(asked.query)?,
                    dataset_schema,
                    parameter_schema: schema_bytes(&Schema::new(parameters)),
                };
                let result = Any::of("ActionCreatePreparedStatementResult", &result);
                let result = ActionResult { body: result.encode_to_vec().into() };
                Ok(grpc::one(Ok(result.encode_to_vec().into())))
            }
            "ClosePreparedStatement" => {
                // It has the one field of this message.
                let asked: CommandPreparedStatementQuery = read(any(action.body)?.value)?;
                self.statements.remove(&asked.handle);
                Ok(grpc::many(Vec::new()))
            }
            _ => Err(Status::unimplemented("this action")),
        }
    }
}

/// For metrics, where a stranger's words have no place.
fn known(method: &str) -> &'static str {
    let all = ["Handshake", "GetFlightInfo", "GetSchema", "DoGet", "DoPut", "DoAction", "ListActions", "ListFlights"];
    all.into_iter().find(|known| *known == method).unwrap_or("unknown")
}

fn read<M: Message + Default>(bytes: Bytes) -> Result<M, Status> {
    M::decode(bytes).map_err(|error| Status::invalid(format!("a message cannot be read: {error}")))
}

fn any(bytes: Bytes) -> Result<Any, Status> {
    let any: Any = read(bytes)?;
    if any.name().is_none() { Err(Status::unimplemented("what is no command of Flight SQL")) } else { Ok(any) }
}

fn refused(command: &Any) -> Status {
    match command.name().unwrap_or_default() {
        "CommandStatementUpdate" | "CommandPreparedStatementUpdate" | "CommandStatementIngest" => {
            Status { code: 7, message: "questions only read".to_owned() }
        }
        name => Status::unimplemented(name),
    }
}

/// The parameters in their order.
fn numbered(described: &Described) -> Vec<Field> {
    let of = |(name, data_type): (&String, &Option<DataType>)| {
        let number = name.trim_start_matches('$').parse().unwrap_or(u32::MAX);
        (number, Field::new(name, data_type.clone().unwrap_or(DataType::Utf8), true))
    };
    let mut all: Vec<(u32, Field)> = described.parameters.iter().map(of).collect();
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, field)| field).collect()
}

/// The question with its values in place.
fn with_values(asker: Asker, prepared: Prepared) -> Question {
    let Prepared { sql, values } = prepared;
    let mut marks = Marks { seen: 0, values: Some(values) };
    let rewrite = move |statement: &mut Statement| marks.put(statement);
    Question {
        asker,
        sql,
        dialect: Dialect::Generic,
        rewrite: Some(Box::new(rewrite)),
        beside: None,
        face: Face::Flight,
    }
}

/// Each `?` becomes the next of `$1`, `$2` ..., and these their values, where there are some.
struct Marks {
    seen: usize,
    values: Option<Vec<Expr>>,
}

impl Marks {
    fn put(&mut self, statement: &mut Statement) -> Result<(), QueryError> {
        match statement.visit(self) {
            ControlFlow::Break(reason) => Err(QueryError::Statement { reason }),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

impl VisitorMut for Marks {
    type Break = String;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        let Expr::Value(found) = expr else { return ControlFlow::Continue(()) };
        let Value::Placeholder(name) = &mut found.value else { return ControlFlow::Continue(()) };
        if name == "?" {
            self.seen += 1;
            *name = format!("${}", self.seen);
        }
        if let Some(values) = &self.values {
            let index = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            match index.and_then(|number| values.get(number.checked_sub(1)?)) {
                Some(value) => *expr = value.clone(),
                None => return ControlFlow::Break(format!("there is no value for {name}")),
            }
        }
        ControlFlow::Continue(())
    }
}

fn values_of(row: &RecordBatch) -> Result<Vec<Expr>, Status> {
    let columns = row.columns().iter().zip(row.schema_ref().fields());
    columns.map(|(column, field)| postgres::literal_of(column, field).map_err(Status::invalid)).collect()
}

fn whole(batch: &RecordBatch) -> Result<Messages, Status> {
    let mut writer = Writer::new(batch.schema());
    let mut messages = vec![writer.schema()];
    messages.extend(writer.batch(batch).map_err(told)?.into_iter().map(|message| message.encode_to_vec().into()));
    Ok(grpc::many(messages))
}

/// The answer as it is computed; a batch is written once the client has room for it.
///
/// Its last message carries what it says of itself as `app_metadata`, JSON as in HTTP. Until the end nobody knows which is the last and
/// what was read, so one message is always kept back. A message more, without rows or without a batch, would be plainer; but there
/// are clients that add up what is in each batch, and clients that cannot read a message without one.
fn stream(answer: AnswerStream) -> Messages {
    let mut writer = Writer::new(answer_schema(&answer.schema()));
    let schema = writer.schema();
    let kept: Option<FlightData> = None;
    let batches = futures::stream::unfold(Some((answer, writer, kept)), async |state| {
        let (mut answer, mut writer, mut kept) = state?;
        let messages = match answer.next().await {
            Some(Ok(batch)) => writer.batch(&batch).map_err(told),
            Some(Err(error)) => Err(error.into()),
            None => {
                let all = kept.map_or_else(|| writer.empty().map_err(told), |last| Ok(vec![last]));
                return Some((all.map_or_else(|status| vec![Err(status)], |all| with_facts(all, &answer)), None));
            }
        };
        Some(match messages {
            Ok(messages) => {
                let mut sent = Vec::with_capacity(messages.len());
                for message in messages {
                    sent.extend(kept.replace(message).map(|before| Ok(before.encode_to_vec().into())));
                }
                (sent, Some((answer, writer, kept)))
            }
            Err(status) => (vec![Err(status)], None),
        })
    });
    let batches = batches.flat_map(futures::stream::iter);
    Box::pin(futures::stream::iter([Ok(schema)]).chain(batches))
}

/// * `messages`: the last of an answer that has come to its end.
fn with_facts(mut messages: Vec<FlightData>, answer: &AnswerStream) -> Vec<Result<Bytes, Status>> {
    if let Some(last) = messages.last_mut() {
        last.metadata = answer.facts().json().into();
    }
    messages.into_iter().map(|message| Ok(message.encode_to_vec().into())).collect()
}

fn told(error: arrow::error::ArrowError) -> Status {
    tracing::error!(%error, "an answer could not be written");
    Status::internal()
}

#[cfg(test)]
mod tests {
    use tributary_lake::{Lake, LakeSettings};
    use tributary_query::{AccessSettings, Facts, QuerySettings};

    use super::*;

    const FULL: &str = "a-token-that-sees-all";
    const NARROW: &str = "a-token-of-one-table";

    async fn service() -> (Service, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("lake").to_str().unwrap().to_owned();
        let lake = Lake::open(LakeSettings { url, ..LakeSettings::default() }).await.unwrap();
        let narrow = AccessSettings {
            name: "narrow".to_owned(),
            token: NARROW.to_owned(),
            tables: Some(vec!["sessions".to_owned()]),
            ..AccessSettings::default()
        };
        let settings =
            QuerySettings { tokens: vec![FULL.to_owned()], access: vec![narrow], ..QuerySettings::default() };
        let engine = Arc::new(Engine::new(settings, lake).unwrap());
        (Service::new(engine, FlightSettings::default()), folder)
    }

    fn shown(header: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(header).unwrap())])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_asks_is_told_by_the_token_of_each_call_whoever_prepared_it() {
        let (service, _folder) = service().await;
        let asker = |header: &str| service.authorized(&shown(header)).map(|(_, asker)| asker.name().to_owned());
        assert_eq!(asker(&format!("Bearer {FULL}")).unwrap(), "full");
        assert_eq!(asker(&format!("bearer {NARROW}")).unwrap(), "narrow");
        let pair = BASE64_STANDARD.encode(format!("full:{NARROW}"));
        assert_eq!(asker(&format!("Basic {pair}")).unwrap(), "narrow", "the name says nothing");
        assert_eq!(asker("Bearer a-token-of-nobody").unwrap_err().code, 16);
        let [full, narrow] = [FULL, NARROW].map(|token| service.engine.asker(token).unwrap());
        let ticket = |sql: &str| {
            Any::of("TicketStatementQuery", &TicketStatementQuery { handle: sql.to_owned().into_bytes().into() })
        };
        let sql = "SELECT count(*) AS n FROM events";
        let prepared = service.statements.add(sql.to_owned()).unwrap();
        let prepared = Any::of("CommandPreparedStatementQuery", &CommandPreparedStatementQuery { handle: prepared });
        for asked in [&ticket(sql), &prepared] {
            assert!(service.get(full.clone(), asked).await.is_ok());
            assert_eq!(service.get(narrow.clone(), asked).await.err().unwrap().code, 7);
        }
        assert_eq!(service.schema_of(narrow.clone(), &prepared).await.err().unwrap().code, 7);
        assert!(service.get(narrow.clone(), &ticket("SELECT count(*) AS n FROM sessions")).await.is_ok());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_last_message_says_what_the_answer_was_made_of() {
        let (service, _folder) = service().await;
        let sql = "SELECT * FROM funnel(steps => [event_name = 'purchse'], window => '7 days')";
        let ticket = Any::of("TicketStatementQuery", &TicketStatementQuery { handle: sql.as_bytes().to_vec().into() });
        let messages = service.get(service.engine.asker(FULL).unwrap(), &ticket).await.ok().unwrap();
        let messages: Vec<_> = messages.map(|message| message.ok().unwrap()).collect().await;
        assert_eq!(messages.len(), 2, "a schema and a batch, as without facts");
        let last: FlightData = read(messages.last().unwrap().clone()).ok().unwrap();
        let facts: Facts = Facts::from_header(std::str::from_utf8(&last.metadata).unwrap()).unwrap();
        assert_eq!(facts.window.as_deref(), Some("window => '7 days'"));
        assert_eq!(
            (facts.functions, facts.read.unwrap().tables.len()),
            (vec!["funnel".to_owned()], 2),
            "events and links"
        );
        assert_eq!(facts.notes, ["no event is called 'purchse'; there are no names at all"]);
        let mut reader = Reader::default();
        messages.into_iter().for_each(|message| reader.add(&read(message).ok().unwrap()));
        assert_eq!(reader.batches().unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 1);
        // An answer without rows says it too.
        let sql = "SELECT event_id FROM events";
        let ticket = Any::of("TicketStatementQuery", &TicketStatementQuery { handle: sql.as_bytes().to_vec().into() });
        let messages = service.get(service.engine.asker(FULL).unwrap(), &ticket).await.ok().unwrap();
        let messages: Vec<_> = messages.map(|message| message.ok().unwrap()).collect().await;
        let last: FlightData = read(messages.last().unwrap().clone()).ok().unwrap();
        assert!(Facts::from_header(std::str::from_utf8(&last.metadata).unwrap()).unwrap().read.is_some());
    }
}

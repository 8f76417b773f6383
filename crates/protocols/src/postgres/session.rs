//! A session: what a client asks, in the order it asks.
//!
//! In:       messages of an authenticated client.
//! Out:      answers, as they are computed.
//! Promise:  every question goes to the engine, with its limits and its turn. What a client cancels, leaves behind by hanging up, or
//!           does not fetch in time is stopped. Answers are sent in pieces: some 64 KiB and a few batches of each are in memory.
//!           A fault ends the statement, not the session, unless the messages themselves cannot be read.
//!           Before an answer of ours is complete, a notice says what it was made of (`FACTS`); SHOW tells the last again.
//! Not here: transactions: each statement sees the newest tables, BEGIN or not, and nothing is written that could be undone.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tributary_query::{AnswerStream, Asker, Dialect, Face, QueryError, Question};

use super::Shared;
use super::backend::{self, Bare, Transaction};
use super::cancel::Seat;
use super::encode::Rows;
use super::fault::Fault;
use super::frontend::{Bind, Format, Frontend, Named};
use super::parameters;
use super::rewrite::{self, Context, Parameters};
use super::statement::Command;
use super::types::Shape;
use super::variables::{Changed, Variables};
use super::wire::{End, Wire};

/// What is gathered before it is sent.
const SEND_BYTES: usize = 64 << 10;
/// How long the last words of an answer may wait for a client that does not read.
const SEND_TIME_MAX: Duration = Duration::from_secs(60);
/// PostgreSQL has 1,664; the protocol counts to 65,535.
const COLUMNS_MAX: usize = 10_000;

pub(crate) struct Session {
    shared: Arc<Shared>,
    /// By the token, whatever the user calls themselves.
    asker: Asker,
    wire: Wire,
    seat: Seat,
    user: String,
    /// As at the beginning, for DISCARD.
    first_variables: Variables,
    variables: Variables,
    statements: HashMap<String, Arc<Prepared>>,
    portals: HashMap<String, Portal>,
    transaction: Transaction,
    /// After a fault in the extended protocol: all is passed over until Sync.
    is_skipping: bool,
    /// Of the message that is worked on.
    canceled: CancellationToken,
    /// Of the last answer of the engine's, as JSON.
    facts: String,
}

/// What SHOW calls them.
const FACTS: &str = "tributary.facts";

struct Prepared {
    command: Command,
    /// As the client said; 0 where it did not.
    types: Vec<u32>,
    described: OnceLock<Description>,
}

struct Description {
    types: Vec<u32>,
    columns: Option<Vec<(String, Shape)>>,
}

struct Portal {
    prepared: Arc<Prepared>,
    values: Vec<datafusion::sql::sqlparser::ast::Expr>,
    formats: Vec<Format>,
    state: State,
}

enum State {
    New,
    Open(Box<Open>),
    Done,
}

/// An answer on its way.
struct Open {
    columns: Vec<(String, Shape)>,
    shapes: Vec<Shape>,
    formats: Arc<[Format]>,
    source: Source,
    /// Rows that were taken from the source and not sent.
    rows: Option<(Rows, usize)>,
    sent: u64,
    tag: &'static str,
    deadline: Instant,
}

enum Source {
    Engine(Box<AnswerStream>),
    Session(std::vec::IntoIter<Vec<String>>),
}

/// Why the work on a message ended early.
#[derive(Debug)]
enum Broken {
    Fault(Fault),
    Gone,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<QueryError> for Broken {
    fn from(error: QueryError) -> Self {
        Self::Fault(error.into())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Complete,
    Suspended,
}

impl Session {
    pub(crate) fn new(
        shared: Arc<Shared>,
        asker: Asker,
        wire: Wire,
        seat: Seat,
        user: String,
        wishes: &[(String, String)],
    ) -> Self {
        let mut variables = Variables::new(&user);
        for (name, value) in wishes {
            // What cannot be is as it is; the client is told below.
            drop(variables.set(name, Some(value)));
        }
        Self {
            shared,
            asker,
            wire,
            seat,
            user,
            first_variables: variables.clone(),
            variables,
            statements: HashMap::new(),
            portals: HashMap::new(),
            transaction: Transaction::None,
            is_skipping: false,
            canceled: CancellationToken::new(),
            facts: String::new(),
        }
    }

    /// Until the client goes, stays silent too long, cannot be understood, or the server stops.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        backend::authentication(&mut self.wire.out, &backend::Authentication::Ok);
        for (name, value) in self.variables.reported() {
            backend::parameter_status(&mut self.wire.out, name, value);
        }
        backend::key_data(&mut self.wire.out, self.seat.process, self.seat.secret);
        backend::ready(&mut self.wire.out, self.transaction);
        if self.send().await.is_err() {
            return;
        }
        let last_words = loop {
            let message = match self.next(&stop).await {
                Ok(message) => message,
                Err(End::Gone) => return,
                Err(End::Fault(fault)) => break fault,
            };
            if message == Frontend::Terminate {
                return;
            }
            self.canceled = self.seat.begin();
            let done = self.handle(message).await;
            self.seat.end();
            match done {
                Ok(()) => {}
                Err(Broken::Gone) => return,
                Err(Broken::Fault(fault)) => break fault,
            }
        };
        backend::error(&mut self.wire.out, &Fault { is_fatal: true, ..last_words });
        drop(timeout(SEND_TIME_MAX, self.wire.close()).await);
    }

    async fn next(&mut self, stop: &CancellationToken) -> Result<Frontend, End> {
        let settings = &self.shared.settings;
        let silent_until = Instant::now() + Duration::from_millis(settings.idle_ms_max);
        loop {
            let deadlines = self.portals.values().filter_map(Portal::deadline);
            let open_until = deadlines.min();
            tokio::select! {
                biased;
                message = self.wire.next(settings.message_bytes_max) => return message,
                () = stop.cancelled() => return Err(End::Fault(Fault::fatal("57P01", "the server stops"))),
                () = sleep_until(open_until.unwrap_or(silent_until)), if open_until.is_some() => {
                    // What nobody fetches in time takes no other's turn.
                    let now = Instant::now();
                    for portal in self.portals.values_mut().filter(|portal| portal.deadline().is_some_and(|end| end <= now)) {
                        portal.state = State::Done;
                    }
                }
                () = sleep_until(silent_until) => {
                    let told = format!("nothing was asked for {} ms (postgres.idle_ms_max)", settings.idle_ms_max);
                    return Err(End::Fault(Fault::fatal("57P05", told)));
                }
            }
        }
    }

    /// A fault that comes back ends the session.
    async fn handle(&mut self, message: Frontend) -> Result<(), Broken> {
        if self.is_skipping && message != Frontend::Sync {
            return Ok(());
        }
        let is_simple = matches!(message, Frontend::Query { .. });
        let done = match message {
            Frontend::Query { sql } => self.simple(&sql).await,
            Frontend::Parse { statement, sql, types } => self.parse(statement, &sql, types),
            Frontend::Bind(bind) => self.bind(bind).await,
            Frontend::Describe(Named::Statement(name)) => self.describe_statement(&name).await,
            Frontend::Describe(Named::Portal(name)) => self.describe_portal(&name).await,
            Frontend::Execute { portal, rows_max } => self.execute(&portal, rows_max).await,
            Frontend::Close(named) => {
                match named {
                    Named::Statement(name) => drop(self.statements.remove(&name)),
                    Named::Portal(name) => drop(self.portals.remove(&name)),
                }
                backend::bare(&mut self.wire.out, Bare::CloseComplete);
                Ok(())
            }
            Frontend::Flush => return self.send().await,
            Frontend::Sync => {
                self.is_skipping = false;
                if self.transaction == Transaction::None {
                    self.portals.clear();
                }
                backend::ready(&mut self.wire.out, self.transaction);
                return self.send().await;
            }
            // Of a COPY that failed before it began.
            Frontend::Copy => return Ok(()),
            Frontend::Password(_) | Frontend::Terminate => {
                return Err(Fault::protocol("nobody asked for a password".to_owned()).into());
            }
        };
        match done {
            Ok(()) => {}
            Err(Broken::Fault(fault)) if !fault.is_fatal => {
                backend::error(&mut self.wire.out, &fault);
                if self.transaction == Transaction::Open {
                    self.transaction = Transaction::Failed;
                }
                self.is_skipping = !is_simple;
            }
            Err(other) => return Err(other),
        }
        if is_simple {
            backend::ready(&mut self.wire.out, self.transaction);
            return self.send().await;
        }
        if SEND_BYTES <= self.wire.out.len() {
            return self.send().await;
        }
        Ok(())
    }

    /// To a client that may take its time, but not for ever.
    async fn send(&mut self) -> Result<(), Broken> {
        match timeout(SEND_TIME_MAX, self.wire.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Broken::Gone),
        }
    }

    async fn simple(&mut self, text: &str) -> Result<(), Broken> {
        let commands = Command::all(text);
        if commands.is_empty() {
            backend::bare(&mut self.wire.out, Bare::EmptyQuery);
        }
        for command in commands {
            if let Command::Question { parameters: 1.., .. } = command {
                return Err(Fault::new("42P02", "there is no value for $1: a simple query has no parameters").into());
            }
            let parameters = Parameters::Values(Vec::new());
            match self.open(&command, parameters, &[]).await? {
                Some(mut open) => {
                    let formats = Arc::clone(&open.formats);
                    backend::row_description(&mut self.wire.out, &open.columns, |index| formats[index]);
                    self.pump(&mut open, 0).await?;
                    self.tell_facts(&open);
                    backend::complete(&mut self.wire.out, &open.tag());
                }
                None => self.obey(&command)?,
            }
        }
        Ok(())
    }

    fn parse(&mut self, name: String, text: &str, types: Vec<u32>) -> Result<(), Broken> {
        let mut commands = Command::all(text).into_iter();
        let command = commands.next().unwrap_or(Command::Empty);
        if commands.next().is_some() {
            return Err(Fault::new("42601", "a prepared statement is one statement").into());
        }
        if !name.is_empty() && self.statements.contains_key(&name) {
            return Err(Fault::new("42P05", format!("there is a statement {name:?} already")).into());
        }
        if let Command::Question { parameters: PARAMETERS_OVER.., .. } = command {
            return Err(Fault::new("54023", "a statement has 65,535 parameters at most").into());
        }
        self.room(self.statements.len(), !self.statements.contains_key(&name))?;
        let prepared = Prepared { command, types, described: OnceLock::new() };
        self.statements.insert(name, Arc::new(prepared));
        backend::bare(&mut self.wire.out, Bare::ParseComplete);
        Ok(())
    }

    fn room(&self, count: usize, is_new: bool) -> Result<(), Fault> {
        let statements_max = self.shared.settings.statements_max;
        if is_new && statements_max <= count {
            let told = format!("a session keeps {statements_max} statements (postgres.statements_max)");
            return Err(Fault::new("53400", told).with_hint("close or deallocate some"));
        }
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Prepared>, Fault> {
        self.statements.get(name).cloned().ok_or_else(|| Fault::no_such("26000", "prepared statement", name))
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Broken> {
        let prepared = self.statement(&bind.statement)?;
        let expected = prepared.parameter_count();
        if bind.values.len() != expected {
            let told = format!("{} values were bound, the statement has {expected} parameters", bind.values.len());
            return Err(Fault::protocol_but_going_on(told).into());
        }
        if !matches!(bind.formats.len(), 0 | 1) && bind.formats.len() != expected {
            return Err(
                Fault::protocol_but_going_on("there are more or fewer formats than parameters".to_owned()).into()
            );
        }
        let format = |index: usize| of_many(&bind.formats, index);
        // What nobody said the statement tells, as far as it can be described without its values. Of bytes one must know.
        let is_unsaid =
            |index: usize| bind.values[index].is_some() && prepared.types.get(index).is_none_or(|oid| *oid == 0);
        if (0..expected).any(is_unsaid) {
            let is_needed = (0..expected).any(|index| is_unsaid(index) && format(index) == Format::Binary);
            match self.description(&prepared).await {
                Err(Broken::Fault(_)) if !is_needed => {}
                done => done?,
            }
        }
        let oid = |index: usize| {
            let said = prepared.types.get(index).copied().filter(|oid| *oid != 0);
            let found = || prepared.described.get().and_then(|found| found.types.get(index).copied());
            said.or_else(found).unwrap_or(0)
        };
        let literals = bind.values.iter().enumerate();
        let literals = literals.map(|(index, value)| parameters::literal(oid(index), format(index), value.as_deref()));
        let values = literals.collect::<Result<Vec<_>, Fault>>()?;
        if !bind.portal.is_empty() && self.portals.contains_key(&bind.portal) {
            return Err(Fault::new("42P03", format!("there is a portal {:?} already", bind.portal)).into());
        }
        self.room(self.portals.len(), !self.portals.contains_key(&bind.portal))?;
        let portal = Portal { prepared, values, formats: bind.answer_formats, state: State::New };
        self.portals.insert(bind.portal, portal);
        backend::bare(&mut self.wire.out, Bare::BindComplete);
        Ok(())
    }

    async fn describe_statement(&mut self, name: &str) -> Result<(), Broken> {
        let prepared = self.statement(name)?;
        self.description(&prepared).await?;
        let Some(found) = prepared.described.get() else { return Ok(()) };
        backend::parameter_description(&mut self.wire.out, &found.types);
        match &found.columns {
            Some(columns) => backend::row_description(&mut self.wire.out, columns, |_| Format::Text),
            None => backend::bare(&mut self.wire.out, Bare::NoData),
        }
        Ok(())
    }

    /// Finds out what the statement's parameters and columns are, once.
    async fn description(&mut self, prepared: &Prepared) -> Result<(), Broken> {
        if prepared.described.get().is_some() {
            return Ok(());
        }
        let count = prepared.parameter_count();
        let described = match &prepared.command {
            Command::Question { sql, .. } => {
                self.not_after_a_fault()?;
                let question = self.question(sql, Parameters::Types(prepared.types.clone())).await?;
                let engine = Arc::clone(&self.shared.engine);
                let found = self.watched(async move { engine.describe(question).await }).await?;
                let of = |index: usize| {
                    let said = prepared.types.get(index).copied().filter(|oid| *oid != 0);
                    let found = found.parameters.get(&format!("${}", index + 1));
                    said.unwrap_or_else(|| parameters::oid_of(found.and_then(Option::as_ref)))
                };
                let columns = columns_of(&found.schema)?;
                Description { types: (0..count).map(of).collect(), columns: Some(columns) }
            }
            Command::Show(name) => Description { types: Vec::new(), columns: Some(shown_columns(name)) },
            _ => Description { types: Vec::new(), columns: None },
        };
        drop(prepared.described.set(described));
        Ok(())
    }

    async fn describe_portal(&mut self, name: &str) -> Result<(), Broken> {
        let mut portal = self.portals.remove(name).ok_or_else(|| Fault::no_such("34000", "portal", name))?;
        if matches!(portal.state, State::New) {
            self.start(&mut portal).await?;
        }
        match &portal.state {
            State::Open(open) => {
                backend::row_description(&mut self.wire.out, &open.columns, |index| open.formats[index]);
            }
            State::New | State::Done => backend::bare(&mut self.wire.out, Bare::NoData),
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    /// Begins the work of a portal, if it is work of the engine's.
    async fn start(&mut self, portal: &mut Portal) -> Result<(), Broken> {
        let parameters = Parameters::Values(portal.values.clone());
        let prepared = Arc::clone(&portal.prepared);
        if let Some(open) = self.open(&prepared.command, parameters, &portal.formats).await? {
            portal.state = State::Open(Box::new(open));
        }
        Ok(())
    }

    async fn execute(&mut self, name: &str, rows_max: u32) -> Result<(), Broken> {
        // Taken out: after a fault nothing is left of it.
        let mut portal = self.portals.remove(name).ok_or_else(|| Fault::no_such("34000", "portal", name))?;
        if matches!(portal.state, State::New) {
            self.start(&mut portal).await?;
        }
        match &mut portal.state {
            State::New => {
                let prepared = Arc::clone(&portal.prepared);
                self.obey(&prepared.command)?;
                portal.state = State::Done;
            }
            State::Open(open) => match self.pump(open, rows_max.into()).await? {
                Ended::Complete => {
                    self.tell_facts(open);
                    backend::complete(&mut self.wire.out, &open.tag());
                    portal.state = State::Done;
                }
                Ended::Suspended => backend::bare(&mut self.wire.out, Bare::PortalSuspended),
            },
            State::Done => {
                let told = "the answer of this portal was fetched, or not fetched in time (query.time_ms_max)";
                return Err(Fault::new("55000", told).into());
            }
        }
        self.portals.insert(name.to_owned(), portal);
        Ok(())
    }

    /// Begins to answer a command, if it has rows to answer with.
    async fn open(
        &mut self,
        command: &Command,
        parameters: Parameters,
        formats: &[Format],
    ) -> Result<Option<Open>, Broken> {
        let time_max = self.asker.time_max();
        let time_max = self.variables.statement_timeout().map_or(time_max, |timeout| timeout.min(time_max));
        let deadline = Instant::now() + time_max;
        let (columns, source, tag) = match command {
            Command::Question { sql, .. } => {
                self.not_after_a_fault()?;
                let question = self.question(sql, parameters).await?;
                let engine = Arc::clone(&self.shared.engine);
                let answer = self.watched(async move { engine.ask(question).await }).await?;
                let columns = columns_of(&answer.schema())?;
                let word = sql.split_ascii_whitespace().next().unwrap_or_default().to_ascii_uppercase();
                let tag = match word.as_str() {
                    "EXPLAIN" => "EXPLAIN",
                    "SHOW" => "SHOW",
                    _ => "SELECT",
                };
                (columns, Source::Engine(Box::new(answer)), tag)
            }
            Command::Show(name) => {
                self.not_after_a_fault()?;
                (shown_columns(name), Source::Session(self.shown(name)?.into_iter()), "SHOW")
            }
            _ => return Ok(None),
        };
        if !matches!(formats.len(), 0 | 1) && formats.len() != columns.len() {
            return Err(Fault::protocol_but_going_on("there are more or fewer formats than columns".to_owned()).into());
        }
        let formats = (0..columns.len()).map(|index| of_many(formats, index)).collect();
        let shapes = columns.iter().map(|(_, shape)| shape.clone()).collect();
        Ok(Some(Open { columns, shapes, formats, source, rows: None, sent: 0, tag, deadline }))
    }

    fn not_after_a_fault(&self) -> Result<(), Fault> {
        if self.transaction == Transaction::Failed {
            return Err(Fault::new("25P02", "the transaction failed before: ROLLBACK ends it"));
        }
        Ok(())
    }

    async fn question(&mut self, sql: &str, parameters: Parameters) -> Result<Question, Broken> {
        let shared = Arc::clone(&self.shared);
        let catalog = self.watched(async move { shared.catalog().await }).await?;
        let beside = Some(Arc::clone(&catalog.beside));
        let (variables, user, process) = (self.variables.clone(), self.user.clone(), self.seat.process);
        let context = Context { catalog, variables, user, process, parameters };
        Ok(Question {
            asker: self.asker.clone(),
            sql: sql.to_owned(),
            dialect: Dialect::Postgres,
            rewrite: Some(Box::new(move |statement| rewrite::rewrite(statement, &context))),
            beside,
            face: Face::Postgres,
        })
    }

    /// Waits for the engine as long as the client does.
    async fn watched<T>(&mut self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, Broken> {
        let timeout = self.variables.statement_timeout().map(|timeout| Instant::now() + timeout);
        tokio::select! {
            biased;
            () = self.canceled.cancelled() => Err(Fault::canceled().into()),
            () = self.wire.gone() => Err(Broken::Gone),
            () = over(timeout) => Err(timed_out().into()),
            done = work => Ok(done?),
        }
    }

    /// Sends rows until there are no more, or `rows_max` of them (0: all).
    async fn pump(&mut self, open: &mut Open, rows_max: u64) -> Result<Ended, Broken> {
        let mut sent = 0;
        loop {
            while let Some((rows, next)) = &mut open.rows {
                if rows.count() <= *next {
                    open.rows = None;
                    break;
                }
                if rows_max != 0 && sent == rows_max {
                    return Ok(Ended::Suspended);
                }
                rows.write(*next, &mut self.wire.out);
                *next += 1;
                sent += 1;
                open.sent += 1;
                if SEND_BYTES <= self.wire.out.len() {
                    self.send_rows(open.deadline).await?;
                }
            }
            match &mut open.source {
                Source::Engine(answer) => {
                    let batch = tokio::select! {
                        biased;
                        () = self.canceled.cancelled() => return Err(Fault::canceled().into()),
                        batch = answer.next() => batch,
                        () = self.wire.gone() => return Err(Broken::Gone),
                        () = sleep_until(open.deadline) => return Err(timed_out().into()),
                    };
                    let Some(batch) = batch else { return Ok(Ended::Complete) };
                    let rows = Rows::of(&batch?, &open.shapes, Arc::clone(&open.formats));
                    let rows = rows.map_err(|error| Fault::new("22000", format!("a value cannot be told: {error}")))?;
                    open.rows = Some((rows, 0));
                }
                Source::Session(rows) => {
                    let Some(row) = rows.next() else { return Ok(Ended::Complete) };
                    backend::data_row(&mut self.wire.out, row.len(), |column, out| {
                        out.extend_from_slice(row[column].as_bytes());
                        true
                    });
                    open.sent += 1;
                }
            }
        }
    }

    /// What the answer says of itself, once all of it was sent. A client that wants to hear of faults only sets
    /// `client_min_messages`; what looks like a slip is a warning, so that it is heard where notices are not.
    fn tell_facts(&mut self, open: &Open) {
        let Source::Engine(answer) = &open.source else { return };
        let facts = answer.facts();
        self.facts = facts.json();
        let least = self.variables.get("client_min_messages").unwrap_or_default();
        let (hears_notices, hears_warnings) =
            (!matches!(least, "warning" | "error" | "fatal" | "panic"), !matches!(least, "error" | "fatal" | "panic"));
        if let Some(line) = facts.line().filter(|_| hears_notices) {
            backend::notice_with_detail(&mut self.wire.out, &line, facts.in_full().as_deref());
        }
        for note in facts.notes.iter().filter(|_| hears_warnings) {
            backend::warning(&mut self.wire.out, note);
        }
    }

    /// In the midst of an answer: who does not read is not waited for longer than the question may take.
    async fn send_rows(&mut self, deadline: Instant) -> Result<(), Broken> {
        tokio::select! {
            biased;
            () = self.canceled.cancelled() => Err(Fault::canceled().into()),
            sent = self.wire.flush() => sent.map_err(|_| Broken::Gone),
            () = sleep_until(deadline) => Err(timed_out().into()),
        }
    }

    /// Does what a command says that has no rows to answer with.
    fn obey(&mut self, command: &Command) -> Result<(), Fault> {
        let ends = matches!(command, Command::Commit | Command::Rollback | Command::Done("ROLLBACK") | Command::Empty);
        if !ends {
            self.not_after_a_fault()?;
        }
        let tag = match command {
            Command::Empty => {
                backend::bare(&mut self.wire.out, Bare::EmptyQuery);
                return Ok(());
            }
            Command::Begin => {
                self.transaction = Transaction::Open;
                "BEGIN"
            }
            Command::Commit => {
                let failed = self.transaction == Transaction::Failed;
                self.end_transaction();
                if failed { "ROLLBACK" } else { "COMMIT" }
            }
            Command::Rollback => {
                self.end_transaction();
                "ROLLBACK"
            }
            Command::Done("ROLLBACK") => {
                if self.transaction == Transaction::Failed {
                    self.transaction = Transaction::Open;
                }
                "ROLLBACK"
            }
            Command::Done(tag) => tag,
            Command::Set { name, value } => {
                let changed = self.variables.set(name, value.as_deref())?;
                self.tell(changed);
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::ResetAll => {
                self.reset();
                "RESET"
            }
            Command::Deallocate(Some(name)) => {
                self.statements.remove(name).ok_or_else(|| Fault::no_such("26000", "prepared statement", name))?;
                "DEALLOCATE"
            }
            Command::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Command::DiscardAll => {
                self.statements.clear();
                self.portals.clear();
                self.reset();
                "DISCARD ALL"
            }
            Command::Unsupported(what) => return Err(Fault::unsupported(what)),
            Command::Question { .. } | Command::Show(_) => return Ok(()),
        };
        backend::complete(&mut self.wire.out, tag);
        Ok(())
    }

    fn end_transaction(&mut self) {
        self.transaction = Transaction::None;
        self.portals.clear();
    }

    fn reset(&mut self) {
        self.variables = self.first_variables.clone();
        for (name, value) in self.variables.reported() {
            backend::parameter_status(&mut self.wire.out, name, value);
        }
    }

    fn tell(&mut self, changed: Changed) {
        match changed {
            Changed::Silent => {}
            Changed::Reported(name, value) => backend::parameter_status(&mut self.wire.out, name, &value),
            Changed::Not(words) => backend::notice(&mut self.wire.out, &words),
        }
    }

    fn shown(&self, name: &str) -> Result<Vec<Vec<String>>, Fault> {
        if name == "all" {
            let row = |(name, value): (&str, &str)| vec![name.to_owned(), value.to_owned(), String::new()];
            return Ok(self.variables.all().map(row).collect());
        }
        if name == FACTS {
            return Ok(vec![vec![self.facts.clone()]]);
        }
        let value = self.variables.get(name);
        let value = value.ok_or_else(|| Fault::new("42704", format!("there is no variable {name:?}")))?;
        Ok(vec![vec![value.to_owned()]])
    }
}

const PARAMETERS_OVER: usize = 65_536;

impl Prepared {
    fn parameter_count(&self) -> usize {
        match &self.command {
            Command::Question { parameters, .. } => (*parameters).max(self.types.len()),
            _ => 0,
        }
    }
}

impl Portal {
    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Open(open) => Some(open.deadline),
            State::New | State::Done => None,
        }
    }
}

impl Open {
    fn tag(&self) -> String {
        if self.tag == "SELECT" { format!("SELECT {}", self.sent) } else { self.tag.to_owned() }
    }
}

async fn over(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn timed_out() -> Fault {
    Fault::new("57014", "the answer took longer than it may (query.time_ms_max, statement_timeout) and was stopped")
}

/// None: all text; one: of all; else one for each.
fn of_many(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each[index],
    }
}

fn columns_of(schema: &arrow::datatypes::Schema) -> Result<Vec<(String, Shape)>, Fault> {
    if COLUMNS_MAX < schema.fields().len() {
        return Err(Fault::new("54011", format!("an answer has {COLUMNS_MAX} columns at most")));
    }
    let column = |field: &Arc<arrow::datatypes::Field>| {
        (rewrite::shown_name(field.name()).to_owned(), Shape::of(field.data_type()))
    };
    Ok(schema.fields().iter().map(column).collect())
}

fn shown_columns(name: &str) -> Vec<(String, Shape)> {
    let names = if name == "all" { vec!["name", "setting", "description"] } else { vec![name] };
    names.into_iter().map(|name| (name.to_owned(), Shape::Text)).collect()
}

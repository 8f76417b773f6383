//! PostgreSQL's protocol, version 3: the same questions by the clients that speak it (psql, JDBC, psycopg, Grafana).
//!
//! In:       a listener, an engine, tokens.
//! Out:      served connections.
//! Promise:  no more than `connections_max` sessions; who is no client of PostgreSQL, or knows no token, is gone soon. After `stop`
//!           nobody new comes in, who is idle is told to go, and who waits for an answer still gets it. Dropping the future
//!           cuts all of them off, and the engine's work for them ends.
//! Not here: what may be asked and how it is answered (`tributary_query`).
//!
//! Why the messages are read here and not by the crate `pgwire` (0.42): its reader panics on a short message and reads beyond its end,
//! takes a gigabyte from whoever connects, and does not look at the connection while a question runs. `datafusion-postgres` (0.19)
//! asks a session of DataFusion and not an engine with limits, and brings features of DataFusion that cost everybody.

mod backend;
mod calendar;
mod cancel;
mod catalog;
mod encode;
mod fault;
mod frontend;
mod numeric;
mod parameters;
mod rewrite;
mod scram;
mod session;
mod startup;
mod statement;
mod types;
mod variables;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tributary_query::{Engine, QueryError};

use crate::listening::{self, Bounds};

use cancel::Cancels;
use catalog::Catalog;
use fault::Fault;
use scram::Verifier;
use session::Session;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PostgresSettings {
    /// Address and port; empty: not at all.
    pub listen: String,
    /// Sessions at a time.
    pub connections_max: usize,
    /// A session in which nothing was asked for so long is ended.
    pub idle_ms_max: u64,
    /// Of one message of a client.
    pub message_bytes_max: usize,
    /// Prepared statements of a session, and portals.
    pub statements_max: usize,
}

impl Default for PostgresSettings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            connections_max: 100,
            idle_ms_max: 3_600_000,
            message_bytes_max: 1 << 20,
            statements_max: 1_000,
        }
    }
}

impl PostgresSettings {
    /// All faults together, each with the name of its knob.
    pub fn check(&self) -> Vec<String> {
        listening::faults(&Bounds {
            listen: &self.listen,
            example: "127.0.0.1:5432",
            connections_max: self.connections_max,
            idle_ms_max: self.idle_ms_max,
            message_bytes_max: self.message_bytes_max,
            statements_max: self.statements_max,
        })
    }
}

/// The literal that means the first value of a column; a fault in words.
pub(crate) fn literal_of(
    array: &arrow::array::ArrayRef,
    field: &arrow::datatypes::Field,
) -> Result<datafusion::sql::sqlparser::ast::Expr, String> {
    let shape = types::Shape::of(field.data_type());
    let text = encode::first_text(array, field, &shape).map_err(|error| error.to_string())?;
    parameters::literal(shape.oid(), frontend::Format::Text, text.as_deref()).map_err(|fault| fault.message)
}

/// What the sessions of one server share.
struct Shared {
    engine: Arc<Engine>,
    settings: PostgresSettings,
    catalog: OnceCell<Arc<Catalog>>,
}

impl Shared {
    /// Looked up once: which tables there are does not change while a server runs.
    async fn catalog(&self) -> Result<Arc<Catalog>, QueryError> {
        let look = async || {
            let catalog = Catalog::of(&self.engine.relations().await?);
            catalog.map(Arc::new).map_err(|error| QueryError::Engine(Box::new(error)))
        };
        self.catalog.get_or_try_init(look).await.cloned()
    }
}

/// For TLS and the proof of a token together.
const GREETING_TIME_MAX: Duration = Duration::from_secs(20);
/// Connections that are not sessions yet; more wait in the system's queue.
const GREETINGS_MAX: usize = 64;

/// Serves until `stop`, then until the last session has ended.
///
/// * `tls`: if given, nobody is let in without.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    engine: Arc<Engine>,
    settings: PostgresSettings,
    stop: CancellationToken,
) {
    let verifier = match Verifier::new(engine.tokens().iter().map(|(token, _)| token.as_str())) {
        Ok(verifier) => Arc::new(verifier),
        Err(error) => return tracing::error!(%error, "the system has no random numbers: nobody is served"),
    };
    let greetings = Arc::new(Semaphore::new(GREETINGS_MAX));
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let shared = Arc::new(Shared { engine, settings, catalog: OnceCell::new() });
    let cancels = Arc::new(Cancels::default());
    // Told from the start: none is a number, too.
    metrics::gauge!("tributary_postgres_connections").increment(0);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            let greeting = Arc::clone(&greetings).acquire_owned().await.expect("nobody closes it");
            (listening::accept(&listener).await, greeting)
        };
        let (stream, greeting) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let door = Door {
            tls: tls.clone(),
            verifier: Arc::clone(&verifier),
            cancels: Arc::clone(&cancels),
            places: Arc::clone(&places),
            shared: Arc::clone(&shared),
        };
        let stop = stop.clone();
        connections.spawn(async move {
            let entered = tokio::time::timeout(GREETING_TIME_MAX, door.enter(stream)).await;
            drop(greeting);
            // Who breaks off or is too slow here has been told nothing, and need not be.
            if let Ok(Ok(Some((session, place)))) = entered {
                metrics::counter!("tributary_postgres_connections_total").increment(1);
                let _open = OpenSession::new();
                session.run(stop).await;
                drop(place);
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// What it takes to become a session.
struct Door {
    tls: Option<TlsAcceptor>,
    verifier: Arc<Verifier>,
    cancels: Arc<Cancels>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl Door {
    async fn enter(&self, stream: TcpStream) -> io::Result<Option<(Session, tokio::sync::OwnedSemaphorePermit)>> {
        stream.set_nodelay(true)?;
        let tokens = self.shared.engine.tokens();
        let has_tokens = !tokens.is_empty();
        let opened = startup::open(stream, self.tls.as_ref(), &self.verifier, has_tokens, &self.cancels).await?;
        let Some((mut wire, greeting, which)) = opened else { return Ok(None) };
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            metrics::counter!("tributary_postgres_refused_total", "code" => "53300").increment(1);
            let told = format!(
                "there are {} sessions already (postgres.connections_max)",
                self.shared.settings.connections_max
            );
            backend::error(&mut wire.out, &Fault::fatal("53300", told));
            wire.close().await;
            return Ok(None);
        };
        let asker = tokens[which].1.clone();
        let seat = self.cancels.seat().map_err(io::Error::other)?;
        let session = Session::new(Arc::clone(&self.shared), asker, wire, seat, greeting.user, &greeting.variables);
        Ok(Some((session, place)))
    }
}

/// Counts itself while it is.
struct OpenSession;

impl OpenSession {
    fn new() -> Self {
        metrics::gauge!("tributary_postgres_connections").increment(1);
        Self
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        metrics::gauge!("tributary_postgres_connections").decrement(1);
    }
}

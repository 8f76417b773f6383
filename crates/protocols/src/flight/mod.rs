//! Arrow Flight SQL: the same questions by clients that want the answer as Arrow (ADBC, and JDBC and ODBC drivers over Flight).
//!
//! In:       a listener, an engine, tokens.
//! Out:      served connections: HTTP/2, in TLS where there is a certificate.
//! Promise:  no more than `connections_max` connections, none idle for ever; nobody is answered who shows no token. After `stop`
//!           nobody new comes in and calls that run are finished. Dropping the future cuts all of them off, and the engine's
//!           work for them ends.
//! Not here: what may be asked and how it is answered (`tributary_query`).

mod catalog;
mod grpc;
mod ipc;
mod proto;
mod service;
mod statements;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tributary_query::Engine;

use crate::listening::{self, Bounds};

use service::Service;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlightSettings {
    /// Address and port; empty: not at all.
    pub listen: String,
    /// Connections at a time; a client has one, and many calls on it.
    pub connections_max: usize,
    /// A connection on which nothing was asked for so long is ended, and a prepared statement forgotten.
    pub idle_ms_max: u64,
    /// Of one message of a client, and of the values for one statement.
    pub message_bytes_max: usize,
    /// Prepared statements of all clients.
    pub statements_max: usize,
}

impl Default for FlightSettings {
    fn default() -> Self {
        Self {
            listen: String::new(),
            connections_max: 100,
            idle_ms_max: 3_600_000,
            message_bytes_max: 1 << 20,
            statements_max: 10_000,
        }
    }
}

impl FlightSettings {
    /// All faults together, each with the name of its knob.
    pub fn check(&self) -> Vec<String> {
        listening::faults(&Bounds {
            listen: &self.listen,
            example: "127.0.0.1:8815",
            connections_max: self.connections_max,
            idle_ms_max: self.idle_ms_max,
            message_bytes_max: self.message_bytes_max,
            statements_max: self.statements_max,
        })
    }
}

/// Calls at once on one connection; how many of their questions run is the engine's to say.
const CALLS_MAX: u32 = 100;
/// For TLS, and between a question whether somebody is there and its answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);
const HEADERS_BYTES_MAX: u32 = 16 << 10;

/// Serves until `stop`, then until the last call has ended.
///
/// * `tls`: if given, nobody is let in without.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    engine: Arc<Engine>,
    settings: FlightSettings,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let idle_max = Duration::from_millis(settings.idle_ms_max);
    let service = Arc::new(Service::new(engine, settings));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            // Whoever finds no place waits in the system's queue.
            let place = Arc::clone(&places).acquire_owned().await.expect("nobody closes it");
            (listening::accept(&listener).await, place)
        };
        let (stream, place) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let (service, tls, stop) = (Arc::clone(&service), tls.clone(), stop.clone());
        connections.spawn(async move {
            metrics::counter!("tributary_flight_connections_total").increment(1);
            // Where this fails the connection is gone already.
            drop(stream.set_nodelay(true));
            match tls {
                None => connection(stream, service, idle_max, stop).await,
                Some(tls) => match tokio::time::timeout(ANSWER_TIME_MAX, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, service, idle_max, stop).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS came about"),
                    Err(_) => tracing::debug!("no TLS came about in time"),
                },
            }
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    service: Arc<Service>,
    idle_max: Duration,
    stop: CancellationToken,
) {
    let calls = Arc::new(Calls::default());
    let answering = {
        let calls = Arc::clone(&calls);
        service_fn(move |request| {
            let (service, call) = (Arc::clone(&service), Calls::begin(&calls));
            async move {
                let response = service.call(request).await;
                // It ends with its answer, not with the beginning of it.
                Ok::<_, std::convert::Infallible>(response.map(|answer| grpc::Counted::new(answer, call)))
            }
        })
    };
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(CALLS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        // Who is gone without a word is missed soon, and its questions stopped.
        .keep_alive_interval(ANSWER_TIME_MAX)
        .keep_alive_timeout(ANSWER_TIME_MAX)
        .serve_connection(TokioIo::new(stream), answering);
    let mut served = pin!(served);
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = calls.idle(idle_max) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // Somebody hung up or spoke no HTTP/2: nothing to mend here.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    running: AtomicUsize,
    begun: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Call(Arc<Calls>);

impl Calls {
    fn begin(calls: &Arc<Self>) -> Call {
        calls.running.fetch_add(1, Ordering::Relaxed);
        calls.begun.fetch_add(1, Ordering::Relaxed);
        Call(Arc::clone(calls))
    }

    /// Resolves when no call ran for so long.
    async fn idle(&self, idle_max: Duration) {
        let mut begun = self.begun.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(idle_max).await;
            let now = self.begun.load(Ordering::Relaxed);
            if now == begun && self.running.load(Ordering::Relaxed) == 0 {
                return;
            }
            begun = now;
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

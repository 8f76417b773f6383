//! The HTTP server: connections as tasks of one owner, few enough and never idle for ever.
//!
//! In:      a listener and the routes.
//! Out:     served requests.
//! Promise: no more than `connections_max` connections, none that keeps a place without sending a request; after
//!          `stop` no new ones, and each ends with the request it is in. Dropping the future cuts all of them off.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use bytes::BytesMut;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tributary_ingest::{Secure, Short};

use super::lane::{self, ShortRoutes};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections_max: usize,
    /// For the whole head of a request, from the first moment on which it could come; once more where it comes in pieces.
    pub(crate) idle_max: Duration,
}

/// A longer head is refused (431). Pixels and Snowplow's GET say an event in theirs, which browsers keep below 16 KiB; what every
/// connection may hold in memory is bounded by it.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What the log, the lake and questions need beside connections.
pub(crate) const OTHER_FILES: u64 = 256;

/// Raises the limit on open files as far as this process may, and keeps connections below it: a server that runs out
/// of files cannot open its own either.
pub(crate) fn connections_that_fit(connections_max: usize) -> usize {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files cannot be asked for");
            return connections_max;
        }
    };
    let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX).max(16);
    if room < connections_max {
        tracing::warn!(
            files,
            connections_max = room,
            "the limit on open files allows fewer connections than serve.connections_max; raise it (ulimit -n)"
        );
    }
    room.min(connections_max)
}

/// What is served.
#[derive(Clone)]
pub(crate) struct Routes {
    pub(crate) router: Router,
    /// The straight way to some of it, if there is one.
    pub(crate) short: Option<Short>,
}

/// Serves until `stop`, then until the last connection has ended.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    routes: Routes,
    limits: Limits,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let next = async {
            // Whoever finds no place waits in the system's queue.
            let place = places.clone().acquire_owned().await.expect("nobody closes it");
            (accept(&listener).await, place)
        };
        let ((stream, peer), place) = tokio::select! {
            () = stop.cancelled() => break,
            next = next => next,
        };
        let (Routes { router, short }, stop, tls) = (routes.clone(), stop.clone(), tls.clone());
        connections.spawn(async move {
            // Answers are short and somebody waits for them. Where this fails the connection is gone already.
            drop(stream.set_nodelay(true));
            match tls {
                None => connection(stream, (peer, false), router, short, limits, stop).await,
                Some(tls) => {
                    let accepting = tokio::time::timeout(limits.idle_max, tls.accept(stream));
                    let accepted = tokio::select! {
                        accepted = accepting => accepted,
                        // Nothing was asked yet.
                        () = stop.cancelled() => return,
                    };
                    match accepted {
                        Ok(Ok(stream)) => connection(stream, (peer, true), router, short, limits, stop).await,
                        // Scanners, and clients that do not know who signed the certificate.
                        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS came about"),
                        Err(_) => tracing::debug!(%peer, "no TLS came about in time"),
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    /// Until connections end and give their files free.
    const PAUSE: Duration = Duration::from_millis(250);
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind as E;
    matches!(error.kind(), E::ConnectionRefused | E::ConnectionAborted | E::ConnectionReset | E::Interrupted)
}

/// * `by_tls`: it is encrypted, and we are who ends it.
pub(super) async fn connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    (peer, by_tls): (SocketAddr, bool),
    router: Router,
    short: Option<impl ShortRoutes>,
    limits: Limits,
    stop: CancellationToken,
) {
    let read = match short {
        None => BytesMut::new(),
        Some(mut short) => match lane::serve(&mut stream, peer, &mut short, limits.idle_max, &stop).await {
            Ok(lane::Left::With(read)) => read,
            Ok(lane::Left::Over) => return,
            Err(error) => return tracing::debug!(%peer, %error, "a connection broke off"),
        },
    };
    let stream = lane::Rewound::new(read, stream);
    let service = TowerToHyperService::new(router.map_request(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        if by_tls {
            request.extensions_mut().insert(Secure);
        }
        request
    }));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_max)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        // It is asked first: only then does it know that part of a request is here already, and finishes it.
        biased;
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    // Somebody hung up, stayed silent or spoke no HTTP: nothing to mend here.
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke off");
    }
}

//! The faces beside HTTP: other protocols by which the same engine is asked.
//!
//! In:      settings; an engine, TLS.
//! Out:     bound listeners; a task that serves them.
//! Promise: ports are bound before anything is opened or made; a face that is not set takes none. All of them stop with the door.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tributary_protocols::{flight, postgres};
use tributary_query::{Engine, distributed};

use super::tls;
use crate::cli::UserError;
use crate::settings::{Role, Settings};

/// How clients of PostgreSQL call its protocol in TLS.
const POSTGRES_ALPN: &[u8] = b"postgresql";

/// gRPC is HTTP/2.
const FLIGHT_ALPN: &[u8] = b"h2";

/// Listeners that nobody answers at yet.
#[derive(Default)]
pub(crate) struct Faces {
    postgres: Option<TcpListener>,
    flight: Option<TcpListener>,
    /// Where heads hand over parts of plans.
    worker: Option<TcpListener>,
}

impl Faces {
    pub(crate) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let mut faces = Self::default();
        if settings.serve.roles.contains(&Role::Query) {
            faces.postgres = listen(&settings.postgres.listen, "postgres.listen").await?;
            faces.flight = listen(&settings.flight.listen, "flight.listen").await?;
        }
        if settings.serve.roles.contains(&Role::Worker) {
            faces.worker = listen(&settings.worker.listen, "worker.listen").await?;
        }
        Ok(faces)
    }

    /// Each with its scheme.
    pub(crate) fn addresses(&self) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
        let all = [("postgresql", &self.postgres), ("grpc", &self.flight), ("worker", &self.worker)];
        let bound = all.into_iter().filter_map(|(scheme, listener)| Some((scheme, listener.as_ref()?)));
        bound
            .map(|(scheme, listener)| Ok((scheme, listener.local_addr().context("the listener has no address")?)))
            .collect()
    }

    /// Serves until `stop`, then until what was asked is answered.
    pub(crate) fn serve(
        self,
        engine: &Arc<Engine>,
        settings: &Settings,
        tls: Option<&TlsAcceptor>,
        stop: CancellationToken,
    ) -> Option<JoinHandle<()>> {
        if self.postgres.is_none() && self.flight.is_none() && self.worker.is_none() {
            return None;
        }
        let mut serving = JoinSet::new();
        let with = |alpn| tls.map(|tls| tls::speaking(tls, alpn));
        if let Some(listener) = self.postgres {
            let (engine, settings) = (Arc::clone(engine), settings.postgres.clone());
            serving.spawn(postgres::serve(listener, with(POSTGRES_ALPN), engine, settings, stop.clone()));
        }
        if let Some(listener) = self.flight {
            let (engine, settings) = (Arc::clone(engine), settings.flight.clone());
            serving.spawn(flight::serve(listener, with(FLIGHT_ALPN), engine, settings, stop.clone()));
        }
        if let Some(listener) = self.worker {
            let working = distributed::serve(listener, Arc::clone(engine), settings.worker.clone(), stop.clone());
            serving.spawn(async move {
                if let Err(error) = working.await {
                    tracing::error!(%error, "the port of the worker broke off");
                }
            });
        }
        Some(tokio::spawn(async move {
            // One that ends by itself is to be noticed: the others go with it.
            let first = serving.join_next().await;
            if let Some(Err(error)) = first {
                std::panic::resume_unwind(error.into_panic());
            }
            if stop.is_cancelled() {
                while serving.join_next().await.is_some() {}
            }
        }))
    }
}

/// * `knob`: that says where.
async fn listen(address: &str, knob: &str) -> anyhow::Result<Option<TcpListener>> {
    if address.is_empty() {
        return Ok(None);
    }
    let told = |error| UserError(format!("cannot listen on {address} ({error}): choose another address with {knob}"));
    Ok(Some(TcpListener::bind(address).await.map_err(told)?))
}

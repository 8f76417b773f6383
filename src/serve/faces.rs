//! The faces beside HTTP: other protocols by which the same engine is asked.
//!
//! In:      settings; an engine, TLS.
//! Out:     bound listeners; a task that serves them.
//! Promise: ports are bound before anything is opened or made; a face that is not set takes none. All of them stop with the door.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tributary_protocols::postgres;
use tributary_query::Engine;

use super::tls;
use crate::cli::UserError;
use crate::settings::{Role, Settings};

/// How clients of PostgreSQL call its protocol in TLS.
const POSTGRES_ALPN: &[u8] = b"postgresql";

/// Listeners that nobody answers at yet.
#[derive(Default)]
pub(crate) struct Faces {
    postgres: Option<TcpListener>,
}

impl Faces {
    pub(crate) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        if !settings.serve.roles.contains(&Role::Query) {
            return Ok(Self::default());
        }
        Ok(Self { postgres: listen(&settings.postgres.listen, "postgres.listen").await? })
    }

    /// Each with its scheme.
    pub(crate) fn addresses(&self) -> anyhow::Result<Vec<(&'static str, SocketAddr)>> {
        let all = [("postgresql", &self.postgres)];
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
        let tls = tls.map(|tls| tls::speaking(tls, POSTGRES_ALPN));
        let (engine, settings) = (Arc::clone(engine), settings.postgres.clone());
        self.postgres.map(|listener| tokio::spawn(postgres::serve(listener, tls, engine, settings, stop)))
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

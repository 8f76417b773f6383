//! TLS of the server: its certificate, taken anew when the files change.
//!
//! In:      two PEM files: the certificate with its chain, and its key.
//! Out:     what takes TLS 1.2 and 1.3 off a connection.
//! Promise: a server does not start with files that do not fit; a renewal that cannot be read leaves the last certificate in
//!          place, and is told. Connections that stand keep what they began with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::cli::UserError;

/// How soon a renewal is taken. Those who renew do it weeks ahead.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The certificate in force.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Reads the files, and gives back what takes TLS off and the task that follows them.
pub(crate) fn open(
    certificate: PathBuf,
    key: PathBuf,
    stop: CancellationToken,
) -> anyhow::Result<(TlsAcceptor, impl Future<Output = ()> + Send + 'static)> {
    let mut seen = (mark(&certificate), mark(&key));
    let read_now = read(&certificate, &key)
        .map_err(|error| UserError(format!("serve.tls_certificate, serve.tls_key: {error:#}")))?;
    let current = Arc::new(Current(RwLock::new(Arc::new(read_now))));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS cannot be set up")?
        .with_no_client_auth()
        .with_cert_resolver(current.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let following = async move {
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            let now = (mark(&certificate), mark(&key));
            if now == seen {
                continue;
            }
            seen = now;
            match read(&certificate, &key) {
                Ok(newer) => {
                    tracing::info!(certificate = %certificate.display(), "took the newer certificate");
                    *current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(newer);
                }
                // Half of a renewal, or a slip.
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "the newer certificate cannot stand; the one before serves on"
                ),
            }
        }
    };
    Ok((TlsAcceptor::from(Arc::new(config)), following))
}

/// The same certificate, for a protocol that is called otherwise where clients name theirs (ALPN).
pub(crate) fn speaking(tls: &TlsAcceptor, protocol: &[u8]) -> TlsAcceptor {
    let mut config = ServerConfig::clone(tls.config());
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn mark(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(certificate: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| anyhow!("{}: expected certificates in PEM: {error}", certificate.display()))?;
    if chain.is_empty() {
        return Err(anyhow!("{}: expected certificates in PEM, found none", certificate.display()));
    }
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow!("{}: expected a private key in PEM: {error}", key.display()))?;
    // It refuses a key that is not the certificate's.
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|error| anyhow!("{} and {} do not fit: {error}", certificate.display(), key.display()))
}

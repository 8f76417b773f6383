//! The few things fetched from elsewhere to believe a webhook: a certificate, a confirmation.
//!
//! In:      an address that was checked to be the provider's.
//! Out:     its body.
//! Promise: https only, no redirects, a bound on time and size. Tests put another in its place.

use std::time::Duration;

use async_trait::async_trait;

const TIME_MAX: Duration = Duration::from_secs(5);
/// A certificate chain takes some 4 KB, an answer of SNS 1 KB.
const BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone, thiserror::Error)]
#[error("{url} could not be fetched: {reason}")]
pub struct WebError {
    pub url: String,
    pub reason: String,
}

/// Fetches from elsewhere.
#[async_trait]
pub trait Web: Send + Sync {
    /// The body behind `url`; an error for anything but a 200.
    async fn get(&self, url: &str) -> Result<Vec<u8>, WebError>;
}

/// The real one.
#[derive(Default)]
pub struct HttpsWeb;

#[async_trait]
impl Web for HttpsWeb {
    async fn get(&self, url: &str) -> Result<Vec<u8>, WebError> {
        let failed = |reason: String| WebError { url: url.to_owned(), reason };
        let client = reqwest::Client::builder()
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIME_MAX)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let mut response = client.get(url).send().await.map_err(|error| failed(error.to_string()))?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(failed(format!("it answered {}", response.status())));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failed(error.to_string()))? {
            if BYTES_MAX < body.len() + chunk.len() {
                return Err(failed(format!("it is longer than {BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

//! The tail of the log, from the stream job to whoever answers questions.
//!
//! In:      this process's stream job; the addresses of others (`query.live_urls`).
//! Out:     `LiveSources` for the engine.
//! Promise: a source answers within a bounded time and size, or says what to do; a token goes only where the settings say.
//! Not here: what the tail is (`pipeline`), how it is put to a table (`query`).

use std::time::Duration;

use anyhow::Context;
use tributary_pipeline::{LiveTail, TailAsked, TailError};
use tributary_query::QuerySettings;
use tributary_query::live::{self, LiveAsked, LiveFault, LiveRows, LiveSource};

use crate::cli::UserError;
use crate::http;

/// The stream job of this process.
#[derive(Debug)]
pub(crate) struct OwnJob(pub(crate) LiveTail);

#[async_trait::async_trait]
impl LiveSource for OwnJob {
    async fn tail(&self, asked: &LiveAsked) -> Result<LiveRows, LiveFault> {
        let LiveAsked { events, sessions, wants_sessions } = asked.clone();
        match self.0.ask(TailAsked { events, sessions, wants_sessions }).await {
            Ok(tail) => Ok(LiveRows {
                positions: tail.positions,
                partitions: tail.partitions,
                events: tail.events,
                sessions: tail.sessions,
            }),
            Err(TailError::PinAnew) => Err(LiveFault::PinAnew),
            Err(error @ (TailError::TimedOut { .. } | TailError::Stopped)) => Err(LiveFault::Away(error.to_string())),
        }
    }
}

/// The stream job of another process.
#[derive(Debug)]
pub(crate) struct OtherProcess {
    client: reqwest::Client,
    url: String,
    token: String,
    bytes_max: usize,
}

impl OtherProcess {
    pub(crate) fn all(settings: &QuerySettings) -> anyhow::Result<Vec<Self>> {
        settings.live_urls.iter().map(|url| Self::new(url, settings)).collect()
    }

    fn new(url: &str, settings: &QuerySettings) -> anyhow::Result<Self> {
        let url = http::address(url)?;
        let Some(token) = settings.tokens.first().cloned() else {
            return Err(UserError(
                "query.live_urls is set, but query.tokens is empty: the processes know one another by the first token"
                    .to_owned(),
            )
            .into());
        };
        let url = format!("{url}{}", live::PATH);
        // A little more than the other process takes to give up, so that its reason is heard.
        let time_max = Duration::from_millis(settings.live_wait_ms_max) + Duration::from_secs(2);
        let client = http::client_for(&url, time_max)?;
        Ok(Self { client, url, token, bytes_max: settings.live_bytes_max })
    }

    async fn asked(&self, asked: &LiveAsked) -> anyhow::Result<Result<LiveRows, LiveFault>> {
        let body = serde_json::to_vec(asked)?;
        let request = self.client.post(&self.url).bearer_auth(&self.token).header("content-type", "application/json");
        let mut response =
            request.body(body).send().await.context("it does not answer; does it run the role pipeline?")?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.context("its answer broke off")? {
            anyhow::ensure!(
                bytes.len() + chunk.len() <= self.bytes_max,
                "its answer is longer than {} bytes (query.live_bytes_max): commit more often \
                 (pipeline.commit_interval_ms), or allow more",
                self.bytes_max
            );
            bytes.extend_from_slice(&chunk);
        }
        match status.as_u16() {
            200 => Ok(Ok(live::decode(&bytes)?)),
            409 => Ok(Err(LiveFault::PinAnew)),
            other => {
                let told: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let told = told["error"].as_str().unwrap_or("is it a Tributary server?").to_owned();
                anyhow::bail!("it answers {other}: {told}")
            }
        }
    }
}

#[async_trait::async_trait]
impl LiveSource for OtherProcess {
    async fn tail(&self, asked: &LiveAsked) -> Result<LiveRows, LiveFault> {
        let answer = self.asked(asked).await;
        answer.unwrap_or_else(|error| Err(LiveFault::Away(format!("{} (query.live_urls): {error:#}", self.url))))
    }
}

//! The probe: one event at the door, and the wait until an answer holds it.
//!
//! In:      the door, the engine.
//! Out:     how long that takes, over a few tries.
//! Promise: each try sends a real event by HTTP and asks the lake by SQL; nothing is estimated.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tributary_query::Engine;

use super::answers::number;
use crate::http;

pub(crate) struct Latency {
    pub(crate) tries: usize,
    pub(crate) median: Duration,
    pub(crate) slowest: Duration,
}

const TRIES: usize = 7;
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two questions. The time found is too long by up to this and one question's own time.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// Sends one event of this id; returns once the door has said yes.
pub(crate) async fn send(client: &reqwest::Client, url: &str, write_key: &str, event_id: &str) -> anyhow::Result<()> {
    let body = serde_json::json!({"event": "Probe", "userId": "probe", "messageId": event_id}).to_string();
    let sent = client.post(format!("{url}/v1/track")).basic_auth(write_key, Some("")).body(body).send().await;
    let status = sent.context("the door does not answer")?.status();
    ensure!(status.is_success(), "the door answers {status} to a probe");
    Ok(())
}

pub(crate) async fn measure(url: &str, write_key: &str, engine: &Engine) -> anyhow::Result<Latency> {
    let client = http::client_for(url, WAIT_MAX)?;
    let mut took = Vec::with_capacity(TRIES);
    for try_number in 0..TRIES {
        let event_id = format!("probe-{try_number}");
        let begun = Instant::now();
        send(&client, url, write_key, &event_id).await?;
        let sql = format!("SELECT count(*) FROM events WHERE source = 'web' AND event_id = '{event_id}'");
        while number(engine, &sql).await? < 1.0 {
            ensure!(
                begun.elapsed() < WAIT_MAX,
                "an event is not queryable {} s after the door took it",
                WAIT_MAX.as_secs()
            );
            tokio::time::sleep(ASK_EVERY).await;
        }
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(Latency { tries: TRIES, median: took[TRIES / 2], slowest: took[TRIES - 1] })
}

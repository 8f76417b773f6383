//! Sending: requests to the door, several at once where that cannot change what comes out.
//!
//! In:       batches in file order.
//! Out:      how many events the door took; refused ones, through a callback.
//! Promise:  an event counts as taken only by the door's own word for each; a request the door is too busy for is
//!           tried again with the same ids until it is taken or `retry_for` has passed; a request is under way
//!           together with another only when all their times lie within `TOGETHER_US_MAX`, so that a history
//!           arrives in its order.
//! Not here: what a batch is made of (`batch`).

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::RETRY_AFTER;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ImportOptions;
use super::batch::Batch;
use super::row::Reject;
use crate::cli::UserError;
use crate::http;

/// A history read from a file runs through days in seconds. Requests that overtake one another would put the
/// later day first, and the stream job would find the earlier one late for its sessions. It allows an hour by
/// default; half of that leaves room for disorder in the file itself.
const TOGETHER_US_MAX: i64 = 30 * 60 * 1_000_000;

/// The first pause before a request is tried again; it doubles up to the last.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_LAST: Duration = Duration::from_secs(10);

/// A request that takes longer is given up and tried again.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// The door of a server, and the key to write with.
#[derive(Clone)]
pub(crate) struct Door {
    client: reqwest::Client,
    batch_url: String,
    write_key: String,
}

/// What has been sent so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    /// Events the door gave a final answer to.
    pub(crate) rows: u64,
    pub(crate) accepted: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) clamped: u64,
    pub(crate) refused: u64,
}

impl Door {
    /// `url`: scheme, host and port of the server, with or without a path the door is mounted under.
    pub(crate) fn new(url: &str, write_key: &str) -> anyhow::Result<Self> {
        let url = http::address(url)?;
        let client = http::client_for(&url, REQUEST_TIME_MAX)?;
        Ok(Self { client, batch_url: format!("{url}/v1/import"), write_key: write_key.to_owned() })
    }

    /// What answers there is something else.
    fn is_not_one(&self) -> UserError {
        UserError(format!("{} is not the door of a Tributary server; check --url", self.batch_url))
    }
}

/// What one request came to.
struct Outcome {
    accepted: u64,
    dead_lettered: u64,
    clamped: u64,
    refused: Vec<Reject>,
}

/// Sends every batch; ends when the channel is closed and the last answer is in.
pub(super) async fn send_all(
    door: &Door,
    batches: &mut Receiver<Batch>,
    options: &ImportOptions,
    mut on_progress: impl FnMut(&Sent),
    mut on_refused: impl FnMut(Reject) -> anyhow::Result<()>,
) -> anyhow::Result<Sent> {
    let mut sent = Sent::default();
    let mut under_way = JoinSet::new();
    // Times of the requests under way, by their number: at most `requests_in_flight_max` of them.
    let mut times: VecDeque<(u64, Option<(i64, i64)>)> = VecDeque::new();
    let mut number = 0;
    loop {
        let next = batches.recv().await;
        // Wait until there is room, and until nothing is under way whose times lie too far from the next.
        while !under_way.is_empty() && next.as_ref().is_none_or(|next| !may_fly(next, &times, options)) {
            let (done, outcome): (u64, anyhow::Result<Outcome>) =
                under_way.join_next().await.expect("it is not empty").context("a sending task broke off")?;
            let outcome = outcome?;
            times.retain(|(number, _)| *number != done);
            sent.accepted += outcome.accepted;
            sent.dead_lettered += outcome.dead_lettered;
            sent.clamped += outcome.clamped;
            sent.refused += outcome.refused.len() as u64;
            sent.rows = sent.accepted + sent.dead_lettered + sent.refused;
            outcome.refused.into_iter().try_for_each(&mut on_refused)?;
            on_progress(&sent);
        }
        let Some(batch) = next else { return Ok(sent) };
        number += 1;
        times.push_back((number, batch.times_us));
        let (door, retry_for, this) = (door.clone(), options.retry_for, number);
        under_way.spawn(async move { (this, send_one(&door, batch, retry_for).await) });
    }
}

fn may_fly(next: &Batch, under_way: &VecDeque<(u64, Option<(i64, i64)>)>, options: &ImportOptions) -> bool {
    let near = |other: &Option<(i64, i64)>| match (next.times_us, other) {
        (Some((first, last)), Some((other_first, other_last))) => {
            last.max(*other_last).saturating_sub(first.min(*other_first)) <= TOGETHER_US_MAX
        }
        // Without a time the door's own clock counts, and that runs in order.
        _ => true,
    };
    under_way.len() < options.requests_in_flight_max.max(1) && under_way.iter().all(|(_, times)| near(times))
}

async fn send_one(door: &Door, batch: Batch, retry_for: Duration) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome { accepted: 0, dead_lettered: 0, clamped: 0, refused: Vec::new() };
    // A batch the door finds too large is cut in two, at most down to single events.
    let mut waiting = vec![batch];
    while let Some(batch) = waiting.pop() {
        match request(door, &batch, retry_for).await? {
            Answer::Taken { dead_lettered, clamped } => {
                outcome.dead_lettered += dead_lettered;
                outcome.clamped += clamped;
                outcome.accepted += (batch.lines.len() as u64).saturating_sub(dead_lettered);
            }
            Answer::TooLarge(reason) => match batch.halves() {
                Some((first, second)) => waiting.extend([second, first]),
                None => outcome.refused.extend(refuse(&batch, &reason)),
            },
            Answer::Refused(reason) => outcome.refused.extend(refuse(&batch, &reason)),
        }
    }
    Ok(outcome)
}

fn refuse<'b>(batch: &'b Batch, reason: &'b str) -> impl Iterator<Item = Reject> + 'b {
    let rows = batch.events();
    batch.lines.iter().zip(rows).map(move |(line, row)| Reject {
        line: *line,
        reason: format!("the door refused it: {reason}"),
        row: row.to_owned(),
    })
}

enum Answer {
    Taken { dead_lettered: u64, clamped: u64 },
    TooLarge(String),
    Refused(String),
}

async fn request(door: &Door, batch: &Batch, retry_for: Duration) -> anyhow::Result<Answer> {
    let deadline = Instant::now() + retry_for;
    let mut pause = BACKOFF_FIRST;
    loop {
        let response = door
            .client
            .post(&door.batch_url)
            .basic_auth(&door.write_key, Some(""))
            .header("content-type", "application/json")
            .body(batch.body.clone())
            .send()
            .await;
        let (why, wait) = match response {
            Err(error) if error.is_builder() => {
                return Err(error).with_context(|| format!("{} is no address of a server", door.batch_url));
            }
            Err(error) => (format!("{} does not answer: {}", door.batch_url, root_cause(&error)), None),
            Ok(response) => {
                let status = response.status().as_u16();
                let wait = response
                    .headers()
                    .get(RETRY_AFTER)
                    .and_then(|value| value.to_str().ok()?.parse().ok())
                    .map(Duration::from_secs);
                // A body that breaks off means the answer is unknown, as when the connection never stood.
                let body = response.bytes().await;
                match (status, body) {
                    (200, Ok(body)) => match taken(&body, batch.lines.len() as u64) {
                        Some(taken) => return Ok(taken),
                        None => return Err(door.is_not_one().into()),
                    },
                    (401 | 403, _) => {
                        return Err(UserError(
                            "the server refuses the write key; give the key of the source the data belongs to with \
                             --write-key (on the server they stand in keys.toml in its data folder, or in its settings)"
                                .to_owned(),
                        )
                        .into());
                    }
                    (..=399 | 404 | 405, Ok(_)) => return Err(door.is_not_one().into()),
                    (413, body) => return Ok(Answer::TooLarge(said(body))),
                    (408 | 429 | 500.., body) => (format!("the server answers {status}: {}", said(body)), wait),
                    (_, Err(error)) => (format!("the answer broke off: {}", root_cause(&error)), None),
                    (_, body) => return Ok(Answer::Refused(said(body))),
                }
            }
        };
        let wait = wait.unwrap_or(pause).min(BACKOFF_LAST);
        if Instant::now() + wait > deadline {
            bail!("{why}; gave up after {} s. Run the same command again to send the rest", retry_for.as_secs());
        }
        tracing::debug!(%why, ?wait, "trying the request again");
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(BACKOFF_LAST);
    }
}

/// What the door took of `sent` events. `None` unless the body is the door's own and gives account of
/// each: much on the web answers 200 to whatever it is sent.
fn taken(body: &[u8], sent: u64) -> Option<Answer> {
    #[derive(serde::Deserialize)]
    struct Taken {
        success: bool,
        accepted: u64,
        dead_lettered: u64,
        /// A server of an older version says none.
        #[serde(default)]
        clamped: u64,
    }
    let taken: Taken = serde_json::from_slice(body).ok()?;
    let accounted_for = taken.accepted.checked_add(taken.dead_lettered) == Some(sent);
    let Taken { dead_lettered, clamped, .. } = taken;
    (taken.success && accounted_for).then_some(Answer::Taken { dead_lettered, clamped })
}

/// What the door said in words.
fn said(body: Result<bytes::Bytes, reqwest::Error>) -> String {
    let body = body.unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    match answer.get("error").and_then(serde_json::Value::as_str) {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(&body).chars().take(200).collect(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::batch::Batcher;
    use crate::import::mapper::MappedEvent;

    fn batch(times_us: &[i64]) -> Batch {
        let mut batcher = Batcher::new(100);
        for time_us in times_us {
            let json = serde_json::json!({});
            batcher.add(MappedEvent { line: 1, json, time_us: Some(*time_us), unzoned: false, clock_change: false });
        }
        batcher.finish().expect("it has events")
    }

    #[test]
    fn requests_fly_together_only_when_their_times_are_near() {
        let options = ImportOptions { requests_in_flight_max: 2, ..ImportOptions::default() };
        let flying = |times: &[(i64, i64)]| times.iter().map(|times| (0, Some(*times))).collect::<VecDeque<_>>();
        let hour_us = 3_600_000_000;
        assert!(may_fly(&batch(&[0, 1]), &flying(&[]), &options));
        assert!(may_fly(&batch(&[0, 1]), &flying(&[(0, hour_us / 2)]), &options));
        assert!(!may_fly(&batch(&[0, 1]), &flying(&[(0, hour_us)]), &options));
        assert!(!may_fly(&batch(&[hour_us]), &flying(&[(0, 1)]), &options));
        assert!(!may_fly(&batch(&[0]), &flying(&[(0, 0), (0, 0)]), &options), "no room");
    }

    #[test]
    fn only_the_doors_own_word_for_every_event_counts() {
        let taken = |body: &str| match taken(body.as_bytes(), 3) {
            Some(Answer::Taken { dead_lettered, clamped }) => Some((dead_lettered, clamped)),
            _ => None,
        };
        assert_eq!(taken(r#"{"success":true,"accepted":2,"dead_lettered":1}"#), Some((1, 0)));
        assert_eq!(taken(r#"{"success":true,"accepted":2,"dead_lettered":1,"clamped":2}"#), Some((1, 2)));
        for other in [
            "",
            "<html>Welcome</html>",
            "{}",
            r#"{"success":true}"#,
            r#"{"success":false,"accepted":3,"dead_lettered":0}"#,
            r#"{"success":true,"accepted":2,"dead_lettered":0}"#,
            r#"{"success":true,"accepted":4,"dead_lettered":0}"#,
        ] {
            assert_eq!(taken(other), None, "{other}");
        }
    }
}

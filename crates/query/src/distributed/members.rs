//! Who is there to help.
//!
//! In:      the addresses of the settings.
//! Out:     those that answer now; what an error of a stage was about.
//! Promise: each is asked before a question is spread, so that one that is away costs a question no try. One that did not answer is
//!          left alone for `AWAY_FOR`. A worker that refuses us (another token, another version) is told, not left out:
//!          it would come to be missed only when the others are busy.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion_distributed::GetWorkerInfoRequest;
use futures::future::join_all;
use tokio::time::{Instant, timeout};
use tonic::{Code, Status};
use url::Url;

use super::channels::{CONNECT_MAX, Channels};
use crate::error::QueryError;

/// How long one that did not answer is not asked again.
const AWAY_FOR: Duration = Duration::from_secs(5);

/// How long one may take to say that it is there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

pub(super) struct Members {
    channels: Channels,
    all: Vec<Member>,
}

struct Member {
    url: Url,
    away_since: Mutex<Option<Instant>>,
}

/// What an error of a stage is about.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection, or nobody at its other end.
    Gone,
    /// A worker says why it does not work for us.
    Refused(String),
    /// The question, or its limits.
    Other,
}

impl Members {
    pub(super) fn new(urls: Vec<Url>, channels: Channels) -> Self {
        let all = urls.into_iter().map(|url| Member { url, away_since: Mutex::default() }).collect();
        Self { channels, all }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Those that answer; at least one.
    ///
    /// * `again`: also those that did not answer a moment ago.
    pub(super) async fn here(&self, again: bool) -> Result<Vec<Url>, QueryError> {
        let asked = self.all.iter().filter(|member| again || !member.is_left_alone());
        let answers = join_all(asked.map(|member| self.ask(member))).await;
        let here: Vec<Url> = answers.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        if here.is_empty() {
            let count = self.count();
            let reason = format!(
                "none of the {count} workers (query.workers) answers: ask again once one is started, or have the operator take \
                 them out of the settings"
            );
            return Err(QueryError::WorkersAway { reason });
        }
        Ok(here)
    }

    async fn ask(&self, member: &Member) -> Result<Option<Url>, QueryError> {
        let url = &member.url;
        let wrong = |error| QueryError::Engine(Box::new(error));
        let mut client = self.channels.client(url).map_err(wrong)?;
        let answer = timeout(CONNECT_MAX + ANSWER_MAX, client.get_worker_info(GetWorkerInfoRequest {})).await;
        let away = match answer {
            Ok(Ok(info)) if info.version == super::version() => {
                member.set_away(None);
                return Ok(Some(url.clone()));
            }
            Ok(Ok(info)) => {
                let reason = other_version(&info.version, &super::version());
                return Err(QueryError::WorkerRefuses { reason: format!("{url}: {reason}") });
            }
            Ok(Err(error)) => match trouble(&error) {
                Trouble::Refused(reason) => {
                    return Err(QueryError::WorkerRefuses { reason: format!("{url}: {reason}") });
                }
                Trouble::Gone | Trouble::Other => error.to_string(),
            },
            Err(_) => "it says nothing".to_owned(),
        };
        tracing::warn!(worker = %url, reason = away, "a worker does not answer");
        member.set_away(Some(Instant::now()));
        Ok(None)
    }
}

impl Member {
    fn is_left_alone(&self) -> bool {
        let since = *self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < AWAY_FOR)
    }

    fn set_away(&self, since: Option<Instant>) {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// What both sides say when their versions are not the same.
pub(super) fn other_version(worker: &str, head: &str) -> String {
    format!(
        "this worker is version {worker}, the head that asks is {head}: plans are understood by the same version only; start both \
         from one program"
    )
}

pub(super) fn trouble(error: &DataFusionError) -> Trouble {
    let DataFusionError::External(source) = error.find_root() else { return Trouble::Other };
    let Some(status) = source.downcast_ref::<Status>() else { return Trouble::Other };
    match status.code() {
        Code::Unauthenticated | Code::FailedPrecondition => Trouble::Refused(status.message().to_owned()),
        _ => Trouble::Gone,
    }
}

//! What is said to a client whose request was not taken, and with which status.
//!
//! In:      a refusal from any room of the door.
//! Out:     an HTTP answer with `error` (what is wrong) and `advice` (what to do).
//! Promise: a status that makes every SDK do the right thing. 503 is the one overload answer all of them
//!          retry; 429 would lose data in some (`posthog-js` retries no 4xx), so the door never says it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tributary_eventlog::LogError;

use crate::telling;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no write key came with the request")]
    NoKey,
    #[error("the write key is not known here")]
    UnknownKey,
    #[error("no token that is good for this came with the request")]
    NoToken,
    #[error("pages of this origin may not use this write key")]
    ForeignOrigin,
    #[error("requests come more often than the settings allow")]
    TooOften,
    #[error("no webhook has this name")]
    NoWebhook,
    /// A webhook's request is not what it claims to be.
    #[error("{0}")]
    Unbelieved(String),
    /// What it takes to judge a webhook's request is away.
    #[error("the request could not be judged for now")]
    Elsewhere(String),
    /// `advice`: what to mend in what was sent.
    #[error("{detail}")]
    Malformed { detail: String, advice: &'static str },
    #[error("the body is over {bytes_max} bytes{}", if *.decoded { " after decompression" } else { "" })]
    TooLarge { bytes_max: usize, decoded: bool },
    #[error("the body grows more than {ratio_max} times by decompression")]
    TooDense { ratio_max: usize },
    #[error("more than {count_max} events in one request")]
    TooMany { count_max: usize },
    #[error("the body did not come within {time_ms_max} ms")]
    SlowBody { time_ms_max: u64 },
    #[error("the body broke off: {0}")]
    BrokenBody(String),
    #[error("too many requests are in work")]
    Full,
    #[error("room is running out; more important events go first")]
    Shed,
    #[error("history waits until the line has taken up what is there")]
    Behind,
    #[error("the log takes no writes for now: {0}")]
    Log(LogError),
    #[error("the log did not confirm within {time_ms_max} ms")]
    SlowLog { time_ms_max: u64 },
}

/// How soon a client should come again, in seconds. One second is what Segment's Node client does by itself.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NoKey | Self::UnknownKey | Self::NoToken | Self::Unbelieved(_) => StatusCode::UNAUTHORIZED,
            Self::ForeignOrigin => StatusCode::FORBIDDEN,
            Self::NoWebhook => StatusCode::NOT_FOUND,
            Self::Malformed { .. } | Self::BrokenBody(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } | Self::TooDense { .. } | Self::TooMany { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody { .. } => StatusCode::REQUEST_TIMEOUT,
            Self::Full
            | Self::TooOften
            | Self::Shed
            | Self::Behind
            | Self::Elsewhere(_)
            | Self::Log(_)
            | Self::SlowLog { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::NoKey => {
                "send the write key as the user name of HTTP Basic, as a bearer token, as ?writeKey=, or as \
                 writeKey in the body"
            }
            Self::UnknownKey => "check the key against ingest.write_keys in the settings of this server",
            Self::NoToken => "send Authorization: Bearer and a token of query.tokens in the settings of this server",
            Self::ForeignOrigin => {
                "add the origin to the key's origins in the settings of this server, or use another key"
            }
            Self::TooOften => {
                "send more events in one request, or raise the rate in the settings; come again after Retry-After"
            }
            Self::NoWebhook => "use /webhooks/ and a source of ingest.webhooks in the settings of this server",
            Self::Unbelieved(_) => "check the webhook's secret and topics in the settings of this server",
            Self::Malformed { advice, .. } => advice,
            Self::TooLarge { .. } | Self::TooDense { .. } | Self::TooMany { .. } => "send fewer events in one request",
            Self::SlowBody { .. } => "send it again, in smaller pieces if the line is slow",
            Self::BrokenBody(_) => "send it again",
            Self::Full | Self::Shed | Self::Behind | Self::Elsewhere(_) | Self::Log(_) | Self::SlowLog { .. } => {
                "send the same request again with the same ids after the time in Retry-After; nothing is counted twice"
            }
        }
    }

    /// Counts it and says it.
    pub(crate) fn answer(self) -> Response {
        telling::refusal(self.word());
        self.into_response()
    }

    /// One word for metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::NoKey => "no_key",
            Self::UnknownKey => "unknown_key",
            Self::NoToken => "no_token",
            Self::ForeignOrigin => "foreign_origin",
            Self::TooOften => "too_often",
            Self::NoWebhook => "no_webhook",
            Self::Unbelieved(_) => "unbelieved",
            Self::Elsewhere(_) => "elsewhere",
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::TooDense { .. } => "too_dense",
            Self::TooMany { .. } => "too_many",
            Self::SlowBody { .. } => "slow_body",
            Self::BrokenBody(_) => "broken_body",
            Self::Full => "full",
            Self::Shed => "shed",
            Self::Behind => "history_waits",
            Self::Log(_) => "log",
            Self::SlowLog { .. } => "slow_log",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        // The log's own words may name directories and brokers: those are for our log, not for strangers.
        let error = match &self {
            Self::Log(_) => "the log takes no writes for now".to_owned(),
            other => other.to_string(),
        };
        let body = serde_json::json!({"success": false, "error": error, "advice": self.advice()});
        let mut response = json_answer(status, &body);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

pub(crate) fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

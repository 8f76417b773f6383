//! What may be set about the door, checked once with all faults told together.
//!
//! In:      the `[ingest]` part of the settings.
//! Out:     `IngestSettings`, or every fault in it in plain words.
//! Promise: the defaults work as they are but for the write keys; secrets never show in `Debug`.

use crate::clock_rule::ClockBounds;
use crate::privacy::{PrivacyRule, Treatment};
use crate::schema::SchemaMode;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use tributary_schemas::SourceId;

/// A key that clients write with, and the source it stands for.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteKey {
    /// 1 to 200 bytes of visible ASCII without ':', which ends the user name in HTTP Basic.
    pub key: String,
    /// The name its events carry: see `SourceId`.
    pub source: String,
    /// Take its clients' times as they are: for servers and imports. Browsers and phones are checked instead.
    #[serde(default)]
    pub trusted_clock: bool,
    /// Names under which trackers that send no key know this source: Snowplow's app id, Matomo's site id, GA4's
    /// measurement id. Whoever knows such a name can write, as those protocols have it.
    #[serde(default)]
    pub known_as: Vec<String>,
    /// Origins whose pages may use it, such as `https://shop.example`; empty: any.
    #[serde(default)]
    pub origins: Vec<String>,
    /// Requests a second it may make; 0: any number.
    #[serde(default)]
    pub requests_per_second: u32,
    /// It brings the past: its requests wait while the line is behind, so that the present does not.
    #[serde(default)]
    pub historical: bool,
    /// What becomes of its events that fit no schema; absent: as `ingest.schema_mode` says.
    pub schema_mode: Option<SchemaMode>,
}

impl WriteKey {
    const LENGTH_BYTES_MAX: usize = 200;
}

/// Who sends mail for us and tells what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Sendgrid,
    /// Amazon SES, whose events come by way of SNS.
    Ses,
    Postmark,
    Mailgun,
}

impl Provider {
    pub(crate) const ALL: [Self; 4] = [Self::Sendgrid, Self::Ses, Self::Postmark, Self::Mailgun];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sendgrid => "sendgrid",
            Self::Ses => "ses",
            Self::Postmark => "postmark",
            Self::Mailgun => "mailgun",
        }
    }
}

/// A webhook: `POST /webhooks/{source}`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    pub provider: Provider,
    /// The name its events carry, and its path: see `SourceId`.
    pub source: String,
    /// SendGrid: the verification key it shows; Mailgun: the webhook signing key; Postmark: `user:password`; SES: none.
    #[serde(default)]
    pub secret: String,
    /// SES: the topics of SNS that are believed, by ARN.
    #[serde(default)]
    pub topics: Vec<String>,
}

impl WebhookSettings {
    fn faults(&self) -> Option<&'static str> {
        match self.provider {
            Provider::Sendgrid if crate::webhook::sendgrid_key(&self.secret).is_none() => {
                Some("secret: give the verification key of SendGrid's signed event webhook, as it is shown there")
            }
            Provider::Mailgun if self.secret.is_empty() => Some("secret: give Mailgun's HTTP webhook signing key"),
            Provider::Postmark if !self.secret.contains(':') || self.secret.len() < 16 => Some(
                "secret: give user:password, together at least 16 characters, and write them into the address at Postmark",
            ),
            Provider::Ses if self.topics.is_empty() => Some("topics: name the topic of SNS by its ARN"),
            _ => None,
        }
    }
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("provider", &self.provider)
            .field("source", &self.source)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// Every knob of the door.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    pub write_keys: Vec<WriteKey>,
    /// Mail providers that tell what became of messages.
    pub webhooks: Vec<WebhookSettings>,
    /// How long ago a webhook's request may have been signed. Default 3 days: providers come again for up to a day; it must
    /// stay below the window in which copies are found, or an old request sent again would count again.
    pub webhook_age_ms_max: u64,
    /// Largest request as it comes over the wire. Default 4 MiB: eight times what the SDKs pack.
    pub request_bytes_max: usize,
    /// Largest request after decompression. Default 20 MiB.
    pub body_bytes_max: usize,
    /// How many times larger a body may become by decompression, once it is over 1 MiB. Default 100; real
    /// batches stay under 40, a bomb reaches 1000.
    pub expansion_ratio_max: usize,
    /// Largest single event; a larger one becomes a dead letter. Default 256 KiB: Segment allows 32 KiB, and
    /// four of ours still fit in one record of a Kafka broker as shipped (1 MiB).
    pub event_bytes_max: usize,
    /// Most events in one request. Default 2500, Segment's own limit.
    pub batch_events_max: usize,
    /// How much of what was sent a dead letter keeps. Default 256 KiB: any event of allowed size whole.
    pub dead_letter_payload_bytes_max: usize,
    /// How long a client may take over its body. Default 30 s: a phone on a poor line sends 500 KB in that.
    pub body_time_ms_max: u64,
    /// How long a request waits for the log before it is told to come again (503). Default 10 s, which is
    /// under the time-out of every SDK we know (Segment's Python client gives up after 15 s).
    pub append_time_ms_max: u64,
    /// How long a pixel or redirect waits for the log; it is answered then in any case. Default 20 ms.
    pub redirect_wait_ms_max: u64,
    /// How far ahead of our clock an event may be before its time is replaced. Default 5 min.
    pub future_ms_max: u64,
    /// How long ago an event of a source without a trusted clock may be before its time is replaced. Default 30 days:
    /// phones come back from holidays; each older day would cost the lake a file.
    pub past_ms_max: u64,
    /// Signs and checks the tickets of pixels and redirects; at least 32 bytes. Empty: no ticket is accepted.
    pub ticket_secret: String,
    /// Secrets of before, still good for checking: mails live in inboxes for years.
    pub former_ticket_secrets: Vec<String>,
    /// Origins whose pages may post: `https://shop.example`, or `*` for any. Default `*`: a write key of a
    /// browser is public, and no answer of the door holds anything about a person.
    pub cors_origins: Vec<String>,
    /// Requests a second one address may make (of IPv6, one /64); 0: any number. Pixels, links and ways out are let through.
    pub address_requests_per_second: u32,
    /// What may be kept of events; the first rule that names a source holds. Without any, secrets in addresses are left out.
    pub privacy: Vec<PrivacyRule>,
    /// A file of ids and addresses, one a line, of which nothing is recorded; read anew when it changes.
    pub suppress_file: PathBuf,
    /// A folder of JSON Schemas of events, read anew when it changes. Empty: events are held to none.
    pub schema_dir: PathBuf,
    /// What becomes of an event that fits no schema of its name: `warn` takes it and says so, `enforce` makes it a dead letter.
    pub schema_mode: SchemaMode,
    /// Whether each event must have a schema of its name.
    pub schema_required: bool,
    /// Records that may wait to be taken up before history (`historical` keys, `/v1/import`, PostHog's `historical_migration`) is
    /// told to come again. Default 1,000,000: some four seconds of the stream job's work. 0: it is taken as it comes.
    pub history_backlog_max: u64,
    /// Events a second of one id above which it is told as a hot key. Default 1,000: no visitor does so much. 0: none is.
    pub hot_key_events_per_second: u32,
    /// Tokens that may send dead letters through the door again, and with them file events for any source. Empty: nobody may.
    pub replay_tokens: Vec<String>,
    /// Tokens that may watch what comes in. By default those of `query.tokens`.
    pub watch_tokens: Vec<String>,
    /// How many proxies of yours stand in front and add to `X-Forwarded-For`. Default 0: the header is ignored,
    /// for anyone can write it.
    pub forwarded_hops: usize,
    /// Most requests in work at a time; more are told to come again (503). Default 1024.
    pub in_flight_requests_max: usize,
    /// Most bytes of bodies, packed and unpacked, held at a time. Default 256 MiB.
    pub in_flight_bytes_max: usize,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            write_keys: Vec::new(),
            webhooks: Vec::new(),
            webhook_age_ms_max: 3 * 24 * 3_600_000,
            request_bytes_max: 4 << 20,
            body_bytes_max: 20 << 20,
            expansion_ratio_max: 100,
            event_bytes_max: 256 << 10,
            batch_events_max: 2_500,
            dead_letter_payload_bytes_max: 256 << 10,
            body_time_ms_max: 30_000,
            append_time_ms_max: 10_000,
            redirect_wait_ms_max: 20,
            future_ms_max: 300_000,
            past_ms_max: 30 * 24 * 3_600_000,
            ticket_secret: String::new(),
            former_ticket_secrets: Vec::new(),
            cors_origins: vec!["*".to_owned()],
            address_requests_per_second: 0,
            privacy: Vec::new(),
            suppress_file: PathBuf::new(),
            schema_dir: PathBuf::new(),
            schema_mode: SchemaMode::Warn,
            schema_required: false,
            history_backlog_max: 1_000_000,
            hot_key_events_per_second: 1_000,
            replay_tokens: Vec::new(),
            watch_tokens: Vec::new(),
            forwarded_hops: 0,
            in_flight_requests_max: 1_024,
            in_flight_bytes_max: 256 << 20,
        }
    }
}

/// Shorter secrets can be guessed from one ticket: HMAC-SHA256 wants as many bytes as it gives.
const SECRET_BYTES_MIN: usize = 32;

/// A year. Longer waits are a slip of the unit, and would overflow sums of microseconds far later.
const TIME_MS_MAX: u64 = 366 * 24 * 3_600_000;

impl IngestSettings {
    /// Every fault, each naming its setting and what to write there; empty when all is well.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        self.check_keys(&mut faults);
        self.check_sizes(&mut faults);
        for (name, time_ms) in [
            ("webhook_age_ms_max", self.webhook_age_ms_max),
            ("body_time_ms_max", self.body_time_ms_max),
            ("append_time_ms_max", self.append_time_ms_max),
            ("redirect_wait_ms_max", self.redirect_wait_ms_max),
            ("future_ms_max", self.future_ms_max),
            ("past_ms_max", self.past_ms_max),
        ] {
            if time_ms == 0 || TIME_MS_MAX < time_ms {
                faults.push(format!("ingest.{name} is {time_ms}: give milliseconds, 1 to {TIME_MS_MAX}"));
            }
        }
        let secrets = self.former_ticket_secrets.iter().chain(Some(&self.ticket_secret).filter(|s| !s.is_empty()));
        if secrets.into_iter().any(|secret| secret.len() < SECRET_BYTES_MIN) {
            faults.push(format!(
                "ingest.ticket_secret or one of former_ticket_secrets is shorter than {SECRET_BYTES_MIN} bytes: make one \
                 with `openssl rand -base64 48`, or leave ticket_secret empty to refuse all tickets and \
                 to make ids that anybody can make"
            ));
        }
        let mut hooks = HashSet::new();
        for (index, webhook) in self.webhooks.iter().enumerate() {
            if let Err(error) = SourceId::parse(&webhook.source) {
                faults.push(format!("ingest.webhooks[{index}].source: {error}"));
            }
            if !hooks.insert(&webhook.source) {
                faults.push(format!("ingest.webhooks[{index}].source is there twice: give each webhook its own"));
            }
            faults.extend(webhook.faults().map(|fault| format!("ingest.webhooks[{index}].{fault}")));
        }
        for (index, rule) in self.privacy.iter().enumerate() {
            faults.extend(rule.faults().into_iter().map(|fault| format!("ingest.privacy[{index}].{fault}")));
            // Where addresses are dropped, an id that is one is hashed, for every event has an id.
            if (rule.emails != Treatment::Keep || !rule.hash.is_empty()) && self.ticket_secret.is_empty() {
                faults.push(format!("ingest.privacy[{index}] hashes: that needs ingest.ticket_secret"));
            }
        }
        for origin in self.write_keys.iter().flat_map(|key| &key.origins) {
            if !is_origin(origin) {
                faults.push(format!(
                    "ingest.write_keys has the origin {origin:?}: write scheme and host only, such as https://shop.example"
                ));
            }
        }
        for origin in &self.cors_origins {
            if origin != "*" && !is_origin(origin) {
                faults.push(format!(
                    "ingest.cors_origins has {origin:?}: write scheme and host only, such as https://shop.example, or *"
                ));
            }
        }
        faults
    }

    fn check_keys(&self, faults: &mut Vec<String>) {
        if self.write_keys.is_empty() {
            faults.push(
                "ingest.write_keys is empty: nobody could send anything; give at least one key and source".into(),
            );
        }
        let mut seen = HashSet::new();
        let mut names = HashSet::new();
        for (index, name) in
            self.write_keys.iter().enumerate().flat_map(|(index, key)| key.known_as.iter().map(move |n| (index, n)))
        {
            if name.is_empty() || !names.insert(name) {
                faults.push(format!(
                    "ingest.write_keys[{index}].known_as has {name:?}, which is empty or stands for another source too: \
                     give each name once"
                ));
            }
        }
        for (index, WriteKey { key, source, .. }) in self.write_keys.iter().enumerate() {
            let plain = key.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
            if key.is_empty() || WriteKey::LENGTH_BYTES_MAX < key.len() || !plain {
                faults.push(format!(
                    "ingest.write_keys[{index}].key: use 1 to {} visible ASCII characters without ':'",
                    WriteKey::LENGTH_BYTES_MAX
                ));
            }
            if let Err(error) = SourceId::parse(source) {
                faults.push(format!("ingest.write_keys[{index}].source: {error}"));
            }
            if !seen.insert(key) {
                faults.push(format!("ingest.write_keys[{index}].key is there twice: give each source its own key"));
            }
        }
    }

    fn check_sizes(&self, faults: &mut Vec<String>) {
        for (name, value) in [
            ("request_bytes_max", self.request_bytes_max),
            ("body_bytes_max", self.body_bytes_max),
            ("expansion_ratio_max", self.expansion_ratio_max),
            ("event_bytes_max", self.event_bytes_max),
            ("batch_events_max", self.batch_events_max),
            ("dead_letter_payload_bytes_max", self.dead_letter_payload_bytes_max),
            ("in_flight_requests_max", self.in_flight_requests_max),
        ] {
            // Semaphores and sums of two sizes stay far below what a usize holds.
            if value == 0 || (1 << 40) < value {
                faults.push(format!("ingest.{name} is {value}: give 1 or more, at most {}", 1_u64 << 40));
            }
        }
        if self.body_bytes_max < self.event_bytes_max {
            faults.push("ingest.body_bytes_max is below event_bytes_max: no event of allowed size would fit".into());
        }
        let one_request = self.request_bytes_max.saturating_add(self.body_bytes_max);
        if self.in_flight_bytes_max < one_request || (1 << 40) < self.in_flight_bytes_max {
            faults.push(format!(
                "ingest.in_flight_bytes_max is {}: it must hold at least one largest request, request_bytes_max + \
                 body_bytes_max = {one_request}, and at most {}",
                self.in_flight_bytes_max,
                1_u64 << 40
            ));
        }
    }

    pub(crate) fn body_time_max(&self) -> Duration {
        Duration::from_millis(self.body_time_ms_max)
    }

    pub(crate) fn append_time_max(&self) -> Duration {
        Duration::from_millis(self.append_time_ms_max)
    }

    pub(crate) fn redirect_wait_max(&self) -> Duration {
        Duration::from_millis(self.redirect_wait_ms_max)
    }

    pub(crate) fn clock_bounds(&self) -> ClockBounds {
        let us = |ms: u64| i64::try_from(ms.saturating_mul(1_000)).unwrap_or(i64::MAX);
        ClockBounds { future_us_max: us(self.future_ms_max), past_us_max: us(self.past_ms_max) }
    }
}

fn is_origin(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text
}

// Settings are printed at start; keys and secrets are not.
impl fmt::Debug for WriteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteKey")
            .field("source", &self.source)
            .field("trusted_clock", &self.trusted_clock)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IngestSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IngestSettings")
            .field("write_keys", &self.write_keys)
            .field("webhooks", &self.webhooks)
            .field("request_bytes_max", &self.request_bytes_max)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("event_bytes_max", &self.event_bytes_max)
            .field("batch_events_max", &self.batch_events_max)
            .field("cors_origins", &self.cors_origins)
            .field("forwarded_hops", &self.forwarded_hops)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str, source: &str) -> WriteKey {
        WriteKey { key: key.to_owned(), source: source.to_owned(), ..WriteKey::default() }
    }

    #[test]
    fn the_defaults_need_only_a_key() {
        let settings = IngestSettings { write_keys: vec![key("WK", "shop")], ..Default::default() };
        assert_eq!(settings.check(), Vec::<String>::new());
        assert_eq!(IngestSettings::default().check().len(), 1);
    }

    #[test]
    fn all_faults_are_told_together() {
        let settings = IngestSettings {
            write_keys: vec![key("a:b", "Shop"), key("x", "shop"), key("x", "other")],
            request_bytes_max: 0,
            append_time_ms_max: 0,
            ticket_secret: "short".to_owned(),
            cors_origins: vec!["shop.example".to_owned(), "https://shop.example/".to_owned()],
            in_flight_bytes_max: 1,
            ..Default::default()
        };
        let faults = settings.check();
        assert_eq!(faults.len(), 9, "{faults:#?}");
    }

    #[test]
    fn secrets_do_not_show() {
        let settings = IngestSettings {
            write_keys: vec![key("hush", "shop")],
            ticket_secret: "hush hush".to_owned(),
            ..Default::default()
        };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        assert!(serde_json::from_str::<IngestSettings>(r#"{"request_byte_max": 1}"#).is_err());
        let settings: IngestSettings =
            serde_json::from_str(r#"{"write_keys": [{"key": "k", "source": "s"}]}"#).unwrap();
        assert_eq!(settings.batch_events_max, 2_500);
    }
}

//! The protocols the door speaks. Each turns a request into `Accepted` and knows nothing of the others.
//!
//! In:      a request of its own shape, and what is common to all ([`Sender`]).
//! Out:     `Accepted`: events and dead letters.
//! Promise: the mapping is pure: the same bytes, key and time give the same events.
//!
//! A new dialect is a file here and its paths in `router.rs`; if it is posted to by the thousand, in `short.rs` too.

pub(crate) mod columns;
pub(crate) mod page;
pub(crate) mod pairs;
pub(crate) mod post;
pub(crate) mod reading;
pub(crate) mod visitor;

pub(crate) mod cloudevents;
pub(crate) mod ga4;
pub(crate) mod matomo;
pub(crate) mod native;
pub(crate) mod posthog;
pub(crate) mod segment;
pub(crate) mod snowplow;

pub(crate) mod pixel;
pub(crate) mod redirect;
pub(crate) mod unsubscribe;

use std::net::IpAddr;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use tributary_schemas::ids::ID_BYTES_MAX;
use tributary_schemas::{Consent, DeadLetter, DeadReason, Event, EventFlags, Exposure};

use self::reading::Reading;
use crate::append::{Accepted, Outcome, Told};
use crate::body::Text;
use crate::event_id::{EventId, EventIds};
use crate::privacy::Privacy;
use crate::replay::{self, Replay};
use crate::router::Door;
use crate::schema::Bench;
use crate::settings::{IngestSettings, WriteKey};
use crate::text::{AGENT_BYTES_MAX, NAME_BYTES_MAX, cut, lossy};
use crate::{engagement, json, network, telling};

/// What is known of a request before its dialect reads it.
pub(crate) struct Sender<'a> {
    pub settings: &'a IngestSettings,
    /// Holds events against their schemas, where there are any.
    pub bench: Option<Bench>,
    pub ids: &'a EventIds,
    pub privacy: &'a Privacy,
    pub key: &'a WriteKey,
    pub ingest_time_us: i64,
    pub ip: Option<IpAddr>,
    pub user_agent: Option<String>,
    /// The browser asks, by Global Privacy Control, not to be sold or targeted.
    pub privacy_control: bool,
    /// The sender says that this is not its first attempt.
    pub retried: bool,
    pub head: &'a Parts,
}

/// Whether a request says that it is not the first attempt: by the headers of Segment's SDKs and RudderStack's browser SDK, which
/// count retries, or by that of PostHog's, which counts attempts.
pub(crate) fn is_retry(headers: &HeaderMap) -> bool {
    /// With the count of the first attempt.
    static COUNTS: [(HeaderName, u32); 3] = [
        (HeaderName::from_static("x-retry-count"), 0),
        (HeaderName::from_static("rsa-retry-attempt"), 0),
        (HeaderName::from_static("posthog-attempt"), 1),
    ];
    COUNTS.iter().any(|(name, first)| {
        let count = headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<u32>().ok());
        count.is_some_and(|count| *first < count)
    })
}

static PRIVACY_CONTROL: HeaderName = HeaderName::from_static("sec-gpc");

impl<'a> Sender<'a> {
    pub(crate) fn of(door: &'a Door, key: &'a WriteKey, head: &'a Parts, ingest_time_us: i64) -> Self {
        let settings = &door.settings;
        // What is sent again from a dead letter is read as it would have been then.
        let replay = head.extensions.get::<Replay>();
        Self {
            settings,
            bench: door.judge.sit(key.schema_mode, replay.is_some()),
            ids: &door.ids,
            privacy: &door.privacy,
            key,
            ingest_time_us: replay.map_or(ingest_time_us, |replay| replay.ingest_time_us),
            ip: replay.map_or_else(|| network::visitor_ip(head, settings.forwarded_hops), |replay| replay.ip),
            user_agent: user_agent(&head.headers),
            privacy_control: head.headers.get(&PRIVACY_CONTROL).is_some_and(|value| value == "1"),
            retried: is_retry(&head.headers),
            head,
        }
    }

    /// * `payload`: a body (of a GET, a query) that the dialect reads and that holds what was refused, and nothing else.
    pub(crate) fn dead_letter(&self, dialect: &str, refused: Refused, payload: &[u8]) -> DeadLetter {
        let mut event = refused.event.unwrap_or_else(|| {
            // Without a name: nothing was read but what the request shows.
            let mut event = Event::new(&self.key.source, dialect, "", "", self.ingest_time_us);
            if !self.key.trusted_clock {
                event.ip_truncated = self.ip.map(network::truncated);
            }
            Box::new(event)
        });
        if event.user_agent.is_none() {
            event.user_agent.clone_from(&self.user_agent);
        }
        if self.privacy_control {
            honour_privacy_control(&mut event);
        }
        DeadLetter {
            source: Some(self.key.source.clone()),
            dialect: dialect.to_owned(),
            event_id: refused.event_id,
            ingest_time_us: self.ingest_time_us,
            reason: refused.reason,
            detail: refused.detail,
            payload: Some(payload_text(payload, self.settings.dead_letter_payload_bytes_max)),
            payload_bytes: i64::try_from(payload.len()).unwrap_or(i64::MAX),
            request: Some(replay::request_line(self)),
            event: Some(event),
        }
    }
}

impl Sender<'_> {
    /// The id its client gave, as it may be kept.
    pub(crate) fn own_id(&self, id: &str) -> EventId {
        let source = &self.key.source;
        match self.privacy.hidden_id(source, id) {
            Some(event_id) => EventId { event_id, client_event_id: None },
            None => self.ids.given(source, id),
        }
    }

    /// An event as it was read, held against the schema of its name; or else a dead letter of it.
    ///
    /// * `alone`: makes a body that the dialect reads and that holds this event and no other, with what its request said
    ///   for all of them: so it can be replayed.
    pub(crate) fn file<A: Into<Vec<u8>>>(
        &self,
        accepted: &mut Accepted,
        dialect: &str,
        alone: impl FnOnce() -> A,
        read: Result<Event, Refused>,
    ) {
        self.settle(accepted, dialect, alone, self.judged(read));
    }

    fn judged(&self, read: Result<Event, Refused>) -> Result<Event, Refused> {
        match &self.bench {
            Some(bench) => read.and_then(|event| bench.judge(event)),
            None => read,
        }
    }

    fn settle<A: Into<Vec<u8>>>(
        &self,
        accepted: &mut Accepted,
        dialect: &str,
        alone: impl FnOnce() -> A,
        judged: Result<Event, Refused>,
    ) {
        match judged {
            Ok(event) => accepted.events.push(event),
            Err(refused) => {
                let payload: Vec<u8> = alone().into();
                accepted.letter_bytes += payload.len();
                let is_within = accepted.letter_bytes <= self.settings.request_bytes_max;
                let mut letter = self.dead_letter(dialect, refused, if is_within { &payload } else { &[] });
                if !is_within {
                    // What a request says for all of its events stands in each letter: of a small one with a large frame
                    // and many bad events that would be a thousand times its size.
                    letter.detail.push_str("; what was sent is not kept: there is too much of it in this request");
                    (letter.payload, letter.request) = (None, None);
                    letter.payload_bytes = i64::try_from(payload.len()).unwrap_or(i64::MAX);
                }
                accepted.dead_letters.push(letter);
            }
        }
    }

    /// The same, and what its sender hears of it: a warning, where there is one.
    pub(crate) fn file_and_tell<A: Into<Vec<u8>>>(
        &self,
        accepted: &mut Accepted,
        dialect: &str,
        alone: impl FnOnce() -> A,
        read: Result<Event, Refused>,
    ) {
        let judged = self.judged(read);
        accepted.told.push(match &judged {
            Ok(event) => {
                let warnings = (!event.warnings.is_empty()).then(|| event.warnings.join("; "));
                Told {
                    event_id: Some(event.event_id.clone()),
                    outcome: if warnings.is_some() { Outcome::Warning } else { Outcome::Ok },
                    details: warnings,
                    event: Some(accepted.events.len()),
                }
            }
            Err(refused) => Told {
                event_id: refused.event_id.clone(),
                outcome: Outcome::Drop,
                details: Some(refused.detail.clone()),
                event: None,
            },
        });
        self.settle(accepted, dialect, alone, judged);
    }
}

/// The visitor of an event that was reported: his address and browser as the sender names them, else as the request shows,
/// and what sort of visitor that is.
///
/// * `from_server`: the library runs on a server, which names the address of its visitor; its own says nothing.
pub(crate) fn put_visitor(event: &mut Event, named_ip: Option<&str>, from_server: bool, sender: &Sender<'_>) {
    let ip = match named_ip {
        Some(text) => network::parse_ip(text),
        None if from_server => None,
        None => sender.ip,
    };
    event.ip_truncated = ip.map(network::truncated);
    if event.user_agent.is_none() && !from_server {
        event.user_agent.clone_from(&sender.user_agent);
    }
    engagement::of_reported(event.event_kind, from_server, event.user_agent.as_deref()).put_on(event);
}

/// Says of an event of a body that was cleaned, if that was in it.
pub(crate) fn flag_cleaned(event: &mut Event, text: &Text<'_>, written: &str) {
    if text.cleaned && written.contains(char::REPLACEMENT_CHARACTER) {
        event.flags = event.flags.with(EventFlags::TRIMMED);
    }
}

pub(crate) fn user_agent(headers: &HeaderMap) -> Option<String> {
    let agent = lossy(headers.get(header::USER_AGENT)?.as_bytes());
    let agent = cut(agent.trim(), AGENT_BYTES_MAX);
    (!agent.is_empty()).then(|| agent.to_owned())
}

/// Why one event cannot be taken.
#[derive(Debug, PartialEq)]
pub(crate) struct Refused {
    pub reason: DeadReason,
    /// Which field, what was expected, what to do.
    pub detail: String,
    pub event_id: Option<String>,
    /// As much of it as was read.
    pub event: Option<Box<Event>>,
}

impl Refused {
    pub(crate) fn new(reason: DeadReason, detail: String) -> Self {
        Self { reason, detail, event_id: None, event: None }
    }

    /// With what was read of the event before.
    pub(crate) fn of(self, event: Event) -> Self {
        Self { event: Some(Box::new(event)), ..self }
    }

    pub(crate) fn field(name: &str, expected: &str, found: &str) -> Self {
        Self::new(DeadReason::InvalidField, format!("{name}: expected {expected}, found {found}"))
    }
}

/// What every event must hold before it leaves a dialect: ids that are ids, someone to file it under.
///
/// * `has_own_id`: its sender gave it an event id, or it came of a ticket; then it may stand alone (unordered).
pub(crate) fn settle_identity(event: &mut Event, has_own_id: bool) -> Result<(), Refused> {
    event.drop_junk_ids();
    if event.account_id.as_deref().is_some_and(tributary_schemas::is_junk_id) {
        event.account_id = None;
        event.flags = event.flags.with(EventFlags::JUNK_ID);
    }
    if event.person_key().is_none() {
        if !has_own_id && event.account_id.is_none() {
            let detail = "anonymousId, userId: expected at least one of them (or a messageId), found none that is an id; \
                          \"null\", \"undefined\", \"anonymous\", zeros and the like count as none";
            return Err(Refused::new(DeadReason::NoIdentity, detail.to_owned()));
        }
        event.flags = event.flags.with(EventFlags::UNORDERED);
    }
    Ok(())
}

/// The last step of every mapping: what the request itself says of privacy, and ids that are ids.
///
/// * `cookieless`: nothing may be stored on the visitor's device, so it brings no id of its own.
pub(crate) fn finish(
    event: &mut Event,
    has_own_id: bool,
    cookieless: bool,
    sender: &Sender<'_>,
) -> Result<(), Refused> {
    if cookieless && event.anonymous_id.is_none() {
        event.anonymous_id = visitor::id_of_the_day(event, sender);
    }
    if sender.privacy_control {
        honour_privacy_control(event);
    }
    settle_identity(event, has_own_id)
}

/// How deep an event may nest. Trackers stay under 10; readers of the lake recurse, and so must be spared.
pub(crate) const DEPTH_MAX: usize = 64;

/// Whether an event, as it was written, is small and flat enough to be read.
pub(crate) fn judge_size(event_json: &str, settings: &IngestSettings) -> Result<(), Refused> {
    let bytes_max = settings.event_bytes_max;
    if bytes_max < event_json.len() {
        let detail = format!("the event is {} bytes, over the limit of {bytes_max}: send less in it", event_json.len());
        return Err(Refused::new(DeadReason::TooLarge, detail));
    }
    if json::is_deeper_than(event_json, DEPTH_MAX) {
        let detail = format!("the event nests deeper than {DEPTH_MAX} levels: send it flatter");
        return Err(Refused::new(DeadReason::InvalidField, detail));
    }
    Ok(())
}

/// Most exposures read from one event; a page shows a handful.
pub(crate) const EXPOSURES_MAX: usize = 50;

/// A list of exposures: `{experiment, variant, decision_id?, probability?}` each.
pub(crate) fn exposures(list: &str, reading: &mut Reading) -> Vec<Exposure> {
    match json::elements(list, EXPOSURES_MAX) {
        Ok(Some(elements)) => elements.into_iter().filter_map(|json| exposure(json, reading)).collect(),
        Ok(None) | Err(_) => {
            telling::not_read("exposures");
            Vec::new()
        }
    }
}

fn exposure(json: &str, reading: &mut Reading) -> Option<Exposure> {
    let Ok([experiment, variant, decision_id, probability]) =
        json::pick(json, ["experiment", "variant", "decision_id", "probability"])
    else {
        telling::not_read("exposures");
        return None;
    };
    let experiment = reading.text("exposures", experiment, NAME_BYTES_MAX);
    let variant = reading.text("exposures", variant, NAME_BYTES_MAX);
    let (Some(experiment), Some(variant)) = (experiment, variant) else {
        telling::not_read("exposures");
        return None;
    };
    let probability = probability.and_then(|json| json.parse::<f64>().ok()).filter(|p| 0.0 < *p && *p <= 1.0);
    let decision_id = reading.short_id("exposures", decision_id);
    Some(Exposure { experiment, variant, decision_id, probability })
}

/// Records a browser's objection and takes away what it objects to. When nobody asked the person, nothing becomes
/// granted by it: the consent stays unknown, and the objection stands in the flags.
pub(crate) fn honour_privacy_control(event: &mut Event) {
    let objected = Consent::ADS.with(Consent::SALE).0;
    event.consent = event.consent.map(|granted| Consent(granted.0 & !objected));
    event.flags = event.flags.with(EventFlags::PRIVACY_CONTROL);
}

/// An id of the query of a pixel or redirect: cut ids could meet, so one too long counts as none.
pub(crate) fn short_id(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text.len() <= ID_BYTES_MAX).then(|| text.to_owned())
}

/// A payload as text: as it is where it is UTF-8, else `base64:` and its bytes, cut to the limit.
fn payload_text(payload: &[u8], bytes_max: usize) -> String {
    use base64::Engine as _;
    match std::str::from_utf8(payload) {
        // What begins as if it were packed must not be taken for it.
        Ok(text) if !text.starts_with("base64:") => cut(text, bytes_max).to_owned(),
        _ => {
            // Four letters stand for three bytes; whole groups only, so that a cut payload still decodes.
            let fitting = payload.len().min(bytes_max / 4 * 3);
            format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(&payload[..fitting]))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_no_text_is_kept_as_base64() {
        assert_eq!(payload_text(b"plain", 100), "plain");
        assert_eq!(payload_text("ää".as_bytes(), 3), "ä");
        assert_eq!(payload_text(&[0x1F, 0x8B, 0xFF, 0], 4), "base64:H4v/");
    }

    #[test]
    fn privacy_control_takes_ads_and_sale_only() {
        let mut event = Event::new("s", "segment", "e", "page", 0);
        honour_privacy_control(&mut event);
        assert_eq!((event.consent, event.flags), (None, EventFlags::PRIVACY_CONTROL), "an objection grants nothing");
        event.consent = Some(Consent::ADS.with(Consent::ANALYTICS));
        honour_privacy_control(&mut event);
        assert_eq!(event.consent, Some(Consent::ANALYTICS));
    }
}

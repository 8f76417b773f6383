//! The one envelope for everything that happens to, or is done to, a person.
//!
//! In:      what a dialect of the door, an import or a campaign knows.
//! Out:     `Event` (and `DeadLetter` for what could not become one), and their column tables.
//! Promise: columns are only ever added, at the end.
//!
//! A field of the struct and the column of the same name stand in the same order; `wire` writes them
//! in that order and a test finds each again under its name.

use std::sync::LazyLock;

use crate::columns::{Column, ColumnKind as K, Personal as P, Purpose as U, optional, required};
use crate::ids::is_junk_id;
use crate::money::Money;
use crate::vocabulary::{ClockQuality, Consent, DeadReason, EngagementClass, EventFlags, EventKind};

/// One variant of one experiment that the person was shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Exposure {
    pub experiment: String,
    pub variant: String,
    /// The decision that chose the variant, if one was recorded.
    pub decision_id: Option<String>,
    /// The chance that variant had when it was chosen: 0 < p <= 1.
    pub probability: Option<f64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub event_id: String,
    pub client_event_id: Option<String>,
    pub source: String,
    pub dialect: String,
    pub anonymous_id: Option<String>,
    pub user_id: Option<String>,
    pub previous_id: Option<String>,
    pub device_id: Option<String>,
    pub account_id: Option<String>,

    pub event_time_us: i64,
    pub client_time_us: Option<i64>,
    pub sent_time_us: Option<i64>,
    pub ingest_time_us: i64,
    pub clock_quality: ClockQuality,
    pub clock_skew_us: Option<i64>,

    pub event_name: String,
    pub event_kind: EventKind,
    pub value: Option<Money>,
    pub currency: Option<String>,

    pub channel: Option<String>,
    pub campaign_id: Option<String>,
    pub ad_id: Option<String>,
    pub creative_id: Option<String>,
    pub message_id: Option<String>,
    pub link_id: Option<String>,
    pub utm_source: Option<String>,
    pub utm_medium: Option<String>,
    pub utm_campaign: Option<String>,
    pub utm_term: Option<String>,
    pub utm_content: Option<String>,
    pub gclid: Option<String>,
    pub gbraid: Option<String>,
    pub wbraid: Option<String>,
    pub dclid: Option<String>,
    pub fbclid: Option<String>,
    pub msclkid: Option<String>,
    pub ttclid: Option<String>,
    pub twclid: Option<String>,
    pub li_fat_id: Option<String>,
    pub referrer_host: Option<String>,
    pub referrer_medium: Option<String>,
    pub referrer_source: Option<String>,
    pub referrer_term: Option<String>,

    pub exposures: Vec<Exposure>,
    pub decision_id: Option<String>,

    pub url_host: Option<String>,
    pub url_path: Option<String>,
    pub url_query: Option<String>,
    pub title: Option<String>,
    pub language: Option<String>,
    pub timezone: Option<String>,
    pub screen: Option<String>,
    pub user_agent: Option<String>,
    pub browser: Option<String>,
    pub os: Option<String>,
    pub device_class: Option<String>,
    pub country: Option<String>,
    pub region: Option<String>,
    pub ip_truncated: Option<String>,
    pub library: Option<String>,

    pub engagement_class: EngagementClass,
    pub engagement_confidence: Option<f64>,
    pub engagement_reasons: Vec<String>,
    pub consent: Option<Consent>,
    pub flags: EventFlags,

    pub properties: Option<String>,

    pub schema_version: Option<String>,
    pub warnings: Vec<String>,
    pub replayed_from: Option<String>,
}

/// The columns of [`Event`], in its order. This is the source of the Avro schema, of the Arrow
/// schema of `events`, and of `docs/event.md`.
pub const EVENT_COLUMNS: &[Column] = &[
    required(
        "event_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "Identity of this event within its source: the client's own id, or a UUID (version 8, keyed) of source and what it sent.",
    ),
    optional(
        "client_event_id",
        K::Text,
        U::Audit,
        P::Pseudonymous,
        "",
        "The id as the client wrote it, where it differs from `event_id`.",
    ),
    required(
        "source",
        K::Text,
        U::Identity,
        P::No,
        "",
        "Which site, app, mailer or import sent it: the name its write key has in the settings.",
    ),
    required("dialect", K::Text, U::Audit, P::No, "", "The protocol it came in by: segment, pixel, redirect ..."),
    optional(
        "anonymous_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "The browser's or device's own id, before anyone logs in.",
    ),
    optional("user_id", K::Text, U::Identity, P::Yes, "", "The id the customer's own systems know the person by."),
    optional(
        "previous_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "On alias events: the id that is from now on the same person as `user_id`.",
    ),
    optional(
        "device_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "The device's id where the client has one apart from `anonymous_id`.",
    ),
    optional(
        "account_id",
        K::Text,
        U::Identity,
        P::Pseudonymous,
        "",
        "The company, team or household the person acted for.",
    ),
    required(
        "event_time_us",
        K::Int,
        U::Time,
        P::No,
        "microseconds since 1970, UTC",
        "When it happened, by the best clock we have: see `clock_quality`.",
    ),
    optional(
        "client_time_us",
        K::Int,
        U::Time,
        P::No,
        "microseconds since 1970, UTC",
        "When it happened, by the client's clock, untouched.",
    ),
    optional(
        "sent_time_us",
        K::Int,
        U::Time,
        P::No,
        "microseconds since 1970, UTC",
        "When the client says it sent it; stale on a retry in some SDKs.",
    ),
    required("ingest_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "When the door received it."),
    required(
        "clock_quality",
        K::Text,
        U::Quality,
        P::No,
        "",
        "How `event_time_us` was found: trusted, corrected, unchecked, received or clamped.",
    ),
    optional(
        "clock_skew_us",
        K::Int,
        U::Quality,
        P::No,
        "microseconds",
        "How far the client's clock was ahead of ours (negative: behind), where it could be seen.",
    ),
    required(
        "event_name",
        K::Text,
        U::Measure,
        P::No,
        "",
        "What happened, in the sender's words: 'Order Completed', 'page' ...",
    ),
    required(
        "event_kind",
        K::Text,
        U::Measure,
        P::No,
        "",
        "What sort of thing that is: page, click, impression, open, conversion, identify, alias, group, send, decision, consent, feedback, cost, custom or engagement.",
    ),
    optional("value", K::Money, U::Measure, P::No, "units of `currency`", "What it was worth."),
    optional("currency", K::Text, U::Measure, P::No, "ISO 4217 code", "The currency of `value`."),
    optional(
        "channel",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "The marketing channel: email, paid_search, paid_social, display, referral, organic_search ...; null where nobody brought it.",
    ),
    optional("campaign_id", K::Text, U::Attribution, P::No, "", "The campaign that brought it about."),
    optional("ad_id", K::Text, U::Attribution, P::No, "", "The ad."),
    optional("creative_id", K::Text, U::Attribution, P::No, "", "The picture or text of the ad or message."),
    optional(
        "message_id",
        K::Text,
        U::Attribution,
        P::Pseudonymous,
        "",
        "The one message (e-mail, push) this was sent as or answers to.",
    ),
    optional("link_id", K::Text, U::Attribution, P::No, "", "The link within the message that was clicked."),
    optional("utm_source", K::Text, U::Attribution, P::No, "", "utm_source of the landing address."),
    optional("utm_medium", K::Text, U::Attribution, P::No, "", "utm_medium of the landing address."),
    optional("utm_campaign", K::Text, U::Attribution, P::No, "", "utm_campaign of the landing address."),
    optional("utm_term", K::Text, U::Attribution, P::No, "", "utm_term of the landing address."),
    optional("utm_content", K::Text, U::Attribution, P::No, "", "utm_content of the landing address."),
    optional("gclid", K::Text, U::Attribution, P::Pseudonymous, "", "Google Ads click id."),
    optional("gbraid", K::Text, U::Attribution, P::No, "", "Google Ads click id for iOS apps, aggregated."),
    optional("wbraid", K::Text, U::Attribution, P::No, "", "Google Ads click id for iOS web, aggregated."),
    optional("dclid", K::Text, U::Attribution, P::Pseudonymous, "", "Google display click id."),
    optional("fbclid", K::Text, U::Attribution, P::Pseudonymous, "", "Meta click id."),
    optional("msclkid", K::Text, U::Attribution, P::Pseudonymous, "", "Microsoft Advertising click id."),
    optional("ttclid", K::Text, U::Attribution, P::Pseudonymous, "", "TikTok click id."),
    optional("twclid", K::Text, U::Attribution, P::Pseudonymous, "", "X click id."),
    optional("li_fat_id", K::Text, U::Attribution, P::Pseudonymous, "", "LinkedIn click id."),
    optional("referrer_host", K::Text, U::Attribution, P::No, "", "Host of the page that linked here, lower case."),
    optional(
        "referrer_medium",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "What kind of site that is: search, social, email, ai_assistant, paid, internal or unknown.",
    ),
    optional(
        "referrer_source",
        K::Text,
        U::Attribution,
        P::No,
        "",
        "Its name: Google, Facebook ...; null where no list knows it.",
    ),
    optional(
        "referrer_term",
        K::Text,
        U::Attribution,
        P::Yes,
        "",
        "The search words it passed on; of known search engines only.",
    ),
    optional(
        "exposures",
        K::Exposures,
        U::Experiment,
        P::No,
        "",
        "The variants of experiments the person was shown with this event.",
    ),
    optional("decision_id", K::Text, U::Experiment, P::No, "", "The recorded decision that caused this event."),
    optional("url_host", K::Text, U::Context, P::No, "", "Host of the page, lower case."),
    optional("url_path", K::Text, U::Context, P::No, "", "Path of the page."),
    optional(
        "url_query",
        K::Text,
        U::Context,
        P::Yes,
        "",
        "Query of the page, without the '?'; may hold whatever the site puts there.",
    ),
    optional("title", K::Text, U::Context, P::No, "", "Title of the page or name of the screen."),
    optional("language", K::Text, U::Context, P::No, "BCP 47 tag", "The person's language setting."),
    optional("timezone", K::Text, U::Context, P::No, "IANA name", "The person's time zone."),
    optional("screen", K::Text, U::Context, P::No, "pixels, width x height", "Size of the screen."),
    optional("user_agent", K::Text, U::Context, P::Pseudonymous, "", "The browser's or library's own description."),
    optional("browser", K::Text, U::Context, P::No, "", "Browser family, from `user_agent`."),
    optional(
        "os",
        K::Text,
        U::Context,
        P::No,
        "",
        "Operating system family, as the sender names it, else from `user_agent`.",
    ),
    optional(
        "device_class",
        K::Text,
        U::Context,
        P::No,
        "",
        "desktop, mobile, tablet, tv, console, wearable, bot or other, from `user_agent`.",
    ),
    optional("country", K::Text, U::Context, P::No, "ISO 3166-1 alpha-2, or the source's own code", "Country."),
    optional("region", K::Text, U::Context, P::No, "", "Region within the country."),
    optional(
        "ip_truncated",
        K::Text,
        U::Context,
        P::Pseudonymous,
        "IPv4 /24 or IPv6 /48",
        "The sender's network. The full address has no column; the raw text of a dead letter may hold one.",
    ),
    optional("library", K::Text, U::Context, P::No, "", "Name and version of the SDK that sent it."),
    required(
        "engagement_class",
        K::Text,
        U::Quality,
        P::No,
        "",
        "Who, most likely, did it: human, privacy_proxy, prefetch, scanner, bot or unknown.",
    ),
    optional(
        "engagement_confidence",
        K::Ratio,
        U::Quality,
        P::No,
        "probability",
        "How sure the classifier is of `engagement_class`.",
    ),
    optional("engagement_reasons", K::TextList, U::Quality, P::No, "", "What it saw."),
    optional(
        "consent",
        K::Int,
        U::Quality,
        P::No,
        "bit mask: 1 analytics, 2 marketing, 4 ads, 8 personalization, 16 sale",
        "What the person had allowed at that moment; null when nobody asked.",
    ),
    required(
        "flags",
        K::Int,
        U::Quality,
        P::No,
        "bit mask: 1 late, 2 clamped, 4 unordered, 8 id_collision, 16 junk_id, 32 trimmed, 64 privacy_control, 128 unread_value, 256 off_schema",
        "What the line noticed about it.",
    ),
    optional(
        "properties",
        K::Text,
        U::Measure,
        P::Yes,
        "JSON object",
        "Everything else the sender said: properties or traits.",
    ),
    optional(
        "schema_version",
        K::Text,
        U::Audit,
        P::No,
        "MODEL-REVISION-ADDITION",
        "The version of the schema of this event's name that its properties fit; null where there is none, or it fits none.",
    ),
    optional(
        "warnings",
        K::TextList,
        U::Quality,
        P::Yes,
        "",
        "What is not as it should be, in words, which may repeat what was sent: `schema: ...` where it fits no schema of its name and the mode is warn.",
    ),
    optional(
        "replayed_from",
        K::Text,
        U::Audit,
        P::No,
        "topic/partition/offset",
        "The row of `dead_letters` it came of, by `log_topic`, `log_partition` and `log_offset`; null where it came as it is.",
    ),
];

/// Something that could not become an event, kept so that it can be mended and replayed.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    pub source: Option<String>,
    pub dialect: String,
    pub event_id: Option<String>,
    pub ingest_time_us: i64,
    pub reason: DeadReason,
    pub detail: String,
    pub payload: Option<String>,
    pub payload_bytes: i64,
    pub request: Option<String>,
    /// As much of the event as could be read. Its source, dialect, id and time of receipt are those of the letter.
    pub event: Option<Box<Event>>,
}

/// The columns a dead letter has of its own.
pub(crate) const DEAD_LETTER_OWN: &[Column] = &[
    optional("source", K::Text, U::Identity, P::No, "", "Which source sent it, if its write key was known."),
    required("dialect", K::Text, U::Audit, P::No, "", "The protocol it came in by."),
    optional("event_id", K::Text, U::Identity, P::Pseudonymous, "", "Its event id, if it had one that could be read."),
    required("ingest_time_us", K::Int, U::Time, P::No, "microseconds since 1970, UTC", "When the door received it."),
    required(
        "reason",
        K::Text,
        U::Quality,
        P::No,
        "",
        "Why it is here: malformed, invalid_field, no_identity, too_large, duplicate, undecodable or off_schema.",
    ),
    required(
        "detail",
        K::Text,
        U::Quality,
        P::Yes,
        "",
        "The reason in words: which field, what was expected, what to do. It may repeat what was sent.",
    ),
    optional(
        "payload",
        K::Text,
        U::Audit,
        P::Yes,
        "",
        "What was sent, as a body its dialect reads, cut at the limit in the settings; absent for duplicates, whose first copy is in `events`.",
    ),
    required("payload_bytes", K::Int, U::Audit, P::No, "bytes", "How long it was before any cut."),
    optional(
        "request",
        K::Text,
        U::Audit,
        P::Pseudonymous,
        "method, path and query, words",
        "The request it came in, without its keys, and what was said beside the body (retried, sp-anonymous, gpc, trusted): `dead-letters replay` sends the payload there again.",
    ),
];

/// The columns of [`DeadLetter`]: its own, then those of [`EVENT_COLUMNS`] that are not among them, each null where it could
/// not be read.
pub fn dead_letter_columns() -> &'static [Column] {
    static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
        let own = |column: &Column| DEAD_LETTER_OWN.iter().any(|own| own.name == column.name);
        let of_event = EVENT_COLUMNS.iter().filter(|column| !own(column));
        let of_event = of_event.map(|column| Column { nullable: true, ..*column });
        DEAD_LETTER_OWN.iter().copied().chain(of_event).collect()
    });
    &COLUMNS
}

impl Event {
    /// An event with what none may lack; everything else absent.
    pub fn new(source: &str, dialect: &str, event_id: &str, event_name: &str, event_time_us: i64) -> Self {
        Self {
            event_id: event_id.to_owned(),
            client_event_id: None,
            source: source.to_owned(),
            dialect: dialect.to_owned(),
            anonymous_id: None,
            user_id: None,
            previous_id: None,
            device_id: None,
            account_id: None,
            event_time_us,
            client_time_us: None,
            sent_time_us: None,
            ingest_time_us: event_time_us,
            clock_quality: ClockQuality::Received,
            clock_skew_us: None,
            event_name: event_name.to_owned(),
            event_kind: EventKind::Custom,
            value: None,
            currency: None,
            channel: None,
            campaign_id: None,
            ad_id: None,
            creative_id: None,
            message_id: None,
            link_id: None,
            utm_source: None,
            utm_medium: None,
            utm_campaign: None,
            utm_term: None,
            utm_content: None,
            gclid: None,
            gbraid: None,
            wbraid: None,
            dclid: None,
            fbclid: None,
            msclkid: None,
            ttclid: None,
            twclid: None,
            li_fat_id: None,
            referrer_host: None,
            referrer_medium: None,
            referrer_source: None,
            referrer_term: None,
            exposures: Vec::new(),
            decision_id: None,
            url_host: None,
            url_path: None,
            url_query: None,
            title: None,
            language: None,
            timezone: None,
            screen: None,
            user_agent: None,
            browser: None,
            os: None,
            device_class: None,
            country: None,
            region: None,
            ip_truncated: None,
            library: None,
            engagement_class: EngagementClass::Unknown,
            engagement_confidence: None,
            engagement_reasons: Vec::new(),
            consent: None,
            flags: EventFlags::default(),
            properties: None,
            schema_version: None,
            warnings: Vec::new(),
            replayed_from: None,
        }
    }

    /// Removes ids that are no ids, and says so in `flags`.
    pub fn drop_junk_ids(&mut self) {
        for id in [&mut self.anonymous_id, &mut self.user_id, &mut self.previous_id, &mut self.device_id] {
            if id.as_deref().is_some_and(is_junk_id) {
                *id = None;
                self.flags = self.flags.with(EventFlags::JUNK_ID);
            }
        }
    }

    /// Whose line of events this belongs to, within its source: the device before the person, so that
    /// a session does not change its key when someone logs in.
    ///
    /// Returns `None` when nobody is named; such an event stands alone.
    pub fn person_key(&self) -> Option<&str> {
        self.anonymous_id.as_deref().or(self.user_id.as_deref()).or(self.device_id.as_deref())
    }

    /// The bytes the log partition is chosen by: source and person, or source and event id when nobody
    /// is named. A retry carries the same ids, so a duplicate always meets its first copy.
    pub fn partition_key(&self) -> Vec<u8> {
        let key = self.person_key().unwrap_or(&self.event_id);
        let mut bytes = Vec::with_capacity(self.source.len() + 1 + key.len());
        bytes.extend_from_slice(self.source.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(key.as_bytes());
        bytes
    }
}

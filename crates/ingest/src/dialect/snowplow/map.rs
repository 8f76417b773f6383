//! From one event of Snowplow's tracker protocol to ours.
//!
//! In:      its parameters.
//! Out:     an `Event`, or the parameter that cannot be read and what was expected there.
//! Promise: pure. The data of a self-describing event become the properties, with their `$schema`; contexts are kept beside
//!          them as they were sent; parameters without a column are kept by their names.
//!
//! Source: Snowplow Tracker Protocol (docs.snowplow.io), read beside requests of its JavaScript, Node and Python trackers.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tributary_schemas::{Consent, Event, EventKind, Money, currency, is_junk_id};

use super::DIALECT;
use crate::clock_rule::{ClientClock, Written, read_time};
use crate::consent;
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::pairs::Pairs;
use crate::dialect::reading::{Reading, plain, put_time};
use crate::dialect::{Refused, Sender, finish, judge_size, put_visitor};
use crate::json::{self, CleanedText, Scalar};
use crate::kind_rule::kind_of_name;
use crate::text::{AGENT_BYTES_MAX, CODE_BYTES_MAX, NAME_BYTES_MAX, TITLE_BYTES_MAX};

/// Parameters that are read into columns, or that say how and not what.
const TAKEN: &[&str] = &[
    "e", "eid", "dtm", "stm", "ttm", "uid", "duid", "nuid", "tnuid", "url", "page", "refr", "ua", "ip", "lang", "tz",
    "res", "tv", "tna", "ue_pr", "ue_px", "co", "cx", "aid", "writeKey",
];

/// How trackers that run on servers begin their version.
const SERVER_TRACKERS: &[&str] =
    &["node-", "py-", "java-", "rb-", "golang-", "php-", "scala-", "dotnet-", "net-", "rust-"];

/// Trackers leave the padding of base64 away or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn pairs_of(event_json: &str) -> Result<Pairs, Refused> {
    let members = json::members(event_json)
        .map_err(|_| Refused::field("event", "an object of parameters", json::scalar(event_json).kind()))?;
    let pairs = members.into_iter().filter(|(_, json)| *json != "null").map(|(name, json)| match plain(json) {
        Some(text) => (name.into_owned(), text),
        // No parameter is a list or an object; as they were written they go to the properties, also under a name of ours.
        None if TAKEN.contains(&&*name) => (format!("${name}"), json.to_owned()),
        None => (name.into_owned(), json.to_owned()),
    });
    Ok(Pairs::from_pairs(pairs.collect()))
}

/// What parameters hold as JSON, unpacked.
struct Unpacked {
    event: Option<String>,
    contexts: Option<String>,
}

/// A self-describing event or context: its schema's name, the schema, its data; each as it was written.
struct Described<'a> {
    name: String,
    schema: &'a str,
    data: Option<&'a str>,
}

impl<'a> Described<'a> {
    fn read(json: &'a str) -> Option<Self> {
        let [schema, data] = json::pick(json, ["schema", "data"]).ok()?;
        let name = schema_name(&plain(schema?)?)?.to_owned();
        Some(Self { name, schema: schema?, data })
    }

    /// A member of the data, as text.
    fn get(&self, name: &str) -> Option<String> {
        plain(json::pick(self.data?, [name]).ok()?[0]?)
    }
}

pub(super) fn event(pairs: &Pairs, sender: &Sender<'_>) -> Result<Event, Refused> {
    let mut reading = Reading::default();
    let own_id = pairs.get("eid").filter(|id| !is_junk_id(id)).map(|id| sender.own_id(id));
    let has_own_id = own_id.is_some();
    let mut event = Event::new(&sender.key.source, DIALECT, "", "", sender.ingest_time_us);
    match own_id {
        Some(id) => {
            event.event_id = id.event_id;
            event.client_event_id = id.client_event_id;
        }
        None => event.event_id = sender.ids.of_pairs(&sender.key.source, DIALECT, pairs, &["stm"]),
    }
    let letter_id = has_own_id.then(|| event.event_id.clone());
    match fill(&mut event, pairs, sender, &mut reading, has_own_id) {
        Ok(()) => Ok(event),
        Err(refused) => Err(Refused { event_id: letter_id, ..refused.of(event) }),
    }
}

fn fill(
    event: &mut Event,
    pairs: &Pairs,
    sender: &Sender<'_>,
    reading: &mut Reading,
    has_own_id: bool,
) -> Result<(), Refused> {
    let unpacked = Unpacked { event: json_of(pairs, "ue_pr", "ue_px")?, contexts: json_of(pairs, "co", "cx")? };
    let list = unpacked.contexts.as_deref().and_then(|json| json::pick(json, ["data"]).ok()?[0]);
    let contexts = list.map_or(Ok(Vec::new()), contexts_of)?;
    let described = name_and_kind(event, pairs, &unpacked, &contexts, reading)?;

    let is_anonymous = sender.head.headers.contains_key("sp-anonymous");
    event.user_id = pairs.get("uid").and_then(|id| reading.plain_id(id));
    let network_id = pairs.get("nuid").or(pairs.get("tnuid")).filter(|_| !is_anonymous);
    let session_user = context(&contexts, "client_session").and_then(|session| session.get("userId"));
    let device = pairs.get("duid").or(session_user.as_deref()).or(network_id);
    event.anonymous_id = device.and_then(|id| reading.plain_id(id));

    if let Some(url) = pairs.get("url") {
        put_address(event, url, reading);
    }
    if let Some(referrer) = pairs.get("refr") {
        put_referrer(event, referrer, reading);
    }
    let mut text = |name: &str, bytes_max| pairs.get(name).and_then(|text| reading.fit(text, bytes_max));
    event.title = text("page", TITLE_BYTES_MAX);
    event.language = text("lang", CODE_BYTES_MAX);
    event.timezone = text("tz", CODE_BYTES_MAX);
    event.screen = text("res", CODE_BYTES_MAX);
    event.user_agent = text("ua", AGENT_BYTES_MAX);
    let tracker = pairs.get("tv").unwrap_or_default();
    if !tracker.is_empty() {
        event.library = reading.fit(&format!("snowplow/{tracker}"), NAME_BYTES_MAX);
    }

    let from_server = sender.key.trusted_clock
        || pairs.get("p") == Some("srv")
        || SERVER_TRACKERS.iter().any(|begin| tracker.starts_with(begin));
    put_visitor(event, pairs.get("ip"), from_server, sender);
    if is_anonymous {
        event.ip_truncated = None;
    }

    let time = |name: &str| {
        let text = pairs.get(name).map(|text| Scalar::Text(CleanedText { text: text.into(), cleaned: false }));
        read_time(text.as_ref()).unwrap_or(Written::Unreadable)
    };
    let true_time = time("ttm");
    let clock = ClientClock {
        client: if true_time == Written::Absent { time("dtm") } else { true_time },
        sent: time("stm"),
        trusted: from_server,
        // A true time is one the sender has already set right: no correction.
        retried: sender.retried || true_time != Written::Absent,
    };
    put_time(event, clock, sender);

    event.properties = properties(pairs, described.as_ref(), list);
    if let Some(properties) = &event.properties {
        // What came in base64 was not seen before.
        judge_size(properties, sender.settings)?;
    }
    reading.put_flags(event);
    finish(event, has_own_id, is_anonymous, sender)
}

/// The data of a self-describing event, and before them what else was sent: where two have one name the data count.
fn properties(pairs: &Pairs, described: Option<&Described<'_>>, contexts: Option<&str>) -> Option<String> {
    let rest = pairs.rest(TAKEN).unwrap_or_default();
    let rest: Vec<(&str, String)> = rest.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
    let mut extra: Vec<(&str, &str)> = rest.iter().map(|(name, json)| (*name, json.as_str())).collect();
    extra.extend(contexts.map(|list| ("contexts", list)));
    let mut data = None;
    if let Some(described) = described {
        extra.push(("$schema", described.schema));
        data = described.data.filter(|data| data.starts_with('{'));
        extra.extend(described.data.filter(|_| data.is_none()).map(|data| ("data", data)));
    }
    json::with_members(data, &extra)
}

fn name_and_kind<'a>(
    event: &mut Event,
    pairs: &Pairs,
    unpacked: &'a Unpacked,
    contexts: &[Described<'_>],
    reading: &mut Reading,
) -> Result<Option<Described<'a>>, Refused> {
    const EXPECTED: &str = "one of pv, pp, se, ue, tr, ti";
    let mut described = None;
    let (name, kind) = match pairs.get("e") {
        Some("pv") => ("page_view".to_owned(), EventKind::Page),
        Some("pp") => ("page_ping".to_owned(), EventKind::Engagement),
        Some("se") => {
            let action =
                pairs.get("se_ac").ok_or_else(|| Refused::field("se_ac", "the name of the action", "nothing"))?;
            (action.to_owned(), kind_of_name(action))
        }
        Some("tr") => {
            put_amount(event, pairs.get("tr_tt"), pairs.get("tr_cu"), reading);
            ("transaction".to_owned(), EventKind::Conversion)
        }
        Some("ti") => ("transaction_item".to_owned(), EventKind::Custom),
        Some("ue") => {
            let found = self_describing(unpacked)?;
            let kind = kind_of(event, &found, contexts, reading);
            let name = found.name.clone();
            described = Some(found);
            (name, kind)
        }
        Some(other) => return Err(Refused::field("e", EXPECTED, &format!("{:?}", crate::text::cut(other, 20)))),
        None => return Err(Refused::field("e", EXPECTED, "nothing")),
    };
    let name = reading.fit(&name, NAME_BYTES_MAX);
    event.event_name = name.ok_or_else(|| Refused::field("e", "the name of what happened", "an empty one"))?;
    event.event_kind = kind;
    Ok(described)
}

fn put_amount(event: &mut Event, amount: Option<&str>, code: Option<&str>, reading: &mut Reading) {
    let value = amount.map(Money::parse);
    let code = code.map(currency);
    reading.unread_value |= matches!(value, Some(Err(_))) || code == Some(None);
    event.value = value.and_then(Result::ok);
    event.currency = code.flatten();
}

/// The event inside the envelope that says no more than that it is one.
fn self_describing(unpacked: &Unpacked) -> Result<Described<'_>, Refused> {
    let outer = unpacked.event.as_deref().ok_or_else(|| Refused::field("ue_pr", "an event", "nothing"))?;
    let inner = json::pick(outer, ["data"]).ok().and_then(|[data]| data).unwrap_or(outer);
    Described::read(inner)
        .or_else(|| Described::read(outer))
        .ok_or_else(|| Refused::field("ue_pr.data.schema", "iglu:vendor/name/format/version", "something else"))
}

fn kind_of(event: &mut Event, found: &Described<'_>, contexts: &[Described<'_>], reading: &mut Reading) -> EventKind {
    let kind = match found.name.as_str() {
        "link_click" | "ad_click" => EventKind::Click,
        "ad_impression" => EventKind::Impression,
        "ad_conversion" => EventKind::Conversion,
        "screen_view" => EventKind::Page,
        "consent_preferences" => {
            event.consent = preferences(found);
            EventKind::Consent
        }
        "consent_granted" | "consent_withdrawn" => EventKind::Consent,
        "snowplow_ecommerce_action" if found.get("type").as_deref() == Some("transaction") => {
            if let Some(transaction) = context(contexts, "transaction") {
                let (amount, code) = (transaction.get("revenue"), transaction.get("currency"));
                put_amount(event, amount.as_deref(), code.as_deref(), reading);
            }
            EventKind::Conversion
        }
        name => kind_of_name(name),
    };
    if event.value.is_none() && kind == EventKind::Conversion {
        let amount = ["revenue", "total", "value"].into_iter().find_map(|name| found.get(name));
        put_amount(event, amount.as_deref(), found.get("currency").as_deref(), reading);
    }
    kind
}

/// Enhanced consent: all, none, or the scopes that were chosen.
fn preferences(found: &Described<'_>) -> Option<Consent> {
    match found.get("eventType")?.as_str() {
        "allow_all" => Some(Consent::NAMES.iter().fold(Consent::default(), |all, (_, purpose)| all.with(*purpose))),
        "deny_all" | "withdrawn" | "expired" => Some(Consent::default()),
        _ => consent::of_names(json::pick(found.data?, ["consentScopes"]).ok()?[0]?),
    }
}

/// `iglu:vendor/name/format/version`.
fn schema_name(schema: &str) -> Option<&str> {
    let mut parts = schema.strip_prefix("iglu:")?.split('/');
    let (_vendor, name, _format, _version) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (!name.is_empty()).then_some(name)
}

/// Most contexts of one event that are looked at; a page has a handful.
const CONTEXTS_MAX: usize = 1_000;

/// The contexts, each `{schema, data}`; what is none of these stays in the properties unread.
fn contexts_of(list: &str) -> Result<Vec<Described<'_>>, Refused> {
    match json::elements(list, CONTEXTS_MAX) {
        Ok(Some(contexts)) => Ok(contexts.into_iter().filter_map(Described::read).collect()),
        Ok(None) => Err(Refused::field("co.data", &format!("at most {CONTEXTS_MAX} contexts"), "more")),
        Err(_) => Err(Refused::field("co.data", "a list of contexts", json::scalar(list).kind())),
    }
}

/// The first context of this name.
fn context<'c, 'a>(contexts: &'c [Described<'a>], name: &str) -> Option<&'c Described<'a>> {
    contexts.iter().find(|context| context.name == name)
}

/// JSON in a parameter, plain or in base64: text that reads as an object.
fn json_of(pairs: &Pairs, plain: &'static str, packed: &'static str) -> Result<Option<String>, Refused> {
    let (name, text) = match (pairs.get(plain), pairs.get(packed)) {
        (Some(text), _) => (plain, text.to_owned()),
        (None, Some(text)) => {
            let bytes = BASE64.decode(text.replace('+', "-").replace('/', "_"));
            let bytes = bytes.map_err(|error| Refused::field(packed, "base64", &error.to_string()))?;
            (packed, String::from_utf8_lossy(&bytes).into_owned())
        }
        (None, None) => return Ok(None),
    };
    json::pick(&text, []).map_err(|error| Refused::field(name, "a JSON object", &error.to_string()))?;
    Ok(Some(text))
}

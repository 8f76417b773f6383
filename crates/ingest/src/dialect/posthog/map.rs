//! From one event as PostHog's SDKs write it to ours.
//!
//! In:      the event's JSON, its frame, its sender.
//! Out:     an `Event`, or the field that cannot be read and what was expected there.
//! Promise: pure. Properties are kept as they were written. A device is `anonymous_id`, a person that was named is `user_id`:
//!          `distinct_id` is the one before a login and the other after it.
//!
//! Source: PostHog's API reference and the requests of its SDKs (`$pageview`, `$identify`, `$create_alias`,
//! `$groupidentify`, `$set`, `$feature_flag_called`).

use tributary_schemas::{Event, EventFlags, EventKind, Exposure, is_junk_id};

use super::DIALECT;
use super::read::Frame;
use crate::clock_rule::{ClientClock, Written};
use crate::dialect::columns::put_column;
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::reading::{Reading, put_time, time};
use crate::dialect::{Refused, Sender, finish, put_visitor};
use crate::json::{self, Scalar};
use crate::kind_rule::kind_of_name;
use crate::text::{AGENT_BYTES_MAX, CODE_BYTES_MAX, NAME_BYTES_MAX, TITLE_BYTES_MAX};

/// The properties that are read, as they were written.
#[derive(Default)]
struct Properties<'a> {
    distinct_id: Option<&'a str>,
    device_id: Option<&'a str>,
    user_id: Option<&'a str>,
    anon_distinct_id: Option<&'a str>,
    alias: Option<&'a str>,
    groups: Option<&'a str>,
    group_key: Option<&'a str>,
    insert_id: Option<&'a str>,
    time: Option<&'a str>,
    url: Option<&'a str>,
    title: Option<&'a str>,
    screen_name: Option<&'a str>,
    referrer: Option<&'a str>,
    screen: [Option<&'a str>; 2],
    library: [Option<&'a str>; 2],
    money: [Option<&'a str>; 4],
    currency: Option<&'a str>,
    flag: [Option<&'a str>; 2],
    ip: Option<&'a str>,
    is_server: bool,
    /// `$process_person_profile: false`: nobody was named.
    is_nobody: bool,
    is_cookieless: bool,
}

/// The id the SDK sends for everybody when it may store none on the device.
const COOKIELESS_ID: &str = "\"$posthog_cookieless\"";

/// Libraries that run on a customer's server and do not say `$is_server`.
const SERVER_LIBRARIES: &[&str] = &[
    "posthog-node",
    "posthog-python",
    "posthog-php",
    "posthog-ruby",
    "posthog-go",
    "posthog-java",
    "posthog-server",
    "posthog-dotnet",
    "posthog-elixir",
    "posthog-rs",
];

pub(super) fn event(event_json: &str, frame: &Frame<'_>, sender: &Sender<'_>) -> Result<Event, Refused> {
    let not_object = |_| Refused::field("event", "an object", json::scalar(event_json).kind());
    let [uuid, name, distinct_id, properties, timestamp, offset, set, set_once, sent_at, options] = json::pick(
        event_json,
        [
            "uuid",
            "event",
            "distinct_id",
            "properties",
            "timestamp",
            "offset",
            "$set",
            "$set_once",
            "sent_at",
            "options",
        ],
    )
    .map_err(not_object)?;
    let mut reading = Reading::default();
    let mut event = Event::new(&sender.key.source, DIALECT, "", "", sender.ingest_time_us);
    let read = read_properties(properties, &mut event, &mut reading)?;

    let own_id = reading.id_of_any_length("uuid", uuid.or(read.insert_id))?;
    let own_id = own_id.filter(|id| !is_junk_id(id)).map(|id| sender.own_id(&id));
    let has_own_id = own_id.is_some();
    let id = match own_id {
        Some(id) => id,
        None => sender.ids.of_content(&sender.key.source, "posthog", event_json).map_err(not_object)?,
    };
    event.event_id = id.event_id;
    event.client_event_id = id.client_event_id;

    let letter_id = has_own_id.then(|| event.event_id.clone());
    let parts = Parts { name, distinct_id: distinct_id.or(read.distinct_id), timestamp, offset, sent_at, options };
    let filled = fill(&mut event, &parts, &read, frame, sender, &mut reading).and_then(|()| {
        let extra: Vec<(&str, &str)> = [("$set", set), ("$set_once", set_once)]
            .iter()
            .filter_map(|(name, json)| Some((*name, (*json)?)))
            .collect();
        event.properties = json::with_members(properties, &extra);
        reading.put_flags(&mut event);
        let cookieless =
            read.is_cookieless || is_on(options, "cookieless_mode") || parts.distinct_id == Some(COOKIELESS_ID);
        finish(&mut event, has_own_id, cookieless, sender)
    });
    match filled {
        Ok(()) => Ok(event),
        Err(refused) => Err(Refused { event_id: letter_id, ..refused.of(event) }),
    }
}

/// Members beside the properties.
struct Parts<'a> {
    name: Option<&'a str>,
    distinct_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    offset: Option<&'a str>,
    sent_at: Option<&'a str>,
    options: Option<&'a str>,
}

fn read_properties<'a>(
    properties: Option<&'a str>,
    event: &mut Event,
    reading: &mut Reading,
) -> Result<Properties<'a>, Refused> {
    let mut read = Properties::default();
    let Some(properties) = properties else { return Ok(read) };
    let members = json::members(properties)
        .map_err(|_| Refused::field("properties", "an object", json::scalar(properties).kind()))?;
    for (name, json) in members {
        if json == "null" {
            continue;
        }
        let member = match &*name {
            "distinct_id" => &mut read.distinct_id,
            "$device_id" => &mut read.device_id,
            "$user_id" => &mut read.user_id,
            "$anon_distinct_id" => &mut read.anon_distinct_id,
            "alias" => &mut read.alias,
            "$groups" => &mut read.groups,
            "$group_key" => &mut read.group_key,
            "$insert_id" => &mut read.insert_id,
            "$time" => &mut read.time,
            "$current_url" => &mut read.url,
            "title" | "$title" => &mut read.title,
            "$screen_name" => &mut read.screen_name,
            "$referrer" => &mut read.referrer,
            "$screen_width" => &mut read.screen[0],
            "$screen_height" => &mut read.screen[1],
            "$lib" => &mut read.library[0],
            "$lib_version" => &mut read.library[1],
            "$revenue" => &mut read.money[0],
            "revenue" => &mut read.money[1],
            "total" => &mut read.money[2],
            "value" => &mut read.money[3],
            "currency" | "$currency" => &mut read.currency,
            "$feature_flag" => &mut read.flag[0],
            "$feature_flag_response" => &mut read.flag[1],
            "$ip" => &mut read.ip,
            "$is_server" => {
                read.is_server = json == "true";
                continue;
            }
            "$process_person_profile" => {
                read.is_nobody = json == "false";
                continue;
            }
            "$cookieless_mode" => {
                read.is_cookieless = json == "true";
                continue;
            }
            "$raw_user_agent" | "$useragent" => {
                event.user_agent = reading.text("user_agent", Some(json), AGENT_BYTES_MAX);
                continue;
            }
            "$browser_language" | "$locale" => {
                event.language = reading.text("language", Some(json), CODE_BYTES_MAX);
                continue;
            }
            "$timezone" => {
                event.timezone = reading.text("timezone", Some(json), CODE_BYTES_MAX);
                continue;
            }
            "$os" => {
                event.os = reading.text("os", Some(json), CODE_BYTES_MAX);
                continue;
            }
            "$geoip_country_code" => {
                event.country = reading.text("country", Some(json), CODE_BYTES_MAX);
                continue;
            }
            "utm_source" | "utm_medium" | "utm_campaign" | "utm_term" | "utm_content" | "gclid" | "gbraid"
            | "wbraid" | "dclid" | "fbclid" | "msclkid" | "ttclid" | "twclid" | "li_fat_id" | "campaign_id"
            | "ad_id" | "creative_id" | "message_id" | "link_id" | "decision_id" | "channel" | "exposures" => {
                put_column(event, &name, json, reading)?;
                continue;
            }
            _ => continue,
        };
        *member = Some(json);
    }
    read.is_server |= read.library[0].is_some_and(|json| match json::scalar(json) {
        Scalar::Text(text) => SERVER_LIBRARIES.contains(&&*text.text),
        _ => false,
    });
    Ok(read)
}

fn fill(
    event: &mut Event,
    parts: &Parts<'_>,
    read: &Properties<'_>,
    frame: &Frame<'_>,
    sender: &Sender<'_>,
    reading: &mut Reading,
) -> Result<(), Refused> {
    let found = parts.name.map_or("nothing", |json| json::scalar(json).kind());
    let name = reading.text("event", parts.name, NAME_BYTES_MAX);
    event.event_name = name.ok_or_else(|| Refused::field("event", "the name of what happened, as text", found))?;
    event.event_kind = kind(&event.event_name);
    fill_people(event, parts, read, reading)?;
    fill_page(event, read, reading);

    let from_server = read.is_server || sender.key.trusted_clock;
    put_visitor(event, read.ip.and_then(json::text_of).as_deref(), from_server, sender);
    event.value = ["$revenue", "revenue", "total", "value"]
        .into_iter()
        .zip(read.money)
        .find_map(|(name, json)| reading.money(name, json?));
    event.currency = reading.currency(read.currency);
    if event.event_name == "$feature_flag_called" {
        let [flag, variant] = read.flag;
        let flag = reading.text("$feature_flag", flag, NAME_BYTES_MAX);
        let variant = match variant.map(json::scalar) {
            // A flag without variants is on or off.
            Some(Scalar::Bool(on)) => Some(on.to_string()),
            _ => reading.text("$feature_flag_response", variant, NAME_BYTES_MAX),
        };
        if let (Some(experiment), Some(variant)) = (flag, variant) {
            event.exposures.push(Exposure { experiment, variant, decision_id: None, probability: None });
        }
    }
    fill_time(event, parts, read, frame, sender, from_server)
}

fn is_on(options: Option<&str>, name: &str) -> bool {
    options.and_then(|json| json::pick(json, [name]).ok()).is_some_and(|[value]| value == Some("true"))
}

fn is_off(options: Option<&str>, name: &str) -> bool {
    options.and_then(|json| json::pick(json, [name]).ok()).is_some_and(|[value]| value == Some("false"))
}

fn kind(name: &str) -> EventKind {
    match name {
        "$pageview" | "$screen" => EventKind::Page,
        "$identify" | "$set" => EventKind::Identify,
        "$create_alias" | "$merge_dangerously" => EventKind::Alias,
        "$groupidentify" => EventKind::Group,
        "$feature_flag_called" => EventKind::Impression,
        name => kind_of_name(name),
    }
}

fn fill_people(
    event: &mut Event,
    parts: &Parts<'_>,
    read: &Properties<'_>,
    reading: &mut Reading,
) -> Result<(), Refused> {
    let distinct_id = reading.id("distinct_id", parts.distinct_id)?;
    let device_id = reading.id("$device_id", read.device_id)?;
    let anon_id = reading.id("$anon_distinct_id", read.anon_distinct_id)?;
    let is_cookieless = parts.distinct_id == Some(COOKIELESS_ID);
    match event.event_kind {
        EventKind::Alias => {
            // PostHog merges the alias into the distinct id, as it does the id before a login.
            event.anonymous_id = device_id;
            event.previous_id = reading.id("alias", read.alias)?;
            event.user_id = distinct_id;
            if event.previous_id.is_none() {
                return Err(Refused::field("alias", "an id", "none"));
            }
        }
        _ if is_cookieless => {}
        EventKind::Identify if event.event_name == "$identify" => {
            event.anonymous_id = device_id.or(anon_id);
            event.user_id = distinct_id;
        }
        _ => {
            // A browser has a device; before a login it is the distinct id as well.
            let is_device = distinct_id.is_some() && distinct_id == device_id;
            event.anonymous_id = device_id.or(anon_id);
            if read.is_nobody || is_off(parts.options, "process_person_profile") {
                event.anonymous_id = event.anonymous_id.take().or(distinct_id);
            } else if !is_device {
                event.user_id = distinct_id;
            }
        }
    }
    event.account_id = match (read.group_key, read.groups) {
        (Some(key), _) => reading.short_id("$group_key", Some(key)),
        // Groups are of several types; which of them is the account nobody says, unless there is but one.
        (None, Some(groups)) => match json::members(groups).as_deref() {
            Ok([(_, key)]) => reading.short_id("$groups", Some(key)),
            _ => None,
        },
        (None, None) => None,
    };
    if event.event_kind == EventKind::Group && event.account_id.is_none() {
        return Err(Refused::field("$group_key", "an id", "none"));
    }
    Ok(())
}

fn fill_page(event: &mut Event, read: &Properties<'_>, reading: &mut Reading) {
    if let Some(url) = reading.text("$current_url", read.url, usize::MAX) {
        put_address(event, &url, reading);
    }
    if let Some(referrer) = reading.text("$referrer", read.referrer, usize::MAX) {
        put_referrer(event, &referrer, reading);
    }
    event.title = reading.text("title", read.title.or(read.screen_name), TITLE_BYTES_MAX);
    let [width, height] = read.screen.map(|json| reading.text("screen", json, CODE_BYTES_MAX));
    event.screen = width.zip(height).map(|(width, height)| format!("{width}x{height}"));
    let [name, version] = read.library.map(|json| reading.text("$lib", json, CODE_BYTES_MAX));
    event.library = name.map(|name| match version {
        Some(version) => format!("{name}/{version}"),
        None => name,
    });
}

fn fill_time(
    event: &mut Event,
    parts: &Parts<'_>,
    read: &Properties<'_>,
    frame: &Frame<'_>,
    sender: &Sender<'_>,
    from_server: bool,
) -> Result<(), Refused> {
    let offset_ms = parts.offset.and_then(|json| json.parse::<f64>().ok());
    let client = match (time("timestamp", parts.timestamp)?, offset_ms) {
        (Written::Absent, Some(offset_ms)) if (0.0..1e15).contains(&offset_ms) => {
            // How long ago, by the client: free of its clock.
            #[expect(clippy::cast_possible_truncation, reason = "bounded in the line above")]
            let ago_us = (offset_ms * 1_000.0) as i64;
            Written::At(sender.ingest_time_us - ago_us)
        }
        (Written::Absent, _) => time("$time", read.time)?,
        (written, _) => written,
    };
    let sent = match time("sent_at", parts.sent_at.or(frame.sent_at))? {
        Written::Absent => frame.sent_in_query.as_deref().map_or(Ok(Written::Absent), |ms| time("_", Some(ms)))?,
        written => written,
    };
    // Who asks for no correction gets none, as on a retry.
    let unadjusted = is_on(parts.options, "disable_skew_adjustment");
    let clock = ClientClock { client, sent, trusted: from_server, retried: sender.retried || unadjusted };
    put_time(event, clock, sender);
    if client == Written::Unreadable {
        event.flags = event.flags.with(EventFlags::CLAMPED);
    }
    Ok(())
}

//! From one event by the names of its columns to ours.
//!
//! In:      the event's JSON, its frame, its sender.
//! Out:     an `Event` with what to warn of in it, or the field that cannot be read and what was expected there.
//! Promise: pure. A member that names no column is kept in the properties, and told; a column that cannot be read costs
//!          the event only where it says whose it is or when it was.

use tributary_schemas::{Event, EventFlags, EventKind, is_junk_id};

use super::DIALECT;
use super::read::{Frame, Members, no_object};
use crate::clock_rule::{ClientClock, Written};
use crate::dialect::columns::put_column;
use crate::dialect::page::{put_address, put_referrer};
use crate::dialect::reading::{Reading, put_time, time};
use crate::dialect::{Refused, Sender, finish, honour_privacy_control, put_visitor};
use crate::json::{self, Scalar};
use crate::kind_rule::kind_of_call_or_name;
use crate::landing;
use crate::text::{NAME_BYTES_MAX, cut};

/// The members that are read before the rest, for they decide what the event is.
#[derive(Default)]
struct Head<'a> {
    event_id: Option<&'a str>,
    name: Option<&'a str>,
    kind: Option<&'a str>,
    time: Option<&'a str>,
    sent_time: Option<&'a str>,
    properties: Option<&'a str>,
    url: Option<&'a str>,
    referrer: Option<&'a str>,
    ip: Option<&'a str>,
    gpc: bool,
    cookieless: bool,
}

/// * `members`: those of `event_json`, if they have been read already.
pub(super) fn event<'j>(
    event_json: &'j str,
    members: Option<Members<'j>>,
    frame: Frame<'_>,
    sender: &Sender<'_>,
) -> Result<Event, Refused> {
    let members = match members {
        Some(members) => members,
        None => json::members(event_json).map_err(|error| no_object(event_json, &error))?,
    };
    let mut head = Head::default();
    let mut reading = Reading::default();
    let mut event = Event::new(&sender.key.source, DIALECT, "", "", sender.ingest_time_us);
    let mut warnings = Vec::new();
    let mut extra: Vec<(String, &str)> = Vec::new();
    let mut refused = None;
    for (name, json) in members {
        // Null is as good as absent, in every dialect.
        if json == "null" {
            continue;
        }
        match &*name {
            "event_id" => head.event_id = Some(json),
            "name" | "event_name" => head.name = Some(json),
            "kind" | "event_kind" => head.kind = Some(json),
            "time" => head.time = Some(json),
            "sent_time" => head.sent_time = Some(json),
            "properties" => head.properties = Some(json),
            "url" => head.url = Some(json),
            "referrer" => head.referrer = Some(json),
            "ip" => head.ip = Some(json),
            // Of a body that is one event, and no business of its.
            "write_key" | "writeKey" => {}
            name @ ("gpc" | "cookieless") if !matches!(json, "true" | "false") => {
                warnings.push(format!("{name}: expected true or false; kept in properties"));
                extra.push((name.to_owned(), json));
            }
            "gpc" => head.gpc = json == "true",
            "cookieless" => head.cookieless = json == "true",
            name => match put_column(&mut event, name, json, &mut reading) {
                Ok(true) if std::mem::take(&mut reading.unread) != 0 || is_lost(&event, name, json) => {
                    warnings.push(format!("{name}: not what its column holds; kept in properties"));
                    extra.push((name.to_owned(), json));
                }
                Ok(true) => {}
                Ok(false) => {
                    warnings.push(format!("{}: no column has this name; kept in properties", cut(name, 80)));
                    extra.push((name.to_owned(), json));
                }
                Err(fault) => refused = refused.or(Some(fault)),
            },
        }
    }

    let id = reading.id_of_any_length("event_id", head.event_id)?;
    let own_id = id.as_deref().filter(|id| !is_junk_id(id)).map(|id| sender.own_id(id));
    let letter_id = own_id.as_ref().map(|id| id.event_id.clone());
    let has_own_id = own_id.is_some();
    match own_id {
        Some(id) => {
            event.event_id = id.event_id;
            event.client_event_id = id.client_event_id;
        }
        None => {
            let of_content = sender.ids.of_content(&sender.key.source, "event", event_json);
            event.event_id = of_content.map_err(|error| no_object(event_json, &error))?.event_id;
            if id.is_some() {
                event.flags = event.flags.with(EventFlags::JUNK_ID);
            }
        }
    }
    let client = time("time", head.time);
    let is_unreadable = matches!(client, Ok(Written::Unreadable));
    // The name first: a dead letter of an event without one says nothing of it.
    let filled = name_and_kind(&mut event, &head, &mut reading)
        .and_then(|()| refused.map_or(Ok(()), Err))
        .and_then(|()| put_rest(&mut event, &head, client, frame, sender, &mut reading, &mut warnings));

    for (name, json) in [("url", head.url), ("referrer", head.referrer), ("ip", head.ip)] {
        if let Some(json) = json.filter(|json| json::text_of(json).is_none()) {
            warnings.push(format!("{name}: expected text; kept in properties"));
            extra.push((name.to_owned(), json));
        }
    }
    if let Some(json) = head.time.filter(|_| is_unreadable) {
        extra.push(("$time".to_owned(), json));
    }
    let extra: Vec<(&str, &str)> = extra.iter().map(|(name, json)| (name.as_str(), *json)).collect();
    // A dead letter holds what was read, and that is an object or nothing.
    let properties = head.properties.filter(|json| json.starts_with('{'));
    event.properties = json::with_members(properties, &extra);
    if reading.unread_value {
        warnings.push("value or currency: not an amount or no ISO 4217 code; left out".to_owned());
    }
    if reading.trimmed {
        warnings.push("text was cut or cleaned to fit its column".to_owned());
    }
    reading.put_flags(&mut event);
    event.warnings = warnings;
    let cookieless = head.cookieless || frame.cookieless;
    match filled.and_then(|()| finish(&mut event, has_own_id, cookieless, sender)) {
        Ok(()) => Ok(event),
        Err(refused) => Err(Refused { event_id: letter_id, ..refused.of(event) }),
    }
}

/// Lists and switches of which nothing was read.
fn is_lost(event: &Event, name: &str, json: &str) -> bool {
    match name {
        // Of an object that says only what a browser objects to, nothing is to be read.
        "consent" => event.consent.is_none() && !json.starts_with('{'),
        "exposures" => {
            event.exposures.is_empty() && !matches!(json::elements(json, 1), Ok(Some(elements)) if elements.is_empty())
        }
        _ => false,
    }
}

fn name_and_kind(event: &mut Event, head: &Head<'_>, reading: &mut Reading) -> Result<(), Refused> {
    let found = head.name.map_or("nothing", |json| json::scalar(json).kind());
    let kind = match head.kind.map(json::scalar) {
        None => None,
        Some(Scalar::Text(text)) => Some(EventKind::parse(&text.text).ok_or_else(|| {
            let known = EventKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
            Refused::field("kind", &format!("one of {known}"), &format!("{:?}", cut(&text.text, 80)))
        })?),
        Some(other) => return Err(Refused::field("kind", "text", other.kind())),
    };
    let name = reading.text("name", head.name, NAME_BYTES_MAX).or_else(|| Some(kind?.as_str().to_owned()));
    event.event_name = name.ok_or_else(|| Refused::field("name", "what happened, as text", found))?;
    event.event_kind = kind.unwrap_or_else(|| kind_of_call_or_name(&event.event_name));
    Ok(())
}

fn put_rest(
    event: &mut Event,
    head: &Head<'_>,
    client: Result<Written, Refused>,
    frame: Frame<'_>,
    sender: &Sender<'_>,
    reading: &mut Reading,
    warnings: &mut Vec<String>,
) -> Result<(), Refused> {
    let given_query = event.url_query.clone();
    if let Some(url) = reading.text("url", head.url, usize::MAX) {
        put_address(event, &url, reading);
    }
    if let Some(query) = given_query {
        landing::fill_from_query(event, &query, &mut |text, bytes_max| reading.fit(text, bytes_max));
    }
    if let Some(referrer) = reading.text("referrer", head.referrer, usize::MAX) {
        put_referrer(event, &referrer, reading);
    }
    if let Some(properties) = head.properties
        && !properties.starts_with('{')
    {
        return Err(Refused::field("properties", "an object", json::scalar(properties).kind()));
    }
    put_money_of_properties(event, head.properties, reading);

    let from_server = sender.key.trusted_clock;
    put_visitor(event, head.ip.and_then(json::text_of).as_deref(), from_server, sender);
    if head.gpc {
        honour_privacy_control(event);
    }

    let clock = ClientClock {
        client: client?,
        sent: time("sent_time", head.sent_time.or(frame.sent_time))?,
        trusted: from_server,
        retried: sender.retried,
    };
    if clock.client == Written::Unreadable {
        warnings.push("time: neither ISO 8601 nor a number since 1970; the time of receipt stands for it".to_owned());
    }
    put_time(event, clock, sender);
    if event.flags.has(EventFlags::CLAMPED) && clock.client != Written::Unreadable {
        warnings.push("time: outside the bounds of this source; the time of receipt stands for it".to_owned());
    }
    required_ids(event)
}

/// Amounts are often said among the properties, by the names of Segment's e-commerce events.
fn put_money_of_properties(event: &mut Event, properties: Option<&str>, reading: &mut Reading) {
    let Some(Ok([revenue, total, value, currency])) =
        properties.map(|json| json::pick(json, ["revenue", "total", "value", "currency"]))
    else {
        return;
    };
    if event.value.is_none() {
        event.value = [("revenue", revenue), ("total", total), ("value", value)]
            .into_iter()
            .find_map(|(name, json)| reading.money(name, json?));
    }
    if event.currency.is_none() {
        event.currency = reading.currency(currency);
    }
}

/// An alias without the id before it, or a group call without a group, says nothing.
fn required_ids(event: &Event) -> Result<(), Refused> {
    let (field, id) = match event.event_kind {
        EventKind::Alias => ("previous_id", &event.previous_id),
        EventKind::Group => ("account_id", &event.account_id),
        _ => return Ok(()),
    };
    if id.is_some() { Ok(()) } else { Err(Refused::field(field, "an id", "none")) }
}

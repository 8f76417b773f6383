//! From one event as Segment's SDKs write it to ours.
//!
//! In:      the event's JSON, its frame, its sender.
//! Out:     an `Event`, or the field that cannot be read and what was expected there.
//! Promise: pure. What maps to a column is read; properties or traits are kept as they were written. A field
//!          outside the columns' rules never costs the event, but for ids and times: those decide whose event it
//!          is and when, and a guess there would be worse than a dead letter.

use tributary_schemas::{Event, EventFlags, EventKind, is_junk_id};

use super::context::{Context, Properties};
use super::read::Frame;
use super::{Call, DIALECT};
use crate::clock_rule::{ClientClock, Written};
use crate::dialect::reading::{Reading, put_time, time};
use crate::dialect::{Refused, Sender, honour_privacy_control, settle_identity};
use crate::engagement;
use crate::json::{self, Scalar};
use crate::kind_rule::kind_of_name;
use crate::text::{NAME_BYTES_MAX, TITLE_BYTES_MAX, cut};

/// The members of an event that are read, as they were written.
struct Members<'a> {
    kind: Option<&'a str>,
    event: Option<&'a str>,
    name: Option<&'a str>,
    category: Option<&'a str>,
    anonymous_id: Option<&'a str>,
    user_id: Option<&'a str>,
    previous_id: Option<&'a str>,
    group_id: Option<&'a str>,
    message_id: Option<&'a str>,
    timestamp: Option<&'a str>,
    sent_at: Option<&'a str>,
    properties: Option<&'a str>,
    traits: Option<&'a str>,
    context: Option<&'a str>,
    channel: Option<&'a str>,
}

impl<'a> Members<'a> {
    fn of(json: &'a str) -> Result<Self, Refused> {
        let [kind, event, name, category, properties, traits, context, channel] =
            json::pick(json, ["type", "event", "name", "category", "properties", "traits", "context", "channel"])
                .map_err(|_| Refused::field("event", "an object", json::scalar(json).kind()))?;
        let [anonymous_id, user_id, previous_id, group_id, message_id, timestamp, original_timestamp, sent_at] =
            json::pick(
                json,
                [
                    "anonymousId",
                    "userId",
                    "previousId",
                    "groupId",
                    "messageId",
                    "timestamp",
                    "originalTimestamp",
                    "sentAt",
                ],
            )
            .map_err(|_| Refused::field("event", "an object", json::scalar(json).kind()))?;
        Ok(Self {
            kind,
            event,
            name,
            category,
            anonymous_id,
            user_id,
            previous_id,
            group_id,
            message_id,
            // RudderStack's clients call their own clock's time `originalTimestamp`.
            timestamp: original_timestamp.or(timestamp),
            sent_at,
            properties,
            traits,
            context,
            channel,
        })
    }

    /// What is kept as the event's properties: traits where the call is about a person or a group.
    fn own_properties(&self, call: Call) -> Option<&'a str> {
        match call {
            // RudderStack's browser SDK writes them into the context, where they go with every later event too.
            Call::Identify => {
                self.traits.or(self.properties).or_else(|| json::pick(self.context?, ["traits"]).ok()?[0])
            }
            Call::Group => self.traits.or(self.properties),
            _ => self.properties.or(self.traits),
        }
    }
}

pub(super) fn event(
    call: Option<Call>,
    event_json: &str,
    frame: Frame<'_>,
    sender: &Sender<'_>,
) -> Result<Event, Refused> {
    let members = Members::of(event_json)?;
    let mut reading = Reading::default();
    let message_id = reading.id_of_any_length("messageId", members.message_id)?;
    let own_id = message_id.as_deref().filter(|id| !is_junk_id(id)).map(|id| sender.own_id(id));
    // From here on a dead letter names its event.
    let letter_id = own_id.as_ref().map(|id| id.event_id.clone());
    let has_own_id = own_id.is_some();

    let mapped = call_of(call, members.kind).and_then(|call| {
        let id = match own_id {
            Some(id) => id,
            None => sender
                .ids
                .of_content(&sender.key.source, call.as_str(), event_json)
                .map_err(|error| Refused::field("event", "an object", &error.to_string()))?,
        };
        // What a track is called is yet to be read.
        let name = if call == Call::Track { "" } else { call.as_str() };
        let mut event = Event::new(&sender.key.source, DIALECT, &id.event_id, name, sender.ingest_time_us);
        event.client_event_id = id.client_event_id;
        if !has_own_id && message_id.is_some() {
            event.flags = event.flags.with(EventFlags::JUNK_ID);
        }
        let filled = fill(&mut event, call, &members, frame, sender, &mut reading).and_then(|()| {
            reading.put_flags(&mut event);
            settle_identity(&mut event, has_own_id)?;
            required_ids(&event, call)
        });
        match filled {
            Ok(()) => Ok(event),
            Err(refused) => Err(refused.of(event)),
        }
    });
    mapped.map_err(|refused| Refused { event_id: letter_id, ..refused })
}

fn fill(
    event: &mut Event,
    call: Call,
    members: &Members<'_>,
    frame: Frame<'_>,
    sender: &Sender<'_>,
    reading: &mut Reading,
) -> Result<(), Refused> {
    event.anonymous_id = reading.id("anonymousId", members.anonymous_id)?;
    event.user_id = reading.id("userId", members.user_id)?;
    event.previous_id = reading.id("previousId", members.previous_id)?;
    event.account_id = reading.id("groupId", members.group_id)?;
    name_and_kind(event, call, members.event, reading)?;

    let own_properties = members.own_properties(call);
    if matches!(call, Call::Identify | Call::Alias) && says_unlink(own_properties) {
        event.event_name = UNLINK.to_owned();
    }
    let properties = Properties::read(own_properties)?;
    let context = Context::read(members.context, frame.context)?;
    let from_server = context.is_of_server(members.channel);
    properties.fill(event, reading);
    context.fill(event, reading);
    properties.fill_page(event, reading);
    context.fill_network(event, from_server || sender.key.trusted_clock, sender);
    if event.user_agent.is_none() && !from_server {
        event.user_agent.clone_from(&sender.user_agent);
    }
    if let Some(kind) = context.kind() {
        event.event_kind = kind;
    }
    engagement::of_reported(event.event_kind, from_server, event.user_agent.as_deref()).put_on(event);
    if sender.privacy_control {
        honour_privacy_control(event);
    }

    let clock = ClientClock {
        client: time("timestamp", members.timestamp)?,
        sent: time("sentAt", members.sent_at.or(frame.sent_at))?,
        trusted: sender.key.trusted_clock || from_server,
        retried: sender.retried,
    };
    put_time(event, clock, sender);

    // What has no column of its own and stands outside the properties is put into them.
    let mut extra = Vec::new();
    if matches!(call, Call::Page | Call::Screen) {
        extra.extend(members.name.filter(|_| !properties.has_name()).map(|json| ("name", json)));
        extra.extend(members.category.filter(|_| !properties.has_category()).map(|json| ("category", json)));
        if event.title.is_none() {
            event.title = reading.text("name", members.name, TITLE_BYTES_MAX);
        }
    }
    if clock.client == Written::Unreadable {
        extra.extend(members.timestamp.map(|json| ("$timestamp", json)));
    }
    event.properties = json::with_members(own_properties, &extra);
    Ok(())
}

/// By this name the stream job knows that an event takes a link back.
const UNLINK: &str = "identity_unlink";

/// Whether an identify or alias takes back what it would say: `traits: {"unlink": true}`.
fn says_unlink(own_properties: Option<&str>) -> bool {
    let picked = own_properties.and_then(|json| json::pick(json, ["unlink"]).ok());
    picked.is_some_and(|[unlink]| unlink.is_some_and(|json| json::scalar(json) == Scalar::Bool(true)))
}

/// The path says what happened; in a batch each event does.
fn call_of(of_path: Option<Call>, json: Option<&str>) -> Result<Call, Refused> {
    if let Some(call) = of_path {
        return Ok(call);
    }
    const EXPECTED: &str = "one of track, page, screen, identify, group, alias";
    match json.map(json::scalar) {
        Some(Scalar::Text(text)) => Call::parse(&text.text)
            .ok_or_else(|| Refused::field("type", EXPECTED, &format!("{:?}", cut(&text.text, 80)))),
        Some(other) => Err(Refused::field("type", EXPECTED, other.kind())),
        None => Err(Refused::field("type", EXPECTED, "nothing")),
    }
}

fn name_and_kind(event: &mut Event, call: Call, name: Option<&str>, reading: &mut Reading) -> Result<(), Refused> {
    event.event_kind = match call {
        Call::Page | Call::Screen => EventKind::Page,
        Call::Identify => EventKind::Identify,
        Call::Group => EventKind::Group,
        Call::Alias => EventKind::Alias,
        Call::Track => {
            let found = name.map_or("nothing", |json| json::scalar(json).kind());
            let name = reading.text("event", name, NAME_BYTES_MAX);
            event.event_name =
                name.ok_or_else(|| Refused::field("event", "the name of what happened, as text", found))?;
            kind_of_name(&event.event_name)
        }
    };
    Ok(())
}

/// An alias without the id before it, or a group call without a group, says nothing.
fn required_ids(event: &Event, call: Call) -> Result<(), Refused> {
    let (field, id) = match call {
        Call::Alias => ("previousId", &event.previous_id),
        Call::Group => ("groupId", &event.account_id),
        _ => return Ok(()),
    };
    if id.is_some() { Ok(()) } else { Err(Refused::field(field, "an id", "none, or one that is no id")) }
}

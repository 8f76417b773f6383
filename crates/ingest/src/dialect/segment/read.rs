//! From the text of a body to its events: the frame around them.
//!
//! In:      a body, for one call or for many.
//! Out:     `Accepted`, or why the body as a whole cannot be read.
//! Promise: each event is judged alone; the batch's own `context` and `sentAt` stand in where an event has none.

use super::{Call, DIALECT, map};
use crate::append::Accepted;
use crate::body::Text;
use crate::dialect::{Refused, Sender, flag_cleaned, judge_size};
use crate::json;
use crate::refusal::Refusal;

/// What a body says for all of its events.
#[derive(Default, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub sent_at: Option<&'a str>,
    pub context: Option<&'a str>,
}

impl Frame<'_> {
    /// A batch that says the same for one event.
    fn around(&self, event_json: &str) -> String {
        let list = format!("[{event_json}]");
        json::object(&[("batch", Some(&list)), ("sentAt", self.sent_at), ("context", self.context)])
    }
}

/// The key a body names, if it can be read that far.
pub(super) fn key_in_body(text: &str) -> Option<String> {
    let [key] = json::pick(text, ["writeKey"]).ok()?;
    Some(json::text_of(key?)?.into_owned())
}

pub(super) fn read(call: Option<Call>, text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
    let json = text.text.trim();
    let (frame, list) = frame_of(call, json)?;
    let count_max = sender.settings.batch_events_max;
    let events = match list {
        None => vec![json],
        Some(list) => {
            let events = json::elements(list, count_max).map_err(|error| malformed("batch", "a list", &error))?;
            events.ok_or(Refusal::TooMany { count_max })?
        }
    };
    let mut accepted = Accepted { historical: sender.head.uri.path() == super::IMPORT_PATH, ..Accepted::default() };
    for event_json in events {
        let read = read_event(call, event_json, frame, sender).map(|mut event| {
            flag_cleaned(&mut event, text, event_json);
            event
        });
        sender.file(
            &mut accepted,
            DIALECT,
            || if call.is_some() { event_json.to_owned() } else { frame.around(event_json) },
            read,
        );
    }
    Ok(accepted)
}

/// What stands around the events, and the list they are in; no list: the body is the one event.
fn frame_of(call: Option<Call>, json: &str) -> Result<(Frame<'_>, Option<&str>), Refusal> {
    if json.starts_with('[') {
        return Ok((Frame::default(), Some(json)));
    }
    let expected = if call.is_some() { "an event" } else { "an object with a list named batch" };
    let [list, sent_at, context] =
        json::pick(json, ["batch", "sentAt", "context"]).map_err(|error| malformed("body", expected, &error))?;
    match (call, list) {
        (Some(_), _) => Ok((Frame::default(), None)),
        (None, Some(list)) => Ok((Frame { sent_at, context }, Some(list))),
        (None, None) => Err(Refusal::Malformed {
            detail: "batch: expected a list of events, found none".to_owned(),
            advice: "put the events into \"batch\": [..], or send a single one to /v1/track, /v1/page or /v1/identify",
        }),
    }
}

fn malformed(field: &str, expected: &str, error: &json::JsonError) -> Refusal {
    Refusal::Malformed {
        detail: format!("{field}: expected {expected}: {error}"),
        advice: "send JSON in UTF-8, plain or packed with gzip (no other packing); the Content-Type does not matter",
    }
}

fn read_event(
    call: Option<Call>,
    event_json: &str,
    frame: Frame<'_>,
    sender: &Sender<'_>,
) -> Result<tributary_schemas::Event, Refused> {
    judge_size(event_json, sender.settings)?;
    map::event(call, event_json, frame, sender)
}

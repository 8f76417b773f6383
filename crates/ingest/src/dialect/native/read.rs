//! From the text of a body to its events: one, a list, or one a line.
//!
//! In:      a body.
//! Out:     `Accepted` with one `Told` an event, or why the body as a whole cannot be read.
//! Promise: each event is judged alone, and told in the order it was sent. Of lines, one that is no JSON is a dead letter
//!          like any other: a file that breaks off costs its last line.

use std::borrow::Cow;

use tributary_schemas::DeadReason;

use super::{DIALECT, map};
use crate::append::Accepted;
use crate::body::Text;
use crate::dialect::{Refused, Sender, flag_cleaned, judge_size};
use crate::json;
use crate::refusal::Refusal;
use crate::settings::IngestSettings;

/// What a body says for all of its events.
#[derive(Default, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub sent_time: Option<&'a str>,
    /// The visitor wants nothing stored on the device: the door makes an id that lasts a day.
    pub cookieless: bool,
    /// How many events the SDK had to drop since it last said so.
    pub dropped: u32,
}

impl Frame<'_> {
    /// A body that says the same for one event.
    fn around(&self, event_json: &str) -> String {
        let cookieless = self.cookieless.then_some("true");
        if self.sent_time.is_none() && cookieless.is_none() {
            // In a list: members of its own may be called as those of a frame.
            return format!("[{event_json}]");
        }
        json::object(&[
            ("events", Some(&format!("[{event_json}]"))),
            ("sent_time", self.sent_time),
            ("cookieless", cookieless),
        ])
    }
}

pub(super) fn key_in_body(text: &str) -> Option<String> {
    if !text.starts_with('{') {
        return None;
    }
    let [snake, camel] = json::pick(text, ["write_key", "writeKey"]).ok()?;
    Some(json::text_of(snake.or(camel)?)?.into_owned())
}

pub(super) fn read(text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
    let json = text.text.trim();
    let (frame, events) = split(json, sender.settings)?;
    let mut accepted = Accepted { lost_before: frame.dropped, ..Accepted::default() };
    for (event_json, members) in events {
        let read =
            judge_size(event_json, sender.settings).and_then(|()| map::event(event_json, members, frame, sender));
        let read = read.map(|mut event| {
            flag_cleaned(&mut event, text, event_json);
            event
        });
        sender.file_and_tell(&mut accepted, DIALECT, || frame.around(event_json), read);
    }
    Ok(accepted)
}

const DROPPED_MAX: u32 = 1_000_000;

const ADVICE: &str = "send one event as a JSON object, a list of them, {\"events\": [..]}, or one event a line";

/// The members of an event that is a body by itself: to see that it is one, they were read.
pub(super) type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// The events of a body, as they were written, and what stands around them.
type Split<'a> = (Frame<'a>, Vec<(&'a str, Option<Members<'a>>)>);

fn split<'a>(json: &'a str, settings: &IngestSettings) -> Result<Split<'a>, Refusal> {
    let count_max = settings.batch_events_max;
    let alone = |texts: Vec<_>| texts.into_iter().map(|text| (text, None)).collect();
    let malformed = |error: json::JsonError| Refusal::Malformed {
        detail: format!("body: expected events: {error}"),
        advice: ADVICE,
    };
    let many = |list| json::elements(list, count_max).map_err(malformed)?.ok_or(Refusal::TooMany { count_max });
    if json.starts_with('[') {
        return Ok((Frame::default(), alone(many(json)?)));
    }
    // What may be one event is taken apart once, here. Of more than one may be, only what is asked for is kept.
    if json.len() <= settings.event_bytes_max
        && let Ok(members) = json::members(json)
        && members.iter().all(|(name, _)| name != "events")
    {
        return Ok((Frame::default(), vec![(json, Some(members))]));
    }
    match json::pick(json, ["events", "sent_time", "cookieless", "dropped"]) {
        Ok([Some(list), sent_time, cookieless, dropped]) => {
            // A device holds some hundreds: more is somebody else's number.
            let dropped = dropped.and_then(|json| json.parse().ok()).filter(|count| *count <= DROPPED_MAX).unwrap_or(0);
            Ok((Frame { sent_time, cookieless: cookieless == Some("true"), dropped }, alone(many(list)?)))
        }
        Ok([None, ..]) => Ok((Frame::default(), alone(vec![json]))),
        // Not one object: lines, if there are several and the first of them is one.
        Err(error) => {
            let lines: Vec<&str> = json.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let is_lines = lines.len() > 1 && json::pick(lines[0], []).is_ok();
            if !is_lines {
                return Err(malformed(error));
            }
            if count_max < lines.len() {
                return Err(Refusal::TooMany { count_max });
            }
            Ok((Frame::default(), alone(lines)))
        }
    }
}

/// A line that is no object, told as what it is.
pub(super) fn no_object(json: &str, error: &json::JsonError) -> Refused {
    match json::elements(json, 0) {
        Ok(_) => Refused::field("event", "an object", "a list"),
        Err(_) => Refused::new(DeadReason::Malformed, format!("event: expected an object: {error}")),
    }
}

//! From the text of a body to its events: one, a list, or a batch.
//!
//! In:      a body, and its sending time in the query where the body has none.
//! Out:     `Accepted` with one `Told` an event, or why the body as a whole cannot be read.
//! Promise: each event is judged alone.

use tributary_schemas::{EventFlags, is_junk_id};

use super::{DIALECT, map};
use crate::append::Accepted;
use crate::body::Text;
use crate::dialect::pairs::Pairs;
use crate::dialect::{Refused, Sender, flag_cleaned, judge_size};
use crate::json;
use crate::refusal::Refusal;

/// What a request says for all of its events.
#[derive(Default, Clone)]
pub(super) struct Frame<'a> {
    pub sent_at: Option<&'a str>,
    /// `?_=`: milliseconds since 1970 by the browser's clock, as the older SDKs write it.
    pub sent_in_query: Option<String>,
}

impl Frame<'_> {
    /// A batch that says the same for one event; what the query says stays there.
    fn around(&self, event_json: &str) -> String {
        match self.sent_at {
            Some(_) => json::object(&[("batch", Some(&format!("[{event_json}]"))), ("sent_at", self.sent_at)]),
            // In a list: members of its own may be called as those of a frame.
            None => format!("[{event_json}]"),
        }
    }
}

/// The key of a batch, an event, or the first event of a list.
pub(super) fn key_in_body(text: &str) -> Option<String> {
    let object = match text.as_bytes().first()? {
        b'[' => json::first(text)?,
        _ => text,
    };
    let [api_key, token, properties] = json::pick(object, ["api_key", "token", "properties"]).ok()?;
    let within = || json::pick(properties?, ["token"]).ok()?[0];
    Some(json::text_of(api_key.or(token).or_else(within)?)?.into_owned())
}

pub(super) fn read(text: &Text<'_>, sender: &Sender<'_>) -> Result<Accepted, Refusal> {
    let json = text.text.trim();
    let (frame, events) = split(json, sender)?;
    let is_migration =
        json.starts_with('{') && matches!(json::pick(json, ["historical_migration"]), Ok([Some("true")]));
    let mut accepted = Accepted { historical: is_migration, ..Accepted::default() };
    for event_json in events {
        let fits = judge_size(event_json, sender.settings);
        let fits = fits.map_err(|refused| Refused { event_id: id_of(event_json, sender), ..refused });
        let read = fits.and_then(|()| map::event(event_json, &frame, sender));
        let read = read.map(|mut event| {
            flag_cleaned(&mut event, text, event_json);
            event.warnings = warnings_of(event.flags);
            event
        });
        sender.file_and_tell(&mut accepted, DIALECT, || frame.around(event_json), read);
    }
    Ok(accepted)
}

/// By what its sender knows an event that is not read: v1 answers for each by its id.
fn id_of(event_json: &str, sender: &Sender<'_>) -> Option<String> {
    let [uuid] = json::pick(event_json, ["uuid"]).ok()?;
    let id = json::text_of(uuid?)?;
    (!is_junk_id(&id)).then(|| sender.own_id(&id).event_id)
}

/// What a sender should hear of an event that was taken.
fn warnings_of(flags: EventFlags) -> Vec<String> {
    let noticed = [
        (EventFlags::CLAMPED, "timestamp: outside the bounds; the time of receipt stands for it"),
        (EventFlags::JUNK_ID, "an id that many share was taken for none"),
        (EventFlags::TRIMMED, "text was cut or cleaned to fit its column"),
        (EventFlags::UNREAD_VALUE, "an amount or a currency could not be read"),
    ];
    noticed.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, words)| (*words).to_owned()).collect()
}

fn split<'a>(json: &'a str, sender: &Sender<'_>) -> Result<(Frame<'a>, Vec<&'a str>), Refusal> {
    let count_max = sender.settings.batch_events_max;
    let malformed = |error: json::JsonError| Refusal::Malformed {
        detail: format!("body: expected an event, a list of events or an object with a batch: {error}"),
        advice: "send JSON in UTF-8, plain or packed (gzip, deflate, br, zstd), or a form with data= and base64 of it",
    };
    let many = |list| json::elements(list, count_max).map_err(malformed)?.ok_or(Refusal::TooMany { count_max });
    let query = Pairs::of_uri(&sender.head.uri);
    let frame = Frame { sent_at: None, sent_in_query: query.get("_").map(str::to_owned) };
    if json.starts_with('[') {
        return Ok((frame, many(json)?));
    }
    let [batch, sent_at, created_at] = json::pick(json, ["batch", "sent_at", "created_at"]).map_err(malformed)?;
    match batch {
        // v1 keeps `created_at` as it was at the first attempt; so does `sent_at` of some SDKs, and both are judged alike.
        Some(list) => Ok((Frame { sent_at: sent_at.or(created_at), ..frame }, many(list)?)),
        None => Ok((Frame { sent_at, ..frame }, vec![json])),
    }
}

//! What every dialect reads alike: text and ids for columns, times, and what was noticed on the way.
//!
//! In:      JSON values as they were written.
//! Out:     what fits the column, or why an id or a time cannot be read.
//! Promise: text is cut and says so; an id is never cut, for two cut ids may be one.

use tributary_schemas::ids::ID_BYTES_MAX;
use tributary_schemas::{ClockQuality, Event, EventFlags, Money, currency};

use super::{Refused, Sender};
use crate::clock_rule::{ClientClock, Written, read_time, settle};
use crate::json::{self, Scalar};
use crate::telling;
use crate::text::{CODE_BYTES_MAX, cut};

/// What was noticed while reading one event.
#[derive(Default)]
pub(crate) struct Reading {
    /// Text was cut or cleaned.
    pub trimmed: bool,
    /// An amount or a currency was said that is none.
    pub unread_value: bool,
    /// Values that are not what their column holds.
    pub unread: u32,
}

impl Reading {
    /// Text for a column: numbers by their digits, blank as absent, too long cut. Lists and objects stay in
    /// the properties and are counted.
    pub(crate) fn text(&mut self, field: &'static str, json: Option<&str>, bytes_max: usize) -> Option<String> {
        match json::scalar(json?) {
            Scalar::Text(text) => {
                self.trimmed |= text.cleaned;
                self.fit(&text.text, bytes_max)
            }
            Scalar::Number(digits) => self.fit(digits, bytes_max),
            Scalar::Bool(_) | Scalar::List | Scalar::Object => {
                self.unread += 1;
                telling::not_read(field);
                None
            }
        }
    }

    pub(crate) fn fit(&mut self, text: &str, bytes_max: usize) -> Option<String> {
        let text = text.trim();
        let kept = cut(text, bytes_max);
        self.trimmed |= kept.len() < text.len();
        (!kept.is_empty()).then(|| kept.to_owned())
    }

    /// An id beside the point of the event: one too long stays in the properties and leaves its column empty, for two
    /// cut ids could be one.
    pub(crate) fn short_id(&mut self, field: &'static str, json: Option<&str>) -> Option<String> {
        let id = self.text(field, json, usize::MAX)?;
        self.trimmed |= ID_BYTES_MAX < id.len();
        (id.len() <= ID_BYTES_MAX).then_some(id)
    }

    /// An id: text or a number. Never cut.
    pub(crate) fn id(&mut self, field: &str, json: Option<&str>) -> Result<Option<String>, Refused> {
        let Some(id) = self.id_of_any_length(field, json)? else { return Ok(None) };
        if ID_BYTES_MAX < id.len() {
            let expected = format!("at most {ID_BYTES_MAX} bytes");
            return Err(Refused::field(field, &expected, &format!("{} bytes", id.len())));
        }
        Ok(Some(id))
    }

    pub(crate) fn id_of_any_length(&mut self, field: &str, json: Option<&str>) -> Result<Option<String>, Refused> {
        let Some(json) = json else { return Ok(None) };
        match json::scalar(json) {
            Scalar::Text(text) => {
                self.trimmed |= text.cleaned;
                Ok(Some(text.text.into_owned()).filter(|id| !id.is_empty()))
            }
            Scalar::Number(digits) => Ok(Some(digits.to_owned())),
            // 'true' and 'false' are on the list of ids that are none; they pass to be flagged there.
            Scalar::Bool(value) => Ok(Some(value.to_string())),
            other => Err(Refused::field(field, "text or a number", other.kind())),
        }
    }
}

impl Reading {
    /// An amount: digits, as a number or as text.
    pub(crate) fn money(&mut self, name: &str, json: &str) -> Option<Money> {
        let parsed = match json::scalar(json) {
            Scalar::Number(digits) => Money::parse(digits).ok(),
            // Nothing was said.
            Scalar::Text(text) if text.text.trim().is_empty() => return None,
            Scalar::Text(text) => Money::parse(&text.text).ok(),
            _ => None,
        };
        if parsed.is_none() {
            // "value" is money where it looks like it; many an event calls something else by that name.
            self.unread_value |= name != "value";
            telling::not_read("value");
        }
        parsed
    }

    /// An ISO 4217 code.
    pub(crate) fn currency(&mut self, json: Option<&str>) -> Option<String> {
        let code = self.text("currency", json, CODE_BYTES_MAX)?;
        let code = currency(&code);
        self.unread_value |= code.is_none();
        code
    }

    /// An id of a dialect whose values are plain text: one too long counts as none, for two cut ids could be one.
    pub(crate) fn plain_id(&mut self, text: &str) -> Option<String> {
        let text = text.trim();
        self.trimmed |= ID_BYTES_MAX < text.len();
        (!text.is_empty() && text.len() <= ID_BYTES_MAX).then(|| text.to_owned())
    }

    /// Puts what was noticed onto the event.
    pub(crate) fn put_flags(&self, event: &mut Event) {
        if self.unread_value {
            event.flags = event.flags.with(EventFlags::UNREAD_VALUE);
        }
        if self.trimmed {
            event.flags = event.flags.with(EventFlags::TRIMMED);
        }
    }
}

pub(crate) fn time(field: &str, json: Option<&str>) -> Result<Written, Refused> {
    read_time(json.map(json::scalar).as_ref())
        .map_err(|found| Refused::field(field, "ISO 8601 text or a number since 1970", found))
}

pub(crate) fn put_time(event: &mut Event, clock: ClientClock, sender: &Sender<'_>) {
    let settled = settle(clock, sender.ingest_time_us, sender.settings.clock_bounds());
    event.event_time_us = settled.event_time_us;
    event.clock_quality = settled.quality;
    event.clock_skew_us = settled.skew_us;
    if settled.quality == ClockQuality::Clamped {
        event.flags = event.flags.with(EventFlags::CLAMPED);
    }
    let at = |written| match written {
        Written::At(time_us) => Some(time_us),
        Written::Absent | Written::Unreadable => None,
    };
    event.client_time_us = at(clock.client);
    event.sent_time_us = at(clock.sent);
}

/// A value as text, whatever it was written as; lists and objects are none.
pub(crate) fn plain(json: &str) -> Option<String> {
    // As good as absent, and no id called "null".
    if json == "null" {
        return None;
    }
    match json::scalar(json) {
        Scalar::Text(text) => Some(text.text.into_owned()),
        Scalar::Number(digits) => Some(digits.to_owned()),
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::List | Scalar::Object => None,
    }
}

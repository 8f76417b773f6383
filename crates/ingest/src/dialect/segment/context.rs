//! What stands around an event (`context`) and in it (`properties`, `traits`), read into columns.
//!
//! In:      the two objects, and the batch's own context for what the event's lacks.
//! Out:     columns of the event.
//! Promise: only columns that are still empty are filled, in this order: properties, context, addresses.
//!
//! Source: Segment's "Common fields" and "Campaign", e-commerce v2, e-mail and A/B testing specs. Not theirs and
//! ours alone: `context.tributary.kind`, and the properties `channel`, `ad_id`, `creative_id`, `message_id`,
//! `decision_id`, `exposures`, `country`, `region`.

use tributary_schemas::{Consent, Event, EventKind, Exposure};

use crate::consent;
use crate::dialect::page::Page;
use crate::dialect::reading::Reading;
use crate::dialect::{Refused, Sender, exposures};
use crate::json::{self, Scalar};
use crate::kind_rule::{EXPERIMENT_VIEWED, plain_name};
use crate::text::{AGENT_BYTES_MAX, CODE_BYTES_MAX, NAME_BYTES_MAX};
use crate::{network, telling};

const PROPERTIES: [&str; 38] = [
    "revenue",
    "total",
    "value",
    "currency",
    "channel",
    "campaign_id",
    "ad_id",
    "creative_id",
    "message_id",
    "link_id",
    "decision_id",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "utm_term",
    "utm_content",
    "gclid",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "msclkid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "country",
    "region",
    "exposures",
    "experiment_id",
    "experiment_name",
    "variation_id",
    "variation_name",
    "variant",
    "url",
    "path",
    "title",
    "referrer",
    "search",
];

/// The members of `properties` or `traits` that have a column.
pub(super) struct Properties<'a> {
    picked: [Option<&'a str>; PROPERTIES.len()],
    has_name: bool,
    has_category: bool,
}

impl<'a> Properties<'a> {
    pub(super) fn read(json: Option<&'a str>) -> Result<Self, Refused> {
        let Some(json) = json else {
            return Ok(Self { picked: [None; PROPERTIES.len()], has_name: false, has_category: false });
        };
        let refused = |_| Refused::field("properties", "an object", json::scalar(json).kind());
        let picked = json::pick(json, PROPERTIES).map_err(refused)?;
        let [name, category] = json::pick(json, ["name", "category"]).map_err(refused)?;
        Ok(Self { picked, has_name: name.is_some(), has_category: category.is_some() })
    }

    pub(super) fn has_name(&self) -> bool {
        self.has_name
    }

    pub(super) fn has_category(&self) -> bool {
        self.has_category
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        PROPERTIES.iter().position(|known| *known == name).and_then(|index| self.picked[index])
    }

    /// What the sender says in so many words.
    pub(super) fn fill(&self, event: &mut Event, reading: &mut Reading) {
        event.value = ["revenue", "total", "value"].into_iter().find_map(|name| reading.money(name, self.get(name)?));
        event.currency = reading.currency(self.get("currency"));
        for (name, column, bytes_max) in [
            ("channel", &mut event.channel, CODE_BYTES_MAX),
            ("utm_source", &mut event.utm_source, NAME_BYTES_MAX),
            ("utm_medium", &mut event.utm_medium, NAME_BYTES_MAX),
            ("utm_campaign", &mut event.utm_campaign, NAME_BYTES_MAX),
            ("utm_term", &mut event.utm_term, NAME_BYTES_MAX),
            ("utm_content", &mut event.utm_content, NAME_BYTES_MAX),
            ("gclid", &mut event.gclid, NAME_BYTES_MAX),
            ("gbraid", &mut event.gbraid, NAME_BYTES_MAX),
            ("wbraid", &mut event.wbraid, NAME_BYTES_MAX),
            ("dclid", &mut event.dclid, NAME_BYTES_MAX),
            ("fbclid", &mut event.fbclid, NAME_BYTES_MAX),
            ("msclkid", &mut event.msclkid, NAME_BYTES_MAX),
            ("ttclid", &mut event.ttclid, NAME_BYTES_MAX),
            ("twclid", &mut event.twclid, NAME_BYTES_MAX),
            ("li_fat_id", &mut event.li_fat_id, NAME_BYTES_MAX),
            ("country", &mut event.country, CODE_BYTES_MAX),
            ("region", &mut event.region, CODE_BYTES_MAX),
        ] {
            *column = reading.text(name, self.get(name), bytes_max);
        }
        for (name, column) in [
            ("campaign_id", &mut event.campaign_id),
            ("ad_id", &mut event.ad_id),
            ("creative_id", &mut event.creative_id),
            ("message_id", &mut event.message_id),
            ("link_id", &mut event.link_id),
            ("decision_id", &mut event.decision_id),
        ] {
            *column = reading.short_id(name, self.get(name));
        }
        event.exposures = self.exposures(&event.event_name, reading);
    }

    fn exposures(&self, event_name: &str, reading: &mut Reading) -> Vec<Exposure> {
        let mut exposures = self.get("exposures").map(|list| exposures(list, reading)).unwrap_or_default();
        if plain_name(event_name) == EXPERIMENT_VIEWED {
            let experiment = self.get("experiment_id").or(self.get("experiment_name"));
            let variant = self.get("variation_id").or(self.get("variation_name")).or(self.get("variant"));
            let experiment = reading.text("experiment_id", experiment, NAME_BYTES_MAX);
            let variant = reading.text("variation_id", variant, NAME_BYTES_MAX);
            if let (Some(experiment), Some(variant)) = (experiment, variant) {
                exposures.push(Exposure { experiment, variant, decision_id: None, probability: None });
            }
        }
        exposures
    }

    /// Page calls carry their address in the properties too, and servers carry it only there.
    pub(super) fn fill_page(&self, event: &mut Event, reading: &mut Reading) {
        let page = Page {
            url: self.get("url"),
            path: self.get("path"),
            title: self.get("title"),
            referrer: self.get("referrer"),
            search: self.get("search"),
        };
        page.fill(event, reading);
    }
}

const CONTEXT: [&str; 15] = [
    "library",
    "page",
    "campaign",
    "userAgent",
    "locale",
    "timezone",
    "screen",
    "ip",
    "location",
    "consent",
    "consentManagement",
    "tributary",
    "device",
    "os",
    "groupId",
];

/// What of `context` comes into an event, by its path; with a `*` everything below. The rest is not kept, but for `traits`
/// of an identify that has none of its own.
pub const CONTEXT_KEPT: &[&str] = &[
    "library.name",
    "library.version",
    "page.url",
    "page.path",
    "page.title",
    "page.referrer",
    "page.search",
    "campaign.source",
    "campaign.medium",
    "campaign.name",
    "campaign.term",
    "campaign.content",
    "campaign.id",
    "userAgent",
    "locale",
    "timezone",
    "screen.width",
    "screen.height",
    "ip",
    "location.country",
    "location.region",
    "consent.categoryPreferences.*",
    "consent.tcf",
    "consentManagement.allowedConsentIds",
    "consentManagement.deniedConsentIds",
    "tributary.kind",
    "device.id",
    "os.name",
    "groupId",
];

/// Libraries that run on a customer's server. Their clocks are kept by the host and are taken as they are: the
/// sending time of RudderStack's Node client is stale on a retry and carries no mark of it, so a correction
/// would move events by the time of the outage.
const SERVER_LIBRARIES: &[&str] = &[
    "@segment/analytics-node",
    "analytics-node",
    "analytics-python",
    "analytics-ruby",
    "analytics-go",
    "analytics-java",
    "analytics-php",
    "analytics.net",
    "analytics-csharp-server",
    "analytics-rust",
    "rudder-sdk-python",
    "rudder-analytics-java",
    "rudder-sdk-ruby",
    "rudder-go-sdk",
    "tributary-import",
];

/// The members of `context` that have a column.
pub(super) struct Context<'a> {
    picked: [Option<&'a str>; CONTEXT.len()],
}

impl<'a> Context<'a> {
    /// * `own`: the event's; `of_batch`: what holds for all events of the request where the event's is silent.
    pub(super) fn read(own: Option<&'a str>, of_batch: Option<&'a str>) -> Result<Self, Refused> {
        let read = |json: Option<&'a str>| match json {
            None => Ok([None; CONTEXT.len()]),
            Some(json) => {
                json::pick(json, CONTEXT).map_err(|_| Refused::field("context", "an object", json::scalar(json).kind()))
            }
        };
        let (own, of_batch) = (read(own)?, read(of_batch)?);
        Ok(Self { picked: std::array::from_fn(|index| own[index].or(of_batch[index])) })
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        CONTEXT.iter().position(|known| *known == name).and_then(|index| self.picked[index])
    }

    /// Members of the object `name`; all absent when it is something else.
    fn within<const N: usize>(&self, name: &'static str, names: [&str; N]) -> [Option<&'a str>; N] {
        let Some(json) = self.get(name) else { return [None; N] };
        json::pick(json, names).unwrap_or_else(|_| {
            telling::not_read(name);
            [None; N]
        })
    }

    /// * `channel`: RudderStack's own mark for where a library runs (`web`, `mobile`, `server`).
    pub(super) fn is_of_server(&self, channel: Option<&str>) -> bool {
        let [name] = self.within("library", ["name"]);
        let is_text = |json: Option<&str>, known: &[&str]| match json.map(json::scalar) {
            Some(Scalar::Text(text)) => known.contains(&&*text.text.to_ascii_lowercase()),
            _ => false,
        };
        is_text(channel, &["server"]) || is_text(name, SERVER_LIBRARIES)
    }

    pub(super) fn kind(&self) -> Option<EventKind> {
        let [kind] = self.within("tributary", ["kind"]);
        match json::scalar(kind?) {
            Scalar::Text(text) => EventKind::parse(&text.text),
            _ => None,
        }
    }

    pub(super) fn fill(&self, event: &mut Event, reading: &mut Reading) {
        let [source, medium, name, term, content, id] =
            self.within("campaign", ["source", "medium", "name", "term", "content", "id"]);
        for (column, json) in [
            (&mut event.utm_source, source),
            (&mut event.utm_medium, medium),
            (&mut event.utm_campaign, name),
            (&mut event.utm_term, term),
            (&mut event.utm_content, content),
            (&mut event.campaign_id, id),
        ] {
            if column.is_none() {
                *column = reading.text("campaign", json, NAME_BYTES_MAX);
            }
        }
        let [url, path, title, referrer, search] = self.within("page", ["url", "path", "title", "referrer", "search"]);
        Page { url, path, title, referrer, search }.fill(event, reading);

        event.user_agent = reading.text("userAgent", self.get("userAgent"), AGENT_BYTES_MAX);
        event.language = reading.text("locale", self.get("locale"), CODE_BYTES_MAX);
        event.timezone = reading.text("timezone", self.get("timezone"), CODE_BYTES_MAX);
        event.screen = self.screen(reading);
        event.library = self.library(reading);
        let [os] = self.within("os", ["name"]);
        event.os = reading.text("os", os, CODE_BYTES_MAX);
        let [country, region] = self.within("location", ["country", "region"]);
        if event.country.is_none() {
            event.country = reading.text("location", country, CODE_BYTES_MAX);
        }
        if event.region.is_none() {
            event.region = reading.text("location", region, CODE_BYTES_MAX);
        }
        event.consent = self.consent();
        self.fill_ids(event, reading);
    }

    /// Ids that only help: one too long to be an id is left where it is.
    fn fill_ids(&self, event: &mut Event, reading: &mut Reading) {
        let [device_id] = self.within("device", ["id"]);
        let mut short = |field, json| reading.short_id(field, json);
        event.device_id = short("device", device_id);
        if event.account_id.is_none() {
            event.account_id = short("groupId", self.get("groupId"));
        }
    }

    fn screen(&self, reading: &mut Reading) -> Option<String> {
        let [width, height] = self.within("screen", ["width", "height"]);
        let width = reading.text("screen", width, CODE_BYTES_MAX)?;
        let height = reading.text("screen", height, CODE_BYTES_MAX)?;
        Some(format!("{width}x{height}"))
    }

    fn library(&self, reading: &mut Reading) -> Option<String> {
        let [name, version] = self.within("library", ["name", "version"]);
        let name = reading.text("library", name, NAME_BYTES_MAX)?;
        Some(match reading.text("library", version, CODE_BYTES_MAX) {
            Some(version) => format!("{name}/{version}"),
            None => name,
        })
    }

    /// `consent.categoryPreferences` as Segment's wrappers write it; `consentManagement` as RudderStack's clients do; beside
    /// either a TC string as `consent.tcf`.
    fn consent(&self) -> Option<Consent> {
        let [preferences, tcf] = self.within("consent", ["categoryPreferences", consent::TCF]);
        let [allowed, denied] = self.within("consentManagement", ["allowedConsentIds", "deniedConsentIds"]);
        let by_name = match preferences {
            Some(preferences) => consent::of_switches(preferences),
            None => consent::of_lists(allowed, denied),
        };
        match tcf.and_then(json::text_of) {
            Some(text) => consent::with_tcf(by_name, &text),
            None => by_name,
        }
    }

    /// A browser is where it calls from; a server names the address of its visitor, and its own says nothing.
    pub(super) fn fill_network(&self, event: &mut Event, from_server: bool, sender: &Sender<'_>) {
        let ip = if from_server {
            match self.get("ip").map(json::scalar) {
                Some(Scalar::Text(text)) => network::parse_ip(&text.text),
                _ => None,
            }
        } else {
            sender.ip
        };
        event.ip_truncated = ip.map(network::truncated);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn filled(context: &Value) -> String {
        let text = context.to_string();
        let context = Context::read(Some(&text), None).unwrap();
        let mut event = Event::new("shop", super::super::DIALECT, "e1", "E", 0);
        context.fill(&mut event, &mut Reading::default());
        format!("{event:?} {:?} {:?}", context.kind(), context.get("ip"))
    }

    fn without(context: &Value, path: &str) -> Value {
        let mut context = context.clone();
        let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
        let at = if parent.is_empty() {
            Some(&mut context)
        } else {
            context.pointer_mut(&format!("/{}", parent.replace('.', "/")))
        };
        if let Some(Value::Object(object)) = at {
            object.remove(name);
        }
        context
    }

    #[test]
    fn what_is_said_to_be_kept_is_and_what_is_not_is_not() {
        let all = json!({
            "library": {"name": "l", "version": "1"},
            "page": {"url": "https://a.example/b?c=d", "path": "/x", "title": "t", "referrer": "https://r.example/", "search": "?y=z"},
            "campaign": {"source": "s", "medium": "m", "name": "n", "term": "t", "content": "c", "id": "i"},
            "userAgent": "u", "locale": "de-DE", "timezone": "Europe/Berlin", "screen": {"width": 1, "height": 2},
            "ip": "192.0.2.7", "location": {"country": "DE", "region": "BE"}, "tributary": {"kind": "page"},
            "consent": {"categoryPreferences": {"ads": true}},
            "consentManagement": {"allowedConsentIds": ["analytics"], "deniedConsentIds": ["ads"]},
            "device": {"id": "d"}, "os": {"name": "o"}, "groupId": "g",
        });
        // The address says path and query where it is there; preferences go before lists, and what is allowed before what is not.
        let lists = without(&all, "consent.categoryPreferences");
        let bases = [
            all.clone(),
            without(&all, "page.url"),
            lists.clone(),
            without(&lists, "consentManagement.allowedConsentIds"),
        ];
        let matters = |path: &str| bases.iter().any(|base| filled(base) != filled(&without(base, path)));
        for path in CONTEXT_KEPT.iter().filter(|path| **path != "consent.tcf") {
            assert!(matters(path.trim_end_matches(".*")), "{path}");
        }
        let more = json!({"traits": {"email": "a@b.example"}, "app": {"name": "a"}, "device": {"model": "m"}});
        let nothing = filled(&json!({}));
        assert_eq!(filled(&more), nothing);
    }
}

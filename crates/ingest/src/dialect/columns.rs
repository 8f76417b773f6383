//! Members that are called as our columns are.
//!
//! In:      a name and its JSON value.
//! Out:     the column of that name, filled; or that there is none.
//! Promise: text is cut to its column's limit; an id that says whose the event is and cannot be read refuses the event, any
//!          other is left out.

use tributary_schemas::{Consent, Event};

use super::reading::Reading;
use super::{Refused, exposures};
use crate::consent;
use crate::json::{self, Scalar};
use crate::text::{AGENT_BYTES_MAX, CODE_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX, TITLE_BYTES_MAX};

/// Puts a member into the column of its name. `Ok(false)`: there is none.
pub(crate) fn put_column(event: &mut Event, name: &str, json: &str, reading: &mut Reading) -> Result<bool, Refused> {
    let json = Some(json);
    match name {
        "anonymous_id" => event.anonymous_id = reading.id("anonymous_id", json)?,
        "user_id" => event.user_id = reading.id("user_id", json)?,
        "previous_id" => event.previous_id = reading.id("previous_id", json)?,
        "device_id" => event.device_id = reading.id("device_id", json)?,
        "account_id" => event.account_id = reading.id("account_id", json)?,
        "value" => event.value = json.and_then(|json| reading.money("amount", json)),
        "currency" => event.currency = reading.currency(json),
        "channel" => event.channel = reading.text("channel", json, CODE_BYTES_MAX),
        "campaign_id" => event.campaign_id = reading.short_id("campaign_id", json),
        "ad_id" => event.ad_id = reading.short_id("ad_id", json),
        "creative_id" => event.creative_id = reading.short_id("creative_id", json),
        "message_id" => event.message_id = reading.short_id("message_id", json),
        "link_id" => event.link_id = reading.short_id("link_id", json),
        "decision_id" => event.decision_id = reading.short_id("decision_id", json),
        "utm_source" => event.utm_source = reading.text("utm_source", json, NAME_BYTES_MAX),
        "utm_medium" => event.utm_medium = reading.text("utm_medium", json, NAME_BYTES_MAX),
        "utm_campaign" => event.utm_campaign = reading.text("utm_campaign", json, NAME_BYTES_MAX),
        "utm_term" => event.utm_term = reading.text("utm_term", json, NAME_BYTES_MAX),
        "utm_content" => event.utm_content = reading.text("utm_content", json, NAME_BYTES_MAX),
        "gclid" => event.gclid = reading.text("gclid", json, NAME_BYTES_MAX),
        "gbraid" => event.gbraid = reading.text("gbraid", json, NAME_BYTES_MAX),
        "wbraid" => event.wbraid = reading.text("wbraid", json, NAME_BYTES_MAX),
        "dclid" => event.dclid = reading.text("dclid", json, NAME_BYTES_MAX),
        "fbclid" => event.fbclid = reading.text("fbclid", json, NAME_BYTES_MAX),
        "msclkid" => event.msclkid = reading.text("msclkid", json, NAME_BYTES_MAX),
        "ttclid" => event.ttclid = reading.text("ttclid", json, NAME_BYTES_MAX),
        "twclid" => event.twclid = reading.text("twclid", json, NAME_BYTES_MAX),
        "li_fat_id" => event.li_fat_id = reading.text("li_fat_id", json, NAME_BYTES_MAX),
        "url_host" => event.url_host = reading.text("url_host", json, NAME_BYTES_MAX),
        "url_path" => event.url_path = reading.text("url_path", json, PATH_BYTES_MAX),
        "url_query" => event.url_query = reading.text("url_query", json, QUERY_BYTES_MAX),
        "referrer_host" => event.referrer_host = reading.text("referrer_host", json, NAME_BYTES_MAX),
        "title" => event.title = reading.text("title", json, TITLE_BYTES_MAX),
        "language" => event.language = reading.text("language", json, CODE_BYTES_MAX),
        "timezone" => event.timezone = reading.text("timezone", json, CODE_BYTES_MAX),
        "screen" => event.screen = reading.text("screen", json, CODE_BYTES_MAX),
        "user_agent" => event.user_agent = reading.text("user_agent", json, AGENT_BYTES_MAX),
        "os" => event.os = reading.text("os", json, CODE_BYTES_MAX),
        "country" => event.country = reading.text("country", json, CODE_BYTES_MAX),
        "region" => event.region = reading.text("region", json, CODE_BYTES_MAX),
        "library" => event.library = reading.text("library", json, NAME_BYTES_MAX),
        "exposures" => event.exposures = json.map(|json| exposures(json, reading)).unwrap_or_default(),
        "consent" => event.consent = json.and_then(read_consent),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Switches by name, a list of what was granted, a string of the IAB's framework, or the mask itself.
pub(crate) fn read_consent(json: &str) -> Option<Consent> {
    match json::scalar(json) {
        Scalar::Object => {
            let named = json::members(json).unwrap_or_default();
            // A browser that objects to ads, of whose visitor nobody has asked anything, has not refused the rest.
            let is_asked =
                named.iter().any(|(name, value)| *value == "true" || name == "analytics" || name == consent::TCF);
            consent::of_switches(json).filter(|_| is_asked)
        }
        Scalar::List => consent::of_names(json),
        Scalar::Number(digits) => {
            let all = Consent::NAMES.iter().fold(0, |all, (_, purpose)| all | purpose.0);
            digits.parse().ok().map(|mask: i64| Consent(mask & all))
        }
        Scalar::Text(text) => consent::with_tcf(None, &text.text),
        _ => None,
    }
}

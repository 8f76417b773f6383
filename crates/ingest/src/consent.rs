//! What a person allowed, as the consent tools of each dialect write it down.
//!
//! In:      switches by name, lists of names.
//! Out:     a mask of purposes; `None` when nobody asked.
//! Promise: what is not named as granted is not granted, but where a tool writes down only what was denied; a name that
//!          stands for no purpose of ours grants nothing.

use tributary_schemas::Consent;

use crate::json::{self, Scalar};
use crate::kind_rule::plain_name;
use crate::telling;

/// An object of category names and true or false.
pub(crate) fn of_switches(json: &str) -> Option<Consent> {
    let Ok(members) = json::members(json) else {
        telling::not_read("consent");
        return None;
    };
    let granted = members.iter().filter(|(_, value)| *value == "true");
    Some(granted.filter_map(|(name, _)| purpose(name)).fold(Consent::default(), Consent::with))
}

/// Lists of what was allowed and what was denied. When only the latter is there, the rest is allowed: that is how
/// RudderStack reads it.
pub(crate) fn of_lists(allowed: Option<&str>, denied: Option<&str>) -> Option<Consent> {
    if let Some(allowed) = allowed.and_then(of_names) {
        return Some(allowed);
    }
    let denied = denied.and_then(of_names)?;
    let all = Consent::NAMES.iter().fold(Consent::default(), |all, (_, purpose)| all.with(*purpose));
    Some(Consent(all.0 & !denied.0))
}

/// A list of names, those that were granted.
pub(crate) fn of_names(json: &str) -> Option<Consent> {
    let Ok(Some(names)) = json::elements(json, NAMES_MAX) else {
        telling::not_read("consent");
        return None;
    };
    let granted = names.into_iter().filter_map(|name| match json::scalar(name) {
        Scalar::Text(text) => purpose(&text.text),
        _ => None,
    });
    Some(granted.fold(Consent::default(), Consent::with))
}

/// Most names of one list that are looked at.
const NAMES_MAX: usize = 1_000;

/// The purpose a consent category stands for; the codes are OneTrust's. What is strictly necessary asks nobody.
pub(crate) fn purpose(category: &str) -> Option<Consent> {
    match plain_name(category).as_str() {
        "analytics" | "performance" | "statistics" | "measurement" | "c0002" => Some(Consent::ANALYTICS),
        "marketing" | "email marketing" | "email" => Some(Consent::MARKETING),
        "advertising" | "ads" | "targeting" | "c0004" => Some(Consent::ADS),
        "personalization" | "personalisation" | "functional" | "preferences" | "c0003" => {
            Some(Consent::PERSONALIZATION)
        }
        "sale" | "sale of data" | "data sharing" | "sharing" => Some(Consent::SALE),
        _ => None,
    }
}

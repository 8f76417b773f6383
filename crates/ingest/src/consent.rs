//! What a person allowed, as the consent tools of each dialect write it down.
//!
//! In:      switches by name, lists of names, strings of the IAB's framework (`tcf`).
//! Out:     a mask of purposes; `None` when nobody asked.
//! Promise: what is not named as granted is not granted, but where a tool writes down only what was denied; a name that
//!          stands for no purpose of ours grants nothing.

use tributary_schemas::Consent;

use crate::json::{self, Scalar};
use crate::kind_rule::plain_name;
use crate::{tcf, telling};

/// An object of category names and true or false; `tcf` in it is a string of the IAB's framework.
pub(crate) fn of_switches(json: &str) -> Option<Consent> {
    let Ok(members) = json::members(json) else {
        telling::not_read("consent");
        return None;
    };
    let granted = members.iter().filter(|(_, value)| *value == "true");
    let granted = Some(granted.filter_map(|(name, _)| purpose(name)).fold(Consent::default(), Consent::with));
    match members.iter().find(|(name, _)| name == TCF).and_then(|(_, json)| json::text_of(json)) {
        Some(text) => with_tcf(granted, &text),
        None => granted,
    }
}

/// The member and parameter by which a TC string is told beside switches.
pub(crate) const TCF: &str = "tcf";

/// What is known, and what a string of the IAB's framework says of the purposes it speaks about; of the others it says nothing,
/// and what nobody has said is not granted.
pub(crate) fn with_tcf(known: Option<Consent>, text: &str) -> Option<Consent> {
    match tcf::consent(text.trim()) {
        Some(said) => Some(Consent(known.unwrap_or_default().0 & !said.about.0 | said.granted.0)),
        None => {
            telling::not_read("consent");
            known
        }
    }
}

/// Lists of what was allowed and what was denied. When only the latter says something, the rest is allowed: that is how
/// RudderStack reads it, whose browser SDK sends the other one empty. Two empty ones allow nothing.
pub(crate) fn of_lists(allowed: Option<&str>, denied: Option<&str>) -> Option<Consent> {
    let says_something = |list: &&str| !matches!(json::elements(list, 1), Ok(Some(names)) if names.is_empty());
    let denied = denied.filter(says_something);
    if let Some(allowed) = allowed.filter(|list| says_something(list) || denied.is_none()).and_then(of_names) {
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

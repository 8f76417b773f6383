//! Names and values of a query or a form.
//!
//! In:      the text after the '?', or a form's body.
//! Out:     values by name, unescaped.
//! Promise: the first of two values of one name counts; empty ones count as absent; NULs are gone, for they travel badly
//!          through what reads the lake.

use axum::http::Uri;

pub(crate) struct Pairs {
    pairs: Vec<(String, String)>,
}

impl Pairs {
    pub(crate) fn of(text: &str) -> Self {
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        Self { pairs: pairs.map(|(name, value)| (name.replace('\0', ""), value.replace('\0', ""))).collect() }
    }

    /// Of an address.
    pub(crate) fn of_uri(uri: &Uri) -> Self {
        Self::of(uri.query().unwrap_or_default())
    }

    /// Of an object whose values are text, as Snowplow's trackers post them.
    pub(crate) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self { pairs }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let found = self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        found.filter(|value| !value.is_empty())
    }

    /// All of them by name, so that their order says nothing.
    pub(crate) fn sorted(&self) -> Vec<(&str, &str)> {
        let mut sorted: Vec<(&str, &str)> =
            self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        sorted.sort_unstable();
        sorted
    }

    /// All but those named, as a JSON object; `None` when none is left.
    pub(crate) fn rest(&self, taken: &[&str]) -> Option<serde_json::Map<String, serde_json::Value>> {
        let rest = self.pairs.iter().filter(|(name, _)| !taken.contains(&name.as_str()));
        let rest: serde_json::Map<_, _> = rest.map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        (!rest.is_empty()).then_some(rest)
    }
}

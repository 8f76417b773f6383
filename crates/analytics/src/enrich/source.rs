//! What kind of site a source is: the "source categories" of channel rules.
//!
//! In:      what stands in utm_source, or the host of a referrer.
//! Out:     a `SourceKind`, or nothing.
//! Promise: a name, a short form and a host of one site are one kind.
//!
//! GA4's own list of some 800 sites is not ours to copy; search engines, networks and assistants come from Matomo's lists
//! (`referrer`), shops and video sites from the short lists below, which are our own.

use super::referrer::Referrers;

/// In the order of precedence, least first: a name in two lists is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SourceKind {
    Email,
    Search,
    Social,
    Video,
    Shopping,
    Assistant,
}

impl SourceKind {
    pub(super) const ALL: &[(&str, Self)] = &[
        ("email", Self::Email),
        ("search", Self::Search),
        ("social", Self::Social),
        ("video", Self::Video),
        ("shopping", Self::Shopping),
        ("ai_assistant", Self::Assistant),
    ];

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind)
    }
}

/// By name, or by the domain it is found under (a name and its domain are one entry: `amazon` is amazon.de too).
const SHOPS: &[&str] = &[
    "amazon",
    "aliexpress",
    "alibaba",
    "ebay",
    "etsy",
    "walmart",
    "rakuten",
    "mercadolibre",
    "mercadolivre",
    "zalando",
    "otto",
    "bol",
    "allegro",
    "cdiscount",
    "flipkart",
    "shopee",
    "lazada",
    "temu",
    "shein",
    "wish",
    "idealo",
    "shopify",
    "shopzilla",
    "igshopping",
    "google shopping",
    "googleshopping",
    "shopping",
];

const VIDEO_SITES: &[&str] = &[
    "youtube",
    "youtu.be",
    "vimeo",
    "dailymotion",
    "twitch",
    "netflix",
    "hulu",
    "disneyplus",
    "wistia",
    "ted",
    "iqiyi",
    "youku",
    "bilibili",
    "crackle",
    "veoh",
    "rumble",
    "odysee",
];

/// Of the names above, words that are also other things: only as a domain.
const ONLY_AS_DOMAIN: &[&str] = &["otto", "bol", "wish", "ted"];

/// What marketers write for short.
const WORDS: &[(&str, SourceKind)] = &[
    ("fb", SourceKind::Social),
    ("ig", SourceKind::Social),
    ("meta", SourceKind::Social),
    ("x", SourceKind::Social),
    ("adwords", SourceKind::Search),
    ("googleads", SourceKind::Search),
    ("google_ads", SourceKind::Search),
    ("msn", SourceKind::Search),
    ("yahoo", SourceKind::Search),
    ("newsletter", SourceKind::Email),
    ("mailchimp", SourceKind::Email),
    ("klaviyo", SourceKind::Email),
    ("brevo", SourceKind::Email),
    ("tiktok", SourceKind::Social),
    ("snapchat", SourceKind::Social),
];

/// Names in the lists that say nothing when they stand alone.
const NO_NAMES: &[&str] = &["ask", "you", "so", "speedy", "excite", "info.com", "writesonic"];

/// `source`: lower case, trimmed.
pub(super) fn kind_of_source(source: &str, referrers: &Referrers) -> Option<SourceKind> {
    let of_lists = |name: &str| {
        if SHOPS.contains(&name) {
            Some(SourceKind::Shopping)
        } else if VIDEO_SITES.contains(&name) {
            Some(SourceKind::Video)
        } else {
            None
        }
    };
    if source.contains('.') {
        return of_lists(source)
            .or_else(|| domain_name(source).and_then(of_lists))
            .or_else(|| referrers.kind_of_host(source));
    }
    let word = || WORDS.iter().find(|(word, _)| *word == source).map(|(_, kind)| *kind);
    let named = || referrers.kind_of_name(source).filter(|_| !NO_NAMES.contains(&source));
    of_lists(source).filter(|_| !ONLY_AS_DOMAIN.contains(&source)).or_else(word).or_else(named)
}

/// "amazon" of "www.amazon.co.uk": one label is taken off the end, and a second if it is one that countries put there. A
/// short guess in place of the list of public suffixes.
fn domain_name(host: &str) -> Option<&str> {
    let (mut rest, _) = host.rsplit_once('.')?;
    if let Some((before, "co" | "com" | "org" | "net" | "ne" | "or")) = rest.rsplit_once('.') {
        rest = before;
    }
    Some(rest.rsplit_once('.').map_or(rest, |(_, name)| name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::built_in;

    #[test]
    fn a_name_a_short_form_and_a_host_are_one_kind() {
        for (source, kind) in [
            ("google", Some(SourceKind::Search)),
            ("google.co.uk", Some(SourceKind::Search)),
            ("www.google.de", Some(SourceKind::Search)),
            ("facebook", Some(SourceKind::Social)),
            ("fb", Some(SourceKind::Social)),
            ("m.facebook.com", Some(SourceKind::Social)),
            ("youtube", Some(SourceKind::Video)),
            ("m.youtube.com", Some(SourceKind::Video)),
            ("amazon.de", Some(SourceKind::Shopping)),
            ("amazon", Some(SourceKind::Shopping)),
            ("chatgpt.com", Some(SourceKind::Assistant)),
            ("perplexity", Some(SourceKind::Assistant)),
            ("mail.google.com", Some(SourceKind::Email)),
            ("ask", None),
            ("wish", None),
            ("partner", None),
            ("blog.example", None),
        ] {
            assert_eq!(kind_of_source(source, &built_in().referrers), kind, "{source}");
        }
    }
}

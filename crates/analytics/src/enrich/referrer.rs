//! Where a referring host belongs: search engine, social network, web mail, assistant, advertiser, or one's own site.
//!
//! In:      the host of the page that linked here, and the host of the page itself.
//! Out:     a medium of `MEDIUMS`, and the name of the site where it is known.
//! Promise: the longest name in the lists that fits decides; a search engine is its search pages alone, not the maps or
//!          documents beside them; a network or assistant is all of its hosts.
//! Not here: the words searched for (`ingest/src/landing.rs` keeps them: only the door sees the whole address).

use std::collections::HashMap;

use super::source::SourceKind;
use crate::channel::same_site;

/// Matomo's lists: host, kind, name, parameters. `{}` in a host stands for a country.
pub(super) const LIST: &str = include_str!("../../data/referrers.tsv");

pub const SEARCH: &str = "search";
pub const SOCIAL: &str = "social";
pub const EMAIL: &str = "email";
pub const AI_ASSISTANT: &str = "ai_assistant";
pub const PAID: &str = "paid";
pub const INTERNAL: &str = "internal";
pub const UNKNOWN: &str = "unknown";

pub const MEDIUMS: &[&str] = &[SEARCH, SOCIAL, EMAIL, AI_ASSISTANT, PAID, INTERNAL, UNKNOWN];

/// Hosts a visitor only passes through, such as a payment page: who comes back from one was here before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IgnoredReferrers {
    /// Lower case, sorted.
    hosts: Vec<String>,
}

impl IgnoredReferrers {
    /// `hosts`: each stands for itself and all hosts below it.
    ///
    /// # Errors
    ///
    /// Those of them that are no host, each as it was given.
    pub fn new(hosts: &[String]) -> Result<Self, Vec<String>> {
        let faults: Vec<_> = hosts.iter().filter(|host| !is_host(host)).cloned().collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut hosts: Vec<_> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        Ok(Self { hosts })
    }

    pub fn has(&self, host: &str) -> bool {
        if self.hosts.is_empty() {
            return false;
        }
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        let mut rest = host.as_str();
        loop {
            if self.hosts.binary_search_by(|known| known.as_str().cmp(rest)).is_ok() {
                return true;
            }
            let Some((_, outer)) = rest.split_once('.') else { return false };
            rest = outer;
        }
    }

    pub(super) fn hosts(&self) -> &[String] {
        &self.hosts
    }
}

/// A name with a dot, and nothing around it: no scheme, port, path or star.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.contains('.') && text.split('.').all(is_label)
}

/// What a referring host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Referral {
    pub medium: &'static str,
    /// Google, Facebook ...; `None` for a host no list knows.
    pub source: Option<&'static str>,
}

impl Referral {
    pub(super) const INTERNAL: Self = Self { medium: INTERNAL, source: None };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Site {
    kind: Kind,
    name: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Search,
    /// A page with a search box among other things: a search only if the words are known.
    Portal,
    Social,
    Assistant,
    Email,
    Paid,
}

impl Kind {
    /// Whether a host within the listed one belongs to it too.
    const fn has_all_below(self) -> bool {
        !matches!(self, Self::Search | Self::Portal)
    }

    const fn medium(self, has_term: bool) -> &'static str {
        match self {
            Self::Search => SEARCH,
            Self::Portal if has_term => SEARCH,
            Self::Portal => UNKNOWN,
            Self::Social => SOCIAL,
            Self::Assistant => AI_ASSISTANT,
            Self::Email => EMAIL,
            Self::Paid => PAID,
        }
    }
}

/// Hosts the lists do not have: web mail, and the servers that ads are clicked through.
const OURS: &[(&str, Kind, &str)] = &[
    ("mail.google.com", Kind::Email, "Gmail"),
    ("com.google.android.gm", Kind::Email, "Gmail"),
    ("outlook.live.com", Kind::Email, "Outlook"),
    ("outlook.office.com", Kind::Email, "Outlook"),
    ("outlook.office365.com", Kind::Email, "Outlook"),
    ("mail.yahoo.com", Kind::Email, "Yahoo! Mail"),
    ("mail.yahoo.co.jp", Kind::Email, "Yahoo! Mail"),
    ("mail.aol.com", Kind::Email, "AOL Mail"),
    ("mail.proton.me", Kind::Email, "Proton Mail"),
    ("mail.zoho.com", Kind::Email, "Zoho Mail"),
    ("mail.qq.com", Kind::Email, "QQ Mail"),
    ("mail.163.com", Kind::Email, "163 Mail"),
    ("mail.yandex.ru", Kind::Email, "Yandex Mail"),
    ("mail.yandex.com", Kind::Email, "Yandex Mail"),
    ("e.mail.ru", Kind::Email, "Mail.Ru"),
    ("mail.naver.com", Kind::Email, "Naver Mail"),
    ("mail.daum.net", Kind::Email, "Daum Mail"),
    ("mail.orange.fr", Kind::Email, "Orange Mail"),
    ("webmail.gmx.net", Kind::Email, "GMX"),
    ("navigator.gmx.net", Kind::Email, "GMX"),
    ("navigator.web.de", Kind::Email, "WEB.DE"),
    ("email.t-online.de", Kind::Email, "T-Online Mail"),
    ("mail.com", Kind::Email, "mail.com"),
    ("app.fastmail.com", Kind::Email, "Fastmail"),
    ("icloud.com", Kind::Email, "iCloud"),
    ("doubleclick.net", Kind::Paid, "Google Marketing Platform"),
    ("googleadservices.com", Kind::Paid, "Google Ads"),
    ("googlesyndication.com", Kind::Paid, "Google Ads"),
    ("adform.net", Kind::Paid, "Adform"),
    ("adnxs.com", Kind::Paid, "Xandr"),
    ("criteo.com", Kind::Paid, "Criteo"),
    ("taboola.com", Kind::Paid, "Taboola"),
    ("outbrain.com", Kind::Paid, "Outbrain"),
    ("adsrvr.org", Kind::Paid, "The Trade Desk"),
    ("amazon-adsystem.com", Kind::Paid, "Amazon Ads"),
    // Missing in the lists, whose engines have other hosts there.
    ("daum.net", Kind::Search, "Daum"),
    ("aol.com", Kind::Search, "AOL"),
    ("swisscows.com", Kind::Search, "Swisscows"),
    ("fb.com", Kind::Social, "Facebook"),
    ("youtu.be", Kind::Social, "YouTube"),
    ("pin.it", Kind::Social, "Pinterest"),
    ("t.me", Kind::Social, "Telegram"),
];

pub struct Referrers {
    sites: HashMap<&'static str, Site>,
    /// Names of sites in lower case: what marketers write into utm_source.
    names: HashMap<String, SourceKind>,
}

impl Referrers {
    pub(super) fn built_in() -> Self {
        let mut sites = HashMap::new();
        for line in LIST.lines() {
            let mut cells = line.split('\t');
            let (Some(host), Some(kind), Some(name)) = (cells.next(), cells.next(), cells.next()) else { continue };
            let kind = match kind {
                "search" => Kind::Search,
                "portal" => Kind::Portal,
                "social" => Kind::Social,
                _ => Kind::Assistant,
            };
            sites.insert(host, Site { kind, name });
        }
        for (host, kind, name) in OURS {
            sites.entry(host).or_insert(Site { kind: *kind, name });
        }
        let mut names: HashMap<String, SourceKind> = HashMap::new();
        for site in sites.values() {
            if let Some(kind) = source_kind(site.kind) {
                // An assistant before a network before an engine, so that a name in two lists does not depend on order.
                let known = names.entry(site.name.to_lowercase()).or_insert(kind);
                *known = kind.max(*known);
            }
        }
        Self { sites, names }
    }

    /// What `host` is to a page on `own_host`.
    ///
    /// * `has_term`: whether the referring address brought the words of a search.
    pub fn find(&self, host: &str, own_host: Option<&str>, has_term: bool) -> Option<Referral> {
        let host = host.trim().trim_end_matches('.').to_ascii_lowercase();
        if host.is_empty() {
            return None;
        }
        if own_host.is_some_and(|own| same_site(&host, &own.trim().to_ascii_lowercase())) {
            return Some(Referral::INTERNAL);
        }
        Some(match self.site_of(&host) {
            Some(site) => {
                let medium = site.kind.medium(has_term);
                Referral { medium, source: (medium != UNKNOWN).then_some(site.name) }
            }
            None => Referral { medium: UNKNOWN, source: None },
        })
    }

    pub(super) fn kind_of_host(&self, host: &str) -> Option<SourceKind> {
        self.site_of(host).and_then(|site| source_kind(site.kind))
    }

    pub(super) fn kind_of_name(&self, name: &str) -> Option<SourceKind> {
        self.names.get(name).copied()
    }

    /// `host`: lower case.
    fn site_of(&self, host: &str) -> Option<Site> {
        let bare = without_www(host);
        if let Some(site) = self.at(host).or_else(|| self.at(bare)) {
            return Some(site);
        }
        // As Matomo does: the mobile or search pages of an engine are the engine. m.sogou.com, search.lycos.de.
        for prefix in ["m.", "search."] {
            if let Some(site) = bare.strip_prefix(prefix).and_then(|rest| self.at(rest)) {
                return Some(site);
            }
        }
        let mut rest = bare;
        while let Some((_, outer)) = rest.split_once('.') {
            if let Some(site) = self.at(outer).filter(|site| site.kind.has_all_below()) {
                return Some(site);
            }
            rest = outer;
        }
        None
    }

    /// The entry for exactly this host, also one that leaves the country open.
    fn at(&self, host: &str) -> Option<Site> {
        let known = |key: &str| self.sites.get(key).copied();
        known(host)
            .or_else(|| {
                let (first, rest) = host.split_once('.')?;
                if is_country(first) {
                    return known(&format!("{{}}.{rest}"));
                }
                // images.de.ask.com
                let (second, rest) = rest.split_once('.')?;
                is_country(second).then(|| known(&format!("{first}.{{}}.{rest}"))).flatten()
            })
            .or_else(|| {
                let (rest, country) = host.rsplit_once('.')?;
                if !is_country(country) {
                    return None;
                }
                // google.co.uk and google.com.au, as google.de.
                let rest = rest.strip_suffix(".co").or_else(|| rest.strip_suffix(".com")).unwrap_or(rest);
                known(&format!("{rest}.{{}}"))
            })
    }
}

fn is_country(label: &str) -> bool {
    label.len() == 2 && label.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// "www.google.com" and "www2.google.com" without their first label.
fn without_www(host: &str) -> &str {
    match host.split_once('.') {
        Some((first, rest)) if rest.contains('.') => match first.strip_prefix("www") {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => rest,
            _ => host,
        },
        _ => host,
    }
}

const fn source_kind(kind: Kind) -> Option<SourceKind> {
    match kind {
        Kind::Search => Some(SourceKind::Search),
        Kind::Social => Some(SourceKind::Social),
        Kind::Assistant => Some(SourceKind::Assistant),
        Kind::Email => Some(SourceKind::Email),
        Kind::Portal | Kind::Paid => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::built_in;

    fn find(host: &str, has_term: bool) -> (&'static str, Option<&'static str>) {
        let found = built_in().referrers.find(host, Some("www.shop.example"), has_term).unwrap();
        (found.medium, found.source)
    }

    #[test]
    fn hosts_are_found_by_the_longest_name_that_fits() {
        for (host, medium, source) in [
            ("www.google.com", SEARCH, Some("Google")),
            ("google.co.uk", SEARCH, Some("Google")),
            ("www.google.com.au", SEARCH, Some("Google")),
            ("WWW.Google.DE.", SEARCH, Some("Google")),
            ("images.google.fr", SEARCH, Some("Google Images")),
            ("cn.bing.com", SEARCH, Some("Bing")),
            ("us.search.yahoo.com", SEARCH, Some("Yahoo!")),
            ("duckduckgo.com", SEARCH, Some("DuckDuckGo")),
            ("yandex.ru", SEARCH, Some("Yandex")),
            ("search.brave.com", SEARCH, Some("Brave")),
            ("m.facebook.com", SOCIAL, Some("Facebook")),
            ("lm.facebook.com", SOCIAL, Some("Facebook")),
            ("old.reddit.com", SOCIAL, Some("reddit")),
            ("t.co", SOCIAL, Some("Twitter")),
            ("x.com", SOCIAL, Some("Twitter")),
            ("chatgpt.com", AI_ASSISTANT, Some("ChatGPT")),
            ("www.perplexity.ai", AI_ASSISTANT, Some("Perplexity")),
            ("gemini.google.com", AI_ASSISTANT, Some("Gemini")),
            ("mail.google.com", EMAIL, Some("Gmail")),
            ("outlook.live.com", EMAIL, Some("Outlook")),
            ("googleads.g.doubleclick.net", PAID, Some("Google Marketing Platform")),
            ("checkout.shop.example", INTERNAL, None),
            ("shop.example", INTERNAL, None),
            ("docs.google.com", UNKNOWN, None),
            ("notfacebook.com", UNKNOWN, None),
            ("blog.example", UNKNOWN, None),
            ("localhost", UNKNOWN, None),
            ("www.com", UNKNOWN, None),
        ] {
            assert_eq!(find(host, false), (medium, source), "{host}");
        }
        assert_eq!(built_in().referrers.find(" ", None, false), None);
    }

    #[test]
    fn a_portal_is_a_search_only_with_its_words() {
        assert_eq!(find("news.google.com", false), (UNKNOWN, None));
        assert_eq!(find("news.google.de", true), (SEARCH, Some("Google News")));
    }

    #[test]
    fn an_ignored_host_stands_for_all_below_it_and_no_other() {
        let hosts =
            |hosts: &[&str]| IgnoredReferrers::new(&hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        let ignored = hosts(&["paypal.com", "WWW.Gov.uk", "accounts.google.com"]).unwrap();
        for host in ["paypal.com", "www.paypal.com", "checkout.PayPal.com.", "www.gov.uk", "a.www.gov.uk"] {
            assert!(ignored.has(host), "{host}");
        }
        for host in [
            "notpaypal.com",
            "paypal.com.evil.example",
            "com",
            "",
            "google.com",
            "www.google.com",
            "gov.uk",
            "hmrc.gov.uk",
        ] {
            assert!(!ignored.has(host), "{host}");
        }
        assert!(!IgnoredReferrers::default().has("paypal.com"));
        let wrong = ["https://paypal.com", "paypal.com/", "*.paypal.com", "paypal.com:443", "paypal", ""];
        assert_eq!(hosts(&wrong).unwrap_err(), wrong);
    }

    #[test]
    fn every_listed_host_is_found_again() {
        for line in LIST.lines() {
            let mut cells = line.split('\t');
            let host = cells.next().unwrap().replace("{}", "de");
            let kind = cells.next().unwrap();
            let medium = if kind == "portal" { SEARCH } else { kind };
            assert_eq!(find(&host, true).0, medium, "{host}");
        }
    }
}

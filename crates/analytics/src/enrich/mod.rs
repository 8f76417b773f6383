//! Enrichment: what the columns of an event mean together with lists of our own.
//!
//! In:       what an event says: user agent, referring host, campaign marks, an amount with its currency, a message.
//! Out:      browser, system and device; bot or scanner; medium and name of a referrer; channel; reporting value.
//! Promise:  a function of the event and of `Rules` alone; only `burst` looks at a sequence, and it is a function of the
//!           log's prefix. `Rules::version` changes when an answer may, so that rows of older rules can be found.
//! Not here: files and columns (`pipeline`); what the sender said himself, which always wins (`pipeline`).
//!
//! Definitions: `docs/methods.md#enrichment`. The lists and where they come from: `data/README.md`.

pub mod agent;
pub mod burst;
pub mod cache;
pub mod channel_rules;
pub mod currency;
mod expressions;
pub mod machine;
pub mod referrer;
mod source;

use std::sync::{Arc, LazyLock};

use tributary_schemas::EngagementClass;
use xxhash_rust::xxh3::Xxh3;

use agent::AgentRules;
use burst::BurstRule;
use channel_rules::{ChannelRules, Origin};
use currency::{NewerRates, Rates};
use machine::Crawlers;
use referrer::{IgnoredReferrers, Referral, Referrers};

/// Raised when code, not a list, changes what enrichment answers.
const CODE_VERSION: u32 = 1;

/// The lists compiled in. Made when first asked for: a process that folds nothing saves it.
pub struct BuiltIn {
    pub agents: AgentRules,
    pub crawlers: Crawlers,
    pub referrers: Referrers,
}

pub fn built_in() -> &'static BuiltIn {
    static BUILT_IN: LazyLock<BuiltIn> = LazyLock::new(|| BuiltIn {
        agents: AgentRules::built_in(),
        crawlers: Crawlers::built_in(),
        referrers: Referrers::built_in(),
    });
    &BUILT_IN
}

/// What may differ from one installation to another.
pub struct Rules {
    pub channels: ChannelRules,
    pub bursts: BurstRule,
    /// Absent where no reporting currency is set.
    rates: Option<Arc<Rates>>,
    newer_rates: NewerRates,
    ignored: IgnoredReferrers,
    version: String,
}

impl Rules {
    pub fn new(channels: ChannelRules, bursts: BurstRule, rates: Option<Rates>, ignored: IgnoredReferrers) -> Self {
        let mut hasher = Xxh3::new();
        for list in [agent::LIST, machine::LIST, referrer::LIST] {
            hasher.update(list.as_bytes());
        }
        hasher.update(channels.fingerprint().as_bytes());
        hasher.update(format!("{bursts:?}").as_bytes());
        // The table of rates grows every day and a rate once written stays: `rate_date` says which one a row has.
        hasher.update(rates.as_ref().map_or("", Rates::reporting).as_bytes());
        // How old a rate may be decides whether there is a value at all.
        hasher.update(&rates.as_ref().map_or(0, Rates::age_days_max).to_le_bytes());
        for host in ignored.hosts() {
            hasher.update(host.as_bytes());
            hasher.update(&[0]);
        }
        let version = format!("{CODE_VERSION}-{:012x}", hasher.digest() >> 16);
        Self { channels, bursts, rates: rates.map(Arc::new), newer_rates: NewerRates::default(), ignored, version }
    }

    /// A table put there later takes the place of the one it began with. The version stays: `rate_date` says which rate a
    /// row has.
    pub fn with_newer_rates(self, newer_rates: NewerRates) -> Self {
        Self { newer_rates, ..self }
    }

    /// The table to go by now.
    pub fn rates(&self) -> Option<Arc<Rates>> {
        let begun_with = self.rates.as_ref()?;
        Some(self.newer_rates.get().unwrap_or_else(|| begun_with.clone()))
    }

    /// What `host` is to a page on `own_host`; see `Referrers::find`.
    pub fn referral(&self, host: &str, own_host: Option<&str>, has_term: bool) -> Option<Referral> {
        if self.ignored.has(host) {
            return Some(Referral::INTERNAL);
        }
        built_in().referrers.find(host, own_host, has_term)
    }

    /// The channel an origin speaks for.
    pub fn channel(&self, origin: &Origin<'_>) -> Option<&str> {
        let mut origin = *origin;
        if origin.hints.referrer_host.is_some_and(|host| self.ignored.has(host)) {
            origin.hints.referrer_host = None;
        }
        self.channels.classify(&origin, &built_in().referrers)
    }

    /// The number of the code and a hash of lists and rules.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(ChannelRules::Tributary, BurstRule::default(), None, IgnoredReferrers::default())
    }
}

/// What becomes of the door's class when enrichment sees a machine: the class to write, if it is another.
///
/// A label is only ever made more specific. What the door saw of the request itself (a prefetch, a privacy proxy)
/// stands, and nothing becomes human again.
pub const fn refined(door: EngagementClass, seen: EngagementClass) -> Option<EngagementClass> {
    use EngagementClass as C;
    match (door, seen) {
        (C::Human | C::Unknown, C::Bot | C::Scanner) | (C::Bot, C::Scanner) => Some(seen),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_only_made_more_specific() {
        use EngagementClass as C;
        for door in C::ALL {
            for seen in C::ALL {
                let after = refined(*door, *seen).unwrap_or(*door);
                assert!(after != C::Human || *door == C::Human, "{door} and {seen} became human");
                assert!(!matches!(door, C::Prefetch | C::PrivacyProxy | C::Scanner) || after == *door);
            }
        }
        assert_eq!(refined(C::Human, C::Bot), Some(C::Bot));
        assert_eq!(refined(C::Bot, C::Scanner), Some(C::Scanner));
    }

    #[test]
    fn a_version_tells_rules_apart_and_stays_the_same() {
        type Parts = (ChannelRules, BurstRule, Option<Rates>, IgnoredReferrers);
        let version = |change: fn(&mut Parts)| {
            let mut parts = (ChannelRules::Tributary, BurstRule::default(), None, IgnoredReferrers::default());
            change(&mut parts);
            Rules::new(parts.0, parts.1, parts.2, parts.3).version().to_owned()
        };
        let versions = [
            version(|_| {}),
            version(|parts| parts.0 = ChannelRules::ga4()),
            version(|parts| parts.1.links_min = 5),
            version(|parts| parts.2 = Some(Rates::without_table("EUR", 7))),
            // How old a rate may be.
            version(|parts| parts.2 = Some(Rates::without_table("EUR", 8))),
            version(|parts| parts.3 = IgnoredReferrers::new(&["pay.example".to_owned()]).unwrap()),
            version(|parts| parts.3 = IgnoredReferrers::new(&["bank.example".to_owned()]).unwrap()),
        ];
        let distinct: std::collections::BTreeSet<_> = versions.iter().collect();
        assert_eq!(distinct.len(), versions.len(), "{versions:?}");
        assert_eq!(versions[0], Rules::default().version());
        assert_eq!(versions[3], version(|parts| parts.2 = Some(Rates::without_table("EUR", 7))));
    }

    #[test]
    fn who_comes_back_from_an_ignored_host_has_no_new_origin() {
        let ignored = IgnoredReferrers::new(&["paypal.com".to_owned()]).unwrap();
        for channels in [ChannelRules::Tributary, ChannelRules::ga4()] {
            let rules = Rules::new(channels, BurstRule::default(), None, ignored.clone());
            let mut origin = Origin::default();
            origin.hints.own_host = Some("shop.example");
            origin.hints.referrer_host = Some("www.paypal.com");
            assert_eq!(rules.channel(&origin), None);
            assert_eq!(rules.referral("www.paypal.com", Some("shop.example"), false), Some(Referral::INTERNAL));
            origin.hints.referrer_host = Some("blog.example");
            assert_eq!(rules.channel(&origin), Some("referral"));
            // What the link itself says still counts.
            origin.hints.referrer_host = Some("www.paypal.com");
            origin.hints.has_google_ads_click_id = true;
            assert_eq!(rules.channel(&origin), Some("paid_search"));
        }
    }
}

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

use std::sync::LazyLock;

use tributary_schemas::EngagementClass;
use xxhash_rust::xxh3::Xxh3;

use agent::AgentRules;
use burst::BurstRule;
use channel_rules::ChannelRules;
use currency::Rates;
use machine::Crawlers;
use referrer::Referrers;

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
    pub rates: Option<Rates>,
    version: String,
}

impl Rules {
    pub fn new(channels: ChannelRules, bursts: BurstRule, rates: Option<Rates>) -> Self {
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
        let version = format!("{CODE_VERSION}-{:012x}", hasher.digest() >> 16);
        Self { channels, bursts, rates, version }
    }

    /// The number of the code and a hash of lists and rules.
    pub fn version(&self) -> &str {
        &self.version
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(ChannelRules::Tributary, BurstRule::default(), None)
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
        let rules = |channels| Rules::new(channels, BurstRule::default(), None);
        assert_eq!(rules(ChannelRules::Tributary).version(), Rules::default().version());
        assert_ne!(rules(ChannelRules::ga4()).version(), Rules::default().version());
        let other = BurstRule { links_min: 5, ..BurstRule::default() };
        assert_ne!(Rules::new(ChannelRules::Tributary, other, None).version(), Rules::default().version());
        let aged =
            |days| Rules::new(ChannelRules::Tributary, BurstRule::default(), Some(Rates::without_table("EUR", days)));
        assert_ne!(aged(7).version(), aged(8).version(), "how old a rate may be");
        assert_eq!(aged(7).version(), aged(7).version());
    }
}

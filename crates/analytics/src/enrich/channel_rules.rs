//! Channel by rules one can choose: our own, GA4's default channel group, or a list of one's own.
//!
//! In:       what an event says about its origin.
//! Out:      one word, or nothing when the event says nothing.
//! Promise:  the rules are asked in the order they stand in, the first that holds decides; what GA4 calls Direct is no
//!           channel here, so that a visit nobody brought is no touch (`docs/methods.md#attribution`).
//! Not here: our own rules (`channel`); a channel the sender wrote on the event, which always wins (`pipeline`).
//!
//! Source: "[GA4] Default channel group", support.google.com/analytics/answer/9756891. `docs/methods.md#channel` has the
//! table, and where we differ.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

use super::referrer::{self, Referrers};
use super::source::{SourceKind, kind_of_source};
use crate::channel::{self, TouchHints};

/// What an event says about its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin<'a> {
    pub hints: TouchHints<'a>,
    pub utm_campaign: Option<&'a str>,
    /// Whether the referrer brought the words of a search.
    pub has_referrer_term: bool,
}

pub enum ChannelRules {
    /// `channel::classify`.
    Tributary,
    Ordered(Ordered),
}

pub struct Ordered {
    rules: Vec<Rule>,
    otherwise: Otherwise,
    fingerprint: String,
}

/// What is said when no rule holds and the event does say something of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Otherwise {
    /// The word `other`: GA4's Unassigned.
    #[default]
    Other,
    Tributary,
    Ga4,
}

/// One rule as it is written: all that is given must hold, and of a list one entry. Empty is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuleSpec {
    pub name: String,
    pub source: Vec<String>,
    /// search, social, video, shopping, email, ai_assistant.
    pub source_kind: Vec<String>,
    pub source_matches: Option<String>,
    pub medium: Vec<String>,
    pub medium_matches: Option<String>,
    pub campaign: Vec<String>,
    pub campaign_matches: Option<String>,
    /// A host, with all hosts below it.
    pub referrer_host: Vec<String>,
    /// A word of `referrer::MEDIUMS`.
    pub referrer_medium: Vec<String>,
    /// A word of `CLICK_ID_KINDS`.
    pub click_id: Vec<String>,
}

/// Whose ad click ids a rule may ask for.
pub const CLICK_ID_KINDS: &[&str] =
    &["google_ads", "google_display", "microsoft_ads", "meta", "tiktok", "x", "linkedin"];

pub const CROSS_NETWORK: &str = "cross_network";
pub const PAID_SHOPPING: &str = "paid_shopping";
pub const PAID_VIDEO: &str = "paid_video";
pub const ORGANIC_SHOPPING: &str = "organic_shopping";
pub const ORGANIC_VIDEO: &str = "organic_video";
pub const AUDIO: &str = "audio";
pub const AI_ASSISTANT: &str = "ai_assistant";

const PAID: &str = "^(.*cp.*|ppc|retargeting|paid.*)$";
const SHOPPING: &str = "^(.*(([^a-df-z]|^)shop|shopping).*)$";
const MAIL: &[&str] = &["email", "e-mail", "e_mail", "e mail"];

impl ChannelRules {
    /// GA4's default channel group.
    pub fn ga4() -> Self {
        let rule = |name: &str| RuleSpec { name: name.to_owned(), ..RuleSpec::default() };
        let some = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let paid = Some(PAID.to_owned());
        let shopping = Some(SHOPPING.to_owned());
        let of_kind = |name: &str, kind: &str| RuleSpec { source_kind: some(&[kind]), ..rule(name) };
        let paid_kind = |name: &str, kind: &str| RuleSpec { medium_matches: paid.clone(), ..of_kind(name, kind) };
        let medium = |name: &str, words: &[&str]| RuleSpec { medium: some(words), ..rule(name) };
        let source = |name: &str, words: &[&str]| RuleSpec { source: some(words), ..rule(name) };
        let medium_matches =
            |name: &str, pattern: &str| RuleSpec { medium_matches: Some(pattern.to_owned()), ..rule(name) };
        let specs = vec![
            RuleSpec { campaign_matches: Some(".*cross-network.*".to_owned()), ..rule(CROSS_NETWORK) },
            paid_kind(PAID_SHOPPING, "shopping"),
            RuleSpec { campaign_matches: shopping.clone(), medium_matches: paid.clone(), ..rule(PAID_SHOPPING) },
            paid_kind(channel::PAID_SEARCH, "search"),
            paid_kind(channel::PAID_SOCIAL, "social"),
            paid_kind(PAID_VIDEO, "video"),
            medium(channel::DISPLAY, &["display", "banner", "expandable", "interstitial", "cpm"]),
            medium_matches(channel::PAID_OTHER, PAID),
            of_kind(ORGANIC_SHOPPING, "shopping"),
            RuleSpec { campaign_matches: shopping, ..rule(ORGANIC_SHOPPING) },
            of_kind(channel::ORGANIC_SOCIAL, "social"),
            medium(
                channel::ORGANIC_SOCIAL,
                &["social", "social-network", "social-media", "sm", "social network", "social media"],
            ),
            of_kind(ORGANIC_VIDEO, "video"),
            medium_matches(ORGANIC_VIDEO, ".*video.*"),
            of_kind(channel::ORGANIC_SEARCH, "search"),
            medium(channel::ORGANIC_SEARCH, &["organic"]),
            of_kind(AI_ASSISTANT, "ai_assistant"),
            medium(channel::REFERRAL, &["referral", "app", "link"]),
            source(channel::EMAIL, MAIL),
            medium(channel::EMAIL, MAIL),
            medium(channel::AFFILIATES, &["affiliate"]),
            medium(AUDIO, &["audio"]),
            source(channel::SMS, &["sms"]),
            medium(channel::SMS, &["sms"]),
            medium_matches(channel::PUSH, ".*push"),
            medium_matches(channel::PUSH, ".*(mobile|notification).*"),
            source(channel::PUSH, &["firebase"]),
        ];
        Self::ordered(&specs, Otherwise::Other)
            .unwrap_or_else(|faults| unreachable!("these rules are read by tests: {faults:?}"))
    }

    /// A list of one's own. The faults of all rules are told together.
    pub fn ordered(specs: &[RuleSpec], otherwise: Otherwise) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut rules = Vec::new();
        for (index, spec) in specs.iter().enumerate() {
            match Rule::read(spec) {
                Ok(rule) => rules.push(rule),
                Err(found) => {
                    let name = if spec.name.is_empty() { "without a name" } else { &spec.name };
                    faults.extend(found.into_iter().map(|fault| format!("rule {} ({name}): {fault}", index + 1)));
                }
            }
        }
        let fingerprint = format!("{specs:?} {otherwise:?}");
        if faults.is_empty() { Ok(Self::Ordered(Ordered { rules, otherwise, fingerprint })) } else { Err(faults) }
    }

    /// Differs where the rules differ.
    pub fn fingerprint(&self) -> &str {
        match self {
            Self::Tributary => "tributary",
            Self::Ordered(ordered) => &ordered.fingerprint,
        }
    }

    pub fn classify(&self, origin: &Origin<'_>, referrers: &Referrers) -> Option<&str> {
        let ordered = match self {
            Self::Tributary => return channel::classify(&origin.hints),
            Self::Ordered(ordered) => ordered,
        };
        let seen = Seen::of(origin, referrers)?;
        let holds = ordered.rules.iter().find(|rule| rule.holds(&seen));
        if let Some(rule) = holds {
            return Some(&rule.name);
        }
        match ordered.otherwise {
            Otherwise::Other => Some(channel::OTHER),
            Otherwise::Tributary => channel::classify(&origin.hints),
            Otherwise::Ga4 => ga4_rules()
                .rules
                .iter()
                .find(|rule| rule.holds(&seen))
                .map_or(Some(channel::OTHER), |rule| Some(&rule.name)),
        }
    }
}

fn ga4_rules() -> &'static Ordered {
    static RULES: std::sync::LazyLock<ChannelRules> = std::sync::LazyLock::new(ChannelRules::ga4);
    match &*RULES {
        ChannelRules::Ordered(ordered) => ordered,
        ChannelRules::Tributary => unreachable!("GA4's rules are a list"),
    }
}

/// An origin as GA4 sees one: every visit has a source and a medium.
struct Seen<'a> {
    source: Cow<'a, str>,
    medium: Cow<'a, str>,
    campaign: Option<Cow<'a, str>>,
    kind: Option<SourceKind>,
    referrer_host: Option<Cow<'a, str>>,
    referrer_medium: Option<&'static str>,
    hints: TouchHints<'a>,
}

/// What stands in for a tag that was left out.
const NOT_SET: &str = "(not set)";

impl<'a> Seen<'a> {
    /// `None` where nothing is said: GA4's Direct.
    fn of(origin: &Origin<'a>, referrers: &Referrers) -> Option<Self> {
        let hints = origin.hints;
        let (tagged_source, tagged_medium) = (hints.utm_source.and_then(lower), hints.utm_medium.and_then(lower));
        let campaign = origin.utm_campaign.and_then(lower);
        let referral = hints
            .referrer_host
            .and_then(|host| referrers.find(host, hints.own_host, origin.has_referrer_term))
            .filter(|referral| referral.medium != referrer::INTERNAL);
        let referrer_host = hints.referrer_host.and_then(lower).filter(|_| referral.is_some());
        let is_tagged = tagged_source.is_some() || tagged_medium.is_some() || campaign.is_some() || hints.has_other_utm;
        // What the ad platform set itself fills what the tags leave out.
        let click = of_click_id(&hints);
        let (source, medium) = if is_tagged || click.is_some() {
            let (click_source, click_medium) = click.unwrap_or((NOT_SET, NOT_SET));
            (tagged_source.unwrap_or(click_source.into()), tagged_medium.unwrap_or(click_medium.into()))
        } else {
            let referral = referral?;
            let medium = if referral.medium == referrer::SEARCH { "organic" } else { "referral" };
            (referrer_host.clone()?, medium.into())
        };
        if source == "(direct)" && matches!(&*medium, NOT_SET | "(none)") {
            return None;
        }
        let kind = kind_of_source(&source, referrers);
        let referrer_medium = referral.map(|referral| referral.medium);
        Some(Self { source, medium, campaign, kind, referrer_host, referrer_medium, hints })
    }
}

/// Source and medium an ad click id stands for. GA4 itself reads Google's alone.
fn of_click_id(hints: &TouchHints<'_>) -> Option<(&'static str, &'static str)> {
    if hints.has_google_ads_click_id {
        Some(("google", "cpc"))
    } else if hints.has_microsoft_ads_click_id {
        Some(("bing", "cpc"))
    } else if hints.has_google_display_click_id {
        Some(("dfa", "cpm"))
    } else if hints.has_tiktok_click_id {
        Some(("tiktok", "cpc"))
    } else if hints.has_x_click_id {
        Some(("x", "cpc"))
    } else if hints.has_linkedin_click_id {
        Some(("linkedin", "cpc"))
    } else if hints.has_meta_click_id {
        // On every link out of Meta's apps, paid for or not.
        Some(("facebook", "referral"))
    } else {
        None
    }
}

/// Trimmed and in lower case; `None` if nothing is left.
fn lower(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let has_upper = || text.chars().any(char::is_uppercase);
    (!text.is_empty()).then(|| if has_upper() { text.to_lowercase().into() } else { text.into() })
}

struct Rule {
    name: String,
    conditions: Vec<Condition>,
}

enum Condition {
    Source(Vec<String>),
    SourceKind(Vec<SourceKind>),
    SourceMatches(Regex),
    Medium(Vec<String>),
    MediumMatches(Regex),
    Campaign(Vec<String>),
    CampaignMatches(Regex),
    ReferrerHost(Vec<String>),
    ReferrerMedium(Vec<String>),
    ClickId(Vec<String>),
}

impl Rule {
    fn read(spec: &RuleSpec) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut conditions = Vec::new();
        let words =
            |words: &[String]| words.iter().filter_map(|word| lower(word)).map(Cow::into_owned).collect::<Vec<_>>();
        for (list, make) in [
            (&spec.source, Condition::Source as fn(Vec<String>) -> Condition),
            (&spec.medium, Condition::Medium),
            (&spec.campaign, Condition::Campaign),
            (&spec.referrer_host, Condition::ReferrerHost),
        ] {
            if !list.is_empty() {
                conditions.push(make(words(list)));
            }
        }
        for (key, pattern, make) in [
            ("source_matches", &spec.source_matches, Condition::SourceMatches as fn(Regex) -> Condition),
            ("medium_matches", &spec.medium_matches, Condition::MediumMatches),
            ("campaign_matches", &spec.campaign_matches, Condition::CampaignMatches),
        ] {
            let Some(pattern) = pattern else { continue };
            match RegexBuilder::new(&format!("^(?:{pattern})$")).case_insensitive(true).build() {
                Ok(regex) => conditions.push(make(regex)),
                Err(_) => faults.push(format!("{key} {pattern:?} is no regular expression")),
            }
        }
        let mut known = |key: &str, list: &[String], allowed: &[&str]| {
            for word in list.iter().filter(|word| !allowed.contains(&word.as_str())) {
                faults.push(format!("{key} {word:?} is none of {}", allowed.join(", ")));
            }
        };
        let kinds: Vec<&str> = SourceKind::ALL.iter().map(|(name, _)| *name).collect();
        known("source_kind", &spec.source_kind, &kinds);
        known("referrer_medium", &spec.referrer_medium, referrer::MEDIUMS);
        known("click_id", &spec.click_id, CLICK_ID_KINDS);
        if !spec.source_kind.is_empty() {
            let kinds = spec.source_kind.iter().filter_map(|kind| SourceKind::parse(kind));
            conditions.push(Condition::SourceKind(kinds.collect()));
        }
        if !spec.referrer_medium.is_empty() {
            conditions.push(Condition::ReferrerMedium(spec.referrer_medium.clone()));
        }
        if !spec.click_id.is_empty() {
            conditions.push(Condition::ClickId(spec.click_id.clone()));
        }
        if spec.name.trim().is_empty() {
            faults.push("give it a name: the word to write into `channel`".to_owned());
        }
        if conditions.is_empty() && faults.is_empty() {
            faults.push("give it a condition, such as medium = [\"email\"]".to_owned());
        }
        if faults.is_empty() { Ok(Self { name: spec.name.trim().to_owned(), conditions }) } else { Err(faults) }
    }

    fn holds(&self, seen: &Seen<'_>) -> bool {
        self.conditions.iter().all(|condition| condition.holds(seen))
    }
}

impl Condition {
    fn holds(&self, seen: &Seen<'_>) -> bool {
        let is_one = |words: &[String], word: &str| words.iter().any(|known| known == word);
        let campaign = seen.campaign.as_deref();
        match self {
            Self::Source(words) => is_one(words, &seen.source),
            Self::SourceKind(kinds) => seen.kind.is_some_and(|kind| kinds.contains(&kind)),
            Self::SourceMatches(regex) => regex.is_match(&seen.source),
            Self::Medium(words) => is_one(words, &seen.medium),
            Self::MediumMatches(regex) => regex.is_match(&seen.medium),
            Self::Campaign(words) => campaign.is_some_and(|campaign| is_one(words, campaign)),
            Self::CampaignMatches(regex) => campaign.is_some_and(|campaign| regex.is_match(campaign)),
            Self::ReferrerHost(hosts) => seen.referrer_host.as_deref().is_some_and(|host| {
                hosts.iter().any(|known| {
                    host.strip_suffix(known.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                })
            }),
            Self::ReferrerMedium(words) => seen.referrer_medium.is_some_and(|medium| is_one(words, medium)),
            Self::ClickId(kinds) => kinds.iter().any(|kind| has_click_id(&seen.hints, kind)),
        }
    }
}

fn has_click_id(hints: &TouchHints<'_>, kind: &str) -> bool {
    match kind {
        "google_ads" => hints.has_google_ads_click_id,
        "google_display" => hints.has_google_display_click_id,
        "microsoft_ads" => hints.has_microsoft_ads_click_id,
        "meta" => hints.has_meta_click_id,
        "tiktok" => hints.has_tiktok_click_id,
        "x" => hints.has_x_click_id,
        "linkedin" => hints.has_linkedin_click_id,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::built_in;

    fn origin(source: &'static str, medium: &'static str, campaign: &'static str) -> Origin<'static> {
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        let hints = TouchHints { utm_source: some(source), utm_medium: some(medium), ..TouchHints::default() };
        Origin { hints, utm_campaign: some(campaign), has_referrer_term: false }
    }

    fn from_host(host: &'static str) -> Origin<'static> {
        let hints =
            TouchHints { referrer_host: Some(host), own_host: Some("www.shop.example"), ..TouchHints::default() };
        Origin { hints, ..Origin::default() }
    }

    /// One case and more for each line of Google's table, written from that table.
    #[test]
    fn ga4_says_what_its_definition_says() {
        let ga4 = ChannelRules::ga4();
        for (source, medium, campaign, channel) in [
            ("(direct)", "(none)", "", None),
            ("(direct)", "(not set)", "", None),
            ("google", "cpc", "de-cross-network-2026", Some("cross_network")),
            ("amazon", "cpc", "", Some("paid_shopping")),
            ("google", "cpc", "shop spring", Some("paid_shopping")),
            ("google", "ppc", "brand-shopping", Some("paid_shopping")),
            ("google", "cpc", "workshop", Some("paid_search")), // "k" before "shop" is no word's beginning
            ("google", "cpc", "eshop", Some("paid_shopping")),  // "e" is left out of [^a-df-z] for this
            ("bing", "paidsearch", "", Some("paid_search")),
            ("google", "retargeting", "", Some("paid_search")),
            ("google", "cpm", "", Some("paid_search")), // ".*cp.*" is asked before Display
            ("facebook", "paid-social", "", Some("paid_social")),
            ("ig", "cpc", "", Some("paid_social")),
            ("youtube", "cpv", "", Some("paid_video")),
            ("adnet", "display", "", Some("display")),
            ("adnet", "banner", "", Some("display")),
            ("adnet", "expandable", "", Some("display")),
            ("adnet", "interstitial", "", Some("display")),
            ("adnet", "cpm", "", Some("display")),
            ("adnet", "cpc", "", Some("paid_other")),
            ("adnet", "paid", "", Some("paid_other")),
            ("ebay.de", "referral", "", Some("organic_shopping")),
            ("partner", "link", "summer shopping", Some("organic_shopping")),
            ("twitter", "post", "", Some("organic_social")),
            ("partner", "social", "", Some("organic_social")),
            ("partner", "social network", "", Some("organic_social")),
            ("partner", "sm", "", Some("organic_social")),
            ("vimeo.com", "embed", "", Some("organic_video")),
            ("partner", "in-video-link", "", Some("organic_video")),
            ("duckduckgo", "", "", Some("organic_search")),
            ("partner", "organic", "", Some("organic_search")),
            ("partner", "referral", "", Some("referral")),
            ("partner", "app", "", Some("referral")),
            ("partner", "link", "", Some("referral")),
            ("email", "", "", Some("email")),
            ("spring", "e-mail", "", Some("email")),
            ("spring", "e mail", "", Some("email")),
            ("partner", "affiliate", "", Some("affiliates")),
            ("spotify", "audio", "", Some("audio")),
            ("sms", "blast", "", Some("sms")),
            ("twilio", "sms", "", Some("sms")),
            ("app1", "web-push", "", Some("push")),
            ("app1", "mobile-alert", "", Some("push")),
            ("app1", "notification", "", Some("push")),
            ("firebase", "x", "", Some("push")),
            ("poster", "qr", "", Some("other")),
            ("Google", "CPC", "", Some("paid_search")),
        ] {
            let said = ga4.classify(&origin(source, medium, campaign), &built_in().referrers);
            assert_eq!(said, channel, "{source} / {medium} / {campaign}");
        }
    }

    #[test]
    fn ga4_sees_untagged_visits_by_their_referrer_and_click_ids() {
        let ga4 = ChannelRules::ga4();
        let says = |origin: &Origin<'_>| ga4.classify(origin, &built_in().referrers).map(str::to_owned);
        for (host, channel) in [
            ("www.google.de", Some("organic_search")),
            ("m.facebook.com", Some("organic_social")),
            ("www.youtube.com", Some("organic_video")),
            ("www.amazon.com", Some("organic_shopping")),
            ("chatgpt.com", Some("ai_assistant")),
            ("blog.example", Some("referral")),
            ("mail.google.com", Some("referral")),
            ("checkout.shop.example", None),
        ] {
            assert_eq!(says(&from_host(host)).as_deref(), channel, "{host}");
        }
        assert_eq!(says(&Origin::default()), None);
        let with = |change: fn(&mut TouchHints<'static>)| {
            let mut origin = Origin::default();
            change(&mut origin.hints);
            says(&origin)
        };
        assert_eq!(with(|hints| hints.has_google_ads_click_id = true).as_deref(), Some("paid_search"));
        assert_eq!(with(|hints| hints.has_google_display_click_id = true).as_deref(), Some("display"));
        assert_eq!(with(|hints| hints.has_tiktok_click_id = true).as_deref(), Some("paid_social"));
        assert_eq!(with(|hints| hints.has_meta_click_id = true).as_deref(), Some("organic_social"));
        let tagged = |hints: &mut TouchHints<'static>| {
            hints.has_google_ads_click_id = true;
            hints.utm_medium = Some("email");
            hints.utm_source = Some("spring");
        };
        assert_eq!(with(tagged).as_deref(), Some("email"), "tags that are there stand");
    }

    #[test]
    fn rules_of_ones_own_are_asked_in_order_and_then_a_preset() {
        let partner = RuleSpec {
            name: "partners".to_owned(),
            source: vec!["Partner-A".to_owned()],
            medium_matches: Some("cp[ac]".to_owned()),
            ..RuleSpec::default()
        };
        let press = RuleSpec {
            name: "press".to_owned(),
            referrer_host: vec!["times.example".to_owned()],
            ..RuleSpec::default()
        };
        let rules =
            ChannelRules::ordered(&[partner, press], Otherwise::Ga4).unwrap_or_else(|faults| panic!("{faults:?}"));
        let says = |origin: &Origin<'_>| rules.classify(origin, &built_in().referrers).map(str::to_owned);
        assert_eq!(says(&origin("partner-a", "CPA", "")).as_deref(), Some("partners"));
        assert_eq!(says(&origin("partner-a", "cpac", "")).as_deref(), Some("paid_other"), "matches is of the whole");
        assert_eq!(says(&from_host("www.times.example")).as_deref(), Some("press"));
        assert_eq!(says(&from_host("sometimes.example")).as_deref(), Some("referral"));
        assert_eq!(says(&Origin::default()), None);
    }

    #[test]
    fn all_faults_of_rules_are_told() {
        let specs = [
            RuleSpec { medium: vec!["x".to_owned()], ..RuleSpec::default() },
            RuleSpec { name: "a".to_owned(), ..RuleSpec::default() },
            RuleSpec { name: "b".to_owned(), medium_matches: Some("(".to_owned()), ..RuleSpec::default() },
            RuleSpec { name: "c".to_owned(), source_kind: vec!["seach".to_owned()], ..RuleSpec::default() },
        ];
        let faults = ChannelRules::ordered(&specs, Otherwise::Other).err().unwrap_or_default();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[3].contains("search, social"), "{}", faults[3]);
    }
}

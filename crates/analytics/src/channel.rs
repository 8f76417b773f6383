//! Channel: by which kind of road someone came.
//!
//! In:       what an event says about its origin: utm tags, ad click ids, the referring host.
//! Out:      one word of `CHANNELS`, or nothing when the event says nothing.
//! Promise:  the same hints give the same word; the rules are asked in the order they stand in.
//! Not here: a channel the sender wrote on the event, which always wins (`pipeline`); `direct`, which is the absence of
//!           a touch at a landing and not something an event can say (`attribution`).
//!
//! Definition: `docs/methods.md#channel`. After GA4's default channel groups, in snake case.

pub const EMAIL: &str = "email";
pub const SMS: &str = "sms";
pub const PUSH: &str = "push";
pub const PAID_SEARCH: &str = "paid_search";
pub const PAID_SOCIAL: &str = "paid_social";
pub const PAID_OTHER: &str = "paid_other";
pub const DISPLAY: &str = "display";
pub const AFFILIATES: &str = "affiliates";
pub const ORGANIC_SEARCH: &str = "organic_search";
pub const ORGANIC_SOCIAL: &str = "organic_social";
pub const REFERRAL: &str = "referral";
/// Tagged, but with words no rule knows: GA4's "Unassigned".
pub const OTHER: &str = "other";

/// Every word `classify` may return.
pub const CHANNELS: &[&str] = &[
    EMAIL,
    SMS,
    PUSH,
    PAID_SEARCH,
    PAID_SOCIAL,
    PAID_OTHER,
    DISPLAY,
    AFFILIATES,
    ORGANIC_SEARCH,
    ORGANIC_SOCIAL,
    REFERRAL,
    OTHER,
];

/// What an event says about its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TouchHints<'a> {
    pub utm_source: Option<&'a str>,
    pub utm_medium: Option<&'a str>,
    /// Any other utm tag: campaign, term or content.
    pub has_other_utm: bool,
    /// gclid, gbraid or wbraid.
    pub has_google_ads_click_id: bool,
    /// dclid: Google's display network.
    pub has_google_display_click_id: bool,
    /// msclkid.
    pub has_microsoft_ads_click_id: bool,
    /// fbclid. Meta puts it on every link out of its apps, paid for or not.
    pub has_meta_click_id: bool,
    /// ttclid.
    pub has_tiktok_click_id: bool,
    /// twclid.
    pub has_x_click_id: bool,
    /// li_fat_id.
    pub has_linkedin_click_id: bool,
    pub referrer_host: Option<&'a str>,
    /// Host of the page itself: a link from one's own pages is no origin.
    pub own_host: Option<&'a str>,
}

/// The channel these hints speak for; `None` if there are none.
///
/// 1. A medium that names a channel is taken at its word: whoever tagged the link knew.
/// 2. An ad click id, which the ad platform set itself.
/// 3. A source that is a known search engine, social network or mailer.
/// 4. Tagged in words unknown here: `other`, rather than a guess from the referrer.
/// 5. The referring host, unless it is the site's own.
pub fn classify(hints: &TouchHints<'_>) -> Option<&'static str> {
    let source = hints.utm_source.map(lower).filter(|source| !source.is_empty());
    let medium = hints.utm_medium.map(lower).filter(|medium| !medium.is_empty());
    let source_site = source.as_deref().and_then(site_of_source);
    medium
        .as_deref()
        .and_then(|medium| channel_of_medium(medium, source_site))
        .or_else(|| channel_of_click_id(hints))
        .or_else(|| source_site.map(Site::unpaid_channel))
        .or_else(|| (source.is_some() || medium.is_some() || hints.has_other_utm).then_some(OTHER))
        .or_else(|| channel_of_referrer(hints))
}

/// What kind of site a source or referrer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Search,
    Social,
    Mail,
}

impl Site {
    const fn unpaid_channel(self) -> &'static str {
        match self {
            Self::Search => ORGANIC_SEARCH,
            Self::Social => ORGANIC_SOCIAL,
            Self::Mail => EMAIL,
        }
    }
}

fn lower(text: &str) -> String {
    text.trim().to_ascii_lowercase()
}

/// `medium`: lower case. Hyphen, underscore, space and nothing between two words are one spelling.
fn channel_of_medium(medium: &str, source: Option<Site>) -> Option<&'static str> {
    let word: String = medium.chars().filter(|letter| !matches!(letter, '-' | '_' | ' ' | '+')).collect();
    let channel = match word.as_str() {
        "email" | "newsletter" | "mail" => EMAIL,
        "sms" | "text" => SMS,
        "push" | "webpush" | "mobilepush" | "notification" => PUSH,
        "affiliate" | "affiliates" => AFFILIATES,
        "display" | "banner" | "interstitial" | "expandable" | "cpm" => DISPLAY,
        "paidsearch" | "searchpaid" | "sem" => PAID_SEARCH,
        "paidsocial" | "socialpaid" => PAID_SOCIAL,
        "social" | "socialnetwork" | "socialmedia" | "sm" | "organicsocial" => ORGANIC_SOCIAL,
        "organic" | "organicsearch" | "seo" => ORGANIC_SEARCH,
        "referral" | "link" | "app" => REFERRAL,
        "retargeting" | "cpv" | "cpa" => paid_channel(source),
        // GA4's own pattern: cost per something, pay per something, paid something.
        other if other.starts_with("paid") || matches!(other, "cpc" | "ppc") => paid_channel(source),
        _ => return None,
    };
    Some(channel)
}

const fn paid_channel(source: Option<Site>) -> &'static str {
    match source {
        Some(Site::Search) => PAID_SEARCH,
        Some(Site::Social) => PAID_SOCIAL,
        Some(Site::Mail) | None => PAID_OTHER,
    }
}

fn channel_of_click_id(hints: &TouchHints<'_>) -> Option<&'static str> {
    if hints.has_google_ads_click_id || hints.has_microsoft_ads_click_id {
        Some(PAID_SEARCH)
    } else if hints.has_google_display_click_id {
        Some(DISPLAY)
    } else if hints.has_tiktok_click_id || hints.has_x_click_id || hints.has_linkedin_click_id {
        Some(PAID_SOCIAL)
    } else if hints.has_meta_click_id {
        // Not an ad for certain: a paid link says so in its medium, which was asked before.
        Some(ORGANIC_SOCIAL)
    } else {
        None
    }
}

fn channel_of_referrer(hints: &TouchHints<'_>) -> Option<&'static str> {
    let host = lower(hints.referrer_host?);
    let own = hints.own_host.map(lower);
    if host.is_empty() || own.is_some_and(|own| same_site(&host, &own)) {
        return None;
    }
    Some(site_of_host(&host).map_or(REFERRAL, Site::unpaid_channel))
}

/// One host, or one within the other: shop.example.com and www.example.com. Two sister hosts are not seen as one here;
/// that needs the list of public suffixes.
pub(crate) fn same_site(host: &str, own: &str) -> bool {
    let host = host.strip_prefix("www.").unwrap_or(host);
    let own = own.strip_prefix("www.").unwrap_or(own);
    let within = |inner: &str, outer: &str| inner.strip_suffix(outer).is_some_and(|rest| rest.ends_with('.'));
    host == own || within(host, own) || within(own, host)
}

/// Search engines by the name before the public suffix: google.com, google.co.uk, www.google.de.
const SEARCH_NAMES: &[&str] = &[
    "google",
    "bing",
    "yahoo",
    "duckduckgo",
    "baidu",
    "yandex",
    "ecosia",
    "qwant",
    "startpage",
    "naver",
    "seznam",
    "sogou",
    "so",
    "ask",
    "aol",
    "brave",
    "swisscows",
    "kagi",
    "daum",
    "mojeek",
];

/// What may stand before the name and still be the search page: not mail.google.com, not docs.google.com.
const SEARCH_PREFIXES: &[&str] = &["www", "m", "search", "html", "lite", "cn", "images"];

/// Social networks, likewise; any prefix will do (m.facebook.com, l.instagram.com, old.reddit.com).
const SOCIAL_NAMES: &[&str] = &[
    "facebook",
    "instagram",
    "linkedin",
    "twitter",
    "tiktok",
    "pinterest",
    "reddit",
    "youtube",
    "threads",
    "snapchat",
    "tumblr",
    "quora",
    "vk",
    "weibo",
    "bsky",
];

/// Whole hosts: link shorteners of the networks, and names too short to be looked for under every suffix.
const SOCIAL_HOSTS: &[&str] = &["x.com", "t.co", "fb.com", "fb.me", "lnkd.in", "youtu.be", "pin.it", "vm.tiktok.com"];

const MAIL_HOSTS: &[&str] = &[
    "mail.google.com",
    "outlook.live.com",
    "outlook.office.com",
    "outlook.office365.com",
    "mail.yahoo.com",
    "mail.aol.com",
    "mail.proton.me",
    "webmail.gmx.net",
    "mail.yandex.ru",
    "mail.zoho.com",
    "mail.qq.com",
];

/// Short names marketers write in utm_source.
const SOURCE_WORDS: &[(&str, Site)] = &[
    ("fb", Site::Social),
    ("ig", Site::Social),
    ("meta", Site::Social),
    ("x", Site::Social),
    ("adwords", Site::Search),
    ("msn", Site::Search),
    ("email", Site::Mail),
    ("e-mail", Site::Mail),
    ("newsletter", Site::Mail),
    ("mailchimp", Site::Mail),
    ("klaviyo", Site::Mail),
];

/// `source`: lower case; a host, a name, or one of the short words.
fn site_of_source(source: &str) -> Option<Site> {
    if source.contains('.') {
        return site_of_host(source);
    }
    if let Some((_, site)) = SOURCE_WORDS.iter().find(|(word, _)| *word == source) {
        return Some(*site);
    }
    // "so" and "ask" are words before they are search engines; as a bare source they say nothing.
    if SEARCH_NAMES.contains(&source) && !matches!(source, "so" | "ask") {
        Some(Site::Search)
    } else if SOCIAL_NAMES.contains(&source) {
        Some(Site::Social)
    } else {
        None
    }
}

/// `host`: lower case.
fn site_of_host(host: &str) -> Option<Site> {
    let bare = host.strip_prefix("www.").unwrap_or(host);
    if MAIL_HOSTS.contains(&host) {
        return Some(Site::Mail);
    }
    if SOCIAL_HOSTS.contains(&bare) {
        return Some(Site::Social);
    }
    let (prefix, name) = name_of_host(host)?;
    if SOCIAL_NAMES.contains(&name) {
        return Some(Site::Social);
    }
    // us.search.yahoo.com: the label next to the name decides.
    let nearest = prefix.rsplit('.').next().unwrap_or_default();
    let search_page = nearest.is_empty() || SEARCH_PREFIXES.contains(&nearest);
    (search_page && SEARCH_NAMES.contains(&name)).then_some(Site::Search)
}

/// Splits "www.google.co.uk" into "www" and "google". A short guess in place of the list of public suffixes: one label
/// is taken off the end, and a second if it is one that countries put there.
fn name_of_host(host: &str) -> Option<(&str, &str)> {
    const SECOND_LEVEL: &[&str] = &["co", "com", "org", "net", "ne", "or", "ac"];
    let (mut rest, _suffix) = host.rsplit_once('.')?;
    if let Some((before, label)) = rest.rsplit_once('.')
        && SECOND_LEVEL.contains(&label)
    {
        rest = before;
    }
    Some(rest.rsplit_once('.').unwrap_or(("", rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(source: &'static str, medium: &'static str) -> TouchHints<'static> {
        let some = |text: &'static str| (!text.is_empty()).then_some(text);
        TouchHints { utm_source: some(source), utm_medium: some(medium), ..TouchHints::default() }
    }

    fn from_host(host: &str) -> Option<&'static str> {
        classify(&TouchHints { referrer_host: Some(host), own_host: Some("www.shop.example"), ..TouchHints::default() })
    }

    #[test]
    fn no_hints_are_no_channel() {
        assert_eq!(classify(&TouchHints::default()), None);
        assert_eq!(classify(&tagged(" ", "")), None, "a blank tag says nothing");
    }

    #[test]
    fn tags_are_taken_at_their_word() {
        for (source, medium, channel) in [
            ("newsletter", "email", EMAIL),
            ("spring", "E-Mail", EMAIL),
            ("google", "cpc", PAID_SEARCH),
            ("Bing", "PPC", PAID_SEARCH),
            ("facebook", "cpc", PAID_SOCIAL),
            ("ig", "paid", PAID_SOCIAL),
            ("anything", "paid_social", PAID_SOCIAL),
            ("partner-site", "cpc", PAID_OTHER),
            ("adnet", "banner", DISPLAY),
            ("adnet", "affiliate", AFFILIATES),
            ("twilio", "sms", SMS),
            ("app", "push", PUSH),
            ("linkedin", "social", ORGANIC_SOCIAL),
            ("google", "organic", ORGANIC_SEARCH),
            ("blog.example", "referral", REFERRAL),
            ("google.co.uk", "", ORGANIC_SEARCH),
            ("facebook", "", ORGANIC_SOCIAL),
            ("klaviyo", "", EMAIL),
            ("poster", "qr", OTHER),
            ("ask", "", OTHER),
        ] {
            assert_eq!(classify(&tagged(source, medium)), Some(channel), "{source} / {medium}");
        }
    }

    #[test]
    fn click_ids_speak_where_the_medium_does_not() {
        let google = TouchHints { has_google_ads_click_id: true, ..TouchHints::default() };
        assert_eq!(classify(&google), Some(PAID_SEARCH));
        assert_eq!(classify(&TouchHints { utm_medium: Some("email"), ..google }), Some(EMAIL));
        assert_eq!(classify(&TouchHints { utm_source: Some("facebook"), ..google }), Some(PAID_SEARCH));
        let meta = TouchHints { has_meta_click_id: true, ..TouchHints::default() };
        assert_eq!(classify(&meta), Some(ORGANIC_SOCIAL), "Meta marks unpaid links too");
        assert_eq!(
            classify(&TouchHints { utm_source: Some("fb"), utm_medium: Some("cpc"), ..meta }),
            Some(PAID_SOCIAL)
        );
        let tiktok = TouchHints { has_tiktok_click_id: true, ..TouchHints::default() };
        assert_eq!(classify(&tiktok), Some(PAID_SOCIAL));
        let display = TouchHints { has_google_display_click_id: true, ..TouchHints::default() };
        assert_eq!(classify(&display), Some(DISPLAY));
    }

    #[test]
    fn referrers_are_search_social_mail_own_or_other() {
        for host in [
            "www.google.com",
            "google.co.uk",
            "www.google.com.au",
            "duckduckgo.com",
            "us.search.yahoo.com",
            "cn.bing.com",
        ] {
            assert_eq!(from_host(host), Some(ORGANIC_SEARCH), "{host}");
        }
        for host in ["l.facebook.com", "t.co", "x.com", "www.youtube.com", "old.reddit.com", "lnkd.in"] {
            assert_eq!(from_host(host), Some(ORGANIC_SOCIAL), "{host}");
        }
        for host in ["mail.google.com", "outlook.live.com"] {
            assert_eq!(from_host(host), Some(EMAIL), "{host}");
        }
        for host in ["docs.google.com", "blog.example", "notshop.example", "news.ycombinator.com", "localhost"] {
            assert_eq!(from_host(host), Some(REFERRAL), "{host}");
        }
        for host in ["shop.example", "WWW.shop.example", "checkout.shop.example", ""] {
            assert_eq!(from_host(host), None, "{host}");
        }
    }

    #[test]
    fn a_tag_no_rule_knows_is_not_guessed_from_the_referrer() {
        let hints = TouchHints { has_other_utm: true, referrer_host: Some("google.com"), ..TouchHints::default() };
        assert_eq!(classify(&hints), Some(OTHER));
    }
}

//! What an address says: host, path, query, campaign marks and ad click ids.
//!
//! In:      the address of a page, whole or from its path on, and of its referrer.
//! Out:     the event's url and attribution columns; of the referrer its host, and the words of a search.
//! Promise: what the sender said in so many words wins over what the address says; only empty columns are filled.

use std::borrow::Cow;
use std::sync::LazyLock;

use tributary_schemas::Event;
use url::Url;

use crate::text::{NAME_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX};

/// What of an address is kept.
#[derive(Debug, PartialEq)]
struct Address<'a> {
    host: Option<Cow<'a, str>>,
    path: Cow<'a, str>,
    query: Option<Cow<'a, str>>,
}

/// What the standard leaves as it is in a path and in a query.
static STAYS: [bool; 256] = {
    let mut stays = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        stays[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'-'
                    | b'.'
                    | b'_'
                    | b'~'
                    | b'%'
                    | b'+'
                    | b'='
                    | b'&'
                    | b','
                    | b':'
                    | b'@'
                    | b'!'
                    | b'$'
                    | b'('
                    | b')'
                    | b'*'
                    | b';'
            );
        byte += 1;
    }
    stays
};

impl<'a> Address<'a> {
    fn read(address: &'a str) -> Option<Self> {
        // Relative addresses (a path alone) are common; the base lends them nothing but a syntax.
        static BASE: LazyLock<Url> = LazyLock::new(|| Url::parse("relative:///").expect("this constant is a URL"));
        let address = address.trim();
        Self::plain(address).or_else(|| Some(Self::of(&Url::options().base_url(Some(&BASE)).parse(address).ok()?)))
    }

    fn of(url: &Url) -> Self {
        let owned = |text: &str| Cow::Owned(text.to_owned());
        Self {
            host: url.host_str().filter(|host| !host.is_empty()).map(|host| Cow::Owned(host.to_lowercase())),
            path: owned(url.path()),
            query: url.query().map(owned),
        }
    }

    /// One that is written as it is meant, as nearly all are: nothing to lower, escape, decode or resolve. It is taken apart
    /// where it stands, in a tenth of the time; of all others `None`, and a test holds both to the same.
    fn plain(address: &'a str) -> Option<Self> {
        let rest = address.strip_prefix("https://").or_else(|| address.strip_prefix("http://"))?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        // The last part of a name begins with a letter, or it may be a number and the whole an address of IPv4.
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name =
            host.split('.').all(|part| !part.is_empty() && part.bytes().all(is_plain) && !part.starts_with("xn--"));
        let is_of_letters =
            host.rsplit('.').next().is_some_and(|last| last.starts_with(|c: char| c.is_ascii_lowercase()));
        let stays = |text: &str| text.bytes().all(|byte| STAYS[usize::from(byte)]);
        // Parts of dots, also escaped, lead up and away.
        let is_path = stays(path) && !path.contains("/.") && !path.contains("/%2");
        let is_query = query.is_none_or(stays);
        (is_name && is_of_letters && is_path && is_query).then_some(Self {
            host: Some(Cow::Borrowed(host)),
            path: Cow::Borrowed(path),
            query: query.map(Cow::Borrowed),
        })
    }
}

/// Fills the empty columns of `event` from `address`. `put` shortens and flags.
pub(crate) fn fill(event: &mut Event, address: &str, put: &mut impl FnMut(&str, usize) -> Option<String>) {
    let Some(address) = Address::read(address) else { return };
    if event.url_host.is_none() {
        event.url_host = address.host.and_then(|host| put(&host, NAME_BYTES_MAX));
    }
    if event.url_path.is_none() && !address.path.is_empty() {
        event.url_path = put(&address.path, PATH_BYTES_MAX);
    }
    if let Some(query) = &address.query {
        fill_from_query(event, query, put);
    }
}

/// As [`fill`], from a query without its '?'.
pub(crate) fn fill_from_query(event: &mut Event, query: &str, put: &mut impl FnMut(&str, usize) -> Option<String>) {
    let query = query.strip_prefix('?').unwrap_or(query);
    if query.is_empty() {
        return;
    }
    if event.url_query.is_none() {
        event.url_query = put(query, QUERY_BYTES_MAX);
    }
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let column = match &*name {
            "utm_id" => &mut event.campaign_id,
            "utm_source" => &mut event.utm_source,
            "utm_medium" => &mut event.utm_medium,
            "utm_campaign" => &mut event.utm_campaign,
            "utm_term" => &mut event.utm_term,
            "utm_content" => &mut event.utm_content,
            "gclid" => &mut event.gclid,
            "gbraid" => &mut event.gbraid,
            "wbraid" => &mut event.wbraid,
            "dclid" => &mut event.dclid,
            "fbclid" => &mut event.fbclid,
            "msclkid" => &mut event.msclkid,
            "ttclid" => &mut event.ttclid,
            "twclid" => &mut event.twclid,
            "li_fat_id" => &mut event.li_fat_id,
            _ => continue,
        };
        if column.is_none() && !value.is_empty() {
            let value = if value.contains('\0') { Cow::Owned(value.replace('\0', "")) } else { value };
            *column = put(&value, NAME_BYTES_MAX);
        }
    }
}

/// The host of a referring address, lower case, and the words a search engine passed on in it.
pub(crate) fn referrer_of(address: &str) -> (Option<String>, Option<String>) {
    let address = address.trim();
    let Some(address) = Address::plain(address).or_else(|| Url::parse(address).ok().as_ref().map(Address::of)) else {
        return (None, None);
    };
    let term = address.host.as_deref().and_then(|host| term_of(host, address.query.as_deref().unwrap_or_default()));
    (address.host.map(Cow::into_owned), term)
}

/// Search engines by name, with the parameters that hold what was searched for. Short on purpose: nearly all engines keep
/// the words to themselves today, and the query of any other site is none of our business.
const ENGINES: &[(&str, &[&str])] = &[
    ("google", &["q"]),
    ("bing", &["q"]),
    ("yahoo", &["p", "q"]),
    ("duckduckgo", &["q"]),
    ("yandex", &["text"]),
    ("baidu", &["wd", "word"]),
    ("naver", &["query"]),
    ("seznam", &["q"]),
    ("sogou", &["query"]),
    ("so", &["q"]),
    ("daum", &["q"]),
    ("ecosia", &["q"]),
    ("qwant", &["q"]),
    ("startpage", &["query"]),
    ("brave", &["q"]),
    ("kagi", &["q"]),
    ("mojeek", &["q"]),
    ("ask", &["q"]),
    ("aol", &["q"]),
];

/// Of other sites' queries nothing is kept.
fn term_of(host: &str, query: &str) -> Option<String> {
    let (mut rest, _) = host.rsplit_once('.')?;
    if let Some((before, "co" | "com" | "ne" | "or")) = rest.rsplit_once('.') {
        rest = before;
    }
    let (before, name) = rest.rsplit_once('.').unwrap_or(("", rest));
    // Not mail.google.com and not docs.google.com: what is searched for there is one's own.
    let nearest = before.rsplit('.').next().unwrap_or_default();
    let is_search_page = matches!(nearest, "" | "www" | "m" | "search" | "images") || nearest.len() == 2;
    let (_, parameters) = ENGINES.iter().find(|(engine, _)| *engine == name).filter(|_| is_search_page)?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let found = pairs.find(|(name, _)| parameters.contains(&&**name));
    let term = found.map(|(_, words)| words.replace('\0', "").trim().to_owned());
    term.filter(|term| !term.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    fn filled(address: &str) -> Event {
        let mut event = Event::new("s", "segment", "e", "page", 0);
        event.utm_source = Some("said".to_owned());
        fill(&mut event, address, &mut |text, _| Some(text.to_owned()));
        event
    }

    #[test]
    fn an_address_fills_what_was_not_said() {
        let event = filled("HTTPS://Shop.Example:8443/a%20b?utm_source=x&utm_campaign=c+1&gclid=G1&utm_id=9#frag");
        assert_eq!(event.url_host.unwrap(), "shop.example");
        assert_eq!(event.url_path.unwrap(), "/a%20b");
        assert_eq!(event.url_query.unwrap(), "utm_source=x&utm_campaign=c+1&gclid=G1&utm_id=9");
        assert_eq!(event.utm_source.unwrap(), "said");
        assert_eq!(event.utm_campaign.unwrap(), "c 1");
        assert_eq!(event.gclid.unwrap(), "G1");
        assert_eq!(event.campaign_id.unwrap(), "9");
    }

    #[test]
    fn a_path_alone_is_an_address_too() {
        let event = filled("/p?gclid=1");
        assert_eq!((event.url_host, event.url_path.as_deref(), event.gclid.as_deref()), (None, Some("/p"), Some("1")));
    }

    #[test]
    fn a_search_engine_gives_its_words_and_no_other_site_does() {
        for (address, term) in [
            ("https://www.google.de/search?hl=de&q=rote+schuhe", Some("rote schuhe")),
            ("https://de.search.yahoo.com/search?p=red%20shoes", Some("red shoes")),
            ("https://yandex.ru/search/?text=%D0%BE%D0%B1%D1%83%D0%B2%D1%8C", Some("обувь")),
            ("https://www.google.com/", None),
            ("https://www.google.com/search?q=+", None),
            ("https://mail.google.com/mail/?q=my+doctor", None),
            ("https://shop.example/search?q=red+shoes", None),
            ("not an address", None),
        ] {
            assert_eq!(referrer_of(address).1.as_deref(), term, "{address}");
        }
    }

    #[test]
    fn a_referrer_gives_its_host() {
        let host_of = |address| referrer_of(address).0;
        assert_eq!(host_of("http://Google.com/search?q=secret").unwrap(), "google.com");
        assert_eq!(host_of("$direct"), None);
        assert_eq!(host_of("android-app://com.google.android.gm/").unwrap(), "com.google.android.gm");
        assert_eq!(host_of("/a/path"), None);
    }

    /// Addresses as pages have them, and with what makes them odd.
    fn addresses() -> impl Strategy<Value = String> {
        fn mostly(plain: &'static [&str], odd: &'static [&str]) -> impl Strategy<Value = &'static str> + Clone {
            prop_oneof![6 => prop::sample::select(plain), 1 => prop::sample::select(odd)]
        }
        let part = mostly(
            &["shop", "www", "example", "com", "a-b"],
            &["1", "127", "0x7f", "xn--", "xn--80ak6aa92e", "A", "-", "ä", "", "%41"],
        );
        let step = mostly(
            &["a", "Bc", "1", "a.b", "%20", "~", "*", ":", "@", ";"],
            &[
                "..", ".", "%2e", "%2E%2e", "%zz", "", "ü", " ", "\\", "'", "\"", "<", "{", "|", "^", "`", "..a",
                "%2F", "?",
            ],
        );
        let host = prop::collection::vec(part, 0..5).prop_map(|parts| parts.join("."));
        let path = prop::collection::vec(step.clone(), 0..5).prop_map(|steps| steps.join("/"));
        let query = prop::collection::vec(step, 0..4).prop_map(|steps| steps.join("&x="));
        let scheme =
            mostly(&["https://", "http://"], &["HTTPS://", "https:/", "https:", "http:///", "ftp://", "//", ""]);
        let user = mostly(&[""], &["u@", "u:p@"]);
        let port = mostly(&[""], &[":443", ":80", ":8443", ":"]);
        let tail = mostly(&["", "#", "#a?b/c"], &["?", "?a#b", "\t", "\n"]);
        let part = |odds: Option<String>, mark: &str| odds.map_or_else(String::new, |text| format!("{mark}{text}"));
        (scheme, user, host, port, prop::option::of(path), prop::option::of(query), tail).prop_map(
            move |(scheme, user, host, port, path, query, tail)| {
                format!("{scheme}{user}{host}{port}{}{}{tail}", part(path, "/"), part(query, "?"))
            },
        )
    }

    #[test]
    fn a_plain_address_is_read_as_the_standard_reads_it() {
        static PLAIN: AtomicUsize = AtomicUsize::new(0);
        let run = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(20_000) }).run(
            &addresses(),
            |address| {
                let address = address.trim();
                if let Some(plain) = Address::plain(address) {
                    PLAIN.fetch_add(1, Ordering::Relaxed);
                    prop_assert_eq!(Some(plain), Url::parse(address).ok().as_ref().map(Address::of), "{}", address);
                }
                Ok(())
            },
        );
        run.unwrap();
        let plain = PLAIN.load(Ordering::Relaxed);
        assert!(1_000 < plain, "only {plain} of 20,000 were plain");
        for usual in [
            "https://shop.example/p/1?utm_source=news&x=a%20b+c#top",
            "http://a.example",
            "https://www.example.co.uk/?q",
        ] {
            assert!(Address::plain(usual).is_some(), "{usual}");
        }
    }
}

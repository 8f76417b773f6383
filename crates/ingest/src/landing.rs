//! What an address says: host, path, query, campaign marks and ad click ids.
//!
//! In:      the address of a page, whole or from its path on, and of its referrer.
//! Out:     the event's url and attribution columns; of the referrer its host, and the words of a search.
//! Promise: what the sender said in so many words wins over what the address says; only empty columns are filled.

use tributary_schemas::Event;
use url::Url;

use crate::text::{NAME_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX};

/// Fills the empty columns of `event` from `address`. `put` shortens and flags.
pub(crate) fn fill(event: &mut Event, address: &str, put: &mut impl FnMut(&str, usize) -> Option<String>) {
    // Relative addresses (a path alone) are common; the base lends them nothing but a syntax.
    let base = Url::parse("relative:///").expect("this constant is a URL");
    let Ok(url) = Url::options().base_url(Some(&base)).parse(address.trim()) else { return };
    if event.url_host.is_none() {
        event.url_host =
            url.host_str().filter(|host| !host.is_empty()).and_then(|host| put(&host.to_lowercase(), NAME_BYTES_MAX));
    }
    if event.url_path.is_none() {
        event.url_path = Some(url.path()).filter(|path| !path.is_empty()).and_then(|path| put(path, PATH_BYTES_MAX));
    }
    if let Some(query) = url.query() {
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
            *column = put(&value.replace('\0', ""), NAME_BYTES_MAX);
        }
    }
}

/// The host of a referring address, lower case.
pub(crate) fn host_of(address: &str) -> Option<String> {
    let url = Url::parse(address.trim()).ok()?;
    url.host_str().filter(|host| !host.is_empty()).map(str::to_lowercase)
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

/// The words a search engine passed on in a referring address. Of other sites' queries nothing is kept.
pub(crate) fn term_of(address: &str) -> Option<String> {
    let url = Url::parse(address.trim()).ok()?;
    let host = url.host_str()?.to_lowercase();
    let (mut rest, _) = host.rsplit_once('.')?;
    if let Some((before, "co" | "com" | "ne" | "or")) = rest.rsplit_once('.') {
        rest = before;
    }
    let (before, name) = rest.rsplit_once('.').unwrap_or(("", rest));
    // Not mail.google.com and not docs.google.com: what is searched for there is one's own.
    let nearest = before.rsplit('.').next().unwrap_or_default();
    let is_search_page = matches!(nearest, "" | "www" | "m" | "search" | "images") || nearest.len() == 2;
    let (_, parameters) = ENGINES.iter().find(|(engine, _)| *engine == name).filter(|_| is_search_page)?;
    let found = url.query_pairs().find(|(name, _)| parameters.contains(&&**name));
    let term = found.map(|(_, words)| words.replace('\0', "").trim().to_owned());
    term.filter(|term| !term.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
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
            assert_eq!(term_of(address).as_deref(), term, "{address}");
        }
    }

    #[test]
    fn a_referrer_gives_its_host() {
        assert_eq!(host_of("http://Google.com/search?q=secret").unwrap(), "google.com");
        assert_eq!(host_of("$direct"), None);
        assert_eq!(host_of("android-app://com.google.android.gm/").unwrap(), "com.google.android.gm");
    }
}

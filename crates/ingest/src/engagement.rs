//! Who, most likely, is behind a request: a person or one of the machines that read mail and pages.
//!
//! In:      what one request shows: method, headers, user agent.
//! Out:     an `EngagementClass`, the reasons, and a confidence where the machine says so itself.
//! Promise: a label, never a reason to drop; a server's library is no bot (`python-requests` and `okhttp` are
//!          how honest servers report what a person did).
//! Not here: what only a sequence shows (many links in one second): that is the pipeline's to say later.

use axum::http::HeaderMap;
use tributary_schemas::{EngagementClass, Event, EventKind, is_mail_scanner};

/// The verdict on one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    pub class: EngagementClass,
    /// 1 where the machine names itself; `None` where we only have no reason to doubt, for nobody has measured
    /// how often that is wrong.
    pub confidence: Option<f64>,
    pub reason: Option<&'static str>,
}

impl Verdict {
    pub(crate) fn named(class: EngagementClass, reason: &'static str) -> Self {
        Self { class, confidence: Some(1.0), reason: Some(reason) }
    }

    pub(crate) fn plain(class: EngagementClass) -> Self {
        Self { class, confidence: None, reason: None }
    }

    pub(crate) fn put_on(&self, event: &mut Event) {
        event.engagement_class = self.class;
        event.engagement_confidence = self.confidence;
        event.engagement_reasons = self.reason.map(str::to_owned).into_iter().collect();
    }
}

/// Parts of user agents of machines that fetch pages and say so. Lower case.
const BOTS: &[&str] = &[
    "crawler",
    "spider",
    "slurp",
    "headlesschrome",
    "phantomjs",
    "facebookexternalhit",
    "lighthouse",
    "pingdom",
    "uptimerobot",
];

/// Parts of user agents of libraries for programs. One that fetches a pixel, a link or a mail acts by itself; one that
/// posts an event tells what somebody did.
const LIBRARIES: &[&str] = &["python-requests", "python-urllib", "curl/", "wget/", "go-http-client"];

/// Judges a request for a pixel or a link in a message.
pub(crate) fn of_message_request(is_head: bool, headers: &HeaderMap, user_agent: Option<&str>) -> Verdict {
    if is_head {
        return Verdict::named(EngagementClass::Prefetch, "method_head");
    }
    if is_prefetch(headers) {
        return Verdict::named(EngagementClass::Prefetch, "prefetch_header");
    }
    let Some(user_agent) = user_agent.map(str::trim).filter(|agent| !agent.is_empty()) else {
        return Verdict { class: EngagementClass::Unknown, confidence: None, reason: Some("no_user_agent") };
    };
    if user_agent.contains("GoogleImageProxy") {
        return Verdict::named(EngagementClass::PrivacyProxy, "google_image_proxy");
    }
    // Apple's Mail Privacy Protection sends exactly this and nothing more; a browser always says more.
    if user_agent == "Mozilla/5.0" {
        return Verdict::named(EngagementClass::PrivacyProxy, "bare_mozilla_agent");
    }
    let lower = user_agent.to_lowercase();
    if is_mail_scanner(&lower) {
        return Verdict::named(EngagementClass::Scanner, "scanner_agent");
    }
    if is_bot(&lower) || is_library(&lower) {
        return Verdict::named(EngagementClass::Bot, "bot_agent");
    }
    Verdict::plain(EngagementClass::Human)
}

/// Judges an event a library reported.
///
/// * `user_agent`: the visitor's, as the library passed it on; for a browser also the request's own.
/// * `from_server`: the library runs on a server of the customer.
pub(crate) fn of_reported(kind: EventKind, from_server: bool, user_agent: Option<&str>) -> Verdict {
    match kind {
        // Done to a person, or by the house.
        EventKind::Send | EventKind::Decision | EventKind::Cost => Verdict::plain(EngagementClass::Unknown),
        // A mail service's report of an open says nothing of who opened, unless it names the agent.
        EventKind::Open if user_agent.is_none() => Verdict::plain(EngagementClass::Unknown),
        EventKind::Open => of_message_request(false, &HeaderMap::new(), user_agent),
        _ if !from_server && user_agent.is_some_and(|agent| is_bot(&agent.to_lowercase())) => {
            Verdict::named(EngagementClass::Bot, "bot_agent")
        }
        _ => Verdict::plain(EngagementClass::Human),
    }
}

/// Whether a browser or a mail reader looks ahead, by any of the headers that say so.
pub(crate) fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
        headers.get(*name).and_then(|value| value.to_str().ok()).is_some_and(|value| {
            let value = value.to_lowercase();
            value.contains("prefetch") || value.contains("preview") || value.contains("prerender")
        })
    })
}

fn is_library(lower: &str) -> bool {
    LIBRARIES.iter().any(|marker| lower.contains(marker))
}

/// `lower`: a user agent in lower case.
fn is_bot(lower: &str) -> bool {
    BOTS.iter().any(|marker| lower.contains(marker)) || ends_a_word(lower, "bot")
}

/// 'googlebot/2.1' and 'robot;', but neither 'bottle' nor the phones of the maker CUBOT.
fn ends_a_word(lower: &str, word: &str) -> bool {
    lower.match_indices(word).any(|(start, _)| {
        let after = lower[start + word.len()..].chars().next();
        !after.is_some_and(char::is_alphanumeric) && !lower[..start].ends_with("cu")
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tributary_schemas::EngagementClass as C;

    const SAFARI: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";

    fn class(agent: &str) -> C {
        of_message_request(false, &HeaderMap::new(), Some(agent)).class
    }

    #[test]
    fn machines_that_name_themselves_are_told_apart() {
        assert_eq!(
            class("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"),
            C::PrivacyProxy
        );
        assert_eq!(class("Mozilla/5.0"), C::PrivacyProxy);
        assert_eq!(class("Mozilla/5.0 (compatible; BarracudaCentral)"), C::Scanner);
        assert_eq!(class("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"), C::Bot);
        assert_eq!(class("Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36"), C::Human);
        assert_eq!(class(SAFARI), C::Human);
        assert_eq!(class("  "), C::Unknown);
    }

    #[test]
    fn looking_ahead_is_no_person() {
        let mut headers = HeaderMap::new();
        headers.insert("sec-purpose", "prefetch;prerender".parse().unwrap());
        assert_eq!(of_message_request(false, &headers, Some(SAFARI)).class, C::Prefetch);
        assert_eq!(of_message_request(true, &HeaderMap::new(), Some(SAFARI)).class, C::Prefetch);
    }

    #[test]
    fn a_server_library_is_no_bot_and_a_send_is_nobodys_doing() {
        let agent = Some("python-requests/2.3");
        for from_server in [true, false] {
            for agent in ["python-requests/2.3", "curl/8.5.0", "Go-http-client/1.1"] {
                let verdict = of_reported(EventKind::Conversion, from_server, Some(agent));
                assert_eq!(verdict, Verdict::plain(C::Human), "{agent}");
            }
        }
        // What a library does by itself, and a crawler that runs a page's scripts.
        assert_eq!(class("python-requests/2.3"), C::Bot);
        assert_eq!(of_reported(EventKind::Open, false, agent).class, C::Bot);
        assert_eq!(of_reported(EventKind::Page, false, Some("Mozilla/5.0 HeadlessChrome/120.0")).class, C::Bot);
        assert_eq!(of_reported(EventKind::Send, true, None).class, C::Unknown);
        assert_eq!(of_reported(EventKind::Open, true, None).class, C::Unknown);
        assert_eq!(of_reported(EventKind::Open, true, Some("Mozilla/5.0")).class, C::PrivacyProxy);
    }
}

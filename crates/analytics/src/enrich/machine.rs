//! Machines by their user agents: crawlers, monitors, libraries, and the scanners of mail gateways.
//!
//! In:      a user agent.
//! Out:     `bot` or `scanner` with the reason, or nothing.
//! Promise: nothing for any of the 952 browsers people use most; of the 2,123 crawlers listed the test says how many.
//! Not here: what the request itself shows (`ingest/src/engagement.rs`), what a sequence shows (`burst`).

use aho_corasick::AhoCorasick;
use regex::RegexSet;
use tributary_schemas::{EngagementClass, is_mail_scanner};

/// Patterns of crawler-user-agents: text or regex, tag, pattern.
pub(super) const LIST: &str = include_str!("../../data/crawlers.tsv");

/// What is known of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub class: EngagementClass,
    /// Written into `engagement_reasons`; all of them begin with `stream_`.
    pub reason: &'static str,
    /// A library for programs. Where a program reports what a person did (an order, from a shop's server) it is no
    /// bot; where it fetched a pixel or a link by itself it is.
    pub is_library: bool,
}

pub struct Crawlers {
    texts: AhoCorasick,
    text_tags: Vec<&'static str>,
    regexes: RegexSet,
    regex_tags: Vec<&'static str>,
}

impl Crawlers {
    pub(super) fn built_in() -> Self {
        let lines = || LIST.lines().filter_map(|line| line.split_once('\t')).map(|(kind, rest)| (kind, split(rest)));
        let of = |wanted: &'static str| lines().filter(move |(kind, _)| *kind == wanted).map(|(_, rest)| rest);
        let checked = "crawlers.tsv is part of the program, and a test reads all of it";
        Self {
            texts: AhoCorasick::new(of("text").map(|(_, pattern)| pattern)).expect(checked),
            text_tags: of("text").map(|(tag, _)| tag).collect(),
            regexes: RegexSet::new(of("regex").map(|(_, pattern)| pattern)).expect(checked),
            regex_tags: of("regex").map(|(tag, _)| tag).collect(),
        }
    }

    /// Who names itself in `agent`.
    pub fn find(&self, agent: &str) -> Option<Machine> {
        let lower = agent.to_ascii_lowercase();
        if is_mail_scanner(&lower) {
            let class = EngagementClass::Scanner;
            return Some(Machine { class, reason: "stream_scanner_agent", is_library: false });
        }
        // Several patterns may be in one agent; a crawler built with a library is a crawler.
        let texts = self.texts.find_overlapping_iter(agent).map(|found| self.text_tags[found.pattern().as_usize()]);
        let regexes = self.regexes.matches(agent);
        let regexes = regexes.iter().map(|index| self.regex_tags[index]);
        let mut tag = None;
        for found in texts.chain(regexes) {
            if tag.is_none() || tag == Some(LIBRARY) {
                tag = Some(found);
            }
        }
        if tag.is_none() && names_a_bot(&lower) {
            tag = Some("other");
        }
        tag.map(|tag| Machine { class: EngagementClass::Bot, reason: reason_of(tag), is_library: tag == LIBRARY })
    }
}

const LIBRARY: &str = "http-library";

fn split(rest: &'static str) -> (&'static str, &'static str) {
    rest.split_once('\t').unwrap_or(("other", rest))
}

fn reason_of(tag: &str) -> &'static str {
    match tag {
        "search-engine" => "stream_crawler_search",
        "seo" => "stream_crawler_seo",
        "monitoring" => "stream_crawler_monitoring",
        "scanner" => "stream_crawler_security",
        "advertising" => "stream_crawler_advertising",
        "social-preview" => "stream_crawler_preview",
        "feed-reader" => "stream_crawler_feed",
        "ai-crawler" => "stream_crawler_ai",
        "http-library" => "stream_crawler_library",
        "archiver" => "stream_crawler_archive",
        "academic" => "stream_crawler_academic",
        "browser-automation" => "stream_crawler_automation",
        _ => "stream_crawler_other",
    }
}

/// What the makers of machines agree on: a name that ends in "bot", "crawler" or "spider". Neither 'bottle' nor the phones
/// of the maker CUBOT.
fn names_a_bot(lower: &str) -> bool {
    let ends_a_word = |word: &str| {
        lower.match_indices(word).any(|(start, _)| {
            let after = lower[start + word.len()..].chars().next();
            !after.is_some_and(char::is_alphanumeric) && !lower[..start].ends_with("cu")
        })
    };
    ["bot", "crawler", "spider"].into_iter().any(ends_a_word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::built_in;

    #[test]
    fn machines_are_told_by_their_names() {
        let find = |agent: &str| built_in().crawlers.find(agent).map(|machine| (machine.class, machine.reason));
        let (bot, scanner) = (EngagementClass::Bot, EngagementClass::Scanner);
        for (agent, expected) in [
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Some((bot, "stream_crawler_search")),
            ),
            ("Mozilla/5.0 (compatible; GPTBot/1.2; +https://openai.com/gptbot)", Some((bot, "stream_crawler_ai"))),
            ("python-requests/2.31.0", Some((bot, "stream_crawler_library"))),
            ("Mozilla/5.0 (compatible; BarracudaCentral)", Some((scanner, "stream_scanner_agent"))),
            ("SomebodysNewBot/0.1", Some((bot, "stream_crawler_other"))),
            ("Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Mobile Safari/537.36", None),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
                None,
            ),
            ("", None),
        ] {
            assert_eq!(find(agent), expected, "{agent}");
        }
        assert!(built_in().crawlers.find("okhttp/4.9").is_some_and(|machine| machine.is_library));
    }

    #[test]
    fn the_list_is_read_whole() {
        let crawlers = Crawlers::built_in();
        assert_eq!(crawlers.text_tags.len() + crawlers.regex_tags.len(), LIST.lines().count());
    }
}

//! What of an event may be kept, decided before it reaches the log.
//!
//! In:      events as their dialects read them; the rules of their source; ids that asked not to be recorded.
//! Out:     the same events with less in them; or that one is not kept at all.
//! Promise: what a rule takes away never reaches the disk, whole or in part, from a column or from the properties at any
//!          depth; a hash is keyed, so that nobody without the secret can try addresses against it; numbers keep their
//!          digits. What is not kept is counted.
//! Not here: the network of an address, which is all that is ever kept of it (`network`), and consent as the SDKs say it
//!          (`consent`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use aho_corasick::{AhoCorasick, MatchKind};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use tributary_schemas::{Consent, DeadLetter, Event, EventKind};

use crate::dialect::DEPTH_MAX;
use crate::json::{self, Scalar};
use crate::settings::Provider;

/// What becomes of something personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    #[default]
    Keep,
    /// Replaced by a keyed hash: the same each time, so that it can be counted and joined.
    Hash,
    Drop,
}

/// The rules for some sources.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyRule {
    /// Names of sources; `*` for all. The first rule that names a source is the one that holds.
    pub sources: Vec<String>,
    /// E-mail addresses, as ids and anywhere in the properties.
    pub emails: Treatment,
    /// Properties by name, at any depth, that are hashed.
    pub hash: Vec<String>,
    /// Properties by name, at any depth, that are left out.
    pub drop: Vec<String>,
    /// Parameters that are left out of addresses, in the columns and in the properties, beside those that open something
    /// (password, access_token, api_key ...).
    pub query_drop: Vec<String>,
    /// Of the latter, those that are none here and stay.
    pub query_keep: Vec<String>,
    /// Keeps no network of an address either.
    pub drop_network: bool,
    /// Keeps events of nobody who has refused this purpose: analytics, marketing, ads, personalization or sale.
    pub requires: Vec<String>,
}

impl Default for PrivacyRule {
    fn default() -> Self {
        Self {
            sources: vec!["*".to_owned()],
            emails: Treatment::Keep,
            hash: Vec::new(),
            drop: Vec::new(),
            query_drop: Vec::new(),
            query_keep: Vec::new(),
            drop_network: false,
            requires: Vec::new(),
        }
    }
}

/// Parameters that open something. They get into addresses by mistake, and into every analytics tool from there.
const SECRETS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "client_secret",
    "access_token",
    "refresh_token",
    "id_token",
    "api_key",
    "apikey",
    "sessionid",
    "jsessionid",
    "phpsessid",
    "reset_token",
    "otp",
];

/// Members that hold events in base64: Snowplow's and CloudEvents'.
const PACKED: &[&str] = &["ue_px", "cx", "data_base64"];

impl PrivacyRule {
    /// What cannot stand, each beginning with its knob.
    pub(crate) fn faults(&self) -> Vec<String> {
        let unknown = self.requires.iter().filter(|name| purpose(name).is_none());
        let mut faults: Vec<String> = unknown
            .map(|name| {
                let known: Vec<&str> = Consent::NAMES.iter().map(|(name, _)| *name).collect();
                format!("requires has {name:?}: use {}", known.join(", "))
            })
            .collect();
        if self.sources.is_empty() {
            faults.push("sources is empty: name some, or \"*\"".to_owned());
        }
        if [&self.hash, &self.drop, &self.query_drop, &self.query_keep].into_iter().flatten().any(String::is_empty) {
            faults.push(
                "hash, drop, query_drop and query_keep name properties and parameters: an empty name is none"
                    .to_owned(),
            );
        }
        faults
    }
}

fn purpose(name: &str) -> Option<Consent> {
    Consent::NAMES.iter().find(|(known, _)| *known == name).map(|(_, purpose)| *purpose)
}

/// A rule made ready.
struct Rule {
    settings: PrivacyRule,
    required: Consent,
    /// It names something, and is not only there to keep secrets out.
    is_strict: bool,
    /// Finds whether there is anything to do: most events hold nothing of the kind, and are looked through once.
    any: AhoCorasick,
}

pub(crate) struct Privacy {
    rules: Vec<Rule>,
    secret: Vec<u8>,
    suppressed: RwLock<HashSet<String>>,
}

const PREFIX: &[u8] = b"tributary pseudonym\0";

impl Privacy {
    pub(crate) fn new(rules: &[PrivacyRule], secret: &str) -> Self {
        let mut all: Vec<PrivacyRule> = rules.to_vec();
        // Where no rule names a source, secrets are still kept out.
        all.push(PrivacyRule::default());
        let rules = all.into_iter().map(|mut settings| {
            let is_kept = |name: &str| settings.query_keep.iter().any(|kept| kept.eq_ignore_ascii_case(name));
            let secrets: Vec<String> =
                SECRETS.iter().filter(|name| !is_kept(name)).map(|name| (*name).to_owned()).collect();
            settings.query_drop.extend(secrets);
            let mut patterns: Vec<&str> = settings.hash.iter().chain(&settings.drop).map(String::as_str).collect();
            patterns.extend(settings.query_drop.iter().map(String::as_str));
            let is_strict =
                settings.emails != Treatment::Keep || !settings.hash.is_empty() || !settings.drop.is_empty();
            if settings.emails != Treatment::Keep {
                patterns.push("@");
            }
            if is_strict {
                // Whatever is escaped or packed may be any of them.
                patterns.extend(["\\", "%"]);
                patterns.extend(PACKED);
            }
            let any =
                AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::Standard).build(&patterns);
            let required = settings.requires.iter().filter_map(|name| purpose(name));
            Rule {
                required: required.fold(Consent::default(), Consent::with),
                is_strict,
                any: any.expect("names in settings are short"),
                settings,
            }
        });
        Self { rules: rules.collect(), secret: secret.as_bytes().to_vec(), suppressed: RwLock::default() }
    }

    /// Ids whose events are not kept from here on.
    pub(crate) fn suppress(&self, ids: HashSet<String>) {
        *self.suppressed.write().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    /// Takes away what may not be kept. `false`: the event as a whole.
    pub(crate) fn allows(&self, event: &mut Event) -> bool {
        if self.is_suppressed(event) {
            return false;
        }
        let Some(rule) = self.rule_of(&event.source) else { return true };
        // That somebody withdrew, or wants no more mail, must be known to be honoured.
        let says_no = matches!(event.event_kind, EventKind::Consent | EventKind::Feedback);
        if !says_no && event.consent.is_some_and(|granted| !granted.allows(rule.required)) {
            return false;
        }
        if rule.settings.drop_network {
            event.ip_truncated = None;
        }
        if rule.settings.emails != Treatment::Keep {
            // The id of a mail looks like an address (RFC 5322) and is nobody's, where its provider says it.
            let of_provider = Provider::ALL.iter().any(|provider| provider.as_str() == event.dialect);
            let message_id = (!of_provider).then_some(&mut event.message_id);
            let texts = [
                &mut event.anonymous_id,
                &mut event.user_id,
                &mut event.previous_id,
                &mut event.device_id,
                &mut event.account_id,
                &mut event.client_event_id,
                &mut event.title,
                &mut event.referrer_term,
                &mut event.campaign_id,
                &mut event.ad_id,
                &mut event.creative_id,
                &mut event.link_id,
                &mut event.decision_id,
                &mut event.channel,
                &mut event.utm_source,
                &mut event.utm_medium,
                &mut event.utm_campaign,
                &mut event.utm_term,
                &mut event.utm_content,
            ];
            for text in texts.into_iter().chain(message_id) {
                if text.as_deref().is_some_and(is_email) {
                    *text = match rule.settings.emails {
                        Treatment::Hash => text.as_deref().map(|email| self.hash(email)),
                        _ => None,
                    };
                }
            }
            // Of what came of a letter: a dialect has seen to it.
            if let Some(hidden) = self.hidden_id(&event.source, &event.event_id) {
                event.event_id = hidden;
            }
            if let Some(path) = event.url_path.take_if(|path| rule.any.is_match(path.as_str())) {
                event.url_path = Some(self.scrub_path(&path, rule));
            }
        }
        if let Some(query) = event.url_query.take() {
            let kept = self.scrub_query(&query, rule);
            event.url_query = Some(kept.into_owned()).filter(|kept| !kept.is_empty());
        }
        if let Some(properties) = event.properties.take_if(|properties| rule.any.is_match(properties.as_str())) {
            event.properties = Some(self.scrub(&properties, rule));
        }
        true
    }

    /// The same for what could not become an event: as much as was read of it, and what was sent.
    pub(crate) fn allows_letter(&self, letter: &mut DeadLetter) -> bool {
        if letter.event.as_deref_mut().is_some_and(|event| !self.allows(event)) {
            return false;
        }
        self.clean_letter(letter);
        true
    }

    fn clean_letter(&self, letter: &mut DeadLetter) {
        let source = letter.source.as_deref().unwrap_or_default();
        let Some(rule) = self.rule_of(source) else { return };
        // It may tell what was found.
        if rule.is_strict
            && rule.any.is_match(&letter.detail)
            && let Some((told, _)) = letter.detail.split_once(", found ")
        {
            letter.detail = told.to_owned();
        }
        if let Some(hidden) = letter.event_id.as_deref().and_then(|id| self.hidden_id(source, id)) {
            letter.event_id = Some(hidden);
        }
        let Some(payload) = letter.payload.take() else { return };
        let is_whole = i64::try_from(payload.len()) == Ok(letter.payload_bytes);
        // Cleaning recurses with the nesting, and a letter may be here because it nests too deep.
        let is_json = !json::is_deeper_than(&payload, DEPTH_MAX)
            && serde_json::from_str::<serde::de::IgnoredAny>(&payload).is_ok();
        letter.payload = if is_json {
            Some(if rule.any.is_match(&payload) { self.scrub(payload.trim(), rule) } else { payload })
        } else if rule.is_strict {
            // What cannot be read cannot be cleaned, and may be packed.
            letter.detail.push_str("; what was sent is not kept, as the rules of privacy have it");
            None
        } else {
            // A query, as pixels and some trackers send it; else as it is.
            Some(self.scrub_query(&payload, rule).into_owned())
        };
        // It is whole as it may be kept, and can be sent again so.
        if let Some(cleaned) = letter.payload.as_ref().filter(|_| is_whole) {
            letter.payload_bytes = i64::try_from(cleaned.len()).unwrap_or(i64::MAX);
        }
    }

    fn rule_of(&self, source: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.settings.sources.iter().any(|named| named == "*" || named == source))
    }

    /// What stands for the id of an event that is an e-mail address, where the rule says that none is kept. An event must have
    /// an id, so it is a hash in either case.
    pub(crate) fn hidden_id(&self, source: &str, id: &str) -> Option<String> {
        // Hardly any id has one, and this is asked for each event.
        if !id.contains('@') {
            return None;
        }
        let treats = self.rule_of(source).is_some_and(|rule| rule.settings.emails != Treatment::Keep);
        (treats && is_email(id)).then(|| self.hash(id))
    }

    /// A path whose parts that are e-mail addresses are treated as the rule says.
    fn scrub_path(&self, path: &str, rule: &Rule) -> String {
        let part = |part: &str| {
            let plain = url::form_urlencoded::parse(part.replace('+', "%2B").as_bytes())
                .next()
                .map_or_else(String::new, |(name, _)| name.into_owned());
            match rule.settings.emails {
                Treatment::Hash if is_email(&plain) => self.hash(&plain),
                Treatment::Drop if is_email(&plain) => String::new(),
                _ => part.to_owned(),
            }
        };
        path.split('/').map(part).collect::<Vec<_>>().join("/")
    }

    fn is_suppressed(&self, event: &Event) -> bool {
        let suppressed = self.suppressed.read().unwrap_or_else(PoisonError::into_inner);
        if suppressed.is_empty() {
            return false;
        }
        let ids = [&event.anonymous_id, &event.user_id, &event.previous_id, &event.device_id, &event.account_id];
        ids.into_iter().flatten().any(|id| suppressed.contains(id) || suppressed.contains(&id.trim().to_lowercase()))
    }

    /// `h_` and 32 hexadecimal digits. Letter case and blanks around it make no other.
    fn hash(&self, text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of any length");
        mac.update(PREFIX);
        mac.update(text.trim().to_lowercase().as_bytes());
        let code = mac.finalize().into_bytes();
        code.iter().take(16).fold("h_".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// JSON without what the rule takes away; numbers and order as they were.
    fn scrub(&self, json: &str, rule: &Rule) -> String {
        match json::scalar(json) {
            Scalar::Object => {
                let Ok(members) = json::members(json) else { return "null".to_owned() };
                let mut kept = Vec::new();
                for (name, value) in &members {
                    // Under `$name` stands what was written as `name` and is not what its column holds.
                    let plain = name.strip_prefix('$').unwrap_or(name);
                    let names_it = |known: &str| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(plain);
                    let is = |names: &[String]| names.iter().any(|known| names_it(known));
                    if is(&rule.settings.drop) || rule.is_strict && PACKED.contains(&plain) {
                        continue;
                    }
                    let value = if is(&rule.settings.hash) { self.hashed(value) } else { self.scrub(value, rule) };
                    kept.push(format!("{}:{value}", quoted(name)));
                }
                format!("{{{}}}", kept.join(","))
            }
            Scalar::List => match json::elements(json, usize::MAX) {
                Ok(Some(elements)) => {
                    let kept: Vec<String> = elements.iter().map(|element| self.scrub(element, rule)).collect();
                    format!("[{}]", kept.join(","))
                }
                _ => "null".to_owned(),
            },
            Scalar::Text(text) if rule.any.is_match(&*text.text) => {
                if is_email(&text.text) {
                    return match rule.settings.emails {
                        Treatment::Keep => json.to_owned(),
                        Treatment::Hash => quoted(&self.hash(&text.text)),
                        Treatment::Drop => "null".to_owned(),
                    };
                }
                // JSON inside text, as Amazon's SNS has it.
                let inner = text.text.trim();
                if inner.starts_with(['{', '['])
                    && !json::is_deeper_than(inner, DEPTH_MAX)
                    && serde_json::from_str::<serde::de::IgnoredAny>(inner).is_ok()
                {
                    return quoted(&self.scrub(inner, rule));
                }
                quoted(&self.scrub_address(&text.text, rule))
            }
            _ => json.to_owned(),
        }
    }

    /// An address, or text that is none and stays as it is: path, query and fragment each by its own rule.
    fn scrub_address(&self, text: &str, rule: &Rule) -> String {
        let (rest, fragment) = text.split_once('#').map_or((text, None), |(rest, fragment)| (rest, Some(fragment)));
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        let mut kept = self.scrub_path(path, rule);
        for (mark, part) in [('?', query), ('#', fragment)] {
            let Some(part) = part else { continue };
            let scrubbed = self.scrub_query(part, rule);
            // A mark with nothing behind it goes only with what stood there.
            if part.is_empty() || !scrubbed.is_empty() {
                kept.push(mark);
                kept.push_str(&scrubbed);
            }
        }
        kept
    }

    fn hashed(&self, json: &str) -> String {
        match json::scalar(json) {
            Scalar::Text(text) => quoted(&self.hash(&text.text)),
            // A list or an object of it is as personal, and no id.
            Scalar::List | Scalar::Object => "null".to_owned(),
            _ => quoted(&self.hash(json)),
        }
    }

    /// A query without the parameters the rule names, and without e-mail addresses where it treats those.
    fn scrub_query<'q>(&self, query: &'q str, rule: &Rule) -> Cow<'q, str> {
        if !rule.any.is_match(query) {
            return Cow::Borrowed(query);
        }
        let kept: Vec<Cow<'_, str>> = query
            .split('&')
            .filter_map(|pair| {
                let (name, value) = url::form_urlencoded::parse(pair.as_bytes())
                    .next()
                    .unwrap_or((Cow::Borrowed(""), Cow::Borrowed("")));
                if rule.settings.query_drop.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                    return None;
                }
                match rule.settings.emails {
                    Treatment::Hash if is_email(&value) => Some(Cow::Owned(format!(
                        "{}={}",
                        pair.split('=').next().unwrap_or_default(),
                        self.hash(&value)
                    ))),
                    Treatment::Drop if is_email(&value) => None,
                    _ => Some(Cow::Borrowed(pair)),
                }
            })
            .collect();
        Cow::Owned(kept.join("&"))
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

/// Text that is an e-mail address and nothing else.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let plain =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/?&=,;:<>\"".contains(c));
    plain(local) && plain(domain) && domain.contains('.') && text.len() <= 320
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn privacy(rule: PrivacyRule) -> Privacy {
        Privacy::new(&[rule], "a secret of at least thirty-two bytes")
    }

    fn event(properties: &str) -> Event {
        let mut event = Event::new("web", "native", "e", "E", 0);
        event.properties = Some(properties.to_owned());
        event
    }

    fn scrubbed(privacy: &Privacy, properties: &str) -> String {
        let mut event = event(properties);
        assert!(privacy.allows(&mut event));
        event.properties.unwrap()
    }

    #[test]
    fn secrets_are_kept_out_of_addresses_without_being_asked() {
        let privacy = Privacy::new(&[], "");
        let mut event =
            event(r#"{"url": "https://a.example/x?utm_source=n&Access_Token=T#top", "n": 1.10, "other": "password"}"#);
        event.url_query = Some("utm_source=n&password=p%20w&x=1".to_owned());
        assert!(privacy.allows(&mut event));
        assert_eq!(event.url_query.unwrap(), "utm_source=n&x=1");
        assert_eq!(
            event.properties.unwrap(),
            r#"{"url":"https://a.example/x?utm_source=n#top","n":1.10,"other":"password"}"#
        );
    }

    #[test]
    fn an_escape_hides_nothing() {
        let rule = PrivacyRule {
            drop: vec!["ssn".to_owned(), "straße".to_owned()],
            emails: Treatment::Hash,
            ..PrivacyRule::default()
        };
        let privacy = privacy(rule);
        let hash = privacy.hash("ada@example.com");
        assert_eq!(
            scrubbed(&privacy, r#"{"stra\u00dfe": 1, "\u0073sn": 2, "m": "ada\u0040example.com", "n": 3}"#),
            format!(r#"{{"m":"{hash}","n":3}}"#)
        );
        let mut event = event(r#"{"u": "https://a.example/x/ada%40example.com/y?z=1#access_token=T"}"#);
        event.url_query = Some("acc%65ss_token=T&x=1".to_owned());
        event.utm_content = Some("ada@example.com".to_owned());
        assert!(privacy.allows(&mut event));
        assert_eq!(event.url_query.unwrap(), "x=1");
        assert_eq!(event.utm_content.unwrap(), hash);
        assert_eq!(event.properties.unwrap(), format!(r#"{{"u":"https://a.example/x/{hash}/y?z=1"}}"#));
    }

    #[test]
    fn names_are_dropped_and_hashed_at_any_depth() {
        let rule =
            PrivacyRule { drop: vec!["ssn".to_owned()], hash: vec!["phone".to_owned()], ..PrivacyRule::default() };
        let privacy = privacy(rule);
        let text = scrubbed(
            &privacy,
            r#"{"a": [{"SSN": 1, "phone": "+49 1"}], "b": 12345678901234567890.10, "phone": "+49 1"}"#,
        );
        let hash = privacy.hash("+49 1");
        assert_eq!(text, format!(r#"{{"a":[{{"phone":"{hash}"}}],"b":12345678901234567890.10,"phone":"{hash}"}}"#));
        assert_ne!(hash, Privacy::new(&[], "another secret").hash("+49 1"), "nobody can try without the secret");
    }

    #[test]
    fn addresses_are_hashed_wherever_they_stand() {
        let rule = PrivacyRule { emails: Treatment::Hash, ..PrivacyRule::default() };
        let privacy = privacy(rule);
        let mut event = event(
            r#"{"to": " Ada@Example.com", "text": "write to ada@example.com now", "u": "/x?m=ada%40example.com"}"#,
        );
        event.user_id = Some("ada@example.com".to_owned());
        event.url_query = Some("e=ada@example.com&x=1".to_owned());
        assert!(privacy.allows(&mut event));
        let hash = privacy.hash("ada@example.com");
        assert_eq!(event.user_id.unwrap(), hash);
        assert_eq!(event.url_query.unwrap(), format!("e={hash}&x=1"));
        let properties = event.properties.unwrap();
        assert_eq!(properties, format!(r#"{{"to":"{hash}","text":"write to ada@example.com now","u":"/x?m={hash}"}}"#));
        let dropping = PrivacyRule { emails: Treatment::Drop, ..PrivacyRule::default() };
        assert_eq!(scrubbed(&Privacy::new(&[dropping], "s"), r#"{"to":"a@b.example"}"#), r#"{"to":null}"#);
    }

    #[test]
    fn who_refused_or_asked_not_to_be_recorded_is_not() {
        let rule = PrivacyRule { requires: vec!["analytics".to_owned()], ..PrivacyRule::default() };
        let privacy = privacy(rule);
        let with = |consent| {
            let mut event = event("{}");
            event.consent = consent;
            privacy.allows(&mut event)
        };
        assert!(with(None), "nobody asked");
        assert!(with(Some(Consent::ANALYTICS)) && !with(Some(Consent::ADS)));
        privacy.suppress(["ada@example.com".to_owned()].into());
        let mut event = event("{}");
        event.user_id = Some("Ada@Example.com".to_owned());
        assert!(!privacy.allows(&mut event));
        event.user_id = Some("bob".to_owned());
        assert!(privacy.allows(&mut event));
    }

    #[test]
    fn what_could_not_become_an_event_holds_no_more_than_an_event_may() {
        let rule = PrivacyRule { emails: Treatment::Hash, drop: vec!["ssn".to_owned()], ..PrivacyRule::default() };
        let privacy = privacy(rule);
        let kept = |payload: &str| {
            let mut letter = DeadLetter {
                source: Some("web".to_owned()),
                dialect: "native".to_owned(),
                event_id: None,
                ingest_time_us: 0,
                reason: tributary_schemas::DeadReason::InvalidField,
                detail: String::new(),
                payload: Some(payload.to_owned()),
                payload_bytes: 1,
                request: None,
                event: None,
            };
            privacy.clean_letter(&mut letter);
            letter.payload
        };
        let hash = privacy.hash("ada@example.com");
        let text = kept(r#"{"user_id": "ada@example.com", "ssn": 1, "n": 2}"#).unwrap();
        assert_eq!(text, format!(r#"{{"user_id":"{hash}","n":2}}"#));
        assert_eq!(kept(r#"{"user_id": "ada@example.com", "#), None, "what cannot be read cannot be cleaned");
        assert_eq!(kept("{broken"), None);
        assert_eq!(kept("base64:H4sIAAAA"), None, "what is packed may hold anything");
        let inside = kept(r#"{"Message": "{\"to\": \"ada@example.com\", \"ssn\": 1}", "ue_px": "eyJ9"}"#).unwrap();
        assert_eq!(inside, format!(r#"{{"Message":"{{\"to\":\"{hash}\"}}"}}"#));
        let deep = format!("{}\"ssn\"{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(kept(&deep), None, "what nests too deep is not cleaned, and ends no process");
        let mut event = event("{}");
        event.url_path = Some("/leave/ada%40example.com/now".to_owned());
        event.title = Some("ada@example.com".to_owned());
        assert!(privacy.allows(&mut event));
        assert_eq!(event.url_path.unwrap(), format!("/leave/{hash}/now"));
        assert_eq!(event.title.unwrap(), hash);
    }

    proptest! {
        /// Whatever JSON comes, what is not named stays as it reads, and what is named is nowhere in it.
        #[test]
        fn only_what_is_named_goes(
            names in proptest::collection::vec("[a-c]{1,2}", 1..6),
            texts in proptest::collection::vec("[^\0]{0,12}", 1..6),
        ) {
            let rule = PrivacyRule { drop: vec!["a".to_owned()], query_drop: vec!["a".to_owned()], ..PrivacyRule::default() };
            let mut object = serde_json::Map::new();
            for (name, text) in names.iter().zip(&texts) {
                object.insert(name.clone(), serde_json::json!([{name: text}]));
            }
            let before = serde_json::Value::from(object);
            let after: serde_json::Value = serde_json::from_str(&scrubbed(&privacy(rule), &before.to_string())).unwrap();
            for (name, value) in before.as_object().unwrap() {
                if name == "a" {
                    prop_assert!(after.get(name).is_none());
                } else if !(value.to_string().contains(['?', '#']) && value.to_string().contains(['a', 'A', '%'])) {
                    prop_assert_eq!(after.get(name), Some(value));
                }
            }
        }
    }
}

//! What a session may set and show.
//!
//! In:       names and values as clients set them.
//! Out:      what they are now; what a client is told unasked when it changes.
//! Promise:  what clients decide by (encoding, time zone, style of dates) is what the server does: it writes UTF-8, ISO dates and
//!           UTC, and says so whatever was asked for. All else is kept for who asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::fault::Fault;

/// Of the server clients think they speak to: what may be asked of it is decided by this.
pub(crate) const SERVER_VERSION: &str = "16.6";
const SERVER_VERSION_NUMBER: &str = "160006";

/// (name, value at the beginning, whether clients are told of it unasked).
const KNOWN: &[(&str, &str, bool)] = &[
    ("application_name", "", true),
    ("bytea_output", "hex", false),
    ("client_encoding", "UTF8", true),
    ("client_min_messages", "notice", false),
    ("DateStyle", "ISO, MDY", true),
    ("default_transaction_isolation", "read committed", false),
    ("default_transaction_read_only", "on", true),
    ("extra_float_digits", "1", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("in_hot_standby", "off", true),
    ("integer_datetimes", "on", true),
    ("IntervalStyle", "postgres", true),
    ("is_superuser", "off", true),
    ("lc_collate", "C", false),
    ("lc_ctype", "C", false),
    ("lock_timeout", "0", false),
    ("max_identifier_length", "63", false),
    ("max_index_keys", "32", false),
    ("search_path", "public", true),
    ("server_encoding", "UTF8", true),
    ("server_version", SERVER_VERSION, true),
    ("server_version_num", SERVER_VERSION_NUMBER, false),
    ("session_authorization", "", true),
    ("standard_conforming_strings", "on", true),
    ("statement_timeout", "0", false),
    ("TimeZone", "UTC", true),
    ("transaction_isolation", "read committed", false),
    ("transaction_read_only", "on", false),
];

/// As they are, whatever a client wants.
const FIXED: &[&str] = &[
    "datestyle",
    "default_transaction_read_only",
    "in_hot_standby",
    "integer_datetimes",
    "intervalstyle",
    "is_superuser",
    "server_encoding",
    "server_version",
    "server_version_num",
    "standard_conforming_strings",
    "timezone",
    "transaction_read_only",
];

/// Of values a client may have kept here.
const OTHERS_MAX: usize = 100;
const VALUE_BYTES_MAX: usize = 1_000;

#[derive(Debug, Clone)]
pub(crate) struct Variables {
    /// By the name in small letters: the name as it is written, and the value.
    values: BTreeMap<String, (String, String)>,
}

impl Variables {
    pub(crate) fn new(user: &str) -> Self {
        let of = |(name, value, _): &(&str, &str, bool)| {
            (name.to_ascii_lowercase(), ((*name).to_owned(), (*value).to_owned()))
        };
        let mut variables = Self { values: KNOWN.iter().map(of).collect() };
        variables.put("session_authorization", user);
        variables
    }

    /// Names and values at the beginning of any session.
    pub(crate) fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
        KNOWN.iter().map(|(name, value, _)| (*name, *value))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_ascii_lowercase()).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.values().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Those a client is told at the beginning.
    pub(crate) fn reported(&self) -> impl Iterator<Item = (&str, &str)> {
        let reported = KNOWN.iter().filter(|(.., is_reported)| *is_reported);
        reported.filter_map(|(name, ..)| Some((*name, self.get(name)?)))
    }

    /// How long the client lets a question take.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        let text = self.get("statement_timeout")?;
        let digits = text.trim_end_matches(|char: char| !char.is_ascii_digit());
        let factor_ms = match text[digits.len()..].trim() {
            "" | "ms" => 1,
            "s" => 1_000,
            "min" => 60_000,
            _ => return None,
        };
        let ms = digits.parse::<u64>().ok()?.checked_mul(factor_ms)?;
        (ms != 0).then(|| Duration::from_millis(ms))
    }

    /// * `value`: `None`: as it was at the beginning.
    /// * Returns what the client is to be told: a variable and its value, or that nothing changed.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) -> Result<Changed, Fault> {
        let key = name.to_ascii_lowercase();
        let known = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
        let Some(value) = value.or(known.map(|(_, value, _)| *value)) else {
            self.values.remove(&key);
            return Ok(Changed::Silent);
        };
        if key == "client_encoding" {
            let plain: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            if !["utf8", "unicode", "sqlascii"].contains(&plain.to_ascii_lowercase().as_str()) {
                return Err(Fault::new("22023", format!("client_encoding can be UTF8 only, not {value:?}")));
            }
            return Ok(Changed::Silent);
        }
        if FIXED.contains(&key.as_str()) {
            let is = self.get(name).unwrap_or_default();
            let same = is.eq_ignore_ascii_case(value) || (key == "datestyle" && starts_iso(value));
            return Ok(if same { Changed::Silent } else { Changed::Not(format!("{name} stays {is}")) });
        }
        if VALUE_BYTES_MAX < value.len() || VALUE_BYTES_MAX < name.len() {
            return Err(Fault::new("22023", format!("names and values have {VALUE_BYTES_MAX} bytes at most")));
        }
        if known.is_none() && !self.values.contains_key(&key) && KNOWN.len() + OTHERS_MAX <= self.values.len() {
            return Err(Fault::new("53400", format!("a session keeps {OTHERS_MAX} variables of its own")));
        }
        self.put(name, value);
        match known {
            Some((name, _, true)) => Ok(Changed::Reported(name, value.to_owned())),
            _ => Ok(Changed::Silent),
        }
    }

    fn put(&mut self, name: &str, value: &str) {
        let entry = self.values.entry(name.to_ascii_lowercase());
        entry.or_insert_with(|| (name.to_owned(), String::new())).1 = value.to_owned();
    }
}

fn starts_iso(value: &str) -> bool {
    value.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("iso"))
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    /// Nobody need be told.
    Silent,
    Reported(&'static str, String),
    /// It stays, and how.
    Not(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_decide_by_stays_true() {
        let mut variables = Variables::new("ann");
        assert_eq!(variables.get("session_authorization"), Some("ann"));
        assert!(matches!(variables.set("TimeZone", Some("Europe/Berlin")), Ok(Changed::Not(_))));
        assert_eq!(variables.get("timezone"), Some("UTC"));
        assert_eq!(variables.set("datestyle", Some("ISO")), Ok(Changed::Silent));
        assert_eq!(variables.set("client_encoding", Some("'utf-8'")), Ok(Changed::Silent));
        assert!(variables.set("client_encoding", Some("LATIN1")).is_err());
        let told = Changed::Reported("application_name", "psql".to_owned());
        assert_eq!(variables.set("application_name", Some("psql")), Ok(told));
        assert_eq!(variables.get("APPLICATION_NAME"), Some("psql"));
        assert_eq!(variables.statement_timeout(), None);
        for (text, ms) in [("250", 250), ("2s", 2_000), ("1min", 60_000)] {
            variables.set("statement_timeout", Some(text)).unwrap();
            assert_eq!(variables.statement_timeout(), Some(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_session_keeps_a_bounded_number_of_variables() {
        let mut variables = Variables::new("");
        let full = (0..1_000).find(|index| variables.set(&format!("a.v{index}"), Some("1")).is_err());
        assert_eq!(full, Some(OTHERS_MAX));
        assert!(variables.set("a.v0", Some(&"x".repeat(VALUE_BYTES_MAX + 1))).is_err());
        assert_eq!(variables.set("a.v0", None), Ok(Changed::Silent));
        assert_eq!(variables.get("a.v0"), None);
    }
}

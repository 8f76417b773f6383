//! What may be chosen about one access: `[[query.access]]`.
//!
//! In:       the settings.
//! Out:      `AccessSettings`; their faults, all together.
//! Promise:  an access that says little grants little: no personal columns, and of rows only those it names purposes for where it
//!           names any. A name or column nobody has is a fault, not a right that is silently none.
//! Not here: what the words do (`mod.rs`, `rows.rs`, `mask.rs`).

use std::collections::BTreeSet;

use serde::Deserialize;
use tributary_schemas::Consent;

use super::mask;
use crate::catalog;
use crate::settings::{QuerySettings, TOKEN_BYTES_MIN};

/// One token, and what whoever shows it may see and take.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// For the log and the metrics, and part of the key of its pseudonyms.
    pub name: String,
    /// The token itself; or one of the next two.
    pub token: String,
    /// A file that holds it, read at the start.
    pub token_file: String,
    /// SHA-256 of it in hexadecimal digits. PostgreSQL's protocol needs the token itself.
    pub token_sha256: String,
    /// Names of `Consent::NAMES`: only rows whose person allowed all of them are seen. None: all rows.
    pub purposes: Vec<String>,
    /// With `purposes`: rows of whom nobody asked are seen, too.
    pub unasked: bool,
    /// Which personal columns are told as they are.
    pub personal: Personal,
    /// The tables and views that may be named; absent: all.
    pub tables: Option<Vec<String>>,
    /// Limits of its own, each at most the server's.
    pub queries_max: Option<usize>,
    pub time_ms_max: Option<u64>,
    /// Holds in every protocol.
    pub rows_max: Option<usize>,
    pub memory_bytes_max: Option<usize>,
    pub queries_per_minute: Option<u32>,
}

/// Which personal columns are told as they are: all, none, or those named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Personal {
    All(bool),
    Columns(Vec<String>),
}

impl Default for Personal {
    fn default() -> Self {
        Self::All(false)
    }
}

impl AccessSettings {
    /// Whether it needs the secret that pseudonyms are made with.
    pub fn masks(&self) -> bool {
        self.personal != Personal::All(true)
    }

    /// The purposes as one mask; `None` where one has no such name.
    pub(super) fn purpose_mask(&self) -> Option<i64> {
        let bit = |name: &String| Consent::NAMES.iter().find(|(known, _)| known == name).map(|(_, bit)| bit.0);
        self.purposes.iter().map(bit).try_fold(0, |mask, bit| Some(mask | bit?))
    }
}

/// What they call those who are no access of the settings.
pub(super) const FULL: &str = "full";
pub(super) const OWNER: &str = "owner";

const NAME_BYTES_MAX: usize = 64;
/// As for all questions together: below this DataFusion's own buffers do not fit.
const MEMORY_BYTES_MIN: usize = 16 << 20;
/// Shorter ones can be tried out.
const SECRET_BYTES_MIN: usize = 16;

pub(crate) fn faults(settings: &QuerySettings) -> Vec<String> {
    let mut faults = Vec::new();
    let (mut names, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    tokens.extend(settings.tokens.iter().map(|token| super::digest(token)));
    for (index, access) in settings.access.iter().enumerate() {
        let name = &access.name;
        let which = if name.is_empty() { format!("access {}", index + 1) } else { format!("access {name:?}") };
        let mut fault = |what: String| faults.push(format!("{which}: {what}"));
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if name.is_empty() || NAME_BYTES_MAX < name.len() || !name.bytes().all(is_word) {
            fault(format!("give a name of at most {NAME_BYTES_MAX} lower-case letters, digits, _ and -"));
        } else if [FULL, OWNER].contains(&name.as_str()) || !names.insert(name) {
            fault("the name is taken: each access has its own, and full and owner are those without limits".to_owned());
        }
        match token(access) {
            Ok(digest) if tokens.insert(digest) => {}
            Ok(_) => fault("another access or query.tokens has the same token: give each its own".to_owned()),
            Err(reason) => fault(reason),
        }
        if access.purpose_mask().is_none() {
            let known: Vec<&str> = Consent::NAMES.iter().map(|(name, _)| *name).collect();
            fault(format!("purposes are {:?}: there are {}", access.purposes, known.join(", ")));
        }
        if access.unasked && access.purposes.is_empty() {
            fault("unasked says nothing without purposes: name some, or leave it out".to_owned());
        }
        if let Personal::Columns(columns) = &access.personal {
            for column in columns.iter().filter(|column| !mask::is_personal(column)) {
                fault(format!("personal names {column:?}, which is no personal column: docs/event.md tells which are"));
            }
        }
        for table in access.tables.iter().flatten().filter(|table| !catalog::names().any(|known| known == *table)) {
            let known: Vec<&str> = catalog::names().collect();
            fault(format!("tables names {table:?}: there are {}", known.join(", ")));
        }
        if access.tables.as_ref().is_some_and(Vec::is_empty) {
            fault("tables is empty: nothing could be asked; name some, or leave it out for all".to_owned());
        }
        limits(settings, access, &mut fault);
    }
    let length = settings.mask_secret.len();
    if 0 < length && length < SECRET_BYTES_MIN {
        faults
            .push(format!("mask_secret is too short: give at least {SECRET_BYTES_MIN} bytes, or none to have it made"));
    }
    faults
}

fn limits(settings: &QuerySettings, access: &AccessSettings, fault: &mut impl FnMut(String)) {
    let all = [
        ("queries_max", access.queries_max.map(|own| own as u64), settings.queries_max as u64),
        ("time_ms_max", access.time_ms_max, settings.time_ms_max),
        ("rows_max", access.rows_max.map(|own| own as u64), settings.rows_max as u64),
        ("memory_bytes_max", access.memory_bytes_max.map(|own| own as u64), settings.memory_bytes_max as u64),
        ("queries_per_minute", access.queries_per_minute.map(u64::from), u64::MAX),
    ];
    for (name, own, of_all) in all {
        match own {
            Some(0) => fault(format!("{name} is 0: no question could be answered; give at least 1")),
            Some(own) if of_all < own => {
                fault(format!("{name} is {own}, more than query.{name} allows all together ({of_all})"))
            }
            _ => {}
        }
    }
    if access.memory_bytes_max.is_some_and(|own| 0 < own && own < MEMORY_BYTES_MIN) {
        fault(format!("memory_bytes_max is too small: give at least {MEMORY_BYTES_MIN}"));
    }
}

/// The digest of its token.
pub(super) fn token(access: &AccessSettings) -> Result<[u8; 32], String> {
    match (access.token.as_str(), access.token_sha256.as_str()) {
        ("", "") => Err("it has no token: give token, token_file or token_sha256".to_owned()),
        (token, "") => {
            let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
            if token.len() < TOKEN_BYTES_MIN || !visible {
                return Err(format!(
                    "the token cannot be used: give at least {TOKEN_BYTES_MIN} visible ASCII characters, no blanks"
                ));
            }
            Ok(super::digest(token))
        }
        ("", digits) => {
            let byte = |index: usize| u8::from_str_radix(digits.get(2 * index..2 * index + 2)?, 16).ok();
            let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let bytes = (0..32).map(byte).collect::<Option<Vec<u8>>>().filter(|_| is_hex);
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            bytes.ok_or_else(|| {
                "token_sha256 is no SHA-256: give its 64 hexadecimal digits (printf %s TOKEN | sha256sum)".to_owned()
            })
        }
        _ => Err("it has two tokens: give one of token, token_file and token_sha256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut AccessSettings);

    fn access() -> AccessSettings {
        AccessSettings {
            name: "ads".to_owned(),
            token: "a-token-of-some-length".to_owned(),
            ..AccessSettings::default()
        }
    }

    #[test]
    fn what_cannot_stand_is_told_and_nothing_else() {
        let told = |change: &dyn Fn(&mut AccessSettings)| {
            let mut own = access();
            change(&mut own);
            let tokens = vec!["the-token-of-everything".to_owned()];
            faults(&QuerySettings { tokens, access: vec![own], ..QuerySettings::default() }).join("; ")
        };
        assert_eq!(told(&|_| {}), "");
        let all_is_well = |own: &mut AccessSettings| {
            own.purposes = vec!["analytics".to_owned(), "ads".to_owned()];
            own.personal = Personal::Columns(vec!["user_id".to_owned(), "person_id".to_owned()]);
            own.tables = Some(vec!["events".to_owned(), "person_events_live".to_owned()]);
            (own.queries_max, own.queries_per_minute, own.unasked) = (Some(1), Some(60), true);
        };
        assert_eq!(told(&all_is_well), "");
        let cases: [(Change, &str); 14] = [
            (|own| own.name = String::new(), "access 1: give a name"),
            (|own| own.name = "full".to_owned(), "name is taken"),
            (|own| own.token = "short".to_owned(), "token cannot be used"),
            (|own| own.token = String::new(), "no token"),
            (|own| own.token = "the-token-of-everything".to_owned(), "same token"),
            (|own| own.token_sha256 = "00".repeat(32), "two tokens"),
            (|own| (own.token, own.token_sha256) = (String::new(), "xy".repeat(32)), "no SHA-256"),
            (|own| own.purposes = vec!["add".to_owned()], "there are analytics, marketing, ads"),
            (|own| own.unasked = true, "unasked says nothing"),
            (|own| own.personal = Personal::Columns(vec!["channel".to_owned()]), "no personal column"),
            (|own| own.tables = Some(vec!["event".to_owned()]), "tables names \"event\""),
            (|own| own.tables = Some(Vec::new()), "tables is empty"),
            (|own| own.queries_max = Some(1_000), "more than query.queries_max"),
            (|own| own.time_ms_max = Some(0), "time_ms_max is 0"),
        ];
        for (change, words) in cases {
            let told = told(&change);
            assert!(told.contains(words), "{words}: {told:?}");
        }
    }

    #[test]
    fn personal_is_read_as_a_word_or_a_list() {
        let read = |text: &str| serde_json::from_str::<AccessSettings>(text).map(|own| own.personal);
        assert_eq!(read("{}").unwrap(), Personal::All(false));
        assert_eq!(read(r#"{"personal": true}"#).unwrap(), Personal::All(true));
        assert_eq!(read(r#"{"personal": ["user_id"]}"#).unwrap(), Personal::Columns(vec!["user_id".to_owned()]));
        assert!(read(r#"{"personell": true}"#).is_err());
    }
}

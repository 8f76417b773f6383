//! What stands in place of a personal value.
//!
//! In:       a column's name and values; a secret.
//! Out:      pseudonyms for ids, nothing for what a person typed, wrote or was called.
//! Promise:  one value has one pseudonym in every column and table, so that counting, grouping and joining go on working; another
//!           access has others, so that two of them cannot lay their answers side by side. A column nobody declared is
//!           taken for personal. Nulls stay null.
//! Not here: which columns are personal: the column tables of `schemas` say it; here stand those that views add.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringViewArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, internal_err};
use hashbrown::HashMap;
use tributary_schemas::{Personal, Purpose, Table};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mask {
    /// An id: another text, the same for the same id.
    Pseudonym,
    /// Content: null.
    Null,
}

/// Columns of views, of `identity_map` and of `metric_definitions` (what is defined, and where) that point at nobody.
const DERIVED: [&str; 22] = [
    "event_time",
    "start_time",
    "id_kind",
    "from_time_us",
    "until_time_us",
    "said_by",
    "said_time_us",
    "anonymous_ids",
    "user_ids",
    "first_said_time_us",
    "last_said_time_us",
    "replayable",
    "day",
    "warning",
    "events",
    "reason",
    "source",
    "name",
    "definition",
    "description",
    "unit",
    "file",
];
/// And those that do: ids, and what was said.
const DERIVED_IDS: [&str; 2] = ["person_id", "id"];
const DERIVED_TEXTS: [&str; 1] = ["for_example"];
/// Ids whose purpose is not to say whose an event is: of messages, clicks, sessions, and the hash of what was sent.
const OTHER_IDS: [&str; 14] = [
    "client_event_id",
    "message_id",
    "first_message_id",
    "last_message_id",
    "gclid",
    "dclid",
    "fbclid",
    "msclkid",
    "ttclid",
    "twclid",
    "li_fat_id",
    "first_click_id",
    "last_click_id",
    "superseded_by",
];
const HASH: &str = "content_hash";

static PERSONAL: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let columns = Table::ALL.iter().flat_map(|table| table.columns());
    let declared = columns.filter(|column| column.personal != Personal::No).map(|column| column.name);
    declared.chain(DERIVED_IDS).chain(DERIVED_TEXTS).collect()
});

static IDS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let columns = Table::ALL.iter().flat_map(|table| table.columns());
    let ids = columns.filter(|column| column.purpose == Purpose::Identity && column.personal != Personal::No);
    let ids = ids.map(|column| column.name).chain(DERIVED_IDS).chain(OTHER_IDS);
    ids.chain(["event_id", HASH]).collect()
});

static PLAIN: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let columns = Table::ALL.iter().flat_map(|table| table.columns());
    columns.map(|column| column.name).chain(DERIVED).filter(|name| !PERSONAL.contains(name)).collect()
});

/// Whether a grant of it means anything.
pub(super) fn is_personal(column: &str) -> bool {
    PERSONAL.contains(column)
}

/// What becomes of the column; `None`: it is told as it is.
pub(crate) fn of(column: &str) -> Option<Mask> {
    if PLAIN.contains(column) {
        None
    } else if IDS.contains(column) {
        Some(Mask::Pseudonym)
    } else {
        Some(Mask::Null)
    }
}

/// What one access sees in place of personal values.
pub(crate) struct Masks {
    granted: BTreeSet<String>,
    key: hmac::Key,
}

impl Masks {
    /// * `secret`: of the server; `name`: of the access.
    pub(super) fn new(secret: &[u8], name: &str, granted: BTreeSet<String>) -> Self {
        let whole = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let own = hmac::sign(&whole, format!("pseudonyms of {name}").as_bytes());
        Self { granted, key: hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()) }
    }

    pub(crate) fn of(&self, column: &str) -> Option<Mask> {
        of(column).filter(|_| !self.granted.contains(column))
    }
}

/// The key is told to nobody.
impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masks(granted: {:?})", self.granted)
    }
}

/// Masks the values of one stream: an id is looked up before it is made anew, for ids come many times.
pub(crate) struct Masker {
    masks: Arc<Masks>,
    known: HashMap<Box<str>, Arc<str>>,
}

/// Some 10 MB; then it begins anew.
const KNOWN_MAX: usize = 65_536;
/// 128 bits: two ids with one pseudonym are not to be expected.
const BYTES: usize = 16;

impl Masker {
    pub(crate) fn new(masks: Arc<Masks>) -> Self {
        Self { masks, known: HashMap::new() }
    }

    /// The column as it is seen, of the same type.
    pub(crate) fn column(&mut self, values: &ArrayRef, mask: Mask) -> Result<ArrayRef> {
        if mask == Mask::Null {
            return Ok(new_null_array(values.data_type(), values.len()));
        }
        Ok(match values.data_type() {
            DataType::Utf8View => Arc::new(self.texts(values.as_string_view().iter()).collect::<StringViewArray>()),
            DataType::Utf8 => Arc::new(self.texts(values.as_string::<i32>().iter()).collect::<StringArray>()),
            DataType::Int64 => {
                let number = |value: i64| {
                    let tag = hmac::sign(&self.masks.key, &value.to_le_bytes());
                    i64::from_le_bytes(tag.as_ref()[..8].try_into().expect("a tag has 32 bytes"))
                };
                Arc::new(
                    values.as_primitive::<Int64Type>().iter().map(|value| value.map(number)).collect::<Int64Array>(),
                )
            }
            other => return internal_err!("there is no pseudonym for {other}"),
        })
    }

    fn texts<'v>(&mut self, values: impl Iterator<Item = Option<&'v str>>) -> impl Iterator<Item = Option<Arc<str>>> {
        values.map(|value| value.map(|value| self.pseudonym(value)))
    }

    fn pseudonym(&mut self, value: &str) -> Arc<str> {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        let tag = hmac::sign(&self.masks.key, value.as_bytes());
        let mut text = String::with_capacity(2 + 2 * BYTES);
        text.push_str("p_");
        for byte in &tag.as_ref()[..BYTES] {
            text.push(char::from_digit(u32::from(byte >> 4), 16).expect("four bits are a digit"));
            text.push(char::from_digit(u32::from(byte & 15), 16).expect("four bits are a digit"));
        }
        let text: Arc<str> = text.into();
        if KNOWN_MAX <= self.known.len() {
            self.known.clear();
        }
        self.known.insert(value.into(), Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_personal_column_is_masked_and_no_other() {
        for table in Table::ALL {
            for column in table.columns() {
                let is_masked = of(column.name).is_some();
                assert_eq!(is_masked, is_personal(column.name), "{}.{}", table.name(), column.name);
                let is_clear = column.personal == Personal::No;
                assert!(is_masked || is_clear, "{}.{} is declared personal", table.name(), column.name);
            }
        }
        for (column, mask) in [
            ("user_id", Some(Mask::Pseudonym)),
            ("session_key", Some(Mask::Pseudonym)),
            ("person_id", Some(Mask::Pseudonym)),
            ("gclid", Some(Mask::Pseudonym)),
            ("properties", Some(Mask::Null)),
            ("payload", Some(Mask::Null)),
            ("detail", Some(Mask::Null)),
            ("ip_truncated", Some(Mask::Null)),
            ("user_agent", Some(Mask::Null)),
            ("channel", None),
            ("event_time_us", None),
            ("definition", None),
            ("a_column_of_tomorrow", Some(Mask::Null)),
        ] {
            assert_eq!(of(column), mask, "{column}");
        }
    }

    #[test]
    fn a_value_has_one_pseudonym_whatever_its_column_and_another_elsewhere() {
        let masker = |secret: &[u8], name: &str| Masker::new(Arc::new(Masks::new(secret, name, BTreeSet::new())));
        let mut own = masker(b"a secret of some length", "ads");
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("ann"), None, Some("bob"), Some("ann")]));
        let seen = own.column(&texts, Mask::Pseudonym).unwrap();
        let seen = seen.as_string_view();
        assert!(seen.value(0).starts_with("p_") && seen.value(0).len() == 34 && !seen.value(0).contains("ann"));
        assert!(seen.is_null(1) && seen.value(0) == seen.value(3) && seen.value(0) != seen.value(2));
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["ann"]));
        assert_eq!(own.column(&plain, Mask::Pseudonym).unwrap().as_string::<i32>().value(0), seen.value(0));
        for mut other in [masker(b"a secret of some length", "mail"), masker(b"another secret of length", "ads")] {
            assert_ne!(other.pseudonym("ann").as_ref(), seen.value(0));
        }
        assert_eq!(masker(b"a secret of some length", "ads").pseudonym("ann").as_ref(), seen.value(0), "it stays");
        let hashes: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), None, Some(7)]));
        let hashes = own.column(&hashes, Mask::Pseudonym).unwrap();
        let hashes = hashes.as_primitive::<Int64Type>();
        assert!(hashes.value(0) == hashes.value(2) && hashes.value(0) != 7 && hashes.is_null(1));
        assert!(own.column(&plain, Mask::Null).unwrap().is_null(0));
        assert!(!format!("{:?}", own.masks).contains("secret"));
    }
}

//! Reading JSON without building it: members of an object by name, elements of a list, single values.
//!
//! In:      JSON text.
//! Out:     slices of that text; text and numbers out of them.
//! Promise: no tree is built and nothing recurses with the sender's nesting; a member given twice counts as
//!          the last says; lone surrogates and NULs in text are cleaned, never an error.
//!
//! Properties pass through the door as the bytes they came in. `serde_json` finds where they end, and that
//! is all the work they cost.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why text could not be read as JSON; the text is `serde_json`'s, with line and column.
pub(crate) type JsonError = serde_json::Error;

/// The members of the object `json` with these names, in the order of `names`; absent and null are `None`.
pub(crate) fn pick<'a, const N: usize>(json: &'a str, names: [&str; N]) -> Result<[Option<&'a str>; N], JsonError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let picked = deserializer.deserialize_map(Pick { names })?;
    deserializer.end()?;
    Ok(picked)
}

struct Pick<'n, const N: usize> {
    names: [&'n str; N],
}

impl<'de, const N: usize> Visitor<'de> for Pick<'_, N> {
    type Value = [Option<&'de str>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = [None; N];
        while let Some(name) = map.next_key_seed(CleanText)? {
            match self.names.iter().position(|wanted| *wanted == name.text) {
                Some(index) => {
                    let value: &'de RawValue = map.next_value()?;
                    picked[index] = Some(value.get()).filter(|json| *json != "null");
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(picked)
    }
}

/// `json`, if it is JSON in every byte. The readers here let control characters pass in the names of the outermost object,
/// for they read names as bytes; what is kept as it was written must come through here, or through one of them as a value.
pub(crate) fn whole(json: &str) -> Result<&str, JsonError> {
    serde_json::from_str::<&RawValue>(json).map(RawValue::get)
}

/// Every member of the object `json`, names unescaped, in the sender's order.
pub(crate) fn members(json: &str) -> Result<Vec<(Cow<'_, str>, &str)>, JsonError> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(name) = map.next_key_seed(CleanText)? {
                members.push((name.text, map.next_value::<&'de RawValue>()?.get()));
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    Ok(members)
}

/// The elements of the list `json`, at most `count_max`; `Ok(None)` when there are more.
///
/// It stops at the limit: a list of ten million empty objects fits in a small body and must not become ten
/// million slices.
pub(crate) fn elements(json: &str, count_max: usize) -> Result<Option<Vec<&str>>, JsonError> {
    struct Elements {
        count_max: usize,
    }
    impl<'de> Visitor<'de> for Elements {
        type Value = Option<Vec<&'de str>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element::<&'de RawValue>()? {
                if elements.len() == self.count_max {
                    // The rest is read to its end, or the parser would call the list broken.
                    while seq.next_element::<IgnoredAny>()?.is_some() {}
                    return Ok(None);
                }
                elements.push(element.get());
            }
            Ok(Some(elements))
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let elements = deserializer.deserialize_seq(Elements { count_max })?;
    deserializer.end()?;
    Ok(elements)
}

/// The first element of the list `json`. However many there are, no more than that one is kept.
pub(crate) fn first(json: &str) -> Option<&str> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Option<&'de str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let first = seq.next_element::<&'de RawValue>()?;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(first.map(RawValue::get))
        }
    }
    serde_json::Deserializer::from_str(json).deserialize_seq(First).ok()?
}

/// A single JSON value, as far as the door cares.
#[derive(Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Text(CleanedText<'a>),
    /// By its own digits. Where nobody took null for absent, it is here too.
    Number(&'a str),
    Bool(bool),
    List,
    Object,
}

impl Scalar<'_> {
    /// How a message names what was found.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Number("null") => "null",
            Self::Number(_) => "a number",
            Self::Bool(_) => "true or false",
            Self::List => "a list",
            Self::Object => "an object",
        }
    }
}

/// Reads one value that `serde_json` has already found whole.
pub(crate) fn scalar(json: &str) -> Scalar<'_> {
    match json.as_bytes().first() {
        Some(b'"') => Scalar::Text(text(json)),
        Some(b'{') => Scalar::Object,
        Some(b'[') => Scalar::List,
        Some(b't') => Scalar::Bool(true),
        Some(b'f') => Scalar::Bool(false),
        _ => Scalar::Number(json),
    }
}

/// The text, where `json` is text.
pub(crate) fn text_of(json: &str) -> Option<Cow<'_, str>> {
    match scalar(json) {
        Scalar::Text(text) => Some(text.text),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct CleanedText<'a> {
    pub text: Cow<'a, str>,
    /// Something in it could not stay: a lone surrogate or a NUL.
    pub cleaned: bool,
}

fn text(json: &str) -> CleanedText<'_> {
    // Most is written as it is meant; what has no backslash has no escape.
    let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(plain) = plain.filter(|plain| !plain.as_bytes().contains(&b'\\')) {
        return CleanedText { text: Cow::Borrowed(plain), cleaned: false };
    }
    CleanText
        .deserialize(&mut serde_json::Deserializer::from_str(json))
        .unwrap_or(CleanedText { text: Cow::Borrowed(""), cleaned: true })
}

/// Reads JSON text as bytes, because only then does `serde_json` let lone surrogates pass.
struct CleanText;

impl<'de> DeserializeSeed<'de> for CleanText {
    type Value = CleanedText<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for CleanText {
    type Value = CleanedText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        // Borrowed bytes had no escapes, so neither surrogates nor NULs.
        std::str::from_utf8(bytes)
            .map(|text| CleanedText { text: Cow::Borrowed(text), cleaned: false })
            .map_err(|_| E::custom("text is not UTF-8"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(CleanedText { text: Cow::Borrowed(text), cleaned: false })
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.visit_bytes(text.as_bytes())
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        let text = String::from_utf8_lossy(bytes);
        let lossy = matches!(text, Cow::Owned(_));
        let nul = text.contains('\0');
        let text = if nul { text.replace('\0', "") } else { text.into_owned() };
        Ok(CleanedText { text: Cow::Owned(text), cleaned: lossy || nul })
    }
}

/// Whether `json` nests deeper than `depth_max`. `json` is valid; an iterative scan, since whoever reads it
/// later may recurse.
pub(crate) fn is_deeper_than(json: &str, depth_max: usize) -> bool {
    // Most have fewer beginnings than that, in text or out of it; counting is far quicker than following. By bytes, so that
    // sixteen are counted at once; a chunk has no more than one can hold.
    let begins = |chunk: &[u8]| chunk.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    if json.as_bytes().chunks(255).map(|chunk| usize::from(begins(chunk))).sum::<usize>() <= depth_max {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth_max < depth {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// An object of these members (name, JSON value), without those that are absent.
pub(crate) fn object(members: &[(&str, Option<&str>)]) -> String {
    let present: Vec<(&str, &str)> = members.iter().filter_map(|(name, json)| Some((*name, (*json)?))).collect();
    with_members(None, &present).unwrap_or_else(|| "{}".to_owned())
}

/// The object `json` with `extra` members (name, JSON value) put before its own; an absent object counts as empty.
pub(crate) fn with_members(json: Option<&str>, extra: &[(&str, &str)]) -> Option<String> {
    if extra.is_empty() {
        return json.map(str::to_owned);
    }
    let own = json.unwrap_or("{}");
    let own = own.strip_prefix('{').unwrap_or(own).trim_start();
    let mut out = String::from("{");
    for (name, value) in extra {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(name).expect("text is always JSON"));
        out.push(':');
        out.push_str(value);
    }
    if !own.starts_with('}') {
        out.push(',');
    }
    out.push_str(own);
    Some(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_are_picked_raw_last_wins_null_is_absent() {
        let json = r#" {"a": {"x": [1, 2]}, "b": null, "c": 1, "c": "\u0041", "d\u0061": 7} "#;
        let [a, b, c, da, e] = pick(json, ["a", "b", "c", "da", "e"]).unwrap();
        assert_eq!((a, b, c, da, e), (Some(r#"{"x": [1, 2]}"#), None, Some(r#""\u0041""#), Some("7"), None));
        assert!(pick("[1]", ["a"]).is_err());
        assert!(pick(r#"{"a": 1} trailing"#, ["a"]).is_err());
    }

    #[test]
    fn lone_surrogates_and_nuls_are_cleaned() {
        let Scalar::Text(text) = scalar(r#""a\ud800b\u0000c""#) else { panic!() };
        assert!(text.cleaned);
        assert!(text.text.starts_with('a') && text.text.ends_with("bc"), "{text:?}");
        assert_eq!(scalar(r#""\u00e9\ud83d\ude00""#), Scalar::Text(CleanedText { text: "é😀".into(), cleaned: false }));
        assert!(pick(r#"{"\ud800": 1, "a": 2}"#, ["a"]).unwrap()[0] == Some("2"));
    }

    #[test]
    fn a_list_over_the_limit_is_told_from_a_broken_one() {
        assert_eq!(elements("[1, {\"a\": 2}]", 2).unwrap(), Some(vec!["1", "{\"a\": 2}"]));
        assert_eq!(elements("[1, 2, 3]", 2).unwrap(), None);
        assert!(elements("[1, 2, 3", 2).is_err());
        assert!(elements("{}", 2).is_err());
    }

    #[test]
    fn depth_counts_brackets_outside_text_only() {
        assert!(!is_deeper_than(r#"{"a": "[[[[", "b": "\"[[", "c": []}"#, 2));
        assert!(is_deeper_than("[[[]]]", 2));
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(is_deeper_than(pick(&deep, ["a"]).unwrap()[0].unwrap(), 64));
        // Around the chunks they are counted in.
        for depth in [1, 254, 255, 256, 509, 510, 511] {
            let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert!(!is_deeper_than(&json, depth) && is_deeper_than(&json, depth - 1), "{depth}");
        }
    }

    #[test]
    fn members_are_added_in_front() {
        assert_eq!(with_members(None, &[("a", "1")]).unwrap(), r#"{"a":1}"#);
        assert_eq!(with_members(Some("{ }"), &[("a", "1"), ("b", "2")]).unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(with_members(Some(r#"{"c": {}}"#), &[("a", "1")]).unwrap(), r#"{"a":1,"c": {}}"#);
        assert_eq!(with_members(None, &[]), None);
    }

    proptest! {
        #[test]
        fn text_reads_as_the_parser_reads_it(written in r#"([a-z"/ äé\u{7f}\u{2028}\u{1f600}]|\\[\\"/bfnrt]|\\u[0-9a-f]{4}){0,20}"#) {
            let json = format!("\"{}\"", written.replace('"', "'").replace("\\'", "\\\""));
            let Ok(whole) = whole(&json) else { return Ok(()) };
            let parsed = CleanText.deserialize(&mut serde_json::Deserializer::from_str(whole)).unwrap();
            prop_assert_eq!(text(whole), parsed);
        }

        #[test]
        fn text_without_nul_reads_as_serde_json_reads_it(text in "[^\0]{0,40}") {
            let json = serde_json::to_string(&text).unwrap();
            let Scalar::Text(read) = scalar(&json) else { panic!() };
            prop_assert_eq!(&*read.text, text.as_str());
            prop_assert!(!read.cleaned);
        }
    }
}

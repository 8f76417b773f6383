//! Whether a newer version of a schema may refuse what an older one took.
//!
//! In:      two JSON Schemas, of any draft.
//! Out:     the places where that may be, in words; none only if it can be shown that all that was taken still is.
//! Promise: sound, and no cleverer than it must be: keyword by keyword, each against the same one before. What it cannot show by
//!          that it says so; a person then raises the REVISION or the MODEL.
//!
//! A property that is newly described while others were let through unlooked-at is a case of its own (`Declared`): data that
//! nobody had described may hold it with any value. Iglu calls it an ADDITION all the same, and so do we.

use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Narrowing {
    /// Where in the newer schema; empty: at its root.
    pub pointer: String,
    pub detail: String,
    pub grade: Grade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    /// A property is described that was not, in an object that takes others.
    Declared,
    /// Something that was described and taken may be refused.
    Narrower,
}

/// Keywords that say nothing about whether a value is taken.
const ANNOTATIONS: &[&str] = &[
    "$schema",
    "$id",
    "id",
    "$comment",
    "$anchor",
    "$vocabulary",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "definitions",
    "$defs",
    "self",
];

/// Keywords that only mean something together: of each group all must be as they were, or none may be there now.
const GROUPS: &[&[&str]] = &[
    &["if", "then", "else"],
    &["contains", "minContains", "maxContains"],
    &["items", "prefixItems", "additionalItems"],
];

/// How deep schemas are followed; deeper ones must be equal.
const DEPTH_MAX: usize = 64;

pub(super) fn narrowings(old: &Value, new: &Value) -> Vec<Narrowing> {
    let mut found = Findings::default();
    let differs = |names: &[&str]| names.iter().any(|name| old.get(name) != new.get(name));
    if differs(&["$schema"]) {
        found.narrower("", "$schema changed: the same words mean something else in another draft");
    }
    // Draft 4 knows no `const`, and takes whatever it names.
    let is_four = old.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-04"));
    if is_four && old != new && (mentions(old, "const") || mentions(new, "const")) {
        found.narrower("", "const means nothing in draft 4: use enum with one value");
    }
    // What is referred to is not followed: it must be as it was, and where it can be found by looking.
    let refers = refers_beyond_the_root(new, true);
    if old != new && (refers == Some(true) || refers == Some(false) && differs(&["definitions", "$defs", "$id", "id"]))
    {
        found.narrower(
            "",
            "it refers to definitions, and they changed or lie elsewhere: cannot be shown to take all that was taken",
        );
    }
    compare(old, new, "", 0, &mut found);
    found.0
}

#[derive(Default)]
struct Findings(Vec<Narrowing>);

impl Findings {
    fn narrower(&mut self, pointer: &str, detail: impl Into<String>) {
        self.0.push(Narrowing { pointer: pointer.to_owned(), detail: detail.into(), grade: Grade::Narrower });
    }

    fn changed(&mut self, pointer: &str, keyword: &str) {
        self.narrower(&at(pointer, keyword), format!("{keyword} changed: cannot be shown to take all that was taken"));
    }
}

fn at(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Whether a schema refers to anything but its root's own definitions; `None`: it refers to nothing.
fn refers_beyond_the_root(schema: &Value, is_root: bool) -> Option<bool> {
    match schema {
        Value::Object(members) => {
            let own = members.iter().filter_map(|(name, value)| match name.as_str() {
                "$ref" => {
                    let parts: Vec<&str> = value.as_str().unwrap_or_default().split('/').collect();
                    Some(!matches!(parts[..], ["#", "definitions" | "$defs", _]))
                }
                // Another base for what is below.
                "$id" | "id" if !is_root && value.is_string() => Some(true),
                _ if name.ends_with("Ref") || name.ends_with("Anchor") || name == "$anchor" => Some(true),
                _ => refers_beyond_the_root(value, false),
            });
            own.reduce(|a, b| a || b)
        }
        Value::Array(elements) => {
            elements.iter().filter_map(|element| refers_beyond_the_root(element, false)).reduce(|a, b| a || b)
        }
        _ => None,
    }
}

fn mentions(schema: &Value, keyword: &str) -> bool {
    match schema {
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.starts_with(keyword) || mentions(value, keyword))
        }
        Value::Array(elements) => elements.iter().any(|element| mentions(element, keyword)),
        _ => false,
    }
}

/// A schema without what says nothing; `None`: it takes no value at all.
fn plain(schema: &Value) -> Option<Map<String, Value>> {
    match schema {
        Value::Bool(false) => None,
        Value::Object(members) => {
            let says = |name: &str| !ANNOTATIONS.contains(&name) && !name.starts_with("x-");
            Some(
                members
                    .iter()
                    .filter(|(name, _)| says(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )
        }
        _ => Some(Map::new()),
    }
}

fn compare(old: &Value, new: &Value, pointer: &str, depth: usize, found: &mut Findings) {
    let Some(old) = plain(old) else { return };
    let Some(new) = plain(new) else {
        found.narrower(pointer, "nothing is taken here now");
        return;
    };
    if old == new || new.is_empty() {
        return;
    }
    // Both look at everything around them.
    let is_whole = |schema: &Map<String, Value>| {
        schema.keys().any(|name| name.starts_with("unevaluated") || name == "$ref" || name.starts_with("$dynamic"))
    };
    if DEPTH_MAX <= depth || is_whole(&new) || is_whole(&old) {
        found.narrower(pointer, "changed where it refers to others or looks at what others leave: cannot be shown to take all that was taken");
        return;
    }
    for (keyword, value) in &new {
        if old.get(keyword) == Some(value) && !depends(keyword) || !touches(&old, keyword) {
            continue;
        }
        match keyword.as_str() {
            "type" => types(&old, value, pointer, found),
            "enum" | "const" => enumeration(&old, &new, keyword, pointer, found),
            "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum" => {
                bound(&old, keyword, value, pointer, found)
            }
            "minLength" | "minItems" | "minProperties" => {
                let before = old.get(keyword).and_then(Value::as_f64).unwrap_or(0.0);
                if value.as_f64().is_none_or(|now| before < now) {
                    found.narrower(&at(pointer, keyword), format!("{keyword} was {before}, is {value} now"));
                }
            }
            "maxLength" | "maxItems" | "maxProperties" => {
                let before = old.get(keyword).and_then(Value::as_f64);
                if before.is_none_or(|before| value.as_f64().is_none_or(|now| now < before)) {
                    found.narrower(
                        &at(pointer, keyword),
                        format!("{keyword} is {value} now, and was larger or not there"),
                    );
                }
            }
            "uniqueItems" if value == &Value::Bool(false) => {}
            "required" => {
                let before = old.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
                let added = value.as_array().into_iter().flatten().filter(|name| !before.contains(name));
                for name in added {
                    found.narrower(&at(pointer, keyword), format!("{name} is required now"));
                }
            }
            "properties" => properties(&old, value, pointer, depth, found),
            "additionalProperties" => others(&old, &new, value, pointer, depth, found),
            // A list of them is a group.
            "items"
                if value.is_object() && old.get("items").is_none_or(Value::is_object) && !has_prefix(&old, &new) =>
            {
                compare(old.get("items").unwrap_or(&Value::Bool(true)), value, &at(pointer, keyword), depth + 1, found);
            }
            _ => match GROUPS.iter().find(|group| group.contains(&keyword.as_str())) {
                Some(group) if group.iter().all(|name| old.get(*name) == new.get(*name)) => {}
                _ => found.changed(pointer, keyword),
            },
        }
    }
}

/// Whether a keyword's meaning hangs on others, so that being equal is not enough.
fn depends(keyword: &str) -> bool {
    keyword == "additionalProperties"
        || keyword.starts_with("exclusive")
        || GROUPS.iter().any(|group| group.contains(&keyword))
}

fn has_prefix(old: &Map<String, Value>, new: &Map<String, Value>) -> bool {
    ["prefixItems", "additionalItems"].iter().any(|name| old.contains_key(*name) || new.contains_key(*name))
}

/// Whether the older schema took values of the kind that a keyword looks at.
fn touches(old: &Map<String, Value>, keyword: &str) -> bool {
    let kinds: &[&str] = match keyword {
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => &["number", "integer"],
        "minLength" | "maxLength" | "pattern" | "format" => &["string"],
        "minItems" | "maxItems" | "uniqueItems" | "items" | "prefixItems" | "additionalItems" | "contains"
        | "minContains" | "maxContains" => &["array"],
        "minProperties"
        | "maxProperties"
        | "required"
        | "properties"
        | "patternProperties"
        | "additionalProperties"
        | "propertyNames"
        | "dependentRequired"
        | "dependentSchemas"
        | "dependencies" => &["object"],
        _ => return true,
    };
    kinds_of(old).is_none_or(|had| had.iter().any(|kind| kinds.contains(&kind.as_str())))
}

/// The kinds of value a schema takes at most; `None`: any.
fn kinds_of(schema: &Map<String, Value>) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match schema.get("type") {
        Some(Value::Array(kinds)) => return Some(kinds.iter().filter_map(text).collect()),
        Some(kind) => return Some(text(kind).into_iter().collect()),
        None => {}
    }
    values_of(schema).map(|values| values.iter().map(kind_of).map(str::to_owned).collect())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The values a schema takes at most, where it lists them.
fn values_of(schema: &Map<String, Value>) -> Option<Vec<Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    }
}

fn types(old: &Map<String, Value>, new: &Value, pointer: &str, found: &mut Findings) {
    let now: Vec<&str> = match new {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    let Some(before) = kinds_of(old) else {
        found.narrower(&at(pointer, "type"), format!("type was not said, is {new} now"));
        return;
    };
    let is_in = |kind: &String| now.contains(&kind.as_str()) || kind == "integer" && now.contains(&"number");
    let gone: Vec<&String> = before.iter().filter(|kind| !is_in(kind)).collect();
    if !gone.is_empty() {
        found.narrower(&at(pointer, "type"), format!("{gone:?} was taken, the type is {new} now"));
    }
}

fn enumeration(old: &Map<String, Value>, new: &Map<String, Value>, keyword: &str, pointer: &str, found: &mut Findings) {
    let now = match keyword {
        "const" => new.get("const").map(|value| vec![value.clone()]),
        _ => new.get("enum").and_then(Value::as_array).cloned(),
    };
    let (Some(before), Some(now)) = (values_of(old), now) else { return found.changed(pointer, keyword) };
    for value in before.iter().filter(|value| !now.contains(value)) {
        found.narrower(&at(pointer, keyword), format!("{value} is no longer taken"));
    }
}

/// * `keyword`: one of the four bounds of a number, of which the older schema may have had either of a side.
fn bound(old: &Map<String, Value>, keyword: &str, value: &Value, pointer: &str, found: &mut Findings) {
    let is_lower = keyword.ends_with("inimum");
    let (plain, exclusive) = if is_lower { ("minimum", "exclusiveMinimum") } else { ("maximum", "exclusiveMaximum") };
    // Draft 4 says with a boolean whether the other is meant without its end.
    // From there on two numbers may be one to a float.
    let exact = |value: &Value| value.as_f64().filter(|number| number.abs() < 9_007_199_254_740_992.0);
    let (Some(now), false) = (exact(value), old.get(exclusive).is_some_and(Value::is_boolean)) else {
        return found.changed(pointer, keyword);
    };
    let reaches = |before: f64, may_meet: bool| {
        let (inner, outer) = if is_lower { (before, now) } else { (now, before) };
        outer < inner || may_meet && outer == inner
    };
    let number = |name: &str| old.get(name).and_then(exact);
    let by_exclusive = number(exclusive).is_some_and(|before| reaches(before, true));
    let by_plain = number(plain).is_some_and(|before| reaches(before, keyword == plain));
    if !by_exclusive && !by_plain {
        found.narrower(&at(pointer, keyword), format!("{keyword} is {value} now, and was wider or not there"));
    }
}

fn takes_all(schema: &Value) -> bool {
    plain(schema).is_some_and(|schema| schema.is_empty())
}

/// What the older schema said of a property.
enum Before<'s> {
    Described(&'s Value),
    /// It let it through, whatever it was.
    Open,
    /// It refused it.
    Never,
    /// By patterns, which are not followed.
    Unclear,
}

fn before<'s>(old: &'s Map<String, Value>, name: &str) -> Before<'s> {
    if let Some(described) = old.get("properties").and_then(|properties| properties.get(name)) {
        return Before::Described(described);
    }
    if old
        .get("patternProperties")
        .is_some_and(|patterns| patterns.as_object().is_none_or(|patterns| !patterns.is_empty()))
    {
        return Before::Unclear;
    }
    match old.get("additionalProperties") {
        None => Before::Open,
        Some(Value::Bool(false)) => Before::Never,
        Some(schema) if takes_all(schema) => Before::Open,
        Some(schema) => Before::Described(schema),
    }
}

fn properties(old: &Map<String, Value>, new: &Value, pointer: &str, depth: usize, found: &mut Findings) {
    let pointer = at(pointer, "properties");
    for (name, schema) in new.as_object().into_iter().flatten() {
        let place = at(&pointer, name);
        match before(old, name) {
            Before::Described(described) => compare(described, schema, &place, depth + 1, found),
            Before::Never => {}
            _ if takes_all(schema) => {}
            Before::Open => found.0.push(Narrowing {
                detail: "newly described: what was sent there before, undescribed, may not fit".to_owned(),
                pointer: place,
                grade: Grade::Declared,
            }),
            Before::Unclear => {
                found.narrower(&place, "newly described beside patterns: cannot be shown to take all that was taken")
            }
        }
    }
}

/// What is said now of properties without a description of their own.
fn others(
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    value: &Value,
    pointer: &str,
    depth: usize,
    found: &mut Findings,
) {
    if takes_all(value) {
        return;
    }
    let place = at(pointer, "additionalProperties");
    if old.get("patternProperties") != new.get("patternProperties") {
        return found.narrower(
            &place,
            "it holds for other names, as patternProperties changed: cannot be shown to take all that was taken",
        );
    }
    let is_described = |name: &String| new.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let described = old.get("properties").and_then(Value::as_object);
    for (name, schema) in described.into_iter().flatten().filter(|(name, _)| !is_described(name)) {
        let mut of_name = Findings::default();
        compare(schema, value, &place, depth + 1, &mut of_name);
        if !of_name.0.is_empty() {
            found.narrower(&place, format!("{name:?} is no longer described, and others are not taken as it was"));
        }
    }
    compare(old.get("additionalProperties").unwrap_or(&Value::Bool(true)), value, &place, depth + 1, found);
}

#[cfg(test)]
mod tests;

//! The shape of a file of definitions, and what stands in it.
//!
//! In:      the text of TOML files.
//! Out:     entries as they were written, their SQL as trees.
//! Promise: a fault in one entry hides none in another. A key that means nothing is a fault: a slip must not change an answer
//!          without a word.
//! Not here: what one entry takes from another (`resolve.rs`).
//!
//! ```toml
//! [events.bought]
//! condition = "event_kind = 'conversion'"
//! description = "Paid for an order"
//!
//! [[channels]]                    # in one file; the first that holds counts, else the column `channel`
//! name = "newsletter"
//! condition = "utm_source = 'newsletter'"
//!
//! [segments.regulars]             # persons; `having` is over all events of one that meet `condition`
//! condition = "event('bought')"
//! having = "count(*) >= 3"
//!
//! [metrics.revenue]               # arguments of `metric`; so do funnels, retention, attribution, paths and experiments
//! measure = "sum(value)"
//! filter = "event('bought') AND currency = 'EUR'"
//! unit = "EUR"
//! ```

use datafusion::sql::sqlparser::ast::{Array, Expr, Value, ValueWithSpan};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::DeTable;

use super::Kind;
use crate::table_function::parse_expression;

/// One definition as it was written.
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) file: String,
    pub(super) said: Said,
}

pub(super) enum Said {
    Condition(Box<Expr>),
    /// Over the events of a person that meet the first, the second.
    Segment {
        condition: Option<Box<Expr>>,
        having: Option<Box<Expr>>,
    },
    Arguments(Vec<(String, Expr)>),
}

impl Entry {
    /// Where it stands, for a fault.
    pub(super) fn place(&self) -> String {
        place(&self.file, self.kind, &self.name)
    }
}

fn place(file: &str, kind: Kind, name: &str) -> String {
    format!("{file}: {}.{name}", kind.section())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventEntry {
    condition: String,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelRule {
    name: String,
    condition: String,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentEntry {
    condition: Option<String>,
    having: Option<String>,
    description: Option<String>,
}

/// Entries of all files in their order; what is wrong goes to `faults`.
pub(super) fn entries(files: &[(String, String)], faults: &mut Vec<String>) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut channels_in: Option<&str> = None;
    for (file, text) in files {
        // Every place that is no TOML, not the first alone; what stands around them cannot be relied on.
        let (_, errors) = DeTable::parse_recoverable(text);
        faults.extend(errors.iter().map(|error| not_toml(file, text, error)));
        if !errors.is_empty() {
            continue;
        }
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                faults.push(not_toml(file, text, &error));
                continue;
            }
        };
        for (section, value) in table {
            let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.section() == section) else {
                let known = Kind::ALL.map(Kind::section).join(", ");
                faults.push(format!("{file}: {section}: nothing is called so; there are {known}"));
                continue;
            };
            if kind == Kind::Channel {
                // Which of two files' rules comes first would be told by their names only.
                if let Some(other) = channels_in {
                    faults.push(format!(
                        "{file}: channels: {other} has rules too; their order counts, so keep them in one file"
                    ));
                    continue;
                }
                channels_in = Some(file);
                channels(file, value, &mut entries, faults);
                continue;
            }
            let toml::Value::Table(named) = value else {
                faults.push(format!("{file}: {section}: write [{section}.NAME] above the keys of one"));
                continue;
            };
            for (name, value) in named {
                match said(kind, value) {
                    Ok((said, description)) => {
                        entries.push(Entry { kind, name, description, file: file.clone(), said });
                    }
                    Err(fault) => faults.push(format!("{}: {fault}", place(file, kind, &name))),
                }
            }
        }
    }
    entries
}

/// * `error`: of the text as a whole.
fn not_toml(file: &str, text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
    format!("{file}: expected TOML in line {line}: {}", error.message())
}

fn channels(file: &str, value: toml::Value, entries: &mut Vec<Entry>, faults: &mut Vec<String>) {
    let toml::Value::Array(rules) = value else {
        faults.push(format!("{file}: channels: write [[channels]] above each rule, with name and condition"));
        return;
    };
    for (index, rule) in rules.into_iter().enumerate() {
        let read = read::<ChannelRule>(rule).and_then(|rule| {
            let condition = expression("condition", &rule.condition)?;
            Ok((rule.name, condition, rule.description))
        });
        match read {
            Ok((name, condition, description)) => {
                let said = Said::Condition(condition);
                entries.push(Entry { kind: Kind::Channel, name, description, file: file.to_owned(), said });
            }
            Err(fault) => faults.push(format!("{file}: channels, rule {}: {fault}", index + 1)),
        }
    }
}

fn said(kind: Kind, value: toml::Value) -> Result<(Said, Option<String>), String> {
    Ok(match kind {
        Kind::Event | Kind::Channel => {
            let entry = read::<EventEntry>(value)?;
            (Said::Condition(expression("condition", &entry.condition)?), entry.description)
        }
        Kind::Segment => {
            let entry = read::<SegmentEntry>(value)?;
            let maybe = |name: &str, text: Option<String>| text.map(|text| expression(name, &text)).transpose();
            let condition = maybe("condition", entry.condition)?;
            let having = maybe("having", entry.having)?;
            if condition.is_none() && having.is_none() {
                return Err("it has neither condition nor having: everybody would be in it; give one".to_owned());
            }
            (Said::Segment { condition, having }, entry.description)
        }
        _ => {
            let toml::Value::Table(mut table) = value else { return Err("expected keys and values".to_owned()) };
            let description = match table.remove("description") {
                None => None,
                Some(toml::Value::String(text)) => Some(text),
                Some(other) => return Err(format!("description is {other}: expected text")),
            };
            let argument = |(name, value): (String, toml::Value)| {
                let value = literal(&value).map_err(|fault| format!("{name}: {fault}"))?;
                Ok((name, value))
            };
            let arguments = table.into_iter().map(argument).collect::<Result<_, String>>()?;
            (Said::Arguments(arguments), description)
        }
    })
}

fn read<T: DeserializeOwned>(value: toml::Value) -> Result<T, String> {
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

fn expression(name: &str, text: &str) -> Result<Box<Expr>, String> {
    parse_expression(text).map(Box::new).map_err(|reason| format!("{name}: {reason}"))
}

/// As it would stand in a call. Conditions are text there too.
fn literal(value: &toml::Value) -> Result<Expr, String> {
    let plain = |value: Value| Expr::Value(ValueWithSpan::from(value));
    Ok(match value {
        // TOML has no word for it, and `window => NULL` is not the same as no window given.
        toml::Value::String(text) if text == "NULL" => plain(Value::Null),
        toml::Value::String(text) => plain(Value::SingleQuotedString(text.clone())),
        toml::Value::Integer(number) => plain(Value::Number(number.to_string(), false)),
        toml::Value::Float(number) => plain(Value::Number(number.to_string(), false)),
        toml::Value::Boolean(flag) => plain(Value::Boolean(*flag)),
        toml::Value::Datetime(time) => plain(Value::SingleQuotedString(time.to_string())),
        toml::Value::Array(values) => {
            Expr::Array(Array { elem: values.iter().map(literal).collect::<Result<_, _>>()?, named: false })
        }
        toml::Value::Table(_) => return Err("a table means nothing here: give text, a number or a list".to_owned()),
    })
}

//! Mappings: which columns become which fields of an event.
//!
//! In:       a TOML text whose `[event]` table mirrors a Segment event, with templates for values.
//! Out:      a mapper from row to event.
//! Promise:  every fault of a mapping, and every column it names that the file lacks, is told before a row is read.
//! Not here: how rows are read; `docs/import.md` is the user's side of this file.

use std::collections::BTreeMap;

use encoding_rs::Encoding;
use serde::Deserialize;
use serde_json::Value;
use tributary_schemas::EventKind;

use super::amount::Marks;
use super::encoding;
use super::kept;
use super::kinds::{Kinds, all_kinds};
use super::mapper::{Fields, Mapper};
use super::row::Columns;
use super::template::Template;
use super::time::Times;

/// A mapping as read; the default one takes columns named like Segment's fields as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub(crate) file: FileShape,
    times: Times,
    kinds: Kinds,
    event: Option<Node>,
}

/// How a file is written, where the mapping says so; the rest is found in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileShape {
    /// Between the cells of a line.
    pub(crate) delimiter: Option<u8>,
    pub(crate) encoding: Option<&'static Encoding>,
}

/// The table `[file]` as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FileTable {
    delimiter: Option<char>,
    encoding: Option<String>,
    time_format: Option<OneOrMore>,
    time_zone: Option<String>,
    decimal: Option<char>,
    thousands: Option<char>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Fixed(Value),
    Template(Template),
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    #[serde(default)]
    file: FileTable,
    #[serde(default)]
    kinds: BTreeMap<String, Vec<String>>,
    event: Option<toml::Table>,
}

impl Mapping {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let MappingFile { file, kinds, event } = toml::from_str(text)?;
        let mut faults = Vec::new();
        if let Some(delimiter) = file.delimiter.filter(|delimiter| !delimiter.is_ascii()) {
            faults.push(format!("file.delimiter is {delimiter:?}; it must be one ASCII character"));
        }
        let encoding = file.encoding.as_deref().map(encoding::named).transpose().map_err(|fault| faults.push(fault));
        let formats = match file.time_format {
            None => Vec::new(),
            Some(OneOrMore::One(format)) => vec![format],
            Some(OneOrMore::More(formats)) => formats,
        };
        let times = Times::stated(formats, file.time_zone.as_deref()).map_err(|told| faults.extend(told));
        let marks = Marks::stated(file.decimal, file.thousands).map_err(|told| faults.extend(told));
        let kinds = Kinds::stated(kinds).map_err(|told| faults.extend(told));
        let event = event.map(|event| event_node(event, marks.unwrap_or_default(), &mut faults));
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        let delimiter = file.delimiter.and_then(|delimiter| u8::try_from(delimiter).ok());
        let file = FileShape { delimiter, encoding: encoding.unwrap_or_default() };
        Ok(Self { file, times: times.unwrap_or_default(), kinds: kinds.unwrap_or_default(), event })
    }

    /// Fits the mapping to a file. `columns`: of table-shaped files; `file_name` becomes part of message ids.
    pub(crate) fn for_columns(self, columns: Option<&Columns>, file_name: &str) -> anyhow::Result<Mapper> {
        let mut not_kept = Vec::new();
        let fields = match (self.event, columns) {
            (Some(event), columns) => {
                if let Some(columns) = columns {
                    let mut missing = Vec::new();
                    missing_columns(&event, columns, &mut missing);
                    anyhow::ensure!(
                        missing.is_empty(),
                        "the mapping names columns the file does not have: {}; it has: {}{}",
                        missing.join(", "),
                        columns.names().join(", "),
                        other_delimiter(columns.names())
                    );
                }
                Fields::Mapped(event)
            }
            (None, Some(columns)) => {
                let event = by_name(columns)?;
                let mut paths = Vec::new();
                leaves(&event, "", &mut paths);
                // A file with a column too many is no fault of a mapping: it is told, and the rest is taken.
                not_kept = kept::lost(&paths, None)
                    .iter()
                    .map(|fault| fault.split(':').next().unwrap_or(fault).to_owned())
                    .collect();
                Fields::Mapped(event)
            }
            (None, None) => Fields::AsTheyAre,
        };
        let money = match &fields {
            Fields::Mapped(event) => money_columns(event),
            Fields::AsTheyAre => Vec::new(),
        };
        Ok(Mapper { fields, times: self.times, kinds: self.kinds, money, not_kept, file_name: file_name.to_owned() })
    }
}

/// The table `[event]`, with a fault for each field that is none and each that would be lost.
fn event_node(table: toml::Table, marks: Marks, faults: &mut Vec<String>) -> Node {
    let fields = [TOP_FIELDS, OTHER_FIELDS].concat();
    for name in table.keys().filter(|name| !fields.contains(&name.as_str())) {
        faults.push(format!("event.{name} is no field of an event; there are: {}", fields.join(", ")));
    }
    let event = node("event", &toml::Value::Table(table), marks, faults);
    let mut paths = Vec::new();
    leaves(&event, "", &mut paths);
    let fixed = |path: &[&str]| match at(&event, path) {
        Some(Node::Template(template)) => template.fixed(),
        _ => None,
    };
    let call = match at(&event, &["type"]) {
        None => Some("track"),
        Some(_) => fixed(&["type"]),
    };
    faults.extend(kept::lost(&paths, call));
    if let Some(kind) = fixed(&["context", "tributary", "kind"])
        && EventKind::parse(kind).is_none()
    {
        faults.push(format!("event.context.tributary.kind: {kind:?} is no kind of event; there are: {}", all_kinds()));
    }
    event
}

/// Where a field stands.
pub(super) fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
    let [first, rest @ ..] = path else { return Some(node) };
    let Node::Table(fields) = node else { return None };
    at(&fields.iter().find(|(name, _)| name == first)?.1, rest)
}

/// The path of each value, from the event on.
fn leaves(node: &Node, path: &str, paths: &mut Vec<String>) {
    match node {
        Node::Fixed(_) | Node::Template(_) => paths.push(path.to_owned()),
        Node::Table(fields) => {
            for (name, node) in fields {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(node, &below, paths);
            }
        }
        Node::List(items) => {
            for (index, node) in items.iter().enumerate() {
                leaves(node, &format!("{path}[{index}]"), paths);
            }
        }
    }
}

/// The columns that the event's amounts are taken from: a sign in one must not gainsay the currency.
fn money_columns(event: &Node) -> Vec<String> {
    let templates = MONEY.iter().filter_map(|name| match at(event, &["properties", name]) {
        Some(Node::Template(template)) => Some(template),
        _ => None,
    });
    templates.flat_map(Template::columns).map(str::to_owned).collect()
}

/// A hint, where all columns came as one.
fn other_delimiter(names: &[String]) -> String {
    let [name] = names else { return String::new() };
    let between = [';', '\t', '|'].into_iter().find(|delimiter| name.contains(*delimiter));
    between.map_or_else(String::new, |delimiter| {
        format!(
            "; if {delimiter:?} stands between them, write delimiter = \"{}\" below [file] into the mapping",
            delimiter.escape_default()
        )
    })
}

fn node(path: &str, value: &toml::Value, marks: Marks, faults: &mut Vec<String>) -> Node {
    match value {
        toml::Value::String(text) => match Template::parse(text, marks) {
            Ok(template) if is_money(path, marks) => Node::Template(template.of_money(marks)),
            Ok(template) => Node::Template(template),
            Err(why) => {
                faults.push(format!("{path}: {why}"));
                Node::Fixed(Value::Null)
            }
        },
        toml::Value::Integer(number) => Node::Fixed((*number).into()),
        toml::Value::Float(number) => Node::Fixed((*number).into()),
        toml::Value::Boolean(value) => Node::Fixed((*value).into()),
        toml::Value::Datetime(time) => Node::Fixed(time.to_string().into()),
        toml::Value::Array(items) => {
            let item = |(index, item)| node(&format!("{path}[{index}]"), item, marks, faults);
            Node::List(items.iter().enumerate().map(item).collect())
        }
        toml::Value::Table(table) => {
            let field = |(key, value): (&String, &toml::Value)| {
                (key.clone(), node(&format!("{path}.{key}"), value, marks, faults))
            };
            Node::Table(table.iter().map(field).collect())
        }
    }
}

/// The properties the door reads an amount from, in its order.
const MONEY: [&str; 3] = ["revenue", "total", "value"];

/// Whether what stands at this path is money: `value` may be a word too, and is money only where marks are stated.
fn is_money(path: &str, marks: Marks) -> bool {
    path.strip_prefix("event.properties.").is_some_and(|name| match name {
        "value" => marks != Marks::default(),
        name => MONEY.contains(&name),
    })
}

fn missing_columns(node: &Node, columns: &Columns, missing: &mut Vec<String>) {
    match node {
        Node::Fixed(_) => {}
        Node::Template(template) => {
            for name in template.columns() {
                if columns.position(name).is_none() && !missing.iter().any(|other| other == name) {
                    missing.push(name.to_owned());
                }
            }
        }
        Node::Table(fields) => fields.iter().for_each(|(_, node)| missing_columns(node, columns, missing)),
        Node::List(items) => items.iter().for_each(|node| missing_columns(node, columns, missing)),
    }
}

/// The fields of a Segment event that may stand at its top.
const TOP_FIELDS: &[&str] =
    &["type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp"];

/// What else of an event a mapping may fill.
const OTHER_FIELDS: &[&str] = &["category", "channel", "properties", "traits", "context"];

/// The mapping for a table without one: Segment's own names, dots leading into objects; any other column is a
/// property.
fn by_name(columns: &Columns) -> anyhow::Result<Node> {
    anyhow::ensure!(
        ["anonymousId", "userId"].iter().any(|id| columns.position(id).is_some()),
        "no column is called anonymousId or userId (the columns are: {}); the same command with --propose=mapping.toml writes a \
         first mapping: look it through, then give it with --mapping mapping.toml",
        columns.names().join(", ")
    );
    let mut top = Vec::new();
    let mut clashes = Vec::new();
    for name in columns.names() {
        let path: Vec<&str> = match name.split_once('.') {
            Some(("properties" | "traits" | "context", _)) => name.split('.').collect(),
            _ if TOP_FIELDS.contains(&name.as_str()) => vec![name],
            _ => vec!["properties", name],
        };
        // Braces of a column's name mean nothing here, so the template is made whole, not parsed.
        if !put(&mut top, &path, Node::Template(Template::of_column(name))) {
            clashes.push(format!("{name:?}"));
        }
    }
    anyhow::ensure!(
        clashes.is_empty(),
        "these columns stand for a field that another column stands for too, or for a part of it: {}; rename them, or \
         write a mapping file and give it with --mapping: docs/import.md",
        clashes.join(", ")
    );
    Ok(Node::Table(top))
}

/// Whether there was room: no field, and no object of that name, stood at the end of the path or on the way.
fn put(table: &mut Vec<(String, Node)>, path: &[&str], leaf: Node) -> bool {
    let [first, rest @ ..] = path else { return false };
    let index = table.iter().position(|(key, _)| key == first);
    match (index, rest.is_empty()) {
        (Some(_), true) => false,
        (None, true) => {
            table.push(((*first).to_owned(), leaf));
            true
        }
        (index, false) => {
            let index = index.unwrap_or_else(|| {
                table.push(((*first).to_owned(), Node::Table(Vec::new())));
                table.len() - 1
            });
            match &mut table[index].1 {
                Node::Table(inner) => put(inner, rest, leaf),
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::made::{columns, row};
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_that_is_no_field_is_told() {
        let told =
            Mapping::parse("[event]\nusrId = '{a}'\n[event.propertis]\nrevenue = '{b}'\n").unwrap_err().to_string();
        assert!(told.contains("event.usrId") && told.contains("event.propertis") && told.contains("userId"), "{told}");
    }

    #[test]
    fn columns_that_came_as_one_are_told_with_the_delimiter_that_may_be_meant() {
        let told = |names: &[&str]| {
            let mapping = Mapping::parse("[event]\nuserId = '{who}'\n").unwrap();
            mapping.for_columns(Some(&columns(names)), "f.csv").err().unwrap().to_string()
        };
        assert!(told(&["who;day"]).ends_with(r#"write delimiter = ";" below [file] into the mapping"#));
        assert!(told(&["who\tday"]).ends_with(r#"write delimiter = "\t" below [file] into the mapping"#));
        assert!(told(&["day"]).ends_with("it has: day") && told(&["a;b", "day"]).ends_with("it has: a;b, day"));
    }

    #[test]
    fn a_field_that_the_door_would_not_keep_is_told() {
        let told =
            Mapping::parse("[event]\nuserId = '{a}'\n[event.context.traits]\nemail = '{b}'\n").unwrap_err().to_string();
        assert!(told.contains("event.context.traits.email would not be kept"), "{told}");
        let identify = "[event]\ntype = 'identify'\nuserId = '{a}'\n[event.context.traits]\nemail = '{b}'\n";
        assert!(Mapping::parse(identify).is_ok());
        let told = Mapping::parse("[event]\nuserId = '{a}'\n[event.context.tributary]\nkind = 'sale'\n")
            .unwrap_err()
            .to_string();
        assert!(told.contains("\"sale\" is no kind"), "{told}");
        // Of a file without a mapping the rest is taken, and this is said.
        let columns = columns(&["userId", "context.app.name", "context.page.url"]);
        let mapper = Mapping::default().for_columns(Some(&columns), "f.csv").unwrap();
        assert_eq!(mapper.not_kept(), ["event.context.app.name would not be kept"]);
    }

    #[test]
    fn faults_of_the_file_table_are_told_together() {
        let told = Mapping::parse(
            "[file]\ntime_format = '%d.%m'\ntime_zone = 'Berlin'\ndecimal = ';'\nencoding = 'ebcdic'\n[kinds]\nsale = ['K']\n",
        )
        .unwrap_err()
        .to_string();
        for words in ["time_format", "time_zone", "file.decimal", "file.encoding", "kinds.sale"] {
            assert!(told.contains(words), "{words}: {told}");
        }
    }

    #[test]
    fn columns_named_like_segment_fields_need_no_mapping() {
        let columns = columns(&["userId", "event", "properties.price", "context.page.url", "colour"]);
        let mapper = Mapping::default().for_columns(Some(&columns), "f").unwrap();
        let event = mapper.event(&row(&columns, &["u1", "Buy", "3", "https://x/", "red"])).unwrap().json;
        assert_eq!(event["type"], "track");
        assert_eq!(event["properties"], json!({"price": "3", "colour": "red"}));
        assert_eq!(event["context"]["page"]["url"], "https://x/");
    }

    #[test]
    fn columns_that_want_the_same_field_are_refused_not_lost() {
        for names in [
            ["userId", "properties.a", "properties.a.b"],
            ["userId", "properties.a.b", "properties.a"],
            ["userId", "colour", "properties.colour"],
        ] {
            let told = Mapping::default().for_columns(Some(&columns(&names)), "f").err().unwrap().to_string();
            assert!(told.contains(&format!("{:?}", names[2])), "{told}");
        }
    }

    #[test]
    fn all_faults_of_a_mapping_are_told_together() {
        let error = Mapping::parse("[event]\na = '{x'\nb = '{y:what}'\n").unwrap_err().to_string();
        assert!(error.contains("event.a") && error.contains("event.b"), "{error}");
        let mapping = Mapping::parse("[event]\nuserId = '{who}'\nevent = '{what}'\n").unwrap();
        let error = mapping.for_columns(Some(&columns(&["a", "b"])), "f").err().unwrap().to_string();
        assert!(error.contains("what, who") && error.contains("a, b"), "{error}");
    }
}

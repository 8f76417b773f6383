//! Mappings: which columns become which fields of an event.
//!
//! In:       a TOML text whose `[event]` table mirrors a Segment event, with templates for values.
//! Out:      a mapper from row to event.
//! Promise:  every fault of a mapping, and every column it names that the file lacks, is told before a row is read.
//! Not here: how rows are read; `docs/import.md` is the user's side of this file.

use serde::Deserialize;
use serde_json::{Map, Value};
use tributary_schemas::{Money, currency};

use super::row::{Body, Columns, Row, content_hash};
use super::template::Template;
use super::time;

/// A mapping as read; the default one takes columns named like Segment's fields as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping {
    pub(crate) file: FileShape,
    event: Option<Node>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileShape {
    /// One character between the cells of a line.
    pub(crate) delimiter: char,
}

impl Default for FileShape {
    fn default() -> Self {
        Self { delimiter: ',' }
    }
}

#[derive(Debug, Clone)]
enum Node {
    Fixed(Value),
    Template(Template),
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MappingFile {
    #[serde(default)]
    file: FileShape,
    event: toml::Table,
}

/// An event ready for the door.
#[derive(Debug)]
pub(crate) struct MappedEvent {
    pub(crate) line: u64,
    pub(crate) json: Value,
    /// `None` when the row carries no time: the door then takes the time of receipt.
    pub(crate) time_us: Option<i64>,
}

impl Mapping {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let file: MappingFile = toml::from_str(text)?;
        anyhow::ensure!(
            file.file.delimiter.is_ascii(),
            "file.delimiter is {:?}; it must be one ASCII character",
            file.file.delimiter
        );
        let mut faults = Vec::new();
        let fields = [TOP_FIELDS, OTHER_FIELDS].concat();
        for name in file.event.keys().filter(|name| !fields.contains(&name.as_str())) {
            faults.push(format!("event.{name} is no field of an event; there are: {}", fields.join(", ")));
        }
        let event = node("event", &toml::Value::Table(file.event), &mut faults);
        anyhow::ensure!(faults.is_empty(), "{}", faults.join("\n"));
        Ok(Self { file: file.file, event: Some(event) })
    }

    /// Fits the mapping to a file. `columns`: of table-shaped files; `file_name` becomes part of message ids.
    pub(crate) fn for_columns(self, columns: Option<&Columns>, file_name: &str) -> anyhow::Result<Mapper> {
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
            (None, Some(columns)) => Fields::Mapped(by_name(columns)?),
            (None, None) => Fields::AsTheyAre,
        };
        Ok(Mapper { fields, file_name: file_name.to_owned() })
    }
}

/// Makes events of the rows of one file.
pub(crate) struct Mapper {
    fields: Fields,
    file_name: String,
}

enum Fields {
    Mapped(Node),
    AsTheyAre,
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

impl Mapper {
    /// The event of a row, or why there is none.
    pub(crate) fn event(&self, row: &Row) -> Result<MappedEvent, String> {
        let mut event = match (&self.fields, &row.body) {
            (Fields::Mapped(node), _) => match fill(node, row)? {
                Some(Value::Object(event)) => event,
                _ => Map::new(),
            },
            (Fields::AsTheyAre, Body::Object(object)) => object.clone(),
            (Fields::AsTheyAre, Body::Cells { .. }) => unreachable!("table-shaped files are mapped by name"),
        };
        if !["anonymousId", "userId"].iter().any(|id| event.get(*id).is_some_and(|id| !id.is_null())) {
            return Err("it names nobody: both anonymousId and userId are empty".to_owned());
        }
        check_money(&event)?;
        event.entry("type").or_insert_with(|| "track".into());
        let time_us = match event.get("timestamp") {
            Some(Value::String(text)) => Some(time::read(text).map_err(|why| format!("timestamp: {why}"))?),
            Some(Value::Null) | None => None,
            Some(other) => {
                return Err(format!("timestamp: {other} is no time; in a mapping, write {{column:unix_ms}}"));
            }
        };
        if let Some(time_us) = time_us {
            let shown = time::show(time_us).ok_or("timestamp: it lies outside the years 1 to 9999")?;
            event.insert("timestamp".to_owned(), Value::String(shown));
        }
        // The name of the file, the number of the row and its content: the same in a second run, and another one
        // for the same row in another file. A row that is corrected, or moved by a line above it, is a new event; a
        // row that another mapping makes other fields of is the same id with other content.
        if event.get("messageId").is_none_or(Value::is_null) {
            let hash = content_hash(&[self.file_name.as_bytes(), &row.content_hash.to_le_bytes()]);
            event.insert("messageId".to_owned(), Value::String(format!("import-{hash:016x}-{}", row.line)));
        }
        Ok(MappedEvent { line: row.line, json: Value::Object(event), time_us })
    }
}

fn node(path: &str, value: &toml::Value, faults: &mut Vec<String>) -> Node {
    match value {
        toml::Value::String(text) => match Template::parse(text) {
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
            let item = |(index, item)| node(&format!("{path}[{index}]"), item, faults);
            Node::List(items.iter().enumerate().map(item).collect())
        }
        toml::Value::Table(table) => {
            let field =
                |(key, value): (&String, &toml::Value)| (key.clone(), node(&format!("{path}.{key}"), value, faults));
            Node::Table(table.iter().map(field).collect())
        }
    }
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

fn fill(node: &Node, row: &Row) -> Result<Option<Value>, String> {
    match node {
        Node::Fixed(value) => Ok(Some(value.clone())),
        Node::Template(template) => template.fill(row),
        Node::Table(fields) => {
            let mut object = Map::new();
            for (key, node) in fields {
                if let Some(value) = fill(node, row)? {
                    object.insert(key.clone(), value);
                }
            }
            Ok((!object.is_empty()).then_some(Value::Object(object)))
        }
        Node::List(items) => {
            let mut list = Vec::new();
            for item in items {
                list.extend(fill(item, row)?);
            }
            Ok(Some(Value::Array(list)))
        }
    }
}

/// The fields of a Segment event that may stand at its top.
const TOP_FIELDS: &[&str] =
    &["type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "messageId", "timestamp"];

/// What else of an event a mapping may fill.
const OTHER_FIELDS: &[&str] = &["category", "channel", "properties", "traits", "context"];

/// What a person would want to be told of a row, and not of a click: amounts that the door would leave unread.
fn check_money(event: &Map<String, Value>) -> Result<(), String> {
    let said = |name: &str| match event.get("properties")?.get(name)? {
        Value::String(text) => Some(text.clone()).filter(|text| !text.trim().is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    for name in ["revenue", "total"] {
        if let Some(text) = said(name) {
            Money::parse(&text).map_err(|error| format!("properties.{name}: {error}"))?;
        }
    }
    match said("currency") {
        Some(code) if currency(&code).is_none() => {
            Err(format!("properties.currency: {code:?} is no currency; give three letters such as EUR"))
        }
        _ => Ok(()),
    }
}

/// The mapping for a table without one: Segment's own names, dots leading into objects; any other column is a
/// property.
fn by_name(columns: &Columns) -> anyhow::Result<Node> {
    anyhow::ensure!(
        ["anonymousId", "userId"].iter().any(|id| columns.position(id).is_some()),
        "no column is called anonymousId or userId (the columns are: {}); write a mapping file and give it with \
         --mapping: docs/import.md",
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
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn columns(names: &[&str]) -> Arc<Columns> {
        Arc::new(Columns::new(names.iter().map(|name| (*name).to_owned()).collect()))
    }

    fn row(columns: &Arc<Columns>, cells: &[&str]) -> Row {
        let cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
        Row { line: 2, content_hash: 42, body: Body::Cells { columns: columns.clone(), cells } }
    }

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
    fn an_amount_that_is_none_rejects_its_row() {
        let mapping = Mapping::parse("[event]\nuserId = 'u'\n[event.properties]\nrevenue = '{r}'\ncurrency = '{c}'\n");
        let columns = columns(&["r", "c"]);
        let mapper = mapping.unwrap().for_columns(Some(&columns), "f.csv").unwrap();
        let told = |cells: &[&str]| mapper.event(&row(&columns, cells)).map(drop);
        for good in [["12.50", "eur"], ["-3", ""], ["", "EUR"]] {
            assert_eq!(told(&good), Ok(()), "{good:?}");
        }
        for bad in [["12,50", "EUR"], ["1.234.567", ""], ["1e30", ""], ["5", "Euro"]] {
            assert!(told(&bad).is_err_and(|why| why.starts_with("properties.")), "{bad:?}");
        }
    }

    #[test]
    fn a_mapping_fills_a_segment_event() {
        let mapping = Mapping::parse(
            "[event]\ntype = 'page'\nanonymousId = '{session ID}'\ntimestamp = '{y}-{m:02}-01 + {n}s'\n\
             [event.properties]\nprice = '{price:number}'\nempty = '{none}'\n[event.context.page]\npath = '/{m}'\n",
        )
        .unwrap();
        let columns = columns(&["session ID", "y", "m", "n", "price", "none"]);
        let mapper = mapping.for_columns(Some(&columns), "f.csv").unwrap();
        let event = mapper.event(&row(&columns, &["7", "2008", "4", "3", "28", ""])).unwrap();
        let message_id = event.json["messageId"].clone();
        assert_eq!(
            event.json,
            json!({
                "type": "page", "anonymousId": "7", "timestamp": "2008-04-01T00:00:03Z", "messageId": message_id,
                "properties": {"price": 28}, "context": {"page": {"path": "/4"}},
            })
        );
        assert_eq!(event.time_us, Some(1_207_008_003_000_000));
    }

    #[test]
    fn message_ids_are_the_same_in_every_run_and_other_in_another_file() {
        let columns = columns(&["userId"]);
        let id = |file: &str| {
            let mapper = Mapping::default().for_columns(Some(&columns), file).unwrap();
            mapper.event(&row(&columns, &["u"])).unwrap().json["messageId"].clone()
        };
        assert_eq!(id("a.csv"), id("a.csv"));
        assert_ne!(id("a.csv"), id("b.csv"));
        // Pinned: a change here would double every event of files imported before it.
        assert_eq!(id("a.csv"), json!("import-6bdeb6dc189e381a-2"));
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

    #[test]
    fn a_row_without_anyone_or_with_a_strange_time_is_refused() {
        let columns = columns(&["userId", "timestamp"]);
        let mapper = Mapping::default().for_columns(Some(&columns), "f").unwrap();
        assert!(mapper.event(&row(&columns, &["", "2026-01-01"])).unwrap_err().contains("names nobody"));
        assert!(mapper.event(&row(&columns, &["u", "soon"])).unwrap_err().contains("timestamp"));
    }
}

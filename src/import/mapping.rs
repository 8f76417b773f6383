//! Mappings: which columns become which fields of an event.
//!
//! In:       a TOML text whose `[event]` table mirrors a Segment event, with templates for values.
//! Out:      a mapper from row to event.
//! Promise:  every fault of a mapping, and every column it names that the file lacks, is told before a row is read.
//! Not here: how rows are read; `docs/import.md` is the user's side of this file.

use std::collections::BTreeMap;

use encoding_rs::Encoding;
use serde::Deserialize;
use serde_json::{Map, Value};
use tributary_schemas::{EventKind, Money, currency};

use super::amount::{self, Marks};
use super::encoding;
use super::kept;
use super::kinds::{Kinds, all_kinds};
use super::row::{Body, Columns, Row, content_hash};
use super::template::Template;
use super::time::{self, Guess, Times};

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
    file: FileTable,
    #[serde(default)]
    kinds: BTreeMap<String, Vec<String>>,
    event: Option<toml::Table>,
}

/// An event ready for the door.
#[derive(Debug)]
pub(crate) struct MappedEvent {
    pub(crate) line: u64,
    pub(crate) json: Value,
    /// `None` when the row carries no time: the door then takes the time of receipt.
    pub(crate) time_us: Option<i64>,
    /// Its clock time says no zone, and neither does the mapping.
    pub(crate) unzoned: bool,
    /// Its clock time was there twice, or never, when the clocks were changed.
    pub(crate) clock_change: bool,
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
fn at<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Node> {
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

/// Makes events of the rows of one file.
pub(crate) struct Mapper {
    fields: Fields,
    times: Times,
    kinds: Kinds,
    money: Vec<String>,
    /// Columns of a file without a mapping that the door has no place for.
    not_kept: Vec<String>,
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
    /// Finds how the times of these rows are written; an error when they can be read in two ways.
    pub(crate) fn guess_times<'r>(&mut self, rows: impl Iterator<Item = &'r Row>) -> Result<Option<Guess>, String> {
        let timestamp = |row: &Row| match (&self.fields, &row.body) {
            (Fields::Mapped(event), _) => fill(at(event, &["timestamp"])?, row).ok()?,
            (Fields::AsTheyAre, Body::Object(object)) => object.get("timestamp").cloned(),
            (Fields::AsTheyAre, Body::Cells { .. }) => None,
        };
        let samples: Vec<(u64, String)> = rows
            .filter_map(|row| match timestamp(row)? {
                Value::String(text) => Some((row.line, text)),
                _ => None,
            })
            .collect();
        self.times.guess(&samples)
    }

    /// What to tell about the mapping itself, before and after the rows.
    pub(crate) fn not_kept(&self) -> &[String] {
        &self.not_kept
    }

    /// Names of `[kinds]` that no row had.
    pub(crate) fn kinds_unseen(&self) -> Vec<String> {
        self.kinds.unseen()
    }

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
        self.check_currency(&event, row)?;
        event.entry("type").or_insert_with(|| "track".into());
        self.put_kind(&mut event);
        let read = match event.get("timestamp") {
            Some(Value::String(text)) => Some(self.times.read(text).map_err(|why| format!("timestamp: {why}"))?),
            Some(Value::Null) | None => None,
            Some(other) => {
                return Err(format!("timestamp: {other} is no time; in a mapping, write {{column:unix_ms}}"));
            }
        };
        if let Some(read) = read {
            let shown = time::show(read.time_us).ok_or("timestamp: it lies outside the years 1 to 9999")?;
            event.insert("timestamp".to_owned(), Value::String(shown));
        }
        // The name of the file, the number of the row and its content: the same in a second run, and another one
        // for the same row in another file. A row that is corrected, or moved by a line above it, is a new event; a
        // row that another mapping makes other fields of is the same id with other content.
        if event.get("messageId").is_none_or(Value::is_null) {
            let hash = content_hash(&[self.file_name.as_bytes(), &row.content_hash.to_le_bytes()]);
            event.insert("messageId".to_owned(), Value::String(format!("import-{hash:016x}-{}", row.line)));
        }
        Ok(MappedEvent {
            line: row.line,
            json: Value::Object(event),
            time_us: read.map(|read| read.time_us),
            unzoned: read.is_some_and(|read| read.unzoned),
            clock_change: read.is_some_and(|read| read.clock_change),
        })
    }

    /// The kind that `[kinds]` gives to a track's name, where the row says none itself.
    fn put_kind(&self, event: &mut Map<String, Value>) {
        if event.get("type").and_then(Value::as_str) != Some("track") {
            return;
        }
        let Some(kind) = event.get("event").and_then(Value::as_str).and_then(|name| self.kinds.of(name)) else {
            return;
        };
        let context = event.entry("context").or_insert_with(|| Value::Object(Map::new()));
        let Some(context) = context.as_object_mut() else { return };
        let ours = context.entry("tributary").or_insert_with(|| Value::Object(Map::new()));
        if let Some(ours) = ours.as_object_mut() {
            ours.entry("kind").or_insert_with(|| kind.as_str().into());
        }
    }

    /// "$12" under `currency = "EUR"` would be twelve euros.
    fn check_currency(&self, event: &Map<String, Value>, row: &Row) -> Result<(), String> {
        let stated = event.get("properties").and_then(|properties| properties.get("currency")).and_then(Value::as_str);
        let Some(stated) = stated.and_then(currency) else { return Ok(()) };
        for column in &self.money {
            let cell = row.get(column);
            let Some(text) = cell.as_deref().and_then(Value::as_str) else { continue };
            if !amount::parted(text).1.allows(&stated) {
                return Err(format!(
                    "column {column:?}: {text:?} is not in {stated}, as properties.currency says; write currency = \
                     \"{{{column}:currency}}\" where the rows differ"
                ));
            }
        }
        Ok(())
    }
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
        for (bad, words) in [
            (["12,50", "EUR"], "column \"r\": \"12,50\" is no amount"),
            (["1.234.567", ""], "write decimal = \",\" and thousands = \".\""),
            (["1e30", ""], "\"1e30\" is no amount"),
            (["5", "Euro"], "properties.currency"),
            (["5 €", "USD"], "\"5 €\" is not in USD"),
        ] {
            assert!(told(&bad).is_err_and(|why| why.contains(words)), "{bad:?}: {:?}", told(&bad));
        }
    }

    #[test]
    fn how_a_file_is_written_is_stated_once() {
        let mapping = Mapping::parse(
            "[file]\ntime_format = '%d.%m.%Y %H:%M'\ntime_zone = 'Europe/Berlin'\ndecimal = ','\nthousands = '.'\n\
             [kinds]\nconversion = ['Kauf']\n[event]\nevent = '{was}'\nuserId = '{wer}'\ntimestamp = '{wann}'\n\
             [event.properties]\nrevenue = '{Betrag}'\ncurrency = 'EUR'\nmenge = '{Menge:number}'\n",
        )
        .unwrap();
        let columns = columns(&["was", "wer", "wann", "Betrag", "Menge"]);
        let mapper = mapping.for_columns(Some(&columns), "f.csv").unwrap();
        let event = mapper.event(&row(&columns, &["kauf", "u", "12.03.2026 14:05", "1.234,50 €", "1,5"])).unwrap().json;
        assert_eq!(event["timestamp"], "2026-03-12T13:05:00Z");
        assert_eq!(event["properties"], json!({"revenue": "1234.50", "currency": "EUR", "menge": 1.5}));
        assert_eq!(event["context"], json!({"tributary": {"kind": "conversion"}}));
        let event = mapper.event(&row(&columns, &["Besuch", "u", "12.03.2026 14:05", "", ""])).unwrap().json;
        assert_eq!((&event["context"], &event["properties"]), (&Value::Null, &json!({"currency": "EUR"})));
        assert!(mapper.kinds_unseen().is_empty());
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
    fn times_that_can_be_read_in_two_ways_stop_the_import_and_others_are_guessed() {
        let columns = columns(&["userId", "timestamp"]);
        let mapper = || Mapping::default().for_columns(Some(&columns), "f").unwrap();
        let rows = |times: &[&str]| times.iter().map(|time| row(&columns, &["u", time])).collect::<Vec<_>>();
        let told = mapper().guess_times(rows(&["03/12/2026", "04/12/2026"]).iter()).unwrap_err();
        assert!(told.contains("line 2") && told.contains("time_format"), "{told}");
        let mut guessing = mapper();
        let guess = guessing.guess_times(rows(&["12.03.2026 14:05"]).iter()).unwrap().unwrap();
        assert_eq!(guess.formats, ["%d.%m.%Y %H:%M"]);
        assert_eq!(guessing.event(&rows(&["13.03.2026"])[0]).unwrap().json["timestamp"], "2026-03-13T00:00:00Z");
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

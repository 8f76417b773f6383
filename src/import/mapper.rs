//! The mapper: from a row to an event.
//!
//! In:       a mapping that fits the file, and a row.
//! Out:      an event ready for the door, or why there is none.
//! Promise:  the same row of the same file gives the same id in every run; what a person would want to be told of a row, and
//!           what the door would leave unread in silence, rejects it.
//! Not here: how a mapping is written and checked (`mapping`).

use serde_json::{Map, Value};
use tributary_schemas::{Money, currency};

use super::amount;
use super::kinds::Kinds;
use super::mapping::{Node, at};
use super::row::{Body, Row, content_hash};
use super::time::{self, Guess, Times};

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

/// Makes events of the rows of one file.
pub(crate) struct Mapper {
    pub(super) fields: Fields,
    pub(super) times: Times,
    pub(super) kinds: Kinds,
    /// The columns that amounts are taken from.
    pub(super) money: Vec<String>,
    /// Columns of a file without a mapping that the door has no place for.
    pub(super) not_kept: Vec<String>,
    pub(super) file_name: String,
}

pub(super) enum Fields {
    Mapped(Node),
    AsTheyAre,
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

#[cfg(test)]
mod tests {
    use super::super::mapping::Mapping;
    use super::super::row::made::{columns, row};
    use super::*;
    use serde_json::json;

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
    fn a_row_without_anyone_or_with_a_strange_time_is_refused() {
        let columns = columns(&["userId", "timestamp"]);
        let mapper = Mapping::default().for_columns(Some(&columns), "f").unwrap();
        assert!(mapper.event(&row(&columns, &["", "2026-01-01"])).unwrap_err().contains("names nobody"));
        assert!(mapper.event(&row(&columns, &["u", "soon"])).unwrap_err().contains("timestamp"));
    }
}

//! What bodies hold: the native event, from the column table, and what is said of it.
//!
//! In:      the column table, the lists of words, `put_column`; how much a request may hold.
//! Out:     the schemas of the document, by name.
//! Promise: an event has a member for every column that the native dialect reads, and for no other.

use serde_json::{Map, Value, json};
use tributary_schemas::columns::exposure_fields;
use tributary_schemas::event::{EVENT_COLUMNS, dead_letter_columns};
use tributary_schemas::ids::ID_BYTES_MAX;
use tributary_schemas::{Column, ColumnKind, Consent, Event, EventKind, Money, Purpose};

use super::Limits;
use crate::append::Outcome;
use crate::dialect::columns::put_column;
use crate::dialect::reading::Reading;

/// Members of an event that are not called or not written as their column is: name, column ("": none of its own), schema,
/// and what is to be said beside the meaning of the column.
const OWN_MEMBERS: &[(&str, &str, &str, &str)] = &[
    (
        "event_id",
        "event_id",
        "EventId",
        "Send one: by it a second copy is known. Without it the content stands for it.",
    ),
    ("name", "event_name", "Text", "One of name and kind must be there."),
    ("event_name", "event_name", "Text", "Another word for name."),
    ("kind", "event_kind", "Kind", "Follows from the name where it is absent."),
    ("event_kind", "event_kind", "Kind", "Another word for kind."),
    ("time", "client_time_us", "Time", "Absent: the time of receipt."),
    ("sent_time", "sent_time_us", "Time", "From it the error of the client's clock is known."),
    (
        "properties",
        "properties",
        "Properties",
        "revenue, total, value and currency in it stand in for those beside it.",
    ),
    (
        "url",
        "",
        "Text",
        "Address of the page, taken apart into url_host, url_path, url_query, utm_ columns and click ids.",
    ),
    ("referrer", "", "Text", "Address the page was reached from, taken apart into referrer_host and referrer_term."),
    ("ip", "ip_truncated", "Address", "Of the visitor, where a server reports of him; only its network is kept."),
    ("gpc", "", "Switch", "true: the browser asks, by Global Privacy Control, not to be sold or targeted."),
    ("cookieless", "", "Switch", "true: without an anonymous_id the door makes one that lasts a day."),
];

fn event_schema() -> Value {
    let mut members = Map::new();
    for (name, column, schema, words) in OWN_MEMBERS {
        let column = EVENT_COLUMNS.iter().find(|known| known.name == *column);
        let meaning = column.map(|column| column.meaning).into_iter().chain([*words]).filter(|words| !words.is_empty());
        members.insert((*name).to_owned(), member(schema, &meaning.collect::<Vec<_>>().join(" ")));
    }
    for column in EVENT_COLUMNS.iter().filter(|column| is_read(column)) {
        let unit = if column.unit.is_empty() { String::new() } else { format!(" Unit: {}.", column.unit) };
        members.insert(column.name.to_owned(), member(schema_of(column), &format!("{}{unit}", column.meaning)));
    }
    json!({
        "type": "object", "properties": members, "additionalProperties": true,
        "description": "Members are called as the columns are. It needs a name or a kind; and one of anonymous_id, user_id, \
            device_id, account_id, event_id or cookieless; an alias its previous_id, a group its account_id. Null is as good as \
            absent; what has no column is kept in the properties, and told as a warning. Text may be written as a number, and is \
            cut to fit its column. The ids of the event, the person, the device and the account are never cut: one of over 256 \
            bytes, a list or an object refuses the event (of event_id length does not matter: its hash stands for a long one); \
            any other id too long is left out; \"null\", \"undefined\", zeros and the like count as none. Times are ISO 8601 \
            (without an offset: UTC), or a number since 1970 in seconds, milliseconds or microseconds, by its size; one that \
            cannot be read or is out of bounds is told, and the time of receipt stands for it. A column that cannot be read \
            otherwise is left empty.",
    })
}

/// Whether a member of this name goes into its column: asked of the code that puts it there, with a value that says nothing.
pub(super) fn is_read(column: &Column) -> bool {
    // Nothing is counted as not read by it.
    let nothing = match column.kind {
        ColumnKind::Exposures => "[]",
        ColumnKind::Int => "{}",
        _ => "\"\"",
    };
    matches!(put_column(&mut Event::new("", "", "", "", 0), column.name, nothing, &mut Reading::default()), Ok(true))
}

fn schema_of(column: &Column) -> &'static str {
    match (column.name, column.kind) {
        ("currency", _) => "Currency",
        ("consent", _) => "Consent",
        (_, ColumnKind::Money) => "Amount",
        (_, ColumnKind::Exposures) => "Exposures",
        (_, ColumnKind::Text) if column.purpose == Purpose::Identity => "Id",
        (_, ColumnKind::Text) => "Text",
        // A test finds that there is no such schema: then say here how it is written.
        _ => "Unknown",
    }
}

/// Plain forms are written out with each member, for many a generator does not read words beside a reference.
fn member(form: &str, words: &str) -> Value {
    let mut schema = match form {
        "Text" | "EventId" => json!({"type": ["string", "number", "null"]}),
        "Id" => json!({"type": ["string", "number", "null"], "maxLength": ID_BYTES_MAX}),
        "Time" => json!({"type": ["string", "number", "null"], "examples": ["2026-01-02T03:04:05.678Z"]}),
        "Amount" => json!({"type": ["string", "number", "null"], "pattern": AMOUNT, "examples": ["49.90"],
            "exclusiveMinimum": -AMOUNT_BELOW, "exclusiveMaximum": AMOUNT_BELOW}),
        "Currency" => json!({"type": ["string", "null"], "pattern": "^[A-Za-z]{3}$", "examples": ["EUR"]}),
        "Address" => json!({"type": ["string", "null"], "examples": ["203.0.113.7"]}),
        "Switch" => json!({"type": ["boolean", "null"]}),
        name => of(name),
    };
    schema["description"] = words.into();
    schema
}

pub(super) fn of(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn words<T: Copy>(all: &[T], word: fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|one| word(*one)).collect()
}

pub(super) fn all(limits: &Limits) -> Value {
    let outcomes = words(&[Outcome::Ok, Outcome::Warning, Outcome::Drop, Outcome::Retry], Outcome::as_str);
    let purposes = Consent::NAMES.iter().map(|(name, _)| ((*name).to_owned(), json!({"type": "boolean"})));
    let mut switches: Map<String, Value> = purposes.collect();
    switches.insert("tcf".to_owned(), json!({"type": "string", "description": "A TC string of the IAB's framework."}));
    let mask_max = Consent::NAMES.iter().fold(0, |mask, (_, purpose)| mask | purpose.0);
    let exposure: Map<String, Value> = exposure_fields()
        .iter()
        .map(|field| match field.name().as_str() {
            "probability" => json!({"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1}),
            _ => member("Text", ""),
        })
        .zip(exposure_fields().iter())
        .map(|(schema, field)| (field.name().clone(), schema))
        .collect();
    let letter_columns = ["source", "event_id", "ingest_time_us", "request", "payload", "user_agent", "ip_truncated"];
    let mut letter: Map<String, Value> = dead_letter_columns()
        .iter()
        .filter(|column| letter_columns.contains(&column.name))
        .map(|column| {
            let plain = if column.kind == ColumnKind::Int { "integer" } else { "string" };
            let is_needed = LETTER_NEEDS.contains(&column.name);
            let kind = if is_needed { json!(plain) } else { json!([plain, "null"]) };
            (column.name.to_owned(), json!({"type": kind, "description": column.meaning}))
        })
        .collect();
    letter.insert(
        "from".to_owned(),
        json!({"type": "string", "description": "log_topic/log_partition/log_offset of the row."}),
    );
    let text = json!({"type": "string"});
    let count = json!({"type": "integer", "minimum": 0});
    let (maybe_text, maybe_time) = (json!({"type": ["string", "null"]}), json!({"type": ["integer", "null"]}));
    let counts = json!({"accepted": count, "dead_lettered": count, "clamped": {"type": "integer", "minimum": 0,
        "description": "Of an import: accepted with the time they came, for their own was too far off or could not be read."}});
    json!({
        "Event": event_schema(),
        "Events": {"anyOf": [
            of("Event"),
            {"type": "array", "items": of("Event"), "maxItems": limits.events_max},
            of("Batch"),
        ]},
        "Batch": object(&["events"], json!({
            "events": {"type": "array", "items": of("Event"), "maxItems": limits.events_max},
            "sent_time": member("Time", "When the batch was sent, for events that do not say so themselves."),
            "cookieless": member("Switch", "true: without an anonymous_id the door makes one that lasts a day."),
            "dropped": {"type": "integer", "minimum": 0, "description": "Events the SDK had to drop since it last said so."},
            "writeKey": {"type": "string", "description": "The write key, for who can set neither header nor query."},
        })),
        "Kind": {"type": "string", "enum": words(EventKind::ALL, EventKind::as_str)},
        "Properties": {"type": ["object", "null"], "additionalProperties": true},
        "Consent": {"anyOf": [
            {"type": "object", "properties": switches, "additionalProperties": {"type": "boolean"}},
            {"type": "array", "items": {"type": "string", "examples": words(Consent::NAMES, |(name, _)| name)}},
            {"type": "string", "description": "A TC string of the IAB's framework."},
            {"type": "integer", "minimum": 0, "maximum": mask_max},
            {"type": "null"},
        ], "description": "Switches by purpose, a list of those granted, a TC string, or the mask of the column."},
        "Exposures": {"type": ["array", "null"], "items": object(&["experiment", "variant"], json!(exposure)),
            "maxItems": limits.exposures_max},
        "Results": object(&["accepted", "dead_lettered", "results"], json!({
            "accepted": count, "dead_lettered": count,
            "results": {"type": "array", "items": of("Result"), "description": "One for each event, in the order they came."},
        })),
        "Result": object(&["event_id", "result"], json!({
            "event_id": {"type": ["string", "null"], "description": "The id it goes by; null where it could not be read."},
            "result": of("Outcome"), "details": {"type": "string", "description": "What is wrong and what to do."},
        })),
        "Outcome": {"type": "string", "enum": outcomes, "description": "ok and warning are taken; drop is kept as a dead letter, to \
            send it again changes nothing; retry is to be sent again with the same id."},
        "Counts": object(&["accepted", "dead_lettered"], counts),
        "PosthogResults": object(&["results"], json!({"results": {"type": "object", "description": "By event id.",
            "additionalProperties": object(&["result"], json!({"result": of("Outcome"), "details": text}))}})),
        "Refusal": object(&["success", "error", "advice"], json!({"success": {"const": false},
            "error": {"type": "string", "description": "What is wrong."},
            "advice": {"type": "string", "description": "What to do about it."}})),
        "Fault": object(&["error", "advice"], json!({"error": text, "advice": text})),
        "Letters": {"type": "object", "required": ["letters"], "additionalProperties": false, "properties": {
            "letters": {"type": "array", "items": of("Letter"), "maxItems": limits.letters_max},
            "dry_run": {"type": "boolean", "description": "Only say what would become of them."}}},
        "Letter": {"type": "object", "required": LETTER_NEEDS, "properties": letter, "additionalProperties": false},
        "Replayed": object(&["results"], json!({"results": {"type": "array", "items": object(&["from", "result", "events"],
            json!({"from": text, "result": of("Outcome"), "events": count, "details": text}))}})),
        "Receipt": object(&["event_id", "found", "events", "dead_letters", "sessions", "days", "looked_up_to"], json!({
            "event_id": text, "found": {"type": "boolean"}, "events": {"type": "array", "items": {}}, "dead_letters": {"type": "array", "items": {}},
            "sessions": {"type": "array", "items": {}}, "days": count, "looked_up_to": {"type": ["array", "null"], "items": {}}, "advice": text})),
        "Definition": object(&["kind", "name", "definition", "file"], json!({
            "kind": text, "name": text, "definition": {"type": "string", "description": "As SQL."},
            "description": maybe_text, "unit": maybe_text, "file": text})),
        "Facts": object(&["window", "timezone"], json!({
            "definition": {"type": "string", "description": "The question with every argument written out."},
            "functions": {"type": "array", "items": text}, "window": maybe_text, "timezone": text,
            "rows_read": {"type": "integer", "minimum": 0, "description": "It, bytes_read and tables are told to tokens that see all rows and columns only."},
            "bytes_read": count, "tables": {"type": "array", "items": of("TableFacts")}, "workers": of("WorkersFacts")})),
        "WorkersFacts": object(&["count", "tasks", "asked_again", "counted"], json!({
            "count": count, "tasks": count, "asked_again": {"type": "boolean", "description": "A worker went away."},
            "counted": {"type": "boolean", "description": "Whether rows_read and bytes_read hold what they read."}})),
        "TableFacts": object(&["table", "version", "live", "written_time_us", "ingest_time_us", "event_time_us"], json!({
            "table": text, "version": count, "live": {"type": "boolean", "description": "With the tail of the log."},
            "written_time_us": maybe_time, "ingest_time_us": maybe_time, "event_time_us": maybe_time})),
        "Answer": object(&["columns", "rows", "row_count", "truncated", "elapsed_ms", "versions", "facts"], json!({
            "columns": {"type": "array", "items": object(&["name", "type"], json!({"name": text, "type": text}))},
            "rows": {"type": "array", "items": {}}, "row_count": count, "truncated": {"type": "boolean"}, "elapsed_ms": count,
            "versions": {"type": "object"}, "live_positions": {"type": "array", "items": {}}, "facts": of("Facts")})),
    })
}

/// What `Money::parse` reads.
const AMOUNT: &str = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$|^\s*$";

/// What a number must stay below: the digits `DECIMAL(18, 6)` has before the point.
const AMOUNT_BELOW: i64 = (Money::MICROS_MAX + 1) / 1_000_000;

const LETTER_NEEDS: &[&str] = &["from", "source", "ingest_time_us", "request", "payload"];

pub(super) fn object(required: &[&str], members: Value) -> Value {
    json!({"type": "object", "required": required, "properties": members})
}

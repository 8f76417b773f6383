//! What there is, as Flight SQL tells it.
//!
//! In:       the commands that ask for it; the tables of the engine.
//! Out:      a schema and a batch each.
//! Promise:  there is one catalog with one schema; keys are asked for and there are none.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, RecordBatch, StringArray, UInt8Array,
    UInt32Array, UnionArray, new_empty_array,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, UnionFields, UnionMode};
use arrow::error::ArrowError;
use prost::Message as _;
use tributary_query::Relation;

use super::grpc::Status;
use super::ipc::{plain_schema, schema_bytes};
use super::proto::{Any, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTables};

const CATALOG: &str = "tributary";
const SCHEMA: &str = "public";
const KINDS: [&str; 2] = ["TABLE", "VIEW"];

/// The answer to a command that asks what there is; `None` if it is another command.
pub(super) fn answer(command: &Any, relations: &[Relation]) -> Result<Option<RecordBatch>, Status> {
    let name = command.name().unwrap_or_default();
    let malformed = |_| Status::invalid(format!("{name} cannot be read"));
    let value = command.value.clone();
    let batch = match name {
        "CommandGetCatalogs" => texts(&[("catalog_name", false)], &[vec![Some(CATALOG)]]),
        "CommandGetDbSchemas" => {
            let asked = CommandGetDbSchemas::decode(value).map_err(malformed)?;
            let is_it = is_catalog(asked.catalog.as_deref()) && matches(asked.schema_pattern.as_deref(), SCHEMA);
            let rows = if is_it { vec![vec![Some(CATALOG), Some(SCHEMA)]] } else { Vec::new() };
            texts(&[("catalog_name", true), ("db_schema_name", false)], &rows)
        }
        "CommandGetTableTypes" => texts(&[("table_type", false)], &KINDS.map(|kind| vec![Some(kind)])),
        "CommandGetTables" => tables(&CommandGetTables::decode(value).map_err(malformed)?, relations),
        "CommandGetSqlInfo" => sql_info(&CommandGetSqlInfo::decode(value).map_err(malformed)?),
        "CommandGetPrimaryKeys" => Ok(RecordBatch::new_empty(primary_keys())),
        "CommandGetExportedKeys" | "CommandGetImportedKeys" | "CommandGetCrossReference" => {
            Ok(RecordBatch::new_empty(foreign_keys()))
        }
        _ => return Ok(None),
    };
    batch.map(Some).map_err(|error| {
        tracing::error!(%error, "a catalog could not be told");
        Status::internal()
    })
}

fn is_catalog(asked: Option<&str>) -> bool {
    asked.is_none_or(|asked| asked == CATALOG)
}

/// `%` is any text, `_` any letter, as in LIKE.
fn matches(pattern: Option<&str>, text: &str) -> bool {
    fn like(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('%', rest)) => (0..=text.len()).any(|begin| like(rest, &text[begin..])),
            Some(('_', rest)) => !text.is_empty() && like(rest, &text[1..]),
            Some((char, rest)) => text.first() == Some(char) && like(rest, &text[1..]),
        }
    }
    let Some(pattern) = pattern else { return true };
    // Each `%` multiplies the ways to match: of many in a row one is enough, and names are short.
    let mut chars: Vec<char> = pattern.chars().collect();
    chars.dedup_by(|next, before| *next == '%' && *before == '%');
    let wild = chars.iter().filter(|char| **char == '%').count();
    wild <= 8 && chars.len() <= 256 && like(&chars, &text.chars().collect::<Vec<_>>())
}

fn texts(columns: &[(&str, bool)], rows: &[Vec<Option<&str>>]) -> Result<RecordBatch, ArrowError> {
    let fields = columns.iter().map(|(name, nullable)| Field::new(*name, DataType::Utf8, *nullable));
    let column = |index: usize| Arc::new(rows.iter().map(|row| row[index]).collect::<StringArray>()) as ArrayRef;
    let columns = (0..columns.len()).map(column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
}

fn tables(asked: &CommandGetTables, relations: &[Relation]) -> Result<RecordBatch, ArrowError> {
    let kind_of = |relation: &Relation| KINDS[usize::from(relation.definition.is_some())];
    let in_schema = is_catalog(asked.catalog.as_deref()) && matches(asked.schema_pattern.as_deref(), SCHEMA);
    let wanted = |relation: &&Relation| {
        let kinds = &asked.table_types;
        in_schema
            && matches(asked.table_pattern.as_deref(), &relation.name)
            && (kinds.is_empty() || kinds.iter().any(|kind| kind == kind_of(relation)))
    };
    let found: Vec<&Relation> = relations.iter().filter(wanted).collect();
    let names = [("catalog_name", true), ("db_schema_name", true), ("table_name", false), ("table_type", false)];
    let rows: Vec<Vec<Option<&str>>> = found
        .iter()
        .map(|relation| vec![Some(CATALOG), Some(SCHEMA), Some(relation.name.as_str()), Some(kind_of(relation))])
        .collect();
    let batch = texts(&names, &rows)?;
    if !asked.include_schema {
        return Ok(batch);
    }
    let schemas: Vec<_> = found.iter().map(|relation| schema_bytes(&plain_schema(&relation.schema))).collect();
    let mut fields = batch.schema().fields().to_vec();
    fields.push(Arc::new(Field::new("table_schema", DataType::Binary, false)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(BinaryArray::from_iter_values(schemas)));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

enum Info {
    Text(&'static str),
    Bool(bool),
    Number(i32),
}

/// By the numbers of `SqlInfo`.
const INFO: &[(u32, Info)] = &[
    (0, Info::Text("Tributary")),
    (1, Info::Text(env!("CARGO_PKG_VERSION"))),
    // The version of Arrow's format.
    (2, Info::Text("1.5")),
    // Questions only read.
    (3, Info::Bool(true)),
    // SQL is taken, Substrait is not.
    (4, Info::Bool(true)),
    (5, Info::Bool(false)),
    // No transactions.
    (8, Info::Number(0)),
    (9, Info::Bool(false)),
    (504, Info::Text("\"")),
];

fn sql_info(asked: &CommandGetSqlInfo) -> Result<RecordBatch, ArrowError> {
    let wanted = |(number, _): &&(u32, Info)| asked.info.is_empty() || asked.info.contains(number);
    let (mut numbers, mut types, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    let (mut strings, mut bools, mut ints) = (Vec::new(), Vec::new(), Vec::new());
    for (number, info) in INFO.iter().filter(wanted) {
        numbers.push(*number);
        let (kind, index) = match info {
            Info::Text(text) => {
                strings.push(*text);
                (0, strings.len())
            }
            Info::Bool(value) => {
                bools.push(*value);
                (1, bools.len())
            }
            Info::Number(value) => {
                ints.push(*value);
                (3, ints.len())
            }
        };
        types.push(kind);
        offsets.push(i32::try_from(index).expect("there are few") - 1);
    }
    let list = |item: DataType| DataType::List(Arc::new(Field::new("item", item, true)));
    let entries =
        Fields::from(vec![Field::new("key", DataType::Int32, false), Field::new("value", list(DataType::Int32), true)]);
    let map = DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false);
    let kinds = [
        ("string_value", DataType::Utf8),
        ("bool_value", DataType::Boolean),
        ("bigint_value", DataType::Int64),
        ("int32_bitmask", DataType::Int32),
        ("string_list", list(DataType::Utf8)),
        ("int32_to_int32_list_map", map),
    ];
    let children: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(strings)),
        Arc::new(BooleanArray::from(bools)),
        Arc::new(Int64Array::from(Vec::<i64>::new())),
        Arc::new(Int32Array::from(ints)),
        new_empty_array(&kinds[4].1),
        new_empty_array(&kinds[5].1),
    ];
    let fields = kinds.into_iter().map(|(name, data_type)| Arc::new(Field::new(name, data_type, false)));
    let fields: UnionFields = (0_i8..).zip(fields).collect();
    let union = UnionArray::try_new(fields.clone(), types.into(), Some(offsets.into()), children)?;
    let schema = Schema::new(vec![
        Field::new("info_name", DataType::UInt32, false),
        Field::new("value", DataType::Union(fields, UnionMode::Dense), false),
    ]);
    debug_assert_eq!(union.len(), numbers.len(), "a value for each number");
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(UInt32Array::from(numbers)), Arc::new(union)])
}

fn primary_keys() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

fn foreign_keys() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let rule = UInt8Array::from(Vec::<u8>::new()).data_type().clone();
    Arc::new(Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", rule.clone(), false),
        Field::new("delete_rule", rule, false),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_as_by_like() {
        for (pattern, text, is_it) in [
            (None, "events", true),
            (Some("events"), "events", true),
            (Some("ev%"), "events", true),
            (Some("%_%s"), "events", true),
            (Some("e_ents"), "events", true),
            (Some(""), "events", false),
            (Some("%x%"), "events", false),
        ] {
            assert_eq!(matches(pattern, text), is_it, "{pattern:?}");
        }
        let hostile = "%a".repeat(200);
        assert!(!matches(Some(&hostile), &"a".repeat(60)));
    }

    #[test]
    fn what_is_asked_for_is_told() {
        let relations = [
            Relation { name: "events".into(), schema: Arc::new(Schema::empty()), definition: None },
            Relation { name: "sessions".into(), schema: Arc::new(Schema::empty()), definition: Some("x".into()) },
        ];
        let rows = |name: &str, message: &dyn Fn() -> Vec<u8>| {
            let command = Any {
                type_url: format!("type.googleapis.com/arrow.flight.protocol.sql.{name}"),
                value: message().into(),
            };
            answer(&command, &relations).unwrap().map(|batch| batch.num_rows())
        };
        assert_eq!(rows("CommandGetCatalogs", &Vec::new), Some(1));
        assert_eq!(rows("CommandGetTableTypes", &Vec::new), Some(2));
        assert_eq!(rows("CommandGetPrimaryKeys", &Vec::new), Some(0));
        assert_eq!(rows("CommandGetTables", &Vec::new), Some(2));
        let views =
            CommandGetTables { table_types: vec!["VIEW".into()], include_schema: true, ..CommandGetTables::default() };
        assert_eq!(rows("CommandGetTables", &|| views.encode_to_vec()), Some(1));
        let info = CommandGetSqlInfo { info: vec![0, 3, 8, 77] };
        assert_eq!(rows("CommandGetSqlInfo", &|| info.encode_to_vec()), Some(3));
        assert_eq!(rows("CommandStatementQuery", &Vec::new), None);
    }
}

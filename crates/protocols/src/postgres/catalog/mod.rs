//! `pg_catalog` and `information_schema`: where clients look up what there is.
//!
//! In:       the tables and views of the engine.
//! Out:      both schemas, for the engine to hold beside its own; the numbers of tables; which tables never have a row.
//! Promise:  what is told is what there is: tables with their columns and types. What PostgreSQL has and we have not (indexes,
//!           constraints, triggers) is a table without rows, not an error.
//! Not here: how clients ask (`rewrite.rs`).

mod functions;
mod rows;
mod tables;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use tributary_query::{Beside, Relation};

use super::types::Shape;
use super::variables::Variables;
use rows::{Cell, batch_of};

/// The schema of our tables, and the catalog, as `tributary_query` names them.
pub(crate) const DATABASE: &str = "tributary";
pub(crate) const PUBLIC: &str = "public";
pub(crate) const PG_CATALOG: &str = "pg_catalog";
pub(crate) const INFORMATION_SCHEMA: &str = "information_schema";
/// What `information_schema` is called inside: the engine has one of its own, with the names of its own types.
pub(crate) const INFORMATION_INSIDE: &str = "pg_information_schema";

/// Who owns everything.
pub(crate) const OWNER: &str = "tributary";
const OWNER_OID: i64 = 10;
const DATABASE_OID: i64 = 16_384;
const PUBLIC_OID: i64 = 2_200;
const PG_CATALOG_OID: i64 = 11;
const INFORMATION_OID: i64 = 13_000;
const HEAP_OID: i64 = 2;
/// Above those PostgreSQL keeps for itself, and the database's.
const FIRST_RELATION_OID: i64 = 16_400;

pub(crate) struct Catalog {
    pub(crate) beside: Arc<Beside>,
    /// Numbers of tables, views and catalog tables, by name.
    oids: HashMap<String, i64>,
    /// (schema, table) of those without rows.
    empty: HashSet<(&'static str, &'static str)>,
    system: HashSet<(&'static str, &'static str)>,
}

impl Catalog {
    pub(crate) fn of(relations: &[Relation]) -> Result<Self, DataFusionError> {
        let numbered: Vec<(i64, &Relation)> = (FIRST_RELATION_OID..).zip(relations).collect();
        let (mut empty, mut system) = (HashSet::new(), HashSet::new());
        let mut schemas = BTreeMap::new();
        let mut oids: HashMap<String, i64> = SYSTEM_OIDS.iter().map(|(name, oid)| ((*name).to_owned(), *oid)).collect();
        oids.extend(numbered.iter().map(|(oid, relation)| (relation.name.clone(), *oid)));
        for (schema, inside, all) in [
            (PG_CATALOG, PG_CATALOG, tables::PG_CATALOG),
            (INFORMATION_SCHEMA, INFORMATION_INSIDE, tables::INFORMATION_SCHEMA),
        ] {
            let provider = MemorySchemaProvider::new();
            for (name, columns) in all {
                let rows = rows_of(schema, name, &numbered);
                system.insert((schema, *name));
                if rows.is_empty() {
                    empty.insert((schema, *name));
                }
                let batch = batch_of(columns, &rows)?;
                let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
                provider.register_table((*name).to_owned(), Arc::new(table))?;
            }
            schemas.insert(inside.to_owned(), Arc::new(provider) as Arc<dyn SchemaProvider>);
        }
        let definitions = numbered.iter().filter_map(|(oid, relation)| Some((*oid, relation.definition.clone()?)));
        let functions = functions::all(definitions.collect());
        Ok(Self { beside: Arc::new(Beside { schemas, functions }), oids, empty, system })
    }

    pub(crate) fn oid(&self, name: &str) -> Option<i64> {
        self.oids.get(name).copied()
    }

    /// Whether a table of these schemas has that name.
    pub(crate) fn is_system(&self, schema: &'static str, name: &str) -> bool {
        self.system.iter().any(|(of, system)| *of == schema && *system == name)
    }

    /// Whether it is one that never has a row.
    pub(crate) fn is_empty(&self, schema: &str, name: &str) -> bool {
        let schema = if schema == INFORMATION_INSIDE { INFORMATION_SCHEMA } else { schema };
        self.empty.iter().any(|(of, empty)| *of == schema && *empty == name)
    }
}

/// Of the catalog's own tables, which clients name in `'pg_class'::regclass`.
const SYSTEM_OIDS: &[(&str, i64)] = &[
    ("pg_type", 1_247),
    ("pg_attribute", 1_249),
    ("pg_proc", 1_255),
    ("pg_class", 1_259),
    ("pg_authid", 1_260),
    ("pg_database", 1_262),
    ("pg_foreign_server", 1_417),
    ("pg_am", 2_601),
    ("pg_attrdef", 2_604),
    ("pg_constraint", 2_606),
    ("pg_description", 2_609),
    ("pg_index", 2_610),
    ("pg_namespace", 2_615),
    ("pg_rewrite", 2_618),
    ("pg_trigger", 2_620),
    ("pg_extension", 3_079),
    ("pg_collation", 3_456),
];

fn text(value: impl Into<String>) -> Cell {
    Cell::Text(value.into())
}

fn rows_of(schema: &str, table: &str, relations: &[(i64, &Relation)]) -> Vec<Vec<(&'static str, Cell)>> {
    match (schema, table) {
        (PG_CATALOG, "pg_namespace") => {
            let names = [(PG_CATALOG_OID, PG_CATALOG), (PUBLIC_OID, PUBLIC), (INFORMATION_OID, INFORMATION_SCHEMA)];
            let row = |(oid, name)| {
                vec![("oid", Cell::Int(oid)), ("nspname", text(name)), ("nspowner", Cell::Int(OWNER_OID))]
            };
            names.into_iter().map(row).collect()
        }
        (PG_CATALOG, "pg_class") => relations.iter().map(|(oid, relation)| class(*oid, relation)).collect(),
        (PG_CATALOG, "pg_attribute") => {
            relations.iter().flat_map(|(oid, relation)| attributes(*oid, relation)).collect()
        }
        (PG_CATALOG, "pg_type") => types(),
        (PG_CATALOG, "pg_database") => vec![vec![
            ("oid", Cell::Int(DATABASE_OID)),
            ("datname", text(DATABASE)),
            ("datdba", Cell::Int(OWNER_OID)),
            ("encoding", Cell::Int(6)),
            ("datlocprovider", text("c")),
            ("datistemplate", Cell::Bool(false)),
            ("datallowconn", Cell::Bool(true)),
            ("datconnlimit", Cell::Int(-1)),
            ("dattablespace", Cell::Int(1_663)),
            ("datcollate", text("C")),
            ("datctype", text("C")),
        ]],
        (PG_CATALOG, "pg_roles" | "pg_user" | "pg_authid") => vec![vec![
            ("oid", Cell::Int(OWNER_OID)),
            ("rolname", text(OWNER)),
            ("rolsuper", Cell::Bool(false)),
            ("rolinherit", Cell::Bool(true)),
            ("rolcreaterole", Cell::Bool(false)),
            ("rolcreatedb", Cell::Bool(false)),
            ("rolcanlogin", Cell::Bool(true)),
            ("rolreplication", Cell::Bool(false)),
            ("rolbypassrls", Cell::Bool(false)),
            ("rolconnlimit", Cell::Int(-1)),
            ("usename", text(OWNER)),
            ("usesysid", Cell::Int(OWNER_OID)),
            ("usesuper", Cell::Bool(false)),
            ("usecreatedb", Cell::Bool(false)),
        ]],
        (PG_CATALOG, "pg_am") => {
            vec![vec![("oid", Cell::Int(HEAP_OID)), ("amname", text("delta")), ("amtype", text("t"))]]
        }
        (PG_CATALOG, "pg_tablespace") => {
            vec![vec![("oid", Cell::Int(1_663)), ("spcname", text("pg_default")), ("spcowner", Cell::Int(OWNER_OID))]]
        }
        (PG_CATALOG, "pg_settings") => {
            let row = |(name, value)| vec![("name", text(name)), ("setting", text(value)), ("vartype", text("string"))];
            Variables::known().map(row).collect()
        }
        (PG_CATALOG, "pg_tables") => {
            let tables = relations.iter().filter(|(_, relation)| relation.definition.is_none());
            let row = |(_, relation): &(i64, &Relation)| {
                vec![
                    ("schemaname", text(PUBLIC)),
                    ("tablename", text(&relation.name)),
                    ("tableowner", text(OWNER)),
                    ("hasindexes", Cell::Bool(false)),
                    ("hasrules", Cell::Bool(false)),
                    ("hastriggers", Cell::Bool(false)),
                    ("rowsecurity", Cell::Bool(false)),
                ]
            };
            tables.map(row).collect()
        }
        (PG_CATALOG, "pg_views") => {
            let row = |(_, relation): &(i64, &Relation)| {
                Some(vec![
                    ("schemaname", text(PUBLIC)),
                    ("viewname", text(&relation.name)),
                    ("viewowner", text(OWNER)),
                    ("definition", text(relation.definition.clone()?)),
                ])
            };
            relations.iter().filter_map(row).collect()
        }
        (INFORMATION_SCHEMA, "schemata") => {
            let row = |name: &str| {
                vec![("catalog_name", text(DATABASE)), ("schema_name", text(name)), ("schema_owner", text(OWNER))]
            };
            [PG_CATALOG, PUBLIC, INFORMATION_SCHEMA].map(row).into()
        }
        (INFORMATION_SCHEMA, "tables") => {
            let row = |(_, relation): &(i64, &Relation)| {
                let kind = if relation.definition.is_some() { "VIEW" } else { "BASE TABLE" };
                vec![
                    ("table_catalog", text(DATABASE)),
                    ("table_schema", text(PUBLIC)),
                    ("table_name", text(&relation.name)),
                    ("table_type", text(kind)),
                    ("is_insertable_into", text("NO")),
                    ("is_typed", text("NO")),
                ]
            };
            relations.iter().map(row).collect()
        }
        (INFORMATION_SCHEMA, "views") => {
            let row = |(_, relation): &(i64, &Relation)| {
                Some(vec![
                    ("table_catalog", text(DATABASE)),
                    ("table_schema", text(PUBLIC)),
                    ("table_name", text(&relation.name)),
                    ("view_definition", text(relation.definition.clone()?)),
                    ("check_option", text("NONE")),
                    ("is_updatable", text("NO")),
                    ("is_insertable_into", text("NO")),
                ])
            };
            relations.iter().filter_map(row).collect()
        }
        (INFORMATION_SCHEMA, "columns") => relations.iter().flat_map(|(_, relation)| columns(relation)).collect(),
        _ => Vec::new(),
    }
}

fn class(oid: i64, relation: &Relation) -> Vec<(&'static str, Cell)> {
    let is_view = relation.definition.is_some();
    vec![
        ("oid", Cell::Int(oid)),
        ("relname", text(&relation.name)),
        ("relnamespace", Cell::Int(PUBLIC_OID)),
        ("reltype", Cell::Int(0)),
        ("reloftype", Cell::Int(0)),
        ("relowner", Cell::Int(OWNER_OID)),
        ("relam", Cell::Int(if is_view { 0 } else { HEAP_OID })),
        ("relfilenode", Cell::Int(oid)),
        ("reltablespace", Cell::Int(0)),
        ("relpages", Cell::Int(0)),
        ("reltuples", Cell::Float(-1.0)),
        ("relallvisible", Cell::Int(0)),
        ("reltoastrelid", Cell::Int(0)),
        ("relhasindex", Cell::Bool(false)),
        ("relisshared", Cell::Bool(false)),
        ("relpersistence", text("p")),
        ("relkind", text(if is_view { "v" } else { "r" })),
        ("relnatts", Cell::Int(i64::try_from(relation.schema.fields().len()).unwrap_or(i64::MAX))),
        ("relchecks", Cell::Int(0)),
        ("relhasrules", Cell::Bool(false)),
        ("relhastriggers", Cell::Bool(false)),
        ("relhassubclass", Cell::Bool(false)),
        ("relrowsecurity", Cell::Bool(false)),
        ("relforcerowsecurity", Cell::Bool(false)),
        ("relispopulated", Cell::Bool(true)),
        ("relreplident", text("n")),
        ("relispartition", Cell::Bool(false)),
        ("relrewrite", Cell::Int(0)),
    ]
}

fn attributes(oid: i64, relation: &Relation) -> impl Iterator<Item = Vec<(&'static str, Cell)>> {
    (1..).zip(relation.schema.fields()).map(move |(number, field)| {
        let shape = Shape::of(field.data_type());
        vec![
            ("attrelid", Cell::Int(oid)),
            ("attname", text(field.name())),
            ("atttypid", Cell::Int(shape.oid().into())),
            ("attlen", Cell::Int(shape.width().into())),
            ("attnum", Cell::Int(number)),
            ("attndims", Cell::Int(i64::from(matches!(shape, Shape::Array(_))))),
            ("atttypmod", Cell::Int(shape.modifier().into())),
            ("attnotnull", Cell::Bool(!field.is_nullable())),
            ("atthasdef", Cell::Bool(false)),
            ("atthasmissing", Cell::Bool(false)),
            ("attidentity", text("")),
            ("attgenerated", text("")),
            ("attisdropped", Cell::Bool(false)),
            ("attislocal", Cell::Bool(true)),
            ("attinhcount", Cell::Int(0)),
            ("attcollation", Cell::Int(0)),
            ("attstattarget", Cell::Int(-1)),
            ("attstorage", text("p")),
            ("attcompression", text("")),
        ]
    })
}

fn types() -> Vec<Vec<(&'static str, Cell)>> {
    let row = |oid: u32, name: String, width: i16, element: u32, array: u32| {
        let category = if element != 0 { "A" } else { category(&name) };
        vec![
            ("oid", Cell::Int(oid.into())),
            ("typname", text(&name)),
            ("typnamespace", Cell::Int(PG_CATALOG_OID)),
            ("typowner", Cell::Int(OWNER_OID)),
            ("typlen", Cell::Int(width.into())),
            ("typbyval", Cell::Bool(0 < width && width <= 8)),
            ("typtype", text("b")),
            ("typcategory", text(category)),
            ("typispreferred", Cell::Bool(false)),
            ("typisdefined", Cell::Bool(true)),
            ("typdelim", text(",")),
            ("typrelid", Cell::Int(0)),
            ("typelem", Cell::Int(element.into())),
            ("typarray", Cell::Int(array.into())),
            ("typinput", text(if element == 0 { format!("{name}in") } else { "array_in".to_owned() })),
            ("typoutput", text(if element == 0 { format!("{name}out") } else { "array_out".to_owned() })),
            ("typreceive", text(if element == 0 { format!("{name}recv") } else { "array_recv".to_owned() })),
            ("typsend", text(if element == 0 { format!("{name}send") } else { "array_send".to_owned() })),
            ("typalign", text("i")),
            ("typstorage", text("p")),
            ("typnotnull", Cell::Bool(false)),
            ("typbasetype", Cell::Int(0)),
            ("typtypmod", Cell::Int(-1)),
            ("typndims", Cell::Int(0)),
            ("typcollation", Cell::Int(0)),
        ]
    };
    let mut rows = Vec::new();
    for shape in Shape::scalars() {
        let name = shape.type_name();
        rows.push(row(shape.oid(), name.to_owned(), shape.width(), 0, shape.array_oid()));
        rows.push(row(shape.array_oid(), format!("_{name}"), -1, shape.oid(), 0));
    }
    // No column has these; clients know them by name and ask.
    for (oid, name, width) in [(19, "name", 64), (26, "oid", 4), (18, "char", 1), (1043, "varchar", -1)] {
        rows.push(row(oid, name.to_owned(), width, 0, 0));
    }
    rows
}

/// By which clients choose how to show a value.
fn category(name: &str) -> &'static str {
    match name {
        "bool" => "B",
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" | "oid" => "N",
        "date" | "time" | "timestamp" | "timestamptz" => "D",
        "interval" => "T",
        "text" | "name" | "varchar" => "S",
        "char" => "Z",
        _ => "U",
    }
}

fn columns(relation: &Relation) -> impl Iterator<Item = Vec<(&'static str, Cell)>> {
    (1..).zip(relation.schema.fields()).map(|(number, field)| {
        let shape = Shape::of(field.data_type());
        let (precision, scale) = match &shape {
            Shape::Numeric(Some((digits, scale))) => (Cell::Int((*digits).into()), Cell::Int((*scale).into())),
            Shape::Int2 => (Cell::Int(16), Cell::Int(0)),
            Shape::Int4 => (Cell::Int(32), Cell::Int(0)),
            Shape::Int8 => (Cell::Int(64), Cell::Int(0)),
            Shape::Float4 => (Cell::Int(24), Cell::Null),
            Shape::Float8 => (Cell::Int(53), Cell::Null),
            _ => (Cell::Null, Cell::Null),
        };
        let udt = match &shape {
            Shape::Array(item) => format!("_{}", item.type_name()),
            other => other.type_name().to_owned(),
        };
        vec![
            ("table_catalog", text(DATABASE)),
            ("table_schema", text(PUBLIC)),
            ("table_name", text(&relation.name)),
            ("column_name", text(field.name())),
            ("ordinal_position", Cell::Int(number)),
            ("is_nullable", text(if field.is_nullable() { "YES" } else { "NO" })),
            ("data_type", text(shape.sql_name())),
            ("numeric_precision", precision),
            ("numeric_scale", scale),
            ("udt_catalog", text(DATABASE)),
            ("udt_schema", text(PG_CATALOG)),
            ("udt_name", text(udt)),
            ("dtd_identifier", text(number.to_string())),
            ("is_self_referencing", text("NO")),
            ("is_identity", text("NO")),
            ("is_generated", text("NEVER")),
            ("is_updatable", text("NO")),
        ]
    })
}

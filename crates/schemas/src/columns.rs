//! What a column is, and what it must say of itself.
//!
//! In:      nothing.
//! Out:     `Column`, and its Arrow and Avro forms.
//! Promise: meaning, unit, purpose and personal are never blank where they matter; a test reads all of them.

use arrow::datatypes::{DataType, Field, Fields};
use std::sync::Arc;

use crate::money;

/// The few physical forms a column may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// UTF-8.
    Text,
    /// A 64-bit whole number; times are these, in UTC microseconds.
    Int,
    /// A 32-bit whole number.
    SmallInt,
    /// A ratio or probability. Never money.
    Ratio,
    Bool,
    /// `DECIMAL(18, 6)`.
    Money,
    /// Days since 1970-01-01: partition columns, and days that have no time.
    Date,
    TextList,
    /// `list<struct{experiment, variant, decision_id, probability}>`.
    Exposures,
    /// `list<struct{currency, value}>`.
    ValueByCurrency,
}

/// What a column is kept for. The privacy rules of later floors are written in these words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Says whose event it is, or joins it to others.
    Identity,
    /// Puts events in order and in windows.
    Time,
    /// Says what happened and what it was worth.
    Measure,
    /// Says which campaign, channel or message brought it about.
    Attribution,
    /// Says which variant or decision the person saw.
    Experiment,
    /// Says where and on what it happened.
    Context,
    /// Says how far to trust the row.
    Quality,
    /// Lets a row be traced back to the log.
    Audit,
}

/// Whether the column, alone, can point at a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Personal {
    No,
    /// Picks out a device or browser, and through others a person.
    Pseudonymous,
    /// May hold what a person typed or was called.
    Yes,
}

#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
    pub nullable: bool,
    pub meaning: &'static str,
    /// Empty where the values have none (names, ids).
    pub unit: &'static str,
    pub purpose: Purpose,
    pub personal: Personal,
}

impl Column {
    pub fn field(&self) -> Field {
        Field::new(self.name, self.kind.arrow(), self.nullable)
    }

    /// The Avro schema of this column: a union with null where it may be absent.
    pub fn avro_type(&self) -> serde_json::Value {
        let plain = self.kind.avro();
        if self.nullable { serde_json::json!(["null", plain]) } else { plain }
    }
}

/// The name Delta and Arrow both give a list's element, so that schemas compare equal after a round trip.
const ELEMENT: &str = "element";

impl ColumnKind {
    pub fn arrow(self) -> DataType {
        let list = |item: DataType, nullable| DataType::List(Arc::new(Field::new(ELEMENT, item, nullable)));
        match self {
            Self::Text => DataType::Utf8,
            Self::Int => DataType::Int64,
            Self::SmallInt => DataType::Int32,
            Self::Ratio => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Money => DataType::Decimal128(money::PRECISION, money::SCALE),
            Self::Date => DataType::Date32,
            Self::TextList => list(DataType::Utf8, true),
            Self::Exposures => list(DataType::Struct(exposure_fields()), true),
            Self::ValueByCurrency => list(DataType::Struct(value_fields()), true),
        }
    }

    fn avro(self) -> serde_json::Value {
        use serde_json::json;
        match self {
            Self::Text => json!("string"),
            Self::Int => json!("long"),
            Self::SmallInt | Self::Date => json!("int"),
            Self::Ratio => json!("double"),
            Self::Bool => json!("boolean"),
            Self::Money => json!({
                "type": "bytes", "logicalType": "decimal",
                "precision": money::PRECISION, "scale": money::SCALE,
            }),
            Self::TextList => json!({"type": "array", "items": ["null", "string"]}),
            Self::Exposures => json!({"type": "array", "items": ["null", {
                "type": "record", "name": "Exposure", "fields": [
                    {"name": "experiment", "type": ["null", "string"]},
                    {"name": "variant", "type": ["null", "string"]},
                    {"name": "decision_id", "type": ["null", "string"]},
                    {"name": "probability", "type": ["null", "double"]},
                ],
            }]}),
            Self::ValueByCurrency => json!({"type": "array", "items": ["null", {
                "type": "record", "name": "Value", "fields": [
                    {"name": "currency", "type": ["null", "string"]},
                    {"name": "value", "type": ["null", Self::Money.avro()]},
                ],
            }]}),
        }
    }

    /// How SQL users read the type.
    pub fn sql_name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "bigint",
            Self::SmallInt => "int",
            Self::Ratio => "double",
            Self::Bool => "boolean",
            Self::Money => "decimal(18, 6)",
            Self::Date => "date",
            Self::TextList => "list of text",
            Self::Exposures => "list of struct(experiment, variant, decision_id, probability)",
            Self::ValueByCurrency => "list of struct(currency, value)",
        }
    }
}

pub fn exposure_fields() -> Fields {
    Fields::from(vec![
        Field::new("experiment", DataType::Utf8, true),
        Field::new("variant", DataType::Utf8, true),
        Field::new("decision_id", DataType::Utf8, true),
        Field::new("probability", DataType::Float64, true),
    ])
}

pub fn value_fields() -> Fields {
    Fields::from(vec![
        Field::new("currency", DataType::Utf8, true),
        Field::new("value", ColumnKind::Money.arrow(), true),
    ])
}

// Short makers, so that the column tables read as tables.
const fn column(
    name: &'static str,
    kind: ColumnKind,
    nullable: bool,
    purpose: Purpose,
    personal: Personal,
    unit: &'static str,
    meaning: &'static str,
) -> Column {
    Column { name, kind, nullable, meaning, unit, purpose, personal }
}

/// A column every row has.
pub const fn required(
    name: &'static str,
    kind: ColumnKind,
    purpose: Purpose,
    personal: Personal,
    unit: &'static str,
    meaning: &'static str,
) -> Column {
    column(name, kind, false, purpose, personal, unit, meaning)
}

/// A column a row may lack.
pub const fn optional(
    name: &'static str,
    kind: ColumnKind,
    purpose: Purpose,
    personal: Personal,
    unit: &'static str,
    meaning: &'static str,
) -> Column {
    column(name, kind, true, purpose, personal, unit, meaning)
}

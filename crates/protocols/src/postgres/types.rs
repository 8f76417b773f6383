//! Which type of PostgreSQL a column has.
//!
//! In:       Arrow types.
//! Out:      `Shape`: number, width, modifier and name of the type; what a value is written as.
//! Promise:  every Arrow type has one; what PostgreSQL has no type for (structures, lists of lists) is JSON.

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    /// Digits together and behind the point, where they are bounded.
    Numeric(Option<(u8, i8)>),
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
    /// Of one dimension.
    Array(Box<Shape>),
}

impl Shape {
    pub(crate) fn of(data_type: &DataType) -> Self {
        use DataType as T;
        match data_type {
            T::Boolean => Self::Bool,
            T::Int8 | T::UInt8 | T::Int16 => Self::Int2,
            T::UInt16 | T::Int32 => Self::Int4,
            // Counts of rows are unsigned, as `row_number()` is; one that does not fit is a fault when it is told.
            T::UInt32 | T::Int64 | T::UInt64 => Self::Int8,
            T::Float16 | T::Float32 => Self::Float4,
            T::Float64 => Self::Float8,
            T::Decimal32(digits, scale)
            | T::Decimal64(digits, scale)
            | T::Decimal128(digits, scale)
            | T::Decimal256(digits, scale) => Self::Numeric(Some((*digits, *scale))),
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Self::Bytea,
            T::Date32 | T::Date64 => Self::Date,
            T::Time32(_) | T::Time64(_) => Self::Time,
            T::Timestamp(_, None) => Self::Timestamp,
            T::Timestamp(_, Some(_)) => Self::TimestampTz,
            T::Interval(_) | T::Duration(_) => Self::Interval,
            T::List(item)
            | T::LargeList(item)
            | T::FixedSizeList(item, _)
            | T::ListView(item)
            | T::LargeListView(item) => match Self::of(item.data_type()) {
                Self::Array(_) | Self::Json => Self::Json,
                item => Self::Array(Box::new(item)),
            },
            T::Struct(_) | T::Map(..) => Self::Json,
            T::Dictionary(_, of) => Self::of(of),
            T::RunEndEncoded(_, of) => Self::of(of.data_type()),
            // A union is what `json_get` gives: whichever it is.
            T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Union(..) => Self::Text,
        }
    }

    /// The one form of its values that is written; others are cast to it first. `None`: as they come, as JSON.
    pub(crate) fn canonical(&self) -> Option<DataType> {
        use DataType as T;
        Some(match self {
            Self::Bool => T::Boolean,
            Self::Int2 => T::Int16,
            Self::Int4 => T::Int32,
            Self::Int8 => T::Int64,
            Self::Float4 => T::Float32,
            Self::Float8 => T::Float64,
            // Its text is made of it.
            Self::Numeric(_) | Self::Text => T::Utf8,
            Self::Bytea => T::Binary,
            Self::Date => T::Date32,
            Self::Time => T::Time64(TimeUnit::Microsecond),
            Self::Timestamp => T::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => T::Interval(IntervalUnit::MonthDayNano),
            Self::Json | Self::Array(_) => return None,
        })
    }

    /// The type's number in `pg_type`.
    pub(crate) fn oid(&self) -> u32 {
        self.numbers().0
    }

    /// The number of the type of arrays of it; 0 for an array.
    pub(crate) fn array_oid(&self) -> u32 {
        self.numbers().1
    }

    /// PostgreSQL's own numbers, which are the same everywhere since ever.
    fn numbers(&self) -> (u32, u32) {
        match self {
            Self::Bool => (16, 1000),
            Self::Int2 => (21, 1005),
            Self::Int4 => (23, 1007),
            Self::Int8 => (20, 1016),
            Self::Float4 => (700, 1021),
            Self::Float8 => (701, 1022),
            Self::Numeric(_) => (1700, 1231),
            Self::Text => (25, 1009),
            Self::Bytea => (17, 1001),
            Self::Date => (1082, 1182),
            Self::Time => (1083, 1183),
            Self::Timestamp => (1114, 1115),
            Self::TimestampTz => (1184, 1185),
            Self::Interval => (1186, 1187),
            Self::Json => (114, 199),
            Self::Array(of) => (of.array_oid(), 0),
        }
    }

    /// Bytes of a value, or -1 where they vary.
    pub(crate) fn width(&self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Time | Self::Timestamp | Self::TimestampTz => 8,
            Self::Interval => 16,
            Self::Numeric(_) | Self::Text | Self::Bytea | Self::Json | Self::Array(_) => -1,
        }
    }

    /// What `numeric(18, 6)` has beside `numeric`; else -1.
    pub(crate) fn modifier(&self) -> i32 {
        match self {
            Self::Numeric(Some((digits, scale @ 0..))) => ((i32::from(*digits) << 16) | i32::from(*scale)) + 4,
            Self::Array(of) => of.modifier(),
            _ => -1,
        }
    }

    /// As `information_schema` and `format_type` call it.
    pub(crate) fn sql_name(&self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric(_) => "numeric",
            Self::Text => "text",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::TimestampTz => "timestamp with time zone",
            Self::Interval => "interval",
            Self::Json => "json",
            Self::Array(_) => "ARRAY",
        }
    }

    /// As `pg_type` calls it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Numeric(_) => "numeric",
            Self::Text => "text",
            Self::Bytea => "bytea",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Interval => "interval",
            Self::Json => "json",
            Self::Array(_) => "array",
        }
    }

    /// Every type that is no array.
    pub(crate) fn scalars() -> [Self; 15] {
        [
            Self::Bool,
            Self::Int2,
            Self::Int4,
            Self::Int8,
            Self::Float4,
            Self::Float8,
            Self::Numeric(None),
            Self::Text,
            Self::Bytea,
            Self::Date,
            Self::Time,
            Self::Timestamp,
            Self::TimestampTz,
            Self::Interval,
            Self::Json,
        ]
    }
}

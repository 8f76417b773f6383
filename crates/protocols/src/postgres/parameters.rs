//! Values of parameters, as literals of the statement they are for.
//!
//! In:       what a Bind brings: bytes, their format, the number of the type they are said to have.
//! Out:      expressions.
//! Promise:  a value becomes one literal and never more: it cannot bring SQL of its own. Both formats of a value give the same
//!           literal.
//!
//! Why literals, and not values beside the plan: our table functions are written out before there is a plan, and want to
//! see what they are called with.

use bytes::Buf as _;
use datafusion::sql::sqlparser::ast::{
    self, Array, ArrayElemTypeDef, CastKind, DataType, ExactNumberInfo, Expr, TimezoneInfo, Value,
};

use super::calendar::{self, DAY_US, EPOCH_DAYS, EPOCH_US};
use super::fault::Fault;
use super::frontend::Format;
use super::numeric;
use super::types::Shape;

/// The expression a value stands for.
///
/// * `oid`: 0 where nobody said; then it is a text, which the statement around it makes something of.
pub(crate) fn literal(oid: u32, format: Format, bytes: Option<&[u8]>) -> Result<Expr, Fault> {
    let Some(bytes) = bytes else { return Ok(value(Value::Null)) };
    match (kind_of(oid), format) {
        (Kind::Array(item), Format::Text) => {
            let items = split_array(text(bytes)?).ok_or_else(|| wrong("array"))?;
            let literals =
                items.iter().map(|text| text.as_ref().map_or(Ok(value(Value::Null)), |text| of_text(*item, text)));
            Ok(array(literals.collect::<Result<_, _>>()?))
        }
        (Kind::Array(item), Format::Binary) => array_of_bytes(item, bytes),
        (kind, Format::Text) => of_text(kind, text(bytes)?),
        (kind, Format::Binary) => of_bytes(kind, bytes),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int(u8),
    Float(u8),
    Numeric,
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Uuid,
    Jsonb,
    /// Of items that are none.
    Array(&'static Kind),
}

fn kind_of(oid: u32) -> Kind {
    match oid {
        16 => Kind::Bool,
        21 => Kind::Int(2),
        // A number of an object.
        23 | 26 => Kind::Int(4),
        20 => Kind::Int(8),
        700 => Kind::Float(4),
        701 => Kind::Float(8),
        1700 => Kind::Numeric,
        17 => Kind::Bytea,
        1082 => Kind::Date,
        1083 => Kind::Time,
        1114 => Kind::Timestamp,
        1184 => Kind::TimestampTz,
        1186 => Kind::Interval,
        2950 => Kind::Uuid,
        3802 => Kind::Jsonb,
        1000 => Kind::Array(&Kind::Bool),
        1005 => Kind::Array(&Kind::Int(2)),
        1007 | 1028 => Kind::Array(&Kind::Int(4)),
        1016 => Kind::Array(&Kind::Int(8)),
        1021 => Kind::Array(&Kind::Float(4)),
        1022 => Kind::Array(&Kind::Float(8)),
        1231 => Kind::Array(&Kind::Numeric),
        1002 | 1003 | 1009 | 1014 | 1015 => Kind::Array(&Kind::Text),
        1182 => Kind::Array(&Kind::Date),
        1115 => Kind::Array(&Kind::Timestamp),
        1185 => Kind::Array(&Kind::TimestampTz),
        2951 => Kind::Array(&Kind::Uuid),
        _ => Kind::Text,
    }
}

/// What a parameter of this type is to the planner, before it has a value.
pub(crate) fn sql_type(oid: u32) -> Option<DataType> {
    let of = |kind| {
        Some(match kind {
            Kind::Bool => DataType::Boolean,
            Kind::Int(2) => DataType::SmallInt(None),
            Kind::Int(4) => DataType::Integer(None),
            Kind::Int(_) => DataType::BigInt(None),
            Kind::Float(4) => DataType::Real,
            Kind::Float(_) => DataType::DoublePrecision,
            // With what precision its value says.
            Kind::Numeric | Kind::Array(_) => return None,
            Kind::Text | Kind::Uuid | Kind::Jsonb => DataType::Varchar(None),
            Kind::Bytea => DataType::Bytea,
            Kind::Date => DataType::Date,
            Kind::Time => DataType::Time(None, TimezoneInfo::None),
            Kind::Timestamp => DataType::Timestamp(None, TimezoneInfo::None),
            Kind::TimestampTz => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
            Kind::Interval => DataType::Interval { fields: None, precision: None },
        })
    };
    match (oid, kind_of(oid)) {
        (0, _) => None,
        (_, Kind::Array(item)) => {
            of(*item).map(|item| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None)))
        }
        (_, kind) => of(kind),
    }
}

pub(crate) fn value(value: Value) -> Expr {
    Expr::Value(value.into())
}

pub(crate) fn string(text: impl Into<String>) -> Expr {
    value(Value::SingleQuotedString(text.into()))
}

pub(crate) fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast { kind: CastKind::Cast, expr: Box::new(expr), data_type, array: false, format: None }
}

pub(crate) fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::encoding())
}

fn wrong(what: &str) -> Fault {
    Fault::new("22P02", format!("the value of a parameter is no {what}"))
}

fn of_text(kind: Kind, text: &str) -> Result<Expr, Fault> {
    let plain = text.trim();
    Ok(match kind {
        Kind::Bool => value(Value::Boolean(match plain.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => true,
            "f" | "false" | "n" | "no" | "off" | "0" => false,
            _ => return Err(wrong("boolean")),
        })),
        Kind::Int(_) => {
            value(Value::Number(plain.parse::<i64>().map_err(|_| wrong("whole number"))?.to_string(), false))
        }
        Kind::Float(_) => {
            plain.parse::<f64>().map_err(|_| wrong("number"))?;
            cast(string(plain), DataType::DoublePrecision)
        }
        Kind::Numeric => numeric_literal(plain)?,
        Kind::Text | Kind::Uuid | Kind::Jsonb => string(text),
        Kind::Bytea => value(Value::HexStringLiteral(bytea(plain).ok_or_else(|| wrong("bytea"))?)),
        // The JDBC driver says a day's time zone, too.
        Kind::Date => cast(string(plain.split_once(' ').map_or(plain, |(day, _)| day)), DataType::Date),
        Kind::Time => cast(string(plain), DataType::Time(None, TimezoneInfo::None)),
        Kind::Timestamp => cast(string(plain), DataType::Timestamp(None, TimezoneInfo::None)),
        Kind::TimestampTz => cast(string(plain), DataType::Timestamp(None, TimezoneInfo::WithTimeZone)),
        Kind::Interval => Expr::Interval(ast::Interval {
            value: Box::new(string(plain)),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }),
        Kind::Array(_) => return Err(wrong("array of one dimension")),
    })
}

/// With as many digits behind the point as it has.
fn numeric_literal(text: &str) -> Result<Expr, Fault> {
    /// As many as a decimal of 128 bits has.
    const DIGITS_MAX: usize = 38;
    let digits = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = !digits.is_empty() && whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
    if !is_plain || DIGITS_MAX < whole.len() + fraction.len() {
        // 1e-7, NaN: of a number that is not written out there is no exact form.
        text.parse::<f64>().map_err(|_| wrong("number"))?;
        return Ok(cast(string(text), DataType::DoublePrecision));
    }
    let info = ExactNumberInfo::PrecisionAndScale(DIGITS_MAX as u64, i64::try_from(fraction.len()).unwrap_or(i64::MAX));
    Ok(cast(string(text), DataType::Decimal(info)))
}

/// As hexadecimal digits, from `\x00ff` or PostgreSQL's older form.
fn bytea(text: &str) -> Option<String> {
    let hex = |bytes: &mut dyn Iterator<Item = u8>| bytes.map(|byte| format!("{byte:02x}")).collect::<String>();
    if let Some(digits) = text.strip_prefix("\\x") {
        let whole = digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        return whole.then(|| digits.to_owned());
    }
    let mut found = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            found.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"\\") {
            found.push(b'\\');
            rest = after;
        } else {
            let digits = std::str::from_utf8(rest.get(..3)?).ok()?;
            found.push(u8::from_str_radix(digits, 8).ok()?);
            rest = &rest[3..];
        }
    }
    Some(hex(&mut found.into_iter()))
}

fn of_bytes(kind: Kind, bytes: &[u8]) -> Result<Expr, Fault> {
    fn exact<const N: usize>(bytes: &[u8], what: &str) -> Result<[u8; N], Fault> {
        bytes.try_into().map_err(|_| wrong(what))
    }
    let int = |bytes: &[u8]| {
        Ok::<i64, Fault>(match bytes.len() {
            2 => i16::from_be_bytes(exact(bytes, "smallint")?).into(),
            4 => i32::from_be_bytes(exact(bytes, "integer")?).into(),
            _ => i64::from_be_bytes(exact(bytes, "bigint")?),
        })
    };
    let words = match kind {
        Kind::Bool => return Ok(value(Value::Boolean(exact::<1>(bytes, "boolean")? != [0]))),
        Kind::Int(width) if bytes.len() != usize::from(width) => return Err(wrong("whole number of its width")),
        Kind::Int(_) => int(bytes)?.to_string(),
        Kind::Float(4) => f32::from_be_bytes(exact(bytes, "real")?).to_string(),
        Kind::Float(_) => f64::from_be_bytes(exact(bytes, "double precision")?).to_string(),
        Kind::Numeric => numeric::read(bytes).ok_or_else(|| wrong("number with so many digits"))?,
        Kind::Text => text(bytes)?.to_owned(),
        Kind::Jsonb => text(bytes.strip_prefix(&[1]).ok_or_else(|| wrong("jsonb"))?)?.to_owned(),
        Kind::Bytea => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok(value(Value::HexStringLiteral(digits)));
        }
        Kind::Uuid => {
            let digits = format!("{:032x}", u128::from_be_bytes(exact(bytes, "uuid")?));
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            parts.join("-")
        }
        Kind::Date => {
            let days = i32::from_be_bytes(exact(bytes, "date")?);
            calendar::date(days.checked_add(EPOCH_DAYS).ok_or_else(|| wrong("date in reach"))?)
        }
        Kind::Time => {
            let us = i64::from_be_bytes(exact(bytes, "time")?);
            if !(0..DAY_US).contains(&us) {
                return Err(wrong("time"));
            }
            calendar::time(us)
        }
        Kind::Timestamp | Kind::TimestampTz => {
            let us = i64::from_be_bytes(exact(bytes, "timestamp")?);
            let us = us.checked_add(EPOCH_US).ok_or_else(|| wrong("timestamp in reach"))?;
            calendar::timestamp(us, if kind == Kind::TimestampTz { "+00:00" } else { "" })
        }
        Kind::Interval => {
            let mut bytes = &exact::<16>(bytes, "interval")?[..];
            let (us, days, months) = (bytes.get_i64(), bytes.get_i32(), bytes.get_i32());
            format!("{months} months {days} days {}.{:06} seconds", us / 1_000_000, (us % 1_000_000).abs())
        }
        Kind::Array(_) => return Err(wrong("array of one dimension")),
    };
    of_text(kind, &words)
}

fn array_of_bytes(item: &Kind, mut bytes: &[u8]) -> Result<Expr, Fault> {
    let short = |_| wrong("array");
    let dimensions = bytes.try_get_i32().map_err(short)?;
    let (_has_null, _oid) = (bytes.try_get_i32().map_err(short)?, bytes.try_get_u32().map_err(short)?);
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = bytes.try_get_u32().map_err(short)?;
            bytes.try_get_i32().map_err(short)?;
            count
        }
        _ => return Err(wrong("array of one dimension")),
    };
    let mut items = Vec::new();
    for _ in 0..count {
        let length = bytes.try_get_u32().map_err(short)?;
        if length == u32::MAX {
            items.push(value(Value::Null));
            continue;
        }
        let (this, rest) = bytes.split_at_checked(length as usize).ok_or_else(|| wrong("array"))?;
        items.push(of_bytes(*item, this)?);
        bytes = rest;
    }
    Ok(array(items))
}

/// The items of `{a,"b c",NULL}`; `None` where it is no array of one dimension.
pub(crate) fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(items);
    }
    loop {
        while chars.next_if(|char| char.is_ascii_whitespace()).is_some() {}
        let mut item = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next()? {
                    '"' => break,
                    '\\' => item.push(chars.next()?),
                    char => item.push(char),
                }
            }
            items.push(Some(item));
            while chars.next_if(|char| char.is_ascii_whitespace()).is_some() {}
        } else {
            while let Some(char) = chars.next_if(|char| *char != ',') {
                match char {
                    '{' | '}' | '"' => return None,
                    '\\' => item.push(chars.next()?),
                    char => item.push(char),
                }
            }
            let item = item.trim_end();
            if item.is_empty() {
                return None;
            }
            items.push((!item.eq_ignore_ascii_case("null")).then(|| item.to_owned()));
        }
        match chars.next() {
            None => return Some(items),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// The number of the type a column or parameter of this Arrow type has.
pub(crate) fn oid_of(data_type: Option<&arrow::datatypes::DataType>) -> u32 {
    data_type.map_or(Shape::Text.oid(), |data_type| Shape::of(data_type).oid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sql(oid: u32, format: Format, bytes: &[u8]) -> String {
        literal(oid, format, Some(bytes)).unwrap().to_string()
    }

    #[test]
    fn text_and_bytes_of_a_value_give_one_literal() {
        let cases: &[(u32, &str, &[u8], &str)] = &[
            (16, "t", &[1], "true"),
            (21, "-2", &[0xff, 0xfe], "-2"),
            (23, "7", &[0, 0, 0, 7], "7"),
            (20, "-9223372036854775808", &[0x80, 0, 0, 0, 0, 0, 0, 0], "-9223372036854775808"),
            (701, "1.5", &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], "CAST('1.5' AS DOUBLE PRECISION)"),
            (1700, "-1.5", &[0, 2, 0, 0, 0x40, 0, 0, 1, 0, 1, 0x13, 0x88], "CAST('-1.5' AS DECIMAL(38,1))"),
            (25, "it's", b"it's", "'it''s'"),
            (0, "it's", b"it's", "'it''s'"),
            (17, "\\x00ff", &[0, 0xff], "X'00ff'"),
            (17, "\\000\\377", &[0, 0xff], "X'00ff'"),
            (1082, "2026-01-05 +00", &[0, 0, 0x25, 0x1d], "CAST('2026-01-05' AS DATE)"),
            (
                1114,
                "2000-01-01 00:00:01",
                &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40],
                "CAST('2000-01-01 00:00:01' AS TIMESTAMP)",
            ),
            (
                2950,
                "00000000-0000-0000-0000-0000000000ff",
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff],
                "'00000000-0000-0000-0000-0000000000ff'",
            ),
            (
                1009,
                "{a,\"b,\\\"c\",NULL,\"null\"}",
                &[
                    0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 4, b'b',
                    b',', b'"', b'c', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4, b'n', b'u', b'l', b'l',
                ],
                "ARRAY['a', 'b,\"c', NULL, 'null']",
            ),
            (1016, "{}", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20], "ARRAY[]"),
        ];
        for (oid, text, bytes, expected) in cases {
            assert_eq!(sql(*oid, Format::Text, text.as_bytes()), *expected, "text of {oid}");
            assert_eq!(sql(*oid, Format::Binary, bytes), *expected, "bytes of {oid}");
        }
        assert_eq!(literal(23, Format::Binary, None).unwrap().to_string(), "NULL");
    }

    #[test]
    fn what_is_no_value_of_its_type_is_refused() {
        for (oid, text) in [(16, "maybe"), (23, "1; DROP"), (701, "x"), (1700, "1' OR '"), (17, "\\xzz"), (1009, "{a")]
        {
            assert_eq!(literal(oid, Format::Text, Some(text.as_bytes())).unwrap_err().code, "22P02", "{oid} {text}");
        }
        assert!(literal(25, Format::Text, Some(&[0xff])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_of_any_type_panic(oid in 0_u32..4_000, bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            drop(literal(oid, Format::Binary, Some(&bytes)));
            drop(literal(oid, Format::Text, Some(&bytes)));
        }
    }
}

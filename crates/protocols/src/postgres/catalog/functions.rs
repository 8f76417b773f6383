//! What clients call to have the catalog's numbers in words.
//!
//! Not here: functions whose answer is the same for whoever asks; they are put into the statement (`rewrite.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

use super::super::types::Shape;

/// * `views`: the text of each, by number.
pub(super) fn all(views: HashMap<i64, String>) -> Vec<Arc<ScalarUDF>> {
    let format_type = create_udf(
        "format_type",
        vec![DataType::Int64, DataType::Int64],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(|arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let [oids, modifiers] = &arrays[..] else { return exec_err!("format_type takes a type and its modifier") };
            let (oids, modifiers) = (oids.as_primitive::<Int64Type>(), modifiers.as_primitive::<Int64Type>());
            let of = |row: usize| {
                (!oids.is_null(row))
                    .then(|| type_text(oids.value(row), modifiers.is_valid(row).then(|| modifiers.value(row))))
            };
            Ok(ColumnarValue::Array(Arc::new((0..oids.len()).map(of).collect::<StringArray>())))
        }),
    );
    let view_definition = create_udf(
        "pg_get_viewdef",
        vec![DataType::Int64],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(move |arguments: &[ColumnarValue]| {
            let arrays = ColumnarValue::values_to_arrays(arguments)?;
            let [oids] = &arrays[..] else { return exec_err!("pg_get_viewdef takes a view") };
            let of = |oid: Option<i64>| views.get(&oid?).cloned();
            let texts = oids.as_primitive::<Int64Type>().iter().map(of);
            Ok(ColumnarValue::Array(Arc::new(texts.collect::<StringArray>())))
        }),
    );
    let all =
        [format_type, view_definition, of_text("quote_ident", quoted_name), of_text("quote_literal", quoted_text)];
    all.map(Arc::new).into()
}

fn of_text(name: &str, quote: fn(&str) -> String) -> ScalarUDF {
    let function = move |arguments: &[ColumnarValue]| -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let [texts] = &arrays[..] else { return exec_err!("it takes one text") };
        let quoted = texts.as_string::<i32>().iter().map(|text| text.map(quote));
        Ok(ColumnarValue::Array(Arc::new(quoted.collect::<StringArray>())))
    };
    create_udf(name, vec![DataType::Utf8], DataType::Utf8, Volatility::Immutable, Arc::new(function))
}

/// As it must be written in a statement.
fn quoted_name(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.starts_with(|char: char| char.is_ascii_digit())
        && !name.is_empty();
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A type in SQL's words.
fn type_text(oid: i64, modifier: Option<i64>) -> String {
    let of = |shape: &Shape, array: &str| match (shape, modifier) {
        (Shape::Numeric(_), Some(modifier @ 4..)) => {
            let modifier = modifier - 4;
            format!("numeric({},{}){array}", modifier >> 16, modifier & 0xffff)
        }
        _ => format!("{}{array}", shape.sql_name()),
    };
    for shape in Shape::scalars() {
        if oid == i64::from(shape.oid()) {
            return of(&shape, "");
        }
        if oid == i64::from(shape.array_oid()) {
            return of(&shape, "[]");
        }
    }
    match oid {
        0 => "-",
        18 => "\"char\"",
        19 => "name",
        26 => "oid",
        1043 => "character varying",
        _ => "???",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_names_are_written_as_in_sql() {
        let money = i64::from(Shape::Numeric(Some((18, 6))).modifier());
        assert_eq!(type_text(1700, Some(money)), "numeric(18,6)");
        assert_eq!(type_text(1700, Some(-1)), "numeric");
        assert_eq!(type_text(1009, Some(-1)), "text[]");
        assert_eq!(type_text(1184, None), "timestamp with time zone");
        assert_eq!(type_text(999_999, None), "???");
        assert_eq!(quoted_name("events"), "events");
        assert_eq!(quoted_name("a\"B"), "\"a\"\"B\"");
        assert_eq!(quoted_name("1a"), "\"1a\"");
        assert_eq!(quoted_text("it's"), "'it''s'");
    }
}

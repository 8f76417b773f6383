//! Templates: how the text of a mapping is filled from a row.
//!
//! In:      `"{year}-{month:02}"` and a row.
//! Out:     a JSON value, or nothing when every column it names is empty in this row.
//! Promise: what is wrong with a template is told when the mapping is read, not at the first row.

use serde_json::Value;

use super::amount::{self, Marks};
use super::row::Row;
use super::time;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Column { name: String, form: Form },
}

/// What stands behind the colon of `{column:form}`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Plain,
    /// `:02`: zeros in front up to this many characters.
    Padded(usize),
    /// `:number`: a JSON number, where the placeholder stands alone.
    Number(Marks),
    /// `:amount`: an amount of money, as text, without its currency.
    Amount(Marks),
    /// `:currency`: the currency that an amount's sign or code says.
    Currency,
    /// `:bool`: true for true, yes, 1; false for false, no, 0.
    Bool,
    /// `:unix_s`, `:unix_ms`, `:unix_us`: a time counted since 1970, with its microseconds a unit.
    Unix(i64),
}

impl Template {
    /// * `marks`: what stands between the digits of numbers and amounts.
    ///
    /// `{{` and `}}` stand for the braces themselves.
    pub(crate) fn parse(text: &str, marks: Marks) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(char) = chars.next() {
            match char {
                '{' if chars.next_if_eq(&'{').is_some() => plain.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => plain.push('}'),
                '}' => return Err(format!("{text:?} has a '}}' without its '{{'; write '}}}}' for the brace itself")),
                '{' => {
                    let mut inside = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            Some(char) => inside.push(char),
                            None => return Err(format!("{text:?} has a '{{' without its '}}'")),
                        }
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(column(&inside, marks).map_err(|why| format!("{text:?}: {why}"))?);
                }
                other => plain.push(other),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// The value of one column as it is.
    pub(crate) fn of_column(name: &str) -> Self {
        Self { pieces: vec![Piece::Column { name: name.to_owned(), form: Form::Plain }] }
    }

    /// The same, where a column that stands alone and as it is holds money.
    pub(crate) fn of_money(mut self, marks: Marks) -> Self {
        if let [Piece::Column { form, .. }] = self.pieces.as_mut_slice()
            && *form == Form::Plain
        {
            *form = Form::Amount(marks);
        }
        self
    }

    /// The text, where no column is named.
    pub(crate) fn fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Column { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The filled template; `None` when it names columns and all of them are empty.
    pub(crate) fn fill(&self, row: &Row) -> Result<Option<Value>, String> {
        if let [Piece::Column { name, form }] = self.pieces.as_slice() {
            let value = row.get(name).filter(|value| !is_empty(value));
            return value.map(|value| typed(name, *form, &value)).transpose();
        }
        let mut out = String::new();
        let (mut named, mut found) = (0, 0);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Column { name, form } => {
                    named += 1;
                    let Some(value) = row.get(name).filter(|value| !is_empty(value)) else { continue };
                    found += 1;
                    match typed(name, *form, &value)? {
                        Value::String(text) => out.push_str(&text),
                        other => out.push_str(&other.to_string()),
                    }
                }
            }
        }
        Ok((named == 0 || found > 0).then_some(Value::String(out)))
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

fn column(inside: &str, marks: Marks) -> Result<Piece, String> {
    let (name, form) = match inside.rsplit_once(':') {
        None => (inside, Form::Plain),
        Some((name, form)) => match form {
            "number" => (name, Form::Number(marks)),
            "amount" => (name, Form::Amount(marks)),
            "currency" => (name, Form::Currency),
            "bool" => (name, Form::Bool),
            "unix_s" => (name, Form::Unix(1_000_000)),
            "unix_ms" => (name, Form::Unix(1_000)),
            "unix_us" => (name, Form::Unix(1)),
            padded if padded.starts_with('0') && padded.len() > 1 => {
                let width = padded[1..].parse::<usize>().ok().filter(|width| *width <= 32);
                let width = width.ok_or_else(|| format!("{padded:?} is no width; write for example {{{name}:02}}"))?;
                (name, Form::Padded(width))
            }
            other => {
                return Err(format!(
                    "{other:?} is no form; use 02 (zeros in front), amount, currency, number, bool, unix_s, unix_ms or unix_us"
                ));
            }
        },
    };
    if name.is_empty() {
        return Err("there is no column name between the braces".to_owned());
    }
    Ok(Piece::Column { name: name.to_owned(), form })
}

fn typed(name: &str, form: Form, value: &Value) -> Result<Value, String> {
    let text = || match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match form {
        // A number of a JSON file stays a number.
        Form::Plain => Ok(value.clone()),
        Form::Padded(width) => Ok(Value::String(format!("{:0>width$}", text()))),
        // A number of a JSON file has no marks, and an amount of one none of a country.
        Form::Number(_) | Form::Amount(_) if value.is_number() => Ok(value.clone()),
        Form::Number(marks) => {
            let text = text();
            let as_written = Some(text.trim()).filter(|_| marks == Marks::default()).and_then(number);
            match as_written {
                Some(value) => Ok(value),
                None => {
                    let plain = marks.number(&text).map_err(|why| format!("column {name:?}: {why}"))?;
                    number(&plain).ok_or_else(|| format!("column {name:?}: {text:?} is not a number"))
                }
            }
        }
        Form::Amount(marks) => {
            let text = text();
            // Blanks are no amount, and nothing that anybody would miss.
            if text.trim().is_empty() {
                return Ok(Value::String(text));
            }
            marks.amount(&text).map(Value::String).map_err(|why| format!("column {name:?}: {why}"))
        }
        Form::Currency => {
            amount::currency_of(&text()).map(Value::String).map_err(|why| format!("column {name:?}: {why}"))
        }
        Form::Bool => match text().trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" => Ok(Value::Bool(true)),
            "false" | "no" | "0" => Ok(Value::Bool(false)),
            other => Err(format!("column {name:?}: {other:?} is neither true nor false")),
        },
        Form::Unix(unit_us) => {
            let text = text();
            let count: i64 =
                text.trim().parse().map_err(|_| format!("column {name:?}: {text:?} is no count since 1970"))?;
            let time_us = count.checked_mul(unit_us);
            let shown = time_us.and_then(time::show);
            shown.map(Value::String).ok_or_else(|| format!("column {name:?}: {count} lies outside the years 1 to 9999"))
        }
    }
}

fn number(text: &str) -> Option<Value> {
    let whole = text.parse::<i64>().ok().map(Value::from);
    whole.or_else(|| text.parse::<f64>().ok().filter(|value| value.is_finite()).map(Value::from))
}

#[cfg(test)]
mod tests {
    use super::super::row::{Body, Columns, Row};
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn row(cells: &[(&str, &str)]) -> Row {
        let columns = Arc::new(Columns::new(cells.iter().map(|(name, _)| (*name).to_owned()).collect()));
        let cells = cells.iter().map(|(_, cell)| (*cell).to_owned()).collect();
        Row { line: 2, body: Body::Cells { columns, cells }, content_hash: 0 }
    }

    fn fill(template: &str, cells: &[(&str, &str)]) -> Result<Option<Value>, String> {
        Template::parse(template, Marks::default()).unwrap().fill(&row(cells))
    }

    #[test]
    fn placeholders_take_the_columns_value_in_the_form_asked_for() {
        let cells = [("session ID", "7"), ("m", "4"), ("price", "28.5"), ("member", "Yes"), ("t", "1207008000")];
        for (template, value) in [
            ("{session ID}", json!("7")),
            ("s-{session ID}/{m:02}", json!("s-7/04")),
            ("{price:number}", json!(28.5)),
            ("{m:number}", json!(4)),
            ("{member:bool}", json!(true)),
            ("{t:unix_s}", json!("2008-04-01T00:00:00Z")),
            ("{{{m}}}", json!("{4}")),
            ("fixed", json!("fixed")),
        ] {
            assert_eq!(fill(template, &cells), Ok(Some(value)), "{template}");
        }
    }

    #[test]
    fn a_template_whose_columns_are_all_empty_is_absent() {
        assert_eq!(fill("{a}", &[("a", "")]), Ok(None));
        assert_eq!(fill("x{a}", &[("a", "")]), Ok(None));
        assert_eq!(fill("{a}/{b}", &[("a", ""), ("b", "1")]), Ok(Some(json!("/1"))));
    }

    #[test]
    fn a_value_of_the_wrong_form_says_which_column() {
        let error = fill("{price:number}", &[("price", "n/a")]).unwrap_err();
        assert!(error.contains("\"price\"") && error.contains("n/a"), "{error}");
    }

    #[test]
    fn numbers_and_amounts_have_the_marks_that_are_stated() {
        let cells = [("price", "1.234,5"), ("total", "1.234,50 €")];
        let german = Marks { decimal: ',', thousands: Some('.') };
        for (template, value) in [
            ("{price:number}", json!(1234.5)),
            ("{total:amount}", json!("1234.50")),
            ("{total:currency}", json!("EUR")),
        ] {
            let template = Template::parse(template, german).unwrap();
            assert_eq!(template.fill(&row(&cells)), Ok(Some(value)), "{template:?}");
        }
        let told = fill("{price:number}", &cells).unwrap_err();
        assert!(told.contains("\"price\"") && told.contains("decimal = \",\""), "{told}");
    }

    #[test]
    fn a_broken_template_is_told_when_it_is_read() {
        for text in ["{a", "a}", "{}", "{a:what}", "{a:0x}"] {
            assert!(Template::parse(text, Marks::default()).is_err(), "{text}");
        }
    }
}

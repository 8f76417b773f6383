//! Arguments that are numbers, and amounts that are summed over events.
//!
//! In:       a call's arguments.
//! Out:      numbers within their bounds; SQL of an amount.
//! Promise:  a number out of bounds is told with what is wanted; a condition as an amount counts 1.

use datafusion::arrow::datatypes::DataType;
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value, ValueWithSpan};

use super::Arguments;
use crate::error::QueryError;

impl Arguments<'_> {
    /// Whether the function has such an argument at all.
    pub(crate) fn takes(&self, name: &str) -> bool {
        self.spec.parameters.iter().any(|parameter| parameter.name == name)
    }

    /// * `wanted`: what is sound, in words.
    pub(crate) fn number(
        &self,
        name: &'static str,
        is_sound: impl Fn(f64) -> bool,
        wanted: &str,
    ) -> Result<f64, QueryError> {
        let value = self.present(name)?;
        self.number_of(name, &value, is_sound, wanted)
    }

    pub(crate) fn maybe_number(
        &self,
        name: &'static str,
        is_sound: impl Fn(f64) -> bool,
        wanted: &str,
    ) -> Result<Option<f64>, QueryError> {
        if self.value(name)?.is_some() { self.number(name, is_sound, wanted).map(Some) } else { Ok(None) }
    }

    /// A list of numbers; empty for NULL.
    pub(crate) fn numbers(
        &self,
        name: &'static str,
        is_sound: impl Fn(f64) -> bool,
        wanted: &str,
    ) -> Result<Vec<f64>, QueryError> {
        self.list(name)?.iter().map(|value| self.number_of(name, value, &is_sound, wanted)).collect()
    }

    fn number_of(
        &self,
        name: &'static str,
        value: &Expr,
        is_sound: impl Fn(f64) -> bool,
        wanted: &str,
    ) -> Result<f64, QueryError> {
        let number = plain_number(value).filter(|number| number.is_finite() && is_sound(*number));
        number.ok_or_else(|| self.fault(format!("{name} is {value}: give {wanted}")))
    }

    /// An amount of each event, NULL where it has none; a condition is 1 where it holds.
    pub(crate) fn amount(&self, name: &'static str) -> Result<String, QueryError> {
        let expression = self.plain_or_text(&self.present(name)?, name)?;
        match self.checker.type_of(&expression).map_err(|reason| self.fault(format!("{name}: {reason}")))? {
            Some(DataType::Boolean) => Ok(format!("CASE WHEN ({expression}) THEN 1 END")),
            Some(other) if !other.is_numeric() && !other.is_null() => {
                let other = if other.is_string() { "text".to_owned() } else { other.to_string() };
                Err(self.fault(format!("{name} is of type {other}, neither a number nor a condition")))
            }
            _ => Ok(expression.to_string()),
        }
    }

    pub(crate) fn maybe_amount(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        if self.value(name)?.is_some() { self.amount(name).map(Some) } else { Ok(None) }
    }
}

fn plain_number(value: &Expr) -> Option<f64> {
    match value {
        Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.parse().ok(),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => plain_number(expr).map(|number| -number),
        _ => None,
    }
}

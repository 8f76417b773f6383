//! `one_currency(value, first, last)`: an amount that was made of others, if all of them are in one currency.
//!
//! In:       a measure as SQL; or, as a function, what it made and the first and last by name of the currencies it was made of.
//! Out:      the measure with each aggregate of amounts inside `one_currency`; or what it made.
//! Promise:  amounts of several currencies are refused, with how to choose one. An amount of 0 is 0 in any currency; one that
//!           says none is not of any other's.
//! Not here: amounts that are counted, or compared with a number: that adds none up.

use std::ops::ControlFlow;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, visit_expressions_mut,
};

use crate::table_function::parse_expression;

const NAME: &str = "one_currency";

/// Aggregates that make one amount of many.
const ADDING: [&str; 14] = [
    "sum",
    "avg",
    "mean",
    "min",
    "max",
    "median",
    "stddev",
    "stddev_samp",
    "stddev_pop",
    "var",
    "var_samp",
    "var_pop",
    "approx_median",
    "approx_percentile_cont",
];

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(OneCurrency { signature: Signature::any(3, Volatility::Immutable) })
}

/// The same measure, which refuses amounts of several currencies.
pub(super) fn guarded(measure: &str) -> String {
    let Ok(mut expression) = parse_expression(measure) else { return measure.to_owned() };
    let ControlFlow::Continue(()) = visit_expressions_mut(&mut expression, |part| {
        if let Some(guarded) = guard(part) {
            *part = guarded;
        }
        ControlFlow::<std::convert::Infallible>::Continue(())
    });
    expression.to_string()
}

fn guard(aggregate: &Expr) -> Option<Expr> {
    let Expr::Function(Function { name, args: FunctionArguments::List(list), filter, .. }) = aggregate else {
        return None;
    };
    let name = name.to_string().to_lowercase();
    let amount = list.args.iter().filter_map(argument).next().filter(|amount| is_amount(amount))?;
    if !ADDING.contains(&name.as_str()) {
        return None;
    }
    let filter = filter.as_ref().map(|filter| format!(" FILTER (WHERE {filter})")).unwrap_or_default();
    let currency = format!("CASE WHEN ({amount}) <> 0 THEN coalesce(currency, 'XXX') END");
    parse_expression(&format!("{NAME}({aggregate}, min({currency}){filter}, max({currency}){filter})")).ok()
}

fn argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    }
}

/// Whether it is made of amounts as they stand: `value`, or what arithmetic and choices make of it.
fn is_amount(expression: &Expr) -> bool {
    match expression {
        Expr::Identifier(name) => name.value.eq_ignore_ascii_case("value"),
        Expr::CompoundIdentifier(names) => names.last().is_some_and(|name| name.value.eq_ignore_ascii_case("value")),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } | Expr::UnaryOp { expr: inner, .. } => is_amount(inner),
        Expr::BinaryOp { left, op, right } => {
            use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
            matches!(op, Plus | Minus | Multiply | Divide | Modulo) && (is_amount(left) || is_amount(right))
        }
        Expr::Case { conditions, else_result, .. } => {
            conditions.iter().any(|when| is_amount(&when.result)) || else_result.as_deref().is_some_and(is_amount)
        }
        Expr::Function(Function { args: FunctionArguments::List(list), .. }) => {
            list.args.iter().filter_map(argument).any(is_amount)
        }
        _ => false,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OneCurrency {
    signature: Signature,
}

impl ScalarUDFImpl for OneCurrency {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let text = |index: usize| -> Result<_> {
            Ok(cast(&arguments.args[index].to_array(arguments.number_rows)?, &DataType::Utf8)?)
        };
        let (first, last) = (text(1)?, text(2)?);
        let both = first.as_string::<i32>().iter().zip(last.as_string::<i32>());
        if let Some((first, last)) =
            both.filter_map(|(first, last)| first.zip(last)).find(|(first, last)| first != last)
        {
            return exec_err!(
                "metric: the amounts are in several currencies, {first} and {last} among them (XXX: none said), which cannot be \
                 added; choose one: filter => currency = '{first}' AND ..., tell them apart: by => currency, or add them in the \
                 reporting currency: sum(value_reporting)"
            );
        }
        Ok(arguments.args[0].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_adds_amounts_is_guarded_and_what_does_not_stays() {
        for same in [
            "count(*)",
            "count(value)",
            "sum(value_reporting)",
            "sum(CASE WHEN value > 100 THEN 1 ELSE 0 END)",
            "count(DISTINCT person_id)",
        ] {
            assert_eq!(guarded(same), same);
        }
        let currency = |amount: &str| format!("CASE WHEN ({amount}) <> 0 THEN coalesce(currency, 'XXX') END");
        assert_eq!(
            guarded("sum(value) FILTER (WHERE event_kind = 'conversion') / count(*)"),
            format!(
                "one_currency(sum(value) FILTER (WHERE event_kind = 'conversion'), min({of}) FILTER (WHERE event_kind = 'conversion'), \
                 max({of}) FILTER (WHERE event_kind = 'conversion')) / count(*)",
                of = currency("value")
            )
        );
        for (measure, amount) in [
            ("avg(person_events.Value)", "person_events.Value"),
            ("max(coalesce(value, 0) * 2)", "coalesce(value, 0) * 2"),
            ("sum(CASE WHEN currency = 'EUR' THEN value END)", "CASE WHEN currency = 'EUR' THEN value END"),
        ] {
            let of = currency(amount);
            assert_eq!(guarded(measure), format!("one_currency({measure}, min({of}), max({of}))"));
        }
    }
}

//! Table functions: how they are called, and the one place that knows them all.
//!
//! In:       a call with named arguments: `funnel(steps => [...], window => '1 day')`.
//! Out:      the query the call stands for.
//! Promise:  names are checked, defaults filled in, and each condition is tried against the events before the
//!           whole is planned, so that a fault is told by the name of the argument it is in. Each fault comes with
//!           the usage and an example.
//! Not here: what the functions mean (their folders).
//!
//! A condition or key may be written plainly (`event_kind = 'page'`) or as text (`'event_kind = ''page'''`):
//! plainly is easier to read, text is easier to fill in from programs.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use datafusion::arrow::compute::kernels::cast_utils::Parser as _;
use datafusion::arrow::datatypes::{DataType, Date32Type};
use datafusion::common::{DFSchema, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ExprSchemable;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::find_aggregate_exprs;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    self, Array, Expr, FunctionArg, FunctionArgExpr, FunctionArgOperator, Query, Value, ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::complexity;
use crate::definitions::Kind;
use crate::duration;
use crate::error::{self, QueryError};
use crate::fold::Folding;
use crate::{attribution, experiment, funnel, metric, path, retention, sessionize};

mod numbers;
mod rows;

pub(crate) use rows::{DONE, DONE_BY_PEOPLE, FoldRows, Wants, as_text, never};

/// What a table function is called and takes.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    /// In the order arguments without a name are taken in.
    pub(crate) parameters: &'static [Parameter],
    pub(crate) example: &'static str,
}

pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// As SQL; `None` if it must be given.
    pub(crate) default: Option<&'static str>,
}

/// What must be given.
pub(crate) const fn needed(name: &'static str) -> Parameter {
    Parameter { name, default: None }
}

pub(crate) const fn with_default(name: &'static str, default: &'static str) -> Parameter {
    Parameter { name, default: Some(default) }
}

/// What a call stands for.
pub(crate) enum Written {
    /// A query in its place.
    Query(String),
    /// A fold of the rows of a query.
    Fold { input: String, folding: Folding },
}

impl From<String> for Written {
    fn from(sql: String) -> Self {
        Self::Query(sql)
    }
}

type WriteOut = fn(&Arguments<'_>) -> Result<Written, QueryError>;

const ALL: &[(&Spec, WriteOut)] = &[
    (&funnel::SPEC, funnel::write_out),
    (&funnel::TREND, funnel::write_out_trend),
    (&funnel::ACTORS, funnel::write_out_actors),
    (&funnel::TIMES, funnel::write_out_times),
    (&funnel::CURVE, funnel::write_out_curve),
    (&attribution::TOUCHPOINTS, attribution::write_out_touchpoints),
    (&attribution::ATTRIBUTION, attribution::write_out_attribution),
    (&attribution::CONVERSION_PATHS, attribution::write_out_conversion_paths),
    (&experiment::SPEC, experiment::write_out),
    (&experiment::DAYS, experiment::write_out_days),
    (&experiment::ACTORS, experiment::write_out_actors),
    (&experiment::PLAN, experiment::write_out_plan),
    (&path::PATHS, path::write_out),
    (&path::LIST, path::write_out_list),
    (&path::NGRAMS, path::write_out_ngrams),
    (&sessionize::SPEC, sessionize::write_out),
    (&retention::RETENTION, retention::write_out),
    (&retention::OVERALL, retention::write_out_overall),
    (&retention::LIFECYCLE, retention::write_out_lifecycle),
    (&retention::STICKINESS, retention::write_out_stickiness),
    (&retention::ACTIVE, retention::write_out_active),
    (&retention::RFM, retention::write_out_rfm),
    (&metric::SPEC, metric::write_out),
];

pub(crate) fn names() -> Vec<&'static str> {
    ALL.iter().map(|(spec, _)| spec.name).collect()
}

pub(crate) fn specs() -> impl Iterator<Item = &'static Spec> {
    ALL.iter().map(|(spec, _)| *spec)
}

/// How a function is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub name: &'static str,
    /// With every argument and its default.
    pub call: String,
    pub example: &'static str,
}

/// Of each function, for whoever writes a call.
pub fn usages() -> Vec<Usage> {
    specs().map(usage).collect()
}

fn usage(spec: &Spec) -> Usage {
    let told = |parameter: &Parameter| match parameter.default {
        None => format!("{} => (needed)", parameter.name),
        Some(default) => format!("{} => {default}", parameter.name),
    };
    let definition = Kind::of_function(spec.name).map(|_| "definition => NULL".to_owned());
    let parameters: Vec<String> = spec.parameters.iter().map(told).chain(definition).collect();
    Usage { name: spec.name, call: format!("{}({})", spec.name, parameters.join(", ")), example: spec.example }
}

pub(crate) fn spec(name: &str) -> Option<&'static Spec> {
    specs().find(|spec| spec.name == name)
}

pub(crate) fn is_known(name: &str) -> bool {
    spec(name).is_some()
}

/// What a call is replaced by.
pub(crate) enum Replacement {
    Query(Box<Query>),
    /// A name for the answer of the fold, and the query that it is of.
    Fold(Box<Query>, Folding),
}

/// `None` if `name` is no table function of ours.
pub(crate) fn write_out(
    name: &str,
    arguments: Vec<FunctionArg>,
    checker: &Checker<'_>,
) -> Option<Result<Replacement, QueryError>> {
    let (spec, write_out) = ALL.iter().find(|(spec, _)| spec.name == name)?;
    Some(Arguments::read(spec, arguments, checker).and_then(|arguments| {
        // Ours always parses; a condition is printed from its tree, and may be one the printer gets wrong.
        let parse = |sql: &str| {
            let parsed = Parser::new(&GenericDialect {}).try_with_sql(sql).and_then(|mut parser| parser.parse_query());
            parsed.map_err(|error| arguments.fault(format!("an argument cannot be put into the query: {error}")))
        };
        Ok(match write_out(&arguments)? {
            Written::Query(sql) => Replacement::Query(parse(&sql)?),
            Written::Fold { input, folding } => Replacement::Fold(parse(&input)?, folding),
        })
    }))
}

/// Tries conditions against the columns of `person_events`.
pub(crate) struct Checker<'s> {
    pub(crate) session: &'s SessionState,
    pub(crate) columns: &'s DFSchema,
}

impl Checker<'_> {
    /// The type of the expression, or why it has none. `None` where it holds a subquery, which only the planning
    /// of the whole can judge.
    fn type_of(&self, expression: &Expr) -> Result<Option<DataType>, String> {
        let has_subquery = ast::visit_expressions(expression, |part| match part {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        if has_subquery.is_break() {
            return Ok(None);
        }
        let plain = |error| self.plain(error);
        let parsed = ast::ExprWithAlias { expr: expression.clone(), alias: None };
        let logical = self.session.create_logical_expr_from_sql_expr(parsed, self.columns).map_err(plain)?;
        let simplifier = ExprSimplifier::new(SimplifyContext::builder().build());
        let logical = simplifier.coerce(logical, self.columns).map_err(plain)?;
        logical.get_type(self.columns).map(Some).map_err(plain)
    }

    /// Whether the expression makes one value of many events: it has an aggregate, or asks of no event.
    fn is_aggregate(&self, expression: &Expr) -> bool {
        let parsed = ast::ExprWithAlias { expr: expression.clone(), alias: None };
        let logical = self.session.create_logical_expr_from_sql_expr(parsed, self.columns);
        logical.map_or(true, |logical| !find_aggregate_exprs([&logical]).is_empty() || logical.column_refs().is_empty())
    }

    /// In a few words: all columns there are, behind each fault, would hide the fault.
    fn plain(&self, error: DataFusionError) -> String {
        if let DataFusionError::SchemaError(unknown, _) = error.find_root()
            && let SchemaError::FieldNotFound { field, .. } = &**unknown
        {
            let names: Vec<&str> = self.columns.fields().iter().map(|column| column.name().as_str()).collect();
            let meant = error::nearest(&field.name, &names).map(|near| format!(": did you mean {near}?"));
            let meant = meant.unwrap_or_else(|| {
                let longer = longer_name(&field.name, &names);
                let near = longer.map_or("; a".to_owned(), |near| format!(": did you mean {near}? A"));
                format!(
                    "{near} text stands in single quotes, as in event_name = '{}'. DESCRIBE person_events tells the columns",
                    field.name
                )
            });
            return format!("there is no column {:?}{meant}", field.name);
        }
        QueryError::from_datafusion(error, 0).to_string()
    }
}

pub(crate) struct Arguments<'c> {
    spec: &'c Spec,
    checker: &'c Checker<'c>,
    given: BTreeMap<&'static str, Expr>,
}

impl<'c> Arguments<'c> {
    fn read(spec: &'c Spec, arguments: Vec<FunctionArg>, checker: &'c Checker<'c>) -> Result<Self, QueryError> {
        let mut read = Self { spec, checker, given: BTreeMap::new() };
        for (index, argument) in arguments.into_iter().enumerate() {
            let (name, value) = match argument {
                FunctionArg::Named { name, arg, .. } => (name.value.to_lowercase(), arg),
                FunctionArg::Unnamed(arg) => match spec.parameters.get(index) {
                    Some(parameter) => (parameter.name.to_owned(), arg),
                    None => return Err(read.fault(format!("{} arguments are too many", index + 1))),
                },
                FunctionArg::ExprNamed { .. } => return Err(read.fault("write arguments as name => value".to_owned())),
            };
            let FunctionArgExpr::Expr(value) = value else {
                return Err(read.fault(format!("argument {name} cannot be *")));
            };
            let Some(parameter) = spec.parameters.iter().find(|parameter| parameter.name == name) else {
                return Err(read.fault(format!("there is no argument {name:?}")));
            };
            if read.given.insert(parameter.name, value).is_some() {
                return Err(read.fault(format!("argument {name} is given twice")));
            }
        }
        Ok(read)
    }

    /// A fault of this call, with how to call it right.
    pub(crate) fn fault(&self, reason: String) -> QueryError {
        let Usage { name, call, example } = usage(self.spec);
        QueryError::Function { function: name, reason, usage: call, example }
    }

    /// The argument as it was written, or its default; `None` where that is NULL.
    fn value(&self, name: &'static str) -> Result<Option<Expr>, QueryError> {
        if let Some(value) = self.given.get(name) {
            return Ok(Some(value.clone()).filter(|value| !is_null(value)));
        }
        let parameter = self.spec.parameters.iter().find(|parameter| parameter.name == name);
        match parameter.expect("a function asks for its own parameters only").default {
            Some(default) => {
                let default = parse_expression(default).expect("our own default parses");
                Ok(Some(default).filter(|value| !is_null(value)))
            }
            None => Err(self.fault(format!("argument {name} is missing"))),
        }
    }

    fn present(&self, name: &'static str) -> Result<Expr, QueryError> {
        self.value(name)?.ok_or_else(|| self.fault(format!("argument {name} cannot be NULL")))
    }

    /// A word or name.
    pub(crate) fn text(&self, name: &'static str) -> Result<String, QueryError> {
        let value = self.present(name)?;
        text_of(&value).map(str::to_owned).ok_or_else(|| self.fault(format!("{name} is {value}: give text in quotes")))
    }

    pub(crate) fn maybe_text(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        if self.value(name)?.is_some() { self.text(name).map(Some) } else { Ok(None) }
    }

    /// A length of time in microseconds, from `'30 days'` or `INTERVAL '30 days'`. A number has no unit: whoever writes
    /// 30 means days, and would get an answer for 30 of something else without a word.
    pub(crate) fn duration_us(&self, name: &'static str) -> Result<i64, QueryError> {
        self.duration_of(name, &self.present(name)?)
    }

    fn duration_of(&self, name: &'static str, value: &Expr) -> Result<i64, QueryError> {
        let text = match value {
            Expr::Interval(interval) => text_of(&interval.value).map(|text| match &interval.leading_field {
                Some(unit) => format!("{text} {unit}"),
                None => text.to_owned(),
            }),
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => Some(number.clone()),
            value => text_of(value).map(str::to_owned),
        };
        let text = text.ok_or_else(|| self.fault(format!("{name} is {value}: give a length such as '30 days'")))?;
        duration::parse_us(&text).map_err(|reason| self.fault(format!("{name}: {reason}")))
    }

    pub(crate) fn maybe_duration_us(&self, name: &'static str) -> Result<Option<i64>, QueryError> {
        if self.value(name)?.is_some() { self.duration_us(name).map(Some) } else { Ok(None) }
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<bool, QueryError> {
        match self.present(name)? {
            Expr::Value(ValueWithSpan { value: Value::Boolean(flag), .. }) => Ok(flag),
            other => Err(self.fault(format!("{name} is {other}: true or false"))),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn whole(&self, name: &'static str, bounds: RangeInclusive<u64>) -> Result<u64, QueryError> {
        self.whole_of(name, &self.present(name)?, &bounds)
    }

    fn whole_of(&self, name: &'static str, value: &Expr, bounds: &RangeInclusive<u64>) -> Result<u64, QueryError> {
        let number = match value {
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number.parse().ok(),
            _ => None,
        };
        number.filter(|number| bounds.contains(number)).ok_or_else(|| {
            self.fault(format!("{name} is {value}: give a whole number from {} to {}", bounds.start(), bounds.end()))
        })
    }

    pub(crate) fn maybe_whole(
        &self,
        name: &'static str,
        bounds: RangeInclusive<u64>,
    ) -> Result<Option<u64>, QueryError> {
        if self.value(name)?.is_some() { self.whole(name, bounds).map(Some) } else { Ok(None) }
    }

    /// A day as days since 1970-01-01, from `'2026-06-01'` or `DATE '2026-06-01'`.
    pub(crate) fn maybe_day(&self, name: &'static str) -> Result<Option<i64>, QueryError> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        let text = match &value {
            Expr::TypedString(typed) => match &typed.value.value {
                Value::SingleQuotedString(text) => Some(text.as_str()),
                _ => None,
            },
            value => text_of(value),
        };
        let day = text.and_then(Date32Type::parse).map(i64::from);
        day.map(Some).ok_or_else(|| self.fault(format!("{name} is {value}: give a day such as '2026-06-01'")))
    }

    /// A word, or a number as it was written.
    pub(crate) fn text_or_number(&self, name: &'static str) -> Result<String, QueryError> {
        match self.present(name)? {
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => Ok(number),
            _ => self.text(name),
        }
    }

    pub(crate) fn maybe_expression(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        if self.value(name)?.is_some() { self.expression(name).map(Some) } else { Ok(None) }
    }

    /// An expression over the columns of `person_events`, of any type.
    pub(crate) fn expression(&self, name: &'static str) -> Result<String, QueryError> {
        let expression = self.plain_or_text(&self.present(name)?, name)?;
        self.checker.type_of(&expression).map_err(|reason| self.fault(format!("{name}: {reason}")))?;
        Ok(expression.to_string())
    }

    /// An expression that counts over events, such as `sum(value)`.
    pub(crate) fn maybe_aggregate(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        let Some(sql) = self.maybe_expression(name)? else { return Ok(None) };
        // A subquery is judged by the planning of the whole.
        let is_over_events = match parse_expression(&sql) {
            Ok(expression) => self.checker.is_aggregate(&expression),
            Err(_) => true,
        };
        if is_over_events {
            return Ok(Some(sql));
        }
        Err(self.fault(format!(
            "{name} is {sql}, which each event has for itself: write what is made of all of them, such as sum({sql}), \
             avg({sql}) or count(*)"
        )))
    }

    /// A condition over the columns of `person_events`.
    pub(crate) fn condition(&self, name: &'static str) -> Result<String, QueryError> {
        self.checked_condition(&self.present(name)?, name)
    }

    pub(crate) fn maybe_condition(&self, name: &'static str) -> Result<Option<String>, QueryError> {
        if self.value(name)?.is_some() { self.condition(name).map(Some) } else { Ok(None) }
    }

    /// A list of conditions, each with the words it was given in.
    pub(crate) fn conditions(&self, name: &'static str) -> Result<Vec<Condition>, QueryError> {
        let list = match self.present(name)? {
            Expr::Array(Array { elem, .. }) => elem,
            single => vec![single],
        };
        let condition = |(index, value): (usize, &Expr)| {
            let words = text_of(value).map_or_else(|| value.to_string(), str::to_owned);
            let sql = self.checked_condition(value, &format!("{name} {}: {words}", index + 1))?;
            Ok(Condition { words, sql })
        };
        list.iter().enumerate().map(condition).collect()
    }

    /// The same; empty for NULL.
    pub(crate) fn maybe_conditions(&self, name: &'static str) -> Result<Vec<Condition>, QueryError> {
        if self.value(name)?.is_some() { self.conditions(name) } else { Ok(Vec::new()) }
    }

    /// A list of whole numbers within bounds; empty for NULL.
    pub(crate) fn wholes(&self, name: &'static str, bounds: RangeInclusive<u64>) -> Result<Vec<u64>, QueryError> {
        self.list(name)?.iter().map(|value| self.whole_of(name, value, &bounds)).collect()
    }

    /// A list of lengths of time in microseconds, each of which may be NULL; empty for NULL.
    pub(crate) fn maybe_durations_us(&self, name: &'static str) -> Result<Vec<Option<i64>>, QueryError> {
        let length = |value: &Expr| if is_null(value) { Ok(None) } else { self.duration_of(name, value).map(Some) };
        self.list(name)?.iter().map(length).collect()
    }

    fn list(&self, name: &'static str) -> Result<Vec<Expr>, QueryError> {
        Ok(match self.value(name)? {
            None => Vec::new(),
            Some(Expr::Array(Array { elem, .. })) => elem,
            Some(single) => vec![single],
        })
    }

    /// A list of texts; empty for NULL.
    pub(crate) fn texts(&self, name: &'static str) -> Result<Vec<String>, QueryError> {
        let list = self.list(name)?;
        let text = |value: &Expr| {
            let text = text_of(value).map(str::to_owned);
            text.ok_or_else(|| self.fault(format!("{name} holds {value}: give texts in quotes")))
        };
        list.iter().map(text).collect()
    }

    fn checked_condition(&self, value: &Expr, place: &str) -> Result<String, QueryError> {
        let checked = plain_or_text(value).and_then(|condition| match self.checker.type_of(&condition)? {
            None | Some(DataType::Boolean) => Ok(condition.to_string()),
            Some(other) => {
                let other = if other.is_string() { "text".to_owned() } else { other.to_string() };
                Err(format!("is of type {other}, not a condition that is true or false"))
            }
        });
        let is_a_column = |text: &str| self.checker.columns.fields().iter().any(|column| column.name() == text);
        checked.map_err(|reason| match text_of(value).filter(|text| is_a_name(text) && !is_a_column(text)) {
            // Whoever gives a name alone means the events that are called so, and is not helped by what SQL makes of it.
            Some(name) => self.fault(format!(
                "{place}: a text is read as a condition, and {} is none: write event_name = {}",
                quoted(name),
                quoted(name)
            )),
            None => self.fault(format!("{place}: {reason}")),
        })
    }

    fn plain_or_text(&self, value: &Expr, place: &str) -> Result<Expr, QueryError> {
        plain_or_text(value).map_err(|reason| self.fault(format!("{place}: {reason}")))
    }
}

pub(crate) struct Condition {
    pub(crate) words: String,
    pub(crate) sql: String,
}

/// The smallest relation that has what the expressions name: finding a person costs a join, so it is left out
/// where nothing asks for one.
pub(crate) fn relation_for(expressions: &[&str]) -> &'static str {
    let names_a_person = |sql: &&str| {
        let expression = parse_expression(sql);
        let found = expression.map(|expression| {
            ast::visit_expressions(&expression, |part| match part {
                Expr::Identifier(name) if ["person_id", "event_time"].contains(&name.value.to_lowercase().as_str()) => {
                    ControlFlow::Break(())
                }
                Expr::CompoundIdentifier(_) | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            })
        });
        // Of what cannot be read again nobody can say: there are persons in that relation, too.
        found.map_or(true, |found| found.is_break())
    };
    if expressions.iter().any(names_a_person) { "person_events" } else { "events" }
}

/// The SQL of an argument, which may be given as text.
pub(crate) fn plain_or_text(value: &Expr) -> Result<Expr, String> {
    text_of(value).map_or_else(|| Ok(value.clone()), parse_expression)
}

/// Whether a text is a name, such as `Order Completed`, and not SQL.
fn is_a_name(text: &str) -> bool {
    const OF_SQL: [&str; 12] =
        ["and", "or", "not", "is", "in", "like", "ilike", "between", "null", "true", "false", "case"];
    let is_of_names =
        |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '_' | '-' | '.' | ':' | '/' | '$');
    let mut words = text.split_whitespace().peekable();
    words.peek().is_some()
        && text.chars().all(is_of_names)
        && words.all(|word| !OF_SQL.contains(&word.to_lowercase().as_str()))
}

/// The name that begins with the word somebody wrote: `event_name` for `event`, of several the one that says a name.
fn longer_name<'n>(word: &str, known: &[&'n str]) -> Option<&'n str> {
    let word = format!("{}_", word.to_lowercase());
    let longer = || known.iter().copied().filter(|name| name.starts_with(&word));
    longer().find(|name| name[word.len()..] == *"name").or_else(|| longer().next())
}

/// Whether an expression names a column.
pub(crate) fn mentions(sql: &str, column: &str) -> bool {
    parse_expression(sql).is_ok_and(|expression| {
        let found = ast::visit_expressions(&expression, |part| match part {
            Expr::Identifier(name) if name.value.eq_ignore_ascii_case(column) => ControlFlow::Break(()),
            Expr::CompoundIdentifier(names)
                if names.last().is_some_and(|name| name.value.eq_ignore_ascii_case(column)) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        found.is_break()
    })
}

/// The order of events of equal time, as one number: by partition of the log, then by offset. A person's devices may
/// lie in different partitions, whose offsets say nothing of one another; any order will do, but always the same.
/// 2^48 records are more than a partition of a log will ever hold.
pub(crate) const SEQUENCE: &str = "(CAST(log_partition AS BIGINT) * 281474976710656 + log_offset)";

/// What the answer calls the column of an expression: its name if it is one, unless the answer has a column called so.
pub(crate) fn column_for(expression: &str, taken: &[&str], otherwise: &str) -> String {
    let is_plain_name = expression.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let name = expression.to_lowercase();
    if is_plain_name && !taken.contains(&name.as_str()) { name } else { otherwise.to_owned() }
}

/// `text` as an SQL literal.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What an argument is called: by its name, or by its place.
pub(crate) fn name_of(spec: &Spec, index: usize, argument: &FunctionArg) -> String {
    match argument {
        FunctionArg::Named { name, .. } => name.value.to_lowercase(),
        FunctionArg::Unnamed(_) | FunctionArg::ExprNamed { .. } => {
            spec.parameters.get(index).map(|parameter| parameter.name.to_owned()).unwrap_or_default()
        }
    }
}

pub(crate) fn with_name(name: &str, value: Expr) -> FunctionArg {
    FunctionArg::Named {
        name: ast::Ident::new(name),
        arg: FunctionArgExpr::Expr(value),
        operator: FunctionArgOperator::RightArrow,
    }
}

/// One expression and nothing after it.
pub(crate) fn parse_expression(text: &str) -> Result<Expr, String> {
    complexity::check_text(text)?;
    let mut parser = Parser::new(&GenericDialect {}).try_with_sql(text).map_err(|error| error.to_string())?;
    let expression = parser.parse_expr().map_err(|error| error.to_string())?;
    match parser.peek_token().token {
        Token::EOF => Ok(expression),
        more => Err(format!("there is more after the expression: {more}")),
    }
}

/// What a literal text says.
pub(crate) fn text_of(value: &Expr) -> Option<&str> {
    match value {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

pub(crate) fn is_null(value: &Expr) -> bool {
    matches!(value, Expr::Value(ValueWithSpan { value: Value::Null, .. }))
}

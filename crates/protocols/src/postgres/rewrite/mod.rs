//! A statement as clients of PostgreSQL write it, made one the engine understands.
//!
//! In:       the tree of a statement; the values of its parameters; facts of the session; what the catalog holds.
//! Out:      the same tree: values in place, names of the catalog found, what PostgreSQL's own functions answer put in their
//!           place, each column with the name PostgreSQL gives it.
//! Promise:  only what would be refused or is PostgreSQL's own is changed: an ordinary question means what it meant.
//! Not here: whether it may be asked (`tributary_query`).

mod empty;
mod names;
mod words;

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, FunctionArg, Ident, ObjectName, ObjectNamePart, Query, Select, Statement,
    TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};
use tributary_query::QueryError;

use super::catalog::{Catalog, INFORMATION_INSIDE, INFORMATION_SCHEMA, PG_CATALOG};
use super::parameters::{self, cast, string, value};
use super::variables::Variables;

pub(crate) use names::shown as shown_name;

/// What a session knows when it asks.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) variables: Variables,
    pub(crate) user: String,
    pub(crate) process: u32,
    pub(crate) parameters: Parameters,
}

#[derive(Debug, Clone)]
pub(crate) enum Parameters {
    /// Only of these types so far (0: nobody said), to be described.
    Types(Vec<u32>),
    Values(Vec<Expr>),
}

pub(crate) fn rewrite(statement: &mut Statement, context: &Context) -> Result<(), QueryError> {
    let mut rewriter = Rewriter { context };
    if let ControlFlow::Break(reason) = statement.visit(&mut rewriter) {
        return Err(QueryError::Statement { reason });
    }
    if let Statement::Query(query) = statement {
        names::name_columns(query);
    }
    Ok(())
}

struct Rewriter<'c> {
    context: &'c Context,
}

impl VisitorMut for Rewriter<'_> {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        // Parameters first: what is around them is judged with their values.
        if let Expr::Value(found) = expr
            && let Value::Placeholder(name) = &found.value
        {
            let index = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            let Some(index) = index.and_then(|number| number.checked_sub(1)) else {
                return ControlFlow::Break(format!("{name}: parameters are written $1, $2 ..."));
            };
            if let Parameters::Values(values) = &self.context.parameters {
                match values.get(index) {
                    Some(value) => *expr = value.clone(),
                    None => return ControlFlow::Break(format!("there is no value for {name}")),
                }
            }
        } else if let Expr::InSubquery { expr: what, subquery, negated } = expr
            && is_search_path(subquery)
        {
            let list = vec![string("public"), string(&self.context.user)];
            *expr = Expr::InList { expr: what.clone(), list, negated: *negated };
        } else if let Expr::BinaryOp { left, op: BinaryOperator::StringConcat, right } = expr
            && words::is_array_of_query(right)
            && is_options(left)
        {
            // psql puts options of a table that lies beside another behind its own: there are neither.
            *expr = (**left).clone();
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<String> {
        self.expression(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<String> {
        if let TableFactor::Table { name, alias, args, .. } = factor {
            match args {
                None => self.relation(name, alias),
                Some(arguments) => {
                    without_schema(name);
                    arguments.args.iter_mut().for_each(plainly_named);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<String> {
        empty::replace(select, &self.context.catalog);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<String> {
        // No order among no rows; what it names may be gone.
        if empty::is_never(query) {
            query.order_by = None;
        }
        // Nobody writes.
        query.locks.clear();
        ControlFlow::Continue(())
    }
}

/// Grafana asks for the schemas of `search_path` by taking it apart in SQL the engine does not have.
fn is_search_path(subquery: &Query) -> bool {
    let text = subquery.to_string();
    text.contains("generate_series") && text.contains("current_setting('search_path')")
}

/// The parts of a name in small letters, as far as they were not quoted.
fn parts(name: &ObjectName) -> Vec<String> {
    let of = |part: &ObjectNamePart| {
        part.as_ident().map_or_else(String::new, |ident| match ident.quote_style {
            None => ident.value.to_ascii_lowercase(),
            Some(_) => ident.value.clone(),
        })
    };
    name.0.iter().map(of).collect()
}

/// `pg_catalog.unnest` is `unnest`.
fn without_schema(name: &mut ObjectName) {
    let is_ours = matches!(&parts(name)[..], [schema, _] if schema == PG_CATALOG || schema == INFORMATION_SCHEMA);
    if is_ours {
        name.0.remove(0);
    }
}

/// `name => value`, as the dialect reads it and as our table functions do.
fn plainly_named(argument: &mut FunctionArg) {
    if let FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, operator } = argument {
        *argument = FunctionArg::Named { name: name.clone(), arg: arg.clone(), operator: operator.clone() };
    }
}

impl Rewriter<'_> {
    /// Of a parameter without a value, where the client said it.
    fn type_of(&self, parameter: &str) -> Option<DataType> {
        let Parameters::Types(types) = &self.context.parameters else { return None };
        let number = parameter.strip_prefix('$')?.parse::<usize>().ok()?;
        parameters::sql_type(*types.get(number.checked_sub(1)?)?)
    }

    fn relation(&self, name: &mut ObjectName, alias: &mut Option<TableAlias>) {
        let parts = parts(name);
        let found = match &parts[..] {
            [table] if self.context.catalog.is_system(PG_CATALOG, table) => Some((PG_CATALOG, table)),
            [schema, table] | [_, schema, table] if schema == PG_CATALOG => Some((PG_CATALOG, table)),
            [schema, table] | [_, schema, table] if schema == INFORMATION_SCHEMA => Some((INFORMATION_INSIDE, table)),
            _ => None,
        };
        let Some((schema, table)) = found else { return };
        *name = ObjectName::from(vec![Ident::new(schema), Ident::new(table.clone())]);
        // Its columns may be called by its name alone.
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::new(table.clone()),
            columns: Vec::new(),
            at: None,
        });
    }

    fn expression(&self, expr: &mut Expr) {
        match expr {
            Expr::Collate { expr: inner, .. } => *expr = (**inner).clone(),
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(parts) = op
                    && let Some(plain) = parts.last().and_then(|sign| operator(sign))
                {
                    *op = plain;
                }
            }
            Expr::Cast { kind: CastKind::Cast | CastKind::DoubleColon, expr: inner, data_type, .. } => {
                if let Some(other) = self.cast(inner, data_type) {
                    *expr = other;
                }
            }
            Expr::Function(function) => {
                without_schema(&mut function.name);
                if let Some(answer) = words::answer(function, self.context) {
                    *expr = answer;
                }
            }
            Expr::Identifier(ident) if ident.quote_style.is_none() => {
                if let Some(answer) = words::answer_to_word(&ident.value.to_ascii_lowercase(), self.context) {
                    *expr = answer;
                }
            }
            // `pg_catalog.pg_class.oid`: the table goes by its own name.
            Expr::CompoundIdentifier(idents) => {
                let is_system = |ident: &Ident| ident.value == PG_CATALOG || ident.value == INFORMATION_SCHEMA;
                if 2 < idents.len() && is_system(&idents[0]) {
                    idents.remove(0);
                }
            }
            Expr::Value(found) => match &found.value {
                Value::EscapedStringLiteral(text) | Value::NationalStringLiteral(text) => *expr = string(text.clone()),
                Value::Placeholder(name) => {
                    if let Some(data_type) = self.type_of(name) {
                        *expr = cast(expr.clone(), data_type);
                    }
                }
                _ => {}
            },
            // A text in place of an array.
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                if let Some(items) = text_of(right).and_then(parameters::split_array) {
                    **right = parameters::array(
                        items.into_iter().map(|item| item.map_or(value(Value::Null), string)).collect(),
                    );
                }
            }
            Expr::Subquery(query) if empty::is_never(query) => *expr = value(Value::Null),
            Expr::Subquery(query) => empty::make_one_row(query),
            Expr::Exists { subquery, negated } if empty::is_never(subquery) => *expr = value(Value::Boolean(*negated)),
            Expr::InSubquery { subquery, negated, .. } if empty::is_never(subquery) => {
                *expr = value(Value::Boolean(*negated));
            }
            _ => {}
        }
    }

    /// What stands in place of a cast to a type the engine has not.
    fn cast(&self, inner: &Expr, data_type: &mut DataType) -> Option<Expr> {
        let Some(name) = custom_name(data_type) else {
            plain_type(data_type);
            return array_of_text(inner, data_type);
        };
        match name.as_str() {
            // A table by its name is its number.
            "regclass" => match text_of(inner) {
                Some(name) => {
                    let name = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
                    let oid = self.context.catalog.oid(name);
                    Some(oid.map_or(value(Value::Null), |oid| value(Value::Number(oid.to_string(), false))))
                }
                None => Some(cast(inner.clone(), DataType::Varchar(None))),
            },
            // A function goes by its name alone.
            "regproc" => match text_of(inner) {
                Some(name) => Some(string(name.rsplit('.').next().unwrap_or(name))),
                None => Some(cast(inner.clone(), DataType::Varchar(None))),
            },
            "regtype" => Some(words::call("format_type", vec![inner.clone(), value(Value::Null)])),
            _ => {
                *data_type = words::type_by_name(&name)?;
                None
            }
        }
    }
}

fn is_options(expr: &Expr) -> bool {
    matches!(expr, Expr::CompoundIdentifier(idents) if idents.last().is_some_and(|ident| ident.value == "reloptions"))
}

/// Of a type that is known by a name only.
fn custom_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Custom(name, modifiers) if modifiers.is_empty() => parts(name).pop(),
        DataType::Regclass => Some("regclass".to_owned()),
        _ => None,
    }
}

/// Types the engine has under another name, also as items of an array.
fn plain_type(data_type: &mut DataType) {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef as Of;
    match data_type {
        DataType::JSON | DataType::JSONB | DataType::Uuid => *data_type = DataType::Varchar(None),
        DataType::Array(Of::SquareBracket(item, _)) => {
            if let Some(known) = custom_name(item).and_then(|name| words::type_by_name(&name)) {
                **item = known;
            } else {
                plain_type(item);
            }
        }
        _ => {}
    }
}

/// `'{a,b}'::text[]`
fn array_of_text(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    use datafusion::sql::sqlparser::ast::ArrayElemTypeDef as Of;
    let DataType::Array(Of::SquareBracket(item, _)) = data_type else { return None };
    let items = parameters::split_array(text_of(inner)?)?;
    let of = |text: Option<String>| cast(text.map_or(value(Value::Null), string), (**item).clone());
    Some(parameters::array(items.into_iter().map(of).collect()))
}

fn text_of(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(found) => match &found.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => text_of(inner),
        Expr::Cast { expr, data_type: DataType::Varchar(None) | DataType::Text, .. } => text_of(expr),
        _ => None,
    }
}

fn operator(sign: &str) -> Option<BinaryOperator> {
    Some(match sign {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "~~*" => BinaryOperator::PGILikeMatch,
        "!~~*" => BinaryOperator::PGNotILikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        "<" => BinaryOperator::Lt,
        "<=" => BinaryOperator::LtEq,
        ">" => BinaryOperator::Gt,
        ">=" => BinaryOperator::GtEq,
        "+" => BinaryOperator::Plus,
        "-" => BinaryOperator::Minus,
        "*" => BinaryOperator::Multiply,
        "/" => BinaryOperator::Divide,
        "||" => BinaryOperator::StringConcat,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

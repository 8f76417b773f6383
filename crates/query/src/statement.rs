//! From text to one statement that only reads, with our table functions written out.
//!
//! In:       SQL text.
//! Out:      a DataFusion statement.
//! Promise:  anything but a question is refused, by name, before anything is planned; a second net checks the
//!           plan (`engine.rs`).
//! Not here: what a table function is written out to: the folder of its name.

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{
    self, ObjectName, Query, Select, SetExpr, TableAlias, TableFactor, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use crate::complexity;
use crate::error::{self, QueryError};
use crate::fold::Folding;
use crate::question::{Dialect, Rewrite};
use crate::table_function::{self, Checker, Replacement};

/// The depth of brackets and subqueries a text may have: DataFusion's own default.
const DEPTH_MAX: usize = 50;

/// The first and only statement in `sql`.
pub(crate) fn parse(sql: &str, dialect: Dialect, sql_bytes_max: usize) -> Result<Statement, QueryError> {
    let fault = |reason: String| QueryError::Statement { reason };
    if sql_bytes_max < sql.len() {
        let reason = format!("the SQL text has {} bytes, {sql_bytes_max} are allowed (query.sql_bytes_max)", sql.len());
        return Err(fault(reason));
    }
    complexity::check_text(sql).map_err(fault)?;
    let syntax = |error: datafusion::error::DataFusionError| QueryError::from_datafusion(error, 0);
    let builder = DFParserBuilder::new(sql).with_recursion_limit(DEPTH_MAX);
    let mut parser = match dialect {
        Dialect::Generic => builder.build(),
        Dialect::Postgres => builder.with_dialect(&PostgreSqlDialect {}).build(),
    }
    .map_err(syntax)?;
    let mut statements = parser.parse_statements().map_err(syntax)?;
    match (statements.pop_front(), statements.len()) {
        (None, _) => Err(fault("there is no statement: ask something, such as SELECT count(*) FROM events".to_owned())),
        (Some(mut statement), 0) => {
            check_tree(&mut statement)?;
            Ok(statement)
        }
        (Some(_), more) => Err(fault(format!("{} statements came at once: send them one at a time", more + 1))),
    }
}

/// Has a face change the tree, which then must be no more intricate than one that came as text.
pub(crate) fn rewrite(statement: &mut Statement, rewrite: Rewrite) -> Result<(), QueryError> {
    if let Some(statement) = sql_of(statement) {
        rewrite(statement)?;
    }
    check_tree(statement)
}

/// Refuses what does more than read.
pub(crate) fn only_reads(statement: &Statement) -> Result<(), QueryError> {
    let refused = |statement: String| Err(QueryError::Refused { statement });
    match statement {
        Statement::Statement(statement) => only_reads_sql(statement),
        Statement::Explain(explain) => only_reads(&explain.statement),
        Statement::CreateExternalTable(_) => refused("CREATE EXTERNAL TABLE".to_owned()),
        Statement::CopyTo(_) => refused("COPY".to_owned()),
        Statement::Reset(_) => refused("RESET".to_owned()),
    }
}

/// Refuses what tells of the work and not of its answer: how many rows a scan met, and how large and small their values are, whoever's
/// they are. A plan alone tells none of it.
pub(crate) fn tells_no_work(statement: &Statement) -> Result<(), QueryError> {
    fn tells(statement: &ast::Statement) -> bool {
        match statement {
            ast::Statement::Explain { analyze, verbose, statement, .. } => *analyze || *verbose || tells(statement),
            _ => false,
        }
    }
    let tells = match statement {
        Statement::Explain(explain) => {
            explain.options.analyze || explain.options.verbose || tells_no_work(&explain.statement).is_err()
        }
        Statement::Statement(statement) => tells(statement),
        _ => false,
    };
    if tells {
        let reason =
            "EXPLAIN ANALYZE and EXPLAIN VERBOSE count rows this access may not see: EXPLAIN alone shows the plan";
        return Err(QueryError::Forbidden { reason: reason.to_owned() });
    }
    Ok(())
}

fn only_reads_sql(statement: &ast::Statement) -> Result<(), QueryError> {
    use ast::Statement as S;
    match statement {
        S::Query(query) => match ast::Visit::visit(query.as_ref(), &mut WriteFinder) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(what) => Err(QueryError::Refused { statement: what.to_owned() }),
        },
        S::Explain { statement, .. } => only_reads_sql(statement),
        S::ExplainTable { .. }
        | S::ShowTables { .. }
        | S::ShowColumns { .. }
        | S::ShowVariable { .. }
        | S::ShowFunctions { .. }
        | S::ShowCreate { .. }
        | S::ShowSchemas { .. }
        | S::ShowDatabases { .. } => Ok(()),
        other => {
            let text = other.to_string();
            let words = text.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>().join(" ");
            Err(QueryError::Refused { statement: words })
        }
    }
}

/// Finds what writes inside a query: `WITH x AS (INSERT ...)`, `SELECT ... INTO`.
struct WriteFinder;

impl Visitor for WriteFinder {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        match query.body.as_ref() {
            SetExpr::Insert(_) => ControlFlow::Break("INSERT"),
            SetExpr::Update(_) => ControlFlow::Break("UPDATE"),
            SetExpr::Delete(_) => ControlFlow::Break("DELETE"),
            SetExpr::Merge(_) => ControlFlow::Break("MERGE"),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Self::Break> {
        match select.into {
            Some(_) => ControlFlow::Break("SELECT INTO"),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Whether the statement calls one of our table functions: then `write_out` wants a `Checker`. Fails for one that nobody has;
/// DataFusion would complain of its arguments first.
///
/// * `others`: whether a function that is not ours is known.
pub(crate) fn calls_a_table_function(
    statement: &mut Statement,
    others: impl Fn(&str) -> bool,
) -> Result<bool, QueryError> {
    struct Finder<F> {
        others: F,
        found: bool,
    }
    impl<F: Fn(&str) -> bool> VisitorMut for Finder<F> {
        type Break = String;
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<String> {
            let TableFactor::Table { name: ObjectName(parts), args: Some(_), .. } = factor else {
                return ControlFlow::Continue(());
            };
            // Of a name with a schema before it the planner, too, takes the first part.
            let first = parts.first().and_then(|part| part.as_ident());
            let name = first.map(|ident| ident.value.to_lowercase()).unwrap_or_default();
            let is_ours = called(factor).is_some() && table_function::is_known(&name);
            self.found |= is_ours;
            if is_ours || (self.others)(&name) { ControlFlow::Continue(()) } else { ControlFlow::Break(name) }
        }
    }
    let mut finder = Finder { others, found: false };
    match sql_of(statement).map(|statement| statement.visit(&mut finder)) {
        Some(ControlFlow::Break(name)) => Err(QueryError::Statement {
            reason: error::unknown_name("table function", &name, &table_function::names()),
        }),
        _ => Ok(finder.found),
    }
}

/// Replaces each call of a table function by the query it stands for.
///
/// This is done on the text's tree, before planning, so that `EXPLAIN` shows an ordinary plan and the optimiser
/// sees through it. DataFusion's own table functions take constants only, without names.
/// Where a fold stands in the place of a call, there is the name of a table that the caller must provide: in `FOLDS`,
/// called `fold_` and its place in the list. What the query of a fold calls in its turn is not written out yet.
pub(crate) fn write_out(
    statement: &mut Statement,
    checker: &Checker<'_>,
    folds: &mut Vec<FoldOf>,
) -> Result<(), QueryError> {
    struct Writer<'c> {
        checker: &'c Checker<'c>,
        folds: &'c mut Vec<FoldOf>,
    }
    impl VisitorMut for Writer<'_> {
        type Break = QueryError;
        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<QueryError> {
            let Some((name, alias)) = called(factor) else { return ControlFlow::Continue(()) };
            let TableFactor::Table { args: arguments @ Some(_), name: table, alias: table_alias, .. } = factor else {
                return ControlFlow::Continue(());
            };
            let given = arguments.take().map(|arguments| arguments.args).unwrap_or_default();
            let alias = Some(alias.unwrap_or_else(|| named(&name)));
            match table_function::write_out(&name, given, self.checker) {
                Some(Ok(Replacement::Query(subquery))) => {
                    *factor = TableFactor::Derived { lateral: false, subquery, alias, sample: None };
                }
                Some(Ok(Replacement::Fold(input, folding))) => {
                    let parts = [FOLDS.to_owned(), fold_name(self.folds.len())];
                    *table = ObjectName::from(parts.map(ast::Ident::new).to_vec());
                    *table_alias = alias;
                    let input = Statement::Statement(Box::new(ast::Statement::Query(input)));
                    self.folds.push(FoldOf { input, folding });
                }
                Some(Err(error)) => return ControlFlow::Break(error),
                None => {}
            }
            ControlFlow::Continue(())
        }
    }
    match sql_of(statement).map(|statement| statement.visit(&mut Writer { checker, folds })) {
        Some(ControlFlow::Break(error)) => Err(error),
        // Conditions given as text were no part of the tree before.
        _ => check_tree(statement),
    }
}

/// The schema in which folds are tables, for the one question.
pub(crate) const FOLDS: &str = "folds";

pub(crate) fn fold_name(index: usize) -> String {
    format!("fold_{index}")
}

/// A query, and what is folded of its rows.
pub(crate) struct FoldOf {
    pub(crate) input: Statement,
    pub(crate) folding: Folding,
}

pub(crate) fn check_tree(statement: &mut Statement) -> Result<(), QueryError> {
    let checked = sql_of(statement).map_or(Ok(()), |statement| complexity::check_tree(statement));
    checked.map_err(|reason| QueryError::Statement { reason })
}

pub(crate) fn sql_of(statement: &mut Statement) -> Option<&mut ast::Statement> {
    match statement {
        Statement::Statement(statement) => Some(statement),
        Statement::Explain(explain) => sql_of(&mut explain.statement),
        _ => None,
    }
}

/// The name and alias of a table function that is called without a schema before its name.
pub(crate) fn called(factor: &TableFactor) -> Option<(String, Option<TableAlias>)> {
    let TableFactor::Table { name: ObjectName(parts), alias, args: Some(_), .. } = factor else { return None };
    let [part] = parts.as_slice() else { return None };
    Some((part.as_ident()?.value.to_lowercase(), alias.clone()))
}

fn named(name: &str) -> TableAlias {
    TableAlias { explicit: true, name: ast::Ident::new(name), columns: Vec::new(), at: None }
}

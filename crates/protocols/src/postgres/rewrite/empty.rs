//! What is asked of tables that never have a row.
//!
//! Clients ask for indexes, constraints, policies, publications ... with correlated subqueries and arrays of subqueries, which the
//! engine does not have. Of a table without rows nothing need be computed: the answer is no rows, a subquery is NULL. So such a
//! SELECT becomes one of NULLs that are never given out, before anybody looks at what it computes.

use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, SetOperator, TableFactor, TableWithJoins,
    Value,
};

use super::super::catalog::{Catalog, INFORMATION_INSIDE, PG_CATALOG};
use super::super::parameters::value;
use super::{names, parts, words};

/// Makes nothing of a SELECT that can give nothing.
pub(super) fn replace(select: &mut Select, catalog: &Catalog) {
    if !select.from.iter().any(|from| gives_nothing(from, catalog)) || counts(select) {
        return;
    }
    let mut projection = Vec::new();
    for item in &select.projection {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.clone(),
            SelectItem::UnnamedExpr(expr) => Ident::with_quote('"', names::name_of(expr)),
            // Which columns these are only the tables know; they are found there.
            _ => return,
        };
        projection.push(SelectItem::ExprWithAlias { expr: value(Value::Null), alias: name });
    }
    names::tell_apart(&mut projection);
    select.projection = projection;
    select.from.clear();
    select.selection = Some(value(Value::Boolean(false)));
    select.distinct = None;
    select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    select.having = None;
    select.named_window.clear();
    select.qualify = None;
}

/// Has a subquery over the catalog that stands for one value say so: the engine wants an aggregate where PostgreSQL looks how many rows
/// come. The smallest of one is that one.
pub(super) fn make_one_row(query: &mut Query) {
    let is_plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    let SetExpr::Select(select) = query.body.as_mut() else { return };
    let of_catalog = |from: &TableWithJoins| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation)).all(|factor| {
            matches!(factor, TableFactor::Table { name, args: None, .. }
                if parts(name).first().is_some_and(|schema| schema == PG_CATALOG || schema == INFORMATION_INSIDE))
        })
    };
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if !by.is_empty());
    if !is_plain || select.from.is_empty() || groups || counts(select) || !select.from.iter().all(of_catalog) {
        return;
    }
    if let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] = &mut select.projection[..] {
        *expr = words::call("min", vec![expr.clone()]);
    }
}

/// Whether a query is one that was made nothing of.
pub(super) fn is_never(query: &Query) -> bool {
    query.with.is_none() && body_is_never(&query.body)
}

fn body_is_never(body: &SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => {
            let never = Some(value(Value::Boolean(false)));
            select.from.is_empty() && select.selection == never
        }
        SetExpr::Query(query) => is_never(query),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            body_is_never(left) && body_is_never(right)
        }
        _ => false,
    }
}

/// One row comes of a count over nothing.
fn counts(select: &Select) -> bool {
    let groups = matches!(&select.group_by, GroupByExpr::Expressions(by, _) if !by.is_empty());
    let is_one = |item: &SelectItem| {
        let expr = match item {
            SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr) => expr,
            _ => return false,
        };
        let text = expr.to_string().to_ascii_lowercase();
        ["count(", "max(", "min(", "sum(", "avg(", "_agg(", "bool_and(", "bool_or("]
            .iter()
            .any(|name| text.contains(name))
            && !text.contains("(select")
    };
    !groups && select.projection.iter().any(is_one)
}

/// Whether a join has no row because of a part that has none.
fn gives_nothing(from: &TableWithJoins, catalog: &Catalog) -> bool {
    let needs_both = |operator: &JoinOperator| {
        matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
    };
    let keeps_left = |operator: &JoinOperator| {
        needs_both(operator) || matches!(operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
    };
    let left_is_empty =
        is_empty(&from.relation, catalog) && from.joins.iter().all(|join| keeps_left(&join.join_operator));
    // A join that keeps its right side would bring rows again.
    let at = from.joins.iter().rposition(|join| !keeps_left(&join.join_operator)).map_or(0, |index| index + 1);
    left_is_empty
        || from.joins[at..].iter().any(|join| needs_both(&join.join_operator) && is_empty(&join.relation, catalog))
}

fn is_empty(factor: &TableFactor, catalog: &Catalog) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            matches!(&parts(name)[..], [schema, table] if catalog.is_empty(schema, table))
        }
        TableFactor::Derived { subquery, .. } => is_never(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => gives_nothing(table_with_joins, catalog),
        _ => false,
    }
}

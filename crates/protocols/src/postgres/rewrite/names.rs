//! The names of an answer's columns, as PostgreSQL gives them.
//!
//! Clients read columns by name: `SELECT count(*)` is `count`, `SELECT 1` is `?column?`. Two columns may be called alike there; the
//! engine wants them apart, so a mark nobody writes sets them apart inside and is left out on the way to the client.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Ident, ObjectNamePart, Query, Select, SelectItem, SetExpr, Value,
};

/// Of those kept for private use.
const MARK: char = '\u{e000}';

/// The name of a column as the client sees it.
pub(crate) fn shown(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(shown, _)| shown)
}

/// Names the columns of the whole answer. Those of subqueries stay as they are: nobody sees them.
pub(super) fn name_columns(query: &mut Query) {
    if let Some(select) = first_select(&mut query.body) {
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            {
                let alias = Ident::with_quote('"', name_of(expr));
                *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
            }
        }
        tell_apart(&mut select.projection);
    }
}

/// The SELECT whose names are those of the answer.
fn first_select(body: &mut SetExpr) -> Option<&mut Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&mut query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

/// Sets columns of one name apart.
pub(super) fn tell_apart(projection: &mut [SelectItem]) {
    let mut seen = HashSet::new();
    for (index, item) in projection.iter_mut().enumerate() {
        let (expr, name) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), name_of(expr)),
            SelectItem::ExprWithAlias { expr, alias } => {
                let name =
                    if alias.quote_style.is_none() { alias.value.to_ascii_lowercase() } else { alias.value.clone() };
                (expr.clone(), name)
            }
            _ => continue,
        };
        if !seen.insert(name.clone()) {
            let alias = Ident::with_quote('"', format!("{name}{MARK}{index}"));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// What PostgreSQL calls an expression that was given no name.
pub(super) fn name_of(expr: &Expr) -> String {
    known_name(expr).unwrap_or_else(|| "?column?".to_owned())
}

fn known_name(expr: &Expr) -> Option<String> {
    let plain = |ident: &Ident| {
        if ident.quote_style.is_none() { ident.value.to_ascii_lowercase() } else { ident.value.clone() }
    };
    match expr {
        Expr::Identifier(ident) => Some(plain(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(plain),
        Expr::Function(function) => function.name.0.last().and_then(ObjectNamePart::as_ident).map(plain),
        Expr::Cast { expr, data_type, .. } => known_name(expr).or_else(|| type_name(data_type)),
        Expr::Nested(inner) => known_name(inner),
        Expr::Collate { expr, .. } => known_name(expr),
        Expr::Case { else_result, .. } => {
            Some(else_result.as_deref().and_then(known_name).unwrap_or_else(|| "case".to_owned()))
        }
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::Value(found) => matches!(found.value, Value::Boolean(_)).then(|| "bool".to_owned()),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => Some(plain(alias)),
                SelectItem::UnnamedExpr(expr) => known_name(expr),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn type_name(data_type: &DataType) -> Option<String> {
    Some(
        match data_type {
            DataType::Boolean | DataType::Bool => "bool",
            DataType::SmallInt(_) | DataType::Int2(_) => "int2",
            DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
            DataType::BigInt(_) | DataType::Int8(_) => "int8",
            DataType::Real | DataType::Float4 => "float4",
            DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 => "float8",
            DataType::Numeric(_) | DataType::Decimal(_) => "numeric",
            DataType::Text => "text",
            DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar",
            DataType::Date => "date",
            DataType::Timestamp(..) => "timestamp",
            DataType::Bytea => "bytea",
            _ => return None,
        }
        .to_owned(),
    )
}

//! What PostgreSQL's own functions answer here.
//!
//! Most tell something of the server or the session that is the same for every row: the answer stands in their place.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    SelectItem, SetExpr, TimezoneInfo, Value,
};

use super::super::catalog::{DATABASE, OWNER, PG_CATALOG, PUBLIC};
use super::super::parameters::{array, cast, string, value};
use super::super::variables::SERVER_VERSION;
use super::{Context, empty, text_of};

/// In place of a call.
pub(super) fn answer(function: &Function, context: &Context) -> Option<Expr> {
    let [part] = &function.name.0[..] else { return None };
    let name = part.as_ident()?.value.to_ascii_lowercase();
    let arguments = arguments(function);
    let argument = |index: usize| arguments.get(index).copied();
    let number = |number: i64| value(Value::Number(number.to_string(), false));
    let null = || value(Value::Null);
    Some(match name.as_str() {
        "array" => return array_of_query(function),
        "current_schema" | "current_role" => return answer_to_word(&name, context),
        "current_catalog" | "current_database" => string(DATABASE),
        "current_user" | "session_user" | "user" => string(&context.user),
        "current_schemas" => array(vec![string(PG_CATALOG), string(PUBLIC)]),
        "version" => {
            string(format!("PostgreSQL {SERVER_VERSION} (the protocol; Tributary {})", env!("CARGO_PKG_VERSION")))
        }
        "current_setting" => {
            let name = text_of(argument(0)?)?;
            context.variables.get(name).map_or_else(null, string)
        }
        "set_config" => argument(1)?.clone(),
        "pg_backend_pid" => number(context.process.into()),
        "pg_client_encoding" | "pg_encoding_to_char" | "getdatabaseencoding" => string("UTF8"),
        "pg_get_userbyid" => string(OWNER),
        "pg_table_is_visible"
        | "pg_type_is_visible"
        | "pg_function_is_visible"
        | "pg_opclass_is_visible"
        | "pg_operator_is_visible"
        | "pg_collation_is_visible"
        | "has_table_privilege"
        | "has_any_column_privilege"
        | "has_column_privilege"
        | "has_schema_privilege"
        | "has_database_privilege"
        | "has_function_privilege" => value(Value::Boolean(true)),
        "pg_is_in_recovery" | "pg_is_other_temp_schema" | "pg_relation_is_publishable" | "pg_has_role" => {
            value(Value::Boolean(false))
        }
        "obj_description"
        | "col_description"
        | "shobj_description"
        | "pg_get_expr"
        | "pg_get_constraintdef"
        | "pg_get_indexdef"
        | "pg_get_ruledef"
        | "pg_get_triggerdef"
        | "pg_get_functiondef"
        | "pg_get_function_result"
        | "pg_get_function_arguments"
        | "pg_get_function_identity_arguments"
        | "pg_get_partkeydef"
        | "pg_get_serial_sequence"
        | "pg_get_statisticsobjdef_columns"
        | "pg_size_pretty"
        | "pg_tablespace_location"
        | "inet_server_addr"
        | "inet_client_addr"
        | "inet_server_port" => null(),
        "pg_relation_size"
        | "pg_table_size"
        | "pg_total_relation_size"
        | "pg_indexes_size"
        | "pg_database_size"
        | "pg_my_temp_schema"
        | "txid_current" => number(0),
        "to_regclass" => {
            let name = text_of(argument(0)?)?;
            context.catalog.oid(name.rsplit('.').next().unwrap_or(name)).map_or_else(null, number)
        }
        // A length is unsigned here, and series go by signed numbers.
        "array_upper" => cast(call("array_length", arguments.into_iter().cloned().collect()), DataType::BigInt(None)),
        // Of an array of a query that gives nothing.
        "array_to_string" if *argument(0)? == null() => null(),
        "array_lower" => number(1),
        // A second argument asks for it in lines.
        "pg_get_viewdef" if arguments.len() == 2 => call("pg_get_viewdef", vec![argument(0)?.clone()]),
        _ => return None,
    })
}

/// `array(SELECT ...)`
pub(super) fn is_array_of_query(expr: &Expr) -> bool {
    matches!(expr, Expr::Function(function)
        if matches!(function.args, FunctionArguments::Subquery(_)) && function.name.to_string().eq_ignore_ascii_case("array"))
}

/// The values of a query as one: what the engine has an aggregate for.
fn array_of_query(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else { return None };
    if empty::is_never(query) {
        return Some(value(Value::Null));
    }
    let mut inner = query.clone();
    let SetExpr::Select(select) = inner.body.as_mut() else { return None };
    let [item] = &mut select.projection[..] else { return None };
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { return None };
    // So that a column of it is called as in PostgreSQL.
    let alias = Ident::with_quote('"', "array");
    *item = SelectItem::ExprWithAlias { expr: call("array_agg", vec![expr.clone()]), alias };
    // The order within the array is lost where it was asked for.
    inner.order_by = None;
    Some(Expr::Subquery(inner))
}

/// In place of a word that calls a function without brackets.
pub(super) fn answer_to_word(word: &str, context: &Context) -> Option<Expr> {
    Some(match word {
        "current_schema" => string(PUBLIC),
        "current_catalog" => string(DATABASE),
        "current_user" | "session_user" | "current_role" => string(&context.user),
        _ => return None,
    })
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let of = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().filter_map(of).collect()
}

pub(super) fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|argument| FunctionArg::Unnamed(FunctionArgExpr::Expr(argument))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// PostgreSQL's names of types the parser does not know, or the engine has otherwise.
pub(super) fn type_by_name(name: &str) -> Option<DataType> {
    Some(match name {
        "text" | "name" | "char" | "bpchar" | "varchar" | "cstring" | "json" | "jsonb" | "uuid" | "inet" | "citext"
        | "regnamespace" | "regrole" | "sql_identifier" | "character_data" | "yes_or_no" | "unknown" => {
            DataType::Varchar(None)
        }
        "oid" | "xid" | "cid" | "int8" => DataType::BigInt(None),
        "int2" => DataType::SmallInt(None),
        "int4" | "cardinal_number" => DataType::Integer(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "bool" => DataType::Boolean,
        "date" => DataType::Date,
        "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "timestamptz" => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        "bytea" => DataType::Bytea,
        _ => return None,
    })
}

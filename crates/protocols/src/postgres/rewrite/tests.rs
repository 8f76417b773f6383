use std::sync::Arc;

use arrow::datatypes::{DataType as ArrowType, Field, Schema};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use tributary_query::Relation;

use super::*;

fn context(parameters: Parameters) -> Context {
    let schema = Arc::new(Schema::new(vec![Field::new("event_id", ArrowType::Utf8, false)]));
    let relations = [Relation { name: "events".to_owned(), schema, definition: None }];
    let catalog = Arc::new(Catalog::of(&relations).unwrap());
    let user = "ann".to_owned();
    Context { catalog, variables: Variables::new(&user), user, process: 7, parameters }
}

fn rewritten_with(sql: &str, parameters: Parameters) -> String {
    let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
    rewrite(&mut statement, &context(parameters)).unwrap();
    statement.to_string()
}

fn rewritten(sql: &str) -> String {
    rewritten_with(sql, Parameters::Values(Vec::new()))
}

#[test]
fn ordinary_questions_keep_their_meaning() {
    for sql in [
        "SELECT event_id, a.b AS c FROM events AS a WHERE x = 'pg_class' ORDER BY 1 LIMIT 5",
        "SELECT * FROM funnel(steps => ARRAY[event_kind = 'page'], window => '7 days')",
        "SELECT x FROM (SELECT count(*), 1 FROM events) AS t",
        "SELECT x FROM a JOIN b ON a.x = b.y WHERE EXISTS (SELECT 1 FROM c)",
    ] {
        assert_eq!(rewritten(sql), sql);
    }
}

#[test]
fn columns_are_named_as_in_postgres_and_set_apart() {
    let named = |sql: &str| {
        let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().remove(0);
        rewrite(&mut statement, &context(Parameters::Values(Vec::new()))).unwrap();
        let Statement::Query(query) = statement else { panic!("{sql}") };
        let select = query.body.as_select().unwrap();
        let name = |item: &datafusion::sql::sqlparser::ast::SelectItem| match item {
            datafusion::sql::sqlparser::ast::SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            other => other.to_string(),
        };
        select.projection.iter().map(name).collect::<Vec<_>>()
    };
    let sql =
        "SELECT count(*), 1, 2, max(a), x::int, 'a'::text, CASE WHEN a THEN b END, true, a, t.a, a AS z, z FROM t";
    let inside = named(sql);
    let shown: Vec<&str> = inside.iter().map(|name| shown_name(name)).collect();
    let expected = ["count", "?column?", "?column?", "max", "x", "text", "case", "bool", "a", "a", "z", "z"];
    assert_eq!(shown, expected);
    let apart: std::collections::HashSet<&String> = inside.iter().collect();
    assert_eq!(apart.len(), expected.len());
}

#[test]
fn names_of_the_catalog_are_found() {
    assert_eq!(rewritten("SELECT oid FROM pg_class"), "SELECT oid FROM pg_catalog.pg_class AS pg_class",);
    assert_eq!(
        rewritten("SELECT pg_catalog.pg_class.oid FROM pg_catalog.pg_class"),
        "SELECT pg_class.oid FROM pg_catalog.pg_class AS pg_class",
    );
    assert_eq!(
        rewritten("SELECT c.table_name FROM information_schema.tables AS c"),
        "SELECT c.table_name FROM pg_information_schema.tables AS c",
    );
}

#[test]
fn what_postgres_would_answer_stands_in_place_of_the_question() {
    for (sql, expected) in [
        ("SELECT 'events'::regclass AS a", "SELECT 16400 AS a"),
        ("SELECT 'pg_class'::regclass AS a", "SELECT 1259 AS a"),
        ("SELECT x::regclass AS a FROM t", "SELECT CAST(x AS VARCHAR) AS a FROM t"),
        ("SELECT x = 'pg_catalog.array_in'::regproc AS a FROM t", "SELECT x = 'array_in' AS a FROM t"),
        ("SELECT x::oid AS a, y::name AS b FROM t", "SELECT x::BIGINT AS a, y::VARCHAR AS b FROM t"),
        ("SELECT x::regtype AS a FROM t", "SELECT format_type(x, NULL) AS a FROM t"),
        ("SELECT pg_catalog.pg_get_userbyid(1) AS a", "SELECT 'tributary' AS a"),
        ("SELECT current_user AS a", "SELECT 'ann' AS a"),
        ("SELECT current_schema AS a, current_database() AS b", "SELECT 'public' AS a, 'tributary' AS b"),
        ("SELECT current_setting('server_version_num')::int / 100 AS a", "SELECT '160006'::INT / 100 AS a"),
        (
            "SELECT x FROM t WHERE x OPERATOR(pg_catalog.~) '^(a)$' COLLATE pg_catalog.default",
            "SELECT x FROM t WHERE x ~ '^(a)$'",
        ),
        ("SELECT x FROM t WHERE x = ANY('{a,b}')", "SELECT x FROM t WHERE x = ANY(ARRAY['a', 'b'])"),
        ("SELECT x FROM t FOR UPDATE", "SELECT x FROM t"),
        ("SELECT '{1,2}'::int[] AS a", "SELECT ARRAY[CAST('1' AS INT), CAST('2' AS INT)] AS a"),
        (
            "SELECT (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) AS a FROM pg_type t",
            "SELECT (SELECT min(c.relkind) FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid) AS a FROM pg_catalog.pg_type t",
        ),
        ("SELECT ARRAY(SELECT x FROM t ORDER BY 1) AS a", "SELECT (SELECT array_agg(x) AS \"array\" FROM t) AS a"),
        (
            "SELECT c.reloptions || array(SELECT 'toast.' || x FROM pg_catalog.unnest(c.reloptions) x) AS a FROM pg_class c",
            "SELECT c.reloptions AS a FROM pg_catalog.pg_class c",
        ),
        (
            "SELECT array_to_string(array(SELECT polname FROM pg_policy), ',') AS a, array_upper(x, 1) AS b FROM t",
            "SELECT NULL AS a, CAST(array_length(x, 1) AS BIGINT) AS b FROM t",
        ),
        ("SELECT E'a\\nb' AS a", "SELECT 'a\nb' AS a"),
    ] {
        assert_eq!(rewritten(sql), expected, "{sql}");
    }
}

#[test]
fn what_never_has_a_row_is_not_computed() {
    assert_eq!(
        rewritten(
            "SELECT array(SELECT 1), i.x AS y FROM pg_inherits i, pg_class c WHERE c.oid = i.inhrelid ORDER BY c.z"
        ),
        "SELECT NULL AS \"array\", NULL AS y WHERE false"
    );
    assert_eq!(
        rewritten(
            "SELECT a.attname, (SELECT d.adbin FROM pg_attrdef d WHERE d.adrelid = a.attrelid) AS x FROM pg_attribute a"
        ),
        "SELECT a.attname, NULL AS x FROM pg_catalog.pg_attribute a"
    );
    assert_eq!(
        rewritten(
            "SELECT t.x AS x FROM (SELECT (pg_expand(i.indkey)).n AS x FROM pg_class c JOIN pg_index i ON true) t WHERE t.x = 1"
        ),
        "SELECT NULL AS x WHERE false"
    );
    for kept in [
        // One row with 0.
        "SELECT count(*) AS n FROM pg_catalog.pg_index AS i",
        "SELECT c.oid FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid",
        "SELECT c.oid FROM pg_catalog.pg_index AS i RIGHT JOIN pg_catalog.pg_class AS c ON i.indrelid = c.oid",
    ] {
        assert_eq!(rewritten(kept), kept);
    }
    assert_eq!(
        rewritten("SELECT x FROM t WHERE NOT EXISTS (SELECT 1 FROM pg_index) AND x IN (SELECT oid FROM pg_index)"),
        "SELECT x FROM t WHERE true AND false"
    );
}

#[test]
fn parameters_become_literals_or_are_typed() {
    let values = vec![string("it's"), value(Value::Number("5".to_owned(), false))];
    assert_eq!(
        rewritten_with("SELECT x FROM t WHERE y = $1 LIMIT $2", Parameters::Values(values)),
        "SELECT x FROM t WHERE y = 'it''s' LIMIT 5"
    );
    assert_eq!(
        rewritten_with("SELECT x FROM t WHERE y = $1 AND z = $2", Parameters::Types(vec![20, 0])),
        "SELECT x FROM t WHERE y = CAST($1 AS BIGINT) AND z = $2"
    );
    let mut statement = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT $1").unwrap().remove(0);
    assert!(rewrite(&mut statement, &context(Parameters::Values(Vec::new()))).is_err());
}

#[test]
fn grafanas_question_for_the_search_path_is_known() {
    let sql = "select quote_ident(table_name) as \"table\" from information_schema.tables where quote_ident(table_schema) IN (
          SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user ELSE trim(s[i]) END
          FROM generate_series(array_lower(string_to_array(current_setting('search_path'),','),1),
              array_upper(string_to_array(current_setting('search_path'),','),1)) as i,
            string_to_array(current_setting('search_path'),',') s)";
    let expected = "SELECT quote_ident(table_name) AS \"table\" FROM pg_information_schema.tables AS tables WHERE quote_ident(table_schema) IN ('public', 'ann')";
    assert_eq!(rewritten(sql), expected);
}

//! Engines that are not ours read the tables: Delta's own reader lists them, DuckDB reads the files.
//!
//! In:      a lake with money, lists, late events and dead letters.
//! Out:     the same counts, sums, bounds and columns as our own SQL gives, and some rows with the same texts.

use serde_json::{Map, Value};
use tributary_schemas::Table;
use tributary_schemas::columns::ColumnKind;

use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::server::{Home, Server, TRUSTED_KEY};

const BEGUN_US: i64 = 1_767_571_200_000_000;

/// Exposures and amounts that no float holds exactly.
const SPECIAL: &str = r#"{"batch": [
    {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m1", "timestamp": "2026-01-05T00:00:00.000001Z",
     "properties": {"revenue": "0.1", "currency": "EUR"}},
    {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m2", "timestamp": "2026-01-05T00:00:01Z",
     "properties": {"revenue": "123456789012.000001", "currency": "EUR"}},
    {"type": "track", "event": "Order Completed", "userId": "u1", "messageId": "m3", "timestamp": "2026-01-05T00:00:02Z",
     "properties": {"revenue": -0.3, "currency": "USD", "exposures": [
        {"experiment": "price", "variant": "b", "probability": 0.5}, {"experiment": "title", "variant": "a"}]}},
    {"type": "alias", "userId": "u1", "previousId": "d1", "messageId": "m4", "timestamp": "2026-01-05T00:00:03Z"},
    {"type": "no such call", "userId": "u1"}
]}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_and_duckdb_find_the_rows_our_own_sql_finds() {
    let test = "delta_and_duckdb_find_the_rows_our_own_sql_finds";
    let Some(mut python) = outside::python(test, "read_back.py") else { return };
    let home = Home::embedded();
    let load = Load::new(Chance::of(test), BEGUN_US + 3_600_000_000);
    let server = home.start().await;
    let (status, answer) = server.post("/v1/batch", TRUSTED_KEY, SPECIAL).await;
    assert_eq!(status, 200, "{answer}");
    let mut running = load.start(&server.url(""));
    load.until_acknowledged(3_000, &mut running).await;
    running.stopped().await;
    // A stop makes the lake whole and still; the next start only reads.
    assert!(server.stop().await.success());
    let server = home.start().await;

    python.arg(home.lake_dir());
    let found = outside::json_lines(python).await;
    assert_eq!(found.len(), Table::ALL.len());
    for (table, found) in Table::ALL.iter().zip(&found) {
        assert_eq!(found["table"], table.name());
        let columns: Vec<&str> = table.columns().iter().map(|column| column.name).collect();
        assert_eq!(found["columns"], serde_json::json!(columns));
        assert_eq!(found["partition_columns"], serde_json::json!(table.partition_columns()));
        let ours = ours(&server, *table).await;
        assert_eq!(found["delta_rows"], ours["rows"], "{}: rows by the Delta log", table.name());
        for (name, ours) in &ours {
            assert_eq!(&found[name], ours, "{}: {name} by DuckDB", table.name());
        }
        let texts = texts(&server, *table).await;
        assert!(texts.as_array().is_some_and(|rows| !rows.is_empty()), "{}", table.name());
        assert_eq!(found["texts"], texts, "{}: texts by DuckDB", table.name());
    }
}

/// Every text column of the first rows, nulls too.
async fn texts(server: &Server<'_>, table: Table) -> Value {
    let columns = table.columns();
    let columns: Vec<&str> =
        columns.iter().filter(|column| column.kind == ColumnKind::Text).map(|column| column.name).collect();
    let (from, order) = match table {
        Table::Events => ("events", "log_partition, log_offset"),
        Table::Sessions => ("session_history", "session_id, version"),
        Table::Identities => ("identities", "log_partition, log_offset"),
        Table::DeadLetters => ("dead_letters", "log_topic, log_partition, log_offset"),
    };
    let rows = server.sql(&format!("SELECT {} FROM {from} ORDER BY {order} LIMIT 200", columns.join(", "))).await;
    let of_row =
        |row: &Map<String, Value>| columns.iter().map(|name| row.get(*name).cloned().unwrap_or_default()).collect();
    Value::Array(rows.iter().map(of_row).collect())
}

async fn ours(server: &Server<'_>, table: Table) -> Map<String, Value> {
    let query = match table {
        Table::Events => {
            "SELECT count(*) AS rows, count(DISTINCT concat(source, ' ', event_id)) AS ids, \
             count(DISTINCT concat(log_partition, ' ', log_offset)) AS positions, CAST(sum(value) AS VARCHAR) AS value, \
             min(event_time_us) AS first_us, max(event_time_us) AS last_us, \
             sum(character_length(properties)) AS properties_length, sum(array_length(exposures)) AS exposures FROM events"
        }
        // `session_history` is the table; `sessions` is the view over it.
        Table::Sessions => {
            "SELECT count(*) AS rows, count(DISTINCT session_id) AS ids, sum(event_count) AS events, \
             min(start_time_us) AS first_us, max(end_time_us) AS last_us FROM session_history"
        }
        Table::Identities => {
            "SELECT count(*) AS rows, count(DISTINCT concat(source, ' ', anonymous_id, ' ', user_id)) AS links FROM identities"
        }
        Table::DeadLetters => {
            "SELECT count(*) AS rows, count(DISTINCT concat(log_topic, ' ', log_partition, ' ', log_offset)) AS positions, \
             sum(payload_bytes) AS bytes FROM dead_letters"
        }
    };
    server.sql(query).await.remove(0)
}

//! Engines that are not ours read the tables: Delta's own reader lists them, DuckDB and Polars read the files, and Spark
//! reads the tables by itself.
//!
//! In:      a lake with money, lists, late events and dead letters; with files from before a column; as it was written, and
//!          after compaction, retention and vacuum.
//! Out:     the same counts, sums, bounds and columns as our own SQL gives, and some rows with the same texts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use object_store::local::LocalFileSystem;
use serde_json::{Map, Value};
use tributary_lake::{CompactOptions, Lake, LakeSettings, VacuumOptions};
use tributary_schemas::columns::ColumnKind;
use tributary_schemas::{SystemClock, Table};

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
async fn delta_duckdb_and_spark_find_the_rows_our_own_sql_finds() {
    let test = "delta_duckdb_and_spark_find_the_rows_our_own_sql_finds";
    let Some(python) = outside::python(test, "read_back.py") else { return };
    let home = Home::embedded();
    before_a_column(&home).await;
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
    others_agree(&server, &python, &home).await;
    assert!(server.stop().await.success());

    upkeep(&home).await;
    let server = home.start().await;
    others_agree(&server, &python, &home).await;
    if let Some(spark) = outside::spark(test, "ReadBack.java") {
        spark_agrees(&server, spark, &home).await;
    }
}

/// Once only, after all: a start of Spark takes as long as all the rest.
async fn spark_agrees(server: &Server<'_>, mut spark: std::process::Command, home: &Home) {
    spark.arg(home.lake_dir()).current_dir(home.data_dir());
    let found = outside::json_lines(spark).await;
    assert_eq!(found.len(), Table::ALL.len());
    for (table, found) in Table::ALL.iter().zip(&found) {
        assert_eq!(found["table"], table.name());
        assert_eq!(found["columns"].as_array().map(Vec::len), Some(table.columns().len()));
        for (name, ours) in &ours(server, *table).await {
            assert_eq!(&found[name], ours, "{}: {name} by Spark", table.name());
        }
        let names: Vec<String> = serde_json::from_value(found["text_columns"].clone()).unwrap();
        assert_eq!(found["texts"], texts(server, *table, &names).await, "{}: texts by Spark", table.name());
    }
}

async fn others_agree(server: &Server<'_>, python: &std::process::Command, home: &Home) {
    let mut script = std::process::Command::new(python.get_program());
    script.args(python.get_args()).env("NO_PROXY", "127.0.0.1").arg(home.lake_dir());
    let found = outside::json_lines(script).await;
    assert_eq!(found.len(), Table::ALL.len());
    for (table, found) in Table::ALL.iter().zip(&found) {
        assert_eq!(found["table"], table.name());
        // A column that was added later stands last.
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        let columns = table.columns().iter().map(|column| column.name.to_owned()).collect();
        let theirs: Vec<String> = serde_json::from_value(found["columns"].clone()).unwrap();
        assert_eq!(sorted(theirs), sorted(columns));
        assert_eq!(found["partition_columns"], serde_json::json!(table.partition_columns()));
        let ours = ours(server, *table).await;
        assert_eq!(found["delta_rows"], ours["rows"], "{}: rows by the Delta log", table.name());
        assert_eq!(found["polars_rows"], ours["rows"], "{}: rows by Polars", table.name());
        for (name, ours) in &ours {
            assert_eq!(&found[name], ours, "{}: {name} by DuckDB", table.name());
        }
        if *table == Table::Events {
            assert_eq!(found["polars_first_us"], ours["first_us"]);
            assert_eq!(found["polars_countries"], server.number("SELECT count(country) FROM events").await);
        }
        // Where Delta lists the columns in another order than we do, so do the texts.
        let names: Vec<String> = serde_json::from_value(found["text_columns"].clone()).unwrap();
        let texts = texts(server, *table, &names).await;
        assert!(texts.as_array().is_some_and(|rows| !rows.is_empty()), "{}", table.name());
        assert_eq!(found["texts"], texts, "{}: texts by DuckDB", table.name());
    }
}

/// A program that knew no countries made the lake and wrote two rows: of a day that will be dropped, and of one that stays.
async fn before_a_column(home: &Home) {
    let mut schemas: HashMap<Table, SchemaRef> =
        Table::ALL.iter().map(|table| (*table, table.arrow_schema())).collect();
    let fields: Vec<Arc<Field>> =
        schemas[&Table::Events].fields().iter().filter(|field| field.name() != "country").cloned().collect();
    let old: SchemaRef = Arc::new(Schema::new(fields));
    schemas.insert(Table::Events, old.clone());
    std::fs::create_dir_all(home.lake_dir()).unwrap();
    let url = reqwest::Url::from_directory_path(home.lake_dir().canonicalize().unwrap()).unwrap();
    let settings = LakeSettings { url: url.to_string(), ..LakeSettings::default() };
    let lake =
        Lake::with_schemas(settings, Arc::new(LocalFileSystem::new()), Arc::new(SystemClock), schemas).await.unwrap();
    let day_us = 86_400_000_000;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for (offset, day) in [(0_i64, 16_000_i64), (1, BEGUN_US / day_us)] {
        let column = |field: &Arc<Field>| -> ArrayRef {
            match field.data_type() {
                other if field.is_nullable() => new_null_array(other, 1),
                DataType::Utf8 => Arc::new(StringArray::from(vec![format!("old-{offset}")])),
                DataType::Int64 if field.name() == "log_offset" => Arc::new(Int64Array::from(vec![offset])),
                DataType::Int64 if field.name().ends_with("_us") => Arc::new(Int64Array::from(vec![day * day_us])),
                DataType::Int64 => Arc::new(Int64Array::from(vec![0])),
                // A partition nobody has.
                DataType::Int32 => Arc::new(Int32Array::from(vec![99])),
                DataType::Boolean => Arc::new(BooleanArray::from(vec![false])),
                DataType::Date32 => Arc::new(Date32Array::from(vec![i32::try_from(day).unwrap()])),
                other => panic!("a required column of type {other}"),
            }
        };
        let batch = RecordBatch::try_new(old.clone(), old.fields().iter().map(column).collect()).unwrap();
        writer.append(vec![batch], &[]).await.unwrap();
    }
}

/// What a server does over weeks.
async fn upkeep(home: &Home) {
    let settings = LakeSettings { url: home.lake_dir().to_str().unwrap().to_owned(), ..LakeSettings::default() };
    let lake = Lake::open(settings).await.unwrap();
    let dropped = lake.drop_old(Table::Events, 3_000, &BTreeSet::new(), None).await.unwrap();
    assert_eq!((dropped.days, dropped.rows), (1, 1));
    let everything = CompactOptions { everything: true, ..CompactOptions::default() };
    for table in Table::ALL {
        let done = lake.compact(*table, &everything).await.unwrap();
        assert!(0 < done.commits, "{}: {done:?}", table.name());
        let now = VacuumOptions { horizon_hours: 0, force: true, dry_run: false };
        assert!(0 < lake.vacuum(*table, &now).await.unwrap().files, "{}", table.name());
    }
    let found = lake.verify("tributary-events").await.unwrap();
    assert!(found.is_sound(), "{found:?}");
}

/// Every text column of the first rows, nulls too.
async fn texts(server: &Server<'_>, table: Table, columns: &[String]) -> Value {
    let is_text = |name: &&String| {
        table.columns().iter().any(|column| column.name == name.as_str() && column.kind == ColumnKind::Text)
    };
    assert_eq!(columns.iter().filter(is_text).count(), columns.len());
    let (from, order) = match table {
        Table::Events => ("events", "log_partition, log_offset"),
        Table::Sessions => ("session_history", "session_id, version"),
        Table::Identities => ("identities", "log_partition, log_offset"),
        Table::DeadLetters => ("dead_letters", "log_topic, log_partition, log_offset"),
    };
    let rows = server.sql(&format!("SELECT {} FROM {from} ORDER BY {order} LIMIT 200", columns.join(", "))).await;
    let of_row =
        |row: &Map<String, Value>| columns.iter().map(|name| row.get(name).cloned().unwrap_or_default()).collect();
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

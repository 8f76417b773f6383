//! The log is the ground state: delete the lake, start again, and the same rows are there.
//!
//! In:      a log with retries, late events and dead letters; a lake made from it, and deleted.
//! Out:     the same rows in every table, whatever the commits were cut into.

use serde_json::{Map, Value};

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::server::{Home, Server, TRUSTED_KEY};

const BEGUN_US: i64 = 1_767_571_200_000_000;

/// Each table in an order that does not depend on files. Of a session, all but `version`: which log position a row
/// was derived at depends on where commits were cut, what it says does not.
const TABLES: &[(&str, &str, &[&str])] = &[
    ("events", "SELECT * FROM events ORDER BY log_partition, log_offset", &[]),
    // A row says `is_final` if it was so when it was told.
    ("sessions", "SELECT * FROM sessions ORDER BY session_id", &["version", "is_final"]),
    ("identities", "SELECT * FROM identities ORDER BY log_partition, log_offset, anonymous_id, user_id", &[]),
    ("dead_letters", "SELECT * FROM dead_letters ORDER BY log_topic, log_partition, log_offset", &[]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_lake_comes_back_from_the_log_row_for_row() {
    let test = "a_deleted_lake_comes_back_from_the_log_row_for_row";
    comes_back(Home::embedded(), Chance::of(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_lake_comes_back_from_kafka_row_for_row() {
    let test = "a_deleted_lake_comes_back_from_kafka_row_for_row";
    let Some(bootstrap) = outside::kafka(test) else { return };
    comes_back(Home::kafka(&bootstrap, "replay"), Chance::of(test)).await;
}

async fn comes_back(home: Home, chance: Chance) {
    let load = Load::new(chance, BEGUN_US);
    let server = home.start().await;
    let (status, answer) =
        server.post("/v1/batch", TRUSTED_KEY, r#"{"batch": [{"type": "no such call", "userId": "u"}, 7]}"#).await;
    assert_eq!(status, 200, "{answer}");
    let mut running = load.start(&server.url(""));
    load.until_acknowledged(4_000, &mut running).await;
    running.stopped().await;
    assert!(server.stop().await.success());

    let server = home.start().await;
    let before = all_rows(&server).await;
    assert!(server.stop().await.success());
    assert!(
        before.iter().all(|(table, rows)| !rows.is_empty() || *table == "identities"),
        "every table has rows to lose"
    );
    // Once in one piece, once in many.
    for cuts in [("60000", "1000000"), ("20", "97")] {
        lake_comes_back(&home, cuts, &before).await;
    }
}

/// Deletes the lake of a home that is not running; makes it anew with commits cut so (`commit_interval_ms`,
/// `commit_rows_max`); and finds the rows that were there before.
pub(crate) async fn lake_comes_back(home: &Home, cuts: (&str, &str), before: &[TableRows]) {
    let (commit_interval_ms, commit_rows_max) = cuts;
    std::fs::remove_dir_all(home.lake_dir()).unwrap();
    let again = Home::with_data_of(home)
        .with("pipeline.commit_interval_ms", commit_interval_ms)
        .with("pipeline.commit_rows_max", commit_rows_max);
    // A polite stop takes in all the log holds; the next start only reads.
    assert!(again.start().await.stop().await.success());
    let server = again.start().await;
    same_rows(before, &all_rows(&server).await, &format!("replayed with commit_rows_max {commit_rows_max}"));
    assert!(server.stop().await.success());
}

/// An acknowledged event that `audit` would miss would be missed after a replay too, so the first lake is audited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_deleted_again_and_again_while_events_come_in_still_balances() {
    let mut chance = Chance::of("a_lake_deleted_again_and_again_while_events_come_in_still_balances");
    let load = Load::new(chance.split(), BEGUN_US);
    let home = Home::embedded();
    for _ in 0..3 {
        let server = home.start().await;
        let mut running = load.start(&server.url(""));
        let count = usize::try_from(200 + chance.below(800)).unwrap();
        load.until_acknowledged(count, &mut running).await;
        server.kill_9().await;
        running.stopped().await;
        std::fs::remove_dir_all(home.lake_dir()).unwrap();
    }
    assert!(home.start().await.stop().await.success());
    audit::all_is_well(&home.start().await, &load.ledger()).await;
}

pub(crate) fn same_rows(before: &[TableRows], after: &[TableRows], when: &str) {
    for ((table, before), (_, after)) in before.iter().zip(after) {
        assert_eq!(before.len(), after.len(), "{table}: rows, {when}");
        for (before, after) in before.iter().zip(after) {
            assert_eq!(before, after, "{table}, {when}");
        }
    }
}

/// A table's name, and its rows without what depends on where commits were cut.
pub(crate) type TableRows = (&'static str, Vec<Map<String, Value>>);

pub(crate) async fn all_rows(server: &Server<'_>) -> Vec<TableRows> {
    let mut all = Vec::new();
    for (table, query, aside) in TABLES {
        let mut rows = server.sql(query).await;
        for row in &mut rows {
            row.retain(|name, _| !aside.contains(&name.as_str()));
        }
        all.push((*table, rows));
    }
    all
}

//! A polite stop: the door closes, the line runs dry, the lake has it all.
//!
//! In:      SIGTERM while a loader is at work.
//! Out:     exit code 0, and tables that hold every acknowledged event without another start.

use tributary_lake::{Lake, LakeSettings};
use tributary_schemas::Table;

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::server::Home;

const BEGUN_US: i64 = 1_767_571_200_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_leaves_every_acknowledged_event_in_the_lake() {
    let test = "a_stop_under_load_leaves_every_acknowledged_event_in_the_lake";
    stops_politely(Home::embedded(), Chance::of(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_leaves_every_acknowledged_event_in_the_lake_on_kafka() {
    let test = "a_stop_under_load_leaves_every_acknowledged_event_in_the_lake_on_kafka";
    let Some(bootstrap) = outside::kafka(test) else { return };
    stops_politely(Home::kafka(&bootstrap, "graceful"), Chance::of(test)).await;
}

async fn stops_politely(home: Home, chance: Chance) {
    // Commits so rare that all but the first can only be the work of the stop.
    let home = home.with("pipeline.commit_interval_ms", "60000");
    let load = Load::new(chance, BEGUN_US);
    let server = home.start().await;
    let mut running = load.start(&server.url(""));
    load.until_acknowledged(3_000, &mut running).await;
    server.ask_to_stop();
    let status = server.ended().await;
    running.stopped().await;
    assert_eq!(status.code(), Some(0), "{}", home.told());

    // Read with the server down: a new start would take in what this one had left in the log.
    let ledger = load.ledger();
    let in_lake = rows_in_lake(&home).await;
    assert!(
        ledger.acknowledged.len() <= in_lake && in_lake <= ledger.sent.len(),
        "{} acknowledged, {in_lake} in the lake, {} sent",
        ledger.acknowledged.len(),
        ledger.sent.len()
    );
    let server = home.start().await;
    audit::all_is_well(&server, &ledger).await;
}

async fn rows_in_lake(home: &Home) -> usize {
    let settings = LakeSettings { url: home.lake_dir().to_str().unwrap().to_owned(), ..LakeSettings::default() };
    let lake = Lake::open(settings).await.unwrap();
    let snapshot = lake.snapshot(Table::Events).await.unwrap();
    snapshot.files().iter().map(|file| usize::try_from(file.rows).unwrap()).sum()
}

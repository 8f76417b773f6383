//! A whole server whose lake is in a bucket: killed in the middle, asked while it commits, made anew elsewhere.
//!
//! In:      a real S3-compatible server, which `cargo xtask test` starts; a loader that never rests.
//! Out:     the books of `audit` after the last start; live tables that agree; the same rows in a second bucket, from the log.

use std::time::Duration;

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::replay;
use crate::server::Home;

const KILLS: u64 = 8;
/// 2026-01-05, a Monday: past, so that no time of the world is ahead of the door's clock.
const BEGUN_US: i64 = 1_767_571_200_000_000;

async fn make_bucket(s3: &str, name: &str) -> String {
    let bucket = format!("{name}-{}", std::process::id());
    let made = reqwest::Client::new().put(format!("{s3}/{bucket}")).send().await.unwrap();
    assert!(made.status().is_success(), "{made:?}");
    bucket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_an_event_of_a_lake_in_a_bucket() {
    let test = "no_kill_loses_or_doubles_an_event_of_a_lake_in_a_bucket";
    let Some(s3) = outside::s3(test) else { return };
    let bucket = make_bucket(&s3, "server").await;
    // Objects of state with nearly each commit, so that starts read them.
    let home = Home::embedded()
        .with("pipeline.commit_interval_ms", "50")
        .with("pipeline.state_bytes_min", "0")
        .with("pipeline.state_records_min", "50")
        .with("lake.url", &format!("s3://{bucket}/lake"))
        .with("lake.object_store.aws_endpoint", &s3)
        .with("lake.object_store.aws_region", "us-east-1")
        .with("lake.object_store.aws_access_key_id", "test")
        .with("lake.object_store.aws_secret_access_key", "test")
        .with("lake.object_store.aws_allow_http", "true");
    let mut chance = Chance::of(test);
    let load = Load::new(chance.split(), BEGUN_US);
    for life in 0..KILLS {
        let server = home.start().await;
        let mut running = load.start(&server.url(""));
        let count = usize::try_from(50 + chance.below(300)).unwrap();
        load.until_acknowledged(count, &mut running).await;
        // Every other life ends before the bucket has taken its first commit, as often as not.
        if life % 2 == 0 {
            let acknowledged = i64::try_from(load.acknowledged_count()).unwrap();
            server.wait_until_at_least("SELECT count(*) FROM events", acknowledged).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        server.kill_9().await;
        running.stopped().await;
    }
    assert!(
        home.told().contains("the state was read from its object"),
        "no start was from an object of state:\n{}",
        home.told()
    );

    let ledger = load.ledger();
    let server = home.start().await;
    let acknowledged = i64::try_from(ledger.acknowledged.len()).unwrap();
    server.wait_until_at_least("SELECT count(*) FROM events_live", acknowledged).await;
    let server = audit::made_whole(&home, server, &ledger).await;
    let rows = replay::all_rows(&server).await;
    assert!(server.stop().await.success());

    // The log alone makes the same lake, in another bucket.
    let again = format!("s3://{}/again", make_bucket(&s3, "again").await);
    let data = home.data_dir().to_str().unwrap();
    let made = home.tool(&["replay", "--data", data, "--to", &again]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let again = Home::with_data_of(&home).with("lake.url", &again);
    let server = again.start().await;
    replay::same_rows(&rows, &replay::all_rows(&server).await, "replayed into another bucket");
    assert!(server.stop().await.success());
}

//! `kill -9` at any instant loses no acknowledged event and doubles none; sessions come out as if nothing had been.
//!
//! In:      a loader that never rests; a server that is killed again and again at moments chosen by a seed.
//! Out:     the books of `audit` after the last start; and the same rows again from the log alone, in lives without a kill.

use std::time::{Duration, Instant};

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::replay;
use crate::server::Home;

const KILLS: u64 = 24;
/// So many if none of the first fell between the commits of `events` and `sessions`: the moment the protocol is for.
const KILLS_MAX: u64 = 80;
/// Every so many lives end before the server has answered once: recovery too must survive being killed.
const KILLED_YOUNG_EVERY: u64 = 5;
const ACKNOWLEDGED_A_LIFE_MAX: u64 = 500;
/// Half of the other kills are aimed at the moment between the commits of two tables.
const COMMITTED: [&str; 4] = ["events", "events", "dead_letters", "sessions"];

/// 2026-01-05, a Monday: past, so that no time of the world is ahead of the door's clock.
const BEGUN_US: i64 = 1_767_571_200_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_an_acknowledged_event_on_the_embedded_log() {
    let test = "no_kill_loses_or_doubles_an_acknowledged_event_on_the_embedded_log";
    survives_kills(Home::embedded(), Chance::of(test)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_or_doubles_an_acknowledged_event_on_kafka() {
    let test = "no_kill_loses_or_doubles_an_acknowledged_event_on_kafka";
    let Some(bootstrap) = outside::kafka(test) else { return };
    survives_kills(Home::kafka(&bootstrap, "kill-loop"), Chance::of(test)).await;
}

async fn survives_kills(home: Home, mut chance: Chance) {
    // Commits follow each other closely, so that a kill often falls into one.
    let home = &home.with("pipeline.commit_interval_ms", "20");
    let load = Load::new(chance.split(), BEGUN_US);
    let mut start_time = Duration::from_millis(500);
    let mut life = 0;
    while life < KILLS || (life < KILLS_MAX && caught_between(home) == 0) {
        life += 1;
        if life % KILLED_YOUNG_EVERY == KILLED_YOUNG_EVERY - 1 {
            let server = home.spawn();
            tokio::time::sleep(part_of(start_time, &mut chance)).await;
            server.kill_9().await;
            continue;
        }
        let begun = Instant::now();
        let server = home.start().await;
        start_time = begun.elapsed();
        let mut running = load.start(&server.url(""));
        let count = usize::try_from(1 + chance.below(ACKNOWLEDGED_A_LIFE_MAX)).unwrap();
        load.until_acknowledged(count, &mut running).await;
        // A moment of its own for each life: any, or the one right after a table's commit, before the next table's.
        match usize::try_from(chance.below(2 * COMMITTED.len() as u64)).unwrap() {
            table if table < COMMITTED.len() => committed(home, COMMITTED[table]).await,
            _ => tokio::time::sleep(part_of(Duration::from_millis(150), &mut chance)).await,
        }
        server.kill_9().await;
        running.stopped().await;
    }

    let ledger = load.ledger();
    assert!(ledger.doubled_count > 0, "the loader sent no acknowledged event again");
    assert!(ledger.acknowledged.len() < ledger.sent.len(), "no kill caught an event under way");
    let server = audit::made_whole(home, home.start().await, &ledger).await;
    let rows = replay::all_rows(&server).await;
    assert!(server.stop().await.success());
    // What was put together from tables after each kill says in every column what the log says in one go.
    replay::lake_comes_back(home, ("60000", "1000000"), &rows).await;
    let caught_between = caught_between(home);
    eprintln!(
        "{life} kills, {caught_between} times a partition was caught between two commits: {} events sent, {} acknowledged",
        ledger.sent.len(),
        ledger.acknowledged.len()
    );
    assert!(caught_between > 0, "no kill fell between the commits of `events` and `sessions`");
}

/// How often a start found rows of `events` that `sessions` did not know.
fn caught_between(home: &Home) -> usize {
    home.told().matches("a crash left behind").count()
}

/// Waits until the table has one commit more than now; not for long, as there may be nothing to commit to it.
async fn committed(home: &Home, table: &str) {
    let log = home.lake_dir().join(table).join("_delta_log");
    // Commits by their final names: one that is still being written has another.
    let is_commit = |name: &std::ffi::OsStr| name.to_string_lossy().ends_with(".json");
    let commit_count = || {
        std::fs::read_dir(&log).map_or(0, |names| names.flatten().filter(|name| is_commit(&name.file_name())).count())
    };
    let (before, begun) = (commit_count(), Instant::now());
    while commit_count() == before && begun.elapsed() < Duration::from_millis(500) {
        tokio::task::yield_now().await;
    }
}

fn part_of(whole: Duration, chance: &mut Chance) -> Duration {
    let micros = u64::try_from(whole.as_micros()).unwrap();
    Duration::from_micros(chance.below(micros.max(1)))
}

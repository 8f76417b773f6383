//! Late events end up in their sessions: afterwards these are those of the batch definition over all events.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::partition_for;
use tributary_pipeline::{PipelineSettings, Progress, run};
use tributary_schemas::{Event, EventKind, Table};

use crate::oracle::expect_with;
use crate::replay::{House, PARTITIONS, settings};
use crate::world::{self, MINUTE_US, Written};

/// An event of each source in each partition, long after all others: what came before is sealed by it.
fn sealing(written: &[Written]) -> Vec<Written> {
    let newest = |written: &Written| match written {
        Written::Event(event) => event.ingest_time_us,
        Written::Garbage(_) => 0,
    };
    let time_us = written.iter().map(newest).max().unwrap() + 12 * 60 * MINUTE_US;
    let mut sealing = Vec::new();
    for source in ["web", "app"] {
        for partition in 0..PARTITIONS {
            let made = (0..).map(|number| {
                let mut event = Event::new(source, "test", &format!("seal-{time_us}-{number}"), "page", time_us);
                event.event_kind = EventKind::Page;
                event.event_name = format!("seal {number}");
                event.ingest_time_us = time_us;
                event.anonymous_id = Some(format!("sealer-{number}"));
                event
            });
            let mut here = made.filter(|event| partition_for(&event.partition_key(), PARTITIONS) == partition);
            sealing.push(Written::Event(Box::new(here.next().unwrap())));
        }
    }
    sealing
}

/// Where the log ends, by partition.
async fn ends(house: &House) -> Vec<(u32, i64)> {
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push((partition, house.log.bounds("events", partition).await.unwrap().next.cast_signed()));
    }
    ends
}

/// Runs until every partition has been looked through up to `ends`. (Beyond the last late event nobody looks.)
async fn run_and_repair(house: &House, settings: PipelineSettings, ends: &[(u32, i64)]) {
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let (progress, _watching) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let settings = PipelineSettings { repair_interval_ms: 20, commit_interval_ms: 20, ..settings };
    let job = tokio::spawn(run(settings, house.parts(lake, progress), stop.clone()));
    let repaired = async {
        loop {
            let (_, positions) = house.stands_at(Table::Sessions, "sess/").await;
            let is_through = |(partition, end): &(u32, i64)| {
                let app_id = format!("sess/{}/{partition}/repaired", house.events.topic_id);
                positions.get(&app_id) >= Some(end)
            };
            if ends.iter().all(is_through) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), repaired).await.expect("the repair gets through");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(60), job).await.expect("the job ends").unwrap().unwrap();
}

/// Adds events that seal all there is, and lets the repair get through.
pub(crate) async fn seal_and_repair(house: &House, all: &mut Vec<Written>) {
    let seals = sealing(all);
    all.extend(seals.iter().cloned());
    world::write(house.log.as_ref(), &house.events, &seals).await;
    house.run_to_the_end(1_000).await;
    let sealed = ends(house).await;
    let seals = sealing(all);
    all.extend(seals.iter().cloned());
    world::write(house.log.as_ref(), &house.events, &seals).await;
    run_and_repair(house, settings(1_000), &sealed).await;
}

#[tokio::test]
async fn late_events_are_put_into_their_sessions() {
    for seed in 300..306 {
        let house = House::new().await;
        let mut written = world::events(seed, 600);
        written.extend(sealing(&written));
        let late = written.len();
        world::write(house.log.as_ref(), &house.events, &written).await;
        house.run_to_the_end([9, 50, 1_000][seed as usize % 3]).await;
        let (before, _) = house.contents().await;
        let expected = expect_with(&written, PARTITIONS, true);
        assert_ne!(before.sessions, expected.sessions, "seed {seed}: nothing of {late} events was late");

        // Its own versions come after those of the rows it replaces, so something must have been committed since.
        let sealed = ends(&house).await;
        let more = sealing(&written);
        written.extend(more.iter().cloned());
        world::write(house.log.as_ref(), &house.events, &more).await;
        run_and_repair(&house, settings(1_000), &sealed).await;
        let (found, _) = house.contents().await;
        assert_eq!(found, expect_with(&written, PARTITIONS, true), "seed {seed}");

        // A start after a repair, from the tables and from a state, and a second repair, find nothing to change.
        let (version, _) = house.stands_at(Table::Sessions, "sess/").await;
        for rows in [99, 100] {
            house.run_to_the_end(rows).await;
        }
        let (again, _) = house.contents().await;
        assert_eq!(again, found);
        assert_eq!(house.stands_at(Table::Sessions, "sess/").await.0, version);
    }
}

#[tokio::test]
async fn what_the_stream_may_still_tell_again_waits() {
    let house = House::new().await;
    let written = world::events(310, 400);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_to_the_end(1_000).await;
    // Repairs run all the time here, beside arrivals, commits and restarts.
    let mut all = written;
    for seed in 311..316 {
        let mut part = world::events(seed, 100);
        let shift_us = 8 * 60 * MINUTE_US * (seed.cast_signed() - 310);
        for (number, written) in part.iter_mut().enumerate() {
            if let Written::Event(event) = written {
                event.event_time_us += shift_us;
                event.ingest_time_us += shift_us;
                event.event_id = format!("{seed}-{}", event.event_id);
                event.event_name = format!("{seed} {number}");
            }
        }
        world::write(house.log.as_ref(), &house.events, &part).await;
        all.extend(part);
        let lake = house.lake_with(house.disk.clone(), 3).await;
        let (progress, mut watching) = watch::channel(Progress::default());
        let stop = CancellationToken::new();
        let settings = PipelineSettings { repair_interval_ms: 1, commit_interval_ms: 5, ..settings(30) };
        let job = tokio::spawn(run(settings, house.parts(lake, progress), stop.clone()));
        let goal = ends(&house).await;
        let reached = |now: &Progress| {
            goal.iter()
                .all(|(partition, end)| now.events.iter().any(|at| at.0 == *partition && end.cast_unsigned() <= at.1))
        };
        let waited = watching.wait_for(reached);
        tokio::time::timeout(Duration::from_secs(60), waited).await.expect("it commits").map(drop).unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), job).await.expect("the job ends").unwrap().unwrap();
    }
    seal_and_repair(&house, &mut all).await;
    let (found, _) = house.contents().await;
    assert_eq!(found.sessions, expect_with(&all, PARTITIONS, true).sessions);
}

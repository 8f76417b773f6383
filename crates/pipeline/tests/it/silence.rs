//! A source that falls silent: its sessions are closed by the clock, and a start finds them closed.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_pipeline::{PipelineSettings, Progress, run};
use tributary_schemas::{Clock, Event, EventFlags, EventKind, SystemClock, Table};

use crate::replay::{House, settings};
use crate::world::{self, Written};

const PEOPLE: u64 = 20;

/// A page that is seen and received at this time.
fn page(id: &str, person: u64, time_us: i64) -> Written {
    let mut event = Event::new("web", "test", id, "page", time_us);
    event.event_kind = EventKind::Page;
    event.ingest_time_us = time_us;
    event.anonymous_id = Some(format!("person-{person}"));
    Written::Event(Box::new(event))
}

/// Sessions are over after a fifth of a second, state objects are written with each commit or never.
fn hasty(source_idle_ms: u64, with_states: bool) -> PipelineSettings {
    PipelineSettings {
        session_preset: "custom".to_owned(),
        session_gap_ms: 100,
        session_duration_ms_max: 60_000,
        allowed_lateness_ms: 100,
        watermark_delay_ms: 0,
        source_idle_ms,
        commit_interval_ms: 10,
        log_check_interval_ms: 20,
        state_bytes_min: if with_states { 0 } else { usize::MAX },
        state_records_min: 1,
        ..settings(1_000)
    }
}

async fn late_events(house: &House) -> usize {
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let snapshot = lake.snapshot(Table::Events).await.unwrap();
    let batches: Vec<_> = futures::TryStreamExt::try_collect(snapshot.read(&["flags"], |_| true)).await.unwrap();
    let flags = batches.iter().flat_map(|batch: &arrow::array::RecordBatch| {
        let flags = batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>().unwrap();
        flags.values().to_vec()
    });
    flags.filter(|flags| EventFlags(*flags).has(EventFlags::LATE)).count()
}

#[tokio::test]
async fn sessions_of_a_silent_source_are_closed_and_found_closed_by_the_next_start() {
    for (with_states, source_idle_ms) in [(false, 1), (true, 1), (false, 0), (true, 0)] {
        let house = House::new().await;
        let now_us = SystemClock.now_us();
        let seen: Vec<Written> = (0..PEOPLE).map(|person| page(&person.to_string(), person, now_us)).collect();
        world::write(house.log.as_ref(), &house.events, &seen).await;

        let settings = hasty(source_idle_ms, with_states);
        if source_idle_ms == 0 {
            house.run_by(settings.clone()).await.unwrap();
        } else {
            let lake = house.lake_with(house.disk.clone(), 3).await;
            let (progress, mut watching) = watch::channel(Progress::default());
            let stop = CancellationToken::new();
            let job = tokio::spawn(run(settings.clone(), house.parts(lake, progress), stop.clone()));
            let is_closed = |progress: &Progress| progress.counts.kept == PEOPLE && progress.open_sessions == 0;
            let closed = tokio::time::timeout(Duration::from_secs(60), watching.wait_for(is_closed)).await;
            closed.expect("its sessions are closed").unwrap();
            stop.cancel();
            tokio::time::timeout(Duration::from_secs(60), job).await.expect("the job ends").unwrap().unwrap();
        }

        // By the watermark of the events alone these are in time.
        let after: Vec<Written> =
            (0..PEOPLE).map(|person| page(&format!("{person}-"), person, now_us - 1_000)).collect();
        world::write(house.log.as_ref(), &house.events, &after).await;
        house.run_by(settings).await.unwrap();
        let expected = if source_idle_ms == 0 { 0 } else { usize::try_from(PEOPLE).unwrap() };
        assert_eq!(late_events(&house).await, expected, "states: {with_states}, idle: {source_idle_ms} ms");
    }
}

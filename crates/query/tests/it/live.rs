//! Live tables: the tables and a tail that somebody answers with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use tributary_query::live::{LiveAsked, LiveFault, LiveRows, LiveSource, LiveSources};
use tributary_query::{Engine, QueryError, QuerySettings};
use tributary_schemas::{Event, EventKind, Table};

use crate::world::{self, MARCH_US, World};

/// Answers with what it was given, after saying `anew` so often.
#[derive(Debug)]
struct Given {
    rows: LiveRows,
    anew: AtomicUsize,
    asked: AtomicUsize,
}

impl Given {
    fn new(rows: LiveRows, anew: usize) -> Arc<Self> {
        Arc::new(Self { rows, anew: AtomicUsize::new(anew), asked: AtomicUsize::new(0) })
    }
}

#[async_trait::async_trait]
impl LiveSource for Given {
    async fn tail(&self, _: &LiveAsked) -> Result<LiveRows, LiveFault> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if 0 < self.anew.load(Ordering::Relaxed) {
            self.anew.fetch_sub(1, Ordering::Relaxed);
            return Err(LiveFault::PinAnew);
        }
        Ok(self.rows.clone())
    }
}

fn engine(world: &World, sources: &[Arc<Given>]) -> Engine {
    let others = sources.iter().map(|source| Arc::clone(source) as Arc<dyn LiveSource>).collect();
    let settings = QuerySettings { threads: 1, ..QuerySettings::default() };
    Engine::with_live(settings, world.lake.clone(), LiveSources { own: None, others }).unwrap()
}

/// Events as rows of the table, by way of a lake of their own.
async fn rows_of(events: &[Event], first_offset: i64) -> Vec<RecordBatch> {
    let world = World::empty().await;
    world.plant(first_offset, events).await;
    let snapshot = world.lake.snapshot(Table::Events).await.unwrap();
    let schema = snapshot.schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    snapshot.read(&columns, |_| true).try_collect().await.unwrap()
}

fn page(id: &str, minute: i64) -> Event {
    world::event(id, "d", EventKind::Page, MARCH_US + minute * 60_000_000)
}

async fn number(engine: &Engine, sql: &str) -> i64 {
    let answer = engine.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    answer.batches[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn a_live_table_is_the_table_and_its_tail() {
    let world = World::empty().await;
    world.plant(0, &[page("1", 1), page("2", 2)]).await;
    let events = rows_of(&[page("3", 3), page("4", 4)], 2).await;
    let tail = Given::new(LiveRows { positions: vec![(0, 4)], partitions: 1, events, sessions: Vec::new() }, 0);
    let engine = engine(&world, &[Arc::clone(&tail)]);
    assert_eq!(number(&engine, "SELECT count(*) FROM events_live").await, 4);
    assert_eq!(number(&engine, "SELECT sum(log_offset) FROM events_live WHERE event_id <> '2'").await, 5);
    assert_eq!(number(&engine, "SELECT count(*) FROM (SELECT * FROM events_live LIMIT 3)").await, 3);
    assert_eq!(number(&engine, "SELECT count(DISTINCT person_id) FROM person_events_live").await, 1);
    assert_eq!(number(&engine, "SELECT count(*) FROM events").await, 2);
    assert_eq!(number(&engine, "SELECT count(*) FROM sessions_live").await, 0);
    let answer = engine.query("SELECT event_id FROM events_live ORDER BY event_time_us DESC").await.unwrap();
    assert_eq!(answer.live_positions, Some(vec![(0, 4)]));
    let read = answer.facts.read.unwrap();
    assert_eq!(read.rows_read, 4, "two of the file and two of the tail");
    assert!(read.tables[0].table == "events" && read.tables[0].live);
    assert_eq!(tail.asked.load(Ordering::Relaxed), 6, "a question that names no live table asks nobody");
}

#[tokio::test]
async fn the_newest_version_of_a_session_may_be_in_the_tail() {
    let session = |version: i64, superseded_by: &str, events: i64| {
        format!(
            r#"{{"session_id":"s","version":{version},"superseded_by":{superseded_by},"source":"shop","session_key":"d","start_time_us":{MARCH_US},"end_time_us":{MARCH_US},"duration_us":0,"engaged_us":0,"event_count":{events},"page_count":0,"conversion_count":0,"is_bounce":false,"engagement_class":"human","rule":"ga4","log_partition":0,"first_offset":0,"last_offset":{version},"is_final":false,"late_event_count":0,"start_date":"2026-03-01"}}"#
        )
    };
    for (newest, expected) in [(session(9, "null", 5), vec![5]), (session(9, "\"t\"", 0), vec![])] {
        let world = World::empty().await;
        world.plant_json(Table::Sessions, &session(3, "null", 2)).await;
        let elsewhere = World::empty().await;
        elsewhere.plant_json(Table::Sessions, &newest).await;
        let snapshot = elsewhere.lake.snapshot(Table::Sessions).await.unwrap();
        let schema = snapshot.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let sessions = snapshot.read(&columns, |_| true).try_collect().await.unwrap();
        let tail = Given::new(LiveRows { positions: vec![(0, 9)], partitions: 1, events: Vec::new(), sessions }, 0);
        let engine = engine(&world, &[tail]);
        for sql in [
            "SELECT event_count FROM sessions_live",
            "SELECT event_count FROM person_sessions_live WHERE person_id = 'shop:d' AND start_time IS NOT NULL",
        ] {
            let answer = engine.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let found: Vec<i64> = answer
                .batches
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}

#[tokio::test]
async fn snapshots_are_pinned_anew_a_few_times_and_then_the_asker_is_told() {
    let world = World::empty().await;
    let rows = || LiveRows { positions: vec![(0, 0)], partitions: 1, ..LiveRows::default() };
    let patient = Given::new(rows(), 4);
    assert_eq!(number(&engine(&world, &[Arc::clone(&patient)]), "SELECT count(*) FROM events_live").await, 0);
    assert_eq!(patient.asked.load(Ordering::Relaxed), 5);
    let hopeless = engine(&world, &[Given::new(rows(), usize::MAX)]);
    let error = hopeless.query("SELECT count(*) FROM events_live").await.unwrap_err();
    assert!(matches!(error, QueryError::Live { .. }), "{error}");
}

#[tokio::test]
async fn who_is_missing_or_there_twice_is_told_with_the_setting() {
    let world = World::empty().await;
    let of = |partitions: &[u32]| {
        let positions = partitions.iter().map(|partition| (*partition, 0)).collect();
        Given::new(LiveRows { positions, partitions: 4, ..LiveRows::default() }, 0)
    };
    let asked = "SELECT count(*) FROM events_live";
    assert_eq!(number(&engine(&world, &[of(&[0, 2]), of(&[1, 3])]), asked).await, 0);
    for (sources, words) in [
        (vec![], "query.live_urls"),
        (vec![of(&[0, 2])], "partitions 1, 3"),
        (vec![of(&[0, 1, 2, 3]), of(&[2])], "partition 2"),
    ] {
        let error = engine(&world, &sources).query(asked).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("query.live_urls"), "{error}");
    }
    assert_eq!(number(&engine(&world, &[]), "SELECT count(*) FROM events WHERE event_id = 'events_live'").await, 0);
}

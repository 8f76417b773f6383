//! A head and three workers: the same answers as one process, whoever dies.
//!
//! In:      the planted world, and workers in this process, each with an engine, threads and memory of its own.
//! Out:     heads that give away whatever can be given.

mod alike;
mod bounds;
mod deaths;
mod held;

use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_lake::Lake;
use tributary_query::distributed::{self, WorkerSettings};
use tributary_query::{Answer, Engine, QuerySettings, ReadFacts};
use tributary_schemas::{EventKind, Table};

use crate::world::{self, DAY_US, MARCH_US, World};

pub(super) const TOKEN: &str = "a-token-of-workers";

/// A worker in this process, with an engine, threads and memory of its own.
pub(super) struct Worker {
    pub(super) engine: Arc<Engine>,
    pub(super) url: String,
    serving: JoinHandle<Result<(), std::io::Error>>,
}

impl Worker {
    pub(super) async fn start(lake: Lake, settings: QuerySettings, token: &str) -> Self {
        let engine = Arc::new(Engine::new(QuerySettings { threads: 2, ..settings }, lake).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = WorkerSettings { token: token.to_owned(), ..WorkerSettings::default() };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(distributed::serve(listener, Arc::clone(&engine), settings, stop));
        Self { engine, url, serving }
    }

    /// As `kill -9` does: its threads are gone in the middle of whatever they did, and its connections with them.
    pub(super) async fn kill(self) {
        self.serving.abort();
        drop(self.serving.await);
        let engine = Arc::into_inner(self.engine).expect("nobody else has it");
        drop(engine);
    }
}

/// A head that gives to workers whatever can be given.
pub(super) fn head(world: &World, workers: &[&Worker], settings: QuerySettings) -> Engine {
    let settings = QuerySettings {
        threads: 2,
        workers: workers.iter().map(|worker| worker.url.clone()).collect(),
        worker_scan_bytes_min: 1,
        worker_token: TOKEN.to_owned(),
        ..settings
    };
    world.engine(settings)
}

pub(super) async fn three(world: &World) -> [Worker; 3] {
    let start = || Worker::start(world.lake.clone(), QuerySettings::default(), TOKEN);
    [start().await, start().await, start().await]
}

/// The rows in no order; a float by its first ten digits, for it depends on the order of a sum.
pub(super) fn rows(answer: &Answer) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &answer.batches {
        let columns: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let text = |column: (usize, &ArrayFormatter<'_>)| {
                let text = column.1.value(row).to_string();
                let is_float = batch.column(column.0).data_type().is_floating();
                if is_float { text.parse::<f64>().map_or(text, |number| format!("{number:.9e}")) } else { text }
            };
            rows.push(columns.iter().enumerate().map(text).collect::<Vec<_>>().join("|"));
        }
    }
    rows.sort();
    rows
}

/// What was read, which the owner is told.
pub(super) fn read(answer: &Answer) -> &ReadFacts {
    answer.facts.read.as_ref().unwrap()
}

pub(super) async fn asked(engine: &Engine, sql: &str) -> Answer {
    engine.query(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
}

/// The world of the documentation, with rows of each table in more than one file, so that more than one can read them.
pub(super) async fn planted() -> World {
    let world = world::planted().await;
    let session = |id: &str, version: i64, offset: i64| {
        format!(
            r#"{{"session_id":"{id}","version":{version},"superseded_by":null,"source":"shop","session_key":"b1","start_time_us":{MARCH_US},"end_time_us":{MARCH_US},"duration_us":0,"engaged_us":0,"event_count":2,"page_count":1,"conversion_count":1,"is_bounce":false,"engagement_class":"human","rule":"ga4","log_partition":0,"first_offset":0,"last_offset":{offset},"is_final":false,"late_event_count":0,"start_date":"2026-03-01"}}"#
        )
    };
    world.plant_json(Table::Sessions, &[session("s9", 1, 1), session("s3", 8, 8)].join("\n")).await;
    world.plant_json(Table::Sessions, &session("s9", 9, 9)).await;
    world
}

pub(super) async fn many() -> World {
    let world = World::empty().await;
    for day in 0..4 {
        let event = |number: i64| {
            world::event(&format!("e{day}-{number}"), "d", EventKind::Page, MARCH_US + day * DAY_US + number)
        };
        world.plant(day * 20_000, &(0..20_000).map(event).collect::<Vec<_>>()).await;
    }
    world
}

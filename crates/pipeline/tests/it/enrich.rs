//! Enrichment over restarts: what a sequence shows must not depend on when the job stopped.

use arrow::array::{Array, AsArray};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, TopicSpec};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Parts, PipelineSettings, Progress, run};
use tributary_schemas::{EngagementClass, Event, EventKind, SystemClock, Table};

use crate::world::{self, Seeded, Written};

const SECOND_US: i64 = 1_000_000;
const START_US: i64 = 1_790_000_000_000_000;

/// Mails that people and scanners open and click, and pages between them.
fn mail_traffic(seed: u64, count: usize) -> Vec<Written> {
    let mut random = Seeded(seed);
    let mut now_us = START_US;
    let mut written = Vec::new();
    for number in 0..count {
        now_us += i64::try_from(random.below(5)).unwrap() * SECOND_US;
        if random.one_in(25) {
            now_us += i64::try_from(random.below(600)).unwrap() * SECOND_US;
        }
        let mut event = Event::new("web", "redirect", &format!("e{number}"), "x", now_us);
        event.event_kind = [EventKind::Send, EventKind::Open, EventKind::Click, EventKind::Click, EventKind::Page]
            [random.below(5) as usize];
        event.engagement_class = EngagementClass::Human;
        event.user_id = Some(format!("u{}", random.below(3)));
        if event.event_kind != EventKind::Page {
            event.message_id = Some("m".to_owned());
        }
        if event.event_kind == EventKind::Click {
            event.link_id = Some(format!("l{}", random.below(4)));
        }
        if random.one_in(30) {
            event.engagement_class = EngagementClass::Prefetch;
            event.engagement_reasons = vec!["method_head".to_owned()];
        }
        written.push(Written::Event(Box::new(event)));
    }
    written
}

/// (class, reasons) by event id, after a job that stopped after each of `cuts` events.
async fn labels(written: &[Written], cuts: &[usize]) -> BTreeMap<String, (String, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn EventLog> = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.path())).unwrap();
    let topic = async |name: &str| log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions: 1 }).await.unwrap();
    let (events, dead_letters) = (topic("events").await, topic("dead_letters").await);
    let disk = Arc::new(InMemory::new());
    let lake = async || {
        let settings = LakeSettings { url: "memory:///lake".to_owned(), ..LakeSettings::default() };
        Lake::with_store(settings, disk.clone(), Arc::new(SystemClock)).await.unwrap()
    };
    let mut begin = 0;
    for end in cuts.iter().copied().chain([written.len()]) {
        world::write(log.as_ref(), &events, &written[begin..end]).await;
        begin = end;
        let (progress, _watching) = watch::channel(Progress::default());
        let (log, lake) = (log.clone(), lake().await);
        let parts = Parts { log, lake, events: events.clone(), dead_letters: dead_letters.clone(), progress };
        let stop = CancellationToken::new();
        stop.cancel();
        let running = run(PipelineSettings::default(), parts, stop);
        tokio::time::timeout(Duration::from_secs(60), running).await.expect("the job reaches its end").unwrap();
    }
    let columns = ["event_id", "engagement_class", "engagement_reasons"];
    let snapshot = lake().await.snapshot(Table::Events).await.unwrap();
    let batches: Vec<_> = snapshot.read(&columns, |_| true).try_collect().await.unwrap();
    let mut found = BTreeMap::new();
    for batch in &batches {
        let [ids, classes] = [0, 1].map(|index| batch.column(index).as_string::<i32>());
        let reasons = batch.column(2).as_list::<i32>();
        for row in 0..batch.num_rows() {
            let said = if reasons.is_valid(row) { Some(reasons.value(row)) } else { None };
            let said = said.iter().flat_map(|said| said.as_string::<i32>().iter().flatten().map(str::to_owned));
            found.insert(ids.value(row).to_owned(), (classes.value(row).to_owned(), said.collect()));
        }
    }
    found
}

#[tokio::test]
async fn a_restart_forgets_no_message() {
    for seed in [1, 2, 3] {
        println!("seed {seed}");
        let written = mail_traffic(seed, 300);
        let expected = labels(&written, &[]).await;
        let scanners = expected.values().filter(|(class, _)| class == "scanner").count();
        assert!((20..280).contains(&scanners), "{scanners} of 300: the test says little");
        assert_eq!(labels(&written, &[40, 41, 60, 100, 101, 102, 200, 250]).await, expected);
    }
}

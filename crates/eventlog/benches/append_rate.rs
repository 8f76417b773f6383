//! How many durable records a second the embedded log takes from producers that each wait for their answer.
//!
//! `cargo bench -p tributary-eventlog --no-default-features`, on the disk of the temporary directory.
//! Prints records per second and the median and 99th percentile of an append, then the rate of reading all back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, LogReader, Record, TopicSpec};

const PARTITIONS: u32 = 4;
const RECORD_BYTES: usize = 400;
const RUN: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    for (producers, batch) in [(1, 1), (64, 1), (16, 100), (4, 1000)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = EmbeddedLog::open(EmbeddedSettings::in_dir(dir.path())).expect("an empty directory opens");
        let spec = TopicSpec { name: "bench".into(), partitions: PARTITIONS };
        log.ensure_topic(&spec).await.expect("a topic is made");
        let began = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for producer in 0..producers {
            running.spawn(produce(log.clone(), producer, batch, began));
        }
        let mut waits_us: Vec<u128> = running.join_all().await.into_iter().flatten().collect();
        let elapsed_s = began.elapsed().as_secs_f64();
        waits_us.sort_unstable();
        let records = waits_us.len() * batch;
        println!(
            "{producers} producers x {batch}: {:.0} records/s, append p50 {:.2} ms, p99 {:.2} ms",
            records as f64 / elapsed_s,
            waits_us[waits_us.len() / 2] as f64 / 1e3,
            waits_us[waits_us.len() * 99 / 100] as f64 / 1e3,
        );
        let began = Instant::now();
        let start: Vec<(u32, u64)> = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let mut reader = log.reader("bench", &start).await.expect("the start is in range");
        read(reader.as_mut(), records).await;
        println!("    read back: {:.0} records/s", records as f64 / began.elapsed().as_secs_f64());
        log.close().await.expect("the log closes");
    }
}

async fn produce(log: Arc<EmbeddedLog>, producer: u32, batch: usize, began: Instant) -> Vec<u128> {
    let mut waits_us = Vec::new();
    let value = Bytes::from(vec![7; RECORD_BYTES]);
    while began.elapsed() < RUN {
        let record =
            |index: u32| ((producer + index) % PARTITIONS, Record { key: None, value: value.clone(), time_ms: 1 });
        let records = (0..u32::try_from(batch).expect("small")).map(record).collect();
        let asked = Instant::now();
        let answers = log.append("bench", records).await;
        assert!(answers.iter().all(Result::is_ok), "every append is taken");
        waits_us.push(asked.elapsed().as_micros());
    }
    waits_us
}

async fn read(reader: &mut dyn LogReader, records: usize) {
    let mut count = 0;
    while count < records {
        let polled = reader.poll(8 << 20, Duration::from_secs(1)).await.expect("the log can be read");
        count += polled.records.len();
    }
}

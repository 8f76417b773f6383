//! What can only be seen with a disk that fails on command. The rest is in `tests/it`.
//!
//! Each test runs the whole log on a disk in memory (`memory_disk.rs`) that can be full, refuse a sync, hold one
//! back, or lose its power and keep an arbitrary part of what was not synced.

mod faults;
mod memory_disk;
mod power;

use std::sync::Arc;

use bytes::Bytes;

use super::{EmbeddedLog, EmbeddedSettings};
use crate::{Delivered, EventLog, LogError, Record};
use memory_disk::MemoryDisk;

const TOPIC: &str = "t";

fn open(disk: &Arc<MemoryDisk>, change: impl FnOnce(&mut EmbeddedSettings)) -> Result<Arc<EmbeddedLog>, LogError> {
    let mut settings = EmbeddedSettings::in_dir("/log");
    change(&mut settings);
    EmbeddedLog::open_on(disk.clone(), settings)
}

fn record(value: impl Into<Vec<u8>>) -> Record {
    Record { key: Some(Bytes::from_static(b"key")), value: Bytes::from(value.into()), time_ms: 1 }
}

/// Everything a partition holds.
async fn read_all(log: &EmbeddedLog, partition: u32) -> Vec<Delivered> {
    let bounds = log.bounds(TOPIC, partition).await.unwrap();
    let mut reader = log.reader(TOPIC, &[(partition, bounds.earliest)]).await.unwrap();
    let mut records = Vec::new();
    loop {
        let polled = reader.poll(1 << 20, std::time::Duration::ZERO).await.unwrap();
        records.extend(polled.records);
        if polled.positions == [(partition, bounds.next)] {
            return records;
        }
    }
}

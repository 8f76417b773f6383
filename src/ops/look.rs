//! One look: where the log ends, where the lake stands, what its tables hold.
//!
//! In:      the log with its topics, the lake; either may be missing.
//! Out:     bounds, positions and lag by partition; files, rows and bytes by table.
//! Promise: the lake is read before the log, so that no lag comes out below nothing.

use std::collections::BTreeMap;

use anyhow::Context;
use tributary_eventlog::TopicInfo;
use tributary_lake::{Lake, Snapshot};
use tributary_pipeline::{PartitionStanding, Standing, Tables};

use super::report::{PartitionReport, TableReport, TopicReport};
use crate::serve::LogParts;

/// Files below this are what compaction is for.
const SMALL_FILE_BYTES: u64 = 16 << 20;

pub(crate) struct Look {
    pub(crate) tables: Option<Tables>,
    pub(crate) standing: Option<Standing>,
    pub(crate) topics: Vec<TopicReport>,
}

impl Look {
    pub(crate) async fn take(log: Option<&LogParts>, lake: Option<&Lake>) -> anyhow::Result<Self> {
        let tables = match lake {
            Some(lake) => Some(Tables::read(lake).await?),
            None => None,
        };
        let standing = tables.as_ref().zip(log).map(|(tables, log)| tables.standing(&log.events, &log.dead_letters));
        let mut topics = Vec::new();
        if let Some(log) = log {
            let of_events = |partition| {
                let standing = standing.as_ref()?;
                standing.events.iter().find(|at| at.partition == partition)
            };
            let of_dead = |partition| {
                let standing = standing.as_ref()?;
                standing.dead_letters.iter().find(|(at, _)| *at == partition)?.1
            };
            topics.push(topic(log, &log.events, |partition| of_events(partition).and_then(|at| at.events)).await?);
            topics.push(topic(log, &log.dead_letters, of_dead).await?);
            for partition in &mut topics[0].partitions {
                if let Some(at) = of_events(partition.partition) {
                    add_standing(partition, at);
                }
            }
        }
        Ok(Self { tables, standing, topics })
    }

    /// Where the lake stands, for which the log need not be asked.
    pub(crate) async fn standing(log: Option<&LogParts>, lake: Option<&Lake>) -> anyhow::Result<Option<Standing>> {
        let Some((log, lake)) = log.zip(lake) else { return Ok(None) };
        Ok(Some(Tables::read(lake).await?.standing(&log.events, &log.dead_letters)))
    }

    pub(crate) fn table_reports(&self) -> Vec<TableReport> {
        self.tables.iter().flat_map(Tables::all).map(table).collect()
    }
}

fn add_standing(partition: &mut PartitionReport, at: &PartitionStanding) {
    partition.watermarks_us = at.watermarks.clone();
    partition.sessions = at.sessions;
    partition.newest_us = at.newest_us;
}

async fn topic(
    log: &LogParts,
    topic: &TopicInfo,
    committed: impl Fn(u32) -> Option<u64>,
) -> anyhow::Result<TopicReport> {
    let mut partitions = Vec::new();
    for partition in 0..topic.partitions {
        let bounds = log.log.bounds(&topic.topic, partition).await;
        let bounds =
            bounds.with_context(|| format!("partition {partition} of topic {} cannot be asked", topic.topic))?;
        let committed = committed(partition);
        partitions.push(PartitionReport {
            partition,
            earliest: bounds.earliest,
            next: bounds.next,
            committed,
            lag_records: bounds.next.saturating_sub(committed.unwrap_or(bounds.earliest)),
            lag_s: None,
            sessions: None,
            newest_us: None,
            watermarks_us: BTreeMap::new(),
        });
    }
    Ok(TopicReport { topic: topic.topic.clone(), topic_id: topic.topic_id.clone(), partitions })
}

fn table(snapshot: &Snapshot) -> TableReport {
    let files = snapshot.files();
    TableReport {
        table: snapshot.table().name().to_owned(),
        version: snapshot.version(),
        files: files.len() as u64,
        small_files: files.iter().filter(|file| file.size_bytes < SMALL_FILE_BYTES).count() as u64,
        bytes: files.iter().map(|file| file.size_bytes).sum(),
        rows: files.iter().map(|file| file.rows).sum(),
        changed_us: files.iter().map(|file| file.modified_ms.saturating_mul(1_000)).max(),
    }
}

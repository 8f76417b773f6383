//! The stream job: log to committed tables, against its two unavoidable parts alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, TopicSpec};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Parts, PipelineSettings, Progress};
use tributary_schemas::wire::{Shape, WireDecoder};

use super::events::{event, record};
use super::{Ceiling, Finding, per_second};

const PARTITIONS: u32 = 4;
const APPEND_EVENTS: usize = 5_000;
const COMMIT_INTERVAL_MS: u64 = 200;

pub(super) async fn run(events: usize, folder: &Path) -> anyhow::Result<Finding> {
    let (lake, line) = fill(events, folder).await?;
    let snapshot = lake.snapshot(tributary_schemas::Table::Events).await?;
    let (decode, write) = tokio::task::spawn_blocking({
        let out = folder.join("ceiling.parquet");
        move || ceilings(events, &out)
    })
    .await
    .context("measuring the ceilings broke off")??;
    Ok(Finding {
        per_second: line,
        ceilings: vec![
            Ceiling { name: "decoding alone", per_second: decode },
            Ceiling { name: "writing the same rows as Parquet alone", per_second: write },
        ],
        remarks: vec![format!(
            "{} data files, a commit every {COMMIT_INTERVAL_MS} ms; sessions and identities written too",
            snapshot.files().len()
        )],
    })
}

/// Fills a log, runs the stream job until it has caught up; returns the lake and the job's rate.
pub(super) async fn fill(events: usize, folder: &Path) -> anyhow::Result<(Lake, f64)> {
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.join("log")))?;
    let topic = log.ensure_topic(&TopicSpec { name: "events".to_owned(), partitions: PARTITIONS }).await?;
    let dead_letters = log.ensure_topic(&TopicSpec { name: "dead".to_owned(), partitions: 1 }).await?;
    for first in (0..events).step_by(APPEND_EVENTS) {
        let batch = (first..events.min(first + APPEND_EVENTS)).map(|number| record(&event(number), PARTITIONS));
        for ack in log.append(&topic.topic, batch.collect()).await {
            ack?;
        }
    }
    let mut ends = Vec::new();
    for partition in 0..PARTITIONS {
        ends.push((partition, log.bounds(&topic.topic, partition).await?.next));
    }
    let url = folder.join("lake").display().to_string();
    let lake = Lake::open(LakeSettings { url, ..LakeSettings::default() }).await?;
    let (progress_in, mut progress) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let parts = Parts { log: log.clone(), lake: lake.clone(), events: topic, dead_letters, progress: progress_in };
    // The last rows wait for the interval, so it is kept short against the whole.
    let settings = PipelineSettings { commit_interval_ms: COMMIT_INTERVAL_MS, ..PipelineSettings::default() };
    let begun = Instant::now();
    let job = tokio::spawn(tributary_pipeline::run(settings, parts, stop.clone()));
    let caught_up = progress
        .wait_for(|now| ends.iter().all(|end| now.events.iter().any(|at| at.0 == end.0 && at.1 >= end.1)))
        .await
        .map(|_| ());
    let took = begun.elapsed();
    stop.cancel();
    job.await.context("the stream job broke off")??;
    caught_up.context("the stream job ended early")?;
    log.close().await?;
    Ok((lake, per_second(events, took)))
}

/// Decoding the same values, and writing the decoded rows as one Parquet file with the lake's compression.
fn ceilings(events: usize, out: &Path) -> anyhow::Result<(f64, f64)> {
    let values: Vec<Vec<u8>> = (0..events).map(|number| record(&event(number), 1).1.value.to_vec()).collect();
    let mut decoder = WireDecoder::new(Shape::Event);
    let begun = Instant::now();
    let batches: Vec<_> = values.chunks(50_000).map(|run| decoder.decode(run).batch).collect();
    let decode = per_second(events, begun.elapsed());

    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
    let file = std::fs::File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
    let begun = Instant::now();
    let mut writer = ArrowWriter::try_new(Arc::new(file), Shape::Event.arrow_schema(), Some(properties))?;
    for batch in &batches {
        writer.write(batch)?;
    }
    writer.into_inner()?.sync_all()?;
    Ok((decode, per_second(events, begun.elapsed())))
}

//! Compaction: small files of the stream job to sorted ones, against reading and writing the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tributary_lake::{CompactOptions, Snapshot};
use tributary_schemas::Table;

use super::{Ceiling, Finding, per_second, pipeline};

pub(super) async fn run(events: usize, folder: &Path) -> anyhow::Result<Finding> {
    let (lake, _) = pipeline::fill(events, folder).await?;
    let alone = read_and_write(&lake.snapshot(Table::Events).await?, &folder.join("alone.parquet")).await?;
    let everything = CompactOptions { everything: true, ..CompactOptions::default() };
    let begun = Instant::now();
    let done = lake.compact(Table::Events, &everything).await?;
    let took = begun.elapsed();
    Ok(Finding {
        per_second: per_second(events, took),
        ceilings: vec![Ceiling { name: "reading and writing the same rows alone", per_second: alone }],
        remarks: vec![format!(
            "{} files of {} bytes became {} of {}",
            done.files_before, done.bytes_before, done.files_after, done.bytes_after
        )],
    })
}

/// All rows as they lie, into one file with the lake's compression.
async fn read_and_write(snapshot: &Snapshot, out: &Path) -> anyhow::Result<f64> {
    let schema = snapshot.schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
    let file = std::fs::File::create(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut writer = ArrowWriter::try_new(Arc::new(file), schema.clone(), Some(properties))?;
    let begun = Instant::now();
    let mut rows = 0;
    let mut batches = snapshot.read(&columns, |_| true);
    while let Some(batch) = batches.try_next().await? {
        rows += batch.num_rows();
        writer.write(&batch)?;
    }
    writer.into_inner()?.sync_all()?;
    Ok(per_second(rows, begun.elapsed()))
}

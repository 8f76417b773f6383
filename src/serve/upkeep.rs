//! The lake's upkeep as a task of the line, told to log and metrics.
//!
//! In:      a lake, the settings, the topic of the events.
//! Out:     a task that runs until it is told to stop.
//! Promise: it never ends by itself and never ends the line: what fails is told and tried again.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_lake::{Lake, Upkeep};

use crate::settings::Settings;

pub(crate) fn spawn(lake: Lake, settings: &Settings, stop: CancellationToken) -> JoinHandle<()> {
    let (pipeline, topic) = (settings.pipeline.clone(), settings.log.events_topic.clone());
    tokio::spawn(async move {
        let needed = |lake: Lake| {
            let pipeline = pipeline.clone();
            async move { tributary_pipeline::needed(&lake, &pipeline).await }
        };
        tributary_lake::maintain(lake, topic, needed, tell, stop.cancelled()).await;
    })
}

fn tell(done: Upkeep) {
    match done {
        Upkeep::Compacted(table, done, took) => {
            let table = table.name();
            metrics::counter!("tributary_lake_compactions_total", "table" => table).increment(done.commits);
            metrics::counter!("tributary_lake_compacted_bytes_total", "table" => table).increment(done.bytes_before);
            metrics::counter!("tributary_lake_compaction_duplicates_total", "table" => table)
                .increment(done.duplicates);
            metrics::counter!("tributary_lake_compaction_versions_total", "table" => table).increment(done.versions);
            if 0 < done.commits {
                metrics::histogram!("tributary_lake_compaction_seconds", "table" => table).record(took.as_secs_f64());
                tracing::info!(
                    table,
                    files_before = done.files_before,
                    files_after = done.files_after,
                    rows = done.rows_after,
                    duplicates = done.duplicates,
                    versions = done.versions,
                    took_ms = took.as_millis(),
                    "compacted"
                );
            }
        }
        Upkeep::Dropped(table, done) => {
            metrics::counter!("tributary_lake_dropped_rows_total", "table" => table.name()).increment(done.rows);
            if 0 < done.days || 0 < done.days_held {
                tracing::info!(
                    table = table.name(),
                    days = done.days,
                    rows = done.rows,
                    days_held = done.days_held,
                    "dropped days that are older than they are to be kept"
                );
            }
        }
        Upkeep::Vacuumed(table, done) => {
            metrics::counter!("tributary_lake_vacuumed_bytes_total", "table" => table.name()).increment(done.bytes);
            if 0 < done.files || 0 < done.log_entries {
                tracing::info!(
                    table = table.name(),
                    files = done.files,
                    bytes = done.bytes,
                    log_entries = done.log_entries,
                    "swept away what no version needs"
                );
            }
        }
        Upkeep::Failed(table, doing, error) => {
            metrics::counter!("tributary_lake_upkeep_failures_total", "table" => table.name()).increment(1);
            tracing::warn!(table = table.name(), doing, %error, "upkeep of the lake failed; it is tried again");
        }
    }
}

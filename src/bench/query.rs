//! The funnel: how far each visitor came in five steps, exactly, against counting the columns it reads.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tributary_query::{Engine, QuerySettings};

use super::{Ceiling, Finding, per_second, pipeline};

const FUNNEL: &str = "SELECT * FROM funnel(
    steps => [url_path = '/step/1', url_path = '/step/2', url_path = '/step/3', url_path = '/step/4', url_path = '/step/5'],
    window => '1 day', key => session_key, source => 'bench')";

const SCAN: &str = "SELECT count(session_key), count(event_time_us), count(log_offset), count(url_path), count(source)
    FROM (SELECT * FROM events WHERE url_path <> '' AND session_key <> '' AND source = 'bench')";

/// Asked so often; the fastest counts, as the one least disturbed.
const TRIES: usize = 5;

pub(super) async fn run(events: usize, folder: &Path) -> anyhow::Result<Finding> {
    let (lake, _) = pipeline::fill(events, folder).await?;
    let engine = Engine::new(QuerySettings::default(), lake)?;
    let funnel = fastest(&engine, FUNNEL, 5).await?;
    let scan = fastest(&engine, SCAN, 1).await?;
    Ok(Finding {
        per_second: per_second(events, funnel),
        ceilings: vec![Ceiling { name: "counting the same columns", per_second: per_second(events, scan) }],
        remarks: vec![format!("funnel {:.0} ms, count {:.0} ms", 1e3 * funnel.as_secs_f64(), 1e3 * scan.as_secs_f64())],
    })
}

async fn fastest(engine: &Engine, sql: &str, rows: usize) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let begun = Instant::now();
        let answer = engine.query(sql).await?;
        best = best.min(begun.elapsed());
        ensure!(answer.row_count() == rows, "{rows} rows were expected of {sql}");
    }
    Ok(best)
}

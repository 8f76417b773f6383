//! The second half: the stream job in a process of its own, so that its time and memory are nobody else's.
//!
//! In:      a folder with a log; on stdout it tells one line of JSON.
//! Out:     a lake, and what making it cost.
//! Promise: the clock stops when the last record of the log is in committed tables; nothing of the filling is in the
//!          figures; what the job itself does not count (memory, CPU) the system does.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, TopicInfo, TopicSpec};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Parts, PipelineSettings, Progress};
use tributary_schemas::Table;

use crate::bench::usage;
use crate::exposition::Metrics;
use crate::telemetry;

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct JobArgs {
    /// Folder with `log`; `lake` is made in it
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    partitions: u32,
    /// Only open the lake, say where it stands, and stop
    #[arg(long)]
    open_only: bool,
    #[arg(long)]
    sample_ms: u64,
    #[arg(long)]
    dedup_window_ms: Option<u64>,
}

impl JobArgs {
    pub(crate) fn new(folder: &Path, partitions: u32, sample_ms: u64) -> Self {
        Self { folder: folder.to_owned(), partitions, open_only: false, sample_ms, dedup_window_ms: None }
    }

    /// Only opens; with how long ids are remembered, where it is not the default.
    pub(crate) fn open_only(self, dedup_window_ms: Option<u64>) -> Self {
        Self { open_only: true, dedup_window_ms, ..self }
    }
}

/// One look at the running job.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) at_s: f64,
    pub(crate) events: u64,
    pub(crate) rss_bytes: u64,
    pub(crate) cpu_s: f64,
    /// Seconds spent committing so far, all tables together, and in how many commits of a table.
    pub(crate) commit_s: f64,
    pub(crate) commits: f64,
    pub(crate) open_sessions: f64,
    pub(crate) remembered_ids: f64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct JobReport {
    pub(crate) events: u64,
    /// From the first poll to the last commit.
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: Option<f64>,
    /// From the start of the process until the job stands where the tables stand.
    pub(crate) open_s: f64,
    pub(crate) rss_before_bytes: Option<u64>,
    pub(crate) rss_open_bytes: Option<u64>,
    pub(crate) rss_peak_bytes: Option<u64>,
    pub(crate) commits: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) open_sessions: usize,
    pub(crate) remembered_ids: f64,
    pub(crate) state_bytes: Option<f64>,
    pub(crate) samples: Vec<Sample>,
}

pub(crate) async fn open_log(
    folder: &Path,
    partitions: u32,
) -> anyhow::Result<(Arc<EmbeddedLog>, TopicInfo, TopicInfo)> {
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.join("log")))?;
    let events = log.ensure_topic(&TopicSpec { name: "events".to_owned(), partitions }).await?;
    let dead_letters = log.ensure_topic(&TopicSpec { name: "dead".to_owned(), partitions: 1 }).await?;
    Ok((log, events, dead_letters))
}

pub(crate) async fn open_lake(folder: &Path) -> anyhow::Result<Lake> {
    let url = folder.join("lake").display().to_string();
    Ok(Lake::open(LakeSettings { url, ..LakeSettings::default() }).await?)
}

/// Runs the job in a new process of this program. Also says how long it was until the job stood where the tables stand,
/// by our clock: the start of the process is in it.
pub(crate) async fn in_own_process(args: &JobArgs) -> anyhow::Result<(JobReport, Duration)> {
    let program = std::env::current_exe().context("this program cannot find itself")?;
    let mut command = tokio::process::Command::new(program);
    command.args(["bench", "stream-job", "--folder"]).arg(&args.folder);
    command.args(["--partitions", &args.partitions.to_string(), "--sample-ms", &args.sample_ms.to_string()]);
    if args.open_only {
        command.arg("--open-only");
    }
    if let Some(window_ms) = args.dedup_window_ms {
        command.args(["--dedup-window-ms", &window_ms.to_string()]);
    }
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("it was asked for")?).lines();
    let mut opened = None;
    let mut report = None;
    while let Some(line) = lines.next_line().await? {
        match line.as_str() {
            OPENED => opened = Some(begun.elapsed()),
            json => report = Some(serde_json::from_str(json).with_context(|| format!("the job told {json:?}"))?),
        }
    }
    let status = child.wait().await?;
    ensure!(status.success(), "the stream job ended with {status}");
    match (report, opened) {
        (Some(report), Some(opened)) => Ok((report, opened)),
        _ => bail!("the stream job told nothing"),
    }
}

const OPENED: &str = "opened";

/// The other process.
pub(crate) async fn command(args: JobArgs) -> anyhow::Result<()> {
    let metrics = telemetry::start_metrics()?;
    let rss_before_bytes = usage::rss_bytes();
    let begun = Instant::now();
    let (log, topic, dead_letters) = open_log(&args.folder, args.partitions).await?;
    let lake = open_lake(&args.folder).await?;
    let mut ends = Vec::new();
    for partition in 0..topic.partitions {
        ends.push((partition, log.bounds(&topic.topic, partition).await?.next));
    }
    let total: u64 = ends.iter().map(|(_, next)| next).sum();
    let mut settings = PipelineSettings::default();
    if let Some(window_ms) = args.dedup_window_ms {
        settings.dedup_window_ms = window_ms;
    }
    let (progress_in, mut progress) = watch::channel(Progress::default());
    let parts = Parts { log: log.clone(), lake, events: topic.clone(), dead_letters, progress: progress_in };
    let stop = CancellationToken::new();
    let commit_rows_max = settings.commit_rows_max as u64;
    let mut job = tokio::spawn(tributary_pipeline::run(settings, parts, stop.clone()));
    tokio::select! {
        told = progress.changed() => told.context("the job ended before it began")?,
        ended = &mut job => bail!("the job ended before it began: {ended:?}"),
    }
    let open_s = begun.elapsed().as_secs_f64();
    let rss_open_bytes = usage::rss_bytes();
    println!("{OPENED}");

    let at = |progress: &Progress| progress.events.iter().map(|(_, next)| next).sum::<u64>();
    let standing = at(&progress.borrow());
    let look = |begun: Instant, events: u64| {
        let metrics = Metrics::parse(&metrics.render());
        let sum = |name| metrics.sum(name, &[]).unwrap_or_default();
        Sample {
            at_s: begun.elapsed().as_secs_f64(),
            events,
            rss_bytes: usage::rss_bytes().unwrap_or_default(),
            cpu_s: usage::own_cpu().unwrap_or_default().as_secs_f64(),
            commit_s: sum("tributary_commit_seconds_sum"),
            commits: sum("tributary_commit_seconds_count"),
            open_sessions: sum("tributary_open_sessions"),
            remembered_ids: sum("tributary_remembered_event_ids"),
        }
    };
    let (begun, cpu_before) = (Instant::now(), usage::own_cpu());
    let mut samples = Vec::new();
    let summary = if args.open_only {
        stop.cancel();
        job.await.context("the stream job broke off")??
    } else {
        let mut tick = tokio::time::interval(Duration::from_millis(args.sample_ms.max(10)));
        loop {
            tokio::select! {
                told = progress.changed() => told.context("the stream job ended early")?,
                _ = tick.tick() => samples.push(look(begun, at(&progress.borrow()) - standing)),
                ended = &mut job => bail!("the stream job ended early: {ended:?}"),
            }
            // What is left is read in a moment: the stop takes it in and commits, and does not wait for a timer.
            if total <= at(&progress.borrow()) + commit_rows_max {
                break;
            }
        }
        stop.cancel();
        loop {
            tokio::select! {
                _ = tick.tick() => samples.push(look(begun, at(&progress.borrow()) - standing)),
                ended = &mut job => break ended.context("the stream job broke off")??,
            }
        }
    };
    let wall_s = begun.elapsed().as_secs_f64();
    let cpu_s = usage::own_cpu().zip(cpu_before).map(|(now, before)| now.saturating_sub(before).as_secs_f64());
    let last = progress.borrow().clone();
    samples.push(look(begun, at(&last) - standing));
    for (partition, next) in ends {
        let reached = last.events.iter().find(|(other, _)| *other == partition).map_or(0, |(_, reached)| *reached);
        ensure!(reached >= next, "partition {partition} was read to {reached} of {next}");
    }
    let metrics = Metrics::parse(&metrics.render());
    let report = JobReport {
        events: at(&last) - standing,
        wall_s,
        cpu_s,
        open_s,
        rss_before_bytes,
        rss_open_bytes,
        rss_peak_bytes: usage::peak_rss_bytes(),
        commits: summary.commits,
        rows: summary.rows,
        bytes: summary.bytes,
        late: summary.counts.late,
        duplicates: summary.counts.duplicates,
        open_sessions: last.open_sessions,
        remembered_ids: metrics.sum("tributary_remembered_event_ids", &[]).unwrap_or_default(),
        state_bytes: metrics.sum("tributary_session_state_bytes", &[]),
        samples,
    };
    println!("{}", serde_json::to_string(&report)?);
    log.close().await?;
    Ok(())
}

/// Files and bytes of each table as they lie there now.
pub(super) async fn table_files(lake: &Lake) -> anyhow::Result<Vec<(&'static str, usize, u64, u64)>> {
    let mut all = Vec::new();
    for table in Table::ALL {
        let snapshot = lake.snapshot(*table).await?;
        let bytes = snapshot.files().iter().map(|file| file.size_bytes).sum();
        let rows = snapshot.files().iter().map(|file| file.rows).sum();
        all.push((table.name(), snapshot.files().len(), bytes, rows));
    }
    Ok(all)
}

//! `bench stream`: JSON events to committed tables, beside what bounds it and what others make of the same lines.
//!
//! In:       a file of Segment events, or a made-up stream of their shape; commands of peers.
//! Out:      events a second and per core-second, memory, ceilings and ratios; a file of all of it where asked.
//! Promise:  everything that is compared was measured in this run on this input. The tables are checked against a slow
//!           count of the same lines; a figure of a run that is wrong is not told as one.
//! Not here: what the figures are on which machine (`docs/bench.md`).
//!
//! `fill` is the first half, `job` the second and measured one.

mod ceilings;
mod fill;
mod input;
pub(crate) mod job;
mod made;
mod peer;
mod plot;
mod truth;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Serialize;
use tributary_query::{Engine, QuerySettings};

use super::folder::BenchFolder;
use super::usage;
use crate::cli::UserError;
use crate::demo::answers;
use crate::import::grouped;
use ceilings::Ceiling;
use input::Input;
use job::{JobArgs, JobReport, Sample};
use peer::{Peer, PeerRun};
use truth::Truth;

#[derive(clap::Args)]
pub(crate) struct StreamArgs {
    /// NDJSON file of Segment events in order of arrival; made up where absent
    #[arg(long, value_name = "FILE")]
    ndjson: Option<PathBuf>,
    /// Events of a run; with several, comma-separated, the rate between the sizes is told too. By default the whole file,
    /// or a million
    #[arg(long, value_delimiter = ',', value_name = "COUNTS")]
    events: Vec<u64>,
    /// Partitions of the log
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    partitions: u32,
    /// Runs of each size; the middle one counts
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    runs: usize,
    /// What to compare with: NAME=COMMAND with {src} (file), {parts} (folder of ten files), {out} (folder); repeat it
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    peers: Vec<Peer>,
    /// How long a peer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    peer_seconds_max: u64,
    /// Draw memory and commit time over the run
    #[arg(long)]
    soak: bool,
    /// Write what was sampled during the last run as CSV
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Write every figure as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Where logs and lakes are made and removed; should be on the disk a server would use
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/bench")]
    data: PathBuf,
}

/// All figures of one size.
#[derive(Debug, Serialize)]
struct SizeReport {
    events: u64,
    input: String,
    json_bytes: u64,
    log_bytes: u64,
    fill_wall_s: f64,
    fill_cpu_s: Option<f64>,
    job: JobReport,
    /// Of the job's process from its start to its end.
    job_process_cpu_s: f64,
    job_process_wall_s: f64,
    truth: Truth,
    tables: Vec<TableReport>,
    peers: Vec<PeerRun>,
    peer_failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct TableReport {
    table: &'static str,
    files: usize,
    bytes: u64,
    rows: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    sizes: Vec<SizeReport>,
    ceilings: Vec<Ceiling>,
}

/// A soak lasts minutes; four looks a second would make a long file of it.
const SAMPLE_MS: u64 = 250;
const SOAK_SAMPLE_MS: u64 = 1_000;

pub(crate) async fn command(args: StreamArgs) -> anyhow::Result<()> {
    if args.runs == 0 || args.partitions == 0 || args.events.contains(&0) {
        return Err(UserError("--events, --runs and --partitions must be 1 or more".to_owned()).into());
    }
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut sizes = args.events.clone();
    sizes.sort_unstable();
    let inputs: Vec<Input> = match sizes.as_slice() {
        [] => vec![Input::new(args.ndjson.as_deref(), None)?],
        sizes => sizes.iter().map(|size| Input::new(args.ndjson.as_deref(), Some(*size))).collect::<Result<_, _>>()?,
    };
    let mut report = Report { cores, sizes: Vec::new(), ceilings: Vec::new() };
    let last = inputs.len() - 1;
    for (index, input) in inputs.iter().enumerate() {
        println!(
            "stream: log to lake, {} events ({}), {} partitions, {cores} cores",
            grouped(input.events),
            input.named(),
            args.partitions
        );
        let mut measured = Vec::new();
        for run in 1..=args.runs {
            let mut folder = BenchFolder::make(&args.data)?;
            let size = one_run(&args, input, &mut folder).await?;
            tell_run(run, &size);
            if index == last && run == args.runs {
                report.ceilings = measure_ceilings(input, folder.path(), args.partitions).await?;
            }
            measured.push(size);
        }
        measured.sort_by(|one, other| one.job.wall_s.total_cmp(&other.job.wall_s));
        let mut middle = measured.swap_remove(measured.len() / 2);
        let folder = BenchFolder::make(&args.data)?;
        for peer in &args.peers {
            match peer.run(input, folder.path(), Duration::from_secs(args.peer_seconds_max)).await {
                Ok(run) => middle.peers.push(run),
                Err(error) => middle.peer_failures.push(format!("{error:#}")),
            }
        }
        tell_peers(&middle);
        report.sizes.push(middle);
    }
    tell_ceilings(&report);
    tell_marginal(&report);
    if let Some(largest) = report.sizes.last() {
        if args.soak {
            tell_soak(&largest.job.samples);
        }
        if let Some(file) = &args.samples {
            let cannot = || format!("cannot write {}", file.display());
            std::fs::write(file, samples_csv(&largest.job.samples)).with_context(cannot)?;
        }
    }
    if let Some(file) = &args.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let failed: Vec<&str> = report.sizes.iter().flat_map(|size| &size.peer_failures).map(String::as_str).collect();
    ensure!(failed.is_empty(), "not every peer could be measured: {}", failed.join("; "));
    Ok(())
}

async fn one_run(args: &StreamArgs, input: &Input, folder: &mut BenchFolder) -> anyhow::Result<SizeReport> {
    let filled = fill::fill(input.lines()?, folder.path(), args.partitions).await?;
    ensure!(
        filled.events == input.events,
        "{} of {} events were there to be taken; give fewer with --events",
        filled.events,
        input.events
    );
    let sample_ms = if args.soak { SOAK_SAMPLE_MS } else { SAMPLE_MS };
    let (begun, cpu_before) = (std::time::Instant::now(), usage::children_cpu().unwrap_or_default());
    let (job, _) = job::in_own_process(&JobArgs::new(folder.path(), args.partitions, sample_ms)).await?;
    let job_process_wall_s = begun.elapsed().as_secs_f64();
    let job_process_cpu_s = usage::children_cpu().unwrap_or_default().saturating_sub(cpu_before).as_secs_f64();

    let lines = input.lines()?;
    let truth =
        tokio::task::spawn_blocking(move || truth::count(lines)).await.context("the slow count broke off")??;
    let lake = job::open_lake(folder.path()).await?;
    let tables = job::table_files(&lake).await?;
    // A whole history of sessions is looked through once; the limits of a shop's questions are not meant for that.
    let settings = QuerySettings { memory_bytes_max: 6 << 30, time_ms_max: 1_800_000, ..QuerySettings::default() };
    if let Err(error) = check(&Engine::new(settings, lake)?, truth).await {
        folder.keep();
        return Err(error.context(format!("log and lake stay in {}", folder.path().display())));
    }
    Ok(SizeReport {
        events: filled.events,
        input: input.named(),
        json_bytes: filled.json_bytes,
        log_bytes: filled.log_bytes,
        fill_wall_s: filled.wall.as_secs_f64(),
        fill_cpu_s: filled.cpu.map(|cpu| cpu.as_secs_f64()),
        job,
        job_process_cpu_s,
        job_process_wall_s,
        truth,
        tables: tables
            .into_iter()
            .map(|(table, files, bytes, rows)| TableReport { table, files, bytes, rows })
            .collect(),
        peers: Vec::new(),
        peer_failures: Vec::new(),
    })
}

/// The tables say what the slow count says, or the run counts for nothing.
async fn check(engine: &Engine, truth: Truth) -> anyhow::Result<()> {
    let rows = answers::rows(engine, "SELECT count(*), sum(event_count), sum(duration_us) FROM sessions").await?;
    let [row] = rows.as_slice() else { bail!("one row was expected of sessions, not {}", rows.len()) };
    let found: Vec<i64> = row.iter().map(|cell| cell.parse()).collect::<Result<_, _>>().context("not numbers")?;
    let expected = [truth.sessions, truth.events, truth.duration_us];
    ensure!(
        found == expected,
        "the tables are wrong: sessions, events and microseconds in them are {found:?}, a slow count of the lines has \
         {expected:?}"
    );
    Ok(())
}

async fn measure_ceilings(input: &Input, folder: &Path, partitions: u32) -> anyhow::Result<Vec<Ceiling>> {
    let out = folder.join("ceiling.parquet");
    let lines = input.lines()?;
    let parsed = tokio::task::spawn_blocking({
        let out = out.clone();
        move || ceilings::of_lines(lines, &out)
    });
    let mut ceilings = parsed.await.context("measuring a ceiling broke off")??;
    ceilings.extend(ceilings::of_log(folder, partitions, &out).await?);
    Ok(ceilings)
}

/// CPU time is told in steps of 10 ms.
const TOO_SHORT_S: f64 = 0.1;

fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds.max(1e-9)
}

fn shown(rate: f64) -> String {
    grouped(rate as u64)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

impl SizeReport {
    /// Events a core-second of the measured half.
    fn per_core(&self) -> Option<f64> {
        self.job.cpu_s.map(|cpu_s| rate(self.events, cpu_s))
    }

    /// The same with the start of the process, opening and closing.
    fn per_core_of_process(&self) -> f64 {
        rate(self.events, self.job_process_cpu_s)
    }

    /// From the JSON to the tables: both halves.
    fn per_core_from_json(&self) -> Option<f64> {
        self.fill_cpu_s.map(|fill_s| rate(self.events, fill_s + self.job_process_cpu_s))
    }
}

fn tell_run(run: usize, size: &SizeReport) {
    let job = &size.job;
    let per_core = |rate: Option<f64>| rate.map_or_else(|| "not measured".to_owned(), shown);
    println!(
        "  run {run}: log to lake {} events/s, {} per core-second ({:.2} s wall, {:.2} s CPU)",
        shown(rate(size.events, job.wall_s)),
        per_core(size.per_core()),
        job.wall_s,
        job.cpu_s.unwrap_or_default(),
    );
    println!(
        "         with the start of the process {} per core-second; before it, JSON through the door into the log: {} \
         events/s, {} per core-second; both halves {} per core-second",
        shown(size.per_core_of_process()),
        shown(rate(size.events, size.fill_wall_s)),
        per_core(size.fill_cpu_s.map(|cpu_s| rate(size.events, cpu_s))),
        per_core(size.per_core_from_json()),
    );
    println!(
        "         {} bytes an event as JSON, {} in the log; memory {} at the most; {} rounds of commits, {} duplicates, {} late",
        size.json_bytes / size.events,
        size.log_bytes / size.events,
        job.rss_peak_bytes.map_or_else(|| "not measured".to_owned(), megabytes),
        job.commits,
        grouped(job.duplicates),
        grouped(job.late),
    );
    let tables = size.tables.iter().map(|table| {
        format!("{} {} files {} {} rows", table.table, table.files, megabytes(table.bytes), grouped(table.rows))
    });
    println!("         {}", tables.collect::<Vec<_>>().join("; "));
    if let (Some(bytes), 1..) = (job.state_bytes, job.open_sessions) {
        println!(
            "         {} open sessions at the end, {:.0} bytes each; {} ids remembered",
            grouped(job.open_sessions as u64),
            bytes / job.open_sessions as f64,
            grouped(job.remembered_ids as u64)
        );
    }
    println!(
        "         right: {} sessions, {} events and {} s of visits, as a slow count of the lines has them",
        grouped(size.truth.sessions.unsigned_abs()),
        grouped(size.truth.events.unsigned_abs()),
        grouped((size.truth.duration_us / 1_000_000).unsigned_abs()),
    );
}

fn tell_peers(size: &SizeReport) {
    for peer in &size.peers {
        if peer.cpu_s < TOO_SHORT_S {
            println!("  {}: over in {:.2} s, too short to tell", peer.name, peer.wall_s);
            continue;
        }
        let per_core = rate(peer.events, peer.cpu_s);
        let from_json = size.per_core_from_json().map_or_else(String::new, |ours| {
            format!(", {:.1} times with the way from JSON into the log", ours / per_core)
        });
        println!(
            "  {}: {} events/s, {} per core-second ({:.1} s wall, {:.1} s CPU, {}); ours is {:.1} times that{from_json}",
            peer.name,
            shown(rate(peer.events, peer.wall_s)),
            shown(per_core),
            peer.wall_s,
            peer.cpu_s,
            megabytes(peer.rss_peak_bytes),
            size.per_core_of_process() / per_core,
        );
    }
    for failure in &size.peer_failures {
        println!("  not measured: {failure}");
    }
}

fn tell_ceilings(report: &Report) {
    let Some(ours) = report.sizes.last().and_then(SizeReport::per_core) else { return };
    println!("ceilings, one thread, same lines (up to {}):", grouped(ceilings::EVENTS_MAX as u64));
    for ceiling in &report.ceilings {
        println!(
            "  {}: {} events per core-second; log to lake is {:.0} % of it",
            ceiling.name,
            shown(ceiling.per_second),
            100.0 * ours / ceiling.per_second
        );
    }
}

/// What a further event costs once everything runs: start-up falls out of the difference of two sizes.
fn tell_marginal(report: &Report) {
    let [small, .., large] = report.sizes.as_slice() else { return };
    let between = |events: u64, cpu_s: f64| (cpu_s >= TOO_SHORT_S).then(|| rate(events, cpu_s));
    let Some(ours) = between(large.events - small.events, large.job_process_cpu_s - small.job_process_cpu_s) else {
        return;
    };
    println!(
        "between {} and {} events: {} more events per core-second",
        grouped(small.events),
        grouped(large.events),
        shown(ours)
    );
    for peer in &large.peers {
        let Some(same) = small.peers.iter().find(|other| other.name == peer.name) else { continue };
        match between(peer.events - same.events, peer.cpu_s - same.cpu_s) {
            Some(theirs) => {
                println!("  {}: {}; ours is {:.1} times that", peer.name, shown(theirs), ours / theirs);
            }
            None => println!("  {}: the sizes lie too close together to tell", peer.name),
        }
    }
}

fn tell_soak(samples: &[Sample]) {
    let memory: Vec<(f64, f64)> = samples.iter().map(|sample| (sample.at_s, sample.rss_bytes as f64 / 1e6)).collect();
    print!("{}", plot::plot("memory", "MB", &memory));
    // Between two looks there may be no commit: such a column stays empty.
    let commits: Vec<(f64, f64)> = samples
        .windows(2)
        .filter(|pair| pair[1].commits > pair[0].commits)
        .map(|pair| {
            let each_s = (pair[1].commit_s - pair[0].commit_s) / (pair[1].commits - pair[0].commits);
            (pair[1].at_s, 1e3 * each_s)
        })
        .collect();
    print!("{}", plot::plot("a commit of a table", "ms", &commits));
    if let (Some(half), Some(last)) = (samples.get(samples.len() / 2), samples.last()) {
        println!(
            "memory at half time {}, at the end {}; {} ids remembered then and {} now",
            megabytes(half.rss_bytes),
            megabytes(last.rss_bytes),
            grouped(half.remembered_ids as u64),
            grouped(last.remembered_ids as u64),
        );
    }
}

fn samples_csv(samples: &[Sample]) -> String {
    let mut text = "at_s,events,rss_bytes,cpu_s,commit_s,commits,open_sessions,remembered_ids\n".to_owned();
    for Sample { at_s, events, rss_bytes, cpu_s, commit_s, commits, open_sessions, remembered_ids } in samples {
        text.push_str(&format!(
            "{at_s:.3},{events},{rss_bytes},{cpu_s:.2},{commit_s:.4},{commits},{open_sessions},{remembered_ids}\n"
        ));
    }
    text
}

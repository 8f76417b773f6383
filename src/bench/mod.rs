//! `tributary bench`: one honest number for each part, beside the ceiling of the same machine and minute.
//!
//! In:       a part and a number of events.
//! Out:      the number, the ceiling, their ratio, for each run and in the middle.
//! Promise:  the ceiling moves the same bytes in the same process, so that the ratio says what our code costs,
//!           whatever the machine. Commands, machine and figures: `docs/bench.md`.
//! Not here: speed of single functions; a benchmark of parts says little about the line.

mod answers;
mod compact;
mod door;
mod encoding;
mod events;
mod folder;
mod ingest;
mod live;
mod pipeline;
mod query;
mod restart;
mod stream;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

use crate::cli::UserError;
use crate::import::grouped;

#[derive(clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    part: Part,
}

#[derive(clap::Subcommand)]
enum Part {
    /// Durable events a second through HTTP, against the bare log
    Ingest(PartArgs),
    /// What a durable answer costs, against servers that promise less, on one core each
    Door(door::DoorArgs),
    /// Events a second from log to lake, against decoding and against writing Parquet
    Pipeline(PartArgs),
    /// Events a second of an exact funnel, against counting the same columns
    Query(PartArgs),
    /// Seconds of funnels, attribution and the like, against other engines on the same events
    Answers(answers::AnswersArgs),
    /// Events a second of a compaction, against reading and writing the same rows
    Compact(PartArgs),
    /// Events a second and bytes an event of our encoding, against JSON
    Encoding(PartArgs),
    /// JSON events to committed tables, checked, against ceilings and other engines on the same lines
    Stream(Box<stream::StreamArgs>),
    /// Seconds from start to ready with many open sessions, and what one of them costs
    Restart(restart::RestartArgs),
    /// Time from the door's answer until `events_live` has the event, while others stream in
    Live(live::LiveArgs),
    /// The stream job of another part, in a process of its own
    #[command(hide = true)]
    StreamJob(stream::job::JobArgs),
    /// A server of `door`, in a process of its own
    #[command(hide = true)]
    DoorServer(door::ServerArgs),
    /// The load of `door`, in a process of its own
    #[command(hide = true)]
    DoorLoad(door::LoadArgs),
}

#[derive(clap::Args)]
struct PartArgs {
    /// Events of each run
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    events: usize,
    /// Runs; the middle one and the spread are told
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    runs: usize,
    /// Where logs and lakes are made and removed; should be on the disk a server would use
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/bench")]
    data: PathBuf,
}

#[derive(Debug, Clone, Copy)]
enum Simple {
    Ingest,
    Pipeline,
    Query,
    Compact,
    Encoding,
}

/// A ceiling and what it is.
struct Ceiling {
    name: &'static str,
    per_second: f64,
}

/// What one run found.
struct Finding {
    per_second: f64,
    ceilings: Vec<Ceiling>,
    remarks: Vec<String>,
}

pub(crate) async fn command(args: BenchArgs) -> anyhow::Result<()> {
    // Once a run: the process of the stream job belongs to one that has said so.
    if cfg!(debug_assertions) && !matches!(args.part, Part::StreamJob(_) | Part::DoorServer(_) | Part::DoorLoad(_)) {
        eprintln!("this is a debug build: its figures mean nothing; build with --release");
    }
    match args.part {
        Part::Ingest(args) => simple(Simple::Ingest, args).await,
        Part::Pipeline(args) => simple(Simple::Pipeline, args).await,
        Part::Query(args) => simple(Simple::Query, args).await,
        Part::Compact(args) => simple(Simple::Compact, args).await,
        Part::Encoding(args) => simple(Simple::Encoding, args).await,
        Part::Answers(args) => answers::command(args).await,
        Part::Stream(args) => stream::command(*args).await,
        Part::Restart(args) => restart::command(args).await,
        Part::Live(args) => live::command(args).await,
        Part::StreamJob(args) => stream::job::command(args).await,
        Part::Door(args) => door::command(args).await,
        Part::DoorServer(args) => door::server_command(args).await,
        Part::DoorLoad(args) => door::load_command(args).await,
    }
}

async fn simple(part: Simple, args: PartArgs) -> anyhow::Result<()> {
    if args.events == 0 || args.runs == 0 {
        return Err(UserError("--events and --runs must be 1 or more".to_owned()).into());
    }
    let (what, unit) = match part {
        Simple::Ingest => ("ingest: HTTP to durable", "events/s"),
        Simple::Pipeline => ("pipeline: log to lake", "events/s"),
        Simple::Query => ("query: exact five-step funnel", "events/s"),
        Simple::Compact => ("compact: small files to sorted ones", "events/s"),
        Simple::Encoding => ("encoding: Avro single-object to Arrow", "events/s"),
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    println!("{what}, {} events, {cores} cores", grouped(args.events as u64));
    let mut rates = Vec::with_capacity(args.runs);
    for run in 1..=args.runs {
        let folder = folder::BenchFolder::make(&args.data)?;
        let finding = match part {
            Simple::Ingest => ingest::run(args.events, folder.path()).await?,
            Simple::Pipeline => pipeline::run(args.events, folder.path()).await?,
            Simple::Query => query::run(args.events, folder.path()).await?,
            Simple::Compact => compact::run(args.events, folder.path()).await?,
            Simple::Encoding => encoding::run(args.events)?,
        };
        println!("  run {run}: {} {unit}", grouped(finding.per_second as u64));
        for ceiling in &finding.ceilings {
            println!(
                "         {:.0} % of {} ({} {unit})",
                100.0 * finding.per_second / ceiling.per_second,
                ceiling.name,
                grouped(ceiling.per_second as u64)
            );
        }
        for remark in &finding.remarks {
            println!("         {remark}");
        }
        rates.push(finding.per_second);
    }
    rates.sort_by(f64::total_cmp);
    println!(
        "middle {} {unit}, from {} to {}",
        grouped(rates[rates.len() / 2] as u64),
        grouped(rates[0] as u64),
        grouped(rates[rates.len() - 1] as u64)
    );
    Ok(())
}

fn per_second(events: usize, took: Duration) -> f64 {
    events as f64 / took.as_secs_f64().max(1e-9)
}

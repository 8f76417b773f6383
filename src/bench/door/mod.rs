//! `bench door`: what a durable answer costs, beside servers that promise less on the same core.
//!
//! In:      for how long, and servers of others to send the same bodies to.
//! Out:     requests and events a second of one server core, and of one core of load beside it; the time of an answer at half of
//!          that; memory, and what is refused, under many times the connections.
//! Promise: server and load are processes of their own, one core each (`taskset`), over kept connections; every answer is
//!          read; one that is neither a success nor 503 ends the run. The servers are measured in turn, round after round,
//!          and the middle is told with the spread.

mod load;
mod parse;
mod server;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::folder::BenchFolder;
use super::usage;
use crate::cli::UserError;
use crate::import::grouped;

pub(super) use load::{LoadArgs, command as load_command};
pub(super) use server::{ServerArgs, command as server_command};

#[derive(clap::Args)]
pub(crate) struct DoorArgs {
    /// Seconds of each measurement
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    seconds: u64,
    /// Rounds; the middle one and the spread are told
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    rounds: usize,
    /// Connections of the load
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    connections: usize,
    /// Another server to send the same bodies to, running already on core 0: NAME=HOST:PORT. May be given again
    #[arg(long, value_name = "NAME=ADDR")]
    against: Vec<String>,
    /// Measure with Kafka as the log too
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Where logs are made and removed; should be on the disk a server would use
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/bench")]
    data: std::path::PathBuf,
}

/// What a load found.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Found {
    requests: u64,
    seconds: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    refused: u64,
}

impl Found {
    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds.max(1e-9)
    }
}

/// A server under measurement, and its rates by round.
struct Rival {
    name: String,
    kind: Kind,
    /// Requests a second with one event each, and with a hundred; CPU seconds a request.
    single: Vec<f64>,
    batch: Vec<f64>,
    batch_core: Vec<f64>,
    half: Option<Found>,
    overload: Option<Overload>,
}

/// Many more connections than requests may be in work, each with as many requests as it gets answers to.
struct Overload {
    /// Before, and the most there ever was.
    memory_bytes: [u64; 2],
    found: Found,
    /// Requests a second of the usual connections once it is over.
    afterwards: f64,
}

#[derive(Clone)]
enum Kind {
    Ours { server: &'static str, path: &'static str, kafka: Option<String> },
    Theirs { address: String },
}

const BATCH_EVENTS: usize = 100;
/// With 64 connections 2,560: more than twice the requests a door has in work (`ingest.in_flight_requests_max`), so that it must
/// refuse some.
const OVERLOAD: usize = 40;

pub(crate) async fn command(args: DoorArgs) -> anyhow::Result<()> {
    if args.seconds == 0 || args.rounds == 0 || args.connections == 0 {
        return Err(UserError("--seconds, --rounds and --connections must be 1 or more".to_owned()).into());
    }
    let ours = |name: &str, server, path, kafka| Rival::new(name, Kind::Ours { server, path, kafka });
    let mut rivals = vec![
        ours("tributary, native, durable", "durable", "/v1/events", None),
        ours("tributary, segment, durable", "durable", "/v1/track", None),
        ours("axum that keeps the bytes unread, durable", "kept", "/v1/events", None),
        ours("axum that parses and drops", "naive", "/v1/events", None),
        ours("axum that answers 204", "empty", "/v1/events", None),
    ];
    if let Some(kafka) = &args.kafka {
        rivals.insert(1, ours("tributary, native, Kafka acks=all", "durable", "/v1/events", Some(kafka.clone())));
    }
    for against in &args.against {
        let (name, address) =
            against.split_once('=').ok_or_else(|| UserError("--against takes NAME=HOST:PORT".to_owned()))?;
        rivals.push(Rival::new(name, Kind::Theirs { address: address.to_owned() }));
    }
    println!(
        "door: {} rounds of {} s, {} connections, bodies of some {} bytes; one core for the server, one for the load",
        args.rounds,
        args.seconds,
        args.connections,
        load::body(0, 1, "/v1/events").len()
    );
    for round in 1..=args.rounds {
        for rival in &mut rivals {
            rival.measure(&args, round == args.rounds).await?;
        }
    }
    tell(&rivals);
    println!("\nJSON alone, the same bodies, one core");
    for (name, rate) in tokio::task::spawn_blocking(parse::rates).await?? {
        println!("  {name:<42} {:>9}/s", grouped(rate as u64));
    }
    Ok(())
}

impl Rival {
    fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            single: Vec::new(),
            batch: Vec::new(),
            batch_core: Vec::new(),
            half: None,
            overload: None,
        }
    }

    async fn measure(&mut self, args: &DoorArgs, last: bool) -> anyhow::Result<()> {
        let folder = BenchFolder::make(&args.data)?;
        let (running, address, path) = match &self.kind {
            Kind::Ours { server, path, kafka } => {
                let (child, address) = Running::start(server, folder.path(), kafka.as_deref())?;
                (Some(child), address, *path)
            }
            Kind::Theirs { address } => (None, address.clone(), "/v1/events"),
        };
        let load = |events: usize, connections: usize, rate: f64, seconds: u64| {
            run_load(&address, path, events, connections, rate, seconds)
        };
        // The first second is for caches and connections.
        load(1, args.connections, 0.0, 1)?;
        let single = load(1, args.connections, 0.0, args.seconds)?;
        ensure!(single.refused == 0, "{} refused {} requests", self.name, single.refused);
        self.single.push(single.rate());
        if path != "/v1/track" {
            let before = running.as_ref().and_then(Running::cpu_seconds);
            let batch = load(BATCH_EVENTS, 8, 0.0, args.seconds)?;
            let after = running.as_ref().and_then(Running::cpu_seconds);
            let events = batch.requests as f64 * BATCH_EVENTS as f64;
            self.batch.push(events / batch.seconds);
            if let (Some(before), Some(after)) = (before, after) {
                self.batch_core.push(events / (after - before).max(1e-9));
            }
        }
        if last && running.is_some() {
            self.half = Some(load(1, args.connections, single.rate() / 2.0, args.seconds)?);
            if let Some(running) = &running {
                let before = running.memory_bytes();
                let found = load(1, args.connections * OVERLOAD, 0.0, args.seconds)?;
                let memory_bytes = [before, usage::peak_rss_bytes_of(running.child.id()).unwrap_or_default()];
                let afterwards = load(1, args.connections, 0.0, args.seconds)?;
                ensure!(afterwards.refused == 0, "{} refuses what it took before the overload", self.name);
                self.overload = Some(Overload { memory_bytes, found, afterwards: afterwards.rate() });
            }
        }
        Ok(())
    }
}

/// A server in a process of its own, ended with this.
struct Running {
    child: Child,
}

impl Running {
    fn start(kind: &str, dir: &std::path::Path, kafka: Option<&str>) -> anyhow::Result<(Self, String)> {
        let mut command = on_core(0)?;
        command.args(["bench", "door-server", "--kind", kind, "--data"]).arg(dir);
        command.args(kafka.into_iter().flat_map(|kafka| ["--kafka", kafka]));
        // Its end of this pipe is closed with ours, however we end.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting a server")?;
        let mut line = String::new();
        let output = child.stdout.take().context("its output was asked for")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().to_owned();
        ensure!(!address.is_empty(), "the server did not start");
        Ok((Self { child }, address))
    }

    fn cpu_seconds(&self) -> Option<f64> {
        usage::of(self.child.id()).map(|(cpu, _)| cpu.as_secs_f64())
    }

    fn memory_bytes(&self) -> u64 {
        usage::of(self.child.id()).map(|(_, bytes)| bytes).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// This program on one core.
fn on_core(core: usize) -> anyhow::Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    Ok(command)
}

fn run_load(
    address: &str,
    path: &str,
    events: usize,
    connections: usize,
    rate: f64,
    seconds: u64,
) -> anyhow::Result<Found> {
    let mut command = on_core(1)?;
    command.args(["bench", "door-load", "--address", address, "--path", path]);
    command.args(["--events", &events.to_string(), "--connections", &connections.to_string()]);
    command.args(["--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().context("starting the load; is `taskset` there?")?;
    ensure!(output.status.success(), "the load ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn middle(rates: &[f64]) -> (f64, f64, f64) {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0], sorted[sorted.len() - 1])
}

fn tell(rivals: &[Rival]) {
    let (ours, ..) = middle(&rivals[0].single);
    println!("\none event a request");
    for rival in rivals {
        let (rate, low, high) = middle(&rival.single);
        println!(
            "  {:<42} {:>9}/s  ({} to {}); ours is {:.0} % of it",
            rival.name,
            grouped(rate as u64),
            grouped(low as u64),
            grouped(high as u64),
            100.0 * ours / rate
        );
    }
    println!("\n{BATCH_EVENTS} events a request");
    for rival in rivals.iter().filter(|rival| !rival.batch.is_empty()) {
        let (rate, low, high) = middle(&rival.batch);
        print!(
            "  {:<42} {:>9} events/s  ({} to {})",
            rival.name,
            grouped(rate as u64),
            grouped(low as u64),
            grouped(high as u64)
        );
        if rival.batch_core.is_empty() {
            println!();
        } else {
            println!("; {} a second of a server core", grouped(middle(&rival.batch_core).0 as u64));
        }
    }
    println!("\nat half that load, one event a request");
    for rival in rivals {
        if let Some(half) = &rival.half {
            println!(
                "  {:<42} {:>9}/s: half within {:.2} ms, 99 % within {:.2} ms, the slowest {:.2} ms",
                rival.name,
                grouped(half.rate() as u64),
                half.p50_us as f64 / 1e3,
                half.p99_us as f64 / 1e3,
                half.max_us as f64 / 1e3
            );
        }
    }
    println!("\nunder {OVERLOAD} times as many connections, and afterwards");
    for rival in rivals {
        if let Some(Overload { memory_bytes: [before, most], found, afterwards }) = &rival.overload {
            println!(
                "  {:<42} memory from {} to {} MB at most; {} taken and {} refused in {:.0} s; then {}/s",
                rival.name,
                before >> 20,
                most >> 20,
                grouped(found.requests),
                grouped(found.refused),
                found.seconds,
                grouped(*afterwards as u64)
            );
        }
    }
}

//! `tributary demo`: the whole line, on one page, with nothing installed.
//!
//! In:       a folder to work in.
//! Out:      a report a marketer can read; exit code 0 when every figure is the one that is known to be true.
//! Promise:  everything goes the way a user's data would: through the HTTP door, the log, the stream job and
//!           the lake, and comes back by SQL. A folder that is not a demo's is never wiped.
//! Not here: any rule. The expected figures come from the data's publication (`shop`) and from the world's own
//!           truth (`testkit::world`).

pub(crate) mod answers;
mod folder;
pub(crate) mod probe;
mod report;
mod shop;
mod world;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::import::{Summary, grouped};
use crate::serve::{Faces, Line, LineWatch, Signals, bind};
use crate::settings::{Layers, Settings, add_missing_keys};
use crate::telemetry;
pub(crate) use folder::serves;
use report::{Checks, Report};

#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// Folder for the demo's log and lake; made anew each time
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/demo")]
    data: PathBuf,
    /// Address to serve on; by default a free port of this machine
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: String,
    /// Go on serving when the report is done
    #[arg(long)]
    keep_serving: bool,
}

/// The sources of the demo and whether their clocks are taken as they are.
const SOURCES: [(&str, bool); 3] = [(shop::SOURCE, true), (world::WEB, true), (world::MAILER, true)];

/// Shorter than a server's: someone is waiting. Each commit costs some 20 ms and makes small files.
const COMMIT_INTERVAL_MS: u64 = 250;

/// How long the stream job may take for what has been sent: far above what a slow machine needs.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

pub(crate) async fn command(args: DemoArgs) -> anyhow::Result<()> {
    let begun = Instant::now();
    folder::make_fresh(&args.data).await?;
    let mut settings = settings(&args)?;
    add_missing_keys(&mut settings, &SOURCES)?;
    let listener = bind(&settings).await?;
    let mut line = Line::start(&settings, listener, Faces::default(), telemetry::start_metrics()?).await?;
    let watch = line.watch().clone();
    let report = tokio::select! {
        report = tell(&args, &settings, &watch, begun) => report,
        failure = line.failed() => Err(failure),
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    if args.keep_serving && report.is_ok() {
        println!("\nStill serving on http://{}/: open it in a browser. Ctrl-C stops it.", watch.addr());
        let mut signals = Signals::listen()?;
        tokio::select! {
            _ = signals.next() => {}
            failure = line.failed() => {
                line.stop().await?;
                return Err(failure);
            }
        }
    }
    drop(watch);
    let stopped = line.stop().await;
    report?.into_result()?;
    stopped
}

/// A server's defaults but for what makes it a demo; the user's own settings do not reach in here.
fn settings(args: &DemoArgs) -> anyhow::Result<Settings> {
    let flags = vec![
        ("serve.data_dir", args.data.display().to_string()),
        ("serve.listen", args.listen.clone()),
        ("pipeline.commit_interval_ms", COMMIT_INTERVAL_MS.to_string()),
        ("query.time_ms_max", "120000".to_owned()),
    ];
    Ok(Settings::load(Layers { without_default_file: true, flags, ..Layers::default() })?)
}

async fn tell(args: &DemoArgs, settings: &Settings, line: &LineWatch, begun: Instant) -> anyhow::Result<Checks> {
    let engine = line.engine().context("the demo runs every role")?;
    let url = format!("http://{}", line.addr());
    let (mut report, mut checks) = (Report, Checks::default());
    let key = |source: &str| {
        let mut keys = settings.ingest.write_keys.iter();
        keys.find(|key| key.source == source).map(|key| key.key.clone()).context("each source of the demo has a key")
    };

    report.title("Tributary demo");
    report.text(&format!(
        "One process, nothing else installed: a web server that takes events in, a durable log, a job that makes \
         sessions and tables of them, and SQL on top. Folder: {}",
        args.data.display()
    ));

    report.heading("A real shop", "five months of clicks in a clothes shop, sent through the front door");
    let sent_at = Instant::now();
    let sent = shop::send(&url, &key(shop::SOURCE)?).await?;
    told(&mut report, &mut checks, "shop", &sent, shop::EVENTS);
    line.caught_up(CATCH_UP_MAX).await?;
    report.line(&format!(
        "{:.1} s after the first was sent, all of them could be asked about",
        sent_at.elapsed().as_secs_f64()
    ));
    shop::tell(engine, &mut report, &mut checks).await?;

    report.heading("A marketing world", "made up, so that the truth is known: 2,000 people, 30 days");
    let truth = world::send(&url, &key(world::WEB)?, &key(world::MAILER)?, &mut report, &mut checks).await?;
    line.caught_up(CATCH_UP_MAX).await?;
    world::tell(engine, &truth, &mut report, &mut checks).await?;

    report.heading("How fresh", "from an event at the door to the same event in an answer");
    let latency = probe::measure(&url, &key(world::WEB)?, engine).await?;
    report.line(&format!(
        "half of {} tries took under {} ms, the slowest {} ms (a commit every {COMMIT_INTERVAL_MS} ms)",
        latency.tries,
        latency.median.as_millis(),
        latency.slowest.as_millis()
    ));

    report.heading("In all", "");
    let events = answers::number(engine, "SELECT count(*) FROM events").await?;
    let sessions = answers::number(engine, "SELECT count(*) FROM sessions").await?;
    report.line(&format!(
        "{} events in, {} sessions, {:.1} s from start to here",
        grouped(events as u64),
        grouped(sessions as u64),
        begun.elapsed().as_secs_f64()
    ));
    checks.tell(&mut report);
    report.next_commands(&args.data);
    Ok(checks)
}

fn told(report: &mut Report, checks: &mut Checks, what: &str, sent: &Summary, events: u64) {
    report.line(&format!(
        "{} events sent in {:.1} s: {} a second, each on disk before its answer",
        grouped(sent.accepted),
        sent.took.as_secs_f64(),
        grouped(sent.rows_per_second() as u64)
    ));
    checks.equal(&format!("{what}: events accepted"), events, sent.accepted);
    checks.equal(&format!("{what}: events refused"), 0, sent.dead_lettered + sent.rejected);
}

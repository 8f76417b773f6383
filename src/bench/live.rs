//! `bench live`: how long after the door said yes an event is in the answer to a question, while others stream in; with `--history`
//! once more while an import comes in as fast as the door lets it.
//!
//! In:      a rate of events through the door, and for how long.
//! Out:     the time of the door's own answer; the time from there to the first answer of `events_live` that holds the event,
//!          beside the time of the same question of `events`, which no answer can be quicker than.
//! Promise: a whole server in this process, at its default interval of commits; every event goes by HTTP, every question by
//!          SQL. Nothing waits for a commit or hides one. A probe that never comes is a fault, not a figure.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tributary_query::Engine;
use tributary_schemas::{Clock, SystemClock};

use super::events::{event, segment_json};
use super::folder::BenchFolder;
use crate::cli::UserError;
use crate::demo::answers::number;
use crate::demo::probe;
use crate::http;
use crate::import::grouped;
use crate::serve::{Faces, Line, bind};
use crate::settings::{Layers, Settings, add_missing_keys};
use crate::telemetry;

#[derive(clap::Args)]
pub(crate) struct LiveArgs {
    /// Events a second through the door meanwhile
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    rate: usize,
    /// Seconds of load
    #[arg(long, value_name = "COUNT", default_value_t = 60)]
    seconds: u64,
    /// The same again beside an import of the past that sends as fast as it is let in
    #[arg(long)]
    history: bool,
    /// Where log and lake are made and removed
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/bench")]
    data: PathBuf,
}

const SOURCE: &str = "bench";
const PAST_SOURCE: &str = "past";
const BATCH_EVENTS: usize = 100;
/// Requests under way at once; the rate is kept as long as these are enough.
const IN_FLIGHT_MAX: usize = 8;
/// As `tributary import` sends.
const PAST_BATCH_EVENTS: usize = 1_000;
const PAST_CONNECTIONS: usize = 4;
const PROBE_EVERY: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(60);
const FRESH: Duration = Duration::from_secs(1);

pub(crate) async fn command(args: LiveArgs) -> anyhow::Result<()> {
    if args.rate == 0 || args.seconds == 0 {
        return Err(UserError("--rate and --seconds must be 1 or more".to_owned()).into());
    }
    let folder = BenchFolder::make(&args.data)?;
    let flags = vec![
        ("serve.data_dir", folder.path().display().to_string()),
        ("serve.listen", "127.0.0.1:0".to_owned()),
        ("telemetry.filter", "warn".to_owned()),
    ];
    let mut settings = Settings::load(Layers { without_default_file: true, flags, ..Layers::default() })?;
    add_missing_keys(&mut settings, &[(SOURCE, false), (PAST_SOURCE, true)])?;
    println!(
        "live: {} events/s through the door for {} s, a commit every {} ms",
        grouped(args.rate as u64),
        args.seconds,
        settings.pipeline.commit_interval_ms
    );
    let key_of = |source: &str| {
        let mut keys = settings.ingest.write_keys.iter();
        keys.find(|key| key.source == source).map(|key| key.key.clone()).context("the source has a key")
    };
    let (key, past_key) = (key_of(SOURCE)?, key_of(PAST_SOURCE)?);
    let listener = bind(&settings).await?;
    let mut line = Line::start(&settings, listener, Faces::default(), telemetry::start_metrics()?).await?;
    let (url, engine) = {
        let watch = line.watch();
        (format!("http://{}", watch.addr()), watch.engine().context("every role runs here")?.clone())
    };
    let found = tokio::select! {
        found = measure_all(&args, &url, (&key, &past_key), &engine) => found,
        failure = line.failed() => Err(failure),
    };
    drop(engine);
    let stopped = line.stop().await;
    let (alone, beside) = found?;
    stopped?;
    tell(alone);
    if let Some((beside, past)) = beside {
        let seconds = beside.lasted.as_secs_f64();
        println!(
            "\nbeside an import: {} events of the past taken ({}/s), {} of {} requests told to come again",
            grouped(past.taken as u64),
            grouped((past.taken as f64 / seconds) as u64),
            grouped(past.held_back as u64),
            grouped(past.requests as u64),
        );
        tell(beside);
    }
    Ok(())
}

fn tell(found: Found) {
    let Found { sent, lasted, mut answers, mut waits, mut floors } = found;
    answers.sort_unstable();
    waits.sort_unstable();
    floors.sort_unstable();
    let at = |times: &[Duration], share: f64| times[((times.len() - 1) as f64 * share) as usize].as_millis();
    println!(
        "{} events sent ({}/s); {} probes: half within {} ms of the door's answer, 95 % within {} ms, the slowest {} ms",
        grouped(sent as u64),
        grouped((sent as f64 / lasted.as_secs_f64()) as u64),
        waits.len(),
        at(&waits, 0.5),
        at(&waits, 0.95),
        at(&waits, 1.0),
    );
    println!(
        "the door's answer to a probe: half within {} ms, 95 % within {} ms, the slowest {} ms",
        at(&answers, 0.5),
        at(&answers, 0.95),
        at(&answers, 1.0),
    );
    println!(
        "the same question of `events`, which does not look at the tail: half within {} ms, 95 % within {} ms; {:.1} times \
         that in the middle",
        at(&floors, 0.5),
        at(&floors, 0.95),
        waits[waits.len() / 2].as_secs_f64() / floors[floors.len() / 2].as_secs_f64().max(1e-6),
    );
    let fresh = waits.iter().filter(|wait| **wait < FRESH).count();
    println!("within a second: {fresh} of {}", waits.len());
}

struct Found {
    sent: usize,
    /// How long the load lasted.
    lasted: Duration,
    /// Of the door, to probes.
    answers: Vec<Duration>,
    waits: Vec<Duration>,
    floors: Vec<Duration>,
}

/// What an import came to.
#[derive(Default)]
struct Past {
    /// Events.
    taken: usize,
    requests: usize,
    /// Of these, told to come again.
    held_back: usize,
}

async fn measure_all(
    args: &LiveArgs,
    url: &str,
    (key, past_key): (&str, &str),
    engine: &Arc<Engine>,
) -> anyhow::Result<(Found, Option<(Found, Past)>)> {
    let alone = measure(args, url, key, engine, ("alone", 0)).await?;
    if !args.history {
        return Ok((alone, None));
    }
    let done = CancellationToken::new();
    let ended = done.clone().drop_guard();
    let measured = async {
        let beside = measure(args, url, key, engine, ("beside", 1 << 32)).await;
        drop(ended);
        beside
    };
    // Whichever fails ends the other.
    let beside = tokio::try_join!(measured, import(url.to_owned(), past_key.to_owned(), done))?;
    Ok((alone, Some(beside)))
}

/// * `run`: names its probes; `first`: the number of its first event, so that no two runs send the same.
async fn measure(
    args: &LiveArgs,
    url: &str,
    key: &str,
    engine: &Arc<Engine>,
    (run, first): (&str, usize),
) -> anyhow::Result<Found> {
    let done = CancellationToken::new();
    let _ended = done.clone().drop_guard();
    let load = tokio::spawn(load(args.rate, first, url.to_owned(), key.to_owned(), done.clone()));
    let client = http::client_for(url, WAIT_MAX)?;
    let begun = Instant::now();
    let mut found =
        Found { sent: 0, lasted: Duration::ZERO, answers: Vec::new(), waits: Vec::new(), floors: Vec::new() };
    let mut tick = tokio::time::interval(PROBE_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while begun.elapsed() < Duration::from_secs(args.seconds) {
        tick.tick().await;
        let id = format!("probe-{run}-{}", found.waits.len());
        let sent = Instant::now();
        probe::send(&client, url, key, &id).await?;
        let answered = Instant::now();
        found.answers.push(answered - sent);
        let question = |table: &str| format!("SELECT count(*) FROM {table} WHERE event_id = '{id}'");
        let sql = question("events_live");
        while number(engine, &sql).await? < 1.0 {
            ensure!(answered.elapsed() < WAIT_MAX, "{id} is in no answer after {} s", WAIT_MAX.as_secs());
        }
        found.waits.push(answered.elapsed());
        let asked = Instant::now();
        number(engine, &question("events")).await?;
        found.floors.push(asked.elapsed());
    }
    done.cancel();
    found.sent = load.await.context("the load broke off")??;
    found.lasted = begun.elapsed();
    ensure!(!found.waits.is_empty(), "no probe was sent");
    Ok(found)
}

/// Sends batches at the rate until it is told to stop; returns how many events the door took.
async fn load(rate: usize, first: usize, url: String, key: String, done: CancellationToken) -> anyhow::Result<usize> {
    let client = http::client_for(&url, WAIT_MAX)?;
    let mut tick = tokio::time::interval(Duration::from_secs_f64(BATCH_EVENTS as f64 / rate as f64));
    let (mut number, mut taken, mut requests) = (first, 0, JoinSet::new());
    while done.run_until_cancelled(tick.tick()).await.is_some() {
        let now_us = SystemClock.now_us();
        let batch: Vec<_> = (number..number + BATCH_EVENTS)
            .map(|number| {
                let mut event = event(number);
                event.event_time_us = now_us;
                segment_json(&event)
            })
            .collect();
        number += BATCH_EVENTS;
        let body = serde_json::json!({"batch": batch}).to_string();
        let request = client.post(format!("{url}/v1/batch")).basic_auth(&key, Some("")).body(body);
        requests.spawn(async move {
            let answer = request.send().await?;
            ensure!(answer.status().is_success(), "the door answers {}", answer.status());
            Ok(BATCH_EVENTS)
        });
        while requests.len() >= IN_FLIGHT_MAX {
            taken += requests.join_next().await.context("there are some")???;
        }
    }
    while let Some(request) = requests.join_next().await {
        taken += request??;
    }
    Ok(taken)
}

/// Sends days of the past in order of time on several connections, each batch again until it is taken.
async fn import(url: String, key: String, done: CancellationToken) -> anyhow::Result<Past> {
    let client = http::client_for(&url, WAIT_MAX)?;
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..PAST_CONNECTIONS {
        let (client, url, key, done, next) = (client.clone(), url.clone(), key.clone(), done.clone(), next.clone());
        senders.spawn(async move {
            let mut past = Past::default();
            while !done.is_cancelled() {
                let first = next.fetch_add(PAST_BATCH_EVENTS, Ordering::Relaxed);
                let batch: Vec<_> =
                    (first..first + PAST_BATCH_EVENTS).map(|number| segment_json(&event(number))).collect();
                let body = serde_json::json!({"batch": batch}).to_string();
                loop {
                    let request = client.post(format!("{url}/v1/import")).basic_auth(&key, Some("")).body(body.clone());
                    let Some(answer) = done.run_until_cancelled(request.send()).await else { return Ok(past) };
                    let answer = answer?;
                    past.requests += 1;
                    if answer.status().is_success() {
                        past.taken += PAST_BATCH_EVENTS;
                        break;
                    }
                    ensure!(answer.status() == 503, "the door answers {} to the past", answer.status());
                    past.held_back += 1;
                    let wait_s = answer.headers().get("retry-after").and_then(|text| text.to_str().ok()?.parse().ok());
                    let pause = tokio::time::sleep(Duration::from_secs(wait_s.unwrap_or(1)));
                    if done.run_until_cancelled(pause).await.is_none() {
                        return Ok(past);
                    }
                }
            }
            anyhow::Ok(past)
        });
    }
    let mut all = Past::default();
    while let Some(past) = senders.join_next().await {
        let past = past??;
        all.taken += past.taken;
        all.requests += past.requests;
        all.held_back += past.held_back;
    }
    Ok(all)
}

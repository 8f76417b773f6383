//! `bench restart`: how long a start takes when a million visits are open, and what one of them costs in memory.
//!
//! In:      a number of open sessions and of events in each.
//! Out:     seconds from the start of the process until the stream job stands where the tables stand; bytes a session.
//! Promise: the state is read back from committed tables by the code of every start. Memory is what the system counts,
//!          so it holds what the allocator wastes and what the reading left behind.

use std::path::PathBuf;

use anyhow::ensure;
use tributary_eventlog::{EventLog, Record};
use tributary_schemas::{Event, EventKind};

use super::events::record;
use super::folder::BenchFolder;
use super::stream::job::{self, JobArgs};
use crate::cli::UserError;
use crate::import::grouped;

#[derive(clap::Args)]
pub(crate) struct RestartArgs {
    /// Open sessions
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    sessions: usize,
    /// Events in each
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    events_each: usize,
    /// Partitions of the log
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    partitions: u32,
    /// Runs of the start; the middle one and the spread are told
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    runs: usize,
    /// Where log and lake are made and removed
    #[arg(long, value_name = "DIR", default_value = "./tributary-data/bench")]
    data: PathBuf,
}

/// 2026-10-01T00:00:00Z.
const BEGIN_US: i64 = 1_790_812_800_000_000;
/// All visits lie within this: less than the gap of a session, so that none is closed.
const SPAN_US: i64 = 20 * 60 * 1_000_000;
const DAY_US: i64 = 86_400_000_000;
const APPEND_EVENTS: usize = 5_000;
const SAMPLE_MS: u64 = 1_000;

pub(crate) async fn command(args: RestartArgs) -> anyhow::Result<()> {
    if args.sessions == 0 || args.events_each == 0 || args.runs == 0 || args.partitions == 0 {
        return Err(UserError("--sessions, --events-each, --runs and --partitions must be 1 or more".to_owned()).into());
    }
    let folder = BenchFolder::make(&args.data)?;
    println!(
        "restart: {} open sessions of {} events, {} partitions",
        grouped(args.sessions as u64),
        args.events_each,
        args.partitions
    );
    fill(&args, folder.path()).await?;
    let job_args = JobArgs::new(folder.path(), args.partitions, SAMPLE_MS);
    let (first, _) = job::in_own_process(&job_args).await?;
    ensure!(
        first.open_sessions >= args.sessions,
        "{} sessions are open, {} were made to be",
        first.open_sessions,
        args.sessions
    );
    let mut starts_s = Vec::new();
    for run in 1..=args.runs {
        let (again, opened) = job::in_own_process(&job_args.clone().open_only(None)).await?;
        ensure!(
            again.open_sessions == first.open_sessions,
            "{} of {} open sessions came back",
            again.open_sessions,
            first.open_sessions
        );
        println!(
            "  run {run}: {:.2} s from the start of the process, {:.2} s of them reading log and lake; {} ids remembered; \
             memory {:.0} MB",
            opened.as_secs_f64(),
            again.open_s,
            grouped(again.remembered_ids as u64),
            again.rss_open_bytes.unwrap_or_default() as f64 / 1e6,
        );
        starts_s.push(opened.as_secs_f64());
    }
    starts_s.sort_by(f64::total_cmp);
    println!(
        "middle {:.2} s, from {:.2} to {:.2}",
        starts_s[starts_s.len() / 2],
        starts_s[0],
        starts_s[starts_s.len() - 1]
    );
    // With a window of nothing the ids are forgotten: what is left of the memory is the sessions'.
    let (bare, _) = job::in_own_process(&job_args.open_only(Some(0))).await?;
    if let (Some(before), Some(after)) = (bare.rss_before_bytes, bare.rss_open_bytes) {
        println!(
            "an open session of {} events takes at most {:.0} bytes, by the memory of a process that remembers {} ids{}",
            args.events_each,
            after.saturating_sub(before) as f64 / bare.open_sessions.max(1) as f64,
            grouped(bare.remembered_ids as u64),
            bare.state_bytes.map_or_else(String::new, |bytes| format!(
                "; {:.0} bytes by the job's own count",
                bytes / bare.open_sessions.max(1) as f64
            )),
        );
    }
    Ok(())
}

async fn fill(args: &RestartArgs, folder: &std::path::Path) -> anyhow::Result<()> {
    let (log, topic, _) = job::open_log(folder, args.partitions).await?;
    let mut batch: Vec<(u32, Record)> = Vec::with_capacity(APPEND_EVENTS);
    let total = args.sessions * args.events_each;
    for number in 0..total {
        batch.push(record(&visit(number, args.sessions, total), args.partitions));
        if batch.len() == APPEND_EVENTS {
            append(log.as_ref(), &topic.topic, std::mem::take(&mut batch)).await?;
        }
    }
    // One more in each partition, of another source and received a day later: it makes ids of the visits old enough to be
    // forgotten, and cannot close a visit, for each source has a clock of its own.
    for partition in 0..args.partitions {
        let mut event = Event::new("later", "segment", &format!("later-{partition}"), "page", BEGIN_US + DAY_US);
        event.event_kind = EventKind::Page;
        event.anonymous_id = Some("later".to_owned());
        batch.push((partition, record(&event, args.partitions).1));
    }
    append(log.as_ref(), &topic.topic, batch).await?;
    log.close().await?;
    Ok(())
}

async fn append(log: &dyn EventLog, topic: &str, batch: Vec<(u32, Record)>) -> anyhow::Result<()> {
    for ack in log.append(topic, batch).await {
        ack?;
    }
    Ok(())
}

fn visit(number: usize, sessions: usize, total: usize) -> Event {
    let time_us = BEGIN_US + SPAN_US * number.cast_signed() as i64 / total.cast_signed() as i64;
    let visitor = number % sessions;
    let mut event = Event::new("bench", "segment", &format!("e-{number:012}"), "page", time_us);
    event.event_kind = EventKind::Page;
    event.anonymous_id = Some(format!("visitor-{visitor:09}"));
    event.url_host = Some("shop.example".to_owned());
    event.url_path = Some(format!("/product/{}", visitor % 500));
    event.country = Some("DE".to_owned());
    if visitor.is_multiple_of(4) {
        event.utm_source = Some("google".to_owned());
        event.utm_medium = Some("cpc".to_owned());
    }
    event
}

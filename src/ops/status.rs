//! `tributary status`: how it is, asked of a running server or read from the folder where none runs.
//!
//! In:      a data folder or an address.
//! Out:     a page for people, or JSON; exit code 1 when something is wrong.
//! Promise: makes no topic, no table and no key; the log of a folder is opened only where no server has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tributary_schemas::{Clock, SystemClock};

use super::books::Books;
use super::look::Look;
use super::report::{BooksReport, DoorReport, JobReport, Report, Runner, SourceReport};
use crate::cli::UserError;
use crate::http;
use crate::import::grouped;
use crate::serve::{existing_lake, existing_log};
use crate::settings::{LogKind, Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct StatusArgs {
    /// Data folder of the server, or of one that has stopped
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// Server to ask; by default the one that runs on the data folder
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The last minutes of the books too, by source: what was taken in each and where it is; a server knows 240
    #[arg(long, value_name = "COUNT", default_value_t = 0, conflicts_with = "full",
        value_parser = clap::value_parser!(u32).range(0..=240))]
    minutes: u32,
    /// For programs
    #[arg(long)]
    json: bool,
    /// Look for every offset of the log in the tables, from the first on; only where no server runs
    #[arg(long, conflicts_with = "url")]
    full: bool,
}

const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn command(
    args: StatusArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let (report, from) = match &args.url {
        Some(url) => {
            let url = http::address(url)?;
            (ask(&url, args.minutes).await?, url)
        }
        None => {
            let settings = load(args.data.clone())?;
            match running(&settings).await {
                Some(url) if args.full => {
                    return Err(UserError(format!(
                        "a server runs on {} ({url}): stop it to look through everything; without --full it tells what \
                         it has looked through since its start",
                        settings.serve.data_dir.display()
                    ))
                    .into());
                }
                Some(url) => (ask(&url, args.minutes).await?, url),
                None if args.minutes != 0 => {
                    return Err(UserError(format!(
                        "no server runs on {}: the minutes are known to a server that runs",
                        settings.serve.data_dir.display()
                    ))
                    .into());
                }
                None => (
                    read(&settings, args.full).await?,
                    format!("{} (no server runs)", settings.serve.data_dir.display()),
                ),
            }
        }
    };
    let mut out = match args.json {
        true => serde_json::to_string_pretty(&report)?,
        false => page(&report, &from),
    };
    out.push('\n');
    print!("{out}");
    if report.problems.is_empty() {
        return Ok(());
    }
    let count = report.problems.len();
    bail!("{count} {}", if count == 1 { "thing is wrong" } else { "things are wrong" })
}

/// The address of the server on this folder, if one answers there.
pub(crate) async fn running(settings: &Settings) -> Option<String> {
    let (url, _) = http::written_down(&settings.serve.data_dir)?;
    let client = http::client_for(&url, Duration::from_secs(5)).ok()?;
    client.get(format!("{url}/healthz")).send().await.ok().filter(|answer| answer.status().is_success())?;
    Some(url)
}

/// * `minutes`: of the books, with them.
pub(crate) async fn ask(url: &str, minutes: u32) -> anyhow::Result<Report> {
    let client = http::client_for(url, ANSWER_TIME_MAX)?;
    let answer = client
        .get(format!("{url}/status?minutes={minutes}"))
        .send()
        .await
        .map_err(|error| http::no_answer(url, &error))?;
    let status = answer.status();
    let body = answer.bytes().await.context("the answer broke off; ask again")?;
    if !status.is_success() {
        let told = String::from_utf8_lossy(&body);
        bail!("{url}/status answers {status}: {}", told.trim().chars().take(300).collect::<String>());
    }
    serde_json::from_slice(&body).context("the answer is not one of ours; is it a Tributary server?")
}

/// The same from a folder.
pub(crate) async fn read(settings: &Settings, full: bool) -> anyhow::Result<Report> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let log = existing_log(settings, clock.clone()).await?;
    let lake = existing_lake(settings).await?;
    if log.is_none() && lake.is_none() {
        return Err(UserError(format!(
            "there is neither a log nor a lake in {}; name a data folder with --data DIR, or a server with --url",
            settings.serve.data_dir.display()
        ))
        .into());
    }
    let read = async {
        let mut look = Look::take(log.as_ref(), lake.as_ref()).await?;
        let now_us = clock.now_us();
        for partition in look.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            // Nobody has watched it; whatever waits came after what is in the lake.
            partition.lag_s = match partition.newest_us {
                _ if partition.lag_records == 0 => Some(0.0),
                Some(newest_us) => Some((now_us - newest_us).max(0) as f64 / 1e6),
                None => None,
            };
        }
        let mut books = None;
        if full && let (Some(log), Some(tables), Some(standing)) = (&log, &look.tables, &look.standing) {
            books = Some(all_books(&look, tables, standing, log).await?);
        }
        let mut report = Report {
            program: concat!("tributary ", env!("CARGO_PKG_VERSION")).to_owned(),
            at_us: now_us,
            tables: look.table_reports(),
            topics: look.topics,
            books,
            ..Report::default()
        };
        let runner = match settings.log.kind {
            LogKind::Embedded => Runner::Nobody,
            LogKind::Kafka => Runner::NobodyKnown,
        };
        report.find_problems(settings.pipeline.commit_interval_ms, runner);
        anyhow::Ok(report)
    };
    let report = read.await;
    if let Some(log) = log {
        log.log.close().await?;
    }
    report
}

/// Looks for every offset the log still holds.
pub(crate) async fn all_books(
    look: &Look,
    tables: &tributary_pipeline::Tables,
    standing: &tributary_pipeline::Standing,
    log: &crate::serve::LogParts,
) -> anyhow::Result<BooksReport> {
    let earliest = |index: usize| -> Vec<(u32, u64)> {
        let partitions = look.topics.get(index).map(|topic| topic.partitions.as_slice()).unwrap_or_default();
        partitions.iter().map(|partition| (partition.partition, partition.earliest)).collect()
    };
    let mut books = Books::from(&earliest(0), &earliest(1));
    books.check(tables, standing, &log.events.topic, &log.dead_letters.topic).await?;
    Ok(books.report(&[], i64::MAX))
}

fn page(report: &Report, from: &str) -> String {
    let mut page = format!("{}, {from}\n", report.program);
    let mut line = |text: String| {
        page.push_str(&text);
        page.push('\n');
    };
    for topic in &report.topics {
        line(format!(
            "\n{}\n{:>10} {:>14} {:>14} {:>14} {:>12} {:>9}",
            topic.topic, "partition", "earliest", "next", "in the lake", "waiting", "for s"
        ));
        for partition in &topic.partitions {
            let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), grouped);
            line(format!(
                "{:>10} {:>14} {:>14} {:>14} {:>12} {:>9}",
                partition.partition,
                grouped(partition.earliest),
                grouped(partition.next),
                known(partition.committed),
                grouped(partition.lag_records),
                partition.lag_s.map_or_else(|| "-".to_owned(), |lag_s| format!("{lag_s:.1}")),
            ));
        }
        for partition in &topic.partitions {
            for (source, watermark_us) in &partition.watermarks_us {
                line(format!("{:>10} watermark of {source}: {}", partition.partition, time(*watermark_us)));
            }
        }
    }
    if !report.tables.is_empty() {
        line(format!(
            "\n{:<14} {:>9} {:>8} {:>8} {:>12} {:>14}  {}",
            "table", "version", "files", "small", "MB", "rows", "last file"
        ));
    }
    for table in &report.tables {
        line(format!(
            "{:<14} {:>9} {:>8} {:>8} {:>12.1} {:>14}  {}",
            table.table,
            table.version,
            table.files,
            table.small_files,
            table.bytes as f64 / 1e6,
            grouped(table.rows),
            table.changed_us.map_or_else(|| "-".to_owned(), time),
        ));
    }
    if let Some(job) = &report.job {
        let known = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), grouped);
        line(format!(
            "\nstream job: {} open sessions, {} bytes of state, {} ids remembered, last commit {}, {} faults",
            known(job.open_sessions),
            known(job.state_bytes),
            known(job.remembered_ids),
            job.last_commit_us.map_or_else(|| "-".to_owned(), time),
            job.faults,
        ));
        let commits: Vec<_> = job.commit_ms.iter().map(|(table, ms)| format!("{table} {ms:.0}")).collect();
        line(format!("  mean commit, ms: {}", if commits.is_empty() { "-".to_owned() } else { commits.join(", ") }));
        let events: Vec<_> =
            job.events.iter().map(|(outcome, count)| format!("{outcome} {}", grouped(*count))).collect();
        line(format!(
            "  events since the start: {}",
            if events.is_empty() { "-".to_owned() } else { events.join(", ") }
        ));
        if let Some(remark) = late_remark(job) {
            line(format!("  {remark}"));
        }
        if 0 < job.values_without_rate {
            line(format!(
                "  note: amounts without a value in the reporting currency, for want of a currency or a rate: {}; see `tributary doctor`",
                grouped(job.values_without_rate)
            ));
        }
    }
    if let Some(books) = &report.books {
        line(format!(
            "\nbooks: {} offsets looked for, {} missing, {} double, difference {}",
            grouped(books.offsets),
            books.missing,
            books.doubled,
            books.difference
        ));
        for source in &books.sources {
            line(format!("  {}", source_line(source)));
        }
        if !books.minutes.is_empty() {
            line(format!(
                "\n{:<20}  {:<16} {:>12} {:>10} {:>11} {:>11} {:>12} {:>11} {:>10}",
                "minute",
                "source",
                "accepted",
                "in lake",
                "duplicates",
                "dead",
                "dead in lake",
                "suppressed",
                "difference"
            ));
        }
        for minute in &books.minutes {
            let door = |of: fn(&DoorReport) -> u64| {
                minute.door.as_ref().map_or_else(|| "-".to_owned(), |door| grouped(of(door)))
            };
            line(format!(
                "{:<20}  {:<16} {:>12} {:>10} {:>11} {:>11} {:>12} {:>11} {:>10}",
                time(minute.minute_us),
                if minute.source.is_empty() { "(none)" } else { &minute.source },
                door(|door| door.accepted),
                grouped(minute.in_lake),
                grouped(minute.duplicates),
                door(|door| door.dead_lettered),
                grouped(minute.dead_letters_in_lake),
                door(|door| door.suppressed),
                if minute.settled { grouped(minute.difference) } else { "open".to_owned() },
            ));
        }
    }
    line(String::new());
    match report.problems.as_slice() {
        [] if report.job.as_ref().is_some_and(|job| late_remark(job).is_some()) => {
            line("nothing is lost, but much is in no session: see the note above".to_owned());
        }
        [] => line("all is well".to_owned()),
        problems => problems.iter().for_each(|problem| line(format!("WRONG: {problem}"))),
    }
    page.trim_end().to_owned()
}

/// From this share on events that come too late are told: a healthy line has a few of them.
const LATE_SHARE_TOLD: f64 = 0.05;

fn late_remark(job: &JobReport) -> Option<String> {
    let count = |outcome: &str| job.events.get(outcome).copied().unwrap_or_default();
    // Late ones are among the kept.
    let share = count("late") as f64 / count("kept").max(1) as f64;
    (share >= LATE_SHARE_TOLD).then(|| {
        format!(
            "note: {:.0} % of them came too late for a session. History has to come in order of time, or under a source \
             of its own: docs/import.md",
            share * 100.0
        )
    })
}

/// The door counts from the start of its process, the lake holds what came before it too: of minutes both speak of, so
/// that what is over is no difference.
fn source_line(source: &SourceReport) -> String {
    let in_lake = source.in_lake + source.duplicates;
    let before = in_lake.saturating_sub(source.accepted);
    let before = match before {
        0 => String::new(),
        before => format!(" ({} of them received before it)", grouped(before)),
    };
    format!(
        "{}: {} accepted since this start; of the same minutes {} in the lake and {} duplicates{before}; {} dead-lettered, \
         {} in the lake; {} in flight; difference {}",
        source.source,
        grouped(source.accepted),
        grouped(source.in_lake),
        grouped(source.duplicates),
        grouped(source.dead_lettered),
        grouped(source.dead_letters_in_lake),
        grouped(source.in_flight),
        source.difference
    )
}

fn time(time_us: i64) -> String {
    jiff::Timestamp::from_microsecond(time_us).map_or_else(|_| time_us.to_string(), |time| format!("{time:.0}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{PartitionReport, TableReport, TopicReport};
    use super::*;

    #[test]
    fn a_line_of_the_books_says_what_came_before_this_start() {
        let mut source = SourceReport {
            source: "web".to_owned(),
            accepted: 188_802,
            in_lake: 306_162,
            duplicates: 3,
            ..Default::default()
        };
        let told = source_line(&source);
        assert!(
            told.starts_with("web: 188,802 accepted since this start; of the same minutes 306,162 in the lake"),
            "{told}"
        );
        assert!(told.contains("3 duplicates (117,363 of them received before it);"), "{told}");
        source.in_lake = 188_799;
        assert!(!source_line(&source).contains("before it"), "{}", source_line(&source));
    }

    #[test]
    fn history_in_the_wrong_order_is_told_and_a_few_late_events_are_not() {
        let job = |late: u64| JobReport {
            events: [("kept".to_owned(), 1_000), ("late".to_owned(), late)].into(),
            ..Default::default()
        };
        assert_eq!(late_remark(&job(49)), None);
        assert_eq!(late_remark(&JobReport::default()), None);
        assert!(late_remark(&job(500)).unwrap().contains("50 % of them came too late"));
        let page_of = |late: u64| page(&Report { job: Some(job(late)), ..Default::default() }, "here");
        assert!(page_of(49).ends_with("all is well"), "{}", page_of(49));
        assert!(page_of(500).ends_with("in no session: see the note above"), "{}", page_of(500));
    }

    #[test]
    fn a_page_names_what_is_wrong_and_a_report_survives_the_wire() {
        let partition = PartitionReport {
            earliest: 7,
            next: 1_234,
            committed: Some(5),
            lag_records: 1_229,
            lag_s: Some(3.0),
            watermarks_us: [("web".to_owned(), 1_780_272_000_000_000)].into(),
            ..Default::default()
        };
        let topic = TopicReport { topic: "events".to_owned(), partitions: vec![partition], ..Default::default() };
        let mut report = Report {
            topics: vec![topic],
            tables: vec![TableReport { table: "events".to_owned(), rows: 12_345, ..Default::default() }],
            ..Default::default()
        };
        report.find_problems(5_000, Runner::Server);
        let page = page(&report, "here");
        for part in ["1,234", "12,345", "2026-06-01T00:00:00Z", "WRONG: partition 0 of topic events", "replay"] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        let again: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(again.problems, report.problems);
        assert!(serde_json::from_str::<Report>("{}").is_ok(), "fields may be missing: an older server");
    }
}

//! The server's eye on itself: looks now and then, keeps the gauges right, and answers whoever asks at once.
//!
//! In:       the parts of the process.
//! Out:      gauges; a report when asked.
//! Promise:  one look at a time; a look that fails is told and the next one comes all the same. What is on `/metrics` is
//!           never older than `telemetry.observe_interval_ms` (and the books than `telemetry.books_interval_ms`).
//! Not here: what the stream job knows best of itself (`pipeline/src/observe.rs` sets those gauges).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;
use tributary_eventlog::SpoolState;
use tributary_ingest::Ledger;
use tributary_lake::Lake;
use tributary_pipeline::Progress;
use tributary_schemas::Clock;

use super::books::Books;
use super::look::Look;
use super::report::{BooksReport, JobReport, Report, Runner, TopicReport};
use crate::exposition::Metrics;
use crate::serve::LogParts;
use crate::settings::Settings;

/// What it looks at.
pub(crate) struct Parts {
    pub(crate) log: Option<LogParts>,
    pub(crate) lake: Option<Lake>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) struct Observer {
    parts: Parts,
    roles: Vec<String>,
    observe_interval: Duration,
    books_interval: Duration,
    commit_interval_ms: u64,
    seen: Mutex<Seen>,
}

/// What earlier looks have left behind.
#[derive(Default)]
struct Seen {
    /// `None` where this process does not write the lake, or the books are switched off.
    books: Option<Books>,
    books_due_us: i64,
    /// By topic and partition: when the log was seen to end where, oldest first; only ends the lake has not reached.
    ends: BTreeMap<(String, u32), VecDeque<(i64, u64)>>,
    commits: u64,
    last_commit_us: Option<i64>,
    /// Everything that was in the log then is in the lake now.
    /// When a look first found something in the spool, as long as there is.
    spooling_since_us: Option<i64>,
    settled_us: i64,
}

/// A look every five seconds for a day; whoever is further behind knows it by then.
const ENDS_MAX: usize = 17_280;

impl Observer {
    /// Its books begin where the lake stands now: make it before the stream job starts.
    pub(crate) async fn begin(settings: &Settings, roles: Vec<String>, parts: Parts) -> anyhow::Result<Arc<Self>> {
        let books_interval = Duration::from_millis(settings.telemetry.books_interval_ms);
        let mut seen = Seen::default();
        if !books_interval.is_zero() {
            // The log may be away.
            let standing = Look::standing(parts.log.as_ref(), parts.lake.as_ref()).await?;
            seen.books = standing.as_ref().map(Books::from_here);
        }
        Ok(Arc::new(Self {
            parts,
            roles,
            observe_interval: Duration::from_millis(settings.telemetry.observe_interval_ms.max(1)),
            books_interval,
            commit_interval_ms: settings.pipeline.commit_interval_ms,
            seen: Mutex::new(seen),
        }))
    }

    /// Looks again and again; ends with its task.
    pub(crate) async fn run(self: Arc<Self>) {
        describe();
        // Apart from the looks, which wait for the log: how the spool stands matters while it is away.
        let shown = AbortOnDropHandle::new(tokio::spawn(self.clone().show_spool()));
        self.look_again().await;
        drop(shown);
    }

    async fn show_spool(self: Arc<Self>) {
        let Some(log) = self.parts.log.as_ref().filter(|log| log.log.spool_state().is_some()) else { return };
        // It costs a few counts, and whoever watches an outage watches it closely.
        let mut tick = tokio::time::interval(self.observe_interval.min(Duration::from_secs(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Some(spool) = log.log.spool_state() {
                publish_spool(&spool);
            }
        }
    }

    async fn look_again(&self) {
        let mut tick = tokio::time::interval(self.observe_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.parts.metrics.run_upkeep();
            match self.report(false, 0).await {
                Ok(report) => publish(&report),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "log and lake could not be looked at; trying again");
                }
            }
        }
    }

    /// How it is now, the newest rows and this many minutes of the books with it.
    pub(crate) async fn report_now(&self, minutes: u32) -> anyhow::Result<Report> {
        self.report(true, minutes).await
    }

    /// * `books`: look at the newest rows too, however long the last time is ago.
    async fn report(&self, books: bool, minutes: u32) -> anyhow::Result<Report> {
        let mut seen = self.seen.lock().await;
        let Parts { log, lake, ledger, metrics, clock, .. } = &self.parts;
        let mut look = Look::take(log.as_ref(), lake.as_ref()).await?;
        let now_us = clock.now_us();
        for topic in &mut look.topics {
            seen.age(topic, now_us);
        }
        let progress = self.parts.progress.borrow().commits;
        if seen.commits != progress {
            // A job that begins again counts from nothing.
            seen.commits = progress;
            seen.last_commit_us = (progress > 0).then_some(now_us).or(seen.last_commit_us);
        }
        if let (Some(log), Some(tables), Some(standing)) = (log, &look.tables, &look.standing) {
            let is_due = books || seen.books_due_us <= now_us;
            if let Some(books) = seen.books.as_mut().filter(|_| is_due) {
                books.check(tables, standing, &log.events.topic, &log.dead_letters.topic).await?;
                let interval_us = i64::try_from(self.books_interval.as_micros()).unwrap_or(i64::MAX);
                seen.books_due_us = now_us.saturating_add(interval_us);
                let spools = log.log.spool_state().is_some_and(|spool| spool.partitions != 0);
                seen.spooling_since_us = if spools { seen.spooling_since_us.or(Some(now_us)) } else { None };
                let settled_us = seen.settled_at(&look.topics, now_us);
                // What waits in the spool was taken and is in no log yet.
                seen.settled_us = seen.spooling_since_us.map_or(settled_us, |since_us| settled_us.min(since_us));
            }
        }
        let mut report = Report {
            program: concat!("tributary ", env!("CARGO_PKG_VERSION")).to_owned(),
            at_us: now_us,
            roles: self.roles.clone(),
            tables: look.table_reports(),
            job: JobReport::of(&Metrics::parse(&metrics.render()), seen.last_commit_us),
            books: seen.books.as_ref().map(|books| {
                let taken = ledger.minutes();
                let told = books.minutes(&taken, seen.settled_us, minutes);
                BooksReport { minutes: told, ..books.report(&taken, seen.settled_us) }
            }),
            topics: look.topics,
            problems: Vec::new(),
        };
        report.find_problems(self.commit_interval_ms, Runner::Server);
        Ok(report)
    }
}

impl Seen {
    /// Says of each partition how long its oldest waiting record has been waiting.
    fn age(&mut self, topic: &mut TopicReport, now_us: i64) {
        for partition in &mut topic.partitions {
            let reached = partition.committed.unwrap_or(partition.earliest);
            let ends = self.ends.entry((topic.topic.clone(), partition.partition)).or_default();
            while ends.front().is_some_and(|(_, end)| *end <= reached) {
                ends.pop_front();
            }
            if reached < partition.next && ends.back().is_none_or(|(_, end)| *end < partition.next) {
                if ends.len() == ENDS_MAX {
                    ends.pop_back();
                }
                ends.push_back((now_us, partition.next));
            }
            // The first look that found the log longer than the lake is now: the record came just before it.
            partition.lag_s = Some(ends.front().map_or(0.0, |(seen_us, _)| (now_us - seen_us) as f64 / 1e6));
        }
    }

    /// The last moment of which everything then in the log is in the lake now: the first look with something that is still
    /// waiting, or now.
    fn settled_at(&self, topics: &[TopicReport], now_us: i64) -> i64 {
        let waiting = topics.iter().flat_map(|topic| {
            topic.partitions.iter().filter_map(|partition| {
                self.ends.get(&(topic.topic.clone(), partition.partition))?.front().map(|(seen_us, _)| *seen_us)
            })
        });
        // Whatever waits came after the look before that one; the minutes compared end well before it.
        waiting.min().unwrap_or(now_us)
    }
}

fn publish_spool(spool: &SpoolState) {
    metrics::gauge!("tributary_spool_bytes").set(spool.bytes as f64);
    metrics::gauge!("tributary_spool_bytes_max").set(spool.bytes_max as f64);
    metrics::gauge!("tributary_spool_records").set(spool.records as f64);
    metrics::gauge!("tributary_spool_partitions").set(f64::from(spool.partitions));
}

fn describe() {
    for (name, help) in [
        ("tributary_log_earliest_offset", "The first offset the log still holds, by topic and partition."),
        ("tributary_log_next_offset", "The offset the next record will get, by topic and partition."),
        ("tributary_lake_offset", "Everything below is in the lake, by topic and partition."),
        ("tributary_lag_records", "Records in the log and not in the lake, by topic and partition."),
        ("tributary_lag_seconds", "How long the oldest of them has been waiting, by topic and partition."),
        ("tributary_table_version", "Version of a table."),
        ("tributary_table_files", "Live files of a table."),
        ("tributary_table_small_files", "Live files of a table below 16 MiB."),
        ("tributary_table_bytes", "Bytes of the live files of a table."),
        ("tributary_table_rows", "Rows in the live files of a table."),
        ("tributary_last_commit_timestamp_seconds", "When this process last committed; seconds since 1970, UTC."),
        ("tributary_accounting_difference", "Records that are unaccounted for: must be 0."),
        ("tributary_accounting_missing", "Offsets of the log that are in no table."),
        ("tributary_accounting_doubled", "Offsets of the log that are in the tables twice."),
        ("tributary_accounting_unaccounted", "Events the door took that the lake has not, by source."),
        ("tributary_spool_bytes", "Bytes that wait on this disk because Kafka is or was away."),
        ("tributary_spool_bytes_max", "Bytes that may wait there."),
        ("tributary_spool_records", "Records that wait there."),
        ("tributary_spool_partitions", "Partitions whose records go through the spool now: 0 when all is well."),
        ("tributary_problems", "Faults that `tributary status` would tell now."),
    ] {
        metrics::describe_gauge!(name, help);
    }
}

fn publish(report: &Report) {
    for topic in &report.topics {
        for partition in &topic.partitions {
            let set = |name: &'static str, value: f64| {
                let labels = [("topic", topic.topic.clone()), ("partition", partition.partition.to_string())];
                metrics::gauge!(name, &labels).set(value);
            };
            set("tributary_log_earliest_offset", partition.earliest as f64);
            set("tributary_log_next_offset", partition.next as f64);
            set("tributary_lake_offset", partition.committed.unwrap_or(partition.earliest) as f64);
            set("tributary_lag_records", partition.lag_records as f64);
            set("tributary_lag_seconds", partition.lag_s.unwrap_or_default());
        }
    }
    for table in &report.tables {
        let set = |name: &'static str, value: u64| {
            metrics::gauge!(name, "table" => table.table.clone()).set(value as f64);
        };
        set("tributary_table_version", table.version);
        set("tributary_table_files", table.files);
        set("tributary_table_small_files", table.small_files);
        set("tributary_table_bytes", table.bytes);
        set("tributary_table_rows", table.rows);
    }
    if let Some(last_commit_us) = report.job.as_ref().and_then(|job| job.last_commit_us) {
        metrics::gauge!("tributary_last_commit_timestamp_seconds").set(last_commit_us as f64 / 1e6);
    }
    if let Some(books) = &report.books {
        metrics::gauge!("tributary_accounting_difference").set(books.difference as f64);
        metrics::gauge!("tributary_accounting_missing").set(books.missing as f64);
        metrics::gauge!("tributary_accounting_doubled").set(books.doubled as f64);
        for source in &books.sources {
            metrics::gauge!("tributary_accounting_unaccounted", "source" => source.source.clone())
                .set(source.difference as f64);
        }
    }
    metrics::gauge!("tributary_problems").set(report.problems.len() as f64);
}

#[cfg(test)]
mod tests {
    use super::super::report::PartitionReport;
    use super::*;

    #[test]
    fn a_record_waits_from_the_look_that_first_saw_it_until_the_lake_has_passed_it() {
        let mut seen = Seen::default();
        let mut look = |now_s: i64, committed, next| {
            let partition = PartitionReport { next, committed: Some(committed), ..Default::default() };
            let mut topic = TopicReport { topic: "t".to_owned(), partitions: vec![partition], ..Default::default() };
            seen.age(&mut topic, now_s * 1_000_000);
            (topic.partitions[0].lag_s.unwrap(), seen.settled_at(&[topic], now_s * 1_000_000) / 1_000_000)
        };
        assert_eq!(look(10, 5, 5), (0.0, 10));
        assert_eq!(look(20, 5, 8), (0.0, 20));
        assert_eq!(look(30, 5, 9), (10.0, 20));
        assert_eq!(look(40, 7, 9), (20.0, 20), "7 was there at 20");
        assert_eq!(look(50, 8, 9), (20.0, 30));
        assert_eq!(look(60, 9, 9), (0.0, 60));
    }
}

//! Import: a file of rows becomes events through the same door as everything else.
//!
//! In:       a CSV (plain or gzip), NDJSON or Parquet file, a mapping, the door's address and a write key.
//! Out:      requests to the door; a summary; the rows that could not be sent, each with line and reason.
//! Promise:  message ids depend on the file alone, so a second run within `pipeline.dedup_window_ms` doubles nothing;
//!           a row that cannot be read is told and the rest goes on; memory is bounded however long the file.
//! Not here: what the door makes of an event (`ingest`), and which ids are still remembered (`pipeline`).

mod batch;
mod command;
mod delimited;
mod mapping;
mod ndjson;
mod parquet;
mod reader;
mod rejects;
mod row;
mod send;
mod template;
mod time;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;
use tributary_pipeline::PipelineSettings;

pub(crate) use command::{ImportArgs, command};
pub(crate) use mapping::Mapping;
pub(crate) use reader::{FileFormat, Source};
pub(crate) use send::{Door, Sent};

use crate::cli::UserError;
use batch::Batcher;
use rejects::Rejects;

/// How an import is done.
#[derive(Debug, Clone)]
pub(crate) struct ImportOptions {
    /// `None`: from the file's name.
    pub(crate) format: Option<FileFormat>,
    /// Requests under way at once, 1 or more; see `send` for when fewer are.
    pub(crate) requests_in_flight_max: usize,
    /// Events a request carries at most.
    pub(crate) batch_events_max: usize,
    /// How long a request is tried again while the door is away or too busy.
    pub(crate) retry_for: Duration,
    /// Where rows go that cannot be sent. `None`: they are only counted and shown.
    pub(crate) rejects_file: Option<PathBuf>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            format: None,
            requests_in_flight_max: 4,
            // Segment's own libraries stop at 500 kB a request; 500 events of a kilobyte come near it.
            batch_events_max: 500,
            retry_for: Duration::from_secs(300),
            rejects_file: None,
        }
    }
}

/// What an import did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    /// Rows read, good and bad.
    pub(crate) rows: u64,
    /// Rows the door took as events.
    pub(crate) accepted: u64,
    /// Rows the door kept apart as dead letters.
    pub(crate) dead_lettered: u64,
    /// Rows that never got as far as the door, or that it would not take.
    pub(crate) rejected: u64,
    /// Rows so far behind one before them that no session waits for them.
    pub(crate) behind: u64,
    /// The first few of those, ready to print.
    pub(crate) rejects_shown: Vec<String>,
    pub(crate) rejects_file: Option<PathBuf>,
    /// Why the file could not be read to its end; what stood before was sent.
    pub(crate) broke_off: Option<String>,
    pub(crate) took: Duration,
}

impl Summary {
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// Times of rows, as they stand in the file.
struct Order {
    lateness_us: i64,
    newest_us: i64,
    behind: u64,
}

impl Order {
    /// By the lateness a server allows where nobody sets it: what this one does is not known here.
    fn new() -> Self {
        let lateness_ms = PipelineSettings::default().allowed_lateness_ms;
        let lateness_us = i64::try_from(lateness_ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        Self { lateness_us, newest_us: i64::MIN, behind: 0 }
    }

    fn take(&mut self, time_us: i64) {
        self.newest_us = self.newest_us.max(time_us);
        self.behind += u64::from(time_us < self.newest_us.saturating_sub(self.lateness_us));
    }
}

/// Rows the reading thread may be ahead of the sending task, in requests.
const BATCHES_AHEAD_MAX: usize = 8;

/// Sends a whole file.
///
/// Stops early, with what was sent so far in the summary's place lost, only when the door refuses the key, when
/// it stays away longer than `retry_for`, or when `stop` is given; running it again soon then sends the rest, because
/// rows sent before carry the same message ids.
pub(crate) async fn run(
    source: Source,
    mapping: Mapping,
    door: Door,
    options: ImportOptions,
    progress: ProgressBar,
    stop: CancellationToken,
) -> anyhow::Result<Summary> {
    let begun = Instant::now();
    let bytes_read = Arc::new(AtomicU64::new(0));
    progress.set_length(source.length_bytes().map_err(users)?.max(1));

    let (batches_in, mut batches_out) = tokio::sync::mpsc::channel(BATCHES_AHEAD_MAX);
    // The reading thread and the sender both find rows to reject; each holds the lock for one row.
    let rejects = Arc::new(Mutex::new(Rejects::new(options.rejects_file.clone())));
    let reading = {
        let bytes_read = bytes_read.clone();
        let options = options.clone();
        let name = source.name().to_owned();
        let rejects = rejects.clone();
        tokio::task::spawn_blocking(move || -> anyhow::Result<(Option<String>, u64)> {
            let mut rows = source.open(options.format, &mapping, bytes_read).map_err(users)?;
            let mapper = mapping.for_columns(rows.columns(), &name).map_err(users)?;
            let mut batcher = Batcher::new(options.batch_events_max);
            let mut order = Order::new();
            let broke_off = loop {
                let row = match rows.next_row() {
                    Ok(Some(row)) => row,
                    Ok(None) => break None,
                    Err(error) => break Some(format!("{error:#}")),
                };
                let event = match row {
                    Ok(row) => mapper.event(&row).map_err(|reason| row.reject(reason)),
                    Err(reject) => Err(reject),
                };
                match event {
                    Ok(event) => {
                        event.time_us.into_iter().for_each(|time_us| order.take(time_us));
                        if let Some(full) = batcher.add(event) {
                            // The sender is gone only when it gave up; its error is the one to tell.
                            if batches_in.blocking_send(full).is_err() {
                                return Ok((None, order.behind));
                            }
                        }
                    }
                    Err(reject) => locked(&rejects).add(reject)?,
                }
            };
            if let Some(last) = batcher.finish() {
                drop(batches_in.blocking_send(last));
            }
            Ok((broke_off, order.behind))
        })
    };

    let on_progress = |sent: &Sent| {
        progress.set_position(bytes_read.load(Ordering::Relaxed));
        let rate = sent.rows as f64 / begun.elapsed().as_secs_f64().max(1e-3);
        progress.set_message(format!("{} events, {}/s", grouped(sent.rows), grouped(rate as u64)));
    };
    let on_refused = |reject| locked(&rejects).add(reject);
    let sent = tokio::select! {
        biased;
        () = stop.cancelled() => Err(anyhow::anyhow!(
            "interrupted; run the same command again soon to send the rest (what is in already is not doubled)"
        )),
        sent = send::send_all(&door, &mut batches_out, &options, on_progress, on_refused) => sent,
    };
    // Closing the channel lets the reading thread end, whatever became of the sender.
    batches_out.close();
    while batches_out.recv().await.is_some() {}
    let (broke_off, behind) = reading.await.context("the thread that reads the file broke off")??;
    let sent = sent?;
    progress.finish_and_clear();
    let mut rejects = locked(&rejects);
    let rejects_shown = rejects.finish()?;
    Ok(Summary {
        rows: sent.accepted + sent.dead_lettered + rejects.count(),
        accepted: sent.accepted,
        dead_lettered: sent.dead_lettered,
        rejected: rejects.count(),
        behind,
        rejects_shown,
        rejects_file: rejects.file_written(),
        broke_off,
        took: begun.elapsed(),
    })
}

/// What is wrong before a row was sent is in the file or the command, for the user to mend.
fn users(error: anyhow::Error) -> anyhow::Error {
    UserError(format!("{error:#}")).into()
}

fn locked(rejects: &Mutex<Rejects>) -> std::sync::MutexGuard<'_, Rejects> {
    // A thread that panicked while it held the lock has ended the import already.
    rejects.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The path rejected rows go to: beside the file, under its name.
pub(crate) fn rejects_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".rejected.ndjson");
    PathBuf::from(name)
}

/// 1234567 as "1,234,567".
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A bar with rate and time left; draws nothing when the output is no terminal.
pub(crate) fn progress_bar(what: &str) -> ProgressBar {
    let style = indicatif::ProgressStyle::with_template("  {prefix:<12} [{bar:24}] {percent:>3}%  {msg}")
        .expect("the template is fixed and a test draws it")
        .progress_chars("=> ");
    let bar = ProgressBar::new(1).with_style(style);
    bar.set_prefix(what.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn rows_far_behind_one_above_them_are_counted() {
        let hour_us = 3_600_000_000;
        let behind = |times: &[i64]| {
            let mut order = Order::new();
            times.iter().for_each(|time_us| order.take(*time_us));
            order.behind
        };
        assert_eq!(behind(&[]), 0);
        assert_eq!(behind(&[0, 5, 3, hour_us, 5, 2 * hour_us]), 0);
        assert_eq!(behind(&[3 * hour_us, 2 * hour_us, 2 * hour_us - 1, 0, 4 * hour_us]), 2);
    }

    #[test]
    fn rejected_rows_go_beside_the_file() {
        assert_eq!(rejects_path(Path::new("a/b.csv.gz")), Path::new("a/b.csv.gz.rejected.ndjson"));
        progress_bar("test").finish_and_clear();
    }
}

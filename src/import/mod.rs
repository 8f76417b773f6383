//! Import: a file of rows becomes events through the same door as everything else.
//!
//! In:       a CSV (plain or gzip), NDJSON or Parquet file, a mapping, the door's address and a write key.
//! Out:      requests to the door; a summary; the rows that could not be sent, each with line and reason.
//! Promise:  message ids depend on the file alone, so a second run within `pipeline.dedup_window_ms` doubles nothing;
//!           a row that cannot be read is told and the rest goes on; memory is bounded however long the file.
//! Not here: what the door makes of an event (`ingest`), and which ids are still remembered (`pipeline`).

mod command;
mod propose;

mod encoding;
mod reader;

mod delimited;
mod ndjson;
mod parquet;
mod row;

mod mapper;
mod mapping;

mod amount;
mod kept;
mod kinds;
mod template;
mod time;

mod batch;
mod rejects;
mod send;

mod late;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use tokio_util::sync::CancellationToken;
use tributary_ingest::IngestSettings;
use tributary_pipeline::PipelineSettings;
use tributary_schemas::{Clock, SystemClock};

pub(crate) use command::{ImportArgs, command};
pub(crate) use mapping::Mapping;
pub(crate) use reader::{FileFormat, Source};
pub(crate) use send::{Door, Sent};

use crate::cli::UserError;
use batch::Batcher;
use mapper::{MappedEvent, Mapper};
use reader::Opened;
use rejects::Rejects;
use row::{Reject, Row};

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
    /// Of the accepted, rows in place of whose time the door put the time of receipt.
    pub(crate) clamped: u64,
    /// Rows that never got as far as the door, or that it would not take.
    pub(crate) rejected: u64,
    /// Rows so far behind one before them that no session waits for them.
    pub(crate) behind: u64,
    /// The earliest time of a row.
    pub(crate) oldest_us: Option<i64>,
    /// The first few rejected ones, ready to print.
    pub(crate) rejects_shown: Vec<String>,
    pub(crate) rejects_file: Option<PathBuf>,
    /// What was taken for granted, and what somebody may want to mend.
    pub(crate) notes: Vec<String>,
    /// Why the file could not be read to its end; what stood before was sent.
    pub(crate) broke_off: Option<String>,
    pub(crate) took: Duration,
}

impl Summary {
    pub(crate) fn rows_per_second(&self) -> f64 {
        self.rows as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

/// The lateness a server allows where nobody sets it: what this one does is not known here.
fn lateness_us() -> i64 {
    let lateness_ms = PipelineSettings::default().allowed_lateness_ms;
    i64::try_from(lateness_ms).unwrap_or(i64::MAX).saturating_mul(1_000)
}

/// Times of rows, as they stand in the file.
struct Order {
    lateness_us: i64,
    oldest_us: Option<i64>,
    newest_us: i64,
    behind: u64,
    /// Clock times that say no zone, and those at which the clocks were changed.
    unzoned: u64,
    clock_changes: u64,
}

impl Order {
    fn new() -> Self {
        let lateness_us = lateness_us();
        Self { lateness_us, oldest_us: None, newest_us: i64::MIN, behind: 0, unzoned: 0, clock_changes: 0 }
    }

    fn take(&mut self, time_us: i64) {
        self.oldest_us = Some(self.oldest_us.map_or(time_us, |oldest_us| oldest_us.min(time_us)));
        self.newest_us = self.newest_us.max(time_us);
        self.behind += u64::from(time_us < self.newest_us.saturating_sub(self.lateness_us));
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if 0 < self.unzoned {
            notes.push(format!(
                "times that say no zone and were taken as UTC: {}; if they are local, write time_zone = \"Europe/Berlin\" (or yours) \
                 below [file] into the mapping",
                grouped(self.unzoned)
            ));
        }
        if 0 < self.clock_changes {
            notes.push(format!(
                "times at which the clocks are changed: {}; of one that was there twice the first was taken, and one that was leapt over \
                 was moved on",
                grouped(self.clock_changes)
            ));
        }
        notes
    }
}

/// Rows that tell how a file is written, before the first is taken.
#[derive(Default)]
struct Sample {
    rows: Vec<Result<Row, Reject>>,
    /// Why there are no more; to be told once those that were read are in.
    broke_off: Option<anyhow::Error>,
}

impl Sample {
    /// * `rows_max`: how many; fewer where they are long.
    fn read(opened: &mut Opened, rows_max: usize) -> Self {
        const BYTES_MAX: usize = 1 << 22;
        let mut sample = Self::default();
        let mut bytes = 0;
        while sample.rows.len() < rows_max && bytes < BYTES_MAX {
            match opened.rows.next_row() {
                Ok(Some(row)) => {
                    bytes += row.as_ref().map_or_else(|reject| reject.row.len(), Row::length_bytes);
                    sample.rows.push(row);
                }
                Ok(None) => break,
                Err(error) => {
                    sample.broke_off = Some(error);
                    break;
                }
            }
        }
        sample
    }

    fn good(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter_map(|row| row.as_ref().ok())
    }
}

/// Rows that say how their times are written.
const ROWS_LOOKED_AT: usize = 200;

/// What was found out of a file and not said by anybody.
fn found(opened: &Opened, mapping: &Mapping, mapper: &mut Mapper, sample: &Sample) -> Result<Vec<String>, String> {
    let mut notes = Vec::new();
    match opened.delimiter.filter(|found| mapping.file.delimiter.is_none() && *found != b',') {
        Some(b'\t') => notes.push("tabs were taken to stand between the cells".to_owned()),
        Some(found) => notes.push(format!("{:?} was taken to stand between the cells", char::from(found))),
        None => {}
    }
    if let Some(found) = opened.encoding.filter(|found| mapping.file.encoding.is_none() && *found != "UTF-8") {
        notes.push(format!("the text was taken for {found}"));
    }
    notes.extend(mapper.not_kept().iter().cloned());
    if let Some(guess) = mapper.guess_times(sample.good())? {
        let formats = guess.formats.iter().map(|format| format!("{format:?}")).collect::<Vec<_>>().join(", ");
        notes.push(format!("times were read as time_format = {formats}, by line {} ({:?})", guess.line, guess.text));
    }
    Ok(notes)
}

/// What the reading thread has to say at its end.
#[derive(Default)]
struct Read {
    behind: u64,
    oldest_us: Option<i64>,
    notes: Vec<String>,
    broke_off: Option<String>,
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
        tokio::task::spawn_blocking(move || -> anyhow::Result<Read> {
            let mut opened = source.open(options.format, &mapping.file, bytes_read).map_err(users)?;
            let mut mapper = mapping.clone().for_columns(opened.rows.columns(), &name).map_err(users)?;
            let mut sample = Sample::read(&mut opened, ROWS_LOOKED_AT);
            let found = found(&opened, &mapping, &mut mapper, &sample).map_err(UserError)?;
            let mut read = Read { notes: found, ..Read::default() };
            let mut batcher = Batcher::new(options.batch_events_max);
            let mut order = Order::new();
            let mut looked_at = std::mem::take(&mut sample.rows).into_iter();
            loop {
                let next = match (looked_at.next(), sample.broke_off.take()) {
                    (Some(row), broke_off) => {
                        sample.broke_off = broke_off;
                        Ok(Some(row))
                    }
                    (None, Some(error)) => Err(error),
                    (None, None) => opened.rows.next_row(),
                };
                let row = match next {
                    Ok(Some(row)) => row,
                    Ok(None) => break,
                    Err(error) => {
                        read.broke_off = Some(format!("{error:#}"));
                        break;
                    }
                };
                let event = match row {
                    Ok(row) => {
                        let event = mapper.event(&row).and_then(|event| bounded(event, SystemClock.now_us()));
                        event.map_err(|reason| row.reject(reason))
                    }
                    Err(reject) => Err(reject),
                };
                match event {
                    Ok(event) => {
                        event.time_us.into_iter().for_each(|time_us| order.take(time_us));
                        order.unzoned += u64::from(event.unzoned);
                        order.clock_changes += u64::from(event.clock_change);
                        if let Some(full) = batcher.add(event) {
                            // The sender is gone only when it gave up; its error is the one to tell.
                            if batches_in.blocking_send(full).is_err() {
                                return Ok(read);
                            }
                        }
                    }
                    Err(reject) => locked(&rejects).add(reject)?,
                }
            }
            if let Some(last) = batcher.finish() {
                drop(batches_in.blocking_send(last));
            }
            read.behind = order.behind;
            read.oldest_us = order.oldest_us;
            read.notes.extend(order.notes());
            let unseen = mapper.kinds_unseen();
            if !unseen.is_empty() {
                read.notes.push(format!("[kinds] names what no row is called: {}", unseen.join(", ")));
            }
            Ok(read)
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
    let Read { behind, oldest_us, notes, broke_off } =
        reading.await.context("the thread that reads the file broke off")??;
    let sent = sent?;
    progress.finish_and_clear();
    let mut rejects = locked(&rejects);
    let rejects_shown = rejects.finish()?;
    Ok(Summary {
        rows: sent.accepted + sent.dead_lettered + rejects.count(),
        accepted: sent.accepted,
        dead_lettered: sent.dead_lettered,
        clamped: sent.clamped,
        rejected: rejects.count(),
        behind,
        oldest_us,
        rejects_shown,
        rejects_file: rejects.file_written(),
        notes,
        broke_off,
        took: begun.elapsed(),
    })
}

/// The event, if the door takes its time as it is: by the bounds of a server where nobody sets them, as with [`Order`].
fn bounded(event: MappedEvent, now_us: i64) -> Result<MappedEvent, String> {
    let ahead_us_max = i64::try_from(IngestSettings::default().future_ms_max).unwrap_or(i64::MAX).saturating_mul(1_000);
    let fault = event.time_us.and_then(|time_us| time::out_of_bounds(time_us, now_us, ahead_us_max));
    fault.map_or(Ok(event), Err)
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
    fn times_without_a_zone_and_changes_of_the_clock_are_told() {
        assert!(Order::new().notes().is_empty());
        let told = Order { unzoned: 1_200, clock_changes: 2, ..Order::new() }.notes();
        assert!(told[0].contains("as UTC: 1,200;") && told[1].contains("are changed: 2;"), "{told:?}");
    }

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

//! Facts: what an answer says of itself.
//!
//! In:       the statement as it is understood, the plan that runs, the versions of tables it reads.
//! Out:      `Facts`: definition, window, time zone; names in it that no event bears, where it found nothing; rows and bytes
//!           read and how fresh each table is, for who sees all.
//! Promise:  the definition, asked again of the same tables, gives the same answer, unless it asks for the time or for chance
//!           (`now()`, `random()`): every argument of a call stands in it, and no name of a definition that could change.
//!           Numbers are those of the work that was done.
//! Not here: how they are told (`http.rs`, `render/`); `line` is for people.

mod definition;
mod freshness;
mod notes;

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::temporal_conversions::timestamp_us_to_datetime;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricsSet;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use definition::{Understood, understood};
pub(crate) use freshness::{Freshness, Reads, reads};
pub(crate) use notes::{Look, Named, Watch};

use crate::distributed::Counted;
use crate::fold::{BYTES_SURVEYED, FoldExec, ROWS_READ_AGAIN};
use crate::lake_table::LAKE_URL;

/// What a result says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The question, with every argument of every call of ours written out, defaults too.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub definition: String,
    /// In place of a definition that is too long for where the facts are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_left_out: Option<LeftOut>,
    /// Our functions that it calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// The arguments that bound its time, as they stand in the definition; `None` where there are none.
    pub window: Option<String>,
    /// What days, weeks and months are counted in.
    pub timezone: String,
    /// What the asker may have got wrong: a name that no event bears, in a question that found nothing. Known with the last row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// `None` for who does not see all: it tells of rows that they do not see.
    #[serde(flatten)]
    pub read: Option<ReadFacts>,
}

/// A definition that is not told here, and how to know it again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub bytes: usize,
    /// Of its text, in hexadecimal.
    pub xxh3: String,
    /// The first of it.
    pub begins: String,
    /// Where all of it is told.
    pub told_in: String,
}

/// What was read for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFacts {
    /// Rows that were taken out of our tables, after files, row groups and pages that cannot match were left out.
    pub rows_read: u64,
    /// Bytes of files.
    pub bytes_read: u64,
    /// The tables it was computed from, views as the tables below them.
    pub tables: Vec<TableFacts>,
    /// Where workers helped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkersFacts>,
}

/// Who helped to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkersFacts {
    /// That were there; 0 where in the end the head did it alone.
    pub count: usize,
    /// Parts of the plan they were given.
    pub tasks: usize,
    /// A worker went away, and the question was begun anew.
    pub asked_again: bool,
    /// Whether `rows_read` and `bytes_read` hold what the workers read: false until the last row, and where it was not waited
    /// for.
    pub counted: bool,
}

/// How fresh a table is. All times are UTC microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// As it is called in SQL, without `_live`.
    pub table: String,
    pub version: u64,
    /// With the tail of the log up to the answer's `live_positions`.
    pub live: bool,
    /// When its newest file was written.
    pub written_time_us: Option<i64>,
    /// When the newest row that is committed was received; of another partition of the log older ones may be to come. `None`
    /// where the table does not say.
    pub ingest_time_us: Option<i64>,
    /// The newest time its events say; for sessions, that of the newest start.
    pub event_time_us: Option<i64>,
}

impl Facts {
    /// As the value of a header: JSON in ASCII. The definition is left out where it would make the header too long for proxies; in
    /// its place stands what it can be known by.
    pub fn header(&self) -> Result<String, serde_json::Error> {
        let whole = ascii(&serde_json::to_string(self)?);
        if whole.len() <= HEADER_BYTES_MAX {
            return Ok(whole);
        }
        let left_out = LeftOut {
            bytes: self.definition.len(),
            xxh3: format!("{:016x}", xxh3_64(self.definition.as_bytes())),
            begins: self.definition.chars().take(BEGINS_LETTERS).collect(),
            told_in: "facts.definition of the same question with format=json".to_owned(),
        };
        let short = Self { definition: String::new(), definition_left_out: Some(left_out), ..self.clone() };
        Ok(ascii(&serde_json::to_string(&short)?))
    }

    /// As other protocols carry them, with nothing left out.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and lists of them can always be written")
    }

    /// From such a value, or such JSON.
    pub fn from_header(value: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(value)
    }

    /// For people, a line or some; `None` where no table of ours was read.
    pub fn lines(&self) -> Option<String> {
        let notes = self.notes.iter().map(|note| format!("note: {note}"));
        let full = self.in_full().map(|definition| format!("in full: {definition}"));
        let line = self.line();
        let full = full.filter(|_| line.is_some());
        let lines: Vec<String> = notes.chain(line).chain(full).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The definition, where it says more than the question: plain SQL says all by itself.
    pub fn in_full(&self) -> Option<String> {
        if self.functions.is_empty() {
            return None;
        }
        let left_out = self.definition_left_out.as_ref();
        let left_out = left_out
            .map(|LeftOut { bytes, begins, told_in, .. }| format!("{bytes} bytes, {told_in}; it begins: {begins}"));
        left_out.or_else(|| Some(self.definition.clone()).filter(|definition| !definition.is_empty()))
    }

    /// What was read, how fresh it is, window and zone; `None` where no table of ours was read.
    pub fn line(&self) -> Option<String> {
        let window = self.window.as_ref().map(|window| format!("; {window}")).unwrap_or_default();
        let Some(ReadFacts { rows_read, tables, workers, .. }) = &self.read else {
            let is_ours = !self.functions.is_empty();
            return is_ours.then(|| format!("as far as this token may see{window}; {}", self.timezone));
        };
        if tables.is_empty() {
            return None;
        }
        let table = |table: &TableFacts| {
            let tail = if table.live { " and the log's tail" } else { "" };
            let until = match (table.ingest_time_us, table.event_time_us) {
                (Some(us), _) => format!(", newest received {}", shown(us)),
                (None, Some(us)) => format!(", until {}", shown(us)),
                (None, None) => String::new(),
            };
            format!("{} at version {}{until}{tail}", table.table, table.version)
        };
        let tables: Vec<String> = tables.iter().map(table).collect();
        let plural = if *rows_read == 1 { "row" } else { "rows" };
        let by = match workers {
            Some(workers) if workers.count == 0 => String::new(),
            Some(workers) if workers.counted => format!(", by {} workers", workers.count),
            Some(workers) => format!(", besides what {} workers read, who did not tell", workers.count),
            None => String::new(),
        };
        let of = tables.join(" and ");
        Some(format!("read {rows_read} {plural} of {of}{by}{window}; {}", self.timezone))
    }
}

/// What it is called.
pub const FACTS_HEADER: &str = "x-tributary-facts";

/// Of 8 KiB, which many proxies allow for all headers of an answer together.
const HEADER_BYTES_MAX: usize = 4 << 10;
/// Enough to know which of one's questions it is.
const BEGINS_LETTERS: usize = 120;

fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter.is_ascii_graphic() || letter == ' ' {
            text.push(letter);
        } else {
            let mut units = [0; 2];
            letter.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        }
    }
    text
}

fn shown(time_us: i64) -> String {
    let time = timestamp_us_to_datetime(time_us - time_us.rem_euclid(1_000_000));
    time.map_or_else(|| format!("{time_us} us"), |time| time.to_string())
}

/// Facts of a plan that runs.
#[derive(Debug)]
pub(crate) struct Working {
    /// All but what is read.
    facts: Facts,
    /// And by what; `None` where it is not told.
    reads: Option<(Reads, Arc<dyn ExecutionPlan>)>,
    /// Of workers, where they help.
    counted: Option<Arc<Counted>>,
    /// Once they were looked for.
    notes: Arc<OnceLock<Vec<String>>>,
}

impl Working {
    /// * `reads`: `None` for who does not see all.
    /// * `plan`: of one process; what workers do of it is in `counted`.
    pub(crate) fn new(
        understood: Understood,
        reads: Option<Reads>,
        plan: Arc<dyn ExecutionPlan>,
        counted: Option<Arc<Counted>>,
    ) -> Self {
        let Understood { definition, functions, window, timezone } = understood;
        let facts = Facts { definition, functions, window, timezone, ..Facts::default() };
        Self { facts, reads: reads.map(|reads| (reads, plan)), counted, notes: Arc::default() }
    }

    /// Where notes are put.
    pub(crate) fn notes(&self) -> Arc<OnceLock<Vec<String>>> {
        Arc::clone(&self.notes)
    }

    /// As far as the work has come.
    pub(crate) fn now(&self) -> Facts {
        let read = self.reads.as_ref().map(|(Reads { tables, tails }, plan)| {
            let (mut rows_read, mut bytes_read) = (0, 0);
            count(plan, &mut rows_read, &mut bytes_read);
            // A tail lies in memory and is looked at whole.
            rows_read += tails.iter().map(|rows| rows.load(Ordering::Relaxed)).sum::<u64>();
            let mut workers = None;
            if let Some(counted) = &self.counted {
                let (rows, bytes) = counted.read();
                (rows_read, bytes_read) = (rows_read + rows, bytes_read + bytes);
                workers = Some(counted.facts());
            }
            ReadFacts { rows_read, bytes_read, tables: tables.clone(), workers }
        });
        let notes = self.notes.get().cloned().unwrap_or_default();
        Facts { notes, read, ..self.facts.clone() }
    }
}

/// What the scans of the lake have given so far.
fn count(plan: &Arc<dyn ExecutionPlan>, rows: &mut u64, bytes: &mut u64) {
    let is_ours = plan
        .downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        .is_some_and(|config| config.object_store_url == *LAKE_URL);
    if is_ours && let Some(metrics) = plan.metrics() {
        *rows += metrics.output_rows().unwrap_or(0) as u64;
        *bytes += sum_of(&metrics, "bytes_scanned");
    }
    let fold = plan.downcast_ref::<FoldExec>();
    let mut again = 0;
    for (index, child) in plan.children().into_iter().enumerate() {
        // The first look of a fold is at rows that it will be given once more.
        let is_look = 0 < index && fold.is_some();
        count(child, if is_look { &mut again } else { rows }, bytes);
    }
    if let Some(metrics) = fold.and_then(FoldExec::metrics) {
        *rows = rows.saturating_sub(sum_of(&metrics, ROWS_READ_AGAIN));
        *bytes += sum_of(&metrics, BYTES_SURVEYED);
    }
}

fn sum_of(metrics: &MetricsSet, name: &str) -> u64 {
    metrics.sum_by_name(name).map_or(0, |sum| sum.as_usize()) as u64
}

#[cfg(test)]
mod tests;

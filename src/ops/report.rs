//! How it is, in one shape: what `/status` says as JSON and `tributary status` prints.
//!
//! In:      a look, books, the metrics of the process.
//! Out:     `Report`; what in it is wrong, in words.
//! Promise: fields are only ever added. Times are UTC microseconds; what is not known is absent, never zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exposition::Metrics;
use crate::import::grouped;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    pub(crate) program: String,
    pub(crate) at_us: i64,
    pub(crate) roles: Vec<String>,
    pub(crate) topics: Vec<TopicReport>,
    pub(crate) tables: Vec<TableReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) job: Option<JobReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) books: Option<BooksReport>,
    /// What is wrong; empty when all is well.
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TopicReport {
    pub(crate) topic: String,
    pub(crate) topic_id: String,
    pub(crate) partitions: Vec<PartitionReport>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PartitionReport {
    pub(crate) partition: u32,
    pub(crate) earliest: u64,
    pub(crate) next: u64,
    /// Everything below is in the lake.
    pub(crate) committed: Option<u64>,
    pub(crate) lag_records: u64,
    /// How long the oldest record that is not in the lake has been waiting; at the most, where nobody has watched it.
    pub(crate) lag_s: Option<f64>,
    pub(crate) sessions: Option<u64>,
    /// The newest receipt in the lake.
    pub(crate) newest_us: Option<i64>,
    pub(crate) watermarks_us: BTreeMap<String, i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TableReport {
    pub(crate) table: String,
    pub(crate) version: u64,
    pub(crate) files: u64,
    pub(crate) small_files: u64,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
    pub(crate) changed_us: Option<i64>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobReport {
    pub(crate) open_sessions: Option<u64>,
    pub(crate) state_bytes: Option<u64>,
    pub(crate) remembered_ids: Option<u64>,
    pub(crate) last_commit_us: Option<i64>,
    /// Mean since the start of the process, by table.
    pub(crate) commit_ms: BTreeMap<String, f64>,
    /// Records by what became of them since the start of the process.
    pub(crate) events: BTreeMap<String, u64>,
    pub(crate) faults: u64,
    /// Amounts without their value in the reporting currency, since the start of the process.
    pub(crate) values_without_rate: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BooksReport {
    /// Offsets looked for in the tables.
    pub(crate) offsets: u64,
    pub(crate) missing: u64,
    pub(crate) doubled: u64,
    pub(crate) first_missing: Option<String>,
    /// Must be 0: missing, doubled, and what the door took and the lake has not.
    pub(crate) difference: u64,
    pub(crate) sources: Vec<SourceReport>,
    /// By source and minute of receipt, oldest first, as far as it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) minutes: Vec<MinuteReport>,
}

/// Of the minutes that are complete in the lake; `in_flight` of the others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SourceReport {
    pub(crate) source: String,
    pub(crate) accepted: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) in_lake: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_letters_in_lake: u64,
    pub(crate) in_flight: u64,
    pub(crate) difference: u64,
}

/// What a source sent in one minute, and where it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct MinuteReport {
    /// When it began.
    pub(crate) minute_us: i64,
    pub(crate) source: String,
    /// What the door of this process took; absent where it took nothing, and the lake has it of another or of one before.
    pub(crate) door: Option<DoorReport>,
    pub(crate) in_lake: u64,
    pub(crate) duplicates: u64,
    pub(crate) dead_letters_in_lake: u64,
    /// All that was taken in it must be in the lake by now. Until then what is not is in flight.
    pub(crate) settled: bool,
    /// What the door took and the lake has not; 0 until it is settled.
    pub(crate) difference: u64,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DoorReport {
    pub(crate) accepted: u64,
    pub(crate) dead_lettered: u64,
    /// Not kept, as the rules of privacy have it.
    pub(crate) suppressed: u64,
}

impl JobReport {
    /// `None` where the process has no stream job.
    pub(crate) fn of(metrics: &Metrics, last_commit_us: Option<i64>) -> Option<Self> {
        let open_sessions = metrics.sum("tributary_open_sessions", &[])?;
        let mut report = Self {
            open_sessions: Some(open_sessions as u64),
            state_bytes: metrics.sum("tributary_session_state_bytes", &[]).map(|bytes| bytes as u64),
            remembered_ids: metrics.sum("tributary_remembered_event_ids", &[]).map(|ids| ids as u64),
            last_commit_us,
            faults: metrics.sum("tributary_pipeline_faults_total", &[]).unwrap_or_default() as u64,
            values_without_rate: metrics.sum("tributary_values_without_rate_total", &[]).unwrap_or_default() as u64,
            ..Self::default()
        };
        for sample in metrics.of("tributary_pipeline_events_total") {
            report.events.insert(sample.label("outcome").to_owned(), sample.value as u64);
        }
        for sample in metrics.of("tributary_commit_seconds_count").filter(|sample| sample.value > 0.0) {
            let table = sample.label("table");
            if let Some(seconds) = metrics.sum("tributary_commit_seconds_sum", &[("table", table)]) {
                report.commit_ms.insert(table.to_owned(), 1e3 * seconds / sample.value);
            }
        }
        Some(report)
    }
}

/// So far may the lake be behind before it counts as a fault: several commits must have been missed.
const LAG_INTERVALS_MAX: f64 = 10.0;
const LAG_S_MIN: f64 = 60.0;

/// Who brings what waits in the log into the lake, as far as whoever looks knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// This server, or workers beside it.
    Server,
    /// Nobody: the log would not open if somebody had it.
    Nobody,
    /// None with a door on this folder; a worker elsewhere leaves no trace here.
    NobodyKnown,
}

impl Report {
    /// What is wrong, each as a sentence that says what to do.
    pub(crate) fn find_problems(&mut self, commit_interval_ms: u64, runner: Runner) {
        let mut problems = Vec::new();
        let lag_s_max = LAG_S_MIN.max(LAG_INTERVALS_MAX * commit_interval_ms as f64 / 1e3);
        let partitions = self.topics.iter().flat_map(|topic| &topic.partitions);
        let counts = |partition: &&PartitionReport| match runner {
            Runner::Server => false,
            Runner::Nobody => true,
            // Between two commits of a worker something always waits.
            Runner::NobodyKnown => partition.lag_s.is_none_or(|lag_s| lag_s > lag_s_max),
        };
        let waiting: u64 = partitions.filter(counts).map(|partition| partition.lag_records).sum();
        if waiting > 0 {
            let (who, or) = match runner {
                Runner::NobodyKnown => (
                    "no server is known to run on this folder",
                    ", or ask the worker that runs elsewhere with `tributary status --url`",
                ),
                _ => ("no server runs", ""),
            };
            let records =
                if waiting == 1 { "1 record waits".to_owned() } else { format!("{} records wait", grouped(waiting)) };
            problems.push(format!("{who}, and {records} in the log: start `tributary serve`{or}"));
        }
        for topic in &self.topics {
            for partition in &topic.partitions {
                let at = || format!("partition {} of topic {}", partition.partition, topic.topic);
                match partition.committed {
                    Some(committed) if committed < partition.earliest => problems.push(format!(
                        "{}: the log begins at {} and the lake stands at {committed}: records between are gone; give the \
                         log back, or `tributary replay --from-earliest`",
                        at(),
                        partition.earliest
                    )),
                    Some(committed) if partition.next < committed => problems.push(format!(
                        "{}: the lake stands at {committed} and the log ends at {}: it is another log, or was cut; give \
                         the old one back",
                        at(),
                        partition.next
                    )),
                    _ => {}
                }
                if runner == Runner::Server && partition.lag_s.is_some_and(|lag_s| lag_s > lag_s_max) {
                    problems.push(format!(
                        "{}: the oldest of {} records has waited {:.0} s for the lake; see what the server says of the \
                         stream job, and its disk",
                        at(),
                        partition.lag_records,
                        partition.lag_s.unwrap_or_default()
                    ));
                }
            }
        }
        if let Some(books) = self.books.as_ref().filter(|books| books.difference > 0) {
            let first = books.first_missing.as_ref().map_or_else(String::new, |first| format!(", first {first}"));
            problems.push(format!(
                "the books do not balance: {} offsets are in no table{first}, {} are in twice, {} events the door took are \
                 not in the lake; stop, keep the log, and make the lake anew with `tributary replay`",
                books.missing,
                books.doubled,
                books.sources.iter().map(|source| source.difference).sum::<u64>()
            ));
        }
        self.problems = problems;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_where_nobody_runs_is_a_problem_and_an_empty_wait_is_none() {
        let problems = |waiting: u64, lag_s: Option<f64>, runner: Runner| {
            let partition = PartitionReport {
                next: 10 + waiting,
                committed: Some(10),
                lag_records: waiting,
                lag_s,
                ..Default::default()
            };
            let topic = TopicReport { topic: "t".to_owned(), partitions: vec![partition], ..Default::default() };
            let mut report = Report { topics: vec![topic], ..Default::default() };
            report.find_problems(5_000, runner);
            report.problems
        };
        let told = problems(191_440, Some(3.0), Runner::Nobody);
        assert_eq!(told, ["no server runs, and 191,440 records wait in the log: start `tributary serve`"]);
        assert_eq!(problems(0, Some(0.0), Runner::Nobody), [""; 0]);
        // A worker on Kafka that leaves no trace in the folder is given the time of some commits.
        assert_eq!(problems(7, Some(3.0), Runner::NobodyKnown), [""; 0]);
        for lag_s in [Some(3_600.0), None] {
            let told = problems(7, lag_s, Runner::NobodyKnown);
            assert!(told.len() == 1 && told[0].contains("7 records wait") && told[0].contains("--url"), "{told:?}");
        }
        assert_eq!(problems(7, Some(3.0), Runner::Server), [""; 0]);
        assert!(problems(7, Some(3_600.0), Runner::Server)[0].contains("has waited 3600 s"));
    }
}

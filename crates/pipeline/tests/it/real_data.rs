//! Data nobody made up for us: through the log and the job, against published figures and a slow count.
//!
//! In:      visits to a shop, requests to a web server, lines of shopping baskets; all of two of them only where
//!          `TRIBUTARY_TEST_DATA` says where they lie (`tests/data/README.md`).
//! Out:     sessions.
//! Promise: the count that is compared with sorts and walks, and knows nothing of the job.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::embedded::{EmbeddedLog, EmbeddedSettings};
use tributary_eventlog::{EventLog, Record, TopicSpec, partition_for};
use tributary_lake::{Lake, LakeSettings};
use tributary_pipeline::{Parts, PipelineSettings, Progress, run};
use tributary_schemas::wire::encode_event;
use tributary_schemas::{Event, EventKind, Table};

const SECOND_US: i64 = 1_000_000;
const HALF_HOUR_S: i64 = 1_800;
const DAY_S: i64 = 86_400;
/// Far more than all lines take on a busy machine in a build with checks.
const TIME_MAX: Duration = Duration::from_secs(1_800);
const PARTITIONS: u32 = 4;

/// Whose it is and when, in seconds, in order of arrival.
type Lines = Vec<(String, i64)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_run_back_in_time_make_the_sessions_of_their_times() {
    let (mut lines, expected) = match whole("apache_access_log/apache_logs") {
        // 10,000 lines at minute :05 of each hour, shuffled within it.
        Some(file) => (access_log(&file), (10_000, 4_915, 3_052)),
        None => (csv("apache_access_1000.csv", 0, 1), (1_000, 490, 303)),
    };
    let steps_back = lines.windows(2).filter(|pair| pair[1].1 < pair[0].1).count();
    assert_eq!((lines.len(), steps_back), (expected.0, expected.1), "the data is what it was published as");
    agree(&lines, HALF_HOUR_S, expected.2).await;
    // The same requests in any other order within the hour are the same sessions.
    lines.reverse();
    lines.sort_by_key(|(_, time_s)| time_s / 3_600);
    agree(&lines, HALF_HOUR_S, expected.2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lines_of_a_basket_are_one_visit_of_its_household() {
    let (lines, half_hour, day) = match whole("complete_journey/transactions.parquet") {
        Some(file) => (baskets(&file), 143_212, 110_103),
        None => (csv("complete_journey_8_households.csv", 0, 2), 539, 477),
    };
    for (gap_s, expected) in [(HALF_HOUR_S, half_hour), (DAY_S, day)] {
        agree(&lines, gap_s, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_that_numbered_its_visits_finds_as_many() {
    let lines = shop_clicks();
    assert_eq!(lines.len(), 165_474, "as its authors state");
    // Every visit has an id of its own there, and its clicks stand a second apart.
    agree(&lines, HALF_HOUR_S, 24_026).await;
}

/// The sessions of the job are as many as expected, and each is one of the slow count.
async fn agree(lines: &Lines, gap_s: i64, expected: usize) {
    let slow = slow_count(lines, gap_s);
    assert_eq!(slow.len(), expected, "the slow count finds what was published");
    let found = sessions(lines, gap_s).await;
    let wrong = found.iter().filter(|session| slow.binary_search(session).is_err()).take(5).collect::<Vec<_>>();
    assert!(wrong.is_empty(), "{} sessions, not in the slow count: {wrong:?}", found.len());
    assert_eq!(found.len(), expected);
}

/// (whose, first second, last second, events)
type Session = (String, i64, i64, i64);

fn slow_count(lines: &Lines, gap_s: i64) -> Vec<Session> {
    let mut by_key: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (key, time_s) in lines {
        by_key.entry(key).or_default().push(*time_s);
    }
    let mut sessions: Vec<Session> = Vec::new();
    for (key, mut times) in by_key {
        times.sort_unstable();
        let mut first = 0;
        for index in 1..=times.len() {
            if index == times.len() || times[index] - times[index - 1] > gap_s {
                sessions.push((key.to_owned(), times[first], times[index - 1], i64::try_from(index - first).unwrap()));
                first = index;
            }
        }
    }
    sessions.sort();
    sessions
}

async fn sessions(lines: &Lines, gap_s: i64) -> Vec<Session> {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(EmbeddedSettings::in_dir(folder.path().join("log"))).unwrap();
    let topic = async |name: &str, partitions| {
        log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions }).await.unwrap()
    };
    let (events, dead_letters) = (topic("events", PARTITIONS).await, topic("dead_letters", 1).await);
    let mut next = HashMap::new();
    for (chunk_index, chunk) in lines.chunks(5_000).enumerate() {
        let records = chunk.iter().enumerate().map(|(index, (key, time_s))| {
            let event = event(key, *time_s, chunk_index * 5_000 + index);
            let partition_key = event.partition_key();
            let partition = partition_for(&partition_key, PARTITIONS);
            *next.entry(partition).or_insert(0_u64) += 1;
            let value = Bytes::from(encode_event(&event));
            (partition, Record { key: Some(Bytes::from(partition_key)), value, time_ms: time_s * 1_000 })
        });
        for ack in log.append(&events.topic, records.collect()).await {
            ack.unwrap();
        }
    }
    let url = folder.path().join("lake").display().to_string();
    let lake = Lake::open(LakeSettings { url, fsync: false, ..LakeSettings::default() }).await.unwrap();
    let (progress_in, mut progress) = watch::channel(Progress::default());
    let parts = Parts { log: log.clone(), lake: lake.clone(), events, dead_letters, progress: progress_in };
    let settings = PipelineSettings {
        session_preset: "custom".to_owned(),
        session_gap_ms: (gap_s * 1_000).unsigned_abs(),
        // Longer than any household goes on shopping without a quiet day.
        session_duration_ms_max: 366 * DAY_S.unsigned_abs() * 1_000,
        ..PipelineSettings::default()
    };
    let stop = CancellationToken::new();
    let job = tokio::spawn(run(settings, parts, stop.clone()));
    let all_in = progress.wait_for(|now| next.iter().all(|end| now.events.contains(&(*end.0, *end.1))));
    tokio::time::timeout(TIME_MAX, all_in).await.expect("the job reaches the end").expect("the job runs");
    stop.cancel();
    let summary = job.await.unwrap().unwrap();
    assert_eq!((summary.counts.late, summary.counts.duplicates), (0, 0));
    log.close().await.unwrap();
    read(&lake).await
}

fn event(key: &str, time_s: i64, number: usize) -> Event {
    let mut event = Event::new("real", "test", &format!("line-{number}"), "page", time_s * SECOND_US);
    event.event_kind = EventKind::Page;
    event.anonymous_id = Some(format!("visitor-{key}"));
    event.ingest_time_us = time_s * SECOND_US;
    event
}

/// The latest version of each session that is one still.
async fn read(lake: &Lake) -> Vec<Session> {
    let snapshot = lake.snapshot(Table::Sessions).await.unwrap();
    let columns =
        ["session_id", "version", "superseded_by", "session_key", "start_time_us", "end_time_us", "event_count"];
    let mut stream = snapshot.read(&columns, |_| true);
    let mut latest: HashMap<String, (i64, Option<Session>)> = HashMap::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>();
        let int = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let version = int("version").value(row);
            let session = text("superseded_by").is_null(row).then(|| {
                let key = text("session_key").value(row).trim_start_matches("visitor-").to_owned();
                let seconds = |name| int(name).value(row) / SECOND_US;
                (key, seconds("start_time_us"), seconds("end_time_us"), int("event_count").value(row))
            });
            let known = latest.entry(text("session_id").value(row).to_owned()).or_insert((i64::MIN, None));
            if known.0 < version {
                *known = (version, session);
            }
        }
    }
    let mut sessions: Vec<Session> = latest.into_values().filter_map(|(_, session)| session).collect();
    sessions.sort();
    sessions
}

/// The whole data, where somebody has it.
fn whole(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TRIBUTARY_TEST_DATA").filter(|folder| !folder.is_empty())?;
    let file = Path::new(&folder).join(path);
    assert!(file.is_file(), "TRIBUTARY_TEST_DATA is set, and {} is not there", file.display());
    eprintln!("the whole of {}", file.display());
    Some(file)
}

/// Two columns of a file of `tests/data`.
fn csv(name: &str, key: usize, time_s: usize) -> Lines {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let text = std::fs::read_to_string(file).unwrap();
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        (cells[key].to_owned(), cells[time_s].parse().unwrap())
    };
    text.lines().skip(1).map(line).collect()
}

/// Client and time of each line in the combined format of Apache.
fn access_log(file: &Path) -> Lines {
    // One line of it is no UTF-8 in its user agent, which nobody needs here.
    let text = String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned();
    text.lines()
        .map(|line| {
            let client = line.split(' ').next().unwrap();
            let stamp = &line[line.find('[').unwrap() + 1..line.find(']').unwrap()];
            (client.to_owned(), access_time_s(stamp))
        })
        .collect()
}

/// `17/May/2015:10:05:03 +0000`, always UTC here.
fn access_time_s(stamp: &str) -> i64 {
    let parts: Vec<&str> = stamp.split(['/', ':', ' ']).collect();
    let number = |index: usize| parts[index].parse::<i64>().unwrap();
    assert_eq!((parts[1], parts[2], parts[6]), ("May", "2015", "+0000"), "{stamp}");
    // 1430438400 is 2015-05-01T00:00:00Z.
    1_430_438_400 + (number(0) - 1) * DAY_S + number(3) * 3_600 + number(4) * 60 + number(5)
}

/// Household and time of each line of each basket, in the order of the file, which is that of their times.
fn baskets(file: &Path) -> Lines {
    let file = std::fs::File::open(file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut lines = Lines::new();
    for batch in reader {
        let batch = batch.unwrap();
        let column = |name: &str| {
            let column = batch.column_by_name(name).unwrap();
            arrow::compute::cast(column, &arrow::datatypes::DataType::Int64).unwrap()
        };
        let kind = batch.schema().field_with_name("transaction_timestamp").unwrap().data_type().clone();
        let per_second = match kind {
            arrow::datatypes::DataType::Timestamp(unit, _) => match unit {
                arrow::datatypes::TimeUnit::Second => 1,
                arrow::datatypes::TimeUnit::Millisecond => 1_000,
                arrow::datatypes::TimeUnit::Microsecond => 1_000_000,
                arrow::datatypes::TimeUnit::Nanosecond => 1_000_000_000,
            },
            other => panic!("a time of type {other}"),
        };
        let (households, times) = (column("household_id"), column("transaction_timestamp"));
        let (households, times) = (households.as_primitive::<Int64Type>(), times.as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            lines.push((households.value(row).to_string(), times.value(row) / per_second));
        }
    }
    assert_eq!(lines.len(), 1_469_307, "as published");
    lines
}

/// Session and time of each click: the data has days and an order of clicks, which become seconds after midnight.
fn shop_clicks() -> Lines {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../demo-data/eshop_clothing_2008.csv.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let cells: Vec<i64> = line.split(';').take(4).map(|cell| cell.parse().unwrap()).collect();
            let session = line.split(';').nth(5).unwrap().to_owned();
            let days_before = [91, 121, 152, 182, 213][usize::try_from(cells[1] - 4).unwrap()];
            // 1199145600 is 2008-01-01T00:00:00Z, and 2008 is a leap year.
            (session, 1_199_145_600 + (days_before + cells[2] - 1) * DAY_S + cells[3])
        })
        .collect()
}

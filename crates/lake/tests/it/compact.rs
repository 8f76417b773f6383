//! Compaction: what it must keep, what it may drop, and that nobody beside it notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use tributary_lake::{CompactOptions, Compacted, DataFile, Lake, LakeSettings, Snapshot};
use tributary_schemas::{EventFlags, Table};

use crate::faults;
use crate::positions::advance;
use crate::rows::rows;
use crate::{all_rows, assert_each_offset_once, open, settings, sorted_column};

pub(crate) fn everything() -> CompactOptions {
    CompactOptions { everything: true, log_topic: "events-topic".to_owned(), ..CompactOptions::default() }
}

pub(crate) fn with_column(batch: &RecordBatch, name: &str, values: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = values;
    RecordBatch::try_new(batch.schema(), columns).unwrap()
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Rows of `events` of one day and one partition of the log: (offset, id, content, time, flags).
fn events(given: &[(i64, &str, i64, i64, i64)]) -> RecordBatch {
    let batch = rows(Table::Events, 0..given.len() as i64, 1);
    let batch = with_column(&batch, "log_offset", ints(given.iter().map(|row| row.0)));
    let ids = StringArray::from_iter_values(given.iter().map(|row| row.1));
    let batch = with_column(&batch, "event_id", Arc::new(ids));
    let batch = with_column(&batch, "content_hash", ints(given.iter().map(|row| row.2)));
    let batch = with_column(&batch, "event_time_us", ints(given.iter().map(|row| row.3)));
    let batch = with_column(&batch, "flags", ints(given.iter().map(|row| row.4)));
    let same = |text: &str| Arc::new(StringArray::from(vec![text; given.len()])) as ArrayRef;
    let batch = with_column(&with_column(&batch, "source", same("web")), "session_key", same("d1"));
    with_column(&batch, "log_partition", Arc::new(Int32Array::from(vec![0; given.len()])))
}

fn by(batch: &RecordBatch, columns: &[&str]) -> RecordBatch {
    let columns = columns
        .iter()
        .map(|name| arrow::compute::SortColumn { values: batch.column_by_name(name).unwrap().clone(), options: None });
    let indices = lexsort_to_indices(&columns.collect::<Vec<_>>(), None).unwrap();
    take_record_batch(batch, &indices).unwrap()
}

/// Each file alone stands in the table's order, says so, and does not reach into the next of its day.
async fn assert_sorted(snapshot: &Snapshot) {
    let table = snapshot.table();
    let mut ends: BTreeMap<Vec<Option<String>>, Vec<DataFile>> = BTreeMap::new();
    for file in snapshot.files() {
        assert!(file.sorted, "{}", file.path);
        let batches: Vec<RecordBatch> =
            snapshot.read_files(table.sort_columns(), vec![file.clone()]).try_collect().await.unwrap();
        let batch = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(batch.num_rows() as u64, file.rows);
        assert_eq!(by(&batch, table.sort_columns()), batch, "{}", file.path);
        ends.entry(file.partition.iter().map(|(_, day)| day.clone()).collect()).or_default().push(file.clone());
    }
    let leading = table.sort_columns()[0];
    for (_, mut files) in ends {
        files.sort_by(|one, other| one.min_text(leading).cmp(&other.min_text(leading)));
        for pair in files.windows(2) {
            assert!(pair[0].max_text(leading) < pair[1].min_text(leading), "{:?}", pair);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_become_few_sorted_ones_and_every_row_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { session_history_days: 0, ..settings(&folder) };
    for table in Table::ALL {
        let lake = Lake::open(settings.clone()).await.unwrap();
        let mut writer = lake.writer(*table).await.unwrap();
        // Backwards, so that nothing is sorted by chance.
        for part in (0..20_i64).rev() {
            let moves = [advance("p", (part != 19).then_some(part + 1), part)];
            writer.append(vec![rows(*table, part * 50..part * 50 + 50, 3)], &moves).await.unwrap();
        }
        let before = writer.snapshot();
        let done = lake.compact(*table, &everything()).await.unwrap();
        let days = if table.partition_columns().is_empty() { 1 } else { 3 };
        let expected = Compacted {
            commits: days,
            files_before: 20 * days,
            files_after: days,
            rows_before: 1_000,
            rows_after: 1_000,
            bytes_before: done.bytes_before,
            bytes_after: done.bytes_after,
            ..Compacted::default()
        };
        assert_eq!(done, expected, "{}", table.name());
        assert!(done.bytes_after * 2 < done.bytes_before, "{done:?}");

        // As the handle sees it that compacted, one that was open before, and one opened anew from the checkpoint.
        writer.refresh().await.unwrap();
        let fresh = open(&folder).await.snapshot(*table).await.unwrap();
        for after in [lake.snapshot(*table).await.unwrap(), writer.snapshot(), fresh] {
            assert_eq!((after.version(), after.files().len() as u64), (20 + days, days));
            assert_eq!(after.txn("p"), Some(0), "positions stay");
            assert!(after.txn(&format!("layout/{}", table.name())).is_some());
            assert_sorted(&after).await;
            let order: &[&str] = if *table == Table::Sessions { &["start_time_us"] } else { &["log_offset"] };
            assert_eq!(by(&all_rows(&after).await, order), by(&all_rows(&before).await, order), "{}", table.name());
        }
        let checkpoint = format!("{}/_delta_log/{:020}.checkpoint.parquet", table.name(), 20 + days);
        assert!(folder.path().join(checkpoint).exists());
        assert_eq!(lake.compact(*table, &everything()).await.unwrap(), Compacted::default(), "nothing is left to do");

        writer.append(vec![rows(*table, 1_000..1_001, 3)], &[advance("p", Some(0), 1)]).await.unwrap();
        assert_eq!(writer.snapshot().files().iter().map(|file| file.rows).sum::<u64>(), 1_001);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_cut_between_people_and_what_does_not_fit_in_memory_is_sorted_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { compact_file_bytes: 7_000_000, compact_memory_bytes: 100_000, ..settings(&folder) };
    let lake = Lake::open(settings).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for part in (0..30_i64).rev() {
        let batch = rows(Table::Events, part * 1_000..part * 1_000 + 1_000, 1);
        // 97 people, so that runs and files both meet in the middle of one.
        let keys = (0..1_000).map(|row| Some(format!("person-{:02}", (row * 31 + part) % 97)));
        let batch = with_column(&batch, "session_key", Arc::new(keys.collect::<StringArray>()));
        writer.append(vec![batch], &[]).await.unwrap();
    }
    let before = all_rows(&writer.snapshot()).await;
    let done = lake.compact(Table::Events, &everything()).await.unwrap();
    assert!(2 < done.files_after, "{done:?}");
    let after = lake.snapshot(Table::Events).await.unwrap();
    assert_sorted(&after).await;
    assert_eq!(by(&all_rows(&after).await, &["log_offset"]), by(&before, &["log_offset"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compacted_file_says_in_parquets_own_words_how_it_is_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    writer.append(vec![rows(Table::Events, 0..100, 1)], &[]).await.unwrap();
    lake.compact(Table::Events, &everything()).await.unwrap();
    let snapshot = lake.snapshot(Table::Events).await.unwrap();
    let bytes = lake.object_store().get(&Path::from(&*snapshot.files()[0].path)).await.unwrap().bytes().await.unwrap();
    let reader = SerializedFileReader::new(bytes).unwrap();
    let group = reader.metadata().row_group(0);
    let by: Vec<String> = group
        .sorting_columns()
        .unwrap()
        .iter()
        .map(|column| group.column(column.column_idx as usize).column_path().string())
        .collect();
    assert_eq!(by, Table::Events.sort_columns());
    assert!(group.column(0).offset_index_offset().is_some(), "a page index");
}

/// (offset, flags) of all events, and the offsets of `dead_letters`.
async fn kept_and_dead(lake: &Lake) -> (Vec<(i64, i64)>, Vec<i64>) {
    let events = lake.snapshot(Table::Events).await.unwrap();
    let batches: Vec<RecordBatch> = events.read(&["log_offset", "flags"], |_| true).try_collect().await.unwrap();
    let mut kept: Vec<(i64, i64)> = Vec::new();
    for batch in batches {
        let [offsets, flags] = [0, 1].map(|index| batch.column(index).as_primitive::<Int64Type>().values().to_vec());
        kept.extend(offsets.into_iter().zip(flags));
    }
    kept.sort_unstable();
    (kept, sorted_column(&lake.snapshot(Table::DeadLetters).await.unwrap(), "log_offset").await)
}

const COLLISION: i64 = EventFlags::ID_COLLISION.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_go_to_dead_letters_and_another_content_stays_flagged() {
    for memory_bytes in [1 << 28, 1] {
        let folder = tempfile::tempdir().unwrap();
        let settings = LakeSettings { compact_memory_bytes: memory_bytes, ..settings(&folder) };
        let lake = Lake::open(settings).await.unwrap();
        let mut writer = lake.writer(Table::Events).await.unwrap();
        let late = EventFlags::LATE.0;
        let parts = [
            events(&[(3, "a", 1, 10, 0), (1, "a", 1, 10, 0), (2, "b", 1, 11, 0)]),
            events(&[(5, "b", 2, 12, 4), (6, "a", 1, 99, late), (7, "c", 1, 13, 0)]),
            events(&[(8, "c", 1, 14, 0), (9, "d", 1, 15, 0)]),
        ];
        for part in parts {
            writer.append(vec![part], &[]).await.unwrap();
        }
        let done = lake.compact(Table::Events, &everything()).await.unwrap();
        assert_eq!((done.duplicates, done.duplicates_kept, done.collisions), (2, 1, 1), "{done:?}");
        assert_eq!((done.rows_before, done.rows_after), (8, 6));
        let (kept, dead) = kept_and_dead(&lake).await;
        assert_eq!(kept, [(1, 0), (2, 0), (5, 4 | COLLISION), (7, 0), (8, 0), (9, 0)]);
        assert_eq!(dead, [3, 6]);

        // The copy that could have moved an open session goes once none is open there; also from files that are settled.
        writer.append(vec![events(&[(10, "d", 1, 15, 0)])], &[]).await.unwrap();
        let options = CompactOptions { needed_from: [(0, 9)].into(), ..everything() };
        let done = lake.compact(Table::Events, &options).await.unwrap();
        assert_eq!((done.duplicates, done.duplicates_kept, done.collisions), (2, 0, 0), "{done:?}");
        let (kept, dead) = kept_and_dead(&lake).await;
        assert_eq!(kept, [(1, 0), (2, 0), (5, 4 | COLLISION), (7, 0), (9, 0)]);
        assert_eq!(dead, [3, 6, 8, 10]);

        let dead = all_rows(&lake.snapshot(Table::DeadLetters).await.unwrap()).await;
        let text = |name: &str| dead.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!(["reason", "log_topic", "source"].map(text), ["duplicate", "events-topic", "web"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_duplicate_is_found_in_a_day_that_is_settled_already() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    // Large beside what comes late, so that it is not rewritten for that.
    let day: Vec<String> = (0..30_000).map(|offset| format!("{offset}-{:x}", offset * 7_919_i64)).collect();
    let rows: Vec<_> = (0..30_000_i64).map(|offset| (offset, day[offset as usize].as_str(), 1, offset, 0)).collect();
    writer.append(vec![events(&rows)], &[]).await.unwrap();
    lake.compact(Table::Events, &everything()).await.unwrap();
    let settled = lake.snapshot(Table::Events).await.unwrap().files()[0].path.clone();
    for (offset, id) in [(50_000, 17), (50_001, 18)] {
        writer.append(vec![events(&[(offset, &day[id], 1, id as i64, 0)])], &[]).await.unwrap();
    }
    writer.append(vec![events(&[(50_002, "new", 1, 5, 0)])], &[]).await.unwrap();
    let quiet = hours_later(&folder, 1).await;
    let done = quiet.compact(Table::Events, &CompactOptions { everything: false, ..everything() }).await.unwrap();
    assert_eq!((done.files_before, done.files_after, done.duplicates, done.rows_after), (3, 1, 2, 1), "{done:?}");
    let after = lake.snapshot(Table::Events).await.unwrap();
    assert!(after.files().iter().any(|file| file.path == settled), "what is settled stays as it lies");
    let (kept, dead) = kept_and_dead(&lake).await;
    assert_eq!((kept.len(), dead), (30_001, vec![50_000, 50_001]));
}

/// Makes everything in a folder so many days older.
pub(crate) fn age(folder: &std::path::Path, days: u64) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            age(&entry.path(), days);
            continue;
        }
        let file = std::fs::File::options().write(true).open(entry.path()).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_modified(modified - std::time::Duration::from_secs(days * 86_400)).unwrap();
    }
}

/// The same lake by a clock that is ahead.
async fn hours_later(folder: &tempfile::TempDir, hours: i64) -> Lake {
    use tributary_schemas::{Clock, ManualClock, SystemClock};
    let url = url::Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
    let settings = LakeSettings { url: url.into(), ..settings(folder) };
    let clock = Arc::new(ManualClock::at_us(SystemClock.now_us() + hours * 3_600_000_000));
    Lake::with_store(settings, Arc::new(object_store::local::LocalFileSystem::new()), clock).await.unwrap()
}

/// (session, version, superseded)
fn versions(given: &[(&str, i64, bool)]) -> RecordBatch {
    let batch = rows(Table::Sessions, 0..given.len() as i64, 1);
    let ids = StringArray::from_iter_values(given.iter().map(|row| row.0));
    let superseded = given.iter().map(|row| row.2.then_some("another")).collect::<StringArray>();
    let batch = with_column(&batch, "session_id", Arc::new(ids));
    let batch = with_column(&batch, "superseded_by", Arc::new(superseded));
    with_column(&batch, "version", ints(given.iter().map(|row| row.1)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_old_sessions_the_newest_version_stays_and_of_young_ones_all() {
    for (days, left) in [(30, vec![9, 40]), (0, vec![1, 2, 5, 6, 9, 30, 40])] {
        let folder = tempfile::tempdir().unwrap();
        let settings = LakeSettings { session_history_days: days, ..settings(&folder) };
        let lake = Lake::open(settings).await.unwrap();
        let mut writer = lake.writer(Table::Sessions).await.unwrap();
        writer.append(vec![versions(&[("a", 1, false), ("b", 2, false), ("c", 30, false)])], &[]).await.unwrap();
        writer.append(vec![versions(&[("a", 5, false), ("b", 6, true)])], &[]).await.unwrap();
        writer.append(vec![versions(&[("a", 9, false), ("c", 40, false)])], &[]).await.unwrap();
        let done = lake.compact(Table::Sessions, &everything()).await.unwrap();
        assert_eq!(done.versions, 7 - left.len() as u64);
        assert_eq!(sorted_column(&lake.snapshot(Table::Sessions).await.unwrap(), "version").await, left);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_and_compactions_of_one_table_never_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { compact_files_min: 4, checkpoint_interval_commits: 10, ..settings(&folder) };
    let lake = Lake::open(settings.clone()).await.unwrap();
    let (ended, watch) = tokio::sync::watch::channel(false);
    let append = {
        let lake = Lake::open(settings.clone()).await.unwrap();
        async move {
            let mut writer = lake.writer(Table::Events).await.unwrap();
            for start in (0..600).step_by(5) {
                let expected = (start != 0).then_some(start);
                let moves = [advance("p", expected, start + 5)];
                writer.append(vec![rows(Table::Events, start..start + 5, 2)], &moves).await.unwrap();
            }
            ended.send_replace(true);
        }
    };
    let one = tokio::spawn(faults::compact(lake.clone(), watch.clone()));
    let other = tokio::spawn(faults::compact(Lake::open(settings).await.unwrap(), watch));
    let (_, one, other) = tokio::join!(tokio::spawn(append), one, other);
    let (one, other) = (one.unwrap(), other.unwrap());
    eprintln!("compacted {one:?} and {other:?}");
    assert!(0 < one.commits + other.commits);
    assert_each_offset_once(&lake, Table::Events, 600).await;
    assert_eq!(lake.snapshot(Table::Events).await.unwrap().txn("p"), Some(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_what_its_log_says_is_not_compacted_away() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Identities).await.unwrap();
    writer.append(vec![rows(Table::Identities, 0..50, 1)], &[]).await.unwrap();
    writer.append(vec![rows(Table::Identities, 50..60, 1)], &[]).await.unwrap();
    let log = folder.path().join("identities/_delta_log/00000000000000000001.json");
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, text.replace("\\\"numRecords\\\":50", "\\\"numRecords\\\":51")).unwrap();
    let error = open(&folder).await.compact(Table::Identities, &everything()).await.unwrap_err();
    assert!(error.to_string().contains("other rows than its log says"), "{error}");
    assert_eq!(lake.snapshot(Table::Identities).await.unwrap().files().len(), 2);
}

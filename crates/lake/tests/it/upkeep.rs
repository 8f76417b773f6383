//! Retention, vacuum, the log's old end, and columns that come later.

use std::collections::{BTreeSet, HashMap};
use std::path::Path as FilePath;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use object_store::local::LocalFileSystem;
use tokio::task::JoinSet;
use tributary_lake::{Advice, Compacted, Lake, LakeError, LakeSettings, VacuumOptions, Vacuumed};
use tributary_schemas::{SystemClock, Table};

use crate::compact::{age, everything};
use crate::positions::advance;
use crate::rows::rows;
use crate::{all_rows, assert_each_offset_once, open, settings, sorted_column};

const WEEK: VacuumOptions = VacuumOptions { horizon_hours: 168, force: false, dry_run: false };

fn data_files(folder: &FilePath) -> usize {
    let days = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    days.filter(|day| day.is_dir() && !day.ends_with("_delta_log"))
        .map(|day| std::fs::read_dir(day).unwrap().count())
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_takes_what_no_version_of_the_last_days_needs_and_what_a_killed_writer_left() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for part in 0..6 {
        writer.append(vec![rows(Table::Events, part * 10..part * 10 + 10, 1)], &[]).await.unwrap();
    }
    let before = lake.snapshot(Table::Events).await.unwrap();
    lake.compact(Table::Events, &everything()).await.unwrap();
    let table = folder.path().join("events");
    std::fs::write(table.join("event_date=2024-10-04/orphan.parquet"), "killed before its commit").unwrap();
    assert_eq!(data_files(&table), 8);
    let half = table.join("_delta_log/00000000000000000009.json#1");
    std::fs::write(&half, "killed while it wrote").unwrap();

    let done = lake.vacuum(Table::Events, &WEEK).await.unwrap();
    assert_eq!(done, Vacuumed { files_waiting: 7, ..done }, "all is young");
    assert_eq!((done.files, data_files(&table)), (0, 8));
    assert_eq!(all_rows(&before).await.num_rows(), 60, "a reader of the version before still reads");

    // The files are old, but they were removed a moment ago.
    age(&table.join("event_date=2024-10-04"), 8);
    let done = lake.vacuum(Table::Events, &WEEK).await.unwrap();
    assert_eq!((done.files, done.files_waiting, data_files(&table)), (1, 6, 7), "only the orphan goes");
    assert!(half.exists(), "half-written a moment ago");
    assert_eq!(all_rows(&before).await.num_rows(), 60);

    age(&table.join("_delta_log"), 8);
    let dry = lake.vacuum(Table::Events, &VacuumOptions { dry_run: true, ..WEEK }).await.unwrap();
    assert_eq!((dry.files, data_files(&table)), (7, 7), "a dry run deletes nothing");
    let done = lake.vacuum(Table::Events, &WEEK).await.unwrap();
    assert_eq!((done.files, done.bytes, data_files(&table)), (7, dry.bytes, 1));
    assert!(!half.exists());
    assert_each_offset_once(&lake, Table::Events, 60).await;
    assert_each_offset_once(&open(&folder).await, Table::Events, 60).await;
    assert!(
        !folder.path().join("_clock").exists() || std::fs::read_dir(folder.path().join("_clock")).unwrap().count() == 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vacuum_of_sessions_takes_state_that_grew_old_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let [gone, here, named] = ["gone", "here", "named"].map(|topic| folder.path().join(format!("_state/{topic}/0")));
    for (partition, name) in [(&gone, "07"), (&here, "07"), (&named, "09")] {
        std::fs::create_dir_all(partition).unwrap();
        std::fs::write(partition.join(format!("000000000000000000{name}.state")), "what was remembered").unwrap();
    }
    std::fs::write(named.join("00000000000000000011.state#1"), "half").unwrap();
    let mut writer = lake.writer(Table::Sessions).await.unwrap();
    writer.append(vec![], &[advance("p/state", None, 9)]).await.unwrap();
    age(&gone, 8);
    age(&named, 8);
    let states = || [&gone, &here, &named].map(|partition| std::fs::read_dir(partition).map_or(0, Iterator::count));
    assert_eq!(lake.vacuum(Table::Events, &WEEK).await.unwrap().files, 0);
    let dry = VacuumOptions { dry_run: true, ..WEEK };
    assert_eq!((lake.vacuum(Table::Sessions, &dry).await.unwrap().files, states()), (2, [1, 1, 2]));
    let done = lake.vacuum(Table::Sessions, &WEEK).await.unwrap();
    assert_eq!((done.files, done.bytes, states()), (2, 19 + 4, [0, 1, 1]), "one that the table names stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_horizon_that_could_hit_running_work_is_refused_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for part in 0..3 {
        writer.append(vec![rows(Table::Events, part..part + 1, 1)], &[]).await.unwrap();
    }
    lake.compact(Table::Events, &everything()).await.unwrap();
    let short = VacuumOptions { horizon_hours: 0, ..WEEK };
    let error = lake.vacuum(Table::Events, &short).await.unwrap_err();
    assert!(matches!(error, LakeError::HorizonTooShort { hours: 0, floor: 24 }), "{error}");
    assert_eq!(error.advice(), Advice::FixInput);
    // The clock of the disk may stand where it stood when the last file was written.
    age(folder.path(), 1);
    let done = lake.vacuum(Table::Events, &VacuumOptions { force: true, ..short }).await.unwrap();
    assert_eq!(done.files, 3);
    assert_each_offset_once(&lake, Table::Events, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_cut_at_its_old_end_and_whoever_slept_through_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { checkpoint_interval_commits: 5, ..settings(&folder) };
    let lake = Lake::open(settings.clone()).await.unwrap();
    let sleeper = Lake::open(settings.clone()).await.unwrap();
    let mut sleeping = sleeper.writer(Table::Events).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let append = async |writer: &mut tributary_lake::TableWriter, part: i64| {
        let moves = [advance("p", (part != 0).then_some(part), part + 1)];
        writer.append(vec![rows(Table::Events, part..part + 1, 1)], &moves).await
    };
    for part in 0..23 {
        append(&mut writer, part).await.unwrap();
    }
    let log = folder.path().join("events/_delta_log");
    assert_eq!(lake.vacuum(Table::Events, &WEEK).await.unwrap().log_entries, 0, "all is young");
    age(&log, 8);
    append(&mut writer, 23).await.unwrap();
    let done = lake.vacuum(Table::Events, &WEEK).await.unwrap();
    // Version 23 was the newest a week ago: checkpoint 20 and what follows it stay.
    assert_eq!(done.log_entries, 20 + 3);
    let mut left: Vec<String> =
        std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left.len(), 5 + 2, "20 to 24, a checkpoint and the hint: {left:?}");

    let error = append(&mut sleeping, 0).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Fenced, "{error}");
    assert_eq!(sleeping.snapshot().txn("p"), Some(24));
    append(&mut sleeping, 24).await.unwrap();
    for lake in [&lake, &sleeper, &Lake::open(settings).await.unwrap()] {
        assert_each_offset_once(lake, Table::Events, 25).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_days_are_dropped_whole_and_days_that_are_needed_stay() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    writer.append(vec![rows(Table::Events, 0..90, 3)], &[advance("p", None, 90)]).await.unwrap();
    let today = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400).unwrap();
    // Days 20,000 to 20,002 hold rows.
    let age_of = |day: i64| u64::try_from(today - day).unwrap();
    let nobody = BTreeSet::new();
    assert_eq!(lake.drop_old(Table::Events, age_of(20_000), &nobody, None).await.unwrap().files, 0);
    let done = lake.drop_old(Table::Events, age_of(20_002), &BTreeSet::from([20_001]), None).await.unwrap();
    assert_eq!((done.days, done.files, done.rows, done.days_held), (1, 1, 30, 1));
    // Rows of two days came since somebody asked what is needed.
    let seen = lake.snapshot(Table::Events).await.unwrap();
    writer.append(vec![rows(Table::Events, 90..92, 3)], &[advance("p", Some(90), 92)]).await.unwrap();
    let done = lake.drop_old(Table::Events, age_of(20_002), &nobody, Some(&seen)).await.unwrap();
    assert_eq!((done.files, done.days_held), (0, 2));
    let done = lake.drop_old(Table::Events, age_of(20_002), &nobody, None).await.unwrap();
    assert_eq!((done.days, done.rows, done.days_held), (2, 32, 0));
    let expected: Vec<i64> = (0..90).filter(|offset| offset % 3 == 2).collect();
    for lake in [lake.clone(), open(&folder).await] {
        let snapshot = lake.snapshot(Table::Events).await.unwrap();
        assert_eq!(sorted_column(&snapshot, "log_offset").await, expected);
        assert_eq!(snapshot.txn("p"), Some(92), "positions stay");
    }
    writer.append(vec![rows(Table::Events, 92..93, 1)], &[advance("p", Some(92), 93)]).await.unwrap();
    let log = folder.path().join("events/_delta_log");
    let property = std::fs::read_to_string(log.join("00000000000000000002.json")).unwrap();
    assert!(property.contains(r#""delta.appendOnly":"false""#), "{property}");
    let done = lake.drop_old(Table::Identities, 0, &nobody, None).await.unwrap();
    assert_eq!(done.files, 0, "a table without days keeps all");
}

fn without(table: Table, name: &str) -> HashMap<Table, SchemaRef> {
    let mut schemas: HashMap<Table, SchemaRef> =
        Table::ALL.iter().map(|table| (*table, table.arrow_schema())).collect();
    let fields: Vec<_> = schemas[&table].fields().iter().filter(|field| field.name() != name).cloned().collect();
    schemas.insert(table, Arc::new(Schema::new(fields)));
    schemas
}

fn with(table: Table, field: Field) -> HashMap<Table, SchemaRef> {
    let mut schemas = without(table, field.name());
    let mut fields = schemas[&table].fields().to_vec();
    fields.insert(2, Arc::new(field));
    schemas.insert(table, Arc::new(Schema::new(fields)));
    schemas
}

async fn program(folder: &tempfile::TempDir, schemas: HashMap<Table, SchemaRef>) -> Result<Lake, LakeError> {
    let url = url::Url::from_directory_path(folder.path().canonicalize().unwrap()).unwrap();
    let settings = LakeSettings { url: url.into(), checkpoint_interval_commits: 7, ..settings(folder) };
    Lake::with_schemas(settings, Arc::new(LocalFileSystem::new()), Arc::new(SystemClock), schemas).await
}

fn lacking(batch: &RecordBatch, name: &str) -> RecordBatch {
    let kept: Vec<usize> =
        (0..batch.num_columns()).filter(|index| batch.schema().field(*index).name() != name).collect();
    batch.project(&kept).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_column_is_added_while_an_older_program_goes_on_writing() {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::Events;
    let old = program(&folder, without(table, "country")).await.unwrap();
    let (wait, mut begun) = tokio::sync::watch::channel(0);
    let older = async move {
        let mut writer = old.writer(table).await.unwrap();
        for part in 0..60 {
            let moves = [advance("old", (part != 0).then_some(part), part + 1)];
            writer.append(vec![lacking(&rows(table, part..part + 1, 1), "country")], &moves).await.unwrap();
            wait.send_replace(part);
        }
        assert_eq!(old.compact(table, &everything()).await.unwrap(), Compacted::default(), "it would lose the column");
        old
    };
    let newer = async {
        begun.wait_for(|part| 20 <= *part).await.unwrap();
        // Two at once want the same column.
        let (new, other) = tokio::join!(program(&folder, own()), program(&folder, own()));
        let (new, mut writer) = (new.unwrap(), other.unwrap().writer(table).await.unwrap());
        for part in 100..140 {
            let moves = [advance("new", (part != 100).then_some(part), part + 1)];
            writer.append(vec![rows(table, part..part + 1, 1)], &moves).await.unwrap();
        }
        new
    };
    let (old, new) = tokio::join!(tokio::spawn(older), newer);
    let old = old.unwrap();
    let expected: Vec<i64> = (0..60).chain(100..140).collect();
    for lake in [&old, &new] {
        assert_eq!(sorted_column(&lake.snapshot(table).await.unwrap(), "log_offset").await, expected);
    }
    let done = new.compact(table, &everything()).await.unwrap();
    assert_eq!((done.rows_before, done.rows_after), (100, 100));
    let snapshot = program(&folder, own()).await.unwrap().snapshot(table).await.unwrap();
    let batches: Vec<RecordBatch> = snapshot.read(&["country", "log_offset"], |_| true).try_collect().await.unwrap();
    let filled: usize = batches.iter().map(|batch| batch.num_rows() - batch.column(0).null_count()).sum();
    assert_eq!(filled, (100..140).filter(|seed| seed % 3 != 1).count(), "rows of the older program are null there");
    let log = folder.path().join("events/_delta_log");
    let added = std::fs::read_dir(log).unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "json")
            && std::fs::read_to_string(path).unwrap().contains("ADD COLUMNS")
    });
    assert_eq!(added.count(), 1);
}

fn own() -> HashMap<Table, SchemaRef> {
    Table::ALL.iter().map(|table| (*table, table.arrow_schema())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_every_row_needs_or_of_another_type_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&folder).await;
    for field in [Field::new("weight", DataType::Int64, false), Field::new("country", DataType::Int64, true)] {
        let error = program(&folder, with(Table::Events, field.clone())).await.unwrap_err();
        let LakeError::SchemaMismatch { faults, .. } = &error else { panic!("{error}") };
        assert!(faults.len() == 1 && faults[0].contains(field.name()), "{faults:?}");
        assert_eq!(error.advice(), Advice::Stop);
    }
    // A program that is rolled back, and one of before the column, both open it.
    program(&folder, with(Table::Events, Field::new("weight", DataType::Int64, true))).await.unwrap();
    program(&folder, own()).await.unwrap();
    program(&folder, without(Table::Events, "country")).await.unwrap();
}

/// The three kinds of upkeep at once on a table that grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn appends_compaction_and_retention_at_once_leave_the_days_that_stay_whole() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let today = i64::try_from(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400).unwrap();
    // Of the days 20,000 to 20,003 the first two are too old.
    let days = u64::try_from(today - 20_002).unwrap();
    let mut tasks = JoinSet::new();
    let appending = open(&folder).await;
    tasks.spawn(async move {
        let mut writer = appending.writer(Table::Events).await.unwrap();
        for start in (0..400).step_by(8) {
            let moves = [advance("p", (start != 0).then_some(start), start + 8)];
            writer.append(vec![rows(Table::Events, start..start + 8, 4)], &moves).await.unwrap();
        }
    });
    for _ in 0..2 {
        let lake = open(&folder).await;
        tasks.spawn(async move {
            for _ in 0..15 {
                lake.compact(Table::Events, &everything()).await.unwrap();
            }
        });
        let lake = open(&folder).await;
        tasks.spawn(async move {
            for _ in 0..30 {
                lake.drop_old(Table::Events, days, &BTreeSet::new(), None).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    lake.drop_old(Table::Events, days, &BTreeSet::new(), None).await.unwrap();
    let left = sorted_column(&lake.snapshot(Table::Events).await.unwrap(), "log_offset").await;
    assert_eq!(left, (0..400).filter(|offset| 2 <= offset % 4).collect::<Vec<i64>>());
}

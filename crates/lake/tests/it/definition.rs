use arrow::array::RecordBatch;
use arrow::array::{Array, AsArray};
use arrow::compute::is_not_null;
use futures::TryStreamExt;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use parquet::arrow::ArrowWriter;
use tributary_lake::{Advice, Lake, LakeError, LakeSettings, RowTest};
use tributary_schemas::Table;

use crate::rows::rows;
use crate::{open, settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_open_a_new_lake_at_once_get_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    let lakes: Vec<Lake> = join_all((0..8).map(|_| open(&folder))).await;
    for table in Table::ALL {
        for lake in &lakes {
            assert_eq!(lake.snapshot(*table).await.unwrap().version(), 0);
        }
        let log = std::fs::read_dir(folder.path().join(table.name()).join("_delta_log")).unwrap().count();
        assert_eq!(log, 1, "one first commit");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_not_the_one_defined_is_refused_with_its_faults() {
    let (right, wrong) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(&right).await;
    let log = wrong.path().join("events/_delta_log");
    std::fs::create_dir_all(&log).unwrap();
    let first = "_delta_log/00000000000000000000.json";
    std::fs::copy(right.path().join("identities").join(first), wrong.path().join("events").join(first)).unwrap();
    let error = Lake::open(settings(&wrong)).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Stop);
    let LakeError::SchemaMismatch { table: Table::Events, faults } = error else { panic!("{error}") };
    assert!(faults.iter().any(|fault| fault.starts_with("column session_key is missing")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.contains("partitioned by []")), "{faults:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_needs_a_newer_reader_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let upgrade = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    let next = folder.path().join("events/_delta_log/00000000000000000001.json");
    std::fs::write(next, upgrade).unwrap();
    // Also by a handle that was open before the upgrade.
    for error in [lake.snapshot(Table::Events).await.unwrap_err(), Lake::open(settings(&folder)).await.unwrap_err()] {
        assert!(matches!(error, LakeError::Foreign { table: Table::Events, .. }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = file.join("lake").to_str().unwrap().to_owned();
    let error = Lake::open(LakeSettings { url: url.clone(), ..LakeSettings::default() }).await.unwrap_err();
    assert!(matches!(error, LakeError::Location { .. }) && error.to_string().contains(&url), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_younger_than_a_file_reads_as_null_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let table = Table::Sessions;

    // A file as a program before `country` would have written it.
    let batch = rows(table, 0..9, 1);
    let kept: Vec<usize> = (0..batch.num_columns())
        .filter(|index| !["country", "start_date"].contains(&batch.schema().field(*index).name().as_str()))
        .collect();
    let old = batch.project(&kept).unwrap();
    let mut bytes = Vec::new();
    let mut parquet = ArrowWriter::try_new(&mut bytes, old.schema(), None).unwrap();
    parquet.write(&old).unwrap();
    parquet.close().unwrap();
    let size = bytes.len();
    let path = "start_date=2024-10-04/old.parquet";
    lake.object_store().put(&Path::from(format!("sessions/{path}")), PutPayload::from(bytes)).await.unwrap();
    let add = serde_json::json!({"add": {
        "path": path, "partitionValues": {"start_date": "2024-10-04"}, "size": size,
        "modificationTime": 0, "dataChange": true, "stats": r#"{"numRecords":9}"#,
    }});
    std::fs::write(folder.path().join("sessions/_delta_log/00000000000000000001.json"), add.to_string()).unwrap();

    let mut writer = lake.writer(table).await.unwrap();
    writer.append(vec![rows(table, 9..12, 1)], &[]).await.unwrap();
    let read: Vec<RecordBatch> =
        writer.snapshot().read(&["country", "start_date", "rule"], |_| true).try_collect().await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [9, 3]);
    assert_eq!(read[0].column(0).null_count(), 9);
    assert_eq!(read[0].column(1).null_count(), 0);
    assert_eq!(read[0].column(2).as_string::<i32>().value(8), "rule-000008");
    assert_eq!(read[1].column(0).null_count(), 1);

    // A test of rows sees what a reader would: nulls of the younger column, the value of the partition.
    let named = RowTest::new(["country", "start_date"], |batch| {
        assert_eq!(batch.num_columns(), 2);
        assert_eq!(batch.column(1).null_count(), 0);
        is_not_null(batch.column(0)).unwrap()
    });
    let odd = RowTest::new(["rule"], |batch| {
        batch
            .column(0)
            .as_string::<i32>()
            .iter()
            .map(|rule| rule.map(|rule| !rule.ends_with(['0', '2', '4'])))
            .collect()
    });
    let passing: Vec<RecordBatch> =
        writer.snapshot().read_where(&["rule"], |_| true, &[named, odd]).try_collect().await.unwrap();
    let rules: Vec<&str> =
        passing.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    let country = read[1].column(0);
    let expected: Vec<&str> = read[1].column(2).as_string::<i32>().iter().flatten().collect();
    let expected: Vec<&str> = (0..3)
        .filter(|row| country.is_valid(*row) && !expected[*row].ends_with(['0', '2', '4']))
        .map(|row| expected[row])
        .collect();
    assert!(!expected.is_empty());
    assert_eq!(rules, expected);
    let nonsense = RowTest::new(["nonsense"], |_| unreachable!());
    let error =
        writer.snapshot().read_where(&["rule"], |_| true, &[nonsense]).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixInput, "{error}");
}

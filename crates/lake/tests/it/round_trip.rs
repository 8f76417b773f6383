use arrow::array::{AsArray, RecordBatch};
use arrow::compute::{concat_batches, sort_to_indices, take_record_batch};
use arrow::datatypes::{Date32Type, Int32Type};
use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tributary_lake::{Advice, Bound, Lake, LakeError, LakeSettings};
use tributary_schemas::Table;

use crate::rows::rows;
use crate::{all_rows, open};

fn sorted(batch: &RecordBatch, column: &str) -> RecordBatch {
    let indices = sort_to_indices(batch.column_by_name(column).unwrap(), None, None).unwrap();
    take_record_batch(batch, &indices).unwrap()
}

/// A column that tells rows apart.
fn key(table: Table) -> &'static str {
    if table == Table::Sessions { "start_time_us" } else { "log_offset" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_every_table_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    for table in Table::ALL {
        let lake = open(&folder).await;
        let (one, two) = (rows(*table, 0..500, 3), rows(*table, 500..700, 3));
        let mut writer = lake.writer(*table).await.unwrap();
        let first = writer.append(vec![one.slice(0, 100), one.slice(100, 400)], &[]).await.unwrap();
        writer.append(vec![two.clone()], &[]).await.unwrap();
        let partitions = if table.partition_columns().is_empty() { 1 } else { 3 };
        assert_eq!((first.files, first.rows, first.version), (partitions, 500, 1));

        let written = concat_batches(&table.arrow_schema(), &[one, two]).unwrap();
        for lake in [lake, open(&folder).await] {
            let snapshot = lake.snapshot(*table).await.unwrap();
            assert_eq!(snapshot.version(), 2);
            assert_eq!(snapshot.files().iter().map(|file| file.rows).sum::<u64>(), 700);
            let read = all_rows(&snapshot).await;
            assert_eq!(sorted(&read, key(*table)), sorted(&written, key(*table)), "{}", table.name());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_partition_keep_the_order_they_were_given_in() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let backwards: Vec<RecordBatch> = (0..50).rev().map(|offset| rows(Table::Events, offset..offset + 1, 2)).collect();
    writer.append(backwards, &[]).await.unwrap();
    let day = |file: &tributary_lake::DataFile| file.partition_value("event_date") == Some("2024-10-04");
    let read: Vec<RecordBatch> =
        writer.snapshot().read(&["log_offset", "event_date"], day).try_collect().await.unwrap();
    let read = concat_batches(&read[0].schema(), &read).unwrap();
    let offsets = read.column(0).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec();
    assert_eq!(offsets, (0..50).rev().filter(|offset| offset % 2 == 0).collect::<Vec<i64>>());
    assert!(read.column(1).as_primitive::<Date32Type>().values().iter().all(|day| *day == 20_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_laid_out_by_partition_and_tell_their_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    writer.append(vec![rows(Table::Events, 10..20, 1)], &[]).await.unwrap();
    let [ours] = writer.snapshot().files().to_vec().try_into().unwrap();
    let [loaded] = open(&folder).await.snapshot(Table::Events).await.unwrap().files().to_vec().try_into().unwrap();
    for file in [&ours, &loaded] {
        assert!(file.path.starts_with("events/event_date=2024-10-04/"), "{}", file.path);
        assert_eq!(*file.partition, [("event_date".to_owned(), Some("2024-10-04".to_owned()))]);
        assert_eq!((file.min_i64("log_offset"), file.max_i64("log_offset")), (Some(10), Some(19)));
        assert_eq!((file.min_i64("log_partition"), file.max_i64("log_partition")), (Some(0), Some(3)));
        assert_eq!(file.min_text("session_key"), Some("session_key-000010"));
        assert_eq!(file.column("session_key").unwrap().max, Some(Bound::Text("session_key-000019".into())));
        assert_eq!(file.null_count("log_offset"), Some(0));
        assert_eq!(file.min_i64("event_name"), None, "not a statistics column");
        let head = lake.object_store().head(&Path::from(&*file.path)).await.unwrap();
        assert_eq!(head.size, file.size_bytes);
    }
    let names = |file: &tributary_lake::DataFile| (file.path.clone(), file.modified_ms, file.rows);
    assert_eq!(names(&ours), names(&loaded));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_columns_and_files_asked_for_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for start in [0, 100, 200] {
        writer.append(vec![rows(Table::Events, start..start + 100, 1)], &[]).await.unwrap();
    }
    let snapshot = writer.snapshot();
    let keep = |file: &tributary_lake::DataFile| file.max_i64("log_offset").is_none_or(|max| 150 <= max);
    let read: Vec<RecordBatch> = snapshot.read(&["log_partition", "event_id"], keep).try_collect().await.unwrap();
    assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 200);
    assert_eq!(read[0].schema().field(0).name(), "log_partition");
    assert_eq!(read[0].column(0).as_primitive::<Int32Type>().value(1), 1);
    let counted: Vec<RecordBatch> = snapshot.read(&[], |_| true).try_collect().await.unwrap();
    assert_eq!(counted.iter().map(RecordBatch::num_rows).sum::<usize>(), 300, "no columns still counts rows");
    let error = snapshot.read(&["nonsense"], |_| true).try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.advice(), Advice::FixInput, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_do_not_fit_the_table_are_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let good = rows(Table::Events, 0..5, 1);
    for bad in [rows(Table::Identities, 0..5, 1), good.project(&[0, 1, 2]).unwrap()] {
        let error = writer.append(vec![good.clone(), bad], &[]).await.unwrap_err();
        assert!(matches!(error, LakeError::Rows { .. }), "{error}");
    }
    writer.refresh().await.unwrap();
    assert_eq!((writer.snapshot().version(), writer.snapshot().files().len()), (0, 0));
}

#[tokio::test]
async fn a_lake_works_on_a_runtime_of_one_thread_with_every_put_flushed() {
    let folder = tempfile::tempdir().unwrap();
    // A name that a URL has to escape.
    let url = folder.path().join("my lake/inner").to_str().unwrap().to_owned();
    let settings = LakeSettings { url, checkpoint_interval_commits: 2, ..LakeSettings::default() };
    let lake = Lake::open(settings.clone()).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    for start in 0..3 {
        writer.append(vec![rows(Table::Events, start..start + 1, 1)], &[]).await.unwrap();
    }
    let again = Lake::open(settings).await.unwrap();
    assert_eq!(again.url().path(), lake.url().path());
    assert!(again.url().path().ends_with("/my%20lake/inner/"), "{}", again.url());
    let snapshot = again.snapshot(Table::Events).await.unwrap();
    assert_eq!((snapshot.version(), all_rows(&snapshot).await.num_rows()), (3, 3));
}

use tributary_lake::{Advance, Advice, LakeError};
use tributary_schemas::Table;

use crate::rows::rows;
use crate::{assert_each_offset_once, open};

pub(crate) fn advance(app_id: &str, expected: Option<i64>, next: i64) -> Advance {
    Advance { app_id: app_id.to_owned(), expected, next }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_move_with_the_rows_and_are_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    assert_eq!(writer.snapshot().txn("ing/0"), None);
    let moves = [advance("ing/0", None, 10), advance("ing/1", None, 4)];
    writer.append(vec![rows(Table::Events, 0..10, 1)], &moves).await.unwrap();
    writer.append(vec![rows(Table::Events, 10..12, 1)], &[advance("ing/0", Some(10), 12)]).await.unwrap();
    for snapshot in [writer.snapshot(), open(&folder).await.snapshot(Table::Events).await.unwrap()] {
        assert_eq!(snapshot.txns().collect::<Vec<_>>(), [("ing/0", 12), ("ing/1", 4)]);
    }
    assert_eq!(lake.snapshot(Table::Sessions).await.unwrap().txn("ing/0"), None, "each table has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_move_without_rows_too() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let empty = rows(Table::Events, 0..0, 1);
    let committed = writer.append(vec![empty], &[advance("ing/0", None, 7)]).await.unwrap();
    assert_eq!((committed.version, committed.files, committed.rows, committed.settled), (1, 0, 0, false));
    assert_eq!(lake.snapshot(Table::Events).await.unwrap().txn("ing/0"), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_whose_position_was_moved_is_fenced_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lake = open(&folder).await;
    let mut zombie = lake.writer(Table::Events).await.unwrap();
    let mut owner = lake.writer(Table::Events).await.unwrap();
    owner.append(vec![rows(Table::Events, 0..5, 1)], &[advance("ing/0", None, 5)]).await.unwrap();

    // One stale position among good ones is enough.
    let moves = [advance("ing/1", None, 3), advance("ing/0", None, 5)];
    let error = zombie.append(vec![rows(Table::Events, 0..5, 1)], &moves).await.unwrap_err();
    assert_eq!(error.advice(), Advice::Fenced);
    let LakeError::Fenced { table, app_id, expected, found } = error else { panic!("{error}") };
    assert_eq!((table, app_id.as_str(), expected, found), (Table::Events, "ing/0", None, Some(5)));
    assert_each_offset_once(&lake, Table::Events, 5).await;
    let snapshot = lake.snapshot(Table::Events).await.unwrap();
    assert_eq!((snapshot.version(), snapshot.txn("ing/1")), (1, None));
    let files = std::fs::read_dir(folder.path().join("events/event_date=2024-10-04")).unwrap().count();
    assert_eq!(files, 1, "a fenced writer leaves no files behind");

    // Having read the position again it may go on, as the new owner.
    let next = zombie.snapshot().txn("ing/0");
    zombie.append(vec![rows(Table::Events, 5..6, 1)], &[advance("ing/0", next, 6)]).await.unwrap();
    assert_each_offset_once(&lake, Table::Events, 6).await;
}

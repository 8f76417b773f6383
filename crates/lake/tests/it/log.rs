use tributary_lake::{Lake, LakeSettings, Snapshot};
use tributary_schemas::Table;

use crate::positions::advance;
use crate::rows::rows;
use crate::{assert_each_offset_once, settings, sorted_column};

/// Files by name with all that is known of them, and positions.
fn content(snapshot: &Snapshot) -> (Vec<tributary_lake::DataFile>, Vec<(String, i64)>) {
    let mut files = snapshot.files().to_vec();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    for file in &mut files {
        std::sync::Arc::make_mut(&mut file.stats).sort_by(|one, other| one.0.cmp(&other.0));
    }
    (files, snapshot.txns().map(|(app_id, position)| (app_id.to_owned(), position)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_written_and_a_fresh_load_equals_the_state_kept_commit_by_commit() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { checkpoint_interval_commits: 5, ..settings(&folder) };
    let lake = Lake::open(settings.clone()).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let mut early = None;
    for number in 0..23 {
        let moves = [
            advance("ing/0", (number != 0).then_some(number * 4), number * 4 + 4),
            advance(&format!("once/{number}"), None, number),
        ];
        let committed = writer.append(vec![rows(Table::Events, number * 4..number * 4 + 4, 2)], &moves).await.unwrap();
        assert_eq!(committed.version as i64, number + 1);
        if number == 6 {
            early = Some(writer.snapshot());
        }
    }
    let log = folder.path().join("events/_delta_log");
    for version in [5, 10, 15, 20] {
        assert!(log.join(format!("{version:020}.checkpoint.parquet")).exists(), "{version}");
    }
    // The commits before a checkpoint may be cleaned away one day: a fresh load must not need them.
    for version in 0..20 {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    let fresh = Lake::open(settings).await.unwrap().snapshot(Table::Events).await.unwrap();
    assert_eq!(fresh.version(), 23);
    assert_eq!(content(&fresh), content(&writer.snapshot()));
    // This handle last looked at version 0, which is no longer there.
    assert_eq!(content(&fresh), content(&lake.snapshot(Table::Events).await.unwrap()));
    assert_each_offset_once(&lake, Table::Events, 92).await;

    let early = early.unwrap();
    assert_eq!((early.version(), early.txn("ing/0"), early.txn("once/7")), (7, Some(28), None));
    assert_eq!(
        sorted_column(&early, "log_offset").await,
        (0..28).collect::<Vec<_>>(),
        "an old snapshot stays readable"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_in_another_handle_sees_each_commit_when_it_asks_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Lake::open(settings(&folder)).await.unwrap(), Lake::open(settings(&folder)).await.unwrap());
    let mut writer = one.writer(Table::Identities).await.unwrap();
    for number in 0..4 {
        let before = other.snapshot(Table::Identities).await.unwrap();
        writer.append(vec![rows(Table::Identities, number..number + 1, 1)], &[]).await.unwrap();
        assert_eq!(before.files().len() as i64, number);
        assert_eq!(other.snapshot(Table::Identities).await.unwrap().files().len() as i64, number + 1);
    }
}

/// A version that another process pinned: whether this one has seen less, as much or more of the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_is_found_from_before_and_from_behind() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { checkpoint_interval_commits: 5, ..settings(&folder) };
    let lake = Lake::open(settings.clone()).await.unwrap();
    let behind = Lake::open(settings.clone()).await.unwrap();
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let mut pinned = vec![writer.snapshot()];
    for number in 0..12 {
        let moves = [advance("ing/0", (number != 0).then_some(number), number + 1)];
        writer.append(vec![rows(Table::Events, number..number + 1, 1)], &moves).await.unwrap();
        pinned.push(writer.snapshot());
    }
    lake.snapshot(Table::Events).await.unwrap();
    for version in [0, 3, 7, 12] {
        for seen in [&behind, &lake] {
            let found = seen.snapshot_at(Table::Events, version).await.unwrap();
            assert_eq!(found.version(), version);
            assert_eq!(content(&found), content(&pinned[version as usize]));
        }
    }
    assert!(lake.snapshot_at(Table::Events, 13).await.is_err(), "it is not there yet");
    // The same table, and another in its place.
    let id = pinned[0].table_id().to_owned();
    assert_eq!(lake.table_id_seen(Table::Events).as_deref(), Some(id.as_str()));
    assert_eq!(writer.snapshot().table_id(), id);
    let other = tempfile::tempdir().unwrap();
    let other = Lake::open(LakeSettings { url: other.path().to_str().unwrap().to_owned(), ..settings }).await.unwrap();
    assert_ne!(other.snapshot(Table::Events).await.unwrap().table_id(), id);
}

use tokio::task::JoinSet;
use tributary_lake::{Advice, Lake, LakeSettings};
use tributary_schemas::Table;

use crate::positions::advance;
use crate::rows::rows;
use crate::{assert_each_offset_once, settings};

const TABLE: Table = Table::Identities;

/// Appends from where the position stands until it reaches `end`; each writer cuts the range in its own way.
/// Returns how often it was fenced.
async fn own(lake: Lake, app_id: String, step: i64, end: i64) -> u32 {
    let mut writer = lake.writer(TABLE).await.unwrap();
    let mut fenced = 0;
    loop {
        let expected = writer.snapshot().txn(&app_id);
        let from = expected.unwrap_or(0);
        if end <= from {
            return fenced;
        }
        let to = (from + step).min(end);
        match writer.append(vec![rows(TABLE, from..to, 1)], &[advance(&app_id, expected, to)]).await {
            Ok(committed) => assert_eq!(committed.rows as i64, to - from),
            Err(error) => {
                assert_eq!(error.advice(), Advice::Fenced, "{error}");
                fenced += 1;
                writer.refresh().await.unwrap();
            }
        }
    }
}

/// Believes for ever that the position stands where it never does again.
async fn haunt(lake: Lake, app_id: String, expected: Option<i64>, tries: u32) -> u32 {
    let mut fenced = 0;
    for _ in 0..tries {
        let mut writer = lake.writer(TABLE).await.unwrap();
        let from = expected.unwrap_or(0);
        let moves = [advance(&app_id, expected, from + 7)];
        if let Err(error) = writer.append(vec![rows(TABLE, from..from + 7, 1)], &moves).await {
            assert_eq!(error.advice(), Advice::Fenced, "{error}");
            fenced += 1;
        }
    }
    fenced
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_range_is_written_once_however_many_writers_and_zombies_fight_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let settings = LakeSettings { checkpoint_interval_commits: 20, ..settings(&folder) };
    let end = 900;
    // A first step that no zombie's belief can equal afterwards.
    let first = Lake::open(settings.clone()).await.unwrap();
    first.writer(TABLE).await.unwrap().append(vec![rows(TABLE, 0..11, 1)], &[advance("p", None, 11)]).await.unwrap();

    let mut tasks = JoinSet::new();
    for step in [3, 5, 7, 11, 13, 17] {
        // Each with a lake of its own, as processes would have.
        let lake = Lake::open(settings.clone()).await.unwrap();
        tasks.spawn(own(lake, "p".to_owned(), step, end));
    }
    for expected in [None, Some(10)] {
        let lake = Lake::open(settings.clone()).await.unwrap();
        tasks.spawn(haunt(lake, "p".to_owned(), expected, 40));
    }
    let fenced: u32 = tasks.join_all().await.into_iter().sum();
    assert!(80 <= fenced, "every try of the zombies was refused: {fenced}");

    let lake = Lake::open(settings).await.unwrap();
    assert_eq!(lake.snapshot(TABLE).await.unwrap().txn("p"), Some(end));
    assert_each_offset_once(&lake, TABLE, end).await;
    let on_disk = std::fs::read_dir(folder.path().join(TABLE.name())).unwrap().count() - 1;
    assert_eq!(on_disk, lake.snapshot(TABLE).await.unwrap().files().len(), "losers took their files back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_different_positions_never_fence_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(settings(&folder)).await.unwrap();
    let mut tasks = JoinSet::new();
    for number in 0..4 {
        tasks.spawn(own(lake.clone(), format!("p/{number}"), 10, 200));
    }
    let fenced: u32 = tasks.join_all().await.into_iter().sum();
    assert_eq!(fenced, 0);
    let snapshot = lake.snapshot(TABLE).await.unwrap();
    assert_eq!(snapshot.version(), 80);
    assert_eq!(snapshot.files().iter().map(|file| file.rows).sum::<u64>(), 800);
    assert_eq!(snapshot.txns().map(|(_, position)| position).collect::<Vec<_>>(), [200; 4]);
}

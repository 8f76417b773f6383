//! State objects: a start from one gives what a start from the tables gives, whatever became of the object.

use std::collections::BTreeSet;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tributary_lake::Advance;
use tributary_pipeline::PipelineSettings;
use tributary_schemas::Table;

use crate::oracle::expect;
use crate::replay::{House, PARTITIONS, settings};
use crate::world::{self, Seeded, Written};

/// What becomes of the objects between two lives.
#[derive(Debug, Clone, Copy)]
enum Harm {
    None,
    Deleted,
    Damaged,
    CutShort,
}

async fn states(house: &House) -> Vec<Path> {
    let listed = house.disk.list(Some(&Path::from("lake/_state"))).map_ok(|meta| meta.location);
    listed.try_collect().await.unwrap()
}

async fn harm(house: &House, harm: Harm) {
    for path in states(house).await {
        let bytes = house.disk.get(&path).await.unwrap().bytes().await.unwrap();
        match harm {
            Harm::None => {}
            Harm::Deleted => house.disk.delete(&path).await.unwrap(),
            Harm::Damaged => {
                let mut bytes = bytes.to_vec();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xFF;
                house.disk.put(&path, bytes.into()).await.map(drop).unwrap();
            }
            Harm::CutShort => house.disk.put(&path, bytes.slice(..bytes.len() / 3).into()).await.map(drop).unwrap(),
        }
    }
}

fn with_states(rows_max: usize, records_min: u64) -> PipelineSettings {
    PipelineSettings { state_bytes_min: 0, state_records_min: records_min, ..settings(rows_max) }
}

#[tokio::test]
async fn a_start_from_a_state_object_changes_nothing_whatever_became_of_it() {
    for (seed, done) in (200..).zip([Harm::None, Harm::Deleted, Harm::Damaged, Harm::CutShort, Harm::None]) {
        let house = House::new().await;
        let written = world::events(seed, 500);
        let mut random = Seeded(seed);
        let (mut rest, mut starts_with_state) = (&written[..], 0);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(1 + random.below(80) as usize));
            world::write(house.log.as_ref(), &house.events, now).await;
            starts_with_state += usize::from(!states(&house).await.is_empty());
            // Sometimes with each commit, sometimes so seldom that many rows came since.
            let records_min = [1, 60][random.below(2) as usize];
            house.run_by(with_states(1 + random.below(40) as usize, records_min)).await.unwrap();
            harm(&house, done).await;
            rest = later;
        }
        assert!(starts_with_state > 3 || matches!(done, Harm::Deleted), "seed {seed}: {starts_with_state} starts");
        let (found, _) = house.contents().await;
        assert_eq!(found, expect(&written, PARTITIONS), "seed {seed}, {done:?}");
    }
}

#[tokio::test]
async fn old_state_objects_go_and_the_newest_is_named_in_the_table() {
    let house = House::new().await;
    for part in world::events(210, 600).chunks(40) {
        world::write(house.log.as_ref(), &house.events, part).await;
        house.run_by(with_states(1_000, 1)).await.unwrap();
    }
    let left = states(&house).await;
    let partitions = usize::try_from(PARTITIONS).unwrap();
    assert!((partitions..=2 * partitions).contains(&left.len()), "{left:?}");
    let (_, positions) = house.stands_at(Table::Sessions, "sess/").await;
    let named: Vec<i64> =
        positions.iter().filter(|(app_id, _)| app_id.ends_with("/state")).map(|(_, position)| *position).collect();
    assert_eq!(named.len(), partitions);
    for position in named {
        assert!(
            left.iter().any(|path| path.as_ref().ends_with(&format!("{position:020}.state"))),
            "{position}: {left:?}"
        );
    }
}

#[tokio::test]
async fn an_id_is_known_again_after_a_start_from_a_state_object() {
    let house = House::new().await;
    let written = world::events(211, 120);
    let mut twice: Vec<Written> = written.clone();
    twice.extend(written.iter().cloned());
    for part in [&twice[..120], &twice[120..]] {
        world::write(house.log.as_ref(), &house.events, part).await;
        house.run_by(with_states(1_000, 1)).await.unwrap();
    }
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&twice, PARTITIONS));
}

/// Says that a watermark rose in each partition, as a worker does that dies before it says how far.
async fn half_raise(house: &House) {
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let mut writer = lake.writer(Table::Events).await.unwrap();
    let advances: Vec<_> = (0..PARTITIONS)
        .map(|partition| {
            let app_id = format!("ing/{}/{partition}/raised", house.events.topic_id);
            let expected = writer.snapshot().txn(&app_id);
            Advance { app_id, expected, next: expected.unwrap_or(0) + 1 }
        })
        .collect();
    writer.append(Vec::new(), &advances).await.unwrap();
}

#[tokio::test]
async fn a_half_told_rise_takes_no_position_back_to_a_state_object() {
    let house = House::new().await;
    let mut written = world::events(212, 700);
    let later = written.split_off(100);
    world::write(house.log.as_ref(), &house.events, &written).await;
    house.run_by(with_states(1_000, 1)).await.unwrap();
    // Commits of few rows, so that a start takes these up in many steps; and no state any more.
    world::write(house.log.as_ref(), &house.events, &later).await;
    house.run_by(with_states(20, 1_000_000)).await.unwrap();
    let (_, before) = house.stands_at(Table::Sessions, "sess/").await;
    let (found_before, _) = house.contents().await;
    half_raise(&house).await;
    house.run_by(with_states(20, 1_000_000)).await.unwrap();

    let lake = house.lake_with(house.disk.clone(), 3).await;
    let snapshot = lake.snapshot(Table::Sessions).await.unwrap();
    for partition in 0..PARTITIONS {
        let id = |of: &str| format!("sess/{}/{partition}{of}", house.events.topic_id);
        assert!(before[&id("/state")] < before[&id("")], "the start is from a state object with rows after it");
        assert_eq!(snapshot.txn(&id("")), Some(before[&id("")]), "partition {partition}");
        assert_eq!(snapshot.txn(&id("/raised")), Some(1), "it is told now");
    }
    let rows: Vec<RecordBatch> = snapshot.read(&["session_id", "version"], |_| true).try_collect().await.unwrap();
    let mut seen = BTreeSet::new();
    for batch in &rows {
        let (ids, versions) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            assert!(seen.insert((ids.value(row).to_owned(), versions.value(row))), "{} is told twice", ids.value(row));
        }
    }
    let (found, _) = house.contents().await;
    assert_eq!(found, found_before);
    written.extend(later);
    assert_eq!(found, expect(&written, PARTITIONS));
}

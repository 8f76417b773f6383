//! A log that is no longer the one it was stops the job, with what to do; one that merely forgot what was read does not.

use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_eventlog::{Record, TopicInfo, TopicSpec};
use tributary_pipeline::{Assignment, PipelineError, PipelineSettings, Progress, run};
use tributary_schemas::Table;

use crate::changed_log::{Changed, ChangedLog};
use crate::oracle::expect;
use crate::power_cut::PowerCut;
use crate::replay::{House, PARTITIONS, settings};
use crate::world;

/// Of these the first are in the lake at once.
const WRITTEN: usize = 150;
const FIRST: usize = 100;

/// A house with a log whose past can be changed, with the first of its records in the lake.
async fn house() -> (House, Arc<Changed>, Vec<world::Written>) {
    let mut house = House::new().await;
    let changed = Arc::new(Changed::default());
    house.log = Arc::new(ChangedLog { log: house.log.clone(), changed: changed.clone() });
    let written = world::events(7, WRITTEN);
    world::write(house.log.as_ref(), &house.events, &written[..FIRST]).await;
    house.run_to_the_end(1_000).await;
    (house, changed, written)
}

async fn outcome(house: &House) -> Result<(), PipelineError> {
    house.run_by(settings(1_000)).await.map(|_| ())
}

#[tokio::test]
async fn a_topic_made_anew_under_its_old_name_and_id_is_noticed_by_what_is_in_it() {
    let (house, changed, written) = house().await;
    outcome(&house).await.unwrap();
    changed.rewrite(true);
    let error = outcome(&house).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { .. }), "{error}");
    assert!(error.to_string().contains("made anew"), "{error}");
    // Given back, nothing is missing.
    changed.rewrite(false);
    world::write(house.log.as_ref(), &house.events, &written[FIRST..]).await;
    outcome(&house).await.unwrap();
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written, PARTITIONS));
}

#[tokio::test]
async fn a_record_that_is_missing_in_the_middle_of_the_log_is_another_log_too() {
    let (house, changed, _) = house().await;
    changed.hide(true);
    let error = outcome(&house).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { .. }), "{error}");
}

#[tokio::test]
async fn the_last_record_may_be_gone_when_its_time_has_passed() {
    let (house, changed, written) = house().await;
    changed.forget_all(true);
    outcome(&house).await.unwrap();
    let (found, _) = house.contents().await;
    assert_eq!(found, expect(&written[..FIRST], PARTITIONS));
}

#[tokio::test]
async fn dead_letters_of_another_topic_are_noticed_too() {
    let mut house = House::new().await;
    let letter = |text: &'static str| (0, Record { key: None, value: text.into(), time_ms: 1 });
    house.log.append("dead_letters", vec![letter("what nobody can read")]).await.remove(0).unwrap();
    house.run_to_the_end(100).await;
    let (_, stored) = house.stands_at(Table::DeadLetters, "dead/").await;
    assert_eq!(stored.keys().filter(|app_id| app_id.contains("/tail")).count(), 2, "{stored:?}");

    let changed = Arc::new(Changed::default());
    house.log = Arc::new(ChangedLog { log: house.log.clone(), changed: changed.clone() });
    changed.rewrite(true);
    let error = house.run_by(settings(100)).await.unwrap_err();
    assert!(matches!(error, PipelineError::LogReplaced { offset: 0, .. }), "{error}");
}

/// Runs the job until it ends by itself.
async fn ends_by_itself(house: &House, settings: PipelineSettings, then: impl AsyncFnOnce()) -> PipelineError {
    let lake = house.lake_with(Arc::new(PowerCut::never(house.disk.clone())), 8).await;
    let (progress, mut watching) = watch::channel(Progress::default());
    let job = tokio::spawn(run(settings, house.parts(lake, progress), CancellationToken::new()));
    watching.wait_for(|now| now.commits > 0).await.unwrap();
    then().await;
    tokio::time::timeout(Duration::from_secs(60), job).await.expect("it ends").unwrap().unwrap_err()
}

#[tokio::test]
async fn a_topic_written_over_while_it_is_read_is_noticed_within_the_time_set() {
    let (house, changed, written) = house().await;
    let settings = PipelineSettings { commit_interval_ms: 5, log_check_interval_ms: 20, ..settings(1_000) };
    // Something new, so that the job has a record of its own to compare.
    world::write(house.log.as_ref(), &house.events, &written[FIRST..]).await;
    let error = ends_by_itself(&house, settings, async || changed.rewrite(true)).await;
    assert!(matches!(error, PipelineError::LogReplaced { .. }), "{error}");
}

#[tokio::test]
async fn added_partitions_stop_the_job_while_it_runs_and_at_the_next_start() {
    let (mut house, changed, written) = house().await;
    world::write(house.log.as_ref(), &house.events, &written[FIRST..]).await;
    let hasty = PipelineSettings { commit_interval_ms: 5, log_check_interval_ms: 20, ..settings(1_000) };
    let error = ends_by_itself(&house, hasty.clone(), async || changed.add_partitions(2)).await;
    assert!(matches!(error, PipelineError::PartitionsGrown { known: PARTITIONS, found: 5, .. }), "{error}");
    assert!(error.to_string().contains("log.partitions_grown"), "{error}");
    // Neither the old number in the settings nor the new one hides it: the lake remembers.
    for partitions in [PARTITIONS, PARTITIONS + 2] {
        house.events.partitions = partitions;
        let error = outcome(&house).await.unwrap_err();
        assert!(matches!(error, PipelineError::PartitionsGrown { known: PARTITIONS, .. }), "{error}");
    }
    changed.add_partitions(0);
    house.events.partitions = PARTITIONS;
    outcome(&house).await.unwrap();
}

#[tokio::test]
async fn fewer_partitions_than_before_can_only_be_another_topic() {
    let (mut house, _, _) = house().await;
    house.events.partitions = PARTITIONS + 1;
    // As the lake remembers it, so it is; what was set is not asked.
    outcome(&house).await.unwrap();
    let mut house = House::new().await;
    house.events.partitions = 9;
    let error = outcome(&house).await.unwrap_err();
    assert!(matches!(error, PipelineError::PartitionsFewer { known: 9, found: PARTITIONS, .. }), "{error}");
}

#[tokio::test]
async fn accepted_partitions_are_read_from_their_start_without_a_restart() {
    let (mut house, _, mut written) = house().await;
    // A log of more partitions, of which only the first three show at first.
    let wide = house.log.ensure_topic(&TopicSpec { name: "wide".to_owned(), partitions: 5 }).await.unwrap();
    let changed = Arc::new(Changed::default());
    changed.remove_partitions(2);
    house.log = Arc::new(ChangedLog { log: house.log.clone(), changed: changed.clone() });
    house.events = TopicInfo { partitions: 3, ..wide };
    house.disk = Arc::default();
    written.clear();
    written.extend(world::events(7, 60));
    world::write(house.log.as_ref(), &house.events, &written).await;

    let lake = house.lake_with(Arc::new(PowerCut::never(house.disk.clone())), 8).await;
    let (progress, mut watching) = watch::channel(Progress::default());
    let stop = CancellationToken::new();
    let settings = PipelineSettings {
        commit_interval_ms: 5,
        log_check_interval_ms: 20,
        accept_grown_partitions: true,
        assignment: Assignment::Static,
        ..settings(1_000)
    };
    let job = tokio::spawn(run(settings, house.parts(lake, progress), stop.clone()));
    watching.wait_for(|now| now.commits > 0).await.unwrap();
    for partition in [3, 4] {
        let record = Record { key: None, value: Bytes::from_static(b"no event"), time_ms: 1 };
        house.log.append("wide", vec![(partition, record)]).await.remove(0).unwrap();
    }
    changed.remove_partitions(0);
    let reached = watching.wait_for(|now| [(3, 1), (4, 1)].iter().all(|end| now.events.contains(end)));
    tokio::time::timeout(Duration::from_secs(60), reached).await.expect("both are read").unwrap();
    stop.cancel();
    job.await.unwrap().unwrap();
    let (found, _) = house.contents().await;
    assert!(found.undecodable.contains(&(3, 0)) && found.undecodable.contains(&(4, 0)));
    let (_, of) = house.stands_at(Table::Events, "ing/").await;
    assert!(of.iter().any(|(app_id, partitions)| app_id.ends_with("/4/of") && *partitions == 5), "{of:?}");
}

//! Days that grow old while sessions on them are open: they stay, and the session goes on as if nothing had been dropped.

use std::collections::BTreeSet;

use arrow::array::AsArray;
use arrow::datatypes::{Date32Type, Int64Type};
use futures::TryStreamExt;
use tributary_pipeline::needed;
use tributary_schemas::{Event, EventKind, Table};

use crate::replay::{House, settings};
use crate::world::{self, Written};

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 1_440 * MINUTE;
/// 2026-03-02T12:00:00Z, long ago for whoever keeps a day.
const NOON: i64 = 1_772_452_800_000_000;

fn event(kind: EventKind, source: &str, who: &str, time_us: i64) -> Written {
    let mut event = Event::new(source, "test", &format!("{source}-{who}-{time_us}"), "seen", time_us);
    event.event_kind = kind;
    event.ingest_time_us = time_us;
    event.anonymous_id = Some(who.to_owned());
    Written::Event(Box::new(event))
}

async fn days_of(house: &House, table: Table, column: &str) -> BTreeSet<i32> {
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let snapshot = lake.snapshot(table).await.unwrap();
    let batches: Vec<_> = snapshot.read(&[column], |_| true).try_collect().await.unwrap();
    batches
        .iter()
        .flat_map(|batch: &arrow::array::RecordBatch| batch.column(0).as_primitive::<Date32Type>().values().to_vec())
        .collect()
}

#[tokio::test]
async fn retention_leaves_the_days_of_open_sessions_in_both_tables() {
    let house = House::new().await;
    let page = |who: &str, time_us| event(EventKind::Page, "web", who, time_us);
    // The first day's sessions are closed by the fifth's, in each partition; the history then pauses. Sends, which are in
    // no session, lie on a third day.
    let people: Vec<String> = (0..12).map(|person| format!("person-{person}")).collect();
    let mut written = Vec::new();
    written.extend(people.iter().map(|who| page(who, NOON)));
    written.extend(people.iter().map(|who| page(who, NOON + 5 * DAY)));
    written.extend(people.iter().map(|who| event(EventKind::Send, "mail", who, NOON + 2 * DAY)));
    world::write(house.log.as_ref(), &house.events, &written).await;
    let settings = settings(1_000);
    house.run_by(settings.clone()).await.unwrap();

    let lake = house.lake_with(house.disk.clone(), 3).await;
    let found = needed(&lake, &settings).await.unwrap();
    let [first, third, fifth] = [0, 2, 5].map(|days| (NOON + days * DAY) / DAY);
    assert_eq!(found.days, BTreeSet::from([fifth]), "neither closed sessions nor sends are needed");
    for (table, seen) in [(Table::Events, &found.events), (Table::Sessions, &found.sessions)] {
        let done = lake.drop_old(table, 1, &found.days, seen.as_ref()).await.unwrap();
        assert_eq!(done.days_held, 1, "{table:?}");
        assert!(done.days > 0, "{table:?}");
    }
    let day = |day: i64| i32::try_from(day).unwrap();
    assert!(![first, third].iter().any(|day| found.days.contains(day)));
    assert_eq!(days_of(&house, Table::Events, "event_date").await, BTreeSet::from([day(fifth)]));
    assert_eq!(days_of(&house, Table::Sessions, "start_date").await, BTreeSet::from([day(fifth)]));

    // A start finds the open sessions in both, and the history goes on in them.
    let later: Vec<_> = people.iter().map(|who| page(who, NOON + 5 * DAY + 10 * MINUTE)).collect();
    world::write(house.log.as_ref(), &house.events, &later).await;
    house.run_by(settings).await.unwrap();
    let lake = house.lake_with(house.disk.clone(), 3).await;
    let snapshot = lake.snapshot(Table::Sessions).await.unwrap();
    let batches: Vec<_> = snapshot.read(&["session_key", "event_count"], |_| true).try_collect().await.unwrap();
    let mut longest: BTreeSet<String> = BTreeSet::new();
    for batch in &batches {
        let counts = batch.column(1).as_primitive::<Int64Type>();
        let is_whole = |row: &usize| counts.value(*row) == 2;
        longest.extend(
            (0..batch.num_rows()).filter(is_whole).map(|row| batch.column(0).as_string::<i32>().value(row).to_owned()),
        );
    }
    assert_eq!(longest, people.into_iter().collect());
}

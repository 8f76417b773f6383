//! Who is whom across sources and partitions of the log.

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Table};

use crate::world::{self, HOUR_US, MARCH_US, World};

fn of(source: &str, event: Event) -> Event {
    Event { source: source.to_owned(), ..event }
}

fn by(channel: &str, event: Event) -> Event {
    Event { channel: Some(channel.to_owned()), ..event }
}

async fn texts(engine: &Engine, sql: &str) -> Vec<String> {
    let answer = engine.query(sql).await.unwrap();
    let column = |batch: &RecordBatch| {
        let column = batch.column(0).as_string::<i32>().clone();
        (0..batch.num_rows()).map(move |row| column.value(row).to_owned()).collect::<Vec<_>>()
    };
    answer.batches.iter().flat_map(column).collect()
}

#[tokio::test]
async fn visitor_7_of_one_source_is_not_visitor_7_of_another_but_a_user_is_one_everywhere() {
    let world = World::empty().await;
    let unnamed = |id: &str, time_us| Event { anonymous_id: None, ..world::event(id, "", EventKind::Page, time_us) };
    let device = |id: &str| Event { device_id: Some("tv".to_owned()), ..unnamed(id, MARCH_US) };
    world
        .plant(
            0,
            &[
                of("a", by("email", world::event("1", "7", EventKind::Click, MARCH_US))),
                of("b", world::event("2", "7", EventKind::Conversion, MARCH_US + HOUR_US)),
                of("a", device("3")),
                of("b", device("4")),
                of("a", unnamed("5", MARCH_US)),
                of("b", unnamed("5", MARCH_US)),
                // Known in both, though only one says so on the event.
                of("a", by("email", world::event("6", "8", EventKind::Click, MARCH_US))),
                of(
                    "b",
                    Event {
                        user_id: Some("ann".to_owned()),
                        ..world::event("7", "9", EventKind::Conversion, MARCH_US + 1)
                    },
                ),
            ],
        )
        .await;
    let link = format!(
        r#"{{"source":"a","anonymous_id":"8","user_id":"ann","action":"link","event_id":"l","event_time_us":{MARCH_US},"log_partition":0,"log_offset":9}}"#
    );
    world.plant_json(Table::Identities, &link).await;
    let engine = world.engine(QuerySettings::default());
    let persons = texts(&engine, "SELECT DISTINCT person_id FROM person_events ORDER BY 1").await;
    assert_eq!(persons, ["a:5", "a:7", "a:tv", "ann", "b:5", "b:7", "b:tv"]);
    let credited = texts(&engine, "SELECT conversion_id FROM touchpoints() WHERE channel = 'email'").await;
    assert_eq!(credited, ["7"], "the click of one shop's visitor 7 did not sell to the other's");
}

#[tokio::test]
async fn events_of_one_time_and_offset_have_one_order_by_their_partition() {
    // A person's two devices lie in different partitions; both clicks have the same time and the same offset.
    for first_planted in [0, 1] {
        let world = World::empty().await;
        let user = |event: Event| Event { user_id: Some("ann".to_owned()), ..event };
        for partition in [first_planted, 1 - first_planted] {
            let (channel, kind) =
                if partition == 0 { ("email", EventKind::Click) } else { ("paid_search", EventKind::Page) };
            let touch = user(by(channel, world::event(channel, &format!("d{partition}"), kind, MARCH_US)));
            world.plant_in(partition, 5, &[touch]).await;
        }
        let buy = user(world::event("buy", "d0", EventKind::Conversion, MARCH_US + 1));
        world.plant_in(0, 6, &[buy]).await;
        let engine = world.engine(QuerySettings::default());
        let channels = texts(&engine, "SELECT channel FROM touchpoints() ORDER BY position").await;
        assert_eq!(channels, ["email", "paid_search"]);
        // The click comes first, so a page and then a click is no way this person went.
        let funnel = |steps: &str| format!("SELECT units_reached FROM funnel(steps => [{steps}]) ORDER BY position");
        for (steps, reached) in [
            ("event_kind = 'click', event_kind = 'page'", [1, 1]),
            ("event_kind = 'page', event_kind = 'click'", [1, 0]),
        ] {
            let answer = engine.query(&funnel(steps)).await.unwrap();
            let column: Vec<i64> = answer
                .batches
                .iter()
                .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
                .collect();
            assert_eq!(column, reached, "{steps}, partition {first_planted} planted first");
        }
    }
}

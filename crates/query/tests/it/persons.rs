//! Persons in SQL: the map applied to events and sessions, and told.

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Table};

use crate::world::{self, MARCH_US, World};

const MINUTE_US: i64 = 60_000_000;

/// Each row as its cells, parted by one blank; null is `-`.
async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let answer = engine.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    world::cells(&answer, "-").into_iter().map(|row| row.join(" ")).collect()
}

struct Links {
    lines: Vec<String>,
}

impl Links {
    fn new() -> Self {
        Self { lines: Vec::new() }
    }

    fn say(mut self, kind: &str, id: &str, user: &str, minute: i64) -> Self {
        let offset = self.lines.len();
        let action = if kind == "unlink" { "unlink" } else { "link" };
        let time_us = MARCH_US + minute * MINUTE_US;
        self.lines.push(format!(
            r#"{{"source":"shop","anonymous_id":"{id}","user_id":"{user}","action":"{action}","event_id":"l{offset}","event_time_us":{time_us},"log_partition":0,"log_offset":{offset},"kind":"{kind}"}}"#
        ));
        self
    }

    async fn plant(self, world: &World) {
        world.plant_json(Table::Identities, &self.lines.join("\n")).await;
    }
}

fn page(id: &str, device: &str, minute: i64) -> Event {
    world::event(id, device, EventKind::Page, MARCH_US + minute * MINUTE_US)
}

fn as_user(user: &str, event: Event) -> Event {
    Event { user_id: Some(user.to_owned()), ..event }
}

fn session(id: &str, device: &str, user: Option<&str>, minute: i64) -> String {
    let time_us = MARCH_US + minute * MINUTE_US;
    let user = user.map_or("null".to_owned(), |user| format!("\"{user}\""));
    format!(
        r#"{{"session_id":"{id}","version":1,"source":"shop","session_key":"{device}","anonymous_id":"{device}","user_id":{user},"start_time_us":{time_us},"end_time_us":{time_us},"duration_us":0,"engaged_us":0,"event_count":1,"page_count":1,"conversion_count":0,"is_bounce":true,"engagement_class":"human","rule":"ga4","log_partition":0,"first_offset":0,"last_offset":0,"is_final":false,"late_event_count":0,"start_date":"2026-03-01"}}"#
    )
}

#[tokio::test]
async fn a_tablet_that_changes_hands_is_whose_login_was_last() {
    let world = World::empty().await;
    let events = [
        page("p5", "d", 5),
        page("p15", "d", 15),
        page("p25", "d", 25),
        as_user("bob", page("p26", "d", 26)),
        page("p35", "d", 35),
    ];
    world.plant(0, &events).await;
    Links::new()
        .say("identify", "d", "ann", 10)
        .say("login", "d", "bob", 20)
        .say("login", "d", "ann", 30)
        .plant(&world)
        .await;
    let sessions = [
        session("s1", "d", None, 5),
        session("s2", "d", None, 25),
        session("s3", "d", Some("ann"), 25),
        session("s4", "x", None, 25),
    ];
    world.plant_json(Table::Sessions, &sessions.join("\n")).await;
    let engine = world.engine(QuerySettings::default());
    let events = rows(&engine, "SELECT event_id, person_id FROM person_events ORDER BY event_time_us").await;
    assert_eq!(events, ["p5 ann", "p15 ann", "p25 bob", "p26 bob", "p35 ann"]);
    let sessions = rows(&engine, "SELECT session_id, person_id FROM person_sessions ORDER BY session_id").await;
    assert_eq!(sessions, ["s1 ann", "s2 bob", "s3 ann", "s4 shop:x"]);
    let why = "SELECT id, person_id, (from_time_us - 1772323200000000) / 60000000 AS a, \
               (until_time_us - 1772323200000000) / 60000000 AS z, said_by, event_id \
               FROM identity_map WHERE id = 'd' ORDER BY said_time_us";
    assert_eq!(rows(&engine, why).await, ["d ann - 20 identify l0", "d bob 20 30 login l1", "d ann 30 - login l2"]);
    let persons = rows(&engine, "SELECT person_id, anonymous_ids, user_ids FROM persons ORDER BY 1").await;
    assert_eq!(persons, ["ann 1 1", "bob 1 1"]);
    let funnel = "SELECT units_reached FROM funnel(steps => [event_id = 'p5', event_id = 'p35']) ORDER BY position";
    assert_eq!(rows(&engine, funnel).await, ["1", "1"], "functions over people see the same persons");
}

#[tokio::test]
async fn the_map_follows_the_table_and_an_unlink_gives_the_former_state_back() {
    let world = World::empty().await;
    world.plant(0, &[page("p", "d", 5), as_user("old", page("q", "e", 5))]).await;
    let engine = world.engine(QuerySettings::default());
    let asked = "SELECT event_id, person_id FROM person_events ORDER BY event_id";
    assert_eq!(rows(&engine, asked).await, ["p shop:d", "q old"]);
    Links::new().say("identify", "d", "old", 10).plant(&world).await;
    assert_eq!(rows(&engine, asked).await, ["p old", "q old"]);
    Links::new().say("alias", "old", "new", 20).plant(&world).await;
    assert_eq!(rows(&engine, asked).await, ["p new", "q new"]);
    let ids = rows(&engine, "SELECT id_kind, id, person_id FROM identity_map ORDER BY 1, 2").await;
    assert_eq!(ids, ["anonymous d new", "anonymous old new", "user new new", "user old new"]);
    Links::new().say("unlink", "old", "new", 30).plant(&world).await;
    assert_eq!(rows(&engine, asked).await, ["p old", "q old"]);
    Links::new().say("unlink", "d", "old", 30).plant(&world).await;
    assert_eq!(rows(&engine, asked).await, ["p shop:d", "q old"]);
}

#[tokio::test]
async fn what_would_join_strangers_joins_nobody_and_says_why() {
    let world = World::empty().await;
    world.plant(0, &[page("p1", "till", 5), page("p2", "d0", 5), page("p3", "junk", 5)]).await;
    let mut links = Links::new().say("identify", "junk", "test", 1);
    for number in 0..3 {
        links =
            links.say("login", "till", &format!("u{number}"), number).say("identify", &format!("d{number}"), "desk", 1);
    }
    links.plant(&world).await;
    let settings = QuerySettings {
        identity_users_per_device_max: 2,
        identity_devices_per_user_max: 2,
        ..QuerySettings::default()
    };
    let engine = world.engine(settings);
    let events = rows(&engine, "SELECT event_id, person_id FROM person_events ORDER BY event_id").await;
    assert_eq!(events, ["p1 shop:till", "p2 shop:d0", "p3 shop:junk"]);
    let why = rows(&engine, "SELECT DISTINCT id, person_id, reason FROM identity_map ORDER BY id").await;
    assert_eq!(why, ["d0 - hub_user", "d1 - hub_user", "d2 - hub_user", "till - shared_device"]);
    // The bounds are the asker's: nothing is stored.
    let lenient = world.engine(QuerySettings::default());
    let events = rows(&lenient, "SELECT event_id, person_id FROM person_events ORDER BY event_id").await;
    assert_eq!(events, ["p1 u2", "p2 desk", "p3 shop:junk"]);
}

#[tokio::test]
async fn more_links_than_fit_are_refused_with_what_to_raise() {
    let world = World::empty().await;
    Links::new().say("identify", "d", "ann", 1).say("identify", "e", "ann", 1).plant(&world).await;
    let engine = world.engine(QuerySettings { identity_links_max: 1, ..QuerySettings::default() });
    let error = engine.query("SELECT person_id FROM person_events").await.unwrap_err().to_string();
    assert!(error.contains("query.identity_links_max") && error.contains("2 links"), "{error}");
    let answer = engine.query("SELECT count(*) AS n FROM events").await.unwrap();
    assert_eq!(answer.batches[0].column(0).as_primitive::<Int64Type>().value(0), 0);
}

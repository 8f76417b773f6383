//! What an answer says of itself, held against what is there.

use tributary_query::{Answer, Engine, Facts, QuerySettings, ReadFacts};
use tributary_schemas::Table;

use crate::definitions::with_examples;
use crate::docs;
use crate::world::{self, DAY_US, MARCH_US};

/// Rows as text, in no certain order.
pub(crate) async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    rows_of(&engine.query(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}")))
}

fn rows_of(answer: &Answer) -> Vec<String> {
    let mut rows: Vec<String> = world::cells(answer, "NULL").into_iter().map(|row| row.join("|")).collect();
    rows.sort();
    rows
}

async fn facts(engine: &Engine, sql: &str) -> Facts {
    engine.query(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}")).facts
}

async fn read(engine: &Engine, sql: &str) -> ReadFacts {
    facts(engine, sql).await.read.unwrap()
}

/// Of each question of the documentation, and so of each function: the definition told, asked of an engine that has no
/// definitions of its own, gives the same rows; told again it is the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_told_gives_the_same_answer_when_it_is_asked() {
    let world = world::planted().await;
    // Sums of floats in one order.
    let engine = world.engine(QuerySettings { threads: 1, ..with_examples() });
    let without = world.engine(QuerySettings { threads: 1, ..QuerySettings::default() });
    let (mut calls, mut functions) = (0, std::collections::BTreeSet::new());
    for question in docs::questions() {
        let asked = engine.query(&question).await.unwrap_or_else(|error| panic!("{error}\n{question}"));
        // That table tells what is defined here; nothing is there.
        if question.contains("metric_definitions") {
            continue;
        }
        let definition = &asked.facts.definition;
        let again = without.query(definition).await.unwrap_or_else(|error| panic!("{error}\n{question}\n{definition}"));
        assert_eq!(rows_of(&asked), rows_of(&again), "{question}\n{definition}");
        assert_eq!(again.facts.definition, *definition);
        assert_eq!((&again.facts.window, &again.facts.timezone), (&asked.facts.window, &asked.facts.timezone));
        calls += usize::from(!asked.facts.functions.is_empty());
        functions.extend(asked.facts.functions);
    }
    assert!(15 < calls && 15 < functions.len(), "{calls} calls of {functions:?}");
}

#[tokio::test]
async fn rows_read_are_those_of_the_files_that_may_match() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { threads: 1, ..QuerySettings::default() });
    let since = MARCH_US + 5 * DAY_US;
    for (sql, of_files) in [
        ("SELECT event_id FROM events".to_owned(), "true".to_owned()),
        ("SELECT max(value) FROM person_events WHERE event_date = DATE '2026-03-02'".to_owned(), "event_date = '2026-03-02'".to_owned()),
        (format!("SELECT event_id FROM events WHERE event_time_us >= {since}"), format!("event_time_us >= {since}")),
        // One row passes, all of the day's file are read.
        ("SELECT value FROM events WHERE event_id = 'ann-4' AND event_date = '2026-03-02'".to_owned(), "event_date = '2026-03-02'".to_owned()),
        (
            "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion'], filter => event_date <= DATE '2026-03-02')"
                .to_owned(),
            "event_date <= '2026-03-02'".to_owned(),
        ),
        (
            "SELECT (SELECT count(event_kind) FROM events WHERE event_date = '2026-03-01') + count(value) AS n FROM events WHERE event_date = '2026-03-02'"
                .to_owned(),
            "event_date <= '2026-03-02'".to_owned(),
        ),
    ] {
        let counted = rows(&engine, &format!("SELECT count(*) FROM events WHERE {of_files}")).await;
        let read = read(&engine, &sql).await;
        assert_eq!(read.rows_read.to_string(), counted[0], "{sql}");
        assert!(0 < read.bytes_read, "{sql}");
    }
    // What the log of the table says needs no row; files that cannot match are not looked into.
    for sql in ["SELECT count(*) FROM events", "SELECT event_id FROM events WHERE event_date = '2020-01-01'"] {
        let read = read(&engine, sql).await;
        assert_eq!((read.rows_read, read.bytes_read), (0, 0), "{sql}");
    }
}

#[tokio::test]
async fn tables_that_are_read_are_told_with_version_and_newest_time() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    let newest = |rows: Vec<String>| rows[0].parse::<i64>().unwrap();
    let event_time_us = newest(rows(&engine, "SELECT max(event_time_us) FROM events").await);
    let ingest_time_us = newest(rows(&engine, "SELECT max(ingest_time_us) FROM events").await);
    let of = |read: &ReadFacts| read.tables.iter().map(|table| table.table.clone()).collect::<Vec<_>>();
    let facts = facts(&engine, "SELECT event_id FROM events").await;
    assert_eq!(facts.timezone, "UTC");
    let plain = facts.read.unwrap();
    assert_eq!(of(&plain), ["events"]);
    let version = world.lake.snapshot(Table::Events).await.unwrap().version();
    assert_eq!((plain.tables[0].version, plain.tables[0].live), (version, false));
    assert_eq!(plain.tables[0].event_time_us, Some(event_time_us));
    assert_eq!(plain.tables[0].ingest_time_us, Some(ingest_time_us));
    assert!(plain.tables[0].written_time_us.is_some());
    // Persons are told by links, where somebody asks for persons.
    assert_eq!(of(&read(&engine, "SELECT event_id FROM person_events").await), ["events"]);
    assert_eq!(of(&read(&engine, "SELECT person_id FROM person_events").await), ["events", "identities"]);
    assert_eq!(of(&read(&engine, "SELECT count(*) FROM sessions").await), ["session_history"]);
    assert_eq!(of(&read(&engine, "SELECT * FROM persons").await), ["identities"]);
    assert!(read(&engine, "SELECT 1").await.tables.is_empty());
    // A commit later it is another version, and newer.
    let later = world::event("later", "d", tributary_schemas::EventKind::Page, event_time_us + DAY_US);
    world.plant(9_000, &[later]).await;
    let newer = read(&engine, "SELECT event_id FROM events").await;
    assert_eq!(newer.tables[0].version, version + 1);
    assert_eq!(newer.tables[0].event_time_us, Some(event_time_us + DAY_US));
}

/// A name nobody bears is told with what may be meant, but only where nothing was found.
#[tokio::test]
async fn names_that_no_event_bears_are_told() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    for (sql, notes) in [
        (
            "SELECT * FROM funnel(steps => [event_name = 'page', event_name = 'conversio'], source => 'shop')",
            vec!["no event is called 'conversio'; the closest is 'conversion'"],
        ),
        (
            "SELECT units_reached FROM funnel(steps => ['event_name = ''page'''], source => 'nowhere')",
            vec!["no event is of the source 'nowhere'; the sources are 'mail', 'shop'"],
        ),
        (
            "SELECT * FROM experiment(name => 'subject-line')",
            vec!["no event shows a variant of the experiment 'subject-line'; the closest is 'subject_line'"],
        ),
        (
            "SELECT * FROM attribution(conversion => event_name = 'Purchased')",
            vec!["no event is called 'Purchased'; the names are 'click', 'conversion', 'page', 'send'"],
        ),
        (
            "SELECT count(*) AS n FROM events WHERE event_name = 'pag'",
            vec!["no event is called 'pag'; the closest is 'page'"],
        ),
        // Counts under names of the asker's own, and beside others that are not 0.
        (
            "SELECT position, step, units_reached AS n FROM funnel(steps => [event_name = 'page', event_name = 'conversio'])",
            vec!["no event is called 'conversio'; the closest is 'conversion'"],
        ),
        (
            "SELECT source, count(*) AS n, count(*) FILTER (WHERE event_name = 'Page') AS pages FROM events GROUP BY source",
            vec!["no event is called 'Page'; the closest is 'page'"],
        ),
        (
            "SELECT * FROM metric(numerator => count(*) FILTER (WHERE event_name = 'Page'), denominator => count(*))",
            vec!["no event is called 'Page'; the closest is 'page'"],
        ),
        (
            "SELECT count(*) AS n FROM sessions WHERE source = 'Shop'",
            vec!["no event is of the source 'Shop'; the closest is 'shop'"],
        ),
        // Nothing was found, by names that are there.
        ("SELECT count(*) AS n FROM events WHERE event_name = 'page' AND source = 'mail'", vec![]),
        // Something was found: nobody looks.
        ("SELECT count(*) AS n FROM events WHERE event_name IN ('page', 'pag')", vec![]),
        ("SELECT * FROM experiment(name => 'subject_line')", vec![]),
    ] {
        assert_eq!(facts(&engine, sql).await.notes, notes, "{sql}");
    }
    let lines = facts(&engine, "SELECT count(*) AS n FROM events WHERE source = 'nowhere'").await.lines().unwrap();
    assert!(
        lines.starts_with("note: no event is of the source 'nowhere'; the sources are 'mail', 'shop'\nread "),
        "{lines}"
    );
}

#[tokio::test]
async fn calls_tell_their_window_and_zone() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings::default());
    let funnel = facts(&engine, "SELECT * FROM funnel(steps => [event_kind = 'page'], window => '7 days')").await;
    assert_eq!(funnel.window.as_deref(), Some("window => '7 days'"));
    assert_eq!(funnel.functions, ["funnel"]);
    let lifecycle = facts(
        &engine,
        "SELECT * FROM lifecycle(timezone => 'Europe/Berlin', since => '2026-03-01', until => DATE '2026-03-31')",
    )
    .await;
    assert_eq!(lifecycle.window.as_deref(), Some("since => '2026-03-01', until => DATE '2026-03-31'"));
    assert_eq!(lifecycle.timezone, "Europe/Berlin");
    assert_eq!(facts(&engine, "SELECT 1").await.window, None);
}

//! Definitions in files: what is asked by a name is what is asked by its SQL.

use std::path::{Path, PathBuf};

use tributary_query::definitions::Kind;
use tributary_query::{Definitions, Engine, QuerySettings};

use crate::facts::rows;
use crate::world;

/// The examples this repository comes with.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../metrics")
}

pub(crate) fn with_examples() -> QuerySettings {
    QuerySettings { metrics_dir: Some(examples()), ..QuerySettings::default() }
}

/// The same question by names and spelled out.
const PAIRS: &[(&str, &str)] = &[
    (
        "SELECT event_id FROM person_events WHERE event('viewed') AND NOT event('bought') AND event_date = '2026-03-01'",
        "SELECT event_id FROM person_events WHERE (event_kind = 'page' AND engagement_class IN ('human', 'unknown')) \
         AND NOT event_kind = 'conversion' AND event_date = '2026-03-01'",
    ),
    (
        "SELECT channel_of() AS c, count(*) AS n FROM events WHERE source = 'shop' GROUP BY c",
        "SELECT CASE WHEN campaign_id = 'spring' THEN 'spring campaign' WHEN channel LIKE 'paid%' THEN 'paid' \
         ELSE channel END AS c, count(*) AS n FROM events WHERE source = 'shop' GROUP BY c",
    ),
    (
        "SELECT * FROM metric('revenue', period => NULL)",
        "SELECT CAST(NULL AS DATE) AS period, sum(value) AS v, CAST(NULL AS DOUBLE) AS n, CAST(NULL AS DOUBLE) AS d, \
         count(*) AS c, 'EUR' AS unit FROM events WHERE event_kind = 'conversion' AND currency = 'EUR'",
    ),
    (
        "SELECT period, channel, value, unit FROM metric('revenue', by => channel, source => 'shop')",
        "SELECT CAST(date_trunc('week', event_time) AS DATE) AS period, channel, sum(value) AS v, 'EUR' AS unit \
         FROM person_events WHERE event_kind = 'conversion' AND currency = 'EUR' AND source = 'shop' GROUP BY 1, 2",
    ),
    (
        "SELECT period, value, numerator, denominator FROM metric('conversion_rate', period => 'day')",
        "SELECT day, CAST(b AS DOUBLE) / p AS rate, CAST(b AS DOUBLE) AS b, CAST(p AS DOUBLE) AS p FROM (\
         SELECT event_date AS day, count(DISTINCT CASE WHEN event_kind = 'conversion' THEN person_id END) AS b, \
         count(DISTINCT person_id) AS p FROM person_events WHERE event_kind = 'conversion' OR (event_kind IN ('page', 'click') \
         AND engagement_class IN ('human', 'unknown')) GROUP BY event_date) AS days",
    ),
    (
        "SELECT value FROM metric('order_value', since => '2026-03-03', until => '2026-03-03')",
        "SELECT CAST(sum(value) AS DOUBLE) / count(*) AS v FROM events WHERE event_kind = 'conversion' AND \
         event_date = '2026-03-03'",
    ),
    // A filter asks for a part; what is measured anew has no unit of before.
    (
        "SELECT value, unit FROM metric('revenue', filter => channel = 'email', period => NULL)",
        "SELECT sum(value) AS v, 'EUR' AS unit FROM events WHERE event_kind = 'conversion' AND currency = 'EUR' \
         AND channel = 'email'",
    ),
    (
        "SELECT value, unit FROM metric('revenue', measure => count(*), filter => 'event(''bought'')', period => NULL)",
        "SELECT count(*) AS v, CAST(NULL AS VARCHAR) AS unit FROM events WHERE event_kind = 'conversion' AND currency = 'EUR'",
    ),
    (
        "SELECT value, numerator FROM metric('conversion_rate', measure => count(*), filter => source = 'shop', period => NULL)",
        "SELECT count(*) AS v, CAST(NULL AS DOUBLE) AS n FROM events WHERE (event_kind = 'conversion' OR (event_kind IN \
         ('page', 'click') AND engagement_class IN ('human', 'unknown'))) AND source = 'shop'",
    ),
    (
        "SELECT DISTINCT person_id FROM person_events WHERE segment('big_spenders')",
        "SELECT person_id FROM person_events WHERE event_kind = 'conversion' AND currency = 'EUR' GROUP BY person_id \
         HAVING 20 <= sum(value)",
    ),
    (
        "SELECT * FROM funnel(definition => 'checkout', source => 'shop')",
        "SELECT * FROM funnel(steps => [event_kind = 'page' AND engagement_class IN ('human', 'unknown'), \
         event_kind = 'conversion'], names => ['viewed', 'bought'], window => '7 days', source => 'shop')",
    ),
    (
        "SELECT * FROM funnel_trend(definition => 'checkout', window => '1 hour', filter => segment('buyers'))",
        "SELECT * FROM funnel_trend(steps => [event_kind = 'page' AND engagement_class IN ('human', 'unknown'), \
         event_kind = 'conversion'], names => ['viewed', 'bought'], window => '1 hour', \
         filter => person_id IN (SELECT person_id FROM person_events WHERE event_kind = 'conversion'))",
    ),
    (
        "SELECT * FROM retention(definition => 'weekly')",
        "SELECT * FROM retention(starts => event_kind = 'conversion' OR (event_kind IN ('page', 'click') AND \
         engagement_class IN ('human', 'unknown')), period => 'week', periods => 8)",
    ),
    (
        "SELECT model, touched, conversions, value FROM attribution(definition => 'standard')",
        "SELECT model, touched, conversions, value FROM attribution(model => ['last_touch', 'linear'], lookback => '30 days', \
         by => CASE WHEN campaign_id = 'spring' THEN 'spring campaign' WHEN channel LIKE 'paid%' THEN 'paid' ELSE channel END)",
    ),
    (
        "SELECT * FROM touchpoints(definition => 'standard')",
        "SELECT * FROM touchpoints(conversion => event_kind = 'conversion', lookback => '30 days')",
    ),
    (
        "SELECT * FROM paths(definition => 'to_order', steps => 3)",
        "SELECT * FROM paths(direction => 'backward', end_at => event_kind = 'conversion', steps => 3)",
    ),
    (
        "SELECT * FROM experiment(definition => 'subject_line')",
        "SELECT * FROM experiment(name => 'subject_line', control => 'a')",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_by_name_is_what_is_asked_by_its_sql() {
    let world = world::planted().await;
    let engine = world.engine(with_examples());
    for (by_name, spelled_out) in PAIRS {
        let named = rows(&engine, by_name).await;
        assert!(!named.is_empty(), "{by_name}");
        assert_eq!(named, rows(&engine, spelled_out).await, "{by_name}");
    }
}

#[tokio::test]
async fn every_example_fits_the_tables_and_is_told_in_sql() {
    let world = world::World::empty().await;
    let engine = world.engine(with_examples());
    engine.check_definitions().await.unwrap();
    let definitions = engine.definitions();
    assert!(Kind::ALL.iter().all(|kind| definitions.all().iter().any(|it| it.kind == *kind)), "one of each kind");
    let told = rows(&engine, "SELECT kind, name, unit, file FROM metric_definitions WHERE kind = 'metric'").await;
    assert_eq!(told.len(), 4);
    assert!(told.contains(&"metric|revenue|EUR|shop.toml".to_owned()), "{told:?}");
    // A definition is SQL that can be copied.
    let copied = rows(&engine, "SELECT definition FROM metric_definitions WHERE name = 'checkout'").await.remove(0);
    engine.query(&format!("SELECT * FROM {copied}")).await.unwrap();
    let none = world.engine(QuerySettings::default());
    assert!(rows(&none, "SELECT * FROM metric_definitions").await.is_empty());
}

async fn told(engine: &Engine, text: &str) -> String {
    let definitions = Definitions::of_texts(&[("a.toml".to_owned(), text.to_owned())]).unwrap();
    engine.replace_definitions(definitions).await.unwrap_err().to_string()
}

#[tokio::test]
async fn what_does_not_fit_the_tables_is_told_with_file_and_key_and_those_before_hold() {
    let world = world::World::empty().await;
    let engine = world.engine(with_examples());
    let before = engine.definitions();
    let faults = told(
        &engine,
        r#"
        [events.a]
        condition = "event_kin = 'page'"
        [events.b]
        condition = "value + 1"
        [[channels]]
        name = "c d"
        condition = "no_function(channel)"
        [segments.e]
        having = "min(nothing) = 1"
        [metrics.f]
        measure = "value"
        [metrics.g]
        numerator = "count(*)"
        [metrics.h]
        measure = "sum(value)"
        period = "fortnight"
        [funnels.i]
        steps = ["event_kind = 'page'"]
        window = 7
        [retention.j]
        timezone = "Mars/Base"
        [experiments.k]
        metric = "value"
        "#,
    )
    .await;
    for wanted in [
        "a.toml: events.a: ",
        "event_kin",
        "a.toml: events.b: ",
        "a.toml: channels.c d: ",
        "a.toml: segments.e: ",
        "a.toml: metrics.f: ",
        "a.toml: metrics.g: give a measure",
        "a.toml: metrics.h: ",
        "fortnight",
        "a.toml: funnels.i: window",
        "a.toml: retention.j: ",
        "Mars/Base",
        "a.toml: experiments.k: argument name is missing",
    ] {
        assert!(faults.contains(wanted), "{wanted}\n--- of\n{faults}");
    }
    assert_eq!(engine.definitions().all(), before.all());
    let newer = Definitions::of_texts(&[("n.toml".to_owned(), "[events.x]\ncondition = 'true'".to_owned())]).unwrap();
    engine.replace_definitions(newer).await.unwrap();
    engine.query("SELECT count(*) FROM events WHERE event('x')").await.unwrap();
    assert!(engine.query("SELECT count(*) FROM events WHERE event('bought')").await.is_err());
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_or_holds_a_fault_makes_no_engine() {
    let world = world::World::empty().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "[events.a]\ncondition = 'event_kind ='").unwrap();
    std::fs::write(folder.path().join(".b.toml"), "an editor's").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no definitions").unwrap();
    for (folder, told) in
        [(folder.path().to_owned(), "a.toml: events.a"), (folder.path().join("none"), "cannot be read")]
    {
        let settings = QuerySettings { metrics_dir: Some(folder), ..QuerySettings::default() };
        let error = Engine::new(settings, world.lake.clone()).unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains("b.toml"), "{error}");
    }
}

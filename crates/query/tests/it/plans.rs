//! Plans: files that cannot match are not in them, filters reach Parquet, counts come from the log.

use datafusion::arrow::array::{Array, AsArray};
use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Money, Table};

use crate::world;

async fn plan(engine: &Engine, sql: &str) -> String {
    let answer = engine.query(&format!("EXPLAIN FORMAT INDENT {sql}")).await.unwrap();
    let plans = answer.batches[0].column(1).as_string::<i32>();
    let text = plans.value(plans.len() - 1).to_owned();
    // File names are random.
    let pieces = text.split(".parquet").map(|piece| match piece.rsplit_once('/') {
        Some((folder, _)) if piece.len() < text.len() => format!("{folder}/file"),
        _ => piece.to_owned(),
    });
    let mut pieces: Vec<String> = pieces.collect();
    let rest = text.rsplit(".parquet").next().unwrap_or_default().to_owned();
    pieces.pop();
    pieces.push(rest);
    pieces.join(".parquet")
}

fn one_thread() -> QuerySettings {
    QuerySettings { threads: 1, ..QuerySettings::default() }
}

#[tokio::test]
async fn files_of_other_days_and_keys_are_not_in_the_plan() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let by_day = plan(&engine, "SELECT event_id FROM events WHERE event_date = DATE '2026-03-02'").await;
    insta::assert_snapshot!(by_day, @r"
    FilterExec: event_date@1 = 2026-03-02, projection=[event_id@0]
      DataSourceExec: file_groups={1 group: [[events/event_date=2026-03-02/file.parquet]]}, projection=[event_id, event_date], file_type=parquet, predicate=event_date@81 = 2026-03-02, pruning_predicate=event_date_null_count@2 != row_count@3 AND event_date_min@0 <= 2026-03-02 AND 2026-03-02 <= event_date_max@1, required_guarantees=[event_date in (2026-03-02)]
    ");
    let by_time = format!("SELECT event_id FROM events WHERE event_time_us >= {}", world::MARCH_US + 5 * world::DAY_US);
    let by_time = plan(&engine, &by_time).await;
    assert_eq!(by_time.matches(".parquet").count(), 1, "{by_time}");
    let by_key = plan(&engine, "SELECT event_id FROM events WHERE session_key = 'zzz'").await;
    assert_eq!(by_key.matches(".parquet").count(), 0, "{by_key}");
}

#[tokio::test]
async fn a_count_of_all_reads_no_file() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let plan = plan(&engine, "SELECT count(*) FROM events").await;
    assert!(!plan.contains(".parquet"), "{plan}");
}

#[tokio::test]
async fn a_limit_reads_no_more_files_than_it_needs() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let plan = plan(&engine, "SELECT event_id FROM events LIMIT 3").await;
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
}

#[tokio::test]
async fn a_funnel_by_session_does_not_look_for_persons() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let steps = "steps => [event_kind = 'page', event_kind = 'conversion']";
    let by_session = plan(&engine, &format!("SELECT * FROM funnel(key => session_key, {steps})")).await;
    assert!(!by_session.contains("person_of("), "{by_session}");
    let by_person = plan(&engine, &format!("SELECT * FROM funnel({steps})")).await;
    // Once for the look at who took the first step, once for the fold.
    assert_eq!(by_person.matches("person_of(").count(), 2, "{by_person}");
    assert!(!by_person.contains("identities/"), "no join with the table of links:\n{by_person}");
}

#[tokio::test]
async fn conditions_that_compare_texts_are_asked_of_texts() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let steps = |steps: &str| format!("SELECT * FROM funnel(steps => [{steps}], window => '1 day')");
    let compared = plan(&engine, &steps("event_name = 'page', event_kind IN ('open', 'conversion')")).await;
    assert!(compared.contains("conditions=[event_name@0 = "), "{compared}");
    // What the plan would have simplified, rewritten or asked twice stays in it, and is answered.
    for step in [
        "coalesce(channel, '') = 'email'",
        "event_name = 'page' AND TIMESTAMP '2020-01-01' < now()",
        "url_path LIKE '/a%'",
    ] {
        let sql = steps(&format!("event_name = 'page', {step}"));
        let told = plan(&engine, &sql).await;
        assert!(!told.contains("conditions=["), "{told}");
        assert_eq!(rows(&engine, &sql).await.len(), 3, "a head, and a row for each step: {step}");
    }
}

#[tokio::test]
async fn an_experiment_is_one_pass_that_says_what_it_asks() {
    let world = world::planted().await;
    let engine = world.engine(one_thread());
    let asked =
        "metric => ['conversion', 'value', 'ratio'], numerator => value, denominator => event_kind = 'conversion'";
    let told =
        plan(&engine, &format!("SELECT * FROM experiment(name => 'subject_line', {asked}, cuped => '14 days')")).await;
    assert!(
        told.contains("FoldExec: experiment 'subject_line' by conversion, value, ratio, fixed, alpha 0.05"),
        "{told}"
    );
    assert_eq!(told.matches("person_of(").count(), 1, "each event is looked up once:\n{told}");
    assert_eq!(told.matches("DataSourceExec").count(), 1, "one pass over the events:\n{told}");
    let by_device = plan(&engine, "SELECT * FROM experiment(name => 'subject_line', key => session_key)").await;
    assert!(!by_device.contains("person_of("), "{by_device}");
    let beforehand = plan(&engine, "SELECT * FROM experiment_plan(base_rate => 0.1, lift => 0.1)").await;
    assert!(!beforehand.contains("DataSourceExec: file_groups"), "no events are read:\n{beforehand}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compacted_files_need_no_sort_and_answer_as_before() {
    let world = world::planted().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let by_person = "SELECT session_key, event_time_us, event_id FROM events ORDER BY session_key, event_time_us, \
                     log_partition, log_offset";
    assert!(plan(&engine, by_person).await.contains("SortExec"), "as they were appended");
    let questions = [
        by_person,
        "SELECT count(*), min(event_time_us), max(session_key) FROM events",
        "SELECT session_key, count(*) AS n FROM events GROUP BY session_key ORDER BY session_key",
        "SELECT event_id FROM events WHERE session_key >= 'c' ORDER BY event_id",
    ];
    let mut before = Vec::new();
    for question in questions {
        before.push(rows(&engine, question).await);
    }
    let everything = tributary_lake::CompactOptions { everything: true, ..Default::default() };
    let done = world.lake.compact(Table::Events, &everything).await.unwrap();
    assert!(done.commits > 0 && done.rows_after == done.rows_before, "{done:?}");
    let compacted = plan(&engine, by_person).await;
    assert!(!compacted.contains("SortExec") && compacted.contains("output_ordering"), "{compacted}");
    for (question, before) in questions.iter().zip(before) {
        assert_eq!(rows(&engine, question).await, before, "{question}");
    }
    // A file that was not compacted stands among them again.
    world.plant(1_000, &[world::event("late", "zoe", EventKind::Page, world::MARCH_US)]).await;
    assert!(plan(&engine, by_person).await.contains("SortExec"));
}

/// Devices whose names are alike in more than 40 bytes, columns that whole days do not have, texts that are worked out of others, and a
/// day that was not compacted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_files_answer_as_gathered_ones_do() {
    let world = world::World::empty().await;
    let device = |number: i64| match number % 3 {
        0 => format!("d{number}"),
        _ => format!("a-device-whose-name-is-alike-for-a-good-deal-more-than-forty-bytes-{number}"),
    };
    for day in 0..5 {
        let event = |number: i64| {
            let time_us = world::MARCH_US + day * world::DAY_US + number * 7_000_000;
            let kind =
                [EventKind::Page, EventKind::Click, EventKind::Page, EventKind::Conversion][(number % 4) as usize];
            let device = device((number * 31 + day * 17) % 90);
            let channel = [Some("email"), Some("paid_search"), None][(number % 3) as usize];
            Event {
                // Nobody came by a channel on the second day, and on the third nothing was worth anything.
                channel: channel.filter(|_| day != 1).map(str::to_owned),
                value: (kind == EventKind::Conversion && day != 2).then(|| Money::parse("1.25").unwrap()),
                ..world::event(&format!("e{day}-{number}"), &device, kind, time_us)
            }
        };
        world.plant(day * 1_000, &(0..900).map(event).collect::<Vec<_>>()).await;
    }
    let by = "CASE WHEN channel = 'email' THEN 'mail' ELSE channel END";
    let questions = [
        format!(
            "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'click', event_kind = 'conversion'],
                window => '2 days', breakdown => {by}, key => session_key)"
        ),
        format!(
            "SELECT * FROM attribution(model => ['linear', 'shapley', 'time_decay'], by => {by}, key => session_key)"
        ),
        "SELECT * FROM attribution(model => 'markov', markov_order => 1, key => session_key)".to_owned(),
        "SELECT * FROM attribution(period => 'day', credit_time => 'touch', positions => true, key => session_key)"
            .to_owned(),
        "SELECT * FROM conversion_paths(key => session_key, transforms => 'exposure')".to_owned(),
        format!("SELECT * FROM paths(node => coalesce({by}, event_kind), key => session_key)"),
        "SELECT * FROM retention(starts => event_kind = 'page', period => 'day', key => session_key)".to_owned(),
        "SELECT unit, session_number, events, goals, first_touch, last_touch, value FROM sessionize(key => session_key, value => value)"
            .to_owned(),
    ];
    // Rows of one rank may come in any order, and a sum of floats ends as its order has it.
    let told = async |engine: &Engine, question: &String| {
        let mut rows = rows(engine, question).await;
        rows.sort_unstable();
        rows
    };
    let engine = |threads| world.engine(QuerySettings { threads, ..QuerySettings::default() });
    let mut gathered = Vec::new();
    for question in &questions {
        assert!(!plan(&engine(1), question).await.contains("sorted_files"), "{question}");
        gathered.push(told(&engine(1), question).await);
    }
    let everything = tributary_lake::CompactOptions { everything: true, ..Default::default() };
    world.lake.compact(Table::Events, &everything).await.unwrap();
    for (question, gathered) in questions.iter().zip(&gathered) {
        assert!(1 < gathered.len(), "{question}: {gathered:?}");
        assert!(plan(&engine(2), question).await.contains("sorted_files=5"), "{question}");
        for threads in [1, 3] {
            assert_eq!(&told(&engine(threads), question).await, gathered, "{question} with {threads} threads");
        }
    }
    let late = |number: i64| {
        let time_us = world::MARCH_US + 6 * world::DAY_US + number;
        world::event(&format!("late-{number}"), &device(number), EventKind::Conversion, time_us)
    };
    world.plant(10_000, &(0..20).map(late).collect::<Vec<_>>()).await;
    let question = "SELECT count(*) AS units, sum(events) AS events FROM (SELECT unit, sum(events) AS events
        FROM sessionize(key => session_key) GROUP BY unit)";
    assert_eq!(rows(&engine(2), question).await.last().unwrap().replace(' ', ""), "|90|4520|");
}

/// The lines of the table alone: below it stands how long the answer took.
async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let table = tributary_query::render::table(&engine.query(sql).await.unwrap()).unwrap();
    table.lines().filter(|line| line.starts_with('|')).map(str::to_owned).collect()
}

/// Texts are worked on as views and told as they are: that must not cost the order, which only shows over several streams.
#[tokio::test]
async fn an_answer_in_order_stays_in_order_over_several_partitions() {
    let world = world::World::empty().await;
    for file in 0..6 {
        let event = |number: i64| {
            let time_us = world::MARCH_US + (number * 6 + file) * 1_000_000;
            world::event(&format!("{number:03}-{file}"), "a", EventKind::Page, time_us)
        };
        world.plant(file * 40, &(0..40).map(event).collect::<Vec<_>>()).await;
    }
    let engine = world.engine(QuerySettings { threads: 4, ..QuerySettings::default() });
    let answer = engine.query("SELECT event_id, event_time_us FROM events ORDER BY event_time_us DESC").await.unwrap();
    let ids: Vec<String> = answer
        .batches
        .iter()
        .flat_map(|batch| {
            batch.column(0).as_string::<i32>().iter().map(|id| id.unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ids.len(), 240);
    assert!(ids.is_sorted_by(|a, b| b <= a), "{:?}", &ids[..12]);
}

//! The same rows and the same facts.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray, StringArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
use futures::StreamExt;
use tributary_query::{Answer, Beside, Engine, QuerySettings, Question};
use tributary_schemas::Table;

use super::{TOKEN, asked, head, many, planted, read, rows, three};
use crate::definitions::with_examples;
use crate::docs;

/// Asks each question of both; how many of them workers helped with.
async fn compare(alone: &Engine, head: &Engine, questions: &[String]) -> usize {
    let mut helped = 0;
    for question in questions {
        let (one, several) = (asked(alone, question).await, asked(head, question).await);
        assert_eq!(rows(&one), rows(&several), "{question}");
        let columns = |answer: &Answer| {
            let column = |field: &FieldRef| (field.name().clone(), field.data_type().clone());
            answer.schema.fields().iter().map(column).collect::<Vec<_>>()
        };
        assert_eq!(columns(&one), columns(&several), "{question}");
        assert_eq!((&one.facts.definition, &read(&one).tables), (&several.facts.definition, &read(&several).tables));
        assert_eq!(read(&one).workers, None);
        if let Some(workers) = &read(&several).workers {
            assert!(workers.counted && !workers.asked_again && workers.count == 3, "{workers:?}\n{question}");
            helped += 1;
        }
    }
    helped
}

/// Shapes of plans that the documentation has none of.
fn other_questions() -> Vec<String> {
    [
        "SELECT count(*) AS n, count(DISTINCT session_key) AS keys, sum(value) AS v FROM events",
        "SELECT event_kind, source, count(*) AS n, avg(CAST(value AS DOUBLE)) AS v FROM events GROUP BY 1, 2",
        "SELECT event_id FROM events ORDER BY event_time_us DESC, event_id LIMIT 7",
        "SELECT event_id FROM events WHERE event_kind = 'conversion' ORDER BY event_id OFFSET 5 LIMIT 5",
        "SELECT a.event_id AS one, b.event_id AS other FROM events a JOIN events b USING (session_key)
         WHERE a.event_kind = 'send' AND b.event_kind = 'conversion'",
        "SELECT e.event_id AS id, s.session_id AS session FROM events e LEFT JOIN session_history s ON e.session_key = s.session_key",
        "SELECT s.session_id AS session, e.event_id AS id FROM events e RIGHT JOIN session_history s ON e.session_key = s.session_key",
        "SELECT s.session_id AS session, e.event_id AS id FROM events e FULL JOIN session_history s ON e.event_id = s.session_id",
        "SELECT event_id FROM events WHERE session_key NOT IN (SELECT session_key FROM session_history)",
        "SELECT event_id FROM events e WHERE NOT EXISTS (SELECT 1 FROM session_history s WHERE s.session_key = e.session_key)",
        "SELECT event_id FROM events WHERE event_time_us = (SELECT max(event_time_us) FROM events)",
        "SELECT count(*) AS n FROM events a, session_history b WHERE a.event_time_us < b.start_time_us + b.version",
        "SELECT event_id, row_number() OVER (PARTITION BY session_key ORDER BY event_time_us, log_offset) AS n FROM events",
        "SELECT event_id, sum(value) OVER (PARTITION BY source ORDER BY event_time_us, log_offset) AS v FROM events",
        "SELECT event_kind AS word FROM events UNION SELECT session_id FROM session_history",
        "SELECT event_id AS id FROM events UNION ALL SELECT session_id FROM session_history",
        "SELECT id FROM (SELECT event_id AS id FROM events UNION ALL SELECT v FROM (VALUES ('x'), ('y')) AS t(v)) ORDER BY id",
        "SELECT w.v AS v, count(*) AS n FROM events JOIN (VALUES ('page'), ('click')) AS w(v) ON event_kind = w.v GROUP BY 1",
        "SELECT person_id, count(*) AS n FROM person_events GROUP BY person_id",
        "SELECT person_id, array_agg(event_id ORDER BY event_time_us, event_id) AS ids FROM person_events GROUP BY person_id",
        "SELECT p.person_id AS person, m.reason AS reason FROM person_events p JOIN identity_map m ON p.anonymous_id = m.id",
        "SELECT f.position AS position, f.units_reached AS n, (SELECT count(*) FROM events) AS all_events
         FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion']) AS f",
        "SELECT e.event_kind AS kind, count(*) AS n FROM events e JOIN sessionize(gap => '30 minutes') AS s
         ON e.session_key = s.unit GROUP BY e.event_kind",
        "SELECT properties ->> 'page' AS page, count(*) AS n FROM events GROUP BY 1",
        "SELECT date_trunc('day', event_time) AS day, approx_distinct(person_id) AS n FROM person_events GROUP BY 1",
        "EXPLAIN SELECT count(*) FROM events",
    ]
    .map(str::to_owned)
    .into_iter()
    .collect()
}

/// Of files as they came, then of those of compaction, in declared order: how many questions workers helped with.
async fn compare_fresh_and_compacted(questions: &[String]) -> [usize; 2] {
    let world = planted().await;
    let workers = three(&world).await;
    let head = head(&world, &workers.each_ref(), with_examples());
    let alone = world.engine(QuerySettings { threads: 2, ..with_examples() });
    let fresh = compare(&alone, &head, questions).await;
    let everything = tributary_lake::CompactOptions { everything: true, ..Default::default() };
    let done = world.lake.compact(Table::Events, &everything).await.unwrap();
    assert!(0 < done.commits, "{done:?}");
    [fresh, compare(&alone, &head, questions).await]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_question_is_answered_alike_by_three_workers() {
    let questions = docs::questions();
    for helped in compare_fresh_and_compacted(&questions).await {
        assert!(2 * questions.len() < 3 * helped, "workers helped with {helped} of {} questions", questions.len());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_many_shapes_are_answered_alike() {
    let questions = other_questions();
    let [helped, _] = compare_fresh_and_compacted(&questions).await;
    assert!(20 <= helped, "workers helped with {helped} of {} questions", questions.len());
}

/// What a face brings to a question is not on the workers, and one that is called as one of theirs is another all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_workers_do_not_have_is_worked_out_by_the_head() {
    let world = planted().await;
    let workers = three(&world).await;
    let head = head(&world, &workers.each_ref(), QuerySettings::default());
    let alone = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let shout = |name: &str| {
        let work = |arguments: &[ColumnarValue]| {
            let texts = arguments[0].to_array(1)?;
            let loud = |text: Option<&str>| text.map(|text| format!("{text}!"));
            let loud: StringArray = texts.as_string_view().iter().map(loud).collect();
            Ok(ColumnarValue::Array(Arc::new(loud)))
        };
        let types = (vec![DataType::Utf8View], DataType::Utf8);
        Arc::new(create_udf(name, types.0, types.1, Volatility::Immutable, Arc::new(work)))
    };
    let beside = Arc::new(Beside { functions: vec![shout("shout"), shout("lower")], ..Beside::default() });
    for name in ["shout", "lower"] {
        for sql in [
            format!("SELECT {name}(event_id) AS loud FROM events"),
            format!("SELECT {name}(event_kind) AS loud, count(*) AS n FROM events GROUP BY 1"),
            format!("SELECT count(*) AS n FROM events WHERE {name}(event_kind) = 'page!'"),
            format!(
                "SELECT a.event_id AS id FROM events a JOIN session_history s ON {name}(a.session_key) = {name}(s.session_key)"
            ),
        ] {
            let mut answers = Vec::new();
            for engine in [&alone, &head] {
                let question = Question { beside: Some(Arc::clone(&beside)), ..Question::plain(engine.owner(), &sql) };
                let mut stream = engine.ask(question).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
                let mut lines = Vec::new();
                while let Some(batch) = stream.next().await {
                    let batch = batch.unwrap_or_else(|error| panic!("{error}\n{sql}"));
                    let table = pretty_format_batches(&[batch]).unwrap().to_string();
                    lines.extend(table.lines().filter(|line| line.starts_with('|')).skip(1).map(words));
                }
                lines.sort();
                answers.push(lines);
            }
            assert!(!answers[0].is_empty(), "{sql}");
            assert_eq!(answers[0], answers[1], "{sql}");
        }
    }
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `sessionize` tells a row for each session, the others few for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_read_by_workers_are_in_the_facts() {
    let world = planted().await;
    let workers = three(&world).await;
    let head = head(&world, &workers.each_ref(), QuerySettings::default());
    let alone = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    for sql in [
        "SELECT event_id, properties FROM events",
        "SELECT event_kind, count(*) AS n FROM events GROUP BY event_kind",
        "SELECT * FROM sessionize(gap => '30 minutes')",
        "SELECT * FROM attribution(model => 'linear', by => source)",
        "SELECT * FROM attribution(model => ['linear', 'shapley'], period => 'day', credit_time => 'touch', positions => true)",
        "SELECT person_id, count(*) AS n FROM person_events WHERE event_date = DATE '2026-03-02' OR value > 7 GROUP BY person_id",
    ] {
        let (one, several) = (asked(&alone, sql).await, asked(&head, sql).await);
        let lines = several.facts.lines();
        let (one, several) = (read(&one), read(&several));
        let by = several.workers.clone().unwrap_or_else(|| panic!("nobody helped: {sql}"));
        assert!(by.counted && 1 < by.tasks, "{by:?}");
        assert_eq!(one.rows_read, several.rows_read, "{sql}");
        assert!(0 < several.bytes_read, "{several:?}");
        assert!(lines.as_ref().unwrap().contains("by 3 workers"), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_off_says_that_its_workers_did_not_tell() {
    let world = many().await;
    let workers = three(&world).await;
    let head = head(&world, &workers.each_ref(), QuerySettings { rows_max: 10, ..QuerySettings::default() });
    let answer = asked(&head, "SELECT rpad(event_id, 1000) AS id FROM events").await;
    assert!(answer.truncated);
    assert!(read(&answer).workers.as_ref().is_some_and(|workers| !workers.counted), "{answer:?}");
    let facts = answer.facts;
    assert!(facts.lines().unwrap().contains("who did not tell"), "{:?}", facts.lines());
    let again = tributary_query::Facts::from_header(&facts.header().unwrap()).unwrap();
    assert_eq!(again, facts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_question_asks_no_worker() {
    let world = planted().await;
    // Nobody is there.
    let workers = vec!["http://127.0.0.1:9".to_owned(), "http://127.0.0.1:10".to_owned()];
    let head =
        world.engine(QuerySettings { workers, worker_token: TOKEN.to_owned(), threads: 2, ..QuerySettings::default() });
    let answer = asked(&head, "SELECT count(DISTINCT event_id) FROM events").await;
    assert_eq!(read(&answer).workers, None);
}

//! Workers that die, before and in the middle.

use futures::StreamExt;
use tributary_query::{Advice, QueryError, QuerySettings};

use super::held::held;
use super::{asked, head, many, planted, read, rows, three};

/// One with a shuffle between workers, and one that is folded.
pub(super) const RETRIED: [&str; 2] = [
    "SELECT event_kind, count(DISTINCT person_id) AS n FROM person_events GROUP BY event_kind",
    "SELECT * FROM funnel(steps => [event_kind = 'page', event_kind = 'conversion'])",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_in_mid_question_costs_one_more_try() {
    let world = planted().await;
    let alone = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    for question in RETRIED {
        let (stores, mut workers) = held(&world, 1).await;
        let head = head(&world, &workers.iter().collect::<Vec<_>>(), QuerySettings::default());
        let first = workers.remove(0);
        let killed = async {
            stores[0].is_wanted().await;
            first.kill().await;
        };
        let (answer, ()) = tokio::join!(head.query(question), killed);
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{question}"));
        assert_eq!(rows(&answer), rows(&asked(&alone, question).await), "{question}");
        let by = read(&answer).workers.clone().unwrap();
        assert!(by.asked_again && by.count == 2 && by.counted, "{by:?}");
        // The next does not ask the one that is dead.
        let by = read(&asked(&head, question).await).workers.clone().unwrap();
        assert!(!by.asked_again && by.count == 2, "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_death_ends_it_with_what_to_do() {
    let world = planted().await;
    let (stores, mut workers) = held(&world, 3).await;
    let head = head(&world, &workers.iter().collect::<Vec<_>>(), QuerySettings::default());
    let killed = async {
        stores[0].is_wanted().await;
        workers.remove(0).kill().await;
        // Those that are left read for the first try already: only the answer tells whether the second one began.
        for store in &stores[1..] {
            store.wanted.send_replace(false);
        }
        stores[1].is_wanted().await;
        workers.remove(0).kill().await;
    };
    let (answer, ()) = tokio::join!(head.query(RETRIED[0]), killed);
    let error = answer.unwrap_err();
    assert!(matches!(error, QueryError::WorkersAway { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::Retry);
    assert!(error.to_string().contains("one more when it was asked again"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_worker_is_left_it_is_said() {
    let world = planted().await;
    let [one, two, three] = three(&world).await;
    let head = head(&world, &[&one, &two, &three], QuerySettings::default());
    for worker in [one, two, three] {
        worker.kill().await;
    }
    let error = head.query(RETRIED[0]).await.unwrap_err();
    assert!(matches!(error, QueryError::WorkersAway { .. }), "{error:?}");
    assert_eq!(error.advice(), Advice::Retry);
    assert!(error.to_string().contains("none of the 3 workers"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_worker_left_the_head_does_it() {
    let world = planted().await;
    let (stores, mut workers) = held(&world, 1).await;
    let last = workers.pop().unwrap();
    workers.pop().unwrap().kill().await;
    let head = head(&world, &[&workers[0], &last], QuerySettings::default());
    let alone = asked(&world.engine(QuerySettings { threads: 2, ..QuerySettings::default() }), RETRIED[1]).await;
    let killed = async {
        stores[0].is_wanted().await;
        workers.remove(0).kill().await;
    };
    let (answer, ()) = tokio::join!(head.query(RETRIED[1]), killed);
    let answer = answer.unwrap();
    assert_eq!(rows(&answer), rows(&alone));
    let by = read(&answer).workers.clone().unwrap();
    assert!(by.asked_again && by.counted && by.count == 0, "{by:?}");
    assert_eq!(read(&answer).rows_read, read(&alone).rows_read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_told_in_part_is_not_begun_anew() {
    let world = many().await;
    let (stores, mut workers) = held(&world, 1).await;
    let head = head(&world, &workers.iter().collect::<Vec<_>>(), QuerySettings::default());
    let mut stream = head.query_stream("SELECT rpad(event_id, 1000) AS id FROM events").await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(0 < first.num_rows());
    stores[0].is_wanted().await;
    workers.remove(0).kill().await;
    let error = loop {
        match stream.next().await.expect("it cannot end well") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, QueryError::WorkersAway { .. }), "{error:?}");
    assert!(error.to_string().contains("after a part of the answer was told: ask again"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_away_before_costs_no_try() {
    let world = planted().await;
    let [one, two, three] = three(&world).await;
    let head = head(&world, &[&one, &two, &three], QuerySettings::default());
    two.kill().await;
    let by = read(&asked(&head, RETRIED[0]).await).workers.clone().unwrap();
    assert!(!by.asked_again && by.count == 2, "{by:?}");
}

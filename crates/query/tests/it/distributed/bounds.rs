//! Where the work of workers ends, and whom they refuse.

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request};
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion_distributed::GetWorkerInfoRequest;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use futures::StreamExt;
use tower::ServiceExt;
use tributary_query::{Advice, QueryError, QuerySettings};

use super::deaths::RETRIED;
use super::{TOKEN, Worker, asked, head, many, planted, read, three};
use crate::world::World;

/// Billions of pairs, and none of them an answer; all of them on the workers.
const SILENT: &str = "SELECT count(*) FROM events a JOIN events b ON a.event_id || b.event_id < a.source";

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_on_the_workers_ends_when_nobody_waits() {
    let world = many().await;
    let workers = three(&world).await;
    let head = head(&world, &workers.each_ref(), QuerySettings { time_ms_max: 1_500, ..QuerySettings::default() });
    let answer = asked(&head, "SELECT count(DISTINCT event_id) AS n FROM events").await;
    assert_eq!(answer.batches[0].column(0).as_primitive::<Int64Type>().value(0), 80_000);
    assert!(read(&answer).workers.is_some());
    let tasks = || workers.iter().map(|worker| worker.engine.task_count()).collect::<Vec<_>>();
    // Connections stay, each with a task or some; work for the answer that is over ends a moment after it.
    let mut idle = tasks();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        idle = idle.into_iter().zip(tasks()).map(|(least, now)| least.min(now)).collect();
    }
    let is_idle = || tasks().iter().zip(&idle).all(|(now, idle)| now <= idle);
    // All of them: a worker that is still being told of its work may not hear that it is over.
    let is_busy = || tasks().iter().zip(&idle).all(|(now, idle)| idle < now);
    until("the workers rest", is_idle).await;

    // Time is over.
    let (answer, ()) = tokio::join!(head.query(SILENT), until("the workers work", is_busy));
    assert!(matches!(answer, Err(QueryError::TimedOut { time_ms_max: 1_500 })), "{answer:?}");
    until("time is over, and the workers work on", is_idle).await;

    // The asker leaves.
    let mut stream = head.query_stream(SILENT).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), stream.next()).await.is_err(), "it cannot be ready yet");
    until("the workers work", is_busy).await;
    drop(stream);
    until("the asker has left, and the workers work on", is_idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_another_token_refuses_and_says_why() {
    let world = planted().await;
    let own = Worker::start(world.lake.clone(), QuerySettings::default(), TOKEN).await;
    let other = Worker::start(world.lake.clone(), QuerySettings::default(), "the-token-of-others").await;
    let head = head(&world, &[&own, &other], QuerySettings::default());
    let error = head.query(RETRIED[0]).await.unwrap_err();
    assert!(matches!(error, QueryError::WorkerRefuses { .. }), "{error:?}");
    assert!(error.to_string().contains(&other.url) && error.to_string().contains("worker.token"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_of_another_version_is_refused_and_both_are_told() {
    let world = planted().await;
    let worker = Worker::start(world.lake.clone(), QuerySettings::default(), TOKEN).await;
    let channel = tonic::transport::Endpoint::from_shared(worker.url.clone()).unwrap().connect().await.unwrap();
    let signed = channel.map_request(|mut request: Request<tonic::body::Body>| {
        let token = HeaderValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        request.headers_mut().insert("authorization", token);
        request.headers_mut().insert("x-tributary-version", HeaderValue::from_static("9.9.9 of tomorrow"));
        request
    });
    let mut client = create_worker_client(BoxCloneSyncChannel::new(signed));
    let error = client.get_worker_info(GetWorkerInfoRequest {}).await.err().unwrap().to_string();
    assert!(error.contains("9.9.9 of tomorrow") && error.contains(env!("CARGO_PKG_VERSION")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_with_other_rules_of_persons_refuses() {
    let world = planted().await;
    let other = QuerySettings { identity_aliases_max: 3, ..QuerySettings::default() };
    let start = || Worker::start(world.lake.clone(), other.clone(), TOKEN);
    let (one, two) = (start().await, start().await);
    let head = head(&world, &[&one, &two], QuerySettings::default());
    let error = head.query(RETRIED[0]).await.unwrap_err();
    assert!(error.to_string().contains("query.identity_*"), "{error}");
    // Who asks for no person is helped.
    let answer = asked(&head, "SELECT event_kind, count(*) AS n FROM events GROUP BY 1").await;
    assert!(read(&answer).workers.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_of_another_lake_is_told_so() {
    let (world, elsewhere) = (planted().await, World::empty().await);
    let start = || Worker::start(elsewhere.lake.clone(), QuerySettings::default(), TOKEN);
    let (one, two) = (start().await, start().await);
    let head = head(&world, &[&one, &two], QuerySettings::default());
    let error = head.query("SELECT event_kind, count(*) AS n FROM events GROUP BY 1").await.unwrap_err();
    assert_eq!(error.advice(), Advice::Stop);
    assert!(error.to_string().contains("lake.url"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_keeps_to_its_own_memory() {
    let world = many().await;
    let small = QuerySettings { memory_bytes_max: 16 << 20, ..QuerySettings::default() };
    let start = || Worker::start(world.lake.clone(), small.clone(), TOKEN);
    let (one, two) = (start().await, start().await);
    let head = head(&world, &[&one, &two], QuerySettings::default());
    let wide = "(SELECT event_id, rpad(event_id, 1000) AS wide FROM events)";
    let sql = format!("SELECT max(a.wide || b.wide) FROM {wide} a JOIN {wide} b ON a.event_id = b.event_id");
    let error = head.query(&sql).await.unwrap_err();
    assert!(matches!(error, QueryError::OutOfMemory { .. }), "{error:?}");
    assert!(error.to_string().contains("on a worker, by its own"), "{error}");
}

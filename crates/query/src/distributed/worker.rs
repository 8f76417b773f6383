//! A worker: parts of plans of others, worked on here.
//!
//! In:       a bound port; the engine of this process.
//! Out:      rows, to the head or to other workers.
//! Promise:  it reads files of its own lake's store only, and of these those it is told; it writes none. Its memory is the engine's pool,
//!           bounded by its own settings, and it computes on the engine's threads. After `stop` nobody new comes in, and what is
//!           at work is finished; dropping the future cuts it off.
//! Not here: who may come in (`gate.rs`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_err};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DistributedExt, ExecuteTaskRequest, NetworkBoundaryExt, ProducerHead, TaskKey, Worker, WorkerPlanRewriteEvent,
    WorkerPlanRewriteEventResponse, WorkerQueryContext, WorkerSessionBuilder,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::channels::{Channels, SILENT_MAX};
use super::codec::scan_of_lake;
use super::gate::{Gate, Tasks};
use super::settings::WorkerSettings;
use super::{pinned, version};
use crate::attribution;
use crate::engine::{Engine, Parts};
use crate::stop::{self, Stop};

/// Functions that a worker makes anew for each task, since they hold what belongs to a question: its map of persons, its
/// end.
pub(super) const MADE_FOR_EACH_QUESTION: [&str; 3] = ["person_of", "credit_touches", "unless_stopped"];

/// Longer than the cache lets its list be after it last cleared it, 300 ms (moka 0.12, `LOG_SYNC_INTERVAL_MILLIS`).
const LET_GO_AFTER: Duration = Duration::from_millis(400);
const LET_GO_TIMES: usize = 3;
/// How long clearing the list may take, which it does before it waits for the unknown task.
const LET_GO_MAX: Duration = Duration::from_millis(50);

/// Serves until `stop`, or until it cannot go on, which it tells.
pub async fn serve(
    listener: TcpListener,
    engine: Arc<Engine>,
    settings: WorkerSettings,
    stop: CancellationToken,
) -> Result<(), std::io::Error> {
    let listener = listener.into_std()?;
    let parts = engine.parts();
    // On the threads of the engine: what a connection asks for is worked on where it is asked. It does not hold the engine, whose
    // threads end with it.
    let serving = engine.spawn(async move {
        pinned::warm_up(&parts.lake, &parts.identities).await;
        let listener = TcpListener::from_std(listener)?;
        let tasks = Tasks::new();
        let channels = Channels::new(&settings.token).map_err(std::io::Error::other)?;
        let runtime = Arc::clone(parts.base.runtime_env());
        let sessions = Sessions { parts, channels, tasks: Arc::clone(&tasks) };
        let worker = Worker::from_session_builder(sessions).with_runtime_env(runtime).with_version(version());
        // A task of its own: what a plan takes to be dropped is not to keep anybody waiting at the door.
        let _letting_go = SpawnedTask::spawn(let_go(worker.clone(), Arc::clone(&tasks)));
        let gate = Gate { inner: worker.into_worker_server(), token: Arc::from(settings.token), tasks };
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = Server::builder()
            .http2_keepalive_interval(Some(SILENT_MAX))
            .http2_keepalive_timeout(Some(SILENT_MAX))
            .serve_with_incoming_shutdown(gate, incoming, stop.cancelled());
        server.await.map_err(std::io::Error::other)
    });
    serving.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Has the library let go of tasks that have ended, with what their plans still hold: sides of joins, rows on their way between
/// parts, whoever waits for rows that will not come. It strikes them off its list at once, but the list (a cache of `moka`) lets
/// go only when it is next asked for something, which may be at the next question.
async fn let_go(worker: Worker, tasks: Arc<Tasks>) {
    // Of no task, so it would be waited for; this one entry stays on the list.
    let unknown = || ExecuteTaskRequest {
        task_key: TaskKey { query_id: Default::default(), stage_id: 0, task_number: 0 },
        target_partition_start: 0,
        target_partition_end: 0,
        producer_head: ProducerHead::None,
    };
    loop {
        tasks.ended().await;
        // What another thread looks at just then stays until it is asked once more.
        for _ in 0..LET_GO_TIMES {
            tokio::time::sleep(LET_GO_AFTER).await;
            let _ = tokio::time::timeout(LET_GO_MAX, worker.execute_task(unknown())).await;
        }
    }
}

/// Makes the session a task is planned and worked on in.
struct Sessions {
    parts: Parts,
    channels: Channels,
    tasks: Arc<Tasks>,
}

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(&self, asked: WorkerQueryContext) -> Result<SessionState> {
        let WorkerQueryContext { builder, headers } = asked;
        let Parts { base, settings, lake, identities, .. } = &self.parts;
        let mut state = builder
            .with_scalar_functions(base.scalar_functions().values().cloned().collect())
            .with_aggregate_functions(base.aggregate_functions().values().cloned().collect())
            .with_window_functions(base.window_functions().values().cloned().collect())
            .with_higher_order_functions(base.higher_order_functions().values().cloned().collect())
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_worker_plan_rewrite_handler(only_reads)
            .build();
        // Without a flag its call is over already.
        let flag = self.tasks.flag(&headers).unwrap_or_else(|| Stop::default().flag());
        let pool = Arc::clone(&state.runtime_env().memory_pool);
        let person_of = pinned::person_of(&headers, settings, lake, identities).await?;
        for function in
            [ScalarUDF::from(person_of), attribution::credit_function(flag.clone(), pool), stop::unless_stopped(flag)]
        {
            state.register_udf(Arc::new(function))?;
        }
        Ok(state)
    }
}

/// A plan as it is, if all it takes in are files of the lake and the rows of other stages.
fn only_reads(event: WorkerPlanRewriteEvent<'_>) -> Result<WorkerPlanRewriteEventResponse> {
    match stranger(&event.plan) {
        None => Ok(WorkerPlanRewriteEventResponse::new(event.plan)),
        Some(name) => exec_err!("a worker reads the lake, and does not do {name}"),
    }
}

fn stranger(plan: &Arc<dyn ExecutionPlan>) -> Option<String> {
    let is_source = scan_of_lake(plan).is_some() || plan.is_network_boundary();
    let children = plan.children();
    if (children.is_empty() && !is_source) || plan.downcast_ref::<DataSinkExec>().is_some() {
        return Some(plan.name().to_owned());
    }
    children.into_iter().find_map(stranger)
}

#[cfg(test)]
mod tests {
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;

    use super::*;
    use crate::identity::PersonOf;

    #[test]
    fn what_is_no_scan_of_the_lake_is_refused() {
        let schema = Arc::new(arrow::datatypes::Schema::empty());
        let memory = MemorySourceConfig::try_new_exec(&[vec![]], schema, None).unwrap();
        let plan: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(memory));
        assert_eq!(stranger(&plan).as_deref(), Some("DataSourceExec"));
    }

    #[test]
    fn the_functions_made_anew_are_called_so() {
        let flag = Stop::default().flag();
        let pool: Arc<dyn datafusion::execution::memory_pool::MemoryPool> =
            Arc::new(datafusion::execution::memory_pool::UnboundedMemoryPool::default());
        let made = [
            ScalarUDF::from(PersonOf::new()),
            attribution::credit_function(flag.clone(), pool),
            stop::unless_stopped(flag),
        ];
        assert_eq!(made.each_ref().map(|function| function.name()), MADE_FOR_EACH_QUESTION);
    }
}

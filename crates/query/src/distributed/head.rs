//! The head: it gives the stages of a plan to workers and passes on what comes of them.
//!
//! In:       the plan of one process, the session it was planned in, what its question has pinned.
//! Out:      the rows; what the workers read.
//! Promise:  a question that is small, or of which nothing can travel, asks no worker. A worker that goes away costs one more try
//!           on those that are left, as long as nothing was told; up to `KEPT_BYTES_MAX` of an answer are kept back for that until
//!           it is whole. Dropping the stream ends the work here and there.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion_distributed::{DesiredTaskCountEvent, DistributedExt, SessionStateBuilderExt, WorkerResolver};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;
use url::Url;

use super::channels::Channels;
use super::codec::Known;
use super::counted::Counted;
use super::leaf::{shared_out, wanted_tasks};
use super::members::{Members, Trouble, trouble};
use super::pinned::Pinned;
use super::plan::{Ready, Staged, is_worth_it, staged};
use super::settings;
use crate::error::QueryError;
use crate::settings::QuerySettings;
use crate::telling;

/// Of an answer that is not whole yet. An answer that is larger is told as it comes, and then cannot be begun anew.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// Batches computed ahead of the reader.
const BATCHES_AHEAD: usize = 2;

/// Clones are the same head.
#[derive(Clone)]
pub(crate) struct Head(Arc<Shared>);

struct Shared {
    settings: Arc<QuerySettings>,
    known: Arc<Known>,
    channels: Channels,
    members: Members,
}

/// What a head needs of the sessions it plans in.
pub(crate) fn fit(config: &mut SessionConfig) {
    // A plan of one partition has no place to be cut at.
    if config.target_partitions() < 2 {
        *config = config.clone().with_target_partitions(2);
    }
    // Else such a subquery is a value in the memory of this process; as a join it travels.
    config.options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
}

impl Head {
    /// * `base`: what every session begins with.
    pub(crate) fn new(settings: Arc<QuerySettings>, base: &SessionState) -> Result<Self> {
        // They passed the check.
        let urls = settings.workers.iter().filter_map(|worker| settings::address(worker).ok()).collect();
        let channels = Channels::new(&settings.worker_token)?;
        let members = Members::new(urls, channels.clone());
        Ok(Self(Arc::new(Shared { settings, known: Arc::new(Known::of(base)), channels, members })))
    }

    /// The rows of `plan`; `None` where it is not worth asking anybody.
    ///
    /// * `session`: it was planned in.
    pub(crate) async fn run(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        session: &SessionState,
        pinned: Pinned,
    ) -> Result<Option<(SendableRecordBatchStream, Arc<Counted>)>, QueryError> {
        let scan_bytes_min = self.0.settings.worker_scan_bytes_min;
        if self.0.members.count() < 2 || !is_worth_it(plan, scan_bytes_min) {
            return Ok(None);
        }
        let here = self.0.members.here(false).await?;
        let asked = Asked { head: self.clone(), session: session.clone(), pinned, counted: Arc::default() };
        let wrong = |error| QueryError::from_datafusion(error, self.0.settings.memory_bytes_max);
        let Some(run) = asked.staged(plan, here, false).await.map_err(wrong)? else { return Ok(None) };
        let counted = Arc::clone(&asked.counted);
        let mut answer = RecordBatchReceiverStream::builder(plan.schema(), BATCHES_AHEAD);
        let (out, plan) = (answer.tx(), Arc::clone(plan));
        answer.spawn(async move { asked.answer(run, plan, out).await });
        Ok(Some((answer.build(), counted)))
    }
}

/// One question of a head.
struct Asked {
    head: Head,
    session: SessionState,
    pinned: Pinned,
    counted: Arc<Counted>,
}

/// One try.
struct Run {
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
}

/// Why a try came to nothing.
struct Failed {
    error: DataFusionError,
    /// Rows have gone out: it cannot be begun anew.
    is_told: bool,
}

impl Asked {
    async fn staged(&self, plan: &Arc<dyn ExecutionPlan>, workers: Vec<Url>, asked_again: bool) -> Result<Option<Run>> {
        let count = workers.len();
        let made = staged(plan, &self.head.0.known, |ready| self.session(ready, workers)).await?;
        let Some((Staged { plan, tasks }, state)) = made else { return Ok(None) };
        self.counted.begin(count, tasks, asked_again);
        metrics::counter!(telling::SPREAD_TASKS).increment(tasks as u64);
        Ok(Some(Run { plan, context: state.task_ctx() }))
    }

    /// The session with the library's planner, which finds the plan made.
    fn session(&self, ready: Ready, workers: Vec<Url>) -> Result<SessionState> {
        let Shared { settings, channels, .. } = &*self.head.0;
        let scan_bytes_min = settings.worker_scan_bytes_min;
        let wanted = move |event: DesiredTaskCountEvent<'_>| wanted_tasks(event, scan_bytes_min);
        let builder = SessionStateBuilder::new_from_existing(self.session.clone())
            .with_query_planner(Arc::new(ready))
            .with_distributed_worker_resolver(Listed(workers))
            .with_distributed_channel_resolver(channels.clone())
            .with_distributed_planner()
            .with_distributed_desired_task_count_handler(wanted)
            .with_distributed_scale_up_leaf_node_handler(shared_out)
            .with_distributed_passthrough_headers(self.pinned.headers()?)?
            .with_distributed_metrics_collection(true)?
            // Its share of workers counts the parts of a union, and no mark holds it back.
            .with_distributed_children_isolator_unions(false)?;
        Ok(builder.build())
    }

    async fn answer(self, first: Run, plan: Arc<dyn ExecutionPlan>, out: Sender<Result<RecordBatch>>) -> Result<()> {
        let Failed { error, is_told } = match self.attempt(first, &out).await {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        let Some(here) = self.left_after(&error).await? else { return Err(self.explained(error)) };
        tracing::warn!(%error, left = here.len(), "a worker went away while a question ran");
        if is_told {
            let reason = "a worker went away after a part of the answer was told: ask again".to_owned();
            return Err(external(QueryError::WorkersAway { reason }));
        }
        metrics::counter!(telling::ASKED_AGAIN).increment(1);
        let left = here.len();
        let plan = reset_plan_states(plan)?;
        // One that is left alone does all of it: where nobody shares, the plan is not cut, and the head has its own threads.
        let second = match self.staged(&plan, here, true).await? {
            Some(run) => run,
            None => {
                self.counted.begin(0, 0, true);
                Run { plan, context: self.session.task_ctx() }
            }
        };
        let Err(Failed { error, .. }) = self.attempt(second, &out).await else { return Ok(()) };
        if self.left_after(&error).await?.is_none() {
            return Err(self.explained(error));
        }
        tracing::warn!(%error, "a worker went away while a question ran a second time");
        let all = self.head.0.members.count();
        let reason = format!(
            "a worker went away while the question ran, and one more when it was asked again of the {left} of {all} that were left: \
             ask again when the workers stay; the server's log says which went"
        );
        Err(external(QueryError::WorkersAway { reason }))
    }

    async fn attempt(&self, run: Run, out: &Sender<Result<RecordBatch>>) -> Result<(), Failed> {
        let mut kept = Vec::new();
        let (mut kept_bytes, mut is_told) = (0, false);
        let failed = |error, is_told| Failed { error, is_told };
        let mut batches = execute_stream(Arc::clone(&run.plan), run.context).map_err(|error| failed(error, false))?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| failed(error, is_told))?;
            kept_bytes += get_record_batch_memory_size(&batch);
            kept.push(batch);
            if is_told || KEPT_BYTES_MAX < kept_bytes {
                is_told = true;
                if !tell(&mut kept, out).await {
                    return Ok(());
                }
            }
        }
        if tell(&mut kept, out).await {
            self.counted.take(run.plan).await;
        }
        Ok(())
    }

    /// Who is there after an error, if it was one of theirs going away.
    async fn left_after(&self, error: &DataFusionError) -> Result<Option<Vec<Url>>> {
        let is_gone = match trouble(error) {
            Trouble::Gone => true,
            // Of another worker that it could not reach a worker tells in words only.
            Trouble::Other => false,
            Trouble::Refused(_) => return Ok(None),
        };
        let here = self.head.0.members.here(false).await.map_err(external)?;
        let asked = self.counted.facts().count;
        Ok((is_gone || here.len() < asked).then_some(here))
    }

    /// A refusal as what it is.
    fn explained(&self, error: DataFusionError) -> DataFusionError {
        match trouble(&error) {
            Trouble::Refused(reason) => external(QueryError::WorkerRefuses { reason }),
            _ => error,
        }
    }
}

/// Whether anybody listens.
async fn tell(kept: &mut Vec<RecordBatch>, out: &Sender<Result<RecordBatch>>) -> bool {
    for batch in kept.drain(..) {
        if out.send(Ok(batch)).await.is_err() {
            return false;
        }
    }
    true
}

fn external(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

struct Listed(Vec<Url>);

impl WorkerResolver for Listed {
    fn get_urls(&self) -> Result<Vec<Url>> {
        Ok(self.0.clone())
    }
}

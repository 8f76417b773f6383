//! Which part of a plan the workers do.
//!
//! In:      the plan of one process; who is there to help.
//! Out:     the plan in stages, or nothing where it is not worth it or nothing can travel.
//! Promise: the head keeps what cannot travel and all that is above it; no stage that travels holds any of it, or the plan is not
//!          cut at all. Below, stages are as the library cuts them.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use datafusion::physical_plan::analyze::AnalyzeExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::explain::ExplainExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, ExecutionPlan, ExecutionPlanProperties, Partitioning, ReplaceChildrenOptions,
};
use datafusion_distributed::{DistributedExec, NetworkBoundaryExt};

use super::codec::{Known, scan_of_lake};
use super::leaf::bytes_of;
use super::mark::Mark;
use crate::fold::FoldExec;

/// A plan whose stages are set.
pub(super) struct Staged {
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Parts of stages, each for one worker.
    pub(super) tasks: usize,
}

/// Whether a scan is so large that two workers would share it.
pub(super) fn is_worth_it(plan: &Arc<dyn ExecutionPlan>, scan_bytes_min: u64) -> bool {
    let is_large = |node: &Arc<dyn ExecutionPlan>| {
        scan_of_lake(node).map(bytes_of).is_some_and(|bytes| scan_bytes_min.saturating_mul(2) <= bytes)
    };
    // What is only told of a plan is told of that of one process.
    let is_told = plan.downcast_ref::<ExplainExec>().is_some() || plan.downcast_ref::<AnalyzeExec>().is_some();
    !is_told && plan.exists(|node| Ok(is_large(node))).unwrap_or(false)
}

/// * `session`: with the library's planner, which is to find what to cut in `Ready`.
pub(super) async fn staged(
    plan: &Arc<dyn ExecutionPlan>,
    known: &Arc<Known>,
    session: impl FnOnce(Ready) -> Result<SessionState>,
) -> Result<Option<(Staged, SessionState)>> {
    let plan = without_looks(Arc::clone(plan))?;
    let state = session(Ready(prepared(&plan, known)?.plan))?;
    let nothing =
        LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema: Arc::new(DFSchema::empty()) });
    let cut = state.query_planner().create_physical_plan(&nothing, &state).await?;
    let Some(whole) = cut.downcast_ref::<DistributedExec>() else { return Ok(None) };
    let [head] = whole.children()[..] else { return internal_err!("a plan in stages has one root") };
    let mut tasks = 0;
    let mut strays = None;
    head.apply(|node| {
        if let Some(boundary) = node.as_network_boundary() {
            let stage = boundary.input_stage();
            tasks += stage.task_count();
            let below = node.children();
            strays = strays.take().or_else(|| below.into_iter().any(Mark::is_in).then(|| node.name().to_owned()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if let Some(name) = strays {
        debug_assert!(false, "what must stay is below {name}");
        // Slower and right.
        tracing::error!(
            boundary = name,
            "a part of a plan that must stay would have travelled: answered by one process"
        );
        return Ok(None);
    }
    let mut head = Mark::remove(Arc::clone(head))?;
    // What a mark gathered before comes in many partitions now; the library runs the first.
    if 1 < head.output_partitioning().partition_count() {
        head = Arc::new(CoalescePartitionsExec::new(head));
    }
    let plan = Arc::new(DistributedExec::new(head).with_metrics_collection(true));
    Ok(Some((Staged { plan, tasks }, state)))
}

/// A first look spares gathering, which is done here; to the workers it is the same rows once more.
fn without_looks(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plain = plan.transform_down(|node| {
        Ok(match node.downcast_ref::<FoldExec>().and_then(FoldExec::without_look) {
            Some(plain) => Transformed::yes(plain),
            None => Transformed::no(node),
        })
    });
    plain.data()
}

struct Prepared {
    plan: Arc<dyn ExecutionPlan>,
    /// All of it.
    travels: bool,
}

/// The plan with marks around what stays.
fn prepared(plan: &Arc<dyn ExecutionPlan>, known: &Arc<Known>) -> Result<Prepared> {
    if known.can_travel(plan) {
        return Ok(Prepared { plan: Arc::clone(plan), travels: true });
    }
    let inputs = plan.children();
    if inputs.is_empty() {
        return Ok(Prepared { plan: Mark::stays(Arc::clone(plan)), travels: false });
    }
    let keeps_order = plan.maintains_input_order();
    let mut children = Vec::with_capacity(inputs.len());
    let mut is_marked_below = false;
    for (index, input) in inputs.into_iter().enumerate() {
        let Prepared { plan: child, travels } = prepared(input, known)?;
        is_marked_below |= !travels;
        // Whoever is above may count on an order that passes through.
        let order_counts = keeps_order.get(index).copied().unwrap_or(true) && child.output_ordering().is_some();
        let is_hashed = matches!(child.output_partitioning(), Partitioning::Hash(..));
        let is_many = 1 < child.output_partitioning().partition_count();
        children.push(if travels && is_many && !is_hashed && !order_counts { Mark::gathers(child) } else { child });
    }
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    let plan = Arc::clone(plan).replace_children(children, options)?;
    Ok(Prepared { plan: if is_marked_below { plan } else { Mark::stays(plan) }, travels: false })
}

/// Has planned already.
#[derive(Debug)]
pub(super) struct Ready(Arc<dyn ExecutionPlan>);

#[async_trait]
impl QueryPlanner for Ready {
    async fn create_physical_plan(&self, _: &LogicalPlan, _: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

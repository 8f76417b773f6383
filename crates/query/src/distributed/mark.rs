//! Marks in a plan while it is cut into stages; none is left when it runs.
//!
//! In:      a plan that is to stay with the head, or one whose partitions are to come from workers.
//! Out:     an operator that says so, and passes on what is below it.
//! Promise: the cutter keeps what is above a mark, and what a mark of the first kind is around, out of every stage that travels.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties, SendableRecordBatchStream,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What is directly below cannot travel.
    Stays,
    /// Below is a gathering of partitions into one, so that a stage ends there; it goes when the mark goes.
    Gathers,
}

#[derive(Debug)]
pub(super) struct Mark {
    kind: Kind,
    input: Arc<dyn ExecutionPlan>,
}

impl Mark {
    pub(super) fn stays(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { kind: Kind::Stays, input })
    }

    pub(super) fn gathers(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self { kind: Kind::Gathers, input: Arc::new(CoalescePartitionsExec::new(input)) })
    }

    /// Whether there is a mark in the plan, so that its root stays with the head.
    pub(super) fn is_in(plan: &Arc<dyn ExecutionPlan>) -> bool {
        plan.exists(|node| Ok(node.downcast_ref::<Self>().is_some())).unwrap_or(true)
    }

    /// The plan without them.
    pub(super) fn remove(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let without = plan.transform_up(|node| {
            let Some(mark) = node.downcast_ref::<Self>() else { return Ok(Transformed::no(node)) };
            let inner = match (mark.kind, mark.input.downcast_ref::<CoalescePartitionsExec>()) {
                (Kind::Gathers, Some(gathering)) => gathering.input(),
                (Kind::Gathers, None) => return internal_err!("a mark has lost its gathering"),
                (Kind::Stays, _) => &mark.input,
            };
            Ok(Transformed::yes(Arc::clone(inner)))
        })?;
        Ok(without.data)
    }
}

impl DisplayAs for Mark {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mark: {:?}", self.kind)
    }
}

impl ExecutionPlan for Mark {
    fn name(&self) -> &str {
        "Mark"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { kind: self.kind, input })),
            _ => internal_err!("a mark has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}

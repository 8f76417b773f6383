//! Stopping: how a question that nobody waits for any more ends soon, whatever it is doing.
//!
//! In:       a plan; the end of the wait (time is over, or the stream was dropped).
//! Out:      the same plan, whose joins look up now and then; a flag for functions that work long on one batch.
//! Promise:  a join with a condition ends within about one batch (8192 pairs), not at the end of the join. What
//!           neither pauses nor looks up (a sort, a group-by giving out its groups, an expression) ends with the
//!           batch it is at.
//!
//! Why: aborting a task takes effect where it pauses. DataFusion's scans and exchanges pause by budget; its joins
//! do not, and a join whose condition is seldom true gives nothing out for as long as it holds on to one batch:
//! a million rows beside a batch are eight billion pairs. So each condition of a join asks whether to go on, and
//! each join pauses by budget where it gives something out.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};

/// Stops the work when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Stop(StopFlag);

/// What the work asks. Equal only to its own copies: two questions do not share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// An error once nobody waits any more.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return exec_err!("stopped: nobody waits for the answer any more");
        }
        Ok(())
    }
}

impl PartialEq for StopFlag {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StopFlag {}

impl Hash for StopFlag {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

impl Stop {
    pub(crate) fn now(&self) {
        self.0.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn flag(&self) -> StopFlag {
        self.0.clone()
    }

    /// Has the conditions of all joins ask first. For an optimised plan: the optimiser would not see through.
    pub(crate) fn ask_in_joins(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        self.0.ask_in_joins(plan)
    }
}

impl StopFlag {
    /// The same for a plan within another.
    pub(crate) fn ask_in_joins(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let ask = unless_stopped(self.clone());
        let asking = plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Join(mut join) if join.filter.is_some() => {
                join.filter = join.filter.map(|filter| ask.call(vec![filter]));
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            node => Ok(Transformed::no(node)),
        })?;
        Ok(asking.data)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.now();
    }
}

/// What a condition of a join asks.
pub(crate) fn unless_stopped(flag: StopFlag) -> ScalarUDF {
    let signature = Signature::exact(vec![DataType::Boolean], Volatility::Volatile);
    ScalarUDF::from(UnlessStopped { signature, flag })
}

/// Has each join pause by budget.
pub(crate) fn pause_in_joins(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let pausing = plan.transform_up(|node| {
        let is_join = node.downcast_ref::<HashJoinExec>().is_some()
            || node.downcast_ref::<NestedLoopJoinExec>().is_some()
            || node.downcast_ref::<CrossJoinExec>().is_some()
            || node.downcast_ref::<SortMergeJoinExec>().is_some();
        if is_join {
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as _))
        } else {
            Ok(Transformed::no(node))
        }
    })?;
    Ok(pausing.data)
}

/// The condition as it is, or an error once the work is to stop.
#[derive(Debug, PartialEq, Eq, Hash)]
struct UnlessStopped {
    signature: Signature,
    flag: StopFlag,
}

impl ScalarUDFImpl for UnlessStopped {
    fn name(&self) -> &str {
        "unless_stopped"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.flag.check()?;
        Ok(arguments.args.swap_remove(0))
    }
}

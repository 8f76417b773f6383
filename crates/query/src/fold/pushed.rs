//! Columns of a plan, asked for where its rows are read.
//!
//! In:       a plan; what is wanted of its rows.
//! Out:      a plan with those columns and no others.
//! Promise:  what nothing wanted is made of is not read, where the plan is filters and columns over a scan.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

pub(super) fn only(
    columns: impl IntoIterator<Item = ProjectionExpr>,
    plan: Arc<dyn ExecutionPlan>,
    config: &ConfigOptions,
) -> Result<Arc<dyn ExecutionPlan>> {
    let columns: Vec<ProjectionExpr> = columns.into_iter().collect();
    ProjectionPushdown::new().optimize(Arc::new(ProjectionExec::try_new(columns, plan)?), config)
}

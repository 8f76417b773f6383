//! The fold as a node of a logical plan, and how it is planned.
//!
//! In:       a plan with the columns of a layout, of whatever types.
//! Out:      a node with the fold's schema; the operator for it.
//! Promise:  texts are read as views, which are compared and passed on without a copy.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::exec::FoldExec;
use super::{Folding, Layout};
use crate::stop::StopFlag;

#[derive(Debug, Clone)]
pub(crate) struct FoldNode {
    input: LogicalPlan,
    folding: Folding,
    stop: StopFlag,
    schema: DFSchemaRef,
}

/// Digits of a decimal before and after the point that fit a machine word.
const VALUE: DataType = DataType::Decimal128(18, 6);

impl FoldNode {
    /// A plan that folds `input`, whose columns are those of the layout.
    pub(crate) fn plan(input: LogicalPlan, folding: Folding, stop: StopFlag) -> Result<LogicalPlan> {
        let Layout { masks, codes, .. } = folding.layout;
        let (masks_end, codes_end) = (Layout::BEFORE_MASKS + masks, Layout::BEFORE_MASKS + masks + codes);
        if input.schema().fields().len() != folding.layout.column_count() || Layout::MASKS_MAX < masks {
            return internal_err!("the columns of a fold are not those of its layout");
        }
        let schema = Arc::clone(input.schema());
        let cast = |(index, column): (usize, Expr)| {
            let wanted = match index {
                0 => DataType::Utf8View,
                1 | 2 => DataType::Int64,
                index if index < masks_end => DataType::Boolean,
                index if index < codes_end => DataType::Utf8View,
                _ => VALUE,
            };
            // Columns may bear one name: a condition may be a step twice.
            Ok(column.cast_to(&wanted, &schema)?.alias(format!("c{index}")))
        };
        let columns = schema.columns().into_iter().map(Expr::Column).enumerate().map(cast);
        let input = LogicalPlanBuilder::from(input.clone()).project(columns.collect::<Result<Vec<_>>>()?)?.build()?;
        let schema = Arc::new(DFSchema::try_from(folding.fold.schema())?);
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(Self { input, folding, stop, schema }) }))
    }
}

/// Equal only to its own copies: two calls do not share a fold.
impl PartialEq for FoldNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.folding.fold, &other.folding.fold) && self.input == other.input
    }
}

impl Eq for FoldNode {}

impl Hash for FoldNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
    }
}

impl PartialOrd for FoldNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for FoldNode {
    fn name(&self) -> &str {
        "Fold"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fold: {}", self.folding.fold.explain())
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self { input, ..self.clone() }),
            _ => internal_err!("a fold has one input"),
        }
    }

    /// All of the input's columns, whichever of the answer's are asked for.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.folding.layout.column_count()).collect()])
    }
}

/// DataFusion's planner, which also knows folds.
#[derive(Debug, Default)]
pub(crate) struct FoldPlanner;

#[async_trait]
impl QueryPlanner for FoldPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Self)]);
        planner.create_physical_plan(plan, session).await
    }
}

#[async_trait]
impl ExtensionPlanner for FoldPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(fold) = node.as_any().downcast_ref::<FoldNode>() else { return Ok(None) };
        let [input] = inputs else { return internal_err!("a fold has one input") };
        Ok(Some(Arc::new(FoldExec::new(Arc::clone(input), fold.folding.clone(), fold.stop.clone()))))
    }
}

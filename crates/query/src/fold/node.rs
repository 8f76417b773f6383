//! The fold as a node of a logical plan, and how it is planned.
//!
//! In:       a plan with the columns of a layout, of whatever types.
//! Out:      a node with the fold's schema; the operator for it. Where a fold leaves units out by a condition, a second input
//!           tells the units that meet it.
//! Promise:  texts are read as views, which are compared and passed on without a copy.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::tree_node::TreeNodeRecursion;
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
    /// The units of the rows that meet a condition the fold asks for.
    look: Option<LogicalPlan>,
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
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let wanted = folding.fold.wanted();
        let conditions = (0..masks).filter(|bit| wanted & 1 << bit != 0);
        let conditions = conditions.map(|bit| columns[Layout::BEFORE_MASKS + bit].clone().unalias());
        let look = match conditions.reduce(Expr::or).filter(|_| !is_volatile(&input)) {
            Some(any) => {
                let units = LogicalPlanBuilder::from(input.clone()).filter(any)?.project([columns[0].clone()])?;
                Some(units.build()?)
            }
            None => None,
        };
        let input = LogicalPlanBuilder::from(input).project(columns)?.build()?;
        let schema = Arc::new(DFSchema::try_from(folding.fold.schema())?);
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(Self { input, look, folding, stop, schema }) }))
    }
}

/// Whether it may say something else when it is asked twice.
fn is_volatile(plan: &LogicalPlan) -> bool {
    let mut found = false;
    let looked = plan.apply_with_subqueries(|node| {
        found |= node.expressions().iter().any(Expr::is_volatile);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found || looked.is_err()
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
        std::iter::once(&self.input).chain(&self.look).collect()
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

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut inputs = inputs.into_iter();
        match (inputs.next(), inputs.next(), inputs.next()) {
            (Some(input), look, None) if look.is_some() == self.look.is_some() => {
                Ok(Self { input, look, ..self.clone() })
            }
            _ => internal_err!("a fold has the inputs it was made with"),
        }
    }

    /// All of the input's columns, whichever of the answer's are asked for.
    fn necessary_children_exprs(&self, _: &[usize]) -> Option<Vec<Vec<usize>>> {
        let units = self.look.as_ref().map(|_| vec![0]);
        Some(std::iter::once((0..self.folding.layout.column_count()).collect()).chain(units).collect())
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
        let (input, look) = match inputs {
            [input] => (input, None),
            [input, look] => (input, Some(Arc::clone(look))),
            _ => return internal_err!("a fold has one input, or two"),
        };
        Ok(Some(Arc::new(FoldExec::new(Arc::clone(input), look, fold.folding.clone(), fold.stop.clone()))))
    }
}

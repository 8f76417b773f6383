//! The fold as a node of a logical plan, and how it is planned.
//!
//! In:       a plan with the columns of a layout, of whatever types.
//! Out:      a node with the fold's schema; the operator for it. Where a fold leaves units out by a condition, a second input
//!           tells the units that meet it. Where each condition is on one text, the texts are asked for in their place.
//! Promise:  texts are read as views, which are compared and passed on without a copy.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, internal_err};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Extension, LogicalPlan, LogicalPlanBuilder, Operator, UserDefinedLogicalNode,
    UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};

use super::ask_text::TextConditions;
use super::exec::FoldExec;
use super::{Folding, Layout};
use crate::stop::StopFlag;

#[derive(Debug, Clone)]
pub(crate) struct FoldNode {
    input: LogicalPlan,
    /// The units of the rows that meet a condition the fold asks for.
    look: Option<LogicalPlan>,
    /// All conditions of the layout, where each is on one text: the input then has those texts in their place.
    of_texts: Vec<OfText>,
    folding: Folding,
    /// Nothing in the input says something else when it is asked twice.
    is_steady: bool,
    stop: StopFlag,
    schema: DFSchemaRef,
}

/// Conditions that read one column and nothing else.
#[derive(Debug, Clone)]
struct OfText {
    /// Each with its bit.
    conditions: Vec<(usize, Expr)>,
    /// Of that column, as a view.
    schema: DFSchemaRef,
}

/// Digits of a decimal before and after the point that fit a machine word.
const VALUE: DataType = DataType::Decimal128(18, 6);

impl FoldNode {
    /// A plan that folds `input`, whose columns are those of the layout.
    pub(crate) fn plan(input: LogicalPlan, folding: Folding, stop: StopFlag) -> Result<LogicalPlan> {
        let layout = folding.layout;
        if input.schema().fields().len() != layout.column_count() || Layout::MASKS_MAX < layout.masks {
            return internal_err!("the columns of a fold are not those of its layout");
        }
        let columns = cast(&input, types(layout, vec![DataType::Boolean; layout.masks]))?;
        let wanted = folding.fold.wanted();
        let conditions = (0..layout.masks).filter(|bit| wanted & 1 << bit != 0);
        let conditions = conditions.map(|bit| columns[Layout::BEFORE_MASKS + bit].clone().unalias());
        let is_steady = !is_volatile(&input);
        let look = match conditions.reduce(Expr::or).filter(|_| is_steady) {
            Some(any) => {
                let units = LogicalPlanBuilder::from(input.clone()).filter(any)?.project([columns[0].clone()])?;
                Some(units.build()?)
            }
            None => None,
        };
        let (input, of_texts) = match OfText::all(&input, layout)?.filter(|_| is_steady) {
            Some((of_texts, input)) => (input, of_texts),
            None => (LogicalPlanBuilder::from(input).project(columns)?.build()?, Vec::new()),
        };
        let schema = Arc::new(DFSchema::try_from(folding.fold.schema())?);
        Ok(LogicalPlan::Extension(Extension {
            node: Arc::new(Self { input, look, of_texts, folding, is_steady, stop, schema }),
        }))
    }
}

/// * `masks`: of the columns that stand where conditions do.
fn types(layout: Layout, masks: Vec<DataType>) -> Vec<DataType> {
    let mut types = vec![DataType::Utf8View, DataType::Int64, DataType::Int64];
    types.extend(masks);
    types.extend(std::iter::repeat_n(DataType::Utf8View, layout.codes));
    types.extend(std::iter::repeat_n(VALUE, layout.values));
    types
}

fn cast(input: &LogicalPlan, types: Vec<DataType>) -> Result<Vec<Expr>> {
    let columns = input.schema().columns().into_iter().map(Expr::Column).enumerate().zip(types);
    // Columns may bear one name: a condition may be a step twice.
    let cast = |((index, column), wanted): ((usize, Expr), DataType)| {
        Ok(column.cast_to(&wanted, input.schema())?.alias(format!("c{index}")))
    };
    columns.map(cast).collect()
}

impl OfText {
    /// The conditions of an input by their texts, and its columns with those in their place; `None` if a condition does
    /// more than compare one of them, or there are too many.
    fn all(input: &LogicalPlan, layout: Layout) -> Result<Option<(Vec<Self>, LogicalPlan)>> {
        const COLUMNS_MAX: usize = 4;
        let LogicalPlan::Projection(rows) = input else { return Ok(None) };
        let (before, rest) = rows.expr.split_at(Layout::BEFORE_MASKS);
        let (masks, after) = rest.split_at(layout.masks);
        let mut by_text: Vec<(&Column, Vec<(usize, Expr)>)> = Vec::new();
        let mut of_none = Vec::new();
        for (bit, condition) in masks.iter().enumerate() {
            let bare = (bit, condition.clone().unalias());
            match *condition.column_refs().into_iter().collect::<Vec<_>>() {
                _ if !only_compares(condition) => return Ok(None),
                [] => of_none.push(bare),
                [text] => match by_text.iter_mut().find(|(other, _)| *other == text) {
                    Some((_, conditions)) => conditions.push(bare),
                    None => by_text.push((text, vec![bare])),
                },
                _ => return Ok(None),
            }
        }
        match by_text.first_mut() {
            Some((_, conditions)) => conditions.extend(of_none),
            None => return Ok(None),
        }
        let mut of_texts = Vec::with_capacity(by_text.len());
        let mut columns = before.to_vec();
        for (nth, (text, conditions)) in by_text.into_iter().enumerate() {
            let (table, field) = rows.input.schema().qualified_field_from_column(text)?;
            if nth == COLUMNS_MAX || !matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View) {
                return Ok(None);
            }
            let field = field.as_ref().clone().with_data_type(DataType::Utf8View).with_nullable(true);
            let field = Arc::new(field);
            let schema = DFSchema::new_with_metadata(vec![(table.cloned(), field)], HashMap::new())?;
            of_texts.push(Self { conditions, schema: Arc::new(schema) });
            columns.push(Expr::Column(text.clone()).alias(format!("text{nth}")));
        }
        columns.extend_from_slice(after);
        let input = LogicalPlanBuilder::from(rows.input.as_ref().clone()).project(columns)?.build()?;
        let columns = cast(&input, types(layout, vec![DataType::Utf8View; of_texts.len()]))?;
        Ok(Some((of_texts, LogicalPlanBuilder::from(input).project(columns)?.build()?)))
    }

    fn planned(&self, session: &dyn Session) -> Result<TextConditions> {
        let conditions = self.conditions.iter().map(|(bit, condition)| {
            let condition = condition.clone().cast_to(&DataType::Boolean, &self.schema)?;
            Ok((*bit, session.create_physical_expr(condition, &self.schema)?))
        });
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        Ok(TextConditions { conditions, schema: Arc::clone(self.schema.inner()) })
    }
}

/// Whether it compares, and does nothing else. Such a condition means the same however it is planned; functions are rewritten
/// and simplified on the way through the optimizer, which conditions that are asked of texts do not take.
fn only_compares(condition: &Expr) -> bool {
    use Operator::{And, Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq, Or};
    let compares = TreeNode::exists(condition, |part| {
        let does = match part {
            Expr::Alias(_) | Expr::Column(_) | Expr::Literal(..) | Expr::Not(_) => true,
            Expr::IsNull(_) | Expr::IsNotNull(_) | Expr::InList(_) | Expr::Between(_) => true,
            Expr::BinaryExpr(both) => {
                matches!(both.op, Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or | IsDistinctFrom | IsNotDistinctFrom)
            }
            _ => false,
        };
        Ok(!does)
    });
    compares.is_ok_and(|does_more| !does_more)
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
        let rows = (0..self.input.schema().fields().len()).collect();
        Some(std::iter::once(rows).chain(units).collect())
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
        session: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(fold) = node.as_any().downcast_ref::<FoldNode>() else { return Ok(None) };
        let (input, look) = match inputs {
            [input] => (input, None),
            [input, look] => (input, Some(Arc::clone(look))),
            _ => return internal_err!("a fold has one input, or two"),
        };
        let conditions = fold.of_texts.iter().map(|of_text| Ok(Arc::new(of_text.planned(session)?)));
        let conditions = conditions.collect::<Result<Vec<_>>>()?;
        let (folding, stop) = (fold.folding.clone(), fold.stop.clone());
        Ok(Some(Arc::new(FoldExec::new(Arc::clone(input), look, conditions, folding, fold.is_steady, stop))))
    }
}

//! A table or view as one access sees it.
//!
//! In:       the table, a rule for rows, masks.
//! Out:      a provider whose scan ends in a `SeenExec`.
//! Promise:  all that is asked of the table goes through it. Of the conditions above only those are handed down that cannot
//!           fail and look at no masked column (a comparison of a plain column with a value): they leave out files and row
//!           groups, and are worked out again above.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ToDFSchema, internal_datafusion_err, internal_err};
use datafusion::datasource::TableType;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::exec::{Seen, SeenExec};
use super::mask::{Mask, Masks};
use super::rows::RowRule;
use crate::stop::StopFlag;

#[derive(Debug)]
pub(crate) struct SeenTable {
    inner: Arc<dyn TableProvider>,
    rows: Option<RowRule>,
    masks: Option<Arc<Masks>>,
    schema: SchemaRef,
    stop: StopFlag,
}

impl SeenTable {
    pub(crate) fn new(
        inner: Arc<dyn TableProvider>,
        rows: Option<RowRule>,
        masks: Option<Arc<Masks>>,
        stop: StopFlag,
    ) -> Self {
        let below = inner.schema();
        let fields = below.fields().iter().map(|field| match masks.as_ref().and_then(|masks| masks.of(field.name())) {
            Some(Mask::Null) => Arc::new(field.as_ref().clone().with_nullable(true)),
            _ => Arc::clone(field),
        });
        let schema = Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), below.metadata().clone()));
        Self { inner, rows, masks, schema, stop }
    }

    fn mask_of(&self, column: &str) -> Option<Mask> {
        self.masks.as_ref()?.of(column)
    }

    /// Whether a condition may be worked out below: it cannot fail, whatever the row, and sees no masked value.
    fn is_harmless(&self, filter: &Expr) -> bool {
        let mut harmless = true;
        let looked = filter.apply(|part| {
            harmless &= match part {
                Expr::Column(column) => {
                    self.mask_of(&column.name).is_none() && self.schema.index_of(&column.name).is_ok()
                }
                Expr::BinaryExpr(of) => is_comparison(of.op),
                Expr::Literal(..)
                | Expr::Between(_)
                | Expr::InList(_)
                | Expr::Not(_)
                | Expr::IsNull(_)
                | Expr::IsNotNull(_) => true,
                _ => false,
            };
            Ok(if harmless { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        looked.is_ok() && harmless
    }

    async fn scan_table(
        &self,
        state: &dyn Session,
        columns: &Vec<usize>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let limit = limit.filter(|_| self.rows.is_none() && filters.is_empty());
        let plan = self.inner.scan(state, Some(columns), filters, limit).await?;
        let schema = plan.schema();
        let is_there = |filter: &&Expr| filter.column_refs().iter().all(|column| schema.index_of(&column.name).is_ok());
        let filters: Vec<Expr> = filters.iter().filter(is_there).cloned().collect();
        // Below the barrier, so that the files' own statistics leave row groups out.
        match conjunction(filters) {
            None => Ok(plan),
            Some(filter) => {
                let filter = state.create_physical_expr(filter, &schema.as_ref().clone().to_dfschema()?)?;
                Ok(Arc::new(FilterExec::try_new(filter, plan)?))
            }
        }
    }

    /// As the engine plans a question, with joins that look up whether anybody waits.
    async fn scan_view(
        &self,
        state: &dyn Session,
        view: &LogicalPlan,
        columns: &[usize],
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let session = state.as_any().downcast_ref::<SessionState>();
        let session =
            session.ok_or_else(|| internal_datafusion_err!("a view is planned in a session of DataFusion's"))?;
        let mut builder = LogicalPlanBuilder::from(view.clone());
        if let Some(filter) = conjunction(filters.to_vec()) {
            builder = builder.filter(filter)?;
        }
        let wanted = columns.iter().map(|index| Expr::Column(Column::from(view.schema().qualified_field(*index))));
        let plan = builder.project(wanted.collect::<Vec<_>>())?.build()?;
        let plan = self.stop.ask_in_joins(session.optimize(&plan)?)?;
        session.query_planner().create_physical_plan(&plan, session).await
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator as O;
    matches!(operator, O::Eq | O::NotEq | O::Lt | O::LtEq | O::Gt | O::GtEq | O::And | O::Or)
}

#[async_trait]
impl TableProvider for SeenTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    /// The text of a view; its plan stays hidden, or it would be put in place of this.
    fn get_table_definition(&self) -> Option<&str> {
        self.inner.get_table_definition()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let of = |filter: &&Expr| match self.is_harmless(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(of).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !filters.iter().all(|filter| self.is_harmless(filter)) {
            return internal_err!("a condition was handed down that must stay above");
        }
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let schema = Arc::new(self.schema.project(&wanted)?);
        let mut columns = wanted;
        let mut place = |name: &str| -> Result<usize> {
            let index = self.schema.index_of(name)?;
            let there = columns.iter().position(|column| *column == index);
            Ok(there.unwrap_or_else(|| {
                columns.push(index);
                columns.len() - 1
            }))
        };
        let rows = match self.rows {
            Some(rule) => {
                let [consent, flags] = RowRule::COLUMNS;
                Some((rule, [place(consent)?, place(flags)?]))
            }
            None => None,
        };
        let input = match self.inner.get_logical_plan() {
            Some(view) => self.scan_view(state, &view, &columns, filters).await?,
            None => self.scan_table(state, &columns, filters, limit).await?,
        };
        let masks: Vec<Option<Mask>> = schema.fields().iter().map(|field| self.mask_of(field.name())).collect();
        Ok(Arc::new(SeenExec::new(input, Seen { rows, schema, columns: masks, masks: self.masks.clone() })?))
    }
}

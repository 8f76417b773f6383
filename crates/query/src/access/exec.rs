//! The operator behind which an access cannot look.
//!
//! In:       the rows of a table, or of a view over seen rows.
//! Out:      the rows that are seen, with masks in place of personal values.
//! Promise:  nothing from above reaches what is below: no condition is handed down, so none is worked out on a row that is not
//!           seen or on a value before its mask (an error would tell it); and nothing is told upward that was counted below: no
//!           statistics, no metrics. Rows keep their order; it is declared as far as its columns are told as they are.
//!
//! These are the defaults of `ExecutionPlan`, which is why so few of its methods stand here. A method added here, such as
//! `gather_filters_for_pushdown` or `partition_statistics`, would be a hole. So would be to say that the order of the input is kept
//! (`maintains_input_order`), true as it is: the planner would sort below by the values before their masks.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_expr::projection::ProjectionMapping;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning, PhysicalExpr,
    PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;

use super::mask::{Mask, Masker, Masks};
use super::rows::RowRule;

/// What to do with each batch of the input.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// The rule, and where the input has the columns it looks at.
    pub(super) rows: Option<(RowRule, [usize; 2])>,
    /// Of the answer: the first columns of the input, in their order.
    pub(super) schema: SchemaRef,
    /// For each of them.
    pub(super) columns: Vec<Option<Mask>>,
    /// There if any column has one.
    pub(super) masks: Option<Arc<Masks>>,
}

#[derive(Debug)]
pub(super) struct SeenExec {
    input: Arc<dyn ExecutionPlan>,
    seen: Seen,
    properties: Arc<PlanProperties>,
}

impl SeenExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, seen: Seen) -> Result<Self> {
        let schema = Arc::clone(&seen.schema);
        // An order that only one column told as it is takes part in would do no harm; it is not worth the telling apart.
        let is_plain = seen.columns.iter().all(Option::is_none) && !seen.columns.is_empty();
        let equivalences = match is_plain {
            true => {
                let columns: Vec<usize> = (0..seen.columns.len()).collect();
                let mapping = ProjectionMapping::from_indices(&columns, &input.schema())?;
                input.equivalence_properties().project(&mapping, schema)
            }
            false => EquivalenceProperties::new(schema),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Ok(Self { input, seen, properties: Arc::new(properties) })
    }
}

impl DisplayAs for SeenExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masked = self.seen.columns.iter().zip(self.seen.schema.fields()).filter(|(mask, _)| mask.is_some());
        let masked: Vec<&str> = masked.map(|(_, field)| field.name().as_str()).collect();
        let rows = if self.seen.rows.is_some() { "by consent" } else { "all" };
        write!(f, "SeenExec: rows={rows}, masked=[{}]", masked.join(", "))
    }
}

impl ExecutionPlan for SeenExec {
    fn name(&self) -> &str {
        "SeenExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self::new(input, self.seen.clone())?)),
            _ => internal_err!("what is seen is seen of one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = Arc::clone(&self.seen.schema);
        let (seen, mut masker) = (self.seen.clone(), self.seen.masks.clone().map(Masker::new));
        let batches = input.map(move |batch| batch.and_then(|batch| seen.batch(&batch, masker.as_mut())));
        // What is left of a batch may be nothing.
        let batches = batches.filter(|batch| {
            let is_something = batch.as_ref().map_or(true, |batch| 0 < batch.num_rows());
            std::future::ready(is_something)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}

impl Seen {
    fn batch(&self, batch: &RecordBatch, mut masker: Option<&mut Masker>) -> Result<RecordBatch> {
        let rows = self.rows.map(|(rule, [consent, flags])| rule.seen(batch.column(consent), batch.column(flags)));
        let columns: Vec<usize> = (0..self.columns.len()).collect();
        let wanted = batch.project(&columns)?;
        let wanted = match rows {
            Some(rows) => filter_record_batch(&wanted, &rows)?,
            None => wanted,
        };
        let options = RecordBatchOptions::new().with_row_count(Some(wanted.num_rows()));
        let columns = wanted.columns().iter().zip(&self.columns).zip(self.schema.fields());
        let columns = columns.map(|((values, mask), field)| -> Result<ArrayRef> {
            match (mask, masker.as_deref_mut()) {
                (None, _) => Ok(cast(values, field.data_type())?),
                (Some(mask), Some(masker)) => masker.column(&cast(values, field.data_type())?, *mask),
                (Some(_), None) => internal_err!("a mask without a key"),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

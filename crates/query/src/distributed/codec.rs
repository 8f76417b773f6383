//! What may travel: a plan that can be written down, all of whose functions a worker has too.
//!
//! In:      a plan of one process.
//! Out:     whether a worker can make the same plan of what is written.
//! Promise: a function travels by its name alone, and only where that name means the same on a worker: it is one of those each
//!          session begins with, which are those of the program, or one of the three that a worker makes anew for each question
//!          (`worker.rs`). Nothing of ours that works on rows travels.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::{Result, not_impl_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::bytes::physical_plan_to_bytes_with_proto_converter;
use datafusion_proto::physical_plan::{
    DeduplicatingProtoConverter, PhysicalExtensionCodec, PhysicalProtoConverterExtension,
};

use super::worker::MADE_FOR_EACH_QUESTION;
use crate::lake_table::LAKE_URL;

/// The functions every session of the program begins with.
#[derive(Debug)]
pub(super) struct Known {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
}

impl Known {
    pub(super) fn of(base: &SessionState) -> Self {
        Self {
            scalar: base.scalar_functions().clone(),
            aggregate: base.aggregate_functions().clone(),
            window: base.window_functions().clone(),
            higher_order: base.higher_order_functions().clone(),
        }
    }

    /// Whether workers can do all of it.
    pub(super) fn can_travel(self: &Arc<Self>, plan: &Arc<dyn ExecutionPlan>) -> bool {
        reads_the_lake_only(plan) && {
            let converter = DeduplicatingProtoConverter::default();
            let check = Check(Arc::clone(self));
            physical_plan_to_bytes_with_proto_converter(Arc::clone(plan), &check, &converter).is_ok()
        }
    }
}

/// Rows that lie in the memory of this process (values, the log's tail, the map of persons) would have to be sent along.
fn reads_the_lake_only(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let children = plan.children();
    if children.is_empty() {
        return scan_of_lake(plan).is_some();
    }
    children.into_iter().all(reads_the_lake_only)
}

pub(super) fn scan_of_lake(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    let scan = plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()?;
    (scan.object_store_url == *LAKE_URL).then_some(scan)
}

/// Writes a plan down only to see whether it can be.
#[derive(Debug)]
struct Check(Arc<Known>);

fn same<F: PartialEq>(known: Option<&Arc<F>>, function: &F, name: &str) -> Result<()> {
    if known.is_some_and(|known| **known == *function) {
        return Ok(());
    }
    not_impl_err!("the function {name} of this question is not on the workers")
}

impl PhysicalExtensionCodec for Check {
    fn try_decode(
        &self,
        _: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        not_impl_err!("nothing is read back")
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        _: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        not_impl_err!("{} stays with the head", node.name())
    }

    fn try_encode_udf(&self, function: &ScalarUDF, _: &mut Vec<u8>) -> Result<()> {
        let name = function.name();
        if MADE_FOR_EACH_QUESTION.contains(&name) {
            return Ok(());
        }
        same(self.0.scalar.get(name), function, name)
    }

    fn try_encode_udaf(&self, function: &AggregateUDF, _: &mut Vec<u8>) -> Result<()> {
        same(self.0.aggregate.get(function.name()), function, function.name())
    }

    fn try_encode_udwf(&self, function: &WindowUDF, _: &mut Vec<u8>) -> Result<()> {
        same(self.0.window.get(function.name()), function, function.name())
    }

    fn try_encode_higher_order_function(&self, function: &HigherOrderUDF, _: &mut Vec<u8>) -> Result<()> {
        same(self.0.higher_order.get(function.name()), function, function.name())
    }
}

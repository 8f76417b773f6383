//! A table with its tail.
//!
//! In:      a pinned table, the rows beyond it.
//! Out:     a plan that reads both.
//! Promise: files are left out by filters as ever; the tail is in memory already and is shared, not copied.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, project_schema};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use tributary_schemas::Table;

use super::Live;
use crate::error::QueryError;
use crate::lake_table::LakeTable;

#[derive(Debug)]
pub(crate) struct LiveTable {
    table: Table,
    committed: Arc<LakeTable>,
    live: Live,
    tail_rows: Arc<AtomicU64>,
}

impl LiveTable {
    /// * `table`: `Events` or `Sessions`.
    pub(crate) fn new(table: Table, committed: Arc<LakeTable>, live: Live) -> Self {
        Self { table, committed, live, tail_rows: Arc::default() }
    }

    pub(crate) fn committed(&self) -> &LakeTable {
        &self.committed
    }

    /// Rows of the tail that plans have taken.
    pub(crate) fn tail_rows(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.tail_rows)
    }
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        self.committed.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.committed.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = match &self.live {
            Live::Rows(rows) => rows,
            Live::Away(reason) => return Err(external(reason.clone())),
            // The text of each statement is looked through for these names; one that hides them is not refused in vain.
            Live::NotAsked => return Err(external("write the name of the live table plainly".to_owned())),
        };
        let tail = match self.table {
            Table::Sessions => &rows.sessions,
            _ => &rows.events,
        };
        let committed = self.committed.scan(state, projection, filters, limit).await?;
        if tail.is_empty() {
            return Ok(committed);
        }
        let rows = tail.iter().map(|batch| batch.num_rows() as u64).sum();
        self.tail_rows.fetch_add(rows, Ordering::Relaxed);
        let schema = project_schema(&self.schema(), projection)?;
        let tail = tail.iter().map(|batch| as_read(batch, projection, &schema)).collect::<Result<Vec<_>>>()?;
        let tail: Arc<dyn ExecutionPlan> = MemorySourceConfig::try_new_exec(&[tail], schema, None)?;
        UnionExec::try_new(vec![committed, tail])
    }
}

/// The columns asked for, in the types the table reads its files in: texts as views.
fn as_read(batch: &RecordBatch, projection: Option<&Vec<usize>>, schema: &SchemaRef) -> Result<RecordBatch> {
    let batch = match projection {
        Some(columns) => batch.project(columns)?,
        None => batch.clone(),
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
}

fn external(reason: String) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::Live { reason }))
}

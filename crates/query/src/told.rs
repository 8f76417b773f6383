//! Texts as they are told: plain, where they were worked on as views.
//!
//! In:       a schema, or the batches of an answer.
//! Out:      the same with each view as a text.
//! Promise:  rows stay as they are and in their order. (A projection above the plan would not keep it: an order below one is
//!           asked for by nobody, and the planner drops it.)

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

pub(crate) fn schema(schema: &SchemaRef) -> SchemaRef {
    let told = |field: &FieldRef| match field.data_type() {
        DataType::Utf8View => Arc::new(field.as_ref().clone().with_data_type(DataType::Utf8)),
        _ => Arc::clone(field),
    };
    let fields = schema.fields().iter().map(told).collect::<Vec<_>>();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

pub(crate) fn stream(batches: SendableRecordBatchStream) -> SendableRecordBatchStream {
    if !batches.schema().fields().iter().any(|field| *field.data_type() == DataType::Utf8View) {
        return batches;
    }
    let told = schema(&batches.schema());
    let of_batch = Arc::clone(&told);
    let batches = batches.map(move |batch| batch.and_then(|batch| as_told(&batch, &of_batch)));
    Box::pin(RecordBatchStreamAdapter::new(told, batches))
}

fn as_told(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match field.data_type() {
        DataType::Utf8 => cast(column, &DataType::Utf8),
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &rows)?)
}

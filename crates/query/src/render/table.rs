//! The table a person reads in a terminal.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches_with_schema;

use crate::answer::Answer;

/// A table with a frame, and a line below saying how many rows in what time.
pub fn table(answer: &Answer) -> Result<String, ArrowError> {
    let frame = framed(&answer.schema, &answer.batches)?;
    let rows = answer.row_count();
    let plural = if rows == 1 { "row" } else { "rows" };
    let cut = if answer.truncated { ", more were cut off" } else { "" };
    Ok(format!("{frame}\n{rows} {plural} in {:.3} s{cut}\n", answer.elapsed.as_secs_f64()))
}

fn framed(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    Ok(pretty_format_batches_with_schema(schema.clone(), batches)?.to_string())
}

//! Which files may hold rows a question wants.
//!
//! In:       the filters of a scan; partition values and statistics of the files.
//! Out:      keep or skip, per file.
//! Promise:  a file is skipped only if its bounds prove that no row matches; no bounds, no skipping.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, Result, ScalarValue, ToDFSchema};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use tributary_lake::DataFile;

use super::statistics::{max_of, min_of};

pub(super) fn files_that_may_match(
    state: &dyn Session,
    schema: &SchemaRef,
    files: &[DataFile],
    filters: &[Expr],
) -> Result<Vec<bool>> {
    let Some(filter) = conjunction(filters.to_vec()) else {
        return Ok(vec![true; files.len()]);
    };
    let filter = state.create_physical_expr(filter, &schema.as_ref().clone().to_dfschema()?)?;
    let predicate = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).try_build(filter)?;
    if predicate.always_true() || files.is_empty() {
        return Ok(vec![true; files.len()]);
    }
    predicate.prune(&FileBounds { schema, files })
}

/// The first files that hold `limit` rows together: without filters each row counts.
pub(super) fn enough_for<'f>(limit: Option<usize>, files: impl Iterator<Item = &'f DataFile>) -> Vec<&'f DataFile> {
    let Some(limit) = limit else { return files.collect() };
    let mut rows = 0_u64;
    files
        .take_while(|file| {
            let is_wanted = rows < limit as u64;
            rows += file.rows;
            is_wanted
        })
        .collect()
}

struct FileBounds<'f> {
    schema: &'f SchemaRef,
    files: &'f [DataFile],
}

impl FileBounds<'_> {
    fn bounds(&self, column: &Column, bound: impl Fn(&DataFile, &str) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let data_type = self.schema.field_with_name(&column.name).ok()?.data_type();
        let null = ScalarValue::try_from(data_type).ok()?;
        let values = self.files.iter().map(|file| {
            bound(file, &column.name).and_then(|value| value.cast_to(data_type).ok()).unwrap_or_else(|| null.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for FileBounds<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, min_of)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, max_of)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self.files.iter().map(|file| {
            let is_partition = file.partition.iter().find(|(name, _)| *name == column.name);
            match is_partition {
                Some((_, Some(_))) => Some(0),
                Some((_, None)) => Some(file.rows),
                None => file.null_count(&column.name),
            }
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.files.iter().map(|file| Some(file.rows)).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

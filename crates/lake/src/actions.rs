//! Files as the Delta log speaks of them.
//!
//! In:      `DataFile`.
//! Out:     its Add and Remove actions; and a `DataFile` from an Add again.
//! Promise: what is written here is read back equal. The order of a compacted file stands in a tag that names its
//!          columns: should the order of the table change one day, older files do not pass for sorted.

use deltalake_core::kernel::{Add, Remove};
use tributary_schemas::Table;

use crate::error::LakeError;
use crate::log_state::lake_path;
use crate::snapshot::DataFile;
use crate::statistics;

/// The columns by which the rows of the file are sorted.
const SORTED: &str = "tributary.sorted";
/// The rows were compared with all others of their partition: no duplicates, no versions to drop.
const SETTLED: &str = "tributary.settled";

pub(crate) fn add(table: Table, file: &DataFile, data_change: bool) -> Add {
    let mut tags = std::collections::HashMap::new();
    if file.sorted {
        tags.insert(SORTED.to_owned(), Some(table.sort_columns().join(",")));
    }
    if file.settled {
        tags.insert(SETTLED.to_owned(), Some("true".to_owned()));
    }
    Add {
        path: path_in_table(table, file).to_owned(),
        partition_values: file.partition.iter().cloned().collect(),
        size: size(file),
        modification_time: file.modified_ms,
        data_change,
        stats: Some(statistics::to_json(file.rows, &file.stats)),
        tags: (!tags.is_empty()).then_some(tags),
        ..Add::default()
    }
}

/// * `now_ms`: from when on readers of older versions have the time of `vacuum`.
pub(crate) fn remove(table: Table, file: &DataFile, data_change: bool, now_ms: i64) -> Remove {
    Remove {
        path: path_in_table(table, file).to_owned(),
        data_change,
        deletion_timestamp: Some(now_ms),
        extended_file_metadata: Some(true),
        partition_values: Some(file.partition.iter().cloned().collect()),
        size: Some(size(file)),
        ..Remove::default()
    }
}

pub(crate) fn data_file(table: Table, add: &Add) -> Result<DataFile, LakeError> {
    let foreign = |reason: &str| LakeError::Foreign { table, reason: format!("file {}: {reason}", add.path) };
    if add.deletion_vector.is_some() {
        return Err(foreign("it has a deletion vector"));
    }
    let Some((rows, stats)) = add.stats.as_deref().and_then(statistics::from_json) else {
        return Err(foreign("the log does not say how many rows it has"));
    };
    let value = |column: &str| add.partition_values.get(column).cloned().flatten().filter(|text| !text.is_empty());
    let tag = |name: &str| add.tags.as_ref().and_then(|tags| tags.get(name)?.as_deref());
    Ok(DataFile {
        path: lake_path(table, &add.path).into(),
        size_bytes: u64::try_from(add.size).map_err(|_| foreign("its size is negative"))?,
        rows,
        partition: table.partition_columns().iter().map(|column| ((*column).to_owned(), value(column))).collect(),
        stats: stats.into(),
        modified_ms: add.modification_time,
        sorted: tag(SORTED).is_some_and(|columns| columns.split(',').eq(table.sort_columns().iter().copied())),
        settled: tag(SETTLED).is_some(),
    })
}

fn path_in_table(table: Table, file: &DataFile) -> &str {
    let path = file.path.strip_prefix(table.name()).and_then(|path| path.strip_prefix('/'));
    path.expect("files of a table lie in its folder")
}

fn size(file: &DataFile) -> i64 {
    i64::try_from(file.size_bytes).expect("a file is smaller than 8 EiB")
}

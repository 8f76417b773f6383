//! A table as the program defines it, put into the lake and found there again.
//!
//! In:      a `schemas::Table`.
//! Out:     its first commit; or, for a table that is there, whether it is the same table.
//! Promise: two processes that create at once end with one table. A table that lacks a column of ours, has
//!          it in another type or is cut into other partitions is refused with all faults told together.

use deltalake_core::DeltaTableError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{Action, CommitInfo, EagerSnapshot, Protocol, StructType, new_metadata};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef};
use tributary_schemas::Table;
use uuid::Uuid;

use crate::error::LakeError;

/// The plainest protocol that knows `appendOnly`: every Delta reader can read it, most can write it.
const READER_VERSION: i32 = 1;
const WRITER_VERSION: i32 = 2;

/// Creates the table unless it is there. Losing a race to another creator is success.
pub(crate) async fn create_if_missing(
    table: Table,
    log: &LogStoreRef,
    checkpoint_interval_commits: u64,
    now_ms: i64,
) -> Result<(), LakeError> {
    let failed = |source| LakeError::log(table, "creating it", source);
    if log.is_delta_table_location().await.map_err(failed)? {
        return Ok(());
    }
    let bytes = first_commit(table, checkpoint_interval_commits, now_ms).map_err(failed)?;
    // Nil: the id of the operation means nothing to a store that commits by conditional put.
    match log.write_commit_entry(0, CommitOrBytes::LogBytes(bytes.into()), Uuid::nil()).await {
        Ok(()) => {
            tracing::info!(table = table.name(), "created");
            Ok(())
        }
        Err(TransactionError::VersionAlreadyExists(_)) => Ok(()),
        Err(error) => Err(failed(error.into())),
    }
}

fn first_commit(table: Table, checkpoint_interval_commits: u64, now_ms: i64) -> Result<String, DeltaTableError> {
    let protocol: Protocol = serde_json::from_value(serde_json::json!({
        "minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION,
    }))?;
    let configuration = [
        ("delta.appendOnly", table.append_only().to_string()),
        ("delta.dataSkippingStatsColumns", table.statistics_columns().join(",")),
        ("delta.checkpointInterval", checkpoint_interval_commits.to_string()),
    ];
    let metadata = new_metadata(&delta_schema(table)?, table.partition_columns(), configuration)?;
    let info = CommitInfo {
        timestamp: Some(now_ms),
        operation: Some("CREATE TABLE".to_owned()),
        engine_info: Some(concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..CommitInfo::default()
    };
    let actions = [Action::CommitInfo(info), Action::Protocol(protocol), Action::Metadata(metadata)];
    let lines = actions.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
    Ok(lines.join("\n"))
}

fn delta_schema(table: Table) -> Result<StructType, DeltaTableError> {
    Ok(table.arrow_schema().as_ref().try_into_kernel()?)
}

/// Whether the table in the lake is the one defined here.
pub(crate) fn check(table: Table, found: &EagerSnapshot) -> Result<(), LakeError> {
    let protocol = found.protocol();
    let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
    if READER_VERSION < reader || WRITER_VERSION < writer {
        let reason = format!(
            "it needs Delta reader {reader} and writer {writer}, here are {READER_VERSION} and {WRITER_VERSION}"
        );
        return Err(LakeError::Foreign { table, reason });
    }
    let wanted = delta_schema(table).map_err(|source| LakeError::log(table, "defining it", source))?;
    let mut faults = column_faults(&wanted, &found.schema());
    let partitions = found.metadata().partition_columns();
    if partitions != table.partition_columns() {
        faults.push(format!("it is partitioned by {partitions:?}, wanted {:?}", table.partition_columns()));
    }
    if faults.is_empty() { Ok(()) } else { Err(LakeError::SchemaMismatch { table, faults }) }
}

fn column_faults(wanted: &StructType, found: &StructType) -> Vec<String> {
    let mut faults = Vec::new();
    for want in wanted.fields() {
        let name = want.name();
        match found.field(name) {
            None => faults.push(format!("column {name} is missing")),
            Some(have) if have.data_type() != want.data_type() => {
                faults.push(format!("column {name} is {}, wanted {}", have.data_type(), want.data_type()));
            }
            Some(have) if want.is_nullable() && !have.is_nullable() => {
                faults.push(format!("column {name} takes no nulls there and may be null here"));
            }
            Some(_) => {}
        }
    }
    for have in found.fields() {
        // Columns we do not know stay null in what we write; that must be allowed.
        if wanted.field(have.name()).is_none() && !have.is_nullable() {
            faults.push(format!("column {} is unknown here and takes no nulls", have.name()));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use deltalake_core::kernel::{DataType, StructField};

    use super::*;

    #[test]
    fn the_first_commit_is_plain_delta_and_says_what_the_definition_says() {
        for table in Table::ALL {
            let text = first_commit(*table, 100, 0).unwrap();
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines[1]["protocol"], serde_json::json!({"minReaderVersion": 1, "minWriterVersion": 2}));
            let configuration = &lines[2]["metaData"]["configuration"];
            assert_eq!(configuration["delta.appendOnly"], table.append_only().to_string());
            assert_eq!(configuration["delta.dataSkippingStatsColumns"], table.statistics_columns().join(","));
            assert_eq!(lines[2]["metaData"]["partitionColumns"], serde_json::json!(table.partition_columns()));
        }
    }

    #[test]
    fn all_faults_of_a_table_are_told_together() {
        let wanted = delta_schema(Table::Identities).unwrap();
        let found = wanted.fields().filter(|field| field.name() != "action").map(|field| match field.name().as_str() {
            "log_offset" => StructField::new("log_offset", DataType::STRING, false),
            _ => field.clone(),
        });
        let extra = StructField::new("mystery", DataType::LONG, false);
        let found = StructType::try_new(found.chain([extra])).unwrap();
        let faults = column_faults(&wanted, &found);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.iter().any(|fault| fault == "column action is missing"), "{faults:?}");
        assert!(column_faults(&wanted, &wanted).is_empty());
    }
}

//! A table as the program defines it, put into the lake and found there again.
//!
//! In:      a `schemas::Table` and its columns as this program knows them.
//! Out:     its first commit; columns it lacks; or, for a table that is there, whether it is the same table.
//! Promise: two processes that create, or add columns, at once end with one table. A column that may be null is added to
//!          a table that lacks it, and whoever wrote the table before goes on writing: their rows read as null. All else
//!          (another type, a column every row needs, other partitions) is refused with all faults told together.
//!
//! Nothing is ever taken out of a table here, nor changed: a program that is rolled back finds a column it does not know,
//! leaves it null in what it writes, and rewrites no file (`LogState::has_unknown_columns`).

use arrow::datatypes::SchemaRef;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::transaction::TransactionError;
use deltalake_core::kernel::{
    Action, CommitInfo, EagerSnapshot, Metadata, MetadataExt, Protocol, StructField, StructType, new_metadata,
};
use deltalake_core::logstore::CommitOrBytes;
use tributary_schemas::Table;
use uuid::Uuid;

use crate::commit::Tries;
use crate::error::LakeError;
use crate::lake::Lake;

/// The plainest protocol that knows `appendOnly`: every Delta reader can read it, most can write it.
const READER_VERSION: i32 = 1;
const WRITER_VERSION: i32 = 2;

const APPEND_ONLY: &str = "delta.appendOnly";

/// Creates the table unless it is there. Losing a race to another creator is success.
pub(crate) async fn create_if_missing(lake: &Lake, table: Table) -> Result<(), LakeError> {
    let failed = |source| LakeError::log(table, "creating it", source);
    let log = lake.log(table);
    if log.is_delta_table_location().await.map_err(failed)? {
        return Ok(());
    }
    let interval = lake.settings().checkpoint_interval_commits.max(1);
    let bytes = first_commit(table, lake.schema(table), interval, lake.now_ms()).map_err(failed)?;
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

/// Adds the columns this program knows and the table lacks.
pub(crate) async fn add_missing_columns(lake: &Lake, table: Table) -> Result<(), LakeError> {
    let change = |found: &EagerSnapshot| -> Result<Option<Metadata>, LakeError> {
        let shape = check(table, lake.schema(table), found)?;
        if shape.missing.is_empty() {
            return Ok(None);
        }
        let names: Vec<&str> = shape.missing.iter().map(|field| field.name().as_str()).collect();
        tracing::info!(table = table.name(), ?names, "adding columns this program knows and the table lacks");
        let fields = found.schema().fields().cloned().chain(shape.missing).collect::<Vec<_>>();
        let changed = StructType::try_new(fields)
            .map_err(DeltaTableError::from)
            .and_then(|schema| found.metadata().clone().with_schema(&schema).map_err(DeltaTableError::from));
        changed.map(Some).map_err(|source| LakeError::log(table, "adding columns", source))
    };
    redefine(lake, table, "ADD COLUMNS", change).await
}

/// Lets rows be removed from a table that was made append-only.
pub(crate) async fn allow_removal(lake: &Lake, table: Table) -> Result<(), LakeError> {
    let change = |found: &EagerSnapshot| -> Result<Option<Metadata>, LakeError> {
        if !is_append_only(found.metadata()) {
            return Ok(None);
        }
        let changed = found.metadata().clone().add_config_key(APPEND_ONLY.to_owned(), "false".to_owned());
        changed.map(Some).map_err(|source| LakeError::log(table, "allowing removal", source.into()))
    };
    redefine(lake, table, "SET TBLPROPERTIES", change).await
}

/// Commits what `change` makes of the newest definition, until it has nothing to change any more. Whether a commit of
/// ours or of another who wanted the same brought that about does not matter, so an answer that was lost does not either.
async fn redefine(
    lake: &Lake,
    table: Table,
    operation: &'static str,
    change: impl Fn(&EagerSnapshot) -> Result<Option<Metadata>, LakeError>,
) -> Result<(), LakeError> {
    let log = lake.log(table);
    let mut storage_tries = Tries::new(lake.settings().storage_tries_max);
    for _ in 0..lake.settings().race_tries_max.max(1) {
        let loaded = EagerSnapshot::try_new(log.as_ref(), None).await;
        let found = match loaded.map_err(|source| LakeError::log(table, "loading its log", source)) {
            Ok(found) => found,
            Err(error) => {
                storage_tries.pause_or(error).await?;
                continue;
            }
        };
        let Some(metadata) = change(&found)? else { return Ok(()) };
        let lines = lines(&[commit_info(operation, lake.now_ms()), Action::Metadata(metadata)])
            .map_err(|source| LakeError::log(table, "redefining it", source))?;
        let bytes = CommitOrBytes::LogBytes(lines.into());
        match log.write_commit_entry(found.version() + 1, bytes, Uuid::nil()).await {
            Ok(()) | Err(TransactionError::VersionAlreadyExists(_)) => {}
            Err(error) => storage_tries.pause_or(LakeError::log(table, "redefining it", error.into())).await?,
        }
    }
    Err(LakeError::Contended { table, tries: lake.settings().race_tries_max })
}

fn first_commit(
    table: Table,
    schema: &SchemaRef,
    checkpoint_interval_commits: u64,
    now_ms: i64,
) -> Result<String, DeltaTableError> {
    let protocol: Protocol = serde_json::from_value(serde_json::json!({
        "minReaderVersion": READER_VERSION, "minWriterVersion": WRITER_VERSION,
    }))?;
    let configuration = [
        (APPEND_ONLY, table.append_only().to_string()),
        ("delta.dataSkippingStatsColumns", table.statistics_columns().join(",")),
        ("delta.checkpointInterval", checkpoint_interval_commits.to_string()),
    ];
    let metadata = new_metadata(&delta_schema(schema)?, table.partition_columns(), configuration)?;
    lines(&[commit_info("CREATE TABLE", now_ms), Action::Protocol(protocol), Action::Metadata(metadata)])
}

fn commit_info(operation: &str, now_ms: i64) -> Action {
    Action::CommitInfo(CommitInfo {
        timestamp: Some(now_ms),
        operation: Some(operation.to_owned()),
        engine_info: Some(concat!("tributary/", env!("CARGO_PKG_VERSION")).to_owned()),
        ..CommitInfo::default()
    })
}

fn lines(actions: &[Action]) -> Result<String, DeltaTableError> {
    Ok(actions.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?.join("\n"))
}

fn delta_schema(schema: &SchemaRef) -> Result<StructType, DeltaTableError> {
    Ok(schema.as_ref().try_into_kernel()?)
}

/// What a table in the lake is, beside what it was defined as here.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Columns of ours that it lacks; each may be null.
    pub missing: Vec<StructField>,
    pub has_unknown_columns: bool,
    pub is_append_only: bool,
}

fn is_append_only(metadata: &Metadata) -> bool {
    metadata.configuration().get(APPEND_ONLY).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether the table in the lake is the one defined here.
pub(crate) fn check(table: Table, schema: &SchemaRef, found: &EagerSnapshot) -> Result<Shape, LakeError> {
    let protocol = found.protocol();
    let (reader, writer) = (protocol.min_reader_version(), protocol.min_writer_version());
    if READER_VERSION < reader || WRITER_VERSION < writer {
        let reason = format!(
            "it needs Delta reader {reader} and writer {writer}, here are {READER_VERSION} and {WRITER_VERSION}"
        );
        return Err(LakeError::Foreign { table, reason });
    }
    let wanted = delta_schema(schema).map_err(|source| LakeError::log(table, "defining it", source))?;
    let have = found.schema();
    let mut faults = column_faults(&wanted, &have);
    let partitions = found.metadata().partition_columns();
    if partitions != table.partition_columns() {
        faults.push(format!("it is partitioned by {partitions:?}, wanted {:?}", table.partition_columns()));
    }
    if !faults.is_empty() {
        return Err(LakeError::SchemaMismatch { table, faults });
    }
    Ok(Shape {
        missing: wanted.fields().filter(|field| have.field(field.name()).is_none()).cloned().collect(),
        has_unknown_columns: have.fields().any(|field| wanted.field(field.name()).is_none()),
        is_append_only: is_append_only(found.metadata()),
    })
}

fn column_faults(wanted: &StructType, found: &StructType) -> Vec<String> {
    let mut faults = Vec::new();
    for want in wanted.fields() {
        let name = want.name();
        match found.field(name) {
            None if want.is_nullable() => {}
            None => faults.push(format!("column {name} is missing, and no row may be without it")),
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
            let text = first_commit(*table, &table.arrow_schema(), 100, 0).unwrap();
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
        let wanted = delta_schema(&Table::Identities.arrow_schema()).unwrap();
        let found = wanted.fields().filter(|field| field.name() != "action").map(|field| match field.name().as_str() {
            "log_offset" => StructField::new("log_offset", DataType::STRING, false),
            _ => field.clone(),
        });
        let extra = StructField::new("mystery", DataType::LONG, false);
        let found = StructType::try_new(found.chain([extra])).unwrap();
        let faults = column_faults(&wanted, &found);
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults.iter().any(|fault| fault.starts_with("column action is missing")), "{faults:?}");
        assert!(column_faults(&wanted, &wanted).is_empty());
    }
}

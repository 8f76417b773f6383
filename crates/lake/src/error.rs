//! What can go wrong in the lake, and what the caller should do then.
//!
//! In:      errors of the storage, of the Delta log and of Parquet.
//! Out:     `LakeError`, each with an `Advice`.
//! Promise: a full disk is called a full disk, however deep it was found.

use std::error::Error as StdError;

use deltalake_core::DeltaTableError;
use parquet::errors::ParquetError;
use tributary_schemas::Table;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// The same call may succeed later; nothing was doubled and nothing half done can be seen.
    Retry,
    /// Somebody else moved the position: drop everything in flight and read the position again.
    Fenced,
    /// The call itself was wrong.
    FixInput,
    /// A person has to look.
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error(
        "table {}: position {app_id:?} is at {}, not at {}: another writer owns it now; drop what is in flight and read it again",
        .table.name(), shown(.found), shown(.expected)
    )]
    Fenced { table: Table, app_id: String, expected: Option<i64>, found: Option<i64> },

    #[error("table {}: {tries} commits in a row were won by other writers; try again, or let fewer write to it", .table.name())]
    Contended { table: Table, tries: u32 },

    #[error("table {}: {hours} hours lay between a file and its commit; it is given up, since nobody keeps such files so long", .table.name())]
    TooOld { table: Table, hours: i64 },

    #[error("table {}: its files were compacted or dropped by another meanwhile; nothing is lost, the next run looks again", .table.name())]
    Overtaken { table: Table },

    #[error(
        "files of the last {floor} hours may belong to work that is still going on, and {hours} are asked for; give more, or force it when nobody writes"
    )]
    HorizonTooShort { hours: u64, floor: u64 },

    #[error("sorting needs room on the disk, in lake.spill_dir: {source}")]
    Spill {
        #[source]
        source: std::io::Error,
    },

    #[error("the lake cannot be at {url:?}: {reason}")]
    Location { url: String, reason: String },

    #[error(
        "table {} in the lake is not the table this program writes: {}; point the program at another lake, or rebuild this one from the log",
        .table.name(), .faults.join("; ")
    )]
    SchemaMismatch { table: Table, faults: Vec<String> },

    #[error("table {}: {reason}", .table.name())]
    Rows { table: Table, reason: String },

    #[error(
        "the disk of the lake is full while {doing}: free space, then go on; nothing is lost, the log still has it"
    )]
    DiskFull {
        doing: String,
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },

    #[error("storage of the lake: {doing}: {source}")]
    Storage {
        doing: String,
        #[source]
        source: object_store::Error,
    },

    #[error("table {}: {doing}: {source}", .table.name())]
    Log {
        table: Table,
        doing: &'static str,
        #[source]
        source: Box<DeltaTableError>,
    },

    #[error("table {}: {reason}; this lake was written by something this program does not know", .table.name())]
    Foreign { table: Table, reason: String },

    #[error("Parquet file {path}: {source}")]
    File {
        path: String,
        #[source]
        source: ParquetError,
    },
}

impl LakeError {
    pub fn advice(&self) -> Advice {
        match self {
            Self::Fenced { .. } => Advice::Fenced,
            Self::Contended { .. }
            | Self::TooOld { .. }
            | Self::Overtaken { .. }
            | Self::Spill { .. }
            | Self::DiskFull { .. } => Advice::Retry,
            Self::Storage { source, .. } => storage_advice(source),
            Self::Log { source, .. } => deep_advice(source.as_ref()),
            Self::Rows { .. } | Self::HorizonTooShort { .. } => Advice::FixInput,
            Self::File { source, .. } => deep_advice(source),
            Self::Location { .. } | Self::SchemaMismatch { .. } | Self::Foreign { .. } => Advice::Stop,
        }
    }

    pub(crate) fn storage(doing: impl Into<String>, source: object_store::Error) -> Self {
        if is_disk_full(&source) {
            Self::DiskFull { doing: doing.into(), source: Box::new(source) }
        } else {
            Self::Storage { doing: doing.into(), source }
        }
    }

    pub(crate) fn log(table: Table, doing: &'static str, source: DeltaTableError) -> Self {
        if is_disk_full(&source) {
            Self::DiskFull { doing: doing.to_owned(), source: Box::new(source) }
        } else {
            Self::Log { table, doing, source: Box::new(source) }
        }
    }
}

fn storage_advice(error: &object_store::Error) -> Advice {
    use object_store::Error as E;
    match error {
        E::NotSupported { .. } | E::NotImplemented { .. } | E::InvalidPath { .. } => Advice::Stop,
        // A file the log speaks of is gone: no waiting brings it back.
        E::NotFound { .. } => Advice::Stop,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } | E::UnknownConfigurationKey { .. } => Advice::Stop,
        _ => Advice::Retry,
    }
}

/// Delta and Parquet wrap what the storage said in layers of their own; what it said decides.
fn deep_advice(error: &(dyn StdError + 'static)) -> Advice {
    for cause in causes(error) {
        if let Some(storage) = storage_error(cause) {
            return storage_advice(storage);
        }
        if cause.is::<std::io::Error>() {
            return Advice::Retry;
        }
    }
    Advice::Stop
}

fn is_disk_full(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind;
    let is_full = |io: &std::io::Error| matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    causes(error).filter_map(|cause| cause.downcast_ref()).any(is_full)
}

/// The Delta kernel prints what the storage said but does not name it as its source.
fn storage_error<'error>(cause: &'error (dyn StdError + 'static)) -> Option<&'error object_store::Error> {
    match cause.downcast_ref() {
        Some(buoyant_kernel::Error::ObjectStore(storage)) => Some(storage),
        _ => cause.downcast_ref(),
    }
}

fn causes<'error>(error: &'error (dyn StdError + 'static)) -> impl Iterator<Item = &'error (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error: &&'error (dyn StdError + 'static)| {
        error.source().or_else(|| storage_error(error)?.source())
    })
}

fn shown(position: &Option<i64>) -> String {
    position.map_or_else(|| "its start (never set)".to_owned(), |position| position.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_however_deep_it_was_found() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let deep = object_store::Error::Generic { store: "local", source: Box::new(full) };
        let error = LakeError::storage("writing a.parquet", deep);
        assert!(error.to_string().contains("disk of the lake is full while writing a.parquet"), "{error}");
        assert_eq!(error.advice(), Advice::Retry);
    }

    #[test]
    fn what_the_storage_said_decides_however_deep_it_was_found() {
        let busy = || object_store::Error::Generic { store: "s3", source: "slow down".into() };
        let gone = || object_store::Error::NotFound { path: "a".into(), source: "no such key".into() };
        let in_file = |error: object_store::Error| LakeError::File {
            path: "a".into(),
            source: ParquetError::External(Box::new(error)),
        };
        let in_log = |source| LakeError::log(Table::Events, "loading its log", DeltaTableError::ObjectStore { source });
        let in_kernel = |error| {
            LakeError::log(
                Table::Events,
                "loading its log",
                DeltaTableError::KernelError(buoyant_kernel::Error::ObjectStore(error)),
            )
        };
        let torn = LakeError::File { path: "a".into(), source: ParquetError::EOF("torn".into()) };
        for (error, advice) in [
            (in_file(busy()), Advice::Retry),
            (in_file(gone()), Advice::Stop),
            (in_log(busy()), Advice::Retry),
            (in_log(gone()), Advice::Stop),
            (in_kernel(busy()), Advice::Retry),
            (in_kernel(gone()), Advice::Stop),
            (torn, Advice::Stop),
        ] {
            assert_eq!(error.advice(), advice, "{error}");
        }
    }

    #[test]
    fn a_fenced_writer_is_told_both_positions() {
        let error = LakeError::Fenced { table: Table::Events, app_id: "ing/0".into(), expected: None, found: Some(7) };
        let text = error.to_string();
        assert!(text.contains("\"ing/0\" is at 7, not at its start"), "{text}");
        assert_eq!(error.advice(), Advice::Fenced);
    }
}

//! The lake: Delta tables by definition, written exactly once.
//!
//! In:       Arrow batches of a `schemas::Table`, and the positions that move with them.
//! Out:      immutable snapshots: files with statistics, positions, and their rows again as Arrow.
//! Promise:  rows and positions become visible in one Delta commit or not at all, and a commit happens
//!           only if every position still stands where its writer last saw it (`writer`).
//!           A commit that was reported is on the disk, not in a cache (`durable_store`).
//!           Tables stay readable by any Delta reader: reader version 1, writer version 2, no deletion
//!           vectors, no column mapping.
//! Not here: Kafka, offsets by that name, sessions, SQL. Never delta-rs `optimize`, never its rebase of a commit on a newer
//!           version: both can double rows.

mod lake;
mod settings;

mod location;

mod definition;

mod snapshot;

mod log_state;

mod actions;

mod log_load;

mod commit;

mod writer;

mod checkpoint;

mod encode;
mod parquet_file;
mod statistics;

mod read;

mod file_bytes;

mod durable_store;

mod compact;

mod buckets;

mod retention;

mod vacuum;

mod log_cleanup;

mod maintain;

mod status;

mod verify;

mod error;

pub use compact::{CompactOptions, Compacted};
pub use error::{Advice, LakeError};
pub use lake::Lake;
pub use location::{StoreOptions, local_folder};
pub use maintain::{Needed, Upkeep, maintain};
pub use read::RowTest;
pub use retention::Dropped;
pub use settings::LakeSettings;
pub use snapshot::{DataFile, Snapshot};
pub use statistics::{Bound, ColumnStatistics};
pub use status::TableStatus;
pub use vacuum::{STATE_FOLDER, VacuumOptions, Vacuumed};
pub use verify::{Hole, TableVerified, Verified};
pub use writer::{Advance, Committed, TableWriter};

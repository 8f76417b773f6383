//! Answers by several processes: a head plans and gathers, workers scan, filter, join and group.
//!
//! In:       the plan of one process; the addresses of workers.
//! Out:      the same rows, with what could travel done by the workers (`head.rs`); a worker's port (`worker.rs`).
//! Promise:  the files are those of the versions the head pinned, and no other. What holds state of a question or of this process
//!           (folds, the tail of the log, the map in `identity_map`) stays with the head; each function that travels is, on the
//!           worker, the one the head has by that name. A worker that goes away costs one more try on those that are left.
//!           Work on the workers ends when nobody waits for the answer.
//! Not here: what the operators do: they are DataFusion's; how stages talk: `datafusion-distributed`.
//!
//! See `docs/adr/0018-scale-out.md`.

mod channels;
mod codec;
mod counted;
mod gate;
mod head;
mod leaf;
mod mark;
mod members;
mod pinned;
mod plan;
mod settings;
mod worker;

pub(crate) use counted::Counted;
pub(crate) use head::{Head, fit};
pub(crate) use pinned::Pinned;
pub use settings::WorkerSettings;
pub(crate) use settings::faults_of_head;
pub use worker::serve;

/// What plans are written in: a worker of another version reads none of ours.
pub(crate) fn version() -> String {
    format!("{} with DataFusion {}", env!("CARGO_PKG_VERSION"), datafusion::DATAFUSION_VERSION)
}

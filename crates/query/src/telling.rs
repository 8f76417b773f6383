//! What metrics are told of questions.
//!
//! In:      a question that is over, however it ended (`answer.rs`); an engine that is looked at (`Engine::tell`).
//! Out:     counters by face, access and outcome; gauges of the turns, the memory and the spilled files of this moment.
//! Promise: every question that was asked is counted once.

pub(crate) const TOTAL: &str = "tributary_query_total";
pub(crate) const SECONDS: &str = "tributary_query_seconds";
pub(crate) const ROWS: &str = "tributary_query_rows_total";
pub(crate) const RUNNING: &str = "tributary_query_running";
pub(crate) const RUNNING_MAX: &str = "tributary_query_running_max";
pub(crate) const MEMORY: &str = "tributary_query_memory_bytes";
pub(crate) const MEMORY_MAX: &str = "tributary_query_memory_bytes_max";
pub(crate) const SPILLED: &str = "tributary_query_spill_bytes";
pub(crate) const SPILLED_MAX: &str = "tributary_query_spill_bytes_max";

pub(crate) const SPREAD_TASKS: &str = "tributary_query_spread_tasks_total";
pub(crate) const ASKED_AGAIN: &str = "tributary_query_asked_again_total";
pub(crate) const WORKER_TASKS: &str = "tributary_worker_tasks_total";
pub(crate) const WORKER_TASKS_RUNNING: &str = "tributary_worker_tasks_running";

/// Says what each is, for whoever reads `/metrics`.
pub fn describe_metrics() {
    use metrics::Unit::{Bytes, Seconds};
    metrics::describe_counter!(TOTAL, "Questions, by face, access and outcome.");
    metrics::describe_histogram!(SECONDS, Seconds, "From asking to the last row, by face.");
    metrics::describe_counter!(ROWS, "Rows of answers, by face and access.");
    metrics::describe_gauge!(RUNNING, "Questions that have their turn now, or are still being stopped.");
    metrics::describe_gauge!(RUNNING_MAX, "How many may.");
    metrics::describe_gauge!(MEMORY, Bytes, "Memory of sorts, joins, groups and credits now, of all questions.");
    metrics::describe_gauge!(MEMORY_MAX, Bytes, "How much there may be.");
    metrics::describe_gauge!(SPILLED, Bytes, "What questions have written to disk because it did not fit, now.");
    metrics::describe_gauge!(SPILLED_MAX, Bytes, "How much there may be.");
    metrics::describe_counter!(SPREAD_TASKS, "Parts of plans that were given to workers.");
    metrics::describe_counter!(ASKED_AGAIN, "Questions begun anew because a worker went away.");
    metrics::describe_counter!(WORKER_TASKS, "Parts of plans that came to this worker.");
    metrics::describe_gauge!(WORKER_TASKS_RUNNING, "Of these, those whose heads wait now.");
}

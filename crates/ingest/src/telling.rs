//! What the door tells of itself: the names of its metrics, and the few ways they are counted.
//!
//! In:      what happened.
//! Out:     counters, gauges and histograms through the `metrics` facade.
//! Promise: labels come from closed lists (routes, sources of the settings, reasons), never from a client.

use std::time::Duration;

use tributary_schemas::DeadReason;

const REQUESTS: &str = "tributary_ingest_requests_total";
const REFUSALS: &str = "tributary_ingest_refusals_total";
const RETRIES: &str = "tributary_ingest_retries_total";
const ACCEPTED: &str = "tributary_ingest_events_accepted_total";
const DEAD_LETTERED: &str = "tributary_ingest_dead_lettered_total";
const SUPPRESSED: &str = "tributary_ingest_suppressed_total";
const NOT_READ: &str = "tributary_ingest_fields_not_read_total";
const NOT_LOGGED: &str = "tributary_ingest_not_logged_total";
const ANSWERED_EARLY: &str = "tributary_ingest_answered_before_durable_total";
const APPEND_SECONDS: &str = "tributary_ingest_append_seconds";
const IN_FLIGHT: &str = "tributary_ingest_requests_in_flight";

/// Gives each metric its help text; the binary calls it once its recorder stands.
pub fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "Requests answered, by route and status.");
    metrics::describe_counter!(REFUSALS, "Requests refused, by reason.");
    metrics::describe_counter!(RETRIES, "Requests that say they are a second attempt.");
    metrics::describe_counter!(ACCEPTED, "Events durable in the log, by source and dialect.");
    metrics::describe_counter!(DEAD_LETTERED, "Dead letters durable in the log, by source and reason.");
    metrics::describe_counter!(SUPPRESSED, "Events not kept, as the rules of privacy have it, by source.");
    metrics::describe_counter!(NOT_READ, "Fields that stayed in properties because their column could not read them.");
    metrics::describe_counter!(NOT_LOGGED, "Pixels and redirects answered but not logged, by dialect and reason.");
    metrics::describe_counter!(ANSWERED_EARLY, "Pixels and redirects answered before their event was durable.");
    metrics::describe_histogram!(
        APPEND_SECONDS,
        metrics::Unit::Seconds,
        "Time from handing a request's records to the log until all are durable."
    );
    metrics::describe_gauge!(IN_FLIGHT, "Requests in work.");
}

pub(crate) fn request(route: &str, status: u16) {
    metrics::counter!(REQUESTS, "route" => route.to_owned(), "status" => status.to_string()).increment(1);
}

pub(crate) fn refusal(word: &'static str) {
    metrics::counter!(REFUSALS, "reason" => word).increment(1);
}

pub(crate) fn retry() {
    metrics::counter!(RETRIES).increment(1);
}

pub(crate) fn accepted(source: &str, dialect: &str, count: u64) {
    metrics::counter!(ACCEPTED, "source" => source.to_owned(), "dialect" => dialect.to_owned()).increment(count);
}

pub(crate) fn dead_lettered(source: Option<&str>, reason: DeadReason) {
    let source = source.unwrap_or("unknown").to_owned();
    metrics::counter!(DEAD_LETTERED, "source" => source, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn suppressed(source: &str) {
    metrics::counter!(SUPPRESSED, "source" => source.to_owned()).increment(1);
}

pub(crate) fn not_read(field: &'static str) {
    metrics::counter!(NOT_READ, "field" => field).increment(1);
}

pub(crate) fn not_logged(dialect: &'static str, reason: &'static str) {
    metrics::counter!(NOT_LOGGED, "dialect" => dialect, "reason" => reason).increment(1);
}

pub(crate) fn answered_early(dialect: &'static str) {
    metrics::counter!(ANSWERED_EARLY, "dialect" => dialect).increment(1);
}

pub(crate) fn appended(took: Duration) {
    metrics::histogram!(APPEND_SECONDS).record(took.as_secs_f64());
}

/// Counts one request as in work until dropped.
pub(crate) struct InFlight(());

impl InFlight {
    pub(crate) fn begin() -> Self {
        metrics::gauge!(IN_FLIGHT).increment(1.0);
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(IN_FLIGHT).decrement(1.0);
    }
}

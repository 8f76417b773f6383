//! What the door tells of itself: the names of its metrics, and the few ways they are counted.
//!
//! In:      what happened.
//! Out:     counters, gauges and histograms through the `metrics` facade.
//! Promise: labels come from closed lists (routes, sources of the settings, reasons), never from a client.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use metrics::{Counter, Gauge, Histogram};
use tokio::time::Instant;
use tributary_schemas::DeadReason;

use crate::dialect::is_retry;
use crate::refusal::Refusal;
use crate::schema::SchemaMode;

const REQUESTS: &str = "tributary_ingest_requests_total";
const REQUEST_SECONDS: &str = "tributary_ingest_request_seconds";
const HANDLED: &str = "tributary_ingest_source_requests_total";
const HANDLED_SECONDS: &str = "tributary_ingest_source_request_seconds";
const REFUSALS: &str = "tributary_ingest_refusals_total";
const RETRIES: &str = "tributary_ingest_retries_total";
const ACCEPTED: &str = "tributary_ingest_events_accepted_total";
const DEAD_LETTERED: &str = "tributary_ingest_dead_lettered_total";
const HOT_KEYS: &str = "tributary_ingest_hot_keys_total";
const OFF_SCHEMA: &str = "tributary_ingest_off_schema_total";
const SCHEMAS_STAND: &str = "tributary_ingest_schemas_stand";
const SUPPRESSED: &str = "tributary_ingest_suppressed_total";
const LOST_BEFORE: &str = "tributary_ingest_sdk_dropped_total";
const NOT_READ: &str = "tributary_ingest_fields_not_read_total";
const NOT_LOGGED: &str = "tributary_ingest_not_logged_total";
const ANSWERED_EARLY: &str = "tributary_ingest_answered_before_durable_total";
const APPEND_SECONDS: &str = "tributary_ingest_append_seconds";
const IN_FLIGHT: &str = "tributary_ingest_requests_in_flight";

/// Gives each metric its help text; the binary calls it once its recorder stands.
pub fn describe_metrics() {
    metrics::describe_counter!(REQUESTS, "Requests answered, by route and status.");
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        metrics::Unit::Seconds,
        "Time from the head of a request to its answer, by route."
    );
    metrics::describe_counter!(HANDLED, "Requests of a known source, by dialect and outcome: taken, or why not.");
    metrics::describe_histogram!(
        HANDLED_SECONDS,
        metrics::Unit::Seconds,
        "Time from the body of a request to its answer, of a pixel or a link until it is durable, by source and dialect."
    );
    metrics::describe_counter!(REFUSALS, "Requests refused, by reason.");
    metrics::describe_counter!(RETRIES, "Requests that say they are a second attempt.");
    metrics::describe_counter!(ACCEPTED, "Events durable in the log, by source and dialect.");
    metrics::describe_counter!(DEAD_LETTERED, "Dead letters durable in the log, by source and reason.");
    metrics::describe_counter!(HOT_KEYS, "Ids that sent more than a visitor can, once each 10 s, by source.");
    metrics::describe_counter!(
        OFF_SCHEMA,
        "Events that fit no schema of their name, by source and what became of them."
    );
    metrics::describe_gauge!(
        SCHEMAS_STAND,
        "1 while the folder of schemas is in force as it lies, 0 while an older state of it is."
    );
    metrics::describe_counter!(SUPPRESSED, "Events not kept, as the rules of privacy have it, by source.");
    metrics::describe_counter!(
        LOST_BEFORE,
        "Events that browsers had to drop before they could send them, as our SDK says, by source."
    );
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

/// Handles by two labels. To look one up by its labels takes several allocations and a lock, on each request; here each
/// thread keeps those it has used. As the labels come from closed lists they are few.
struct ByTwo<H>(RefCell<Nested<H>>);

type Nested<H> = HashMap<Box<str>, HashMap<Box<str>, H>>;

impl<H> ByTwo<H> {
    fn new() -> Self {
        Self(RefCell::default())
    }

    fn with(&self, first: &str, second: &str, make: impl FnOnce() -> H, tell: impl FnOnce(&mut H)) {
        let mut handles = self.0.borrow_mut();
        if let Some(known) = handles.get_mut(first).and_then(|of_first| of_first.get_mut(second)) {
            return tell(known);
        }
        tell(handles.entry(first.into()).or_default().entry(second.into()).or_insert_with(make));
    }
}

/// How requests of a source in a dialect went.
struct Handled {
    seconds: Histogram,
    /// By outcome; a handful.
    counts: Vec<(&'static str, Counter)>,
}

thread_local! {
    static BY_ROUTE: ByTwo<(Counter, Histogram)> = ByTwo::new();
    static BY_SOURCE: ByTwo<Handled> = ByTwo::new();
    static ACCEPTED_EVENTS: ByTwo<Counter> = ByTwo::new();
    static IN_FLIGHT_GAUGE: Gauge = metrics::gauge!(IN_FLIGHT);
    static APPENDED: Histogram = metrics::histogram!(APPEND_SECONDS);
}

/// A request as the router saw it.
pub(crate) fn request(route: &str, status: &StatusCode, took: Duration) {
    let make = || {
        (
            metrics::counter!(REQUESTS, "route" => route.to_owned(), "status" => status.as_str().to_owned()),
            metrics::histogram!(REQUEST_SECONDS, "route" => route.to_owned()),
        )
    };
    BY_ROUTE.with(|handles| {
        handles.with(route, status.as_str(), make, |(count, seconds)| {
            count.increment(1);
            seconds.record(took.as_secs_f64());
        });
    });
}

/// A request as its dialect saw it.
///
/// * `begin`: since when it was in work.
pub(crate) fn handled<T>(source: &str, dialect: &'static str, taken: &Result<T, Refusal>, begin: Instant) {
    let (outcome, took) = (taken.as_ref().map_or_else(Refusal::word, |_| "taken"), begin.elapsed());
    let seconds = || metrics::histogram!(HANDLED_SECONDS, "source" => source.to_owned(), "dialect" => dialect);
    let make = || Handled { seconds: seconds(), counts: Vec::new() };
    BY_SOURCE.with(|handles| {
        handles.with(source, dialect, make, |handled| {
            handled.seconds.record(took.as_secs_f64());
            match handled.counts.iter().find(|(known, _)| *known == outcome) {
                Some((_, count)) => count.increment(1),
                None => {
                    let labels = [
                        ("source", source.to_owned()),
                        ("dialect", dialect.to_owned()),
                        ("outcome", outcome.to_owned()),
                    ];
                    let count = metrics::counter!(HANDLED, &labels);
                    count.increment(1);
                    handled.counts.push((outcome, count));
                }
            }
        });
    });
}

pub(crate) fn refusal(word: &'static str) {
    metrics::counter!(REFUSALS, "reason" => word).increment(1);
}

/// Counts a request that says it is a second attempt.
pub(crate) fn retry_of(headers: &HeaderMap) {
    if is_retry(headers) {
        metrics::counter!(RETRIES).increment(1);
    }
}

pub(crate) fn accepted(source: &str, dialect: &str, count: u64) {
    let make = || metrics::counter!(ACCEPTED, "source" => source.to_owned(), "dialect" => dialect.to_owned());
    ACCEPTED_EVENTS.with(|handles| handles.with(source, dialect, make, |counter| counter.increment(count)));
}

pub(crate) fn dead_lettered(source: Option<&str>, reason: DeadReason) {
    let source = source.unwrap_or("unknown").to_owned();
    metrics::counter!(DEAD_LETTERED, "source" => source, "reason" => reason.as_str()).increment(1);
}

pub(crate) fn off_schema(source: &str, mode: SchemaMode) {
    let outcome = match mode {
        SchemaMode::Warn => "warned",
        SchemaMode::Enforce => "dead_lettered",
    };
    metrics::counter!(OFF_SCHEMA, "source" => source.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn schemas_stand(stand: bool) {
    metrics::gauge!(SCHEMAS_STAND).set(if stand { 1.0 } else { 0.0 });
}

pub(crate) fn hot_key(source: &str) {
    metrics::counter!(HOT_KEYS, "source" => source.to_owned()).increment(1);
}

pub(crate) fn suppressed(source: &str) {
    metrics::counter!(SUPPRESSED, "source" => source.to_owned()).increment(1);
}

pub(crate) fn lost_before(source: &str, count: u32) {
    metrics::counter!(LOST_BEFORE, "source" => source.to_owned()).increment(u64::from(count));
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
    APPENDED.with(|seconds| seconds.record(took.as_secs_f64()));
}

/// Counts one request as in work until dropped.
pub(crate) struct InFlight(());

impl InFlight {
    pub(crate) fn begin() -> Self {
        IN_FLIGHT_GAUGE.with(|gauge| gauge.increment(1.0));
        Self(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT_GAUGE.with(|gauge| gauge.decrement(1.0));
    }
}

//! What the program tells of itself: logs on stderr, metrics for `/metrics`.
//!
//! In:      the telemetry settings.
//! Out:     a subscriber for logs; a recorder for metrics and the handle that prints it.
//! Promise: stdout carries results only, so that it can be piped; each is set up once a process.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::{TelemetryFormat, TelemetrySettings};

/// Logs of a server.
pub(crate) fn start(settings: &TelemetrySettings) {
    let filter = EnvFilter::new(&settings.filter);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second subscriber is refused; the first one then serves, which only tests in one process can see.
    let _already_set = match settings.format {
        TelemetryFormat::Text => subscriber.with_target(true).try_init(),
        TelemetryFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
}

/// Logs of a command a person waits for: warnings only, so that its own output stays readable. `RUST_LOG` shows more.
pub(crate) fn start_quiet() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let _already_set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}

/// Seconds at which latencies are counted: a disk's sync to a request's time-out.
const LATENCY_BUCKETS_S: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 10.0];

/// Makes the recorder every role counts with.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&LATENCY_BUCKETS_S)
        .context("the buckets of the metrics are wrong")?
        .install_recorder()
        .context("the metrics cannot be set up a second time in one process")?;
    tributary_ingest::describe_metrics();
    tributary_pipeline::describe_metrics();
    Ok(handle)
}

//! What the program tells of itself: logs on stderr, metrics for `/metrics`.
//!
//! In:      the telemetry settings.
//! Out:     a subscriber for logs and traces; a recorder for metrics and the handle that prints it.
//! Promise: stdout carries results only, so that it can be piped; each is set up once a process.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::UserError;
use crate::settings::{TelemetryFormat, TelemetrySettings};

/// The target of the spans that become traces. They are of the level `TRACE`, so that nothing is made of them, at the cost of
/// one look, where no endpoint is set.
pub(crate) const TRACES: &str = "tributary::trace";

/// Traces on their way out. To be closed on the way down, or the last ones stay here.
#[derive(Default)]
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// Sends what waits, for as long as the exporter's time-out.
    pub(crate) async fn close(self) {
        let Some(provider) = self.0 else { return };
        // It waits for a thread of its own.
        let closed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if let Ok(Err(error)) = closed {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Logs of a server; and its traces, by OTLP over HTTP, where an endpoint is set.
pub(crate) fn start(settings: &TelemetrySettings) -> Result<Traces, UserError> {
    let writer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let filter = EnvFilter::new(&settings.filter);
    let logs = match settings.format {
        TelemetryFormat::Text => writer.with_filter(filter).boxed(),
        TelemetryFormat::Json => writer.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = if settings.otlp_endpoint.is_empty() { None } else { Some(exporter(settings)?) };
    let traces = provider.as_ref().map(|provider| {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        let only_ours = Targets::new().with_target(TRACES, LevelFilter::TRACE);
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tributary")).with_filter(only_ours)
    });
    // A second subscriber is refused; the first one then serves, which only tests in one process can see.
    let _already_set = tracing_subscriber::registry().with(logs).with(traces).try_init();
    Ok(Traces(provider))
}

fn exporter(settings: &TelemetrySettings) -> Result<SdkTracerProvider, UserError> {
    let fault = |error: &dyn std::fmt::Display| {
        UserError(format!(
            "telemetry.otlp_endpoint {:?}: {error}; write the address of a collector that takes OTLP over HTTP, such as \
             http://127.0.0.1:4318",
            settings.otlp_endpoint
        ))
    };
    let mut endpoint = reqwest::Url::parse(&settings.otlp_endpoint).map_err(|error| fault(&error))?;
    // As the collectors have it.
    if endpoint.path() == "/" {
        endpoint.set_path("/v1/traces");
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(endpoint).build();
    let service = Resource::builder()
        .with_service_name("tributary")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter.map_err(|error| fault(&error))?)
        // By the trace's id alone: anybody can send a `traceparent` that asks for more.
        .with_sampler(Sampler::TraceIdRatioBased(settings.trace_ratio))
        .with_resource(service)
        .build())
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

/// Those of questions: from a count to what `query.time_ms_max` may be set to.
const QUESTION_BUCKETS_S: [f64; 13] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0];

/// Makes the recorder every role counts with.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&LATENCY_BUCKETS_S)
        .context("the buckets of the metrics are wrong")?
        .set_buckets_for_metric(Matcher::Full("tributary_query_seconds".to_owned()), &QUESTION_BUCKETS_S)
        .context("the buckets of questions are wrong")?
        .install_recorder()
        .context("the metrics cannot be set up a second time in one process")?;
    tributary_ingest::describe_metrics();
    tributary_pipeline::describe_metrics();
    tributary_query::describe_metrics();
    Ok(handle)
}

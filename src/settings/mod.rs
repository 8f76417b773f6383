//! Settings: every knob of every role, read once at start.
//!
//! In:       layers (`layers`): defaults, files, environment, flags.
//! Out:      `Settings`, each part as the crate it is for wants it; or all faults at once.
//! Promise:  nothing else in this program reads settings files, or TRIBUTARY__ of the environment (flags may name a
//!           variable of their own, and RUST_LOG is for people who look for a fault); secrets never print; nothing is
//!           opened, bound or made before every fault has been told.
//! Not here: what the knobs mean: `settings/default.toml` says it, each crate checks its own.

mod keys;
mod layers;
mod log;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Deserialize;
use tributary_ingest::IngestSettings;
use tributary_lake::{LakeSettings, StoreOptions};
use tributary_pipeline::{Assignment, FileText, PipelineSettings};
use tributary_protocols::{FlightSettings, PostgresSettings};
use tributary_query::distributed::WorkerSettings;
use tributary_query::{QueryError, QuerySettings};

pub(crate) use keys::{FIRST_SOURCES, Keys, add_missing_keys, keys_file};
pub(crate) use layers::{DEFAULTS, Fault, Layers};
pub(crate) use log::{LogKind, LogSettings, PartitionsGrown};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) serve: ServeSettings,
    pub(crate) log: LogSettings,
    pub(crate) ingest: IngestSettings,
    pub(crate) pipeline: PipelineSettings,
    pub(crate) lake: LakeSettings,
    pub(crate) query: QuerySettings,
    pub(crate) postgres: PostgresSettings,
    pub(crate) flight: FlightSettings,
    pub(crate) worker: WorkerSettings,
    pub(crate) telemetry: TelemetrySettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServeSettings {
    pub(crate) listen: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) roles: Vec<Role>,
    pub(crate) drain_ms_max: u64,
    pub(crate) unready_ms: u64,
    pub(crate) connections_max: usize,
    pub(crate) idle_ms_max: u64,
    pub(crate) tls_certificate: PathBuf,
    pub(crate) tls_key: PathBuf,
}

impl ServeSettings {
    /// Whether connections are taken by TLS.
    pub(crate) fn tls(&self) -> bool {
        !self.tls_certificate.as_os_str().is_empty()
    }
}

/// What a process does. The first three, unless a team splits them over Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ingest,
    Pipeline,
    Query,
    /// Helps other processes to answer.
    Worker,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TelemetryFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TelemetrySettings {
    pub(crate) format: TelemetryFormat,
    pub(crate) filter: String,
    pub(crate) otlp_endpoint: String,
    pub(crate) trace_ratio: f64,
    pub(crate) observe_interval_ms: u64,
    pub(crate) books_interval_ms: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LakeSection {
    url: String,
    row_group_rows_max: usize,
    zstd_level: i32,
    zstd_level_fresh: i32,
    checkpoint_interval_commits: u64,
    uploads_max: usize,
    race_tries_max: u32,
    storage_tries_max: u32,
    fsync: bool,
    compact_minutes: u64,
    compact_file_bytes: u64,
    compact_files_min: usize,
    compact_memory_bytes: usize,
    spill_dir: PathBuf,
    session_history_days: u64,
    events_days_max: u64,
    sessions_days_max: u64,
    dead_letters_days_max: u64,
    vacuum_hours: u64,
    vacuum_horizon_hours: u64,
    log_retention_hours: u64,
    object_store: BTreeMap<String, String>,
}

impl LakeSection {
    /// * `url`: what stands in the settings, or the folder it means when it is empty.
    fn settings(self, url: String, environment: &[(OsString, OsString)]) -> LakeSettings {
        let variables = environment.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)));
        // What stands in the settings wins over what the clouds' own tools read from the environment.
        let mut object_store = StoreOptions::from_environment(&url, variables);
        object_store.0.extend(self.object_store);
        LakeSettings {
            url,
            object_store,
            row_group_rows_max: self.row_group_rows_max,
            zstd_level: self.zstd_level,
            zstd_level_fresh: self.zstd_level_fresh,
            checkpoint_interval_commits: self.checkpoint_interval_commits,
            uploads_max: self.uploads_max,
            race_tries_max: self.race_tries_max,
            storage_tries_max: self.storage_tries_max,
            fsync: self.fsync,
            compact_minutes: self.compact_minutes,
            compact_file_bytes: self.compact_file_bytes,
            compact_files_min: self.compact_files_min,
            compact_memory_bytes: self.compact_memory_bytes,
            spill_dir: Some(self.spill_dir).filter(|dir| !dir.as_os_str().is_empty()),
            session_history_days: self.session_history_days,
            events_days_max: self.events_days_max,
            sessions_days_max: self.sessions_days_max,
            dead_letters_days_max: self.dead_letters_days_max,
            vacuum_hours: self.vacuum_hours,
            vacuum_horizon_hours: self.vacuum_horizon_hours,
            log_retention_hours: self.log_retention_hours,
        }
    }
}

/// All faults together, one a line, with what to do first.
#[derive(Debug, thiserror::Error)]
#[error(
    "the settings cannot stand ({} {}):\n{}\n`tributary settings` prints every knob with its default",
    faults.len(),
    if faults.len() == 1 { "fault" } else { "faults" },
    faults.iter().map(|fault| format!("  - {fault}")).collect::<Vec<_>>().join("\n")
)]
pub(crate) struct SettingsError {
    pub(crate) faults: Vec<Fault>,
}

/// Our own environment.
pub(crate) fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

impl Settings {
    /// Reads the layers. The keys file of the data folder is a layer too, so that folder is looked up first.
    pub(crate) fn load(mut layers: Layers) -> Result<Self, SettingsError> {
        if layers.keys_file.is_none() {
            // What is wrong here is found once more below, and told then.
            let serve: ServeSettings = layers::merge(&layers).section("serve");
            layers.keys_file = Some(Keys::path(&serve.data_dir));
        }
        let mut merged = layers::merge(&layers);
        let mut settings = Self::from_merged(&mut merged, &layers.environment);
        settings.query.metrics_dir = metrics_dir(settings.query.metrics_dir.take(), &layers);
        let mut faults = merged.into_faults();
        if let Some(file) = &layers.keys_file
            && let Err(error) = keys::add_written_keys(&mut settings, file)
            // A file that is not TOML was told with its line above.
            && faults.is_empty()
        {
            faults.push(Fault::new(format!("{error:#}")));
        }
        // A rule may fail only because a faulty value was replaced by its default: that is not the user's fault.
        let spoiled: Vec<String> = faults.iter().filter_map(|fault| fault.key.clone()).collect();
        let is_spoiled = |text: &str| spoiled.iter().any(|key| names(text, key));
        faults.extend(settings.check().into_iter().filter(|text| !is_spoiled(text)).map(Fault::new));
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError { faults }) }
    }

    fn from_merged(merged: &mut layers::Merged, environment: &[(OsString, OsString)]) -> Self {
        let serve: ServeSettings = merged.section("serve");
        let mut log: LogSettings = merged.section("log");
        let lake: LakeSection = merged.section("lake");
        let mut query: QuerySettings = merged.section("query");
        if log.dir.as_os_str().is_empty() {
            log.dir = serve.data_dir.join("log");
        }
        if log.spool_dir.as_os_str().is_empty() {
            log.spool_dir = serve.data_dir.join("spool");
        }
        let url = match lake.url.is_empty() {
            true => serve.data_dir.join("lake").display().to_string(),
            false => lake.url.clone(),
        };
        let lake = lake.settings(url, environment);
        query.spill_dir = query.spill_dir.filter(|dir| !dir.as_os_str().is_empty());
        let unread = access_tokens(&mut query);
        let ingest = merged.section("ingest");
        let postgres = merged.section("postgres");
        let flight = merged.section("flight");
        let worker: WorkerSettings = merged.section("worker");
        query.worker_token.clone_from(&worker.token);
        let mut pipeline: PipelineSettings = merged.section("pipeline");
        pipeline.accept_grown_partitions = log.partitions_grown == PartitionsGrown::Accept;
        pipeline.channel_rules_text = match pipeline.channel_rules.as_str() {
            "tributary" | "ga4" => None,
            path => file_text(path),
        };
        pipeline.currency_rates_text = file_text(&pipeline.currency_rates_file);
        let telemetry = merged.section("telemetry");
        for fault in unread {
            merged.add_fault(fault);
        }
        Self { serve, log, ingest, pipeline, lake, query, postgres, flight, worker, telemetry }
    }

    /// What is wrong with values of the right kind: each crate's own rules, and what no single crate can see.
    fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.serve.listen.parse::<std::net::SocketAddr>().is_err() {
            faults.push(format!(
                "serve.listen is {:?}; write an address and a port, such as 127.0.0.1:8080 or [::]:8080",
                self.serve.listen
            ));
        }
        if self.serve.roles.is_empty() {
            faults.push("serve.roles is empty; name at least one of ingest, pipeline, query, worker".to_owned());
        }
        for (name, value) in
            [("connections_max", self.serve.connections_max as u64), ("idle_ms_max", self.serve.idle_ms_max)]
        {
            if value == 0 {
                faults.push(format!("serve.{name} is 0: nobody could be served; give at least 1"));
            }
        }
        if self.serve.tls_certificate.as_os_str().is_empty() != self.serve.tls_key.as_os_str().is_empty() {
            faults.push(
                "serve.tls_certificate and serve.tls_key belong together: give both, or neither for plain HTTP"
                    .to_owned(),
            );
        }
        if !(0.0..=1.0).contains(&self.telemetry.trace_ratio) {
            faults.push(format!("telemetry.trace_ratio is {}; give a ratio, 0 to 1", self.telemetry.trace_ratio));
        }
        // Half of it is then left for the spool to write.
        if self.log.kind == LogKind::Kafka
            && self.log.spool
            && self.ingest.append_time_ms_max / 2 < self.log.spool_after_ms
        {
            faults.push(format!(
                "log.spool_after_ms is {}, more than half of ingest.append_time_ms_max ({}): requests would be refused before the \
                 spool takes them",
                self.log.spool_after_ms, self.ingest.append_time_ms_max
            ));
        }
        if !self.ingest.webhooks.is_empty() && self.pipeline.dedup_window_ms <= self.ingest.webhook_age_ms_max {
            faults.push(format!(
                "ingest.webhook_age_ms_max is {}, not below pipeline.dedup_window_ms ({}): an old request sent again would count \
                 again",
                self.ingest.webhook_age_ms_max, self.pipeline.dedup_window_ms
            ));
        }
        let splits = self.serve.roles.contains(&Role::Ingest) != self.serve.roles.contains(&Role::Pipeline);
        if self.log.kind == LogKind::Embedded && splits {
            faults.push(
                "serve.roles splits ingest from pipeline, which needs log.kind = \"kafka\": the embedded log belongs \
                 to one process"
                    .to_owned(),
            );
        }
        if self.log.kind == LogKind::Embedded && self.pipeline.assignment == Assignment::Group {
            faults.push(
                "pipeline.assignment is \"group\", which needs log.kind = \"kafka\": the embedded log belongs to one process"
                    .to_owned(),
            );
        }
        faults.extend(self.log.check());
        faults.extend(self.lake.check());
        if self.telemetry.observe_interval_ms == 0 {
            faults.push("telemetry.observe_interval_ms is 0; give at least 1, best 5000".to_owned());
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.telemetry.filter) {
            faults.push(format!("telemetry.filter cannot be read: {error}; write for example info"));
        }
        faults.extend(self.pipeline.check().into_iter().map(|text| format!("pipeline.{text}")));
        // The door's keys are made on the first start if nobody gave any; only the other faults count here.
        let with_a_key = IngestSettings {
            write_keys: if self.ingest.write_keys.is_empty() {
                vec![tributary_ingest::WriteKey { key: "x".into(), source: "x".into(), ..Default::default() }]
            } else {
                self.ingest.write_keys.clone()
            },
            ..self.ingest.clone()
        };
        faults.extend(with_a_key.check());
        faults.extend(self.flight.check().into_iter().map(|text| format!("flight.{text}")));
        faults.extend(self.postgres.check().into_iter().map(|text| format!("postgres.{text}")));
        if self.serve.roles.contains(&Role::Worker) {
            faults.extend(self.worker.check().into_iter().map(|text| format!("worker.{text}")));
        }
        match self.query.check() {
            Ok(()) => {}
            Err(QueryError::Settings { faults: found }) => {
                faults.extend(found.into_iter().map(|text| format!("query.{text}")));
            }
            Err(error) => faults.push(format!("query: {error}")),
        }
        faults
    }
}

/// The folder of definitions: as set, else `metrics` beside the settings, where it is there.
fn metrics_dir(set: Option<PathBuf>, layers: &Layers) -> Option<PathBuf> {
    let set = set.filter(|dir| !dir.as_os_str().is_empty());
    let beside = || match &layers.file {
        Some(file) => file.parent().map(|folder| folder.join("metrics")),
        None if layers.without_default_file => None,
        None => Some(PathBuf::from("metrics")),
    };
    set.or_else(|| beside().filter(|folder| folder.is_dir()))
}

/// Reads the tokens that lie in files, as secrets are handed to a container; what is wrong with one.
fn access_tokens(query: &mut QuerySettings) -> Vec<Fault> {
    let mut faults = Vec::new();
    for access in query.access.iter_mut().filter(|access| !access.token_file.is_empty()) {
        let mut fault = |what: String| faults.push(Fault::new(format!("query.access {:?}: {what}", access.name)));
        if !access.token.is_empty() {
            fault("it has two tokens: give one of token, token_file and token_sha256".to_owned());
            continue;
        }
        match std::fs::read_to_string(&access.token_file) {
            // Editors and secret stores put a line's end behind it.
            Ok(text) => text.trim_end_matches(['\r', '\n']).clone_into(&mut access.token),
            Err(error) => fault(format!("token_file {} cannot be read: {error}", access.token_file)),
        }
    }
    faults
}

/// The text of a file a setting names; that it cannot be read is told with the other faults.
fn file_text(path: &str) -> FileText {
    (!path.is_empty()).then(|| std::fs::read_to_string(path).map_err(|error| error.to_string()))
}

/// Whether a fault's text speaks of the knob at `key`: by its whole name or, in the faults of its own section, by the
/// last part of it.
fn names(text: &str, key: &str) -> bool {
    let mut parts = key.split('.');
    let (section, knob) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let whole = format!("{section}.{knob}");
    let is_own = text.starts_with(&format!("{section}."));
    let mut words = text.split(|char: char| !(char.is_ascii_alphanumeric() || "_.".contains(char)));
    words.any(|word| word == whole || (is_own && word == knob))
}

#[cfg(test)]
mod tests;

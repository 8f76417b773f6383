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

use std::path::PathBuf;

use serde::Deserialize;
use tributary_ingest::IngestSettings;
use tributary_lake::{LakeError, LakeSettings, local_folder};
use tributary_pipeline::{Assignment, PipelineSettings};
use tributary_query::{QueryError, QuerySettings};

pub(crate) use keys::{FIRST_SOURCES, Keys, add_missing_keys};
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
}

/// What a process does. All of them, unless a team splits them over Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ingest,
    Pipeline,
    Query,
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LakeSection {
    url: String,
    row_group_rows_max: usize,
    zstd_level: i32,
    checkpoint_interval_commits: u64,
    uploads_max: usize,
    race_tries_max: u32,
    storage_tries_max: u32,
    fsync: bool,
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
pub(crate) fn process_environment() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
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
        let settings = Self::from_merged(&mut merged);
        let mut faults = merged.into_faults();
        // A rule may fail only because a faulty value was replaced by its default: that is not the user's fault.
        let spoiled: Vec<String> = faults.iter().filter_map(|fault| fault.key.clone()).collect();
        let is_spoiled = |text: &str| spoiled.iter().any(|key| names(text, key));
        faults.extend(settings.check().into_iter().filter(|text| !is_spoiled(text)).map(Fault::new));
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError { faults }) }
    }

    fn from_merged(merged: &mut layers::Merged) -> Self {
        let serve: ServeSettings = merged.section("serve");
        let mut log: LogSettings = merged.section("log");
        let lake: LakeSection = merged.section("lake");
        let mut query: QuerySettings = merged.section("query");
        if log.dir.as_os_str().is_empty() {
            log.dir = serve.data_dir.join("log");
        }
        let url = if lake.url.is_empty() { serve.data_dir.join("lake").display().to_string() } else { lake.url };
        let lake = LakeSettings {
            url,
            row_group_rows_max: lake.row_group_rows_max,
            zstd_level: lake.zstd_level,
            checkpoint_interval_commits: lake.checkpoint_interval_commits,
            uploads_max: lake.uploads_max,
            race_tries_max: lake.race_tries_max,
            storage_tries_max: lake.storage_tries_max,
            fsync: lake.fsync,
        };
        query.spill_dir = query.spill_dir.filter(|dir| !dir.as_os_str().is_empty());
        let (ingest, mut pipeline): (_, PipelineSettings) = (merged.section("ingest"), merged.section("pipeline"));
        pipeline.accept_grown_partitions = log.partitions_grown == PartitionsGrown::Accept;
        Self { serve, log, ingest, pipeline, lake, query, telemetry: merged.section("telemetry") }
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
            faults.push("serve.roles is empty; name at least one of ingest, pipeline, query".to_owned());
        }
        for (name, value) in
            [("connections_max", self.serve.connections_max as u64), ("idle_ms_max", self.serve.idle_ms_max)]
        {
            if value == 0 {
                faults.push(format!("serve.{name} is 0: nobody could be served; give at least 1"));
            }
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
        match local_folder(&self.lake.url) {
            Ok(_) => {}
            Err(LakeError::Location { url, reason }) => faults.push(format!("lake.url is {url:?}; {reason}")),
            Err(error) => faults.push(format!("lake.url: {error}")),
        }
        if !(1..=22).contains(&self.lake.zstd_level) {
            faults.push(format!("lake.zstd_level is {}; give 1 to 22, best 3", self.lake.zstd_level));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.telemetry.filter) {
            faults.push(format!("telemetry.filter cannot be read: {error}; write for example info"));
        }
        faults.extend(self.pipeline.check().into_iter().map(|text| format!("pipeline.{text}")));
        // The door's keys are made on the first start if nobody gave any; only the other faults count here.
        let with_a_key = IngestSettings {
            write_keys: if self.ingest.write_keys.is_empty() {
                vec![tributary_ingest::WriteKey { key: "x".into(), source: "x".into(), trusted_clock: false }]
            } else {
                self.ingest.write_keys.clone()
            },
            ..self.ingest.clone()
        };
        faults.extend(with_a_key.check());
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

//! Settings: every knob of every role, read once at start.
//!
//! In:       layers (`layers`): defaults, files, environment, flags.
//! Out:      `Settings`, each part as the crate it is for wants it; or all faults at once.
//! Promise:  nothing else in this program reads settings files or the environment; secrets never print.
//! Not here: what the knobs mean: `settings/default.toml` says it, each crate checks its own.

mod keys;
mod layers;

use std::path::PathBuf;

use serde::Deserialize;
use tributary_eventlog::embedded::EmbeddedSettings;
use tributary_ingest::IngestSettings;
use tributary_lake::LakeSettings;
use tributary_pipeline::PipelineSettings;
use tributary_query::QuerySettings;

pub(crate) use keys::{FIRST_SOURCES, Keys, add_missing_keys};
pub(crate) use layers::{DEFAULTS, Fault, Layers};

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
}

/// What a process does. All of them, unless a team splits them over Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Ingest,
    Pipeline,
    Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogKind {
    Embedded,
    Kafka,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSettings {
    pub(crate) kind: LogKind,
    pub(crate) partitions: u32,
    pub(crate) events_topic: String,
    pub(crate) dead_letters_topic: String,
    pub(crate) dead_letters_partitions: u32,
    pub(crate) dir: PathBuf,
    pub(crate) segment_bytes_max: u64,
    pub(crate) retention_bytes_max: u64,
    pub(crate) retention_hours_max: u64,
    pub(crate) queue_bytes_max: usize,
    pub(crate) queue_wait_ms_max: u64,
    pub(crate) record_bytes_max: usize,
    pub(crate) round_bytes_max: usize,
    pub(crate) kafka_bootstrap_servers: String,
    pub(crate) kafka_replication_factor: u16,
    pub(crate) kafka_message_timeout_ms: u32,
    pub(crate) kafka_request_timeout_ms: u32,
    pub(crate) kafka_linger_ms: u32,
    pub(crate) kafka_properties: std::collections::BTreeMap<String, String>,
    pub(crate) kafka_topic_config: std::collections::BTreeMap<String, String>,
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
        let told = |faults| SettingsError { faults };
        if layers.keys_file.is_none() {
            let merged = layers::merge(&layers).map_err(told)?;
            let serve: ServeSettings = merged.section("serve").map_err(told)?;
            layers.keys_file = Some(Keys::path(&serve.data_dir));
        }
        let merged = layers::merge(&layers).map_err(told)?;
        Self::from_merged(&merged).map_err(told)
    }

    fn from_merged(merged: &layers::Merged) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let serve: Option<ServeSettings> = keep(merged.section("serve"), &mut faults);
        let log: Option<LogSettings> = keep(merged.section("log"), &mut faults);
        let ingest: Option<IngestSettings> = keep(merged.section("ingest"), &mut faults);
        let pipeline: Option<PipelineSettings> = keep(merged.section("pipeline"), &mut faults);
        let lake: Option<LakeSection> = keep(merged.section("lake"), &mut faults);
        let query: Option<QuerySettings> = keep(merged.section("query"), &mut faults);
        let telemetry: Option<TelemetrySettings> = keep(merged.section("telemetry"), &mut faults);
        let (Some(serve), Some(mut log), Some(ingest), Some(pipeline), Some(lake), Some(mut query), Some(telemetry)) =
            (serve, log, ingest, pipeline, lake, query, telemetry)
        else {
            return Err(faults);
        };
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
        let settings = Self { serve, log, ingest, pipeline, lake, query, telemetry };
        faults.extend(settings.check());
        if faults.is_empty() { Ok(settings) } else { Err(faults) }
    }

    /// What no single crate can see.
    fn check(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |text: String| faults.push(Fault::new(text));
        if self.serve.listen.parse::<std::net::SocketAddr>().is_err() {
            fault(format!(
                "serve.listen is {:?}; write an address and a port, such as 127.0.0.1:8080 or [::]:8080",
                self.serve.listen
            ));
        }
        if self.serve.roles.is_empty() {
            fault("serve.roles is empty; name at least one of ingest, pipeline, query".to_owned());
        }
        if self.log.partitions == 0 || self.log.dead_letters_partitions == 0 {
            fault("log.partitions and log.dead_letters_partitions must be 1 or more".to_owned());
        }
        if self.log.events_topic == self.log.dead_letters_topic {
            fault("log.events_topic and log.dead_letters_topic must differ".to_owned());
        }
        if self.log.kind == LogKind::Kafka {
            if self.log.kafka_bootstrap_servers.is_empty() {
                fault("log.kafka_bootstrap_servers is empty; name the brokers, such as localhost:9092".to_owned());
            }
            if cfg!(not(feature = "kafka")) {
                fault("log.kind is kafka, but this program was built without the feature `kafka`".to_owned());
            }
        } else if self.serve.roles.contains(&Role::Ingest) != self.serve.roles.contains(&Role::Pipeline) {
            fault(
                "serve.roles splits ingest from pipeline, which needs log.kind = \"kafka\": the embedded log belongs \
                 to one process"
                    .to_owned(),
            );
        }
        if !(1..=22).contains(&self.lake.zstd_level) {
            fault(format!("lake.zstd_level is {}; give 1 to 22, best 3", self.lake.zstd_level));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.telemetry.filter) {
            fault(format!("telemetry.filter cannot be read: {error}; write for example info"));
        }
        for text in self.pipeline.check() {
            fault(format!("pipeline.{text}"));
        }
        // The door's keys are made on the first start if nobody gave any; only the other faults count here.
        let with_a_key = IngestSettings {
            write_keys: if self.ingest.write_keys.is_empty() {
                vec![tributary_ingest::WriteKey { key: "x".into(), source: "x".into(), trusted_clock: false }]
            } else {
                self.ingest.write_keys.clone()
            },
            ..self.ingest.clone()
        };
        with_a_key.check().into_iter().for_each(&mut fault);
        if let Err(error) = self.query.check() {
            fault(format!("query: {error}"));
        }
        faults
    }
}

impl LogSettings {
    /// `now_ms` comes from the clock seam.
    pub(crate) fn embedded(&self, clock: std::sync::Arc<dyn tributary_schemas::Clock>) -> EmbeddedSettings {
        let limit = |value: u64| (value > 0).then_some(value);
        EmbeddedSettings {
            segment_bytes_max: self.segment_bytes_max,
            retention_bytes_max: limit(self.retention_bytes_max),
            retention_age_ms_max: limit(self.retention_hours_max.saturating_mul(3_600_000)),
            retention_waits_for: vec![tributary_pipeline::GROUP.to_owned()],
            queue_bytes_max: self.queue_bytes_max,
            queue_wait_ms_max: self.queue_wait_ms_max,
            record_bytes_max: self.record_bytes_max,
            round_bytes_max: self.round_bytes_max,
            now_ms: std::sync::Arc::new(move || clock.now_us() / 1_000),
            ..EmbeddedSettings::in_dir(self.dir.clone())
        }
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn kafka(&self) -> tributary_eventlog::kafka::KafkaSettings {
        let pairs = |map: &std::collections::BTreeMap<String, String>| {
            map.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        tributary_eventlog::kafka::KafkaSettings {
            replication_factor: self.kafka_replication_factor,
            message_timeout_ms: self.kafka_message_timeout_ms,
            request_timeout_ms: self.kafka_request_timeout_ms,
            linger_ms: self.kafka_linger_ms,
            record_bytes_max: self.record_bytes_max,
            queue_bytes_max: self.queue_bytes_max,
            topic_config: pairs(&self.kafka_topic_config),
            extra: pairs(&self.kafka_properties),
            ..tributary_eventlog::kafka::KafkaSettings::at(&self.kafka_bootstrap_servers)
        }
    }
}

fn keep<T>(section: Result<T, Vec<Fault>>, faults: &mut Vec<Fault>) -> Option<T> {
    section.map_err(|found| faults.extend(found)).ok()
}

#[cfg(test)]
mod tests;

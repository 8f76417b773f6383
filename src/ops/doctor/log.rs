//! The log: can it be opened, are its topics there, and what does it still hold.
//!
//! In:      settings; a running server where there is one.
//! Out:     findings, and the log for whoever compares the lake with it.
//! Promise: a log that a server holds is left to it: what the server says counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use tributary_eventlog::LogError;
use tributary_schemas::{Clock, SystemClock};

use super::super::report::{Report, TopicReport};
use super::super::status;
use super::Findings;
use crate::serve::{LogParts, existing_log};
use crate::settings::{LogKind, Settings};

/// What is known of the log from here on.
pub(super) enum Log {
    Open(LogParts),
    /// A server has it and tells of it.
    Told(Box<Report>),
    Unknown,
}

impl Log {
    pub(super) async fn topics(&self) -> Option<Vec<TopicReport>> {
        match self {
            Self::Open(parts) => super::super::look::Look::take(Some(parts), None).await.ok().map(|look| look.topics),
            Self::Told(report) => Some(report.topics.clone()),
            Self::Unknown => None,
        }
    }
}

pub(super) async fn examine(settings: &Settings, server: Option<&str>, findings: &mut Findings) -> Log {
    if let Some(url) = server {
        return match status::ask(url, 0).await {
            Ok(report) if report.topics.is_empty() => {
                findings.ok("log", "the server that runs here has none: it only answers questions");
                Log::Unknown
            }
            Ok(report) => {
                findings.ok("log", format!("the server at {url} has it open"));
                told(&report.topics, findings);
                for problem in &report.problems {
                    findings.fault("server", problem.clone());
                }
                Log::Told(Box::new(report))
            }
            Err(error) => {
                findings.fault(
                    "log",
                    format!("the server at {url} does not tell of it: {error:#}; look at what it prints"),
                );
                Log::Unknown
            }
        };
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let what = match settings.log.kind {
        LogKind::Embedded => format!("embedded in {}", settings.log.dir.display()),
        LogKind::Kafka => format!("Kafka at {}", settings.log.kafka_bootstrap_servers),
    };
    match existing_log(settings, clock).await {
        Ok(Some(parts)) => {
            findings.ok("log", format!("{what} can be opened"));
            if let Some(topics) = Log::Open(parts.clone()).topics().await {
                told(&topics, findings);
            }
            #[cfg(feature = "kafka")]
            if settings.log.kind == LogKind::Kafka {
                replicas(settings, &parts, findings).await;
            }
            Log::Open(parts)
        }
        Ok(None) => {
            findings.ok("log", format!("{what} has no topics of ours yet; the first start makes them"));
            Log::Unknown
        }
        Err(error) => {
            let in_use = error.chain().any(|cause| {
                cause.downcast_ref::<LogError>().is_some_and(|error| matches!(error, LogError::InUse { .. }))
            }) || format!("{error:#}").contains("is in use by another process");
            let advice = match (settings.log.kind, in_use) {
                (_, true) => "a process without a door holds it; give its address to `tributary status --url`",
                (LogKind::Kafka, _) => {
                    "see whether the brokers run, and whether log.kafka_bootstrap_servers and log.kafka_properties are right"
                }
                (LogKind::Embedded, _) => "mend what it says, then ask again",
            };
            findings.fault("log", format!("{what}: {error:#}; {advice}"));
            Log::Unknown
        }
    }
}

fn told(topics: &[TopicReport], findings: &mut Findings) {
    for topic in topics {
        let held: u64 = topic.partitions.iter().map(|partition| partition.next - partition.earliest).sum();
        let begins: BTreeMap<u32, u64> = topic
            .partitions
            .iter()
            .filter(|partition| partition.earliest > 0)
            .map(|partition| (partition.partition, partition.earliest))
            .collect();
        let told = format!("topic {}: {} partitions, {held} records", topic.topic, topic.partitions.len());
        match begins.is_empty() {
            true => findings.ok("log", told),
            false => findings.warning(
                "log",
                format!(
                    "{told}; its first records are gone by retention ({begins:?} is where partitions begin), so the lake \
                     cannot be made anew from it as a whole: keep the lake, or lengthen the retention"
                ),
            ),
        }
    }
}

#[cfg(feature = "kafka")]
async fn replicas(settings: &Settings, parts: &LogParts, findings: &mut Findings) {
    let topics = [parts.events.topic.clone(), parts.dead_letters.topic.clone()];
    let kafka = settings.log.kafka();
    let asked = tokio::task::spawn_blocking(move || {
        topics.map(|topic| (tributary_eventlog::kafka::replicas(&kafka, &topic), topic))
    });
    let Ok(asked) = asked.await else { return };
    for (replicas, topic) in asked {
        match replicas {
            Ok(replicas) => {
                let fewest = replicas.iter().map(|(copies, _)| *copies).min().unwrap_or_default();
                let lagging = replicas.iter().filter(|(copies, in_sync)| in_sync < copies).count();
                if lagging > 0 {
                    findings.warning(
                        "log",
                        format!("topic {topic}: {lagging} partitions have copies that are behind; see the brokers"),
                    );
                }
                match fewest {
                    ..=1 => findings.warning(
                        "log",
                        format!("topic {topic} has one copy: a broker's disk that is lost takes events with it; use 3 brokers and 3 copies"),
                    ),
                    copies => findings.ok("log", format!("topic {topic} has {copies} copies")),
                }
            }
            Err(error) => findings.warning("log", format!("topic {topic}: its copies cannot be asked for: {error}")),
        }
    }
}

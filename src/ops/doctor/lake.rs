//! The lake: are its tables there and whole, does it fit the log and the settings, is it kept.
//!
//! In:      settings, what is known of the log.
//! Out:     findings.
//! Promise: reads only. A table that is missing is told before anything opens the lake, for opening would make it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use tributary_eventlog::TopicInfo;
use tributary_lake::{Lake, Snapshot};
use tributary_pipeline::{PartitionStanding, Standing, Tables, rule_fingerprint};
use tributary_schemas::{Clock, SystemClock, Table};

use super::super::look::Look;
use super::super::report::TopicReport;
use super::super::status::all_books;
use super::Findings;
use super::log::Log;
use crate::serve::{existing_lake, lake_folder};
use crate::settings::{PartitionsGrown, Settings};

/// Younger files may belong to a commit under way.
const ORPHAN_AGE_MS: i64 = 3_600_000;
const SMALL_FILES_MANY: usize = 1_000;
const SMALL_FILE_BYTES: u64 = 16 << 20;
/// Clocks of two machines may differ by so much without anybody's fault.
const CLOCK_SLACK_US: i64 = 5_000_000;

pub(super) async fn examine(settings: &Settings, log: &Log, full: bool, findings: &mut Findings) {
    if let Some(folder) = lake_folder(settings)
        && !all_tables_there(&folder, findings)
    {
        return;
    }
    let lake = match existing_lake(settings).await {
        Ok(Some(lake)) => lake,
        Ok(None) => {
            return findings.ok("lake", format!("{} is not there yet; the first start makes it", settings.lake.url));
        }
        Err(error) => return findings.fault("lake", format!("{error:#}")),
    };
    let tables = match Tables::read(&lake).await {
        Ok(tables) => tables,
        Err(error) => {
            return findings.fault("lake", format!("its tables cannot be read: {:#}", anyhow::Error::new(error)));
        }
    };
    findings.ok("lake", format!("{}: all tables are there and have our columns", settings.lake.url));
    for snapshot in tables.all() {
        if let Err(error) = files(&lake, settings, snapshot, findings).await {
            findings.warning("lake", format!("table {}: its files cannot be listed: {error}", snapshot.table().name()));
        }
    }
    if let Some(topics) = log.topics().await {
        positions(settings, &tables, &topics, findings);
    }
    if !full {
        return;
    }
    match log {
        Log::Open(parts) => {
            let standing = tables.standing(&parts.events, &parts.dead_letters);
            let books = match Look::take(Some(parts), None).await {
                Ok(look) => all_books(&look, &tables, &standing, parts).await,
                Err(error) => Err(error),
            };
            match books {
                Ok(books) if books.difference == 0 => {
                    findings.ok("books", format!("each of {} offsets is in exactly one row", books.offsets));
                }
                Ok(books) => findings.fault(
                    "books",
                    format!(
                        "{} offsets are in no table, first {}, and {} are in twice; rows that lake retention or compaction \
                         removed count as missing; else make the lake anew with `tributary replay`",
                        books.missing,
                        books.first_missing.as_deref().unwrap_or("-"),
                        books.doubled
                    ),
                ),
                Err(error) => findings.fault("books", format!("they cannot be balanced: {error:#}")),
            }
        }
        Log::Told(report) => match &report.books {
            Some(books) if books.difference == 0 => {
                findings.ok("books", format!("the server has balanced {} offsets since its start", books.offsets));
            }
            Some(_) => {}
            None => findings
                .warning("books", "the server keeps none (telemetry.books_interval_ms is 0); stop it and ask again"),
        },
        Log::Unknown => findings.warning("books", "without the log they cannot be balanced"),
    }
}

/// Whether every table is there; `false` also where there is no lake at all, which is no fault.
fn all_tables_there(folder: &Path, findings: &mut Findings) -> bool {
    let is_there = |table: &&Table| folder.join(table.name()).join("_delta_log").is_dir();
    let missing: Vec<&str> = Table::ALL.iter().filter(|table| !is_there(table)).map(|table| table.name()).collect();
    match missing.len() {
        0 => true,
        all if all == Table::ALL.len() => {
            findings.ok("lake", format!("{} is not there yet; the first start makes it", folder.display()));
            false
        }
        _ => {
            findings.fault(
                "lake",
                format!(
                    "{} lacks {}: a part of it was deleted; make it anew from the log with `tributary replay --swap`",
                    folder.display(),
                    missing.join(", ")
                ),
            );
            false
        }
    }
}

/// Files that nobody refers to, that are missing, that are too small; and how far back the log of the table begins.
async fn files(
    lake: &Lake,
    settings: &Settings,
    snapshot: &Snapshot,
    findings: &mut Findings,
) -> Result<(), object_store::Error> {
    let table = snapshot.table().name();
    let now_ms = SystemClock.now_us() / 1_000;
    let live: HashSet<Arc<str>> = snapshot.files().iter().map(|file| file.path.clone()).collect();
    let store = lake.object_store();
    let mut listed = store.list(Some(&object_store::path::Path::from(table)));
    let (mut there, mut orphans, mut orphan_bytes, mut checkpoint) = (HashSet::new(), 0_u64, 0_u64, None);
    while let Some(meta) = listed.try_next().await? {
        let path: Arc<str> = meta.location.as_ref().into();
        let name = meta.location.filename().unwrap_or_default();
        if path.contains("/_delta_log/") {
            if let Some(version) = name.split_once(".checkpoint").and_then(|(version, _)| version.parse::<u64>().ok()) {
                checkpoint = checkpoint.max(Some(version));
            }
        } else if live.contains(&path) {
            there.insert(path);
        } else if name.ends_with(".parquet") && now_ms - meta.last_modified.timestamp_millis() > ORPHAN_AGE_MS {
            orphans += 1;
            orphan_bytes += meta.size;
        }
    }
    // A commit between the snapshot and the listing only adds files; compaction keeps removed ones for its horizon.
    let missing: Vec<&Arc<str>> = live.iter().filter(|path| !there.contains(*path)).collect();
    if let Some(first) = missing.first() {
        findings.fault(
            "lake",
            format!(
                "table {table}: {} of {} files are gone, among them {first}; give them back from a copy, or make the lake \
                 anew with `tributary replay --swap`",
                missing.len(),
                live.len()
            ),
        );
    }
    if orphans > 0 {
        findings.warning(
            "lake",
            format!(
                "table {table}: {orphans} files ({:.1} MB) belong to no version any more, or to a commit that failed; vacuum \
                 removes them",
                orphan_bytes as f64 / 1e6
            ),
        );
    }
    let small = snapshot.files().iter().filter(|file| file.size_bytes < SMALL_FILE_BYTES).count();
    if small >= SMALL_FILES_MANY {
        findings.warning("lake", format!("table {table}: {small} small files slow questions down; compact it"));
    }
    let interval = settings.lake.checkpoint_interval_commits.max(1);
    let since = snapshot.version().saturating_sub(checkpoint.unwrap_or(0));
    if since > 3 * interval {
        findings.warning(
            "lake",
            format!(
                "table {table}: no checkpoint in the last {since} commits (one every {interval} is due), so opening it reads \
                 as many files; see whether the server tells why"
            ),
        );
    }
    Ok(())
}

/// Where the lake stands in the log, and whether it was made by these settings.
fn positions(settings: &Settings, tables: &Tables, topics: &[TopicReport], findings: &mut Findings) {
    let [events, dead_letters] = topics else { return };
    let info = |topic: &TopicReport| TopicInfo {
        topic: topic.topic.clone(),
        topic_id: topic.topic_id.clone(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
    };
    let standing = tables.standing(&info(events), &info(dead_letters));
    let faults = findings.0.len();
    let (found, set) = (events.partitions.len() as u64, u64::from(settings.log.partitions));
    if found > set && settings.log.partitions_grown == PartitionsGrown::Accept {
        findings.warning(
            "log",
            format!(
                "it has {found} partitions, the settings say {set} and accept more: set log.partitions to what it has"
            ),
        );
    } else if found != set {
        findings.fault(
            "log",
            format!("it has {found} partitions, the settings say {set}: set log.partitions to what it has"),
        );
    }
    other_logs(&standing, findings);
    let at_dead =
        |partition: u32| standing.dead_letters.iter().find(|(at, _)| *at == partition).and_then(|(_, at)| *at);
    let at_events =
        |partition: u32| standing.events.iter().find(|at| at.partition == partition).and_then(|at| at.events);
    let places = events.partitions.iter().map(|held| (held, events, at_events(held.partition)));
    let dead = dead_letters.partitions.iter().map(|held| (held, dead_letters, at_dead(held.partition)));
    for (held, topic, at) in places.chain(dead) {
        let Some(at) = at else { continue };
        if at < held.earliest || held.next < at {
            findings.fault(
                "lake",
                format!(
                    "it stands at {at} of partition {} of topic {}, and the log holds [{}, {}); give the log back, or make \
                     the lake anew from what is left with `tributary replay --from-earliest --swap`",
                    held.partition, topic.topic, held.earliest, held.next
                ),
            );
        }
    }
    for PartitionStanding { partition, events, sessions, .. } in &standing.events {
        if sessions > events {
            findings.fault(
                "lake",
                format!("sessions of partition {partition} stand ahead of events: a part of the lake was deleted; `tributary replay --swap`"),
            );
        }
    }
    let rule = rule_fingerprint(&settings.pipeline);
    if standing.events.iter().any(|at| at.rule.is_some_and(|stored| stored != rule)) {
        findings.fault(
            "lake",
            "its sessions were made by another rule than the settings have: put the session knobs of [pipeline] back, or make \
             the lake anew by the new rule with `tributary replay --swap`",
        );
    }
    let newest_us = standing.events.iter().filter_map(|at| at.newest_us).max();
    if let Some(ahead_us) =
        newest_us.map(|newest_us| newest_us - SystemClock.now_us()).filter(|us| *us > CLOCK_SLACK_US)
    {
        findings.warning(
            "clock",
            format!(
                "the newest event was received {:.0} s after now: the clock of this machine, or of the one that took it, is \
                 wrong; set it by NTP",
                ahead_us as f64 / 1e6
            ),
        );
    }
    if findings.0.len() == faults {
        findings.ok("lake", "it stands within the log, and was made by the session rule of the settings");
    }
}

fn other_logs(standing: &Standing, findings: &mut Findings) {
    let never = standing.events.iter().all(|at| at.events.is_none());
    if !standing.foreign_topics.is_empty() && never {
        findings.fault(
            "lake",
            format!(
                "its rows came from another log ({}): give that log back, or use another data folder",
                standing.foreign_topics.join(", ")
            ),
        );
    }
}

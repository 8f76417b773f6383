//! The machine: folders, room, limits, the port, the keys.
//!
//! In:      settings.
//! Out:     findings.
//! Promise: each check stands by itself; what cannot be found out on this system is said so and is no fault.

use std::path::Path;

use tributary_analytics::enrich::currency::date_text;
use tributary_query::AccessSettings;
use tributary_schemas::Clock;

use super::Findings;
use crate::http;
use crate::settings::{LogKind, Role, Settings, keys_file};

/// * `is_named`: whether it was named on the command line; then one that is not there is likely a slip.
pub(super) fn data_folder(settings: &Settings, is_named: bool, findings: &mut Findings) {
    let dir = &settings.serve.data_dir;
    if !dir.exists() {
        let above = dir.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match above.is_dir() {
            true if is_named => findings.warning(
                "data folder",
                format!(
                    "{} is not there; see whether its name is right. The first `tributary serve` would make it",
                    dir.display()
                ),
            ),
            true => findings.ok("data folder", format!("{} is not there yet; the first start makes it", dir.display())),
            false => findings.fault(
                "data folder",
                format!(
                    "neither {} nor the folder above it is there; make it, or name another with --data",
                    dir.display()
                ),
            ),
        }
        return;
    }
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"probe").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => findings.ok("data folder", format!("{} can be written to", dir.display())),
        Err(error) => findings.fault(
            "data folder",
            format!("{} cannot be written to: {error}; give its owner the right, or run as its owner", dir.display()),
        ),
    }
}

/// Below this a busy line is full within hours; below the second, soon.
const SPACE_WARNING_BYTES: u64 = 5 << 30;
const SPACE_FAULT_BYTES: u64 = 512 << 20;

pub(super) fn disk_space(settings: &Settings, findings: &mut Findings) {
    let mut places = vec![("log", settings.log.dir.clone()); usize::from(settings.log.kind == LogKind::Embedded)];
    places.extend(crate::serve::lake_folder(settings).map(|folder| ("lake", folder)));
    for (what, folder) in places {
        let Some(there) = folder.ancestors().find(|above| above.is_dir() || above.as_os_str().is_empty()) else {
            continue;
        };
        let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        let Some(free) = free_bytes(there) else {
            findings.ok("disk space", format!("{what}: this system does not say how much is free"));
            continue;
        };
        let told = format!("{what}: {:.1} GB free at {}", free as f64 / 1e9, there.display());
        match free {
            ..SPACE_FAULT_BYTES => {
                findings.fault("disk space", format!("{told}: free some now, or events will be refused"))
            }
            SPACE_FAULT_BYTES..SPACE_WARNING_BYTES => {
                findings.warning("disk space", format!("{told}: free some, or shorten log.retention_hours_max"));
            }
            _ => findings.ok("disk space", told),
        }
    }
}

#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
fn free_bytes(_folder: &Path) -> Option<u64> {
    None
}

pub(super) fn open_files(settings: &Settings, findings: &mut Findings) {
    let wanted = settings.serve.connections_max as u64 + crate::serve::OTHER_FILES;
    // A server raises the soft limit itself as far as the hard one lets it.
    match rlimit::Resource::NOFILE.get() {
        Ok((_, hard)) if hard < wanted => findings.warning(
            "open files",
            format!(
                "at most {hard} for a process: fewer connections than serve.connections_max ({}) will be let in; raise the \
                 hard limit (ulimit -Hn, LimitNOFILE=) to {wanted}",
                settings.serve.connections_max
            ),
        ),
        Ok((_, hard)) => findings.ok("open files", format!("up to {hard} for a process")),
        Err(error) => findings.ok("open files", format!("this system does not say its limit: {error}")),
    }
}

pub(super) async fn port(settings: &Settings, server: Option<&str>, findings: &mut Findings) {
    let listen = &settings.serve.listen;
    if let Some(url) = server {
        findings.ok("port", format!("our server answers at {url}"));
        return;
    }
    match tokio::net::TcpListener::bind(listen).await {
        Ok(_) => findings.ok("port", format!("{listen} is free")),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            match http::is_tributary(&format!("http://{listen}")).await {
                // One that runs on this folder has written its address into it, if it has a door.
                true => findings.warning(
                    "port",
                    format!(
                        "a Tributary server answers at {listen} that is not known to run on {}: a start here cannot \
                         listen there; choose another port with serve.listen, or see whose it is with \
                         `tributary status --url http://{listen}`",
                        settings.serve.data_dir.display()
                    ),
                ),
                false => findings.fault(
                    "port",
                    format!("another program listens at {listen}; stop it, or choose another with serve.listen"),
                ),
            }
        }
        Err(error) => {
            findings.fault("port", format!("{listen} cannot be listened at: {error}; choose another with serve.listen"))
        }
    }
}

/// Where another protocol than HTTP is to be spoken. A server that runs has its ports already.
pub(super) async fn faces(settings: &Settings, server: Option<&str>, findings: &mut Findings) {
    let all = [("postgres.listen", &settings.postgres.listen), ("flight.listen", &settings.flight.listen)];
    if server.is_some() || !settings.serve.roles.contains(&Role::Query) {
        return;
    }
    for (knob, listen) in all.into_iter().filter(|(_, listen)| !listen.is_empty()) {
        match tokio::net::TcpListener::bind(listen).await {
            Ok(_) => findings.ok("port", format!("{listen} is free")),
            Err(error) => {
                findings.fault("port", format!("{listen} cannot be listened at: {error}; choose another with {knob}"));
            }
        }
    }
}

/// Central banks are closed for days in a row, so a table is to end well before its rates do.
const RATE_DAYS_LEFT_MIN: i64 = 1;
/// A currency whose rates end so long before those of others is no more (the kuna), and is not missed.
const RATE_DAYS_GONE: i32 = 60;

pub(super) fn currency_rates(settings: &Settings, clock: &dyn Clock, findings: &mut Findings) {
    let pipeline = &settings.pipeline;
    // Faults of the file are faults of the settings, and were told there.
    let Ok(Some(rates)) = pipeline.currency_rates() else { return };
    let today = clock.now_us().div_euclid(86_400_000_000);
    let days_left = |day: i32| i64::from(day) + i64::from(rates.age_days_max()) - today;
    // Where a rate is good for a day, that of yesterday is all there may be.
    let days_left_min = RATE_DAYS_LEFT_MIN.min(i64::from(rates.age_days_max()) - 2);
    let path = &pipeline.currency_rates_file;
    let Some(newest) = rates.newest_day() else {
        let told = format!("pipeline.currency_rates_file has none: only amounts in {} have a value", rates.reporting());
        return findings.warning("rates", told);
    };
    let mut ending: Vec<String> = rates
        .newest_days()
        .filter(|(_, day)| days_left(*day) <= days_left_min && newest - day <= RATE_DAYS_GONE)
        .map(|(currency, day)| format!("{currency} ends on {}", date_text(day)))
        .collect();
    ending.sort_unstable();
    let advice = "write newer ones into it; a running server takes them in within two minutes";
    let newest_text = date_text(newest);
    if days_left(newest) < 0 {
        let told = format!("the newest in {path} is of {newest_text}, too old for any event of today: {advice}");
        findings.fault("rates", told);
    } else if ending.is_empty() {
        findings.ok("rates", format!("the newest in {path} is of {newest_text}"));
    } else {
        let age_days_max = rates.age_days_max();
        let told = format!("in {path} {}, good for {age_days_max} days: {advice}", ending.join(", "));
        findings.warning("rates", told);
    }
}

pub(super) fn keys(settings: &Settings, findings: &mut Findings) {
    let file = keys_file(&settings.serve.data_dir);
    let missing: Vec<&str> = [
        ("write keys", settings.ingest.write_keys.is_empty()),
        ("a ticket secret", settings.ingest.ticket_secret.is_empty()),
        ("a replay token", settings.ingest.replay_tokens.is_empty()),
        ("an SQL token", settings.query.tokens.is_empty()),
        (
            "a secret for pseudonyms",
            settings.query.mask_secret.is_empty() && settings.query.access.iter().any(AccessSettings::masks),
        ),
    ]
    .into_iter()
    .filter_map(|(name, is_missing)| is_missing.then_some(name))
    .collect();
    match missing.as_slice() {
        [] => findings.ok("keys", "write keys, ticket secret and tokens are known"),
        missing => findings.ok("keys", format!("the next start makes {} in {}", missing.join(", "), file.display())),
    }
    let is_own = std::fs::read_to_string(&file)
        .is_ok_and(|text| !settings.ingest.ticket_secret.is_empty() && text.contains(&settings.ingest.ticket_secret));
    if settings.log.kind == LogKind::Kafka && is_own {
        findings.warning(
            "keys",
            format!(
                "the ticket secret is that of {}; other doors on this Kafka need the same (ingest.ticket_secret), or the \
                 same event gets another id there",
                file.display()
            ),
        );
    }
    #[cfg(unix)]
    if let Ok(meta) = std::fs::metadata(&file) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            findings.warning(
                "keys",
                format!(
                    "{} is open to others (mode {mode:o}); close it with chmod 600 {}",
                    file.display(),
                    file.display()
                ),
            );
        }
    }
}

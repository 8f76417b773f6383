//! `tributary doctor`: is everything as it must be, and if not, what to do.
//!
//! In:      settings, folders, the log, the lake, the machine; a running server where there is one.
//! Out:     one line a check: ok, warning or fault; exit code 1 where there is a fault.
//! Promise: a fault hides no other; every line that is not ok says what to do. Nothing is made, moved or mended: but a
//!          probe file in the data folder, which is gone at once.
//!
//! The embedded log belongs to one process. While a server runs, what it says of its log counts, and the rest is looked
//! at as without it.

mod lake;
mod log;
mod machine;

use std::path::PathBuf;

use anyhow::bail;
use tributary_schemas::SystemClock;

use super::status;
use crate::settings::{Settings, SettingsError};

#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// Data folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Look for every offset of the log in the tables, from the first on; only where no server runs
    #[arg(long)]
    full: bool,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Fault,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Finding {
    level: Level,
    what: &'static str,
    told: String,
}

/// What was found, in the order of the checks.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, what: &'static str, told: impl Into<String>) {
        self.add(Level::Ok, what, told);
    }

    fn warning(&mut self, what: &'static str, told: impl Into<String>) {
        self.add(Level::Warning, what, told);
    }

    fn fault(&mut self, what: &'static str, told: impl Into<String>) {
        self.add(Level::Fault, what, told);
    }

    fn add(&mut self, level: Level, what: &'static str, told: impl Into<String>) {
        self.0.push(Finding { level, what, told: told.into() });
    }
}

pub(crate) async fn command(
    args: DoctorArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let mut findings = Findings::default();
    match load(args.data.clone()) {
        Ok(settings) => {
            findings.ok("settings", "they can stand");
            examine(&settings, &args, &mut findings).await;
        }
        // Without settings nobody knows where to look; the faults are all told.
        Err(SettingsError { faults }) => {
            for fault in faults {
                findings.fault("settings", format!("{fault}; `tributary settings` prints every knob"));
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings.0)?);
    } else {
        for Finding { level, what, told } in &findings.0 {
            let level = match level {
                Level::Ok => "ok",
                Level::Warning => "warning",
                Level::Fault => "FAULT",
            };
            println!("{level:<8} {what:<12} {told}");
        }
    }
    let count = |level| findings.0.iter().filter(|finding| finding.level == level).count();
    match (count(Level::Fault), count(Level::Warning)) {
        (0, _) => Ok(()),
        (1, _) => bail!("there is 1 fault"),
        (faults, _) => bail!("there are {faults} faults"),
    }
}

async fn examine(settings: &Settings, args: &DoctorArgs, findings: &mut Findings) {
    let server = status::running(settings).await;
    machine::data_folder(settings, args.data.is_some(), findings);
    machine::disk_space(settings, findings);
    machine::open_files(settings, findings);
    machine::port(settings, server.as_deref(), findings).await;
    machine::faces(settings, server.as_deref(), findings).await;
    machine::keys(settings, findings);
    machine::currency_rates(settings, &SystemClock, findings);
    let log = log::examine(settings, server.as_deref(), findings).await;
    lake::examine(settings, &log, args.full, findings).await;
    if let log::Log::Open(parts) = log
        && let Err(error) = parts.log.close().await
    {
        findings.warning("log", format!("it did not close: {error}"));
    }
}

//! `tributary serve`: the roles of one process, from start to a stop in the order of the data.
//!
//! In:       settings.
//! Out:      a process that serves until it is told to stop, or until a role of it fails.
//! Promise:  everything accepted before the stop is in the log when the process ends, and in the lake where
//!           this process runs the pipeline.
//! Not here: what the roles do (`ingest`, `pipeline`, `query`).

mod definitions;
mod faces;
pub(crate) mod http;
mod lane;
mod line;
mod live;
mod parts;
mod rates;
mod stop;
mod tls;
mod traces;
mod upkeep;

use std::io::Write;

use crate::settings::{self, Settings};
use crate::telemetry;

pub(crate) use faces::Faces;
pub(crate) use http::OTHER_FILES;
pub(crate) use line::{Line, LineWatch};
pub(crate) use parts::{LogParts, existing_lake, existing_log, lake_folder, listen as bind};
pub(crate) use stop::Signals;

/// Serves until SIGINT, SIGTERM or a failure.
pub(crate) async fn command(mut settings: Settings) -> anyhow::Result<()> {
    let traces = telemetry::start(&settings.telemetry)?;
    let metrics = telemetry::start_metrics()?;
    // Before keys are made and folders touched: a port in use is the commonest fault of all.
    let listener = parts::listen(&settings).await?;
    let faces = Faces::bind(&settings).await?;
    let faces_at = faces.addresses()?;
    let made = settings::add_missing_keys(&mut settings, &settings::FIRST_SOURCES)?;
    let mut line = Line::start(&settings, listener, faces, metrics).await?;

    // The first line is for programs: tests and scripts read the port from it.
    let mut out = std::io::stdout();
    let scheme = if settings.serve.tls() { "https" } else { "http" };
    writeln!(out, "listening on {scheme}://{}", line.watch().addr())?;
    for (scheme, address) in faces_at {
        writeln!(out, "listening on {scheme}://{address}")?;
    }
    if settings.serve.roles.contains(&settings::Role::Query) {
        let keys = settings.serve.data_dir.join("keys.toml");
        let told = "in a browser; its token is one of query.tokens, the server's own are in";
        writeln!(out, "open {scheme}://{}/ {told} {}", line.watch().addr(), keys.display())?;
    }
    if let Some(keys) = made {
        writeln!(out, "made {}: {}", keys.made.join(", "), keys.file.display())?;
    }
    out.flush()?;

    let mut signals = Signals::listen()?;
    let failure = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping: no new requests, then the rest of the line; again to stop at once");
            None
        }
        failure = line.failed() => Some(failure),
    };
    if failure.is_some() {
        // Why is told once, as the last word of the process.
        tracing::error!("a role has failed: stopping the others; the reason follows");
    }
    let stopped = tokio::select! {
        stopped = line.stop() => stopped,
        name = signals.next() => anyhow::bail!(
            "stopped at once by a second {name}; nothing accepted is lost, the next start goes on from the log"
        ),
    };
    traces.close().await;
    match failure {
        // The failure came first and explains what the stop may have met.
        Some(failure) => Err(failure),
        None => stopped.map(|()| tracing::info!("stopped")),
    }
}

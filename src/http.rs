//! The HTTP client of commands that talk to a server.

use std::time::Duration;

use anyhow::Context;

/// A client for `url`. What runs on this machine is asked directly, whatever proxy the environment names: a proxy
/// elsewhere cannot reach our loopback.
pub(crate) fn client_for(url: &str, time_max: Duration) -> anyhow::Result<reqwest::Client> {
    let host = url.strip_prefix("http://").unwrap_or(url);
    let is_here = ["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here));
    let builder = reqwest::Client::builder().timeout(time_max);
    let builder = if is_here { builder.no_proxy() } else { builder };
    builder.build().context("the HTTP client cannot start")
}

//! The HTTP client of commands that talk to a server.
//!
//! In:      the address of a server.
//! Out:     a client for it, or why a key or token must not go there.
//! Promise: a key or token crosses a network in clear only where its owner says so; no redirect is followed, for
//!          it would take them elsewhere and make a GET of a POST.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use reqwest::{Url, redirect};

use crate::cli::UserError;

/// A client for `url`. What runs on this machine is asked directly, whatever proxy the environment names: a proxy
/// elsewhere cannot reach our loopback.
pub(crate) fn client_for(url: &str, time_max: Duration) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder().timeout(time_max).redirect(redirect::Policy::none());
    // A certificate names a host, and 127.0.0.1 is none; what leads to this machine needs no other proof of where it leads.
    let builder = if is_here(url) { builder.no_proxy().tls_danger_accept_invalid_certs(true) } else { builder };
    builder.build().context("the HTTP client cannot start")
}

/// The address a server on this data folder wrote down, as a URL and as it is; whether it still runs is another question.
pub(crate) fn written_down(data_dir: &Path) -> Option<(String, SocketAddr)> {
    let written = std::fs::read_to_string(data_dir.join("listen.addr")).unwrap_or_default();
    let written = written.trim();
    let (scheme, addr) = written.split_once("://").unwrap_or(("http", written));
    let addr: SocketAddr = addr.parse().ok()?;
    Some((format!("{scheme}://{addr}"), addr))
}

/// Whether a server of this program answers at `url`.
pub(crate) async fn is_tributary(url: &str) -> bool {
    const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);
    let Ok(client) = client_for(url, ANSWER_TIME_MAX) else { return false };
    let Ok(answer) = client.get(format!("{url}/status")).send().await else { return false };
    let is_well = answer.status().is_success();
    // Many programs answer at /status; ours says its name.
    is_well && answer.text().await.is_ok_and(|text| text.contains("\"program\": \"tributary "))
}

/// Why there was no answer, and what to do: the client's own words name its parts, not ours.
pub(crate) fn no_answer(url: &str, error: &reqwest::Error) -> anyhow::Error {
    let told = if error.is_connect() {
        "nobody can be reached there. Start a server with `tributary serve`, or name one with --url http://HOST:PORT"
    } else if error.is_timeout() {
        "it did not answer in time. Ask again; if it is so again, look at what the server prints"
    } else {
        "the connection broke off. Is it a Tributary server? Then ask again"
    };
    anyhow::anyhow!("{url}: {told}")
}

/// The address of a server as typed, without slashes at its end; or what to type instead.
pub(crate) fn address(typed: &str) -> Result<String, UserError> {
    let parsed = Url::parse(typed).ok().filter(Url::has_host);
    match parsed.as_ref().map(Url::scheme) {
        Some("http" | "https") => Ok(typed.trim_end_matches('/').to_owned()),
        _ => Err(UserError(format!("{typed:?} is no address of a server; write for example http://127.0.0.1:8080"))),
    }
}

/// Refuses to send a key or token in clear to another machine, unless its owner said that it may be.
pub(crate) fn keep_secret(url: &str, insecure_http: bool) -> Result<(), UserError> {
    if insecure_http || is_here(url) || url.starts_with("https://") {
        return Ok(());
    }
    Err(UserError(format!(
        "{url} is another machine, and over http:// everyone on the way can read the key and the rows; {}. Where the \
         whole way is yours, add --insecure-http",
        tunnel(url)
    )))
}

fn tunnel(url: &str) -> String {
    let host = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    format!("open a tunnel with `ssh -N -L 8080:127.0.0.1:8080 {host}` and give --url http://127.0.0.1:8080")
}

/// Whether nothing that is sent there leaves this machine. A server that listens on all addresses writes down
/// 0.0.0.0, which leads to itself.
fn is_here(url: &str) -> bool {
    let Some(host) = Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)) else { return false };
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_talked_to_is_refused_with_what_to_write() {
        for (typed, words) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080", "http://127.0.0.1:8080"),
            ("", "http://127.0.0.1:8080"),
            ("ftp://x", "http://127.0.0.1:8080"),
        ] {
            let told = address(typed).unwrap_err().to_string();
            assert!(told.contains(words), "{typed}: {told}");
        }
        assert_eq!(address("http://shop.example:8080/door/").unwrap(), "http://shop.example:8080/door");
        assert_eq!(address("https://shop.example/").unwrap(), "https://shop.example");
    }

    #[test]
    fn a_secret_leaves_the_machine_only_when_its_owner_says_so() {
        for here in
            ["http://127.0.0.1:1", "http://127.8.9.1", "http://localhost:80/x", "http://[::1]:8080", "http://0.0.0.0:1"]
        {
            assert!(keep_secret(here, false).is_ok(), "{here}");
        }
        assert!(keep_secret("https://shop.example", false).is_ok(), "nobody on the way can read it");
        // Names and user parts that only look like this machine.
        for away in [
            "http://10.0.0.7:8080",
            "http://127.0.0.1.example",
            "http://localhost.example",
            "http://127.0.0.1@far.example",
        ] {
            let told = keep_secret(away, false).unwrap_err().to_string();
            assert!(told.contains("ssh -N") && told.contains("--insecure-http"), "{told}");
            assert!(keep_secret(away, true).is_ok(), "{away}");
        }
    }
}

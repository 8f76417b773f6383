//! What may be chosen about workers, on both sides.

use serde::Deserialize;
use url::Url;

use crate::settings::{QuerySettings, TOKEN_BYTES_MIN, is_token};

/// Of a process with the role worker. Memory, threads and the folder to spill to are those of its `QuerySettings`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerSettings {
    /// Address and port.
    pub listen: String,
    /// Demanded of everybody who comes, and the one a head shows.
    pub token: String,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8817".to_owned(), token: String::new() }
    }
}

impl WorkerSettings {
    /// All faults together, each with the name of its knob.
    pub fn check(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.listen.parse::<std::net::SocketAddr>().is_err() {
            let listen = &self.listen;
            faults.push(format!("listen is {listen:?}; write an address and a port, such as 127.0.0.1:8817"));
        }
        if !is_token(&self.token) {
            faults.push(format!("token cannot be used: {TOKEN_ADVICE}"));
        }
        faults
    }
}

const TOKEN_ADVICE: &str = "give head and workers the same, of at least 16 visible ASCII characters without blanks; whoever knows it reads the lake";

const _: () = assert!(TOKEN_BYTES_MIN == 16, "the advice says so");

pub(crate) fn faults_of_head(settings: &QuerySettings) -> Vec<String> {
    let mut faults = Vec::new();
    for worker in &settings.workers {
        if let Err(fault) = address(worker) {
            faults.push(format!("workers has {worker:?}: {fault}"));
        }
    }
    if settings.workers.len() == 1 {
        faults.push(
            "workers names one: it would do alone what the head does alone; name two or more, or none".to_owned(),
        );
    }
    if settings.is_head() && !is_token(&settings.worker_token) {
        faults.push(format!("workers is set, but worker.token cannot be used: {TOKEN_ADVICE}"));
    }
    faults
}

/// Of a worker, as `workers` has it.
pub(super) fn address(text: &str) -> Result<Url, &'static str> {
    const WANTED: &str = "write http://host:port";
    let url = Url::parse(text).map_err(|_| WANTED)?;
    let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.username().is_empty();
    match url.scheme() {
        "https" => Err("workers speak no TLS: keep them in a network of their own, and write http://host:port"),
        "http" if url.host().is_some() && url.port_or_known_default().is_some() && is_bare => Ok(url),
        _ => Err(WANTED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["http://127.0.0.1:8817", "http://[::1]:1/", "http://worker-1.internal:8817"] {
            assert!(address(good).is_ok(), "{good}");
        }
        for (bad, advice) in [
            ("127.0.0.1:8817", "http://host:port"),
            ("https://a:1", "no TLS"),
            ("http://a:1/path", "http://host:port"),
            ("", "http://host:port"),
        ] {
            assert!(address(bad).unwrap_err().contains(advice), "{bad}");
        }
    }

    #[test]
    fn a_head_without_a_token_is_told_so() {
        let workers = vec!["http://a:1".to_owned(), "ftp://b".to_owned()];
        let faults = faults_of_head(&QuerySettings { workers, ..QuerySettings::default() });
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[1].contains("worker.token"), "{faults:?}");
        assert!(faults_of_head(&QuerySettings::default()).is_empty());
    }

    #[test]
    fn a_worker_needs_an_address_and_a_token() {
        assert_eq!(WorkerSettings::default().check().len(), 1);
        let token = "0123456789abcdef".to_owned();
        assert!(WorkerSettings { token, ..WorkerSettings::default() }.check().is_empty());
    }
}

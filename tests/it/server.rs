//! The real binary, started, killed and asked as its users do it.
//!
//! In:       a `Home`: data directory, settings, which log; it outlives any number of starts.
//! Out:      a `Server` that answers, or the words and exit code of one that would not start.
//! Promise:  every wait has an end and says what it waited for; no process outlives its value; when a test
//!           fails, the last lines the server said are on stderr.
//! Not here: what is sent (`load`, the SDKs).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::process::{Child, Command};

pub(crate) const WRITE_KEY: &str = "it-write-key";
/// A key whose clients' clocks are taken as they are.
pub(crate) const TRUSTED_KEY: &str = "it-trusted-key";
pub(crate) const SOURCE: &str = "shop";
pub(crate) const TRUSTED_SOURCE: &str = "backend";
pub(crate) const QUERY_TOKEN: &str = "it-query-token-0123456789";

/// Longer than any start on a busy machine with two cores; what takes longer hangs.
const START_TIME_MAX: Duration = Duration::from_secs(90);
const STOP_TIME_MAX: Duration = Duration::from_secs(120);
const CATCH_UP_TIME_MAX: Duration = Duration::from_secs(120);
const POLL_EVERY: Duration = Duration::from_millis(25);

/// Where a server lives between its starts.
pub(crate) struct Home {
    /// Settings file and what the server says.
    dir: tempfile::TempDir,
    data_dir: PathBuf,
    environment: Vec<(String, String)>,
}

impl Home {
    /// On the embedded log.
    pub(crate) fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("it.toml"), settings_file()).unwrap();
        let data_dir = dir.path().join("data");
        let home = Self { dir, data_dir, environment: Vec::new() };
        // Commits come often: the tests wait for them.
        home.with("pipeline.commit_interval_ms", "100")
            .with("query.rows_max", "2000000")
            .with("query.answer_bytes_max", "1000000000")
            .with("telemetry.filter", "info,buoyant_kernel=warn")
    }

    /// On Kafka, with topics of its own.
    pub(crate) fn kafka(bootstrap: &str, name: &str) -> Self {
        let mut home = Self::embedded();
        // The directory's name is random, so topics of an earlier run on the same broker are never met.
        let unique =
            home.dir.path().file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        for (key, value) in [
            ("log.kind", "kafka".to_owned()),
            ("log.kafka_bootstrap_servers", bootstrap.to_owned()),
            ("log.kafka_replication_factor", "1".to_owned()),
            ("log.events_topic", format!("{name}-{unique}-events")),
            ("log.dead_letters_topic", format!("{name}-{unique}-dead-letters")),
        ] {
            home = home.with(key, &value);
        }
        home
    }

    /// Sets a knob, written as in the settings file: `section.name`.
    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        let name = format!("TRIBUTARY__{}", key.replace('.', "__").to_uppercase());
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Adds lines to its settings file, for what is more than a word.
    pub(crate) fn with_lines(self, toml: &str) -> Self {
        let file = self.dir.path().join("it.toml");
        let before = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, format!("{before}\n{toml}\n")).unwrap();
        self
    }

    /// Keeps log and lake elsewhere.
    pub(crate) fn with_data_in(mut self, data_dir: PathBuf) -> Self {
        self.data_dir = data_dir;
        self
    }

    /// Another home for the same log and lake, to be used after the first; knobs set there hold here until set anew.
    pub(crate) fn with_data_of(other: &Self) -> Self {
        let mut home = Self::embedded().with_data_in(other.data_dir.clone());
        home.environment.extend(other.environment.iter().cloned());
        home
    }

    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    pub(crate) fn lake_dir(&self) -> PathBuf {
        self.data_dir.join("lake")
    }

    fn arguments(&self, listen: &str) -> Vec<String> {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (data, settings) = (text(self.data_dir.clone()), text(self.dir.path().join("it.toml")));
        ["serve", "--listen", listen, "--data", &data, "--settings", &settings].map(str::to_owned).to_vec()
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }

    /// What all its starts have said so far.
    pub(crate) fn told(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    fn command(&self, listen: &str) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command
            .args(self.arguments(listen))
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("TRIBUTARY")))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        command
    }

    /// Another command of the same program, with the settings of this home.
    pub(crate) fn tool(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tributary"));
        command
            .arg("--settings")
            .arg(self.dir.path().join("it.toml"))
            .args(arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| !name.to_string_lossy().starts_with("TRIBUTARY")))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&self) -> Server<'_> {
        let mut starting = self.spawn();
        let deadline = Instant::now() + START_TIME_MAX;
        while !starting.ready().await {
            if let Some(status) = starting.child.try_wait().unwrap() {
                panic!("the server ended with {status} instead of starting:\n{}", last_lines(&self.told()));
            }
            assert!(Instant::now() < deadline, "no answer in {START_TIME_MAX:?}:\n{}", last_lines(&self.told()));
            tokio::time::sleep(POLL_EVERY).await;
        }
        starting
    }

    /// Starts it and does not wait; it may not answer yet.
    pub(crate) fn spawn(&self) -> Server<'_> {
        // The address of the last life must not pass for that of the next.
        drop(std::fs::remove_file(self.data_dir.join("listen.addr")));
        self.spawn_beside()
    }

    /// Starts it beside another that serves the same data: a worker without a door, of which no address is known.
    pub(crate) fn spawn_beside(&self) -> Server<'_> {
        let child = self.command("127.0.0.1:0").spawn().unwrap();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().unwrap();
        Server { home: self, child, client, address: None }
    }

    /// Starts one that is expected not to stay: its exit status, and what it said.
    pub(crate) async fn start_in_vain(&self, listen: &str) -> (ExitStatus, String) {
        let before = self.told().len();
        let mut child = self.command(listen).spawn().unwrap();
        let status = tokio::time::timeout(START_TIME_MAX, child.wait())
            .await
            .unwrap_or_else(|_| panic!("it stayed:\n{}", last_lines(&self.told())))
            .unwrap();
        (status, self.told().split_off(before))
    }
}

fn settings_file() -> String {
    format!(
        r#"
[[ingest.write_keys]]
key = "{WRITE_KEY}"
source = "{SOURCE}"

[[ingest.write_keys]]
key = "{TRUSTED_KEY}"
source = "{TRUSTED_SOURCE}"
trusted_clock = true

[query]
tokens = ["{QUERY_TOKEN}"]
"#
    )
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A running server. Dropped, it is killed.
pub(crate) struct Server<'h> {
    home: &'h Home,
    child: Child,
    client: reqwest::Client,
    address: Option<SocketAddr>,
}

impl Server<'_> {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("`start` waited for it")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// Whether its process still is.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Whether it takes events now.
    pub(crate) async fn ready(&mut self) -> bool {
        if self.address.is_none() {
            let written = std::fs::read_to_string(self.home.data_dir.join("listen.addr")).unwrap_or_default();
            self.address = written.trim().parse().ok();
        }
        let Some(address) = self.address else { return false };
        let asked = self.client.get(format!("http://{address}/readyz")).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// Posts to the door with a write key; status and body of the answer.
    pub(crate) async fn post(&self, path: &str, key: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let answer = self.client.post(self.url(path)).basic_auth(key, Some("")).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The rows of a question, each by column name.
    pub(crate) async fn sql(&self, query: &str) -> Vec<Map<String, Value>> {
        self.try_sql(query).await.unwrap_or_else(|told| panic!("{query}\n{told}"))
    }

    async fn try_sql(&self, query: &str) -> Result<Vec<Map<String, Value>>, String> {
        let asked =
            self.client.post(self.url("/v1/sql")).bearer_auth(QUERY_TOKEN).body(json!({"sql": query}).to_string());
        let answer =
            asked.header("content-type", "application/json").send().await.map_err(|error| error.to_string())?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        if !status.is_success() {
            return Err(format!("{status}: {text}"));
        }
        assert!(!text.contains("\"truncated\":true"), "{query}: the answer was cut");
        rows_of(&text).ok_or_else(|| format!("not rows: {text}"))
    }

    /// The one number a question answers with.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let rows = self.sql(query).await;
        let value = rows.first().and_then(|row| row.values().next()).unwrap_or_else(|| panic!("{query}: no row"));
        value.as_i64().or_else(|| value.as_str()?.parse().ok()).unwrap_or_else(|| panic!("{query}: {value}"))
    }

    /// Waits until `query` answers with `expected`, which may be passed by no number on the way.
    pub(crate) async fn wait_until_queryable(&self, query: &str, expected: i64) {
        let deadline = Instant::now() + CATCH_UP_TIME_MAX;
        loop {
            let found = self.number(query).await;
            if found == expected {
                return;
            }
            assert!(found < expected, "{query}: {found}, more than {expected}");
            assert!(
                Instant::now() < deadline,
                "{query}: {found} of {expected} after {CATCH_UP_TIME_MAX:?}:\n{}",
                last_lines(&self.home.told())
            );
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Waits until `query` answers with at least `expected`.
    pub(crate) async fn wait_until_at_least(&self, query: &str, expected: i64) {
        let deadline = Instant::now() + CATCH_UP_TIME_MAX;
        while self.number(query).await < expected {
            assert!(Instant::now() < deadline, "{query} is below {expected} after {CATCH_UP_TIME_MAX:?}");
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Ends it as a power cut would, as far as the process goes.
    pub(crate) async fn kill_9(mut self) {
        self.child.kill().await.unwrap();
    }

    /// The same, for one whose place another process takes.
    pub(crate) async fn kill_where_it_is(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop (SIGTERM) and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        self.signal("-TERM");
    }

    /// Stops it where it stands (SIGSTOP), until `thaw`: it holds what it holds and hears nothing.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().expect("it has not been waited for").to_string();
        let status = std::process::Command::new("kill").args([name, &id]).status().unwrap();
        assert!(status.success(), "kill {name} {id}");
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) -> ExitStatus {
        self.ask_to_stop();
        self.ended().await
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let ended = tokio::time::timeout(STOP_TIME_MAX, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it did not end in {STOP_TIME_MAX:?}:\n{}", last_lines(&self.home.told())))
            .unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server said at last:\n{}", last_lines(&self.told()));
        }
    }
}

/// Rows of an answer of `POST /v1/sql`.
fn rows_of(text: &str) -> Option<Vec<Map<String, Value>>> {
    let answer: Value = serde_json::from_str(text).ok()?;
    let rows = answer.get("rows")?.as_array()?;
    rows.iter().map(|row| row.as_object().cloned()).collect()
}

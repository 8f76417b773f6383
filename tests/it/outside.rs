//! What the tests need from outside, and how they say that they went without.
//!
//! In:      environment variables that `cargo xtask test` sets.
//! Out:     a broker's address, a Python, a `node_modules`; or a line on stderr, and in the file TRIBUTARY_TEST_SKIPPED.
//! Promise: a test that did not run says so even though it counts as passed: the line goes past libtest's capture.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// Says that `test` did not run, and why.
pub(crate) fn skipped(test: &str, why: &str) {
    say("SKIPPED ", "TRIBUTARY_TEST_SKIPPED", &format!("{test}: {why}"));
}

/// Says what a run of faults came to, so that it can be quoted.
pub(crate) fn came_to(line: &str) {
    say("", "TRIBUTARY_TEST_CAME_TO", line);
}

/// Says a line on stderr, and in the file that is named in the environment.
fn say(before: &str, file: &str, line: &str) {
    // `eprintln!` would be captured and thrown away with the output of a test that passed.
    std::io::stderr().write_all(format!("{before}{line}\n").as_bytes()).unwrap();
    if let Some(file) = std::env::var_os(file) {
        // One write a line: several tests may append at once.
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        file.unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Whether the long form of the runs of faults was asked for.
pub(crate) fn is_extended() -> bool {
    std::env::var("TRIBUTARY_TEST_EXTENDED").is_ok_and(|value| value == "1")
}

fn from_environment(test: &str, name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skipped(test, &format!("{name} is not set; `cargo xtask test` sets it and runs this too"));
    }
    value
}

/// `host:port` of a Kafka broker.
pub(crate) fn kafka(test: &str) -> Option<String> {
    from_environment(test, "TRIBUTARY_TEST_KAFKA")
}

/// The chores of the repository, which start a broker for a test that ends it.
pub(crate) fn xtask(test: &str) -> Option<Command> {
    from_environment(test, "TRIBUTARY_TEST_XTASK").map(Command::new)
}

/// Where an S3-compatible server answers: `http://host:port`.
pub(crate) fn s3(test: &str) -> Option<String> {
    from_environment(test, "TRIBUTARY_TEST_S3")
}

/// A Python that has the pinned packages, about to run a script of `tests/sdk/python`.
pub(crate) fn python(test: &str, script: &str) -> Option<Command> {
    let mut command = Command::new(from_environment(test, "TRIBUTARY_TEST_PYTHON")?);
    command.arg(scripts().join("python").join(script)).env("NO_PROXY", "127.0.0.1");
    Some(command)
}

/// A Python about to run what needs nothing but its standard library: any will do.
pub(crate) fn bare_python(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("TRIBUTARY_TEST_PYTHON").filter(|name| !name.is_empty());
    let python = PathBuf::from(named.unwrap_or_else(|| "python3".into()));
    let runs = Command::new(&python).arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        skipped(test, "there is no python3; `cargo xtask test` needs one too");
    }
    runs.then_some(python)
}

/// Java with Apache Spark and Delta's library, about to run a program of `tests/sdk/java`.
pub(crate) fn spark(test: &str, program: &str) -> Option<Command> {
    // As Spark's own launcher does on Java 17.
    const OPEN_PACKAGES: [&str; 13] = [
        "java.lang",
        "java.lang.invoke",
        "java.lang.reflect",
        "java.io",
        "java.net",
        "java.nio",
        "java.util",
        "java.util.concurrent",
        "java.util.concurrent.atomic",
        "sun.nio.ch",
        "sun.nio.cs",
        "sun.security.action",
        "sun.util.calendar",
    ];
    let jars = PathBuf::from(from_environment(test, "TRIBUTARY_TEST_SPARK")?);
    let mut command = Command::new("java");
    command.args(OPEN_PACKAGES.map(|package| format!("--add-opens=java.base/{package}=ALL-UNNAMED")));
    command.args(["-Xmx1g", "-Dlog4j2.level=error", "-cp"]).arg(jars.join("*"));
    command.arg(scripts().join("java").join(program));
    Some(command)
}

/// Java with PostgreSQL's JDBC driver, about to run a program of `tests/sdk/java`.
pub(crate) fn jdbc(test: &str, program: &str) -> Option<Command> {
    let jars = PathBuf::from(from_environment(test, "TRIBUTARY_TEST_JDBC")?);
    let mut command = Command::new("java");
    command.arg("-cp").arg(jars.join("*")).arg(scripts().join("java").join(program));
    Some(command)
}

/// PostgreSQL's shell. It is not fetched: distributions have it, package registries have not.
pub(crate) fn psql(test: &str) -> Option<Command> {
    let runs = Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success());
    if !runs {
        skipped(test, "there is no psql on this machine (postgresql-client)");
    }
    runs.then(|| Command::new("psql"))
}

/// A Chromium, where the packages of the browser SDK's test are in their place.
pub(crate) fn browser(test: &str) -> Option<PathBuf> {
    from_environment(test, "TRIBUTARY_TEST_BROWSER").map(PathBuf::from)
}

/// Node with the pinned packages, about to run a script of `tests/sdk/node`.
pub(crate) fn node(test: &str, script: &str) -> Option<Command> {
    let modules = from_environment(test, "TRIBUTARY_TEST_NODE_MODULES")?;
    let mut command = Command::new("node");
    command.arg(scripts().join("node").join(script)).env("NODE_PATH", modules).env("NO_PROXY", "127.0.0.1");
    Some(command)
}

fn scripts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// Runs a script to its end and gives back what it printed, one JSON value a line.
pub(crate) async fn json_lines(command: Command) -> Vec<serde_json::Value> {
    const SCRIPT_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(180);
    let mut command = tokio::process::Command::from(command);
    let output = tokio::time::timeout(SCRIPT_TIME_MAX, command.kill_on_drop(true).output())
        .await
        .expect("the script ends in time")
        .expect("the script can be started");
    let told = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "the script ended with {}:\n{told}\n{}", output.status, faults_of(&text));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Of what a script printed, the scenarios that did not hold, each cut to what fits a page.
fn faults_of(printed: &str) -> String {
    let faults = printed.lines().filter(|line| line.contains(r#""held":false"#));
    faults.map(|line| line.chars().take(2_000).collect::<String>()).collect::<Vec<_>>().join("\n")
}

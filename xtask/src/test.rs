//! `cargo xtask test`: everything the tests need, then every test, then one line that says how it went.
//!
//! In:      arguments for `cargo test`, or none for all of it.
//! Out:     the output of the tests, and a closing line.
//! Promise: a test that cannot get what it needs fails; nothing is skipped for want of Kafka, S3 or an SDK. What this machine
//!          does not allow (a mount) is named at the end.

use std::fs;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::kafka::{KAFKA_VERSION, Kafka};
use crate::s3::S3;
use crate::{cache_dir, cargo, jdbc, leash, sdks, spark, words};

pub(crate) fn run(extended: bool, cargo_arguments: &[String]) -> Result<()> {
    let begun = Instant::now();
    let cache = cache_dir()?;
    let python = sdks::python(&cache)?;
    let node_modules = sdks::node_modules(&cache)?;
    let browser = sdks::browser(&cache, &node_modules)?;
    sdks::packages_of_browser_sdk()?;
    let jars = Kafka::fetch(&cache)?;
    let spark = spark::fetch(&cache)?;
    let jdbc = jdbc::fetch(&cache)?;

    // The build comes before Kafka: two cores that compile for minutes would starve a broker into time-outs.
    let mut build = test_command(cargo_arguments, &["--no-run"]);
    eprintln!("xtask: {}", words(&build));
    crate::succeed(&mut build)?;

    let scratch = Scratch::new("test")?;
    let kafka = Kafka::start(&jars, &scratch.path().join("kafka"))?;
    eprintln!("xtask: Kafka {KAFKA_VERSION} listens on {}", kafka.bootstrap());
    let s3 = S3::start(&python)?;
    eprintln!("xtask: an S3 server listens on {}", s3.url());
    let (skipped, came_to) = (scratch.path().join("skipped"), scratch.path().join("came_to"));
    let mut command = test_command(cargo_arguments, &["--no-fail-fast"]);
    command
        .env("TRIBUTARY_TEST_KAFKA", kafka.bootstrap())
        .env("TRIBUTARY_TEST_XTASK", std::env::current_exe().context("where xtask lies")?)
        .env("TRIBUTARY_TEST_S3", s3.url())
        .env("TRIBUTARY_TEST_PYTHON", &python)
        .env("TRIBUTARY_TEST_SPARK", &spark)
        .env("TRIBUTARY_TEST_JDBC", &jdbc)
        .env("TRIBUTARY_TEST_NODE_MODULES", &node_modules)
        .env("TRIBUTARY_TEST_BROWSER", &browser)
        .env("TRIBUTARY_TEST_SKIPPED", &skipped)
        .env("TRIBUTARY_TEST_CAME_TO", &came_to)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if extended {
        command.env("TRIBUTARY_TEST_EXTENDED", "1");
    }
    eprintln!("xtask: {}", words(&command));
    let (mut child, leash) = leash::spawn(&mut command).context("starting cargo test")?;
    let output = child.stdout.take().expect("its output was asked for as a pipe");
    let passed_on = pass_on(BufReader::new(output));
    let status = child.wait().context("waiting for cargo test")?;
    drop(leash);
    drop(s3);
    let stopped = kafka.stop();
    let tally = passed_on?;

    let took = begun.elapsed();
    println!(
        "xtask: {}: {} tests passed, {} failed, {} ignored, in {} suites and {} min {} s (with Kafka {KAFKA_VERSION}, an S3 server and the SDKs)",
        if status.success() { "ALL PASSED" } else { "FAILED" },
        tally.passed,
        tally.failed,
        tally.ignored,
        tally.suites,
        took.as_secs() / 60,
        took.as_secs() % 60,
    );
    for name in &tally.failed_names {
        println!("xtask: failed: {name}");
    }
    // Each file is made by the first test that has something to say.
    for line in fs::read_to_string(&came_to).unwrap_or_default().lines() {
        println!("xtask: {line}");
    }
    for line in fs::read_to_string(&skipped).unwrap_or_default().lines() {
        println!("xtask: NOT RUN, though counted as passed: {line}");
    }
    stopped.context("stopping Kafka")?;
    if !status.success() {
        bail!("`cargo test` ended with {status}");
    }
    Ok(())
}

/// `cargo test` on what was asked for, with `before` among its own arguments (those before `--`).
fn test_command(cargo_arguments: &[String], before: &[&str]) -> std::process::Command {
    let mut command = cargo();
    command.args(["test", "--locked"]).args(before);
    if cargo_arguments.is_empty() {
        // Without doc tests: each is a program of its own to link, and the promises stand in the other tests.
        command.args(["--workspace", "--lib", "--bins", "--tests", "--examples"]);
    }
    // Building must not be told what belongs to the run.
    let own = cargo_arguments.iter().take_while(|argument| before != ["--no-run"] || *argument != "--");
    command.args(own);
    command
}

#[derive(Default)]
struct Tally {
    suites: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
    failed_names: Vec<String>,
}

/// Prints what comes in, as it comes, and adds up libtest's result lines.
fn pass_on(output: impl std::io::BufRead) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut out = std::io::stdout().lock();
    for line in output.split(b'\n') {
        let line = line.context("reading the output of cargo test")?;
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        out.flush()?;
        tally.add(&String::from_utf8_lossy(&line));
    }
    Ok(tally)
}

impl Tally {
    fn add(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failed_names.push(name.to_owned());
        }
        // "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s"
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        self.suites += 1;
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// A directory that goes when this value does.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(what: &str) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("tributary-xtask-{what}-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A broker that has just ended may still be writing its last file; what stays is in the temporary directory.
        for _ in 0..10 {
            if fs::remove_dir_all(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_of_all_suites_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            "test a::b ... FAILED",
            "test c ... ok",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 7 filtered out; finished in 0.01s",
        ] {
            tally.add(line);
        }
        assert_eq!((tally.suites, tally.passed, tally.failed, tally.ignored), (2, 4, 1, 2));
        assert_eq!(tally.failed_names, ["a::b"]);
    }

    #[test]
    fn what_follows_two_dashes_is_for_the_run_only() {
        let asked: Vec<String> = ["-p", "x", "--", "--nocapture"].map(String::from).to_vec();
        let words_of =
            |before: &[&str]| words(&test_command(&asked, before)).split_once(' ').map(|(_, rest)| rest.to_owned());
        assert_eq!(words_of(&["--no-run"]).as_deref(), Some("test --locked --no-run -p x"));
        assert_eq!(words_of(&["--no-fail-fast"]).as_deref(), Some("test --locked --no-fail-fast -p x -- --nocapture"));
    }
}

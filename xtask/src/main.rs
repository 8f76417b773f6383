//! The chores of the house: `cargo xtask test | verify | docs | kafka | s3`.
//!
//! In:       the repository, and what a developer's machine has: cargo, Java 17, Maven, Python 3, Node.
//! Out:      tests run with all they need around them; checks; the generated page of the event.
//! Promise:  nothing is installed outside `$HOME/.cache/tributary`, cargo's target directory and the caches of Maven, npm
//!           and pip; what was started is stopped again, by its process id, also when the tests fail or we are killed.
//! Not here: what is tested (`tests/it` and each crate's own tests).

mod jdbc;
mod kafka;
mod leash;
mod maven;
mod s3;
mod sdks;
mod spark;
mod test;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The chores of the house")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Fetch and start what the tests need (Kafka, an S3 server, the SDKs), run every test, stop it all again.
    Test {
        /// Run the long form of the runs of faults: 100 rounds in place of 20, about a quarter of an hour more.
        #[arg(long)]
        extended: bool,
        /// Handed to `cargo test` in place of `--workspace`, for instance: -p tributary --test it sdk
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        cargo_arguments: Vec<String>,
    },
    /// Formatting, clippy, cargo-deny and cargo-machete.
    Verify,
    /// Print docs/event.md from the column tables.
    Docs,
    /// Fetch and run Kafka for trying things by hand, until Enter is pressed.
    Kafka,
    /// Fetch and run an S3 server for trying things by hand, until Enter is pressed.
    S3,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test { extended, cargo_arguments } => test::run(extended, &cargo_arguments),
        Chore::Verify => verify::run(),
        Chore::Docs => docs(),
        Chore::Kafka => run_kafka(),
        Chore::S3 => run_s3(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn docs() -> Result<()> {
    // Built as part of the workspace: alone, arrow would be compiled once more with fewer features.
    succeed(cargo().args(["build", "--quiet", "--locked", "--workspace", "--example", "event_docs"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    succeed(&mut Command::new(target.join("debug/examples/event_docs")))
}

fn run_kafka() -> Result<()> {
    let scratch = test::Scratch::new("kafka")?;
    let jars = kafka::Kafka::fetch(&cache_dir()?)?;
    let mut kafka = kafka::Kafka::start(&jars, scratch.path())?;
    println!("Kafka {} listens on {}; press Enter to stop it", kafka::KAFKA_VERSION, kafka.bootstrap());
    // What it should suffer, a line each; at an empty one, or the end, it is over.
    for line in std::io::stdin().lines() {
        let word = line?;
        match word.trim() {
            "" => break,
            "kill" => kafka.kill_hard()?,
            "start" => kafka.run()?,
            "freeze" => kafka.signal("-STOP")?,
            "thaw" => kafka.signal("-CONT")?,
            other => bail!("{other:?}: expected kill, start, freeze, thaw, or nothing to stop it"),
        }
        println!("done: {}", word.trim());
    }
    kafka.stop()
}

fn run_s3() -> Result<()> {
    let s3 = s3::S3::start(&sdks::python(&cache_dir()?)?)?;
    println!("S3 listens on {} (any key and secret will do); press Enter to stop it", s3.url());
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The root of the repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root of the repository")
}

/// Where downloads are kept between runs.
fn cache_dir() -> Result<PathBuf> {
    let home = std::env::home_dir().context("no home directory: set HOME")?;
    let dir = home.join(".cache").join("tributary");
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// The cargo that runs us, in the root.
///
/// What `cargo run` told *us* in the environment is taken away: build scripts of some crates (ring) run again when
/// they see it changed, and half of all dependencies would be compiled anew on each turn from `cargo test` to
/// `cargo xtask test` and back.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end, its output to ours.
fn succeed(command: &mut Command) -> Result<()> {
    let words = words(command);
    let status = command.status().with_context(|| format!("starting `{words}`"))?;
    ensure!(status.success(), "`{words}` ended with {status}");
    Ok(())
}

/// A command as one would type it.
fn words(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once(name.to_string_lossy().into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

//! `cargo xtask verify`: what a machine can say of the code without running it.
//!
//! In:      the repository; cargo-deny and cargo-machete where they are installed.
//! Out:     each check's own words, and all faults together at the end.
//! Promise: a check that was not run is named loudly, with the command that installs it.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{cargo, root, succeed};

pub(crate) fn run() -> Result<()> {
    let mut failed = Vec::new();
    let mut skipped = Vec::new();
    for (name, arguments) in [
        ("formatting", &["fmt", "--all", "--check"][..]),
        ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    ] {
        eprintln!("xtask: {name}");
        if let Err(error) = succeed(cargo().args(arguments)) {
            failed.push(format!("{error:#}"));
        }
    }
    for (tool, arguments) in [("cargo-deny", &["--locked", "check"][..]), ("cargo-machete", &[])] {
        if !installed(tool) {
            skipped.push(tool);
            continue;
        }
        eprintln!("xtask: {tool}");
        if let Err(error) = succeed(Command::new(tool).args(arguments).current_dir(root())) {
            failed.push(format!("{error:#}"));
        }
    }
    for tool in &skipped {
        eprintln!("xtask: NOT CHECKED: {tool} is not installed; install it with `cargo install --locked {tool}`");
    }
    if !failed.is_empty() {
        bail!("{} of the checks failed:\n  {}", failed.len(), failed.join("\n  "));
    }
    match skipped.len() {
        0 => println!("xtask: verified"),
        count => println!("xtask: verified, but for {count} checks that could not be run"),
    }
    Ok(())
}

fn installed(tool: &str) -> bool {
    Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

//! Settings faults as a user meets them: all at once, with the place and what to do, and exit code 2.

use std::process::{Command, Output};

fn tributary(dir: &std::path::Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(dir)
        .output()
        .unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn all_faults_of_file_environment_and_flags_are_told_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[log]\npartition = 3\n[pipeline]\ncommit_interval_ms = 'soon'\n";
    std::fs::write(dir.path().join("tributary.toml"), file).unwrap();
    let output = tributary(dir.path(), &["serve", "--roles", "query"], &[("TRIBUTARY__QUERY__ROWS_MAX", "many")]);
    let told = told(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in [
        "3 faults",
        "log.partition: there is no such knob; did you mean partitions?",
        "pipeline.commit_interval_ms: expected a whole number",
        "set by TRIBUTARY__QUERY__ROWS_MAX",
        "tributary.toml",
    ] {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    assert!(!dir.path().join("tributary-data").exists(), "nothing was touched");
}

#[test]
fn the_printed_defaults_are_a_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let printed = tributary(dir.path(), &["settings"], &[]);
    assert!(printed.status.success());
    std::fs::write(dir.path().join("all.toml"), &printed.stdout).unwrap();
    // With every default said aloud, only the missing lake remains to be told.
    let output = tributary(dir.path(), &["--settings", "all.toml", "sql", "SELECT 1"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("there is no lake in"), "{}", told(&output));
}

#[test]
fn roles_that_the_embedded_log_cannot_split_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = tributary(dir.path(), &["serve", "--roles", "ingest"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("log.kind = \"kafka\""), "{}", told(&output));
}

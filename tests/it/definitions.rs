//! Definitions as their writers meet them: checked by a command, refused at a start, followed while a server runs.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::{Home, WRITE_KEY};

fn examples() -> String {
    format!("{}/metrics", env!("CARGO_MANIFEST_DIR"))
}

fn write(folder: &Path, condition: &str) {
    let text = format!("[events.wanted]\ncondition = \"{condition}\"\n");
    // Another name in its place at once: a file that is half written is settled too, if it stays so.
    std::fs::write(folder.join(".new"), text).unwrap();
    std::fs::rename(folder.join(".new"), folder.join("a.toml")).unwrap();
}

#[test]
fn a_command_lists_what_is_defined_or_tells_every_fault() {
    let home = Home::embedded();
    let output = home.tool(&["metrics", "check", &examples()]).output().unwrap();
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(listed.contains("metric      revenue  What orders in euros have brought"), "{listed}");
    assert!(listed.contains(" definitions, no faults"), "{listed}");

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "event_kin = 'page'");
    std::fs::write(folder.path().join("b.toml"), "[metrics.m]\nmeasur = \"1\"\n").unwrap();
    let faulty = home.tool(&["metrics", "check", folder.path().to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&faulty.stderr).into_owned();
    assert_eq!(faulty.status.code(), Some(2), "{told}");
    assert!(
        told.contains("b.toml: metrics.m: there is no argument of metric \"measur\": did you mean measure?"),
        "{told}"
    );
    // One fault hides no other: neither of the same definition, nor one that only planning finds, nor the rest of a file.
    let more = "[metrics.m]\nmeasur = \"1\"\nfilte = \"true\"\n[events.late]\ncondition = \"sourc = 'web'\"\n";
    std::fs::write(folder.path().join("b.toml"), more).unwrap();
    std::fs::write(folder.path().join("c.toml"), "[events.a]\ncondition = true true\n[events.b]\ncondition = = 1\n")
        .unwrap();
    let faulty = home.tool(&["metrics", "check", folder.path().to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&faulty.stderr).into_owned();
    for fault in [
        "b.toml: metrics.m: there is no argument of metric \"measur\"",
        "b.toml: metrics.m: there is no argument of metric \"filte\": did you mean filter?",
        "b.toml: events.late: ",
        "a.toml: events.wanted: ",
        "c.toml: expected TOML in line 2",
        "c.toml: expected TOML in line 4",
    ] {
        assert!(told.contains(fault), "{fault} is not told:\n{told}");
    }
    std::fs::remove_file(folder.path().join("b.toml")).unwrap();
    std::fs::remove_file(folder.path().join("c.toml")).unwrap();
    let unfit = home.tool(&["metrics", "check", folder.path().to_str().unwrap()]).output().unwrap();
    let told = String::from_utf8_lossy(&unfit.stderr).into_owned();
    assert_eq!(unfit.status.code(), Some(2), "{told}");
    assert!(told.contains("a.toml: events.wanted: ") && told.contains("event_kin"), "{told}");

    let without = home.tool(&["metrics", "check"]).output().unwrap();
    assert!(String::from_utf8_lossy(&without.stderr).contains("query.metrics_dir"));
    assert!(!home.data_dir().exists(), "no lake of anybody's was made");
}

#[test]
fn a_server_does_not_start_with_definitions_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "event_kin = 'page'");
    let home = Home::embedded().with("query.metrics_dir", folder.path().to_str().unwrap());
    let data = home.data_dir().display().to_string();
    let output = home.tool(&["serve", "--listen", "127.0.0.1:0", "--data", &data]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("a.toml: events.wanted: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_follows_its_definitions_and_keeps_those_before_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "event_name = 'A'");
    let home = Home::embedded().with("query.metrics_dir", folder.path().to_str().unwrap());
    let server = home.start().await;
    let events = r#"{"batch":[{"type":"track","event":"A","userId":"u","messageId":"1"},
        {"type":"track","event":"B","userId":"u","messageId":"2"},{"type":"track","event":"B","userId":"u","messageId":"3"}]}"#;
    server.post("/v1/batch", WRITE_KEY, events).await;
    server.wait_until_queryable("SELECT count(*) FROM events", 3).await;
    let counted = "SELECT count(*) FROM events WHERE event('wanted')";
    assert_eq!(server.number(counted).await, 1);
    write(folder.path(), "event_name = 'B'");
    server.wait_until_at_least(counted, 2).await;
    write(folder.path(), "event_nam = 'B'");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !home.told().contains("those before hold") {
        assert!(Instant::now() < deadline, "the fault was not told:\n{}", home.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.number(counted).await, 2);
    assert!(server.stop().await.success());
}

#[test]
fn the_folder_beside_the_settings_file_is_taken_where_none_is_set() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("shop.toml"), "").unwrap();
    std::fs::create_dir(dir.path().join("metrics")).unwrap();
    write(&dir.path().join("metrics"), "event_name = 'A'");
    let check = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tributary"));
        String::from_utf8(command.args(arguments).current_dir(dir.path()).output().unwrap().stdout).unwrap()
    };
    let settings = dir.path().join("shop.toml").display().to_string();
    for arguments in [vec!["metrics", "check"], vec!["--settings", settings.as_str(), "metrics", "check"]] {
        let listed = check(&arguments);
        assert!(listed.contains("wanted") && listed.contains("1 definition, no faults"), "{arguments:?}: {listed}");
    }
}

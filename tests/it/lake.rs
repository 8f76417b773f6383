//! `tributary lake`, beside a server that runs.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::audit;
use crate::chance::Chance;
use crate::load::Load;
use crate::server::{Home, WRITE_KEY};

/// Exit code, what it printed, what it said.
fn lake(home: &Home, arguments: &[&str]) -> (i32, String, String) {
    let data = home.data_dir().display().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
    command.arg("lake").args(arguments).args(["--data", &data]).current_dir(dir.path());
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(home: &Home, arguments: &[&str]) -> Value {
    let (code, out, told) = lake(home, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {told}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lake_is_told_compacted_swept_and_verified_while_a_server_writes_it() {
    let home = Home::embedded().with("pipeline.commit_interval_ms", "50");
    let (code, _, told) = lake(&home, &["status"]);
    assert!(code == 2 && told.contains("there is no lake"), "{told}");

    let server = home.start().await;
    for number in 0..12 {
        let event = format!(r#"{{"event":"E","userId":"u{}","messageId":"m{number}"}}"#, number % 3);
        server.post("/v1/track", WRITE_KEY, event).await;
        server.wait_until_queryable("SELECT count(*) FROM events", number + 1).await;
    }
    let status = json(&home, &["status"]);
    let tables = status["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 4);
    assert_eq!((&tables[0]["table"], &tables[0]["rows"]), (&"events".into(), &12.into()));
    let files = tables[0]["files"].as_u64().unwrap();
    assert!(1 < files, "{status}");
    let positions = tables[0]["positions"].as_object().unwrap();
    assert!(positions.keys().any(|app_id| app_id.starts_with("ing/")), "{status}");
    let (code, text, _) = lake(&home, &["status", "events"]);
    assert!(code == 0 && text.contains("events") && !text.contains("identities"), "{text}");

    let done = json(&home, &["compact", "--all", "events"]);
    assert_eq!(done["tables"][0]["files_before"], files);
    assert_eq!(done["tables"][0]["rows_after"], 12);
    server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"u1","messageId":"after"}"#).await;
    server.wait_until_queryable("SELECT count(*) FROM events", 13).await;
    assert_eq!(server.number("SELECT count(DISTINCT event_id) FROM events").await, 13);

    let swept = json(&home, &["vacuum"]);
    assert_eq!((&swept["tables"][0]["files"], &swept["tables"][0]["files_waiting"]), (&0.into(), &files.into()));
    let (code, _, told) = lake(&home, &["vacuum", "--hours", "1"]);
    assert!(code == 2 && told.contains("force it"), "{told}");

    let sound = json(&home, &["verify"]);
    assert_eq!((&sound["sound"], &sound["holes"]), (&true.into(), &serde_json::json!([])));
    assert!(server.stop().await.success());

    // A file of another size, and one that is gone.
    let day = std::fs::read_dir(home.lake_dir().join("events")).unwrap().map(|entry| entry.unwrap().path());
    let day = day.filter(|path| !path.ends_with("_delta_log")).last().unwrap();
    for file in std::fs::read_dir(&day).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let (code, out, told) = lake(&home, &["verify"]);
    assert!(code == 1 && out.contains("it is not there") && told.contains("not what its log says"), "{out}\n{told}");
}

/// Killed at any moment, between its two commits too: nothing of it is seen, or all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_that_is_killed_leaves_a_sound_lake_and_the_next_one_finishes_it() {
    let test = "a_compaction_that_is_killed_leaves_a_sound_lake_and_the_next_one_finishes_it";
    let home = Home::embedded().with("pipeline.commit_interval_ms", "20");
    let load = Load::new(Chance::of(test), 1_767_571_200_000_000);
    let mut chance = Chance::of(test);
    let server = home.start().await;
    let mut running = load.start(&server.url(""));
    let data = home.data_dir().display().to_string();
    for round in 1..=10_usize {
        load.until_acknowledged(300 * round, &mut running).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tributary"));
        command.args(["lake", "compact", "--all", "--data", &data]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut compacting = command.spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(chance.below(400))).await;
        // Done already, or dead now.
        drop(compacting.kill());
        compacting.wait().unwrap();
    }
    running.stopped().await;
    assert!(server.stop().await.success());
    let sound = json(&home, &["verify"]);
    assert_eq!((&sound["sound"], &sound["holes"]), (&true.into(), &serde_json::json!([])));
    json(&home, &["compact", "--all"]);
    let server = home.start().await;
    audit::all_is_well(&server, &load.ledger()).await;
    let sound = json(&home, &["verify"]);
    assert_eq!((&sound["sound"], &sound["holes"]), (&true.into(), &serde_json::json!([])));
}

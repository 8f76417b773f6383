//! Those who run it: `status`, `doctor`, `replay`, and the metrics behind them, on the real binary.

use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::Value;

use crate::chance::Chance;
use crate::load::Load;
use crate::outside;
use crate::replay::{all_rows, same_rows};
use crate::server::{Home, TRUSTED_KEY};

const BEGUN_US: i64 = 1_767_571_200_000_000;

fn tributary(home: &Home, arguments: &[&str]) -> Output {
    let data = home.data_dir().display().to_string();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--data", &data]).collect();
    home.tool(&arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether a report of `status` tells a watermark of a topic.
pub(crate) fn has_watermark(topic: &Value) -> bool {
    let mut partitions = topic["partitions"].as_array().into_iter().flatten();
    partitions.any(|one| one["watermarks_us"].as_object().is_some_and(|marks| !marks.is_empty()))
}

/// Some thousand events of every sort in the log and the lake of a home that has stopped; two dead letters among them.
async fn filled(home: &Home, chance: Chance, count: usize) {
    let load = Load::new(chance, BEGUN_US);
    let server = home.start().await;
    let (status, answer) =
        server.post("/v1/batch", TRUSTED_KEY, r#"{"batch": [{"type": "no such call", "userId": "u"}, 7]}"#).await;
    assert_eq!(status, 200, "{answer}");
    let mut running = load.start(&server.url(""));
    load.until_acknowledged(count, &mut running).await;
    running.stopped().await;
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_says_how_it_is_and_its_books_balance() {
    let home = Home::embedded().with("telemetry.books_interval_ms", "200").with("telemetry.observe_interval_ms", "100");
    let load = Load::new(Chance::of("a_server_says_how_it_is_and_its_books_balance"), BEGUN_US);
    let server = home.start().await;
    let mut running = load.start(&server.url(""));
    load.until_acknowledged(500, &mut running).await;
    running.stopped().await;
    let acknowledged = i64::try_from(load.ledger().acknowledged.len()).unwrap();
    server.wait_until_at_least("SELECT count(*) FROM events", acknowledged).await;

    // Rows can be seen a moment before the job has counted them.
    let counted = async {
        loop {
            let output = tributary(&home, &["status", "--json"]);
            let report: Value =
                serde_json::from_str(&out(&output)).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
            assert!(output.status.success(), "{report:#}");
            if report["job"]["events"]["kept"].as_i64() >= Some(acknowledged) && has_watermark(&report["topics"][0]) {
                break report;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let report =
        tokio::time::timeout(std::time::Duration::from_secs(30), counted).await.expect("the job counts its rows");
    assert_eq!(report["problems"], serde_json::json!([]));
    let partitions = report["topics"][0]["partitions"].as_array().unwrap();
    assert_eq!(partitions.len(), 4);
    let next: u64 = partitions.iter().map(|partition| partition["next"].as_u64().unwrap()).sum();
    assert!(next >= acknowledged.unsigned_abs(), "{next} records in the log, {acknowledged} acknowledged");
    assert!(partitions.iter().any(|partition| !partition["watermarks_us"].as_object().unwrap().is_empty()));
    let events = report["tables"].as_array().unwrap().iter().find(|table| table["table"] == "events").unwrap();
    assert!(events["rows"].as_i64().unwrap() >= acknowledged && events["bytes"].as_u64().unwrap() > 0, "{events}");
    let job = &report["job"];
    assert!(
        job["open_sessions"].as_u64().unwrap() > 0 && job["events"]["kept"].as_i64().unwrap() >= acknowledged,
        "{job}"
    );
    assert!(job["last_commit_us"].is_i64() && job["commit_ms"]["events"].as_f64().unwrap() > 0.0, "{job}");
    assert!(report["books"]["offsets"].as_u64().unwrap() > 0 && report["books"]["difference"] == 0, "{report:#}");
    assert_eq!(report["books"]["sources"][0]["source"], "backend");

    let by_minute = reqwest::get(server.url("/status?minutes=240")).await.unwrap().bytes().await.unwrap();
    let by_minute: Value = serde_json::from_slice(&by_minute).unwrap();
    let minutes = by_minute["books"]["minutes"].as_array().unwrap();
    let sum = |of: &str| minutes.iter().filter_map(|minute| minute.pointer(of)?.as_i64()).sum::<i64>();
    assert!(minutes.iter().all(|minute| minute["source"] == "backend" && minute["difference"] == 0), "{minutes:#?}");
    // What the lake has not yet is in flight; the door knows no doubles, they are events to it.
    assert!(acknowledged <= sum("/door/accepted"), "{minutes:#?}");
    assert!(acknowledged <= sum("/in_lake") + sum("/duplicates"), "{minutes:#?}");
    assert!(report["books"].get("minutes").is_none(), "only where somebody asks");

    let page = out(&tributary(&home, &["status", "--minutes", "240"]));
    for part in ["accepted    in lake", "partition", "events", "stream job:", "books:", "all is well"] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let names = [
        "tributary_lag_records{",
        "tributary_lag_seconds{",
        "tributary_watermark_timestamp_seconds{",
        "tributary_open_sessions ",
        "tributary_remembered_event_ids ",
        "tributary_table_files{table=\"events\"}",
        "tributary_table_bytes{",
        "tributary_last_commit_timestamp_seconds ",
        "tributary_accounting_difference 0",
        "tributary_pipeline_faults_total 0",
    ];
    // Gauges are set each time the observer looks, a tenth of a second apart here.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
        let is_there = |name: &&str| metrics.lines().any(|line| line.starts_with(name));
        let Some(missing) = names.iter().find(|name| !is_there(name)) else { break };
        assert!(std::time::Instant::now() < deadline, "{missing}\n{metrics}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let output = tributary(&home, &["doctor"]);
    assert!(output.status.success() && out(&output).contains("has it open"), "{}{}", out(&output), told(&output));
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_says_how_it_is_and_what_is_lost_is_found() {
    // Any free port will do for the check; another program may sit on the default one.
    let home = Home::embedded().with("serve.listen", "127.0.0.1:0");
    let nothing = tributary(&home, &["status"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", told(&nothing));
    let doctor = tributary(&home, &["doctor"]);
    assert!(doctor.status.success(), "nothing is there and nothing is wrong: {}", out(&doctor));
    assert!(!home.data_dir().exists(), "looking makes nothing");

    filled(&home, Chance::of("a_folder_says_how_it_is_and_what_is_lost_is_found"), 300).await;
    let output = tributary(&home, &["status", "--full"]);
    assert!(output.status.success() && out(&output).contains("difference 0"), "{}{}", out(&output), told(&output));
    let output = tributary(&home, &["doctor", "--full"]);
    assert!(output.status.success(), "{}{}", out(&output), told(&output));
    for part in ["is in exactly one row", "by the session rule of the settings", "GB free", "is free"] {
        assert!(out(&output).contains(part), "{part}\n{}", out(&output));
    }

    // A lost file is a fault with a name, and not balanced.
    let lost = a_data_file(&home.lake_dir().join("events"));
    std::fs::remove_file(&lost).unwrap();
    let output = tributary(&home, &["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    assert!(out(&output).contains("are gone") && out(&output).contains("replay --swap"), "{}", out(&output));

    // Another session rule, a partition more, a table less.
    let other = Home::with_data_of(&home).with("pipeline.session_preset", "snowplow");
    assert!(out(&tributary(&other, &["doctor"])).contains("made by another rule"));
    let other = Home::with_data_of(&home).with("log.partitions", "5");
    assert!(out(&tributary(&other, &["doctor"])).contains("partitions"));
    std::fs::remove_dir_all(home.lake_dir().join("sessions")).unwrap();
    let output = tributary(&home, &["doctor", "--json"]);
    let findings: Value = serde_json::from_str(&out(&output)).unwrap();
    let faults: Vec<_> = findings.as_array().unwrap().iter().filter(|finding| finding["level"] == "fault").collect();
    assert!(faults.iter().any(|fault| fault["told"].as_str().unwrap().contains("lacks sessions")), "{findings:#}");
    assert!(!home.lake_dir().join("sessions").exists(), "looking makes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faulty_settings_are_all_told_by_the_doctor() {
    let home = Home::embedded().with("pipeline.commit_interval_ms", "soon").with("log.partition", "3");
    let output = tributary(&home, &["doctor"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("commit_interval_ms") && out(&output).contains("log.partition"), "{}", out(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_is_killed_goes_on_and_gives_the_same_rows() {
    let test = "a_replay_that_is_killed_goes_on_and_gives_the_same_rows";
    let home = Home::embedded();
    filled(&home, Chance::of(test), 3_000).await;
    let server = home.start().await;
    let before = all_rows(&server).await;
    // Not while somebody writes the old lake.
    let output = tributary(&home, &["replay"]);
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    assert!(told(&output).contains("stop it first"), "{}", told(&output));
    assert!(server.stop().await.success());

    // Many small commits, so that there is time to kill it between two of them.
    let slow = Home::with_data_of(&home).with("pipeline.commit_rows_max", "40");
    let new_lake = home.data_dir().join("lake.replay");
    let data = home.data_dir().display().to_string();
    let mut kills = 0;
    for commits in [3, 9, 20] {
        let mut child =
            slow.tool(&["replay", "--data", &data]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
        while versions(&new_lake.join("events")) < commits && child.try_wait().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "no commit in 90 s");
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    eprintln!("{test}: killed {kills} times in the middle");
    let output = tributary(&slow, &["replay", "--swap"]);
    assert!(output.status.success(), "{}", told(&output));
    let text = out(&output);
    for part in ["going on with the lake", "whole: each of", "rows, the same", "is the new lake"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("NOT the same"), "{text}");
    let lines = told(&output);
    assert!(lines.lines().any(|line| line.starts_with("replay: 100% ")), "{lines}");
    assert!(!lines.contains('\u{1b}') && !lines.contains('\r'), "no terminal, no control characters: {lines:?}");
    assert!(home.data_dir().join("lake.before-replay-1/events").is_dir() && !new_lake.exists());

    let server = home.start().await;
    same_rows(&before, &all_rows(&server).await, "replayed");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_its_beginning_is_replayed_only_when_asked_to() {
    let home = Home::embedded().with("log.segment_bytes_max", "20000").with("log.retention_bytes_max", "60000");
    filled(&home, Chance::of("a_log_that_lost_its_beginning_is_replayed_only_when_asked_to"), 1_500).await;
    // Retention works when a segment is closed; what is in the lake may go.
    let server = home.start().await;
    server.post("/v1/track", TRUSTED_KEY, r#"{"event":"E","userId":"u1","messageId":"m1"}"#).await;
    assert!(server.stop().await.success());
    let output = tributary(&home, &["replay"]);
    assert_eq!(output.status.code(), Some(2), "{}{}", out(&output), told(&output));
    for part in ["no longer holds its first records", "up to offset", "--from-earliest"] {
        assert!(told(&output).contains(part), "{part}\n{}", told(&output));
    }
    assert!(!home.data_dir().join("lake.replay").exists());
    let output = tributary(&home, &["replay", "--from-earliest"]);
    assert!(output.status.success() && out(&output).contains("whole: each of"), "{}{}", out(&output), told(&output));
}

fn a_data_file(table: &Path) -> std::path::PathBuf {
    let mut folders = vec![table.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("_delta_log") => {}
                true => folders.push(path),
                false if path.extension().is_some_and(|extension| extension == "parquet") => return path,
                false => {}
            }
        }
    }
    panic!("{} has no file", table.display());
}

/// Commits of a table so far.
fn versions(table: &Path) -> usize {
    let entries = std::fs::read_dir(table.join("_delta_log")).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_kafka_the_doctor_knows_copies_and_a_replay_gives_the_same_rows() {
    let test = "on_kafka_the_doctor_knows_copies_and_a_replay_gives_the_same_rows";
    let Some(bootstrap) = outside::kafka(test) else { return };
    let home = Home::kafka(&bootstrap, "ops");
    let output = tributary(&home, &["doctor"]);
    assert!(output.status.success() && out(&output).contains("no topics of ours yet"), "{}", out(&output));
    filled(&home, Chance::of(test), 800).await;
    let output = tributary(&home, &["doctor", "--full"]);
    assert!(output.status.success(), "{}", out(&output));
    for part in ["has one copy", "is in exactly one row", "it stands within the log"] {
        assert!(out(&output).contains(part), "{part}\n{}", out(&output));
    }
    let output = tributary(&home, &["status", "--full"]);
    assert!(output.status.success() && out(&output).contains("difference 0"), "{}{}", out(&output), told(&output));

    // Beside a server that goes on, without a swap; then in the place of its lake once it has stopped.
    let server = home.start().await;
    let before = all_rows(&server).await;
    let output = tributary(&home, &["replay"]);
    assert!(output.status.success() && out(&output).contains("whole: each of"), "{}{}", out(&output), told(&output));
    assert_eq!(tributary(&home, &["replay", "--swap"]).status.code(), Some(2), "not under a server");
    assert!(server.stop().await.success());
    let output = tributary(&home, &["replay", "--swap"]);
    assert!(output.status.success() && out(&output).contains("is the new lake"), "{}{}", out(&output), told(&output));
    let server = home.start().await;
    same_rows(&before, &all_rows(&server).await, "replayed from Kafka");
    assert!(server.stop().await.success());
}

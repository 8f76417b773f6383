//! Schemas and dead letters as their owners meet them: a plan that is wrong, what it kept out, the fix, and the replay.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::server::{Home, Server, WRITE_KEY};

const PATIENCE: Duration = Duration::from_secs(60);

async fn tool(home: &Home, arguments: &[&str]) -> Output {
    let mut command = home.tool(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn order(version: &str, kind: &str) -> String {
    json!({
        "self": {"event": "Order Completed", "version": version},
        "type": "object", "properties": {"total": {"type": kind}}, "required": ["total"],
    })
    .to_string()
}

async fn send(server: &Server<'_>, ids: std::ops::Range<usize>, total: Value) {
    let events: Vec<Value> = ids
        .map(|id| json!({"event_id": format!("o{id}"), "name": "Order Completed", "anonymous_id": format!("d{id}"), "properties": {"total": total}}))
        .collect();
    let (status, answer) = server.post("/v1/events", WRITE_KEY, json!(events).to_string()).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_wrong_schema_kept_out_comes_in_after_the_fix_once() {
    let plan = tempfile::tempdir().unwrap();
    let file = plan.path().join("order_completed").join("1-0-0.json");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, order("1-0-0", "integer")).unwrap();
    let home = Home::embedded();
    let data = home.data_dir().to_str().unwrap().to_owned();
    let home = home.with("ingest.schema_dir", plan.path().to_str().unwrap()).with("ingest.schema_mode", "enforce");
    // Fewer than a page of letters, so that an answer holds the first of one.
    let home = home.with("query.rows_max", "64");
    let server = home.start().await;
    send(&server, 0..3, json!(5)).await;
    send(&server, 3..703, json!("19.90")).await;
    // One that no dialect can read, and one that was cut.
    server.post("/v1/batch", WRITE_KEY, "{not JSON").await;
    let all = "SELECT count(*) FROM dead_letters";
    server.wait_until_queryable(all, 701).await;
    let described =
        server.sql("SELECT event_name, detail FROM dead_letters WHERE event_id = 'o3' AND anonymous_id = 'd3'").await;
    assert_eq!(described[0]["event_name"], "Order Completed");
    assert!(described[0]["detail"].as_str().unwrap().contains("properties/total"), "{described:?}");
    let warnings =
        server.sql("SELECT warning, events FROM ingestion_warnings WHERE source = 'shop' ORDER BY events DESC").await;
    assert_eq!((&warnings[0]["warning"], &warnings[0]["events"]), (&json!("dead_letter: off_schema"), &json!(700)));

    let listed = tool(&home, &["dead-letters", "list", "--data", &data]).await;
    assert!(told(&listed).contains("off_schema") && told(&listed).contains("700"), "{}", told(&listed));
    let dry = tool(&home, &["dead-letters", "replay", "--data", &data, "--reason", "off_schema", "--dry-run"]).await;
    assert_eq!(dry.status.code(), Some(1), "{}", told(&dry));
    assert!(told(&dry).contains("700 still cannot be taken"), "{}", told(&dry));

    // The fix: a new model beside the old one.
    let next = file.with_file_name("2-0-0.json");
    let bad = tool(&home, &["schema", "check", plan.path().to_str().unwrap()]).await;
    assert!(bad.status.success(), "{}", told(&bad));
    std::fs::write(&next, order("1-0-1", "string")).unwrap();
    let bad = tool(&home, &["schema", "check", plan.path().to_str().unwrap()]).await;
    assert_eq!(bad.status.code(), Some(2));
    assert!(told(&bad).contains("ADDITION") && told(&bad).contains("/properties/total"), "{}", told(&bad));
    std::fs::write(&next, order("2-0-0", "string")).unwrap();
    assert!(tool(&home, &["schema", "check", plan.path().to_str().unwrap()]).await.status.success());
    let taken_up = async {
        while !home.told().contains("read the schemas of events anew") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_up).await.unwrap();

    let replayed = tool(&home, &["dead-letters", "replay", "--data", &data, "--event", "Order Completed"]).await;
    assert!(replayed.status.success(), "{}", told(&replayed));
    assert!(told(&replayed).contains("700 letters became 700 events"), "{}", told(&replayed));
    // At once again: the tables may not show the first yet, and still nothing comes twice.
    assert!(
        tool(&home, &["dead-letters", "replay", "--data", &data, "--event", "Order Completed"]).await.status.success()
    );
    server.wait_until_queryable("SELECT count(*) FROM events", 703).await;
    server.wait_until_queryable("SELECT -count(*) FROM open_dead_letters", -1).await;
    let versions = "SELECT count(DISTINCT replayed_from) FROM events WHERE schema_version = '2-0-0'";
    assert_eq!(server.number(versions).await, 700);
    let again = tool(&home, &["dead-letters", "replay", "--data", &data, "--reason", "off_schema"]).await;
    assert!(told(&again).contains("0 letters became 0 events"), "{}", told(&again));

    // What cannot be read is mended by hand.
    let exported = tool(&home, &["dead-letters", "export", "--data", &data, "--where", "reason = 'malformed'"]).await;
    let letter: Value = serde_json::from_slice(&exported.stdout).unwrap();
    assert_eq!((&letter["request"], &letter["payload"]), (&json!("POST /v1/batch"), &json!("{not JSON")));
    let mut mended = letter.clone();
    mended["payload"] = json!({"batch": [{"type": "track", "event": "Mended", "userId": "u", "messageId": "mended"}]})
        .to_string()
        .into();
    let letters = plan.path().join("letters.ndjson");
    std::fs::write(&letters, format!("{mended}\n")).unwrap();
    let replayed = tool(&home, &["dead-letters", "replay", "--data", &data, "--file", letters.to_str().unwrap()]).await;
    assert!(replayed.status.success(), "{}", told(&replayed));
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_id = 'mended'", 1).await;
    server.wait_until_queryable("SELECT -count(*) FROM open_dead_letters", 0).await;
    let status = tool(&home, &["status", "--data", &data]).await;
    assert!(status.status.success(), "the books are even: {}", told(&status));
    assert!(server.stop().await.success());
}

#[tokio::test]
async fn a_folder_of_schemas_is_held_to_what_is_in_force() {
    let (main, branch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(main.path().join("order.json"), order("1-0-0", "integer")).unwrap();
    std::fs::write(branch.path().join("order.json"), order("1-0-0", "number")).unwrap();
    let home = Home::embedded();
    let (main, branch_path) = (main.path().to_str().unwrap(), branch.path().to_str().unwrap());
    let changed = tool(&home, &["schema", "check", branch_path, "--against", main]).await;
    assert_eq!(changed.status.code(), Some(2));
    assert!(told(&changed).contains("was changed after it came into force"), "{}", told(&changed));
    let events = branch.path().join("events.ndjson");
    std::fs::write(&events, "{\"name\": \"Order Completed\", \"properties\": {\"total\": 5}}\n{\"name\": \"Order Completed\"}\n{\"name\": \"Other\"}\n{broken\n").unwrap();
    let tried = tool(&home, &["schema", "check", branch_path, "--events", events.to_str().unwrap()]).await;
    assert_eq!(tried.status.code(), Some(2));
    assert!(told(&tried).contains("1 events fit, 2 do not, 1 have no schema"), "{}", told(&tried));
    let (status, said) = home.with("ingest.schema_dir", "nowhere").start_in_vain("127.0.0.1:0").await;
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("ingest.schema_dir: nowhere"), "{said}");
}

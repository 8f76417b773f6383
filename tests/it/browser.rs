//! The browser SDK in a real Chromium, against the real server: offline, reloaded, closed, refused and cut off.
//!
//! In:      `sdk/js/test/browser.mjs`, which drives the browser and prints what it handed to the SDK.
//! Out:     rows of `events`: each of them once.

use std::collections::BTreeMap;
use std::process::Command;

use crate::outside;
use crate::server::{Home, WRITE_KEY};

#[test]
fn the_browser_sdk_is_built_of_its_sources_and_passes_its_own_tests() {
    if outside::browser("the_browser_sdk_is_built_of_its_sources_and_passes_its_own_tests").is_none() {
        return;
    }
    // Types, the queue and the rules without a browser, `dist` against `src`, and the size.
    let mut npm = Command::new("npm");
    npm.args(["test", "--silent"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/js"));
    let output = npm.output().unwrap();
    let told = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{told}");
}

#[tokio::test]
async fn events_of_the_browser_sdk_arrive_once_each() {
    let Some(chromium) = outside::browser("events_of_the_browser_sdk_arrive_once_each") else { return };
    let home = Home::embedded();
    let server = home.start().await;
    let door = format!("http://{}", server.address());
    let mut node = Command::new("node");
    node.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/js/test/browser.mjs"));
    node.args(["--host", &door, "--key", WRITE_KEY, "--script", &format!("{door}/t.js"), "--chromium"]).arg(chromium);
    let scenarios = outside::json_lines(node).await;
    assert!(25 < scenarios.len(), "{}", scenarios.len());

    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for scenario in &scenarios {
        assert_eq!(scenario["held"], true, "{scenario}");
        for event in scenario["events"].as_array().unwrap() {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            told.insert(text("event_id"), text("name"));
        }
    }
    assert!(100 < told.len(), "{}", told.len());
    server.wait_until_at_least("SELECT count(*) FROM events", i64::try_from(told.len()).unwrap()).await;
    let rows = server.sql("SELECT event_id, event_name, dialect FROM events").await;
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        let (id, name) = (row["event_id"].as_str().unwrap(), row["event_name"].as_str().unwrap());
        *found.entry(id).or_default() += 1;
        assert_eq!(row["dialect"], "native");
        // The scenarios tell what was answered; a beacon is never heard of, and may be there beside these.
        assert!(told.get(id).is_none_or(|told| told == name), "{row:?}");
    }
    for (id, name) in &told {
        assert_eq!(found.get(id.as_str()), Some(&1), "{name} {id}");
    }
    let others = "SELECT count(*) FROM dead_letters WHERE reason <> 'duplicate' AND detail NOT LIKE 'name: expected%'";
    assert_eq!(server.number(others).await, 0);
}

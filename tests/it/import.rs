//! Imports through the door of a running server: broken rows, gzip, a second run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::server::{Home, Server, TRUSTED_KEY, TRUSTED_SOURCE};

async fn import(server: &Server<'_>, dir: &Path, arguments: &[&str]) -> Output {
    let url = server.url("");
    tokio::process::Command::new(env!("CARGO_BIN_EXE_tributary"))
        .arg("import")
        .args(arguments)
        .args(["--url", url.as_str(), "--write-key", TRUSTED_KEY])
        .current_dir(dir)
        .output()
        .await
        .unwrap()
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const MAPPING: &str = "[file]\ndelimiter = ';'\n[event]\ntype = 'track'\nevent = 'Bought'\nuserId = '{who}'\n\
                       timestamp = '{day} + {second}s'\n[event.properties]\nprice = '{price:number}'\n";

fn rows(count: usize) -> String {
    let mut text = "who;day;second;price\n".to_owned();
    for row in 0..count {
        text += &format!("u{};2026-0{}-01;{};{}.5\n", row % 50, 1 + row * 5 / count, row, row);
    }
    text
}

#[tokio::test]
async fn a_broken_line_is_told_and_the_rest_goes_on() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", MAPPING.as_bytes());
    let text = "who;day;second;price\nu1;2026-01-01;1;5\nu2;2026-01-01\nu3;\"2026-01-01;1;5\nu4;2026-01-01;2;cheap\n\
                u5;someday;2;5\n;2026-01-01;2;5\nu6;2026-01-01;3;7\n";
    write(dir.path(), "sales.csv", text.as_bytes());
    let output = import(&server, dir.path(), &["sales.csv", "--mapping", "map.toml"]).await;
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    assert!(told.contains("7 rows") && told.contains("2 accepted") && told.contains("5 rejected"), "{told}");
    for part in
        ["line 3: it has 2 cells", "line 4: it has a quote", "line 5:", "line 6: timestamp", "line 7: it names nobody"]
    {
        assert!(told.contains(part), "{part}\n---\n{told}");
    }
    let rejected = std::fs::read_to_string(dir.path().join("sales.csv.rejected.ndjson")).unwrap();
    let lines: Vec<u64> = rejected
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5, 6, 7]);
    server.wait_until_queryable(&format!("SELECT count(*) FROM events WHERE source = '{TRUSTED_SOURCE}'"), 2).await;
}

#[tokio::test]
async fn a_second_import_of_a_gzip_file_doubles_nothing() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", MAPPING.as_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(rows(3_000).as_bytes()).unwrap();
    write(dir.path(), "sales.csv.gz", &packed.finish().unwrap());
    for _ in 0..2 {
        let output = import(&server, dir.path(), &["sales.csv.gz", "--mapping", "map.toml"]).await;
        assert!(output.status.success() && told(&output).contains("3,000 accepted"), "{}", told(&output));
    }
    let in_lake = format!("SELECT count(*) FROM events WHERE source = '{TRUSTED_SOURCE}'");
    server.wait_until_queryable(&in_lake, 3_000).await;
    // The doubles went through the same log behind the first ones; once they are dead letters, none can follow.
    let doubled =
        format!("SELECT count(*) FROM dead_letters WHERE reason = 'duplicate' AND source = '{TRUSTED_SOURCE}'");
    server.wait_until_queryable(&doubled, 3_000).await;
    assert_eq!(server.number(&in_lake).await, 3_000);
}

#[tokio::test]
async fn ndjson_in_segments_shape_needs_no_mapping() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let lines: String =
        (0..5).map(|n| format!("{{\"type\":\"track\",\"event\":\"E\",\"userId\":\"u{n}\"}}\n")).collect();
    write(dir.path(), "events.ndjson", format!("{lines}not json\n").as_bytes());
    let output = import(&server, dir.path(), &["events.ndjson"]).await;
    assert!(
        told(&output).contains("5 accepted") && told(&output).contains("line 6: it is not JSON"),
        "{}",
        told(&output)
    );
    server.wait_until_queryable("SELECT count(*) FROM events WHERE event_name = 'E'", 5).await;
}

#[tokio::test]
async fn what_a_user_must_mend_is_told_with_exit_code_2_or_1() {
    let home = Home::embedded();
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "map.toml", b"[event]\nuserId = '{nobody}'\n");
    write(dir.path(), "a.csv", b"who\nu1\n");
    let url = server.url("");
    for (arguments, code, words) in [
        (vec!["none.csv", "--url", &url, "--write-key", TRUSTED_KEY], 2, "cannot open none.csv"),
        (vec!["a.csv", "--url", "localhost", "--write-key", "k"], 2, "http://127.0.0.1:8080"),
        (vec!["a.csv", "--url", &url, "--write-key", "wrong", "--mapping", "map.toml"], 1, "it has: who"),
        (vec!["a.csv", "--data", "nowhere"], 2, "no server runs on nowhere"),
    ] {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tributary"))
            .arg("import")
            .args(&arguments)
            .current_dir(dir.path())
            .output()
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
        assert!(told(&output).contains(words), "{arguments:?}: {}", told(&output));
    }
    write(dir.path(), "b.csv", b"userId\nu1\n");
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["import", "b.csv", "--url", &url, "--write-key", "wrong"])
        .current_dir(dir.path())
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("refuses the write key"), "{}", told(&output));
}

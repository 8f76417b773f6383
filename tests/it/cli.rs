//! The command line: links, SQL through a server, metrics, keys of a first start.

use std::process::Command;

use crate::server::{Home, QUERY_TOKEN, WRITE_KEY};

fn tributary(dir: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_tributary")).args(arguments).current_dir(dir).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_through_a_server_prints_each_format() {
    let home = Home::embedded();
    let server = home.start().await;
    server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"u1","messageId":"m1"}"#).await;
    server.wait_until_queryable("SELECT count(*) FROM events", 1).await;
    let dir = tempfile::tempdir().unwrap();
    let url = server.url("");
    let ask = |format: &str, sql: &str| {
        let output = tributary(dir.path(), &["sql", "--url", &url, "--token", QUERY_TOKEN, "--format", format, sql]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), told)
    };
    let sql = "SELECT user_id, event_name FROM events;";
    assert_eq!(ask("csv", sql).1, "user_id,event_name\nu1,E\n");
    assert_eq!(ask("json", sql).1.trim(), r#"[{"user_id":"u1","event_name":"E"}]"#);
    assert!(ask("table", sql).1.contains("| u1      | E          |"), "{}", ask("table", sql).1);
    let (code, out, told) = ask("table", "DROP TABLE events");
    assert!(code == Some(1) && out.is_empty() && told.contains("only read"), "{told}");
}

#[tokio::test]
async fn a_signed_link_leads_on_and_is_counted() {
    let home = Home::embedded().with("ingest.ticket_secret", "0123456789abcdef0123456789abcdef");
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let url = server.url("");
    let output = tributary(
        dir.path(),
        &[
            "link",
            "--url",
            "https://shop.example/sale",
            "--server",
            &url,
            "--secret",
            "0123456789abcdef0123456789abcdef",
            "--source",
            "shop",
            "--user-id",
            "u7",
            "--campaign-id",
            "autumn",
        ],
    );
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let address = |name: &str| {
        let line = printed.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {printed}"));
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let answer = client.get(address("link")).send().await.unwrap();
    assert_eq!(answer.headers()["location"], "https://shop.example/sale");
    let pixel = client.get(address("pixel")).send().await.unwrap();
    assert_eq!((pixel.status().as_u16(), pixel.headers()["content-type"].to_str().unwrap()), (200, "image/gif"));
    let of_campaign = "SELECT count(*) FROM events WHERE user_id = 'u7' AND campaign_id = 'autumn'";
    server.wait_until_queryable(of_campaign, 2).await;
}

#[tokio::test]
async fn metrics_count_what_came_in() {
    let home = Home::embedded();
    let server = home.start().await;
    server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"u1"}"#).await;
    let text = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(text.contains("# HELP tributary_ingest_events_accepted_total"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("tributary_ingest_events_accepted_total{") && line.ends_with(" 1")),
        "{text}"
    );
}

#[test]
fn a_first_start_makes_keys_and_says_where() {
    use std::io::BufRead;
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tributary"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data", "data"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let second = lines.next().unwrap().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.starts_with("listening on http://127.0.0.1:"), "{first}");
    assert!(second.contains("keys.toml"), "{second}");
    let keys = std::fs::read_to_string(dir.path().join("data/keys.toml")).unwrap();
    for part in ["source = \"web\"", "source = \"import\"", "ticket_secret = ", "tokens = "] {
        assert!(keys.contains(part), "{part}\n{keys}");
    }
}

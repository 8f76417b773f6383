//! The command line: links, SQL from a folder and through a server, metrics, keys of a first start.

use std::process::Command;

use crate::server::{Home, QUERY_TOKEN, SOURCE, WRITE_KEY};

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
    // A name that no event bears is told beside rows that a program reads.
    let data = home.data_dir().display().to_string();
    for format in ["csv", "json"] {
        let sql = "SELECT event_id FROM events WHERE event_name = 'e'";
        assert_eq!(ask(format, sql).2, "note: no event is called 'e'; the closest is 'E'\n", "{format}");
        let folder = tributary(dir.path(), &["sql", "--data", &data, "--format", format, sql]);
        assert!(String::from_utf8_lossy(&folder.stderr).contains("the closest is 'E'"), "{format}: {folder:?}");
        assert_eq!(ask(format, "SELECT event_id FROM events").2, "");
    }
    // One after the other, up to the first that has no answer.
    let several = "SELECT ';' AS a; SELECT count(*) AS n FROM events -- of all;\n; SELECT nothing; SELECT 4 AS b;";
    let (code, out, told) = ask("csv", several);
    assert_eq!((code, out.as_str()), (Some(1), "a\n;\n\nn\n1\n\n"), "{told}");
    assert!(told.contains("question 3 of 4") && told.contains("nothing"), "{told}");
    let (code, out, told) = ask("table", "DROP TABLE events");
    assert!(code == Some(1) && out.is_empty() && told.contains("only read"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_server_give_the_same_text() {
    let home = Home::embedded();
    let server = home.start().await;
    for (id, revenue) in [("m1", "123456789012.000001"), ("m2", "19.99")] {
        let properties = serde_json::json!({"revenue": revenue, "currency": "EUR"});
        let event =
            serde_json::json!({"event": "Order Completed", "userId": "u1", "messageId": id, "properties": properties});
        server.post("/v1/track", WRITE_KEY, event.to_string()).await;
    }
    server.wait_until_queryable("SELECT count(*) FROM events", 2).await;
    let dir = tempfile::tempdir().unwrap();
    let (data, url) = (home.data_dir().display().to_string(), server.url(""));
    let text = |arguments: &[&str]| {
        let output = tributary(dir.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    // The last line of a table says how long it took.
    let untimed = |text: String| text.lines().filter(|line| !line.contains(" in 0.")).collect::<Vec<_>>().join("\n");
    let sql = "SELECT a.event_id, a.value, b.value AS other, a.value + b.value AS both, b.exposures, a.campaign_id, '' AS empty \
               FROM events a JOIN events b ON a.user_id = b.user_id ORDER BY 1, b.event_id";
    let folder = text(&["sql", "--data", &data, sql]);
    assert!(folder.contains("| 123456789012.000001 | 19.990000 "), "{folder}");
    assert_eq!(untimed(folder), untimed(text(&["sql", "--url", &url, "--token", QUERY_TOKEN, sql])));
    let sql = "SELECT event_id, value, exposures, campaign_id, '' AS empty, event_time FROM person_events ORDER BY 1";
    for format in ["csv", "json"] {
        let folder = text(&["sql", "--data", &data, "--format", format, sql]);
        assert!(folder.contains("123456789012.000001"), "{folder}");
        assert_eq!(folder, text(&["sql", "--url", &url, "--token", QUERY_TOKEN, "--format", format, sql]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_come_from_a_folder_and_a_cut_answer_is_no_success() {
    let home = Home::embedded().with("query.rows_max", "10");
    let server = home.start().await;
    let dir = tempfile::tempdir().unwrap();
    let (data, url) = (home.data_dir().display().to_string(), server.url(""));
    let sql = "SELECT value FROM range(0, 25000) ORDER BY value";
    for (arguments, lines, code) in [
        // The folder is asked with the defaults, which cut a table off at 10,000 rows.
        (vec!["--data", &data, "--format", "csv"], 25_001, 0),
        (vec!["--data", &data, "--format", "json"], 1, 0),
        (vec!["--data", &data, "--format", "table"], 10_005, 1),
        (vec!["--url", &url, "--token", QUERY_TOKEN, "--format", "csv"], 11, 1),
        (vec!["--url", &url, "--token", QUERY_TOKEN, "--format", "json"], 1, 1),
    ] {
        let output = tributary(dir.path(), &[vec!["sql"], arguments.clone(), vec![sql]].concat());
        let (text, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert_eq!(text.lines().count(), lines, "{arguments:?}: {told}");
        assert_eq!(told.contains("first rows only"), code == 1, "{arguments:?}: {told}");
        if arguments.contains(&"json") {
            let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            assert_eq!(rows.len(), if code == 0 { 25_000 } else { 10 });
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_or_key_does_not_leave_the_machine_in_clear_unasked() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.csv"), "userId\nu1\n").unwrap();
    // A name that is reserved for not being one: nothing is sent, whatever comes of it.
    let away = "http://tributary.invalid:8080";
    for arguments in [
        vec!["sql", "--url", away, "--token", QUERY_TOKEN, "SELECT 1"],
        vec!["import", "a.csv", "--url", away, "--write-key", WRITE_KEY],
    ] {
        let output = tributary(dir.path(), &arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("ssh -N") && told.contains("--insecure-http"), "{told}");
    }
    let allowed = ["sql", "--url", away, "--insecure-http", "--token", QUERY_TOKEN, "SELECT 1"];
    let told = String::from_utf8_lossy(&tributary(dir.path(), &allowed).stderr).into_owned();
    assert!(told.contains("nobody can be reached there"), "{told}");
}

#[test]
fn asking_a_folder_that_is_no_lake_makes_none_of_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("pictures/lake")).unwrap();
    let output = tributary(dir.path(), &["sql", "--data", "pictures", "SELECT 1"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && told.contains("there is no lake in"), "{told}");
    assert_eq!(std::fs::read_dir(dir.path().join("pictures/lake")).unwrap().count(), 0);
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
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
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
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let pixel = server.url(&format!("/p.gif?writeKey={WRITE_KEY}&event=E&anonymousId=a1"));
    assert!(client.get(pixel).send().await.unwrap().status().is_success());
    let lost = r#"{"events": [{"name": "E", "user_id": "u1"}], "dropped": 7}"#;
    server.post("/v1/events", WRITE_KEY, lost).await;
    // A pixel may be answered a moment before it is durable and counted.
    let counted = async {
        loop {
            let text = client.get(server.url("/metrics")).send().await.unwrap().text().await.unwrap();
            if text.contains("dialect=\"pixel\"") {
                return text;
            }
            tokio::time::sleep(std::time::Duration::from_millis(25)).await;
        }
    };
    let text = tokio::time::timeout(std::time::Duration::from_secs(60), counted).await.expect("it is counted");
    assert!(text.contains("# HELP tributary_ingest_events_accepted_total"), "{text}");
    let says = |name: &str, labels: &[&str], value: &str| {
        let is_it = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        let line = text.lines().find(is_it).unwrap_or_else(|| panic!("no {name} {labels:?} in {text}"));
        assert_eq!(line.rsplit(' ').next(), Some(value), "{line}");
    };
    for dialect in ["segment", "pixel", "native"] {
        let labels = [format!("dialect=\"{dialect}\""), format!("source=\"{SOURCE}\"")];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        says("tributary_ingest_source_requests_total{", &[&labels[..], &["outcome=\"taken\""]].concat(), "1");
        says("tributary_ingest_source_request_seconds_count{", &labels, "1");
    }
    for route in ["/v1/track", "/p.gif", "/v1/events"] {
        says("tributary_ingest_requests_total{", &[&format!("route=\"{route}\""), "status=\"200\""], "1");
        says("tributary_ingest_request_seconds_count{", &[&format!("route=\"{route}\"")], "1");
    }
    says("tributary_ingest_sdk_dropped_total{", &[], "7");
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

#[tokio::test(flavor = "multi_thread")]
async fn live_tables_are_asked_of_the_server_of_the_folder_and_what_waits_after_a_crash_is_told() {
    let home = Home::embedded().with("pipeline.commit_interval_ms", "60000");
    let server = home.start().await;
    server.post("/v1/track", WRITE_KEY, r#"{"event":"E","userId":"u1","messageId":"m1"}"#).await;
    // What `serve` makes on a first start; here the token comes from a settings file.
    let keys = format!("[query]\ntokens = [\"{QUERY_TOKEN}\"]\n");
    std::fs::write(home.data_dir().join("keys.toml"), keys).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let data = home.data_dir().display().to_string();
    let ask = |arguments: &[&str]| {
        let output = tributary(dir.path(), arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), told)
    };
    let live = ["sql", "--data", &data, "--format", "csv", "SELECT count(*) AS n FROM events_live"];
    assert_eq!(ask(&live), (Some(0), "n\n1\n".to_owned(), String::new()));
    let (_, nowhere) = server.post("/v1/trakc", WRITE_KEY, "{}").await;
    assert!(nowhere.to_string().contains("there is nothing at /v1/trakc"), "{nowhere}");

    server.kill_9().await;
    let (code, out, told) = ask(&live);
    assert!(code == Some(2) && out.is_empty() && told.contains("none runs on"), "{told}");
    let (code, out, told) = ask(&["status", "--data", &data]);
    assert!(code == Some(1) && out.contains("no server runs, and 1 record waits"), "{out}{told}");
    let (_, _, told) = ask(&["status", "--url", "http://127.0.0.1:9"]);
    assert!(told.contains("nobody can be reached there. Start a server"), "{told}");
}

#[test]
fn settings_do_not_pass_for_those_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let output = tributary(dir.path(), &["--settings", "my.toml", "settings"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tributary --settings my.toml doctor"));
}
